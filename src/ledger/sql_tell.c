/* Whom to tell. One payment of a user at a time, the oldest first: so a user reads the outcomes in
 * their order, and what is processed while the notifier holds the user is due as soon as the
 * notifier has reported. */
#include <string.h>

#include "ledger/sql_tell.h"

static enum err untold_users(struct untold *u)
{
    struct query q;
    query_open(
        &q, u->verb.db,
        VERB_LOCKING_PLACES(&u->verb, "SELECT user_id, coalesce(tell_seq, 0)",
                            "FROM accounts WHERE tell_due_at <= ?1 ORDER BY tell_due_at LIMIT ?2",
                            "FOR UPDATE SKIP LOCKED"));
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
        row_place(&q, 2, t->place);
    }
    return query_close(&q);
}

void untold_row(struct untold *u, struct query *q)
{
    u->tellings[u->count++] = (struct telling){
        .seq = query_i64(q, 0),
        .payment_id = query_uuid(q, 1),
        .user_id = query_uuid(q, 2),
        .payment_type = row_payment_type(q, 3),
        .subscription_type = row_subscription_type(q, 4),
        .payment_status = row_payment_status(q, 5),
        .reason = row_reason(q, 6),
        .money = row_money(q, 7, 8),
        .expiration_us = query_time(q, 9),
    };
}

static enum err untold_payment(struct untold *u, const struct tell_user *t, bool *found)
{
    struct query q;
    query_open(&q, u->verb.db,
               "SELECT " UNTOLD_COLUMNS " FROM payments WHERE user_id = ?1 "
               "AND seq >= ?2 AND processing_status = 'processed' ORDER BY seq LIMIT 1");
    query_bind_text(&q, t->id);
    query_bind_i64(&q, t->tell_seq);
    *found = query_next(&q);
    if (*found)
        untold_row(u, &q);
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

static enum err untold_each(struct untold *u)
{
    struct verb *v = &u->verb;
    enum err err = ERR_OK;
    for (size_t i = 0; i < u->user_count && err == ERR_OK; i++) {
        memcpy(v->user, u->users[i].id, sizeof v->user);
        if ((err = untold_one(u, &u->users[i])) == ERR_OK)
            v->user[0] = '\0';
    }
    return err;
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
    return err == ERR_OK && u->user_count ? u->look(u) : err;
}

static void untold_reset(struct verb *v)
{
    struct untold *u = (struct untold *)v;
    u->tellings = NULL;
    u->count = u->user_count = 0;
}

enum err untold_with(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                     struct telling **out, size_t *count, enum err (*look)(struct untold *u))
{
    struct untold u = {
        .verb = {.run = untold_run, .l = (struct sql_ledger *)l, .parks_telling = true},
        .look = look,
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

enum err sql_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                    struct telling **out, size_t *count)
{
    return untold_with(l, max, lease_us, arena, out, count, untold_each);
}

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

struct move told_move(const struct told *told, enum payment_status status)
{
    return (struct move){.payment_id = &told->payment_id,
                         .actor = "notifier",
                         .from = "processed",
                         .to = "completed",
                         .status = status,
                         .notification = notification_text(told->notification)};
}

static enum err told_complete(struct tell *t, const struct told *told, int64_t seq,
                              enum payment_status status)
{
    struct move move = told_move(told, status);
    struct query q;
    query_open(&q, t->verb.db,
               "UPDATE payments SET processing_status = 'completed', notification = ?2 "
               "WHERE seq = ?1 AND processing_status = 'processed'");
    query_bind_i64(&q, seq);
    query_bind_text(&q, move.notification);
    enum err err = query_run(&q);
    if (err != ERR_OK)
        return err;
    return row_move(&t->verb, &move);
}

static enum err told_account(struct tell *t, const char *user, int64_t tell_seq)
{
    struct query q;
    int64_t next;
    enum err err = row_first(&t->verb, user, tell_seq, "processed", &next);
    if (err != ERR_OK)
        return err;
    query_open(&q, t->verb.db,
               "UPDATE accounts SET version = version + 1, tell_seq = ?2, "
               "tell_due_at = ?3 WHERE user_id = ?1");
    query_bind_text(&q, user);
    row_bind_seq(&q, next);
    query_bind_time(&q, next ? t->verb.now_us : TIME_NEVER);
    t->verb.changes |= LEDGER_CHANGE_PAYMENT;
    if (next)
        t->verb.changes |= LEDGER_CHANGE_SETTLED;
    return query_run(&q);
}

enum err told_one(struct tell *t, const struct told *told)
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

static enum err told_each(struct tell *t)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < t->count && err == ERR_OK; i++)
        err = told_one(t, &t->told[i]);
    return err;
}

static enum err told_run(struct verb *v)
{
    struct tell *t = (struct tell *)v;
    enum err err = verb_lock_payments(v, &t->told->payment_id, sizeof *t->told, t->count);
    return err == ERR_OK ? t->record(t) : err;
}

enum err told_with(struct ledger *l, const struct told *told, size_t count,
                   enum err (*record)(struct tell *t))
{
    struct tell t = {.verb = {.run = told_run, .l = (struct sql_ledger *)l},
                     .record = record,
                     .told = told,
                     .count = count};
    return verb_do(&t.verb);
}

enum err sql_told(struct ledger *l, const struct told *told, size_t count)
{
    return told_with(l, told, count, told_each);
}
