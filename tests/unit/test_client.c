/* The HTTP client against a server that does as the path says: /echo, /close, /slow, /long, … */
#include "http/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define REQUEST_MAX 65536
#define CONNECTIONS_MAX 2048
#define WAIT_S 20

/* ---- the other side ---- */

struct peer {
    int fd;
    char url[64];
    pthread_t thread;
    pthread_mutex_t lock;
    int fds[CONNECTIONS_MAX];
    pthread_t threads[CONNECTIONS_MAX];
    int connections;
    atomic_int requests;
    char last[REQUEST_MAX]; /* under the lock */
};

struct peer_line {
    struct peer *peer;
    int fd;
};

/* A whole request, or false at the end of the connection. */
static bool request_read(int fd, char *buffer, size_t cap)
{
    size_t len = 0;
    for (;;) {
        buffer[len] = '\0';
        const char *end = strstr(buffer, "\r\n\r\n");
        if (end) {
            const char *field = strcasestr(buffer, "Content-Length: ");
            size_t body = field && field < end ? strtoul(field + 16, NULL, 10) : 0;
            if (len >= (size_t)(end + 4 - buffer) + body)
                return true;
        }
        ssize_t got = read(fd, buffer + len, cap - 1 - len);
        if (got <= 0)
            return false;
        len += (size_t)got;
    }
}

static void say(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *format, ...)
{
    char text[REQUEST_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)send(fd, text, (size_t)len, MSG_NOSIGNAL);
}

/* false: close the connection. */
static bool answer(struct peer *p, int fd, const char *request)
{
    const char *path = strchr(request, ' ') + 1;
    const char *body = strstr(request, "\r\n\r\n") + 4;
    char big[8192];
    if (strncmp(path, "/echo", 5) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    } else if (strncmp(path, "/close", 6) == 0) {
        return false;
    } else if (strncmp(path, "/slow", 5) == 0) {
        struct pollfd wait = {.fd = fd, .events = POLLIN}; /* until the client gives up */
        (void)poll(&wait, 1, WAIT_S * 1000);
        return false;
    } else if (strncmp(path, "/long", 5) == 0) {
        memset(big, 'x', sizeof big);
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%.*s", sizeof big, (int)sizeof big,
            big);
    } else if (strncmp(path, "/cut", 4) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        return false;
    } else if (strncmp(path, "/move", 5) == 0) {
        say(fd, "HTTP/1.1 302 Found\r\nLocation: %s/echo\r\nContent-Length: 0\r\n\r\n", p->url);
    } else if (strncmp(path, "/later", 6) == 0) {
        say(fd, "HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    } else if (strncmp(path, "/ages", 5) == 0) {
        say(fd, "HTTP/1.1 503 No\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n");
    } else if (strncmp(path, "/date", 5) == 0) {
        char date[64];
        time_t at = time(NULL) + 100;
        struct tm tm;
        (void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &tm));
        say(fd, "HTTP/1.1 503 No\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", date);
    } else if (strncmp(path, "/garbage", 8) == 0) {
        say(fd, "250 this is mail\r\n");
        return false;
    }
    return true;
}

static void *line_run(void *arg)
{
    struct peer_line line = *(struct peer_line *)arg;
    free(arg);
    char *request = malloc(REQUEST_MAX);
    while (request && request_read(line.fd, request, REQUEST_MAX)) {
        atomic_fetch_add(&line.peer->requests, 1);
        pthread_mutex_lock(&line.peer->lock);
        memcpy(line.peer->last, request, REQUEST_MAX);
        pthread_mutex_unlock(&line.peer->lock);
        if (!answer(line.peer, line.fd, request))
            break;
    }
    free(request);
    shutdown(line.fd, SHUT_RDWR); /* closed by peer_close, so that no number is used twice */
    return NULL;
}

static void *peer_run(void *arg)
{
    struct peer *p = arg;
    int fd;
    while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
        struct peer_line *line = malloc(sizeof *line);
        *line = (struct peer_line){p, fd};
        pthread_mutex_lock(&p->lock);
        p->fds[p->connections] = fd;
        pthread_create(&p->threads[p->connections++], NULL, line_run, line);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

static void peer_start(struct peer *p, int fd)
{
    p->fd = fd;
    pthread_mutex_init(&p->lock, NULL);
    assert_int_equal(listen(p->fd, 1024), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, peer_run, p), 0);
}

