#include "queue/local.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "queue/local_hub.h"

static struct local_queue *local_of(struct queue *q)
{
    return (struct local_queue *)q;
}

static enum err local_say(struct local_queue *q, enum err err, const char *why)
{
    q->why = why;
    return err;
}

/* What the reader connection said of it. */
static enum err local_failed(struct local_queue *q, enum err err)
{
    return local_say(q, err, err == ERR_OK ? NULL : db_why(q->reader));
}

/* ---- topics ---- */

static enum err topics_load(struct local_queue *q)
{
    struct local_topic *topics = calloc(LOCAL_QUEUE_TOPICS_MAX, sizeof *topics);
    if (!topics)
        return ERR_NO_MEMORY;
    size_t count = 0;
    struct query query;
    query_open(&query, q->reader, "SELECT id, topic FROM queue_topics ORDER BY topic");
    while (count < LOCAL_QUEUE_TOPICS_MAX && query_next(&query)) {
        topics[count].id = query_i64(&query, 0);
        if (text_copy(topics[count].name, sizeof topics[count].name, query_text(&query, 1)))
            count++;
    }
    enum err err = query_close(&query);
    struct local_topic *fitting =
        err == ERR_OK && count > 0 ? realloc(topics, count * sizeof *topics) : NULL;
    if (!fitting) {
        free(topics);
        if (err != ERR_OK)
            return local_failed(q, err);
    }
    free(q->topics);
    q->topics = fitting;
    q->topic_count = fitting ? count : 0;
    return ERR_OK;
}

static int64_t topic_find(const struct local_queue *q, const char *topic)
{
    for (size_t i = 0; i < q->topic_count; i++)
        if (strcmp(q->topics[i].name, topic) == 0)
            return q->topics[i].id;
    return 0;
}

enum err local_topic_id(struct local_queue *q, const char *topic, int64_t *id)
{
    *id = topic_find(q, topic);
    if (*id != 0)
        return ERR_OK;
    enum err err = topics_load(q);
    if (err != ERR_OK)
        return err;
    *id = topic_find(q, topic);
    return *id != 0 ? ERR_OK : local_say(q, ERR_NOT_FOUND, "there is no such topic");
}

static enum err local_topics(struct queue *queue, struct arena *arena, struct queue_topic **out,
                             size_t *count)
{
    struct local_queue *q = local_of(queue);
    enum err err = topics_load(q);
    if (err != ERR_OK)
        return err;
    struct queue_topic *topics = arena_array(arena, struct queue_topic, q->topic_count + 1);
    if (!topics)
        return local_say(q, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < q->topic_count; i++) {
        topics[i].partitions = 1;
        if (!text_copy(topics[i].topic, sizeof topics[i].topic, q->topics[i].name))
            return ERR_BUG;
    }
    *out = topics;
    *count = q->topic_count;
    return ERR_OK;
}

static const char ONLY_READS[] = "this handle only reads: another process writes the file";

static enum err local_create_topic(struct queue *queue, const char *topic, int32_t partitions)
{
    struct local_queue *q = local_of(queue);
    if (!q->hub)
        return local_say(q, ERR_LOCKED, ONLY_READS);
    if (partitions != 1)
        return local_say(q, ERR_INVALID, "a topic of the embedded queue has one partition");
    int64_t id = 0;
    enum err err = local_topic_id(q, topic, &id);
    if (err != ERR_NOT_FOUND)
        return err;
    err = local_create(q->hub, topic);
    if (err != ERR_OK)
        return local_say(q, err, err_text(err));
    err = local_topic_id(q, topic, &id);
    return err == ERR_NOT_FOUND ? local_say(q, ERR_BUSY, "there are as many topics as there may be")
                                : err;
}

static enum err local_check(struct queue *queue, const char *topic, struct queue_promise *out)
{
    int64_t id = 0;
    enum err err = local_topic_id(local_of(queue), topic, &id);
    if (err == ERR_OK)
        *out = (struct queue_promise){
            .partitions = 1, .copies = 1, .copies_min = 1, .keeps_us = TIME_NEVER};
    return err;
}

