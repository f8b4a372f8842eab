/* Group commit: what is committed together, what fails together, and what a caller may believe. */
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "writer_bench.h"

/* The closures of a test. Those on the stack of a test outlive it: each test waits for all. */
struct op {
    struct write write;
    int id;
    enum err answer;  /* what the closure returns after its insert */
    const char *then; /* run after the insert */
    enum err err;
    bool lost_transaction;
    struct bench *bench;
};

static enum err run_sql(struct db *db, const char *sql)
{
    struct query q;

    query_open(&q, db, sql);
    return query_run(&q);
}

static enum err insert_op(struct db *db, void *arg)
{
    struct op *op = arg;
    struct query q;
    enum err err;

    if (op->bench->ran < OPS + 2)
        op->bench->order[op->bench->ran++] = op->id;
    query_open(&q, db, "INSERT INTO t (id) VALUES (?1)");
    query_bind_i64(&q, op->id);
    err = query_run(&q);
    if (err == ERR_OK && op->then)
        err = run_sql(db, op->then);
    op->lost_transaction = !db_in_transaction(db);
    return err != ERR_OK ? err : op->answer;
}

static void op_told(struct write *write, enum err err)
{
    struct op *op = (struct op *)write;

    op->err = err;
    sem_post(&op->bench->told);
}

static enum err wait_at_gate(struct db *db, void *arg)
{
    struct bench *b = arg;

    (void)db;
    sem_post(&b->reached);
    sem_wait(&b->gate);
    return ERR_OK;
}

static void ops_prepare(struct bench *b, struct op *ops, int count)
{
    for (int i = 0; i < count; i++)
        ops[i] = (struct op){
            .write = {.run = insert_op, .done = op_told, .arg = &ops[i]},
            .id = i,
            .err = ERR_COUNT,
            .bench = b,
        };
}

/* The writer is held in a closure until all are waiting, so that what is together is no matter of
 * luck. */
static void ops_run_together(struct bench *b, struct op *ops, int count)
{
    struct write gate = {.run = wait_at_gate, .arg = b};

    thread_start(b);
    assert_int_equal(writer_submit(b->writer, &gate), ERR_OK);
    sem_wait(&b->reached);
    for (int i = 0; i < count; i++)
        assert_int_equal(writer_submit(b->writer, &ops[i].write), ERR_OK);
    sem_post(&b->gate);
    for (int i = 0; i < count; i++)
        sem_wait(&b->told);
}

static void without_a_thread_each_is_a_transaction(void **state)
{
    struct bench *b = *state;
    struct op ops[4];

    ops_prepare(b, ops, 4);
    ops[1].answer = ERR_CONFLICT;
    assert_int_equal(writer_do(b->writer, insert_op, &ops[0]), ERR_OK);
    assert_int_equal(writer_do(b->writer, insert_op, &ops[1]), ERR_CONFLICT);
    assert_int_equal(writer_submit(b->writer, &ops[2].write), ERR_OK);
    assert_int_equal(ops[2].err, ERR_OK); /* told before it returned */
    assert_int_equal(stored(b, "SELECT sum(id) FROM t"), 2);
    assert_counts(b, 3, 2);
    assert_false(db_in_transaction(writer_db(b->writer)));
    writer_stop(b->writer);
    assert_int_equal(writer_do(b->writer, insert_op, &ops[3]), ERR_STOPPED);
    assert_int_equal(writer_submit(b->writer, &ops[3].write), ERR_STOPPED);
    assert_int_equal(ops[3].err, ERR_COUNT);
}

static void what_waits_shares_a_commit(void **state)
{
    struct bench *b = *state;
    struct op ops[OPS];

    ops_prepare(b, ops, OPS);
    ops_run_together(b, ops, OPS);
    for (int i = 0; i < OPS; i++) {
        assert_int_equal(ops[i].err, ERR_OK);
        assert_int_equal(b->order[i], i);
    }
    assert_int_equal(stored(b, "SELECT count(*) FROM t"), OPS);
    assert_counts(b, OPS + 1, 2); /* 64 with the gate, 37 */
}

