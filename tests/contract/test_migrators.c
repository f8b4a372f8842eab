/* Migrations on PostgreSQL beside other migrators and running services, and through a pooler. */
#include "migrations_bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_MS 20000

struct migrator {
    pthread_t thread;
    struct db *db;
    const struct migrations *list;
    const char *target;
    struct str report;
    char why[1024];
    enum err err;
    bool down;
    /* called before each statement */
    void (*hook)(struct migrator *m, const char *sql);
    struct bench *bench;
    int seen;
};

static void hooked(void *ctx, const char *sql)
{
    struct migrator *m = ctx;
    if (m->hook)
        m->hook(m, sql);
}

static void *migrate(void *ctx)
{
    struct migrator *m = ctx;
    m->err = m->down
                 ? migrations_downgrade(m->list, m->db, m->target, false, &m->report, m->why,
                                        sizeof m->why)
                 : migrations_upgrade(m->list, m->db, m->target, &m->report, m->why, sizeof m->why);
    return NULL;
}

static void migrator_start(struct migrator *m, struct bench *b, const char *target)
{
    m->db = bench_connect(b, DB_WRITE);
    m->list = b->own;
    m->bench = b;
    m->target = target;
    str_init(&m->report, 65536);
    db_hook(m->db, hooked, m);
    assert_int_equal(pthread_create(&m->thread, NULL, migrate, m), 0);
}

static enum err migrator_join(struct migrator *m)
{
    pthread_join(m->thread, NULL);
    db_close(m->db);
    return m->err;
}

static int lines(const struct str *s)
{
    int n = 0;
    for (const char *p = s->data; *p; p++)
        n += *p == '\n';
    return n;
}

/* Waits until the query says 1; false: it never did. */
static bool comes_true(struct db *db, const char *sql)
{
    for (int i = 0; i < PATIENCE_MS / 10; i++) {
        struct query q;
        query_open(&q, db, sql);
        bool yes = query_next(&q) && query_i64(&q, 0) > 0;
        if (query_close(&q) != ERR_OK)
            return false;
        if (yes)
            return true;
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000L}, NULL);
    }
    return false;
}

#define SOMEBODY_WAITS(type)                                                                       \
    "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "                    \
    "WHERE NOT l.granted AND l.locktype = '" type "' AND d.datname = current_database()"

static void waits_for_the_other(struct migrator *m, const char *sql)
{
    if (m->seen == 0 && strstr(sql, "INSERT INTO schema_migrations")) {
        struct db *db = bench_connect(m->bench, DB_WRITE);
        m->seen = comes_true(db, SOMEBODY_WAITS("advisory")) ? 1 : -1;
        db_close(db);
    }
}

static void a_second_migrator_waits(void **state)
{
    struct bench *b = bench_ready(state);
    struct migrator first = {.hook = waits_for_the_other}, second = {.hook = NULL};
    migrator_start(&first, b, "head");
    migrator_start(&second, b, "head");
    assert_int_equal(migrator_join(&first), ERR_OK);
    assert_int_equal(migrator_join(&second), ERR_OK);
    assert_int_equal(first.seen, 1);
    assert_int_equal(lines(&first.report) + lines(&second.report), migrations_head(b->own));
    assert_int_equal(bench_number(b, "SELECT count(*) FROM schema_migrations"),
                     migrations_head(b->own));
    assert_string_equal(bench_differences(b), "");
    str_release(&first.report);
    str_release(&second.report);
}

static void many_migrators_at_once(void **state)
{
    struct bench *b = bench_ready(state);
    struct migrator all[6] = {{.hook = NULL}};
    int done = 0;
    for (int i = 0; i < 6; i++)
        migrator_start(&all[i], b, "head");
    for (int i = 0; i < 6; i++) {
        if (migrator_join(&all[i]) != ERR_OK)
            fail_msg("%s", all[i].why);
        done += lines(&all[i].report);
        str_release(&all[i].report);
    }
    assert_int_equal(done, migrations_head(b->own));
    assert_string_equal(bench_differences(b), "");
}

/* ---- beside services ---- */

static struct db *holder(struct bench *b, const char *sql)
{
    struct db *db = bench_connect(b, DB_WRITE);
    assert_int_equal(db_begin(db), ERR_OK);
    if (db_script(db, sql) != ERR_OK)
        fail_msg("%s", db_why(db));
    return db;
}

static void counts_tries(struct migrator *m, const char *sql)
{
    m->seen += strstr(sql, "pg_advisory_xact_lock") != NULL;
}

/* A long transaction of a service ends while a migrator tries: it gets its turn. */
static void a_lock_that_goes_away_is_waited_for(void **state)
{
    struct bench *b = bench_ready(state);
    struct migrator m = {.hook = counts_tries};
    assert_int_equal(bench_up(b, b->own, "1"), ERR_OK);
    struct db *service = holder(b, "SELECT * FROM attempts");
    migrator_start(&m, b, "2");
    assert_true(comes_true(b->db, SOMEBODY_WAITS("relation")));
    assert_int_equal(db_commit(service), ERR_OK);
    assert_int_equal(migrator_join(&m), ERR_OK);
    assert_string_equal(m.report.data, "upgraded to 0002_rules\n");
    str_release(&m.report);
    db_close(service);
}

