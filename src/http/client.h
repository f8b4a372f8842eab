/* client.h: HTTP calls to others, many in flight. client.c is the only file that knows curl.
 *
 * One client is one thread (the runner's, in http_client_run) around a curl multi handle. Submit from any
 * thread; `done` comes in the client's thread, once for each accepted call, with the whole answer or without
 * one. No redirects, no proxies from the environment, TLS verified, an answer over answer_max is none.
 *
 * A call other than GET and HEAD is written at most once: where a kept connection turns out to be dead after
 * the bytes went out, there is no answer, never a silent repeat. */
#ifndef SUBPAY_HTTP_CLIENT_H
#define SUBPAY_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

#define HTTP_CLIENT_CALLS_MAX 1024
#define HTTP_CLIENT_CONNECTIONS_MAX 512
#define HTTP_CLIENT_URL_MAX 4096  /* bytes */
#define HTTP_CLIENT_HEADERS_MAX 6 /* of a call */
#define HTTP_CLIENT_BODY_MAX                                                                       \
    (2 * 1024 * 1024)                       /* bytes of a request: a record of 1 MiB in its frame */
#define HTTP_CLIENT_RETRY_AFTER_MAX_S 21600 /* a longer wish is cut to this, by libcurl 8.14 too */

struct http_client;
struct http_outcome { /* borrowed during done */
    int status;       /* 0: no answer; note says why */
    bool maybe_sent;  /* false: it is certain that not a byte of the request was written */
    const char *body; /* never NULL; a NUL stands behind it */
    size_t body_len;
    int64_t retry_after_us; /* 0: none */
    const char *note;
};
typedef void http_client_done(void *ctx, uint64_t token, const struct http_outcome *outcome);
struct http_call_out { /* copied */
    const char *method, *url;
    const char *unix_socket; /* NULL, or a path, also one longer than a socket's name may be */
    const char *headers[HTTP_CLIENT_HEADERS_MAX]; /* "Name: value", up to the first NULL */
    const char *body;                             /* NULL: none */
    size_t body_len;
    int64_t timeout_ms; /* > 0: of the whole call */
    size_t answer_max;
    /* Checked before it is handed to the network, and again when the connection stands, at the moment before
     * its bytes are written; 0: no bound. */
    int64_t not_after_boot_us;
};

enum err http_client_open(struct http_client **out, struct clock *clock) MUST_CHECK;
void http_client_run(struct http_client *c);
void http_client_stop(struct http_client *c); /* any thread; calls in flight end with no answer */
/* After http_client_run has returned. What nobody ran ends with no answer here. NULL is fine. */
void http_client_close(struct http_client *c);
/* ERR_BUSY: HTTP_CLIENT_CALLS_MAX calls are inside; ERR_STOPPED; ERR_INVALID: over a maximum above. Then
 * done is not called. */
enum err http_client_submit(struct http_client *c, const struct http_call_out *call,
                            http_client_done *done, void *ctx, uint64_t token) MUST_CHECK;
/* One call, waited for, without a client (CLI); done is called, with token 0, before it returns. */
enum err http_call_once(const struct http_call_out *call, http_client_done *done,
                        void *ctx) MUST_CHECK;

#endif
