#include "http/server.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "http/message.h"
#include "http/problem.h"
#include "http/server_private.h"

#define SWEEP_US US_PER_S      /* while there are connections */
#define FLUSH_TIME_US US_PER_S /* the last answers get this when the loop stops */
#define FLUSH_LOOK_US (5 * US_PER_MS)
#define INPUT_SLACK 16384 /* chunk sizes, and what is pipelined behind a request */

static void tick_start(struct http_server *s, int64_t pause_us)
{
    struct timeval pause = {pause_us / US_PER_S, pause_us % US_PER_S};
    evtimer_add(s->tick, &pause);
    s->ticking = true;
}

static void chore_add(struct http_server *s, struct conn *c, enum conn_state state)
{
    conn_set(c, state, server_now_us(s));
    c->next_chore = s->conns.chores;
    s->conns.chores = c;
    event_active(s->chore, EV_TIMEOUT, 0);
}

/* Refusals: what the scanner finds never reaches evhttp. */

static void linger_read(struct bufferevent *bev, void *ctx)
{
    (void)ctx; /* evhttp may call this once more, with an argument of its own */
    struct evbuffer *input = bufferevent_get_input(bev);
    evbuffer_drain(input, evbuffer_get_length(input));
}

static void linger_event(struct bufferevent *bev, short what, void *ctx)
{
    struct conn *c = ctx;
    bufferevent_event_cb event_cb = c->event_cb;
    struct evhttp_connection *evcon = c->evcon;
    bufferevent_setcb(bev, NULL, NULL, event_cb, evcon);
    event_cb(bev, what, evcon); /* frees the connection */
}

/* Says why, and reads on for a little while: a close with unread bytes would destroy the answer. */
static void conn_refuse(struct conn *c, int status, const char *why)
{
    bufferevent_data_cb read_cb;
    bufferevent_event_cb event_cb;
    bufferevent_getcb(c->bev, &read_cb, NULL, &event_cb, NULL);
    if (!read_cb || !event_cb)
        return; /* evhttp is refusing it already */
    conn_say(c, status, why);
    server_count(server_of(c), status);
    shutdown(c->fd, SHUT_WR);
    c->event_cb = event_cb;
    c->lingered = 0;
    conn_set(c, CONN_LINGERING, server_now_us(server_of(c)));
    bufferevent_setcb(c->bev, linger_read, NULL, linger_event, c);
}

/* Feeds what is new in the input buffer to the scanner. */
static void conn_scan(struct conn *c)
{
    size_t body_max = ((struct listener *)c->listener)->body_max;
    struct evbuffer *input = bufferevent_get_input(c->bev);
    while (conn_scans(c) && c->scanned < evbuffer_get_length(input)) {
        struct evbuffer_ptr at;
        struct evbuffer_iovec pieces[4];
        if (evbuffer_ptr_set(input, &at, c->scanned, EVBUFFER_PTR_SET) < 0)
            return;
        int n = evbuffer_peek(input, -1, &at, pieces, 4);
        for (int i = 0; i < n && i < 4; i++)
            conn_scan_bytes(c, pieces[i].iov_base, pieces[i].iov_len, body_max);
    }
    if (c->head.state == HEAD_DONE)
        c->state = CONN_BODY;
}

static void input_changed(struct evbuffer *input, const struct evbuffer_cb_info *info, void *ctx)
{
    struct conn *c = ctx;
    (void)input;
    c->scanned -= info->n_deleted < c->scanned ? info->n_deleted : c->scanned;
    if (info->n_added == 0)
        return;
    if (c->state == CONN_IDLE)
        conn_set(c, CONN_HEAD, server_now_us(server_of(c)));
    if (c->state == CONN_HEAD || c->state == CONN_BODY) {
        conn_scan(c);
        if (c->head.state == HEAD_REFUSED)
            conn_refuse(c, c->head.status, c->head.why);
    } else if (c->state == CONN_LINGERING) {
        c->lingered += info->n_added;
        if (c->lingered > CONN_LINGER_BYTES)
            conn_cut(c);
    }
}

/* Connections */

