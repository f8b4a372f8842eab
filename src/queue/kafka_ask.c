/* Questions to the brokers: each waits for a bounded time, and after one that was not answered there is a rest. */
#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "queue/kafka_inside.h"

#define LOOKER_GROUP "subpay-look"
#define LEADER_LOOK_MS 20

static int64_t now_us(const struct kafka_queue *q)
{
    return clock_boot_us(q->kafka->clock);
}

enum err kafka_ask_begin(struct kafka_queue *q, int *timeout_ms)
{
    struct kafka *k = q->kafka;
    pthread_mutex_lock(&k->lock);
    bool may = !k->silent || now_us(q) >= k->ask_boot_us;
    *timeout_ms = k->silent ? KAFKA_ASK_SILENT_MS : KAFKA_ASK_MS;
    pthread_mutex_unlock(&k->lock);
    return may ? ERR_OK : kafka_failed(q, RD_KAFKA_RESP_ERR__TIMED_OUT, "asking the brokers");
}

void kafka_ask_end(struct kafka_queue *q, rd_kafka_resp_err_t code)
{
    struct kafka *k = q->kafka;
    if (code >= RD_KAFKA_RESP_ERR_UNKNOWN || kafka_err(code) != ERR_UNREACHABLE) {
        kafka_heard(k); /* the codes of brokers are not below it, those of the library are */
        return;
    }
    pthread_mutex_lock(&k->lock);
    k->silent = true;
    k->ask_boot_us = now_us(q) + KAFKA_ASK_REST_MS * (int64_t)1000;
    pthread_mutex_unlock(&k->lock);
}

/* What is wrong with the topic itself, if that was asked about. */
static rd_kafka_resp_err_t metadata_code(const struct rd_kafka_metadata *metadata,
                                         const char *topic)
{
    if (!topic)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    if (metadata->topic_cnt != 1 || strcmp(metadata->topics[0].topic, topic) != 0)
        return RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (metadata->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return metadata->topics[0].err;
    return metadata->topics[0].partition_cnt > 0 ? RD_KAFKA_RESP_ERR_NO_ERROR
                                                 : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

enum err kafka_metadata(struct kafka_queue *q, const char *topic,
                        const struct rd_kafka_metadata **out)
{
    int timeout_ms = 0;
    enum err err = kafka_ask_begin(q, &timeout_ms);
    if (err != ERR_OK)
        return err;
    rd_kafka_topic_t *only = topic ? rd_kafka_topic_new(q->kafka->producer, topic, NULL) : NULL;
    if (topic && !only)
        return kafka_say(q, ERR_NO_MEMORY, "out of memory");
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(q->kafka->producer, topic == NULL, only, &metadata, timeout_ms);
    if (only)
        rd_kafka_topic_destroy(only);
    kafka_ask_end(q, code);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = metadata_code(metadata, topic);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            *out = metadata;
            return ERR_OK;
        }
        rd_kafka_metadata_destroy(metadata);
    }
    return kafka_failed(q, code, topic ? topic : "asking for the topics");
}

/* Of one topic, and remembered for those that are being read. */
static enum err identity_ask(struct kafka_queue *q, const char *topic, struct queue_log *out)
{
    const struct rd_kafka_metadata *metadata = NULL;
    enum err err = kafka_metadata(q, topic, &metadata);
    if (err != ERR_OK)
        return err;
    out->partitions = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    char *cluster = rd_kafka_clusterid(q->kafka->producer, 0); /* came with the answer */
    bool fits = cluster && text_copy(out->log_id, sizeof out->log_id, cluster);
    if (cluster)
        rd_kafka_mem_free(q->kafka->producer, cluster);
    if (!fits)
        return kafka_say(q, ERR_CORRUPT, "the brokers do not say which cluster they are");
    if (q->topic && strcmp(q->topic, topic) == 0) {
        (void)text_copy(q->log_id, sizeof q->log_id, out->log_id);
        q->partitions = out->partitions;
    }
    return ERR_OK;
}

/* A partition that has just been made, or whose broker was lost, has no leader for a moment. */
static enum err watermarks_ask(struct kafka_queue *q, const char *topic, int32_t partition,
                               struct queue_log *out)
{
    int timeout_ms = 0;
    enum err err = kafka_ask_begin(q, &timeout_ms);
    if (err != ERR_OK)
        return err;
    int64_t until_us = now_us(q) + timeout_ms * (int64_t)1000;
    rd_kafka_resp_err_t code;
    while ((code = rd_kafka_query_watermark_offsets(q->kafka->producer, topic, partition,
                                                    &out->first, &out->next, timeout_ms)) > 0 &&
           now_us(q) < until_us)
        (void)poll(NULL, 0, LEADER_LOOK_MS);
    kafka_ask_end(q, code);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? ERR_OK : kafka_failed(q, code, topic);
}

enum err kafka_log(struct queue *queue, const char *topic, int32_t partition, struct queue_log *out)
{
    struct kafka_queue *q = kafka_of(queue);
    if (kafka_reader_log(q, topic, partition, out))
        return ERR_OK;
    enum err err = identity_ask(q, topic, out);
    if (err != ERR_OK)
        return err;
    if (partition >= out->partitions)
        return kafka_say(q, ERR_NOT_FOUND, "%s has partitions 0 to %d only", topic,
                         (int)out->partitions - 1);
    return watermarks_ask(q, topic, partition, out);
}

