#include <string.h>

#include "ledger/schema_describe.h"

static bool same(const struct object *a, const struct object *b)
{
    return a && b && strcmp(a->text, b->text) == 0;
}

/* It comes and goes with its table, which the other side does not have. */
static bool with_table(const struct object *o, const struct description *other)
{
    struct object table = {.kind = OBJECT_TABLE, .table = o->table, .name = o->table};
    return o->kind != OBJECT_TABLE && *o->table && !description_find(other, &table);
}

static bool is_part(const struct object *o)
{
    return o->kind == OBJECT_COLUMN || o->kind == OBJECT_CONSTRAINT;
}

static void add_one_line(struct str *out, const char *text)
{
    for (; *text; text++)
        str_add_bytes(out, *text == '\n' || *text == '\r' ? " " : text, 1);
}

static void add_line(struct str *out, const char *what, const struct object *o)
{
    str_addf(out, "%s %s ", what, OBJECT_WORDS[o->kind]);
    if (is_part(o)) {
        add_one_line(out, o->table);
        str_add(out, ".");
    }
    add_one_line(out, o->name);
}

void schema_report(const struct description *live, const struct description *wanted,
                   struct str *report)
{
    for (size_t i = 0; i < wanted->count; i++) {
        const struct object *o = &wanted->list[i], *there = description_find(live, o);
        if (same(o, there) || with_table(o, live))
            continue;
        add_line(report, there ? "different" : "missing", o);
        str_add(report, "\n");
    }
    for (size_t i = 0; i < live->count; i++) {
        const struct object *o = &live->list[i];
        if (with_table(o, wanted) || description_find(wanted, o))
            continue;
        add_line(report, "unknown", o);
        str_add(report, "\n");
    }
}

/* ---- the statements that lead from one to the other ---- */

/* These are dropped and made again; a table or a column is not, for its rows. */
static bool replaceable(const struct object *o)
{
    return o->kind == OBJECT_INDEX || o->kind == OBJECT_TRIGGER;
}

static void changed(const struct object *is, const struct object *wanted, struct str *out)
{
    add_line(out, "-- changed:", is ? is : wanted);
    str_add(out, " is ");
    add_one_line(out, is ? is->text : "missing");
    str_add(out, "; wanted is ");
    add_one_line(out, wanted ? wanted->text : "none");
    str_add(out, "\n");
}

static void add_word_and_name(struct str *out, const char *word, const char *name)
{
    str_add(out, word);
    schema_text_name(name, out);
}

static void drop(const struct object *o, bool postgres, struct str *out)
{
    static const char *const WORDS[OBJECT_KINDS] = {
        [OBJECT_FUNCTION] = "DROP FUNCTION ", [OBJECT_TABLE] = "DROP TABLE ",
        [OBJECT_COLUMN] = " DROP COLUMN ",    [OBJECT_INDEX] = "DROP INDEX ",
        [OBJECT_TRIGGER] = "DROP TRIGGER ",
    };
    if (!WORDS[o->kind]) {
        changed(o, NULL, out);
        return;
    }
    if (o->kind == OBJECT_COLUMN)
        add_word_and_name(out, "ALTER TABLE ", o->table);
    add_word_and_name(out, WORDS[o->kind], o->name);
    if (o->kind == OBJECT_TRIGGER && postgres)
        add_word_and_name(out, " ON ", o->table);
    str_add(out, ";\n");
}

static void create_table(const struct object *table, const struct description *d, bool postgres,
                         struct str *out)
{
    const char *between = " (\n    ";
    add_word_and_name(out, "CREATE TABLE ", table->name);
    for (size_t i = 0; i < d->count; i++) {
        const struct object *o = &d->list[i];
        if (!is_part(o) || strcmp(o->table, table->name) != 0)
            continue;
        str_add(out, between);
        if (o->kind == OBJECT_COLUMN)
            add_word_and_name(out, "", o->name);
        else if (postgres)
            add_word_and_name(out, "CONSTRAINT ", o->name);
        str_addf(out, "%s%s", o->kind == OBJECT_COLUMN || postgres ? " " : "", o->text);
        between = ",\n    ";
    }
    str_addf(out, "\n)%s%s;\n", *table->text ? " " : "", table->text);
}

/* As it stands in schema.sql; a new table with the rows that it begins with. */
static void add_declared(const struct object *o, const struct description *d, struct str *out)
{
    for (size_t i = o->place; i < d->statement_count; i++) {
        const struct schema_statement *s = &d->statements[i];
        bool rows = s->rows && o->kind == OBJECT_TABLE && strcmp(s->name, o->name) == 0;
        if (i == o->place || rows)
            str_add_bytes(out, s->text, s->len);
    }
}

static void add(const struct object *o, const struct description *d, bool postgres, struct str *out)
{
    if (o->kind == OBJECT_COLUMN) {
        add_word_and_name(out, "ALTER TABLE ", o->table);
        add_word_and_name(out, " ADD COLUMN ", o->name);
        str_addf(out, " %s;\n", o->text);
    } else if (o->kind == OBJECT_CONSTRAINT || o->kind == OBJECT_OTHER)
        changed(NULL, o, out);
    else if (o->place < d->statement_count)
        add_declared(o, d, out);
    else if (o->kind == OBJECT_TABLE)
        create_table(o, d, postgres, out);
    else
        str_addf(out, "%s;\n", o->text);
}

/* What `from` has and `to` has not, or differently, last things first. */
static void drop_all(const struct description *from, const struct description *to, bool functions,
                     bool postgres, struct str *out)
{
    for (size_t i = from->count; i-- > 0;) {
        const struct object *o = &from->list[i], *there = description_find(to, o);
        if (same(o, there) || (!there && with_table(o, to)) ||
            functions != (o->kind == OBJECT_FUNCTION))
            continue;
        if (there && !replaceable(o))
            changed(o, there, out);
        else
            drop(o, postgres, out);
    }
}

static bool is_added(const struct object *o, const struct description *from)
{
    const struct object *there = description_find(from, o);
    return !same(o, there) && (!there || replaceable(o)) && !(is_part(o) && with_table(o, from));
}

/* Extensions are no part of a description, for others use them too: they come with tables. */
static void add_extensions(const struct description *from, const struct description *to,
                           struct str *out)
{
    bool tables = false;
    for (size_t i = 0; i < to->count; i++)
        tables = tables || (to->list[i].kind == OBJECT_TABLE && is_added(&to->list[i], from));
    for (size_t i = 0; i < to->statement_count && tables; i++)
        if (to->statements[i].kind == OBJECT_EXTENSION)
            str_add_bytes(out, to->statements[i].text, to->statements[i].len);
}

void schema_draft(const struct description *from, const struct description *to, bool postgres,
                  struct str *out)
{
    drop_all(from, to, false, postgres, out);
    drop_all(from, to, true, postgres, out); /* triggers need them, also of tables that go */
    add_extensions(from, to, out);
    for (size_t i = 0; i < to->count; i++)
        if (is_added(&to->list[i], from))
            add(&to->list[i], to, postgres, out);
}
