#include "postgres_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char server[DB_URL_MAX], own[DB_URL_MAX + 32], name[32];

bool bench_server(const char *variable)
{
    const char *url = getenv(variable);

    if (!url || !*url) {
        fprintf(stderr,
                "SKIPPED: this test needs a PostgreSQL server: %s=postgresql://… (a superuser); "
                "tests/postgres.py COMMAND brings one\n",
                variable);
        return false;
    }
    snprintf(server, sizeof(server), "%s", url);
    return true;
}

static struct db *open_url(const char *url, const struct db_postgres_settings *s)
{
    struct db_postgres_settings mine = *s;
    struct db *db = NULL;
    char why[300] = "";

    mine.url = url;
    if (db_open_postgres(&db, &mine, why, sizeof(why)) != ERR_OK)
        fail_msg("%s", why);
    return db;
}

struct db *bench_open(const struct db_postgres_settings *s)
{
    return open_url(own, s);
}

struct db *bench_open_beside(void)
{
    return open_url(server, &(struct db_postgres_settings){0});
}

const char *bench_url(void)
{
    return own;
}

static int on_server(const char *before, const char *behind)
{
    struct db *db = bench_open_beside();
    char sql[100];
    enum err err;

    snprintf(sql, sizeof(sql), "%s %s %s", before, name, behind);
    err = db_script(db, sql);
    if (err != ERR_OK)
        fprintf(stderr, "%s: %s\n", sql, db_why(db));
    db_close(db);
    return err == ERR_OK ? 0 : -1;
}

/* …/name?options: the name is replaced. */
int bench_create(void **state)
{
    const char *slash = strrchr(server, '/'), *options = strchr(slash, '?');

    (void)state;
    snprintf(name, sizeof(name), "subpay_unit_%d", (int)getpid());
    snprintf(own, sizeof(own), "%.*s/%s%s", (int)(slash - server), server, name,
             options ? options : "");
    return on_server("CREATE DATABASE", "");
}

int bench_drop(void **state)
{
    (void)state;
    return on_server("DROP DATABASE", "WITH (FORCE)");
}

enum err bench_run(struct db *db, const char *sql)
{
    struct query q;

    query_open(&q, db, sql);
    return query_run(&q);
}

int64_t bench_number(struct db *db, const char *sql)
{
    struct query q;
    int64_t n = -1;

    query_open(&q, db, sql);
    if (query_next(&q))
        n = query_i64(&q, 0);
    if (query_close(&q) != ERR_OK)
        fail_msg("%s: %s", sql, db_why(db));
    return n;
}

void bench_terminate(struct db *by, struct db *victim)
{
    struct query q;

    query_open(&q, by, "SELECT pg_terminate_backend(CAST(?1 AS integer), 10000)");
    query_bind_i64(&q, bench_number(victim, "SELECT pg_backend_pid()"));
    assert_true(query_next(&q));
    assert_int_equal(query_i64(&q, 0), 1);
    assert_int_equal(query_close(&q), ERR_OK);
}
