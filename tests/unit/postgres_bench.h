/* postgres_bench.h: a database of the test's own on the server that the environment names. */
#ifndef SUBPAY_TESTS_POSTGRES_BENCH_H
#define SUBPAY_TESTS_POSTGRES_BENCH_H

#include "base/db.h"

/* False, and said on stderr, when the variable is not set. */
bool bench_server(const char *variable);
int bench_create(void **state); /* a database; group set-up and tear-down of cmocka */
int bench_drop(void **state);
const char *bench_url(void); /* of that database */

/* As s says but for the url; must succeed. */
struct db *bench_open(const struct db_postgres_settings *s);
struct db *bench_open_beside(void); /* in the database that the variable names */
enum err bench_run(struct db *db, const char *sql);
int64_t bench_number(struct db *db, const char *sql);
/* Ends the backend of `victim` and waits until it is gone. */
void bench_terminate(struct db *by, struct db *victim);

#endif
