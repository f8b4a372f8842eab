/* base/db.h on a real PostgreSQL, in a database of its own that it makes and removes. The URL of a
 * superuser is in SUBPAY_TEST_POSTGRES; tests/postgres.py brings a server. What happens when the
 * server does not answer is in test_db_postgres_faults.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/db.h"
#include "base/db_array.h"
#include "postgres_bench.h"

static struct db *db; /* of the test that runs */

static int fresh(void **state)
{
    (void)state;
    db = bench_open(&(struct db_postgres_settings){0});
    return db_script(db, "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
                         "CREATE TABLE t (id bigint PRIMARY KEY, a text, at timestamptz, u uuid,"
                         "b bytea, yes boolean)") == ERR_OK
               ? 0
               : -1;
}

static int closed(void **state)
{
    (void)state;
    db_close(db);
    return 0;
}

/* --- values ---------------------------------------------------------------------------------- */

static void values_come_back(void **state)
{
    const struct uuid id = UUID_SUBPAY;
    struct uuid read;
    struct query q;
    size_t len;

    (void)state;
    query_open(&q, db,
               "SELECT CAST(?1 AS bigint), ?2, ?3, ?4, CAST(?5 AS bytea), CAST(?6 AS uuid), "
               "CAST(?7 AS uuid), CAST(?8 AS timestamptz), CAST(?9 AS boolean), 1 = 2, "
               "CAST(?10 AS bytea), CAST(?11 AS timestamptz), ?12 AS named");
    query_bind_i64(&q, INT64_MIN);
    query_bind_text(&q, "it's \"ünï\" \\ ?1");
    query_bind_text(&q, NULL);
    query_bind_text_n(&q, "abcdef", 3);
    query_bind_blob(&q, "a\0b\xff", 4);
    query_bind_uuid(&q, &id);
    query_bind_uuid(&q, NULL);
    query_bind_time(&q, 1);
    query_bind_i64(&q, 1);
    query_bind_blob(&q, "", 0);
    query_bind_time(&q, TIME_NEVER);
    query_bind_null(&q);
    assert_true(query_next(&q));
    assert_int_equal(query_i64(&q, 0), INT64_MIN);
    assert_string_equal(query_text(&q, 1), "it's \"ünï\" \\ ?1");
    assert_true(query_is_null(&q, 2));
    assert_string_equal(query_text(&q, 2), "");
    assert_string_equal(query_text(&q, 3), "abc");
    assert_memory_equal(query_blob(&q, 4, &len), "a\0b\xff", 4);
    assert_int_equal(len, 4);
    read = query_uuid(&q, 5);
    assert_true(uuid_equal(&read, &id));
    read = query_uuid(&q, 6);
    assert_true(uuid_is_nil(&read));
    assert_int_equal(query_time(&q, 7), 1);
    assert_int_equal(query_i64(&q, 8), 1);
    assert_string_equal(query_text(&q, 9), "0");
    (void)query_blob(&q, 10, &len);
    assert_int_equal(len, 0);
    assert_false(query_is_null(&q, 10));
    assert_int_equal(query_time(&q, 11), TIME_NEVER);
    assert_int_equal(query_columns(&q), 13);
    assert_string_equal(query_column_name(&q, 12), "named");
    assert_false(query_next(&q));
    assert_false(query_next(&q)); /* it has not begun again */
    assert_int_equal(query_close(&q), ERR_OK);
}

