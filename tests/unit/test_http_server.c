/* The server over real sockets, with raw bytes. The clock can be moved on, so nothing waits for
 * minutes. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/server.h"

#define ANSWER_MAX (256 * 1024)
#define PATIENCE_MS 15000
#define LATER_MAX 4096
#define FEW_FILES 40
#define H "Host: a\r\n"
#define END "Connection: close\r\n\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

/* A clock that runs ahead when it is told to. */
struct fast_clock {
    struct clock clock;
    _Atomic int64_t ahead_us;
};

struct world {
    struct fast_clock clock;
    struct http_server *server;
    pthread_t loop, worker;
    int port;
    pthread_mutex_t lock;
    uint64_t later[LATER_MAX]; /* tokens of /later and /hold, under the lock */
    size_t later_count;
    _Atomic bool release; /* answers go out for what is in later */
    _Atomic bool ended;
    atomic_int replied, refused, requests;
};

static int64_t fast_wall_us(struct clock *c)
{
    return clock_wall_us(clock_real()) + atomic_load(&((struct fast_clock *)c)->ahead_us);
}

static int64_t fast_boot_us(struct clock *c)
{
    return clock_boot_us(clock_real()) + atomic_load(&((struct fast_clock *)c)->ahead_us);
}

static void pause_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static const char STATIC[200001] = {[0] = 'a', [199999] = 'z'};

/* What a request looked like, as its answer. */
static void reply_echo(const struct http_request *r)
{
    char text[20000];
    int hosts;
    const char *host = http_header(r, "HOST", &hosts);
    int len = snprintf(text, sizeof text, "%s %s ? %s [%zu %.*s] host=%s*%d peer=%s",
                       http_method_text(r->method), r->path, r->query, r->body_len,
                       r->body_len < 64 ? (int)r->body_len : 0, r->body, host ? host : "-", hosts,
                       r->peer);
    struct http_response response = {
        .status = 200, .content_type = "text/plain", .body = text, .body_len = (size_t)len};
    response.headers[0] = (struct http_header){"X-Test", "yes"};
    assert_true(http_reply(r->server, r->token, &response));
    assert_false(http_reply(r->server, r->token, &response)); /* once */
}

static void on_request(void *ctx, const struct http_request *r)
{
    struct world *w = ctx;
    atomic_fetch_add(&w->requests, 1);
    if (strcmp(r->path, "/later") == 0 || strcmp(r->path, "/hold") == 0) {
        if (strcmp(r->path, "/hold") == 0)
            http_set_deadline(r, 3600 * US_PER_S);
        pthread_mutex_lock(&w->lock);
        if (w->later_count < LATER_MAX)
            w->later[w->later_count++] = r->token;
        pthread_mutex_unlock(&w->lock);
    } else if (strcmp(r->path, "/drop") == 0) {
        struct http_response response = {.status = 0};
        assert_true(http_reply(r->server, r->token, &response));
    } else if (strcmp(r->path, "/big") == 0) {
        static char big[100000];
        memset(big, 'b', sizeof big);
        struct http_response response = {
            .status = 200, .content_type = "text/plain", .body = big, .body_len = sizeof big};
        assert_true(http_reply(r->server, r->token, &response));
    } else if (strcmp(r->path, "/static") == 0) {
        struct http_response response = {.status = 200, .body_static = true};
        response.content_type = "text/plain";
        response.body = STATIC;
        response.body_len = sizeof STATIC - 1;
        assert_true(http_reply(r->server, r->token, &response));
    } else if (strcmp(r->path, "/nothing") == 0) {
        struct http_response response = {.status = 204};
        assert_true(http_reply(r->server, r->token, &response));
    } else if (strcmp(r->path, "/origin") == 0) {
        http_set_origin(r, "https://shop.example");
        reply_echo(r);
    } else if (strcmp(r->path, "/never") != 0) {
        reply_echo(r);
    }
}

static void *work(void *ctx)
{
    struct world *w = ctx;
    struct http_response response = {
        .status = 202, .content_type = "application/json", .body = "{\"later\":1}", .body_len = 11};
    response.headers[0] = (struct http_header){"Location", "/there"};
    while (!atomic_load(&w->ended)) {
        uint64_t token = 0;
        if (atomic_load(&w->release)) {
            pthread_mutex_lock(&w->lock);
            if (w->later_count > 0)
                token = w->later[--w->later_count];
            pthread_mutex_unlock(&w->lock);
        }
        if (!token)
            pause_ms(1);
        else if (http_reply(w->server, token, &response))
            atomic_fetch_add(&w->replied, 1);
        else
            atomic_fetch_add(&w->refused, 1);
    }
    return NULL;
}

