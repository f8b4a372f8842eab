#include <stdio.h>
#include <string.h>

#include "ledger/migrations_inside.h"
#include "ledger/schema_describe.h"

#define REPORT_MAX 262144

/* ---- what the database says ---- */

static enum err any_table(struct db *db, bool *out)
{
    struct query q;
    query_open(
        &q, db,
        db_is_postgres(db)
            ? "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
              "WHERE n.nspname = current_schema() AND c.relname = 'schema_migrations'"
            : "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_migrations'");
    *out = query_next(&q) && query_i64(&q, 0) > 0;
    return query_close(&q);
}

enum err migrations_revision(const struct migrations *m, struct db *db, struct revision *out)
{
    struct query q;
    *out = (struct revision){0};
    enum err err = any_table(db, &out->any_table);
    if (err != ERR_OK || !out->any_table)
        return err;
    query_open(&q, db,
               "SELECT number, name, compatible_from FROM schema_migrations ORDER BY number");
    while (query_next(&q)) {
        out->number = (int)query_i64(&q, 0);
        const struct migration *known = migrations_get(m, out->number);
        if (known && strcmp(known->name, query_text(&q, 1)) != 0)
            out->foreign = true;
        int from = (int)query_i64(&q, 2);
        out->compatible_from = from > out->compatible_from ? from : out->compatible_from;
    }
    return query_close(&q);
}

static const char *head_name(const struct migrations *m)
{
    const struct migration *head = migrations_get(m, m->count);
    return head ? head->name : "nothing";
}

enum err migrations_newer(const struct migrations *m, const struct revision *r, char *why,
                          size_t why_cap)
{
    const char *head = head_name(m);
    snprintf(why, why_cap,
             "the database is at revision %d and needs a program of revision %d or later; this "
             "one ends at %s: take the newer program, or with that one subpay migrate downgrade %s",
             r->number, r->compatible_from, head, m->count > 0 ? head : "base");
    return ERR_VERSION;
}

enum err migrations_foreign(const struct migrations *m, struct db *db, char *why, size_t why_cap)
{
    struct str report;
    str_init(&report, REPORT_MAX);
    enum err err = migrations_differences(m, db, &report, why, why_cap);
    if (err == ERR_OK && report.len > 0) {
        snprintf(why, why_cap,
                 "other migrations have made the database, and it is not what is declared here "
                 "(%.*s …): subpay migrate upgrade with their MIGRATIONS_DIR",
                 (int)strcspn(report.data, "\n"), report.data);
        err = ERR_VERSION;
    }
    str_release(&report);
    return err;
}

enum err migrations_check(const struct migrations *m, struct db *db, char *why, size_t why_cap)
{
    struct revision r;
    enum err err = migrations_revision(m, db, &r);
    if (err != ERR_OK)
        return migrations_fail(err, why, why_cap, "", db_why(db));
    if (r.foreign)
        return migrations_foreign(m, db, why, why_cap);
    if (r.compatible_from > m->count)
        return migrations_newer(m, &r, why, why_cap);
    if (r.number >= m->count)
        return ERR_OK;
    const struct migration *has = migrations_get(m, r.number);
    snprintf(why, why_cap, "the database is %s%s, this program needs %s: subpay migrate upgrade",
             has ? "at " : "empty", has ? has->name : "", head_name(m));
    return ERR_VERSION;
}

/* ---- reports ---- */

enum err migrations_current(const struct migrations *m, struct db *db, struct str *report)
{
    struct revision r;
    struct query q;
    enum err err = migrations_revision(m, db, &r);
    if (err != ERR_OK || r.number == 0)
        return err;
    query_open(&q, db, "SELECT name FROM schema_migrations ORDER BY number DESC LIMIT 1");
    if (query_next(&q))
        str_addf(report, "%s%s\n", query_text(&q, 0),
                 r.foreign             ? " (of other migrations)"
                 : r.number > m->count ? " (newer than this program)"
                 : r.number < m->count ? ""
                                       : " (head)");
    err = query_close(&q);
    return err == ERR_OK && report->failed ? ERR_NO_MEMORY : err;
}

static enum err applied_at(struct db *db, const struct migration *one, struct str *report)
{
    struct query q;
    query_open(&q, db, "SELECT applied_at, name FROM schema_migrations WHERE number = ?1");
    query_bind_i64(&q, one->number);
    if (!query_next(&q))
        str_add(report, " not applied");
    else if (strcmp(query_text(&q, 1), one->name) == 0)
        str_addf(report, " applied %s", query_text(&q, 0));
    else
        str_addf(report, " not applied (%s is)", query_text(&q, 1));
    return query_close(&q);
}

enum err migrations_history(const struct migrations *m, struct db *db, struct str *report)
{
    struct revision r;
    enum err err = migrations_revision(m, db, &r);
    for (int n = 1; n <= m->count && err == ERR_OK; n++) {
        const struct migration *one = migrations_get(m, n);
        str_add(report, one->name);
        if (r.any_table)
            err = applied_at(db, one, report);
        else
            str_add(report, " not applied");
        str_add(report, n == m->count ? " (head)\n" : "\n");
    }
    return err == ERR_OK && report->failed ? ERR_NO_MEMORY : err;
}

/* ---- against what is declared ---- */

enum err migrations_differences(const struct migrations *m, struct db *db, struct str *report,
                                char *why, size_t why_cap)
{
    struct description live, wanted;
    struct arena arena;
    arena_init(&arena, SCHEMA_DESCRIPTION_MAX);
    enum err err = schema_describe_both(db, m->declared, &arena, &live, &wanted, why, why_cap);
    if (err == ERR_OK)
        schema_report(&live, &wanted, report);
    arena_release(&arena);
    return err == ERR_OK && report->failed
               ? migrations_fail(ERR_NO_MEMORY, why, why_cap, "", "there are too many differences")
               : err;
}

enum err migrations_draft(const struct migrations *m, struct db *db, struct str *up,
                          struct str *down, char *why, size_t why_cap)
{
    struct description live, wanted;
    struct revision r;
    struct arena arena;
    enum err err = migrations_revision(m, db, &r);
    if (err != ERR_OK)
        return migrations_fail(err, why, why_cap, "", db_why(db));
    if (r.foreign || r.number != m->count) {
        const struct migration *has = migrations_get(m, r.number);
        snprintf(why, why_cap,
                 "the database is %s%s, and the migrations end at %s: subpay migrate upgrade first",
                 r.number == 0 ? "empty" : "at ",
                 has && !r.foreign ? has->name
                 : r.number == 0   ? ""
                                   : "another revision",
                 head_name(m));
        return ERR_VERSION;
    }
    arena_init(&arena, SCHEMA_DESCRIPTION_MAX);
    err = schema_describe_both(db, m->declared, &arena, &live, &wanted, why, why_cap);
    if (err == ERR_OK) {
        schema_draft(&live, &wanted, m->postgres, up);
        schema_draft(&wanted, &live, m->postgres, down);
    }
    arena_release(&arena);
    return err == ERR_OK && (up->failed || down->failed)
               ? migrations_fail(ERR_NO_MEMORY, why, why_cap, "", "there are too many differences")
               : err;
}
