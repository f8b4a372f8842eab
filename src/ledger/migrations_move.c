#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ledger/migrations_inside.h"
#include "ledger/schema_text.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define SECONDS(number) "'" TEXT(number) "s'"
#define MIGRATOR_WAIT_S 600 /* for another migrator */
#define PAUSE_MS 250        /* lets those who queue behind us through */
#define LOST_MAX 200        /* bytes of the tables that would lose rows */

/* One move up or down. */
struct move {
    const struct migrations *m;
    struct db *db;
    bool up;
    int to;
    bool destroy_data;
    struct str *report;
    char *why;
    size_t why_cap;
};

static enum err fails(const struct move *v, enum err err, const char *subject)
{
    const char *words = db_why(v->db);
    return migrations_fail(err, v->why, v->why_cap, subject, *words ? words : err_text(err));
}

/* ---- which revision is meant ---- */

static int revision_named(const struct migrations *m, const char *text)
{
    int64_t number;
    if (text_i64(text, 1, m->count, &number))
        return (int)number;
    for (int n = 1; n <= m->count; n++) {
        const char *name = migrations_get(m, n)->name;
        if (strcmp(text, name) == 0 || strcmp(text, name + 5) == 0)
            return n;
    }
    return -1;
}

static int target_up(const struct migrations *m, const char *text, int current)
{
    int64_t steps;
    if (strcmp(text, "head") == 0)
        return m->count;
    if (text[0] == '+')
        return text_i64(text + 1, 1, m->count - current, &steps) ? current + (int)steps : -1;
    return revision_named(m, text);
}

static int target_down(const struct migrations *m, const char *text, int current)
{
    int64_t steps;
    if (strcmp(text, "base") == 0)
        return 0;
    if (text[0] == '-')
        return text_i64(text + 1, 1, current, &steps) ? current - (int)steps : -1;
    return revision_named(m, text);
}

/* ---- up ---- */

static const char SQLITE_TABLE[] =
    "CREATE TABLE IF NOT EXISTS schema_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL "
    "UNIQUE, applied_at TEXT NOT NULL, compatible_from INTEGER NOT NULL) STRICT;";
static const char POSTGRES_TABLE[] =
    "CREATE TABLE IF NOT EXISTS schema_migrations (number integer PRIMARY KEY, name text NOT NULL "
    "UNIQUE, applied_at timestamptz NOT NULL, compatible_from integer NOT NULL);";

static enum err note_applied(struct db *db, const struct migration *one)
{
    struct query q;
    query_open(&q, db,
               db_is_postgres(db)
                   ? "INSERT INTO schema_migrations (number, name, applied_at, compatible_from) "
                     "VALUES (?1, ?2, clock_timestamp(), ?3)"
                   : "INSERT INTO schema_migrations (number, name, applied_at, compatible_from) "
                     "VALUES (?1, ?2, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'), ?3)");
    query_bind_i64(&q, one->number);
    query_bind_text(&q, one->name);
    query_bind_i64(&q, one->compatible_from);
    return query_run(&q);
}

/* PostgreSQL takes no script without a statement. */
static enum err run_file(struct db *db, const char *sql)
{
    return schema_text_is_empty(sql) ? ERR_OK : db_script(db, sql);
}

static enum err up_inside(const struct move *v, const struct migration *one)
{
    enum err err = db_script(v->db, v->m->postgres ? POSTGRES_TABLE : SQLITE_TABLE);
    if (err == ERR_OK)
        err = run_file(v->db, one->up);
    return err == ERR_OK ? note_applied(v->db, one) : err;
}

/* ---- down ---- */

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

static enum err down_kept(const struct move *v, const struct migration *one)
{
    struct tables before, after;
    struct str lost;
    enum err err = migrations_count_rows(v->db, &before);
    if (err == ERR_OK)
        err = run_file(v->db, one->down);
    if (err == ERR_OK)
        err = migrations_count_rows(v->db, &after);
    if (err != ERR_OK)
        return fails(v, err, one->name);
    str_init(&lost, LOST_MAX);
    if (rows_lost(&before, &after, &lost)) {
        snprintf(v->why, v->why_cap, "%s: would delete rows of %s; --destroy-data allows it",
                 one->name, lost.data);
        err = ERR_REFUSED;
    }
    str_release(&lost);
    return err;
}

static enum err down_inside(const struct move *v, const struct migration *one)
{
    struct query q;
    enum err err = ERR_OK;
    if (!v->destroy_data)
        err = down_kept(v, one);
    else if ((err = run_file(v->db, one->down)) != ERR_OK)
        (void)fails(v, err, one->name);
    if (err != ERR_OK)
        return err;
    query_open(&q, v->db, "DELETE FROM schema_migrations WHERE number = ?1");
    query_bind_i64(&q, one->number);
    err = query_run(&q);
    return err == ERR_OK ? err : fails(v, err, one->name);
}

/* ---- a step, in its transaction ---- */

