/* base/db.h through a pooler that gives every transaction another backend (PgBouncer 1.18). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/db.h"
#include "postgres_bench.h"

static struct db *db;

static int opened(void **state)
{
    (void)state;
    db = bench_open(&(struct db_postgres_settings){.lock_ms = 50, .statement_ms = 2000});
    return 0;
}

static int closed(void **state)
{
    (void)state;
    db_close(db);
    return 0;
}

static void the_pooler_is_noticed(void **state)
{
    (void)state;
    assert_true(db_pooled(db));
    assert_int_equal(db_listen(db, "work"), ERR_REFUSED);
    assert_int_equal(bench_number(db, "SELECT 1"), 1);
}

/* Also while the backends change under it. */
static void statements_and_values_work_on_any_backend(void **state)
{
    struct db *others[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        others[i] = bench_open(&(struct db_postgres_settings){0});
    for (int round = 0; round < 20; round++) {
        struct db *busy = others[round % 3];
        struct query q;

        assert_int_equal(db_begin(busy), ERR_OK);
        assert_int_equal(bench_run(busy, "SELECT 1"), ERR_OK);
        query_open(&q, db, "SELECT CAST(?1 AS timestamptz), CAST(?2 AS bigint)");
        query_bind_time(&q, round);
        query_bind_i64(&q, round);
        assert_true(query_next(&q));
        assert_int_equal(query_time(&q, 0), round);
        assert_int_equal(query_i64(&q, 1), round);
        assert_int_equal(query_close(&q), ERR_OK);
        assert_int_equal(db_commit(busy), ERR_OK);
    }
    for (int i = 0; i < 3; i++)
        db_close(others[i]);
}

static void limits_are_those_of_the_transaction_alone(void **state)
{
    int64_t now_us = 0;

    (void)state;
    assert_int_equal(db_begin_now(db, &now_us), ERR_OK);
    assert_true(now_us > 0);
    assert_int_equal(bench_number(db, "SELECT count(*) FROM (VALUES ('lock_timeout', '50ms'), "
                                      "('statement_timeout', '2s')) AS want (name, value) "
                                      "WHERE current_setting(name) = value"),
                     2);
    assert_int_equal(db_commit(db), ERR_OK);
    assert_int_equal(bench_number(db, "SELECT count(*) WHERE current_setting('lock_timeout') = "
                                      "'50ms'"),
                     0);
}

static void a_lock_is_waited_for_as_long_as_stated(void **state)
{
    struct db *other = bench_open(&(struct db_postgres_settings){0});

    (void)state;
    assert_int_equal(db_script(db, "CREATE TABLE pooled (id bigint)"), ERR_OK);
    assert_int_equal(db_begin(other), ERR_OK);
    assert_int_equal(bench_run(other, "LOCK TABLE pooled"), ERR_OK);
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(bench_run(db, "SELECT count(*) FROM pooled"), ERR_BUSY);
    assert_int_equal(db_commit(db), ERR_BUSY);
    db_close(other); /* in its transaction */
    while (bench_run(db, "SELECT count(*) FROM pooled") != ERR_OK)
        ;
}

static void what_is_given_up_is_replaced(void **state)
{
    (void)state;
    db_patience(db, 150);
    assert_int_equal(bench_run(db, "SELECT pg_sleep(20)"), ERR_UNREACHABLE);
    db_patience(db, 0);
    assert_int_equal(bench_number(db, "SELECT 1"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, opened, closed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_pooler_is_noticed),
        TEST(statements_and_values_work_on_any_backend),
        TEST(limits_are_those_of_the_transaction_alone),
        TEST(a_lock_is_waited_for_as_long_as_stated),
        TEST(what_is_given_up_is_replaced),
    };

    if (!bench_server("SUBPAY_TEST_POSTGRES_POOLED"))
        return 77;
    return cmocka_run_group_tests(tests, bench_create, bench_drop);
}
