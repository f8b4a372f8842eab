/* The queue as the audit sees it: every record through the codec of the saver. */
#include <stdio.h>
#include <string.h>

#include "audit/rows.h"
#include "audit/tables.h"
#include "billing/request.h"

#define PARTITION 0 /* of a topic of the embedded queue there is one */

struct logging {
    struct rows log, rejected;
    enum err err; /* of the database */
};

/* Each statement looks for the payments later than the position was read: what is below it is there. */
#define SQLITE_LOG                                                                                 \
    "INSERT INTO temp.log (topic, partition, offset, recorded_at_us, readable, taken, "            \
    "payment_id, user_id, payment_type, subscription_type, content, stored_user_id, "              \
    "stored_payment_type, stored_subscription_type) "                                              \
    "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, p.user_id, p.payment_type, "             \
    "p.subscription_type FROM (SELECT 1) LEFT JOIN payments p ON p.id = ?7"
#define POSTGRES_LOG                                                                               \
    "INSERT INTO pg_temp.log (topic, partition, \"offset\", recorded_at_us, readable, taken, "     \
    "payment_id, user_id, payment_type, subscription_type, content, stored_user_id, "              \
    "stored_payment_type, stored_subscription_type) "                                              \
    "SELECT l.topic, l.partition, l.place, l.recorded_at_us, l.readable, "                         \
    "CASE WHEN l.place < u.next THEN 1 ELSE l.taken END, CAST(l.payment_id AS text), "             \
    "CAST(l.user_id AS text), l.payment_type, l.subscription_type, CAST(l.content AS text), "      \
    "CAST(p.user_id AS text), p.payment_type, p.subscription_type "                                \
    "FROM unnest(?1::text[], ?2::bigint[], ?3::bigint[], ?4::bigint[], ?5::bigint[], "             \
    "?6::bigint[], ?7::uuid[], ?8::uuid[], ?9::text[], ?10::text[], ?11::uuid[]) AS l (topic, "    \
    "partition, place, recorded_at_us, readable, taken, payment_id, user_id, payment_type, "       \
    "subscription_type, content) "                                                                 \
    "LEFT JOIN pg_temp.taken_up_to u ON u.topic = l.topic AND u.partition = l.partition "          \
    "LEFT JOIN public.payments p ON p.id = l.payment_id"
#define SQLITE_REJECTED                                                                            \
    "INSERT INTO temp.rejected (topic, partition, offset, payment_id, content) "                   \
    "VALUES (?1, ?2, ?3, ?4, ?5)"
#define POSTGRES_REJECTED                                                                          \
    "INSERT INTO pg_temp.rejected (topic, partition, \"offset\", payment_id, content) "            \
    "SELECT l.topic, l.partition, l.place, CAST(l.payment_id AS text), CAST(l.content AS text) "   \
    "FROM unnest(?1::text[], ?2::bigint[], ?3::bigint[], ?4::uuid[], ?5::uuid[]) "                 \
    "AS l (topic, partition, place, payment_id, content)"

static void logging_open(struct logging *l, struct db *db)
{
    l->err = ERR_OK;
    rows_open(&l->log, db, SQLITE_LOG, POSTGRES_LOG, 11);
    rows_open(&l->rejected, db, SQLITE_REJECTED, POSTGRES_REJECTED, 5);
}

static enum err logging_close(struct logging *l, enum err of_source)
{
    enum err err = rows_close(&l->log, of_source);
    err = rows_close(&l->rejected, err);
    if (of_source == ERR_OK)
        l->err = err;
    return err;
}

/* Key and value, told apart from others by their hash. */
static void content_add(struct rows *rows, const struct record *r)
{
    const struct span parts[] = {{r->key != NULL ? r->key : "", r->key_len},
                                 {r->value != NULL ? r->value : "", r->value_len}};
    const struct uuid hash = uuid_v5_joined(&UUID_NIL, parts, 2);
    rows_uuid(rows, &hash);
}

