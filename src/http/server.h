/* server.h: HTTP/1.1 in, replies from any thread. server.c is the only file that knows evhttp.
 *
 * A server is one loop (one thread, the runner's) with one or more listeners. A request arrives as
 * a call of `on_request` in the loop's thread, borrowed for that call; the answer is given by
 * http_reply with the request's token, then or later, from any thread. A slot array of fixed size
 * holds what is open: a token of an old generation is dropped, a slot past its deadline answers
 * 503, so nothing leaks (design section 6).
 *
 * Guards (contract section 5): request line and headers 16 KiB (414, 431), body 16 KiB (413), 10
 * s from the first byte to a complete request, 75 s idle, and everything http/head.h refuses
 * (400, 405), each with a close; caps on connections in all, per listener and per address. Where
 * they are reached, the connections that are idle for longest make room. What is refused never
 * reaches on_request. */
#ifndef SUBPAY_HTTP_SERVER_H
#define SUBPAY_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

#define HTTP_HEADERS_MAX_BYTES 16384
#define HTTP_BODY_MAX_BYTES 16384
#define HTTP_REQUEST_TIME_S 10
#define HTTP_IDLE_TIME_S 75
#define HTTP_SLOTS_MAX 8192                        /* requests open in one loop */
#define HTTP_CONNECTIONS_MAX 10000                 /* of a loop */
#define HTTP_CONNECTIONS_RESERVE 64                /* of each listener, whatever the others hold */
#define HTTP_CONNECTIONS_PER_ADDRESS_MAX 4096      /* not of this machine or a trusted proxy */
#define HTTP_REPLY_TIME_US (10 * INT64_C(1000000)) /* unless the request asks for longer */
#define HTTP_RESPONSE_HEADERS_MAX 8
#define HTTP_REQUEST_HEADERS_MAX 64 /* fields; more: 431 */

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_TRACE,
    HTTP_OTHER,
};
const char *http_method_text(enum http_method m);

struct http_header {
    const char *name, *value;
};
struct http_server;
struct http_request { /* borrowed: only during on_request */
    struct http_server *server;
    uint64_t token;
    enum http_method method;
    const char *path;  /* as sent, percent-encoded, without query; starts with /, or is * */
    const char *query; /* as sent, without the question mark; "" when absent */
    const char *body;  /* may contain NULs */
    size_t body_len;
    const char *peer;                  /* address without port; "" on a unix socket */
    const struct http_header *headers; /* in the order they were sent */
    size_t header_count;
};
/* The value of a header; NULL when absent. *count (may be NULL) gets how often it was sent. */
const char *http_header(const struct http_request *r, const char *name, int *count);

struct http_response {        /* copied by http_reply */
    int status;               /* 0: close the connection without an answer */
    const char *content_type; /* NULL without a body */
    const char *body;
    size_t body_len;
    bool body_static; /* the body outlives the server: it is not copied */
    struct http_header headers[HTTP_RESPONSE_HEADERS_MAX]; /* up to the first NULL name */
    bool close;
};

typedef void http_on_request(void *ctx, const struct http_request *request);

enum err http_server_open(struct http_server **out, struct clock *clock) MUST_CHECK;
/* Before http_server_run. Port 0 takes any free one; *port (may be NULL) gets the real one.
 * ERR_LOCKED: the address is taken; ERR_INVALID: it is none; why says so. */
enum err http_listen(struct http_server *s, const char *address, http_on_request *fn, void *ctx,
                     int *port, char *why, size_t why_cap) MUST_CHECK;
/* A socket of mode 0600, also where the path is longer than sun_path; the caller holds the lock
 * of the directory, so what is there already is stale and removed. body_max: bytes of a body, 0:
 * HTTP_BODY_MAX_BYTES. */
enum err http_listen_unix(struct http_server *s, const char *directory, const char *name,
                          size_t body_max, http_on_request *fn, void *ctx, char *why,
                          size_t why_cap) MUST_CHECK;
/* Before http_server_run: addresses that may hold any number of connections, such as proxies. */
typedef bool http_trust(void *ctx, const char *address);
void http_server_trust(struct http_server *s, http_trust *fn, void *ctx);
void http_server_run(struct http_server *s); /* the loop, until http_server_stop */
void http_server_drain(
    struct http_server *s); /* any thread: no new connections, answer what is open */
void http_server_stop(struct http_server *s); /* any thread; open requests get 503 first */
void http_server_close(struct http_server *s);
size_t http_server_open_requests(struct http_server *s); /* any thread */

/* Any thread; false: nobody waits for that token any more. */
bool http_reply(struct http_server *s, uint64_t token, const struct http_response *response);
/* Any thread: does anybody still wait for it? */
bool http_awaited(struct http_server *s, uint64_t token);
/* Only in on_request: the answer may take this long. From now on a client that hangs up is
 * noticed, and its token forgotten. One that only ends its own direction looks the same, so it
 * gets no answer either. */
void http_set_deadline(const struct http_request *r, int64_t from_now_us);
/* Only in on_request: every answer to it carries Access-Control-Allow-Origin; origin outlives
 * the server. */
void http_set_origin(const struct http_request *r, const char *origin);
/* How many answers with this status (100–599) went out so far, refusals included; for metrics.
 * Any thread. */
int64_t http_server_count(struct http_server *s, int status);

#endif