static void times_read_in_the_stored_form(void **state)
{
    static const char *const TIMES[][2] = {
        {"2026-11-24 09:44:56.123456+00", "2026-11-24T09:44:56.123456Z"},
        {"2026-11-24 09:44:56.5+00", "2026-11-24T09:44:56.500000Z"},
        {"2026-11-24 12:44:56+03", "2026-11-24T09:44:56.000000Z"},
        {"9999-12-31 23:59:59.999999+00", "9999-12-31T23:59:59.999999Z"},
        {"1970-01-01 00:00:00+00", "1970-01-01T00:00:00.000000Z"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(TIMES) / sizeof(*TIMES); i++) {
        struct query q;

        query_open(&q, db, "SELECT CAST(?1 AS timestamptz)");
        query_bind_text(&q, TIMES[i][0]);
        assert_true(query_next(&q));
        assert_string_equal(query_text(&q, 0), TIMES[i][1]);
        assert_int_not_equal(query_time(&q, 0), TIME_NEVER);
        assert_int_equal(query_close(&q), ERR_OK);
    }
}

static enum err reading(const char *sql, bool as_time)
{
    struct query q;

    query_open(&q, db, sql);
    if (query_next(&q)) {
        if (as_time)
            (void)query_time(&q, 0);
        else
            (void)query_uuid(&q, 0);
    }
    return query_close(&q);
}

static void what_does_not_parse_is_corrupt(void **state)
{
    (void)state;
    assert_int_equal(reading("SELECT CAST('infinity' AS timestamptz)", true), ERR_CORRUPT);
    assert_int_equal(reading("SELECT CAST('0044-03-15 BC' AS timestamptz)", true), ERR_CORRUPT);
    assert_int_equal(reading("SELECT 'yesterday'", true), ERR_CORRUPT);
    assert_int_equal(reading("SELECT 'no id'", false), ERR_CORRUPT);
    assert_non_null(strstr(db_why(db), "no id"));
}

/* What looks like a parameter in a text, a name or a comment is none. */
static void parameters_are_told_from_texts(void **state)
{
    struct query q;

    (void)state;
    query_open(
        &q, db,
        "SELECT '?1''?2' AS \"?3\", ?1 /* ?4 ' */ -- ?5 '\n , CAST('{\"a\":1}' AS jsonb) ? 'a'");
    query_bind_text(&q, "x");
    assert_true(query_next(&q));
    assert_string_equal(query_text(&q, 0), "?1'?2");
    assert_string_equal(query_column_name(&q, 0), "?3");
    assert_string_equal(query_text(&q, 1), "x");
    assert_int_equal(query_i64(&q, 2), 1);
    assert_int_equal(query_close(&q), ERR_OK);
}

static void arrays_keep_their_elements(void **state)
{
    static const char *const TEXTS[] = {"", "NULL", "a,b", "{}", "\"\\\"", " ünï\n", "it's"};
    const size_t count = sizeof(TEXTS) / sizeof(*TEXTS);
    struct db_array texts, ids, numbers, times, blobs;
    struct db_array *all[] = {&texts, &ids, &numbers, &times, &blobs};
    struct query q;
    size_t len;

    (void)state;
    for (size_t i = 0; i < 5; i++)
        db_array_init(all[i], 4096);
    for (size_t i = 0; i < count; i++) {
        db_array_text(&texts, TEXTS[i]);
        db_array_uuid(&ids, i % 2 ? &UUID_SUBPAY : NULL);
        db_array_i64(&numbers, INT64_MIN + (int64_t)i);
        db_array_time(&times, i % 2 ? TIME_NEVER : (int64_t)i);
        db_array_blob(&blobs, i % 2 ? "\0\xff" : NULL, 2);
    }
    query_open(&q, db,
               "SELECT * FROM unnest(CAST(?1 AS text[]), CAST(?2 AS uuid[]), CAST(?3 AS bigint[]), "
               "CAST(?4 AS timestamptz[]), CAST(?5 AS bytea[])) WITH ORDINALITY");
    for (size_t i = 0; i < 5; i++)
        query_bind_array(&q, all[i]);
    for (size_t i = 0; i < count; i++) {
        assert_true(query_next(&q));
        assert_string_equal(query_text(&q, 0), TEXTS[i]);
        assert_false(query_is_null(&q, 0));
        assert_int_equal(query_is_null(&q, 1), i % 2 == 0);
        assert_int_equal(query_i64(&q, 2), INT64_MIN + (int64_t)i);
        assert_int_equal(query_time(&q, 3), i % 2 ? TIME_NEVER : (int64_t)i);
        assert_int_equal(query_is_null(&q, 4), i % 2 == 0);
        if (i % 2)
            assert_memory_equal(query_blob(&q, 4, &len), "\0\xff", 2);
    }
    assert_false(query_next(&q));
    assert_int_equal(query_close(&q), ERR_OK);
    for (size_t i = 0; i < 5; i++)
        db_array_release(all[i]);
}

/* The wire's own forms of what the store gave as text, and nulls before it is known of what. */
static void arrays_of_what_the_store_gave(void **state)
{
    struct db_array ids, places, documents, nulls;
    struct db_array *all[] = {&ids, &places, &documents, &nulls};
    struct query q;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        db_array_init(all[i], 4096);
        db_array_null(all[i]);
    }
    db_array_uuid_text(&ids, "2d0c5c0e-6f5b-4b7e-8a53-0a4f6c1d9e77");
    db_array_place(&places, "(4294967294,65535)");
    db_array_json(&documents, "{\"a\": [\"\\\"\", null]}");
    db_array_null(&nulls);
    query_open(&q, db,
               "SELECT i::text, p::text, d::text, t::text FROM unnest(?1::uuid[], ?2::tid[], "
               "?3::jsonb[], ?4::timestamptz[]) AS u (i, p, d, t)");
    for (size_t i = 0; i < 4; i++)
        query_bind_array(&q, all[i]);
    assert_true(query_next(&q));
    for (int column = 0; column < 4; column++)
        assert_true(query_is_null(&q, column));
    assert_true(query_next(&q));
    assert_string_equal(query_text(&q, 0), "2d0c5c0e-6f5b-4b7e-8a53-0a4f6c1d9e77");
    assert_string_equal(query_text(&q, 1), "(4294967294,65535)");
    assert_string_equal(query_text(&q, 2), "{\"a\": [\"\\\"\", null]}");
    assert_true(query_is_null(&q, 3));
    assert_false(query_next(&q));
    assert_int_equal(query_close(&q), ERR_OK);
    for (size_t i = 0; i < 4; i++)
        db_array_release(all[i]);
}

