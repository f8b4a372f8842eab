/* embedded: one process per file, its pid named, the folder made. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger/embedded.h"

struct fixture {
    char root[64], dir[128];
    char why[400];
};

static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof f);
    snprintf(f.root, sizeof f.root, "/tmp/subpay-test-XXXXXX");
    if (!mkdtemp(f.root))
        return -1;
    snprintf(f.dir, sizeof f.dir, "%s/a/b", f.root);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    static const char *const NAMES[] = {"subpay.db", "subpay.db-wal", "subpay.db-shm",
                                        "subpay.lock", ""};
    char path[256];
    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s", f->dir, NAMES[i]);
        (void)remove(path);
    }
    snprintf(path, sizeof path, "%s/a", f->root);
    (void)rmdir(path);
    return rmdir(f->root);
}

static enum err open_store(struct fixture *f, struct embedded **out)
{
    return embedded_open(out, f->dir, clock_real(), random_real(), f->why, sizeof f->why);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void the_folder_is_made_and_private(void **state)
{
    struct fixture *f = *state;
    struct embedded *e;
    char path[256];
    assert_int_equal(embedded_holder(f->dir), 0);
    assert_int_equal(open_store(f, &e), ERR_OK);
    assert_int_equal(mode_of(f->dir), 0700);
    embedded_path(f->dir, path, sizeof path);
    assert_int_equal(mode_of(path), 0600);
    snprintf(path, sizeof path, "%s/subpay.lock", f->dir);
    assert_int_equal(mode_of(path), 0600);
    embedded_close(e);
    assert_int_equal(open_store(f, &e), ERR_OK); /* and again over what is there */
    embedded_close(e);
}

static void a_second_one_is_refused_with_the_pid(void **state)
{
    struct fixture *f = *state;
    struct embedded *e, *second;
    char pid[32];
    assert_int_equal(open_store(f, &e), ERR_OK);
    assert_int_equal(embedded_holder(f->dir), getpid());
    assert_false(embedded_holder_migrates(f->dir));
    assert_int_equal(open_store(f, &second), ERR_LOCKED);
    snprintf(pid, sizeof pid, "in use by process %ld: ", (long)getpid());
    assert_non_null(strstr(f->why, pid));
    assert_int_equal(embedded_holder(f->dir), getpid()); /* asking took nothing away */
    embedded_close(e);
    assert_int_equal(embedded_holder(f->dir), 0);
    assert_int_equal(open_store(f, &e), ERR_OK);
    embedded_close(e);
}

static void the_lock_ends_with_its_process(void **state)
{
    struct fixture *f = *state;
    struct embedded *e;
    int fds[2];
    char ready;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (open_store(f, &e) != ERR_OK || write(fds[1], "!", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(fds[0], &ready, 1), 1);
    assert_int_equal(embedded_holder(f->dir), child);
    assert_int_equal(open_store(f, &e), ERR_LOCKED);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(embedded_holder(f->dir), 0); /* its pid is still in the file */
    assert_int_equal(open_store(f, &e), ERR_OK);
    embedded_close(e);
    close(fds[0]);
    close(fds[1]);
}

static void a_migrator_says_that_it_is_one(void **state)
{
    struct fixture *f = *state;
    int fd = -1, second = -1;
    assert_int_equal(embedded_lock(&fd, f->dir, true, f->why, sizeof f->why), ERR_OK);
    assert_true(embedded_holder_migrates(f->dir));
    assert_int_equal(embedded_lock(&second, f->dir, true, f->why, sizeof f->why), ERR_LOCKED);
    assert_int_equal(second, -1);
    embedded_unlock(fd);
    assert_false(embedded_holder_migrates(f->dir));
    embedded_unlock(-1);
}

static void a_folder_that_cannot_be_made_is_refused(void **state)
{
    struct fixture *f = *state;
    struct embedded *e;
    assert_int_equal(
        embedded_open(&e, "/proc/nobody/data", clock_real(), random_real(), f->why, sizeof f->why),
        ERR_INVALID);
    assert_non_null(strstr(f->why, "cannot be written: "));
    assert_int_equal(
        embedded_open(&e, "/dev/null", clock_real(), random_real(), f->why, sizeof f->why),
        ERR_INVALID);
    assert_string_equal(f->why, "is not a directory");
    char deep[5000];
    memset(deep, 'x', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    assert_int_equal(embedded_open(&e, deep, clock_real(), random_real(), f->why, sizeof f->why),
                     ERR_INVALID);
}

static void readers_work_beside_the_writer(void **state)
{
    struct fixture *f = *state;
    struct embedded *e;
    struct db *reader;
    struct query q;
    assert_int_equal(open_store(f, &e), ERR_OK);
    assert_int_equal(embedded_reader(e, &reader), ERR_OK);
    assert_int_equal(
        db_script(writer_db(embedded_writer(e)), "INSERT INTO accounts (user_id) VALUES ('x')"),
        ERR_OK);
    query_open(&q, reader, "SELECT count(*) FROM accounts");
    assert_true(query_next(&q));
    assert_int_equal(query_i64(&q, 0), 1);
    assert_int_equal(query_close(&q), ERR_OK);
    assert_true(db_script(reader, "DELETE FROM accounts") != ERR_OK);
    embedded_reader_close(e, reader);
    embedded_close(e);
    embedded_close(NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_folder_is_made_and_private),          T(a_second_one_is_refused_with_the_pid),
        T(the_lock_ends_with_its_process),          T(a_migrator_says_that_it_is_one),
        T(a_folder_that_cannot_be_made_is_refused), T(readers_work_beside_the_writer),
    };
    return cmocka_run_group_tests_name("embedded", tests, NULL, NULL);
}
