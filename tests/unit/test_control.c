/* The control socket: frames, and the service behind a real listener over a real file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakes.h"
#include "http/client.h"
#include "ledger/embedded.h"
#include "services/control.h"
#include "services/processor.h"

#define ANSWER_MAX 8192

/* ---- frames ---- */

static struct queue_message message(const char *key, const char *value)
{
    return (struct queue_message){.topic = "payments",
                                  .key = key,
                                  .key_len = key ? strlen(key) : 0,
                                  .value = value,
                                  .value_len = value ? strlen(value) : 0,
                                  .timestamp_us = REQUEST_NO_TIME};
}

static void assert_same(const struct queue_message *a, const struct queue_message *b)
{
    assert_int_equal(a->key == NULL, b->key == NULL);
    assert_int_equal(a->value == NULL, b->value == NULL);
    assert_int_equal(a->key_len, b->key_len);
    assert_int_equal(a->value_len, b->value_len);
    if (a->key)
        assert_memory_equal(a->key, b->key, a->key_len);
    if (a->value)
        assert_memory_equal(a->value, b->value, a->value_len);
}

static void test_frames(void **state)
{
    (void)state;
    struct queue_message in[] = {message("k", "v"), message(NULL, ""), message("", NULL),
                                 message("x", "y")},
                         out;
    in[3].value = "a\0\xff\n";
    in[3].value_len = 4;
    struct str body;
    str_init(&body, 1024);
    for (size_t i = 0; i < 4; i++)
        control_frame_add(&body, &in[i]);
    struct span rest = {body.data, body.len};
    for (size_t i = 0; i < 4; i++) {
        assert_true(control_frame_take(&rest, &out));
        assert_same(&in[i], &out);
    }
    assert_int_equal(rest.len, 0);
    for (size_t len = 1; len < 10; len++) { /* the first one, cut */
        rest = (struct span){body.data, len};
        assert_false(control_frame_take(&rest, &out));
    }
    rest = (struct span){"\xff\xff\xff\xfe\0\0\0\0abc", 11};
    assert_false(control_frame_take(&rest, &out));
    str_release(&body);
}

/* ---- the service ---- */

struct house {
    char dir[160];
    struct embedded *embedded;
    struct local_queue_hub *hub;
    struct db *reader, *test_reader;
    struct queue *queue, *test_queue;
    struct ledger *test_ledger;
    struct service *service, *processor;
    struct fake_ledger *books; /* of the processor */
    struct fake_gateway *gateway;
    struct metrics *metrics;
    struct http_server *server;
    pthread_t writer_thread, service_thread, server_thread;
    sem_t work;
    atomic_bool over;
    struct arena arena;
    /* the last answer */
    int status;
    char answer[ANSWER_MAX];
};

static void *writer_main(void *arg)
{
    writer_run(arg);
    return NULL;
}

static void *server_main(void *arg)
{
    http_server_run(arg);
    return NULL;
}

static void wake(void *ctx)
{
    struct house *h = ctx;
    sem_post(&h->work);
}

static void *service_main(void *arg)
{
    struct house *h = arg;
    struct log log = {.fd = -1, .clock = clock_real()};
    const struct env env = {.clock = clock_real(), .random = random_real(), .log = &log};
    while (!atomic_load(&h->over)) {
        (void)service_step(h->service, &env);
        do {
            (void)service_step(h->processor, &env);
        } while (h->gateway->answer_count > 0);
        while (sem_wait(&h->work) != 0)
            continue;
    }
    return NULL;
}

