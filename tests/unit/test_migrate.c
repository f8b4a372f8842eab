/* subpay migrate: exit codes, what is printed, and who may work beside whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/db.h"
#include "base/random.h"
#include "cli/cli.h"
#include "ledger/embedded.h"

struct fixture {
    char dir[64];
    char out[4096], err[4096]; /* of the last command */
};

static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof f);
    snprintf(f.dir, sizeof f.dir, "/tmp/subpay-test-XXXXXX");
    if (!mkdtemp(f.dir) || chdir(f.dir) != 0) /* no .env of a developer */
        return -1;
    *state = &f;
    return setenv("DATA_DIR", f.dir, 1);
}

static int teardown(void **state)
{
    static const char *const NAMES[] = {"subpay.db", "subpay.db-wal", "subpay.db-shm",
                                        "subpay.lock"};
    struct fixture *f = *state;
    char path[128];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", f->dir, NAMES[i]);
        (void)remove(path);
    }
    return chdir("/") == 0 ? rmdir(f->dir) : -1;
}

static void take(FILE *file, int fd, int saved, char *text, size_t cap)
{
    fflush(NULL);
    dup2(saved, fd);
    close(saved);
    rewind(file);
    text[fread(text, 1, cap - 1, file)] = '\0';
    fclose(file);
}

/* The words of a command, without `migrate`, up to NULL. */
static int migrate_words(struct fixture *f, const char *const *given)
{
    char words[8][64] = {"migrate"};
    char *argv[9] = {words[0]};
    FILE *out = tmpfile(), *err = tmpfile();
    int argc = 1;
    assert_true(out && err);
    for (int i = 0; i < 7 && given[i]; i++) {
        snprintf(words[argc], sizeof words[argc], "%s", given[i]);
        argv[argc] = words[argc];
        argc++;
    }
    fflush(NULL);
    int saved_out = dup(1), saved_err = dup(2);
    dup2(fileno(out), 1);
    dup2(fileno(err), 2);
    int code = cli_migrate(argc, argv);
    take(out, 1, saved_out, f->out, sizeof f->out);
    take(err, 2, saved_err, f->err, sizeof f->err);
    return code;
}

static int migrate(struct fixture *f, const char *verb, const char *a, const char *b)
{
    return migrate_words(f, (const char *const[]){verb, a, b, NULL});
}
#define MIGRATE(f, ...) migrate_words(f, (const char *const[]){__VA_ARGS__, NULL})

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void a_whole_life(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(migrate(f, "current", NULL, NULL), CLI_DONE);
    assert_string_equal(f->out, "");
    assert_non_null(strstr(f->err, "subpay: no revision: "));
    assert_int_equal(access("subpay.db", F_OK), -1); /* looking makes nothing */
    assert_int_equal(migrate(f, "check", NULL, NULL), CLI_FAILED);
    assert_non_null(strstr(f->err, "the database is empty, this program needs 000"));
    assert_int_equal(migrate(f, "upgrade", NULL, NULL), CLI_DONE);
    assert_non_null(strstr(f->out, "0001_initial"));
    assert_int_equal(migrate(f, "upgrade", "head", NULL), CLI_DONE);
    assert_string_equal(f->out, "");
    assert_int_equal(migrate(f, "current", NULL, NULL), CLI_DONE);
    assert_non_null(strstr(f->out, "(head)"));
    assert_int_equal(migrate(f, "history", NULL, NULL), CLI_DONE);
    assert_non_null(strstr(f->out, "0001_initial applied 2"));
    assert_int_equal(migrate(f, "check", NULL, NULL), CLI_DONE);
    assert_int_equal(migrate(f, "downgrade", "base", NULL), CLI_FAILED);
    assert_non_null(strstr(f->err, "--destroy-data"));
    assert_int_equal(migrate(f, "downgrade", "-1", "--destroy-data"), CLI_DONE);
    assert_int_equal(migrate(f, "upgrade", "+1", NULL), CLI_DONE);
}

static void wrong_usage_is_one_line_and_2(void **state)
{
    struct fixture *f = *state;
    static const char *const CALLS[][2] = {
        {NULL, NULL},          {"nonsense", NULL},
        {"upgrade", "--fast"}, {"upgrade", "nobody"},
        {"upgrade", "+999"},   {"downgrade", NULL},
        {"current", "1"},      {"history", "head"},
        {"check", "x"},        {"upgrade", "--destroy-data"},
        {"revision", NULL},    {"revision", "x"},
        {"upgrade", "-mx"},    {"check", "--autogenerate"},
        {"revision", "-m"},    {"revision", "-mx"},
        {"revision", "-m="},
    };
    for (size_t i = 0; i < sizeof CALLS / sizeof CALLS[0]; i++) {
        assert_int_equal(migrate(f, CALLS[i][0], CALLS[i][1], NULL), CLI_USAGE);
        assert_int_equal(lines(f->err), 1);
        assert_non_null(strstr(f->err, "allowed "));
    }
    (void)migrate(f, NULL, NULL, NULL);
    assert_non_null(strstr(f->err, "subpay: migrate wants a command: allowed are "));
}

