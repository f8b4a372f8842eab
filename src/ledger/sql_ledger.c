#include "ledger/sql_ledger.h"

#include <stdio.h>
#include <string.h>

static struct sql_ledger *self(struct ledger *l)
{
    return (struct sql_ledger *)l;
}

/* ---- positions ---- */

enum err sql_reader(struct sql_ledger *l, struct db **out)
{
    l->why[0] = '\0';
    enum err err = l->engine->reader(l, out);
    if (err != ERR_OK)
        snprintf(l->why, sizeof l->why, "a reading connection: %s", err_text(err));
    return err;
}

enum err sql_read_ends(struct sql_ledger *l, struct db *db, enum err err)
{
    if (err != ERR_OK)
        snprintf(l->why, sizeof l->why, "%s", db_why(db));
    return err;
}

static enum err sql_position(struct ledger *ledger, const char *topic, int32_t partition,
                             struct ledger_position *out)
{
    struct sql_ledger *l = self(ledger);
    struct ledger_position found = {.partition = partition};
    struct query q;
    struct db *db;
    enum err err = sql_reader(l, &db);
    if (err != ERR_OK)
        return err;
    query_open(&q, db,
               "SELECT partitions, next, log_id, checksum FROM positions "
               "WHERE topic = ?1 AND partition = ?2");
    query_bind_text(&q, topic);
    query_bind_i64(&q, partition);
    bool any = query_next(&q);
    if (any) {
        found.partitions = (int32_t)query_i64(&q, 0);
        found.next = query_i64(&q, 1);
        if (!text_copy(found.log_id, sizeof found.log_id, query_text(&q, 2)))
            q.err = ERR_CORRUPT;
        found.checksum = (uint64_t)query_i64(&q, 3);
    }
    err = sql_read_ends(l, db, query_close(&q));
    if (err != ERR_OK)
        return err;
    if (!any)
        return ERR_NOT_FOUND;
    (void)text_copy(found.topic, sizeof found.topic, topic); /* its length was checked in front */
    *out = found;
    return ERR_OK;
}

struct rewind {
    struct verb verb;
    const char *topic;
    int32_t partition;
    int64_t next;
};

static enum err rewind_run(struct verb *v)
{
    struct rewind *r = (struct rewind *)v;
    struct query q;
    query_open(&q, v->db,
               "INSERT INTO positions (topic, partition, partitions, next, log_id, checksum) "
               "VALUES (?1, ?2, 0, ?3, '', 0) ON CONFLICT (topic, partition) DO UPDATE "
               "SET next = excluded.next, log_id = '', checksum = 0");
    query_bind_text(&q, r->topic);
    query_bind_i64(&q, r->partition);
    query_bind_i64(&q, r->next);
    return query_run(&q);
}

static enum err sql_rewind(struct ledger *l, const char *topic, int32_t partition, int64_t next)
{
    struct rewind r = {.verb = {.run = rewind_run, .l = self(l)},
                       .topic = topic,
                       .partition = partition,
                       .next = next};
    return verb_do(&r.verb);
}

/* ---- what is owed, and a new start ---- */

static enum err sql_counts(struct ledger *ledger, struct ledger_counts *out)
{
    struct sql_ledger *l = self(ledger);
    struct ledger_counts found = {0};
    struct query q;
    struct db *db;
    int64_t now_us = 0;
    enum err err = sql_reader(l, &db);
    if (err == ERR_OK)
        err = l->engine->now(l, &now_us);
    if (err != ERR_OK)
        return err;
    query_open(&q, db,
               "SELECT count(*), min(t.first_sent_at), "
               "(SELECT count(*) FROM payments WHERE needs_decision <> 0), "
               "(SELECT count(*) FROM events WHERE to_status IS NULL) "
               "FROM accounts a JOIN attempts t ON t.seq = a.in_flight "
               "WHERE a.in_flight IS NOT NULL");
    if (query_next(&q)) {
        int64_t oldest_us = query_time(&q, 1);
        found.undecided = query_i64(&q, 0);
        if (oldest_us != TIME_NEVER && oldest_us < now_us)
            found.undecided_oldest_us = now_us - oldest_us;
        found.needing_decision = query_i64(&q, 2);
        found.alarms = query_i64(&q, 3);
    }
    err = sql_read_ends(l, db, query_close(&q));
    if (err == ERR_OK)
        *out = found;
    return err;
}

