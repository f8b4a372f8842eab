/* suite_postgres.h: the part of a store to test against that is a database of PostgreSQL. */
#ifndef SUBPAY_TESTS_CONTRACT_SUITE_POSTGRES_H
#define SUBPAY_TESTS_CONTRACT_SUITE_POSTGRES_H

#include <stdbool.h>

#include "base/db.h"
#include "ledger/postgres.h"

struct place {
    char name[64];
    char url[DB_URL_MAX]; /* for the store: the pooler's, if asked for */
    struct db *tables;    /* as they are, for what a test does to them */
    /* The same tables, for looking: with the types of SQLite, so ids and times are texts in the
     * stored form, and details are as they were written; and with its functions. */
    struct db *looks;
};

/* The database of this program, as the migrations leave it. Ends the program with 77 when there is no
 * server. */
void place_make(struct place *p, bool pooled);

#endif
