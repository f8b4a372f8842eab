/* Settle over all facts at once. An answer costs an update of the payment and one of the account, an
 * event, and, if it is an accepted payment, a row of subscriptions with its event; what waited, an
 * update and an event each. Accepted refunds, payments that waited for their payer, contradictions
 * and long queues are settled one by one, behind the others. */
#include <string.h>

#include "ledger/postgres_rows.h"

#define ORDINARY_WAITING_MAX 16 /* requests behind an ordinary payment */
#define SETTLE_SCRATCH_MAX ((size_t)16 << 20)

struct waiter {
    int64_t seq;
    struct uuid payment_id;
    enum payment_type payment_type;
};
struct settled {
    struct fact *fact;
    struct standing p; /* seq 0: there is no such payment */
    struct outcome outcome;
    char place[PLACE_TEXT]; /* of the account */
    struct waiter waiters[ORDINARY_WAITING_MAX];
    size_t waiter_count;
    bool unusual;
};
struct settle_set {
    struct settle *settle;
    struct arena scratch;
    struct settled *rows; /* of this chunk */
    size_t count;
    struct set ids, waiting, duplicates, periods, payments, accounts;
    struct events events;
};

/* ---- read ---- */

/* A second fact about a user waits for the first one to be written. */
static enum err settle_read(struct settle_set *s)
{
    struct verb *v = &s->settle->verb;
    struct query q;
    char user[UUID_TEXT] = "";
    set_clear(&s->ids);
    for (size_t i = 0; i < s->count; i++)
        db_array_uuid(&s->ids.columns[0], &s->rows[i].fact->payment_id);
    query_open(&q, v->db,
               "SELECT " STANDING_COLUMNS ", a.ctid, u.n FROM " STANDING_FROM
               "JOIN unnest(?1::uuid[]) WITH ORDINALITY AS u (id, n) ON p.id = u.id "
               "ORDER BY p.user_id, u.n");
    set_bind(&q, &s->ids);
    while (query_next(&q)) {
        struct settled *one = &s->rows[query_i64(&q, query_columns(&q) - 1) - 1];
        standing_row(v, &q, &one->p);
        row_place(&q, query_columns(&q) - 2, one->place);
        one->unusual = strcmp(user, one->p.user) == 0;
        memcpy(user, one->p.user, sizeof user);
    }
    return query_close(&q);
}

/* Every fact gets its verdict here, or later one by one. */
static enum err settle_look(struct settle_set *s, struct settled *one)
{
    struct fact *f = one->fact;
    const struct standing *p = &one->p;
    f->waiting_duplicated = 0;
    f->verdict = p->seq ? settle_verdict_of(f, p) : SETTLE_UNKNOWN;
    one->unusual |= f->verdict == SETTLE_CONTRADICTS;
    if (f->verdict != SETTLE_DONE || one->unusual)
        return ERR_OK;
    if (!money_equal(&f->money, &p->money) || p->in_flight != p->seq)
        return ERR_BUG; /* whose, the other form finds out */
    one->unusual = p->undecided.pending || (p->pending_seq && p->learning) ||
                   (p->payment_type == PAYMENT_TYPE_REFUND && f->outcome == PAYMENT_ACCEPTED);
    if (one->unusual)
        return ERR_OK;
    one->outcome = settle_outcome(f);
    if (f->voided)
        one->outcome.reason = undecided_void_reason(&p->undecided);
    if (p->pending_seq) {
        db_array_uuid_text(&s->waiting.columns[0], p->user);
        db_array_i64(&s->waiting.columns[1], p->pending_seq);
        db_array_i64(&s->waiting.columns[2], one - s->rows);
    }
    return ERR_OK;
}

static void waiter_read(struct settle_set *s, struct query *q)
{
    struct settled *one = &s->rows[query_i64(q, 0)];
    if (one->waiter_count == ORDINARY_WAITING_MAX || query_i64(q, 4) != 0) {
        one->unusual = true; /* too many, or one to be asked about first */
        return;
    }
    one->waiters[one->waiter_count++] = (struct waiter){
        .seq = query_i64(q, 1),
        .payment_id = query_uuid(q, 2),
        .payment_type = row_payment_type(q, 3),
    };
}

static enum err settle_waiting_all(struct settle_set *s)
{
    struct query q;
    if (set_count(&s->waiting) == 0)
        return ERR_OK;
    query_open(&q, s->settle->verb.db,
               "SELECT u.n, p.seq, p.id, p.payment_type, p.ask_first "
               "FROM unnest(?1::uuid[], ?2::bigint[], ?3::bigint[]) AS u (user_id, pending_seq, n) "
               "CROSS JOIN LATERAL (SELECT seq, id, payment_type, ask_first FROM payments "
               "WHERE user_id = u.user_id AND seq >= u.pending_seq AND processing_status = 'new' "
               "ORDER BY seq LIMIT ?4) p ORDER BY u.n, p.seq");
    set_bind(&q, &s->waiting);
    query_bind_i64(&q, ORDINARY_WAITING_MAX + 1);
    while (query_next(&q))
        waiter_read(s, &q);
    return query_close(&q);
}

