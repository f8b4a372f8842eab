#include "simulator_stage.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/log.h"
#include "base/random.h"

#define ANSWER_MAX (16 * 1024 * 1024)

/* ---- a simulator with its threads ---- */

static int64_t shifted_wall_us(struct clock *clock)
{
    struct shifted_clock *shifted = (struct shifted_clock *)clock;
    return clock_wall_us(clock_real()) + atomic_load(&shifted->wall_us);
}

static int64_t shifted_boot_us(struct clock *clock)
{
    (void)clock;
    return clock_boot_us(clock_real());
}

static void *loop_run(void *arg)
{
    http_server_run(((struct stage *)arg)->server);
    return NULL;
}

static void *writer_thread(void *arg)
{
    writer_run(processing_service_writer(((struct stage *)arg)->service));
    return NULL;
}

static void *stepper_run(void *arg)
{
    struct stage *s = arg;
    struct log log = {.fd = -1, .clock = &s->clock.clock};
    struct env env = {&s->clock.clock, random_real(), &log};
    while (!atomic_load(&s->stopping)) {
        uint64_t count;
        int64_t next_us = service_step(s->service, &env);
        int64_t wait_us = next_us - clock_boot_us(&s->clock.clock);
        struct pollfd event = {.fd = s->event_fd, .events = POLLIN};
        if (wait_us > 0)
            (void)poll(&event, 1, (int)(wait_us / 1000 + 1));
        ssize_t got = read(s->event_fd, &count, sizeof count);
        (void)got; /* empty is fine */
    }
    return NULL;
}

void on_wake(void *ctx)
{
    uint64_t one = 1;
    ssize_t put = write(((struct stage *)ctx)->event_fd, &one, sizeof one);
    (void)put;
}

void stage_start(struct stage *s)
{
    char why[256] = "";
    int port = 0;
    s->stopping = false;
    s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(s->event_fd >= 0);
    enum err err = processing_service_open(&s->service, &s->config, &s->clock.clock, random_real(),
                                           NULL, (struct wake){on_wake, s}, why, sizeof why);
    if (err != ERR_OK)
        fail_msg("%s: %s", err_text(err), why);
    assert_int_equal(http_server_open(&s->server, clock_real()), ERR_OK);
    assert_int_equal(http_listen(s->server, "127.0.0.1:0", processing_on_request, s->service, &port,
                                 why, sizeof why),
                     ERR_OK);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", port);
    assert_int_equal(pthread_create(&s->loop, NULL, loop_run, s), 0);
    assert_int_equal(pthread_create(&s->writer, NULL, writer_thread, s), 0);
    assert_int_equal(pthread_create(&s->stepper, NULL, stepper_run, s), 0);
}

/* Wherever it stands: nothing is drained. */
void stage_stop(struct stage *s)
{
    http_server_stop(s->server);
    pthread_join(s->loop, NULL);
    atomic_store(&s->stopping, true);
    on_wake(s);
    pthread_join(s->stepper, NULL);
    writer_stop(processing_service_writer(s->service));
    pthread_join(s->writer, NULL);
    http_server_close(s->server);
    s->service->ops->close(s->service);
    close(s->event_fd);
}

void stage_restart(struct stage *s)
{
    stage_stop(s);
    stage_start(s);
}

static void set(char *member, const char *value)
{
    snprintf(member, CONFIG_TEXT, "%s", value);
}

struct stage *stage_new(void)
{
    struct stage *s = calloc(1, sizeof *s);
    snprintf(s->folder, sizeof s->folder, "/tmp/subpay-simulator-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    s->clock.clock = (struct clock){.wall_us = shifted_wall_us, .boot_us = shifted_boot_us};
    s->config.key_ttl = KEY_TTL_SECONDS;
    s->config.key_ttl_s = 86400;
    s->config.processing_seed = 1;
    s->config.processing_pending_s = 900;
    set(s->config.data_dir, s->folder);
    set(s->config.processing_outcomes, "success=1");
    set(s->config.processing_latency_ms, "0-0");
    return s;
}

int stage_open(void **state)
{
    struct stage *s = stage_new();
    stage_start(s);
    *state = s;
    return 0;
}

void stage_free(struct stage *s)
{
    static const char *const FILES[] = {"processing.db", "processing.db-wal", "processing.db-shm"};
    char path[128];
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", s->folder, FILES[i]);
        unlink(path);
    }
    rmdir(s->folder);
    free(s);
}

int stage_close(void **state)
{
    struct stage *s = *state;
    stage_stop(s);
    stage_free(s);
    return 0;
}

/* Other settings: a new process over the same journal. */
void stage_with(struct stage *s, const char *outcomes, const char *latency, const char *faults)
{
    set(s->config.processing_outcomes, outcomes);
    set(s->config.processing_latency_ms, latency);
    set(s->config.processing_faults, faults);
    stage_restart(s);
}

/* ---- calls ---- */

static void on_got(void *ctx, uint64_t token, const struct http_outcome *o)
{
    (void)token;
    struct got *got = ctx;
    got->status = o->status;
    got->retry_after_us = o->retry_after_us;
    str_add_bytes(&got->body, o->body, o->body_len);
}

struct got *call_within(struct stage *s, const char *method, const char *path, const char *key,
                        const char *body, int64_t timeout_ms)
{
    static struct got got;
    char url[256], header[128];
    str_release(&got.body);
    str_init(&got.body, ANSWER_MAX);
    got.status = 0;
    snprintf(url, sizeof url, "%s%s", s->url, path);
    snprintf(header, sizeof header, "Idempotency-Key: %s", key ? key : "");
    struct http_call_out out = {.method = method,
                                .url = url,
                                .headers = {"Content-Type: application/json", key ? header : NULL},
                                .body = body,
                                .body_len = body ? strlen(body) : 0,
                                .timeout_ms = timeout_ms,
                                .answer_max = ANSWER_MAX};
    assert_int_equal(http_call_once(&out, on_got, &got), ERR_OK);
    return &got;
}