/* ---- one record ---- */

static enum err looker_open(struct kafka_queue *q)
{
    static const char *const values[][2] = {
        {"group.id", LOOKER_GROUP},          {"enable.partition.eof", "true"},
        {"queued.min.messages", "1"},        {"fetch.min.bytes", "1"},
        {"fetch.message.max.bytes", "4096"}, {NULL, NULL}};
    if (q->looker)
        return ERR_OK;
    rd_kafka_conf_t *conf = kafka_conf_with(q->kafka, values);
    q->looker = kafka_client(RD_KAFKA_CONSUMER, conf, q->why, sizeof q->why);
    if (!q->looker)
        return ERR_NO_MEMORY;
    (void)rd_kafka_poll_set_consumer(q->looker);
    return ERR_OK;
}

static rd_kafka_resp_err_t looker_assign(struct kafka_queue *q, const char *topic,
                                         int32_t partition, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    rd_kafka_resp_err_t code = kafka_assign(q->looker, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code;
}

/* NULL: nothing came in time. */
static rd_kafka_message_t *looker_wait(struct kafka_queue *q, int32_t partition, int timeout_ms)
{
    int64_t until_us = now_us(q) + timeout_ms * (int64_t)1000;
    for (;;) {
        int64_t left_ms = (until_us - now_us(q)) / 1000;
        rd_kafka_message_t *m = rd_kafka_consumer_poll(q->looker, left_ms > 0 ? (int)left_ms : 0);
        bool about_it = m && m->rkt && m->partition == partition;
        if (about_it || (!m && left_ms <= 0))
            return m;
        if (m)
            rd_kafka_message_destroy(m); /* a complaint about brokers or group */
    }
}

static struct record record_of(const rd_kafka_message_t *m)
{
    return (struct record){.offset = m->offset,
                           .key = m->key,
                           .key_len = m->key_len,
                           .value = m->payload,
                           .value_len = m->len};
}

static enum err looker_look(struct kafka_queue *q, const char *topic, int32_t partition,
                            int64_t offset, uint64_t *out)
{
    int timeout_ms = 0;
    enum err err = kafka_ask_begin(q, &timeout_ms);
    if (err != ERR_OK)
        return err;
    rd_kafka_resp_err_t code = looker_assign(q, topic, partition, offset);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_failed(q, code, topic);
    rd_kafka_message_t *m = looker_wait(q, partition, timeout_ms);
    code = m ? m->err : RD_KAFKA_RESP_ERR__TIMED_OUT;
    kafka_ask_end(q, code);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && m->offset == offset) {
        struct record record = record_of(m);
        *out = queue_record_checksum(&record);
    } else if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
               code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
        err = kafka_say(q, ERR_NOT_FOUND, "the record is not there any more");
    } else {
        err = kafka_failed(q, code, topic);
    }
    if (m)
        rd_kafka_message_destroy(m);
    code = kafka_assign(q->looker, NULL);
    return err == ERR_OK && code != RD_KAFKA_RESP_ERR_NO_ERROR ? kafka_failed(q, code, topic) : err;
}

enum err kafka_checksum(struct queue *queue, const char *topic, int32_t partition, int64_t offset,
                        uint64_t *out)
{
    struct kafka_queue *q = kafka_of(queue);
    struct queue_log log = {0};
    enum err err = kafka_log(queue, topic, partition, &log);
    if (err != ERR_OK)
        return err;
    if (offset < log.first || offset >= log.next)
        return kafka_say(q, ERR_NOT_FOUND, "the record is not there any more");
    err = looker_open(q);
    return err == ERR_OK ? looker_look(q, topic, partition, offset, out) : err;
}

/* ---- all topics ---- */

enum err kafka_topics(struct queue *queue, struct arena *arena, struct queue_topic **out,
                      size_t *count)
{
    struct kafka_queue *q = kafka_of(queue);
    const struct rd_kafka_metadata *metadata = NULL;
    enum err err = kafka_metadata(q, NULL, &metadata);
    if (err != ERR_OK)
        return err;
    struct queue_topic *topics = NULL;
    size_t taken = 0;
    if (metadata->topic_cnt > KAFKA_TOPICS_MAX)
        err = kafka_say(q, ERR_BUSY, "the cluster has more than %d topics", KAFKA_TOPICS_MAX);
    else if (!(topics = arena_array(arena, struct queue_topic, (size_t)metadata->topic_cnt + 1)))
        err = kafka_say(q, ERR_NO_MEMORY, "out of memory");
    for (int i = 0; i < metadata->topic_cnt && err == ERR_OK; i++) {
        const struct rd_kafka_metadata_topic *t = &metadata->topics[i];
        if (t->err != RD_KAFKA_RESP_ERR_NO_ERROR || strncmp(t->topic, "__", 2) == 0)
            continue; /* the brokers' own, and what is being deleted */
        topics[taken].partitions = t->partition_cnt;
        taken += text_copy(topics[taken].topic, sizeof topics[taken].topic, t->topic);
    }
    rd_kafka_metadata_destroy(metadata);
    if (err != ERR_OK)
        return err;
    *out = topics;
    *count = taken;
    return ERR_OK;
}
