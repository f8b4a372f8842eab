/* load: sends prepared requests over keep-alive connections, one at a time on each, and reports the rate and
 * the latencies as one JSON line.
 *
 *     load PORT PATH --connections C --requests N [--per-user K] [--secret KEY] [--ids FILE]
 *
 * With --secret each request is a POST that carries a token of its own user (every K requests the next user);
 * without, a plain GET. --ids writes the payment_id of every 202 to FILE, a line each. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/jwt.h"

#define CONNECTIONS_MAX 1024
#define ANSWER_MAX 4096

struct connection {
    int fd;
    int64_t sent_us;
    size_t request, len;
    char answer[ANSWER_MAX + 1];
};
struct load {
    int port;
    const char *path, *secret, *ids_path;
    int64_t connections, requests, per_user;
    struct str *texts; /* one request each */
    size_t next, done, by_class[6];
    int64_t *latency_us;
    FILE *ids;
    struct connection at[CONNECTIONS_MAX];
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
                struct uuid user = uuid_v7(wall_us, random_real());
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

static bool send_next(struct load *l, struct connection *c)
{
    if (l->next >= (size_t)l->requests)
        return false;
    c->request = l->next++;
    c->len = 0;
    c->sent_us = now_us();
    const struct str *text = &l->texts[c->request];
    if (send(c->fd, text->data, text->len, MSG_NOSIGNAL) != (ssize_t)text->len)
        die("send");
    return true;
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

static void connect_all(struct load *l, int epoll)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int64_t i = 0; i < l->connections; i++) {
        struct connection *c = &l->at[i];
        int one = 1;
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0)
            die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
            die("epoll");
        send_next(l, c);
    }
}

static void on_bytes(struct load *l, struct connection *c)
{
    ssize_t n = recv(c->fd, c->answer + c->len, ANSWER_MAX - c->len, 0);
    if (n <= 0)
        die("the server closed a connection");
    c->len += (size_t)n;
    int status = answer_status(c);
    if (!status)
        return;
    l->latency_us[l->done++] = now_us() - c->sent_us;
    l->by_class[status / 100 < 6 ? status / 100 : 0]++;
    note_id(l, c, status);
    send_next(l, c);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void run(struct load *l)
{
    int epoll = epoll_create1(0);
    int64_t start_us = now_us();
    connect_all(l, epoll);
    while (l->done < (size_t)l->requests) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 30000);
        if (n <= 0)
            die("no answer for 30 s");
        for (int i = 0; i < n; i++)
            on_bytes(l, events[i].data.ptr);
    }
    double seconds = (double)(now_us() - start_us) / 1e6;
    qsort(l->latency_us, l->done, sizeof *l->latency_us, by_value);
    printf("{\"requests\": %zu, \"seconds\": %.3f, \"per_second\": %.0f, \"p50_ms\": %.2f, "
           "\"p99_ms\": %.2f, "
           "\"2xx\": %zu, \"4xx\": %zu, \"5xx\": %zu}\n",
           l->done, seconds, (double)l->done / seconds, (double)l->latency_us[l->done / 2] / 1e3,
           (double)l->latency_us[l->done * 99 / 100] / 1e3, l->by_class[2], l->by_class[4],
           l->by_class[5]);
}

int main(int argc, char **argv)
{
    static struct load l = {.connections = 64, .requests = 10000, .per_user = 1};
    int64_t port;
    if (argc < 3 || !text_i64(argv[1], 1, 65535, &port)) {
        fprintf(
            stderr,
            "usage: load PORT PATH [--connections C] [--requests N] [--per-user K] [--secret KEY] "
            "[--ids FILE]\n");
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
                   (!strcmp(argv[i], "--per-user") &&
                    text_i64(argv[i + 1], 1, 1000, &l.per_user)))) {
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