static void a_group_ends_with_its_time(void **state)
{
    struct bench *b = *state;
    struct op ops[OPS];

    b->clock.step_us = WRITER_BUDGET_US / 4; /* one look at the clock a closure */
    ops_prepare(b, ops, OPS - 1);
    ops_run_together(b, ops, OPS - 1);
    assert_int_equal(stored(b, "SELECT count(*) FROM t"), OPS - 1);
    assert_counts(b, OPS, OPS / 4);
}

static void first_ones_go_first(void **state)
{
    struct bench *b = *state;
    struct op ops[6];
    static const int ORDER[] = {3, 5, 0, 1, 2, 4};

    ops_prepare(b, ops, 6);
    ops[3].write.first = ops[5].write.first = true;
    ops_run_together(b, ops, 6);
    assert_memory_equal(b->order, ORDER, sizeof(ORDER));
}

static void one_that_fails_takes_nobody_along(void **state)
{
    struct bench *b = *state;
    struct op ops[10];

    ops_prepare(b, ops, 10);
    for (int i = 0; i < 10; i += 3)
        ops[i].answer = ERR_REFUSED;
    ops[5].id = 4; /* there already */
    ops_run_together(b, ops, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ops[i].err, i % 3 == 0 ? ERR_REFUSED : i == 5 ? ERR_CONFLICT : ERR_OK);
    assert_int_equal(stored(b, "SELECT count(*) FROM t"), 5);
    assert_int_equal(stored(b, "SELECT sum(id) FROM t"), 1 + 2 + 4 + 7 + 8);
    assert_counts(b, 11, 1);
}

static enum err refuse_at_gate(struct db *db, void *arg)
{
    struct op *op = arg;

    (void)wait_at_gate(db, op->bench);
    return insert_op(db, op);
}

/* The first closure of a transaction has no savepoint: when it fails, the others begin anew. */
static void the_first_that_fails_takes_nobody_along(void **state)
{
    struct bench *b = *state;
    struct op ops[5];

    ops_prepare(b, ops, 5);
    ops[0].write.run = refuse_at_gate;
    ops[0].answer = ops[1].answer = ops[3].answer = ERR_REFUSED;
    thread_start(b);
    assert_int_equal(writer_submit(b->writer, &ops[0].write), ERR_OK);
    sem_wait(&b->reached);
    for (int i = 1; i < 5; i++)
        assert_int_equal(writer_submit(b->writer, &ops[i].write), ERR_OK);
    sem_post(&b->gate);
    for (int i = 0; i < 5; i++)
        sem_wait(&b->told);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ops[i].err, i == 2 || i == 4 ? ERR_OK : ERR_REFUSED);
    assert_int_equal(stored(b, "SELECT sum(id) FROM t"), 6);
    assert_counts(b, 5, 1);
}

/* The one row of a statement without a journal of its own: SQLite gives the whole transaction
 * up. */
static void a_lost_transaction_fails_the_group(void **state)
{
    struct bench *b = *state;
    struct op ops[5], again;

    assert_int_equal(run_sql(writer_db(b->writer), "PRAGMA max_page_count=20"), ERR_OK);
    ops_prepare(b, ops, 5);
    ops[2].then = "UPDATE t SET x = randomblob(1000000) WHERE id = 2";
    ops_run_together(b, ops, 5);
    assert_true(ops[2].lost_transaction);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ops[i].err, ERR_NO_SPACE);
    for (int i = 3; i < 5; i++)
        assert_int_equal(ops[i].err, ERR_OK); /* they had not run: the next group */
    assert_int_equal(stored(b, "SELECT group_concat(id, '') = '34' FROM t"), 1);
    assert_counts(b, 6, 1);
    ops_prepare(b, &again, 1); /* a repeat helps: there is room for the small one */
    assert_int_equal(writer_do(b->writer, insert_op, &again), ERR_OK);
}

/* SQLite kept the transaction: only the closure fails, whatever the error is. */
static void a_kept_transaction_keeps_the_others(void **state)
{
    struct bench *b = *state;
    struct op ops[5];

    assert_int_equal(run_sql(writer_db(b->writer), "PRAGMA max_page_count=20"), ERR_OK);
    ops_prepare(b, ops, 5);
    ops[2].then = "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n "
                  "WHERE i < 200) SELECT i, randomblob(2000) FROM n";
    ops_run_together(b, ops, 5);
    assert_false(ops[2].lost_transaction);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ops[i].err, i == 2 ? ERR_NO_SPACE : ERR_OK);
    assert_int_equal(stored(b, "SELECT group_concat(id, '') = '0134' FROM t"), 1);
    assert_counts(b, 6, 1);
}

