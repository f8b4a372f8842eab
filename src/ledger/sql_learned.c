/* A reading of the journal, user by user: what it has shown so far, and what follows when it is
 * complete. */
#include <string.h>

#include "ledger/sql_ledger.h"

#define LEARNED_USERS_MAX 256 /* in one transaction */

/* ---- marks ---- */

enum err learning_rewound(struct verb *v, const char *user, int64_t latest_seq)
{
    struct query q;
    query_open(&q, v->db,
               "INSERT INTO learning (user_id, rewound, latest_seq) VALUES (?1, 1, nullif(?2, 0)) "
               "ON CONFLICT (user_id) DO UPDATE SET rewound = 1, latest_seq = "
               "coalesce(max(latest_seq, excluded.latest_seq), latest_seq, excluded.latest_seq)");
    query_bind_text(&q, user);
    query_bind_i64(&q, latest_seq);
    return query_run(&q);
}

enum err learning_holds(struct verb *v, const struct standing *p)
{
    struct query q;
    int64_t below;
    enum err err = row_next_seq(v, &below);
    if (err != ERR_OK)
        return err;
    query_open(&q, v->db,
               "INSERT INTO learning (user_id, held_seq, held_below) VALUES (?1, ?2, ?3) "
               "ON CONFLICT (user_id) DO UPDATE SET held_seq = excluded.held_seq, "
               "held_below = excluded.held_below WHERE held_seq IS NULL");
    query_bind_text(&q, p->user);
    query_bind_i64(&q, p->seq);
    query_bind_i64(&q, below);
    return query_run(&q);
}

/* ---- the end of a reading ---- */

struct learned {
    struct verb verb;
    char start[UUID_TEXT], after[UUID_TEXT]; /* done up to start; in this transaction up to after */
    char damaged[SQL_PARKED_MAX]
                [UUID_TEXT]; /* they stay as they are: nothing is decided about them */
    int damaged_count;
    bool more;
};
struct learnt_user {
    char id[UUID_TEXT];
    bool rewound;
    int64_t latest_seq, held_seq, held_below; /* 0: none */
};

static enum err learned_next(struct learned *l, struct learnt_user *u, bool *found)
{
    struct query q;
    query_open(&q, l->verb.db,
               "SELECT user_id, rewound, coalesce(latest_seq, 0), coalesce(held_seq, 0), "
               "coalesce(held_below, 0) FROM learning WHERE user_id > ?1 ORDER BY user_id LIMIT 1");
    query_bind_text(&q, l->after);
    *found = query_next(&q);
    if (*found) {
        if (!text_copy(u->id, sizeof u->id, query_text(&q, 0)))
            row_broken(&q, 0);
        u->rewound = query_i64(&q, 1) != 0;
        u->latest_seq = query_i64(&q, 2);
        u->held_seq = query_i64(&q, 3);
        u->held_below = query_i64(&q, 4);
    }
    return query_close(&q);
}

/* What was in flight before and still is: another one was sent after it, so a person had decided
 * about it. It is asked about, and not sent again. */
static enum err learned_rewound(struct learned *l, const struct learnt_user *u)
{
    struct query q;
    enum err err;
    query_open(&q, l->verb.db,
               "UPDATE attempts SET ask_only = 1 "
               "WHERE seq = (SELECT in_flight FROM accounts WHERE user_id = ?1)");
    query_bind_text(&q, u->id);
    if ((err = query_run(&q)) != ERR_OK || u->latest_seq == 0)
        return err;
    return waiting_older(&l->verb, u->id, u->latest_seq);
}

/* Rule 2, late: those that waited when it was settled. */
static enum err learned_held(struct learned *l, const struct learnt_user *u)
{
    struct standing p = {.pending_seq = 1};
    enum reason reason = REASON_NONE;
    size_t taken = 0;
    struct query q;
    query_open(&q, l->verb.db, "SELECT seq, id, payment_type, reason FROM payments WHERE seq = ?1");
    query_bind_i64(&q, u->held_seq);
    if (query_next(&q)) {
        p.seq = query_i64(&q, 0);
        p.payment_id = query_uuid(&q, 1);
        p.payment_type = row_payment_type(&q, 2);
        reason = row_reason(&q, 3);
    }
    enum err err = query_close(&q);
    memcpy(p.user, u->id, sizeof p.user);
    return err == ERR_OK ? waiting_settled(&l->verb, &p, reason, u->held_below, &taken) : err;
}

static enum err learned_user(struct learned *l, const struct learnt_user *u)
{
    struct query q;
    enum err err = ERR_OK;
    if (u->rewound)
        err = learned_rewound(l, u);
    else if (u->held_seq)
        err = learned_held(l, u);
    if (err == ERR_OK)
        err = waiting_account(&l->verb, u->id, 0);
    if (err != ERR_OK)
        return err;
    query_open(&q, l->verb.db, "DELETE FROM learning WHERE user_id = ?1");
    query_bind_text(&q, u->id);
    return query_run(&q);
}

static bool is_damaged(const struct learned *l, const char *user)
{
    for (int i = 0; i < l->damaged_count; i++)
        if (strcmp(l->damaged[i], user) == 0)
            return true;
    return false;
}

static enum err learned_run(struct verb *v)
{
    struct learned *l = (struct learned *)v;
    struct learnt_user u;
    memcpy(l->after, l->start, sizeof l->after);
    l->more = false;
    for (int users = 0; users < LEARNED_USERS_MAX; users++) {
        bool found;
        enum err err = learned_next(l, &u, &found);
        if (err != ERR_OK || !found)
            return err;
        memcpy(v->user, u.id, sizeof v->user);
        if (!is_damaged(l, u.id) && (err = learned_user(l, &u)) != ERR_OK)
            return err;
        v->user[0] = '\0';
        memcpy(l->after, u.id, sizeof l->after);
    }
    l->more = true;
    return ERR_OK;
}

static void learned_reset(struct verb *v)
{
    struct learned *l = (struct learned *)v;
    if (l->damaged_count < SQL_PARKED_MAX)
        memcpy(l->damaged[l->damaged_count++], v->user, sizeof v->user);
}

enum err sql_learned_all(struct ledger *ledger)
{
    struct learned l = {.verb = {.run = learned_run, .l = (struct sql_ledger *)ledger}};
    enum err err;
    do {
        l.verb.changes = 0;
        err = verb_do_list(&l.verb, learned_reset);
        memcpy(l.start, l.after, sizeof l.start);
    } while (err == ERR_OK && l.more);
    return err;
}
