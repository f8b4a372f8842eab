/* topic_door.h: how `subpay topic` reaches the queue: the cluster of KAFKA_BROKERS where it is configured, else the
 * embedded file.
 *
 * Kafka: positions are in the store, so what concerns them wants DATABASE_URL. The file: reading goes beside whoever writes (mode=ro). Writing goes through DATA_DIR/control.sock when a process holds
 * the file, else the door takes the lock and opens the file itself; it changes from one to the other when
 * that process comes or goes between two calls. One thread. */
#ifndef SUBPAY_CLI_TOPIC_DOOR_H
#define SUBPAY_CLI_TOPIC_DOOR_H

#include "base/config.h"
#include "ledger/embedded.h"
#include "ledger/postgres.h"
#include "queue/kafka.h"
#include "queue/local.h"

/* Room for a list of all topics. */
#define TOPICS_BYTES_MAX (2 * LOCAL_QUEUE_TOPICS_MAX * sizeof(struct queue_topic))
#define DOOR_BEGINNING INT64_C(-1) /* the oldest record that is kept */

/* ---- reading ---- */

struct topic_reader {
    const struct config *config;
    struct kafka *kafka; /* NULL: embedded */
    struct db *db; /* of the store; NULL: no position was asked for yet, or none is configured */
    struct queue *queue;
};
/* false after it printed why; *code is set. */
bool topic_reader_open(struct topic_reader *r, const struct config *config, int *code);
void topic_reader_close(struct topic_reader *r);
/* false after it printed that there is no such topic, and which there are. */
bool topic_reader_knows(struct topic_reader *r, const char *topic);
/* How far the saver has read: the offset of the next record, 0 before the first; -1: no store is configured. CLI_DONE,
 * or the exit code after it printed why. */
int topic_reader_position(struct topic_reader *r, const char *topic, int32_t partition,
                          int64_t *next) MUST_CHECK;
/* What to say of a failure: why, or the text of err where nothing more is known. */
const char *why_or(const char *why, enum err err);

/* ---- writing ---- */

struct door {
    const struct config *config;
    struct kafka *kafka;       /* NULL: embedded */
    struct postgres *store;    /* NULL: not opened */
    struct embedded *embedded; /* NULL: through the control socket */
    struct local_queue_hub *hub;
    struct db *reader;
    struct queue *queue;
    struct ledger *ledger;
    char why[512]; /* of the last failure */
};
/* false after it printed why; *code is set. */
bool door_open(struct door *d, const struct config *config, int *code);
void door_close(struct door *d);
/* OK: all durable. ERR_IO: not known; any other error: none was taken. door->why says more. */
/* Without headers. */
enum err door_append(struct door *d, const struct queue_message *messages, size_t count) MUST_CHECK;
enum err door_create(struct door *d, const char *topic, int32_t partitions) MUST_CHECK;
enum err door_rewind(struct door *d, const char *topic, int32_t partition, int64_t to) MUST_CHECK;

#endif
