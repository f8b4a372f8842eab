#include "audit/audit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "audit/tables.h"
#include "base/embed.h"

#define NEEDS_JOURNAL "Needs the journal."
#define LISTED "Listed, not judged."

struct audit {
    struct db *db;
    const struct audit_inputs *inputs;
    struct journal_load journal;
    struct arena texts; /* of the statements; lives as long as they may be prepared */
};

/* The next statement with the comments before it; *at moves behind its ';'. *sql NULL: only
 * blanks are left. */
static enum err statement_next(struct audit *a, const char **at, const char **sql)
{
    const char *start = *at, *p = start;
    bool comment = false, quoted = false, text = false;
    for (; *p != '\0'; p++) {
        if (comment)
            comment = *p != '\n';
        else if (quoted)
            quoted = *p != '\'';
        else if (*p == ';')
            break;
        else if (*p == '-' && p[1] == '-')
            comment = true;
        else if (*p == '\'')
            quoted = true;
        else if (*p != ' ' && *p != '\n' && *p != '\r' && *p != '\t')
            text = true;
    }
    *at = *p == ';' ? p + 1 : p;
    *sql = text ? arena_text(&a->texts, start, (size_t)(p - start)) : NULL;
    return text && *sql == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* "-- I2: what must hold" */
static void title_read(struct audit_invariant *inv, const char *text)
{
    size_t len = strcspn(text, "\n");
    const char *colon = memchr(text, ':', len);
    assert(strncmp(text, "-- I", 4) == 0 && colon != NULL); /* the files are part of the program */
    const char *title = colon + 1 + strspn(colon + 1, " ");
    bool fits = text_copy_n(inv->id, sizeof inv->id, text + 3, (size_t)(colon - text) - 3);
    fits &= text_copy_n(inv->title, sizeof inv->title, title, len - (size_t)(title - text));
    assert(fits);
    (void)fits;
}

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
    query_open(&q, a->db, sql);
    while (query_next(&q)) {
        ++*rows;
        if (*text_count < AUDIT_EXAMPLES_MAX)
            snprintf(texts[(*text_count)++], AUDIT_EXAMPLE_TEXT, "%s %s", query_text(&q, 0),
                     query_text(&q, 1));
    }
    return query_close(&q);
}

static enum err pair_run(struct audit *a, const char *count, const char *rows,
                         struct audit_invariant *inv)
{
    if (!a->journal.readable && strstr(count, NEEDS_JOURNAL) != NULL) {
        inv->checked_at_all = false;
        snprintf(inv->why, sizeof inv->why, "the journal cannot be read: %s", a->journal.why);
        return ERR_OK;
    }
    if (strstr(count, LISTED) != NULL)
        return rows_run(a, rows, &inv->listed, inv->listings, &inv->listing_count);
    enum err err = count_run(a, count, inv);
    return err == ERR_OK ? rows_run(a, rows, &inv->broken, inv->examples, &inv->example_count)
                         : err;
}

static enum err invariant_run(struct audit *a, const char *text, struct audit_invariant *inv)
{
    *inv = (struct audit_invariant){.checked_at_all = true};
    title_read(inv, text);
    for (;;) {
        const char *count, *offenders;
        enum err err = statement_next(a, &text, &count);
        if (err != ERR_OK || count == NULL)
            return err;
        if ((err = statement_next(a, &text, &offenders)) != ERR_OK)
            return err;
        assert(offenders != NULL); /* pairs */
        if ((err = pair_run(a, count, offenders, inv)) != ERR_OK)
            return err;
    }
}

static enum err invariants_run(struct audit *a, struct audit_report *r)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < AUDIT_FILES_COUNT && err == ERR_OK; i++) {
        assert(r->count < AUDIT_INVARIANTS_MAX);
        err = invariant_run(a, AUDIT_FILES[i].data, &r->invariants[r->count++]);
    }
    return err;
}

/* One snapshot: the first look into the books takes it, the journal's tail is read behind it. */
static enum err books_run(struct audit *a, struct audit_report *r)
{
    enum err err = db_begin(a->db);
    if (err != ERR_OK)
        return err;
    err = heartbeat_load(a->db);
    if (err == ERR_OK)
        err = journal_load_tail(a->db, &a->journal);
    if (err == ERR_OK)
        err = log_load(a->db, a->inputs->topic);
    if (err == ERR_OK)
        err = invariants_run(a, r);
    if (err == ERR_OK)
        return db_commit(a->db);
    db_rollback(a->db);
    return err;
}

enum err audit_all(struct db *db, const struct audit_inputs *inputs, struct audit_report *out)
{
    struct audit a = {.db = db, .inputs = inputs, .journal = {.source = inputs->journal}};
    struct audit_report r = {.count = 0};
    assert(!db_in_transaction(db));
    arena_init(&a.texts, 256 * 1024);
    /* A reader's connection refuses every write, and the temporary tables are some. */
    enum err err = db_script(db, "PRAGMA query_only=OFF;");
    if (err == ERR_OK)
        err = tables_make(db);
    if (err == ERR_OK)
        err = journal_load(db, &a.journal);
    if (err == ERR_OK)
        err = accepted_load(db, inputs->accepted);
    if (err == ERR_OK)
        err = books_run(&a, &r);
    enum err dropped = tables_drop(db);
    if (err == ERR_OK)
        err = dropped;
    arena_release(&a.texts);
    if (err == ERR_OK)
        *out = r;
    return err;
}

enum err audit_run(struct db *db, const struct journal_source *journal, struct audit_report *out)
{
    return audit_all(db, &(struct audit_inputs){.journal = journal}, out);
}
