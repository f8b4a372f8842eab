/* base/db.h when PostgreSQL goes away, says nothing, or refuses; as test_db_postgres.c otherwise. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/db.h"
#include "postgres_bench.h"

static int64_t now_ms(void)
{
    return clock_boot_us(clock_real()) / US_PER_MS;
}

static enum err open_at(const char *url, char *why, size_t why_cap)
{
    struct db_postgres_settings s = {.url = url, .connect_ms = 300};
    struct db *db = NULL;
    enum err err = db_open_postgres(&db, &s, why, why_cap);

    db_close(db);
    return err;
}

/* The URL of the server with something in the place of …://HERE. */
static void url_with(char *out, size_t cap, const char *user, const char *password,
                     const char *database)
{
    const char *at = strchr(bench_url(), '@'), *slash = strrchr(bench_url(), '/');

    assert_non_null(at);
    snprintf(out, cap, "postgresql://%s:%s%.*s/%s", user, password, (int)(slash - at), at,
             database);
}

/* A port of 127.0.0.1 whose connections are taken by the kernel and then never answered. */
static int deaf_port(int *fd)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);

    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(*fd, 16), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&a, &len), 0);
    return ntohs(a.sin_port);
}

/* --- opening --------------------------------------------------------------------------------- */

static void a_url_that_is_none_is_refused_without_its_password(void **state)
{
    static const char *const URLS[] = {
        "",
        "host=127.0.0.1 password=hunter2",
        "mysql://u:hunter2@127.0.0.1/d",
        "postgresql://u:hunter2/x@127.0.0.1/d",
        "postgresql://u:12/hunter2@127.0.0.1/d",
        "postgresql://u:p@hunter2@127.0.0.1/d",
        "postgresql://u:hunter2%zz@127.0.0.1/d",
        "postgresql://u@127.0.0.1/d?passwort=hunter2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(URLS) / sizeof(*URLS); i++) {
        char why[300] = "";

        assert_int_equal(open_at(URLS[i], why, sizeof(why)), ERR_INVALID);
        assert_int_equal(strncmp(why, "not a URL of PostgreSQL: ", 25), 0);
        assert_null(strstr(why, "hunter2"));
        assert_null(strstr(why, "12/"));
    }
}

static void who_is_refused_is_told(void **state)
{
    char url[DB_URL_MAX], why[300];

    (void)state;
    url_with(url, sizeof(url), "subpay", "hunter2", "postgres");
    assert_int_equal(open_at(url, why, sizeof(why)), ERR_REFUSED);
    assert_non_null(strstr(why, "28P01"));
    assert_null(strstr(why, "hunter2"));
    url_with(url, sizeof(url), "hunter2", "hunter2", "postgres");
    assert_int_equal(open_at(url, why, sizeof(why)), ERR_REFUSED);
    assert_null(strstr(why, "hunter2")); /* also where it is the user's name */
    snprintf(url, sizeof(url), "%sx", bench_url());
    assert_int_equal(open_at(url, why, sizeof(why)), ERR_REFUSED);
    assert_non_null(strstr(why, "3D000"));
}

static void nobody_there_is_said_at_once_and_a_deaf_one_in_time(void **state)
{
    char url[100], why[300];
    int fd, port = deaf_port(&fd);
    int64_t began_ms = now_ms();

    (void)state;
    snprintf(url, sizeof(url), "postgresql://u:hunter2@127.0.0.1:%d/d", port);
    assert_int_equal(open_at(url, why, sizeof(why)), ERR_UNREACHABLE);
    assert_in_range(now_ms() - began_ms, 300, 2000);
    assert_string_equal(why, "no connection in time");
    close(fd);
    began_ms = now_ms();
    assert_int_equal(open_at(url, why, sizeof(why)), ERR_UNREACHABLE);
    assert_in_range(now_ms() - began_ms, 0, 250);
    assert_non_null(strstr(why, "refused"));
}

/* --- no answer ------------------------------------------------------------------------------- */

static void patience_ends_a_round_trip(void **state)
{
    struct db *db = bench_open(&(struct db_postgres_settings){0});
    int64_t began_ms = now_ms();

    (void)state;
    db_patience(db, 150);
    assert_int_equal(bench_run(db, "SELECT pg_sleep(20)"), ERR_UNREACHABLE);
    assert_in_range(now_ms() - began_ms, 150, 2000);
    assert_string_equal(db_why(db), "no answer in time");
    db_patience(db, 0);
    assert_int_equal(bench_number(db, "SELECT 1"), 1); /* on a new connection */
    db_close(db);
}

