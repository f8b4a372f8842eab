#include "audit/tables.h"

#include "audit/rows.h"
#include "base/clock.h"
#include "base/times.h"

#define LATE_US (10 * 60 * US_PER_S) /* I9 */

static const char SQLITE_TABLES[] =
    "CREATE TEMPORARY TABLE journal (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, payment_id TEXT, "
    "user_id TEXT, payment_type TEXT, subscription_type TEXT, refund_of TEXT, result TEXT NOT "
    "NULL, reason TEXT, transaction_id TEXT, amount INTEGER, currency TEXT, "
    "late INTEGER NOT NULL);"
    "CREATE INDEX temp.journal_key ON journal (key);"
    "CREATE INDEX temp.journal_refund_of ON journal (refund_of) WHERE refund_of IS NOT NULL;"
    "CREATE TEMPORARY VIEW whole_journal AS SELECT * FROM temp.journal;"
    "CREATE TEMPORARY TABLE instance (instance_id TEXT NOT NULL);"
    "CREATE TEMPORARY TABLE log (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
    "offset INTEGER NOT NULL, recorded_at_us INTEGER, readable INTEGER NOT NULL, taken INTEGER, "
    "payment_id TEXT, user_id TEXT, payment_type TEXT, subscription_type TEXT, content TEXT, "
    "stored_user_id TEXT, stored_payment_type TEXT, stored_subscription_type TEXT);"
    "CREATE TEMPORARY TABLE rejected (topic TEXT NOT NULL, partition INTEGER, offset INTEGER, "
    "payment_id TEXT, content TEXT NOT NULL);"
    "CREATE INDEX temp.rejected_offset ON rejected (topic, partition, offset);"
    "CREATE TEMPORARY TABLE accepted (line INTEGER PRIMARY KEY, payment_id TEXT NOT NULL, "
    "stored INTEGER NOT NULL DEFAULT 0);"
    "CREATE TEMPORARY TABLE heartbeat (service TEXT PRIMARY KEY, late_before TEXT NOT NULL, "
    "late_before_us INTEGER NOT NULL);";

/* Ids and times are texts in the stored form of SQLite, and sort like them. The first tables are of
 * the whole audit, the others of the range that is being looked at. Hash joins want more memory than
 * the server's default; compiling pays for nothing here. */
#define T "text COLLATE \"C\""
#define OF_RANGE ") ON COMMIT DELETE ROWS;"
#define JOURNAL_COLUMNS                                                                            \
    "seq bigint NOT NULL, key " T " NOT NULL, payment_id " T ", user_id " T ", payment_type " T    \
    ", subscription_type " T ", refund_of " T ", result " T " NOT NULL, reason " T                 \
    ", transaction_id " T ", amount bigint, currency " T ", late integer NOT NULL"
static const char POSTGRES_TABLES[] =
    "SET jit = off; SET work_mem = '32MB'; SET temp_buffers = '64MB';"
    "CREATE TEMPORARY TABLE whole_journal (" JOURNAL_COLUMNS ", owner uuid NOT NULL, UNIQUE (seq));"
    "CREATE TEMPORARY TABLE instance (instance_id " T " NOT NULL);"
    "CREATE TEMPORARY TABLE taken_up_to (topic " T ", partition bigint, next bigint NOT NULL, "
    "PRIMARY KEY (topic, partition));"
    "CREATE TEMPORARY TABLE log (topic " T ", partition bigint, \"offset\" bigint, "
    "recorded_at_us bigint, readable integer, taken integer, payment_id " T ", user_id " T
    ", payment_type " T ", subscription_type " T ", content " T ", stored_user_id " T
    ", stored_payment_type " T ", stored_subscription_type " T ");"
    "CREATE TEMPORARY TABLE rejected (topic " T ", partition bigint, \"offset\" bigint, "
    "payment_id " T ", content " T ");"
    "CREATE TEMPORARY TABLE accepted (line bigint PRIMARY KEY, payment_id " T
    ", stored integer NOT NULL DEFAULT 0);"
    "CREATE TEMPORARY TABLE heartbeat (service " T " PRIMARY KEY, late_before " T
    " NOT NULL, late_before_us bigint NOT NULL);"

    "CREATE TEMPORARY TABLE journal (" JOURNAL_COLUMNS OF_RANGE
    "CREATE INDEX ON pg_temp.journal (key);"
    "CREATE TEMPORARY TABLE accounts (user_id " T ", in_flight bigint, due_at " T
    ", tell_due_at " T OF_RANGE "CREATE TEMPORARY TABLE payments (seq bigint, id " T ", user_id " T
    ", payment_type " T ", subscription_type " T ", processing_status " T ", payment_status " T
    ", stored_at " T ", amount bigint, currency " T ", expiration_date " T ", duplicate_of " T
    ", refund_of " T ", reason " T ", notification " T OF_RANGE
    "CREATE TEMPORARY TABLE attempts (seq bigint, instance_id " T OF_RANGE
    "CREATE TEMPORARY TABLE subscriptions (id " T ", user_id " T ", payment_id " T
    ", subscription_type " T ", starts_at " T ", expiration_date " T ", ends_at " T
    ", end_reason " T OF_RANGE "CREATE INDEX ON pg_temp.subscriptions (payment_id);"
    "CREATE TEMPORARY TABLE events (seq bigint, subject " T ", subject_id " T ", actor " T
    ", from_status " T ", to_status " T ", payment_status " T ", detail jsonb" OF_RANGE;

