/* slots.h: the open requests of one loop, and the answers on their way to it.
 *
 * A fixed array. All that other threads hold is a token (generation and index): whoever swaps it
 * for 0 in its slot is the one who answers, so an answer that comes late or twice is refused,
 * never sent to somebody else. */
#ifndef SUBPAY_HTTP_SLOTS_H
#define SUBPAY_HTTP_SLOTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/server.h"

struct conn;
struct evhttp_request;
struct slot {
    struct evhttp_request *request; /* NULL: free */
    struct conn *conn;              /* NULL when it went away */
    int64_t deadline_us;
    const char *origin;
    bool head;    /* the method: no body is sent */
    bool watched; /* it may take long: a client that leaves is noticed */

    /* private */
    _Atomic uint64_t token;
    uint64_t generation;
    struct slot *next_free;
};
/* An answer from another thread: one block with its texts, freed by the loop. */
struct completion {
    struct slot *slot;
    struct http_response response;
};

struct slots;
/* wake: called by a thread that posts into an empty inbox. */
enum err slots_open(struct slots **out, void (*wake)(void *ctx), void *ctx) MUST_CHECK;
void slots_close(struct slots *s); /* NULL is fine */

/* The loop's thread. NULL: all are taken. */
struct slot *slots_take(struct slots *s, struct evhttp_request *request, struct conn *conn);
void slots_free(struct slots *s, struct slot *slot);
struct slot *slots_of(struct slots *s, uint64_t token);
size_t slots_used(const struct slots *s); /* none at or above this index was ever taken */
struct slot *slots_at(struct slots *s, size_t index);
size_t slots_posted(struct slots *s, struct completion **out, size_t max);

/* Any thread. */
uint64_t slot_token(const struct slot *slot);              /* 0: nobody waits, or it is answered */
struct slot *slots_claim(struct slots *s, uint64_t token); /* NULL: somebody else has answered */
bool slots_awaited(struct slots *s, uint64_t token);
bool slots_post(struct slots *s, uint64_t token, const struct http_response *response);
size_t slots_open_count(struct slots *s);

#endif
