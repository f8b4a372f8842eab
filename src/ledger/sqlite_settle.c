#include <string.h>

#include "base/json.h"
#include "ledger/sqlite_ledger.h"

#define SETTLE_WAITING_CHUNK 256

struct settle {
    struct verb verb;
    struct fact *facts;
    size_t count;
};
/* The payment that a fact is about, and its account. */
struct settled {
    int64_t seq;
    char user[UUID_TEXT];
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    enum processing_status processing_status;
    enum payment_status payment_status;
    struct money money;
    struct uuid refund_of;
    int64_t in_flight, pending_seq; /* 0: none */
    struct cover cover;             /* of the account; changed by what was accepted */
    int64_t expiration_us;          /* of the period that it opened, else TIME_NEVER */
};
struct waiting {
    int64_t seq;
    struct uuid payment_id;
};

/* ---- read ---- */

static enum err settle_read(struct settle *s, const struct uuid *id, struct settled *p, bool *found)
{
    struct query q;
    query_open(&q, s->verb.db,
               "SELECT p.seq, p.user_id, p.payment_type, p.subscription_type, "
               "p.processing_status, p.payment_status, p.amount, p.currency, p.refund_of, "
               "coalesce(a.in_flight, 0), coalesce(a.pending_seq, 0), a.active_from, "
               "a.active_until, a.period_payment "
               "FROM payments p JOIN accounts a ON a.user_id = p.user_id WHERE p.id = ?1");
    query_bind_uuid(&q, id);
    *p = (struct settled){.expiration_us = TIME_NEVER};
    *found = query_next(&q);
    if (*found) {
        p->seq = query_i64(&q, 0);
        if (!text_copy(p->user, sizeof p->user, query_text(&q, 1)))
            row_broken(&q, 1);
        p->payment_type = row_payment_type(&q, 2);
        p->subscription_type = row_subscription_type(&q, 3);
        p->processing_status = row_processing_status(&q, 4);
        p->payment_status = row_payment_status(&q, 5);
        p->money = row_money(&q, 6, 7);
        p->refund_of = query_uuid(&q, 8);
        p->in_flight = query_i64(&q, 9);
        p->pending_seq = query_i64(&q, 10);
        p->cover.any = !query_is_null(&q, 12);
        p->cover.from_us = query_time(&q, 11);
        p->cover.until_us = query_time(&q, 12);
        p->cover.payment_id = query_uuid(&q, 13);
    }
    return query_close(&q);
}

/* ---- what an accepted payment and an accepted refund do ---- */