/* What we gave up does not go on holding locks. */
static void a_statement_given_up_ends_soon(void **state)
{
    struct db *db = bench_open(&(struct db_postgres_settings){0});
    int64_t until_ms;

    (void)state;
    db_patience(db, 100);
    assert_int_equal(bench_run(db, "SELECT pg_sleep(60), 'given up'"), ERR_UNREACHABLE);
    db_patience(db, 0);
    until_ms = now_ms() + 15000;
    while (bench_number(db, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE "
                            "'%''given up''%' AND pid <> pg_backend_pid()") > 0)
        assert_true(now_ms() < until_ms);
    db_close(db);
}

static void a_transaction_that_was_lost_does_not_go_on(void **state)
{
    struct db *db = bench_open(&(struct db_postgres_settings){0});

    (void)state;
    assert_int_equal(db_script(db, "CREATE TABLE once (id bigint)"), ERR_OK);
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(bench_run(db, "INSERT INTO once (id) VALUES (1)"), ERR_OK);
    db_patience(db, 100);
    assert_int_equal(bench_run(db, "SELECT pg_sleep(20)"), ERR_UNREACHABLE);
    db_patience(db, 0);
    assert_true(db_in_transaction(db));
    assert_int_equal(bench_run(db, "INSERT INTO once (id) VALUES (2)"), ERR_UNREACHABLE);
    assert_int_equal(db_commit(db), ERR_UNREACHABLE);
    assert_string_equal(db_why(db), "no answer in time");
    assert_false(db_in_transaction(db));
    assert_int_equal(bench_number(db, "SELECT count(*) FROM once"), 0);
    db_close(db);
}

/* As with SIGSTOP: the backend exists and says nothing. Only on this machine, and as its user. */
static void a_stopped_backend_costs_no_more_than_patience(void **state)
{
    struct db *db = bench_open(&(struct db_postgres_settings){0});
    pid_t pid = (pid_t)bench_number(db, "SELECT pg_backend_pid()");
    int64_t began_ms = now_ms();

    (void)state;
    if (kill(pid, SIGSTOP) != 0) {
        db_close(db);
        skip();
    }
    db_patience(db, 200);
    assert_int_equal(db_begin(db), ERR_UNREACHABLE);
    assert_in_range(now_ms() - began_ms, 200, 2000);
    assert_false(db_in_transaction(db));
    db_patience(db, 0); /* a new connection may take its time */
    assert_int_equal(db_begin(db), ERR_OK);
    assert_int_equal(db_commit(db), ERR_OK);
    db_close(db);
    kill(pid, SIGCONT);
}

static void *interrupter(void *ctx)
{
    struct db *other = bench_open(&(struct db_postgres_settings){0});

    while (bench_number(other, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE "
                               "'%''long''%' AND pid <> pg_backend_pid()") == 0)
        ;
    db_interrupt(ctx);
    db_close(other);
    return NULL;
}

static void another_thread_can_end_it(void **state)
{
    struct db *db = bench_open(&(struct db_postgres_settings){0});
    pthread_t thread;

    (void)state;
    db_interrupt(db); /* nothing is running: nothing happens */
    assert_int_equal(bench_number(db, "SELECT 1"), 1);
    assert_int_equal(pthread_create(&thread, NULL, interrupter, db), 0);
    assert_int_equal(bench_run(db, "SELECT pg_sleep(15), 'long'"), ERR_STOPPED);
    pthread_join(thread, NULL);
    assert_int_equal(bench_number(db, "SELECT 1"), 1);
    db_close(db);
}

static _Atomic int64_t end_boot_us = TIME_NEVER;

/* Once `db` sleeps on the server: it has so many ms left. */
static void *ender(void *unused)
{
    struct db *other = bench_open(&(struct db_postgres_settings){0});

    (void)unused;
    while (bench_number(other, "SELECT count(*) FROM pg_stat_activity WHERE pid <> "
                               "pg_backend_pid() AND query LIKE '%pg_sleep(16)%' "
                               "AND wait_event = 'PgSleep'") == 0)
        ;
    atomic_store(&end_boot_us, clock_boot_us(clock_real()) + 300 * US_PER_MS);
    db_close(other);
    return NULL;
}

static void what_is_under_way_ends_with_the_process(void **state)
{
    struct db *db = bench_open(&(struct db_postgres_settings){.end_boot_us = &end_boot_us});
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, ender, NULL), 0);
    assert_int_equal(bench_run(db, "SELECT pg_sleep(16)"), ERR_UNREACHABLE);
    pthread_join(thread, NULL);
    int64_t late_ms = now_ms() - end_boot_us / US_PER_MS;
    assert_in_range(late_ms + 1, 0, 1001);
    assert_string_equal(db_why(db), "no answer in time");
    int64_t began_ms = now_ms(); /* nor does anything begin */
    for (int i = 0; i < 10; i++)
        assert_int_equal(bench_run(db, "SELECT 1"), ERR_UNREACHABLE);
    assert_in_range(now_ms() - began_ms, 0, 1000);
    end_boot_us = TIME_NEVER;
    db_close(db);
}

