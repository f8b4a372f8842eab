/* Whom to tell. One payment of a user at a time, the oldest first: so a user reads the outcomes in
 * their order, and what is processed while the notifier holds the user is due as soon as the
 * notifier has reported. */
#include <string.h>

#include "ledger/sql_ledger.h"

struct tell_user {
    char id[UUID_TEXT];
    int64_t tell_seq;
};
struct untold {
    struct verb verb;
    size_t max;
    int64_t lease_us;
    struct arena *arena; /* the caller's */
    struct tell_user *users;
    size_t user_count;
    struct telling *tellings;
    size_t count;
};

static enum err untold_users(struct untold *u)
{
    struct query q;
    query_open(&q, u->verb.db,
               "SELECT user_id, coalesce(tell_seq, 0) FROM accounts WHERE tell_due_at <= ?1 "
               "ORDER BY tell_due_at LIMIT ?2");
    query_bind_time(&q, u->verb.now_us);
    query_bind_i64(&q, (int64_t)u->max);
    while (u->user_count < u->max && query_next(&q)) {
        if (!u->users && !(u->users = arena_array(u->arena, struct tell_user, u->max))) {
            q.err = ERR_NO_MEMORY;
            break;
        }
        struct tell_user *t = &u->users[u->user_count++];
        if (!text_copy(t->id, sizeof t->id, query_text(&q, 0)))
            row_broken(&q, 0);
        t->tell_seq = query_i64(&q, 1);
    }
    return query_close(&q);
}

static enum err untold_payment(struct untold *u, const struct tell_user *t, bool *found)
{
    struct query q;
    query_open(&q, u->verb.db,
               "SELECT seq, id, user_id, payment_type, subscription_type, payment_status, reason, "
               "amount, currency, expiration_date FROM payments WHERE user_id = ?1 "
               "AND seq >= ?2 AND processing_status = 'processed' ORDER BY seq LIMIT 1");
    query_bind_text(&q, t->id);
    query_bind_i64(&q, t->tell_seq);
    *found = query_next(&q);
    if (*found)
        u->tellings[u->count++] = (struct telling){
            .seq = query_i64(&q, 0),
            .payment_id = query_uuid(&q, 1),
            .user_id = query_uuid(&q, 2),
            .payment_type = row_payment_type(&q, 3),
            .subscription_type = row_subscription_type(&q, 4),
            .payment_status = row_payment_status(&q, 5),
            .reason = row_reason(&q, 6),
            .money = row_money(&q, 7, 8),
            .expiration_us = query_time(&q, 9),
        };
    return query_close(&q);
}

static enum err untold_one(struct untold *u, const struct tell_user *t)
{
    struct query q;
    bool found;
    enum err err = untold_payment(u, t, &found);
    if (err != ERR_OK)
        return err;
    query_open(&q, u->verb.db,
               "UPDATE accounts SET version = version + 1, tell_due_at = ?2, "
               "tell_seq = CASE WHEN ?3 THEN tell_seq END WHERE user_id = ?1");
    query_bind_text(&q, t->id);
    query_bind_time(&q, found ? u->verb.now_us + u->lease_us : TIME_NEVER);
    query_bind_i64(&q, found);
    return query_run(&q);
}

static enum err untold_run(struct verb *v)
{
    struct untold *u = (struct untold *)v;
    enum err err = untold_users(u);
    if (err == ERR_OK && u->user_count) {
        u->tellings = arena_array(u->arena, struct telling, u->user_count);
        if (!u->tellings)
            err = ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < u->user_count && err == ERR_OK; i++) {
        memcpy(v->user, u->users[i].id, sizeof v->user);
        if ((err = untold_one(u, &u->users[i])) == ERR_OK)
            v->user[0] = '\0';
    }
    return err;
}

static void untold_reset(struct verb *v)
{
    struct untold *u = (struct untold *)v;
    u->tellings = NULL;
    u->count = u->user_count = 0;
}

