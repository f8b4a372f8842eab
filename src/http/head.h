/* head.h: is this the head of an HTTP/1.1 request that everybody would read alike?
 *
 * A scanner that is fed the bytes of a request's line and headers as they arrive, before the
 * HTTP library parses them, and refuses what two readers could understand differently (RFC 9112
 * sections 2–6, 11.2): several or missing Host, Content-Length twice or not plain digits,
 * Content-Length with Transfer-Encoding, codings other than one `chunked`, a body with HEAD or
 * TRACE, folded lines, bare CR or LF, NUL and other control characters, names that are no
 * tokens, targets that are neither a path nor an http URL. Pure; no memory. */
#ifndef SUBPAY_HTTP_HEAD_H
#define SUBPAY_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/server.h"

#define HEAD_TEXT_MAX 256 /* of a value that is looked at: Host, Content-Length … */

enum head_state { HEAD_MORE, HEAD_DONE, HEAD_REFUSED };
struct head { /* all zero is a fresh one */
    enum head_state state;
    int status;      /* with HEAD_REFUSED: 400, 405, 413, 414, 417 or 431 */
    const char *why; /* static */
    enum http_method method;
    bool chunked; /* the body is: see chunks.h */

    /* private */
    uint8_t part, field, minor;
    bool cr, host, length;
    int64_t content_length;
    uint32_t bytes, fields, held;
    char text[HEAD_TEXT_MAX];
};
/* Takes bytes up to the end of the head, or all; returns how many. body_max: of the announced
 * body. */
size_t head_feed(struct head *h, const char *data, size_t len, size_t body_max);

#endif
