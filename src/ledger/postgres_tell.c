/* Untold and told over all users at once. A user costs a touch of the account each; a payment that was
 * told, an update and an event. */
#include <string.h>

#include "ledger/postgres_rows.h"
#include "ledger/sql_tell.h"

#define TELL_SCRATCH_MAX ((size_t)4 << 20)

/* ---- untold ---- */

/* The oldest of each; rows come in the order of the users. */
static enum err untold_read(struct untold *u, struct set *users, bool *found)
{
    struct query q;
    query_open(&q, u->verb.db,
               "SELECT p.*, u.n FROM unnest(?1::uuid[], ?2::bigint[]) WITH ORDINALITY "
               "AS u (user_id, tell_seq, n) CROSS JOIN LATERAL (SELECT " UNTOLD_COLUMNS
               " FROM payments WHERE user_id = u.user_id AND seq >= u.tell_seq "
               "AND processing_status = 'processed' ORDER BY seq LIMIT 1) p ORDER BY u.n");
    set_bind(&q, users);
    while (query_next(&q) && u->count < u->user_count) {
        found[query_i64(&q, 10) - 1] = true;
        untold_row(u, &q);
    }
    return query_close(&q);
}

static enum err untold_accounts(struct untold *u, struct set *users, const bool *found)
{
    struct query q;
    set_clear(users);
    for (size_t i = 0; i < u->user_count; i++) {
        db_array_place(&users->columns[0], u->users[i].place);
        db_array_i64(&users->columns[1], found[i]);
    }
    query_open(&q, u->verb.db,
               "UPDATE accounts a SET version = version + 1, "
               "tell_due_at = CASE WHEN u.found = 1 THEN ?3::timestamptz END, "
               "tell_seq = CASE WHEN u.found = 1 THEN a.tell_seq END "
               "FROM unnest(?1::tid[], ?2::bigint[]) AS u (place, found) "
               "WHERE a.ctid = u.place");
    set_bind(&q, users);
    query_bind_time(&q, u->verb.now_us + u->lease_us);
    return set_run(&u->verb, &q, users);
}

static enum err untold_all(struct untold *u)
{
    struct set users;
    bool *found = arena_array(u->arena, bool, u->user_count);
    if (!found)
        return ERR_NO_MEMORY;
    set_init(&users, 2);
    for (size_t i = 0; i < u->user_count; i++) {
        db_array_uuid_text(&users.columns[0], u->users[i].id);
        db_array_i64(&users.columns[1], u->users[i].tell_seq);
    }
    enum err err = untold_read(u, &users, found);
    if (err == ERR_OK)
        err = untold_accounts(u, &users, found);
    set_release(&users);
    return err;
}

enum err postgres_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                         struct telling **out, size_t *count)
{
    enum err err = untold_with(l, max, lease_us, arena, out, count, untold_all);
    return postgres_blames_rows(err) ? sql_untold(l, max, lease_us, arena, out, count) : err;
}

/* ---- told ---- */

struct tell_set {
    struct tell *tell;
    const struct told **later; /* second ones about a user: one by one, behind the others */
    size_t later_count;
    struct set ids, payments, accounts;
    struct events events;
};

static void tell_account(struct tell_set *s, const char *place, int64_t tell_seq, int64_t due_at_us)
{
    db_array_place(&s->accounts.columns[0], place);
    set_seq(&s->accounts.columns[1], tell_seq);
    db_array_time(&s->accounts.columns[2], due_at_us);
}

static void tell_complete(struct tell_set *s, const struct told *told, struct query *q)
{
    struct move move = told_move(told, row_payment_status(q, 4));
    int64_t next = query_i64(q, 6);
    db_array_i64(&s->payments.columns[0], query_i64(q, 1));
    db_array_text(&s->payments.columns[1], move.notification);
    events_move(&s->events, &move);
    tell_account(s, query_text(q, 7), next, next ? s->tell->verb.now_us : TIME_NEVER);
    s->tell->verb.changes |= LEDGER_CHANGE_PAYMENT;
    if (next)
        s->tell->verb.changes |= LEDGER_CHANGE_SETTLED;
}

static void tell_row(struct tell_set *s, const struct told *told, struct query *q)
{
    int64_t tell_seq = query_i64(q, 5);
    if (row_processing_status(q, 3) != PROCESSING_PROCESSED)
        return;
    if (!told->again)
        tell_complete(s, told, q);
    else if (tell_seq)
        tell_account(s, query_text(q, 7), tell_seq, s->tell->verb.now_us + told->pause_us);
}

