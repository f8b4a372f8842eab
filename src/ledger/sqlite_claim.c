#include <string.h>

#include "ledger/sqlite_ledger.h"

#define CLAIM_REQUESTS_MAX 65536 /* of one user in one claim; older ones stay new for the next */
#define CLAIM_SCRATCH_MAX (64 * 1024 * 1024)
#define CLAIM_BODY_MAX 65536

struct due_user {
    char id[UUID_TEXT];
    int64_t pending_seq;
    bool covered; /* has ever had a period */
};
struct claim {
    struct verb verb;
    const struct ledger_claim *asked;
    struct arena *arena; /* the caller's */
    struct ledger_claimed found;
    struct arena scratch; /* users of this claim */
    struct arena rows;    /* requests of one user */
    struct str body;
    struct due_user *users;
};
/* One user while the account is locked. */
struct desk {
    struct due_user *due;
    struct uuid user_id;
    struct decide_account account;
    struct decide_request *requests; /* ascending seq */
    struct verdict *verdicts;
    size_t count;
    bool older_remain;
    int64_t sent_seq, closed_seq; /* 0: none; closed: the lowest */
};

/* ---- read ---- */

static enum err claim_users(struct claim *c)
{
    struct query q;
    c->users = arena_array(&c->scratch, struct due_user, c->asked->users_max);
    if (!c->users)
        return ERR_NO_MEMORY;
    query_open(&q, c->verb.db,
               "SELECT user_id, coalesce(pending_seq, 0), active_until IS NOT NULL FROM accounts "
               "WHERE in_flight IS NULL AND due_at <= ?1 ORDER BY due_at LIMIT ?2");
    query_bind_time(&q, c->verb.now_us);
    query_bind_i64(&q, (int64_t)c->asked->users_max);
    while (query_next(&q) && c->found.users < c->asked->users_max) {
        struct due_user *u = &c->users[c->found.users++];
        if (!text_copy(u->id, sizeof u->id, query_text(&q, 0)))
            row_broken(&q, 0);
        u->pending_seq = query_i64(&q, 1);
        u->covered = query_i64(&q, 2) != 0;
    }
    return query_close(&q);
}

static struct decide_request *request_room(struct claim *c, struct desk *d, size_t *cap)
{
    if (d->count == *cap) {
        size_t more = *cap ? *cap * 2 : 8;
        struct decide_request *bigger = arena_array(&c->rows, struct decide_request, more);
        if (!bigger)
            return NULL;
        if (d->count)
            memcpy(bigger, d->requests, d->count * sizeof *bigger);
        d->requests = bigger;
        *cap = more;
    }
    return &d->requests[d->count++];
}

static void request_read(struct query *q, struct decide_request *r)
{
    *r = (struct decide_request){
        .seq = query_i64(q, 0),
        .payment_id = query_uuid(q, 1),
        .payment_type = row_payment_type(q, 2),
        .subscription_type = row_subscription_type(q, 3),
        .requested_at_us = query_time(q, 4),
        .stored_at_us = query_time(q, 5),
        .recorded_at_us = query_is_null(q, 6) ? query_time(q, 5) : query_time(q, 6),
        .money = row_money(q, 7, 8),
        .names_target = !query_is_null(q, 9),
        .named = {.payment_id = query_uuid(q, 9)},
    };
}

static void requests_reverse(struct desk *d)
{
    for (size_t i = 0, j = d->count; i + 1 < j; i++) {
        struct decide_request r = d->requests[i];
        d->requests[i] = d->requests[--j];
        d->requests[j] = r;
    }
}

/* Newest first, so that a flood cannot hide the latest. */
static enum err claim_requests(struct claim *c, struct desk *d)
{
    struct query q;
    size_t cap = 0;
    query_open(&q, c->verb.db,
               "SELECT seq, id, payment_type, subscription_type, payment_date, stored_at, "
               "recorded_at, amount, currency, refund_of FROM payments WHERE user_id = ?1 "
               "AND seq >= ?2 AND processing_status = 'new' ORDER BY seq DESC LIMIT ?3");
    query_bind_text(&q, d->due->id);
    query_bind_i64(&q, d->due->pending_seq);
    query_bind_i64(&q, CLAIM_REQUESTS_MAX + 1);
    while (query_next(&q)) {
        if (d->count == CLAIM_REQUESTS_MAX) {
            d->older_remain = true;
            break;
        }
        struct decide_request *r = request_room(c, d, &cap);
        if (!r) {
            q.err = ERR_NO_MEMORY;
            break;
        }
        request_read(&q, r);
    }
    requests_reverse(d);
    return query_close(&q);
}

