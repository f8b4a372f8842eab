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
               "INSERT INTO learning (user_id, rewound, latest_seq) VALUES (?1, 1, ?2) "
               "ON CONFLICT (user_id) DO UPDATE SET rewound = 1, "
               "latest_seq = greatest(learning.latest_seq, excluded.latest_seq)");
    query_bind_text(&q, user);
    row_bind_seq(&q, latest_seq);
    return query_run(&q);
}

enum err learning_holds(struct verb *v, const struct standing *p)
{
    struct query q;
    query_open(&q, v->db,
               "INSERT INTO learning (user_id, held_seq, held_below) "
               "SELECT ?1, ?2, max(seq) + 1 FROM payments WHERE user_id = ?1 "
               "ON CONFLICT (user_id) DO UPDATE SET held_seq = excluded.held_seq, "
               "held_below = excluded.held_below WHERE learning.held_seq IS NULL");
    query_bind_text(&q, p->user);
    query_bind_i64(&q, p->seq);
    return query_run(&q);
}

enum err rewound_marks(struct verb *v)
{
    const struct uuid id = uuid_v7(v->now_us, v->l->random);
    struct query q;
    query_open(&q, v->db,
               "INSERT INTO rewound (one, id, at) VALUES (1, ?1, ?2) "
               "ON CONFLICT (one) DO UPDATE SET id = excluded.id, at = excluded.at");
    query_bind_uuid(&q, &id);
    query_bind_time(&q, v->now_us);
    return query_run(&q);
}

enum err rewound_read(struct verb *v, struct uuid *out)
{
    struct query q;
    query_open(&q, v->db, "SELECT id FROM rewound");
    *out = query_next(&q) ? query_uuid(&q, 0) : UUID_NIL;
    return query_close(&q);
}

/* ---- the end of a reading ---- */

struct learned {
    struct verb verb;
    struct uuid waited, stands;              /* marks; see ledger_learned_all */
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

/* (Waits for whoever has the account: nobody comes back for a user who was passed over.) */
static enum err learned_next(struct learned *l, char user[UUID_TEXT], bool *found)
{
    struct query q;
    query_open(&q, l->verb.db,
               VERB_LOCKING(&l->verb,
                            "SELECT l.user_id FROM learning l "
                            "JOIN accounts a ON a.user_id = l.user_id "
                            "WHERE l.user_id > ?1 ORDER BY l.user_id LIMIT 1",
                            "FOR UPDATE OF a"));
    query_bind_text(&q, l->after);
    *found = query_next(&q);
    if (*found && !text_copy(user, UUID_TEXT, query_text(&q, 0)))
        row_broken(&q, 0);
    return query_close(&q);
}

/* And the mark that came with what it says. */
static enum err learned_read(struct learned *l, struct learnt_user *u, bool *found)
{
    struct query q;
    query_open(&q, l->verb.db,
               "SELECT rewound, coalesce(latest_seq, 0), coalesce(held_seq, 0), "
               "coalesce(held_below, 0), (SELECT id FROM rewound) FROM learning "
               "WHERE user_id = ?1");
    query_bind_text(&q, u->id);
    *found = query_next(&q);
    if (*found) {
        struct uuid mark = query_uuid(&q, 4);
        u->rewound = query_i64(&q, 0) != 0;
        u->latest_seq = query_i64(&q, 1);
        u->held_seq = query_i64(&q, 2);
        u->held_below = query_i64(&q, 3);
        l->stands = uuid_equal(&mark, &l->waited) ? UUID_NIL : mark;
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

/* What stays marked is looked at again after the next reading, which may show more. */
static enum err learned_user(struct learned *l, const struct learnt_user *u)
{
    bool stays = !uuid_is_nil(&l->stands);
    struct query q;
    enum err err = ERR_OK;
    if (u->rewound)
        err = learned_rewound(l, u);
    else if (u->held_seq && !stays)
        err = learned_held(l, u);
    if (err == ERR_OK)
        err = waiting_account(&l->verb, u->id, 0);
    if (err != ERR_OK || stays)
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

/* The mark goes last: until then nothing is claimed. */
static enum err learned_end(struct learned *l)
{
    struct query q;
    query_open(&q, l->verb.db, "DELETE FROM rewound WHERE id = ?1");
    query_bind_uuid(&q, &l->waited);
    enum err err = query_run(&q);
    return err == ERR_OK ? rewound_read(&l->verb, &l->stands) : err;
}

static enum err learned_run(struct verb *v)
{
    struct learned *l = (struct learned *)v;
    struct learnt_user u;
    memcpy(l->after, l->start, sizeof l->after);
    l->more = false;
    for (int users = 0; users < LEARNED_USERS_MAX; users++) {
        bool found;
        enum err err = learned_next(l, u.id, &found);
        if (err != ERR_OK)
            return err;
        if (!found)
            return learned_end(l);
        memcpy(v->user, u.id, sizeof v->user);
        err = learned_read(l, &u, &found);
        if (err == ERR_OK && found && !is_damaged(l, u.id))
            err = learned_user(l, &u);
        if (err != ERR_OK)
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

enum err sql_learned_all(struct ledger *ledger, const struct uuid *waited, struct uuid *stands)
{
    struct learned l = {.verb = {.run = learned_run, .l = (struct sql_ledger *)ledger},
                        .waited = *waited};
    const struct uuid none = UUID_NIL;
    enum err err;
    uuid_format(&none, l.start);
    do {
        l.verb.changes = 0;
        err = verb_do_list(&l.verb, learned_reset);
        memcpy(l.start, l.after, sizeof l.start);
    } while (err == ERR_OK && l.more);
    if (err == ERR_OK)
        *stands = l.stands;
    return err;
}
