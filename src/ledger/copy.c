/* Rows go over as JSON, a batch a statement, and come back by key, a page a statement, so that
 * writing and comparing have nothing in common that could be wrong in both. */
#include "ledger/copy.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/uuid.h"
#include "ledger/copy_tables.h"
#include "ledger/schema.h"

#define BATCH_BYTES ((size_t)1024 * 1024) /* of JSON, and one row more */
#define BATCH_MAX ((size_t)64 * 1024 * 1024)
#define REVISION_MAX 80 /* bytes of its name */
#define SHOWN_MAX 60    /* bytes of a value in a message */

struct copying {
    struct db *from, *to;
    struct str batch;
    char *why;
    size_t why_cap;
};

static enum err says(struct copying *c, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err says(struct copying *c, enum err err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(c->why, c->why_cap, format, args);
    va_end(args);
    return err;
}

static enum err from_failed(struct copying *c, enum err err)
{
    return says(c, err, "reading the file: %s: %s", err_text(err), db_why(c->from));
}

static enum err to_failed(struct copying *c, enum err err)
{
    return says(c, err, "PostgreSQL: %s: %s", err_text(err), db_why(c->to));
}

/* ---- may it be copied? ---- */

enum err copy_owes(struct db *from, const char *topic, struct copy_owed *out)
{
    struct copy_owed owed = {0};
    struct query q;
    /* A rewound position stands below what was read before. Topics that nobody reads are no work. */
    query_open(&q, from,
               "SELECT (SELECT coalesce(sum(t.next - coalesce(p.next, 0)), 0) FROM queue_topics t "
               "LEFT JOIN positions p ON p.topic = t.topic AND p.partition = 0 "
               "WHERE t.topic = ?1 OR p.topic IS NOT NULL), "
               "(SELECT count(*) FROM accounts WHERE in_flight IS NOT NULL), "
               "(SELECT count(*) FROM payments WHERE needs_decision <> 0)");
    query_bind_text(&q, topic);
    if (query_next(&q))
        owed = (struct copy_owed){.unread = query_i64(&q, 0),
                                  .in_processing = query_i64(&q, 1),
                                  .needing_decision = query_i64(&q, 2)};
    enum err err = query_close(&q);
    if (err == ERR_OK)
        *out = owed;
    return err;
}

static enum err revision(struct copying *c, struct db *db, const char *whose,
                         char out[REVISION_MAX])
{
    struct query q;
    char why[SCHEMA_WHY_MAX] = "";
    enum err err = schema_check(db, why, sizeof why);
    if (err != ERR_OK)
        return says(c, err, "%s: %s", whose, why);
    query_open(&q, db, "SELECT name FROM schema_migrations ORDER BY number DESC LIMIT 1");
    (void)snprintf(out, REVISION_MAX, "%s", query_next(&q) ? query_text(&q, 0) : "");
    err = query_close(&q);
    return err == ERR_OK ? ERR_OK : says(c, err, "%s: %s", whose, db_why(db));
}

static enum err schemas_agree(struct copying *c)
{
    char from[REVISION_MAX], to[REVISION_MAX];
    enum err err = revision(c, c->from, "the file", from);
    if (err == ERR_OK)
        err = revision(c, c->to, "PostgreSQL", to);
    if (err == ERR_OK && strcmp(from, to) != 0)
        err = says(c, ERR_VERSION,
                   "the file is at %s, PostgreSQL at %s: allowed is the same revision of both; see "
                   "`subpay migrate`",
                   from, to);
    return err;
}

/* A table of a later migration that nobody thought of here would be lost without a word. */
static enum err tables_known(struct copying *c)
{
    struct query q;
    enum err err = ERR_OK;
    query_open(&q, c->from,
               "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' "
               "ESCAPE '\\' ORDER BY name");
    while (err == ERR_OK && query_next(&q))
        if (!copy_table_known(query_text(&q, 0)))
            err = says(c, ERR_REFUSED, "the file has a table that is not known to this program: %s",
                       query_text(&q, 0));
    enum err closing = query_close(&q);
    return closing == ERR_OK ? err : from_failed(c, closing);
}

static enum err target_empty(struct copying *c)
{
    enum err err = db_script(c->to, COPY_LOCK);
    for (size_t i = 0; i < COPY_EMPTY_COUNT && err == ERR_OK; i++) {
        struct query q;
        query_open(&q, c->to, COPY_EMPTY[i]);
        bool any = query_next(&q);
        char name[64];
        (void)snprintf(name, sizeof name, "%s", any ? query_text(&q, 0) : "");
        err = query_close(&q);
        if (err == ERR_OK && any)
            return says(c, ERR_REFUSED,
                        "it is not empty, %s has rows: allowed is a database that `subpay migrate "
                        "upgrade` has made and nobody has used",
                        name);
    }
    return err == ERR_OK ? ERR_OK : to_failed(c, err);
}

/* ---- there ---- */

static void row_write(struct query *q, struct str *out)
{
    json_open(out, '{');
    for (int i = 0; i < query_columns(q); i++) {
        const char *name = query_column_name(q, i);
        if (query_is_null(q, i)) {
            json_put_null(out, name);
        } else if (strcmp(name, COPY_JSON_COLUMN) == 0) {
            json_name(out, name);
            json_add_raw(out, query_text(q, i));
        } else {
            json_put_text(out, name, query_text(q, i));
        }
    }
    json_close(out, '}');
}

static enum err batch_send(struct copying *c, const struct copy_table *t)
{
    struct query q;
    json_close(&c->batch, ']');
    if (c->batch.failed)
        return says(c, ERR_NO_MEMORY, "%s: a row is too long", t->name);
    query_open(&q, c->to, t->insert);
    query_bind_text_n(&q, c->batch.data, c->batch.len);
    enum err err = query_run(&q);
    str_clear(&c->batch);
    json_open(&c->batch, '[');
    return err == ERR_OK ? ERR_OK : to_failed(c, err);
}

static enum err table_copy(struct copying *c, const struct copy_table *t, int64_t *count)
{
    struct query q;
    size_t waiting = 0;
    enum err err = ERR_OK;
    *count = 0;
    str_clear(&c->batch);
    json_open(&c->batch, '[');
    query_open(&q, c->from, t->read);
    while (err == ERR_OK && query_next(&q)) {
        row_write(&q, &c->batch);
        ++*count;
        ++waiting;
        if (c->batch.len < BATCH_BYTES && !c->batch.failed)
            continue;
        err = batch_send(c, t);
        waiting = 0;
    }
    enum err closing = query_close(&q);
    if (err == ERR_OK && closing != ERR_OK)
        return from_failed(c, closing);
    return err == ERR_OK && waiting > 0 ? batch_send(c, t) : err;
}

static enum err numbers_go_on(struct copying *c)
{
    for (size_t i = 0; i < COPY_SEQUENCE_COUNT; i++) {
        struct query q;
        query_open(&q, c->to, COPY_SEQUENCES[i]);
        enum err err = query_run(&q);
        if (err != ERR_OK)
            return to_failed(c, err);
    }
    return ERR_OK;
}

/* ---- and back ---- */

/* Where a page begins, and which row is being looked at. */
struct place {
    char keys[COPY_KEYS_MAX][96];
};

static void place_start(const struct copy_table *t, struct place *p)
{
    for (int i = 0; i < COPY_KEYS_MAX; i++) {
        if (t->keys[i].number)
            (void)snprintf(p->keys[i], sizeof p->keys[i], "0");
        else
            uuid_format(&UUID_NIL, p->keys[i]);
    }
}

static void place_bind(const struct copy_table *t, const struct place *p, struct query *q)
{
    int64_t number = 0;
    for (int i = 0; i < COPY_KEYS_MAX && t->keys[i].name; i++) {
        if (!t->keys[i].number)
            query_bind_text(q, p->keys[i]);
        else if (text_i64(p->keys[i], INT64_MIN, INT64_MAX, &number))
            query_bind_i64(q, number);
        else
            q->err = ERR_CORRUPT;
    }
    if (t->keys[0].name)
        query_bind_i64(q, COPY_PAGE);
}

static int column_named(const struct query *q, const char *name)
{
    for (int i = 0; i < query_columns(q); i++)
        if (strcmp(query_column_name(q, i), name) == 0)
            return i;
    return -1;
}

static void place_take(const struct copy_table *t, const struct query *q, struct place *p)
{
    for (int i = 0; i < COPY_KEYS_MAX && t->keys[i].name; i++)
        (void)snprintf(p->keys[i], sizeof p->keys[i], "%s",
                       query_text(q, column_named(q, t->keys[i].name)));
}

/* "payments: user_id 019b…, seq 7" */
static void place_name(const struct copy_table *t, const struct query *q, char *out, size_t cap)
{
    static const char *const NAMING[] = {"user_id", "seq", "id", "subject_id"};
    size_t len = (size_t)snprintf(out, cap, "%s:", t->name);
    for (size_t i = 0; i < sizeof NAMING / sizeof NAMING[0] && len < cap; i++) {
        int column = column_named(q, NAMING[i]);
        if (column >= 0)
            len +=
                (size_t)snprintf(out + len, cap - len, " %s %s", NAMING[i], query_text(q, column));
    }
}

/* Which of two rows comes first; 0: they are the same one. */
static int rows_order(const struct copy_table *t, const struct query *a, const struct query *b)
{
    int order = 0;
    for (int i = 0; i < COPY_KEYS_MAX && t->keys[i].name && order == 0; i++) {
        int left = column_named(a, t->keys[i].name), right = column_named(b, t->keys[i].name);
        if (t->keys[i].number)
            order = (query_i64(a, left) > query_i64(b, right)) -
                    (query_i64(a, left) < query_i64(b, right));
        else
            order = strcmp(query_text(a, left), query_text(b, right));
    }
    return order;
}

struct detail {
    const struct json *other;
    bool same;
};

static bool member_same(void *ctx, const char *name, const struct json *value)
{
    struct detail *d = ctx;
    const struct json *other = json_member(d->other, name);
    const char *text = json_text(value), *other_text = json_text(other);
    int64_t number, other_number;
    if (text || other_text)
        d->same = text && other_text && strcmp(text, other_text) == 0;
    else
        d->same =
            json_i64(value, &number) && json_i64(other, &other_number) && number == other_number;
    return d->same;
}

/* PostgreSQL keeps JSON by its meaning: an object of texts and whole numbers. */
static bool detail_same(const char *a, const char *b)
{
    struct json *left = json_parse(a, strlen(a), NULL, 0),
                *right = json_parse(b, strlen(b), NULL, 0);
    struct detail d = {.other = right,
                       .same = json_is_object(left) && json_is_object(right) &&
                               json_size(left) == json_size(right)};
    if (d.same)
        json_each(left, member_same, &d);
    json_free(left);
    json_free(right);
    return d.same;
}

static bool value_same(const struct query *a, const struct query *b, int column, int other)
{
    if (query_is_null(a, column) || query_is_null(b, other))
        return query_is_null(a, column) && query_is_null(b, other);
    const char *left = query_text(a, column), *right = query_text(b, other);
    return strcmp(left, right) == 0 ||
           (strcmp(query_column_name(a, column), COPY_JSON_COLUMN) == 0 &&
            detail_same(left, right));
}

static const char *shown(const struct query *q, int column)
{
    return query_is_null(q, column) ? "null" : query_text(q, column);
}

static enum err row_compare(struct copying *c, const struct copy_table *t, const struct query *from,
                            const struct query *to)
{
    char row[256];
    place_name(t, from, row, sizeof row);
    for (int i = 0; i < query_columns(from); i++) {
        const char *name = query_column_name(from, i);
        int other = column_named(to, name);
        if (other < 0)
            return says(c, ERR_CONFLICT, "%s: PostgreSQL has no column %s", t->name, name);
        if (!value_same(from, to, i, other))
            return says(c, ERR_CONFLICT, "%s: %s is %.*s in the file and %.*s in PostgreSQL", row,
                        name, SHOWN_MAX, shown(from, i), SHOWN_MAX, shown(to, other));
    }
    if (query_columns(from) != query_columns(to))
        return says(c, ERR_CONFLICT, "%s: the columns differ", t->name);
    return ERR_OK;
}

static enum err page_compare(struct copying *c, const struct copy_table *t, struct place *place,
                             int64_t *rows)
{
    struct query from, to;
    char row[256];
    enum err err = ERR_OK;
    *rows = 0;
    query_open(&from, c->from, t->page);
    query_open(&to, c->to, t->page);
    place_bind(t, place, &from);
    place_bind(t, place, &to);
    for (;;) {
        bool here = query_next(&from), there = query_next(&to);
        if (from.err != ERR_OK || to.err != ERR_OK || (!here && !there))
            break;
        int order = !here ? 1 : !there ? -1 : rows_order(t, &from, &to);
        if (order != 0) {
            place_name(t, order < 0 ? &from : &to, row, sizeof row);
            err = says(c, ERR_CONFLICT, "%s is in %s only", row,
                       order < 0 ? "the file" : "PostgreSQL");
        } else {
            err = row_compare(c, t, &from, &to);
        }
        if (err != ERR_OK)
            break;
        place_take(t, &from, place);
        ++*rows;
    }
    enum err from_err = query_close(&from), to_err = query_close(&to);
    if (from_err != ERR_OK)
        return from_failed(c, from_err);
    return to_err == ERR_OK ? err : to_failed(c, to_err);
}

static enum err table_compare(struct copying *c, const struct copy_table *t)
{
    struct place place;
    int64_t rows = COPY_PAGE;
    enum err err = ERR_OK;
    place_start(t, &place);
    while (err == ERR_OK && rows == COPY_PAGE) {
        err = page_compare(c, t, &place, &rows);
        if (!t->keys[0].name)
            break;
    }
    return err;
}

/* ---- all of it ---- */

static int64_t *counted(struct copy_counts *counts, const char *table, int64_t *other)
{
    if (strcmp(table, "accounts") == 0)
        return &counts->users;
    if (strcmp(table, "payments") == 0)
        return &counts->payments;
    if (strcmp(table, "subscriptions") == 0)
        return &counts->periods;
    return strcmp(table, "events") == 0 ? &counts->events : other;
}

static enum err tables_copy(struct copying *c, struct copy_counts *counts)
{
    int64_t other;
    enum err err = db_script(c->to, "DELETE FROM subscription_cost"); /* those of a new database */
    if (err != ERR_OK)
        return to_failed(c, err);
    for (size_t i = 0; i < COPY_TABLE_COUNT && err == ERR_OK; i++) {
        const struct copy_table *t = &COPY_TABLES[i];
        err = table_copy(c, t, counted(counts, t->name, &other));
    }
    if (err == ERR_OK)
        err = numbers_go_on(c);
    if (err == ERR_OK && (err = db_script(c->to, COPY_ANALYZE)) != ERR_OK)
        return to_failed(c, err);
    return err;
}

static enum err books_copy(struct copying *c, struct copy_counts *counts, bool *maybe)
{
    enum err err = schemas_agree(c);
    if (err == ERR_OK)
        err = tables_known(c);
    if (err != ERR_OK)
        return err;
    if ((err = db_begin(c->to)) != ERR_OK)
        return to_failed(c, err);
    err = target_empty(c);
    if (err == ERR_OK)
        err = tables_copy(c, counts);
    for (size_t i = 0; i < COPY_TABLE_COUNT && err == ERR_OK; i++)
        err = table_compare(c, &COPY_TABLES[i]);
    if (err != ERR_OK) {
        db_rollback(c->to);
        return err;
    }
    err = db_commit(c->to);
    *maybe = err == ERR_UNREACHABLE;
    return err == ERR_OK ? ERR_OK : to_failed(c, err);
}

enum err copy_books(struct db *from, struct db *to, struct copy_counts *out, bool *maybe, char *why,
                    size_t why_cap)
{
    struct copying c = {.from = from, .to = to, .why = why, .why_cap = why_cap};
    struct copy_counts counts = {0};
    *maybe = false;
    enum err err = db_begin(from); /* one snapshot */
    if (err != ERR_OK)
        return from_failed(&c, err);
    str_init(&c.batch, BATCH_MAX);
    err = books_copy(&c, &counts, maybe);
    str_release(&c.batch);
    db_rollback(from);
    if (err == ERR_OK)
        *out = counts;
    return err;
}
