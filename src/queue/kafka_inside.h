/* kafka_inside.h: private to the queue on Kafka: what its files share.
 *
 * kafka.c: the door and the handle. kafka_config.c: settings. kafka_publish.c: the producer. kafka_reader.c: the
 * consumer. kafka_ask.c: questions to the brokers. kafka_topic.c: topics made and checked. */
#ifndef SUBPAY_QUEUE_KAFKA_INSIDE_H
#define SUBPAY_QUEUE_KAFKA_INSIDE_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "queue/kafka.h"

#define KAFKA_SORT_MAX QUEUE_READ_MAX /* records taken and not given; likewise their bytes */

struct kafka {
    rd_kafka_conf_t *conf; /* that every client of the library starts from */
    rd_kafka_t *producer;
    struct clock *clock;
    int64_t keep_ms; /* of topics that are made */
    bool scram;
    pthread_mutex_t lock; /* all below */
    char trouble[KAFKA_WHY_MAX];
    bool silent; /* the last question was not answered, or all brokers are known to be away */
    int64_t ask_boot_us; /* silent: not before */
    char known[KAFKA_KNOWN_MAX][QUEUE_TOPIC_MAX + 1];
    size_t known_count;
    size_t handle_count;
};

struct kafka_partition { /* of the topic that is read; the index is its number */
    bool mine;           /* assigned to this reader */
    bool told;           /* and it was told so */
    bool gone;           /* it was told so, and is to be told that it is not any more */
    bool started;        /* queue_start was called */
    int64_t position;    /* started: of the next record to give */
};

struct kafka_queue {
    struct queue queue;
    struct kafka *kafka;
    char *group; /* NULL: alone */
    char why[KAFKA_WHY_MAX];
    /* the reader */
    rd_kafka_t *consumer; /* NULL: not subscribed */
    rd_kafka_queue_t *arrivals;
    char *topic;
    char log_id[QUEUE_LOG_ID_MAX + 1]; /* as last asked; "": not asked */
    int32_t partitions;                /* likewise */
    struct kafka_partition *parts;     /* KAFKA_PARTITIONS_MAX */
    int32_t part_count;                /* those seen so far */
    bool changed;                      /* some partition has something to tell */
    bool restart;                      /* what is fetched is not what is wanted any more */
    enum err failed;                   /* to be returned by the next read */
    rd_kafka_message_t **waiting;      /* taken, not given yet, in the library's order */
    size_t waiting_count, waiting_bytes;
    /* looks at single records; opened when first needed */
    rd_kafka_t *looker;
    /* publications that wait keep the handle alive */
    pthread_mutex_t lock; /* all below */
    pthread_cond_t idle;
    size_t holders; /* the owner and every publication that waits */
    size_t calling; /* `done` functions that run right now */
    bool closed;
    void (*wake)(void *ctx);
    void *wake_ctx;
};

static inline struct kafka_queue *kafka_of(struct queue *q)
{
    return (struct kafka_queue *)q;
}

/* kafka.c */
enum err kafka_say(struct kafka_queue *q, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum err kafka_err(rd_kafka_resp_err_t code);
/* Says what the library says of it, and what the brokers complained about last. */
enum err kafka_failed(struct kafka_queue *q, rd_kafka_resp_err_t code, const char *what);
/* A complaint of the library, from any of its threads. */
void kafka_complain(struct kafka *k, rd_kafka_resp_err_t code, const char *text);
/* The brokers answered. */
void kafka_heard(struct kafka *k);
/* The owner's or a publication's hold ends; the last one frees. */
void kafka_drop(struct kafka_queue *q);
/* A client of the library. NULL: `why` says why not. The conf is taken. */
rd_kafka_t *kafka_client(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t why_cap);

/* kafka_config.c */
enum err kafka_conf_make(struct kafka *k, const struct kafka_settings *settings, char *why,
                         size_t why_cap) MUST_CHECK;
/* A copy, with these values too; assert: they are ours. The list ends with NULL. */
rd_kafka_conf_t *kafka_conf_with(const struct kafka *k, const char *const values[][2]);

/* kafka_publish.c */
enum err kafka_producer_open(struct kafka *k, char *why, size_t why_cap) MUST_CHECK;
void kafka_producer_close(struct kafka *k);
enum err kafka_publish(struct queue *queue, const struct queue_message *message,
                       queue_done_fn *done, void *ctx, uint64_t token) MUST_CHECK;

/* kafka_reader.c */
enum err kafka_subscribe(struct queue *queue, const char *topic) MUST_CHECK;
enum err kafka_read(struct queue *queue, size_t max, struct arena *arena,
                    struct queue_batch *out) MUST_CHECK;
enum err kafka_start(struct queue *queue, int32_t partition, int64_t offset) MUST_CHECK;
/* What is known of a partition that is being read, without asking. false: ask. */
bool kafka_reader_log(struct kafka_queue *q, const char *topic, int32_t partition,
                      struct queue_log *out);
void kafka_watch(struct queue *queue, void (*wake)(void *ctx), void *ctx);
/* rd_kafka_assign, safe to be called soon after another one. */
rd_kafka_resp_err_t kafka_assign(rd_kafka_t *consumer,
                                 const rd_kafka_topic_partition_list_t *list) MUST_CHECK;
void kafka_reader_close(struct kafka_queue *q);

/* kafka_ask.c */
/* May the brokers be asked now, and how long? Every question is begun and ended. */
enum err kafka_ask_begin(struct kafka_queue *q, int *timeout_ms) MUST_CHECK;
void kafka_ask_end(struct kafka_queue *q, rd_kafka_resp_err_t code);
/* The metadata of one topic (NULL: of all), to be destroyed; ERR_NOT_FOUND. */
enum err kafka_metadata(struct kafka_queue *q, const char *topic,
                        const struct rd_kafka_metadata **out) MUST_CHECK;
enum err kafka_log(struct queue *queue, const char *topic, int32_t partition,
                   struct queue_log *out) MUST_CHECK;
enum err kafka_checksum(struct queue *queue, const char *topic, int32_t partition, int64_t offset,
                        uint64_t *out) MUST_CHECK;
enum err kafka_topics(struct queue *queue, struct arena *arena, struct queue_topic **out,
                      size_t *count) MUST_CHECK;

/* kafka_topic.c */
enum err kafka_create(struct queue *queue, const char *topic, int32_t partitions) MUST_CHECK;
enum err kafka_check(struct queue *queue, const char *topic, struct queue_promise *out) MUST_CHECK;

#endif
