#include "audit/rows.h"

#include <assert.h>

void rows_open(struct rows *r, struct db *db, const char *sqlite, const char *postgres, int columns)
{
    assert(columns <= AUDIT_COLUMNS_MAX);
    *r = (struct rows){.db = db, .sql = db_is_postgres(db) ? postgres : sqlite, .count = columns};
    for (int i = 0; db_is_postgres(db) && i < columns; i++)
        db_array_init(&r->columns[i], AUDIT_COLUMN_BYTES_MAX);
}

/* NULL: SQLite, and the query is open. */
static struct db_array *column_next(struct rows *r)
{
    assert(r->at < r->count);
    if (!db_is_postgres(r->db) && r->at == 0)
        query_open(&r->query, r->db, r->sql);
    r->at++;
    return db_is_postgres(r->db) ? &r->columns[r->at - 1] : NULL;
}

void rows_i64(struct rows *r, int64_t value)
{
    struct db_array *column = column_next(r);
    if (column != NULL)
        db_array_i64(column, value);
    else
        query_bind_i64(&r->query, value);
}

void rows_text(struct rows *r, const char *text)
{
    struct db_array *column = column_next(r);
    if (column != NULL)
        db_array_text(column, text);
    else
        query_bind_text(&r->query, text);
}

void rows_uuid(struct rows *r, const struct uuid *id)
{
    struct db_array *column = column_next(r);
    if (column != NULL)
        db_array_uuid(column, id);
    else
        query_bind_uuid(&r->query, id);
}

static enum err rows_write(struct rows *r)
{
    struct query q;
    if (r->waiting == 0)
        return ERR_OK;
    query_open(&q, r->db, r->sql);
    for (int i = 0; i < r->count; i++) {
        query_bind_array(&q, &r->columns[i]);
        db_array_clear(&r->columns[i]);
    }
    r->waiting = 0;
    return query_run(&q);
}

enum err rows_next(struct rows *r)
{
    assert(r->at == r->count);
    r->at = 0;
    if (!db_is_postgres(r->db))
        return query_run(&r->query);
    return ++r->waiting < AUDIT_ROWS ? ERR_OK : rows_write(r);
}

enum err rows_close(struct rows *r, enum err err)
{
    if (err == ERR_OK)
        err = rows_write(r);
    for (int i = 0; db_is_postgres(r->db) && i < r->count; i++)
        db_array_release(&r->columns[i]);
    return err;
}
