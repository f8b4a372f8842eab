#include "ledger/schema.h"

#include <stdio.h>
#include <string.h>

#include "base/db.h"
#include "base/embed.h"

#define UP ".up.sql"
#define DOWN ".down.sql"
#define TABLE_NAME_MAX 63
#define TABLES_MAX 64

/* ---- what this program knows ---- */

static const struct embedded_file *file_of(int number, const char *suffix)
{
    char prefix[16];
    snprintf(prefix, sizeof prefix, "%04d_", number);
    for (size_t i = 0; i < SQLITE_MIGRATION_FILES_COUNT; i++) {
        const struct embedded_file *f = &SQLITE_MIGRATION_FILES[i];
        size_t len = strlen(f->name), suffix_len = strlen(suffix);
        if (strncmp(f->name, prefix, strlen(prefix)) == 0 && len > suffix_len &&
            strcmp(f->name + len - suffix_len, suffix) == 0)
            return f;
    }
    return NULL;
}

static int compatible_from(const char *up, int number)
{
    static const char KEY[] = "-- compatible_from: ";
    const char *line = strstr(up, KEY);
    int64_t from;
    char digits[8] = "";
    if (!line)
        return number;
    line += strlen(KEY);
    size_t len = strspn(line, "0123456789");
    if (!text_copy_n(digits, sizeof digits, line, len) || !text_i64(digits, 1, number, &from))
        return number;
    return (int)from;
}

bool schema_migration(int number, struct migration *out)
{
    const struct embedded_file *up = file_of(number, UP), *down = file_of(number, DOWN);
    if (!up || !down)
        return false;
    *out = (struct migration){.number = number, .up = up->data, .down = down->data};
    out->compatible_from = compatible_from(up->data, number);
    return text_copy_n(out->name, sizeof out->name, up->name, strlen(up->name) - strlen(UP));
}

int schema_head(void)
{
    struct migration m;
    int head = 0;
    while (schema_migration(head + 1, &m))
        head++;
    return head;
}

/* ---- what the file says ---- */

struct revision {
    bool any_table; /* schema_migrations is there */
    int number;     /* 0: empty */
    int compatible_from;
};

static enum err revision_read(struct db *db, struct revision *out)
{
    struct query q;
    *out = (struct revision){0};
    query_open(&q, db, "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_migrations'");
    if (query_next(&q))
        out->any_table = query_i64(&q, 0) > 0;
    enum err err = query_close(&q);
    if (err != ERR_OK || !out->any_table)
        return err;
    query_open(&q, db,
               "SELECT coalesce(max(number), 0), coalesce(max(compatible_from), 0) "
               "FROM schema_migrations");
    if (query_next(&q)) {
        out->number = (int)query_i64(&q, 0);
        out->compatible_from = (int)query_i64(&q, 1);
    }
    return query_close(&q);
}

static enum err fails(enum err err, char *why, size_t why_cap, const char *subject,
                      const char *text)
{
    snprintf(why, why_cap, "%s%s%s", subject, subject[0] ? ": " : "", text);
    return err;
}

static enum err newer(const struct revision *r, char *why, size_t why_cap)
{
    struct migration knows = {.name = ""};
    (void)schema_migration(schema_head(), &knows);
    snprintf(why, why_cap,
             "the database is at revision %d and needs a program of revision %d or later; this "
             "one ends at %s",
             r->number, r->compatible_from, knows.name);
    return ERR_VERSION;
}

enum err schema_check(struct db *db, char *why, size_t why_cap)
{
    struct revision r;
    enum err err = revision_read(db, &r);
    if (err != ERR_OK)
        return fails(err, why, why_cap, "", db_why(db));
    if (r.compatible_from > schema_head())
        return newer(&r, why, why_cap);
    if (r.number < schema_head()) {
        struct migration has = {.name = ""}, needs = {.name = ""};
        bool any = schema_migration(r.number, &has);
        (void)schema_migration(schema_head(), &needs);
        snprintf(why, why_cap,
                 "the database is %s%s, this program needs %s: subpay migrate upgrade",
                 any ? "at " : "empty", has.name, needs.name);
        return ERR_VERSION;
    }
    return ERR_OK;
}

