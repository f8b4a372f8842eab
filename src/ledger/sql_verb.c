/* How a verb runs: in one transaction of its engine, and around users whose rows are damaged. */
#include "ledger/sql_ledger.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

/* ---- running a verb ---- */

static void verb_explain(struct verb *v, enum err err)
{
    struct sql_ledger *l = v->l;
    const char *said = db_why(v->db);
    if (l->why[0] != '\0')
        return;
    if (!said || said[0] == '\0' || err == ERR_MOVED || err == ERR_REFUSED || err == ERR_NO_MEMORY)
        said = err_text(err);
    snprintf(l->why, sizeof l->why, "%s%s%s", v->user, v->user[0] ? ": " : "", said);
}

enum err verb_fails(struct verb *v, enum err err, const char *why)
{
    snprintf(v->l->why, sizeof v->l->why, "%s%s%s", v->user, v->user[0] ? ": " : "", why);
    return err;
}

enum err verb_inside(struct verb *v, struct db *db, int64_t now_us)
{
    v->db = db;
    v->now_us = now_us;
    enum err err = v->run(v);
    if (err != ERR_OK)
        verb_explain(v, err);
    return err;
}

enum err verb_do(struct verb *v)
{
    v->l->why[0] = '\0';
    enum err err = v->l->engine->transact(v);
    if (err == ERR_OK) {
        if (v->changes)
            v->l->engine->changed(v->l, v->changes);
    } else if (v->l->why[0] == '\0') { /* the commit failed, or the engine is away or has stopped */
        snprintf(v->l->why, sizeof v->l->why, "%s", err_text(err));
    }
    return err;
}

/* ---- a user whose rows are damaged ---- */

struct park {
    struct verb verb;
    char user[UUID_TEXT];
    char why[SQL_WHY_MAX];
    bool telling;
};

static enum err park_subject(struct verb *v, const char *user, char *out, size_t cap)
{
    struct query q;
    query_open(&q, v->db,
               "SELECT p.id FROM accounts a JOIN payments p ON p.user_id = a.user_id "
               "AND p.seq >= coalesce(a.in_flight, a.pending_seq, a.tell_seq, 0) "
               "WHERE a.user_id = ?1 ORDER BY p.seq LIMIT 1");
    query_bind_text(&q, user);
    if (!query_next(&q) || !text_copy(out, cap, query_text(&q, 0)))
        (void)text_copy(out, cap, user);
    return query_close(&q);
}

static enum err park_run(struct verb *v)
{
    struct park *p = (struct park *)v;
    struct query q;
    char subject[UUID_TEXT];
    enum err err;
    if (p->telling)
        query_open(
            &q, v->db,
            "UPDATE accounts SET version = version + 1, tell_due_at = ?2 WHERE user_id = ?1");
    else
        query_open(&q, v->db,
                   "UPDATE accounts SET version = version + 1, due_at = ?2 WHERE user_id = ?1");
    query_bind_text(&q, p->user);
    query_bind_time(&q, v->now_us + SQL_PARK_US);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    query_open(&q, v->db, "DELETE FROM paged WHERE user_id = ?1");
    query_bind_text(&q, p->user);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    if ((err = park_subject(v, p->user, subject, sizeof subject)) != ERR_OK)
        return err;
    struct str *out = &v->l->detail;
    str_clear(out);
    json_open(out, '{');
    json_put_text(out, "alarm", "damaged");
    json_put_text(out, "user_id", p->user);
    json_put_text(out, "note", p->why);
    json_close(out, '}');
    return row_alarm(v, subject, p->telling ? "notifier" : "processor");
}

/* May these rows be the reason, rather than the disk, the memory or the shutdown? */
static bool blames_rows(enum err err)
{
    return err == ERR_CORRUPT || err == ERR_CONFLICT || err == ERR_BUG;
}

enum err verb_do_list(struct verb *v, void (*reset)(struct verb *v))
{
    enum err err = verb_do(v);
    for (int parked = 0; parked < SQL_PARKED_MAX; parked++) {
        struct park p = {.verb = {.run = park_run, .l = v->l}, .telling = v->parks_telling};
        if (!blames_rows(err) || v->user[0] == '\0')
            return err;
        memcpy(p.user, v->user, sizeof p.user);
        snprintf(p.why, sizeof p.why, "%s", v->l->why);
        enum err parking = verb_do(&p.verb);
        if (parking != ERR_OK) {
            snprintf(v->l->why, sizeof v->l->why, "%s", p.why);
            return err;
        }
        reset(v);
        v->user[0] = '\0';
        v->changes = 0;
        err = verb_do(v);
        if (err == ERR_OK) /* the alarm's text stays for who asks */
            snprintf(v->l->why, sizeof v->l->why, "%s", p.why);
    }
    return err;
}
