/* A payment with its account, as a verb finds it, and how it ends: by an answer, by a person, by
 * the journal. */
#include <assert.h>

#include "ledger/sql_ledger.h"

/* ---- read ---- */

static int64_t since(int64_t from_us, int64_t now_us)
{
    return from_us < now_us ? now_us - from_us : 0;
}

static void undecided_read(struct query *q, int64_t now_us, struct undecided *u, struct sent *sent)
{
    int64_t first_us = query_time(q, 17), pending_us = query_time(q, 19);
    int64_t expires_us = query_time(q, 20);
    if (first_us == TIME_NEVER)
        return;
    u->age_us = since(first_us, now_us);
    u->ask_only = query_i64(q, 18) != 0;
    u->too_old = query_i64(q, 21) != 0;
    u->rewound = query_i64(q, 24) != 0;
    sent->wall_us = now_us - first_us;
    sent->boot_us = query_i64(q, 23);
    if (!text_copy(sent->boot_id, sizeof sent->boot_id, query_text(q, 22)))
        row_broken(q, 22);
    u->pending = pending_us != TIME_NEVER;
    if (!u->pending)
        return;
    u->pending_us = since(pending_us, now_us);
    u->expired = expires_us == TIME_NEVER ? u->age_us >= UNDECIDED_DAY_US : now_us >= expires_us;
}

static void cover_read(struct query *q, struct cover *c)
{
    c->any = !query_is_null(q, 12);
    c->from_us = query_time(q, 11);
    c->until_us = query_time(q, 12);
    c->payment_id = query_uuid(q, 13);
}

void standing_row(struct verb *v, struct query *q, struct standing *p)
{
    *p = (struct standing){
        .seq = query_i64(q, 0),
        .payment_id = query_uuid(q, 25),
        .payment_type = row_payment_type(q, 2),
        .subscription_type = row_subscription_type(q, 3),
        .processing_status = row_processing_status(q, 4),
        .payment_status = row_payment_status(q, 5),
        .money = row_money(q, 6, 7),
        .refund_of = query_uuid(q, 8),
        .in_flight = query_i64(q, 9),
        .pending_seq = query_i64(q, 10),
        .expiration_us = TIME_NEVER,
        .ask_first = query_i64(q, 14),
        .needs_decision = query_i64(q, 15) != 0,
        .learning = query_i64(q, 16) != 0 || query_i64(q, 24) != 0,
    };
    if (!text_copy(p->user, sizeof p->user, query_text(q, 1)))
        row_broken(q, 1);
    cover_read(q, &p->cover);
    if (p->processing_status == PROCESSING_IN_PROCESSING)
        undecided_read(q, v->now_us, &p->undecided, &p->sent);
}

enum err standing_read(struct verb *v, const struct uuid *id, struct standing *p, bool *found)
{
    struct query q;
    *p = (struct standing){.payment_id = *id, .expiration_us = TIME_NEVER};
    query_open(&q, v->db, "SELECT " STANDING_COLUMNS " FROM " STANDING_FROM "WHERE p.id = ?1");
    query_bind_uuid(&q, id);
    *found = query_next(&q);
    if (*found)
        standing_row(v, &q, p);
    return query_close(&q);
}

/* ---- what an accepted payment and an accepted refund do ---- */