/* A listener that is full waits until one of its connections ends; idle ones are made to. */
static void accept_adjust(struct http_server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        struct listener *l = &s->listeners[i];
        bool was_full = l->full;
        l->full = !server_may_accept(s, l);
        if (s->mode == RUNNING && !l->full)
            evconnlistener_enable(l->accepting);
        else
            evconnlistener_disable(l->accepting);
        if (l->full && !was_full)
            (void)conns_evict(&s->conns, l, server_now_us(s));
    }
}

static void conn_gone(struct conn *c)
{
    struct http_server *s = server_of(c);
    evbuffer_remove_cb(bufferevent_get_input(c->bev), input_changed, c);
    if (c->slot)
        c->slot->conn = NULL;
    ((struct listener *)c->listener)->count--;
    conns_remove(&s->conns, c);
    if (s->mode == RUNNING)
        accept_adjust(s);
}

static void conn_closed(struct evhttp_connection *evcon, void *ctx)
{
    (void)evcon;
    conn_gone(ctx);
}

/* evhttp asks for the bufferevent of a connection that it has just accepted. */
static struct bufferevent *conn_make(struct event_base *base, void *ctx)
{
    struct listener *l = ctx;
    struct http_server *s = l->server;
    struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    struct conn *c = bev ? conns_add(&s->conns, l, bev) : NULL;
    if (!c || !evbuffer_add_cb(bufferevent_get_input(bev), input_changed, c))
        abort(); /* out of memory; evhttp would serve it unguarded */
    /* Bounds what may pile up behind a request; a whole one fits. */
    bufferevent_setwatermark(bev, EV_READ, 0, HTTP_HEADERS_MAX_BYTES + l->body_max + INPUT_SLACK);
    bufferevent_incref(bev); /* until conn_born */
    chore_add(s, c, CONN_NEWBORN);
    l->count++;
    accept_adjust(s);
    if (!s->ticking)
        tick_start(s, SWEEP_US);
    return bev;
}

/* Runs before the first byte can be read: only now the connection has its socket. The argument
 * of evhttp's callbacks is its connection, which nothing else tells before a request is
 * complete. */
static void conn_born(struct http_server *s, struct conn *c)
{
    struct bufferevent *bev = c->bev;
    char address[64];
    void *evcon;
    bufferevent_getcb(bev, NULL, NULL, NULL, &evcon);
    if (!evcon) { /* evhttp gave it up at once */
        conn_gone(c);
    } else {
        assert(evhttp_connection_get_bufferevent(evcon) == bev);
        c->evcon = evcon;
        c->fd = bufferevent_getfd(bev);
        conn_set(c, CONN_IDLE, server_now_us(s));
        evhttp_connection_set_closecb(c->evcon, conn_closed, c);
        if (s->mode != RUNNING || !conns_enter(&s->conns, c))
            evhttp_connection_free(c->evcon);
        else if (conn_crowds(c, address, sizeof address) &&
                 !(s->trust && s->trust(s->trust_ctx, address)))
            conn_refuse(c, 503, "too many connections from this address");
    }
    bufferevent_decref(bev);
}

static void chores_do(evutil_socket_t fd, short what, void *ctx)
{
    struct http_server *s = ctx;
    (void)fd, (void)what;
    while (s->conns.chores) {
        struct conn *c = s->conns.chores;
        s->conns.chores = c->next_chore;
        if (c->state == CONN_NEWBORN)
            conn_born(s, c);
        else
            evhttp_connection_free(c->evcon);
    }
}

/* Answers */

/* evhttp has written an answer; the connection may hold the next request already. */
static void written(struct evhttp_request *req, void *ctx)
{
    struct conn *c = ctx;
    bool more = evbuffer_get_length(bufferevent_get_input(c->bev)) > 0;
    conn_set(c, more ? CONN_HEAD : CONN_IDLE, server_now_us(server_of(c)));
    if (more)
        conn_scan(c);
    if (c->head.state == HEAD_REFUSED) {
        conn_say(c, c->head.status, c->head.why);
        server_count(server_of(c), c->head.status);
    }
    if (c->head.state == HEAD_REFUSED || server_of(c)->mode != RUNNING)
        evhttp_add_header(evhttp_request_get_output_headers(req), "Connection", "close");
}