static void house_open_queue(struct house *h)
{
    char why[256] = "";
    assert_int_equal(
        embedded_open(&h->embedded, h->dir, clock_real(), random_real(), why, sizeof why), ERR_OK);
    assert_int_equal(
        local_queue_hub_open(&h->hub, embedded_writer(h->embedded), clock_real(), random_real()),
        ERR_OK);
    assert_int_equal(embedded_reader(h->embedded, &h->reader), ERR_OK);
    assert_int_equal(local_queue_open(&h->queue, h->hub, h->reader), ERR_OK);
    assert_int_equal(embedded_reader(h->embedded, &h->test_reader), ERR_OK);
    assert_int_equal(local_queue_open(&h->test_queue, h->hub, h->test_reader), ERR_OK);
    assert_int_equal(embedded_ledger(h->embedded, &h->test_ledger), ERR_OK);
    assert_int_equal(
        pthread_create(&h->writer_thread, NULL, writer_main, embedded_writer(h->embedded)), 0);
    assert_int_equal(queue_create(h->test_queue, "payments", 1), ERR_OK);
}

static void house_open_processor(struct house *h)
{
    const struct processor_settings settings = {.timeout_us = US_PER_S};
    h->books = calloc(1, sizeof *h->books);
    h->gateway = calloc(1, sizeof *h->gateway);
    assert_true(h->books && h->gateway && (h->metrics = metrics_open()));
    fake_ledger_init(h->books);
    fake_gateway_init(h->gateway);
    h->gateway->auto_instance = "instance-1";
    h->gateway->auto_journal = true;
    h->gateway->promises.voids = false;
    fake_ledger_known(h->books, 1);
    assert_int_equal(processor_open(&h->processor, &settings, &h->books->ledger,
                                    &h->gateway->gateway, h->metrics, (struct wake){wake, h}),
                     ERR_OK);
}

static void house_open_service(struct house *h)
{
    char why[256] = "";
    struct ledger *ledger = NULL;
    assert_int_equal(embedded_ledger(h->embedded, &ledger), ERR_OK);
    assert_int_equal(sem_init(&h->work, 0, 0), 0);
    house_open_processor(h);
    assert_int_equal(
        control_open(&h->service, ledger, h->queue, h->processor, (struct wake){wake, h}), ERR_OK);
    assert_int_equal(http_server_open(&h->server, clock_real()), ERR_OK);
    assert_int_equal(http_listen_unix(h->server, h->dir, CONTROL_SOCKET, CONTROL_BODY_MAX,
                                      control_on_request, h->service, why, sizeof why),
                     ERR_OK);
    assert_int_equal(pthread_create(&h->service_thread, NULL, service_main, h), 0);
    assert_int_equal(pthread_create(&h->server_thread, NULL, server_main, h->server), 0);
}

