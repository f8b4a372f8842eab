/* New requests of a user behind a payment: which of them become duplicates, by billing/. A request
 * that is to be asked about first may have been sent: it ends every list, and is no duplicate of
 * anything. */
#include <string.h>

#include "billing/learn.h"
#include "ledger/sql_ledger.h"

#define WAITING_CHUNK 256

struct waiting {
    int64_t seq;
    struct uuid payment_id;
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    bool ask_first;
};
struct waiting_chunk {
    struct waiting rows[WAITING_CHUNK];
    size_t count;
    bool full; /* there may be more */
};

/* Seqs in [from, below), ascending. */
static enum err chunk_read(struct verb *v, const char *user, int64_t from, int64_t below,
                           struct waiting_chunk *out)
{
    struct query q;
    out->count = 0;
    query_open(&q, v->db,
               "SELECT seq, id, payment_type, subscription_type, ask_first FROM payments "
               "WHERE user_id = ?1 AND seq >= ?2 AND seq < ?3 AND processing_status = 'new' "
               "ORDER BY seq LIMIT ?4");
    query_bind_text(&q, user);
    query_bind_i64(&q, from);
    query_bind_i64(&q, below);
    query_bind_i64(&q, WAITING_CHUNK);
    while (out->count < WAITING_CHUNK && query_next(&q))
        out->rows[out->count++] = (struct waiting){
            .seq = query_i64(&q, 0),
            .payment_id = query_uuid(&q, 1),
            .payment_type = row_payment_type(&q, 2),
            .subscription_type = row_subscription_type(&q, 3),
            .ask_first = query_i64(&q, 4) != 0,
        };
    out->full = out->count == WAITING_CHUNK;
    return query_close(&q);
}

/* Cuts the list where one is to be asked about first; those that are older than the payment are
 * passed over. */
static size_t chunk_cut(struct waiting_chunk *c, int64_t payment_seq)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (!c->rows[i].ask_first)
            c->rows[kept++] = c->rows[i];
        else if (c->rows[i].seq > payment_seq) {
            c->full = false;
            break;
        }
    }
    return kept;
}

static enum err chunk_duplicate(struct verb *v, const struct waiting_chunk *c, size_t count,
                                const struct uuid *duplicate_of)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = row_duplicate(v, c->rows[i].seq, &c->rows[i].payment_id, duplicate_of, REASON_NONE);
    return err;
}

/* The part of what waited that becomes duplicates, from the first on. */
struct prefix {
    int64_t from,
        last; /* seqs; whatever is new in [from, last], but for ask_first, is part of it */
    size_t count, in_chunk; /* in_chunk: so many of them are the first ones of the chunk at hand */
    bool more;              /* others are left */
};

/* How many of `count` requests that waited, from the first, become duplicates of p. */
typedef size_t prefix_rule(const struct standing *p, enum reason reason,
                           const struct waiting *waiting, size_t count);

/* It is a prefix, so chunk after chunk gives the same answer. c: the last chunk that was read. */
static enum err prefix_find(struct verb *v, const struct standing *p, int64_t below_seq,
                            prefix_rule *rule, enum reason reason, struct prefix *x,
                            struct waiting_chunk *c)
{
    int64_t from = x->from;
    c->full = true;
    while (c->full) {
        enum err err = chunk_read(v, p->user, from, below_seq, c);
        if (err != ERR_OK)
            return err;
        if (c->count)
            from = c->rows[c->count - 1].seq + 1;
        size_t count = chunk_cut(c, p->seq);
        x->in_chunk = rule(p, reason, c->rows, count);
        x->count += x->in_chunk;
        if (x->in_chunk)
            x->last = c->rows[x->in_chunk - 1].seq;
        x->more = x->in_chunk < count;
        c->full &= !x->more;
    }
    return ERR_OK;
}

#define PREFIX_ROWS                                                                                \
    "WHERE user_id = ?1 AND seq >= ?2 AND seq <= ?3 AND processing_status = 'new' "                \
    "AND ask_first = 0"

static void prefix_bind(struct query *q, const struct standing *p, const struct prefix *x)
{
    query_bind_text(q, p->user);
    query_bind_i64(q, x->from);
    query_bind_i64(q, x->last);
}

/* A crowd: what row_duplicate writes for each, in two statements. */
static enum err prefix_move(struct verb *v, const struct standing *p, const struct prefix *x)
{
    struct query q;
    row_move_detail(&v->l->detail, &(struct move){.duplicate_of = p->payment_id});
    if (v->l->detail.failed)
        return ERR_NO_MEMORY;
    query_open(&q, v->db,
               "INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, "
               "payment_status, detail) SELECT ?5, 'payment', id, 'processor', 'new', "
               "'duplicated', 'unknown', ?4 FROM payments " PREFIX_ROWS " ORDER BY seq");
    prefix_bind(&q, p, x);
    query_bind_text(&q, row_detail(&v->l->detail));
    query_bind_time(&q, v->now_us);
    enum err err = query_run(&q);
    if (err != ERR_OK)
        return err;
    query_open(&q, v->db,
               "UPDATE payments SET processing_status = 'duplicated', duplicate_of = ?4, "
               "reason = NULL " PREFIX_ROWS);
    prefix_bind(&q, p, x);
    query_bind_uuid(&q, &p->payment_id);
    err = query_run(&q);
    if (err == ERR_OK && db_changes(v->db) != (int64_t)x->count)
        return verb_fails(v, ERR_BUG, "what waited is not what was decided about");
    return err;
}

