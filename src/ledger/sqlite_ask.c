/* Undecided payments: whose next question is due, and when the one after it is. */
#include <string.h>

#include "ledger/sqlite_ledger.h"

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
               "SELECT user_id, in_flight FROM accounts WHERE in_flight IS NOT NULL "
               "AND due_at <= ?1 ORDER BY due_at LIMIT ?2");
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

static enum err due_attempt(struct due *d, const struct in_flight *u, struct attempt *out)
{
    struct query q;
    bool found;
    query_open(&q, d->verb.db,
               "SELECT p.id, p.user_id, p.payment_type, p.amount, p.currency, t.body, "
               "t.first_sent_at, t.tries, t.ask_only FROM payments p "
               "JOIN attempts t ON t.seq = p.seq WHERE p.seq = ?1 "
               "AND p.processing_status = 'in_processing'");
    query_bind_i64(&q, u->seq);
    found = query_next(&q);
    if (found) {
        size_t body_len;
        const char *body = query_blob(&q, 5, &body_len);
        int64_t first_us = query_time(&q, 6);
        *out = (struct attempt){
            .seq = u->seq,
            .payment_id = query_uuid(&q, 0),
            .user_id = query_uuid(&q, 1),
            .payment_type = row_payment_type(&q, 2),
            .money = row_money(&q, 3, 4),
            .body_len = body_len,
            .body = arena_text(d->arena, body ? body : "", body_len),
            .age_us = first_us < d->verb.now_us ? d->verb.now_us - first_us : 0,
            .tries = (int32_t)query_i64(&q, 7),
            .ask_only = query_i64(&q, 8) != 0,
        };
        if (!out->body)
            q.err = ERR_NO_MEMORY;
    }
    enum err err = query_close(&q);
    if (err == ERR_OK && !found)
        return verb_fails(&d->verb, ERR_CORRUPT, "nothing is known of the payment in flight");
    return err;
}

static enum err due_one(struct due *d, const struct in_flight *u, struct attempt *out)
{
    struct query q;
    enum err err = due_attempt(d, u, out);
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

enum err sqlite_due(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                    struct attempt **out, size_t *count)
{
    struct due d = {.verb = {.run = due_run, .l = (struct sqlite_ledger *)l},
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

struct defer {
    struct verb verb;
    const struct deferral *deferrals;
    size_t count;
};

static enum err defer_account(struct defer *d, const struct deferral *f, int64_t *seq)
{
    struct query q;
    query_open(&q, d->verb.db,
               "UPDATE accounts SET version = version + 1, due_at = ?2 "
               "FROM payments p WHERE p.id = ?1 AND p.processing_status = 'in_processing' "
               "AND accounts.user_id = p.user_id AND accounts.in_flight = p.seq "
               "RETURNING in_flight");
    query_bind_uuid(&q, &f->payment_id);
    query_bind_time(&q, d->verb.now_us + f->pause_us);
    *seq = query_next(&q) ? query_i64(&q, 0) : 0;
    return query_close(&q);
}

static enum err defer_one(struct defer *d, const struct deferral *f)
{
    struct query q;
    int64_t seq;
    enum err err = defer_account(d, f, &seq);
    if (err != ERR_OK || seq == 0)
        return err;
    query_open(&q, d->verb.db,
               "UPDATE attempts SET tries = tries + ?2, ask_only = max(ask_only, ?3), "
               "note = coalesce(?4, note), "
               "last_try_at = CASE WHEN ?2 THEN ?5 ELSE last_try_at END WHERE seq = ?1");
    query_bind_i64(&q, seq);
    query_bind_i64(&q, f->no_answer);
    query_bind_i64(&q, f->ask_only);
    query_bind_text(&q, f->note[0] ? f->note : NULL);
    query_bind_time(&q, d->verb.now_us);
    return query_run(&q);
}

static enum err defer_run(struct verb *v)
{
    struct defer *d = (struct defer *)v;
    enum err err = ERR_OK;
    for (size_t i = 0; i < d->count && err == ERR_OK; i++)
        err = defer_one(d, &d->deferrals[i]);
    return err;
}

enum err sqlite_defer(struct ledger *l, const struct deferral *deferrals, size_t count)
{
    struct defer d = {.verb = {.run = defer_run, .l = (struct sqlite_ledger *)l},
                      .deferrals = deferrals,
                      .count = count};
    return verb_do(&d.verb);
}
