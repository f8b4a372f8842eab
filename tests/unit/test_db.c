/* Statements, errors and transactions of one connection; files are in test_db_files.c. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/db.h"

/* Looked at when the transaction is committed. */
static const char LATE[] = "CREATE TABLE late (id INTEGER PRIMARY KEY, "
                           "t INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)";

static int open_memory(void **state)
{
    struct db *db = NULL;
    char why[100];

    if (db_open(&db, NULL, DB_MEMORY, why, sizeof(why)) != ERR_OK)
        return -1;
    *state = db;
    return db_script(db, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b BLOB) STRICT;"
                         "CREATE TABLE child (id INTEGER PRIMARY KEY, "
                         "t INTEGER NOT NULL REFERENCES t (id)) STRICT;") == ERR_OK
               ? 0
               : -1;
}

static int close_memory(void **state)
{
    db_close(*state);
    return 0;
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

/* As PostgreSQL has them: nulls are ignored. */
static void least_and_greatest_ignore_nulls(void **state)
{
    struct query q;

    query_open(&q, *state,
               "SELECT least(3, NULL, -2, 9223372036854775807), greatest(3, NULL, -2), "
               "least(NULL, NULL), greatest('2026-01-01T', NULL, '2025-12-31T', '2026-01-01'), "
               "least('b', 'a'), greatest(9007199254740993, 9007199254740992), least(1.5, 2)");
    assert_true(query_next(&q));
    assert_int_equal(query_i64(&q, 0), -2);
    assert_int_equal(query_i64(&q, 1), 3);
    assert_true(query_is_null(&q, 2));
    assert_string_equal(query_text(&q, 3), "2026-01-01T");
    assert_string_equal(query_text(&q, 4), "a");
    assert_int_equal(query_i64(&q, 5), 9007199254740993);
    assert_string_equal(query_text(&q, 6), "1.5");
    assert_int_equal(query_close(&q), ERR_OK);
}

/* An index and a check may use them: they are deterministic and innocuous. */
static void least_and_greatest_may_stand_in_a_schema(void **state)
{
    struct db *db = *state;

    assert_int_equal(db_script(db, "CREATE TABLE bounds (a INTEGER, b INTEGER, "
                                   "CHECK (greatest(a, b) < 10));"
                                   "CREATE INDEX bounds_least ON bounds (least(a, b));"),
                     ERR_OK);
    assert_int_equal(run(db, "INSERT INTO bounds VALUES (9, NULL)"), ERR_OK);
    assert_int_equal(run(db, "INSERT INTO bounds VALUES (1, 10)"), ERR_CONFLICT);
}

static void values_come_back(void **state)
{
    struct db *db = *state;
    struct uuid id = UUID_SUBPAY;
    char short_lived[] = "copied";
    struct query q;
    size_t len;

    query_open(&q, db,
               "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, length(?11), typeof(?11) AS kind");
    query_bind_i64(&q, INT64_MIN);
    query_bind_text(&q, short_lived);
    query_bind_text(&q, NULL);
    query_bind_text_n(&q, "abcdef", 3);
    query_bind_blob(&q, "a\0b", 3);
    query_bind_uuid(&q, &id);
    query_bind_uuid(&q, NULL);
    query_bind_time(&q, 1);
    query_bind_time(&q, TIME_NEVER);
    query_bind_null(&q);
    query_bind_blob(&q, "", 0);
    memset(short_lived, 'x', sizeof(short_lived) - 1);
    assert_true(query_next(&q));
    assert_true(query_i64(&q, 0) == INT64_MIN);
    assert_string_equal(query_text(&q, 1), "copied");
    assert_true(query_is_null(&q, 2));
    assert_string_equal(query_text(&q, 2), "");
    assert_string_equal(query_text(&q, 3), "abc");
    assert_memory_equal(query_blob(&q, 4, &len), "a\0b", 3);
    assert_int_equal(len, 3);
    id = query_uuid(&q, 5);
    assert_true(uuid_equal(&id, &UUID_SUBPAY));
    assert_string_equal(query_text(&q, 5), "2d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e21");
    id = query_uuid(&q, 6);
    assert_true(uuid_is_nil(&id));
    assert_string_equal(query_text(&q, 7), "1970-01-01T00:00:00.000001Z");
    assert_true(query_time(&q, 7) == 1);
    assert_true(query_is_null(&q, 8));
    assert_true(query_time(&q, 8) == TIME_NEVER);
    assert_true(query_is_null(&q, 9));
    assert_int_equal(query_i64(&q, 10), 0);
    assert_string_equal(query_text(&q, 11), "blob");
    assert_int_equal(query_columns(&q), 12);
    assert_string_equal(query_column_name(&q, 11), "kind");
    assert_false(query_next(&q));
    assert_false(query_next(&q)); /* not once more from the start */
    assert_int_equal(query_close(&q), ERR_OK);
}

static void bindings_do_not_outlive_a_query(void **state)
{
    static const char SQL[] = "SELECT ?1";
    struct query q;

    query_open(&q, *state, SQL);
    query_bind_text(&q, "secret");
    assert_int_equal(query_run(&q), ERR_OK);
    query_open(&q, *state, SQL);
    assert_true(query_next(&q));
    assert_true(query_is_null(&q, 0));
    assert_int_equal(query_close(&q), ERR_OK);
}

static void damaged_values_fail_the_query(void **state)
{
    static const char *const IDS[] = {"", "x", "2d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e2g"};
    static const char *const TIMES[] = {"", "2026-11-24", "2026-11-24T06:35:48Z",
                                        "2026-11-24T06:35:48.000000+00:00",
                                        "2026-11-24 06:35:48.000000Z"};
    struct query q;

    for (size_t i = 0; i < sizeof(IDS) / sizeof(*IDS); i++) {
        query_open(&q, *state, "SELECT ?1 AS user_id UNION ALL SELECT 2");
        query_bind_text(&q, IDS[i]);
        assert_true(query_next(&q));
        (void)query_uuid(&q, 0);
        assert_false(query_next(&q));
        assert_int_equal(query_close(&q), ERR_CORRUPT);
        assert_non_null(strstr(db_why(*state), "user_id"));
    }
    for (size_t i = 0; i < sizeof(TIMES) / sizeof(*TIMES); i++) {
        query_open(&q, *state, "SELECT ?1");
        query_bind_text(&q, TIMES[i]);
        assert_true(query_next(&q));
        assert_true(query_time(&q, 0) == TIME_NEVER);
        assert_int_equal(query_close(&q), ERR_CORRUPT);
    }
}

static void errors_are_sorted(void **state)
{
    struct db *db = *state;
    struct query q;

    assert_int_equal(run(db, "INSERT INTO t (id) VALUES (1)"), ERR_OK);
    assert_int_equal(run(db, "INSERT INTO t (id) VALUES (1)"), ERR_CONFLICT);
    assert_non_null(strstr(db_why(db), "UNIQUE"));
    assert_int_equal(run(db, "INSERT INTO child VALUES (1, 99)"), ERR_CONFLICT);
    assert_int_equal(run(db, "INSERT INTO t (id, a) VALUES (2, x'00')"), ERR_CONFLICT); /* STRICT */
    assert_int_equal(run(db, "SELECT nothing FROM t"), ERR_BUG);
    assert_int_equal(run(db, "SELECT \"no such column\""), ERR_BUG);
    assert_int_equal(run(db, ""), ERR_BUG);
    assert_int_equal(run(db, "SELECT 1; DELETE FROM t"), ERR_BUG);
    assert_int_equal(run(db, "SELECT 1; -- with a word behind it\n"), ERR_OK);
    assert_int_equal(db_script(db, "SELECT 1; SELECT nothing"), ERR_BUG);
    query_open(&q, db, "SELECT ?1");
    query_bind_i64(&q, 1);
    query_bind_i64(&q, 2); /* one too many */
    assert_false(query_next(&q));
    assert_int_equal(query_close(&q), ERR_BUG);
    assert_int_equal(query_close(&q), ERR_BUG); /* twice is harmless */
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 1);
}

