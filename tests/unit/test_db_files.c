/* Files: who may see them, readers beside a writer and after it was killed, backups. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/db.h"

struct place {
    char folder[256], file[300];
    char why[200];
};

static int make_folder(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct place *p = calloc(1, sizeof(*p));

    if (!p)
        return -1;
    snprintf(p->folder, sizeof(p->folder), "%s/subpay-db-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(p->folder))
        return -1;
    snprintf(p->file, sizeof(p->file), "%s/books.db", p->folder);
    *state = p;
    return 0;
}

static int remove_folder(void **state)
{
    struct place *p = *state;
    DIR *dir = opendir(p->folder);
    struct dirent *entry;

    while ((entry = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    (void)rmdir(p->folder);
    free(p);
    return 0;
}

static struct db *opened(struct place *p, enum db_mode mode)
{
    struct db *db = NULL;

    if (db_open(&db, p->file, mode, p->why, sizeof(p->why)) != ERR_OK)
        fail_msg("%s: %s", p->file, p->why);
    return db;
}

static enum err run(struct db *db, const char *sql)
{
    struct query q;

    query_open(&q, db, sql);
    return query_run(&q);
}

static int64_t number(struct db *db, const char *sql)
{
    struct query q;
    int64_t n = -1;

    query_open(&q, db, sql);
    if (query_next(&q))
        n = query_i64(&q, 0);
    assert_int_equal(query_close(&q), ERR_OK);
    return n;
}

static struct db *filled(struct place *p)
{
    struct db *db = opened(p, DB_WRITE);

    assert_int_equal(
        db_script(db, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);"),
        ERR_OK);
    return db;
}

static bool exists(struct place *p, const char *suffix)
{
    char path[320];

    snprintf(path, sizeof(path), "%s%s", p->file, suffix);
    return access(path, F_OK) == 0;
}

static int mode_of(struct place *p, const char *suffix)
{
    char path[320];
    struct stat st;

    snprintf(path, sizeof(path), "%s%s", p->file, suffix);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void only_the_owner_may_read(void **state)
{
    mode_t before = umask(0);
    struct db *db = filled(*state);

    assert_int_equal(mode_of(*state, ""), 0600);
    assert_int_equal(mode_of(*state, "-wal"), 0600);
    assert_int_equal(mode_of(*state, "-shm"), 0600);
    umask(before);
    db_close(db);
}

static void commits_are_durable(void **state)
{
    struct db *db = opened(*state, DB_WRITE);
    struct query q;

    query_open(&q, db, "PRAGMA journal_mode");
    assert_true(query_next(&q));
    assert_string_equal(query_text(&q, 0), "wal");
    assert_int_equal(query_close(&q), ERR_OK);
    assert_int_equal(number(db, "PRAGMA synchronous"), 2); /* FULL */
    assert_int_equal(number(db, "PRAGMA foreign_keys"), 1);
    assert_int_equal(number(db, "PRAGMA trusted_schema"), 0);
    assert_int_equal(number(db, "PRAGMA mmap_size"), 0);
    assert_int_equal(number(db, "PRAGMA cell_size_check"), 1);
    assert_int_equal(number(db, "PRAGMA wal_autocheckpoint"), 1000);
    assert_in_range(number(db, "PRAGMA busy_timeout"), 1, 10000);
    db_close(db);
}

static void odd_names(void **state)
{
    static const char *const NAMES[] = {"/a b?mode=memory#x%41&c.db", "//double.db", "/\xd1\x8f.db",
                                        "/:memory:"};
    struct place *p = *state;
    char path[300], here[300];
    struct db *db;
    struct stat st;

    for (size_t i = 0; i < sizeof(NAMES) / sizeof(*NAMES); i++) {
        snprintf(path, sizeof(path), "%s%s", p->folder, NAMES[i]);
        assert_int_equal(db_open(&db, path, DB_WRITE, p->why, sizeof(p->why)), ERR_OK);
        assert_int_equal(run(db, "CREATE TABLE t (a)"), ERR_OK);
        db_close(db);
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size > 0);
        assert_int_equal(db_open(&db, path, DB_READ, p->why, sizeof(p->why)), ERR_OK);
        assert_int_equal(number(db, "SELECT count(*) FROM t"), 0);
        db_close(db);
    }
    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(chdir(p->folder), 0);
    assert_int_equal(db_open(&db, ":memory:", DB_READ, p->why, sizeof(p->why)), ERR_OK);
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 0);
    db_close(db);
    assert_int_equal(chdir(here), 0);
}

