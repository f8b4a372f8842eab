/* db_array.h: many values as one parameter, for PostgreSQL: `unnest(?1::uuid[])`, `= ANY (?1)`.
 *
 * A builder of arrays in the server's binary format, which it need not parse. So the elements have to be of the very
 * type that the statement says: uuid, bigint, timestamptz, text, jsonb, bytea or tid, and of one type in an array. Errors
 * stick, as in base/str.h: past `limit` bytes (20 and 4 an element are ours) further elements do nothing, and
 * query_bind_array makes the query fail with ERR_NO_MEMORY. One thread at a time. */
#ifndef SUBPAY_BASE_DB_ARRAY_H
#define SUBPAY_BASE_DB_ARRAY_H

#include "base/db.h"
#include "base/str.h"

struct db_array {
    struct str bytes;
    size_t count;
    uint32_t type; /* 0: no element but nulls */
};
void db_array_init(struct db_array *a, size_t limit);
void db_array_release(struct db_array *a);
void db_array_clear(struct db_array *a); /* empty again, for the next batch */
void db_array_null(struct db_array *a);
void db_array_i64(struct db_array *a, int64_t value);
void db_array_text(struct db_array *a, const char *text); /* NULL adds null, here and below */
void db_array_text_n(struct db_array *a, const char *text, size_t len);
void db_array_json(struct db_array *a, const char *text);
void db_array_blob(struct db_array *a, const void *bytes, size_t len);
void db_array_uuid(struct db_array *a, const struct uuid *id);
void db_array_uuid_text(struct db_array *a, const char *id); /* as the store gave it */
void db_array_time(struct db_array *a,
                   int64_t at_us); /* TIME_NEVER adds null; else time_in_calendar */
void db_array_place(struct db_array *a, const char *place); /* a ctid, likewise */

/* Copied. */
void query_bind_array(struct query *q, const struct db_array *a);

#endif
