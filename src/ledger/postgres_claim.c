/* A claim over all its users at once. A user costs a row of accounts; a request an update of its row,
 * one of events and, if it is sent, one of attempts. Users with many requests, and those where rules
 * 5 or 11 want to know more, are decided one by one. */
#include <string.h>

#include "billing/period.h"
#include "ledger/postgres_rows.h"
#include "ledger/sql_claim.h"

#define ORDINARY_REQUESTS_MAX 16 /* new requests of an ordinary user */

struct client {
    struct due_user *due;
    struct desk desk;
    const char *methods[ORDINARY_REQUESTS_MAX]; /* payment_method of each request */
    bool unusual;
};
struct claim_set {
    struct claim *claim;
    struct client *clients; /* as claim->users */
    struct set users, payments, attempts, accounts;
    struct events events;
};

/* ---- read ---- */

static enum err claim_clients(struct claim_set *s)
{
    struct claim *c = s->claim;
    s->clients = arena_array(&c->scratch, struct client, c->found.users);
    if (!s->clients)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < c->found.users; i++) {
        struct client *l = &s->clients[i];
        l->due = &c->users[i];
        l->desk.due = l->due;
        l->desk.account.now_us = c->verb.now_us;
        if (!uuid_parse(l->due->id, strlen(l->due->id), &l->desk.user_id))
            return ERR_CORRUPT;
        db_array_uuid(&s->users.columns[0], &l->desk.user_id);
        db_array_i64(&s->users.columns[1], l->due->pending_seq);
    }
    return ERR_OK;
}

static enum err client_request(struct claim_set *s, struct query *q)
{
    struct claim *c = s->claim;
    struct client *l = &s->clients[query_i64(q, 12) - 1];
    struct desk *d = &l->desk;
    if (d->count == ORDINARY_REQUESTS_MAX) {
        l->unusual = true;
        return ERR_OK;
    }
    if (!d->requests) {
        d->requests = arena_array(&c->scratch, struct decide_request, ORDINARY_REQUESTS_MAX);
        d->verdicts = arena_array(&c->scratch, struct verdict, ORDINARY_REQUESTS_MAX);
    }
    const char *method = query_text(q, 11);
    l->methods[d->count] = arena_text(&c->scratch, method, strlen(method));
    if (!d->requests || !d->verdicts || !l->methods[d->count])
        return ERR_NO_MEMORY;
    claim_request(q, &d->requests[d->count]);
    l->unusual |= query_i64(q, 10) != 0 || d->requests[d->count].names_target;
    d->count++;
    return ERR_OK;
}

static enum err claim_requests_all(struct claim_set *s)
{
    struct query q;
    query_open(&q, s->claim->verb.db,
               "SELECT p.*, u.n FROM unnest(?1::uuid[], ?2::bigint[]) WITH ORDINALITY "
               "AS u (user_id, pending_seq, n) CROSS JOIN LATERAL (SELECT " CLAIM_COLUMNS
               ", payment_method FROM payments WHERE user_id = u.user_id "
               "AND seq >= u.pending_seq AND processing_status = 'new' ORDER BY seq LIMIT ?3) p "
               "ORDER BY u.n, p.seq");
    set_bind(&q, &s->users);
    query_bind_i64(&q, ORDINARY_REQUESTS_MAX + 1);
    while (query_next(&q)) {
        enum err err = client_request(s, &q);
        if (err != ERR_OK)
            q.err = err;
    }
    return query_close(&q);
}

static bool client_covered(const struct desk *d)
{
    return d->due->covered;
}

/* false: nobody does. */
static bool clients_who(struct claim_set *s, bool (*want)(const struct desk *))
{
    set_clear(&s->users);
    for (size_t i = 0; i < s->claim->found.users; i++) {
        const struct client *l = &s->clients[i];
        if (l->unusual || !want(&l->desk))
            continue;
        db_array_uuid(&s->users.columns[0], &l->desk.user_id);
        db_array_i64(&s->users.columns[1], (int64_t)i);
    }
    return set_count(&s->users) > 0;
}

/* Those with a period that is not over: who is subscribed, and by which payment. */
static enum err claim_subscribed_all(struct claim_set *s)
{
    struct query q;
    if (!clients_who(s, client_covered))
        return ERR_OK;
    query_open(&q, s->claim->verb.db,
               "SELECT u.n, c.payment_id FROM unnest(?1::uuid[], ?2::bigint[]) AS u (user_id, n) "
               "CROSS JOIN LATERAL (SELECT payment_id FROM subscriptions WHERE user_id = u.user_id "
               "AND starts_at <= ?3 AND ends_at > ?4 AND ends_at > starts_at "
               "ORDER BY starts_at LIMIT 1) c");
    set_bind(&q, &s->users);
    query_bind_time(&q, s->claim->verb.now_us + PERIOD_AHEAD_US);
    query_bind_time(&q, s->claim->verb.now_us);
    while (query_next(&q)) {
        struct decide_account *account = &s->clients[query_i64(&q, 0)].desk.account;
        account->subscribed = true;
        account->subscribed_by = query_uuid(&q, 1);
    }
    return query_close(&q);
}