struct got *call(struct stage *s, const char *method, const char *path, const char *key,
                 const char *body)
{
    return call_within(s, method, path, key, body, WAIT_MS);
}

struct got *get(struct stage *s, const char *path)
{
    return call(s, "GET", path, NULL, NULL);
}

/* A key that is different for each n. */
const char *key_of(int n)
{
    static char key[4][UUID_TEXT];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(key[turn], UUID_TEXT, "3f2b1a00-0000-7000-8000-%012x", (unsigned)n);
    return key[turn];
}

const char *body_of(int n, const char *user, const char *refund_of, int64_t amount)
{
    static char body[BODY_MAX];
    char target[64] = "";
    if (refund_of)
        snprintf(target, sizeof target, ",\"refund_of\":\"%s\"", refund_of);
    snprintf(body, sizeof body,
             "{\"payment_id\":\"%s\",\"user_id\":\"%s\",\"payment_type\":\"%s\","
             "\"subscription_type\":\"month\",\"requested_at\":\"2026-11-24T06:35:48.000000Z\","
             "\"amount\":%lld,\"currency\":\"RUB\"%s}",
             key_of(n), user, refund_of ? "refund" : "payment", (long long)amount, target);
    return body;
}

struct got *pay(struct stage *s, int n)
{
    return call(s, "POST", "/execute_transaction", key_of(n), body_of(n, USER, NULL, 39900));
}

struct got *refund(struct stage *s, int n, int charge, const char *user, int64_t amount)
{
    return call(s, "POST", "/execute_transaction", key_of(n),
                body_of(n, user, key_of(charge), amount));
}

const char *path_of(const char *before, int n, const char *after)
{
    static char path[128];
    snprintf(path, sizeof path, "%s%s%s", before, key_of(n), after);
    return path;
}

struct got *ask(struct stage *s, int n)
{
    return get(s, path_of("/transactions/", n, ""));
}

struct got *void_of(struct stage *s, int n)
{
    return call(s, "POST", path_of("/transactions/", n, "/void"), NULL,
                body_of(n, USER, NULL, 39900));
}

/* A copy of a member's text; "" when there is none. */
const char *member(const struct got *got, const char *name)
{
    static char texts[4][1100];
    static int turn;
    turn = (turn + 1) % 4;
    struct json *doc = json_parse(got->body.data, got->body.len, NULL, 0);
    const char *text = json_text(json_member(doc, name));
    snprintf(texts[turn], sizeof texts[turn], "%s", text ? text : "");
    json_free(doc);
    return texts[turn];
}

void expect_result(const struct got *got, const char *result, const char *reason)
{
    assert_int_equal(got->status, 200);
    assert_string_equal(member(got, "result"), result);
    assert_string_equal(member(got, "reason"), reason);
}

/* Lines of the journal; each is checked to be an object with its four members and the next seq. */
int journal_lines(struct stage *s)
{
    struct got *got = get(s, "/transactions?after=0");
    int lines = 0;
    int64_t before = 0, seq;
    assert_int_equal(got->status, 200);
    for (const char *line = got->body.data; *line; lines++) {
        size_t len = strcspn(line, "\n");
        struct json *doc = json_parse(line, len, NULL, 0);
        assert_true(json_i64(json_member(doc, "seq"), &seq) && seq > before);
        assert_non_null(json_text(json_member(doc, "key")));
        assert_true(json_is_object(json_member(doc, "request")));
        assert_true(json_is_object(json_member(doc, "answer")));
        json_free(doc);
        assert_int_equal(line[len], '\n');
        line += len + 1;
        before = seq;
    }
    return lines;
}

static void *crowd_run(void *arg)
{
    http_client_run(arg);
    return NULL;
}

void crowd_open(struct crowd *c)
{
    *c = (struct crowd){.timeout_ms = WAIT_MS};
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    assert_int_equal(http_client_open(&c->client, clock_real()), ERR_OK);
    assert_int_equal(pthread_create(&c->thread, NULL, crowd_run, c->client), 0);
}

void crowd_close(struct crowd *c)
{
    http_client_stop(c->client);
    pthread_join(c->thread, NULL);
    http_client_close(c->client);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
}

static void on_crowd(void *ctx, uint64_t token, const struct http_outcome *o)
{
    (void)token;
    struct crowd *c = ctx;
    pthread_mutex_lock(&c->lock);
    c->ended++;
    c->answered += o->status == 200;
    if (o->status == 200 && !c->first[0])
        snprintf(c->first, sizeof c->first, "%s", o->body);
    c->differ = c->differ || (o->status == 200 && strcmp(c->first, o->body) != 0);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void crowd_pay(struct stage *s, struct crowd *c, int n)
{
    char url[256], header[128];
    snprintf(url, sizeof url, "%s/execute_transaction", s->url);
    snprintf(header, sizeof header, "Idempotency-Key: %s", key_of(n));
    const char *body = body_of(n, USER, NULL, 39900);
    struct http_call_out out = {.method = "POST",
                                .url = url,
                                .headers = {"Content-Type: application/json", header},
                                .body = body,
                                .body_len = strlen(body),
                                .timeout_ms = c->timeout_ms,
                                .answer_max = 4096};
    assert_int_equal(http_client_submit(c->client, &out, on_crowd, c, (uint64_t)n), ERR_OK);
}

void crowd_wait(struct crowd *c, int ended)
{
    pthread_mutex_lock(&c->lock);
    while (c->ended < ended)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}