/* A closure that hides what happened to the transaction does not make the others believe in it. */
static enum err hide_a_loss(struct db *db, void *arg)
{
    (void)insert_op(db, arg);
    db_rollback(db);
    return ERR_OK;
}

static void a_hidden_loss_is_noticed(void **state)
{
    struct bench *b = *state;
    struct op ops[3];

    ops_prepare(b, ops, 3);
    ops[1].write.run = hide_a_loss;
    ops_run_together(b, ops, 3);
    assert_int_equal(ops[0].err, ERR_IO);
    assert_int_equal(ops[1].err, ERR_IO);
    assert_int_equal(ops[2].err, ERR_OK);
    assert_int_equal(stored(b, "SELECT sum(id) FROM t"), 2);
}

static void a_failed_commit_fails_the_group(void **state)
{
    struct bench *b = *state;
    struct op ops[4];

    ops_prepare(b, ops, 4);
    ops[1].then = "INSERT INTO late VALUES (99)";
    ops[2].answer = ERR_REFUSED;
    ops_run_together(b, ops, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ops[i].err, i == 2 ? ERR_REFUSED : ERR_CONFLICT);
    assert_int_equal(stored(b, "SELECT count(*) FROM t"), 0);
    assert_counts(b, 5, 0);
}

static enum err count_only(struct db *db, void *arg)
{
    (void)db;
    (*(int *)arg)++;
    return ERR_OK;
}

static void the_queue_has_a_limit_and_is_finished(void **state)
{
    struct bench *b = *state;
    struct write gate = {.run = wait_at_gate, .arg = b};
    struct write *writes = calloc(WRITER_QUEUE_MAX + 1, sizeof(*writes));
    int ran = 0;

    assert_non_null(writes);
    thread_start(b);
    assert_int_equal(writer_submit(b->writer, &gate), ERR_OK);
    sem_wait(&b->reached);
    for (int i = 0; i < WRITER_QUEUE_MAX; i++) {
        writes[i] = (struct write){.run = count_only, .arg = &ran};
        assert_int_equal(writer_submit(b->writer, &writes[i]), ERR_OK);
    }
    assert_int_equal(writer_submit(b->writer, &writes[WRITER_QUEUE_MAX]), ERR_BUSY);
    assert_int_equal(writer_do(b->writer, count_only, &ran), ERR_BUSY);
    writer_stop(b->writer);
    assert_int_equal(writer_do(b->writer, count_only, &ran), ERR_STOPPED);
    sem_post(&b->gate);
    thread_stop(b);
    assert_int_equal(ran, WRITER_QUEUE_MAX);
    free(writes);
}

static void submit_the_next(struct write *write, enum err err)
{
    struct op *op = (struct op *)write;

    op->err = err;
    assert_int_equal(writer_submit(op->bench->writer, &op[1].write), ERR_OK);
}

static void an_end_may_begin_the_next(void **state)
{
    struct bench *b = *state;
    struct op ops[2];

    ops_prepare(b, ops, 2);
    ops[0].write.done = submit_the_next;
    thread_start(b);
    assert_int_equal(writer_submit(b->writer, &ops[0].write), ERR_OK);
    sem_wait(&b->told);
    assert_int_equal(ops[1].err, ERR_OK);
    assert_counts(b, 2, 2);
}

int main(void)
{
#define ON_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_open, bench_close)
    const struct CMUnitTest tests[] = {
        ON_BENCH(without_a_thread_each_is_a_transaction),
        ON_BENCH(what_waits_shares_a_commit),
        ON_BENCH(a_group_ends_with_its_time),
        ON_BENCH(first_ones_go_first),
        ON_BENCH(one_that_fails_takes_nobody_along),
        ON_BENCH(the_first_that_fails_takes_nobody_along),
        ON_BENCH(a_lost_transaction_fails_the_group),
        ON_BENCH(a_kept_transaction_keeps_the_others),
        ON_BENCH(a_hidden_loss_is_noticed),
        ON_BENCH(a_failed_commit_fails_the_group),
        ON_BENCH(the_queue_has_a_limit_and_is_finished),
        ON_BENCH(an_end_may_begin_the_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
