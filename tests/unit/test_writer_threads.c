/* The writer under many threads, with a thread that comes late, and killed. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "writer_bench.h"

#define THREADS 8
#define OPS_EACH 300

struct caller {
    struct bench *bench;
    pthread_t thread;
    int number, acked;
    int report; /* a pipe, or -1 */
};

static enum err insert_number(struct db *db, void *arg)
{
    struct query q;

    query_open(&q, db, "INSERT INTO t (id) VALUES (?1)");
    query_bind_i64(&q, *(int *)arg);
    return query_run(&q);
}

static void *call_many(void *arg)
{
    struct caller *c = arg;

    for (int i = 0; i < OPS_EACH; i++) {
        int id = c->number * 1000000 + i;

        if (writer_do(c->bench->writer, insert_number, &id) != ERR_OK)
            abort();
        c->acked++;
        if (c->report >= 0 && write(c->report, &id, sizeof(id)) != sizeof(id))
            abort();
    }
    return NULL;
}

static void callers_start(struct bench *b, struct caller *callers, int report)
{
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.bench = b, .number = i, .report = report};
        if (pthread_create(&callers[i].thread, NULL, call_many, &callers[i]) != 0)
            abort();
    }
}

static void many_threads_share_commits(void **state)
{
    struct bench *b = *state;
    struct caller callers[THREADS];
    int64_t closures, commits;

    thread_start(b);
    callers_start(b, callers, -1);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].acked, OPS_EACH);
    }
    assert_int_equal(stored(b, "SELECT count(*) FROM t"), THREADS * OPS_EACH);
    writer_counts(b->writer, &closures, &commits);
    closures -= b->closures;
    commits -= b->commits;
    assert_int_equal(closures, THREADS * OPS_EACH);
    assert_true(commits > 0 && commits < closures / 2);
}

/* Callers that began in their own threads go on in the writer's. */
static void the_thread_may_come_later(void **state)
{
    struct bench *b = *state;
    struct caller callers[THREADS];

    callers_start(b, callers, -1);
    thread_begin(b);
    for (int i = 0; i < THREADS; i++)
        pthread_join(callers[i].thread, NULL);
    thread_stop(b);
    assert_int_equal(stored(b, "SELECT count(*) FROM t"), THREADS * OPS_EACH);
}

static void child_works_until_killed(struct bench *b, int report)
{
    struct caller callers[THREADS];
    struct db *db = NULL;
    char why[100];

    if (db_open(&db, b->file, DB_WRITE, why, sizeof(why)) != ERR_OK ||
        writer_open(&b->writer, db, clock_real()) != ERR_OK ||
        pthread_create(&b->thread, NULL, writer_thread, b->writer) != 0)
        abort();
    callers_start(b, callers, report);
    for (;;)
        pause();
}

/* What a caller was told survives SIGKILL at any moment, and a reader finds it at once. */
static void what_was_told_survives_a_kill(void **state)
{
    struct bench *b = *state;
    int ids[THREADS * OPS_EACH], acked = 0, report[2], status;
    struct db *db = NULL;
    char why[100];
    pid_t child;

    writer_close(b->writer); /* the child is the only writer */
    b->writer = NULL;
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        child_works_until_killed(b, report[1]);
    close(report[1]);
    while (acked < THREADS * OPS_EACH / 3) {
        assert_int_equal(read(report[0], &ids[acked], sizeof(int)), sizeof(int));
        acked++;
    }
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    while (acked < THREADS * OPS_EACH && read(report[0], &ids[acked], sizeof(int)) == sizeof(int))
        acked++;
    close(report[0]);
    assert_int_equal(db_open(&db, b->file, DB_READ, why, sizeof(why)), ERR_OK);
    for (int i = 0; i < acked; i++) {
        struct query q;

        query_open(&q, db, "SELECT 1 FROM t WHERE id = ?1");
        query_bind_i64(&q, ids[i]);
        assert_true(query_next(&q));
        assert_int_equal(query_close(&q), ERR_OK);
    }
    db_close(db);
    assert_int_equal(db_open(&db, b->file, DB_WRITE, why, sizeof(why)), ERR_OK);
    assert_int_equal(writer_open(&b->writer, db, &b->clock.clock), ERR_OK);
}

static enum err count_only(struct db *db, void *arg)
{
    (void)db;
    (*(int *)arg)++;
    return ERR_OK;
}

static enum err call_again(struct db *db, void *arg)
{
    int n = 0;

    (void)db;
    return writer_do(arg, count_only, &n);
}

/* A closure that waits for another would wait for ever: it is a bug, and stops at once. */
static void a_closure_calls_no_closure(void **state)
{
    struct bench *b = *state;
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        (void)!writer_do(b->writer, call_again, b->writer);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int main(void)
{
#define ON_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_open, bench_close)
    const struct CMUnitTest tests[] = {
        ON_BENCH(many_threads_share_commits),
        ON_BENCH(the_thread_may_come_later),
        ON_BENCH(what_was_told_survives_a_kill),
        ON_BENCH(a_closure_calls_no_closure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