static void what_cannot_be_opened(void **state)
{
    struct place *p = *state;
    struct db *db = NULL;
    char path[320];
    FILE *junk;

    assert_int_equal(db_open(&db, p->file, DB_READ, p->why, sizeof(p->why)), ERR_NOT_FOUND);
    assert_true(strlen(p->why) > 0);
    assert_false(exists(p, ""));
    assert_int_equal(db_open(&db, "", DB_WRITE, p->why, sizeof(p->why)), ERR_INVALID);
    snprintf(path, sizeof(path), "%s/none/books.db", p->folder);
    assert_int_equal(db_open(&db, path, DB_WRITE, p->why, sizeof(p->why)), ERR_IO);
    assert_non_null(strstr(p->why, "No such file"));
    assert_int_equal(db_open(&db, p->folder, DB_WRITE, p->why, sizeof(p->why)), ERR_IO);
    junk = fopen(p->file, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is not a database ", junk);
    fclose(junk);
    assert_int_equal(db_open(&db, p->file, DB_WRITE, p->why, sizeof(p->why)), ERR_CORRUPT);
    assert_int_equal(db_open(&db, p->file, DB_READ, p->why, sizeof(p->why)), ERR_CORRUPT);
    assert_non_null(strstr(p->why, "not a database"));
    assert_null(db);
}

static void readers_beside_the_writer(void **state)
{
    struct place *p = *state;
    struct db *writer = filled(p), *reader = opened(p, DB_READ), *second;

    assert_int_equal(number(reader, "SELECT count(*) FROM t"), 1);
    assert_int_equal(run(reader, "INSERT INTO t VALUES (9)"), ERR_BUG);
    assert_int_equal(db_begin(reader), ERR_OK);
    assert_int_equal(number(reader, "SELECT count(*) FROM t"), 1);
    assert_int_equal(db_begin(writer), ERR_OK);
    assert_int_equal(run(writer, "INSERT INTO t VALUES (2)"), ERR_OK);
    second = opened(p, DB_READ); /* opens while a transaction is under way */
    assert_int_equal(number(second, "SELECT count(*) FROM t"), 1);
    assert_int_equal(db_commit(writer), ERR_OK);
    assert_int_equal(number(second, "SELECT count(*) FROM t"), 2);
    assert_int_equal(number(reader, "SELECT count(*) FROM t"), 1); /* its snapshot */
    db_rollback(reader);
    assert_int_equal(number(reader, "SELECT count(*) FROM t"), 2);
    db_close(writer); /* not the last one: the log stays */
    assert_true(exists(p, "-wal"));
    db_close(second);
    db_close(reader);
    assert_true(exists(p, "-wal")); /* and readers leave it alone */
    writer = opened(p, DB_WRITE);
    assert_int_equal(number(writer, "SELECT count(*) FROM t"), 2);
    db_close(writer);
    assert_false(exists(p, "-wal"));
    reader = opened(p, DB_READ); /* nobody runs, nothing is left */
    assert_int_equal(number(reader, "SELECT count(*) FROM t"), 2);
    db_close(reader);
}

/* A process that commits, and is killed with its log full and another transaction half done. */
static void kill_a_writer(struct place *p)
{
    int ready[2], status;
    char byte = 0;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct db *db = NULL;

        if (db_open(&db, p->file, DB_WRITE, p->why, sizeof(p->why)) != ERR_OK ||
            db_script(db, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2);"
                          "BEGIN IMMEDIATE; INSERT INTO t VALUES (3);") != ERR_OK)
            _exit(1);
        (void)!write(ready[1], &byte, 1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(exists(p, "-wal"));
}

static void readers_after_a_kill(void **state)
{
    struct place *p = *state;
    char shm[320];
    struct db *db;

    kill_a_writer(p);
    for (int round = 0; round < 2; round++) {
        db = opened(p, DB_READ);
        assert_int_equal(number(db, "SELECT count(*) FROM t"), 2);
        db_close(db);
        assert_true(exists(p, "-wal"));
        snprintf(shm, sizeof(shm), "%s-shm", p->file);
        assert_int_equal(unlink(shm), 0); /* as on a copy, or after the machine died */
    }
    db = opened(p, DB_WRITE);
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 2);
    db_close(db);
}

/* In a process of its own that may only read, as another user's would. */
static int as_stranger(struct place *p)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct db *db = NULL;
        enum err err;

        if (geteuid() == 0 && (setegid(65534) != 0 || seteuid(65534) != 0))
            _exit(99);
        err = db_open(&db, p->file, DB_READ, p->why, sizeof(p->why));
        if (err == ERR_OK && number(db, "SELECT count(*) FROM t") < 1)
            _exit(98);
        db_close(db);
        _exit((int)err);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void allow(struct place *p, const char *suffix, mode_t mode)
{
    char path[320];

    snprintf(path, sizeof(path), "%s%s", p->file, suffix);
    assert_int_equal(chmod(path, mode), 0);
}

