#include "cli/audit_log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

#define CLIENT_ID "subpay-audit"
#define BATCH_RECORDS 2000
#define BATCH_BYTES_MAX (2 * QUEUE_READ_BYTES_MAX)
#define QUIET_US (10 * US_PER_S) /* without a record or an answer */
#define PAUSE_NS 5000000

/* ---- one topic ---- */

struct partition_read {
    int64_t at, end; /* the next record; behind the last one */
};

struct topic_read {
    struct queue *queue;
    const char *topic;
    log_each_fn *each;
    void *to;
    bool rejected;
    int32_t partitions;
    struct partition_read parts[KAFKA_PARTITIONS_MAX];
    int64_t heard_boot_us;
};

static bool read_over(const struct topic_read *r)
{
    for (int32_t i = 0; i < r->partitions; i++)
        if (r->parts[i].at < r->parts[i].end)
            return false;
    return true;
}

static enum err ends_find(struct topic_read *r)
{
    struct queue_log log = {.partitions = 1};
    enum err err = ERR_OK;
    for (int32_t i = 0; i < log.partitions && err == ERR_OK; i++) {
        err = queue_log(r->queue, r->topic, i, &log);
        if (log.partitions > KAFKA_PARTITIONS_MAX)
            return ERR_INVALID;
        if (err == ERR_OK)
            r->parts[i] = (struct partition_read){.at = log.first, .end = log.next};
    }
    r->partitions = log.partitions;
    return err;
}

/* Once more, where the oldest records have gone meanwhile. */
static enum err partition_start(struct topic_read *r, int32_t partition)
{
    struct queue_log log;
    if (partition >= r->partitions) /* it came later: nothing of it is asked for */
        return ERR_OK;
    enum err err = queue_log(r->queue, r->topic, partition, &log);
    if (err != ERR_OK)
        return err;
    struct partition_read *p = &r->parts[partition];
    if (p->at < log.first)
        p->at = log.first;
    return queue_start(r->queue, partition, p->at);
}

static enum err records_give(struct topic_read *r, const struct queue_batch *batch)
{
    if (batch->partition >= r->partitions)
        return ERR_OK;
    struct partition_read *p = &r->parts[batch->partition];
    enum err err = ERR_OK;
    for (size_t i = 0; i < batch->count && err == ERR_OK; i++)
        if (batch->records[i].offset < p->end)
            err = r->each(r->to, &batch->records[i], r->rejected);
    p->at = batch->next;
    return err;
}

/* Where a log ends with something that is no record (a transaction's end), nothing comes for ever. */
static enum err ends_look(struct topic_read *r)
{
    for (int32_t i = 0; i < r->partitions; i++) {
        struct partition_read *p = &r->parts[i];
        uint64_t checksum;
        if (p->at < p->end &&
            queue_checksum(r->queue, r->topic, i, p->end - 1, &checksum) == ERR_NOT_FOUND)
            p->at = p->end;
    }
    return read_over(r) ? ERR_OK : ERR_UNREACHABLE;
}

/* One event, or a pause. Errors that may pass are waited out, as silence is. */
static enum err read_step(struct topic_read *r, struct arena *arena)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    struct queue_batch batch = {0};
    arena_reset(arena);
    enum err err = queue_read(r->queue, BATCH_RECORDS, arena, &batch);
    if (err == ERR_OK && batch.event == QUEUE_ASSIGNED)
        return partition_start(r, batch.partition);
    if (err == ERR_OK && batch.event == QUEUE_RECORDS) {
        r->heard_boot_us = clock_boot_us(clock_real());
        return records_give(r, &batch);
    }
    if (err != ERR_OK && !err_retriable(err))
        return err;
    if (clock_boot_us(clock_real()) - r->heard_boot_us > QUIET_US)
        return ends_look(r);
    (void)nanosleep(&pause, NULL);
    return ERR_OK;
}

enum err audit_log_read(struct queue *q, const char *topic, log_each_fn *each, void *to,
                        bool rejected)
{
    struct topic_read r = {.queue = q,
                           .topic = topic,
                           .each = each,
                           .to = to,
                           .rejected = rejected,
                           .heard_boot_us = clock_boot_us(clock_real())};
    struct arena arena;
    enum err err = queue_subscribe(q, topic);
    if (err == ERR_OK)
        err = ends_find(&r);
    arena_init(&arena, BATCH_BYTES_MAX);
    while (err == ERR_OK && !read_over(&r))
        err = read_step(&r, &arena);
    arena_release(&arena);
    return err;
}

/* ---- the log of the saver ---- */

/* Positions in another log say nothing about this one. */
static enum err identity_check(struct audit_log *l, struct queue *q)
{
    struct queue_log log;
    struct query query;
    enum err err = queue_log(q, l->config->topic, 0, &log);
    if (err != ERR_OK)
        return err;
    query_open(&query, l->db,
               "SELECT log_id FROM positions WHERE topic = ?1 AND log_id <> ?2 LIMIT 1");
    query_bind_text(&query, l->config->topic);
    query_bind_text(&query, log.log_id);
    if (query_next(&query))
        snprintf(l->why, sizeof l->why, "the saver's position is in another log (%.80s, not %.80s)",
                 query_text(&query, 0), log.log_id);
    err = query_close(&query);
    return err == ERR_OK && l->why[0] != '\0' ? ERR_INVALID : err;
}

static enum err topic_give(struct audit_log *l, const char *topic, log_each_fn *each, void *to,
                           bool rejected)
{
    struct queue *q;
    enum err err = kafka_queue_open(&q, l->kafka, NULL);
    if (err != ERR_OK)
        return err;
    if (!rejected)
        err = identity_check(l, q);
    if (err == ERR_OK)
        err = audit_log_read(q, topic, each, to, rejected);
    if (err == ERR_NOT_FOUND && rejected) /* nothing ever was */
        err = ERR_OK;
    if (err != ERR_OK && l->why[0] == '\0')
        snprintf(l->why, sizeof l->why, "%.60s: %s", topic,
                 queue_why(q)[0] != '\0' ? queue_why(q) : err_text(err));
    queue_close(q);
    return err;
}

static enum err log_read(void *ctx, log_each_fn *each, void *to)
{
    struct audit_log *l = ctx;
    char rejected[CONFIG_TEXT + 16];
    l->why[0] = '\0';
    if (l->kafka == NULL) {
        snprintf(l->why, sizeof l->why, "KAFKA_HOST is unset");
        return ERR_UNREACHABLE;
    }
    snprintf(rejected, sizeof rejected, "%s.rejected", l->config->topic);
    enum err err = topic_give(l, l->config->topic, each, to, false);
    return err == ERR_OK ? topic_give(l, rejected, each, to, true) : err;
}

static const char *log_why(void *ctx)
{
    const struct audit_log *l = ctx;
    return l->why;
}

struct log_source audit_log_source(struct audit_log *l)
{
    return (struct log_source){.read = log_read, .why = log_why, .ctx = l};
}

bool audit_log_open(struct audit_log *l, const struct config *config, struct db *db, int *code)
{
    char why[512] = "";
    const struct kafka_settings settings = kafka_settings_of(config, CLIENT_ID, clock_real());
    *l = (struct audit_log){.config = config, .db = db};
    if (!config->kafka || kafka_open(&l->kafka, &settings, why, sizeof why) == ERR_OK)
        return true;
    *code = cli_usage("KAFKA_CONFIG: %s", why);
    return false;
}

void audit_log_close(struct audit_log *l)
{
    kafka_close(l->kafka);
    l->kafka = NULL;
}
