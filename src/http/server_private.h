/* server_private.h: the inside of an HTTP server, for server.c (the loop and evhttp) and
 * server_calls.c (what others call). The loop's thread owns everything but the atomics and what
 * slots.h allows to any thread. */
#ifndef SUBPAY_HTTP_SERVER_PRIVATE_H
#define SUBPAY_HTTP_SERVER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/conns.h"
#include "http/server.h"
#include "http/slots.h"
#include "http/socket.h"

#define LISTENERS_MAX 4
#define STATUS_MAX 600

struct listener {
    struct http_server *server;
    struct evhttp *http;
    struct evconnlistener *accepting;
    http_on_request *fn;
    void *ctx;
    size_t body_max, count; /* bytes of a body; connections */
    struct unix_place place;
    bool full;
};

enum mode { RUNNING, DRAINING, STOPPING };

struct http_server {
    struct clock *clock;
    struct event_base *base;
    struct event *woken, *tick, *chore, *left;
    int wake_fd, watch_fd; /* watch_fd: an epoll of the clients that wait for long */
    struct listener listeners[LISTENERS_MAX];
    size_t listener_count;
    struct conns conns;
    struct slots *slots;
    bool ticking;
    http_trust *trust;
    void *trust_ctx;
    enum mode mode;
    int64_t stop_us;
    atomic_int wanted; /* enum mode */
    atomic_bool running;
    pthread_t thread;
    struct evbuffer *body; /* of the answer being sent */
    _Atomic int64_t counts[STATUS_MAX];
    char target[HTTP_HEADERS_MAX_BYTES + 1];
};

static inline int64_t server_now_us(struct http_server *s)
{
    return clock_boot_us(s->clock);
}

static inline struct http_server *server_of(const struct conn *c)
{
    return ((const struct listener *)c->listener)->server;
}

/* server.c; of the loop's thread, or before it runs */
enum err listener_add(struct http_server *s, int fd, struct unix_place place, size_t body_max,
                      http_on_request *fn, void *ctx) MUST_CHECK;
/* The slot was claimed. */
void slot_answer(struct http_server *s, struct slot *slot, const struct http_response *r);

/* server_calls.c */
/* The client of a slot: server.c hears of it when it hangs up. */
void server_watch(struct http_server *s, struct slot *slot);
void server_sweep_slots(struct http_server *s, int64_t now_us); /* answers what is overdue */
bool server_may_accept(const struct http_server *s, const struct listener *l);
void server_count(struct http_server *s, int status);
void server_wake(void *server); /* any thread */

#endif