/* Before 1970, to the microsecond, and past the last year: as texts had them. */
static void times_keep_their_microseconds(void **state)
{
    static const struct {
        int64_t at_us;
        const char *text;
    } TIMES[] = {
        {-1, "1970-01-01T00:00:00.000000Z"},
        {INT64_C(946684799999999), "1999-12-31T23:59:59.999999Z"},
        {INT64_C(1764000000100000), "2025-11-24T16:00:00.100000Z"},
        {INT64_C(1764000000000000), "2025-11-24T16:00:00.000000Z"},
        {TIME_NEVER - 1, "9999-12-31T23:59:59.999999Z"},
    };
    struct db_array times;
    struct query q;

    (void)state;
    db_array_init(&times, 4096);
    for (size_t i = 0; i < sizeof(TIMES) / sizeof(*TIMES); i++)
        db_array_time(&times, TIMES[i].at_us);
    query_open(&q, db, "SELECT * FROM unnest(?1::timestamptz[])");
    query_bind_array(&q, &times);
    for (size_t i = 0; i < sizeof(TIMES) / sizeof(*TIMES); i++) {
        assert_true(query_next(&q));
        assert_string_equal(query_text(&q, 0), TIMES[i].text);
    }
    assert_int_equal(query_close(&q), ERR_OK);
    db_array_release(&times);
}

static void arrays_are_bounded_and_empty_ones_work(void **state)
{
    struct db_array a;
    struct query q;

    (void)state;
    db_array_init(&a, 16);
    query_open(&q, db, "SELECT count(*) FROM unnest(CAST(?1 AS text[]))");
    query_bind_array(&q, &a);
    assert_true(query_next(&q));
    assert_int_equal(query_i64(&q, 0), 0);
    assert_int_equal(query_close(&q), ERR_OK);
    db_array_text(&a, "longer than that is");
    query_open(&q, db, "SELECT count(*) FROM unnest(CAST(?1 AS text[]))");
    query_bind_array(&q, &a);
    assert_false(query_next(&q));
    assert_int_equal(query_close(&q), ERR_NO_MEMORY);
    db_array_release(&a);
}

/* More than any buffer between the two holds, in both directions. */
static void large_values_pass(void **state)
{
    const size_t len = 20 << 20;
    char *text = malloc(len + 1);
    struct query q;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', len);
    text[len] = '\0';
    query_open(&q, db, "SELECT ?1, ?1, length(?1)");
    query_bind_text(&q, text);
    assert_true(query_next(&q));
    assert_int_equal(query_i64(&q, 2), len);
    assert_memory_equal(query_text(&q, 1), text, len);
    assert_int_equal(query_close(&q), ERR_OK);
    free(text);
}

/* --- statements ------------------------------------------------------------------------------ */

static void a_text_may_be_open_twice_and_is_prepared_once(void **state)
{
    static const char SERIES[] = "SELECT generate_series(1, ?1)";
    struct query a, b;

    (void)state;
    query_open(&a, db, SERIES);
    query_bind_i64(&a, 2);
    assert_true(query_next(&a));
    query_open(&b, db, SERIES);
    query_bind_i64(&b, 1);
    assert_true(query_next(&b));
    assert_false(query_next(&b));
    assert_true(query_next(&a));
    assert_int_equal(query_i64(&a, 0), 2);
    assert_int_equal(query_close(&a), ERR_OK);
    assert_int_equal(query_close(&b), ERR_OK);
    query_open(&a, db, SERIES);
    query_bind_i64(&a, 2);
    assert_int_equal(query_run(&a), ERR_OK);
    assert_int_equal(bench_number(db, "SELECT count(*) FROM pg_prepared_statements "
                                      "WHERE statement LIKE '%generate_series(1, $1)'"),
                     1);
}