/* --- gone ------------------------------------------------------------------------------------ */

static void one_that_was_closed_meanwhile_is_replaced_unnoticed(void **state)
{
    static const char KEPT[] = "SELECT CAST(?1 AS bigint) + 1";
    struct db *db = bench_open(&(struct db_postgres_settings){0});
    struct db *other = bench_open(&(struct db_postgres_settings){0});

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct query q;

        query_open(&q, db, KEPT);
        query_bind_i64(&q, i);
        assert_true(query_next(&q));
        assert_int_equal(query_i64(&q, 0), i + 1);
        assert_int_equal(query_close(&q), ERR_OK);
        bench_terminate(other, db);
    }
    assert_int_equal(db_begin(db), ERR_OK);
    bench_terminate(other, db);
    assert_int_equal(bench_run(db, "SELECT 1"), ERR_UNREACHABLE);
    assert_non_null(strstr(db_why(db), "57P01"));
    assert_int_equal(bench_run(db, "SELECT 1"), ERR_UNREACHABLE);
    db_rollback(db);
    assert_int_equal(bench_run(db, "SELECT 1"), ERR_OK);
    db_close(other);
    db_close(db);
}

static void allow(struct db *admin, const char *whether)
{
    char sql[160];

    snprintf(sql, sizeof(sql), "ALTER DATABASE %s ALLOW_CONNECTIONS %s",
             strrchr(bench_url(), '/') + 1, whether);
    assert_int_equal(db_script(admin, sql), ERR_OK);
}

static void reconnecting_is_paced(void **state)
{
    struct db *db = bench_open(&(struct db_postgres_settings){0});
    struct db *other = bench_open_beside();
    int64_t attempts = 0, calls = 0, until_ms;
    char first[300];

    (void)state;
    allow(other, "false");
    bench_terminate(other, db);
    assert_int_equal(bench_run(db, "SELECT 1"), ERR_UNREACHABLE); /* tried at once */
    snprintf(first, sizeof(first), "%s", db_why(db));
    assert_non_null(strstr(first, "not currently accepting connections"));
    until_ms = now_ms() + 1500;
    for (int64_t began_us; now_ms() < until_ms; calls++) {
        began_us = clock_boot_us(clock_real());
        assert_int_equal(bench_run(db, "SELECT 1"), ERR_UNREACHABLE);
        assert_string_equal(db_why(db), first);
        attempts += clock_boot_us(clock_real()) - began_us > 500;
    }
    assert_true(attempts * 10 < calls); /* most answer without having tried */
    allow(other, "true");
    until_ms = now_ms() + 10000;
    while (bench_run(db, "SELECT 1") != ERR_OK)
        assert_true(now_ms() < until_ms);
    db_close(other);
    db_close(db);
}

static void a_waiter_does_not_spin_while_there_is_no_connection(void **state)
{
    struct db *db = bench_open(&(struct db_postgres_settings){0});
    struct db *other = bench_open_beside();
    int64_t until_ms = now_ms() + 1000;
    bool notified = false;
    int calls = 0;

    (void)state;
    assert_int_equal(db_listen(db, "work"), ERR_OK);
    allow(other, "false");
    bench_terminate(other, db);
    for (; now_ms() < until_ms; calls++)
        assert_int_equal(db_wait_notification(db, DB_NO_LIMIT, -1, &notified), ERR_UNREACHABLE);
    assert_true(calls < 20);
    allow(other, "true");
    until_ms = now_ms() + 10000;
    while (db_wait_notification(db, DB_NO_LIMIT, -1, &notified) != ERR_OK)
        assert_true(now_ms() < until_ms);
    assert_true(notified);
    db_close(other);
    db_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_that_is_none_is_refused_without_its_password),
        cmocka_unit_test(who_is_refused_is_told),
        cmocka_unit_test(nobody_there_is_said_at_once_and_a_deaf_one_in_time),
        cmocka_unit_test(patience_ends_a_round_trip),
        cmocka_unit_test(a_statement_given_up_ends_soon),
        cmocka_unit_test(a_transaction_that_was_lost_does_not_go_on),
        cmocka_unit_test(a_stopped_backend_costs_no_more_than_patience),
        cmocka_unit_test(another_thread_can_end_it),
        cmocka_unit_test(what_is_under_way_ends_with_the_process),
        cmocka_unit_test(one_that_was_closed_meanwhile_is_replaced_unnoticed),
        cmocka_unit_test(reconnecting_is_paced),
        cmocka_unit_test(a_waiter_does_not_spin_while_there_is_no_connection),
    };

    if (!bench_server("SUBPAY_TEST_POSTGRES"))
        return 77;
    return cmocka_run_group_tests(tests, bench_create, bench_drop);
}