static void a_lock_that_stays_is_a_clear_failure(void **state)
{
    struct bench *b = bench_ready(state);
    struct migrator m = {.hook = counts_tries};
    assert_int_equal(bench_up(b, b->own, "1"), ERR_OK);
    struct db *service = holder(b, "SELECT * FROM attempts");
    migrator_start(&m, b, "2");
    assert_int_equal(migrator_join(&m), ERR_BUSY);
    assert_int_equal(m.seen, MIGRATION_LOCK_TRIES);
    assert_non_null(strstr(m.why, "0002_rules: waited 5 times 2 s for a lock"));
    assert_int_equal(db_commit(service), ERR_OK);
    assert_non_null(strstr(bench_current(b), "0001_initial"));
    assert_int_equal(bench_up(b, b->own, "2"), ERR_OK);
    str_release(&m.report);
    db_close(service);
}

/* What looks may look while a service holds what it wants. */
static void looking_waits_for_nobody(void **state)
{
    struct bench *b = bench_ready(state);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    struct db *service = holder(b, "INSERT INTO accounts (user_id) VALUES "
                                   "('0190c0de-0000-7000-8000-000000000001')");
    bench_run(b, "SET lock_timeout = '1s'");
    assert_string_equal(bench_differences(b), "");
    assert_int_equal(schema_check(b->db, b->why, sizeof b->why), ERR_OK);
    assert_non_null(strstr(bench_current(b), "(head)"));
    db_rollback(service);
    db_close(service);
    struct db *reader = bench_connect(b, DB_READ);
    str_clear(&b->report);
    assert_int_equal(migrations_differences(b->own, reader, &b->report, b->why, sizeof b->why),
                     ERR_OK);
    assert_string_equal(b->report.data, "");
    db_close(reader);
    assert_int_equal(
        bench_number(b, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'subpay%'"), 0);
}

static void stores_a_row(struct migrator *m, const char *sql)
{
    if (m->seen == 0 && strstr(sql, "DROP TABLE")) { /* what was counted is gone in a moment */
        struct db_postgres_settings s = {.url = m->bench->url, .mode = DB_WRITE, .lock_ms = 200};
        struct db *db;
        if (db_open_postgres(&db, &s, NULL, 0) != ERR_OK)
            return;
        m->seen = 1000 + (int)db_script(db, "INSERT INTO paged (user_id) VALUES "
                                            "('0190c0de-0000-7000-8000-000000000001')");
        db_close(db);
    }
}

/* No row comes in between the counting and the dropping. */
static void a_downgrade_locks_what_it_counts(void **state)
{
    struct bench *b = bench_ready(state);
    struct migrator m = {.hook = stores_a_row, .down = true};
    assert_int_equal(bench_up(b, b->own, "2"), ERR_OK);
    migrator_start(&m, b, "1");
    assert_int_equal(migrator_join(&m), ERR_OK);
    assert_int_equal(m.seen, 1000 + ERR_BUSY);
    str_release(&m.report);
}

/* ---- through a pooler ---- */

static void through_a_pooler(void **state)
{
    struct bench *b = bench_ready(state);
    char why[400];
    if (!getenv("SUBPAY_TEST_POSTGRES_POOLED")) {
        fprintf(stderr, "SKIPPED: SUBPAY_TEST_POSTGRES_POOLED is unset\n");
        skip();
    }
    struct bench pooled = *b;
    bench_url(getenv("SUBPAY_TEST_POSTGRES_POOLED"), b->url, pooled.url, sizeof pooled.url);
    pooled.db = bench_connect(&pooled, DB_WRITE);
    assert_true(db_pooled(pooled.db));
    struct migrator all[3] = {{.hook = NULL}};
    for (int i = 0; i < 3; i++)
        migrator_start(&all[i], &pooled, "head");
    for (int i = 0; i < 3; i++) {
        if (migrator_join(&all[i]) != ERR_OK)
            fail_msg("%s", all[i].why);
        str_release(&all[i].report);
    }
    assert_int_equal(schema_check(pooled.db, why, sizeof why), ERR_OK);
    assert_string_equal(bench_differences(&pooled), "");
    assert_int_equal(bench_down(&pooled, b->own, "-1", true), ERR_OK);
    assert_int_equal(bench_up(&pooled, b->own, "head"), ERR_OK);
    db_close(pooled.db);
    b->report = pooled.report;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, bench_postgres, bench_teardown)
    const struct CMUnitTest tests[] = {
        T(a_second_migrator_waits),
        T(many_migrators_at_once),
        T(a_lock_that_goes_away_is_waited_for),
        T(a_lock_that_stays_is_a_clear_failure),
        T(looking_waits_for_nobody),
        T(a_downgrade_locks_what_it_counts),
        T(through_a_pooler),
    };
    if (!getenv("SUBPAY_TEST_POSTGRES")) {
        fprintf(stderr, "SKIPPED: SUBPAY_TEST_POSTGRES is unset (tests/postgres.py sets it)\n");
        return 77;
    }
    return cmocka_run_group_tests_name("migrators", tests, bench_group_setup, bench_group_teardown);
}
