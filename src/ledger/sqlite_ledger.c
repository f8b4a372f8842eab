#include "ledger/sqlite_ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static struct sqlite_ledger *self(struct ledger *l)
{
    return (struct sqlite_ledger *)l;
}

/* ---- running a verb ---- */

static void verb_explain(struct verb *v, enum err err)
{
    struct sqlite_ledger *l = v->l;
    const char *said = db_why(v->db);
    if (l->why[0] != '\0')
        return;
    if (!said || said[0] == '\0' || err == ERR_MOVED || err == ERR_REFUSED || err == ERR_NO_MEMORY)
        said = err_text(err);
    snprintf(l->why, sizeof l->why, "%s%s%s", v->user, v->user[0] ? ": " : "", said);
}

enum err verb_fails(struct verb *v, enum err err, const char *why)
{
    snprintf(v->l->why, sizeof v->l->why, "%s%s%s", v->user, v->user[0] ? ": " : "", why);
    return err;
}

/* In the writer's thread: what SQLite says of a failure has to be copied before the next closure
 * runs. */
static enum err verb_run(struct db *db, void *arg)
{
    struct verb *v = arg;
    v->db = db;
    v->now_us = clock_wall_us(embedded_clock(v->l->store));
    enum err err = v->run(v);
    if (err != ERR_OK)
        verb_explain(v, err);
    return err;
}

enum err verb_do(struct verb *v)
{
    v->l->why[0] = '\0';
    enum err err = writer_do(embedded_writer(v->l->store), verb_run, v);
    if (err == ERR_OK) {
        if (v->changes)
            embedded_changed(v->l->store, v->changes);
    } else if (v->l->why[0] == '\0') { /* the commit failed, or the writer has stopped */
        snprintf(v->l->why, sizeof v->l->why, "%s", err_text(err));
    }
    return err;
}

/* ---- a user whose rows are damaged ---- */

struct park {
    struct verb verb;
    char user[UUID_TEXT];
    char why[SQLITE_WHY_MAX];
    bool telling;
};

static enum err park_subject(struct verb *v, const char *user, char *out, size_t cap)
{
    struct query q;
    query_open(&q, v->db,
               "SELECT p.id FROM accounts a JOIN payments p ON p.user_id = a.user_id "
               "AND p.seq >= coalesce(a.in_flight, a.pending_seq, a.tell_seq, 0) "
               "WHERE a.user_id = ?1 ORDER BY p.seq LIMIT 1");
    query_bind_text(&q, user);
    if (!query_next(&q) || !text_copy(out, cap, query_text(&q, 0)))
        (void)text_copy(out, cap, user);
    return query_close(&q);
}

static enum err park_run(struct verb *v)
{
    struct park *p = (struct park *)v;
    struct query q;
    char subject[UUID_TEXT];
    enum err err;
    if (p->telling)
        query_open(
            &q, v->db,
            "UPDATE accounts SET version = version + 1, tell_due_at = ?2 WHERE user_id = ?1");
    else
        query_open(&q, v->db,
                   "UPDATE accounts SET version = version + 1, due_at = ?2 WHERE user_id = ?1");
    query_bind_text(&q, p->user);
    query_bind_time(&q, v->now_us + SQLITE_PARK_US);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    query_open(&q, v->db, "DELETE FROM paged WHERE user_id = ?1");
    query_bind_text(&q, p->user);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    if ((err = park_subject(v, p->user, subject, sizeof subject)) != ERR_OK)
        return err;
    struct str *out = &v->l->detail;
    str_clear(out);
    json_open(out, '{');
    json_put_text(out, "alarm", "damaged");
    json_put_text(out, "user_id", p->user);
    json_put_text(out, "note", p->why);
    json_close(out, '}');
    return row_alarm(v, subject, p->telling ? "notifier" : "processor");
}

/* May these rows be the reason, rather than the disk, the memory or the shutdown? */
static bool blames_rows(enum err err)
{
    return err == ERR_CORRUPT || err == ERR_CONFLICT || err == ERR_BUG;
}

enum err verb_do_list(struct verb *v, void (*reset)(struct verb *v))
{
    enum err err = verb_do(v);
    for (int parked = 0; parked < SQLITE_PARKED_MAX; parked++) {
        struct park p = {.verb = {.run = park_run, .l = v->l}, .telling = v->parks_telling};
        if (!blames_rows(err) || v->user[0] == '\0')
            return err;
        memcpy(p.user, v->user, sizeof p.user);
        snprintf(p.why, sizeof p.why, "%s", v->l->why);
        enum err parking = verb_do(&p.verb);
        if (parking != ERR_OK) {
            snprintf(v->l->why, sizeof v->l->why, "%s", p.why);
            return err;
        }
        reset(v);
        v->user[0] = '\0';
        v->changes = 0;
        err = verb_do(v);
        if (err == ERR_OK) /* the alarm's text stays for who asks */
            snprintf(v->l->why, sizeof v->l->why, "%s", p.why);
    }
    return err;
}

/* ---- positions ---- */

