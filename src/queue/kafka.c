#include "queue/kafka.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/kafka_inside.h"

#define SCRAM_SINCE 0x02060100 /* librdkafka's version: 2.6.1 */
#define SETTINGS_NAMED "KAFKA_CONFIG, "

/* ---- what went wrong ---- */

enum err kafka_say(struct kafka_queue *q, enum err err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(q->why, sizeof q->why, format, args);
    va_end(args);
    return err;
}

enum err kafka_err(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return ERR_OK;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return ERR_BUSY;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return ERR_NOT_FOUND;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return ERR_INVALID;
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
    case RD_KAFKA_RESP_ERR__UNDERFLOW:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
        return ERR_CORRUPT;
    case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE:
        return ERR_NO_MEMORY;
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__DESTROY:
        return ERR_STOPPED;
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__CONFLICT:
        return ERR_BUG;
    default:
        return ERR_UNREACHABLE;
    }
}

static bool is_login(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
           code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED;
}

/* The settings that a complaint is about; "": none. */
static const char *settings_of(rd_kafka_resp_err_t code, const char *text)
{
    if (strstr(text, "certificate verify failed"))
        return SETTINGS_NAMED "ssl.ca.location: ";
    if (is_login(code))
        return strstr(text, "mechanism handshake")
                   ? SETTINGS_NAMED "security.protocol and sasl.mechanism: "
                   : SETTINGS_NAMED "sasl.username and sasl.password: ";
    if (strstr(text, "security.protocol") || strstr(text, "SSL "))
        return SETTINGS_NAMED "security.protocol: ";
    return "";
}

void kafka_complain(struct kafka *k, rd_kafka_resp_err_t code, const char *text)
{
    bool away = code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
    const char *tail = strstr(text, " (after "); /* how long it took, how often it was left out */
    int len = (int)(tail ? (size_t)(tail - text) : strlen(text));
    pthread_mutex_lock(&k->lock);
    if (away && !k->silent) {
        k->silent = true;
        k->ask_boot_us = 0; /* a short question may be asked at once */
    }
    if (!away) /* it follows the one that says why */
        (void)snprintf(k->trouble, sizeof k->trouble, "%s%.*s%s", settings_of(code, text), len,
                       text,
                       is_login(code) && k->scram && rd_kafka_version() < SCRAM_SINCE
                           ? " (if this is Kafka 4: librdkafka before 2.6.1 cannot log in there by"
                             " SCRAM; use a newer one, or SASL PLAIN)"
                           : "");
    pthread_mutex_unlock(&k->lock);
}

void kafka_heard(struct kafka *k)
{
    pthread_mutex_lock(&k->lock);
    k->silent = false;
    k->trouble[0] = '\0';
    pthread_mutex_unlock(&k->lock);
}

enum err kafka_failed(struct kafka_queue *q, rd_kafka_resp_err_t code, const char *what)
{
    char trouble[KAFKA_WHY_MAX];
    pthread_mutex_lock(&q->kafka->lock);
    (void)text_copy(trouble, sizeof trouble, q->kafka->trouble);
    pthread_mutex_unlock(&q->kafka->lock);
    enum err err = kafka_err(code);
    if (err != ERR_UNREACHABLE || trouble[0] == '\0')
        return kafka_say(q, err, "%s: %s", what, rd_kafka_err2str(code));
    if (strncmp(trouble, SETTINGS_NAMED, strlen(SETTINGS_NAMED)) == 0)
        return kafka_say(q, err, "%s: %s", what, trouble);
    return kafka_say(q, err, "%s: %s: %s", what, rd_kafka_err2str(code), trouble);
}

rd_kafka_t *kafka_client(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t why_cap)
{
    rd_kafka_t *client = rd_kafka_new(type, conf, why, why_cap);
    if (!client)
        rd_kafka_conf_destroy(conf);
    return client;
}

/* ---- the door ---- */

enum err kafka_open(struct kafka **out, const struct kafka_settings *settings, char *why,
                    size_t why_cap)
{
    assert(settings->brokers && settings->client_id && settings->clock);
    struct kafka *k = calloc(1, sizeof *k);
    if (!k)
        return ERR_NO_MEMORY;
    int64_t hours = settings->retention_days * 24;
    k->keep_ms = (hours < KAFKA_KEEP_HOURS_MIN ? KAFKA_KEEP_HOURS_MIN : hours) * 3600 * 1000;
    k->clock = settings->clock;
    pthread_mutex_init(&k->lock, NULL);
    enum err err = kafka_conf_make(k, settings, why, why_cap);
    if (err == ERR_OK)
        err = kafka_producer_open(k, why, why_cap);
    if (err != ERR_OK) {
        kafka_close(k);
        return err;
    }
    *out = k;
    return ERR_OK;
}

void kafka_close(struct kafka *k)
{
    if (!k)
        return;
    assert(k->handle_count == 0);
    kafka_producer_close(k);
    if (k->conf)
        rd_kafka_conf_destroy(k->conf);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* ---- the handle ---- */

void kafka_drop(struct kafka_queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool last = --q->holders == 0;
    pthread_mutex_unlock(&q->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->idle);
    free(q->group);
    free(q);
}

static void kafka_queue_close(struct queue *queue)
{
    struct kafka_queue *q = kafka_of(queue);
    struct kafka *k = q->kafka;
    kafka_watch(queue, NULL, NULL);
    kafka_reader_close(q);
    if (q->looker)
        rd_kafka_destroy_flags(q->looker, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    while (q->calling > 0)
        pthread_cond_wait(&q->idle, &q->lock);
    pthread_mutex_unlock(&q->lock);
    kafka_drop(q);
    pthread_mutex_lock(&k->lock);
    k->handle_count--;
    pthread_mutex_unlock(&k->lock);
}

static const char *kafka_why(const struct queue *queue)
{
    return ((const struct kafka_queue *)queue)->why;
}

/* The brokers keep what the retention says. */
static enum err kafka_trim(struct queue *queue, const char *topic, int32_t partition, int64_t taken,
                           int64_t older_than_us, bool *more)
{
    (void)queue;
    (void)topic;
    (void)partition;
    (void)taken;
    (void)older_than_us;
    *more = false;
    return ERR_OK;
}

static const struct queue_ops KAFKA_OPS = {
    .publish = kafka_publish,
    .log = kafka_log,
    .checksum = kafka_checksum,
    .subscribe = kafka_subscribe,
    .read = kafka_read,
    .start = kafka_start,
    .trim = kafka_trim,
    .topics = kafka_topics,
    .create = kafka_create,
    .check = kafka_check,
    .watch = kafka_watch,
    .why = kafka_why,
    .close = kafka_queue_close,
};

enum err kafka_queue_open(struct queue **out, struct kafka *kafka, const char *group)
{
    struct kafka_queue *q = calloc(1, sizeof *q);
    char *name = group ? strdup(group) : NULL;
    if (!q || (group && !name)) {
        free(q);
        free(name);
        return ERR_NO_MEMORY;
    }
    q->queue.ops = &KAFKA_OPS;
    q->kafka = kafka;
    q->group = name;
    q->holders = 1;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->idle, NULL);
    pthread_mutex_lock(&kafka->lock);
    kafka->handle_count++;
    pthread_mutex_unlock(&kafka->lock);
    *out = &q->queue;
    return ERR_OK;
}
