/* Topics: made with what requests need, and checked for it. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/kafka_inside.h"

#define TOPIC_LOOK_MS 20

/* ---- admin requests ---- */

struct admin {
    rd_kafka_queue_t *answers;
    rd_kafka_AdminOptions_t *options;
    int timeout_ms;
};

static enum err admin_open(struct kafka_queue *q, struct admin *a, rd_kafka_admin_op_t op)
{
    char said[128];
    enum err err = kafka_ask_begin(q, &a->timeout_ms);
    if (err != ERR_OK)
        return err;
    a->answers = rd_kafka_queue_new(q->kafka->producer);
    a->options = rd_kafka_AdminOptions_new(q->kafka->producer, op);
    (void)rd_kafka_AdminOptions_set_request_timeout(a->options, a->timeout_ms, said, sizeof said);
    if (op == RD_KAFKA_ADMIN_OP_CREATETOPICS)
        (void)rd_kafka_AdminOptions_set_operation_timeout(a->options, a->timeout_ms, said,
                                                          sizeof said);
    return ERR_OK;
}

/* NULL: *code says why. */
static rd_kafka_event_t *admin_wait(struct kafka_queue *q, struct admin *a,
                                    rd_kafka_resp_err_t *code)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(a->answers, a->timeout_ms);
    *code = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    kafka_ask_end(q, *code);
    if (*code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return event;
    if (event)
        rd_kafka_event_destroy(event);
    return NULL;
}

static void admin_close(struct admin *a)
{
    rd_kafka_AdminOptions_destroy(a->options);
    rd_kafka_queue_destroy(a->answers);
}

/* ---- create ---- */

static enum err topic_ask_create(struct kafka_queue *q, rd_kafka_NewTopic_t *topic)
{
    struct admin a;
    rd_kafka_resp_err_t code;
    size_t count = 0;
    enum err err = admin_open(q, &a, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    if (err != ERR_OK)
        return err;
    rd_kafka_CreateTopics(q->kafka->producer, &topic, 1, a.options, a.answers);
    rd_kafka_event_t *event = admin_wait(q, &a, &code);
    if (event) {
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
        code = count == 1 ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
        if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            code = RD_KAFKA_RESP_ERR_NO_ERROR; /* somebody was faster */
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && count == 1)
            err = kafka_say(q, kafka_err(code), "making the topic: %s",
                            rd_kafka_topic_result_error_string(results[0])
                                ? rd_kafka_topic_result_error_string(results[0])
                                : rd_kafka_err2str(code));
        rd_kafka_event_destroy(event);
    } else {
        err = kafka_failed(q, code, "making the topic");
    }
    admin_close(&a);
    return err;
}

/* retention.ms, max.message.bytes, min.insync.replicas; what is not set is the brokers' default. */
static enum err topic_make(struct kafka_queue *q, const char *topic, int32_t partitions,
                           int brokers)
{
    int copies = brokers < KAFKA_COPIES_MAX ? brokers : KAFKA_COPIES_MAX;
    char said[256] = "", keep_ms[24], bytes[24];
    rd_kafka_NewTopic_t *new_topic =
        rd_kafka_NewTopic_new(topic, partitions, copies, said, sizeof said);
    if (!new_topic)
        return kafka_say(q, ERR_INVALID, "making the topic: %s", said);
    (void)snprintf(keep_ms, sizeof keep_ms, "%lld", (long long)q->kafka->keep_ms);
    (void)snprintf(bytes, sizeof bytes, "%d", KAFKA_RECORD_MAX);
    (void)rd_kafka_NewTopic_set_config(new_topic, "cleanup.policy", "delete");
    (void)rd_kafka_NewTopic_set_config(new_topic, "retention.ms", keep_ms);
    (void)rd_kafka_NewTopic_set_config(new_topic, "max.message.bytes", bytes);
    (void)rd_kafka_NewTopic_set_config(new_topic, "min.insync.replicas",
                                       copies >= KAFKA_COPIES_MAX ? "2" : "1");
    enum err err = topic_ask_create(q, new_topic);
    rd_kafka_NewTopic_destroy(new_topic);
    return err;
}

/* ERR_NOT_FOUND: there is none. */
static enum err topic_compare(struct kafka_queue *q, const char *topic, int32_t partitions)
{
    const struct rd_kafka_metadata *metadata = NULL;
    enum err err = kafka_metadata(q, topic, &metadata);
    if (err != ERR_OK)
        return err;
    int has = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    return has == partitions
               ? ERR_OK
               : kafka_say(q, ERR_CONFLICT, "%s has %d partitions already", topic, has);
}

/* The broker that is asked may hear of it a moment later than the one that made it. */
static enum err topic_await(struct kafka_queue *q, const char *topic, int32_t partitions)
{
    int64_t until_us = clock_boot_us(q->kafka->clock) + KAFKA_ASK_MS * (int64_t)1000;
    enum err err;
    while ((err = topic_compare(q, topic, partitions)) == ERR_NOT_FOUND &&
           clock_boot_us(q->kafka->clock) < until_us)
        (void)poll(NULL, 0, TOPIC_LOOK_MS);
    return err == ERR_NOT_FOUND
               ? kafka_say(q, ERR_UNREACHABLE, "%s was made, but the brokers do not show it yet",
                           topic)
               : err;
}

