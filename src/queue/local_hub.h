/* local_hub.h: private to the embedded queue: what its handles share, and how a publication travels.
 *
 * local_hub.c writes (publish, append, create, trim), local.c reads. */
#ifndef SUBPAY_QUEUE_LOCAL_HUB_H
#define SUBPAY_QUEUE_LOCAL_HUB_H

#include <pthread.h>
#include <stdatomic.h>

#include "queue/local.h"

struct local_topic {
    int64_t id;
    char name[QUEUE_TOPIC_MAX + 1];
};

struct local_queue {
    struct queue queue;
    struct local_queue_hub *hub; /* NULL: reading only */
    struct db *reader;
    const char *why;
    struct local_topic *topics; /* those seen so far; topics never go away */
    size_t topic_count;
    /* the reader */
    int64_t topic_id;   /* 0: not subscribed */
    char *topic;        /* in a memory of its own: topics move */
    bool told, started; /* QUEUE_ASSIGNED was given; queue_start was called */
    int64_t position;
    /* publications that wait keep the handle alive */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    size_t holders; /* the owner and every publication that waits */
    size_t calling; /* `done` functions that run right now */
    bool closed;
    /* watched: guarded by the hub's lock */
    void (*wake)(void *ctx);
    void *wake_ctx;
    atomic_bool woken; /* and has not read since: no need to wake it again */
};

/* The id of a topic, 0 when there is none; reads the table again when the name is new. */
enum err local_topic_id(struct local_queue *q, const char *topic, int64_t *id) MUST_CHECK;

enum err local_hub_join(struct local_queue_hub *hub, struct local_queue *q) MUST_CHECK;
void local_hub_leave(struct local_queue_hub *hub, struct local_queue *q);
void local_hub_watch(struct local_queue_hub *hub, struct local_queue *q, void (*wake)(void *ctx),
                     void *ctx);
/* The owner's or a publication's hold ends; the last one frees. */
void local_queue_drop(struct local_queue *q);

enum err local_publish(struct local_queue *q, int64_t topic_id, const struct queue_message *message,
                       queue_done_fn *done, void *ctx, uint64_t token) MUST_CHECK;
enum err local_append(struct local_queue *q, int64_t topic_id, const struct queue_message *messages,
                      size_t count) MUST_CHECK;
enum err local_create(struct local_queue_hub *hub, const char *topic) MUST_CHECK;
/* Records of the topic up to and with `last`. */
enum err local_remove(struct local_queue_hub *hub, int64_t topic_id, int64_t last) MUST_CHECK;

#endif