/* A draft that nobody has finished. */
static enum err unfinished(const struct move *v, const struct migration *one)
{
    static const char MARK[] = "-- changed:";
    const char *line = v->up ? one->up : one->down;
    for (int number = 1; line; number++) {
        if (strncmp(line, MARK, strlen(MARK)) == 0) {
            snprintf(v->why, v->why_cap,
                     "%s%s, line %d: put the statement that does it there: %.*s", one->name,
                     v->up ? UP_SUFFIX : DOWN_SUFFIX, number, (int)strcspn(line, "\n"), line);
            return ERR_INVALID;
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return ERR_OK;
}

/* The database's, until the transaction ends; behind it nothing changes any more. */
static enum err lock_migrators(const struct move *v)
{
    if (!v->m->postgres)
        return ERR_OK;
    enum err err =
        db_script(v->db, "SET LOCAL statement_timeout = 0; "
                         "SET LOCAL lock_timeout = " SECONDS(
                             MIGRATOR_WAIT_S) "; "
                                              "SELECT pg_advisory_xact_lock(8319106041083524461)");
    if (err == ERR_BUSY)
        return migrations_fail(ERR_LOCKED, v->why, v->why_cap, "",
                               "another migrator has been at work for " TEXT(MIGRATOR_WAIT_S) " s");
    if (err == ERR_OK)
        err = db_script(v->db, "SET LOCAL lock_timeout = " SECONDS(MIGRATION_LOCK_WAIT_S));
    return err == ERR_OK ? err : fails(v, err, "");
}

/* The next migration on the way, by what is there now; NULL: there is nothing left to do. */
static enum err next_one(const struct move *v, const struct migration **one)
{
    struct revision r;
    *one = NULL;
    enum err err = migrations_revision(v->m, v->db, &r);
    if (err != ERR_OK)
        return fails(v, err, "");
    if (r.foreign || (!v->up && r.number > v->m->count))
        return migrations_fail(ERR_VERSION, v->why, v->why_cap, "",
                               "somebody else has changed the revision meanwhile");
    if (v->up ? r.number < v->to : r.number > v->to)
        *one = migrations_get(v->m, v->up ? r.number + 1 : r.number);
    return ERR_OK;
}

static enum err step_inside(const struct move *v, const struct migration **one)
{
    enum err err = lock_migrators(v);
    if (err == ERR_OK)
        err = next_one(v, one);
    if (err == ERR_OK && *one)
        err = unfinished(v, *one);
    if (err != ERR_OK || !*one)
        return err;
    if (!v->up)
        return down_inside(v, *one);
    err = up_inside(v, *one);
    return err == ERR_OK ? err : fails(v, err, (*one)->name);
}

static enum err step(const struct move *v, const struct migration **one)
{
    *one = NULL;
    enum err err = db_begin(v->db);
    if (err != ERR_OK)
        return fails(v, err, "");
    err = step_inside(v, one);
    if (err == ERR_OK && *one && (err = db_commit(v->db)) != ERR_OK)
        (void)fails(v, err, (*one)->name);
    if (err != ERR_OK || !*one)
        db_rollback(v->db);
    return err;
}

/* A running service may hold what a statement has to change; services are not made to wait long. */
static enum err step_patiently(const struct move *v, const struct migration **one)
{
    enum err err = step(v, one);
    for (int tries = 1; err == ERR_BUSY && tries < MIGRATION_LOCK_TRIES; tries++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
        err = step(v, one);
    }
    if (err == ERR_BUSY)
        snprintf(v->why, v->why_cap,
                 "%s: waited %d times %d s for a lock that a service or somebody's transaction "
                 "holds (%s); nothing was done, try again",
                 *one ? (*one)->name : "", MIGRATION_LOCK_TRIES, MIGRATION_LOCK_WAIT_S,
                 db_why(v->db));
    return err;
}

static enum err run(const struct move *v)
{
    const struct migration *one;
    enum err err;
    db_patience(v->db, DB_NO_LIMIT); /* an index over all payments takes its time */
    while ((err = step_patiently(v, &one)) == ERR_OK && one)
        str_addf(v->report, "%s %s\n", v->up ? "upgraded to" : "downgraded from", one->name);
    db_patience(v->db, 0);
    return err;
}

enum err migrations_upgrade(const struct migrations *m, struct db *db, const char *target,
                            struct str *report, char *why, size_t why_cap)
{
    struct move v = {
        .m = m, .db = db, .up = true, .report = report, .why = why, .why_cap = why_cap};
    struct revision r;
    enum err err = migrations_revision(m, db, &r);
    if (err != ERR_OK)
        return fails(&v, err, "");
    if (r.foreign)
        return migrations_foreign(m, db, why, why_cap);
    if (r.compatible_from > m->count)
        return migrations_newer(m, &r, why, why_cap);
    v.to = target_up(m, target, r.number);
    return v.to < 0 ? migrations_fail(ERR_NOT_FOUND, why, why_cap, target, "no such revision")
                    : run(&v);
}

enum err migrations_downgrade(const struct migrations *m, struct db *db, const char *target,
                              bool destroy_data, struct str *report, char *why, size_t why_cap)
{
    struct move v = {.m = m,
                     .db = db,
                     .destroy_data = destroy_data,
                     .report = report,
                     .why = why,
                     .why_cap = why_cap};
    struct revision r;
    enum err err = migrations_revision(m, db, &r);
    if (err != ERR_OK)
        return fails(&v, err, "");
    if (r.foreign)
        return migrations_fail(ERR_VERSION, why, why_cap, "",
                               "other migrations have made the database: subpay migrate downgrade "
                               "with their MIGRATIONS_DIR");
    if (r.number > m->count)
        return migrations_newer(m, &r, why, why_cap);
    v.to = target_down(m, target, r.number);
    return v.to < 0 || v.to > r.number ? migrations_fail(ERR_NOT_FOUND, why, why_cap, target,
                                                         "no such revision below the current one")
                                       : run(&v);
}
