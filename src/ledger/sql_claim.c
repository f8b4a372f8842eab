#include <string.h>

#include "base/db_array.h"
#include "billing/period.h"
#include "ledger/sql_claim.h"

#define CLAIM_SCRATCH_MAX (64 * 1024 * 1024)
#define CLAIM_BODY_MAX 65536

/* ---- read ---- */

static enum err claim_users(struct claim *c)
{
    struct query q;
    c->users = arena_array(&c->scratch, struct due_user, c->asked->users_max);
    if (!c->users)
        return ERR_NO_MEMORY;
    query_open(
        &q, c->verb.db,
        VERB_LOCKING_PLACES(&c->verb,
                            "SELECT user_id, coalesce(pending_seq, 0), active_until IS NOT NULL, "
                            "active_until > ?1",
                            "FROM accounts a WHERE in_flight IS NULL AND due_at <= ?1 "
                            "AND NOT EXISTS (SELECT 1 FROM learning l WHERE l.user_id = a.user_id) "
                            "AND NOT EXISTS (SELECT 1 FROM restored r JOIN positions p "
                            "ON p.topic = r.topic AND p.partition = r.partition "
                            "WHERE p.next < r.below) ORDER BY due_at LIMIT ?2",
                            "FOR UPDATE SKIP LOCKED"));
    query_bind_time(&q, c->verb.now_us);
    query_bind_i64(&q, (int64_t)c->asked->users_max);
    while (query_next(&q) && c->found.users < c->asked->users_max) {
        struct due_user *u = &c->users[c->found.users++];
        if (!text_copy(u->id, sizeof u->id, query_text(&q, 0)))
            row_broken(&q, 0);
        u->pending_seq = query_i64(&q, 1);
        u->had_period = query_i64(&q, 2) != 0;
        u->covered = query_i64(&q, 3) != 0;
        row_place(&q, 4, u->place);
    }
    return query_close(&q);
}

/* Without those about whom a reading of the journal said something before they were locked. */
static enum err claim_unlearned(struct claim *c)
{
    struct due_user *users = c->users;
    struct db_array ids;
    struct query q;
    size_t kept = 0;
    if (!db_is_postgres(c->verb.db) || c->found.users == 0)
        return ERR_OK;
    db_array_init(&ids, LEDGER_CLAIM_MAX * UUID_TEXT);
    for (size_t i = 0; i < c->found.users; i++)
        db_array_uuid_text(&ids, users[i].id);
    query_open(&q, c->verb.db, "SELECT user_id FROM learning WHERE user_id = ANY (?1)");
    query_bind_array(&q, &ids);
    while (query_next(&q))
        for (size_t i = 0; i < c->found.users; i++)
            if (strcmp(users[i].id, query_text(&q, 0)) == 0)
                users[i].id[0] = '\0';
    for (size_t i = 0; i < c->found.users; i++)
        if (users[i].id[0] != '\0')
            users[kept++] = users[i];
    c->found.users = kept;
    db_array_release(&ids);
    return query_close(&q);
}

void claim_request(struct query *q, struct decide_request *r)
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

bool claim_wants_last(const struct desk *d)
{
    for (size_t i = 0; i < d->count && d->due->had_period; i++)
        if (d->requests[i].payment_type == PAYMENT_TYPE_REFUND && !d->requests[i].names_target)
            return true;
    return false;
}

/* Rule 9 as billing/ has it, on texts whose order is that of time; ?3 null: there is no bound. */
#define TOO_OLD "(least(payment_date, stored_at, coalesce(recorded_at, stored_at)) < ?3) IS TRUE"

/* In a crowd, what rule 9 closes is older than this. */
static int64_t claim_cutoff_us(const struct claim *c)
{
    int64_t age_us = c->asked->limits.request_max_age_us;
    return age_us == TIME_NEVER ? TIME_NEVER : c->verb.now_us - age_us;
}