static void beside_a_running_process_only_reading(void **state)
{
    struct fixture *f = *state;
    struct embedded *e;
    char why[400], pid[32];
    assert_int_equal(embedded_open(&e, f->dir, clock_real(), random_real(), why, sizeof why),
                     ERR_OK);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_int_equal(migrate(f, "upgrade", NULL, NULL), CLI_FAILED);
    assert_non_null(strstr(f->err, pid));
    assert_int_equal(lines(f->err), 1);
    assert_int_equal(migrate(f, "downgrade", "base", "--destroy-data"), CLI_FAILED);
    assert_int_equal(migrate(f, "current", NULL, NULL), CLI_DONE);
    assert_non_null(strstr(f->out, "(head)"));
    assert_int_equal(migrate(f, "history", NULL, NULL), CLI_DONE);
    assert_int_equal(migrate(f, "check", NULL, NULL), CLI_DONE);
    embedded_close(e);
    assert_int_equal(migrate(f, "upgrade", NULL, NULL), CLI_DONE);
}

static void a_second_migrator_waits(void **state)
{
    struct fixture *f = *state;
    char why[400], ready;
    int fds[2], fd;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* a migrator that takes a while: its end is the end of its process */
        if (embedded_lock(&fd, f->dir, true, why, sizeof why) != ERR_OK ||
            write(fds[1], "!", 1) != 1)
            _exit(1);
        usleep(300000);
        _exit(0);
    }
    assert_int_equal(read(fds[0], &ready, 1), 1);
    assert_int_equal(migrate(f, "upgrade", NULL, NULL), CLI_DONE);
    assert_non_null(strstr(f->out, "upgraded"));
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(fds[0]);
    close(fds[1]);
}

/* ---- revision ---- */

static void cleared(const char *folder)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

/* The four commands on an empty database and an empty folder, and what has to hold afterwards. */
static void the_four_commands(struct fixture *f)
{
    assert_int_equal(setenv("MIGRATIONS_DIR", "made", 1), 0);
    assert_int_equal(MIGRATE(f, "upgrade"), CLI_USAGE);
    assert_string_equal(f->err,
                        "subpay: MIGRATIONS_DIR=made: No such file or directory: allowed is a "
                        "directory\n");
    assert_int_equal(MIGRATE(f, "revision", "-m", "initial"), CLI_DONE);
    assert_string_equal(f->out, "made/0001_initial.up.sql\nmade/0001_initial.down.sql\n");
    assert_int_equal(MIGRATE(f, "revision", "--autogenerate", "-m", "too early"), CLI_FAILED);
    assert_non_null(strstr(f->err, "upgrade first"));
    assert_int_equal(MIGRATE(f, "upgrade", "head"), CLI_DONE);
    assert_int_equal(MIGRATE(f, "check"), CLI_FAILED);
    assert_non_null(strstr(f->out, "missing table payments\n"));
    assert_int_equal(MIGRATE(f, "revision", "--autogenerate", "-m", "create_tables"), CLI_DONE);
    assert_string_equal(f->out,
                        "made/0002_create_tables.up.sql\nmade/0002_create_tables.down.sql\n");
    assert_int_equal(MIGRATE(f, "upgrade", "head"), CLI_DONE);
    assert_string_equal(f->out, "upgraded to 0002_create_tables\n");
    assert_int_equal(MIGRATE(f, "check"), CLI_DONE);
    assert_int_equal(MIGRATE(f, "current"), CLI_DONE);
    assert_string_equal(f->out, "0002_create_tables (head)\n");
    assert_int_equal(MIGRATE(f, "revision", "--autogenerate", "-m", "again"), CLI_DONE);
    assert_string_equal(f->out, "");
    assert_non_null(strstr(f->err, "no differences"));
    assert_int_equal(access("made/0003_again.up.sql", F_OK), -1);
    assert_int_equal(unsetenv("MIGRATIONS_DIR"), 0);
    /* The program's own list takes the database as it is. */
    assert_int_equal(MIGRATE(f, "check"), CLI_DONE);
    assert_int_equal(MIGRATE(f, "upgrade"), CLI_DONE);
    assert_string_equal(f->out, "");
    assert_int_equal(MIGRATE(f, "downgrade", "-1"), CLI_FAILED);
    assert_non_null(strstr(f->err, "MIGRATIONS_DIR"));
    assert_int_equal(setenv("MIGRATIONS_DIR", "made", 1), 0);
    assert_int_equal(MIGRATE(f, "downgrade", "base"), CLI_FAILED);
    assert_non_null(strstr(f->err, "subscription_cost (3)"));
    assert_int_equal(MIGRATE(f, "downgrade", "base", "--destroy-data"), CLI_DONE);
    assert_int_equal(unsetenv("MIGRATIONS_DIR"), 0);
}