static struct peer *peer_open(void)
{
    struct peer *p = calloc(1, sizeof *p);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    snprintf(p->url, sizeof p->url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    peer_start(p, fd);
    return p;
}

static void peer_close(struct peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
    for (int i = 0; i < p->connections; i++) {
        shutdown(p->fds[i], SHUT_RDWR);
        pthread_join(p->threads[i], NULL);
        close(p->fds[i]);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- this side ---- */

#define ENDS_MAX 2048

struct ends { /* what `done` said, by token */
    pthread_mutex_t lock;
    pthread_cond_t more;
    int count;
    struct end {
        int times, status;
        bool maybe_sent;
        char body[256], note[128];
        size_t body_len;
        int64_t retry_after_us;
    } by_token[ENDS_MAX];
};

struct setup {
    struct peer *peer;
    struct http_client *client;
    pthread_t thread;
    bool running;
    struct ends ends;
};

static void on_done(void *ctx, uint64_t token, const struct http_outcome *o)
{
    struct ends *ends = ctx;
    pthread_mutex_lock(&ends->lock);
    struct end *end = &ends->by_token[token];
    end->times++;
    end->status = o->status;
    end->maybe_sent = o->maybe_sent;
    end->body_len = o->body_len;
    end->retry_after_us = o->retry_after_us;
    snprintf(end->body, sizeof end->body, "%s", o->body);
    snprintf(end->note, sizeof end->note, "%s", o->note);
    ends->count++;
    pthread_cond_broadcast(&ends->more);
    pthread_mutex_unlock(&ends->lock);
}

static void wait_for(struct ends *ends, int count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&ends->lock);
    while (ends->count < count)
        assert_int_equal(pthread_cond_timedwait(&ends->more, &ends->lock, &until), 0);
    assert_int_equal(ends->count, count);
    pthread_mutex_unlock(&ends->lock);
}

static void *client_thread(void *arg)
{
    http_client_run(arg);
    return NULL;
}

static void client_begin(struct setup *s)
{
    assert_int_equal(pthread_create(&s->thread, NULL, client_thread, s->client), 0);
    s->running = true;
}

static void client_end(struct setup *s)
{
    http_client_stop(s->client);
    if (s->running)
        pthread_join(s->thread, NULL);
    s->running = false;
}

static int open_with(void **state, struct clock *clock)
{
    struct setup *s = calloc(1, sizeof *s);
    pthread_mutex_init(&s->ends.lock, NULL);
    pthread_cond_init(&s->ends.more, NULL);
    s->peer = peer_open();
    assert_int_equal(http_client_open(&s->client, clock), ERR_OK);
    *state = s;
    return 0;
}

static int open_idle(void **state)
{
    return open_with(state, clock_real());
}

static int open_running(void **state)
{
    open_with(state, clock_real());
    client_begin(*state);
    return 0;
}

static int close_all(void **state)
{
    struct setup *s = *state;
    client_end(s);
    http_client_close(s->client);
    peer_close(s->peer);
    pthread_cond_destroy(&s->ends.more);
    pthread_mutex_destroy(&s->ends.lock);
    free(s);
    return 0;
}

static enum err submit(struct setup *s, uint64_t token, const char *method, const char *path,
                       const char *body, int64_t timeout_ms, int64_t not_after_boot_us)
{
    char url[128];
    snprintf(url, sizeof url, "%s%s", s->peer->url, path);
    struct http_call_out call = {.method = method,
                                 .url = url,
                                 .headers = {"Content-Type: application/json", "X-One: 1"},
                                 .body = body,
                                 .body_len = body ? strlen(body) : 0,
                                 .timeout_ms = timeout_ms,
                                 .answer_max = 4096,
                                 .not_after_boot_us = not_after_boot_us};
    return http_client_submit(s->client, &call, on_done, &s->ends, token);
}

static struct end *call(struct setup *s, uint64_t token, const char *method, const char *path,
                        const char *body)
{
    int before = s->ends.count; /* nothing is under way */
    assert_int_equal(submit(s, token, method, path, body, WAIT_S * 1000, 0), ERR_OK);
    wait_for(&s->ends, before + 1);
    assert_int_equal(s->ends.by_token[token].times, 1);
    return &s->ends.by_token[token];
}

/* ---- what has to hold ---- */

static void sends_what_it_was_given(void **state)
{
    struct setup *s = *state;
    char body[2001];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    struct end *end = call(s, 1, "POST", "/echo", body);
    assert_int_equal(end->status, 200);
    assert_int_equal(end->body_len, 2000);
    assert_true(end->maybe_sent);
    assert_int_equal(strncmp(s->peer->last, "POST /echo HTTP/1.1\r\n", 21), 0);
    assert_non_null(strstr(s->peer->last, "X-One: 1\r\n"));
    assert_non_null(strstr(s->peer->last, "Content-Type: application/json\r\n"));
    assert_null(strcasestr(s->peer->last, "Expect"));
}

static void knows_the_methods(void **state)
{
    struct setup *s = *state;
    assert_int_equal(call(s, 1, "GET", "/echo", NULL)->status, 200);
    assert_int_equal(strncmp(s->peer->last, "GET /echo ", 10), 0);
    assert_int_equal(call(s, 2, "DELETE", "/echo", NULL)->status, 200);
    assert_int_equal(strncmp(s->peer->last, "DELETE /echo ", 13), 0);
    assert_int_equal(call(s, 3, "PUT", "/echo", "{}")->status, 200);
    assert_int_equal(strncmp(s->peer->last, "PUT /echo ", 10), 0);
    assert_int_equal(call(s, 4, "POST", "/echo", NULL)->status, 200);
    assert_non_null(strstr(s->peer->last, "Content-Length: 0\r\n"));
}

static void keeps_connections(void **state)
{
    struct setup *s = *state;
    for (uint64_t token = 0; token < 20; token++)
        assert_int_equal(call(s, token, "POST", "/echo", "x")->status, 200);
    assert_int_equal(s->peer->connections, 1);
}

static void gives_each_call_its_own_answer(void **state)
{
    struct setup *s = *state;
    char body[16];
    for (uint64_t token = 0; token < 500; token++) {
        snprintf(body, sizeof body, "%d", (int)token);
        assert_int_equal(submit(s, token, "POST", "/echo", body, WAIT_S * 1000, 0), ERR_OK);
    }
    wait_for(&s->ends, 500);
    for (int token = 0; token < 500; token++) {
        snprintf(body, sizeof body, "%d", token);
        assert_int_equal(s->ends.by_token[token].times, 1);
        assert_string_equal(s->ends.by_token[token].body, body);
    }
    assert_in_range(s->peer->connections, 1, HTTP_CLIENT_CONNECTIONS_MAX);
}

static void no_listener_means_not_sent(void **state)
{
    struct setup *s = *state;
    struct peer *gone = peer_open();
    struct http_call_out out = {.method = "POST", .url = gone->url, .timeout_ms = WAIT_S * 1000};
    char url[64];
    snprintf(url, sizeof url, "%s", gone->url);
    out.url = url;
    peer_close(gone);
    assert_int_equal(http_client_submit(s->client, &out, on_done, &s->ends, 7), ERR_OK);
    wait_for(&s->ends, 1);
    assert_int_equal(s->ends.by_token[7].status, 0);
    assert_false(s->ends.by_token[7].maybe_sent);
    assert_string_equal(s->ends.by_token[7].note, "could not connect");
}

static void a_dropped_post_is_never_repeated(void **state)
{
    struct setup *s = *state;
    assert_int_equal(call(s, 1, "POST", "/echo", "x")->status, 200); /* a connection to keep */
    struct end *end = call(s, 2, "POST", "/close", "x");
    assert_int_equal(end->status, 0);
    assert_true(end->maybe_sent);
    assert_int_equal(atomic_load(&s->peer->requests), 2);
}

static void silence_ends_with_the_time(void **state)
{
    struct setup *s = *state;
    assert_int_equal(submit(s, 1, "POST", "/slow", "x", 100, 0), ERR_OK);
    wait_for(&s->ends, 1);
    assert_int_equal(s->ends.by_token[1].status, 0);
    assert_true(s->ends.by_token[1].maybe_sent);
    assert_string_equal(s->ends.by_token[1].note, "timed out");
}

static void bad_answers_are_none(void **state)
{
    struct setup *s = *state;
    struct end *end = call(s, 1, "GET", "/long", NULL);
    assert_int_equal(end->status, 0);
    assert_true(end->maybe_sent);
    assert_string_equal(end->note, "the answer is too long");
    assert_int_equal(call(s, 2, "POST", "/cut", "x")->status, 0);
    assert_int_equal(call(s, 3, "POST", "/garbage", "x")->status, 0);
    assert_true(s->ends.by_token[3].maybe_sent);
}

static void redirects_are_answers(void **state)
{
    struct setup *s = *state;
    assert_int_equal(call(s, 1, "POST", "/move", "x")->status, 302);
    assert_int_equal(atomic_load(&s->peer->requests), 1);
}

static void reads_retry_after(void **state)
{
    struct setup *s = *state;
    assert_int_equal(call(s, 1, "GET", "/later", NULL)->retry_after_us, 7 * US_PER_S);
    assert_in_range(call(s, 2, "GET", "/date", NULL)->retry_after_us, 90 * US_PER_S,
                    101 * US_PER_S);
    assert_int_equal(call(s, 3, "GET", "/ages", NULL)->retry_after_us,
                     HTTP_CLIENT_RETRY_AFTER_MAX_S * US_PER_S);
    assert_int_equal(call(s, 4, "GET", "/echo", NULL)->retry_after_us, 0);
}

static void ignores_proxies_of_the_environment(void **state)
{
    struct setup *s = *state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    assert_int_equal(call(s, 1, "GET", "/echo", NULL)->status, 200);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
}

static void only_speaks_http(void **state)
{
    struct setup *s = *state;
    struct http_call_out out = {
        .method = "GET", .url = "file:///etc/hostname", .timeout_ms = 1000, .answer_max = 4096};
    assert_int_equal(http_client_submit(s->client, &out, on_done, &s->ends, 1), ERR_OK);
    wait_for(&s->ends, 1);
    assert_int_equal(s->ends.by_token[1].status, 0);
    assert_false(s->ends.by_token[1].maybe_sent);
}

/* A clock that is late from its n-th look on. */
struct late_clock {
    struct clock clock;
    atomic_int looks;
    int late_from;
};

static int64_t late_boot_us(struct clock *clock)
{
    struct late_clock *late = (struct late_clock *)clock;
    return atomic_fetch_add(&late->looks, 1) + 1 >= late->late_from ? 2000 : 1000;
}

static void too_late_is_not_sent(void **state)
{
    (void)state;
    /* 1: before it is handed over; 2: when the connection stands, the bytes not yet written. */
    for (int late_from = 1; late_from <= 3; late_from++) {
        struct late_clock clock = {.clock = {.wall_us = late_boot_us, .boot_us = late_boot_us},
                                   .late_from = late_from};
        struct setup *s = NULL;
        open_with((void **)&s, &clock.clock);
        client_begin(s);
        assert_int_equal(submit(s, 1, "POST", "/echo", "x", WAIT_S * 1000, 1500), ERR_OK);
        wait_for(&s->ends, 1);
        struct end *end = &s->ends.by_token[1];
        if (late_from == 3) {
            assert_int_equal(end->status, 200);
        } else {
            assert_int_equal(end->status, 0);
            assert_false(end->maybe_sent);
            assert_string_equal(end->note, "too late to be sent");
            assert_int_equal(atomic_load(&s->peer->requests), 0);
            assert_int_equal(atomic_load(&clock.looks), late_from);
        }
        close_all((void **)&s);
    }
}

static void the_end_tells_everybody_once(void **state)
{
    struct setup *s = *state;
    for (uint64_t token = 0; token < 10; token++)
        assert_int_equal(submit(s, token, "POST", "/slow", "x", WAIT_S * 1000, 0), ERR_OK);
    for (int i = 0; i < WAIT_S * 1000 && atomic_load(&s->peer->requests) < 10; i++)
        (void)poll(NULL, 0, 1);
    assert_int_equal(atomic_load(&s->peer->requests), 10);
    client_end(s);
    for (int token = 0; token < 10; token++) {
        assert_int_equal(s->ends.by_token[token].times, 1);
        assert_int_equal(s->ends.by_token[token].status, 0);
        assert_true(s->ends.by_token[token].maybe_sent);
    }
    assert_int_equal(submit(s, 11, "GET", "/echo", NULL, 1000, 0), ERR_STOPPED);
}

static void has_a_maximum(void **state)
{
    struct setup *s = *state;
    for (uint64_t token = 0; token < HTTP_CLIENT_CALLS_MAX; token++)
        assert_int_equal(submit(s, token, "GET", "/echo", NULL, 1000, 0), ERR_OK);
    assert_int_equal(submit(s, HTTP_CLIENT_CALLS_MAX, "GET", "/echo", NULL, 1000, 0), ERR_BUSY);
    http_client_close(s->client); /* nobody ran it: everybody hears so */
    assert_int_equal(s->ends.count, HTTP_CLIENT_CALLS_MAX);
    assert_false(s->ends.by_token[0].maybe_sent);
    assert_int_equal(http_client_open(&s->client, clock_real()), ERR_OK);
    client_begin(s);
    for (uint64_t token = 0; token < HTTP_CLIENT_CALLS_MAX; token++)
        assert_int_equal(submit(s, token, "GET", "/echo", NULL, WAIT_S * 1000, 0), ERR_OK);
    wait_for(&s->ends, 2 * HTTP_CLIENT_CALLS_MAX);
    for (int token = 0; token < HTTP_CLIENT_CALLS_MAX; token++)
        assert_int_equal(s->ends.by_token[token].status, 200);
}

static void refuses_what_is_too_large(void **state)
{
    struct setup *s = *state;
    char *url = calloc(1, HTTP_CLIENT_URL_MAX + 2);
    memset(url, 'u', HTTP_CLIENT_URL_MAX + 1);
    struct http_call_out out = {.method = "GET", .url = url, .timeout_ms = 1000};
    assert_int_equal(http_client_submit(s->client, &out, on_done, &s->ends, 1), ERR_INVALID);
    out = (struct http_call_out){.method = "POST",
                                 .url = s->peer->url,
                                 .body = url,
                                 .body_len = HTTP_CLIENT_BODY_MAX + 1,
                                 .timeout_ms = 1000};
    assert_int_equal(http_client_submit(s->client, &out, on_done, &s->ends, 1), ERR_INVALID);
    free(url);
}

/* A unix socket in a folder whose path is longer than a socket's name may be. */
static void once_over_a_unix_socket(void **state)
{
    struct setup *s = *state;
    char base[] = "/tmp/subpay-client-XXXXXX", folder[PATH_MAX], path[PATH_MAX + 8];
    assert_non_null(mkdtemp(base));
    snprintf(folder, sizeof folder, "%s/%0100d", base, 7);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(chdir(folder), 0);
    struct peer *p = calloc(1, sizeof *p);
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "s"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    peer_start(p, fd);
    assert_int_equal(chdir("/"), 0);
    snprintf(path, sizeof path, "%s/s", folder);
    struct http_call_out out = {.method = "POST",
                                .url = "http://localhost/echo",
                                .unix_socket = path,
                                .body = "hello",
                                .body_len = 5,
                                .timeout_ms = WAIT_S * 1000,
                                .answer_max = 100};
    assert_int_equal(http_call_once(&out, on_done, &s->ends), ERR_OK);
    assert_int_equal(s->ends.by_token[0].status, 200);
    assert_string_equal(s->ends.by_token[0].body, "hello");
    peer_close(p);
    unlink(path);
    rmdir(folder);
    rmdir(base);
    assert_int_equal(http_call_once(&out, on_done, &s->ends), ERR_OK);
    assert_int_equal(s->ends.by_token[0].status, 0);
    assert_false(s->ends.by_token[0].maybe_sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH(test, open) cmocka_unit_test_setup_teardown(test, open, close_all)
        WITH(sends_what_it_was_given, open_running),
        WITH(knows_the_methods, open_running),
        WITH(keeps_connections, open_running),
        WITH(gives_each_call_its_own_answer, open_running),
        WITH(no_listener_means_not_sent, open_running),
        WITH(a_dropped_post_is_never_repeated, open_running),
        WITH(silence_ends_with_the_time, open_running),
        WITH(bad_answers_are_none, open_running),
        WITH(redirects_are_answers, open_running),
        WITH(reads_retry_after, open_running),
        WITH(ignores_proxies_of_the_environment, open_running),
        WITH(only_speaks_http, open_running),
        cmocka_unit_test(too_late_is_not_sent),
        WITH(the_end_tells_everybody_once, open_running),
        WITH(has_a_maximum, open_idle),
        WITH(refuses_what_is_too_large, open_running),
        WITH(once_over_a_unix_socket, open_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