/* ---- decide ---- */

static void settle_waiters(struct settle_set *s, struct settled *one)
{
    enum payment_type types[ORDINARY_WAITING_MAX];
    for (size_t i = 0; i < one->waiter_count; i++)
        types[i] = one->waiters[i].payment_type;
    size_t taken =
        decide_waiting(one->p.payment_type, one->outcome.reason, types, one->waiter_count);
    for (size_t i = 0; i < taken; i++) {
        struct move move =
            duplicate_move(&one->waiters[i].payment_id, &one->p.payment_id, REASON_NONE);
        db_array_i64(&s->duplicates.columns[0], one->waiters[i].seq);
        db_array_uuid(&s->duplicates.columns[1], &one->p.payment_id);
        events_move(&s->events, &move);
    }
    one->fact->waiting_duplicated = taken;
    one->p.pending_seq = taken < one->waiter_count ? one->waiters[taken].seq : 0;
}

static void settle_period(struct settle_set *s, struct settled *one)
{
    struct stored_period n = standing_period(&s->settle->verb, &one->p);
    struct db_array *c = s->periods.columns;
    db_array_uuid(&c[0], &n.id);
    db_array_uuid_text(&c[1], one->p.user);
    db_array_uuid(&c[2], &n.payment_id);
    db_array_text(&c[3], subscription_type_text(n.subscription_type));
    db_array_time(&c[4], n.period.starts_at_us);
    db_array_time(&c[5], n.period.expires_at_us);
    db_array_time(&c[6], n.period.ends_at_us);
    events_period(&s->events, &n, one->p.user, "active");
}

static void settle_account(struct settle_set *s, const struct settled *one)
{
    const struct standing *p = &one->p;
    struct db_array *c = s->accounts.columns;
    db_array_place(&c[0], one->place);
    db_array_i64(&c[1], p->seq);
    set_seq(&c[2], p->pending_seq);
    db_array_time(&c[3], p->cover.any ? p->cover.from_us : TIME_NEVER);
    db_array_time(&c[4], p->cover.any ? p->cover.until_us : TIME_NEVER);
    set_uuid(&c[5], &p->cover.payment_id);
}

static void settle_decide(struct settle_set *s, struct settled *one)
{
    struct verb *v = &s->settle->verb;
    const struct outcome *o = &one->outcome;
    struct db_array *c = s->payments.columns;
    settle_waiters(s, one);
    if (o->status == PAYMENT_ACCEPTED)
        settle_period(s, one);
    struct move move = standing_move(&one->p, o);
    events_move(&s->events, &move);
    db_array_i64(&c[0], one->p.seq);
    db_array_text(&c[1], payment_status_text(o->status));
    set_reason(&c[2], o->reason);
    db_array_text(&c[3], o->processing_id[0] ? o->processing_id : NULL);
    db_array_time(&c[4], one->p.expiration_us);
    settle_account(s, one);
    one->fact->reason = o->reason;
    v->changes |= LEDGER_CHANGE_SETTLED | LEDGER_CHANGE_PAYMENT;
    if (one->p.pending_seq)
        v->changes |= LEDGER_CHANGE_STORED;
}

/* ---- write ---- */

static enum err settle_write_duplicates(struct settle_set *s)
{
    struct verb *v = &s->settle->verb;
    struct query q;
    if (set_count(&s->duplicates) == 0)
        return ERR_OK;
    query_open(&q, v->db,
               "UPDATE payments p SET processing_status = 'duplicated', "
               "duplicate_of = u.duplicate_of, reason = NULL "
               "FROM unnest(?1::bigint[], ?2::uuid[]) AS u (seq, duplicate_of) "
               "WHERE p.seq = u.seq AND p.processing_status = 'new'");
    set_bind(&q, &s->duplicates);
    return set_run(v, &q, &s->duplicates);
}

static enum err settle_write_periods(struct settle_set *s)
{
    struct verb *v = &s->settle->verb;
    struct query q;
    if (set_count(&s->periods) == 0)
        return ERR_OK;
    query_open(&q, v->db,
               "INSERT INTO subscriptions (id, user_id, payment_id, subscription_type, starts_at, "
               "expiration_date, ends_at) SELECT * FROM unnest(?1::uuid[], ?2::uuid[], ?3::uuid[], "
               "?4::text[], ?5::timestamptz[], ?6::timestamptz[], ?7::timestamptz[])");
    set_bind(&q, &s->periods);
    return set_run(v, &q, &s->periods);
}