/* Those who want the last one's money back: the period, and the payment behind it. */
static enum err claim_last_all(struct claim_set *s)
{
    struct query q;
    if (!clients_who(s, claim_wants_last))
        return ERR_OK;
    query_open(&q, s->claim->verb.db,
               "SELECT u.n, l.starts_at, l.expiration_date, l.ends_at, l.payment_id, "
               "p.subscription_type, p.amount, p.currency, r.id "
               "FROM unnest(?1::uuid[], ?2::bigint[]) AS u (user_id, n) "
               "CROSS JOIN LATERAL (SELECT starts_at, expiration_date, ends_at, payment_id "
               "FROM subscriptions WHERE user_id = u.user_id "
               "ORDER BY starts_at DESC, ends_at DESC, id DESC LIMIT 1) l "
               "LEFT JOIN payments p ON p.id = l.payment_id AND p.user_id = u.user_id "
               "AND p.payment_type = 'payment' AND p.payment_status = 'accepted' "
               "LEFT JOIN payments r ON r.refunding = p.id AND r.payment_status = 'accepted'");
    set_bind(&q, &s->users);
    while (query_next(&q)) {
        struct decide_account *account = &s->clients[query_i64(&q, 0)].desk.account;
        claim_period(&q, 1, account);
        if (!query_is_null(&q, 5))
            claim_target_row(&q, 5, &account->last_target);
    }
    return query_close(&q);
}

/* ---- decide ---- */

enum {
    CLAIM_SEQ,
    CLAIM_PROCESSING,
    CLAIM_PAYMENT,
    CLAIM_AMOUNT,
    CLAIM_CURRENCY,
    CLAIM_REFUND_OF,
    CLAIM_DUPLICATE_OF,
    CLAIM_REASON,
    CLAIM_WIDTH
};

static enum err client_sends(struct claim_set *s, struct client *l, size_t i)
{
    struct claim *c = s->claim;
    struct desk *d = &l->desk;
    const struct decide_request *r = &d->requests[i];
    struct attempt *a;
    if (d->sent_seq != 0)
        return verb_fails(&c->verb, ERR_BUG, "two requests of a user were to be sent");
    d->sent_seq = r->seq;
    enum err err = claim_encode(c, d, r, &d->verdicts[i], l->methods[i]);
    if (err != ERR_OK)
        return err;
    db_array_i64(&s->attempts.columns[0], r->seq);
    db_array_text_n(&s->attempts.columns[1], c->body.data, c->body.len);
    return claim_attempt(c, d, r, &d->verdicts[i], &a);
}

static enum err client_request_ends(struct claim_set *s, struct client *l, size_t i)
{
    struct claim *c = s->claim;
    struct desk *d = &l->desk;
    const struct decide_request *r = &d->requests[i];
    const struct verdict *v = &d->verdicts[i];
    struct move move = claim_move(r, v);
    struct db_array *p = s->payments.columns;
    db_array_i64(&p[CLAIM_SEQ], r->seq);
    db_array_text(&p[CLAIM_PROCESSING], move.to);
    db_array_text(&p[CLAIM_PAYMENT], payment_status_text(move.status));
    set_money(&p[CLAIM_AMOUNT], &p[CLAIM_CURRENCY], &v->money);
    set_uuid(&p[CLAIM_REFUND_OF], &v->refund_of);
    set_uuid(&p[CLAIM_DUPLICATE_OF], &v->duplicate_of);
    set_reason(&p[CLAIM_REASON], v->reason);
    events_move(&s->events, &move);
    if (v->kind == VERDICT_SEND)
        return client_sends(s, l, i);
    if (v->kind == VERDICT_CLOSE && d->closed_seq == 0) /* they ascend */
        d->closed_seq = r->seq;
    c->found.closed += v->kind == VERDICT_CLOSE;
    c->found.duplicated += v->kind == VERDICT_DUPLICATE;
    return ERR_OK;
}

static enum err client_decide(struct claim_set *s, struct client *l)
{
    struct claim *c = s->claim;
    struct desk *d = &l->desk;
    enum err err = ERR_OK;
    if (d->count) {
        decide_claim(&d->account, &c->asked->limits, d->requests, d->count, d->verdicts);
        c->verb.changes |= LEDGER_CHANGE_PAYMENT;
    }
    for (size_t i = 0; i < d->count && err == ERR_OK; i++)
        err = client_request_ends(s, l, i);
    if (d->closed_seq)
        c->verb.changes |= LEDGER_CHANGE_SETTLED;
    db_array_place(&s->accounts.columns[0], l->due->place);
    set_seq(&s->accounts.columns[1], d->sent_seq);
    set_seq(&s->accounts.columns[2], d->closed_seq);
    return err;
}

