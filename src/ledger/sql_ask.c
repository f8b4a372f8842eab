/* Undecided payments: whose next question is due, and one of them by its id. */
#include <string.h>

#include "ledger/sql_ledger.h"

struct in_flight {
    char user[UUID_TEXT];
    int64_t seq;
};
struct due {
    struct verb verb;
    size_t max;
    int64_t lease_us;
    struct arena *arena; /* the caller's */
    struct in_flight *users;
    struct attempt *attempts;
    size_t count;
};

static enum err due_users(struct due *d)
{
    struct query q;
    query_open(&q, d->verb.db,
               VERB_LOCKING(&d->verb,
                            "SELECT user_id, in_flight FROM accounts WHERE in_flight IS NOT NULL "
                            "AND due_at <= ?1 ORDER BY due_at LIMIT ?2",
                            "FOR UPDATE SKIP LOCKED"));
    query_bind_time(&q, d->verb.now_us);
    query_bind_i64(&q, (int64_t)d->max);
    while (d->count < d->max && query_next(&q)) {
        if (!d->users && !(d->users = arena_array(d->arena, struct in_flight, d->max))) {
            q.err = ERR_NO_MEMORY;
            break;
        }
        struct in_flight *u = &d->users[d->count++];
        if (!text_copy(u->user, sizeof u->user, query_text(&q, 0)))
            row_broken(&q, 0);
        u->seq = query_i64(&q, 1);
    }
    return query_close(&q);
}

static enum err due_id(struct due *d, const struct in_flight *u, struct uuid *out)
{
    struct query q;
    bool found;
    query_open(&q, d->verb.db,
               "SELECT p.id FROM payments p JOIN attempts t ON t.seq = p.seq "
               "WHERE p.seq = ?1 AND p.processing_status = 'in_processing'");
    query_bind_i64(&q, u->seq);
    found = query_next(&q);
    if (found)
        *out = query_uuid(&q, 0);
    enum err err = query_close(&q);
    if (err == ERR_OK && !found)
        return verb_fails(&d->verb, ERR_CORRUPT, "nothing is known of the payment in flight");
    return err;
}

static enum err due_body(struct due *d, struct attempt *out)
{
    struct query q;
    query_open(&q, d->verb.db, "SELECT body, tries FROM attempts WHERE seq = ?1");
    query_bind_i64(&q, out->seq);
    if (query_next(&q)) {
        size_t body_len;
        const char *body = query_blob(&q, 0, &body_len);
        out->body_len = body_len;
        out->body = arena_text(d->arena, body ? body : "", body_len);
        out->tries = (int32_t)query_i64(&q, 1);
        if (!out->body)
            q.err = ERR_NO_MEMORY;
    }
    return query_close(&q);
}

static enum err due_attempt(struct due *d, const struct standing *p, const char *user,
                            struct attempt *out)
{
    const struct undecided *u = &p->undecided;
    *out = (struct attempt){
        .seq = p->seq,
        .payment_id = p->payment_id,
        .payment_type = p->payment_type,
        .refund_of = p->refund_of,
        .money = p->money,
        .age_us = p->sent.wall_us,
        .sent_boot_us = p->sent.boot_us,
        .too_old = u->too_old,
        .ask_only = u->ask_only,
        .pending = u->pending,
        .pending_us = u->pending_us,
        .expired = u->expired,
        .superseded = u->superseded,
        .rewound = u->rewound,
        .needs_decision = p->needs_decision,
    };
    memcpy(out->boot_id, p->sent.boot_id, sizeof out->boot_id);
    if (!uuid_parse(user, strlen(user), &out->user_id))
        return verb_fails(&d->verb, ERR_CORRUPT, "not a user's id");
    if (!money_known(&p->money))
        return verb_fails(&d->verb, ERR_CORRUPT, "the payment in flight has no amount");
    return due_body(d, out);
}

static enum err due_one(struct due *d, const struct in_flight *u, struct attempt *out)
{
    struct standing p;
    struct uuid id = UUID_NIL;
    struct query q;
    size_t taken = 0;
    bool found;
    enum err err = due_id(d, u, &id);
    if (err == ERR_OK)
        err = standing_read(&d->verb, &id, &p, &found);
    if (err == ERR_OK && p.undecided.pending)
        err = waiting_paged(&d->verb, &p, false, &taken);
    if (err == ERR_OK)
        err = due_attempt(d, &p, u->user, out);
    if (err != ERR_OK)
        return err;
    query_open(&q, d->verb.db,
               "UPDATE accounts SET version = version + 1, due_at = ?2 WHERE user_id = ?1");
    query_bind_text(&q, u->user);
    query_bind_time(&q, d->verb.now_us + d->lease_us);
    return query_run(&q);
}

static enum err due_run(struct verb *v)
{
    struct due *d = (struct due *)v;
    enum err err = due_users(d);
    if (err == ERR_OK && d->count) {
        d->attempts = arena_array(d->arena, struct attempt, d->count);
        if (!d->attempts)
            err = ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < d->count && err == ERR_OK; i++) {
        memcpy(v->user, d->users[i].user, sizeof v->user);
        if ((err = due_one(d, &d->users[i], &d->attempts[i])) == ERR_OK)
            v->user[0] = '\0';
    }
    return err;
}

static void due_reset(struct verb *v)
{
    struct due *d = (struct due *)v;
    d->attempts = NULL;
    d->count = 0;
}

enum err sql_due(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                 struct attempt **out, size_t *count)
{
    struct due d = {.verb = {.run = due_run, .l = (struct sql_ledger *)l},
                    .max = max,
                    .lease_us = lease_us,
                    .arena = arena};
    enum err err = verb_do_list(&d.verb, due_reset);
    if (err == ERR_OK) {
        *out = d.attempts;
        *count = d.count;
    }
    return err;
}

/* ---- one by its id ---- */

struct find {
    struct due due; /* its arena */
    const struct uuid *id;
    struct attempt *found;
    bool known;
};

static enum err find_run(struct verb *v)
{
    struct find *f = (struct find *)v;
    struct standing p;
    enum err err = standing_read(v, f->id, &p, &f->known);
    if (err != ERR_OK || !f->known || p.processing_status != PROCESSING_IN_PROCESSING)
        return err;
    f->found = arena_new(f->due.arena, struct attempt);
    return f->found ? due_attempt(&f->due, &p, p.user, f->found) : ERR_NO_MEMORY;
}

enum err sql_attempt(struct ledger *l, const struct uuid *payment_id, struct arena *arena,
                     struct attempt **out)
{
    struct find f = {
        .due = {.verb = {.run = find_run, .l = (struct sql_ledger *)l}, .arena = arena},
        .id = payment_id};
    enum err err = verb_do(&f.due.verb);
    if (err != ERR_OK)
        return err;
    if (!f.known)
        return ERR_NOT_FOUND;
    *out = f.found;
    return f.found ? ERR_OK : ERR_CONFLICT;
}
