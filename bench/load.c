/* load: sends prepared requests over keep-alive connections, one at a time on each, and reports the rate and
 * the latencies as one JSON line.
 *
 *     load PORT PATH --connections C --requests N [--per-user K] [--secret KEY] [--ids FILE] [--rate R]
 *          [--first-user U] [--patience S]
 *
 * With --secret each request is a POST that carries a token of its own user (every K requests the next user);
 * without, a plain GET. --ids writes the payment_id of every 202 to FILE, a line each. --rate sends R a second
 * however long the answers take; a latency counts from when its request was due. --first-user: the users are U, U + 1 and so
 * on, the same ones in every run. --patience: where a connection breaks or the answer is a 5xx the request is sent
 * again, until nothing was answered for S seconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/jwt.h"

#define CONNECTIONS_MAX 1024
#define ANSWER_MAX 4096
#define SILENCE_S 30
#define AGAIN_US (50 * 1000)

struct connection {
    int fd; /* -1: not open */
    bool busy;
    int64_t sent_us, again_us; /* again_us: when the request is sent again; 0: it is not */
    size_t request, len;
    char answer[ANSWER_MAX + 1];
};
struct load {
    int port;
    const char *path, *secret, *ids_path;
    int64_t connections, requests, per_user, rate; /* rate 0: as fast as answers come */
    int64_t first_user, patience_s;
    int64_t start_us, heard_us, slowest_us;
    int epoll;
    struct str *texts; /* one request each */
    size_t next, done, broken, by_class[6];
    int64_t *latency_us;
    FILE *ids;
    struct connection at[CONNECTIONS_MAX];
    struct connection *idle[CONNECTIONS_MAX];
    size_t idle_count;
};

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_us(void)
{
    return clock_boot_us(clock_real());
}

static struct uuid numbered(int64_t n)
{
    struct uuid id = {.bytes = {0xaa, [6] = 0x70, [8] = 0x80}};
    for (int i = 0; i < 4; i++)
        id.bytes[12 + i] = (uint8_t)(n >> (24 - 8 * i));
    return id;
}

static void prepare(struct load *l)
{
    struct config config;
    config_defaults(&config);
    if (l->secret)
        text_copy(config.jwt_secret, sizeof config.jwt_secret, l->secret);
    struct str token;
    str_init(&token, 8192);
    l->texts = calloc((size_t)l->requests, sizeof *l->texts);
    l->latency_us = calloc((size_t)l->requests, sizeof *l->latency_us);
    if (!l->texts || !l->latency_us)
        die("memory");
    for (int64_t i = 0; i < l->requests; i++) {
        struct str *text = &l->texts[i];
        str_init(text, 16384);
        str_addf(text, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n", l->secret ? "POST" : "GET",
                 l->path, l->port);
        if (l->secret) {
            if (i % l->per_user == 0) {
                int64_t wall_us = clock_wall_us(clock_real());
                struct uuid user = l->first_user < 0 ? uuid_v7(wall_us, random_real())
                                                     : numbered(l->first_user + i / l->per_user);
                str_clear(&token);
                if (jwt_sign(&config, &user, false, wall_us, 3600, &token) != ERR_OK)
                    die("token");
            }
            str_addf(text, "Authorization: Bearer %s\r\nContent-Length: 0\r\n", token.data);
        }
        str_add(text, "\r\n");
    }
    str_release(&token);
}

/* When the next request is to be sent, at a rate; TIME_NEVER: there is none. */
static int64_t due_us(const struct load *l)
{
    if (l->next >= (size_t)l->requests)
        return TIME_NEVER;
    return l->rate ? l->start_us + (int64_t)l->next * US_PER_S / l->rate : 0;
}

/* A request that is under way goes out again later. */
static void broke(struct load *l, struct connection *c, const char *what)
{
    if (l->patience_s == 0)
        die(what);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    if (c->busy)
        c->again_us = now_us() + AGAIN_US;
    l->broken++;
}

static void connect_one(struct load *l, struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        broke(l, c, "connect");
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        die("epoll");
}

static void send_request(struct load *l, struct connection *c)
{
    const struct str *text = &l->texts[c->request];
    c->len = 0;
    c->again_us = 0;
    if (c->fd < 0)
        connect_one(l, c);
    if (c->fd >= 0 && send(c->fd, text->data, text->len, MSG_NOSIGNAL) != (ssize_t)text->len)
        broke(l, c, "send");
}

static void send_next(struct load *l, struct connection *c)
{
    int64_t due = due_us(l), now = now_us();
    if (due > now) {
        l->idle[l->idle_count++] = c;
        return;
    }
    c->request = l->next++;
    c->busy = true;
    c->sent_us = due ? due : now;
    send_request(l, c);
}

/* A whole answer is there: its status, or 0. */
static int answer_status(struct connection *c)
{
    c->answer[c->len] = 0;
    char *end = strstr(c->answer, "\r\n\r\n");
    if (!end)
        return 0;
    size_t body = 0;
    char *length = strcasestr(c->answer, "\r\nContent-Length:");
    if (length && length < end)
        body = (size_t)strtoul(length + 17, NULL, 10);
    if (c->len < (size_t)(end + 4 - c->answer) + body)
        return 0;
    return (int)strtol(c->answer + 9, NULL, 10);
}

static void note_id(struct load *l, const struct connection *c, int status)
{
    const char *id = l->ids && status == 202 ? strstr(c->answer, "\"payment_id\"") : NULL;
    id = id ? strchr(id + 12, '"') : NULL;
    if (id)
        fprintf(l->ids, "%.36s\n", id + 1);
}