static enum err sql_instance(struct ledger *ledger, char out[LEDGER_INSTANCE_MAX + 1])
{
    struct sql_ledger *l = self(ledger);
    char found[LEDGER_INSTANCE_MAX + 1] = "";
    struct query q;
    struct db *db;
    enum err err = sql_reader(l, &db);
    if (err != ERR_OK)
        return err;
    query_open(&q, db,
               "SELECT coalesce(max(t.instance_id), '') FROM accounts a "
               "JOIN attempts t ON t.seq = a.in_flight WHERE a.in_flight IS NOT NULL");
    if (query_next(&q) && !text_copy(found, sizeof found, query_text(&q, 0)))
        q.err = ERR_CORRUPT;
    err = sql_read_ends(l, db, query_close(&q));
    if (err == ERR_OK)
        memcpy(out, found, sizeof found);
    return err;
}

struct heartbeat {
    struct verb verb;
    const char *service;
};

static enum err heartbeat_run(struct verb *v)
{
    struct query q;
    query_open(&q, v->db,
               "INSERT INTO heartbeats (service, at) VALUES (?1, ?2) "
               "ON CONFLICT (service) DO UPDATE SET at = excluded.at");
    query_bind_text(&q, ((struct heartbeat *)v)->service);
    query_bind_time(&q, v->now_us);
    return query_run(&q);
}

static enum err sql_heartbeat(struct ledger *l, const char *service)
{
    struct heartbeat h = {.verb = {.run = heartbeat_run, .l = self(l)}, .service = service};
    return verb_do(&h.verb);
}

static enum err recover_due(struct verb *v)
{
    struct query q;
    enum err err;
    query_open(&q, v->db,
               "UPDATE accounts SET version = version + 1, due_at = ?1 "
               "WHERE in_flight IS NOT NULL AND due_at > ?1");
    query_bind_time(&q, v->now_us);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    /* Of what is asked about first; (one statement for both would read the whole table). */
    query_open(&q, v->db,
               "UPDATE accounts SET version = version + 1, due_at = ?1 "
               "WHERE in_flight IS NULL AND due_at > ?1");
    query_bind_time(&q, v->now_us);
    return query_run(&q);
}

static enum err recover_run(struct verb *v)
{
    struct query q;
    enum err err = recover_due(v);
    if (err != ERR_OK)
        return err;
    query_open(&q, v->db,
               "UPDATE attempts SET tries = 0 WHERE tries > 0 AND seq IN "
               "(SELECT in_flight FROM accounts WHERE in_flight IS NOT NULL)");
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    query_open(&q, v->db,
               "UPDATE accounts SET version = version + 1, tell_due_at = ?1 "
               "WHERE tell_due_at > ?1");
    query_bind_time(&q, v->now_us);
    return query_run(&q);
}

static enum err sql_recover(struct ledger *l)
{
    struct verb v = {
        .run = recover_run, .l = self(l), .changes = LEDGER_CHANGE_STORED | LEDGER_CHANGE_SETTLED};
    return verb_do(&v);
}

/* ---- the handle ---- */

static void sql_watch(struct ledger *l, void (*fn)(void *, unsigned), void *ctx)
{
    self(l)->engine->watch(self(l), fn, ctx);
}

static const char *sql_why(const struct ledger *l)
{
    return ((const struct sql_ledger *)l)->why;
}

static void sql_close(struct ledger *ledger)
{
    struct sql_ledger *l = self(ledger);
    str_release(&l->detail);
    l->engine->close(l);
}

const struct ledger_ops SQL_LEDGER_OPS = {
    .append = sql_append,
    .position = sql_position,
    .rewind = sql_rewind,
    .claim = sql_claim,
    .due = sql_due,
    .attempt = sql_attempt,
    .settle = sql_settle,
    .defer = sql_defer,
    .decide = sql_decide,
    .reading = sql_reading,
    .learn = sql_learn,
    .learned_all = sql_learned_all,
    .asked = sql_asked,
    .asked_unknown = sql_asked_unknown,
    .instance = sql_instance,
    .mark_restored = sql_mark_restored,
    .mark_queued = sql_mark_queued,
    .untold = sql_untold,
    .told = sql_told,
    .counts = sql_counts,
    .heartbeat = sql_heartbeat,
    .recover = sql_recover,
    .price_add = sql_price_add,
    .price_delete = sql_price_delete,
    .watch = sql_watch,
    .why = sql_why,
    .close = sql_close,
};

void sql_ledger_init(struct sql_ledger *l, const struct sql_engine *engine, struct random *random)
{
    l->base.ops = &SQL_LEDGER_OPS;
    l->engine = engine;
    l->random = random;
    str_init(&l->detail, SQL_DETAIL_MAX);
}
