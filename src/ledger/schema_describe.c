#include "ledger/schema_describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"

#define DEFINITION_MAX 65536

static struct object *object_new(struct description *d)
{
    if (d->count == SCHEMA_OBJECTS_MAX)
        return NULL;
    struct object *o = &d->list[d->count];
    d->count++;
    return o;
}

static enum err object_add(struct description *d, struct arena *arena, enum object_kind kind,
                           const char *table, const char *name, const char *text)
{
    struct object *o = object_new(d);
    if (!o)
        return ERR_INVALID;
    o->kind = kind;
    o->position = (int)d->count;
    o->table = arena_text(arena, table, strlen(table));
    o->name = arena_text(arena, name, strlen(name));
    o->text = arena_text(arena, text, strlen(text));
    return o->table && o->name && o->text ? ERR_OK : ERR_NO_MEMORY;
}

static enum object_kind kind_named(const char *word)
{
    int kind = 0;
    while (kind < OBJECT_OTHER && strcmp(word, OBJECT_WORDS[kind]) != 0)
        kind++;
    return (enum object_kind)kind;
}

/* ---- SQLite: the texts of the catalogue ---- */

static bool begins_constraint(const struct token *t)
{
    static const char *const WORDS[] = {"CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "CONSTRAINT"};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
        if (token_is(t, WORDS[i]))
            return true;
    return false;
}

/* One of those between the commas of CREATE TABLE. */
static enum err add_part(struct description *d, struct arena *arena, const char *table,
                         const char *text, size_t len, struct str *room)
{
    const char *at = text, *end = text + len;
    struct token first = token_next(&at, end);
    str_clear(room);
    if (begins_constraint(&first)) {
        schema_text_plain(text, len, room);
        return object_add(d, arena, OBJECT_CONSTRAINT, table, room->data, room->data);
    }
    struct span name = token_name(&first);
    char *owned = arena_text(arena, name.data, name.len);
    if (!owned)
        return ERR_NO_MEMORY;
    schema_text_plain(at, (size_t)(end - at), room);
    return object_add(d, arena, OBJECT_COLUMN, table, owned, room->data);
}

static enum err add_table(struct description *d, struct arena *arena, const char *name,
                          const char *sql, struct str *room)
{
    const char *at = sql, *end = sql + strlen(sql), *part = NULL;
    int depth = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        struct token t = token_next(&at, end);
        if (t.kind == TOKEN_END)
            return ERR_INVALID; /* a table of no kind that we know */
        bool opens = token_is(&t, "("), closes = token_is(&t, ")");
        depth += opens - closes;
        if (opens && depth == 1) {
            part = at;
        } else if ((closes && depth == 0) || (depth == 1 && token_is(&t, ","))) {
            err = add_part(d, arena, name, part, (size_t)(t.text - part), room);
            part = at;
            if (closes)
                break;
        }
    }
    if (err != ERR_OK)
        return err;
    str_clear(room);
    schema_text_plain(at, (size_t)(end - at), room);
    return object_add(d, arena, OBJECT_TABLE, name, name, room->data);
}

static enum err describe_sqlite(struct db *db, struct arena *arena, struct description *d)
{
    struct query q;
    struct str room;
    enum err inner = ERR_OK;
    str_init(&room, DEFINITION_MAX);
    query_open(&q, db,
               "SELECT type, tbl_name, name, sql FROM sqlite_schema "
               "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
               "AND tbl_name <> 'schema_migrations'");
    while (inner == ERR_OK && query_next(&q)) {
        enum object_kind kind = kind_named(query_text(&q, 0));
        const char *sql = query_text(&q, 3);
        if (kind == OBJECT_TABLE) {
            inner = add_table(d, arena, query_text(&q, 2), sql, &room);
        } else {
            str_clear(&room);
            schema_text_plain(sql, strlen(sql), &room);
            inner = object_add(d, arena, kind, kind == OBJECT_OTHER ? "" : query_text(&q, 1),
                               query_text(&q, 2), room.data);
        }
        if (room.failed)
            inner = ERR_INVALID;
    }
    enum err err = query_close(&q);
    str_release(&room);
    return inner != ERR_OK ? inner : err;
}

/* ---- PostgreSQL: the catalogue itself ---- */

static enum err describe_postgres(struct db *db, struct arena *arena, struct description *d)
{
    struct query q;
    enum err inner = ERR_OK;
    query_open(&q, db, SCHEMA_OBJECTS_FILES[0].data);
    while (inner == ERR_OK && query_next(&q)) {
        inner = object_add(d, arena, kind_named(query_text(&q, 0)), query_text(&q, 1),
                           query_text(&q, 2), query_text(&q, 3));
        if (inner == ERR_OK)
            d->list[d->count - 1].position = (int)query_i64(&q, 4);
    }
    enum err err = query_close(&q);
    return inner != ERR_OK ? inner : err;
}

/* ---- both ---- */

