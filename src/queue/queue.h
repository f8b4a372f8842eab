/* queue.h: a durable log of records, by topic and partition.
 *
 * Publishing is "submit now, told later": `done` comes once per accepted publish, from any thread, when the
 * record is durable (or is known not to be, or is not known to be). Reading never blocks on the network: it
 * takes what has arrived. The log never decides how far a reader is: that is the ledger's (contract section 7);
 * a reader is assigned partitions, says where it starts, and may lose them.
 *
 * Owner: opened once per service. A batch lives in the reader's arena. Threads: one handle, one thread;
 * handles side by side. Errors: retriable ones as in err.h. Drivers: local.h (embedded), kafka.h. */
#ifndef SUBPAY_QUEUE_QUEUE_H
#define SUBPAY_QUEUE_QUEUE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "billing/request.h"

#define QUEUE_READ_MAX 10000                   /* records of a batch */
#define QUEUE_READ_BYTES_MAX (8 * 1024 * 1024) /* about; at least one record */
#define QUEUE_RECORD_MAX 1048576               /* bytes of a value */
#define QUEUE_KEY_MAX 65536                    /* bytes of a key */
#define QUEUE_TOPIC_MAX 249                    /* bytes of a name: letters, digits, . _ - */
#define QUEUE_HEADERS_MAX 8
#define QUEUE_HEADERS_BYTES_MAX 65536 /* names and values of one record */
#define QUEUE_LOG_ID_MAX 80

struct queue {
    const struct queue_ops *ops;
};

struct queue_header {
    const char *name, *value; /* texts */
};
/* What is published; borrowed until queue_publish returns. */
struct queue_message {
    const char *topic;
    const char *key; /* NULL: none */
    size_t key_len;
    const char *value; /* NULL: none */
    size_t value_len;
    const struct queue_header *headers; /* UTF-8; each name once */
    size_t header_count;
    int64_t timestamp_us; /* REQUEST_NO_TIME: the queue's clock */
};
enum queue_outcome { QUEUE_DURABLE, QUEUE_NOT_TAKEN, QUEUE_UNKNOWN };
/* ctx and token as given; at most once, exactly once unless the handle is closed before. */
typedef void queue_done_fn(void *ctx, uint64_t token, enum queue_outcome outcome);

/* OK: done will come, maybe before this returns. ERR_BUSY: full; ERR_NOT_FOUND: no such topic; ERR_INVALID: over a
 * limit (queue_message_check); ERR_LOCKED: the handle only reads: done will not come. */
enum err queue_publish(struct queue *q, const struct queue_message *message, queue_done_fn *done,
                       void *ctx, uint64_t token) MUST_CHECK;

/* OK or ERR_INVALID: the limits above. */
enum err queue_message_check(const struct queue_message *message) MUST_CHECK;
/* A name that a topic can have: contract of Kafka, kept by every driver. */
bool queue_topic_valid(const char *topic);

/* The identity of a log, compared before a stored position is used. */
struct queue_log {
    char log_id[QUEUE_LOG_ID_MAX + 1];
    int32_t partitions;
    int64_t first, next; /* of the partition asked about: the oldest kept, the one to come */
};
enum err queue_log(struct queue *q, const char *topic, int32_t partition,
                   struct queue_log *out) MUST_CHECK;
/* Checksum of one stored record (offset, key, value); ERR_NOT_FOUND when it is not there any more. */
enum err queue_checksum(struct queue *q, const char *topic, int32_t partition, int64_t offset,
                        uint64_t *out) MUST_CHECK;
uint64_t queue_record_checksum(const struct record *record); /* never 0; the same for ever */

/* A reader of one topic. */
enum queue_event {
    QUEUE_NOTHING,  /* nothing has arrived */
    QUEUE_RECORDS,  /* records of one partition, ascending offsets; offsets may have gaps */
    QUEUE_ASSIGNED, /* `partition` is this reader's: answer with queue_start; again: so again */
    QUEUE_REVOKED,  /* it is somebody else's: forget what was read of it */
};
struct queue_batch {
    enum queue_event event;
    int32_t partition;
    struct record *records;
    size_t count;
    int64_t next; /* the position behind the last record */
};
enum err queue_subscribe(struct queue *q,
                         const char *topic) MUST_CHECK; /* once per handle; ERR_NOT_FOUND */
enum err queue_read(struct queue *q, size_t max, struct arena *arena,
                    struct queue_batch *out) MUST_CHECK;
enum err queue_start(struct queue *q, int32_t partition, int64_t offset) MUST_CHECK;
/* Removes what is older than the retention and that readers have taken (below `taken`); in bounded bites.
 * Only the embedded queue has anything to do. *more: call again soon. */
enum err queue_trim(struct queue *q, const char *topic, int32_t partition, int64_t taken,
                    int64_t older_than_us, bool *more) MUST_CHECK;

/* For the CLI. */
struct queue_topic {
    char topic[QUEUE_TOPIC_MAX + 1];
    int32_t partitions;
};
enum err queue_topics(struct queue *q, struct arena *arena, struct queue_topic **out,
                      size_t *count) MUST_CHECK;
/* Idempotent. ERR_INVALID: the name, or a number of partitions that the driver cannot have (local: 1); ERR_CONFLICT:
 * it exists with another number. */
enum err queue_create(struct queue *q, const char *topic, int32_t partitions) MUST_CHECK;

/* What a topic promises to whoever puts requests into it. */
struct queue_promise {
    int32_t partitions, copies, copies_min; /* replicas; those that a confirmed record is on */
    int64_t keeps_us; /* TIME_NEVER: as long as a reader needs it, or for ever */
    char wrong[200];  /* "", or why requests are not safe in it */
};
enum err queue_check(struct queue *q, const char *topic, struct queue_promise *out) MUST_CHECK;

/* wake is called from any thread when something may have arrived, at least once after each queue_read that was
 * followed by an arrival; it must not call the queue. NULL removes it. */
void queue_watch(struct queue *q, void (*wake)(void *ctx), void *ctx);
const char *queue_why(const struct queue *q);
void queue_close(struct queue *q); /* NULL is fine */

struct queue_ops {
    enum err (*publish)(struct queue *, const struct queue_message *, queue_done_fn *, void *,
                        uint64_t);
    enum err (*log)(struct queue *, const char *, int32_t, struct queue_log *);
    enum err (*checksum)(struct queue *, const char *, int32_t, int64_t, uint64_t *);
    enum err (*subscribe)(struct queue *, const char *);
    enum err (*read)(struct queue *, size_t, struct arena *, struct queue_batch *);
    enum err (*start)(struct queue *, int32_t, int64_t);
    enum err (*trim)(struct queue *, const char *, int32_t, int64_t, int64_t, bool *);
    enum err (*topics)(struct queue *, struct arena *, struct queue_topic **, size_t *);
    enum err (*create)(struct queue *, const char *, int32_t);
    enum err (*check)(struct queue *, const char *, struct queue_promise *);
    void (*watch)(struct queue *, void (*)(void *), void *);
    const char *(*why)(const struct queue *);
    void (*close)(struct queue *);
};

#endif