static enum err settle_write_payments(struct settle_set *s)
{
    struct verb *v = &s->settle->verb;
    struct query q;
    query_open(&q, v->db,
               "UPDATE payments p SET processing_status = 'processed', payment_status = u.status, "
               "reason = u.reason, processing_id = u.processing_id, "
               "expiration_date = u.expiration, action_url = NULL, needs_decision = 0, "
               "ask_first = 0, refunding = CASE WHEN u.status = 'accepted' THEN p.refunding END "
               "FROM unnest(?1::bigint[], ?2::text[], ?3::text[], ?4::text[], ?5::timestamptz[]) "
               "AS u (seq, status, reason, processing_id, expiration) "
               "WHERE p.seq = u.seq AND p.processing_status = 'in_processing'");
    set_bind(&q, &s->payments);
    return set_run(v, &q, &s->payments);
}

static enum err settle_write_accounts(struct settle_set *s)
{
    struct verb *v = &s->settle->verb;
    struct query q;
    query_open(&q, v->db,
               "UPDATE accounts a SET version = version + 1, in_flight = NULL, "
               "pending_seq = u.pending_seq, "
               "due_at = CASE WHEN u.pending_seq IS NOT NULL THEN ?7::timestamptz END, "
               "tell_seq = least(a.tell_seq, u.seq), "
               "tell_due_at = coalesce(a.tell_due_at, ?7::timestamptz), "
               "active_from = u.active_from, active_until = u.active_until, "
               "period_payment = u.period_payment FROM unnest(?1::tid[], ?2::bigint[], "
               "?3::bigint[], ?4::timestamptz[], ?5::timestamptz[], ?6::uuid[]) AS u (place, seq, "
               "pending_seq, active_from, active_until, period_payment) "
               "WHERE a.ctid = u.place AND a.in_flight = u.seq");
    set_bind(&q, &s->accounts);
    query_bind_time(&q, v->now_us);
    return set_run(v, &q, &s->accounts);
}

static enum err settle_write(struct settle_set *s)
{
    if (set_count(&s->payments) == 0)
        return ERR_OK;
    enum err err = settle_write_duplicates(s);
    if (err == ERR_OK)
        err = settle_write_periods(s);
    if (err == ERR_OK)
        err = settle_write_payments(s);
    if (err == ERR_OK)
        err = events_write(&s->settle->verb, &s->events, "processor");
    return err == ERR_OK ? settle_write_accounts(s) : err;
}

/* ---- chunk after chunk ---- */

static enum err settle_chunk(struct settle_set *s, struct fact *facts, size_t count)
{
    arena_reset(&s->scratch);
    s->rows = arena_array(&s->scratch, struct settled, count);
    s->count = count;
    if (!s->rows)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        s->rows[i].fact = &facts[i];
    enum err err = settle_read(s);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = settle_look(s, &s->rows[i]);
    if (err == ERR_OK)
        err = settle_waiting_all(s);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        if (facts[i].verdict == SETTLE_DONE && !s->rows[i].unusual)
            settle_decide(s, &s->rows[i]);
    if (err == ERR_OK)
        err = settle_write(s);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        if (s->rows[i].unusual)
            err = settle_one(s->settle, &facts[i]);
    return err;
}

static enum err settle_all(struct settle *settle)
{
    struct settle_set s = {.settle = settle};
    struct set *const sets[] = {&s.ids,     &s.waiting,  &s.duplicates,
                                &s.periods, &s.payments, &s.accounts};
    static const size_t WIDTHS[] = {1, 3, 2, 7, 5, 6};
    enum err err = ERR_OK;
    arena_init(&s.scratch, SETTLE_SCRATCH_MAX);
    events_init(&s.events);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        set_init(sets[i], WIDTHS[i]);
    for (size_t i = 0; i < settle->count && err == ERR_OK; i += POSTGRES_CHUNK) {
        size_t left = settle->count - i;
        for (size_t k = 0; k < sizeof sets / sizeof *sets; k++)
            set_clear(sets[k]);
        err = settle_chunk(&s, settle->facts + i, left < POSTGRES_CHUNK ? left : POSTGRES_CHUNK);
    }
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        set_release(sets[i]);
    events_release(&s.events);
    arena_release(&s.scratch);
    return err;
}

enum err postgres_settle(struct ledger *l, struct fact *facts, size_t count)
{
    enum err err = settle_with(l, facts, count, settle_all);
    return postgres_blames_rows(err) ? sql_settle(l, facts, count) : err;
}
