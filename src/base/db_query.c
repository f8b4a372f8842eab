/* db_query.c: the statements of db.h, prepared once per connection: the same for both engines. */
#include "base/db.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/db_private.h"
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

void statements_release(struct statements *s, const struct db_ops *ops)
{
    for (size_t i = 0; i < s->cap; i++) {
        if (!s->places[i])
            continue;
        assert(!s->places[i]->in_use);
        ops->statement_free(s->places[i]);
    }
    free(s->places);
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

/* The prepared one; a fresh one that is not kept while that is in use or when there are too
 * many. */
static enum err statement_take(struct db *db, const char *sql, struct statement **out)
{
    struct statements *all = &db->statements;
    struct statement **place = place_of(all->places, all->cap, sql);
    struct statement *s = *place;
    bool kept = !s;
    enum err err;

    if (s && !s->in_use && db->ops->statement_is(s, sql)) {
        s->in_use = true;
        *out = s;
        return ERR_OK;
    }
    if (kept && (all->used + 1) * 2 > all->cap) {
        kept = places_grow(all);
        place = place_of(all->places, all->cap, sql);
    }
    err = db->ops->statement_make(db, sql, kept, out);
    if (err != ERR_OK)
        return err;
    (*out)->in_use = true;
    (*out)->sql = kept ? sql : NULL;
    if (kept) {
        *place = *out;
        all->used++;
    }
    return ERR_OK;
}

static void query_failed(struct query *q, enum err err)
{
    if (q->err == ERR_OK)
        q->err = err;
}

void query_open(struct query *q, struct db *db, const char *static_sql)
{
    struct statement *s = NULL;

    *q = (struct query){.db = db};
    q->err = statement_take(db, static_sql, &s);
    q->statement = s;
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
        query_failed(q, q->db->ops->bind_i64(q, value));
}

void query_bind_text_n(struct query *q, const char *text, size_t len)
{
    if (bind_next(q))
        query_failed(q, q->db->ops->bind_text(q, text, len));
}

void query_bind_text(struct query *q, const char *text)
{
    query_bind_text_n(q, text, text ? strlen(text) : 0);
}

void query_bind_blob(struct query *q, const void *bytes, size_t len)
{
    if (bind_next(q))
        query_failed(q, q->db->ops->bind_blob(q, bytes, len));
}

void query_bind_binary(struct query *q, const struct span *parts, size_t count)
{
    if (bind_next(q))
        query_failed(q,
                     q->db->ops->bind_binary ? q->db->ops->bind_binary(q, parts, count) : ERR_BUG);
}

void query_bind_null(struct query *q)
{
    query_bind_text_n(q, NULL, 0);
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
    bool row = false;

    if (q->err != ERR_OK || q->ended) /* one step more would run it again */
        return false;
    query_failed(q, q->db->ops->next(q, &row));
    q->ended = !row;
    return row;
}

bool query_is_null(const struct query *q, int column)
{
    return q->db->ops->is_null(q, column);
}

int64_t query_i64(const struct query *q, int column)
{
    return q->db->ops->i64(q, column);
}

const char *query_text(const struct query *q, int column)
{
    const char *text = q->db->ops->text(q, column);

    return text ? text : "";
}

const void *query_blob(const struct query *q, int column, size_t *len)
{
    return q->db->ops->blob(q, column, len);
}

int query_columns(const struct query *q)
{
    return q->db->ops->columns(q);
}

const char *query_column_name(const struct query *q, int column)
{
    return q->db->ops->column_name(q, column);
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
    query_failed(q, q->db->ops->end(q));
    s->in_use = false;
    if (!s->sql)
        q->db->ops->statement_free(s);
    q->statement = NULL;
    return q->err;
}

enum err query_run(struct query *q)
{
    while (query_next(q))
        ;
    return query_close(q);
}