enum err schema_current(struct db *db, struct str *report)
{
    struct revision r;
    struct migration m;
    enum err err = revision_read(db, &r);
    if (err != ERR_OK || r.number == 0)
        return err;
    if (schema_migration(r.number, &m))
        str_addf(report, "%s%s\n", m.name, r.number == schema_head() ? " (head)" : "");
    else
        str_addf(report, "%04d (newer than this program)\n", r.number);
    return report->failed ? ERR_NO_MEMORY : ERR_OK;
}

static enum err applied_at(struct db *db, int number, struct str *report)
{
    struct query q;
    query_open(&q, db, "SELECT applied_at FROM schema_migrations WHERE number = ?1");
    query_bind_i64(&q, number);
    if (query_next(&q))
        str_addf(report, " applied %s", query_text(&q, 0));
    else
        str_add(report, " not applied");
    return query_close(&q);
}

enum err schema_history(struct db *db, struct str *report)
{
    struct revision r;
    struct migration m;
    enum err err = revision_read(db, &r);
    for (int n = 1; err == ERR_OK && schema_migration(n, &m); n++) {
        str_addf(report, "%s", m.name);
        if (r.any_table)
            err = applied_at(db, n, report);
        else
            str_add(report, " not applied");
        str_addf(report, "%s\n", n == schema_head() ? " (head)" : "");
    }
    return err == ERR_OK && report->failed ? ERR_NO_MEMORY : err;
}

/* ---- which revision is meant ---- */

static int revision_named(const char *text)
{
    struct migration m;
    int64_t number;
    if (text_i64(text, 1, 9999, &number))
        return schema_migration((int)number, &m) ? (int)number : -1;
    for (int n = 1; schema_migration(n, &m); n++)
        if (strcmp(text, m.name) == 0 || strcmp(text, m.name + 5) == 0)
            return n;
    return -1;
}

static int target_up(const char *text, int current)
{
    int64_t steps;
    if (strcmp(text, "head") == 0)
        return schema_head();
    if (text[0] == '+')
        return text_i64(text + 1, 1, schema_head() - current, &steps) ? current + (int)steps : -1;
    return revision_named(text);
}

static int target_down(const char *text, int current)
{
    int64_t steps;
    if (strcmp(text, "base") == 0)
        return 0;
    if (text[0] == '-')
        return text_i64(text + 1, 1, current, &steps) ? current - (int)steps : -1;
    return revision_named(text);
}

/* ---- up ---- */

static enum err note_applied(struct db *db, const struct migration *m)
{
    struct query q;
    query_open(&q, db,
               "INSERT INTO schema_migrations (number, name, applied_at, compatible_from) "
               "VALUES (?1, ?2, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'), ?3)");
    query_bind_i64(&q, m->number);
    query_bind_text(&q, m->name);
    query_bind_i64(&q, m->compatible_from);
    return query_run(&q);
}

static enum err up_in_transaction(struct db *db, const struct migration *m)
{
    enum err err = db_script(db, "CREATE TABLE IF NOT EXISTS schema_migrations ("
                                 "number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
                                 "applied_at TEXT NOT NULL, compatible_from INTEGER NOT NULL"
                                 ") STRICT;");
    if (err == ERR_OK)
        err = db_script(db, m->up);
    if (err == ERR_OK)
        err = note_applied(db, m);
    return err;
}

static enum err up_one(struct db *db, const struct migration *m, char *why, size_t why_cap)
{
    enum err err = db_begin(db);
    if (err == ERR_OK) {
        err = up_in_transaction(db, m);
        if (err == ERR_OK)
            err = db_commit(db);
        if (err != ERR_OK) {
            (void)fails(err, why, why_cap, m->name, db_why(db));
            db_rollback(db);
            return err;
        }
    }
    return err == ERR_OK ? err : fails(err, why, why_cap, m->name, db_why(db));
}