static void on_bytes(struct load *l, struct connection *c)
{
    ssize_t n = recv(c->fd, c->answer + c->len, ANSWER_MAX - c->len, 0);
    if (n <= 0) {
        broke(l, c, "the server closed a connection");
        return;
    }
    c->len += (size_t)n;
    int status = answer_status(c);
    if (!status)
        return;
    l->heard_us = now_us();
    int64_t took_us = l->heard_us - c->sent_us;
    l->slowest_us = took_us > l->slowest_us ? took_us : l->slowest_us;
    l->by_class[status / 100 < 6 ? status / 100 : 0]++;
    if (status >= 500 && l->patience_s > 0) {
        c->again_us = l->heard_us + AGAIN_US;
        return;
    }
    l->latency_us[l->done++] = took_us;
    note_id(l, c, status);
    c->busy = false;
    send_next(l, c);
}

static void send_again(struct load *l)
{
    int64_t now = now_us();
    for (int64_t i = 0; i < l->connections; i++)
        if (l->at[i].again_us != 0 && l->at[i].again_us <= now) {
            l->at[i].sent_us = now;
            send_request(l, &l->at[i]);
        }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* What is due goes out on the connections that are free; then waits for answers, until something is due. */
static void turn(struct load *l)
{
    struct epoll_event events[64];
    while (l->idle_count > 0 && due_us(l) <= now_us())
        send_next(l, l->idle[--l->idle_count]);
    send_again(l);
    int64_t wait_us = l->patience_s ? AGAIN_US : US_PER_S;
    int64_t due_in_us = due_us(l) - now_us();
    if (l->idle_count > 0 && due_in_us < wait_us)
        wait_us = due_in_us > 0 ? due_in_us : 0;
    struct timespec wait = {wait_us / US_PER_S, wait_us % US_PER_S * 1000};
    int n = epoll_pwait2(l->epoll, events, 64, &wait, NULL);
    if (n < 0)
        die("epoll");
    for (int i = 0; i < n; i++)
        on_bytes(l, events[i].data.ptr);
    if (now_us() - l->heard_us > (l->patience_s ? l->patience_s : SILENCE_S) * US_PER_S)
        die("no answer");
}

static void run(struct load *l)
{
    l->epoll = epoll_create1(0);
    l->start_us = l->heard_us = now_us();
    for (int64_t i = 0; i < l->connections; i++) {
        l->at[i].fd = -1;
        connect_one(l, &l->at[i]);
        send_next(l, &l->at[i]);
    }
    while (l->done < (size_t)l->requests)
        turn(l);
    double seconds = (double)(now_us() - l->start_us) / 1e6;
    qsort(l->latency_us, l->done, sizeof *l->latency_us, by_value);
    printf("{\"requests\": %zu, \"seconds\": %.3f, \"per_second\": %.0f, \"p50_ms\": %.2f, "
           "\"p99_ms\": %.2f, \"max_ms\": %.2f, "
           "\"2xx\": %zu, \"4xx\": %zu, \"5xx\": %zu, \"broken\": %zu}\n",
           l->done, seconds, (double)l->done / seconds, (double)l->latency_us[l->done / 2] / 1e3,
           (double)l->latency_us[l->done * 99 / 100] / 1e3, (double)l->slowest_us / 1e3,
           l->by_class[2], l->by_class[4], l->by_class[5], l->broken);
}

int main(int argc, char **argv)
{
    static struct load l = {.connections = 64, .requests = 10000, .per_user = 1, .first_user = -1};
    int64_t port;
    if (argc < 3 || !text_i64(argv[1], 1, 65535, &port)) {
        fprintf(
            stderr,
            "usage: load PORT PATH [--connections C] [--requests N] [--per-user K] [--secret KEY] "
            "[--ids FILE] [--rate R] [--first-user U] [--patience S]\n");
        return 2;
    }
    l.port = (int)port;
    l.path = argv[2];
    for (int i = 3; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--secret"))
            l.secret = argv[i + 1];
        else if (!strcmp(argv[i], "--ids"))
            l.ids_path = argv[i + 1];
        else if (!((!strcmp(argv[i], "--connections") &&
                    text_i64(argv[i + 1], 1, CONNECTIONS_MAX, &l.connections)) ||
                   (!strcmp(argv[i], "--requests") &&
                    text_i64(argv[i + 1], 1, 10000000, &l.requests)) ||
                   (!strcmp(argv[i], "--first-user") &&
                    text_i64(argv[i + 1], 0, INT32_MAX, &l.first_user)) ||
                   (!strcmp(argv[i], "--patience") &&
                    text_i64(argv[i + 1], 1, 3600, &l.patience_s)) ||
                   (!strcmp(argv[i], "--per-user") &&
                    text_i64(argv[i + 1], 1, 1000, &l.per_user)) ||
                   (!strcmp(argv[i], "--rate") && text_i64(argv[i + 1], 1, 1000000, &l.rate)))) {
            fprintf(stderr, "load: %s %s\n", argv[i], argv[i + 1]);
            return 2;
        }
    }
    if (l.connections > l.requests)
        l.connections = l.requests;
    if (l.ids_path && !(l.ids = fopen(l.ids_path, "w")))
        die(l.ids_path);
    prepare(&l);
    run(&l);
    return l.ids && fclose(l.ids) != 0 ? 1 : 0;
}
