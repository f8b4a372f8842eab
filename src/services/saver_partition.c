/* Partitions of the saver: is this the log that was read before, and from where does it go on? */
#include "services/saver_inside.h"

#include <stdlib.h>
#include <string.h>

#define STOPPED_LOG                                                                                \
    "the topic is another log than the one read before; `subpay topic rewind` says where to start"
#define STOPPED_OUTSIDE                                                                            \
    "the stored position is outside the topic; `subpay topic rewind` says where to start"
#define STOPPED_RECORD                                                                             \
    "the last record taken is another one now; `subpay topic rewind` says where to start"
#define STOPPED_PARTITIONS                                                                         \
    "the topic has another number of partitions; `--accept-partitions N` reads on"

/* After `topic rewind`, and before the first record, the identity is empty: any log will do. */
static bool position_is_fresh(const struct ledger_position *p)
{
    return p->log_id[0] == '\0';
}

bool saver_log_is_same(const struct ledger_position *p, const struct queue_log *log)
{
    return position_is_fresh(p) ||
           (strcmp(p->log_id, log->log_id) == 0 && p->partitions == log->partitions);
}

/* How many partitions the topic had when it was read: a new one has no position of its own. 0: not known. */
static enum err partitions_then(struct saver *s, const struct ledger_position *p, int32_t *out)
{
    struct ledger_position first;

    *out = p->partitions;
    if (*out != 0 || p->partition == 0)
        return ERR_OK;
    enum err err = ledger_position(s->ledger, s->topic, 0, &first);
    if (err == ERR_OK)
        *out = first.partitions;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* *why: NULL, or how the log differs from the one that was read. */
static enum err saver_identify(struct saver *s, const struct ledger_position *p,
                               const struct queue_log *log, const char **why)
{
    int32_t partitions = 0;
    enum err err = partitions_then(s, p, &partitions);

    *why = NULL;
    if (p->next > log->next)
        *why = STOPPED_OUTSIDE;
    else if (partitions != 0 && partitions != log->partitions &&
             log->partitions != s->accept_partitions)
        *why = STOPPED_PARTITIONS;
    if (position_is_fresh(p) || err != ERR_OK)
        return err;
    if (strcmp(p->log_id, log->log_id) != 0)
        *why = STOPPED_LOG;
    else if (p->next < log->first)
        *why = STOPPED_OUTSIDE;
    if (*why != NULL || p->checksum == 0 || p->next == 0)
        return ERR_OK;

    uint64_t checksum = 0;
    err = queue_checksum(s->queue, s->topic, p->partition, p->next - 1, &checksum);
    if (err == ERR_NOT_FOUND) /* removed by the retention */
        return ERR_OK;
    if (err == ERR_OK && checksum != p->checksum)
        *why = STOPPED_RECORD;
    return err;
}

static void saver_say_stopped(struct saver *s, const struct env *env, struct saver_partition *p,
                              const char *why)
{
    if (why != NULL && p->stopped != why)
        log_event(env->log, LOG_ERROR, SAVER_NAME, "stopped", F_STR("topic", s->topic),
                  F_NUM("partition", p->partition), F_STR("why", why));
    if (why == NULL && p->stopped != NULL)
        log_event(env->log, LOG_INFO, SAVER_NAME, "goes on", F_STR("topic", s->topic),
                  F_NUM("partition", p->partition), F_NUM("offset", p->position.next));
    p->stopped = why;
    p->started = why == NULL;
}

/* It was accepted that the topic has another number of partitions: so it is known for the next start. */
static enum err partitions_accept(struct saver *s, struct ledger_position *stored,
                                  int32_t partitions)
{
    struct ledger_position to = *stored;

    if (position_is_fresh(stored) || stored->partitions == partitions)
        return ERR_OK;
    to.partitions = partitions;
    enum err err = ledger_append(s->ledger, NULL, 0, stored, &to);
    if (err == ERR_OK)
        *stored = to;
    return err;
}

enum err saver_partition_start(struct saver *s, const struct env *env, struct saver_partition *p)
{
    struct queue_log log;
    struct ledger_position stored;
    const char *why = NULL;