static size_t place_of(const struct object *o, const struct schema_statement *list, size_t count)
{
    bool part = o->kind == OBJECT_COLUMN || o->kind == OBJECT_CONSTRAINT;
    enum object_kind kind = part ? OBJECT_TABLE : o->kind;
    const char *name = part ? o->table : o->name;
    size_t at = 0;
    while (at < count &&
           (list[at].rows || list[at].kind != kind || strcmp(list[at].name, name) != 0))
        at++;
    return at;
}

static int compare_objects(const void *left, const void *right)
{
    const struct object *a = left, *b = right;
    int order = (a->place > b->place) - (a->place < b->place);
    if (order == 0)
        order = strcmp(a->table, b->table);
    if (order == 0)
        order = (a->kind > b->kind) - (a->kind < b->kind);
    if (order == 0)
        order = (a->position > b->position) - (a->position < b->position);
    return order != 0 ? order : strcmp(a->name, b->name);
}

static enum err describe(struct db *db, struct arena *arena, const struct schema_statement *list,
                         size_t count, struct description *out)
{
    out->list = arena_array(arena, struct object, SCHEMA_OBJECTS_MAX);
    out->count = 0;
    if (!out->list)
        return ERR_NO_MEMORY;
    enum err err =
        db_is_postgres(db) ? describe_postgres(db, arena, out) : describe_sqlite(db, arena, out);
    for (size_t i = 0; i < out->count; i++)
        out->list[i].place = place_of(&out->list[i], list, count);
    qsort(out->list, out->count, sizeof out->list[0], compare_objects);
    return err;
}

const struct object *description_find(const struct description *d, const struct object *o)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->list[i].kind == o->kind && strcmp(d->list[i].table, o->table) == 0 &&
            strcmp(d->list[i].name, o->name) == 0)
            return &d->list[i];
    return NULL;
}

/* ---- the scratch database ---- */

static enum err fails(enum err err, const char *words, char *why, size_t why_cap)
{
    snprintf(why, why_cap, "%s%s", words, err == ERR_INVALID ? "cannot be read" : err_text(err));
    return err;
}

static enum err scratch_sqlite(const char *declared, struct arena *arena, struct description *out,
                               char *why, size_t why_cap)
{
    struct db *scratch;
    enum err err = db_open(&scratch, "", DB_MEMORY, why, why_cap);
    if (err != ERR_OK)
        return err;
    err = db_script(scratch, declared);
    if (err != ERR_OK)
        snprintf(why, why_cap, "schema.sql: %s", db_why(scratch));
    else if ((err = describe(scratch, arena, out->statements, out->statement_count, out)) != ERR_OK)
        (void)fails(err, "schema.sql: ", why, why_cap);
    db_close(scratch);
    return err;
}

static const char SCRATCH[] =
    "DO $$DECLARE scratch text := quote_ident('subpay_scratch_' || pg_backend_pid()); BEGIN "
    "EXECUTE 'CREATE SCHEMA ' || scratch; "
    "PERFORM set_config('search_path', scratch || ', ' || current_setting('search_path'), true); "
    "END$$";

/* In a transaction, which the caller rolls back. */
static enum err scratch_postgres(struct db *db, const char *declared, struct arena *arena,
                                 struct description *out, char *why, size_t why_cap)
{
    enum err err = db_script(db, SCRATCH);
    if (err == ERR_OK)
        err = db_script(db, declared);
    if (err == ERR_OK)
        err = describe(db, arena, out->statements, out->statement_count, out);
    if (err != ERR_OK)
        snprintf(why, why_cap, "a scratch schema of schema.sql: %s", db_why(db));
    return err;
}

enum err schema_describe_both(struct db *db, const char *declared, struct arena *arena,
                              struct description *live, struct description *wanted, char *why,
                              size_t why_cap)
{
    struct schema_statement *list;
    size_t count;
    enum err err = schema_text_split(declared, arena, &list, &count);
    if (err != ERR_OK)
        return fails(err, "schema.sql: ", why, why_cap);
    if ((err = db_begin(db)) != ERR_OK) {
        snprintf(why, why_cap, "%s", db_why(db));
        return err;
    }
    *live = (struct description){0};
    *wanted = (struct description){.statements = list, .statement_count = count};
    if (db_is_postgres(db)) /* also for a connection that only reads: nothing stays */
        err = db_script(db, "SET TRANSACTION READ WRITE");
    /* The live one first: the scratch may bring an extension that it lacks. */
    if (err == ERR_OK)
        err = describe(db, arena, list, count, live);
    if (err != ERR_OK)
        snprintf(why, why_cap, "the catalogue: %s",
                 err == ERR_INVALID ? "there is a table that cannot be read" : db_why(db));
    else if (db_is_postgres(db))
        err = scratch_postgres(db, declared, arena, wanted, why, why_cap);
    db_rollback(db);
    if (err == ERR_OK && !db_is_postgres(db))
        err = scratch_sqlite(declared, arena, wanted, why, why_cap);
    return err;
}