static void from_nothing_to_tables(void **state)
{
    struct fixture *f = *state;
    the_four_commands(f);
    struct embedded *e; /* … and a whole program works on what they made */
    char why[400];
    assert_int_equal(setenv("MIGRATIONS_DIR", "made", 1), 0);
    assert_int_equal(MIGRATE(f, "upgrade"), CLI_DONE);
    assert_int_equal(unsetenv("MIGRATIONS_DIR"), 0);
    assert_int_equal(embedded_open(&e, f->dir, clock_real(), random_real(), why, sizeof why),
                     ERR_OK);
    embedded_close(e);
    cleared("made");
}

static void from_nothing_to_tables_on_postgres(void **state)
{
    struct fixture *f = *state;
    const char *url = getenv("SUBPAY_TEST_POSTGRES");
    if (!url) {
        fprintf(stderr, "SKIPPED: SUBPAY_TEST_POSTGRES is unset (tests/postgres.py sets it)\n");
        skip();
    }
    /* A database of its own, next to the given one. */
    struct db_postgres_settings settings = {.url = url, .mode = DB_WRITE};
    struct db *db;
    char name[64], sql[128], own[DB_URL_MAX], why[400];
    const char *slash = strchr(strstr(url, "://") + 3, '/');
    assert_non_null(slash);
    snprintf(name, sizeof name, "subpay_test_migrate_%ld", (long)getpid());
    snprintf(own, sizeof own, "%.*s%s", (int)(slash + 1 - url), url, name);
    assert_int_equal(db_open_postgres(&db, &settings, why, sizeof why), ERR_OK);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
    assert_int_equal(db_script(db, sql), ERR_OK);
    assert_int_equal(setenv("DATABASE_URL", own, 1), 0);
    the_four_commands(f);
    assert_int_equal(MIGRATE(f, "downgrade", "base", "--destroy-data"), CLI_DONE);
    assert_int_equal(MIGRATE(f, "upgrade"), CLI_DONE); /* the program's own */
    assert_non_null(strstr(f->out, "upgraded to 0001_initial\n"));
    assert_int_equal(MIGRATE(f, "check"), CLI_DONE);
    assert_int_equal(access("subpay.db", F_OK), -1);
    assert_int_equal(unsetenv("DATABASE_URL"), 0);
    snprintf(sql, sizeof sql, "DROP DATABASE %s WITH (FORCE)", name);
    assert_int_equal(db_script(db, sql), ERR_OK);
    db_close(db);
    cleared("made");
}

/* In a checkout the project's own folder is the list, and the next revision goes there. */
static void in_a_checkout(void **state)
{
    struct fixture *f = *state;
    char command[600];
    assert_non_null(getenv("SUBPAY_ROOT"));
    snprintf(command, sizeof command,
             "mkdir -p src/ledger && cp -r %s/src/ledger/migrations src/ledger && : > meson.build",
             getenv("SUBPAY_ROOT"));
    assert_int_equal(system(command), 0);
    assert_int_equal(MIGRATE(f, "upgrade"), CLI_DONE);
    assert_int_equal(MIGRATE(f, "revision", "-m", "More of it"), CLI_DONE);
    const char *made = strstr(f->out, "_more_of_it.up.sql\n");
    assert_non_null(made);
    assert_int_equal(strncmp(f->out, "src/ledger/migrations/sqlite/00", 31), 0);
    assert_int_equal(MIGRATE(f, "upgrade"), CLI_DONE);
    assert_non_null(strstr(f->out, "_more_of_it\n"));
    assert_int_equal(MIGRATE(f, "check"), CLI_DONE);
    cleared("src meson.build");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_whole_life),
        T(wrong_usage_is_one_line_and_2),
        T(beside_a_running_process_only_reading),
        T(a_second_migrator_waits),
        T(from_nothing_to_tables),
        T(from_nothing_to_tables_on_postgres),
        T(in_a_checkout),
    };
    return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