enum err schema_upgrade(struct db *db, const char *target, struct str *report, char *why,
                        size_t why_cap)
{
    struct revision r;
    struct migration m;
    enum err err = revision_read(db, &r);
    if (err != ERR_OK)
        return fails(err, why, why_cap, "", db_why(db));
    if (r.compatible_from > schema_head())
        return newer(&r, why, why_cap);
    int to = target_up(target, r.number);
    if (to < 0)
        return fails(ERR_NOT_FOUND, why, why_cap, target, "no such revision");
    for (int n = r.number + 1; n <= to; n++) {
        if (!schema_migration(n, &m))
            return fails(ERR_NOT_FOUND, why, why_cap, target, "no such revision");
        if ((err = up_one(db, &m, why, why_cap)) != ERR_OK)
            return err;
        str_addf(report, "upgraded to %s\n", m.name);
    }
    return ERR_OK;
}

/* ---- down ---- */

struct table_rows {
    char name[TABLE_NAME_MAX + 1];
    int64_t rows;
};
struct tables {
    struct table_rows list[TABLES_MAX];
    int count;
};

static enum err count_rows(struct db *db, struct table_rows *t)
{
    char sql[TABLE_NAME_MAX + 64];
    struct query q;
    if (strpbrk(t->name, "\"\\")) /* no migration of ours makes such a name */
        return ERR_CORRUPT;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM \"%s\"", t->name);
    query_open(&q, db, sql);
    if (query_next(&q))
        t->rows = query_i64(&q, 0);
    return query_close(&q);
}

static enum err tables_count(struct db *db, struct tables *out)
{
    struct query q;
    out->count = 0;
    query_open(&q, db,
               "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
               "AND name <> 'schema_migrations' ORDER BY name");
    while (query_next(&q)) {
        if (out->count == TABLES_MAX ||
            !text_copy(out->list[out->count].name, TABLE_NAME_MAX + 1, query_text(&q, 0))) {
            q.err = ERR_CORRUPT;
            break;
        }
        out->count++;
    }
    enum err err = query_close(&q);
    for (int i = 0; i < out->count && err == ERR_OK; i++)
        err = count_rows(db, &out->list[i]);
    return err;
}

/* Names the tables that would lose rows. */
static bool rows_lost(const struct tables *before, const struct tables *after, struct str *names)
{
    bool lost = false;
    for (int i = 0; i < before->count; i++) {
        int64_t left = 0;
        for (int k = 0; k < after->count; k++)
            if (strcmp(after->list[k].name, before->list[i].name) == 0)
                left = after->list[k].rows;
        if (left < before->list[i].rows) {
            str_addf(names, "%s%s (%lld)", lost ? ", " : "", before->list[i].name,
                     (long long)(before->list[i].rows - left));
            lost = true;
        }
    }
    return lost;
}

static enum err down_in_transaction(struct db *db, const struct migration *m, bool destroy_data,
                                    struct str *lost)
{
    struct tables before, after;
    struct query q;
    enum err err = tables_count(db, &before);
    if (err == ERR_OK)
        err = db_script(db, m->down);
    if (err == ERR_OK)
        err = tables_count(db, &after);
    if (err != ERR_OK)
        return err;
    if (rows_lost(&before, &after, lost) && !destroy_data)
        return ERR_REFUSED;
    query_open(&q, db, "DELETE FROM schema_migrations WHERE number = ?1");
    query_bind_i64(&q, m->number);
    return query_run(&q);
}