static void *loop(void *ctx)
{
    http_server_run(ctx);
    return NULL;
}

static void world_open(struct world *w)
{
    char why[200] = "";
    memset(w, 0, sizeof *w);
    w->clock.clock = (struct clock){.wall_us = fast_wall_us, .boot_us = fast_boot_us};
    pthread_mutex_init(&w->lock, NULL);
    atomic_store(&w->release, true);
    assert_int_equal(http_server_open(&w->server, &w->clock.clock), ERR_OK);
    assert_int_equal(
        http_listen(w->server, "127.0.0.1:0", on_request, w, &w->port, why, sizeof why), ERR_OK);
    assert_true(w->port > 0);
}

static void world_run(struct world *w)
{
    assert_int_equal(pthread_create(&w->loop, NULL, loop, w->server), 0);
    assert_int_equal(pthread_create(&w->worker, NULL, work, w), 0);
}

static void world_start(struct world *w)
{
    world_open(w);
    world_run(w);
}

static void world_end(struct world *w)
{
    http_server_stop(w->server);
    pthread_join(w->loop, NULL);
    atomic_store(&w->ended, true);
    pthread_join(w->worker, NULL);
    assert_int_equal(http_server_open_requests(w->server), 0);
    http_server_close(w->server);
    pthread_mutex_destroy(&w->lock);
}

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct world));
    world_start(*state);
    return 0;
}

static int teardown(void **state)
{
    world_end(*state);
    free(*state);
    return 0;
}

/* ---- a client ---- */

static int dial(const struct world *w)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void put(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* it was closed: the answer tells */
        text += n;
        len -= (size_t)n;
    }
}

static void say(int fd, const char *text)
{
    put(fd, text, strlen(text));
}

/* Reads until `wanted` stands in it, or the end; true at the end. */
static bool hear(int fd, char *buffer, const char *wanted)
{
    size_t len = strlen(buffer);
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (wanted && strstr(buffer, wanted))
            return false;
        if (poll(&p, 1, PATIENCE_MS) != 1)
            fail_msg("nothing comes after: %s", buffer);
        ssize_t n = recv(fd, buffer + len, ANSWER_MAX - 1 - len, 0);
        if (n <= 0)
            return true;
        len += (size_t)n;
        buffer[len] = '\0';
    }
}

static char answer[ANSWER_MAX];

/* One connection: says all, reads to the end. */
static const char *ask_n(const struct world *w, const char *text, size_t len)
{
    int fd = dial(w);
    assert_true(fd >= 0);
    answer[0] = '\0';
    put(fd, text, len);
    hear(fd, answer, NULL);
    close(fd);
    return answer;
}

static const char *ask(const struct world *w, const char *text)
{
    return ask_n(w, text, strlen(text));
}

static int status_of(const char *text)
{
    return strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : -1;
}

static void await_count(atomic_int *counter, int wanted)
{
    for (int i = 0; i < PATIENCE_MS && atomic_load(counter) < wanted; i++)
        pause_ms(1);
    assert_true(atomic_load(counter) >= wanted);
}

static void move_clock(struct world *w, int64_t s)
{
    atomic_fetch_add(&w->clock.ahead_us, s * US_PER_S);
}

/* ---- tests ---- */

