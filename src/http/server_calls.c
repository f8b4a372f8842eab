#include "http/server.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "http/problem.h"
#include "http/server_private.h"

void server_count(struct http_server *s, int status)
{
    if (status > 0 && status < STATUS_MAX)
        atomic_fetch_add_explicit(&s->counts[status], 1, memory_order_relaxed);
}

void server_wake(void *ctx)
{
    struct http_server *s = ctx;
    uint64_t one = 1;
    (void)!write(s->wake_fd, &one, sizeof one);
}

bool http_reply(struct http_server *s, uint64_t token, const struct http_response *response)
{
    if (!atomic_load(&s->running) || !pthread_equal(s->thread, pthread_self()))
        return slots_post(s->slots, token, response);
    struct slot *slot = slots_claim(s->slots, token);
    if (slot)
        slot_answer(s, slot, response);
    return slot != NULL;
}

void http_set_deadline(const struct http_request *r, int64_t from_now_us)
{
    struct slot *slot = slots_of(r->server->slots, r->token);
    slot->deadline_us = server_now_us(r->server) + from_now_us;
    server_watch(r->server, slot);
}

bool http_awaited(struct http_server *s, uint64_t token)
{
    return slots_awaited(s->slots, token);
}

/* The HTTP library reads nothing while it waits for an answer, and its own events do not tell a
 * reset apart; so an epoll of ours, once for each such request. What is closed leaves it by itself. */
void server_watch(struct http_server *s, struct slot *slot)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET | EPOLLONESHOT};
    int fd = event.data.fd = slot->conn->fd;
    if (epoll_ctl(s->watch_fd, EPOLL_CTL_MOD, fd, &event) == 0 ||
        epoll_ctl(s->watch_fd, EPOLL_CTL_ADD, fd, &event) == 0)
        slot->watched = true;
}

void server_sweep_slots(struct http_server *s, int64_t now)
{
    bool stopping = s->mode == STOPPING;
    for (size_t i = 0; i < slots_used(s->slots); i++) {
        struct slot *slot = slots_at(s->slots, i);
        if (!slot->request || (!stopping && now < slot->deadline_us) ||
            !slots_claim(s->slots, slot_token(slot)))
            continue;
        struct str body;
        struct http_response r;
        problem_response(&body, &r, 503, stopping ? "shutting down" : "no answer in time");
        slot_answer(s, slot, &r);
        str_release(&body);
    }
}

static size_t reserve_of(const struct http_server *s)
{
    size_t share = s->conns.max / 16;
    return share < 1 ? 1 : share < HTTP_CONNECTIONS_RESERVE ? share : HTTP_CONNECTIONS_RESERVE;
}

/* Each listener has a reserve of its own, and all of them share the rest. */
bool server_may_accept(const struct http_server *s, const struct listener *l)
{
    size_t reserve = reserve_of(s), shared = 0;
    for (size_t i = 0; i < s->listener_count; i++) {
        size_t count = s->listeners[i].count;
        shared += count > reserve ? count - reserve : 0;
    }
    return l->count < reserve || shared + reserve * s->listener_count < s->conns.max;
}

void http_server_trust(struct http_server *s, http_trust *fn, void *ctx)
{
    s->trust = fn;
    s->trust_ctx = ctx;
}

void http_set_origin(const struct http_request *r, const char *origin)
{
    slots_of(r->server->slots, r->token)->origin = origin;
}

enum err http_listen(struct http_server *s, const char *address, http_on_request *fn, void *ctx,
                     int *port, char *why, size_t why_cap)
{
    int fd, bound_port;
    enum err err = socket_listen(address, &fd, &bound_port, why, why_cap);
    if (err == ERR_OK)
        err = listener_add(s, fd, (struct unix_place){.dir_fd = -1}, HTTP_BODY_MAX_BYTES, fn, ctx);
    if (err == ERR_OK && port)
        *port = bound_port;
    return err;
}

enum err http_listen_unix(struct http_server *s, const char *directory, const char *name,
                          size_t body_max, http_on_request *fn, void *ctx, char *why,
                          size_t why_cap)
{
    int fd;
    struct unix_place place;
    enum err err = socket_listen_unix(directory, name, &fd, &place, why, why_cap);
    if (err == ERR_OK)
        err = listener_add(s, fd, place, body_max ? body_max : HTTP_BODY_MAX_BYTES, fn, ctx);
    return err;
}

static void server_want(struct http_server *s, enum mode mode)
{
    int was = atomic_load(&s->wanted);
    while (was < (int)mode && !atomic_compare_exchange_weak(&s->wanted, &was, (int)mode))
        continue;
    server_wake(s);
}

void http_server_drain(struct http_server *s)
{
    server_want(s, DRAINING);
}

void http_server_stop(struct http_server *s)
{
    server_want(s, STOPPING);
}

size_t http_server_open_requests(struct http_server *s)
{
    return slots_open_count(s->slots);
}

int64_t http_server_count(struct http_server *s, int status)
{
    return status > 0 && status < STATUS_MAX
               ? atomic_load_explicit(&s->counts[status], memory_order_relaxed)
               : 0;
}