/* ---- write ---- */

static enum err claim_write_payments(struct claim_set *s)
{
    struct verb *v = &s->claim->verb;
    struct query q;
    if (set_count(&s->payments) == 0)
        return ERR_OK;
    query_open(&q, v->db,
               "UPDATE payments p SET processing_status = u.processing, "
               "payment_status = u.payment, amount = coalesce(u.amount, p.amount), "
               "currency = coalesce(u.currency, p.currency), "
               "refund_of = coalesce(u.refund_of, p.refund_of), refunding = u.refund_of, "
               "duplicate_of = u.duplicate_of, reason = u.reason "
               "FROM unnest(?1::bigint[], ?2::text[], ?3::text[], ?4::bigint[], ?5::text[], "
               "?6::uuid[], ?7::uuid[], ?8::text[]) AS u (seq, processing, payment, amount, "
               "currency, refund_of, duplicate_of, reason) "
               "WHERE p.seq = u.seq AND p.processing_status = 'new'");
    set_bind(&q, &s->payments);
    return set_run(v, &q, &s->payments);
}

static enum err claim_write_attempts(struct claim_set *s)
{
    struct verb *v = &s->claim->verb;
    const struct ledger_claim *asked = s->claim->asked;
    struct query q;
    if (set_count(&s->attempts) == 0)
        return ERR_OK;
    query_open(&q, v->db,
               "INSERT INTO attempts (seq, body, instance_id, first_sent_at, boot_id, "
               "sent_boot_us) SELECT u.seq, u.body, ?3, ?4::timestamptz, ?5, ?6::bigint "
               "FROM unnest(?1::bigint[], ?2::text[]) AS u (seq, body)");
    set_bind(&q, &s->attempts);
    query_bind_text(&q, asked->instance_id);
    query_bind_time(&q, v->now_us);
    query_bind_text(&q, asked->boot_id ? asked->boot_id : "");
    query_bind_i64(&q, asked->boot_us);
    return set_run(v, &q, &s->attempts);
}

static enum err claim_write_accounts(struct claim_set *s)
{
    struct verb *v = &s->claim->verb;
    struct query q;
    if (set_count(&s->accounts) == 0)
        return ERR_OK;
    query_open(
        &q, v->db,
        "UPDATE accounts a SET version = version + 1, in_flight = u.sent, "
        "pending_seq = NULL, due_at = CASE WHEN u.sent IS NOT NULL THEN ?4::timestamptz END, "
        "tell_seq = least(a.tell_seq, u.closed), tell_due_at = CASE "
        "WHEN u.closed IS NOT NULL THEN coalesce(a.tell_due_at, ?5::timestamptz) "
        "ELSE a.tell_due_at END "
        "FROM unnest(?1::tid[], ?2::bigint[], ?3::bigint[]) AS u (place, sent, closed) "
        "WHERE a.ctid = u.place");
    set_bind(&q, &s->accounts);
    query_bind_time(&q, v->now_us + s->claim->asked->lease_us);
    query_bind_time(&q, v->now_us);
    return set_run(v, &q, &s->accounts);
}

static enum err claim_set_run(struct claim_set *s)
{
    struct claim *c = s->claim;
    enum err err = claim_clients(s);
    if (err == ERR_OK)
        err = claim_requests_all(s);
    if (err == ERR_OK)
        err = claim_subscribed_all(s);
    if (err == ERR_OK)
        err = claim_last_all(s);
    for (size_t i = 0; i < c->found.users && err == ERR_OK; i++)
        if (!s->clients[i].unusual)
            err = client_decide(s, &s->clients[i]);
    if (err == ERR_OK)
        err = claim_write_payments(s);
    if (err == ERR_OK)
        err = claim_write_attempts(s);
    if (err == ERR_OK)
        err = events_write(&c->verb, &s->events, "processor");
    if (err == ERR_OK)
        err = claim_write_accounts(s);
    for (size_t i = 0; i < c->found.users && err == ERR_OK; i++)
        if (s->clients[i].unusual)
            err = claim_user(c, s->clients[i].due);
    return err;
}

static enum err claim_all(struct claim *c)
{
    struct claim_set s = {.claim = c};
    set_init(&s.users, 2);
    set_init(&s.payments, CLAIM_WIDTH);
    set_init(&s.attempts, 2);
    set_init(&s.accounts, 3);
    events_init(&s.events);
    enum err err = claim_set_run(&s);
    events_release(&s.events);
    set_release(&s.accounts);
    set_release(&s.attempts);
    set_release(&s.payments);
    set_release(&s.users);
    return err;
}

enum err postgres_claim(struct ledger *l, const struct ledger_claim *asked, struct arena *arena,
                        struct ledger_claimed *out)
{
    enum err err = claim_with(l, asked, arena, out, claim_all);
    return postgres_blames_rows(err) ? sql_claim(l, asked, arena, out) : err;
}