/* With RETURNING, a failure in the first step looks like "no rows". */
static void failed_returning_is_reported(void **state)
{
    struct db *db = *state;
    struct query q;

    assert_int_equal(run(db, "INSERT INTO t (id) VALUES (1), (2)"), ERR_OK);
    query_open(&q, db, "UPDATE t SET id = 2 WHERE id = 1 RETURNING id");
    assert_false(query_next(&q));
    assert_int_equal(query_close(&q), ERR_CONFLICT);
}

/* What was not read to its end commits in query_close, or fails there. */
static void returning_left_early_is_whole(void **state)
{
    struct db *db = *state;
    struct query q;

    assert_int_equal(run(db, "INSERT INTO t (id) VALUES (1), (2), (3)"), ERR_OK);
    query_open(&q, db, "UPDATE t SET a = 'x' RETURNING id");
    assert_true(query_next(&q));
    assert_int_equal(query_close(&q), ERR_OK);
    assert_int_equal(number(db, "SELECT count(*) FROM t WHERE a = 'x'"), 3);
    assert_int_equal(run(db, LATE), ERR_OK);
    query_open(&q, db, "INSERT INTO late VALUES (1, 1), (2, 99) RETURNING id");
    assert_true(query_next(&q));
    assert_int_equal(query_close(&q), ERR_CONFLICT);
    assert_false(db_in_transaction(db));
    assert_int_equal(number(db, "SELECT count(*) FROM late"), 0);
}