static enum err down_one(struct db *db, const struct migration *m, bool destroy_data, char *why,
                         size_t why_cap)
{
    struct str lost;
    enum err err = db_begin(db);
    if (err != ERR_OK)
        return fails(err, why, why_cap, m->name, db_why(db));
    str_init(&lost, SCHEMA_WHY_MAX);
    err = down_in_transaction(db, m, destroy_data, &lost);
    if (err == ERR_OK)
        err = db_commit(db);
    if (err == ERR_REFUSED)
        snprintf(why, why_cap, "%s: would delete rows of %s; --destroy-data allows it", m->name,
                 lost.data);
    else if (err != ERR_OK)
        (void)fails(err, why, why_cap, m->name, db_why(db));
    if (err != ERR_OK)
        db_rollback(db);
    str_release(&lost);
    return err;
}

enum err schema_downgrade(struct db *db, const char *target, bool destroy_data, struct str *report,
                          char *why, size_t why_cap)
{
    struct revision r;
    struct migration m;
    enum err err = revision_read(db, &r);
    if (err != ERR_OK)
        return fails(err, why, why_cap, "", db_why(db));
    if (r.number > schema_head())
        return newer(&r, why, why_cap);
    int to = target_down(target, r.number);
    if (to < 0 || to > r.number)
        return fails(ERR_NOT_FOUND, why, why_cap, target, "no such revision below the current one");
    for (int n = r.number; n > to; n--) {
        if (!schema_migration(n, &m))
            return fails(ERR_NOT_FOUND, why, why_cap, target, "no way back from here");
        if ((err = down_one(db, &m, destroy_data, why, why_cap)) != ERR_OK)
            return err;
        str_addf(report, "downgraded from %s\n", m.name);
    }
    return ERR_OK;
}

/* ---- is it what the migrations make? ---- */

#define OBJECTS "name NOT LIKE 'sqlite_%' AND name <> 'schema_migrations'"

static enum err object_sql(struct db *db, const char *type, const char *name, struct str *out,
                           bool *found)
{
    struct query q;
    query_open(&q, db, "SELECT sql FROM sqlite_schema WHERE type = ?1 AND name = ?2");
    query_bind_text(&q, type);
    query_bind_text(&q, name);
    str_clear(out);
    *found = query_next(&q);
    if (*found)
        str_add(out, query_text(&q, 0));
    return query_close(&q);
}

/* Objects of `a` against those of `b`: missing there, or, with `changed`, different there. */
static enum err compare(struct db *a, struct db *b, const char *missing, bool changed,
                        struct str *report)
{
    struct query q;
    struct str sql;
    enum err inner = ERR_OK;
    str_init(&sql, 65536);
    query_open(&q, a,
               "SELECT type, name, sql FROM sqlite_schema WHERE " OBJECTS " ORDER BY type, name");
    while (inner == ERR_OK && query_next(&q)) {
        bool found;
        inner = object_sql(b, query_text(&q, 0), query_text(&q, 1), &sql, &found);
        if (inner == ERR_OK && !found)
            str_addf(report, "%s %s %s\n", missing, query_text(&q, 0), query_text(&q, 1));
        else if (inner == ERR_OK && changed && strcmp(sql.data, query_text(&q, 2)) != 0)
            str_addf(report, "different %s %s\n", query_text(&q, 0), query_text(&q, 1));
    }
    enum err err = query_close(&q);
    str_release(&sql);
    return inner != ERR_OK ? inner : err;
}

enum err schema_differences(struct db *db, struct str *report)
{
    char why[SCHEMA_WHY_MAX];
    struct str steps;
    struct db *scratch;
    enum err err = db_open(&scratch, "", DB_MEMORY, why, sizeof why);
    if (err != ERR_OK)
        return err;
    str_init(&steps, 65536);
    err = schema_upgrade(scratch, "head", &steps, why, sizeof why);
    if (err == ERR_OK)
        err = compare(scratch, db, "missing", true, report);
    if (err == ERR_OK)
        err = compare(db, scratch, "unknown", false, report);
    str_release(&steps);
    db_close(scratch);
    return err == ERR_OK && report->failed ? ERR_NO_MEMORY : err;
}
