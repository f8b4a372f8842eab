/* The embedded queue as the audit sees it: every record through the codec of the saver. */
#include <string.h>

#include "audit/tables.h"
#include "billing/request.h"

#define PARTITION 0 /* of a topic of the embedded queue there is one */

static enum err record_store(struct db *db, const struct record *r, bool owed, bool taken)
{
    struct request request;
    bool readable = request_decode(r, &request) == REJECT_NONE;
    struct query q;
    query_open(&q, db,
               "INSERT INTO temp.log (topic, partition, offset, recorded_at_us, readable, taken, "
               "payment_id, user_id, payment_type, subscription_type) "
               "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
    query_bind_text(&q, r->topic);
    query_bind_i64(&q, r->partition);
    query_bind_i64(&q, r->offset);
    query_bind_i64(&q, r->timestamp_us);
    query_bind_i64(&q, readable);
    if (owed)
        query_bind_i64(&q, taken);
    else
        query_bind_null(&q);
    query_bind_uuid(&q, readable ? &request.payment_id : NULL);
    query_bind_uuid(&q, readable ? &request.user_id : NULL);
    query_bind_text(&q, readable ? payment_type_text(request.payment_type) : NULL);
    query_bind_text(&q, readable ? subscription_type_text(request.subscription_type) : NULL);
    return query_run(&q);
}

/* The headers say which record it was; the bytes are the original ones, so its id is too. */
static enum err rejected_store(struct db *db, struct record *r)
{
    struct request request;
    bool readable = request_decode(r, &request) == REJECT_NONE;
    struct query q;
    query_open(&q, db,
               "INSERT INTO temp.rejected (topic, partition, offset, payment_id) "
               "VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING");
    query_bind_text(&q, r->topic);
    query_bind_i64(&q, r->partition);
    query_bind_i64(&q, r->offset);
    query_bind_uuid(&q, readable ? &request.payment_id : NULL);
    return query_run(&q);
}

/* Columns: see log_load. Keys, values and texts live until the next row. */
static enum err row_take(struct db *db, struct query *q, const char *topic)
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
        return record_store(db, &r, owed, has_position && r.offset < query_i64(q, 5));
    }
    r.topic = query_text(q, 6);
    r.partition = (int32_t)query_i64(q, 7);
    r.offset = query_i64(q, 8);
    return rejected_store(db, &r);
}

enum err log_load(struct db *db, const char *topic)
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
        enum err err = row_take(db, &q, topic);
        if (err != ERR_OK)
            q.err = err;
    }
    return query_close(&q);
}
