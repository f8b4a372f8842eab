/* The consumer: partitions come and go (in rebalance_cb, which runs inside of kafka_read), each is read from where the
 * caller said. Whatever changes what is wanted ends in one rd_kafka_assign of all started partitions with their
 * positions; the library drops what it had fetched before. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "queue/kafka_inside.h"

#define ALONE_GROUP "subpay-alone" /* never joined: the library wants a name */
#define CLOSE_LOOK_MS 50

/* ---- partitions ---- */

static struct kafka_partition *part_of(const struct kafka_queue *q, int32_t partition)
{
    return partition >= 0 && partition < q->part_count ? &q->parts[partition] : NULL;
}

static void part_add(struct kafka_queue *q, int32_t partition)
{
    if (partition >= KAFKA_PARTITIONS_MAX) {
        q->failed = kafka_say(q, ERR_BUSY, "%s has more than %d partitions", q->topic,
                              KAFKA_PARTITIONS_MAX);
        return;
    }
    if (partition >= q->part_count)
        q->part_count = partition + 1;
    q->parts[partition].mine = true;
    q->changed = true;
}

static void part_lose(struct kafka_queue *q, int32_t partition)
{
    struct kafka_partition *p = part_of(q, partition);
    if (!p)
        return;
    p->gone |= p->told;
    p->mine = p->told = p->started = false;
    q->changed = true;
}

/* It has to be started again, from wherever the caller says then. */
static void part_ask_again(struct kafka_queue *q, struct kafka_partition *p)
{
    p->told = p->started = false;
    q->changed = q->restart = true;
}

/* What a partition has to tell; one at a time. */
static bool event_take(struct kafka_queue *q, struct queue_batch *out)
{
    for (int32_t i = 0; q->changed && i < q->part_count; i++) {
        struct kafka_partition *p = &q->parts[i];
        if (!p->gone && !(p->mine && !p->told))
            continue;
        out->event = p->gone ? QUEUE_REVOKED : QUEUE_ASSIGNED;
        out->partition = i;
        p->told = !p->gone;
        p->gone = false;
        return true;
    }
    q->changed = false;
    return false;
}

static void waiting_drop(struct kafka_queue *q)
{
    for (size_t i = 0; i < q->waiting_count; i++)
        rd_kafka_message_destroy(q->waiting[i]);
    q->waiting_count = q->waiting_bytes = 0;
}

/* librdkafka 2.0.2 aborts when an assignment changes while the change before is still on its way to the fetchers
 * (assert rktp_started). All that happens on its main thread, in order: a second answer comes after it is done. */