enum err tables_make(struct db *db)
{
    if (db_is_postgres(db))
        return db_script(db, POSTGRES_TABLES);
    /* A reader's connection refuses every write, and the temporary tables are some. */
    enum err err = db_script(db, "PRAGMA query_only=OFF;");
    return err == ERR_OK ? db_script(db, SQLITE_TABLES) : err;
}

enum err tables_drop(struct db *db)
{
    if (db_is_postgres(db))
        return db_script(db, "DROP TABLE IF EXISTS pg_temp.whole_journal, pg_temp.instance, "
                             "pg_temp.taken_up_to, pg_temp.log, pg_temp.rejected, "
                             "pg_temp.accepted, pg_temp.heartbeat, pg_temp.journal, "
                             "pg_temp.accounts, pg_temp.payments, pg_temp.attempts, "
                             "pg_temp.subscriptions, pg_temp.events;"
                             "RESET search_path; RESET work_mem; RESET jit;");
    return db_script(db, "DROP VIEW IF EXISTS temp.whole_journal;"
                         "DROP TABLE IF EXISTS temp.journal; DROP TABLE IF EXISTS temp.instance;"
                         "DROP TABLE IF EXISTS temp.log; DROP TABLE IF EXISTS temp.rejected;"
                         "DROP TABLE IF EXISTS temp.accepted;"
                         "DROP TABLE IF EXISTS temp.heartbeat;");
}

/* ---- accepted ---- */

static enum err accepted_store(void *to, const char *payment_id, int64_t line)
{
    struct rows *rows = to;
    rows_i64(rows, line);
    rows_text(rows, payment_id);
    return rows_next(rows);
}

static enum err accepted_read(struct db *db, const struct accepted_source *source)
{
    struct rows rows;
    rows_open(&rows, db, "INSERT INTO temp.accepted (line, payment_id) VALUES (?1, ?2)",
              "INSERT INTO pg_temp.accepted (line, payment_id) "
              "SELECT * FROM unnest(?1::bigint[], ?2::text[])",
              2);
    return rows_close(&rows, source->read(source->ctx, accepted_store, &rows));
}

enum err accepted_load(struct db *db, const struct accepted_source *source)
{
    if (source == NULL)
        return ERR_OK;
    if (db_is_postgres(db))
        return accepted_read(db, source);
    enum err err = db_begin(db);
    if (err != ERR_OK)
        return err;
    err = accepted_read(db, source);
    if (err == ERR_OK)
        return db_commit(db);
    db_rollback(db);
    return err;
}

enum err accepted_mark(struct db *db)
{
    struct query q;
    query_open(&q, db,
               db_is_postgres(db)
                   ? "UPDATE pg_temp.accepted a SET stored = 1 FROM public.payments p "
                     "WHERE p.id = CAST(a.payment_id AS uuid)"
                   : "UPDATE temp.accepted SET stored = 1 "
                     "WHERE payment_id IN (SELECT id FROM payments)");
    return query_run(&q);
}

/* ---- heartbeat ---- */

static enum err heartbeat_store(struct db *db, const char *service, int64_t at_us)
{
    struct query q;
    query_open(&q, db,
               "INSERT INTO heartbeat (service, late_before, late_before_us) "
               "VALUES (?1, ?2, ?3)");
    query_bind_text(&q, service);
    query_bind_time(&q, at_us - LATE_US);
    query_bind_i64(&q, at_us - LATE_US);
    return query_run(&q);
}

static enum err positions_load(struct db *db)
{
    struct query q;
    query_open(&q, db,
               "INSERT INTO pg_temp.taken_up_to (topic, partition, next) "
               "SELECT topic, partition, next FROM public.positions");
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
    enum err err = query_close(&q);
    return err == ERR_OK && db_is_postgres(db) ? positions_load(db) : err;
}
