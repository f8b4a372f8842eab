/* db_sqlite.h: what db_sqlite.c (connections) and db_sqlite_query.c (statements) share. */
#ifndef SUBPAY_BASE_DB_SQLITE_H
#define SUBPAY_BASE_DB_SQLITE_H

#include <stdatomic.h>

#include <sqlite3.h>

#include "base/db_private.h"

struct db_sqlite {
    struct db db;
    sqlite3 *handle;
    atomic_bool interrupted; /* for backup, which SQLite does not interrupt */
};

static inline struct db_sqlite *sqlite_of(const struct db *db)
{
    return (struct db_sqlite *)db;
}

/* The error of an SQLite result; keeps SQLite's words, which a later rollback would overwrite. */
enum err sqlite_failed(struct db_sqlite *db, int rc);
/* Functions that PostgreSQL has and SQLite has not. */
int sqlite_functions_add(sqlite3 *handle);

enum err sqlite_statement_make(struct db *db, const char *sql, bool kept, struct statement **out);
bool sqlite_statement_is(const struct statement *s, const char *sql);
void sqlite_statement_free(struct statement *s);
enum err sqlite_bind_i64(struct query *q, int64_t value);
enum err sqlite_bind_text(struct query *q, const char *text, size_t len);
enum err sqlite_bind_blob(struct query *q, const void *bytes, size_t len);
enum err sqlite_next(struct query *q, bool *row);
enum err sqlite_end(struct query *q);
bool sqlite_is_null(const struct query *q, int column);
int64_t sqlite_i64(const struct query *q, int column);
const char *sqlite_text(const struct query *q, int column);
const void *sqlite_blob(const struct query *q, int column, size_t *len);
int sqlite_columns(const struct query *q);
const char *sqlite_column_name(const struct query *q, int column);

#endif
