/* The producer: publications on their way, and what the library says of each (from its background thread). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "queue/kafka_inside.h"

/* One record on its way; freed when it was reported. */
struct publication {
    struct kafka_queue *owner; /* held */
    queue_done_fn *done;
    void *ctx;
    uint64_t token;
};

static void publication_tell(struct publication *p, enum queue_outcome outcome)
{
    struct kafka_queue *q = p->owner;
    pthread_mutex_lock(&q->lock);
    bool tell = !q->closed;
    q->calling += tell;
    pthread_mutex_unlock(&q->lock);
    if (tell) {
        p->done(p->ctx, p->token, outcome);
        pthread_mutex_lock(&q->lock);
        q->calling--;
        pthread_cond_broadcast(&q->idle);
        pthread_mutex_unlock(&q->lock);
    }
    kafka_drop(q);
    free(p);
}

/* The library never takes "possibly" back: a later refusal does not unmake an earlier attempt. */
static enum queue_outcome outcome_of(const rd_kafka_message_t *m)
{
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return QUEUE_DURABLE;
    return rd_kafka_message_status(m) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED ? QUEUE_NOT_TAKEN
                                                                           : QUEUE_UNKNOWN;
}

static void topic_forget(struct kafka *k, const char *topic)
{
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->known_count; i++)
        if (strcmp(k->known[i], topic) == 0) {
            k->known_count--;
            memmove(k->known[i], k->known[k->known_count], sizeof k->known[i]);
            break;
        }
    pthread_mutex_unlock(&k->lock);
}

static void reports_take(struct kafka *k, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *m;
    bool heard = false;
    while ((m = rd_kafka_event_message_next(event)) != NULL) {
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && !heard) {
            kafka_heard(k);
            heard = true;
        } else if (kafka_err(m->err) == ERR_NOT_FOUND) {
            topic_forget(k, rd_kafka_topic_name(m->rkt));
        }
        publication_tell(m->_private, outcome_of(m));
    }
}

static void background_event(rd_kafka_t *producer, rd_kafka_event_t *event, void *opaque)
{
    (void)producer;
    struct kafka *k = opaque;
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
        reports_take(k, event);
    else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
        kafka_complain(k, rd_kafka_event_error(event), rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
}

/* What would wait for a poll goes to the background thread. */
static void reports_forward(rd_kafka_t *producer, bool to_background)
{
    rd_kafka_queue_t *reports = rd_kafka_queue_get_main(producer);
    rd_kafka_queue_t *background = to_background ? rd_kafka_queue_get_background(producer) : NULL;
    rd_kafka_queue_forward(reports, background);
    rd_kafka_queue_destroy(reports);
    if (background)
        rd_kafka_queue_destroy(background);
}

enum err kafka_producer_open(struct kafka *k, char *why, size_t why_cap)
{
    static const char *const none[][2] = {{NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_with(k, none);
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    rd_kafka_conf_set_background_event_cb(conf, background_event);
    k->producer = kafka_client(RD_KAFKA_PRODUCER, conf, why, why_cap);
    if (!k->producer)
        return ERR_INVALID;
    reports_forward(k->producer, true);
    return ERR_OK;
}

void kafka_producer_close(struct kafka *k)
{
    if (!k->producer)
        return;
    /* Purged ones are reported too, so that everything is freed. */
    if (rd_kafka_flush(k->producer, KAFKA_CLOSE_MS) != RD_KAFKA_RESP_ERR_NO_ERROR &&
        rd_kafka_purge(k->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT) ==
            RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)rd_kafka_flush(k->producer, KAFKA_CLOSE_MS);
    reports_forward(k->producer, false);
    rd_kafka_destroy(k->producer);
    k->producer = NULL;
}

static bool topic_known(struct kafka *k, const char *topic)
{
    bool known = false;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->known_count && !known; i++)
        known = strcmp(k->known[i], topic) == 0;
    pthread_mutex_unlock(&k->lock);
    return known;
}

/* One more name than there is room for only costs a question. */
static enum err topic_look(struct kafka_queue *q, const char *topic)
{
    struct kafka *k = q->kafka;
    const struct rd_kafka_metadata *metadata = NULL;
    enum err err = kafka_metadata(q, topic, &metadata);
    if (err != ERR_OK)
        return err;
    rd_kafka_metadata_destroy(metadata);
    pthread_mutex_lock(&k->lock);
    if (k->known_count < KAFKA_KNOWN_MAX &&
        text_copy(k->known[k->known_count], sizeof k->known[0], topic))
        k->known_count++;
    pthread_mutex_unlock(&k->lock);
    return ERR_OK;
}

/* The headers are the library's when it has taken the record. */
static rd_kafka_resp_err_t record_give(struct kafka *k, const struct queue_message *m,
                                       struct publication *p)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(m->header_count);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (size_t i = 0; i < m->header_count && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        code = rd_kafka_header_add(headers, m->headers[i].name, -1, m->headers[i].value, -1);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = rd_kafka_producev(
            k->producer, RD_KAFKA_V_TOPIC(m->topic), RD_KAFKA_V_KEY(m->key, m->key_len),
            RD_KAFKA_V_VALUE((void *)(uintptr_t)m->value, m->value_len),
            RD_KAFKA_V_TIMESTAMP(m->timestamp_us == REQUEST_NO_TIME ? 0 : m->timestamp_us / 1000),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_OPAQUE(p), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    return code;
}

enum err kafka_publish(struct queue *queue, const struct queue_message *message,
                       queue_done_fn *done, void *ctx, uint64_t token)
{
    struct kafka_queue *q = kafka_of(queue);
    enum err err = topic_known(q->kafka, message->topic) ? ERR_OK : topic_look(q, message->topic);
    if (err != ERR_OK)
        return err;
    struct publication *p = calloc(1, sizeof *p);
    if (!p)
        return kafka_say(q, ERR_NO_MEMORY, "out of memory");
    *p = (struct publication){.owner = q, .done = done, .ctx = ctx, .token = token};
    pthread_mutex_lock(&q->lock);
    q->holders++;
    pthread_mutex_unlock(&q->lock);
    rd_kafka_resp_err_t code = record_give(q->kafka, message, p);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return ERR_OK; /* p may be gone already */
    kafka_drop(q);
    free(p);
    if (kafka_err(code) == ERR_NOT_FOUND)
        topic_forget(q->kafka, message->topic);
    return kafka_failed(q, code, "publishing");
}
