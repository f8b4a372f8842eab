/* db_sqlite_query.c: statements and values of SQLite, and its functions. */
#include "base/db_sqlite.h"

#include <stdlib.h>
#include <string.h>

struct sqlite_statement {
    struct statement statement;
    sqlite3_stmt *handle;
};

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n;")] == '\0';
}

bool sqlite_statement_is(const struct statement *s, const char *sql)
{
    const char *prepared = sqlite3_sql(((const struct sqlite_statement *)s)->handle);
    size_t len = strlen(prepared);

    return strncmp(prepared, sql, len) == 0 && is_blank(sql + len);
}

static int prepare(sqlite3 *db, struct sqlite_statement *s, const char *sql, bool kept)
{
    const char *tail = "";
    int rc =
        sqlite3_prepare_v3(db, sql, -1, kept ? SQLITE_PREPARE_PERSISTENT : 0, &s->handle, &tail);

    if (rc == SQLITE_OK && !is_blank(tail)) {
        sqlite3_stmt *more = NULL;

        rc = sqlite3_prepare_v2(db, tail, -1, &more, NULL);
        sqlite3_finalize(more);
        if (rc == SQLITE_OK && more)
            rc = SQLITE_MISUSE;
    }
    if (rc == SQLITE_OK && !s->handle)
        rc = SQLITE_MISUSE;
    return rc;
}

enum err sqlite_statement_make(struct db *db, const char *sql, bool kept, struct statement **out)
{
    struct sqlite_statement *s = calloc(1, sizeof(*s));
    int rc = s ? prepare(sqlite_of(db)->handle, s, sql, kept) : SQLITE_NOMEM;

    if (rc != SQLITE_OK) {
        enum err err = sqlite_failed(sqlite_of(db), rc);

        if (s)
            sqlite_statement_free(&s->statement);
        return err;
    }
    *out = &s->statement;
    return ERR_OK;
}

void sqlite_statement_free(struct statement *s)
{
    sqlite3_finalize(((struct sqlite_statement *)s)->handle);
    free(s);
}

static sqlite3_stmt *handle_of(const struct query *q)
{
    return q->statement ? ((struct sqlite_statement *)q->statement)->handle : NULL;
}

static enum err failed(struct query *q, int rc)
{
    return sqlite_failed(sqlite_of(q->db), rc);
}

enum err sqlite_bind_i64(struct query *q, int64_t value)
{
    return failed(q, sqlite3_bind_int64(handle_of(q), q->bound, value));
}

enum err sqlite_bind_text(struct query *q, const char *text, size_t len)
{
    return failed(
        q, sqlite3_bind_text64(handle_of(q), q->bound, text, len, SQLITE_TRANSIENT, SQLITE_UTF8));
}

enum err sqlite_bind_blob(struct query *q, const void *bytes, size_t len)
{
    /* SQLite takes no bytes at all for null; an empty value is a value. */
    return failed(q, bytes && len == 0 ? sqlite3_bind_zeroblob(handle_of(q), q->bound, 0)
                                       : sqlite3_bind_blob64(handle_of(q), q->bound, bytes, len,
                                                             SQLITE_TRANSIENT));
}

enum err sqlite_next(struct query *q, bool *row)
{
    int rc = sqlite3_step(handle_of(q));

    *row = rc == SQLITE_ROW;
    return failed(q, rc);
}

/* Outside a transaction, one that was not read to its end commits here, and that can fail. */
enum err sqlite_end(struct query *q)
{
    int rc = sqlite3_reset(handle_of(q));
    enum err err = q->err == ERR_OK ? failed(q, rc) : q->err; /* keep the first one's words */

    (void)sqlite3_clear_bindings(handle_of(q));
    return err;
}

bool sqlite_is_null(const struct query *q, int column)
{
    return sqlite3_column_type(handle_of(q), column) == SQLITE_NULL;
}

int64_t sqlite_i64(const struct query *q, int column)
{
    return sqlite3_column_int64(handle_of(q), column);
}

const char *sqlite_text(const struct query *q, int column)
{
    return (const char *)sqlite3_column_text(handle_of(q), column);
}

const void *sqlite_blob(const struct query *q, int column, size_t *len)
{
    const void *bytes = sqlite3_column_blob(handle_of(q), column);

    *len = (size_t)sqlite3_column_bytes(handle_of(q), column);
    return bytes;
}

int sqlite_columns(const struct query *q)
{
    return sqlite3_column_count(handle_of(q));
}

const char *sqlite_column_name(const struct query *q, int column)
{
    return sqlite3_column_name(handle_of(q), column);
}

/* --- functions ------------------------------------------------------------------------------- */

static int bytes_compare(sqlite3_value *a, sqlite3_value *b)
{
    const void *bytes_a = sqlite3_value_blob(a), *bytes_b = sqlite3_value_blob(b);
    int len_a = sqlite3_value_bytes(a), len_b = sqlite3_value_bytes(b);
    int len = len_a < len_b ? len_a : len_b;
    int order = len > 0 ? memcmp(bytes_a, bytes_b, (size_t)len) : 0;

    return order != 0 ? order : len_a - len_b;
}

/* As SQLite's own ORDER BY: numbers, then texts, then blobs. */
static int value_compare(sqlite3_value *a, sqlite3_value *b)
{
    int type_a = sqlite3_value_type(a), type_b = sqlite3_value_type(b);

    if (type_a == SQLITE_INTEGER && type_b == SQLITE_INTEGER) {
        int64_t x = sqlite3_value_int64(a), y = sqlite3_value_int64(b);

        return (x > y) - (x < y);
    }
    if (type_a <= SQLITE_FLOAT && type_b <= SQLITE_FLOAT) {
        double x = sqlite3_value_double(a), y = sqlite3_value_double(b);

        return (x > y) - (x < y);
    }
    return type_a == type_b ? bytes_compare(a, b) : type_a - type_b;
}

/* Nulls are ignored, as PostgreSQL does; SQLite's min() and max() of several answer null. */
static void extreme(sqlite3_context *context, int count, sqlite3_value **values)
{
    int sign = sqlite3_user_data(context) ? 1 : -1;
    sqlite3_value *best = NULL;

    for (int i = 0; i < count; i++)
        if (sqlite3_value_type(values[i]) != SQLITE_NULL &&
            (!best || sign * value_compare(values[i], best) > 0))
            best = values[i];
    if (best)
        sqlite3_result_value(context, best);
}

int sqlite_functions_add(sqlite3 *handle)
{
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int rc = sqlite3_create_function(handle, "least", -1, flags, NULL, extreme, NULL, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_create_function(handle, "greatest", -1, flags, handle, extreme, NULL, NULL);
    return rc;
}
