/* migrations_bench.h: an empty database of either engine, and lists of migrations made by a test. */
#ifndef SUBPAY_TESTS_MIGRATIONS_BENCH_H
#define SUBPAY_TESTS_MIGRATIONS_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/db.h"
#include "ledger/migrations.h"
#include "ledger/schema.h"

struct bench {
    bool postgres;
    struct db *db;
    char url[DB_URL_MAX]; /* of the PostgreSQL database */
    char dir[64];         /* an empty folder */
    struct migrations *own;
    struct str report;
    char why[1024];
};

/* The URL of `server` with another database: a name, or that of a URL. */
void bench_url(const char *server, const char *database, char *out, size_t cap);
/* Of the whole program: makes a PostgreSQL database, and removes it. */
int bench_group_setup(void **state);
int bench_group_teardown(void **state);
int bench_sqlite(void **state);
/* Without SUBPAY_TEST_POSTGRES: a bench without db, which bench_ready skips. */
int bench_postgres(void **state);
int bench_teardown(void **state);
struct bench *bench_ready(void **state);
struct db *bench_connect(struct bench *b, enum db_mode mode); /* another one to PostgreSQL */

enum err bench_up(struct bench *b, const struct migrations *m, const char *target);
enum err bench_down(struct bench *b, const struct migrations *m, const char *target, bool destroy);
const char *bench_differences(struct bench *b);
const char *bench_current(struct bench *b);
void bench_run(struct bench *b, const char *sql);
int64_t bench_number(struct bench *b, const char *sql);
/* A line per object of the live database. */
void bench_describe(struct bench *b, struct str *out);
/* Writes dir/name; NULL: removes it. */
void bench_file(struct bench *b, const char *name, const char *text);
struct migrations *bench_list(struct bench *b); /* of dir; migrations_close */

/* The same test on both engines. */
#define ON_BOTH(name)                                                                              \
    {#name " on sqlite", name, bench_sqlite, bench_teardown, NULL},                                \
    {                                                                                              \
#name " on postgres", name, bench_postgres, bench_teardown, NULL                           \
    }

#endif
