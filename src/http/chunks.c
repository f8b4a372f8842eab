#include "http/chunks.h"

#include <assert.h>
#include <string.h>

enum part { SIZE, BLANK, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, LAST_CR, LAST_LF };

static void refuse(struct head *h, int status, const char *why)
{
    h->state = HEAD_REFUSED;
    h->status = status;
    h->why = why;
}

static int hex(char c)
{
    static const char DIGITS[] = "0123456789abcdef";
    const char *at = c ? strchr(DIGITS, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;
    return at ? (int)(at - DIGITS) : -1;
}

/* In the line of a size. */
static void take_in_line(struct chunks *c, struct head *h, char *at, size_t body_max)
{
    int digit = c->part == SIZE ? hex(*at) : -1;
    if (++c->line > CHUNK_LINE_MAX) {
        refuse(h, 400, "the line of a chunk is too long");
    } else if (digit >= 0) {
        c->left = c->left * 16 + digit;
        if (c->left > (int64_t)body_max)
            refuse(h, 413, "the body is too large");
    } else if (c->part == SIZE && c->line == 1) {
        refuse(h, 400, "a chunk without a size of hexadecimal digits");
    } else if (*at == '\r' && c->part != BLANK) {
        c->part = SIZE_LF;
    } else if (*at == ';' && c->part != EXTENSION) {
        c->part = EXTENSION;
        *at = ' ';
    } else if ((*at == ' ' || *at == '\t') && c->part != EXTENSION) {
        c->part = BLANK;
        *at = ' ';
    } else if (c->part != EXTENSION || ((unsigned char)*at < ' ' && *at != '\t') || *at == 0x7f) {
        refuse(h, 400, "a chunk size that is no hexadecimal number");
    }
}

static void line_end(struct chunks *c)
{
    c->line = 0;
    c->part = c->left > 0 ? DATA : LAST_CR;
}

/* One byte that is no data. */
static void take(struct chunks *c, struct head *h, char *at, size_t body_max)
{
    switch ((enum part)c->part) {
    case SIZE:
    case BLANK:
    case EXTENSION:
        take_in_line(c, h, at, body_max);
        return;
    case SIZE_LF:
        if (*at == '\n')
            line_end(c);
        else
            refuse(h, 400, "a bare carriage return");
        return;
    case DATA_CR:
    case LAST_CR:
        if (*at == '\r')
            c->part++;
        else
            refuse(h, 400,
                   c->part == LAST_CR ? "trailer fields are not taken"
                                      : "a chunk is longer than its size");
        return;
    case DATA_LF:
    case LAST_LF:
        if (*at != '\n')
            refuse(h, 400, "a bare carriage return");
        c->done = c->part == LAST_LF;
        c->part = SIZE;
        return;
    case DATA:
        break;
    }
    assert(!"a part of the framing");
}

size_t chunks_feed(struct chunks *c, struct head *h, char *data, size_t len, size_t body_max)
{
    size_t i = 0;
    while (i < len && !c->done && h->state == HEAD_DONE) {
        if (c->part == DATA) {
            size_t n = len - i < (size_t)c->left ? len - i : (size_t)c->left;
            c->left -= (int64_t)n;
            i += n;
            if (c->left == 0)
                c->part = DATA_CR;
        } else {
            take(c, h, &data[i++], body_max);
        }
    }
    return i;
}
