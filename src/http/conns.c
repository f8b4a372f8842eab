#include "http/conns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "http/client.h"
#include "http/problem.h"

#define OTHER_FILES (HTTP_CLIENT_CONNECTIONS_MAX + 256) /* of the rest of the process */

static size_t connections_allowed(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 ||
        files.rlim_cur >= HTTP_CONNECTIONS_MAX + OTHER_FILES)
        return HTTP_CONNECTIONS_MAX;
    return files.rlim_cur > 2 * OTHER_FILES ? files.rlim_cur - OTHER_FILES : files.rlim_cur / 2;
}

enum err conns_init(struct conns *all)
{
    *all = (struct conns){.max = connections_allowed()};
    return peers_open(&all->peers, HTTP_CONNECTIONS_MAX);
}

void conns_release(struct conns *all)
{
    peers_close(all->peers);
    free(all->by_fd);
    *all = (struct conns){0};
}

struct conn *conns_add(struct conns *all, void *listener, struct bufferevent *bev)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->listener = listener;
    c->bev = bev;
    c->fd = -1;
    c->next = all->first;
    if (all->first)
        all->first->prev = c;
    all->first = c;
    all->count++;
    return c;
}

void conns_remove(struct conns *all, struct conn *c)
{
    struct conn **at = &all->chores;
    while (*at && *at != c)
        at = &(*at)->next_chore;
    if (*at)
        *at = c->next_chore;
    if (c->prev)
        c->prev->next = c->next;
    else
        all->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (conns_of(all, c->fd) == c)
        all->by_fd[c->fd] = NULL;
    peers_leave(all->peers, c->peer);
    free(c);
    all->count--;
}

static bool by_fd_put(struct conns *all, struct conn *c)
{
    size_t need = (size_t)c->fd + 1;
    if (need > all->by_fd_count) {
        struct conn **grown = realloc(all->by_fd, need * 2 * sizeof *grown);
        if (!grown)
            return false;
        memset(grown + all->by_fd_count, 0, (need * 2 - all->by_fd_count) * sizeof *grown);
        all->by_fd = grown;
        all->by_fd_count = need * 2;
    }
    all->by_fd[c->fd] = c;
    return true;
}

bool conns_enter(struct conns *all, struct conn *c)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getpeername(c->fd, (struct sockaddr *)&address, &len) == 0)
        c->peer = peers_enter(all->peers, (struct sockaddr *)&address);
    return by_fd_put(all, c);
}

static bool is_own_machine(const unsigned char v6[16])
{
    static const unsigned char LOOPBACK[16] = {[15] = 1}, MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(v6, LOOPBACK, sizeof LOOPBACK) == 0 ||
           (memcmp(v6, MAPPED, sizeof MAPPED) == 0 && v6[12] == 127);
}

bool conn_crowds(const struct conn *c, char *address, size_t cap)
{
    if (!c->peer || peer_count(c->peer) <= HTTP_CONNECTIONS_PER_ADDRESS_MAX)
        return false;
    const unsigned char *v6 = peer_address(c->peer);
    return !is_own_machine(v6) && inet_ntop(AF_INET6, v6, address, (socklen_t)cap) != NULL;
}

/* The oldest ones come first in `found`. */
static size_t evicted_note(const struct conn *found[CONN_EVICT_MAX], size_t count,
                           const struct conn *c)
{
    if (count == CONN_EVICT_MAX) {
        if (found[count - 1]->since_us <= c->since_us)
            return count;
        count--;
    }
    size_t at = count;
    for (; at > 0 && found[at - 1]->since_us > c->since_us; at--)
        found[at] = found[at - 1];
    found[at] = c;
    return count + 1;
}

size_t conns_evict(struct conns *all, const void *listener, int64_t now_us)
{
    const struct conn *found[CONN_EVICT_MAX];
    size_t count = 0;
    for (const struct conn *c = all->first; c; c = c->next) {
        if (c->listener == listener && c->state == CONN_IDLE &&
            now_us - c->since_us >= CONN_EVICT_AGE_US)
            count = evicted_note(found, count, c);
    }
    for (size_t i = 0; i < count; i++)
        conn_cut(found[i]);
    return count;
}

struct conn *conns_of(const struct conns *all, int fd)
{
    return fd >= 0 && (size_t)fd < all->by_fd_count ? all->by_fd[fd] : NULL;
}

bool conn_scans(const struct conn *c)
{
    return c->head.state == HEAD_MORE ||
           (c->head.state == HEAD_DONE && c->head.chunked && !c->chunks.done);
}

void conn_scan_bytes(struct conn *c, char *data, size_t len, size_t body_max)
{
    size_t at = 0;
    while (at < len && conn_scans(c)) {
        if (c->head.state == HEAD_MORE)
            at += head_feed(&c->head, data + at, len - at, body_max);
        else
            at += chunks_feed(&c->chunks, &c->head, data + at, len - at, body_max);
    }
    c->scanned += at;
}

void conn_set(struct conn *c, enum conn_state state, int64_t now_us)
{
    c->state = state;
    c->since_us = now_us;
}

void conn_cut(const struct conn *c)
{
    if (c->fd >= 0)
        shutdown(c->fd, SHUT_RDWR);
}

void conn_say(const struct conn *c, int status, const char *why)
{
    char text[1024];
    struct str body;
    str_init(&body, 512);
    problem_format(&body, status, why, NULL, 0);
    /* Nobody knows the path yet: these are the methods of the whole server. */
    const char *allow = status == 405 ? "Allow: GET, HEAD, POST, PUT, PATCH, DELETE\r\n" : "";
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 %d %s\r\nContent-Type: " PROBLEM_TYPE "\r\nContent-Length: %zu\r\n"
                       "%sConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
                       "Cache-Control: no-store\r\n\r\n%s",
                       status, status_title(status), body.len, allow, body.data);
    if (len > 0 && (size_t)len < sizeof text)
        (void)!send(c->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    str_release(&body);
}

bool conn_overdue(const struct conn *c, int64_t now_us)
{
    int64_t age_us = now_us - c->since_us;
    switch (c->state) {
    case CONN_HEAD:
    case CONN_BODY:
        return age_us >= HTTP_REQUEST_TIME_S * US_PER_S;
    case CONN_IDLE:
    case CONN_WRITING:
        return age_us >= HTTP_IDLE_TIME_S * US_PER_S;
    case CONN_LINGERING:
        return age_us >= CONN_LINGER_TIME_US;
    case CONN_NEWBORN:
    case CONN_BUSY: /* its slot has a deadline */
    case CONN_CONDEMNED:
        break;
    }
    return false;
}