static void another_text_at_the_same_address_is_another_statement(void **state)
{
    char text[] = "SELECT 1";

    (void)state;
    assert_int_equal(bench_number(db, text), 1);
    text[7] = '2';
    assert_int_equal(bench_number(db, text), 2);
}

static void many_statements_find_their_place(void **state)
{
    static char texts[1100][24];

    (void)state;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 1100; i++) {
            snprintf(texts[i], sizeof(texts[i]), "SELECT %d", i);
            assert_int_equal(bench_number(db, texts[i]), i);
        }
}

static void a_migration_beside_it_costs_one_repeat(void **state)
{
    static const char ALL[] = "SELECT * FROM t";
    struct db *other = bench_open(&(struct db_postgres_settings){0});

    (void)state;
    assert_int_equal(bench_run(db, ALL), ERR_OK);
    assert_int_equal(db_script(other, "ALTER TABLE t ADD COLUMN more text"), ERR_OK);
    assert_int_equal(bench_run(db, ALL), ERR_BUSY);
    assert_int_equal(bench_run(db, ALL), ERR_OK);
    db_close(other);
}

static void changes_are_counted(void **state)
{
    (void)state;
    assert_int_equal(bench_run(db, "INSERT INTO t (id) SELECT generate_series(1, 5)"), ERR_OK);
    assert_int_equal(db_changes(db), 5);
    assert_int_equal(bench_run(db, "UPDATE t SET a = 'x' WHERE id < 4 RETURNING id"), ERR_OK);
    assert_int_equal(db_changes(db), 3);
    assert_int_equal(bench_number(db, "SELECT count(*) FROM t"), 5);
    assert_int_equal(db_changes(db), 3);
    assert_int_equal(bench_run(db, "DELETE FROM t WHERE id > 100"), ERR_OK);
    assert_int_equal(db_changes(db), 0);
}

static void a_script_is_all_or_nothing(void **state)
{
    (void)state;
    assert_int_equal(db_script(db, "INSERT INTO t (id) VALUES (1); INSERT INTO t (id) VALUES (2)"),
                     ERR_OK);
    assert_int_equal(db_script(db, "INSERT INTO t (id) VALUES (3); INSERT INTO t (id) VALUES (1)"),
                     ERR_CONFLICT);
    assert_int_equal(bench_number(db, "SELECT count(*) FROM t"), 2);
    assert_int_equal(db_script(db, ""), ERR_BUG);
    assert_int_equal(db_script(db, "COPY t TO STDOUT"), ERR_BUG);
    assert_int_equal(bench_number(db, "SELECT count(*) FROM t"), 2);
}

static void note(void *ctx, const char *sql)
{
    snprintf(ctx, 100, "%s", sql);
}

static void a_hook_sees_what_is_sent(void **state)
{
    char seen[100] = "";

    (void)state;
    db_hook(db, note, seen);
    assert_int_equal(bench_number(db, "SELECT 41 + 1"), 42);
    assert_string_equal(seen, "SELECT 41 + 1");
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(strncmp(seen, "BEGIN", 5), 0);
    assert_int_equal(db_commit(db), ERR_OK);
    assert_string_equal(seen, "COMMIT");
    db_hook(db, NULL, NULL);
    assert_int_equal(bench_number(db, "SELECT 43"), 43);
    assert_string_equal(seen, "COMMIT");
}

/* --- errors and transactions ----------------------------------------------------------------- */

static void errors_have_their_meaning(void **state)
{
    struct query q;

    (void)state;
    assert_int_equal(bench_run(db, "INSERT INTO t (id) VALUES (1)"), ERR_OK);
    assert_int_equal(bench_run(db, "INSERT INTO t (id) VALUES (1)"), ERR_CONFLICT);
    assert_non_null(strstr(db_why(db), "Key (id)=(1) already exists."));
    assert_non_null(strstr(db_why(db), "23505"));
    assert_int_equal(bench_run(db, "SELEC 1"), ERR_BUG);
    assert_int_equal(bench_run(db, "SELECT 1; SELECT 2"), ERR_BUG);
    assert_int_equal(bench_run(db, "SELECT ?1, ?2"), ERR_BUG); /* none was bound */
    query_open(&q, db, "SELECT ?1");
    query_bind_text_n(&q, "a\0b", 3);
    assert_int_equal(query_run(&q), ERR_INVALID);
    assert_int_equal(bench_number(db, "SELECT 1"), 1); /* it is of use still */
}

