/* No definite answer: what is kept of it, and when to ask again. */
#include <string.h>

#include "ledger/sql_ledger.h"

struct defer {
    struct verb verb;
    const struct deferral *deferrals;
    size_t count;
};

/* Of one that is to be asked about first nothing is stored but the mark, which counts. */
static enum err defer_asked(struct defer *d, const struct deferral *f, const struct standing *p)
{
    struct query q;
    enum err err;
    if (p->ask_first == 0 || p->in_flight != 0)
        return ERR_OK;
    query_open(&q, d->verb.db,
               "UPDATE payments SET ask_first = ask_first + ?2 WHERE seq = ?1 AND ask_first > 0");
    query_bind_i64(&q, p->seq);
    query_bind_i64(&q, f->no_answer);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    query_open(&q, d->verb.db,
               "UPDATE accounts SET version = version + 1, due_at = ?2 "
               "WHERE user_id = ?1 AND in_flight IS NULL");
    query_bind_text(&q, p->user);
    query_bind_time(&q, d->verb.now_us + f->pause_us);
    return query_run(&q);
}

/* A claim that looked at what waits has made it due meanwhile: that stays. */
static enum err defer_account(struct defer *d, const struct deferral *f, const struct standing *p)
{
    struct query q;
    query_open(&q, d->verb.db,
               "UPDATE accounts SET version = version + 1, "
               "due_at = CASE WHEN ?3 AND due_at <= ?4 THEN due_at ELSE ?2 END "
               "WHERE user_id = ?1");
    query_bind_text(&q, p->user);
    query_bind_time(&q, d->verb.now_us + f->pause_us);
    query_bind_i64(&q, p->undecided.pending && p->pending_seq != 0);
    query_bind_time(&q, d->verb.now_us);
    return query_run(&q);
}

static enum err defer_attempt(struct defer *d, const struct deferral *f, const struct standing *p,
                              bool pending)
{
    struct query q;
    query_open(&q, d->verb.db,
               "UPDATE attempts SET tries = tries + ?2, ask_only = greatest(ask_only, ?3), "
               "note = coalesce(?4, note), "
               "last_try_at = CASE WHEN ?2 <> 0 THEN ?5 ELSE last_try_at END, "
               "pending_since = CASE WHEN ?6 THEN coalesce(pending_since, ?5) "
               "ELSE pending_since END, too_old = CASE WHEN ?7 = 1 THEN 1 ELSE too_old END WHERE "
               "seq = ?1");
    query_bind_i64(&q, p->seq);
    query_bind_i64(&q, f->no_answer);
    query_bind_i64(&q, f->ask_only);
    query_bind_text(&q, f->note[0] ? f->note : NULL);
    query_bind_time(&q, d->verb.now_us);
    query_bind_i64(&q, pending);
    query_bind_i64(&q, f->too_old);
    return query_run(&q);
}

enum err row_page(struct verb *v, int64_t seq, const char *action_url, int64_t expires_at_us)
{
    struct query q;
    query_open(&q, v->db,
               "UPDATE payments SET action_url = coalesce(?2, action_url), "
               "action_expires_at = coalesce(?3, action_expires_at) WHERE seq = ?1 "
               "AND (action_url IS DISTINCT FROM coalesce(?2, action_url) "
               "OR action_expires_at IS DISTINCT FROM coalesce(?3, action_expires_at))");
    query_bind_i64(&q, seq);
    query_bind_text(&q, action_url[0] ? action_url : NULL);
    query_bind_time(&q, expires_at_us);
    enum err err = query_run(&q);
    if (db_changes(v->db) > 0) /* who holds a GET looks again */
        v->changes |= LEDGER_CHANGE_PAYMENT;
    return err;
}

static enum err defer_needs_decision(struct defer *d, const struct standing *p)
{
    struct query q;
    query_open(&q, d->verb.db, "UPDATE payments SET needs_decision = 1 WHERE seq = ?1");
    query_bind_i64(&q, p->seq);
    d->verb.changes |= LEDGER_CHANGE_PAYMENT;
    return query_run(&q);
}

static enum err defer_one(struct defer *d, const struct deferral *f)
{
    struct standing p;
    bool found;
    enum err err = standing_read(&d->verb, &f->payment_id, &p, &found);
    if (err != ERR_OK || !found)
        return err;
    memcpy(d->verb.user, p.user, sizeof d->verb.user);
    if (p.processing_status == PROCESSING_NEW)
        return defer_asked(d, f, &p);
    if (p.processing_status != PROCESSING_IN_PROCESSING || p.in_flight != p.seq)
        return ERR_OK;
    bool pending = f->pending && p.payment_type == PAYMENT_TYPE_PAYMENT;
    err = defer_account(d, f, &p);
    if (err == ERR_OK)
        err = defer_attempt(d, f, &p, pending);
    if (err == ERR_OK && pending)
        err = row_page(&d->verb, p.seq, f->action_url, f->expires_at_us);
    if (err == ERR_OK && pending && !p.undecided.pending)
        err = waiting_note(&d->verb, p.user);
    if (err == ERR_OK && f->needs_decision && !p.needs_decision)
        err = defer_needs_decision(d, &p);
    return err;
}

static enum err defer_run(struct verb *v)
{
    struct defer *d = (struct defer *)v;
    enum err err = verb_lock_payments(v, &d->deferrals->payment_id, sizeof *d->deferrals, d->count);
    for (size_t i = 0; i < d->count && err == ERR_OK; i++)
        err = defer_one(d, &d->deferrals[i]);
    return err;
}

enum err sql_defer(struct ledger *l, const struct deferral *deferrals, size_t count)
{
    struct defer d = {.verb = {.run = defer_run, .l = (struct sql_ledger *)l},
                      .deferrals = deferrals,
                      .count = count};
    return verb_do(&d.verb);
}