static void headers_add(struct evkeyvalq *headers, const struct http_response *r,
                        const char *origin)
{
    bool cached = false;
    if (r->content_type)
        evhttp_add_header(headers, "Content-Type", r->content_type);
    for (size_t i = 0; i < HTTP_RESPONSE_HEADERS_MAX && r->headers[i].name; i++) {
        cached = cached || strcmp(r->headers[i].name, "Cache-Control") == 0;
        evhttp_add_header(headers, r->headers[i].name, r->headers[i].value);
    }
    if (!cached)
        evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    if (!origin)
        return;
    evhttp_add_header(headers, "Access-Control-Allow-Origin", origin);
    evhttp_add_header(headers, "Access-Control-Expose-Headers",
                      "Location, Retry-After, Idempotent-Replayed");
    evhttp_add_header(headers, "Vary", "Origin");
}

static void send_now(struct http_server *s, struct conn *c, struct evhttp_request *req,
                     const struct http_response *r, bool head, const char *origin)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    headers_add(headers, r, origin);
    if (r->close || s->mode != RUNNING)
        evhttp_add_header(headers, "Connection", "close");
    if (head && r->body_len > 0) {
        char length[24];
        snprintf(length, sizeof length, "%zu", r->body_len);
        evhttp_add_header(headers, "Content-Length", length);
    } else if (r->body_len > 0) {
        int added = r->body_static
                        ? evbuffer_add_reference(s->body, r->body, r->body_len, NULL, NULL)
                        : evbuffer_add(s->body, r->body, r->body_len);
        if (added < 0)
            abort(); /* out of memory; half an answer would be a wrong one */
    }
    server_count(s, r->status);
    conn_set(c, CONN_WRITING, server_now_us(s));
    evhttp_request_set_on_complete_cb(req, written, c);
    evhttp_send_reply(req, r->status, status_title(r->status), s->body);
}

void slot_answer(struct http_server *s, struct slot *slot, const struct http_response *r)
{
    struct evhttp_request *req = slot->request;
    struct conn *c = slot->conn;
    bool head = slot->head;
    const char *origin = slot->origin;
    slots_free(s->slots, slot);
    if (!c) {
        evhttp_send_reply(req, r->status, "", NULL); /* the client left: this only frees it */
        return;
    }
    c->slot = NULL;
    if (r->status == 0)
        chore_add(s, c, CONN_CONDEMNED);
    else
        send_now(s, c, req, r, head, origin);
}

/* Clients that hung up before their answer came. */
static void left(evutil_socket_t fd, short what, void *ctx)
{
    struct http_server *s = ctx;
    struct epoll_event events[64];
    const struct http_response nothing = {.status = 0};
    (void)what;
    int n = epoll_wait(fd, events, 64, 0);
    for (int i = 0; i < n; i++) {
        struct conn *c = conns_of(&s->conns, events[i].data.fd);
        struct slot *slot = c ? c->slot : NULL;
        if (slot && slot->watched && slots_claim(s->slots, slot_token(slot)))
            slot_answer(s, slot, &nothing);
    }
}

/* Requests */

static size_t headers_copy(struct evhttp_request *req, struct http_header *out)
{
    size_t n = 0;
    struct evkeyval *h;
    TAILQ_FOREACH(h, evhttp_request_get_input_headers(req), next)
    {
        if (n < HTTP_REQUEST_HEADERS_MAX)
            out[n++] = (struct http_header){h->key, h->value};
    }
    return n;
}

static void refuse_now(struct http_server *s, struct conn *c, struct evhttp_request *req,
                       int status, const char *detail)
{
    struct str body;
    struct http_response r;
    problem_response(&body, &r, status, detail);
    r.close = true;
    send_now(s, c, req, &r, false, NULL);
    str_release(&body);
}

static void request_hand_over(struct listener *l, struct evhttp_request *req, struct slot *slot,
                              enum http_method method)
{
    struct http_request r = {.server = l->server, .token = slot_token(slot), .method = method};
    struct http_header headers[HTTP_REQUEST_HEADERS_MAX];
    struct evbuffer *body = evhttp_request_get_input_buffer(req);
    char *peer = NULL;
    ev_uint16_t port;
    if (!http_target_split(evhttp_request_get_uri(req), l->server->target, sizeof l->server->target,
                           &r))
        assert(!"the scanner bounds the whole head");
    r.body_len = evbuffer_get_length(body);
    r.body = r.body_len ? (const char *)evbuffer_pullup(body, -1) : "";
    evhttp_connection_get_peer(evhttp_request_get_connection(req), &peer, &port);
    r.peer = peer && l->place.dir_fd < 0 ? peer : "";
    r.headers = headers;
    r.header_count = headers_copy(req, headers);
    l->fn(l->ctx, &r);
}