/* ---- publishing ---- */

static enum err local_publish_one(struct queue *queue, const struct queue_message *message,
                                  queue_done_fn *done, void *ctx, uint64_t token)
{
    struct local_queue *q = local_of(queue);
    if (!q->hub)
        return local_say(q, ERR_LOCKED, ONLY_READS);
    int64_t id = 0;
    enum err err = local_topic_id(q, message->topic, &id);
    if (err != ERR_OK)
        return err;
    err = local_publish(q, id, message, done, ctx, token);
    return local_say(q, err, err == ERR_OK ? NULL : err_text(err));
}

enum err local_queue_append(struct queue *queue, const struct queue_message *messages, size_t count)
{
    struct local_queue *q = local_of(queue);
    if (!q->hub)
        return local_say(q, ERR_LOCKED, ONLY_READS);
    if (count == 0)
        return ERR_OK;
    for (size_t i = 0; i < count; i++) {
        assert(messages[i].header_count == 0);
        assert(strcmp(messages[i].topic, messages[0].topic) == 0);
        if (queue_message_check(&messages[i]) != ERR_OK)
            return local_say(q, ERR_INVALID, "a record is over its limit");
    }
    int64_t id = 0;
    enum err err = local_topic_id(q, messages[0].topic, &id);
    if (err != ERR_OK)
        return err;
    err = local_append(q, id, messages, count);
    return local_say(q, err, err == ERR_OK ? NULL : err_text(err));
}

/* ---- reading ---- */

static enum err local_log(struct queue *queue, const char *topic, int32_t partition,
                          struct queue_log *out)
{
    struct local_queue *q = local_of(queue);
    if (partition != 0)
        return local_say(q, ERR_NOT_FOUND, "the topic has partition 0 only");
    struct query query;
    query_open(&query, q->reader,
               "SELECT t.log_id, t.next,"
               " (SELECT min(r.offset) FROM queue_records r WHERE r.topic_id = t.id)"
               " FROM queue_topics t WHERE t.topic = ?1");
    query_bind_text(&query, topic);
    bool found = false, fits = true;
    while (query_next(&query)) {
        found = true;
        fits = text_copy(out->log_id, sizeof out->log_id, query_text(&query, 0));
        out->next = query_i64(&query, 1);
        out->first = query_is_null(&query, 2) ? out->next : query_i64(&query, 2);
        out->partitions = 1;
    }
    enum err err = query_close(&query);
    if (err != ERR_OK)
        return local_failed(q, err);
    if (!found)
        return local_say(q, ERR_NOT_FOUND, "there is no such topic");
    return fits ? ERR_OK : local_say(q, ERR_CORRUPT, "the log's identity is too long");
}

static const char *column_bytes(struct query *query, int column, size_t *len)
{
    *len = 0;
    if (query_is_null(query, column))
        return NULL;
    const char *bytes = query_blob(query, column, len);
    return bytes ? bytes : "";
}

static enum err local_checksum(struct queue *queue, const char *topic, int32_t partition,
                               int64_t offset, uint64_t *out)
{
    struct local_queue *q = local_of(queue);
    int64_t id = 0;
    enum err err = local_topic_id(q, topic, &id);
    if (err != ERR_OK)
        return err;
    if (partition != 0)
        return local_say(q, ERR_NOT_FOUND, "the topic has partition 0 only");
    struct query query;
    query_open(&query, q->reader,
               "SELECT key, value FROM queue_records WHERE topic_id = ?1 AND offset = ?2");
    query_bind_i64(&query, id);
    query_bind_i64(&query, offset);
    bool found = false;
    while (query_next(&query)) {
        struct record record = {.topic = topic, .offset = offset};
        record.key = column_bytes(&query, 0, &record.key_len);
        record.value = column_bytes(&query, 1, &record.value_len);
        *out = queue_record_checksum(&record);
        found = true;
    }
    err = query_close(&query);
    if (err != ERR_OK)
        return local_failed(q, err);
    return found ? ERR_OK : local_say(q, ERR_NOT_FOUND, "the record is not there any more");
}

