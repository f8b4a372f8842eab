/* db_query.c: the statements of db.h, prepared once per connection. */
#include "base/db_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/times.h"

#define PLACES_MIN 64   /* of the cache, at birth; a power of two */
#define PLACES_MAX 1024 /* half of them are used; what is more is prepared each time */

enum err statements_init(struct statements *s)
{
    s->places = calloc(PLACES_MIN, sizeof(struct statement *));
    if (!s->places)
        return ERR_NO_MEMORY;
    s->cap = PLACES_MIN;
    return ERR_OK;
}

void statements_release(struct statements *s)
{
    for (size_t i = 0; i < s->cap; i++) {
        if (!s->places[i])
            continue;
        assert(!s->places[i]->in_use);
        sqlite3_finalize(s->places[i]->handle);
        free(s->places[i]);
    }
    free(s->places);
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n;")] == '\0';
}

/* Texts are static, but one that was not must never run the statement that had its address
 * before. */
static bool statement_is(const struct statement *s, const char *sql)
{
    const char *prepared = sqlite3_sql(s->handle);
    size_t len = strlen(prepared);

    return strncmp(prepared, sql, len) == 0 && is_blank(sql + len);
}

static struct statement **place_of(struct statement **places, size_t cap, const char *sql)
{
    uint64_t hash = (uint64_t)(uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15);
    size_t at = (size_t)(hash >> 32) & (cap - 1);

    while (places[at] && places[at]->sql != sql)
        at = (at + 1) & (cap - 1);
    return &places[at];
}

static bool places_grow(struct statements *s)
{
    size_t cap = s->cap * 2;
    struct statement **places;

    if (cap > PLACES_MAX)
        return false;
    places = calloc(cap, sizeof(struct statement *));
    if (!places)
        return false;
    for (size_t i = 0; i < s->cap; i++)
        if (s->places[i])
            *place_of(places, cap, s->places[i]->sql) = s->places[i];
    free(s->places);
    s->places = places;
    s->cap = cap;
    return true;
}

/* One statement; only blanks and comments may stand behind it. */
static int statement_prepare(struct db *db, struct statement *s, const char *sql, bool kept)
{
    const char *tail = "";
    int rc = sqlite3_prepare_v3(db->handle, sql, -1, kept ? SQLITE_PREPARE_PERSISTENT : 0,
                                &s->handle, &tail);

    if (rc == SQLITE_OK && !is_blank(tail)) {
        sqlite3_stmt *more = NULL;

        rc = sqlite3_prepare_v2(db->handle, tail, -1, &more, NULL);
        sqlite3_finalize(more);
        if (rc == SQLITE_OK && more)
            rc = SQLITE_MISUSE;
    }
    if (rc == SQLITE_OK && !s->handle)
        rc = SQLITE_MISUSE;
    if (rc != SQLITE_OK) {
        sqlite3_finalize(s->handle);
        s->handle = NULL;
    }
    return rc;
}

static struct statement *statement_make(struct db *db, const char *sql, bool kept, int *rc)
{
    struct statement *s = calloc(1, sizeof(*s));

    if (!s) {
        *rc = SQLITE_NOMEM;
        return NULL;
    }
    *rc = statement_prepare(db, s, sql, kept);
    if (*rc != SQLITE_OK) {
        free(s);
        return NULL;
    }
    s->sql = kept ? sql : NULL;
    return s;
}

/* The prepared one; a fresh one that is not kept while that is in use or when there are too
 * many. */
static struct statement *statement_take(struct db *db, const char *sql, int *rc)
{
    struct statements *all = &db->statements;
    struct statement **place = place_of(all->places, all->cap, sql);
    struct statement *s = *place;
    bool kept = !s;

    if (s && !s->in_use && statement_is(s, sql)) {
        s->in_use = true;
        return s;
    }
    if (kept && (all->used + 1) * 2 > all->cap) {
        kept = places_grow(all);
        place = place_of(all->places, all->cap, sql);
    }
    s = statement_make(db, sql, kept, rc);
    if (!s)
        return NULL;
    s->in_use = true;
    if (kept) {
        *place = s;
        all->used++;
    }
    return s;
}

static sqlite3_stmt *handle_of(const struct query *q)
{
    return q->statement ? ((struct statement *)q->statement)->handle : NULL;
}

static void query_failed(struct query *q, int rc)
{
    if (q->err == ERR_OK)
        q->err = db_failed(q->db, rc);
}

void query_open(struct query *q, struct db *db, const char *static_sql)
{
    int rc = SQLITE_OK;

    *q = (struct query){.db = db};
    q->statement = statement_take(db, static_sql, &rc);
    query_failed(q, rc);
}

/* --- parameters ------------------------------------------------------------------------------ */

static bool bind_next(struct query *q)
{
    if (q->err != ERR_OK)
        return false;
    q->bound++;
    return true;
}