static void request_arrived(struct evhttp_request *req, void *ctx)
{
    struct listener *l = ctx;
    struct http_server *s = l->server;
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    struct conn *c =
        conns_of(&s->conns, bufferevent_getfd(evhttp_connection_get_bufferevent(evcon)));
    assert(c);
    enum http_method method = c->head.method;
    bool whole = c->head.state == HEAD_DONE && !conn_scans(c);
    struct slot *slot = whole ? slots_take(s->slots, req, c) : NULL;
    c->head = (struct head){0};
    c->chunks = (struct chunks){0};
    c->scanned = 0;
    conn_set(c, CONN_BUSY, server_now_us(s));
    if (!whole) { /* two readers understood it differently */
        refuse_now(s, c, req, 400, "this is not HTTP/1.1");
    } else if (!slot) {
        refuse_now(s, c, req, 503, "too many requests are open");
    } else {
        c->slot = slot;
        slot->head = method == HTTP_HEAD;
        slot->deadline_us = c->since_us + HTTP_REPLY_TIME_US;
        request_hand_over(l, req, slot, method);
    }
}

/* The loop */

static void sweep_conns(struct http_server *s, int64_t now)
{
    for (struct conn *c = s->conns.first; c; c = c->next) {
        if (!conn_overdue(c, now))
            continue;
        if (c->state == CONN_HEAD || c->state == CONN_BODY)
            conn_refuse(c, 408, "the request took too long to arrive");
        conn_cut(c);
    }
}

static void ticked(evutil_socket_t fd, short what, void *ctx)
{
    struct http_server *s = ctx;
    int64_t now = server_now_us(s);
    (void)fd, (void)what;
    s->ticking = false;
    server_sweep_slots(s, now);
    sweep_conns(s, now);
    for (size_t i = 0; i < s->listener_count; i++) {
        if (s->listeners[i].full && s->mode == RUNNING)
            (void)conns_evict(&s->conns, &s->listeners[i], now);
    }
    if (s->mode == STOPPING && (s->conns.count == 0 || now >= s->stop_us))
        event_base_loopbreak(s->base);
    else if (s->conns.count > 0)
        tick_start(s, s->mode == STOPPING ? FLUSH_LOOK_US : SWEEP_US);
}

static void mode_enter(struct http_server *s, enum mode mode)
{
    if (mode <= s->mode)
        return;
    s->mode = mode;
    accept_adjust(s);
    for (size_t i = 0; i < s->listener_count; i++) {
        struct listener *l = &s->listeners[i];
        shutdown(evconnlistener_get_fd(l->accepting), SHUT_RDWR); /* who comes now is refused */
        unix_place_release(&l->place);
    }
    for (struct conn *c = s->conns.first; c; c = c->next) {
        if (c->state == CONN_IDLE ||
            (mode == STOPPING && (c->state == CONN_HEAD || c->state == CONN_BODY)))
            conn_cut(c);
    }
    if (mode == STOPPING) {
        s->stop_us = server_now_us(s) + FLUSH_TIME_US;
        tick_start(s, 0);
    }
}

static void woke(evutil_socket_t fd, short what, void *ctx)
{
    struct http_server *s = ctx;
    struct completion *batch[64];
    uint64_t ignored;
    (void)what;
    (void)!read(fd, &ignored, sizeof ignored);
    for (size_t n; (n = slots_posted(s->slots, batch, 64)) > 0;) {
        for (size_t i = 0; i < n; i++) {
            slot_answer(s, batch[i]->slot, &batch[i]->response);
            free(batch[i]);
        }
    }
    mode_enter(s, (enum mode)atomic_load(&s->wanted));
}

static void accept_again(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    evconnlistener_enable(ctx);
}

/* Out of file descriptors, most likely: the event would come again at once. */
static void accept_failed(struct evconnlistener *accepting, void *ctx)
{
    struct timeval pause = {1, 0};
    (void)ctx;
    evconnlistener_disable(accepting);
    event_base_once(evconnlistener_get_base(accepting), -1, EV_TIMEOUT, accept_again, accepting,
                    &pause);
}