static enum err period_insert(struct verb *v, const struct stored_period *n, const char *user,
                              const char *actor)
{
    struct query q;
    query_open(&q, v->db,
               "INSERT INTO subscriptions (id, user_id, payment_id, subscription_type, starts_at, "
               "expiration_date, ends_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    query_bind_uuid(&q, &n->id);
    query_bind_text(&q, user);
    query_bind_uuid(&q, &n->payment_id);
    query_bind_text(&q, subscription_type_text(n->subscription_type));
    query_bind_time(&q, n->period.starts_at_us);
    query_bind_time(&q, n->period.expires_at_us);
    query_bind_time(&q, n->period.ends_at_us);
    enum err err = query_run(&q);
    return err == ERR_OK ? row_period_event(v, n, user, actor, "active") : err;
}

/* Rule 4. active_until is the end of the last period, so the new one follows it and cannot overlap.
 * */
struct stored_period standing_period(struct verb *v, struct standing *p)
{
    struct cover *cover = &p->cover;
    struct stored_period n = {
        .id = uuid_v7(v->now_us, v->l->random),
        .payment_id = p->payment_id,
        .subscription_type = p->subscription_type,
        .period = period_after(v->now_us, cover->any ? cover->until_us : 0, p->subscription_type),
    };
    if (!cover->any || cover->until_us != n.period.starts_at_us)
        cover->from_us = n.period.starts_at_us;
    cover->any = true;
    cover->until_us = n.period.ends_at_us;
    cover->payment_id = p->payment_id;
    p->expiration_us = n.period.expires_at_us;
    return n;
}

static enum err period_opens(struct verb *v, struct standing *p, const char *actor)
{
    struct stored_period n = standing_period(v, p);
    return period_insert(v, &n, p->user, actor);
}

static enum err period_of(struct verb *v, const struct uuid *payment_id, struct stored_period *out,
                          bool *found)
{
    struct query q;
    query_open(&q, v->db,
               "SELECT id, subscription_type, starts_at, expiration_date, ends_at "
               "FROM subscriptions WHERE payment_id = ?1");
    query_bind_uuid(&q, payment_id);
    *found = query_next(&q);
    if (*found)
        *out = (struct stored_period){
            .id = query_uuid(&q, 0),
            .payment_id = *payment_id,
            .subscription_type = row_subscription_type(&q, 1),
            .period = {.starts_at_us = query_time(&q, 2),
                       .expires_at_us = query_time(&q, 3),
                       .ends_at_us = query_time(&q, 4)},
            .end_reason = "refund",
        };
    return query_close(&q);
}

/* Rule 5. A period that is over already, or ended earlier, stays as it is. */
static enum err period_ends(struct verb *v, struct standing *p, const char *actor)
{
    struct stored_period target;
    struct query q;
    bool found;
    enum err err = period_of(v, &p->refund_of, &target, &found);
    if (err != ERR_OK || !found)
        return err;
    int64_t ends_at_us = period_end_early_us(&target.period, v->now_us);
    if (ends_at_us >= target.period.ends_at_us)
        return ERR_OK;
    target.period.ends_at_us = ends_at_us;
    query_open(&q, v->db,
               "UPDATE subscriptions SET ends_at = ?2, end_reason = 'refund' WHERE id = ?1");
    query_bind_uuid(&q, &target.id);
    query_bind_time(&q, ends_at_us);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    if ((err = row_period_event(v, &target, p->user, actor, "ended")) != ERR_OK)
        return err;
    return row_cover(v, p->user, &p->cover);
}

/* ---- the payment, its event, its account ---- */

struct move standing_move(const struct standing *p, const struct outcome *o)
{
    struct move move = {
        .payment_id = &p->payment_id,
        .actor = o->actor,
        .from = processing_status_text(p->processing_status),
        .to = "processed",
        .status = o->status,
        .reason = o->reason,
        .expiration_us = p->expiration_us == TIME_NEVER ? 0 : p->expiration_us,
        .evidence = o->evidence,
    };
    if (p->processing_status == PROCESSING_NEW) { /* else the move before has said it */
        move.refund_of = p->refund_of;
        move.money = p->money;
    }
    return move;
}

static enum err outcome_payment(struct verb *v, const struct standing *p, const struct outcome *o)
{
    struct query q;
    query_open(&q, v->db,
               "UPDATE payments SET processing_status = 'processed', payment_status = ?2, "
               "reason = ?3, processing_id = ?4, expiration_date = ?5, action_url = NULL, "
               "needs_decision = 0, ask_first = 0, "
               "refunding = CASE WHEN ?6 THEN refunding END WHERE seq = ?1");
    query_bind_i64(&q, p->seq);
    query_bind_text(&q, payment_status_text(o->status));
    row_bind_reason(&q, o->reason);
    query_bind_text(&q, o->processing_id[0] ? o->processing_id : NULL);
    query_bind_time(&q, p->expiration_us);
    query_bind_i64(&q, o->status == PAYMENT_ACCEPTED);
    return query_run(&q);
}

enum err standing_ends(struct verb *v, struct standing *p, const struct outcome *o)
{
    enum err err = ERR_OK;
    assert(status_move_legal(p->processing_status, PROCESSING_PROCESSED));
    if (o->status == PAYMENT_ACCEPTED)
        err = p->payment_type == PAYMENT_TYPE_PAYMENT ? period_opens(v, p, o->actor)
                                                      : period_ends(v, p, o->actor);
    if (err == ERR_OK)
        err = outcome_payment(v, p, o);
    struct move move = standing_move(p, o);
    if (err == ERR_OK)
        err = row_move(v, &move);
    p->processing_status = PROCESSING_PROCESSED;
    p->payment_status = o->status;
    v->changes |= LEDGER_CHANGE_SETTLED | LEDGER_CHANGE_PAYMENT;
    return err;
}

enum err standing_account(struct verb *v, struct standing *p)
{
    struct query q;
    enum err err = ERR_OK;
    if (p->pending_seq)
        err = row_first(v, p->user, p->pending_seq, "new", &p->pending_seq);
    if (err != ERR_OK)
        return err;
    query_open(&q, v->db,
               "UPDATE accounts SET version = version + 1, in_flight = nullif(in_flight, ?4), "
               "pending_seq = ?2, "
               "due_at = CASE WHEN coalesce(in_flight, ?4) = ?4 THEN ?3 ELSE due_at END, "
               "tell_seq = least(tell_seq, ?4), "
               "tell_due_at = coalesce(tell_due_at, ?5), active_from = ?6, active_until = ?7, "
               "period_payment = ?8 WHERE user_id = ?1");
    query_bind_text(&q, p->user);
    row_bind_seq(&q, p->pending_seq);
    query_bind_time(&q, p->pending_seq ? v->now_us : TIME_NEVER);
    query_bind_i64(&q, p->seq);
    query_bind_time(&q, v->now_us);
    query_bind_time(&q, p->cover.any ? p->cover.from_us : TIME_NEVER);
    query_bind_time(&q, p->cover.any ? p->cover.until_us : TIME_NEVER);
    row_bind_uuid(&q, &p->cover.payment_id);
    if (p->pending_seq)
        v->changes |= LEDGER_CHANGE_STORED;
    return query_run(&q);
}
