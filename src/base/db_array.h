/* db_array.h: many values as one parameter, for PostgreSQL: `unnest(?1::uuid[])`, `= ANY(?1)`.
 *
 * A builder of array literals ({…}) with the quoting that any value needs. Errors stick, as in
 * base/str.h: past `limit` bytes further elements do nothing, and query_bind_array makes the query
 * fail with ERR_NO_MEMORY. One thread at a time. */
#ifndef SUBPAY_BASE_DB_ARRAY_H
#define SUBPAY_BASE_DB_ARRAY_H

#include "base/db.h"
#include "base/str.h"

struct db_array {
    struct str text;
    size_t count;
};
void db_array_init(struct db_array *a, size_t limit);
void db_array_release(struct db_array *a);
void db_array_clear(struct db_array *a); /* empty again, for the next batch */
void db_array_i64(struct db_array *a, int64_t value);
void db_array_text(struct db_array *a, const char *text); /* NULL adds null */
void db_array_text_n(struct db_array *a, const char *text, size_t len);
void db_array_blob(struct db_array *a, const void *bytes, size_t len);
void db_array_uuid(struct db_array *a, const struct uuid *id); /* NULL adds null */
void db_array_time(struct db_array *a, int64_t at_us);         /* TIME_NEVER adds null */
void db_array_null(struct db_array *a);

/* Copied. */
void query_bind_array(struct query *q, const struct db_array *a);

#endif
