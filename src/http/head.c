#include "http/head.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define METHOD_MAX 32 /* bytes; a longer one is none that anybody knows */

enum part { METHOD, TARGET, VERSION, LINE_START, NAME, VALUE };
enum field { FIELD_OTHER, FIELD_HOST, FIELD_LENGTH, FIELD_CODING, FIELD_EXPECT };

static void refuse(struct head *h, int status, const char *why)
{
    h->state = HEAD_REFUSED;
    h->status = status;
    h->why = why;
}

static bool is_token(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void hold(struct head *h, char c)
{
    if (h->held < HEAD_TEXT_MAX - 1)
        h->text[h->held] = c;
    h->held++;
}

/* The text held since the last call; NULL if it did not fit. */
static const char *held(struct head *h)
{
    bool fits = h->held < HEAD_TEXT_MAX;
    h->text[fits ? h->held : 0] = '\0';
    h->held = 0;
    return fits ? h->text : NULL;
}

static void method_end(struct head *h)
{
    const char *text = held(h);
    h->method = HTTP_OTHER;
    for (enum http_method m = HTTP_GET; text && m < HTTP_OTHER; m++) {
        if (strcmp(text, http_method_text(m)) == 0)
            h->method = m;
    }
    if (text && text[0] == '\0')
        refuse(h, 400, "no method");
    else if (h->method == HTTP_OTHER)
        refuse(h, 405, "unknown method");
}

static void target_end(struct head *h)
{
    h->text[h->held < HEAD_TEXT_MAX ? h->held : HEAD_TEXT_MAX - 1] = '\0';
    const char *text = h->text;
    bool star = h->method == HTTP_OPTIONS && strcmp(text, "*") == 0;
    const char *authority = strncasecmp(text, "http://", 7) == 0    ? text + 7
                            : strncasecmp(text, "https://", 8) == 0 ? text + 8
                                                                    : NULL;
    if (text[0] != '/' && !star && !(authority && *authority && !strchr("/?", *authority)))
        refuse(h, 400, "the target is neither a path nor an http URL");
    h->held = 0;
}

static void version_end(struct head *h)
{
    const char *text = held(h);
    if (text && strcmp(text, "HTTP/1.1") == 0)
        h->minor = 1;
    else if (!text || strcmp(text, "HTTP/1.0") != 0)
        refuse(h, 400, "not HTTP/1.1");
}

static void name_end(struct head *h)
{
    const char *text = held(h);
    h->field = FIELD_OTHER;
    if (++h->fields > HTTP_REQUEST_HEADERS_MAX)
        refuse(h, 431, "too many header fields");
    else if (!text)
        return;
    else if (strcasecmp(text, "Host") == 0)
        h->field = FIELD_HOST;
    else if (strcasecmp(text, "Content-Length") == 0)
        h->field = FIELD_LENGTH;
    else if (strcasecmp(text, "Transfer-Encoding") == 0)
        h->field = FIELD_CODING;
    else if (strcasecmp(text, "Expect") == 0)
        h->field = FIELD_EXPECT;
}

static void length_take(struct head *h, const char *text, size_t body_max)
{
    size_t digits = strspn(text, "0123456789");
    if (h->length || digits == 0 || text[digits] != '\0') {
        refuse(h, 400, "Content-Length twice or no number");
        return;
    }
    h->length = true;
    h->content_length = 0;
    for (size_t i = 0; i < digits && h->content_length <= (int64_t)body_max; i++)
        h->content_length = h->content_length * 10 + (text[i] - '0');
    if (h->content_length > (int64_t)body_max)
        refuse(h, 413, "the body is too large");
}

static void value_end(struct head *h, size_t body_max)
{
    if (h->field == FIELD_OTHER)
        return;
    while (h->held > 0 && h->held < HEAD_TEXT_MAX && strchr(" \t", h->text[h->held - 1]))
        h->held--;
    const char *text = held(h);
    if (!text) {
        refuse(h, 431, "a header field is too long");
    } else if (h->field == FIELD_HOST) {
        if (h->host || text[strcspn(text, " \t\"#/<>?@\\^`{|}")] != '\0')
            refuse(h, 400, "Host twice or no host");
        h->host = true;
    } else if (h->field == FIELD_LENGTH) {
        length_take(h, text, body_max);
    } else if (h->field == FIELD_CODING) {
        if (h->chunked || h->minor == 0 || strcasecmp(text, "chunked") != 0)
            refuse(h, 400, "a transfer coding other than one chunked");
        h->chunked = true;
    } else if (strcasecmp(text, "100-continue") != 0) {
        refuse(h, 417, "an unknown expectation");
    }
}

static void head_end(struct head *h)
{
    bool body = h->chunked || (h->length && h->content_length > 0);
    if (!h->host && h->minor > 0)
        refuse(h, 400, "Host is missing");
    else if (h->chunked && h->length)
        refuse(h, 400, "Content-Length and Transfer-Encoding");
    else if (body && (h->method == HTTP_HEAD || h->method == HTTP_TRACE))
        refuse(h, h->method == HTTP_TRACE ? 405 : 400, "a body where there can be none");
    else
        h->state = HEAD_DONE;
}

static void line_end(struct head *h, size_t body_max)
{
    if (h->part == VERSION)
        version_end(h);
    else if (h->part == VALUE)
        value_end(h, body_max);
    else if (h->part == LINE_START)
        head_end(h);
    else
        refuse(h, 400, h->part == NAME ? "a header line without a colon" : "no request line");
    h->part = LINE_START;
}

static void take_in_name(struct head *h, unsigned char c)
{
    if (c == ':' && h->part == NAME) {
        name_end(h);
        h->part = VALUE;
    } else if (is_token(c)) {
        hold(h, (char)c);
        h->part = NAME;
    } else {
        refuse(h, 400, "a folded header line or a header name that is no token");
    }
}

static void take(struct head *h, unsigned char c)
{
    switch ((enum part)h->part) {
    case METHOD:
        if (c == ' ') {
            h->part = TARGET;
            method_end(h);
        } else if (!is_token(c) || h->held >= METHOD_MAX) {
            refuse(h, is_token(c) ? 405 : 400, "unknown method");
        } else {
            hold(h, (char)c);
        }
        return;
    case TARGET:
        if (c == ' ') {
            h->part = VERSION;
            target_end(h);
        } else if (c <= ' ' || c >= 0x7f || c == '#') {
            refuse(h, 400, "the target has characters that must be percent-encoded");
        } else {
            hold(h, (char)c);
        }
        return;
    case VERSION:
        hold(h, (char)c);
        return;
    case LINE_START:
    case NAME:
        take_in_name(h, c);
        return;
    case VALUE:
        if ((c < ' ' && c != '\t') || c == 0x7f)
            refuse(h, 400, "a control character in a header");
        else if (h->field != FIELD_OTHER && (h->held > 0 || (c != ' ' && c != '\t')))
            hold(h, (char)c);
        return;
    }
    assert(!"a part of the head");
}

size_t head_feed(struct head *h, const char *data, size_t len, size_t body_max)
{
    size_t i = 0;
    while (i < len && h->state == HEAD_MORE) {
        unsigned char c = (unsigned char)data[i++];
        if (++h->bytes > HTTP_HEADERS_MAX_BYTES)
            refuse(h, h->part <= VERSION ? 414 : 431,
                   "the request line or the headers are too long");
        else if (h->cr && c != '\n')
            refuse(h, 400, "a bare carriage return");
        else if (c == '\n' && !h->cr)
            refuse(h, 400, "a bare line feed");
        else if (c == '\n')
            line_end(h, body_max);
        else if (c != '\r')
            take(h, c);
        h->cr = c == '\r';
    }
    return i;
}
