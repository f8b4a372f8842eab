#include "audit/tables.h"

#include "base/clock.h"
#include "base/times.h"

#define LATE_US (10 * 60 * US_PER_S) /* I9 */

static const char TABLES[] =
    "CREATE TEMPORARY TABLE journal (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, payment_id TEXT, "
    "user_id TEXT, payment_type TEXT, subscription_type TEXT, refund_of TEXT, result TEXT NOT "
    "NULL, reason TEXT, transaction_id TEXT, amount INTEGER, currency TEXT, "
    "late INTEGER NOT NULL);"
    "CREATE INDEX temp.journal_key ON journal (key);"
    "CREATE INDEX temp.journal_refund_of ON journal (refund_of) WHERE refund_of IS NOT NULL;"
    "CREATE TEMPORARY TABLE instance (instance_id TEXT NOT NULL);"
    "CREATE TEMPORARY TABLE log (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
    "offset INTEGER NOT NULL, recorded_at_us INTEGER NOT NULL, payment_id TEXT, user_id TEXT, "
    "payment_type TEXT, subscription_type TEXT, readable INTEGER NOT NULL, taken INTEGER);"
    "CREATE TEMPORARY TABLE rejected (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
    "offset INTEGER NOT NULL, payment_id TEXT, PRIMARY KEY (topic, partition, offset)) "
    "WITHOUT ROWID;"
    "CREATE TEMPORARY TABLE accepted (line INTEGER PRIMARY KEY, payment_id TEXT NOT NULL);"
    "CREATE TEMPORARY TABLE heartbeat (service TEXT PRIMARY KEY, late_before TEXT NOT NULL, "
    "late_before_us INTEGER NOT NULL);";

enum err tables_make(struct db *db)
{
    return db_script(db, TABLES);
}

enum err tables_drop(struct db *db)
{
    return db_script(db, "DROP TABLE IF EXISTS temp.journal; DROP TABLE IF EXISTS temp.instance;"
                         "DROP TABLE IF EXISTS temp.log; DROP TABLE IF EXISTS temp.rejected;"
                         "DROP TABLE IF EXISTS temp.accepted;"
                         "DROP TABLE IF EXISTS temp.heartbeat;");
}

/* ---- accepted ---- */

static enum err accepted_store(void *to, const char *payment_id, int64_t line)
{
    struct query q;
    query_open(&q, to, "INSERT INTO temp.accepted (line, payment_id) VALUES (?1, ?2)");
    query_bind_i64(&q, line);
    query_bind_text(&q, payment_id);
    return query_run(&q);
}

enum err accepted_load(struct db *db, const struct accepted_source *source)
{
    if (source == NULL)
        return ERR_OK;
    enum err err = db_begin(db);
    if (err != ERR_OK)
        return err;
    err = source->read(source->ctx, accepted_store, db);
    if (err == ERR_OK)
        return db_commit(db);
    db_rollback(db);
    return err;
}

/* ---- heartbeat ---- */

static enum err heartbeat_store(struct db *db, const char *service, int64_t at_us)
{
    struct query q;
    query_open(&q, db,
               "INSERT INTO temp.heartbeat (service, late_before, late_before_us) "
               "VALUES (?1, ?2, ?3)");
    query_bind_text(&q, service);
    query_bind_time(&q, at_us - LATE_US);
    query_bind_i64(&q, at_us - LATE_US);
    return query_run(&q);
}

enum err heartbeat_load(struct db *db)
{
    struct query q;
    query_open(&q, db, "SELECT service, at FROM heartbeats");
    while (query_next(&q)) {
        int64_t at_us = query_time(&q, 1);
        enum err err = heartbeat_store(db, query_text(&q, 0), at_us);
        if (err != ERR_OK)
            q.err = err;
    }
    return query_close(&q);
}