static enum err local_subscribe(struct queue *queue, const char *topic)
{
    struct local_queue *q = local_of(queue);
    assert(q->topic_id == 0);
    int64_t id = 0;
    enum err err = local_topic_id(q, topic, &id);
    if (err != ERR_OK)
        return err;
    char *name = strdup(topic);
    if (!name)
        return local_say(q, ERR_NO_MEMORY, "out of memory");
    q->topic = name;
    q->topic_id = id;
    return ERR_OK;
}

static enum err local_start(struct queue *queue, int32_t partition, int64_t offset)
{
    struct local_queue *q = local_of(queue);
    assert(q->told && partition == 0);
    q->started = true;
    q->position = offset;
    return ERR_OK;
}

/* A copy of the row in the arena; false when it does not fit. */
static bool record_copy(struct query *query, struct arena *arena, struct record *r)
{
    size_t key_len = 0, value_len = 0;
    const char *key = column_bytes(query, 2, &key_len);
    const char *value = column_bytes(query, 3, &value_len);
    const char *key_copy = key ? arena_text(arena, key, key_len) : NULL;
    const char *value_copy = value ? arena_text(arena, value, value_len) : NULL;
    if ((key && !key_copy) || (value && !value_copy))
        return false;
    r->offset = query_i64(query, 0);
    r->timestamp_us = query_i64(query, 1);
    r->key = key_copy;
    r->key_len = key_len;
    r->value = value_copy;
    r->value_len = value_len;
    return true;
}

/* How much of the arena a batch may take, so that the array of records does not starve their bytes. */
static struct record *records_room(struct arena *arena, size_t *max)
{
    struct record *records = arena_array(arena, struct record, *max);
    while (!records && *max > 1) {
        *max /= 2;
        records = arena_array(arena, struct record, *max);
    }
    return records;
}

/* Ends early at a record that does not fit into the arena, unless it is the first. */
static enum err records_take(struct local_queue *q, struct query *query, size_t max,
                             struct arena *arena, struct queue_batch *out)
{
    size_t bytes = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && out->count < max && bytes < QUEUE_READ_BYTES_MAX && query_next(query)) {
        if (!out->records)
            out->records = records_room(arena, &max);
        struct record *r = out->records ? &out->records[out->count] : NULL;
        if (!r || !record_copy(query, arena, r)) {
            err = out->count == 0 ? ERR_NO_MEMORY : ERR_BUSY;
            break;
        }
        r->topic = q->topic;
        out->count++;
        bytes += r->key_len + r->value_len;
    }
    return err == ERR_BUSY ? ERR_OK : err;
}

static enum err local_read_records(struct local_queue *q, size_t max, struct arena *arena,
                                   struct queue_batch *out)
{
    struct query query;
    query_open(&query, q->reader,
               "SELECT offset, timestamp_us, key, value FROM queue_records"
               " WHERE topic_id = ?1 AND offset >= ?2 ORDER BY offset LIMIT ?3");
    query_bind_i64(&query, q->topic_id);
    query_bind_i64(&query, q->position);
    query_bind_i64(&query, (int64_t)max);
    enum err taken = records_take(q, &query, max, arena, out);
    enum err err = query_close(&query);
    if (err != ERR_OK)
        return local_failed(q, err);
    if (taken != ERR_OK)
        return local_say(q, taken, "a record does not fit into the reader's memory");
    if (out->count == 0)
        return ERR_OK;
    out->event = QUEUE_RECORDS;
    out->next = out->records[out->count - 1].offset + 1;
    q->position = out->next;
    return ERR_OK;
}

static enum err local_read(struct queue *queue, size_t max, struct arena *arena,
                           struct queue_batch *out)
{
    struct local_queue *q = local_of(queue);
    atomic_store(&q->woken, false); /* before looking, so that nothing arrives unheard */
    *out = (struct queue_batch){.event = QUEUE_NOTHING};
    if (q->topic_id == 0)
        return ERR_OK;
    if (!q->told) {
        q->told = true;
        out->event = QUEUE_ASSIGNED;
        return ERR_OK;
    }
    return q->started ? local_read_records(q, max, arena, out) : ERR_OK;
}