enum err sql_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                    struct telling **out, size_t *count)
{
    struct untold u = {
        .verb = {.run = untold_run, .l = (struct sql_ledger *)l, .parks_telling = true},
        .max = max,
        .lease_us = lease_us,
        .arena = arena};
    enum err err = verb_do_list(&u.verb, untold_reset);
    if (err == ERR_OK) {
        *out = u.tellings;
        *count = u.count;
    }
    return err;
}

struct tell {
    struct verb verb;
    const struct told *told;
    size_t count;
};

static enum err told_again(struct tell *t, const char *user, int64_t pause_us)
{
    struct query q;
    query_open(&q, t->verb.db,
               "UPDATE accounts SET version = version + 1, tell_due_at = ?2 "
               "WHERE user_id = ?1 AND tell_seq IS NOT NULL");
    query_bind_text(&q, user);
    query_bind_time(&q, t->verb.now_us + pause_us);
    return query_run(&q);
}

static enum err told_complete(struct tell *t, const struct told *told, int64_t seq,
                              enum payment_status status)
{
    const char *notification = notification_text(told->notification);
    struct query q;
    query_open(&q, t->verb.db,
               "UPDATE payments SET processing_status = 'completed', notification = ?2 "
               "WHERE seq = ?1 AND processing_status = 'processed'");
    query_bind_i64(&q, seq);
    query_bind_text(&q, notification);
    enum err err = query_run(&q);
    if (err != ERR_OK)
        return err;
    return row_move(&t->verb, &(struct move){.payment_id = &told->payment_id,
                                             .actor = "notifier",
                                             .from = "processed",
                                             .to = "completed",
                                             .status = status,
                                             .notification = notification});
}

static enum err told_account(struct tell *t, const char *user, int64_t tell_seq)
{
    struct query q;
    int64_t next;
    enum err err = row_first(&t->verb, user, tell_seq, "processed", &next);
    if (err != ERR_OK)
        return err;
    query_open(&q, t->verb.db,
               "UPDATE accounts SET version = version + 1, tell_seq = nullif(?2, 0), "
               "tell_due_at = ?3 WHERE user_id = ?1");
    query_bind_text(&q, user);
    query_bind_i64(&q, next);
    query_bind_time(&q, next ? t->verb.now_us : TIME_NEVER);
    t->verb.changes |= LEDGER_CHANGE_PAYMENT;
    if (next)
        t->verb.changes |= LEDGER_CHANGE_SETTLED;
    return query_run(&q);
}

static enum err told_one(struct tell *t, const struct told *told)
{
    enum processing_status processing = PROCESSING_NEW;
    enum payment_status status = PAYMENT_UNKNOWN;
    int64_t seq = 0, tell_seq = 0;
    char user[UUID_TEXT];
    struct query q;
    query_open(&q, t->verb.db,
               "SELECT p.seq, p.user_id, p.processing_status, p.payment_status, "
               "coalesce(a.tell_seq, 0) FROM payments p JOIN accounts a "
               "ON a.user_id = p.user_id WHERE p.id = ?1");
    query_bind_uuid(&q, &told->payment_id);
    if (query_next(&q)) {
        seq = query_i64(&q, 0);
        if (!text_copy(user, sizeof user, query_text(&q, 1)))
            row_broken(&q, 1);
        processing = row_processing_status(&q, 2);
        status = row_payment_status(&q, 3);
        tell_seq = query_i64(&q, 4);
    }
    enum err err = query_close(&q);
    if (err != ERR_OK || processing != PROCESSING_PROCESSED)
        return err;
    if (told->again)
        return told_again(t, user, told->pause_us);
    if ((err = told_complete(t, told, seq, status)) != ERR_OK)
        return err;
    return told_account(t, user, tell_seq);
}

static enum err told_run(struct verb *v)
{
    struct tell *t = (struct tell *)v;
    enum err err = ERR_OK;
    for (size_t i = 0; i < t->count && err == ERR_OK; i++)
        err = told_one(t, &t->told[i]);
    return err;
}

enum err sql_told(struct ledger *l, const struct told *told, size_t count)
{
    struct tell t = {
        .verb = {.run = told_run, .l = (struct sql_ledger *)l}, .told = told, .count = count};
    return verb_do(&t.verb);
}