/* taken NULL: nobody's. */
static enum err record_store(struct logging *l, const struct record *r, const bool *taken)
{
    struct request request;
    bool readable = request_decode(r, &request) == REJECT_NONE;
    struct rows *rows = &l->log;
    rows_text(rows, r->topic);
    rows_i64(rows, r->partition);
    rows_i64(rows, r->offset);
    if (r->timestamp_us != REQUEST_NO_TIME)
        rows_i64(rows, r->timestamp_us);
    else
        rows_text(rows, NULL);
    rows_i64(rows, readable);
    if (taken != NULL)
        rows_i64(rows, *taken);
    else
        rows_text(rows, NULL);
    rows_uuid(rows, readable ? &request.payment_id : NULL);
    rows_uuid(rows, readable ? &request.user_id : NULL);
    rows_text(rows, readable ? payment_type_text(request.payment_type) : NULL);
    rows_text(rows, readable ? subscription_type_text(request.subscription_type) : NULL);
    content_add(rows, r);
    return l->err = rows_next(rows);
}

/* r: as it was in `topic`, so its id is too. place NULL: where it was is not known. */
static enum err rejected_store(struct logging *l, const struct record *r, const int64_t *place)
{
    struct request request;
    bool readable = request_decode(r, &request) == REJECT_NONE;
    struct rows *rows = &l->rejected;
    rows_text(rows, r->topic);
    for (int i = 0; i < 2; i++)
        if (place != NULL)
            rows_i64(rows, place[i]);
        else
            rows_text(rows, NULL);
    rows_uuid(rows, readable ? &request.payment_id : NULL);
    content_add(rows, r);
    return l->err = rows_next(rows);
}

/* ---- the embedded queue ---- */

/* Columns: see file_log. Keys, values and texts live until the next row. */
static enum err row_take(struct logging *l, struct query *q, const char *topic)
{
    struct record r = {.topic = query_text(q, 0),
                       .partition = PARTITION,
                       .offset = query_i64(q, 1),
                       .timestamp_us = query_i64(q, 2)};
    r.key = query_blob(q, 3, &r.key_len);
    r.value = query_blob(q, 4, &r.value_len);
    if (query_is_null(q, 6)) { /* not a rejected one */
        bool has_position = !query_is_null(q, 5);
        bool owed = has_position || (topic != NULL && strcmp(topic, r.topic) == 0);
        bool taken = has_position && r.offset < query_i64(q, 5);
        return record_store(l, &r, owed ? &taken : NULL);
    }
    const int64_t place[] = {query_i64(q, 7), query_i64(q, 8)};
    r.topic = query_text(q, 6);
    r.partition = (int32_t)place[0];
    r.offset = place[1];
    return rejected_store(l, &r, place);
}

static enum err file_log(struct logging *l, struct db *db, const char *topic)
{
    struct query q;
    query_open(&q, db,
               "SELECT t.topic, r.offset, r.timestamp_us, r.key, r.value, p.next, "
               "CASE WHEN t.topic LIKE '%.rejected' THEN r.headers ->> 'topic' END, "
               "CASE WHEN t.topic LIKE '%.rejected' THEN r.headers ->> 'partition' END, "
               "CASE WHEN t.topic LIKE '%.rejected' THEN r.headers ->> 'offset' END "
               "FROM queue_topics t CROSS JOIN queue_records r ON r.topic_id = t.id "
               "LEFT JOIN positions p ON p.topic = t.topic AND p.partition = 0");
    while (query_next(&q)) {
        enum err err = row_take(l, &q, topic);
        if (err != ERR_OK)
            q.err = err;
    }
    return query_close(&q);
}

/* ---- another one ---- */

struct source_log {
    struct logging logging;
    const char *topic;
};

static enum err source_take(void *to, const struct record *record, bool rejected)
{
    struct source_log *s = to;
    struct record r = *record;
    const bool taken = false; /* the statement knows better */
    r.topic = s->topic;
    return rejected ? rejected_store(&s->logging, &r, NULL) : record_store(&s->logging, &r, &taken);
}

enum err log_load(struct db *db, struct log_load *load)
{
    struct source_log s = {.topic = load->topic};
    enum err err;
    load->readable = load->source != NULL || !db_is_postgres(db);
    if (!load->readable) {
        snprintf(load->why, sizeof load->why, "no queue is configured");
        return ERR_OK;
    }
    logging_open(&s.logging, db);
    if (load->source == NULL) {
        err = file_log(&s.logging, db, load->topic);
        return rows_close(&s.logging.rejected, rows_close(&s.logging.log, err));
    }
    err = logging_close(&s.logging, load->source->read(load->source->ctx, source_take, &s));
    if (err != ERR_OK && s.logging.err == ERR_OK) {
        const char *why = load->source->why != NULL ? load->source->why(load->source->ctx) : "";
        load->readable = false;
        snprintf(load->why, sizeof load->why, "%s", why);
    }
    return s.logging.err;
}