static void the_first_error_ends_a_transaction(void **state)
{
    (void)state;
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(db_begin(db), ERR_BUG);
    assert_int_equal(bench_run(db, "INSERT INTO t (id) VALUES (1)"), ERR_OK);
    assert_int_equal(bench_run(db, "INSERT INTO t (id) VALUES (1)"), ERR_CONFLICT);
    assert_int_equal(bench_run(db, "SELECT 1"), ERR_CONFLICT);
    assert_int_equal(db_script(db, "SELECT 1"), ERR_CONFLICT);
    assert_true(db_in_transaction(db));
    assert_int_equal(db_commit(db), ERR_CONFLICT);
    assert_false(db_in_transaction(db));
    assert_non_null(strstr(db_why(db), "23505"));
    assert_int_equal(bench_number(db, "SELECT count(*) FROM t"), 0);
    assert_int_equal(db_commit(db), ERR_BUG);
    db_rollback(db);
}

static void what_is_deferred_fails_the_commit(void **state)
{
    (void)state;
    assert_int_equal(
        db_script(db, "CREATE TABLE late (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)"),
        ERR_OK);
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(bench_run(db, "INSERT INTO late (id) VALUES (1), (1)"), ERR_OK);
    assert_int_equal(db_commit(db), ERR_CONFLICT);
    assert_false(db_in_transaction(db));
    assert_int_equal(bench_number(db, "SELECT count(*) FROM late"), 0);
}

static void begin_tells_the_time_of_the_server(void **state)
{
    int64_t before_us, now_us = 0, after_us;
    struct query q;

    (void)state;
    before_us = clock_wall_us(clock_real()) - US_PER_S;
    assert_int_equal(db_begin_now(db, &now_us), ERR_OK);
    after_us = clock_wall_us(clock_real()) + US_PER_S;
    assert_in_range(now_us, before_us, after_us);
    query_open(&q, db, "SELECT CAST(?1 AS timestamptz) <= clock_timestamp()");
    query_bind_time(&q, now_us);
    assert_true(query_next(&q));
    assert_int_equal(query_i64(&q, 0), 1);
    assert_int_equal(query_close(&q), ERR_OK);
    assert_int_equal(db_commit(db), ERR_OK);
}

static void a_reader_sees_one_moment_and_writes_only_to_its_own_tables(void **state)
{
    struct db *reader = bench_open(&(struct db_postgres_settings){.mode = DB_READ});

    (void)state;
    assert_int_equal(db_script(reader, "CREATE TEMPORARY TABLE mine (id bigint)"), ERR_OK);
    assert_int_equal(db_begin(reader), ERR_OK);
    assert_int_equal(bench_number(reader, "SELECT count(*) FROM t"), 0);
    assert_int_equal(bench_run(db, "INSERT INTO t (id) VALUES (1)"), ERR_OK);
    assert_int_equal(bench_run(reader, "INSERT INTO mine (id) VALUES (1)"), ERR_OK);
    assert_int_equal(bench_number(reader, "SELECT count(*) FROM t"), 0);
    assert_int_equal(bench_run(reader, "INSERT INTO t (id) VALUES (2)"), ERR_BUG);
    db_rollback(reader);
    assert_int_equal(bench_number(reader, "SELECT count(*) FROM t"), 1);
    db_close(reader);
}

static void locks_and_statements_have_limits(void **state)
{
    struct db *other =
        bench_open(&(struct db_postgres_settings){.lock_ms = 50, .statement_ms = 5000});
    struct db *slow = bench_open(&(struct db_postgres_settings){.statement_ms = 50});

    (void)state;
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(bench_run(db, "LOCK TABLE t"), ERR_OK);
    assert_int_equal(bench_run(other, "SELECT count(*) FROM t"), ERR_BUSY);
    assert_non_null(strstr(db_why(other), "55P03"));
    assert_int_equal(bench_run(slow, "SELECT pg_sleep(30)"), ERR_BUSY);
    assert_non_null(strstr(db_why(slow), "57014"));
    assert_int_equal(db_commit(db), ERR_OK);
    assert_int_equal(bench_run(other, "SELECT count(*) FROM t"), ERR_OK);
    db_close(other);
    db_close(slow);
}

