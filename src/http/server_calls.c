#include "http/server.h"

#include <unistd.h>

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
    slots_of(r->server->slots, r->token)->deadline_us = server_now_us(r->server) + from_now_us;
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
