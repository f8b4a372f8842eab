/* The scanner of request heads: every case whole, and fed byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/head.h"

#define DONE 0

struct sample {
    int status; /* DONE, or that of the refusal; -1: wants more */
    const char *text;
    size_t len; /* 0: up to the NUL */
};

#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n" H

static const struct sample SAMPLES[] = {
    {DONE, GET H "\r\n", 0},
    {DONE, "GET /a?b=c%20d HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "HEAD / HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "PUT / HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "PATCH / HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "DELETE / HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "OPTIONS * HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "TRACE / HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "GET http://a/b HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "GET HTTPS://a HTTP/1.1\r\n" H "\r\n", 0},
    {DONE, "GET / HTTP/1.0\r\n\r\n", 0},
    {DONE, POST "Content-Length: 5\r\n\r\n", 0},
    {DONE, POST "content-length:0\r\n\r\n", 0},
    {DONE, POST "Content-Length: 100\t \r\n\r\n", 0},
    {DONE, POST "Transfer-Encoding: Chunked\r\n\r\n", 0},
    {DONE, POST "Expect: 100-Continue\r\n\r\n", 0},
    {DONE, GET "Host: [::1]:8101\r\n\r\n", 0},
    {DONE, GET "Host:\r\n\r\n", 0},
    {DONE, GET H "X: a\tb\xc3\xa9\r\nEmpty:\r\n\r\n", 0},
    {DONE, "HEAD / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 0},
    {-1, GET H, 0},
    {-1, "GE", 0},
    {-1, GET H "\r", 0},
    {-1, "", 0},
    {400, GET "\r\n", 0},
    {400, GET H H "\r\n", 0},
    {400, GET "Host: a b\r\n\r\n", 0},
    {400, GET "Host: a, b\r\n\r\n", 0},
    {400, GET "Host: a/b\r\n\r\n", 0},
    {400, GET "Host: user@a\r\n\r\n", 0},
    {400, "GET / HTTP/1.0\r\n" H H "\r\n", 0},
    {400, POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 0},
    {400, POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n", 0},
    {400, POST "Content-Length: +5\r\n\r\n", 0},
    {400, POST "Content-Length: -5\r\n\r\n", 0},
    {400, POST "Content-Length: 5x\r\n\r\n", 0},
    {400, POST "Content-Length: 0x5\r\n\r\n", 0},
    {400, POST "Content-Length: 5, 5\r\n\r\n", 0},
    {400, POST "Content-Length: 5 5\r\n\r\n", 0},
    {400, POST "Content-Length:\r\n\r\n", 0},
    {400, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
    {400, POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 0},
    {400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
    {400, POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 0},
    {400, POST "Transfer-Encoding: identity\r\n\r\n", 0},
    {400, POST "Transfer-Encoding: chunked;q=1\r\n\r\n", 0},
    {400, POST "Transfer-Encoding: xchunked\r\n\r\n", 0},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
    {400, POST "Transfer-Encoding : chunked\r\n\r\n", 0},
    {400, POST "Content-Length : 5\r\n\r\n", 0},
    {400, POST " Content-Length: 5\r\n\r\n", 0},
    {400, POST "X: 1\r\n folded\r\n\r\n", 0},
    {400, POST "X: 1\r\n\tfolded\r\n\r\n", 0},
    {400, POST "X Y: 1\r\n\r\n", 0},
    {400, POST ": 1\r\n\r\n", 0},
    {400, POST "X\r\n\r\n", 0},
    {400, POST "X\x01: 1\r\n\r\n", 0},
    {400, POST "X\x7f: 1\r\n\r\n", 0},
    {400, POST "X\xc3\xa9: 1\r\n\r\n", 0},
    {400, POST "X(: 1\r\n\r\n", 0},
    {400, POST "X: \x01\r\n\r\n", 0},
    {400, POST "X: \x7f\r\n\r\n", 0},
    {400, GET "X: a\0b\r\n\r\n", sizeof GET - 1 + 10},
    {400, "GET /\0 HTTP/1.1\r\n", 18},
    {400, "GET / HTTP/1.1\n", 0},
    {400, GET "Host: a\n\r\n", 0},
    {400, GET "Host: a\r\r\n", 0},
    {400, GET "X: a\rb\r\n", 0},
    {400, "GET /\r\n", 0},
    {400, "GET\r\n", 0},
    {400, "\r\n", 0},
    {400, " GET / HTTP/1.1\r\n", 0},
    {400, "GET  / HTTP/1.1\r\n", 0},
    {400, "GET /  HTTP/1.1\r\n", 0},
    {400, "GET / HTTP/1.1 \r\n", 0},
    {400, "GET / http/1.1\r\n", 0},
    {400, "GET / HTTP/2.0\r\n", 0},
    {400, "GET / HTTP/1.2\r\n", 0},
    {400, "GET / HTTP/1.10\r\n", 0},
    {400, "GET / HTTP/11\r\n", 0},
    {400, "GET a HTTP/1.1\r\n", 0},
    {400, "GET * HTTP/1.1\r\n", 0},
    {400, "GET http:///a HTTP/1.1\r\n", 0},
    {400, "GET ftp://a/b HTTP/1.1\r\n", 0},
    {400, "GET a:80 HTTP/1.1\r\n", 0},
    {400, "GET /#a HTTP/1.1\r\n", 0},
    {400, "GET /\xc3\xa9 HTTP/1.1\r\n", 0},
    {400, "GET /\t HTTP/1.1\r\n", 0},
    {400, "G\x01T / HTTP/1.1\r\n", 0},
    {400, "\x16\x03\x01\x02", 0},
    {400, "HEAD / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n", 0},
    {400, "HEAD / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 0},
    {405, "TRACE / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n", 0},
    {413, POST "Content-Length: 101\r\n\r\n", 0},
    {413, POST "Content-Length: 99999999999999999999999999999999\r\n\r\n", 0},
    {413, POST "Content-Length: 18446744073709551616\r\n\r\n", 0},
    {417, POST "Expect: something\r\n\r\n", 0},
    {405, "get / HTTP/1.1\r\n", 0},
    {405, "CONNECT a:80 HTTP/1.1\r\n", 0},
    {405, "PRI * HTTP/2.0\r\n", 0},
    {405, "BREW / HTTP/1.1\r\n", 0},
    {405, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 0},
};
#define BODY_MAX 100

static void check(const struct sample *s, size_t step)
{
    struct head h = {0};
    size_t len = s->len ? s->len : strlen(s->text), at = 0;
    while (at < len && h.state == HEAD_MORE) {
        size_t n = len - at < step ? len - at : step;
        size_t taken = head_feed(&h, s->text + at, n, BODY_MAX);
        assert_true(taken == n || h.state != HEAD_MORE);
        at += taken;
    }
    int got = h.state == HEAD_REFUSED ? h.status : h.state == HEAD_DONE ? DONE : -1;
    if (got != s->status)
        fail_msg("%d instead of %d for: %s", got, s->status, s->text);
    if (got == DONE)
        assert_int_equal(at, len);
    assert_true(got <= 0 || h.why);
}

static void test_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof SAMPLES / sizeof SAMPLES[0]; i++) {
        check(&SAMPLES[i], SIZE_MAX);
        check(&SAMPLES[i], 1);
        check(&SAMPLES[i], 7);
    }
}

static void test_stops_at_the_end(void **state)
{
    static const char text[] = GET H "\r\nGET /next";
    struct head h = {0};
    (void)state;
    assert_int_equal(head_feed(&h, text, sizeof text - 1, BODY_MAX), sizeof text - 1 - 9);
    assert_int_equal(h.state, HEAD_DONE);
    assert_int_equal(h.method, HTTP_GET);
    assert_int_equal(head_feed(&h, "more", 4, BODY_MAX), 0);
}

static int feed_repeated(const char *start, const char *piece, int times, const char *end)
{
    struct head h = {0};
    head_feed(&h, start, strlen(start), BODY_MAX);
    for (int i = 0; i < times; i++)
        head_feed(&h, piece, strlen(piece), BODY_MAX);
    head_feed(&h, end, strlen(end), BODY_MAX);
    return h.state == HEAD_REFUSED ? h.status : h.state == HEAD_DONE ? DONE : -1;
}

static void test_limits(void **state)
{
    char name[32];
    (void)state;
    int rest = HTTP_HEADERS_MAX_BYTES - (int)strlen(GET H "X: \r\n\r\n");
    assert_int_equal(feed_repeated(GET H "X: ", "a", rest, "\r\n\r\n"), DONE);
    assert_int_equal(feed_repeated(GET H "X: ", "a", rest + 1, "\r\n\r\n"), 431);
    assert_int_equal(feed_repeated(GET H "X: ", "a", 100000, ""), 431);
    rest = HTTP_HEADERS_MAX_BYTES - (int)strlen("GET / HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(feed_repeated("GET /", "a", rest, " HTTP/1.1\r\n" H "\r\n"), DONE);
    assert_int_equal(feed_repeated("GET /", "a", HTTP_HEADERS_MAX_BYTES, ""), 414);
    assert_int_equal(feed_repeated(GET H, "X: a\r\n", HTTP_REQUEST_HEADERS_MAX - 1, "\r\n"), DONE);
    assert_int_equal(feed_repeated(GET H, "X: a\r\n", HTTP_REQUEST_HEADERS_MAX, "\r\n"), 431);
    assert_int_equal(feed_repeated(GET "Host: ", "a", 255, "\r\n\r\n"), DONE);
    assert_int_equal(feed_repeated(GET "Host: ", "a", 256, "\r\n\r\n"), 431);
    snprintf(name, sizeof name, "Content-Length: %d\r\n\r\n", BODY_MAX);
    assert_int_equal(feed_repeated(POST, "", 0, name), DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_stops_at_the_end),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
