/* saver_inside.h: what the files of the saver share. */
#ifndef SUBPAY_SERVICES_SAVER_INSIDE_H
#define SUBPAY_SERVICES_SAVER_INSIDE_H

#include <stdatomic.h>

#include "base/inbox.h"
#include "services/saver.h"

#define SAVER_NAME "saver"
#define SAVER_CONFIRMS_MAX 1024       /* rejected records on their way to the queue */
#define SAVER_LOOK_US SERVICE_IDLE_US /* positions are compared with the store's this often */
#define SAVER_TELL_US (10 * US_PER_S) /* rejected records are logged no more often than this */
#define SAVER_LOOK_ROUND 5            /* looks after which every partition was compared */

struct saver_partition {
    int32_t partition;
    struct ledger_position position; /* up to where the store has it */
    bool started;                    /* the queue delivers from `position` */
    const char *stopped;             /* NULL, or why nothing is read: a static text */
    int64_t next;                    /* of the log, when it was looked at: for the lag */
    int64_t no_time_before;          /* records without any time below this are not guessed at */
};

enum saver_phase {
    SAVER_READING,   /* nothing in work */
    SAVER_REJECTING, /* rejected records are on their way to <topic>.rejected */
    SAVER_APPENDING, /* all of them are there: the rest may be stored */
};

/* queue → saver: how the publication of one rejected record ended. */
struct saver_confirm {
    uint64_t token; /* batch serial, item */
    enum queue_outcome outcome;
};

enum saver_reject_state { REJECT_TO_PUBLISH, REJECT_UNDER_WAY, REJECT_DURABLE };
struct saver_reject {
    const struct record *record; /* in the arena */
    enum reject reject;
    enum saver_reject_state state;
};

struct saver {
    struct service service;
    char topic[QUEUE_TOPIC_MAX + 1], rejected_topic[QUEUE_TOPIC_MAX + 1];
    size_t batch_size;
    int64_t retention_us;
    int32_t accept_partitions;
    struct ledger *ledger;
    struct queue *queue;
    struct wake wake;
    struct inbox confirms;
    atomic_bool draining, busy; /* busy: a batch is in work */
    _Atomic(const char *) unready;
    bool subscribed;

    struct saver_partition *partitions;
    size_t partition_count, partition_cap, look_next;
    int64_t look_boot_us, trim_boot_us, heartbeat_boot_us;

    /* the batch in work; its memory is the arena's */
    enum saver_phase phase;
    struct arena arena;
    uint32_t serial;
    int32_t partition;
    struct ledger_record *good;
    const struct record **good_from;
    struct saver_reject *rejects;
    size_t good_count, reject_count, durable, under_way;
    struct ledger_position to;

    /* rejected records that the log has not told yet */
    size_t untold;
    int64_t untold_offset; /* of the first of them */
    int32_t untold_partition;
    enum reject untold_reject;
    int64_t tell_boot_us; /* not before */

    struct trouble reading, looking, storing, rejecting;
    struct metric *stored, *repeated, *rejected, *lag;
};

/* Reads the stored position, compares the identity of the log, and lets the queue deliver from there. Not OK: a
 * retriable failure of store or queue. A log that is not the one read before is no error: p->stopped says so. */
enum err saver_partition_start(struct saver *s, const struct env *env,
                               struct saver_partition *p) MUST_CHECK;
/* As far as what is asked before every batch tells. */
bool saver_log_is_same(const struct ledger_position *p, const struct queue_log *log);
struct saver_partition *saver_partition_of(struct saver *s, int32_t partition); /* or NULL */
enum err saver_partition_add(struct saver *s, int32_t partition,
                             struct saver_partition **out) MUST_CHECK;
void saver_partition_drop(struct saver *s, int32_t partition);
/* Compares some positions with the stored ones (`topic rewind`), tries stopped partitions again, measures the lag. */
enum err saver_look(struct saver *s, const struct env *env) MUST_CHECK;

/* The batch. */
enum err saver_batch_take(struct saver *s, const struct queue_batch *batch,
                          struct saver_partition *p) MUST_CHECK;
/* Logs what was rejected since the last time, if its time has come. */
void saver_tell_rejected(struct saver *s, const struct env *env);
/* One move of its state machine; false: it waits for something. */
bool saver_batch_move(struct saver *s, const struct env *env);

#endif