static enum err claim_target(struct claim *c, const struct desk *d, const struct uuid *payment_id,
                             struct refund_target *out)
{
    struct query q;
    *out = (struct refund_target){.payment_id = *payment_id};
    query_open(&q, c->verb.db,
               "SELECT p.subscription_type, p.amount, p.currency, r.id FROM payments p "
               "LEFT JOIN payments r ON r.refunding = p.id AND r.payment_status = 'accepted' "
               "WHERE p.id = ?1 AND p.user_id = ?2 AND p.payment_type = 'payment' "
               "AND p.payment_status = 'accepted'");
    query_bind_uuid(&q, payment_id);
    query_bind_text(&q, d->due->id);
    if (query_next(&q)) {
        out->exists = true;
        out->subscription_type = row_subscription_type(&q, 0);
        out->money = row_money(&q, 1, 2);
        out->refunded = !query_is_null(&q, 3);
        out->refunded_by = query_uuid(&q, 3);
    }
    return query_close(&q);
}

static enum err claim_last_period(struct claim *c, struct desk *d, struct uuid *behind)
{
    struct query q;
    query_open(&q, c->verb.db,
               "SELECT starts_at, expiration_date, ends_at, payment_id FROM subscriptions "
               "WHERE user_id = ?1 ORDER BY starts_at DESC, ends_at DESC, id DESC LIMIT 1");
    query_bind_text(&q, d->due->id);
    if (query_next(&q)) {
        d->account.has_last_period = true;
        d->account.last_period = (struct period){
            .starts_at_us = query_time(&q, 0),
            .expires_at_us = query_time(&q, 1),
            .ends_at_us = query_time(&q, 2),
        };
        *behind = query_uuid(&q, 3);
    }
    return query_close(&q);
}

static enum err claim_subscribed(struct claim *c, struct desk *d)
{
    struct query q;
    query_open(&q, c->verb.db,
               "SELECT payment_id FROM subscriptions WHERE user_id = ?1 "
               "AND starts_at <= ?2 AND ends_at > ?2");
    query_bind_text(&q, d->due->id);
    query_bind_time(&q, c->verb.now_us);
    if (query_next(&q)) {
        d->account.subscribed = true;
        d->account.subscribed_by = query_uuid(&q, 0);
    }
    return query_close(&q);
}

static enum err claim_account(struct claim *c, struct desk *d)
{
    struct uuid behind = UUID_NIL;
    enum err err = ERR_OK;
    d->account.now_us = c->verb.now_us;
    if (d->due->covered) {
        err = claim_last_period(c, d, &behind);
        if (err == ERR_OK)
            err = claim_subscribed(c, d);
        if (err == ERR_OK && !uuid_is_nil(&behind))
            err = claim_target(c, d, &behind, &d->account.last_target);
    }
    for (size_t i = 0; i < d->count && err == ERR_OK; i++) {
        struct decide_request *r = &d->requests[i];
        if (r->names_target) {
            struct uuid named = r->named.payment_id;
            err = claim_target(c, d, &named, &r->named);
        }
    }
    return err;
}

/* ---- write ---- */

static enum err claim_close(struct claim *c, struct desk *d, size_t i)
{
    const struct decide_request *r = &d->requests[i];
    enum reason reason = d->verdicts[i].reason;
    struct query q;
    query_open(&q, c->verb.db,
               "UPDATE payments SET processing_status = 'processed', payment_status = 'error', "
               "reason = ?2 WHERE seq = ?1 AND processing_status = 'new'");
    query_bind_i64(&q, r->seq);
    row_bind_reason(&q, reason);
    enum err err = query_run(&q);
    if (err != ERR_OK)
        return err;
    if (d->closed_seq == 0)
        d->closed_seq = r->seq;
    c->found.closed++;
    return row_move(&c->verb, &(struct move){.payment_id = &r->payment_id,
                                             .actor = "processor",
                                             .from = "new",
                                             .to = "processed",
                                             .status = PAYMENT_ERROR,
                                             .reason = reason});
}

