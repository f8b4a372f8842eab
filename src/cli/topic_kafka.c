#include "cli/topic_kafka.h"

#include <pthread.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/topic_door.h"

#define CLIENT_ID "subpay-topic"
#define FULL_PAUSE_NS 2000000 /* while the producer's buffer is full */

bool topic_kafka_open(const struct config *config, struct kafka **kafka, struct queue **queue,
                      int *code)
{
    char why[512] = "";
    const struct kafka_settings settings = kafka_settings_of(config, CLIENT_ID, clock_real());
    enum err err = kafka_open(kafka, &settings, why, sizeof why);
    if (err == ERR_OK && (err = kafka_queue_open(queue, *kafka, NULL)) != ERR_OK)
        kafka_close(*kafka);
    if (err == ERR_OK)
        return true;
    *kafka = NULL;
    *queue = NULL;
    *code = err == ERR_INVALID
                ? cli_usage("KAFKA_CONFIG: %s", why_or(why, err))
                : cli_failed("KAFKA_BROKERS=%s: %s", config->kafka_brokers, why_or(why, err));
    return false;
}

/* What has been published and is not confirmed yet. */
struct confirming {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t waiting, not_taken, unknown;
};

static void confirmed(void *ctx, uint64_t token, enum queue_outcome outcome)
{
    struct confirming *c = ctx;
    (void)token;
    pthread_mutex_lock(&c->lock);
    c->waiting--;
    c->not_taken += outcome == QUEUE_NOT_TAKEN;
    c->unknown += outcome == QUEUE_UNKNOWN;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static enum err append_one(struct queue *queue, const struct queue_message *message,
                           struct confirming *c)
{
    const struct timespec moment = {.tv_nsec = FULL_PAUSE_NS};
    enum err err;
    pthread_mutex_lock(&c->lock);
    c->waiting++;
    pthread_mutex_unlock(&c->lock);
    while ((err = queue_publish(queue, message, confirmed, c, 0)) == ERR_BUSY)
        (void)nanosleep(&moment, NULL);
    if (err == ERR_OK)
        return ERR_OK;
    pthread_mutex_lock(&c->lock);
    c->waiting--;
    pthread_mutex_unlock(&c->lock);
    return err;
}

enum err topic_kafka_append(struct queue *queue, const struct queue_message *messages, size_t count)
{
    struct confirming c = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
    enum err err = ERR_OK;
    size_t given = 0;
    while (given < count && (err = append_one(queue, &messages[given], &c)) == ERR_OK)
        given++;
    pthread_mutex_lock(&c.lock);
    while (c.waiting > 0) /* each is told within KAFKA_CONFIRM_MS and a moment */
        pthread_cond_wait(&c.changed, &c.lock);
    pthread_mutex_unlock(&c.lock);
    if (c.unknown > 0 || (c.not_taken > 0 && c.not_taken < count) || (err != ERR_OK && given > 0))
        return ERR_IO;
    return c.not_taken > 0 ? ERR_UNREACHABLE : err;
}