static int house_open(void **state)
{
    struct house *h = calloc(1, sizeof *h);
    assert_non_null(h);
    (void)snprintf(h->dir, sizeof h->dir, "/tmp/subpay-control-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    /* Longer than the name of a socket may be. */
    size_t len = strlen(h->dir);
    h->dir[len] = '/';
    memset(h->dir + len + 1, 'd', 120);
    arena_init(&h->arena, 16 * 1024 * 1024);
    house_open_queue(h);
    house_open_service(h);
    *state = h;
    return 0;
}

static void house_remove(struct house *h)
{
    static const char *const names[] = {"subpay.db", "subpay.db-wal", "subpay.db-shm",
                                        "subpay.lock", CONTROL_SOCKET};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/%s", h->dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(h->dir);
    *strrchr(h->dir, '/') = '\0';
    (void)rmdir(h->dir);
}

static int house_close(void **state)
{
    struct house *h = *state;
    http_server_stop(h->server);
    assert_int_equal(pthread_join(h->server_thread, NULL), 0);
    atomic_store(&h->over, true);
    sem_post(&h->work);
    assert_int_equal(pthread_join(h->service_thread, NULL), 0);
    h->processor->ops->close(h->processor);
    h->service->ops->close(h->service);
    metrics_close(h->metrics);
    free(h->books);
    free(h->gateway);
    http_server_close(h->server);
    writer_stop(embedded_writer(h->embedded));
    assert_int_equal(pthread_join(h->writer_thread, NULL), 0);
    queue_close(h->test_queue);
    ledger_close(h->test_ledger);
    embedded_reader_close(h->embedded, h->reader);
    embedded_reader_close(h->embedded, h->test_reader);
    local_queue_hub_close(h->hub);
    embedded_close(h->embedded);
    sem_destroy(&h->work);
    arena_release(&h->arena);
    house_remove(h);
    free(h);
    return 0;
}

static void take_answer(void *ctx, uint64_t token, const struct http_outcome *outcome)
{
    struct house *h = ctx;
    (void)token;
    h->status = outcome->status;
    (void)text_copy_n(h->answer, sizeof h->answer, outcome->body, outcome->body_len);
}

static void call(struct house *h, const char *method, const char *path, const char *body,
                 size_t len)
{
    char url[400], socket[256];
    (void)snprintf(url, sizeof url, "http://localhost%s", path);
    (void)snprintf(socket, sizeof socket, "%s/%s", h->dir, CONTROL_SOCKET);
    const struct http_call_out out = {.method = method,
                                      .url = url,
                                      .unix_socket = socket,
                                      .body = body,
                                      .body_len = len,
                                      .timeout_ms = 20000,
                                      .answer_max = ANSWER_MAX - 1};
    h->status = -1;
    assert_int_equal(http_call_once(&out, take_answer, h), ERR_OK);
}

static void call_text(struct house *h, const char *method, const char *path, const char *body)
{
    call(h, method, path, body, strlen(body));
}

static struct queue_batch read_all(struct house *h, int64_t from)
{
    struct queue_batch batch;
    assert_int_equal(queue_subscribe(h->test_queue, "payments"), ERR_OK);
    assert_int_equal(queue_read(h->test_queue, 10, &h->arena, &batch), ERR_OK);
    assert_int_equal(batch.event, QUEUE_ASSIGNED);
    assert_int_equal(queue_start(h->test_queue, 0, from), ERR_OK);
    assert_int_equal(queue_read(h->test_queue, 1000, &h->arena, &batch), ERR_OK);
    return batch;
}

static void test_records(void **state)
{
    struct house *h = *state;
    struct queue_message in[] = {message("k", "v"), message(NULL, ""), message("", "\xff")};
    struct str body;
    str_init(&body, CONTROL_BODY_MAX);
    for (size_t i = 0; i < 3; i++)
        control_frame_add(&body, &in[i]);
    call(h, "POST", "/topics/payments/records", body.data, body.len);
    assert_int_equal(h->status, 200);
    assert_string_equal(h->answer, "{\"published\":3}");
    struct queue_batch batch = read_all(h, 0);
    assert_int_equal(batch.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct record *r = &batch.records[i];
        const struct queue_message out = {
            .key = r->key, .key_len = r->key_len, .value = r->value, .value_len = r->value_len};
        assert_same(&in[i], &out);
    }
    str_release(&body);
}

static void test_records_refused(void **state)
{
    struct house *h = *state;
    struct queue_log log;
    struct queue_message m = message("k", "v");
    struct str body;
    str_init(&body, CONTROL_BODY_MAX);
    for (int i = 0; i <= CONTROL_BATCH_MAX; i++)
        control_frame_add(&body, &m);
    call(h, "POST", "/topics/payments/records", body.data, body.len);
    assert_int_equal(h->status, 413);
    call(h, "POST", "/topics/payments/records", body.data, 15);
    assert_int_equal(h->status, 400);
    call(h, "POST", "/topics/nowhere/records", body.data, 10);
    assert_int_equal(h->status, 404);
    assert_non_null(strstr(h->answer, "topic"));
    call(h, "PUT", "/topics/payments/records", body.data, 10);
    assert_int_equal(h->status, 405);
    call(h, "POST", "/topics/payments/other", body.data, 10);
    assert_int_equal(h->status, 404);
    call(h, "POST", "/elsewhere", body.data, 10);
    assert_int_equal(h->status, 404);
    str_release(&body);
    assert_int_equal(queue_log(h->test_queue, "payments", 0, &log), ERR_OK);
    assert_int_equal(log.next, 0);
}

static void test_a_big_record(void **state)
{
    struct house *h = *state;
    char *big = calloc(1, QUEUE_RECORD_MAX);
    assert_non_null(big);
    struct queue_message m = message("0123456789abcdef0123456789abcdef0123", "");
    struct str body;
    m.value = big;
    m.value_len = QUEUE_RECORD_MAX;
    str_init(&body, CONTROL_BODY_MAX);
    control_frame_add(&body, &m);
    assert_false(body.failed);
    call(h, "POST", "/topics/payments/records", body.data, body.len);
    assert_int_equal(h->status, 200);
    struct queue_batch batch = read_all(h, 0);
    assert_int_equal(batch.records[0].value_len, QUEUE_RECORD_MAX);
    str_release(&body);
    free(big);
}

static void assert_position(struct house *h, int64_t next)
{
    struct ledger_position position;
    assert_int_equal(ledger_position(h->test_ledger, "payments", 0, &position), ERR_OK);
    assert_int_equal(position.next, next);
    assert_string_equal(position.log_id, ""); /* forgotten: a fresh start */
}

static void test_rewind(void **state)
{
    struct house *h = *state;
    struct queue_message messages[5];
    bool more;
    for (int i = 0; i < 5; i++) {
        messages[i] = message("k", "v");
        messages[i].timestamp_us = i;
    }
    assert_int_equal(local_queue_append(h->test_queue, messages, 5), ERR_OK);
    assert_int_equal(queue_trim(h->test_queue, "payments", 0, 2, 100, &more), ERR_OK);
    call_text(h, "POST", "/topics/payments/rewind", "{\"partition\":0,\"to\":4}");
    assert_int_equal(h->status, 200);
    assert_string_equal(h->answer, "{\"to\":4}");
    assert_position(h, 4);
    call_text(h, "POST", "/topics/payments/rewind", "{\"partition\":0,\"to\":\"beginning\"}");
    assert_int_equal(h->status, 200);
    assert_position(h, 2);
    call_text(h, "POST", "/topics/payments/rewind", "{\"partition\":0,\"to\":5}");
    assert_int_equal(h->status, 200);
    assert_position(h, 5);
    static const char *const refused[] = {
        "{\"partition\":0,\"to\":1}",  "{\"partition\":0,\"to\":6}",
        "{\"partition\":0,\"to\":-1}", "{\"partition\":0,\"to\":\"\"}",
        "{\"partition\":0}",           "{\"to\":3}",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        call_text(h, "POST", "/topics/payments/rewind", refused[i]);
        assert_int_equal(h->status, 422);
    }
    call_text(h, "POST", "/topics/payments/rewind", "{\"partition\":1,\"to\":0}");
    assert_int_equal(h->status, 404);
    call_text(h, "POST", "/topics/nowhere/rewind", "{\"partition\":0,\"to\":0}");
    assert_int_equal(h->status, 404);
    call_text(h, "POST", "/topics/payments/rewind", "[]");
    assert_int_equal(h->status, 400);
    call_text(h, "POST", "/topics/payments/rewind", "{");
    assert_int_equal(h->status, 400);
    assert_position(h, 5);
}

static void test_create(void **state)
{
    struct house *h = *state;
    struct queue_log log;
    for (int i = 0; i < 2; i++) {
        call_text(h, "PUT", "/topics/new.one", "{\"partitions\":1}");
        assert_int_equal(h->status, 200);
    }
    assert_int_equal(queue_log(h->test_queue, "new.one", 0, &log), ERR_OK);
    call_text(h, "PUT", "/topics/wide", "{\"partitions\":2}");
    assert_int_equal(h->status, 422);
    assert_int_equal(queue_log(h->test_queue, "wide", 0, &log), ERR_NOT_FOUND);
}

static void call_decision(struct house *h, uint32_t n, const char *body)
{
    char path[120], id[UUID_TEXT];
    struct uuid payment_id = fake_id(n);
    uuid_format(&payment_id, id);
    (void)snprintf(path, sizeof path, "/payments/%s/decision", id);
    call_text(h, "POST", path, body);
}

#define DECISION(outcome, evidence, actor)                                                         \
    "{\"outcome\":\"" outcome "\",\"evidence\":\"" evidence "\",\"actor\":\"" actor "\"}"

static void test_decision(void **state)
{
    struct house *h = *state;
    call_decision(h, 1, DECISION("decline", "letter 7", "operator:ann"));
    assert_int_equal(h->status, 200);
    assert_string_equal(h->answer, "{\"outcome\":\"decline\"}");
    assert_string_equal(h->books->evidence, "letter 7");
    assert_string_equal(h->books->actor, "operator:ann");
    assert_int_equal(h->books->decisions[0].outcome, PAYMENT_DECLINE);

    call_decision(h, 2, DECISION("accepted", "letter 7", "operator:ann"));
    assert_int_equal(h->status, 404);
    h->books->decision_verdict = DECISION_NOT_NEEDED;
    call_decision(h, 1, DECISION("error", "letter 7", "operator:ann"));
    assert_int_equal(h->status, 409);
    assert_non_null(strstr(h->answer, "needs_decision"));
    h->books->decide_err = ERR_NO_SPACE;
    call_decision(h, 1, DECISION("error", "letter 7", "operator:ann"));
    assert_int_equal(h->status, 503);
}

static void test_decision_refused(void **state)
{
    struct house *h = *state;
    static const char *const refused[] = {
        "{}",
        DECISION("unknown", "letter 7", "operator:ann"),
        DECISION("maybe", "letter 7", "operator:ann"),
        DECISION("error", "", "operator:ann"),
        DECISION("error", "letter 7", "ann"),
        DECISION("error", "letter 7", "operator:"),
        "{\"outcome\":\"error\",\"actor\":\"operator:ann\"}",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        call_decision(h, 1, refused[i]);
        assert_int_equal(h->status, 422);
    }
    call_decision(h, 1, "{");
    assert_int_equal(h->status, 400);
    static const char *const nowhere[] = {
        "/payments/", "/payments/1/decision",
        "/payments/01980000-0000-7000-8000-000000000001/decisions",
        "/payments/00000000-0000-0000-0000-000000000000/decision"};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        call_text(h, "POST", nowhere[i], DECISION("error", "letter 7", "operator:ann"));
        assert_int_equal(h->status, 404);
    }
    call_text(h, "PUT", "/payments/01980000-0000-7000-8000-000000000001/decision", "{}");
    assert_int_equal(h->status, 405);
    assert_int_equal(h->books->decision_count, 0);
}

