#include "audit/audit.h"

#include <assert.h>
#include <stdio.h>

#include "audit/pairs.h"
#include "audit/tables.h"

struct audit {
    struct db *db;
    const struct audit_inputs *inputs;
    struct journal_load journal;
    struct log_load log;
    struct pairs pairs;
    struct audit_report report;
    struct arena texts; /* of the statements; lives as long as they may be prepared */
};

static enum err count_run(struct audit *a, const char *sql, struct audit_invariant *inv)
{
    struct query q;
    query_open(&q, a->db, sql);
    if (query_next(&q))
        inv->checked += query_i64(&q, 0);
    return query_close(&q);
}

/* All rows are counted, the first ones are kept. */
static enum err rows_run(struct audit *a, const char *sql, int64_t *rows,
                         char texts[][AUDIT_EXAMPLE_TEXT], int *text_count)
{
    struct query q;
    int64_t counted = 0;
    query_open(&q, a->db, sql);
    while (query_next(&q)) {
        counted = query_i64(&q, 0);
        if (*text_count < AUDIT_EXAMPLES_MAX)
            snprintf(texts[(*text_count)++], AUDIT_EXAMPLE_TEXT, "%s %s", query_text(&q, 1),
                     query_text(&q, 2));
    }
    *rows += counted;
    return query_close(&q);
}

/* false, and the invariant says why: what the pair needs cannot be read. */
static bool pair_ready(const struct audit *a, const struct pair *p, struct audit_invariant *inv)
{
    bool journal = !p->needs_journal || a->journal.readable;
    bool log = !p->needs_log || a->log.readable;
    if (journal && log)
        return true;
    inv->checked_at_all = false;
    snprintf(inv->why, sizeof inv->why, "the %s cannot be read: %s", journal ? "queue" : "journal",
             journal ? a->log.why : a->journal.why);
    return false;
}

static enum err pair_run(struct audit *a, const struct pair *p)
{
    struct audit_invariant *inv = &a->report.invariants[p->invariant];
    if (!pair_ready(a, p, inv))
        return ERR_OK;
    if (p->listed)
        return rows_run(a, p->rows, &inv->listed, inv->listings, &inv->listing_count);
    enum err err = count_run(a, p->count, inv);
    return err == ERR_OK ? rows_run(a, p->rows, &inv->broken, inv->examples, &inv->example_count)
                         : err;
}

static enum err pairs_run(struct audit *a, bool at_once)
{
    enum err err = ERR_OK;
    for (int i = 0; i < a->pairs.count && err == ERR_OK; i++)
        if (a->pairs.all[i].at_once == at_once)
            err = pair_run(a, &a->pairs.all[i]);
    return err;
}

static enum err of_range(void *ctx)
{
    return pairs_run(ctx, false);
}

static enum err over_all(void *ctx)
{
    return pairs_run(ctx, true);
}

static enum err of_file(void *ctx)
{
    struct audit *a = ctx;
    enum err err = heartbeat_load(a->db);
    if (err == ERR_OK)
        err = journal_load_tail(a->db, &a->journal);
    if (err == ERR_OK && a->inputs->accepted != NULL)
        err = accepted_mark(a->db);
    if (err == ERR_OK)
        err = log_load(a->db, &a->log);
    for (int i = 0; i < a->pairs.count && err == ERR_OK; i++)
        err = pair_run(a, &a->pairs.all[i]);
    return err;
}

static enum err of_heartbeats(void *ctx)
{
    return heartbeat_load(((struct audit *)ctx)->db);
}

/* One snapshot: the first look into the books takes it. */
static enum err in_snapshot(struct audit *a, enum err (*look)(void *ctx))
{
    enum err err = db_begin(a->db);
    if (err != ERR_OK)
        return err;
    err = look(a);
    if (err == ERR_OK)
        return db_commit(a->db);
    db_rollback(a->db);
    return err;
}

static enum err books_run_by_ranges(struct audit *a)
{
    int64_t users = a->inputs->range_users != 0 ? a->inputs->range_users : AUDIT_RANGE_USERS;
    enum err err = a->inputs->accepted != NULL ? accepted_mark(a->db) : ERR_OK;
    if (err == ERR_OK)
        err = in_snapshot(a, of_heartbeats);
    if (err == ERR_OK)
        err = log_load(a->db, &a->log);
    if (err == ERR_OK)
        err = ranges_run(a->db, &a->journal, users, of_range, a);
    if (err == ERR_OK)
        err = db_script(a->db, "SET search_path = public, pg_temp");
    return err == ERR_OK ? in_snapshot(a, over_all) : err;
}

static enum err audit_run_with(struct audit *a)
{
    enum err err = pairs_read(&a->pairs, &a->report, &a->texts);
    if (err == ERR_OK)
        err = tables_make(a->db);
    if (err != ERR_OK)
        return err;
    err = journal_load(a->db, &a->journal);
    if (err == ERR_OK)
        err = accepted_load(a->db, a->inputs->accepted);
    if (err == ERR_OK)
        err = db_is_postgres(a->db) ? books_run_by_ranges(a) : in_snapshot(a, of_file);
    enum err dropped = tables_drop(a->db);
    return err == ERR_OK ? dropped : err;
}

enum err audit_all(struct db *db, const struct audit_inputs *inputs, struct audit_report *out)
{
    struct audit a = {.db = db,
                      .inputs = inputs,
                      .journal = {.source = inputs->journal},
                      .log = {.source = inputs->log, .topic = inputs->topic}};
    assert(!db_in_transaction(db));
    arena_init(&a.texts, 2 * AUDIT_PAIRS_BYTES_MAX);
    enum err err = audit_run_with(&a);
    arena_release(&a.texts);
    if (err == ERR_OK)
        *out = a.report;
    return err;
}

enum err audit_run(struct db *db, const struct journal_source *journal, struct audit_report *out)
{
    return audit_all(db, &(struct audit_inputs){.journal = journal}, out);
}
