/* The distributed engines: PostgreSQL is the store, Apache Kafka the queue. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/str.h"
#include "ledger/postgres.h"
#include "queue/kafka.h"
#include "services/engines.h"

#define CLIENT_ID "subpay"
#define LOOK_MS 1000                /* between two looks at the store */
#define LOOK_SLOW_US (2 * US_PER_S) /* one that takes longer: the store does not answer */
#define GROUP_MAX (sizeof KAFKA_GROUP + CONFIG_TEXT + 1)

struct distributed_engines {
    struct engines engines;
    struct postgres *store;
    struct kafka *kafka;
    struct clock *clock;
    /* One a topic: the savers of another one are not waited for when this group changes. */
    char group[GROUP_MAX];
    struct ledger *looking; /* at the store, in the engines' thread */
    int stop_fd;            /* readable once stop was called; -1 */
    atomic_bool stopped;
    pthread_mutex_t lock; /* of what follows */
    int64_t look_boot_us; /* when the one under way began; TIME_NEVER: none is */
    bool away;
    char why[256];
};

static struct distributed_engines *self(struct engines *e)
{
    return (struct distributed_engines *)e;
}

static enum err distributed_ledger(struct engines *e, struct ledger **out)
{
    return postgres_ledger(self(e)->store, out);
}

static enum err distributed_views(struct engines *e, struct views **out)
{
    return postgres_views(self(e)->store, out);
}

static enum err distributed_queue(struct engines *e, struct queue **out)
{
    return kafka_queue_open(out, self(e)->kafka, self(e)->group);
}

/* A question that may wait for the server, so it is asked here, and whoever asks for health reads
 * what it said. */
static void look(struct distributed_engines *e)
{
    struct ledger_counts counts;
    pthread_mutex_lock(&e->lock);
    e->look_boot_us = clock_boot_us(e->clock);
    pthread_mutex_unlock(&e->lock);
    enum err err = ledger_counts(e->looking, &counts);
    const char *why = ledger_why(e->looking);
    pthread_mutex_lock(&e->lock);
    e->look_boot_us = TIME_NEVER;
    e->away = err != ERR_OK;
    (void)text_copy_n(e->why, sizeof e->why, why, strnlen(why, sizeof e->why - 1));
    pthread_mutex_unlock(&e->lock);
}

/* For LOOK_MS: who watches hears of every change, but nobody looks at the whole store for each of them. */
static void hear(struct distributed_engines *e, bool *listens)
{
    int64_t until_us = clock_boot_us(e->clock) + LOOK_MS * US_PER_MS, left_us;
    while (!atomic_load(&e->stopped) && (left_us = until_us - clock_boot_us(e->clock)) > 0) {
        struct pollfd stop = {.fd = e->stop_fd, .events = POLLIN};
        int left_ms = (int)(left_us / US_PER_MS) + 1;
        if (*listens && postgres_listen(e->store, left_ms, e->stop_fd) == ERR_REFUSED)
            *listens = false; /* there is a pooler in between: everybody polls */
        if (!*listens)
            (void)poll(&stop, 1, left_ms);
    }
}

static void distributed_run(struct engines *engines)
{
    struct distributed_engines *e = self(engines);
    bool listens = true;
    while (!atomic_load(&e->stopped)) {
        hear(e, &listens);
        if (!atomic_load(&e->stopped))
            look(e);
    }
}

static void distributed_stop(struct engines *engines)
{
    struct distributed_engines *e = self(engines);
    const uint64_t one = 1;
    atomic_store(&e->stopped, true);
    if (write(e->stop_fd, &one, sizeof one) < 0)
        return; /* it looks by itself within LOOK_MS */
}

static void distributed_hurry(struct engines *e, int64_t boot_us)
{
    postgres_end_at(self(e)->store, boot_us);
}

static bool distributed_away(struct engines *engines, char *why, size_t why_cap)
{
    struct distributed_engines *e = self(engines);
    pthread_mutex_lock(&e->lock);
    bool slow =
        e->look_boot_us != TIME_NEVER && clock_boot_us(e->clock) - e->look_boot_us > LOOK_SLOW_US;
    bool away = e->away || slow;
    (void)snprintf(why, why_cap, "%s", e->away ? e->why : slow ? "it does not answer" : "");
    pthread_mutex_unlock(&e->lock);
    return away;
}

static void distributed_close(struct engines *engines)
{
    struct distributed_engines *e = self(engines);
    ledger_close(e->looking);
    kafka_close(e->kafka);
    postgres_close(e->store);
    if (e->stop_fd >= 0)
        close(e->stop_fd);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static const struct engines_ops DISTRIBUTED_OPS = {
    .ledger = distributed_ledger,
    .views = distributed_views,
    .queue = distributed_queue,
    .run = distributed_run,
    .stop = distributed_stop,
    .hurry = distributed_hurry,
    .away = distributed_away,
    .close = distributed_close,
};

static enum err open_store(struct distributed_engines *e, const struct config *config,
                           const struct env *env, char *why, size_t why_cap)
{
    const struct postgres_settings settings = {.url = config->database_url, .notify = true};
    enum err err = postgres_open(&e->store, &settings, env->random, why, why_cap);
    return err == ERR_OK ? postgres_ledger(e->store, &e->looking) : err;
}

static enum err open_kafka(struct distributed_engines *e, const struct config *config,
                           const struct env *env, char *why, size_t why_cap)
{
    const struct kafka_settings settings = kafka_settings_of(config, CLIENT_ID, env->clock);
    return kafka_open(&e->kafka, &settings, why, why_cap);
}

enum err engines_distributed_open(struct engines **out, const struct config *config,
                                  const struct env *env, char *why, size_t why_cap)
{
    char text[512] = "";
    const char *what = "DATABASE_URL";
    struct distributed_engines *e = calloc(1, sizeof *e);
    if (!e || pthread_mutex_init(&e->lock, NULL) != 0) {
        free(e);
        (void)snprintf(why, why_cap, "%s", err_text(ERR_NO_MEMORY));
        return ERR_NO_MEMORY;
    }
    e->engines = (struct engines){&DISTRIBUTED_OPS, false};
    (void)snprintf(e->group, sizeof e->group, KAFKA_GROUP ".%s", config->topic);
    e->clock = env->clock;
    e->look_boot_us = TIME_NEVER;
    e->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum err err = e->stop_fd < 0 ? ERR_IO : open_store(e, config, env, text, sizeof text);
    if (err == ERR_OK) {
        err = open_kafka(e, config, env, text, sizeof text);
        what = err == ERR_INVALID && config->kafka_config[0] ? "KAFKA_CONFIG" : "KAFKA_BROKERS";
    }
    if (err == ERR_OK) {
        *out = &e->engines;
        return ERR_OK;
    }
    (void)snprintf(why, why_cap, "%s: %s", what, text[0] != '\0' ? text : err_text(err));
    distributed_close(&e->engines);
    return err;
}