static enum err settle_period_insert(struct settle *s, const struct stored_period *n,
                                     const char *user)
{
    struct query q;
    query_open(&q, s->verb.db,
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
    return err == ERR_OK ? row_period_event(&s->verb, n, user, "active") : err;
}

/* Rule 4. active_until is the end of the last period, so the new one follows it and cannot overlap.
 */
static enum err settle_opens(struct settle *s, const struct uuid *payment_id, struct settled *p)
{
    struct cover *cover = &p->cover;
    struct stored_period n = {
        .id = uuid_v7(s->verb.now_us, embedded_random(s->verb.l->store)),
        .payment_id = *payment_id,
        .subscription_type = p->subscription_type,
        .period =
            period_after(s->verb.now_us, cover->any ? cover->until_us : 0, p->subscription_type),
    };
    enum err err = settle_period_insert(s, &n, p->user);
    if (!cover->any || cover->until_us != n.period.starts_at_us)
        cover->from_us = n.period.starts_at_us;
    cover->any = true;
    cover->until_us = n.period.ends_at_us;
    cover->payment_id = *payment_id;
    p->expiration_us = n.period.expires_at_us;
    return err;
}

static enum err settle_period_of(struct settle *s, const struct uuid *payment_id,
                                 struct stored_period *out, bool *found)
{
    struct query q;
    query_open(&q, s->verb.db,
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
static enum err settle_ends(struct settle *s, struct settled *p)
{
    struct stored_period target;
    struct query q;
    bool found;
    enum err err = settle_period_of(s, &p->refund_of, &target, &found);
    if (err != ERR_OK || !found)
        return err;
    int64_t ends_at_us = period_end_early_us(&target.period, s->verb.now_us);
    if (ends_at_us >= target.period.ends_at_us)
        return ERR_OK;
    target.period.ends_at_us = ends_at_us;
    query_open(&q, s->verb.db,
               "UPDATE subscriptions SET ends_at = ?2, end_reason = 'refund' WHERE id = ?1");
    query_bind_uuid(&q, &target.id);
    query_bind_time(&q, ends_at_us);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    if ((err = row_period_event(&s->verb, &target, p->user, "ended")) != ERR_OK)
        return err;
    return row_cover(&s->verb, p->user, &p->cover);
}

/* ---- the payment, those who waited, the account ---- */

static enum err settle_payment(struct settle *s, const struct fact *f, const struct settled *p)
{
    bool accepted = f->outcome == PAYMENT_ACCEPTED;
    struct query q;
    query_open(&q, s->verb.db,
               "UPDATE payments SET processing_status = 'processed', payment_status = ?2, "
               "reason = ?3, processing_id = ?4, expiration_date = ?5, action_url = NULL, "
               "needs_decision = 0, refunding = CASE WHEN ?6 THEN refunding END "
               "WHERE seq = ?1 AND processing_status = 'in_processing'");
    query_bind_i64(&q, p->seq);
    query_bind_text(&q, payment_status_text(f->outcome));
    row_bind_reason(&q, f->reason);
    query_bind_text(&q, f->processing_id[0] ? f->processing_id : NULL);
    query_bind_time(&q, p->expiration_us);
    query_bind_i64(&q, accepted);
    enum err err = query_run(&q);
    if (err != ERR_OK)
        return err;
    return row_move(&s->verb,
                    &(struct move){
                        .payment_id = &f->payment_id,
                        .actor = "processor",
                        .from = "in_processing",
                        .to = "processed",
                        .status = f->outcome,
                        .reason = f->reason,
                        .expiration_us = p->expiration_us == TIME_NEVER ? 0 : p->expiration_us,
                    });
}

static enum err settle_chunk(struct settle *s, const struct settled *p, int64_t from_seq,
                             struct waiting *rows, enum payment_type *types, size_t *count)
{
    struct query q;
    *count = 0;
    query_open(&q, s->verb.db,
               "SELECT seq, id, payment_type FROM payments WHERE user_id = ?1 AND seq >= ?2 "
               "AND processing_status = 'new' ORDER BY seq LIMIT ?3");
    query_bind_text(&q, p->user);
    query_bind_i64(&q, from_seq);
    query_bind_i64(&q, SETTLE_WAITING_CHUNK);
    while (*count < SETTLE_WAITING_CHUNK && query_next(&q)) {
        rows[*count].seq = query_i64(&q, 0);
        rows[*count].payment_id = query_uuid(&q, 1);
        types[(*count)++] = row_payment_type(&q, 2);
    }
    return query_close(&q);
}

/* Rule 2: a prefix of what waited becomes duplicates, so chunk after chunk gives the same answer.
 */
static enum err settle_waiting(struct settle *s, struct fact *f, struct settled *p)
{
    struct waiting rows[SETTLE_WAITING_CHUNK];
    enum payment_type types[SETTLE_WAITING_CHUNK];
    size_t count, taken;
    if (p->pending_seq == 0)
        return ERR_OK;
    do {
        enum err err = settle_chunk(s, p, p->pending_seq, rows, types, &count);
        if (err != ERR_OK)
            return err;
        taken = decide_waiting(p->payment_type, f->reason, types, count);
        for (size_t i = 0; i < taken; i++) {
            err = row_duplicate(&s->verb, rows[i].seq, &rows[i].payment_id, &f->payment_id,
                                REASON_NONE);
            if (err != ERR_OK)
                return err;
        }
        f->waiting_duplicated += taken;
        if (taken)
            p->pending_seq = rows[taken - 1].seq + 1;
    } while (taken == SETTLE_WAITING_CHUNK);
    return row_first(&s->verb, p->user, p->pending_seq, "new", &p->pending_seq);
}

static enum err settle_account(struct settle *s, const struct settled *p)
{
    struct query q;
    query_open(&q, s->verb.db,
               "UPDATE accounts SET version = version + 1, in_flight = NULL, "
               "pending_seq = nullif(?2, 0), due_at = ?3, "
               "tell_seq = coalesce(min(tell_seq, ?4), ?4), "
               "tell_due_at = coalesce(tell_due_at, ?5), active_from = ?6, active_until = ?7, "
               "period_payment = ?8 WHERE user_id = ?1");
    query_bind_text(&q, p->user);
    query_bind_i64(&q, p->pending_seq);
    query_bind_time(&q, p->pending_seq ? s->verb.now_us : TIME_NEVER);
    query_bind_i64(&q, p->seq);
    query_bind_time(&q, s->verb.now_us);
    query_bind_time(&q, p->cover.any ? p->cover.from_us : TIME_NEVER);
    query_bind_time(&q, p->cover.any ? p->cover.until_us : TIME_NEVER);
    row_bind_uuid(&q, &p->cover.payment_id);
    return query_run(&q);
}

static enum err settle_now(struct settle *s, struct fact *f, struct settled *p)
{
    enum err err = ERR_OK;
    if (!money_equal(&f->money, &p->money))
        return verb_fails(&s->verb, ERR_BUG, "an answer about another amount is no answer");
    if (p->in_flight != p->seq)
        return verb_fails(&s->verb, ERR_CORRUPT, "the account does not know of its payment");
    if (f->outcome == PAYMENT_ACCEPTED && p->payment_type == PAYMENT_TYPE_PAYMENT)
        err = settle_opens(s, &f->payment_id, p);
    else if (f->outcome == PAYMENT_ACCEPTED)
        err = settle_ends(s, p);
    if (err == ERR_OK)
        err = settle_payment(s, f, p);
    if (err == ERR_OK)
        err = settle_waiting(s, f, p);
    if (err == ERR_OK)
        err = settle_account(s, p);
    f->verdict = SETTLE_DONE;
    s->verb.changes |= LEDGER_CHANGE_SETTLED | LEDGER_CHANGE_PAYMENT;
    if (p->pending_seq)
        s->verb.changes |= LEDGER_CHANGE_STORED;
    return err;
}

static enum err settle_contradicts(struct settle *s, struct fact *f)
{
    char id[UUID_TEXT];
    struct str *out = &s->verb.l->detail;
    uuid_format(&f->payment_id, id);
    str_clear(out);
    json_open(out, '{');
    json_put_text(out, "alarm", "contradiction");
    json_put_text(out, "outcome", payment_status_text(f->outcome));
    json_close(out, '}');
    f->verdict = SETTLE_CONTRADICTS;
    return row_alarm(&s->verb, id, "processor");
}

static enum err settle_one(struct settle *s, struct fact *f)
{
    struct settled p;
    bool found;
    enum err err = settle_read(s, &f->payment_id, &p, &found);
    if (err != ERR_OK)
        return err;
    f->waiting_duplicated = 0;
    f->verdict = SETTLE_UNKNOWN;
    if (!found)
        return ERR_OK;
    memcpy(s->verb.user, p.user, sizeof s->verb.user);
    switch (p.processing_status) {
    case PROCESSING_NEW:
        return ERR_OK;
    case PROCESSING_IN_PROCESSING:
        return settle_now(s, f, &p);
    case PROCESSING_PROCESSED:
    case PROCESSING_COMPLETED:
        if (p.payment_status == f->outcome) {
            f->verdict = SETTLE_REPEATED;
            return ERR_OK;
        }
        return settle_contradicts(s, f);
    case PROCESSING_DUPLICATED:
        return settle_contradicts(s, f);
    case PROCESSING_STATUS_COUNT:
        break;
    }
    return ERR_BUG;
}

static enum err settle_run(struct verb *v)
{
    struct settle *s = (struct settle *)v;
    enum err err = ERR_OK;
    for (size_t i = 0; i < s->count && err == ERR_OK; i++)
        err = settle_one(s, &s->facts[i]);
    return err;
}

enum err sqlite_settle(struct ledger *l, struct fact *facts, size_t count)
{
    struct settle s = {.verb = {.run = settle_run, .l = (struct sqlite_ledger *)l},
                       .facts = facts,
                       .count = count};
    return verb_do(&s.verb);
}