enum err listener_add(struct http_server *s, int fd, struct unix_place place, size_t body_max,
                      http_on_request *fn, void *ctx)
{
    assert(s->listener_count < LISTENERS_MAX && !atomic_load(&s->running));
    struct listener *l = &s->listeners[s->listener_count];
    *l = (struct listener){.server = s, .fn = fn, .ctx = ctx, .body_max = body_max, .place = place};
    l->http = evhttp_new(s->base);
    l->accepting = evconnlistener_new(s->base, NULL, NULL,
                                      LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!l->http || !l->accepting || !evhttp_bind_listener(l->http, l->accepting)) {
        if (l->accepting)
            evconnlistener_free(l->accepting);
        else
            close(fd);
        if (l->http)
            evhttp_free(l->http);
        unix_place_release(&l->place);
        return ERR_NO_MEMORY;
    }
    evconnlistener_set_error_cb(l->accepting, accept_failed);
    evhttp_set_bevcb(l->http, conn_make, l);
    evhttp_set_gencb(l->http, request_arrived, l);
    evhttp_set_default_content_type(l->http, NULL);
    evhttp_set_max_headers_size(l->http, HTTP_HEADERS_MAX_BYTES + 1024); /* ours comes first */
    evhttp_set_max_body_size(l->http, (ev_ssize_t)body_max);
    evhttp_set_allowed_methods(l->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                            EVHTTP_REQ_PUT | EVHTTP_REQ_PATCH | EVHTTP_REQ_DELETE |
                                            EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE);
    s->listener_count++;
    return ERR_OK;
}

static void library_fatal(int code)
{
    (void)code;
    abort(); /* it would exit quietly */
}

static void library_says(int severity, const char *text)
{
    (void)severity, (void)text; /* what fails is seen by its caller */
}

static void library_init(void)
{
    event_set_fatal_callback(library_fatal);
    event_set_log_callback(library_says);
    signal(SIGPIPE, SIG_IGN); /* a client that left is an error of writev, not the end */
}

static struct event_base *base_make(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;
    if (config && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
        base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    return base;
}

static bool server_make(struct http_server *s)
{
    s->base = base_make();
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    s->body = evbuffer_new();
    if (!s->base || s->wake_fd < 0 || s->watch_fd < 0 || !s->body ||
        conns_init(&s->conns) != ERR_OK || slots_open(&s->slots, server_wake, s) != ERR_OK)
        return false;
    s->woken = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, woke, s);
    s->tick = evtimer_new(s->base, ticked, s);
    s->chore = event_new(s->base, -1, 0, chores_do, s);
    s->left = event_new(s->base, s->watch_fd, EV_READ | EV_PERSIST, left, s);
    return s->woken && s->tick && s->chore && s->left && event_add(s->woken, NULL) == 0 &&
           event_add(s->left, NULL) == 0;
}

enum err http_server_open(struct http_server **out, struct clock *clock)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, library_init);
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NO_MEMORY;
    s->clock = clock;
    s->wake_fd = s->watch_fd = -1;
    if (!server_make(s)) {
        http_server_close(s);
        return ERR_NO_MEMORY;
    }
    *out = s;
    return ERR_OK;
}

void http_server_run(struct http_server *s)
{
    s->thread = pthread_self();
    atomic_store(&s->running, true);
    event_base_loop(s->base, EVLOOP_NO_EXIT_ON_EMPTY);
    atomic_store(&s->running, false);
}

void http_server_close(struct http_server *s)
{
    if (!s)
        return;
    s->mode = STOPPING;
    for (size_t i = 0; i < s->listener_count; i++) {
        evhttp_free(s->listeners[i].http); /* and its connections, and what is open on them */
        unix_place_release(&s->listeners[i].place);
    }
    slots_close(s->slots);
    conns_release(&s->conns);
    struct event *events[] = {s->woken, s->tick, s->chore, s->left};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i])
            event_free(events[i]);
    }
    if (s->base)
        event_base_free(s->base);
    if (s->body)
        evbuffer_free(s->body);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    if (s->watch_fd >= 0)
        close(s->watch_fd);
    free(s);
}