static enum err claim_send_method(struct claim *c, int64_t seq, char *out, size_t cap)
{
    struct query q;
    query_open(&q, c->verb.db, "SELECT payment_method FROM payments WHERE seq = ?1");
    query_bind_i64(&q, seq);
    if (!query_next(&q) || !text_copy(out, cap, query_text(&q, 0)))
        row_broken(&q, 0);
    return query_close(&q);
}

/* (RETURNING would make SQLite keep a journal of the statement.) */
static enum err claim_send_move(struct claim *c, const struct decide_request *r,
                                const struct verdict *v)
{
    struct query q;
    query_open(&q, c->verb.db,
               "UPDATE payments SET processing_status = 'in_processing', amount = ?2, "
               "currency = ?3, refund_of = ?4, refunding = ?4 "
               "WHERE seq = ?1 AND processing_status = 'new'");
    query_bind_i64(&q, r->seq);
    row_bind_money(&q, &v->money);
    row_bind_uuid(&q, &v->refund_of);
    return query_run(&q);
}

static enum err claim_send_attempt(struct claim *c, const struct desk *d,
                                   const struct decide_request *r, const struct verdict *v,
                                   const char *method)
{
    struct charge charge = {
        .payment_id = r->payment_id,
        .user_id = d->user_id,
        .refund_of = v->refund_of,
        .payment_type = r->payment_type,
        .subscription_type = r->subscription_type,
        .requested_at_us = r->requested_at_us,
        .money = v->money,
        .payment_method = method,
    };
    struct query q;
    str_clear(&c->body);
    c->asked->encode(&charge, &c->body);
    if (c->body.failed || c->body.len == 0)
        return verb_fails(&c->verb, ERR_BUG, "the gateway made no body");
    query_open(&q, c->verb.db,
               "INSERT INTO attempts (seq, body, instance_id, first_sent_at) "
               "VALUES (?1, ?2, ?3, ?4)");
    query_bind_i64(&q, r->seq);
    query_bind_text_n(&q, c->body.data, c->body.len);
    query_bind_text(&q, c->asked->instance_id);
    query_bind_time(&q, c->verb.now_us);
    return query_run(&q);
}

static enum err claim_send(struct claim *c, struct desk *d, size_t i)
{
    const struct decide_request *r = &d->requests[i];
    const struct verdict *v = &d->verdicts[i];
    char method[sizeof((struct request *)NULL)->payment_method];
    struct move move = {.payment_id = &r->payment_id,
                        .actor = "processor",
                        .from = "new",
                        .to = "in_processing",
                        .refund_of = v->refund_of};
    if (d->sent_seq != 0)
        return verb_fails(&c->verb, ERR_BUG, "two requests of a user were to be sent");
    if (r->payment_type == PAYMENT_TYPE_REFUND)
        move.money = v->money;
    enum err err = claim_send_method(c, r->seq, method, sizeof method);
    if (err == ERR_OK)
        err = claim_send_move(c, r, v);
    if (err == ERR_OK)
        err = claim_send_attempt(c, d, r, v, method);
    if (err == ERR_OK)
        err = row_move(&c->verb, &move);
    if (err != ERR_OK)
        return err;
    struct attempt *a = &c->found.attempts[c->found.attempt_count++];
    *a = (struct attempt){
        .seq = r->seq,
        .payment_id = r->payment_id,
        .user_id = d->user_id,
        .payment_type = r->payment_type,
        .money = v->money,
        .body = arena_text(c->arena, c->body.data, c->body.len),
        .body_len = c->body.len,
    };
    d->sent_seq = r->seq;
    return a->body ? ERR_OK : ERR_NO_MEMORY;
}