/* Who decides while it ends is told so. */
static void test_decision_ends_with_the_processor(void **state)
{
    struct house *h = *state;
    h->processor->ops->drain(h->processor);
    call_decision(h, 1, DECISION("error", "letter 7", "operator:ann"));
    assert_int_equal(h->status, 503);
}

static void test_restored(void **state)
{
    struct house *h = *state;
    call_text(h, "POST", "/restored", "{}");
    assert_int_equal(h->status, 200);
    assert_string_equal(h->answer, "{\"marked\":0}");
    call_text(h, "PUT", "/restored", "{}");
    assert_int_equal(h->status, 405);
}

static void test_drain(void **state)
{
    struct house *h = *state;
    h->service->ops->drain(h->service);
    assert_true(h->service->ops->drained(h->service));
    call_text(h, "PUT", "/topics/late", "{\"partitions\":1}");
    assert_int_equal(h->status, 503);
}

static void test_socket_is_private(void **state)
{
    struct house *h = *state;
    char path[256];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", h->dir, CONTROL_SOCKET);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

#define T(f) cmocka_unit_test_setup_teardown(f, house_open, house_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        T(test_records),
        T(test_records_refused),
        T(test_a_big_record),
        T(test_rewind),
        T(test_create),
        T(test_decision),
        T(test_decision_refused),
        T(test_decision_ends_with_the_processor),
        T(test_restored),
        T(test_drain),
        T(test_socket_is_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
