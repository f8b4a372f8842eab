/* Users with newer requests behind a payment that waits for its payer (rule 8): what a claim does
 * about them. Here, and not where requests are stored: only a processor that has read the journal
 * may say that one is a duplicate, since the saver may be reading again what was sent. */
#include "ledger/sql_ledger.h"

static enum err paged_look(struct verb *v, struct standing *p, size_t *duplicated)
{
    struct query q;
    size_t taken = 0;
    enum err err = waiting_paged(v, p, true, &taken);
    *duplicated += taken;
    if (err == ERR_OK && taken)
        err = waiting_account(v, p->user, p->pending_seq);
    if (err != ERR_OK || !p->undecided.superseded)
        return err;
    query_open(&q, v->db,
               "UPDATE accounts SET version = version + 1, due_at = least(due_at, ?2) "
               "WHERE user_id = ?1");
    query_bind_text(&q, p->user);
    query_bind_time(&q, v->now_us);
    v->changes |= LEDGER_CHANGE_STORED; /* to be voided */
    return query_run(&q);
}

static enum err paged_user(struct verb *v, const struct uuid *in_flight, size_t *duplicated)
{
    struct standing p;
    struct query q;
    bool found;
    enum err err = standing_read(v, in_flight, &p, &found);
    if (err == ERR_OK && found && p.undecided.pending)
        err = paged_look(v, &p, duplicated);
    if (err != ERR_OK)
        return err;
    query_open(&q, v->db, "DELETE FROM paged WHERE user_id = ?1");
    query_bind_text(&q, v->user);
    return query_run(&q);
}

#define PAGED_USERS                                                                                \
    "SELECT w.user_id FROM paged w WHERE NOT EXISTS "                                              \
    "(SELECT 1 FROM learning l WHERE l.user_id = w.user_id) "

/* The array keeps PostgreSQL from starting at the other end, with all accounts. */
static enum err paged_next(struct verb *v, bool *found)
{
    struct query q;
    query_open(&q, v->db,
               db_is_postgres(v->db)
                   ? "SELECT user_id FROM accounts WHERE user_id = ANY (ARRAY (" PAGED_USERS
                     "LIMIT 100)) LIMIT 1 FOR UPDATE SKIP LOCKED"
                   : PAGED_USERS "LIMIT 1");
    *found = query_next(&q);
    if (*found && !text_copy(v->user, sizeof v->user, query_text(&q, 0)))
        row_broken(&q, 0);
    return query_close(&q);
}

/* A reading of the journal may have said something before the account was locked: not now, then. */
static enum err paged_in_flight(struct verb *v, struct uuid *out, bool *learning)
{
    struct query q;
    query_open(&q, v->db,
               "SELECT p.id, EXISTS (SELECT 1 FROM learning l WHERE l.user_id = a.user_id) "
               "FROM accounts a LEFT JOIN payments p ON p.seq = a.in_flight "
               "WHERE a.user_id = ?1");
    query_bind_text(&q, v->user);
    if (query_next(&q)) {
        *out = query_uuid(&q, 0);
        *learning = query_i64(&q, 1) != 0;
    }
    return query_close(&q);
}

enum err paged_claim(struct verb *v, size_t users_max, size_t *duplicated)
{
    bool found = true;
    for (size_t i = 0; i < users_max && found; i++) {
        struct uuid in_flight = UUID_NIL;
        bool learning = false;
        enum err err = paged_next(v, &found);
        if (err == ERR_OK && found)
            err = paged_in_flight(v, &in_flight, &learning);
        if (err == ERR_OK && found && !learning)
            err = paged_user(v, &in_flight, duplicated);
        if (err != ERR_OK)
            return err;
        v->user[0] = '\0';
    }
    return ERR_OK;
}