static enum err claim_write(struct claim *c, struct desk *d)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < d->count && err == ERR_OK; i++) {
        const struct verdict *v = &d->verdicts[i];
        switch (v->kind) {
        case VERDICT_SEND:
            err = claim_send(c, d, i);
            break;
        case VERDICT_CLOSE:
            err = claim_close(c, d, i);
            break;
        case VERDICT_DUPLICATE:
            c->found.duplicated++;
            err = row_duplicate(&c->verb, d->requests[i].seq, &d->requests[i].payment_id,
                                &v->duplicate_of, v->reason);
            break;
        }
    }
    return err;
}

static enum err claim_release(struct claim *c, struct desk *d)
{
    int64_t pending_seq = 0, due_at_us = TIME_NEVER;
    struct query q;
    if (d->older_remain) {
        enum err err = row_first(&c->verb, d->due->id, d->due->pending_seq, "new", &pending_seq);
        if (err != ERR_OK)
            return err;
        due_at_us = c->verb.now_us;
    }
    if (d->sent_seq)
        due_at_us = c->verb.now_us + c->asked->lease_us;
    query_open(&q, c->verb.db,
               "UPDATE accounts SET version = version + 1, in_flight = nullif(?2, 0), "
               "pending_seq = nullif(?3, 0), due_at = ?4, "
               "tell_seq = coalesce(min(tell_seq, nullif(?5, 0)), tell_seq, nullif(?5, 0)), "
               "tell_due_at = coalesce(tell_due_at, ?6) WHERE user_id = ?1");
    query_bind_text(&q, d->due->id);
    query_bind_i64(&q, d->sent_seq);
    query_bind_i64(&q, pending_seq);
    query_bind_time(&q, due_at_us);
    query_bind_i64(&q, d->closed_seq);
    query_bind_time(&q, d->closed_seq ? c->verb.now_us : TIME_NEVER);
    return query_run(&q);
}

static enum err claim_user(struct claim *c, struct due_user *due)
{
    struct desk d = {.due = due};
    arena_reset(&c->rows);
    if (!uuid_parse(due->id, strlen(due->id), &d.user_id))
        return verb_fails(&c->verb, ERR_CORRUPT, "not a user's id");
    enum err err = claim_requests(c, &d);
    if (err == ERR_OK)
        err = claim_account(c, &d);
    if (err != ERR_OK)
        return err;
    if (d.count) {
        d.verdicts = arena_array(&c->rows, struct verdict, d.count);
        if (!d.verdicts)
            return ERR_NO_MEMORY;
        decide_claim(&d.account, &c->asked->limits, d.requests, d.count, d.verdicts);
        c->verb.changes |= LEDGER_CHANGE_PAYMENT;
    }
    if ((err = claim_write(c, &d)) != ERR_OK)
        return err;
    if (d.closed_seq)
        c->verb.changes |= LEDGER_CHANGE_SETTLED;
    return claim_release(c, &d);
}

static enum err claim_run(struct verb *v)
{
    struct claim *c = (struct claim *)v;
    enum err err = claim_users(c);
    if (err == ERR_OK && c->found.users) {
        c->found.attempts = arena_array(c->arena, struct attempt, c->found.users);
        if (!c->found.attempts)
            err = ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < c->found.users && err == ERR_OK; i++) {
        memcpy(v->user, c->users[i].id, sizeof v->user);
        if ((err = claim_user(c, &c->users[i])) == ERR_OK)
            v->user[0] = '\0';
    }
    return err;
}

static void claim_reset(struct verb *v)
{
    struct claim *c = (struct claim *)v;
    c->found = (struct ledger_claimed){0};
    arena_reset(&c->scratch);
}

enum err sqlite_claim(struct ledger *l, const struct ledger_claim *asked, struct arena *arena,
                      struct ledger_claimed *out)
{
    struct claim c = {
        .verb = {.run = claim_run, .l = (struct sqlite_ledger *)l}, .asked = asked, .arena = arena};
    arena_init(&c.scratch, CLAIM_SCRATCH_MAX);
    arena_init(&c.rows, CLAIM_SCRATCH_MAX);
    str_init(&c.body, CLAIM_BODY_MAX);
    enum err err = verb_do_list(&c.verb, claim_reset);
    if (err == ERR_OK)
        *out = c.found;
    str_release(&c.body);
    arena_release(&c.rows);
    arena_release(&c.scratch);
    return err;
}