void query_bind_i64(struct query *q, int64_t value)
{
    if (bind_next(q))
        query_failed(q, sqlite3_bind_int64(handle_of(q), q->bound, value));
}

void query_bind_text_n(struct query *q, const char *text, size_t len)
{
    if (bind_next(q))
        query_failed(q, sqlite3_bind_text64(handle_of(q), q->bound, text, len, SQLITE_TRANSIENT,
                                            SQLITE_UTF8));
}

void query_bind_text(struct query *q, const char *text)
{
    query_bind_text_n(q, text, text ? strlen(text) : 0);
}

void query_bind_blob(struct query *q, const void *bytes, size_t len)
{
    /* SQLite takes no bytes at all for null; an empty value is a value. */
    if (bind_next(q))
        query_failed(q, bytes && len == 0 ? sqlite3_bind_zeroblob(handle_of(q), q->bound, 0)
                                          : sqlite3_bind_blob64(handle_of(q), q->bound, bytes, len,
                                                                SQLITE_TRANSIENT));
}

void query_bind_null(struct query *q)
{
    if (bind_next(q))
        query_failed(q, sqlite3_bind_null(handle_of(q), q->bound));
}

void query_bind_uuid(struct query *q, const struct uuid *id)
{
    char text[UUID_TEXT];

    if (id)
        uuid_format(id, text);
    query_bind_text_n(q, id ? text : NULL, id ? UUID_TEXT - 1 : 0);
}

void query_bind_time(struct query *q, int64_t at_us)
{
    char text[TIME_TEXT];

    if (at_us != TIME_NEVER)
        time_format(at_us, text);
    query_bind_text_n(q, at_us != TIME_NEVER ? text : NULL,
                      at_us != TIME_NEVER ? TIME_TEXT - 1 : 0);
}

/* --- rows ------------------------------------------------------------------------------------ */

bool query_next(struct query *q)
{
    int rc;

    if (q->err != ERR_OK || q->ended) /* one step more would run it again */
        return false;
    rc = sqlite3_step(handle_of(q));
    if (rc == SQLITE_ROW)
        return true;
    q->ended = true;
    query_failed(q, rc);
    return false;
}

bool query_is_null(const struct query *q, int column)
{
    return sqlite3_column_type(handle_of(q), column) == SQLITE_NULL;
}

int64_t query_i64(const struct query *q, int column)
{
    return sqlite3_column_int64(handle_of(q), column);
}

const char *query_text(const struct query *q, int column)
{
    const unsigned char *text = sqlite3_column_text(handle_of(q), column);

    return text ? (const char *)text : "";
}

const void *query_blob(const struct query *q, int column, size_t *len)
{
    const void *bytes = sqlite3_column_blob(handle_of(q), column);

    *len = (size_t)sqlite3_column_bytes(handle_of(q), column);
    return bytes;
}

int query_columns(const struct query *q)
{
    return sqlite3_column_count(handle_of(q));
}

const char *query_column_name(const struct query *q, int column)
{
    return sqlite3_column_name(handle_of(q), column);
}

static void stored_value_bad(struct query *q, int column)
{
    if (q->err != ERR_OK)
        return;
    q->err = ERR_CORRUPT;
    snprintf(q->db->why, sizeof(q->db->why), "column %s holds \"%.60s\"",
             query_column_name(q, column), query_text(q, column));
}

struct uuid query_uuid(struct query *q, int column)
{
    struct uuid id = UUID_NIL;

    if (!query_is_null(q, column)) {
        const char *text = query_text(q, column);

        if (!uuid_parse(text, strlen(text), &id))
            stored_value_bad(q, column);
    }
    return id;
}

int64_t query_time(struct query *q, int column)
{
    int64_t at = TIME_NEVER;
    char same[TIME_TEXT];

    if (!query_is_null(q, column)) {
        const char *text = query_text(q, column);

        /* Only the stored form: in another one, text order would not be time order. */
        if (time_parse(text, strlen(text), &at))
            time_format(at, same);
        if (at == TIME_NEVER || strcmp(same, text) != 0) {
            stored_value_bad(q, column);
            at = TIME_NEVER;
        }
    }
    return at;
}

enum err query_close(struct query *q)
{
    struct statement *s = q->statement;

    if (!s)
        return q->err;
    /* Outside a transaction, one that was not read to its end commits here, and that can fail. */
    query_failed(q, sqlite3_reset(s->handle));
    (void)sqlite3_clear_bindings(s->handle);
    s->in_use = false;
    if (!s->sql) {
        sqlite3_finalize(s->handle);
        free(s);
    }
    q->statement = NULL;
    return q->err;
}

enum err query_run(struct query *q)
{
    while (query_next(q))
        ;
    return query_close(q);
}
