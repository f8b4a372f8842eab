/* conns.h: the connections of one loop: their states, how long each may last, and the table of
 * all. One thread. */
#ifndef SUBPAY_HTTP_CONNS_H
#define SUBPAY_HTTP_CONNS_H

#include "http/chunks.h"
#include "http/peers.h"

#define CONN_EVICT_AGE_US US_PER_S              /* idle for so long: may have to make room */
#define CONN_EVICT_MAX 32                       /* at a time: each look is at all of them */
#define CONN_LINGER_TIME_US (2 * US_PER_S)      /* who is refused may read why for so long … */
#define CONN_LINGER_BYTES ((size_t)1024 * 1024) /* … while sending at most this */

/* NEWBORN → IDLE → HEAD → BODY → BUSY → WRITING → IDLE …; from HEAD or BODY also LINGERING
 * (refused by us, the HTTP library is cut off); from BUSY also CONDEMNED (closed without an
 * answer). */
enum conn_state {
    CONN_NEWBORN,
    CONN_IDLE,
    CONN_HEAD,
    CONN_BODY,
    CONN_BUSY,
    CONN_WRITING,
    CONN_LINGERING,
    CONN_CONDEMNED,
};
struct conn {
    void *listener;
    struct bufferevent *bev;
    struct evhttp_connection *evcon;
    void (*event_cb)(struct bufferevent *, short, void *); /* the library's, while lingering */
    struct slot *slot;
    int fd;
    enum conn_state state;
    int64_t since_us; /* of the state; HEAD and BODY: of the first byte */
    struct head head;
    struct chunks chunks;
    size_t scanned,
        lingered; /* bytes of the input buffer that were looked at; bytes after a refusal */
    struct peer *peer;
    struct conn *prev, *next, *next_chore;
};

struct conns {
    struct conn *first, *chores;
    size_t count, max;
    struct conn **by_fd;
    size_t by_fd_count;
    struct peers *peers;
};
enum err conns_init(struct conns *all) MUST_CHECK;
void conns_release(struct conns *all); /* when none is left */

struct conn *conns_add(struct conns *all, void *listener,
                       struct bufferevent *bev); /* NULL: no memory */
void conns_remove(struct conns *all, struct conn *c);
/* It has a socket: finds its peer. False: no memory. */
bool conns_enter(struct conns *all, struct conn *c);
/* Does its address hold too many? *address gets it then. Never one of this machine. */
bool conn_crowds(const struct conn *c, char *address, size_t cap);
/* Cuts those of a listener that are idle for longest; how many. */
size_t conns_evict(struct conns *all, const void *listener, int64_t now_us);
struct conn *conns_of(const struct conns *all, int fd);

/* Is the end of its request still to be found? */
bool conn_scans(const struct conn *c);
/* Bytes that follow the ones looked at so far, up to that end. */
void conn_scan_bytes(struct conn *c, char *data, size_t len, size_t body_max);

void conn_set(struct conn *c, enum conn_state state, int64_t now_us);
/* Both directions end at once; the library reads the end and frees the connection. */
void conn_cut(const struct conn *c);
/* A refusal, written past the library, which writes nothing while a request is read. */
void conn_say(const struct conn *c, int status, const char *why);
/* Has it been in its state for too long? */
bool conn_overdue(const struct conn *c, int64_t now_us);

#endif