/* --- sessions -------------------------------------------------------------------------------- */

static void the_session_is_as_stated(void **state)
{
    (void)state;
    assert_false(db_pooled(db));
    assert_true(db_is_postgres(db));
    assert_int_equal(
        bench_number(db, "SELECT count(*) FROM (VALUES ('client_encoding', 'UTF8'), "
                         "('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'), "
                         "('standard_conforming_strings', 'on'), ('application_name', 'subpay'), "
                         "('lock_timeout', '5s'), ('statement_timeout', '20s'), "
                         "('idle_in_transaction_session_timeout', '30s')) AS want (name, value) "
                         "WHERE current_setting(name) = value"),
        8);
    assert_int_equal(bench_number(db, "SELECT least(3, NULL, 2) + greatest(NULL, 40, 4)"), 42);
}

static void a_notification_wakes(void **state)
{
    struct db *waiter = bench_open(&(struct db_postgres_settings){0});
    int wake_fd = eventfd(0, EFD_CLOEXEC);
    bool notified = true;

    (void)state;
    assert_int_equal(db_listen(waiter, "work"), ERR_OK);
    assert_int_equal(db_wait_notification(waiter, 10, -1, &notified), ERR_OK);
    assert_false(notified);
    assert_int_equal(bench_run(db, "SELECT pg_notify('work', '')"), ERR_OK);
    assert_int_equal(db_wait_notification(waiter, DB_NO_LIMIT, wake_fd, &notified), ERR_OK);
    assert_true(notified);
    assert_int_equal(write(wake_fd, &(uint64_t){1}, 8), 8);
    assert_int_equal(db_wait_notification(waiter, DB_NO_LIMIT, wake_fd, &notified), ERR_OK);
    assert_false(notified);
    bench_terminate(db, waiter);
    assert_int_equal(db_wait_notification(waiter, DB_NO_LIMIT, -1, &notified), ERR_OK);
    assert_true(notified); /* it may have missed something meanwhile */
    assert_int_equal(bench_run(db, "SELECT pg_notify('work', '')"), ERR_OK);
    assert_int_equal(db_wait_notification(waiter, DB_NO_LIMIT, -1, &notified), ERR_OK);
    assert_true(notified);
    close(wake_fd);
    db_close(waiter);
}

static void production_wants_durable_commits(void **state)
{
    char why[200] = "";
    struct db *weak;

    (void)state;
    assert_int_equal(db_postgres_fit(db, why, sizeof(why)), ERR_OK);
    assert_int_equal(db_script(db, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET "
                                   "synchronous_commit = off', current_database()); END $$"),
                     ERR_OK);
    weak = bench_open(&(struct db_postgres_settings){0});
    assert_int_equal(db_postgres_fit(weak, why, sizeof(why)), ERR_REFUSED);
    assert_string_equal(why,
                        "PostgreSQL runs with synchronous_commit=off; allowed: on, remote_apply");
    db_close(weak);
    assert_int_equal(db_script(db, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET "
                                   "synchronous_commit', current_database()); END $$"),
                     ERR_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, closed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_come_back),
        TEST(times_read_in_the_stored_form),
        TEST(what_does_not_parse_is_corrupt),
        TEST(parameters_are_told_from_texts),
        TEST(arrays_keep_their_elements),
        TEST(arrays_of_what_the_store_gave),
        TEST(times_keep_their_microseconds),
        TEST(arrays_are_bounded_and_empty_ones_work),
        TEST(large_values_pass),
        TEST(a_text_may_be_open_twice_and_is_prepared_once),
        TEST(another_text_at_the_same_address_is_another_statement),
        TEST(many_statements_find_their_place),
        TEST(a_migration_beside_it_costs_one_repeat),
        TEST(changes_are_counted),
        TEST(a_script_is_all_or_nothing),
        TEST(a_hook_sees_what_is_sent),
        TEST(errors_have_their_meaning),
        TEST(the_first_error_ends_a_transaction),
        TEST(what_is_deferred_fails_the_commit),
        TEST(begin_tells_the_time_of_the_server),
        TEST(a_reader_sees_one_moment_and_writes_only_to_its_own_tables),
        TEST(locks_and_statements_have_limits),
        TEST(the_session_is_as_stated),
        TEST(a_notification_wakes),
        TEST(production_wants_durable_commits),
    };

    if (!bench_server("SUBPAY_TEST_POSTGRES"))
        return 77;
    return cmocka_run_group_tests(tests, bench_create, bench_drop);
}
