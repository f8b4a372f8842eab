#include "services/saver.h"

#include <stdlib.h>
#include <string.h>

#include "services/heartbeat.h"
#include "services/saver_inside.h"

#define SAVER_READS_MAX 16 /* events taken in one step */

static struct saver *saver_of(struct service *service)
{
    return (struct saver *)service;
}

/* A partition that is not started gives nothing; it is tried at once here, then at every look. */
static enum err saver_assigned(struct saver *s, const struct env *env, int32_t partition)
{
    struct saver_partition *p = NULL;
    enum err err = saver_partition_add(s, partition, &p);

    return err == ERR_OK ? saver_partition_start(s, env, p) : err;
}

/* One event of the queue. false: nothing has come. */
static bool saver_read(struct saver *s, const struct env *env)
{
    struct queue_batch batch = {0};
    enum err err = ERR_OK;
    bool came = false;

    arena_reset(&s->arena);
    if (!s->subscribed) {
        err = queue_subscribe(s->queue, s->topic);
        s->subscribed = err == ERR_OK;
    }
    if (err == ERR_OK)
        err = queue_read(s->queue, s->batch_size, &s->arena, &batch);
    if (err == ERR_OK) {
        came = batch.event != QUEUE_NOTHING;
        struct saver_partition *p = saver_partition_of(s, batch.partition);
        switch (batch.event) {
        case QUEUE_ASSIGNED:
            err = saver_assigned(s, env, batch.partition);
            break;
        case QUEUE_REVOKED:
            saver_partition_drop(s, batch.partition);
            break;
        case QUEUE_RECORDS:
            if (p != NULL && p->started && batch.count > 0) {
                err = saver_batch_take(s, &batch, p);
                if (err != ERR_OK)
                    p->started = false; /* what was read is read again */
            }
            break;
        case QUEUE_NOTHING:
            break;
        }
    }
    (void)trouble_note(&s->reading, env, SAVER_NAME, "reading", err, queue_why(s->queue));
    return came && err == ERR_OK;
}

static void saver_look_now_and_then(struct saver *s, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock);

    if (now_us < s->look_boot_us || trouble_waits(&s->looking, env))
        return;
    s->look_boot_us = now_us + SAVER_LOOK_US;
    enum err err = saver_look(s, env);
    (void)trouble_note(&s->looking, env, SAVER_NAME, "comparing positions", err,
                       queue_why(s->queue));
}

static bool saver_trim(struct saver *s, const struct env *env, const char *topic, int32_t partition,
                       int64_t taken)
{
    bool more = false;
    /* What was rejected stays a day longer than the record that it was, so that nobody misses it (I1). */
    int64_t kept_us = s->retention_us + (topic == s->rejected_topic ? US_PER_DAY : 0);
    enum err err =
        queue_trim(s->queue, topic, partition, taken, clock_wall_us(env->clock) - kept_us, &more);
    return err == ERR_OK && more;
}

/* The retention, in bites: the next one after a moment, so that a big one does not hold up the writer. Nobody
 * of ours reads what was rejected: there all of it counts as taken. */
static void saver_trim_now_and_then(struct saver *s, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock);
    bool again = false;

    if (now_us < s->trim_boot_us)
        return;
    for (size_t i = 0; i < s->partition_count; i++) {
        const struct saver_partition *p = &s->partitions[i];
        if (p->started)
            again |= saver_trim(s, env, s->topic, p->partition, p->position.next);
        if (p->started)
            again |= saver_trim(s, env, s->rejected_topic, p->partition, INT64_MAX);
    }
    s->trim_boot_us = now_us + (again ? SERVICE_PAUSE_MIN_US : SAVER_TRIM_EVERY_US);
}

/* What ERR_MOVED or a failure left unstarted is looked at before anything else is read. */
static void saver_start_again(struct saver *s)
{
    for (size_t i = 0; i < s->partition_count; i++)
        if (!s->partitions[i].started && s->partitions[i].stopped == NULL) {
            s->look_boot_us = 0;
            s->look_next = i > 0 ? i - 1 : s->partition_count - 1;
            return;
        }
}

static int64_t saver_next_step(const struct saver *s, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock), next_us = now_us + SERVICE_IDLE_US;

    if (s->look_boot_us > now_us && s->look_boot_us < next_us)
        next_us = s->look_boot_us;
    if (s->trim_boot_us > now_us && s->trim_boot_us < next_us)
        next_us = s->trim_boot_us;
    const struct trouble *waiting[] = {&s->reading, &s->looking, &s->storing, &s->rejecting};
    for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++)
        if (trouble_waits(waiting[i], env) && waiting[i]->until_boot_us < next_us)
            next_us = waiting[i]->until_boot_us;
    return next_us;
}