enum err sqlite_reader(struct sqlite_ledger *l, struct db **out)
{
    l->why[0] = '\0';
    if (!l->reader) {
        enum err err = embedded_reader(l->store, &l->reader);
        if (err != ERR_OK) {
            snprintf(l->why, sizeof l->why, "a reading connection: %s", err_text(err));
            return err;
        }
    }
    *out = l->reader;
    return ERR_OK;
}

enum err sqlite_read_ends(struct sqlite_ledger *l, struct db *db, enum err err)
{
    if (err != ERR_OK)
        snprintf(l->why, sizeof l->why, "%s", db_why(db));
    return err;
}

static enum err sqlite_position(struct ledger *ledger, const char *topic, int32_t partition,
                                struct ledger_position *out)
{
    struct sqlite_ledger *l = self(ledger);
    struct ledger_position found = {.partition = partition};
    struct query q;
    struct db *db;
    enum err err = sqlite_reader(l, &db);
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
    err = sqlite_read_ends(l, db, query_close(&q));
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

static enum err sqlite_rewind(struct ledger *l, const char *topic, int32_t partition, int64_t next)
{
    struct rewind r = {.verb = {.run = rewind_run, .l = self(l)},
                       .topic = topic,
                       .partition = partition,
                       .next = next};
    return verb_do(&r.verb);
}

/* ---- what is owed, and a new start ---- */

static enum err sqlite_counts(struct ledger *ledger, struct ledger_counts *out)
{
    struct sqlite_ledger *l = self(ledger);
    struct ledger_counts found = {0};
    struct query q;
    struct db *db;
    enum err err = sqlite_reader(l, &db);
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
        int64_t now_us = clock_wall_us(embedded_clock(l->store));
        found.undecided = query_i64(&q, 0);
        if (oldest_us != TIME_NEVER && oldest_us < now_us)
            found.undecided_oldest_us = now_us - oldest_us;
        found.needing_decision = query_i64(&q, 2);
        found.alarms = query_i64(&q, 3);
    }
    err = sqlite_read_ends(l, db, query_close(&q));
    if (err == ERR_OK)
        *out = found;
    return err;
}

static enum err sqlite_instance(struct ledger *ledger, char out[LEDGER_INSTANCE_MAX + 1])
{
    struct sqlite_ledger *l = self(ledger);
    char found[LEDGER_INSTANCE_MAX + 1] = "";
    struct query q;
    struct db *db;
    enum err err = sqlite_reader(l, &db);
    if (err != ERR_OK)
        return err;
    query_open(&q, db,
               "SELECT coalesce(max(t.instance_id), '') FROM accounts a "
               "JOIN attempts t ON t.seq = a.in_flight WHERE a.in_flight IS NOT NULL");
    if (query_next(&q) && !text_copy(found, sizeof found, query_text(&q, 0)))
        q.err = ERR_CORRUPT;
    err = sqlite_read_ends(l, db, query_close(&q));
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

static enum err sqlite_heartbeat(struct ledger *l, const char *service)
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

static enum err sqlite_recover(struct ledger *l)
{
    struct verb v = {
        .run = recover_run, .l = self(l), .changes = LEDGER_CHANGE_STORED | LEDGER_CHANGE_SETTLED};
    return verb_do(&v);
}

/* ---- the handle ---- */

static void sqlite_watch(struct ledger *l, void (*fn)(void *, unsigned), void *ctx)
{
    embedded_set_watch(self(l)->store, self(l), fn, ctx);
}

static const char *sqlite_why(const struct ledger *l)
{
    return ((const struct sqlite_ledger *)l)->why;
}

static void sqlite_close(struct ledger *ledger)
{
    struct sqlite_ledger *l = self(ledger);
    embedded_leave(l->store, l);
    if (l->reader)
        embedded_reader_close(l->store, l->reader);
    str_release(&l->detail);
    free(l);
}

static const struct ledger_ops SQLITE_LEDGER_OPS = {
    .append = sqlite_append,
    .position = sqlite_position,
    .rewind = sqlite_rewind,
    .claim = sqlite_claim,
    .due = sqlite_due,
    .attempt = sqlite_attempt,
    .settle = sqlite_settle,
    .defer = sqlite_defer,
    .decide = sqlite_decide,
    .journal_position = sqlite_journal_position,
    .learn = sqlite_learn,
    .learned_all = sqlite_learned_all,
    .asked = sqlite_asked,
    .asked_unknown = sqlite_asked_unknown,
    .instance = sqlite_instance,
    .mark_restored = sqlite_mark_restored,
    .untold = sqlite_untold,
    .told = sqlite_told,
    .counts = sqlite_counts,
    .heartbeat = sqlite_heartbeat,
    .recover = sqlite_recover,
    .price_add = sqlite_price_add,
    .price_delete = sqlite_price_delete,
    .watch = sqlite_watch,
    .why = sqlite_why,
    .close = sqlite_close,
};

enum err sqlite_ledger_open(struct ledger **out, struct embedded *e)
{
    struct sqlite_ledger *l = calloc(1, sizeof *l);
    if (!l)
        return ERR_NO_MEMORY;
    l->base.ops = &SQLITE_LEDGER_OPS;
    l->store = e;
    str_init(&l->detail, SQLITE_DETAIL_MAX);
    embedded_join(e, l);
    *out = &l->base;
    return ERR_OK;
}