    enum err err = queue_log(s->queue, s->topic, p->partition, &log);
    if (err != ERR_OK)
        return err;
    err = ledger_position(s->ledger, s->topic, p->partition, &stored);
    if (err == ERR_NOT_FOUND) {
        stored = (struct ledger_position){.partition = p->partition};
        (void)text_copy(stored.topic, sizeof stored.topic, s->topic);
    } else if (err != ERR_OK) {
        return err;
    }
    err = saver_identify(s, &stored, &log, &why);
    if (err != ERR_OK)
        return err;
    if (why == NULL && (err = partitions_accept(s, &stored, log.partitions)) != ERR_OK)
        return err;
    if (why == NULL) {
        /* A fresh position below the oldest record that is left starts at that one. */
        int64_t offset = stored.next > log.first ? stored.next : log.first;
        err = queue_start(s->queue, p->partition, offset);
        if (err != ERR_OK)
            return err;
    }
    p->position = stored;
    p->next = log.next;
    p->no_time_before = position_is_fresh(&stored) ? log.next : 0;
    saver_say_stopped(s, env, p, why);
    return ERR_OK;
}

struct saver_partition *saver_partition_of(struct saver *s, int32_t partition)
{
    for (size_t i = 0; i < s->partition_count; i++)
        if (s->partitions[i].partition == partition)
            return &s->partitions[i];
    return NULL;
}

enum err saver_partition_add(struct saver *s, int32_t partition, struct saver_partition **out)
{
    struct saver_partition *p = saver_partition_of(s, partition);

    if (p == NULL) {
        if (s->partition_count == SAVER_PARTITIONS_MAX)
            return ERR_BUSY;
        if (s->partition_count == s->partition_cap) {
            size_t cap = s->partition_cap > 0 ? s->partition_cap * 2 : 4;
            p = realloc(s->partitions, cap * sizeof *p);
            if (p == NULL)
                return ERR_NO_MEMORY;
            s->partitions = p;
            s->partition_cap = cap;
        }
        p = &s->partitions[s->partition_count++];
    }
    *p = (struct saver_partition){.partition = partition};
    *out = p;
    return ERR_OK;
}

void saver_partition_drop(struct saver *s, int32_t partition)
{
    struct saver_partition *p = saver_partition_of(s, partition);

    if (p != NULL)
        *p = s->partitions[--s->partition_count];
}

/* Somebody may have rewound: then the queue is started there (contract: within 10 s). */
static enum err saver_look_at(struct saver *s, const struct env *env, struct saver_partition *p)
{
    struct ledger_position stored;

    if (!p->started)
        return saver_partition_start(s, env, p);
    enum err err = ledger_position(s->ledger, s->topic, p->partition, &stored);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err == ERR_OK &&
        (stored.next != p->position.next || strcmp(stored.log_id, p->position.log_id) != 0))
        return saver_partition_start(s, env, p);
    return err;
}

/* A queue that does not answer leaves the last figure. */
static void saver_measure(struct saver *s, struct saver_partition *p)
{
    struct queue_log log;

    if (queue_log(s->queue, s->topic, p->partition, &log) == ERR_OK)
        p->next = log.next;
}

enum err saver_look(struct saver *s, const struct env *env)
{
    size_t count = (s->partition_count + SAVER_LOOK_ROUND - 1) / SAVER_LOOK_ROUND;
    enum err err = ERR_OK;
    int64_t lag = 0;

    saver_tell_rejected(s, env);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        s->look_next = s->look_next + 1 < s->partition_count ? s->look_next + 1 : 0;
        struct saver_partition *p = &s->partitions[s->look_next];
        saver_measure(s, p);
        if (s->phase == SAVER_READING) /* else its append will notice */
            err = saver_look_at(s, env, p);
    }
    for (size_t i = 0; i < s->partition_count; i++)
        if (s->partitions[i].next > s->partitions[i].position.next)
            lag += s->partitions[i].next - s->partitions[i].position.next;
    metric_set(s->lag, lag);
    return err;
}
