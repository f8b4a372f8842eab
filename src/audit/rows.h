/* rows.h: many rows into a table, one after the other. For the audit only.
 *
 * SQLite takes each as it comes. PostgreSQL gets AUDIT_ROWS of them in one statement, a column as an
 * array. Errors stick. */
#ifndef SUBPAY_AUDIT_ROWS_H
#define SUBPAY_AUDIT_ROWS_H

#include "base/db.h"
#include "base/db_array.h"

#define AUDIT_ROWS 500
#define AUDIT_COLUMNS_MAX 16
#define AUDIT_COLUMN_BYTES_MAX (16 * 1024 * 1024)

struct rows {
    struct db *db;
    const char *sql;
    struct query query;                         /* SQLite: of the row that is being given */
    struct db_array columns[AUDIT_COLUMNS_MAX]; /* PostgreSQL */
    int count, at;                              /* columns; the next one */
    size_t waiting;                             /* rows */
};

/* Both texts are static. sqlite: VALUES (?1, …); postgres: SELECT … FROM unnest(?1::…, …). */
void rows_open(struct rows *r, struct db *db, const char *sqlite, const char *postgres,
               int columns);
/* The row's values, in the order of the columns. NULL is null. */
void rows_i64(struct rows *r, int64_t value);
void rows_text(struct rows *r, const char *text);
void rows_uuid(struct rows *r, const struct uuid *id);
enum err rows_next(struct rows *r) MUST_CHECK; /* the row is complete */
/* Writes what waits, unless `err` says that it is not worth it; returns err, or what came of it. */
enum err rows_close(struct rows *r, enum err err) MUST_CHECK;

#endif
