/* chunks.h: is a chunked body framed so that everybody would read it alike (RFC 9112 section 7.1)?
 *
 * The HTTP library takes signs, blanks and 0x before a size, lines without a carriage return, and
 * anything behind the data; it does not know extensions, and puts trailer fields among the headers.
 * This scanner goes before it, after a head that says chunked: sizes are plain hexadecimal digits,
 * lines end in CR LF, extensions are blanked in place (both readers then ignore them), trailer
 * fields are refused. Pure; no memory. */
#ifndef SUBPAY_HTTP_CHUNKS_H
#define SUBPAY_HTTP_CHUNKS_H

#include "http/head.h"

#define CHUNK_LINE_MAX 256 /* bytes of a size with its extensions */

struct chunks { /* all zero is a fresh one */
    uint8_t part;
    uint32_t line; /* bytes of it so far */
    int64_t left;  /* bytes of the chunk */
    bool done;
};
/* Takes bytes up to the end of the body, or all; returns how many. What is wrong is told as a
 * refusal of the head: 400 or 413. */
size_t chunks_feed(struct chunks *c, struct head *h, char *data, size_t len, size_t body_max);

#endif