/* Appends what is new and below `below`, newest first: also a flood cannot hide the latest. */
static enum err requests_read(struct claim *c, struct desk *d, int64_t cutoff_us, int64_t below,
                              bool only_payments, int64_t max)
{
    struct query q;
    query_open(&q, c->verb.db,
               "SELECT " CLAIM_COLUMNS " FROM payments WHERE user_id = ?1 AND seq >= ?2 "
               "AND seq < ?4 AND processing_status = 'new' AND NOT " TOO_OLD
               " AND (?5 = 0 OR payment_type = 'payment') ORDER BY seq DESC LIMIT ?6");
    query_bind_text(&q, d->due->id);
    query_bind_i64(&q, d->due->pending_seq);
    query_bind_time(&q, cutoff_us);
    query_bind_i64(&q, below);
    query_bind_i64(&q, only_payments);
    query_bind_i64(&q, max);
    while (d->count <= CLAIM_REQUESTS_MAX && query_next(&q)) {
        claim_request(&q, --d->requests);
        d->count++;
        d->ask_first |= query_i64(&q, 10) != 0;
    }
    return query_close(&q);
}

/* Of a crowd as many as decide what becomes of all: rule 5 asks whether there is a payment. */
static enum err claim_requests(struct claim *c, struct desk *d)
{
    int64_t cutoff_us = claim_cutoff_us(c);
    enum err err = requests_read(c, d, TIME_NEVER, INT64_MAX, false, CLAIM_REQUESTS_MAX + 1);
    if (err != ERR_OK || d->count <= CLAIM_REQUESTS_MAX)
        return err;
    d->crowd = true;
    d->requests += d->count;
    d->count = 0;
    err = requests_read(c, d, cutoff_us, INT64_MAX, false, CLAIM_REQUESTS_MAX);
    if (err != ERR_OK || d->count < CLAIM_REQUESTS_MAX)
        return err;
    d->rest_below = d->requests[0].seq;
    err = requests_read(c, d, cutoff_us, d->rest_below, true, 1);
    if (d->count > CLAIM_REQUESTS_MAX)
        d->kept_seq = d->requests[0].seq;
    return err;
}

void claim_target_row(struct query *q, int first, struct refund_target *out)
{
    out->exists = true;
    out->subscription_type = row_subscription_type(q, first);
    out->money = row_money(q, first + 1, first + 2);
    out->refunded = !query_is_null(q, first + 3);
    out->refunded_by = query_uuid(q, first + 3);
}

enum err claim_target(struct claim *c, const struct desk *d, const struct uuid *payment_id,
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
    if (query_next(&q))
        claim_target_row(&q, 0, out);
    return query_close(&q);
}

void claim_period(struct query *q, int first, struct decide_account *account)
{
    account->has_last_period = true;
    account->last_period = (struct period){
        .starts_at_us = query_time(q, first),
        .expires_at_us = query_time(q, first + 1),
        .ends_at_us = query_time(q, first + 2),
    };
    account->last_target.payment_id = query_uuid(q, first + 3);
}

static enum err claim_last_period(struct claim *c, struct desk *d)
{
    struct query q;
    query_open(&q, c->verb.db,
               "SELECT starts_at, expiration_date, ends_at, payment_id FROM subscriptions "
               "WHERE user_id = ?1 ORDER BY starts_at DESC, ends_at DESC, id DESC LIMIT 1");
    query_bind_text(&q, d->due->id);
    if (query_next(&q))
        claim_period(&q, 0, &d->account);
    return query_close(&q);
}

static enum err claim_subscribed(struct claim *c, struct desk *d)
{
    struct query q;
    query_open(&q, c->verb.db,
               "SELECT payment_id FROM subscriptions WHERE user_id = ?1 "
               "AND starts_at <= ?2 AND ends_at > ?3 AND ends_at > starts_at "
               "ORDER BY starts_at LIMIT 1");
    query_bind_text(&q, d->due->id);
    query_bind_time(&q, c->verb.now_us + PERIOD_AHEAD_US);
    query_bind_time(&q, c->verb.now_us);
    if (query_next(&q)) {
        d->account.subscribed = true;
        d->account.subscribed_by = query_uuid(&q, 0);
    }
    return query_close(&q);
}