static int depth_of(struct db *db, int depth)
{
    struct query q;
    int sum = 0;

    query_open(&q, db, "SELECT id FROM t ORDER BY id");
    while (query_next(&q))
        sum += (int)query_i64(&q, 0) + (depth > 0 ? depth_of(db, depth - 1) : 0);
    assert_int_equal(query_close(&q), ERR_OK);
    return sum;
}

static void the_same_text_may_be_open_twice(void **state)
{
    assert_int_equal(run(*state, "INSERT INTO t (id) VALUES (1), (2)"), ERR_OK);
    assert_int_equal(depth_of(*state, 3), 45);
}

static void a_text_that_changed_is_not_mixed_up(void **state)
{
    char sql[64];

    for (int i = 0; i < 3; i++) {
        snprintf(sql, sizeof(sql), "SELECT %d", i + 1);
        assert_int_equal(number(*state, sql), i + 1);
        snprintf(sql, sizeof(sql), "SELECT %d", i + 10); /* begins like the first one */
        assert_int_equal(number(*state, sql), i + 10);
    }
}

/* More texts than are kept; each at an address of its own. */
static void the_cache_has_a_limit(void **state)
{
    enum { TEXTS = 1500, SIZE = 32 };
    char *texts = malloc(TEXTS * SIZE);

    assert_non_null(texts);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < TEXTS; i++) {
            snprintf(texts + i * SIZE, SIZE, "SELECT %d", i);
            assert_int_equal(number(*state, texts + i * SIZE), i);
        }
    free(texts);
}

static void transactions(void **state)
{
    struct db *db = *state;

    assert_false(db_in_transaction(db));
    db_rollback(db);
    assert_int_equal(db_begin(db), ERR_OK);
    assert_true(db_in_transaction(db));
    assert_int_equal(db_begin(db), ERR_BUG);
    assert_int_equal(run(db, "INSERT INTO t (id) VALUES (1), (2), (3)"), ERR_OK);
    assert_int_equal(db_changes(db), 3);
    db_rollback(db);
    assert_false(db_in_transaction(db));
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 0);
    assert_int_equal(db_commit(db), ERR_BUG);
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(run(db, "INSERT INTO t (id) VALUES (1)"), ERR_OK);
    assert_int_equal(db_commit(db), ERR_OK);
    assert_int_equal(number(db, "SELECT count(*) FROM t"), 1);
}

/* A commit that cannot be leaves nothing behind, neither rows nor an open transaction. */
static void failed_commit_rolls_back(void **state)
{
    struct db *db = *state;

    assert_int_equal(db_script(db,
                               "CREATE TABLE late (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t "
                               "(id) DEFERRABLE INITIALLY DEFERRED)"),
                     ERR_OK);
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(run(db, "INSERT INTO late VALUES (1, 99)"), ERR_OK);
    assert_int_equal(db_commit(db), ERR_CONFLICT);
    assert_non_null(strstr(db_why(db), "FOREIGN KEY"));
    assert_false(db_in_transaction(db));
    assert_int_equal(number(db, "SELECT count(*) FROM late"), 0);
}

struct long_call {
    struct db *db;
    atomic_bool ended;
};

/* Counts only while the statement runs, so it is repeated until that has ended. */
static void *interrupt_it(void *arg)
{
    struct long_call *call = arg;

    while (!call->ended) {
        db_interrupt(call->db);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

static void a_long_call_can_be_ended(void **state)
{
    struct long_call call = {.db = *state};
    pthread_t thread;
    enum err err;

    assert_int_equal(pthread_create(&thread, NULL, interrupt_it, &call), 0);
    err = run(*state, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                      "SELECT count(*) FROM n");
    call.ended = true;
    pthread_join(thread, NULL);
    assert_int_equal(err, ERR_STOPPED);
}

int main(void)
{
#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, open_memory, close_memory)
    const struct CMUnitTest tests[] = {
        IN_MEMORY(values_come_back),
        IN_MEMORY(least_and_greatest_ignore_nulls),
        IN_MEMORY(least_and_greatest_may_stand_in_a_schema),
        IN_MEMORY(bindings_do_not_outlive_a_query),
        IN_MEMORY(damaged_values_fail_the_query),
        IN_MEMORY(errors_are_sorted),
        IN_MEMORY(failed_returning_is_reported),
        IN_MEMORY(returning_left_early_is_whole),
        IN_MEMORY(the_same_text_may_be_open_twice),
        IN_MEMORY(a_text_that_changed_is_not_mixed_up),
        IN_MEMORY(the_cache_has_a_limit),
        IN_MEMORY(transactions),
        IN_MEMORY(failed_commit_rolls_back),
        IN_MEMORY(a_long_call_can_be_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
