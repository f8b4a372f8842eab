/* commits: SQLite alone, writing the rows of whole payments in the same file layout and with the same number
 * of commits per batch (queue, store, claim, settle, told), and deciding nothing. The raw limit of the
 * embedded engines.  commits FILE PAYMENTS BATCH  →  one JSON line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/db.h"
#include "base/embed.h"
#include "base/random.h"
#include "base/str.h"

static struct db *db;
static struct uuid *ids, *users;

static void must(enum err err)
{
    if (err != ERR_OK) {
        fprintf(stderr, "commits: %s: %s\n", err_text(err), db_why(db));
        exit(1);
    }
}

static void event(const struct uuid *id, const char *from, const char *to, int64_t at_us)
{
    struct query q;
    query_open(&q, db,
               "INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, "
               "payment_status)"
               " VALUES (?1, 'payment', ?2, 'bench', ?3, ?4, 'unknown')");
    query_bind_time(&q, at_us);
    query_bind_uuid(&q, id);
    query_bind_text(&q, from);
    query_bind_text(&q, to);
    must(query_run(&q));
}

static void enqueue(int64_t i, int64_t at_us)
{
    static const char VALUE[] = "{\"payment_id\":\"00000000-0000-0000-0000-000000000000\",\"user_"
                                "id\":\"00000000-0000-0000-0000-"
                                "000000000000\",\"payment_type\":\"payment\",\"subscription_type\":"
                                "\"month\",\"requested_at\":"
                                "\"2026-01-01T00:00:00.000000Z\"}";
    struct query q;
    query_open(&q, db,
               "INSERT INTO queue_records (topic_id, offset, timestamp_us, key, value)"
               " VALUES (1, ?1, ?2, ?3, ?4)");
    query_bind_i64(&q, i);
    query_bind_i64(&q, at_us);
    query_bind_blob(&q, &users[i], sizeof users[i]);
    query_bind_blob(&q, VALUE, sizeof VALUE - 1);
    must(query_run(&q));
}

static void store(int64_t i, int64_t at_us)
{
    struct query q;
    query_open(
        &q, db,
        "INSERT INTO accounts (user_id, version, pending_seq, due_at) VALUES (?1, 1, ?2, ?3)");
    query_bind_uuid(&q, &users[i]);
    query_bind_i64(&q, i + 1);
    query_bind_time(&q, at_us);
    must(query_run(&q));
    query_open(
        &q, db,
        "INSERT INTO payments (seq, id, user_id, payment_type, subscription_type, payment_date,"
        " stored_at, recorded_at, amount, currency)"
        " VALUES (?1, ?2, ?3, 'payment', 'month', ?4, ?4, ?4, 39900, 'RUB')");
    query_bind_i64(&q, i + 1);
    query_bind_uuid(&q, &ids[i]);
    query_bind_uuid(&q, &users[i]);
    query_bind_time(&q, at_us);
    must(query_run(&q));
    event(&ids[i], NULL, "new", at_us);
}

static void claim(int64_t i, int64_t at_us)
{
    struct query q;
    query_open(&q, db,
               "UPDATE accounts SET version = version + 1, in_flight = ?2, pending_seq = NULL,"
               " due_at = ?3 WHERE user_id = ?1");
    query_bind_uuid(&q, &users[i]);
    query_bind_i64(&q, i + 1);
    query_bind_time(&q, at_us + US_PER_S);
    must(query_run(&q));
    query_open(&q, db, "UPDATE payments SET processing_status = 'in_processing' WHERE seq = ?1");
    query_bind_i64(&q, i + 1);
    must(query_run(&q));
    query_open(&q, db, "INSERT INTO attempts (seq, body, first_sent_at) VALUES (?1, ?2, ?3)");
    query_bind_i64(&q, i + 1);
    query_bind_text(
        &q, "{\"payment_id\":\"00000000-0000-0000-0000-000000000000\",\"user_id\":\"00000000-0000-"
            "0000-0000-000000000000\",\"payment_type\":\"payment\",\"subscription_type\":\"month\","
            "\"requested_at\":\"2026-01-01T00:00:00Z\",\"amount\":39900,\"currency\":\"RUB\"}");
    query_bind_time(&q, at_us);
    must(query_run(&q));
    event(&ids[i], "new", "in_processing", at_us);
}

static void settle(int64_t i, int64_t at_us)
{
    struct query q;
    query_open(&q, db,
               "UPDATE payments SET processing_status = 'processed', payment_status = 'accepted',"
               " expiration_date = ?2 WHERE seq = ?1");
    query_bind_i64(&q, i + 1);
    query_bind_time(&q, at_us + 30 * US_PER_DAY);
    must(query_run(&q));
    query_open(&q, db,
               "INSERT INTO subscriptions (id, user_id, payment_id, subscription_type, starts_at,"
               " expiration_date, ends_at) VALUES (?1, ?2, ?1, 'month', ?3, ?4, ?4)");
    query_bind_uuid(&q, &ids[i]);
    query_bind_uuid(&q, &users[i]);
    query_bind_time(&q, at_us);
    query_bind_time(&q, at_us + 30 * US_PER_DAY);
    must(query_run(&q));
    query_open(
        &q, db,
        "UPDATE accounts SET version = version + 1, in_flight = NULL, due_at = NULL, tell_seq ="
        " ?2, tell_due_at = ?3, active_from = ?3, active_until = ?4 WHERE user_id = ?1");
    query_bind_uuid(&q, &users[i]);
    query_bind_i64(&q, i + 1);
    query_bind_time(&q, at_us);
    query_bind_time(&q, at_us + 30 * US_PER_DAY);
    must(query_run(&q));
    event(&ids[i], "in_processing", "processed", at_us);
    event(&ids[i], NULL, "active", at_us);
}

static void told(int64_t i, int64_t at_us)
{
    struct query q;
    query_open(&q, db,
               "UPDATE payments SET processing_status = 'completed', notification = 'delivered'"
               " WHERE seq = ?1");
    query_bind_i64(&q, i + 1);
    must(query_run(&q));
    query_open(&q, db,
               "UPDATE accounts SET version = version + 1, tell_seq = NULL, tell_due_at = NULL"
               " WHERE user_id = ?1");
    query_bind_uuid(&q, &users[i]);
    must(query_run(&q));
    event(&ids[i], "processed", "completed", at_us);
}

int main(int argc, char **argv)
{
    static void (*const STEPS[])(int64_t, int64_t) = {enqueue, store, claim, settle, told};
    int64_t payments, batch;
    char why[200];
    if (argc != 4 || !text_i64(argv[2], 1, 10000000, &payments) ||
        !text_i64(argv[3], 1, 10000, &batch)) {
        fprintf(stderr, "usage: commits FILE PAYMENTS BATCH\n");
        return 2;
    }
    must(db_open(&db, argv[1], DB_WRITE, why, sizeof why));
    for (size_t i = 0; i < SQLITE_MIGRATION_FILES_COUNT; i++)
        if (strstr(SQLITE_MIGRATION_FILES[i].name, ".up.sql"))
            must(db_script(db, SQLITE_MIGRATION_FILES[i].data));
    must(db_script(db,
                   "INSERT INTO queue_topics (id, topic, log_id) VALUES (1, 'payments', 'bench')"));
    ids = calloc((size_t)payments, sizeof *ids);
    users = calloc((size_t)payments, sizeof *users);
    int64_t wall_us = clock_wall_us(clock_real()), start_us = clock_boot_us(clock_real());
    for (int64_t i = 0; i < payments; i++) {
        ids[i] = uuid_v7(wall_us, random_real());
        users[i] = uuid_v7(wall_us, random_real());
    }
    start_us = clock_boot_us(clock_real());
    for (int64_t from = 0; from < payments; from += batch) {
        int64_t to = from + batch < payments ? from + batch : payments;
        for (size_t step = 0; step < sizeof STEPS / sizeof *STEPS; step++) {
            must(db_begin(db));
            for (int64_t i = from; i < to; i++)
                STEPS[step](i, clock_wall_us(clock_real()));
            must(db_commit(db));
        }
    }
    double seconds = (double)(clock_boot_us(clock_real()) - start_us) / 1e6;
    printf("{\"payments\": %lld, \"batch\": %lld, \"seconds\": %.3f, \"per_second\": %.0f}\n",
           (long long)payments, (long long)batch, seconds, (double)payments / seconds);
    db_close(db);
    return 0;
}
