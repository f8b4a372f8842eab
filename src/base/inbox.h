/* inbox.h: the only way in which threads hand things to each other.
 *
 * A bounded queue of fixed-size items, many producers, one consumer. `wake` is called, outside the
 * lock and by the producer, whenever an item arrives in an empty inbox: the runner makes it an
 * eventfd write, the simulated world leaves it NULL. Items are copied in and out; what they point
 * to changes hands. */
#ifndef SUBPAY_BASE_INBOX_H
#define SUBPAY_BASE_INBOX_H

#include <pthread.h>
#include <stddef.h>

#include "base/err.h"

struct inbox {
    pthread_mutex_t lock;
    unsigned char *items; /* ring of cap items */
    size_t item_size, cap, head, count;
    void (*wake)(void *ctx);
    void *wake_ctx;
};

enum err inbox_init(struct inbox *in, size_t item_size, size_t cap) MUST_CHECK;
void inbox_release(struct inbox *in);
/* ERR_BUSY when it is full: the producer keeps the item. */
enum err inbox_push(struct inbox *in, const void *item) MUST_CHECK;
/* Up to max items, in order; returns how many. */
size_t inbox_take(struct inbox *in, void *items, size_t max);
size_t inbox_count(struct inbox *in);

#endif
