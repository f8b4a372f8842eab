/* db_private.h: what db.c (connections) and db_query.c (statements) share, and nobody else. */
#ifndef SUBPAY_BASE_DB_PRIVATE_H
#define SUBPAY_BASE_DB_PRIVATE_H

#include <stdatomic.h>

#include <sqlite3.h>

#include "base/db.h"

struct statement {
    sqlite3_stmt *handle;
    const char *sql; /* the key: the address; NULL if it is not kept */
    bool in_use;
};

/* Open addressing by address; statements stay until the connection is closed. */
struct statements {
    struct statement **places;
    size_t cap, used;
};

struct db {
    sqlite3 *handle;
    enum db_mode mode;
    struct statements statements;
    atomic_bool interrupted; /* for db_backup, which SQLite does not interrupt */
    char why[256];
};

/* The error of an SQLite result; keeps SQLite's words, which a later rollback would overwrite. */
enum err db_failed(struct db *db, int rc);

enum err statements_init(struct statements *s) MUST_CHECK;
void statements_release(struct statements *s); /* asserts that none is in use */

#endif