static void readers_who_may_not_write(void **state)
{
    struct place *p = *state;
    struct db *db = filled(p);

    assert_int_equal(chmod(p->folder, 0555), 0);
    allow(p, "", 0444);
    allow(p, "-wal", 0444);
    allow(p, "-shm", 0444);
    assert_int_equal(as_stranger(p), ERR_OK); /* beside the writer */
    assert_int_equal(chmod(p->folder, 0755), 0);
    allow(p, "", 0);
    assert_int_equal(as_stranger(p), ERR_IO);
    db_close(db);
    allow(p, "", 0444);
    assert_int_equal(chmod(p->folder, 0555), 0);
    assert_int_equal(as_stranger(p), ERR_IO); /* nobody runs: -wal and -shm cannot be made */
    assert_int_equal(chmod(p->folder, 0755), 0);
}

static void a_full_disk_is_no_space(void **state)
{
    struct db *db = filled(*state);

    assert_int_equal(number(db, "PRAGMA max_page_count=10"), 10);
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(run(db,
                         "CREATE TABLE big AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT "
                         "i + 1 FROM n WHERE i < 1000) SELECT randomblob(1000) AS x FROM n"),
                     ERR_NO_SPACE);
    db_rollback(db);
    assert_false(db_in_transaction(db));
    assert_non_null(strstr(db_why(db), "full"));
    assert_int_equal(run(db, "INSERT INTO t VALUES (2)"), ERR_OK);
    db_close(db);
}

static void backup_is_whole_and_new(void **state)
{
    struct place *p = *state, copy = *p;
    struct db *db = filled(p), *reader, *there;

    assert_int_equal(run(db,
                         "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 "
                         "FROM n WHERE i < 200000) SELECT i FROM n"),
                     ERR_OK);
    reader = opened(p, DB_READ);
    snprintf(copy.file, sizeof(copy.file), "%s/copy ?#%%.db", p->folder);
    assert_int_equal(db_backup(reader, copy.file), ERR_OK);
    assert_int_equal(mode_of(&copy, ""), 0600);
    assert_false(exists(&copy, ".partial"));
    assert_int_equal(db_backup(db, copy.file), ERR_CONFLICT);
    there = opened(&copy, DB_READ);
    assert_int_equal(number(there, "SELECT count(*) FROM t"), 200000);
    db_close(there);
    there = opened(&copy, DB_WRITE); /* it is a book like the other */
    assert_int_equal(run(there, "DELETE FROM t"), ERR_OK);
    db_close(there);
    assert_int_equal(number(reader, "SELECT count(*) FROM t"), 200000);
    snprintf(copy.file, sizeof(copy.file), "%s/none/copy.db", p->folder);
    assert_int_equal(db_backup(db, copy.file), ERR_IO);
    assert_false(db_in_transaction(db));
    db_close(reader);
    db_close(db);
}

struct pairs {
    struct db *db;
    atomic_bool stop;
    atomic_int commits;
};

static void *write_pairs(void *arg)
{
    struct pairs *pairs = arg;

    while (!pairs->stop) {
        bool good = db_begin(pairs->db) == ERR_OK &&
                    run(pairs->db, "INSERT INTO t DEFAULT VALUES") == ERR_OK &&
                    run(pairs->db, "INSERT INTO t DEFAULT VALUES") == ERR_OK &&
                    db_commit(pairs->db) == ERR_OK;

        if (!good)
            abort();
        pairs->commits++;
    }
    return NULL;
}

/* Each backup is of one moment: a writer that is busy meanwhile never shows half a transaction. */
static void backup_beside_a_busy_writer(void **state)
{
    struct place *p = *state, copy = *p;
    struct pairs pairs = {.db = filled(p)};
    struct db *reader = opened(p, DB_READ), *there;
    pthread_t thread;

    assert_int_equal(run(pairs.db,
                         "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT "
                         "i + 1 FROM n WHERE i < 200001) SELECT i FROM n"),
                     ERR_OK);
    assert_int_equal(pthread_create(&thread, NULL, write_pairs, &pairs), 0);
    for (int i = 0; i < 5; i++) {
        int commits = pairs.commits;

        snprintf(copy.file, sizeof(copy.file), "%s/copy%d.db", p->folder, i);
        assert_int_equal(db_backup(reader, copy.file), ERR_OK);
        there = opened(&copy, DB_READ);
        assert_int_equal(number(there, "SELECT count(*) % 2 FROM t"), 1);
        assert_true(number(there, "SELECT count(*) FROM t") >= 200001 + 2 * commits);
        assert_int_equal(number(there, "SELECT count(*) FROM pragma_integrity_check "
                                       "WHERE integrity_check <> 'ok'"),
                         0);
        db_close(there);
    }
    pairs.stop = true;
    pthread_join(thread, NULL);
    db_close(reader);
    db_close(pairs.db);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(only_the_owner_may_read),
        IN_FOLDER(commits_are_durable),
        IN_FOLDER(odd_names),
        IN_FOLDER(what_cannot_be_opened),
        IN_FOLDER(readers_beside_the_writer),
        IN_FOLDER(readers_after_a_kill),
        IN_FOLDER(readers_who_may_not_write),
        IN_FOLDER(a_full_disk_is_no_space),
        IN_FOLDER(backup_is_whole_and_new),
        IN_FOLDER(backup_beside_a_busy_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