static void assignment_settle(rd_kafka_t *consumer)
{
    for (int i = 0; i < 2; i++) {
        rd_kafka_topic_partition_list_t *list = NULL;
        if (rd_kafka_assignment(consumer, &list) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_topic_partition_list_destroy(list);
    }
}

rd_kafka_resp_err_t kafka_assign(rd_kafka_t *consumer, const rd_kafka_topic_partition_list_t *list)
{
    assignment_settle(consumer);
    return rd_kafka_assign(consumer, list);
}

static enum err wanted_assign(struct kafka_queue *q)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(q->part_count);
    for (int32_t i = 0; i < q->part_count; i++)
        if (q->parts[i].mine && q->parts[i].started)
            rd_kafka_topic_partition_list_add(list, q->topic, i)->offset = q->parts[i].position;
    rd_kafka_resp_err_t code = kafka_assign(q->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_failed(q, code, "taking partitions");
    waiting_drop(q);
    q->restart = false;
    return ERR_OK;
}

/* All change hands at every rebalance; until they are started nothing is fetched. */
static void rebalance(rd_kafka_t *consumer, rd_kafka_resp_err_t code,
                      rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka_queue *q = opaque;
    bool assigned = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    for (int i = 0; i < list->cnt; i++)
        if (assigned)
            part_add(q, list->elems[i].partition);
        else
            part_lose(q, list->elems[i].partition);
    waiting_drop(q);
    rd_kafka_topic_partition_list_t *none = assigned ? rd_kafka_topic_partition_list_new(1) : NULL;
    code = kafka_assign(consumer, none);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        q->failed = kafka_failed(q, code, "taking partitions");
    if (none)
        rd_kafka_topic_partition_list_destroy(none);
}

/* ---- subscribe, start, watch ---- */

static void arrived(rd_kafka_t *consumer, void *opaque)
{
    (void)consumer;
    struct kafka_queue *q = opaque;
    pthread_mutex_lock(&q->lock);
    if (q->wake)
        q->wake(q->wake_ctx);
    pthread_mutex_unlock(&q->lock);
}

static void complained(rd_kafka_t *consumer, int code, const char *text, void *opaque)
{
    (void)consumer;
    kafka_complain(((struct kafka_queue *)opaque)->kafka, (rd_kafka_resp_err_t)code, text);
}

static enum err consumer_open(struct kafka_queue *q)
{
    const char *const values[][2] = {{"group.id", q->group ? q->group : ALONE_GROUP}, {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_with(q->kafka, values);
    rd_kafka_conf_set_opaque(conf, q);
    rd_kafka_conf_set_rebalance_cb(conf, rebalance);
    rd_kafka_conf_set_error_cb(conf, complained);
    q->consumer = kafka_client(RD_KAFKA_CONSUMER, conf, q->why, sizeof q->why);
    if (!q->consumer)
        return ERR_NO_MEMORY;
    (void)rd_kafka_poll_set_consumer(q->consumer);
    q->arrivals = rd_kafka_queue_get_consumer(q->consumer);
    rd_kafka_queue_cb_event_enable(q->arrivals, arrived, q);
    return ERR_OK;
}

static enum err group_join(struct kafka_queue *q, const char *topic)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(q->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? ERR_OK : kafka_failed(q, code, "joining the group");
}

enum err kafka_subscribe(struct queue *queue, const char *topic)
{
    struct kafka_queue *q = kafka_of(queue);
    assert(!q->consumer);
    const struct rd_kafka_metadata *metadata = NULL;
    enum err err = kafka_metadata(q, topic, &metadata);
    if (err != ERR_OK)
        return err;
    int32_t partitions = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    if (partitions > KAFKA_PARTITIONS_MAX)
        return kafka_say(q, ERR_BUSY, "%s has more than %d partitions", topic,
                         KAFKA_PARTITIONS_MAX);
    q->topic = strdup(topic);
    q->parts = calloc(KAFKA_PARTITIONS_MAX, sizeof *q->parts);
    q->waiting = calloc(KAFKA_SORT_MAX, sizeof(rd_kafka_message_t *));
    err = q->topic && q->parts && q->waiting ? consumer_open(q)
                                             : kafka_say(q, ERR_NO_MEMORY, "out of memory");
    if (err == ERR_OK && q->group)
        err = group_join(q, topic);
    for (int32_t i = 0; err == ERR_OK && !q->group && i < partitions; i++)
        part_add(q, i);
    if (err != ERR_OK)
        kafka_reader_close(q);
    return err;
}

enum err kafka_start(struct queue *queue, int32_t partition, int64_t offset)
{
    struct kafka_queue *q = kafka_of(queue);
    struct kafka_partition *p = part_of(q, partition);
    if (!p || !p->mine) /* lost meanwhile: QUEUE_REVOKED is on its way */
        return ERR_OK;
    assert(p->told);
    p->started = true;
    p->position = offset;
    q->restart = true;
    return ERR_OK;
}

void kafka_watch(struct queue *queue, void (*wake)(void *ctx), void *ctx)
{
    struct kafka_queue *q = kafka_of(queue);
    pthread_mutex_lock(&q->lock);
    q->wake = wake;
    q->wake_ctx = ctx;
    pthread_mutex_unlock(&q->lock);
}

bool kafka_reader_log(struct kafka_queue *q, const char *topic, int32_t partition,
                      struct queue_log *out)
{
    const struct kafka_partition *p = part_of(q, partition);
    if (!q->consumer || !p || !p->started || q->restart || q->log_id[0] == '\0' ||
        strcmp(q->topic, topic) != 0)
        return false;
    int64_t first = -1, next = -1;
    if (rd_kafka_get_watermark_offsets(q->consumer, topic, partition, &first, &next) !=
            RD_KAFKA_RESP_ERR_NO_ERROR ||
        first < 0 || next < first)
        return false; /* no answer to a fetch yet */
    out->first = first;
    out->next = next > p->position ? next : p->position;
    out->partitions = q->partitions;
    return text_copy(out->log_id, sizeof out->log_id, q->log_id);
}

/* ---- read ---- */

/* The error of a fetch or of the group. A record that cannot be read is fetched again, for ever. */
static enum err trouble_take(struct kafka_queue *q, const rd_kafka_message_t *m)
{
    struct kafka_partition *p = m->rkt ? part_of(q, m->partition) : NULL;
    const char *text = rd_kafka_message_errstr(m);
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        if (p && p->started)
            part_ask_again(q, p);
        return ERR_OK;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        return ERR_OK;
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED: /* the group takes the partitions away, too */
        kafka_complain(q->kafka, m->err, text);
        return ERR_OK;
    default:
        break;
    }
    if (p && p->started)
        q->restart = true;
    if (!p && !q->group)
        return ERR_OK; /* of a group that nobody has joined */
    enum err err = kafka_err(m->err);
    if (!p)
        return kafka_say(q, err, "%s: %s", q->topic, text);
    if (m->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        err = ERR_CORRUPT;
    return kafka_say(q, err, "%s, partition %d, offset %lld: %s", q->topic, (int)m->partition,
                     (long long)m->offset, text);
}

/* The same log as when it was started? Without asking: what the library has heard. */
static void identity_look(struct kafka_queue *q)
{
    char *cluster = q->log_id[0] ? rd_kafka_clusterid(q->consumer, 0) : NULL;
    if (cluster && strcmp(cluster, q->log_id) != 0) {
        q->log_id[0] = '\0';
        for (int32_t i = 0; i < q->part_count; i++)
            if (q->parts[i].started)
                part_ask_again(q, &q->parts[i]);
    }
    if (cluster)
        rd_kafka_mem_free(q->consumer, cluster);
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

/* false: it does not fit. */
static bool record_copy(const struct kafka_queue *q, const rd_kafka_message_t *m,
                        struct arena *arena, struct record *r)
{
    const char *key = m->key ? arena_text(arena, m->key, m->key_len) : NULL;
    const char *value = m->payload ? arena_text(arena, m->payload, m->len) : NULL;
    if ((m->key && !key) || (m->payload && !value))
        return false;
    rd_kafka_timestamp_type_t type;
    int64_t at_ms = rd_kafka_message_timestamp(m, &type);
    bool has_time =
        type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && at_ms >= 0 && at_ms <= INT64_MAX / 1000;
    *r = (struct record){.topic = q->topic,
                         .partition = m->partition,
                         .offset = m->offset,
                         .timestamp_us = has_time ? at_ms * 1000 : REQUEST_NO_TIME,
                         .key = key,
                         .key_len = key ? m->key_len : 0,
                         .value = value,
                         .value_len = value ? m->len : 0};
    return true;
}

/* Not of a partition that is being read, or fetched before it was started where it is now. */
static bool message_stale(const struct kafka_queue *q, const rd_kafka_message_t *m)
{
    const struct kafka_partition *p = part_of(q, m->partition);
    return !p || !p->started || m->offset < p->position;
}

static size_t message_bytes(const rd_kafka_message_t *m)
{
    return m->key_len + m->len;
}

/* Takes what has come, as far as there is room: fetches mix the partitions, a batch is of one. */
static void arrivals_take(struct kafka_queue *q)
{
    while (q->failed == ERR_OK && !q->restart && q->waiting_count < KAFKA_SORT_MAX &&
           q->waiting_bytes < QUEUE_READ_BYTES_MAX) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(q->consumer, 0);
        if (!m)
            return;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && !message_stale(q, m)) {
            q->waiting[q->waiting_count++] = m;
            q->waiting_bytes += message_bytes(m);
            continue;
        }
        enum err err = m->err ? trouble_take(q, m) : ERR_OK;
        rd_kafka_message_destroy(m);
        q->failed = err != ERR_OK ? err : q->failed;
    }
}

/* All that waits of the partition of the oldest, as far as it fits. */
static void records_take(struct kafka_queue *q, size_t max, struct arena *arena,
                         struct queue_batch *out)
{
    size_t bytes = 0, kept = 0;
    bool full = false;
    out->partition = q->waiting[0]->partition;
    out->records = records_room(arena, &max);
    for (size_t i = 0; i < q->waiting_count; i++) {
        rd_kafka_message_t *m = q->waiting[i];
        bool wanted = m->partition == out->partition && !full;
        full = full ||
               (wanted && (!out->records || out->count == max || bytes >= QUEUE_READ_BYTES_MAX ||
                           !record_copy(q, m, arena, &out->records[out->count])));
        if (!wanted || full) {
            q->waiting[kept++] = m;
            continue;
        }
        out->count++;
        bytes += message_bytes(m);
        rd_kafka_message_destroy(m);
    }
    q->waiting_count = kept;
    q->waiting_bytes -= bytes;
    if (out->count == 0)
        q->failed = kafka_say(q, ERR_NO_MEMORY, "a record does not fit into the reader's memory");
}

enum err kafka_read(struct queue *queue, size_t max, struct arena *arena, struct queue_batch *out)
{
    struct kafka_queue *q = kafka_of(queue);
    *out = (struct queue_batch){.event = QUEUE_NOTHING};
    if (!q->consumer || event_take(q, out))
        return ERR_OK;
    enum err err = q->restart ? wanted_assign(q) : ERR_OK;
    if (err != ERR_OK)
        return err;
    arrivals_take(q);
    identity_look(q);
    struct kafka_partition *p = q->waiting_count ? part_of(q, q->waiting[0]->partition) : NULL;
    if (p && p->started)
        records_take(q, max, arena, out);
    if (q->waiting_count > 0)
        arrived(NULL, q); /* the library tells only of what comes into an empty queue */
    if (out->count > 0) {
        out->event = QUEUE_RECORDS;
        out->next = p->position = out->records[out->count - 1].offset + 1;
        return ERR_OK;
    }
    *out = (struct queue_batch){.event = QUEUE_NOTHING};
    err = q->failed;
    q->failed = ERR_OK;
    if (err == ERR_OK)
        (void)event_take(q, out);
    return err;
}

/* ---- the end ---- */

/* Leaves the group, so that the others need not wait for the session to end. */
static void group_leave(struct kafka_queue *q)
{
    rd_kafka_queue_t *events = rd_kafka_queue_new(q->consumer);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(q->consumer, events);
    int64_t until_us = clock_boot_us(q->kafka->clock) + KAFKA_CLOSE_MS * (int64_t)1000;
    while (!error && !rd_kafka_consumer_closed(q->consumer) &&
           clock_boot_us(q->kafka->clock) < until_us) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(events, CLOSE_LOOK_MS);
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
            rebalance(q->consumer, rd_kafka_event_error(event),
                      rd_kafka_event_topic_partition_list(event), q);
        if (event)
            rd_kafka_event_destroy(event);
    }
    if (error)
        rd_kafka_error_destroy(error);
    rd_kafka_queue_destroy(events);
}

void kafka_reader_close(struct kafka_queue *q)
{
    if (q->consumer) {
        rd_kafka_queue_cb_event_enable(q->arrivals, NULL, NULL);
        waiting_drop(q);
        assignment_settle(q->consumer);
        if (q->group)
            group_leave(q);
        rd_kafka_queue_destroy(q->arrivals);
        rd_kafka_destroy_flags(q->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    free(q->topic);
    free(q->parts);
    free(q->waiting);
    q->consumer = NULL;
    q->arrivals = NULL;
    q->topic = NULL;
    q->parts = NULL;
    q->waiting = NULL;
    q->part_count = 0;
    q->changed = q->restart = false;
    q->failed = ERR_OK;
}