/* ---- retention ---- */

/* The last record of the first bite, -1 when there is none: from the oldest on, up to the first that is too young
 * or not taken yet. */
static enum err trim_bite(struct local_queue *q, int64_t topic_id, int64_t taken,
                          int64_t older_than_us, int64_t *last, bool *more)
{
    struct query query;
    query_open(&query, q->reader,
               "SELECT offset, timestamp_us,"
               " coalesce(length(key), 0) + coalesce(length(value), 0) FROM queue_records"
               " WHERE topic_id = ?1 AND offset < ?2 ORDER BY offset LIMIT ?3");
    query_bind_i64(&query, topic_id);
    query_bind_i64(&query, taken);
    query_bind_i64(&query, LOCAL_QUEUE_TRIM_MAX + 1);
    int64_t count = 0, bytes = 0;
    *last = -1;
    *more = false;
    while (query_next(&query) && query_i64(&query, 1) < older_than_us) {
        if (count == LOCAL_QUEUE_TRIM_MAX || bytes >= LOCAL_QUEUE_TRIM_BYTES_MAX) {
            *more = true;
            break;
        }
        *last = query_i64(&query, 0);
        bytes += query_i64(&query, 2);
        count++;
    }
    return query_close(&query);
}

static enum err local_trim(struct queue *queue, const char *topic, int32_t partition, int64_t taken,
                           int64_t older_than_us, bool *more)
{
    struct local_queue *q = local_of(queue);
    if (!q->hub)
        return local_say(q, ERR_LOCKED, ONLY_READS);
    int64_t id = 0, last = -1;
    enum err err = local_topic_id(q, topic, &id);
    if (err != ERR_OK)
        return err;
    if (partition != 0)
        return local_say(q, ERR_NOT_FOUND, "the topic has partition 0 only");
    err = trim_bite(q, id, taken, older_than_us, &last, more);
    if (err != ERR_OK)
        return local_failed(q, err);
    if (last < 0)
        return ERR_OK;
    err = local_remove(q->hub, id, last);
    return local_say(q, err, err == ERR_OK ? NULL : err_text(err));
}

/* ---- the handle ---- */

static void local_watch(struct queue *queue, void (*wake)(void *ctx), void *ctx)
{
    struct local_queue *q = local_of(queue);
    if (q->hub)
        local_hub_watch(q->hub, q, wake, ctx);
}

static const char *local_why(const struct queue *queue)
{
    const struct local_queue *q = (const struct local_queue *)queue;
    return q->why ? q->why : "";
}

static void local_close(struct queue *queue)
{
    struct local_queue *q = local_of(queue);
    if (q->hub)
        local_hub_leave(q->hub, q);
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    while (q->calling > 0)
        pthread_cond_wait(&q->idle, &q->lock);
    pthread_mutex_unlock(&q->lock);
    free(q->topics);
    free(q->topic);
    local_queue_drop(q);
}

static const struct queue_ops LOCAL_OPS = {
    .publish = local_publish_one,
    .log = local_log,
    .checksum = local_checksum,
    .subscribe = local_subscribe,
    .read = local_read,
    .start = local_start,
    .trim = local_trim,
    .topics = local_topics,
    .create = local_create_topic,
    .check = local_check,
    .watch = local_watch,
    .why = local_why,
    .close = local_close,
};

enum err local_queue_open(struct queue **out, struct local_queue_hub *hub, struct db *reader)
{
    assert(reader);
    struct local_queue *q = calloc(1, sizeof *q);
    if (!q)
        return ERR_NO_MEMORY;
    q->queue.ops = &LOCAL_OPS;
    q->hub = hub;
    q->reader = reader;
    q->holders = 1;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->idle, NULL);
    enum err err = hub ? local_hub_join(hub, q) : ERR_OK;
    if (err != ERR_OK) {
        local_queue_drop(q);
        return err;
    }
    *out = &q->queue;
    return ERR_OK;
}
