/* kafka.h: the queue on Apache Kafka, by librdkafka 2.0.2 or newer.
 *
 * One struct kafka per process is a door to one cluster: it holds what its handles share, that is the producer, the
 * settings and what the brokers last complained about. Handles publish through the shared producer; a handle that
 * subscribes gets a consumer of its own.
 *
 * Publishing: acks=all, linger 0, 5 requests in flight (measured), not idempotent: a record that comes twice dies at
 * the ledger by its id. A full buffer is ERR_BUSY. `done` comes within KAFKA_CONFIRM_MS and about a second: DURABLE;
 * NOT_TAKEN where it certainly never got into the log; UNKNOWN where it may be there all the same (publish the same
 * record again: harmless). The first publish to a topic asks whether it is there, later ones never wait.
 *
 * Reading: the group only assigns partitions; positions are the caller's, nothing is committed to the brokers. Every
 * change of the group takes all partitions away and gives them anew (eager, range), so that each is compared with the
 * ledger again. QUEUE_ASSIGNED may also come again for a partition that was not taken away: its position is not in the
 * log (any more), or the cluster is another one; nothing is read of it until queue_start. A reader that was asleep past
 * KAFKA_SESSION_MS is told QUEUE_REVOKED when it reads again; what it had read is worthless then. A record that cannot
 * be read (damaged, or packed in a way that this librdkafka cannot unpack) is never skipped: queue_read is ERR_CORRUPT
 * until it is gone or can be read. A batch has all that waits of its partition, however the fetches have mixed them.
 *
 * Threads: librdkafka's own, none of ours. Delivery reports are served by its background thread, which calls `done`;
 * `wake` is called by whatever thread of it adds to an empty consumer queue. Neither may call the queue. Any thread may
 * use a struct kafka; a handle is one thread's.
 *
 * Time: queue_read and queue_start never wait for the network. What asks the brokers (queue_log of a partition that is
 * not being read, checksum, topics, create, check, subscribe, the first publish to a topic) waits KAFKA_ASK_MS at most.
 * After a question that nobody answered, the next one is asked KAFKA_ASK_REST_MS later, with KAFKA_ASK_SILENT_MS; in
 * between the answer is ERR_UNREACHABLE at once, so that a service whose step asks is not held up by an outage.
 *
 * Errors: ERR_UNREACHABLE for whatever the brokers may answer differently later, refused logins too; queue_why says
 * what they or the library complained about last, and which settings of the file that is about. */
#ifndef SUBPAY_QUEUE_KAFKA_H
#define SUBPAY_QUEUE_KAFKA_H

#include "base/clock.h"
#include "base/config.h"
#include "queue/queue.h"

#define KAFKA_GROUP "subpay-saver" /* the savers of a topic are the group KAFKA_GROUP.TOPIC */
#define KAFKA_CONFIRM_MS 4000      /* contract section 5: an answer within 5 s of the request */
#define KAFKA_WAITING_MAX 20000    /* records not confirmed yet, of one process */
#define KAFKA_WAITING_KB 65536     /* their bytes / 1024 */
#define KAFKA_AHEAD_MAX 10000      /* records read ahead, of a partition */
#define KAFKA_AHEAD_KB 16384       /* of a reader: about, a fetch more */
#define KAFKA_GATHER_MS 50         /* what comes is given so long later, with what came meanwhile */
#define KAFKA_RECORD_MAX 1310720   /* max.message.bytes of our topics: value, key, headers, frame */
#define KAFKA_PARTITIONS_MAX 1024
#define KAFKA_TOPICS_MAX 1024    /* of a cluster, as queue_topics lists them */
#define KAFKA_KNOWN_MAX 64       /* topics published to without asking again */
#define KAFKA_COPIES_MAX 3       /* replicas of a topic that we make, as far as there are brokers */
#define KAFKA_KEEP_HOURS_MIN 168 /* contract section 4: a topic that keeps less is not ready */
#define KAFKA_SESSION_MS 6000    /* contract section 3: a dead reader's partitions, within 10 s */
#define KAFKA_POLL_MAX_MS 60000  /* a reader that did not read for so long is taken for dead */
#define KAFKA_ASK_MS 3000
#define KAFKA_ASK_SILENT_MS 500
#define KAFKA_ASK_REST_MS 4000
#define KAFKA_CLOSE_MS 2000 /* what waits is given so long; then leaving the group, likewise */
#define KAFKA_CONFIG_BYTES_MAX 65536
#define KAFKA_WHY_MAX 512

struct kafka_settings {
    const char *brokers; /* host:port, host:port */
    const char *
        config_path; /* properties of librdkafka (SASL, TLS), name=value a line, # comment; NULL: none */
    const char *client_id;
    int64_t retention_days; /* of topics that queue_create makes; less than 7 are 7 */
    struct clock *clock;    /* borrowed */
};

/* As the configuration has them; borrows from it. */
struct kafka_settings kafka_settings_of(const struct config *config, const char *client_id,
                                        struct clock *clock);

struct kafka;
/* Does not connect. ERR_INVALID: `why` names file, line and property; properties that the promises above depend on are
 * refused. The strings are copied. */
enum err kafka_open(struct kafka **out, const struct kafka_settings *settings, char *why,
                    size_t why_cap) MUST_CHECK;
/* After all of its handles. Waits KAFKA_CLOSE_MS at most for what is not confirmed yet. NULL is fine. */
void kafka_close(struct kafka *kafka);

/* group NULL: the reader has all partitions to itself and joins no group (`topic consume`). A handle may be closed
 * while publications wait: they are finished, `done` is not called any more. Neither `done` nor `wake` may close the
 * handle. */
enum err kafka_queue_open(struct queue **out, struct kafka *kafka, const char *group) MUST_CHECK;

#endif