static int64_t saver_work(struct saver *s, const struct env *env)
{
    while (s->phase != SAVER_READING)
        if (!saver_batch_move(s, env)) {
            saver_look_now_and_then(s, env);
            return saver_next_step(s, env);
        }
    if (atomic_load(&s->draining))
        return clock_boot_us(env->clock) + SERVICE_IDLE_US;
    saver_start_again(s);
    saver_look_now_and_then(s, env);
    for (int i = 0; i < SAVER_READS_MAX && !trouble_waits(&s->reading, env); i++) {
        if (!saver_read(s, env)) {
            saver_trim_now_and_then(s, env);
            return saver_next_step(s, env);
        }
        while (s->phase != SAVER_READING)
            if (!saver_batch_move(s, env))
                return saver_next_step(s, env);
    }
    return trouble_waits(&s->reading, env) ? saver_next_step(s, env) : clock_boot_us(env->clock);
}

/* What an operator has to know, in the order of how much it takes to end it. */
static const char *saver_failing(const struct saver *s)
{
    for (size_t i = 0; i < s->partition_count; i++)
        if (s->partitions[i].stopped != NULL)
            return s->partitions[i].stopped;
    if (s->storing.count > 0)
        return "store: records cannot be stored";
    if (s->rejecting.count > 0)
        return "queue: rejected records cannot be written";
    return s->reading.count + s->looking.count > 0 ? "queue or store: cannot be read" : NULL;
}

static int64_t saver_step(struct service *service, const struct env *env)
{
    struct saver *s = saver_of(service);
    int64_t next_us = saver_work(s, env);
    const char *failing = saver_failing(s);

    atomic_store(&s->unready, failing);
    if (failing == NULL && !atomic_load(&s->draining))
        heartbeat(s->ledger, SAVER_NAME, env, &s->heartbeat_boot_us);
    return next_us;
}

static void saver_drain(struct service *service)
{
    atomic_store(&saver_of(service)->draining, true);
}

static bool saver_drained(struct service *service)
{
    return !atomic_load(&saver_of(service)->busy);
}

static const char *saver_unready(struct service *service)
{
    return atomic_load(&saver_of(service)->unready);
}

static void saver_close(struct service *service)
{
    struct saver *s = saver_of(service);

    queue_watch(s->queue, NULL, NULL);
    queue_close(s->queue); /* first: no confirmation comes after it */
    ledger_close(s->ledger);
    inbox_release(&s->confirms);
    arena_release(&s->arena);
    free(s->partitions);
    free(s);
}

static const struct service_ops SAVER_OPS = {
    .name = SAVER_NAME,
    .step = saver_step,
    .drain = saver_drain,
    .drained = saver_drained,
    .unready = saver_unready,
    .close = saver_close,
};

static void saver_add_metrics(struct saver *s, struct metrics *m)
{
    static const char NAME[] = "subpay_saver_records_total",
                      HELP[] = "Records taken from the queue";

    s->stored = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"stored\"");
    s->repeated = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"repeated\"");
    s->rejected = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"rejected\"");
    s->lag = metrics_add(m, METRIC_GAUGE, "subpay_queue_lag_records",
                         "Records of the queue that are not stored yet", "");
}

enum err saver_open(struct service **out, const struct saver_settings *settings,
                    struct ledger *ledger, struct queue *queue, struct metrics *metrics,
                    struct wake wake)
{
    static const char SUFFIX[] = ".rejected";
    struct saver *s = calloc(1, sizeof *s);

    if (s == NULL)
        return ERR_NO_MEMORY;
    size_t len = strlen(settings->topic);
    if (len + sizeof SUFFIX > sizeof s->rejected_topic || settings->batch_size < 1 ||
        settings->batch_size > QUEUE_READ_MAX) {
        free(s);
        return ERR_INVALID;
    }
    if (inbox_init(&s->confirms, sizeof(struct saver_confirm), 2 * SAVER_CONFIRMS_MAX) != ERR_OK) {
        free(s);
        return ERR_NO_MEMORY;
    }
    s->confirms.wake = wake.fn;
    s->confirms.wake_ctx = wake.ctx;
    s->service.ops = &SAVER_OPS;
    (void)text_copy(s->topic, sizeof s->topic, settings->topic);
    (void)text_copy(s->rejected_topic, sizeof s->rejected_topic, settings->topic);
    (void)text_copy(s->rejected_topic + len, sizeof s->rejected_topic - len, SUFFIX);
    s->batch_size = (size_t)settings->batch_size;
    s->retention_us = settings->retention_us;
    s->accept_partitions = settings->accept_partitions;
    s->ledger = ledger;
    s->queue = queue;
    s->wake = wake;
    arena_init(&s->arena,
               3 * QUEUE_READ_BYTES_MAX + s->batch_size * (sizeof(struct ledger_record) + 512));
    saver_add_metrics(s, metrics);
    if (wake.fn != NULL)
        queue_watch(queue, wake.fn, wake.ctx);
    *out = &s->service;
    return ERR_OK;
}