static void test_request_and_answer(void **state)
{
    const char *a = ask(*state, "GET /a%20b?x=1&y HTTP/1.1\r\n" H END);
    assert_int_equal(status_of(a), 200);
    assert_non_null(strstr(a, "GET /a%20b ? x=1&y [0 ] host=a*1 peer=127.0.0.1"));
    assert_non_null(strstr(a, "\r\nX-Test: yes\r\n"));
    assert_non_null(strstr(a, "\r\nX-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(a, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(a, "\r\nDate: "));
    assert_null(strstr(a, "Access-Control"));
    a = ask(*state, "POST /p HTTP/1.1\r\n" H "Content-Length: 5\r\n" END "hello");
    assert_non_null(strstr(a, "POST /p ?  [5 hello]"));
    a = ask(*state, "POST /p HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n" END
                    "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
    assert_non_null(strstr(a, "POST /p ?  [5 hello]"));
    a = ask(*state, "GET http://other/x?y HTTP/1.1\r\n" H END);
    assert_non_null(strstr(a, "GET /x ? y"));
    a = ask(*state, "GET http://other?y HTTP/1.1\r\n" H END);
    assert_non_null(strstr(a, "GET / ? y"));
    a = ask(*state, "GET //evil/x HTTP/1.1\r\n" H END);
    assert_non_null(strstr(a, "GET //evil/x ? "));
    a = ask(*state, "GET /origin HTTP/1.1\r\n" H END);
    assert_non_null(strstr(a, "Access-Control-Allow-Origin: https://shop.example\r\n"));
    assert_non_null(strstr(a, "Vary: Origin\r\n"));
}

static void test_methods(void **state)
{
    static const char *const METHODS[] = {"GET",    "POST",    "PUT",  "PATCH",
                                          "DELETE", "OPTIONS", "TRACE"};
    char text[200];
    for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++) {
        snprintf(text, sizeof text, "%s /m HTTP/1.1\r\n" H END, METHODS[i]);
        const char *a = ask(*state, text);
        assert_int_equal(status_of(a), 200);
        snprintf(text, sizeof text, "\r\n\r\n%s /m", METHODS[i]);
        assert_non_null(strstr(a, text));
    }
    const char *a = ask(*state, "HEAD /m HTTP/1.1\r\n" H END);
    assert_int_equal(status_of(a), 200);
    assert_non_null(strstr(a, "\r\nContent-Length: 39\r\n")); /* of the text that GET would send */
    assert_string_equal(strstr(a, "\r\n\r\n"), "\r\n\r\n");
    a = ask(*state, "GET /nothing HTTP/1.1\r\n" H END);
    assert_int_equal(status_of(a), 204);
    assert_null(strstr(a, "Content-Length"));
    assert_string_equal(strstr(a, "\r\n\r\n"), "\r\n\r\n");
}

static void test_big_answer(void **state)
{
    const char *a = ask(*state, "GET /big HTTP/1.1\r\n" H END);
    assert_int_equal(status_of(a), 200);
    assert_int_equal(strlen(strstr(a, "\r\n\r\n") + 4), 100000);
}

/* A body that is not copied arrives whole, to several, and is not sent to HEAD. */
static void test_static_answer(void **state)
{
    static char text[ANSWER_MAX];
    for (int i = 0; i < 3; i++) {
        int fd = dial(*state);
        size_t len = 0;
        say(fd, "GET /static HTTP/1.1\r\n" H END);
        for (ssize_t n; (n = recv(fd, text + len, sizeof text - len, 0)) > 0;)
            len += (size_t)n;
        close(fd);
        text[len] = '\0';
        const char *body = strstr(text, "\r\n\r\n") + 4;
        assert_int_equal(text + len - body, 200000);
        assert_memory_equal(body, STATIC, 200000);
    }
    const char *a = ask(*state, "HEAD /static HTTP/1.1\r\n" H END);
    assert_non_null(strstr(a, "\r\nContent-Length: 200000\r\n"));
    assert_string_equal(strstr(a, "\r\n\r\n"), "\r\n\r\n");
}

static void test_later_from_another_thread(void **state)
{
    const char *a = ask(*state, "GET /later HTTP/1.1\r\n" H END);
    assert_int_equal(status_of(a), 202);
    assert_non_null(strstr(a, "\r\nLocation: /there\r\n"));
    assert_non_null(strstr(a, "\r\n\r\n{\"later\":1}"));
}

static void test_pipelined_in_turn(void **state)
{
    const char *a = ask(*state, "GET /later HTTP/1.1\r\n" H "\r\n"
                                "POST /second HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nxx"
                                "GET /later HTTP/1.1\r\n" H "\r\n"
                                "GET /fourth HTTP/1.1\r\n" H END);
    const char *first = strstr(a, "later");
    const char *second = first ? strstr(first, "POST /second ?  [2 xx]") : NULL;
    const char *third = second ? strstr(second, "later") : NULL;
    assert_non_null(third);
    assert_non_null(strstr(third, "GET /fourth"));
}

static void test_refused_behind_another(void **state)
{
    struct world *w = *state;
    const char *a = ask(w, "GET /first HTTP/1.1\r\n" H "\r\nGET /second HTTP/1.1\r\n" H H "\r\n");
    assert_int_equal(status_of(a), 200);
    const char *second = strstr(a + 1, "HTTP/1.1 ");
    assert_non_null(second);
    assert_int_equal(status_of(second), 400);
    assert_null(strstr(a, "GET /second"));
    assert_int_equal(http_server_count(w->server, 400), 1);
}

static void test_byte_by_byte(void **state)
{
    static const char text[] = "POST /slow HTTP/1.1\r\n" H "Content-Length: 3\r\n" END "abc";
    int fd = dial(*state);
    answer[0] = '\0';
    for (size_t i = 0; i < sizeof text - 1; i++) {
        put(fd, text + i, 1);
        if (i % 16 == 0)
            pause_ms(1);
    }
    hear(fd, answer, NULL);
    close(fd);
    assert_non_null(strstr(answer, "POST /slow ?  [3 abc]"));
}

/* Each is answered with that status, then the connection ends; nothing reaches a handler. */
static void test_refusals(void **state)
{
    static const struct refusal {
        int status;
        const char *text;
    } REFUSALS[] = {
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "Host: b\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"},
        {400, "POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\nx"},
        {400, "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\nContent-Length: 1\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H "X\x01: 1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "X: 1\r\n folded\r\n\r\n"},
        {400, "GET /\n\n"},
        {400, "GET / HTTP/9.9\r\n" H "\r\n"},
        {400, "garbage\r\n\r\n"},
        {400, "\x16\x03\x01\x02\x05"},
        {400, "HEAD / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc"},
        {413, "POST / HTTP/1.1\r\n" H "Content-Length: 16385\r\n\r\n"},
        {413, "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n"},
        {413, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nffffff\r\n"},
        {413, "POST / HTTP/1.1\r\n" H CHUNKED "ffffffffffffffffffff\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "0x2\r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "+2\r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "-2\r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED " 2\r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2 x\r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2 \r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "\r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED ";a\r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2;\x01\r\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2\nxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2\r\nxx\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2\rxx\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2\r\nxx0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2\r\nxxyy\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2\r\nxx\r\n0\n\n"},
        {400, "POST / HTTP/1.1\r\n" H CHUNKED "2\r\nxx\r\n0\r\nHost: b\r\n\r\n"},
        {405, "CONNECT a:1 HTTP/1.1\r\n" H "\r\n"},
        {405, "BREW / HTTP/1.1\r\n" H "\r\n"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        int got = status_of(ask(w, REFUSALS[i].text));
        if (got != REFUSALS[i].status)
            fail_msg("%d instead of %d for: %s", got, REFUSALS[i].status, REFUSALS[i].text);
    }
    assert_int_equal(atomic_load(&w->requests), 0);
}

static void test_limits_of_size(void **state)
{
    static char text[300000];
    struct world *w = *state;
    int len = snprintf(text, sizeof text, "POST /b HTTP/1.1\r\n" H "Content-Length: 16384\r\n" END);
    memset(text + len, 'x', 16384);
    assert_non_null(strstr(ask_n(w, text, (size_t)len + 16384), "[16384 ]"));
    /* Too large: the reason arrives although the client sends all of it first. */
    len = snprintf(text, sizeof text, "POST /b HTTP/1.1\r\n" H "Content-Length: 200000\r\n" END);
    memset(text + len, 'x', 200000);
    assert_int_equal(status_of(ask_n(w, text, (size_t)len + 200000)), 413);
    len = snprintf(text, sizeof text, "GET / HTTP/1.1\r\n" H "X: ");
    memset(text + len, 'x', 100000);
    assert_int_equal(status_of(ask_n(w, text, 100000)), 431);
    len = snprintf(text, sizeof text, "GET /");
    memset(text + len, 'x', 100000);
    assert_int_equal(status_of(ask_n(w, text, 100000)), 414);
    len = snprintf(text, sizeof text, "GET /");
    memset(text + len, 'x', 16000);
    snprintf(text + 16000, 100, " HTTP/1.1\r\n" H END);
    assert_int_equal(status_of(ask(w, text)), 200);
    /* Chunks that are too much together. */
    len =
        snprintf(text, sizeof text, "POST /b HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "400\r\n%01024d\r\n", 0);
    assert_int_equal(status_of(ask_n(w, text, (size_t)len)), 413);
}

/* Framed well: also with extensions, byte by byte, and with a request behind it. */
static void test_chunks(void **state)
{
    static const char text[] = "POST /c HTTP/1.1\r\n" H CHUNKED
                               "002;name=\"v;w\"\r\nhe\r\n0A ; x\r\nllo, world\r\n00;last\r\n\r\n"
                               "GET /next HTTP/1.1\r\n" H END;
    const char *a = ask(*state, text);
    assert_non_null(strstr(a, "POST /c ?  [12 hello, world]"));
    assert_non_null(strstr(a, "GET /next"));
    int fd = dial(*state);
    answer[0] = '\0';
    for (size_t i = 0; i < sizeof text - 1; i++) {
        put(fd, text + i, 1);
        if (i % 8 == 0)
            pause_ms(1);
    }
    hear(fd, answer, NULL);
    close(fd);
    assert_non_null(strstr(answer, "POST /c ?  [12 hello, world]"));
    assert_non_null(strstr(answer, "GET /next"));
    /* Behind another request, where what is wrong is seen before that one's answer is out. */
    a = ask(*state, "GET /first HTTP/1.1\r\n" H "\r\nPOST /second HTTP/1.1\r\n" H CHUNKED "+1\r\n");
    assert_non_null(strstr(a, "GET /first"));
    assert_null(strstr(a, "POST /second"));
    assert_int_equal(status_of(strstr(a + 1, "HTTP/1.1 ")), 400);
}

static void test_expect_continue(void **state)
{
    int fd = dial(*state);
    answer[0] = '\0';
    say(fd, "POST /c HTTP/1.1\r\n" H "Content-Length: 2\r\nExpect: 100-continue\r\n" END);
    hear(fd, answer, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "ok");
    hear(fd, answer, NULL);
    close(fd);
    assert_non_null(strstr(answer, "POST /c ?  [2 ok]"));
}

static void test_keep_alive(void **state)
{
    int fd = dial(*state);
    for (int i = 0; i < 3; i++) {
        answer[0] = '\0';
        say(fd, "GET /k HTTP/1.1\r\n" H "\r\n");
        hear(fd, answer, "peer=127.0.0.1");
        assert_null(strstr(answer, "Connection: close"));
    }
    close(fd);
    const char *a = ask(*state, "GET /k HTTP/1.0\r\n\r\n"); /* the end of the answer is the close */
    assert_int_equal(atoi(a + 9), 200);
}

static void test_drop(void **state)
{
    assert_string_equal(ask(*state, "GET /drop HTTP/1.1\r\n" H "\r\n"), "");
    assert_int_equal(http_server_open_requests(((struct world *)*state)->server), 0);
}

static void test_deadline(void **state)
{
    struct world *w = *state;
    int fd = dial(w);
    answer[0] = '\0';
    say(fd, "GET /never HTTP/1.1\r\n" H END);
    await_count(&w->requests, 1);
    assert_int_equal(http_server_open_requests(w->server), 1);
    move_clock(w, 11);
    hear(fd, answer, NULL);
    close(fd);
    assert_int_equal(status_of(answer), 503);
    assert_non_null(strstr(answer, "Retry-After: 1\r\n"));
    assert_non_null(strstr(answer, "application/problem+json"));
    assert_int_equal(http_server_open_requests(w->server), 0);
    assert_int_equal(http_server_count(w->server, 503), 1);
}

/* An answer that comes after the deadline is refused, also when the slot serves another request
 * by then. */
static void test_late_answer(void **state)
{
    struct world *w = *state;
    atomic_store(&w->release, false);
    int fd = dial(w);
    answer[0] = '\0';
    say(fd, "GET /later HTTP/1.1\r\n" H END);
    await_count(&w->requests, 1);
    move_clock(w, 11);
    hear(fd, answer, NULL);
    close(fd);
    assert_int_equal(status_of(answer), 503);
    fd = dial(w);
    answer[0] = '\0';
    say(fd, "GET /never HTTP/1.1\r\n" H END);
    await_count(&w->requests, 2);
    atomic_store(&w->release, true);
    await_count(&w->refused, 1);
    assert_int_equal(atomic_load(&w->replied), 0);
    move_clock(w, 11);
    hear(fd, answer, NULL);
    close(fd);
    assert_int_equal(status_of(answer), 503);
}

static void test_set_deadline(void **state)
{
    struct world *w = *state;
    atomic_store(&w->release, false);
    int fd = dial(w);
    answer[0] = '\0';
    say(fd, "GET /hold HTTP/1.1\r\n" H END);
    await_count(&w->requests, 1);
    move_clock(w, 1000);
    pause_ms(1200); /* a sweep passes */
    atomic_store(&w->release, true);
    hear(fd, answer, NULL);
    close(fd);
    assert_int_equal(status_of(answer), 202);
}

/* 10 s from the first byte, however busily it trickles; 75 s idle. */
static void test_slow_and_idle(void **state)
{
    struct world *w = *state;
    int head = dial(w), body = dial(w), idle = dial(w), used = dial(w);
    say(head, "GET / HTTP/1.1\r\nX: ");
    say(body, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab");
    answer[0] = '\0';
    say(used, "GET /k HTTP/1.1\r\n" H "\r\n");
    hear(used, answer, "peer=127.0.0.1");
    move_clock(w, 9);
    pause_ms(1200);
    say(head, "a");
    say(body, "c");
    move_clock(w, 2);
    answer[0] = '\0';
    assert_true(hear(head, answer, NULL));
    assert_int_equal(status_of(answer), 408);
    answer[0] = '\0';
    assert_true(hear(body, answer, NULL));
    assert_int_equal(status_of(answer), 408);
    answer[0] = '\0';
    say(used, "GET /k HTTP/1.1\r\n" H "\r\n");
    hear(used, answer, "peer=127.0.0.1");
    ask(w, "GET / HTTP/1.1\r\n" H END); /* by now the loop knows that the answer is out */
    move_clock(w, 66);
    answer[0] = '\0';
    assert_true(hear(idle, answer, NULL)); /* 77 s */
    assert_string_equal(answer, "");
    say(used, "GET /k HTTP/1.1\r\n" H "\r\n"); /* 66 s */
    hear(used, answer, "peer=127.0.0.1");
    ask(w, "GET / HTTP/1.1\r\n" H END); /* by now the loop knows that the answer is out */
    move_clock(w, 76);
    answer[0] = '\0';
    assert_true(hear(used, answer, NULL));
    close(head), close(body), close(idle), close(used);
}

/* Clients that leave while their answer is pending. */
static void test_clients_leave(void **state)
{
    struct world *w = *state;
    atomic_store(&w->release, false);
    for (int i = 0; i < 200; i++) {
        int fd = dial(w);
        struct linger reset = {1, 0};
        say(fd, "GET /later HTTP/1.1\r\n" H "\r\nGET /later HTTP/1.1\r\n" H "\r\n");
        if (i % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        if (i % 4 == 3)
            await_count(&w->requests, i + 1);
        close(fd);
    }
    await_count(&w->requests, 100);
    atomic_store(&w->release, true);
    assert_int_equal(status_of(ask(w, "GET /later HTTP/1.1\r\n" H END)), 202);
    for (int i = 0; i < PATIENCE_MS && http_server_open_requests(w->server) > 0; i++)
        pause_ms(1);
    assert_int_equal(http_server_open_requests(w->server), 0);
}

/* Who waits for long and hangs up is gone at once: nobody else has to wait for his place. */
static void test_waiting_clients_leave(void **state)
{
    struct world *w = *state;
    struct linger reset = {1, 0};
    atomic_store(&w->release, false);
    for (int i = 0; i < 30; i++) {
        int fd = dial(w);
        say(fd, i % 3 == 2 ? "GET /hold HTTP/1.1\r\n" H "\r\nGET /behind HTTP/1.1\r\n" H "\r\n"
                           : "GET /hold HTTP/1.1\r\n" H "\r\n");
        await_count(&w->requests, i + 1);
        if (i % 3 == 1)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    for (int i = 0; i < PATIENCE_MS && http_server_open_requests(w->server) > 0; i++)
        pause_ms(1);
    assert_int_equal(http_server_open_requests(w->server), 0);
    pthread_mutex_lock(&w->lock);
    assert_int_equal(w->later_count, 30);
    for (size_t i = 0; i < w->later_count; i++)
        assert_false(http_awaited(w->server, w->later[i]));
    pthread_mutex_unlock(&w->lock);
    int stays = dial(w), before = dial(w);
    say(stays, "GET /hold HTTP/1.1\r\n" H END);
    await_count(&w->requests, 31);
    pthread_mutex_lock(&w->lock);
    assert_true(http_awaited(w->server, w->later[30]));
    pthread_mutex_unlock(&w->lock);
    say(before,
        "GET /later HTTP/1.1\r\n" H END); /* a short one: its client may end its direction */
    shutdown(before, SHUT_WR);
    await_count(&w->requests, 32);
    atomic_store(&w->release, true);
    answer[0] = '\0';
    hear(stays, answer, NULL);
    assert_int_equal(status_of(answer), 202);
    answer[0] = '\0';
    hear(before, answer, NULL);
    assert_int_equal(status_of(answer), 202);
    await_count(&w->refused, 30);
    assert_int_equal(atomic_load(&w->replied), 2);
    close(stays), close(before);
}

static void *many_ask(void *ctx)
{
    struct world *w = ctx;
    char *buffer = calloc(1, ANSWER_MAX);
    int fd = dial(w);
    for (int i = 0; i < 200; i++) {
        buffer[0] = '\0';
        say(fd, i % 2 ? "GET /later HTTP/1.1\r\n" H "\r\n" : "GET /now HTTP/1.1\r\n" H "\r\n");
        hear(fd, buffer, i % 2 ? "{\"later\":1}" : "peer=127.0.0.1");
    }
    close(fd);
    free(buffer);
    return NULL;
}

static void test_many_at_once(void **state)
{
    pthread_t threads[8];
    struct world *w = *state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_ask, w), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&w->replied), 800);
    assert_int_equal(http_server_count(w->server, 202), 800);
    assert_int_equal(http_server_count(w->server, 200), 800);
}

static void test_port_taken(void **state)
{
    struct world *w = *state;
    struct http_server *second;
    char address[40], why[200] = "";
    int port;
    assert_int_equal(http_server_open(&second, clock_real()), ERR_OK);
    snprintf(address, sizeof address, "127.0.0.1:%d", w->port);
    assert_int_equal(http_listen(second, address, on_request, w, &port, why, sizeof why),
                     ERR_LOCKED);
    assert_non_null(strstr(why, "taken"));
    snprintf(address, sizeof address, "0.0.0.0:%d", w->port);
    assert_int_equal(http_listen(second, address, on_request, w, &port, why, sizeof why),
                     ERR_LOCKED);
    assert_int_equal(http_listen(second, "nowhere", on_request, w, &port, why, sizeof why),
                     ERR_INVALID);
    assert_int_equal(http_listen(second, "192.0.2.1:0", on_request, w, &port, why, sizeof why),
                     ERR_INVALID);
    http_server_close(second);
}

/* Drain: nobody new, what is open is answered, and says close. */
static void test_drain(void **state)
{
    struct world *w = *state;
    int busy = dial(w), idle = dial(w);
    atomic_store(&w->release, false);
    say(busy, "GET /later HTTP/1.1\r\n" H "\r\n");
    await_count(&w->requests, 1);
    http_server_drain(w->server);
    answer[0] = '\0';
    assert_true(hear(idle, answer, NULL));
    int refused = -1;
    for (int i = 0; i < PATIENCE_MS && (refused = dial(w)) >= 0; i++) {
        close(refused);
        pause_ms(1);
    }
    assert_int_equal(refused, -1);
    atomic_store(&w->release, true);
    assert_true(hear(busy, answer, NULL));
    assert_int_equal(status_of(answer), 202);
    assert_non_null(strstr(answer, "Connection: close\r\n"));
    close(busy), close(idle);
}

/* Stop: what is open gets 503, and the loop ends. */
static void test_stop(void **state)
{
    struct world *w = *state;
    int busy = dial(w), half = dial(w);
    atomic_store(&w->release, false);
    say(busy, "GET /later HTTP/1.1\r\n" H "\r\n");
    say(half, "GET /later HT");
    await_count(&w->requests, 1);
    http_server_stop(w->server);
    answer[0] = '\0';
    assert_true(hear(busy, answer, NULL));
    assert_int_equal(status_of(answer), 503);
    assert_non_null(strstr(answer, "shutting down"));
    answer[0] = '\0';
    assert_true(hear(half, answer, NULL));
    close(busy), close(half);
}

static void test_unix_socket(void **state)
{
    char base[] = "/tmp/subpay-test-XXXXXX", directory[400], path[500], why[200] = "";
    struct http_server *server;
    struct stat info;
    pthread_t thread;
    static char text[1200000];
    assert_non_null(mkdtemp(base));
    snprintf(directory, sizeof directory, "%s/%0200d", base, 0);
    snprintf(path, sizeof path, "%s/control.sock", directory);
    assert_int_equal(mkdir(directory, 0700), 0);
    int stale = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(stale >= 0);
    close(stale);
    mode_t mask = umask(0);
    assert_int_equal(http_server_open(&server, clock_real()), ERR_OK);
    assert_int_equal(http_listen_unix(server, directory, "control.sock", 1 << 20, on_request,
                                      *state, why, sizeof why),
                     ERR_OK);
    umask(mask);
    assert_int_equal(stat(path, &info), 0);
    assert_true(S_ISSOCK(info.st_mode));
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(pthread_create(&thread, NULL, loop, server), 0);

    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d/control.sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    int len =
        snprintf(text, sizeof text, "POST /u HTTP/1.1\r\n" H "Content-Length: 1048576\r\n" END);
    memset(text + len, 'u', 1 << 20);
    put(fd, text, (size_t)len + (1 << 20));
    answer[0] = '\0';
    hear(fd, answer, NULL);
    assert_non_null(strstr(answer, "POST /u ?  [1048576 ] host=a*1 peer="));
    assert_null(strstr(answer, "peer=1"));
    close(fd);
    http_server_stop(server);
    pthread_join(thread, NULL);
    http_server_close(server);
    assert_int_equal(access(path, F_OK), -1);
    close(dir);
    rmdir(directory);
    rmdir(base);
}

static void test_unix_socket_nowhere(void **state)
{
    struct http_server *server;
    char why[200] = "";
    assert_int_equal(http_server_open(&server, clock_real()), ERR_OK);
    assert_int_equal(http_listen_unix(server, "/nowhere", "control.sock", 0, on_request, *state,
                                      why, sizeof why),
                     ERR_IO);
    assert_non_null(strstr(why, "/nowhere/control.sock"));
    http_server_close(server);
}

/* More connections than there may be: the rest waits outside, and idle ones make room. */
static void test_all_connections_taken(void **state)
{
    struct world w;
    struct rlimit files, few;
    int fds[FEW_FILES];
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    few = files;
    few.rlim_cur = FEW_FILES * 2; /* half of them are for connections */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    world_start(&w);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    for (int i = 0; i < FEW_FILES; i++) {
        fds[i] = dial(&w);
        answer[0] = '\0';
        say(fds[i], "GET /k HTTP/1.1\r\n" H "\r\n");
        hear(fds[i], answer, "peer=127.0.0.1");
    }
    int outside = dial(&w);
    say(outside, "GET /outside HTTP/1.1\r\n" H "\r\n");
    struct pollfd p = {.fd = outside, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 100), 0);
    close(fds[0]); /* one leaves */
    answer[0] = '\0';
    hear(outside, answer, "GET /outside");
    int second = dial(&w);
    say(second, "GET /second HTTP/1.1\r\n" H "\r\n");
    move_clock(&w, 6); /* far below 75 s */
    answer[0] = '\0';
    hear(second, answer, "GET /second");
    answer[0] = '\0';
    assert_true(hear(fds[1], answer, NULL));
    for (int i = 1; i < FEW_FILES; i++)
        close(fds[i]);
    close(outside), close(second);
    world_end(&w);
}

/* What one listener is flooded with leaves the other its reserve. */
static void test_a_listener_keeps_its_reserve(void **state)
{
    struct world w, ops;
    struct rlimit files, few;
    int fds[FEW_FILES * 2], outside;
    char why[200] = "";
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    few = files;
    few.rlim_cur = FEW_FILES * 2;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    world_open(&w);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    ops = w;
    assert_int_equal(
        http_listen(w.server, "127.0.0.1:0", on_request, &w, &ops.port, why, sizeof why), ERR_OK);
    world_run(&w);
    for (int i = 0; i < FEW_FILES * 2; i++) { /* more than there may be; none of them is idle */
        fds[i] = dial(&w);
        say(fds[i], "GET / HTTP/1.1\r\nX: ");
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(status_of(ask(&ops, "GET /o HTTP/1.1\r\n" H END)), 200);
    outside = dial(&w);
    say(outside, "GET /outside HTTP/1.1\r\n" H END);
    struct pollfd p = {.fd = outside, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 100), 0);
    for (int i = 0; i < FEW_FILES * 2; i++)
        close(fds[i]);
    answer[0] = '\0';
    hear(outside, answer, NULL);
    assert_int_equal(status_of(answer), 200);
    close(outside);
    world_end(&w);
}

static void test_tokens_of_nobody(void **state)
{
    struct world *w = *state;
    struct http_response response = {.status = 200};
    assert_false(http_reply(w->server, 0, &response));
    assert_false(http_reply(w->server, 1 << 16, &response));
    assert_false(http_reply(w->server, UINT64_MAX, &response));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_request_and_answer),
        TEST(test_methods),
        TEST(test_big_answer),
        TEST(test_static_answer),
        TEST(test_later_from_another_thread),
        TEST(test_pipelined_in_turn),
        TEST(test_refused_behind_another),
        TEST(test_byte_by_byte),
        TEST(test_refusals),
        TEST(test_limits_of_size),
        TEST(test_chunks),
        TEST(test_expect_continue),
        TEST(test_keep_alive),
        TEST(test_drop),
        TEST(test_deadline),
        TEST(test_late_answer),
        TEST(test_set_deadline),
        TEST(test_slow_and_idle),
        TEST(test_clients_leave),
        TEST(test_waiting_clients_leave),
        TEST(test_many_at_once),
        TEST(test_port_taken),
        TEST(test_drain),
        TEST(test_stop),
        TEST(test_unix_socket),
        TEST(test_unix_socket_nowhere),
        cmocka_unit_test(test_all_connections_taken),
        cmocka_unit_test(test_a_listener_keeps_its_reserve),
        TEST(test_tokens_of_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
