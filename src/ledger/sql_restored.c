/* Books that were restored from a backup, where the processing has no journal (rule 11): what may
 * have been sent is marked to be asked about first. */
#include <string.h>

#include "ledger/sql_ledger.h"

struct mark {
    struct verb verb;
    int64_t marked;
};

/* The embedded queue is in the same file: records that are there now, and are not stored, may have been by
 * the lost books. */
static enum err mark_queue(struct mark *m)
{
    struct query q;
    if (db_is_postgres(m->verb.db))
        return ERR_OK;
    query_open(&q, m->verb.db,
               "INSERT INTO restored (topic, partition, below) "
               "SELECT t.topic, 0, t.next FROM queue_topics t LEFT JOIN positions p "
               "ON p.topic = t.topic AND p.partition = 0 WHERE t.next > coalesce(p.next, 0) "
               "ON CONFLICT (topic, partition) DO UPDATE SET below = excluded.below");
    return query_run(&q);
}

static enum err mark_run(struct verb *v)
{
    struct mark *m = (struct mark *)v;
    struct query q;
    /* Nobody stores and nobody decides meanwhile. */
    enum err err = verb_lock_table(v, "LOCK TABLE positions, accounts IN EXCLUSIVE MODE");
    if (err != ERR_OK)
        return err;
    query_open(&q, v->db,
               "UPDATE payments SET ask_first = 1 WHERE processing_status = 'new' "
               "AND seq >= (SELECT min(pending_seq) FROM accounts)");
    err = query_run(&q);
    m->marked = db_changes(v->db);
    return err == ERR_OK ? mark_queue(m) : err;
}

enum err sql_mark_restored(struct ledger *l, int64_t *marked)
{
    struct mark m = {.verb = {.run = mark_run, .l = (struct sql_ledger *)l}};
    enum err err = verb_do(&m.verb);
    if (err == ERR_OK)
        *marked = m.marked;
    return err;
}

struct queued {
    struct verb verb;
    const char *topic;
    int32_t partition;
    int64_t next;
};

static enum err queued_run(struct verb *v)
{
    struct queued *m = (struct queued *)v;
    struct query q;
    enum err err = verb_lock_table(v, "LOCK TABLE positions IN EXCLUSIVE MODE");
    if (err != ERR_OK)
        return err;
    /* As after a rewind: a position of its own says that the saver reads it (claims look at it). */
    query_open(&q, v->db,
               "INSERT INTO positions (topic, partition, partitions, next, log_id, checksum) "
               "VALUES (?1, ?2, 0, 0, '', 0) ON CONFLICT (topic, partition) DO NOTHING");
    query_bind_text(&q, m->topic);
    query_bind_i64(&q, m->partition);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    query_open(&q, v->db,
               "INSERT INTO restored (topic, partition, below) "
               "SELECT CAST(?1 AS text), CAST(?2 AS bigint), CAST(?3 AS bigint) "
               "WHERE CAST(?3 AS bigint) > coalesce((SELECT next FROM positions "
               "WHERE topic = CAST(?1 AS text) AND partition = CAST(?2 AS bigint)), 0) "
               "ON CONFLICT (topic, partition) DO UPDATE SET below = excluded.below");
    query_bind_text(&q, m->topic);
    query_bind_i64(&q, m->partition);
    query_bind_i64(&q, m->next);
    return query_run(&q);
}

enum err sql_mark_queued(struct ledger *l, const char *topic, int32_t partition, int64_t next)
{
    struct queued m = {.verb = {.run = queued_run, .l = (struct sql_ledger *)l},
                       .topic = topic,
                       .partition = partition,
                       .next = next};
    return verb_do(&m.verb);
}

struct unmark {
    struct verb verb;
    const struct uuid *payment_id;
};

static enum err unmark_run(struct verb *v)
{
    struct standing p;
    struct query q;
    bool found;
    const struct uuid *id = ((struct unmark *)v)->payment_id;
    enum err err = verb_lock_payments(v, id, 0, 1);
    if (err == ERR_OK)
        err = standing_read(v, id, &p, &found);
    if (err != ERR_OK || !found || p.processing_status != PROCESSING_NEW || p.ask_first == 0)
        return err;
    memcpy(v->user, p.user, sizeof v->user);
    query_open(&q, v->db, "UPDATE payments SET ask_first = 0 WHERE seq = ?1");
    query_bind_i64(&q, p.seq);
    err = query_run(&q);
    return err == ERR_OK ? waiting_account(v, p.user, p.pending_seq) : err;
}

enum err sql_asked_unknown(struct ledger *l, const struct uuid *payment_id)
{
    struct unmark u = {.verb = {.run = unmark_run, .l = (struct sql_ledger *)l},
                       .payment_id = payment_id};
    return verb_do(&u.verb);
}