static enum err claim_account(struct claim *c, struct desk *d)
{
    enum err err = ERR_OK;
    d->account.now_us = c->verb.now_us;
    if (d->due->covered)
        err = claim_subscribed(c, d);
    if (err == ERR_OK && claim_wants_last(d)) {
        err = claim_last_period(c, d);
        struct uuid behind = d->account.last_target.payment_id;
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

struct move claim_move(const struct decide_request *r, const struct verdict *v)
{
    struct move move = duplicate_move(&r->payment_id, &v->duplicate_of, v->reason);
    switch (v->kind) {
    case VERDICT_SEND:
        move.to = "in_processing";
        move.refund_of = v->refund_of;
        if (r->payment_type == PAYMENT_TYPE_REFUND)
            move.money = v->money;
        break;
    case VERDICT_CLOSE:
        move.to = "processed";
        move.status = PAYMENT_ERROR;
        break;
    case VERDICT_DUPLICATE:
        break;
    }
    return move;
}

static enum err claim_close(struct claim *c, struct desk *d, size_t i)
{
    const struct decide_request *r = &d->requests[i];
    struct move move = claim_move(r, &d->verdicts[i]);
    struct query q;
    query_open(&q, c->verb.db,
               "UPDATE payments SET processing_status = 'processed', payment_status = 'error', "
               "reason = ?2 WHERE seq = ?1 AND processing_status = 'new'");
    query_bind_i64(&q, r->seq);
    row_bind_reason(&q, move.reason);
    enum err err = query_run(&q);
    if (err != ERR_OK)
        return err;
    if (d->closed_seq == 0 || r->seq < d->closed_seq)
        d->closed_seq = r->seq;
    c->found.closed++;
    return row_move(&c->verb, &move);
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

enum err claim_encode(struct claim *c, const struct desk *d, const struct decide_request *r,
                      const struct verdict *v, const char *method)
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
    str_clear(&c->body);
    c->asked->encode(&charge, &c->body);
    if (c->body.failed || c->body.len == 0)
        return verb_fails(&c->verb, ERR_BUG, "the gateway made no body");
    return ERR_OK;
}

enum err claim_encode_row(struct claim *c, const struct desk *d, const struct decide_request *r,
                          const struct verdict *v)
{
    char method[sizeof((struct request *)NULL)->payment_method];
    enum err err = claim_send_method(c, r->seq, method, sizeof method);
    return err == ERR_OK ? claim_encode(c, d, r, v, method) : err;
}

enum err claim_attempt(struct claim *c, const struct desk *d, const struct decide_request *r,
                       const struct verdict *v, struct attempt **out)
{
    struct attempt *a = &c->found.attempts[c->found.attempt_count++];
    *a = (struct attempt){
        .seq = r->seq,
        .payment_id = r->payment_id,
        .user_id = d->user_id,
        .payment_type = r->payment_type,
        .refund_of = v->refund_of,
        .money = v->money,
        .body = arena_text(c->arena, c->body.data, c->body.len),
        .body_len = c->body.len,
        .sent_boot_us = c->asked->boot_us,
    };
    *out = a;
    if (c->asked->boot_id && !text_copy(a->boot_id, sizeof a->boot_id, c->asked->boot_id))
        return ERR_BUG;
    return a->body ? ERR_OK : ERR_NO_MEMORY;
}

static enum err claim_send_store(struct claim *c, const struct decide_request *r)
{
    struct query q;
    query_open(&q, c->verb.db,
               "INSERT INTO attempts (seq, body, instance_id, first_sent_at, boot_id, "
               "sent_boot_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    query_bind_i64(&q, r->seq);
    query_bind_text_n(&q, c->body.data, c->body.len);
    query_bind_text(&q, c->asked->instance_id);
    query_bind_time(&q, c->verb.now_us);
    query_bind_text(&q, c->asked->boot_id ? c->asked->boot_id : "");
    query_bind_i64(&q, c->asked->boot_us);
    return query_run(&q);
}

static enum err claim_send(struct claim *c, struct desk *d, size_t i)
{
    const struct decide_request *r = &d->requests[i];
    const struct verdict *v = &d->verdicts[i];
    struct attempt *a;
    struct move move = claim_move(r, v);
    if (d->sent_seq != 0)
        return verb_fails(&c->verb, ERR_BUG, "two requests of a user were to be sent");
    enum err err = claim_encode_row(c, d, r, v);
    if (err == ERR_OK)
        err = claim_send_move(c, r, v);
    if (err == ERR_OK)
        err = claim_send_store(c, r);
    if (err == ERR_OK)
        err = row_move(&c->verb, &move);
    if (err == ERR_OK)
        err = claim_attempt(c, d, r, v, &a);
    d->sent_seq = r->seq;
    return err;
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

/* ---- the rest of a crowd ---- */

/* What is new, below a seq, not `kept` and, with a cutoff, too old. */
struct rest {
    int64_t cutoff_us, below, kept;
    const char *to, *status;
    const struct verdict *verdict;
};
#define REST_ROWS                                                                                  \
    "WHERE user_id = ?1 AND seq >= ?2 AND processing_status = 'new' AND seq < ?4 AND seq <> ?5 "   \
    "AND (" TOO_OLD " OR ?3 IS NULL)"

static void rest_open(struct query *q, const struct claim *c, const struct desk *d,
                      const struct rest *r, const char *static_sql)
{
    query_open(q, c->verb.db, static_sql);
    query_bind_text(q, d->due->id);
    query_bind_i64(q, d->due->pending_seq);
    query_bind_time(q, r->cutoff_us);
    query_bind_i64(q, r->below);
    query_bind_i64(q, r->kept);
    query_bind_text(q, r->to);
    query_bind_text(q, r->status);
}

/* What row_duplicate and claim_close write for each, in two statements. */
static enum err rest_move(struct claim *c, const struct desk *d, const struct rest *r,
                          size_t *moved)
{
    struct str *detail = &c->verb.l->detail;
    struct query q;
    row_move_detail(detail, &(struct move){.duplicate_of = r->verdict->duplicate_of,
                                           .reason = r->verdict->reason});
    if (detail->failed)
        return ERR_NO_MEMORY;
    rest_open(&q, c, d, r,
              "INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, "
              "payment_status, detail) SELECT ?9, 'payment', id, 'processor', 'new', ?6, ?7, ?8 "
              "FROM payments " REST_ROWS " ORDER BY seq");
    query_bind_text(&q, row_detail(detail));
    query_bind_time(&q, c->verb.now_us);
    enum err err = query_run(&q);
    if (err != ERR_OK)
        return err;
    rest_open(&q, c, d, r,
              "UPDATE payments SET processing_status = ?6, payment_status = ?7, "
              "duplicate_of = ?8, reason = ?9 " REST_ROWS);
    row_bind_uuid(&q, &r->verdict->duplicate_of);
    row_bind_reason(&q, r->verdict->reason);
    err = query_run(&q);
    *moved = (size_t)db_changes(c->verb.db);
    return err;
}

/* Rule 9, then rule 1: what billing/ made of the oldest that was read, which is not the latest, is
 * what becomes of all that are older. */
static enum err rest_end(struct claim *c, struct desk *d)
{
    const struct verdict too_old = {.kind = VERDICT_CLOSE, .reason = REASON_TOO_OLD};
    struct rest r = {claim_cutoff_us(c), INT64_MAX, 0, "processed", "error", &too_old};
    size_t closed = 0, duplicated = 0;
    enum err err = r.cutoff_us == TIME_NEVER ? ERR_OK : rest_move(c, d, &r, &closed);
    if (err == ERR_OK && closed)
        err = row_first(&c->verb, d->due->id, d->due->pending_seq, "processed", &d->closed_seq);
    if (err == ERR_OK && d->rest_below) {
        if (d->verdicts[0].kind != VERDICT_DUPLICATE)
            return verb_fails(&c->verb, ERR_BUG, "the oldest of a crowd is no duplicate");
        r = (struct rest){TIME_NEVER,   d->rest_below, d->kept_seq,
                          "duplicated", "unknown",     d->verdicts};
        err = rest_move(c, d, &r, &duplicated);
    }
    c->found.closed += closed;
    c->found.duplicated += duplicated;
    return err;
}

static enum err claim_release(struct claim *c, struct desk *d)
{
    int64_t due_at_us = d->sent_seq ? c->verb.now_us + c->asked->lease_us : TIME_NEVER;
    struct query q;
    query_open(&q, c->verb.db,
               "UPDATE accounts SET version = version + 1, in_flight = ?2, pending_seq = NULL, "
               "due_at = ?3, tell_seq = least(tell_seq, ?4), "
               "tell_due_at = coalesce(tell_due_at, ?5) WHERE user_id = ?1");
    query_bind_text(&q, d->due->id);
    row_bind_seq(&q, d->sent_seq);
    query_bind_time(&q, due_at_us);
    row_bind_seq(&q, d->closed_seq);
    query_bind_time(&q, d->closed_seq ? c->verb.now_us : TIME_NEVER);
    return query_run(&q);
}

static enum err user_decide(struct claim *c, struct due_user *due)
{
    struct desk d = {
        .due = due, .requests = c->requests + CLAIM_REQUESTS_MAX + 1, .verdicts = c->verdicts};
    if (!uuid_parse(due->id, strlen(due->id), &d.user_id))
        return verb_fails(&c->verb, ERR_CORRUPT, "not a user's id");
    struct decide_request first;
    int64_t asked;
    bool asks = false;
    enum err err = claim_requests(c, &d);
    if (err == ERR_OK)
        err = claim_account(c, &d);
    if (err == ERR_OK && (d.ask_first || d.crowd))
        err = claim_ask_find(c, &d, &first, &asked, &asks);
    if (err != ERR_OK)
        return err;
    if (asks)
        return claim_ask(c, &d, &first, asked);
    decide_claim(&d.account, &c->asked->limits, d.requests, d.count, d.verdicts);
    if (d.count || d.crowd)
        c->verb.changes |= LEDGER_CHANGE_PAYMENT;
    if (d.crowd)
        err = rest_end(c, &d);
    if (err == ERR_OK)
        err = claim_write(c, &d);
    if (d.closed_seq)
        c->verb.changes |= LEDGER_CHANGE_SETTLED;
    return err == ERR_OK ? claim_release(c, &d) : err;
}

enum err claim_user(struct claim *c, struct due_user *due)
{
    memcpy(c->verb.user, due->id, sizeof c->verb.user);
    enum err err = user_decide(c, due);
    if (err == ERR_OK)
        c->verb.user[0] = '\0';
    return err;
}

static enum err claim_each(struct claim *c)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < c->found.users && err == ERR_OK; i++)
        err = claim_user(c, &c->users[i]);
    return err;
}

static enum err claim_run(struct verb *v)
{
    struct claim *c = (struct claim *)v;
    enum err err = rewound_read(v, &c->found.rewound);
    if (err != ERR_OK || !uuid_is_nil(&c->found.rewound))
        return err;
    err = paged_claim(v, c->asked->users_max, &c->found.duplicated);
    if (err == ERR_OK)
        err = claim_users(c);
    if (err == ERR_OK)
        err = claim_unlearned(c);
    if (err == ERR_OK && c->found.users) {
        c->found.attempts = arena_array(c->arena, struct attempt, c->found.users);
        c->requests = arena_array(&c->scratch, struct decide_request, CLAIM_REQUESTS_MAX + 1);
        c->verdicts = arena_array(&c->scratch, struct verdict, CLAIM_REQUESTS_MAX + 1);
        if (!c->found.attempts || !c->requests || !c->verdicts)
            err = ERR_NO_MEMORY;
    }
    return err == ERR_OK && c->found.users ? c->decide(c) : err;
}

static void claim_reset(struct verb *v)
{
    struct claim *c = (struct claim *)v;
    c->found = (struct ledger_claimed){0};
    arena_reset(&c->scratch);
}

enum err claim_with(struct ledger *l, const struct ledger_claim *asked, struct arena *arena,
                    struct ledger_claimed *out, enum err (*decide)(struct claim *c))
{
    struct claim c = {.verb = {.run = claim_run, .l = (struct sql_ledger *)l},
                      .decide = decide,
                      .asked = asked,
                      .arena = arena};
    arena_init(&c.scratch, CLAIM_SCRATCH_MAX);
    str_init(&c.body, CLAIM_BODY_MAX);
    enum err err = verb_do_list(&c.verb, claim_reset);
    if (err == ERR_OK)
        *out = c.found;
    str_release(&c.body);
    arena_release(&c.scratch);
    return err;
}

enum err sql_claim(struct ledger *l, const struct ledger_claim *asked, struct arena *arena,
                   struct ledger_claimed *out)
{
    return claim_with(l, asked, arena, out, claim_each);
}