/* With what is to be told next, once this one was. */
static enum err tell_read(struct tell_set *s, const struct told *told, size_t count)
{
    struct query q;
    char user[UUID_TEXT] = "";
    for (size_t i = 0; i < count; i++)
        db_array_uuid(&s->ids.columns[0], &told[i].payment_id);
    query_open(&q, s->tell->verb.db,
               "SELECT u.n, p.seq, p.user_id, p.processing_status, p.payment_status, a.tell_seq, "
               "(SELECT x.seq FROM payments x WHERE x.user_id = p.user_id "
               "AND x.seq >= coalesce(a.tell_seq, 0) AND x.seq <> p.seq "
               "AND x.processing_status = 'processed' ORDER BY x.seq LIMIT 1), a.ctid "
               "FROM unnest(?1::uuid[]) WITH ORDINALITY AS u (id, n) "
               "JOIN payments p ON p.id = u.id JOIN accounts a ON a.user_id = p.user_id "
               "ORDER BY p.user_id, u.n");
    set_bind(&q, &s->ids);
    while (query_next(&q)) {
        const struct told *one = &told[query_i64(&q, 0) - 1];
        if (strcmp(user, query_text(&q, 2)) == 0)
            s->later[s->later_count++] = one;
        else if (!text_copy(user, sizeof user, query_text(&q, 2)))
            row_broken(&q, 2);
        else
            tell_row(s, one, &q);
    }
    return query_close(&q);
}

static enum err tell_write_payments(struct tell_set *s)
{
    struct query q;
    if (set_count(&s->payments) == 0)
        return ERR_OK;
    query_open(&q, s->tell->verb.db,
               "UPDATE payments p SET processing_status = 'completed', "
               "notification = u.notification "
               "FROM unnest(?1::bigint[], ?2::text[]) AS u (seq, notification) "
               "WHERE p.seq = u.seq AND p.processing_status = 'processed'");
    set_bind(&q, &s->payments);
    return set_run(&s->tell->verb, &q, &s->payments);
}

static enum err tell_write_accounts(struct tell_set *s)
{
    struct query q;
    if (set_count(&s->accounts) == 0)
        return ERR_OK;
    query_open(&q, s->tell->verb.db,
               "UPDATE accounts a SET version = version + 1, tell_seq = u.tell_seq, "
               "tell_due_at = u.due_at "
               "FROM unnest(?1::tid[], ?2::bigint[], ?3::timestamptz[]) "
               "AS u (place, tell_seq, due_at) WHERE a.ctid = u.place");
    set_bind(&q, &s->accounts);
    return set_run(&s->tell->verb, &q, &s->accounts);
}

static enum err tell_chunk(struct tell_set *s, const struct told *told, size_t count)
{
    set_clear(&s->ids);
    set_clear(&s->payments);
    set_clear(&s->accounts);
    s->later_count = 0;
    enum err err = tell_read(s, told, count);
    if (err == ERR_OK)
        err = tell_write_payments(s);
    if (err == ERR_OK)
        err = events_write(&s->tell->verb, &s->events, "notifier");
    if (err == ERR_OK)
        err = tell_write_accounts(s);
    for (size_t i = 0; i < s->later_count && err == ERR_OK; i++)
        err = told_one(s->tell, s->later[i]);
    return err;
}

static enum err tell_all(struct tell *t)
{
    struct tell_set s = {.tell = t};
    struct arena scratch;
    enum err err = ERR_OK;
    arena_init(&scratch, TELL_SCRATCH_MAX);
    s.later = arena_array(&scratch, const struct told *, POSTGRES_CHUNK);
    if (!s.later)
        err = ERR_NO_MEMORY;
    set_init(&s.ids, 1);
    set_init(&s.payments, 2);
    set_init(&s.accounts, 3);
    events_init(&s.events);
    for (size_t i = 0; i < t->count && err == ERR_OK; i += POSTGRES_CHUNK) {
        size_t left = t->count - i;
        err = tell_chunk(&s, t->told + i, left < POSTGRES_CHUNK ? left : POSTGRES_CHUNK);
    }
    events_release(&s.events);
    set_release(&s.accounts);
    set_release(&s.payments);
    set_release(&s.ids);
    arena_release(&scratch);
    return err;
}

enum err postgres_told(struct ledger *l, const struct told *told, size_t count)
{
    enum err err = told_with(l, told, count, tell_all);
    return postgres_blames_rows(err) ? sql_told(l, told, count) : err;
}