enum err kafka_create(struct queue *queue, const char *topic, int32_t partitions)
{
    struct kafka_queue *q = kafka_of(queue);
    if (partitions > KAFKA_PARTITIONS_MAX)
        return kafka_say(q, ERR_INVALID, "a topic has at most %d partitions", KAFKA_PARTITIONS_MAX);
    const struct rd_kafka_metadata *metadata = NULL;
    enum err err = topic_compare(q, topic, partitions);
    if (err != ERR_NOT_FOUND)
        return err;
    err = kafka_metadata(q, NULL, &metadata); /* how many brokers are there? */
    if (err != ERR_OK)
        return err;
    int brokers = metadata->broker_cnt;
    rd_kafka_metadata_destroy(metadata);
    if (brokers == 0)
        return kafka_say(q, ERR_UNREACHABLE, "no broker of the cluster is alive");
    err = topic_make(q, topic, partitions, brokers);
    if (err != ERR_OK)
        return err;
    return topic_await(q, topic, partitions);
}

/* ---- check ---- */

struct promised {
    char policy[32];
    int64_t keep_ms, keep_bytes, copies_min;
};

static enum err promised_read(struct kafka_queue *q, const rd_kafka_ConfigResource_t *resource,
                              struct promised *out)
{
    size_t count = 0;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    *out = (struct promised){.keep_ms = -2, .keep_bytes = -2, .copies_min = -2};
    for (size_t i = 0; i < count; i++) {
        const char *name = rd_kafka_ConfigEntry_name(entries[i]);
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        int64_t *number = strcmp(name, "retention.ms") == 0          ? &out->keep_ms
                          : strcmp(name, "retention.bytes") == 0     ? &out->keep_bytes
                          : strcmp(name, "min.insync.replicas") == 0 ? &out->copies_min
                                                                     : NULL;
        if (value && number && !text_i64(value, -1, INT64_MAX, number))
            *number = -2;
        if (value && strcmp(name, "cleanup.policy") == 0)
            (void)text_copy(out->policy, sizeof out->policy, value);
    }
    if (out->keep_ms >= -1 && out->keep_bytes >= -1 && out->copies_min >= 0)
        return ERR_OK;
    return kafka_say(q, ERR_CORRUPT, "the brokers do not say how long the topic keeps a record");
}

static enum err promised_ask(struct kafka_queue *q, const char *topic, struct promised *out)
{
    struct admin a;
    rd_kafka_resp_err_t code;
    size_t count = 0;
    enum err err = admin_open(q, &a, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    if (err != ERR_OK)
        return err;
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_DescribeConfigs(q->kafka->producer, &resource, 1, a.options, a.answers);
    rd_kafka_event_t *event = admin_wait(q, &a, &code);
    if (event) {
        const rd_kafka_ConfigResource_t **results = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event), &count);
        code = count == 1 ? rd_kafka_ConfigResource_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            err = promised_read(q, results[0], out);
        rd_kafka_event_destroy(event);
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        err = kafka_failed(q, code, topic);
    rd_kafka_ConfigResource_destroy(resource);
    admin_close(&a);
    return err;
}

static void promise_judge(const struct promised *p, struct queue_promise *out)
{
    int64_t hours = p->keep_ms / 3600000;
    if (p->keep_ms >= 0 && hours < KAFKA_KEEP_HOURS_MIN)
        (void)snprintf(out->wrong, sizeof out->wrong,
                       "retention.ms=%lld keeps a record for %lld hours; at least %d are needed",
                       (long long)p->keep_ms, (long long)hours, KAFKA_KEEP_HOURS_MIN);
    else if (strstr(p->policy, "compact"))
        (void)snprintf(out->wrong, sizeof out->wrong,
                       "cleanup.policy=%s removes older requests of a user; it has to be delete",
                       p->policy);
    else if (p->keep_bytes >= 0)
        (void)snprintf(out->wrong, sizeof out->wrong,
                       "retention.bytes=%lld may remove records early; it has to be -1",
                       (long long)p->keep_bytes);
    else if (out->copies >= KAFKA_COPIES_MAX && out->copies_min < 2)
        (void)snprintf(out->wrong, sizeof out->wrong,
                       "min.insync.replicas=1 confirms what one broker alone has; at least 2 are "
                       "needed with %d replicas",
                       (int)out->copies);
    else if (out->copies_min > out->copies)
        (void)snprintf(out->wrong, sizeof out->wrong,
                       "min.insync.replicas=%d is more than the %d replicas: nothing can be queued",
                       (int)out->copies_min, (int)out->copies);
}

enum err kafka_check(struct queue *queue, const char *topic, struct queue_promise *out)
{
    struct kafka_queue *q = kafka_of(queue);
    const struct rd_kafka_metadata *metadata = NULL;
    struct promised promised;
    enum err err = kafka_metadata(q, topic, &metadata);
    if (err != ERR_OK)
        return err;
    const struct rd_kafka_metadata_topic *t = &metadata->topics[0];
    out->partitions = t->partition_cnt;
    out->copies = t->partitions[0].replica_cnt;
    for (int i = 1; i < t->partition_cnt; i++)
        if (t->partitions[i].replica_cnt < out->copies)
            out->copies = t->partitions[i].replica_cnt;
    rd_kafka_metadata_destroy(metadata);
    err = promised_ask(q, topic, &promised);
    if (err != ERR_OK)
        return err;
    out->copies_min = (int32_t)promised.copies_min;
    out->keeps_us = promised.keep_ms < 0 || promised.keep_ms > INT64_MAX / 1000
                        ? TIME_NEVER
                        : promised.keep_ms * 1000;
    promise_judge(&promised, out);
    return ERR_OK;
}