static enum err prefix_duplicate(struct verb *v, const struct standing *p, const struct prefix *x,
                                 const struct waiting_chunk *c)
{
    return x->count == x->in_chunk ? chunk_duplicate(v, c, x->count, &p->payment_id)
                                   : prefix_move(v, p, x);
}

static size_t rule_settled(const struct standing *p, enum reason reason,
                           const struct waiting *waiting, size_t count)
{
    enum payment_type types[WAITING_CHUNK];
    for (size_t i = 0; i < count; i++)
        types[i] = waiting[i].payment_type;
    return decide_waiting(p->payment_type, reason, types, count);
}

enum err waiting_settled(struct verb *v, const struct standing *p, enum reason reason,
                         int64_t below_seq, size_t *taken)
{
    struct waiting_chunk c;
    struct prefix x = {.from = p->pending_seq};
    if (p->pending_seq == 0)
        return ERR_OK;
    enum err err = prefix_find(v, p, below_seq, rule_settled, reason, &x, &c);
    *taken += x.count;
    return err == ERR_OK ? prefix_duplicate(v, p, &x, &c) : err;
}

static size_t rule_paged(const struct standing *p, enum reason reason,
                         const struct waiting *waiting, size_t count)
{
    struct undecided_waiting list[WAITING_CHUNK];
    (void)reason;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct undecided_waiting){waiting[i].payment_type, waiting[i].subscription_type};
    return undecided_while_pending(p->subscription_type, list, count);
}

enum err waiting_paged(struct verb *v, struct standing *p, bool duplicate, size_t *taken)
{
    struct waiting_chunk c;
    struct prefix x = {.from = p->seq + 1}; /* rule 8 speaks of newer ones */
    p->undecided.superseded = false;
    if (p->pending_seq == 0)
        return ERR_OK;
    enum err err = prefix_find(v, p, INT64_MAX, rule_paged, REASON_NONE, &x, &c);
    p->undecided.superseded = x.more;
    if (err != ERR_OK || !duplicate)
        return err;
    *taken += x.count;
    return prefix_duplicate(v, p, &x, &c);
}

enum err waiting_note(struct verb *v, const char *user)
{
    struct query q;
    query_open(&q, v->db,
               "INSERT INTO paged (user_id) SELECT a.user_id FROM accounts a "
               "JOIN attempts t ON t.seq = a.in_flight WHERE a.user_id = ?1 "
               "AND a.pending_seq IS NOT NULL AND t.pending_since IS NOT NULL "
               "ON CONFLICT (user_id) DO NOTHING");
    query_bind_text(&q, user);
    enum err err = query_run(&q);
    if (db_changes(v->db) > 0)
        v->changes |= LEDGER_CHANGE_STORED;
    return err;
}

static enum err payment_id_of(struct verb *v, int64_t seq, struct uuid *out)
{
    struct query q;
    query_open(&q, v->db, "SELECT id FROM payments WHERE seq = ?1");
    query_bind_i64(&q, seq);
    if (query_next(&q))
        *out = query_uuid(&q, 0);
    return query_close(&q);
}

static size_t rule_older(const struct standing *p, enum reason reason,
                         const struct waiting *waiting, size_t count)
{
    size_t n = 0;
    (void)reason;
    while (n < count && learn_stands_for(p->seq, waiting[n].seq, waiting[n].ask_first))
        n++;
    return n;
}

enum err waiting_older(struct verb *v, const char *user, int64_t latest_seq)
{
    struct waiting_chunk c;
    struct standing latest = {.seq = latest_seq};
    struct prefix x = {.from = 0};
    enum err err = payment_id_of(v, latest_seq, &latest.payment_id);
    memcpy(latest.user, user, sizeof latest.user);
    if (err == ERR_OK)
        err = prefix_find(v, &latest, latest_seq, rule_older, REASON_NONE, &x, &c);
    return err == ERR_OK ? prefix_duplicate(v, &latest, &x, &c) : err;
}

enum err waiting_account(struct verb *v, const char *user, int64_t from_seq)
{
    struct query q;
    int64_t first;
    enum err err = row_first(v, user, from_seq, "new", &first);
    if (err != ERR_OK)
        return err;
    query_open(&q, v->db,
               "UPDATE accounts SET version = version + 1, pending_seq = ?2, "
               "due_at = CASE WHEN in_flight IS NULL THEN ?3 ELSE due_at END WHERE user_id = ?1");
    query_bind_text(&q, user);
    row_bind_seq(&q, first);
    query_bind_time(&q, first ? v->now_us : TIME_NEVER);
    v->changes |= LEDGER_CHANGE_PAYMENT;
    if (first)
        v->changes |= LEDGER_CHANGE_STORED;
    return query_run(&q);
}
