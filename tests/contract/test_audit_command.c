/* `subpay audit` over a store that the ledger's verbs made: exit codes, both forms of the
 * report, and every place where a journal may be: a processing over HTTP, the simulator's file,
 * nowhere. */
#include "suite.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/audit_log.h"
#include "cli/cli.h"
#include "queue/local.h"

#define ALICE "11111111-1111-4111-8111-111111111111"
#define BOB "22222222-2222-4222-8222-222222222222"
#define TEXT_MAX 65536

/* ---- a store with a short history ---- */

struct world {
    char folder[64], home[512];
    struct embedded *store; /* or: */
    struct postgres *postgres;
    struct place place;
    struct ledger *ledger;
    struct arena arena;
    int64_t next; /* position in the log */
    uint8_t ids;
    struct str journal; /* what the processing would answer, one line each */
    int64_t journal_seq;
    const char *instance; /* of the processing that is asked */
};

static void append(struct world *w, const char *user, enum payment_type type,
                   enum subscription_type subscription)
{
    struct ledger_record r = {.recorded_at_us = REQUEST_NO_TIME};
    struct ledger_position from = {.topic = "payments", .partitions = 1}, to;
    assert_true(uuid_parse(user, strlen(user), &r.request.user_id));
    r.request.payment_id.bytes[0] = 0xEE;
    r.request.payment_id.bytes[15] = ++w->ids;
    r.request.payment_type = type;
    r.request.subscription_type = subscription;
    r.request.requested_at_us = REQUEST_NO_TIME;
    from.next = w->next;
    if (w->next > 0)
        text_copy(from.log_id, sizeof from.log_id, "log");
    to = from;
    to.next = ++w->next;
    text_copy(to.log_id, sizeof to.log_id, "log");
    assert_int_equal(ledger_append(w->ledger, &r, 1, &from, &to), ERR_OK);
}

static void journal_add(struct world *w, const char *body, const char *key, const char *result)
{
    long long seq = ++w->journal_seq;
    str_addf(
        &w->journal,
        "{\"seq\":%lld,\"key\":\"%s\",\"request\":%s,\"answer\":{\"result\":\"%s\",\"payment_id\":"
        "\"%s\",\"transaction_id\":\"t%lld\"}}\n",
        seq, key, body, result, key, seq);
}

/* Claims, sends, and settles all as `outcome`; leaves the journal's lines. */
static void process(struct world *w, enum payment_status outcome, bool settle)
{
    struct ledger_claim claim = {.limits = {.request_max_age_us = TIME_NEVER},
                                 .users_max = 100,
                                 .lease_us = US_PER_S,
                                 .encode = charge_encode_json,
                                 .instance_id = w->instance};
    struct ledger_claimed claimed;
    assert_int_equal(ledger_claim(w->ledger, &claim, &w->arena, &claimed), ERR_OK);
    for (size_t i = 0; i < claimed.attempt_count && settle; i++) {
        const struct attempt *a = &claimed.attempts[i];
        struct fact fact = {.payment_id = a->payment_id, .outcome = outcome, .money = a->money};
        char key[UUID_TEXT];
        uuid_format(&a->payment_id, key);
        journal_add(w, a->body, key, outcome == PAYMENT_ACCEPTED ? "success" : "decline");
        assert_int_equal(ledger_settle(w->ledger, &fact, 1), ERR_OK);
        assert_int_equal(fact.verdict, SETTLE_DONE);
    }
}

static void tell_all(struct world *w)
{
    struct telling *tellings;
    size_t count;
    do {
        assert_int_equal(ledger_untold(w->ledger, 100, US_PER_S, &w->arena, &tellings, &count),
                         ERR_OK);
        for (size_t i = 0; i < count; i++) {
            struct told told = {.payment_id = tellings[i].payment_id,
                                .notification = NOTIFICATION_DELIVERED};
            assert_int_equal(ledger_told(w->ledger, &told, 1), ERR_OK);
        }
    } while (count > 0);
}

/* Alice clicked twice, paid, got it back, and had nothing more to refund; Bob was declined. */
static void live(struct world *w)
{
    append(w, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    append(w, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    process(w, PAYMENT_ACCEPTED, true);
    append(w, BOB, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR);
    process(w, PAYMENT_DECLINE, true);
    tell_all(w);
    append(w, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR); /* a second subscription */
    process(w, PAYMENT_ACCEPTED, true);
    append(w, ALICE, PAYMENT_TYPE_REFUND, SUBSCRIPTION_MONTH);
    process(w, PAYMENT_ACCEPTED, true);
    append(w, ALICE, PAYMENT_TYPE_REFUND, SUBSCRIPTION_MONTH);
    process(w, PAYMENT_ACCEPTED, true);
    tell_all(w);
}

static void postgres_make(struct world *w)
{
    char why[256];
    place_make(&w->place, store_is_pooled());
    setenv("DATABASE_URL", w->place.url, 1);
    const struct postgres_settings settings = {.url = w->place.url};
    if (postgres_open(&w->postgres, &settings, random_real(), why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    assert_int_equal(postgres_ledger(w->postgres, &w->ledger), ERR_OK);
}

static int world_make(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    char why[256];
    assert_non_null(w);
    w->instance = "";
    text_copy(w->folder, sizeof w->folder, "/tmp/test_audit_command_XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    assert_non_null(getcwd(w->home, sizeof w->home));
    assert_int_equal(chdir(w->folder), 0); /* no .env here */
    setenv("DATA_DIR", w->folder, 1);
    setenv("PROCESSING_LISTEN", "127.0.0.1:1", 1); /* nobody listens there */
    unsetenv("PROCESSOR");
    unsetenv("PROCESSING_TOKEN");
    arena_init(&w->arena, 1 << 20);
    str_init(&w->journal, 1 << 20);
    unsetenv("KAFKA_HOST");
    unsetenv("DATABASE_URL");
    if (store_is_postgres())
        postgres_make(w);
    else if (embedded_open(&w->store, w->folder, clock_real(), random_real(), why, sizeof why) !=
             ERR_OK)
        fail_msg("%s", why);
    if (!store_is_postgres())
        assert_int_equal(embedded_ledger(w->store, &w->ledger), ERR_OK);
    *state = w;
    return 0;
}

static int world_drop(void **state)
{
    struct world *w = *state;
    char removal[128];
    ledger_close(w->ledger);
    embedded_close(w->store);
    postgres_close(w->postgres);
    arena_release(&w->arena);
    str_release(&w->journal);
    int rc = chdir(w->home);
    snprintf(removal, sizeof removal, "rm -r %s", w->folder);
    rc |= system(removal);
    free(w);
    return rc;
}

/* ---- the command, with what it prints ---- */

static char *slurp(int fd)
{
    char *text = calloc(1, TEXT_MAX);
    assert_non_null(text);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_true(read(fd, text, TEXT_MAX - 1) >= 0);
    close(fd);
    return text;
}

static int quiet_fd(void)
{
    char name[] = "/tmp/test_audit_output_XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

/* What it printed on both streams goes to *out and *complaint, which the caller frees. */
static int command(const char *option, char **out, char **complaint)
{
    char name[] = "audit";
    char *argv[] = {name, (char *)option, NULL};
    int saved_out = dup(STDOUT_FILENO), saved_err = dup(STDERR_FILENO);
    int out_fd = quiet_fd(), err_fd = quiet_fd();
    fflush(NULL);
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    int code = cli_audit(option != NULL ? 2 : 1, argv);
    fflush(NULL);
    dup2(saved_out, STDOUT_FILENO);
    dup2(saved_err, STDERR_FILENO);
    close(saved_out);
    close(saved_err);
    *out = slurp(out_fd);
    *complaint = slurp(err_fd);
    return code;
}

/* Beside PostgreSQL there is a queue elsewhere, or what is in it cannot be checked. */
static int without_queue(int code)
{
    return code == CLI_DONE && store_is_postgres() ? CLI_NOT_CHECKED : code;
}

static void expect(int code, const char *in_output)
{
    code = without_queue(code);
    char *out, *complaint;
    int got = command(NULL, &out, &complaint);
    if (got != code || strstr(out, in_output) == NULL)
        fail_msg("exit code %d, not %d, or no \"%s\" in:\n%s%s", got, code, in_output, out,
                 complaint);
    free(out);
    free(complaint);
}

static void expect_complaint(const char *option, int code, const char *in_complaint)
{
    char *out, *complaint;
    int got = command(option, &out, &complaint);
    if (got != code || strstr(complaint, in_complaint) == NULL)
        fail_msg("exit code %d, not %d, or no \"%s\" in:\n%s", got, code, in_complaint, complaint);
    assert_string_equal(out, "");
    free(out);
    free(complaint);
}

/* The simulator's file, with the lines of the journal. */
static void simulator_file(struct world *w)
{
    char path[128], why[256];
    struct db *db;
    snprintf(path, sizeof path, "%s/processing.db", w->folder);
    if (db_open(&db, path, DB_WRITE, why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    assert_int_equal(db_script(db,
                               "DROP TABLE IF EXISTS journal; CREATE TABLE journal (seq INTEGER "
                               "PRIMARY KEY, key TEXT, request TEXT, answer TEXT);"
                               "CREATE TABLE IF NOT EXISTS meta (instance_id TEXT);"),
                     ERR_OK);
    struct query q;
    query_open(&q, db, "INSERT INTO meta (instance_id) VALUES (?1)");
    query_bind_text(&q, w->instance);
    assert_int_equal(query_run(&q), ERR_OK);
    const char *at = w->journal.data;
    while (*at != '\0') {
        size_t len = strcspn(at, "\n");
        query_open(
            &q, db,
            "INSERT INTO journal (seq, key, request, answer) SELECT ?1 ->> 'seq', ?1 ->> 'key', "
            "?1 -> 'request', ?1 -> 'answer'");
        query_bind_text_n(&q, at, len);
        assert_int_equal(query_run(&q), ERR_OK);
        at += len + (at[len] == '\n');
    }
    db_close(db);
}

/* ---- a processing that answers GET /transactions ---- */

struct processing {
    int fd, port;
    pthread_t thread;
    const char *lines; /* all of them; two a page */
    /* set by the test, or counted for it, while the thread runs */
    atomic_int status; /* 200, or what it answers instead */
    atomic_bool garbage;
    atomic_int authorized; /* calls with the right token */
};

static bool after_lines(const char *line, int64_t after)
{
    long long seq;
    return sscanf(line, "{\"seq\":%lld", &seq) == 1 && seq > after;
}

static void processing_answer(struct processing *p, int fd)
{
    char request[4096] = "", head[256];
    size_t len = 0;
    while (len < sizeof request - 1 && strstr(request, "\r\n\r\n") == NULL) {
        ssize_t n = read(fd, request + len, sizeof request - 1 - len);
        if (n <= 0)
            return;
        len += (size_t)n;
        request[len] = '\0';
    }
    long long after = 0;
    const char *query = strstr(request, "GET /transactions?after=");
    int status = query != NULL ? p->status : 400;
    if (query != NULL)
        (void)sscanf(query, "GET /transactions?after=%lld ", &after);
    p->authorized += strstr(request, "Authorization: Bearer secret\r\n") != NULL;
    struct str body;
    str_init(&body, TEXT_MAX);
    int lines = 0;
    for (const char *at = p->lines; status == 200 && *at != '\0' && lines < 2;
         at = strchr(at, '\n') + 1)
        if (after_lines(at, after)) {
            str_add_bytes(&body, at, strcspn(at, "\n") + 1);
            lines++;
        }
    if (p->garbage)
        str_add(&body, "not a line\n");
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d x\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
                     body.len);
    (void)!write(fd, head, (size_t)n);
    (void)!write(fd, body.data, body.len);
    str_release(&body);
}

static void *processing_run(void *ctx)
{
    struct processing *p = ctx;
    for (;;) {
        int fd = accept(p->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        processing_answer(p, fd);
        close(fd);
    }
}

static void processing_start(struct processing *p, const char *name, const char *format)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    char text[64];
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(p->fd >= 0);
    assert_int_equal(bind(p->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(p->fd, 16), 0);
    assert_int_equal(getsockname(p->fd, (struct sockaddr *)&address, &len), 0);
    p->port = ntohs(address.sin_port);
    snprintf(text, sizeof text, "%s127.0.0.1:%d", format, p->port);
    setenv(name, text, 1);
    assert_int_equal(pthread_create(&p->thread, NULL, processing_run, p), 0);
}

static void processing_stop(struct processing *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
}

/* ---- tests ---- */

static void test_no_database(void **state)
{
    (void)state;
    if (store_is_postgres()) {
        setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing", 1);
        expect_complaint(NULL, CLI_NOT_CHECKED, "audit: DATABASE_URL: ");
        return;
    }
    setenv("DATA_DIR", "/tmp/there-is-no-such-folder", 1);
    expect_complaint(NULL, CLI_NOT_CHECKED,
                     "DATA_DIR=/tmp/there-is-no-such-folder: there is no subpay.db");
}

static void test_usage(void **state)
{
    (void)state;
    expect_complaint("--xml", CLI_USAGE, "--xml");
    expect_complaint("now", CLI_USAGE, "now");
}

static void test_nothing_was_sent(void **state)
{
    expect(CLI_DONE, "I10 ok 0 checked\n");
    append(*state, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    expect(CLI_DONE, "I4 ok 1 checked\n");
}

static void test_sent_and_no_journal(void **state)
{
    append(*state, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    process(*state, PAYMENT_ACCEPTED, false);
    expect(CLI_NOT_CHECKED,
           "I2 not checked (0 checked): the journal cannot be read: PROCESSOR is unset");
    setenv("PROCESSOR", "http://127.0.0.1:1", 1);
    expect(CLI_NOT_CHECKED, "I2 not checked (0 checked): the journal cannot be read: no answer");
}

static void test_simulator_file(void **state)
{
    struct world *w = *state;
    live(w);
    simulator_file(w);
    expect(CLI_DONE, "I2 ok 2 checked\n"); /* a charge and a refund */
    expect(CLI_DONE, "I3 ok 4 checked\n"); /* a period, three in flight */
    expect(CLI_DONE, "I6 ok 5 checked\n"); /* two successes; they and a decline */
    expect(CLI_DONE, "I7 ok 6 checked\n");
    expect(CLI_DONE, "I8 ok 2 checked\n"); /* a refund, in the books and in the journal */
    /* PROCESSOR was this simulator, and is stopped */
    setenv("PROCESSOR", "http://127.0.0.1:1", 1);
    expect(CLI_DONE, "I2 ok 2 checked\n");
    unsetenv("PROCESSOR");

    char *line = strdup(w->journal.data); /* the first charge, executed again */
    assert_non_null(line);
    line[strcspn(line, "\n")] = '\0';
    str_addf(&w->journal, "{\"seq\":99,%s\n", strchr(line, ',') + 1);
    free(line);
    simulator_file(w);
    expect(CLI_FAILED, "I2 broken 3 checked, 1 broken");
    expect(CLI_FAILED, " charged 2 times: journal lines 1 ");
    char *out, *complaint;
    assert_int_equal(command("--json", &out, &complaint), CLI_FAILED);
    struct json *doc = json_parse(out, strlen(out), NULL, 0);
    bool ok = true;
    assert_true(json_bool(json_member(doc, "ok"), &ok) && !ok);
    assert_int_equal(json_size(json_member(doc, "invariants")), 10);
    json_free(doc);
    free(out);
    free(complaint);
}

static void test_processing_over_http(void **state)
{
    struct world *w = *state;
    live(w);
    struct processing p = {.lines = w->journal.data, .status = 200};
    processing_start(&p, "PROCESSOR", "http://");
    setenv("PROCESSING_TOKEN", "secret", 1);
    expect(CLI_DONE, "I2 ok 2 checked\n"); /* over two pages */
    assert_int_equal(p.authorized, 5);     /* an empty one, the instance, and the tail */
    p.status = 501;
    expect(CLI_NOT_CHECKED, "the processing has no journal (501)");
    p.status = 500;
    simulator_file(w); /* an answer is an answer: no falling back */
    expect(CLI_NOT_CHECKED, "not an answer (500)");
    p.status = 200;
    p.garbage = true;
    expect(CLI_NOT_CHECKED, "is no line of a journal");
    processing_stop(&p);
}

/* Another DATA_DIR's simulator, on the port where it is looked for. */
static void test_simulator_over_http(void **state)
{
    struct world *w = *state;
    live(w);
    struct processing p = {.lines = w->journal.data, .status = 200};
    processing_start(&p, "PROCESSING_LISTEN", "");
    expect(CLI_DONE, "I2 ok 2 checked\n");
    processing_stop(&p);
}

/* Books that were sent to one processing, judged by the journal of another. */
static void test_another_instance(void **state)
{
    struct world *w = *state;
    w->instance = "the-old-one";
    append(w, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    process(w, PAYMENT_ACCEPTED, true);
    str_clear(&w->journal);
    simulator_file(w);
    expect(CLI_FAILED, "is accepted, and the journal has no success of it");
    unlink("processing.db");
    w->instance = "the-new-one";
    simulator_file(w);
    expect(CLI_DONE,
           "\n   listed, not judged: 1\n      ee000000-0000-0000-0000-000000000001 was sent "
           "to another instance of the processing: the-old-one\n");
    char *out, *complaint;
    assert_int_equal(command("--json", &out, &complaint), without_queue(CLI_DONE));
    assert_non_null(strstr(out, "\"listed\":1,\"listings\":[\"ee000000"));
    free(out);
    free(complaint);
}

static void told_file(const char *text)
{
    FILE *f = fopen("told", "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void expect_told(int code, const char *in_output)
{
    char *out, *complaint;
    int got = command("--accepted=told", &out, &complaint);
    if (got != code || strstr(out, in_output) == NULL)
        fail_msg("exit code %d, not %d, or no \"%s\" in:\n%s%s", got, code, in_output, out,
                 complaint);
    free(out);
    free(complaint);
}

/* ---- a queue ---- */

#define TOLD "ee000000-0000-0000-0000-000000000001"
#define VALUE                                                                                      \
    "{\"payment_id\":\"" TOLD "\",\"user_id\":\"" ALICE "\",\"payment_type\":\"payment\","         \
    "\"subscription_type\":\"month\",\"requested_at\":\"2026-03-10T12:00:00Z\"}"

struct heard {
    int records, rejected;
    int64_t last;
    enum err err; /* to answer with */
};

static enum err heard_take(void *to, const struct record *record, bool rejected)
{
    struct heard *h = to;
    h->records += !rejected;
    h->rejected += rejected;
    assert_true(record->offset > h->last || h->records + h->rejected == 1);
    h->last = record->offset;
    return h->err;
}

/* Any driver: here the embedded one. */
static void test_log_read(void **state)
{
    struct world *w = *state;
    struct db *reader;
    struct queue *q;
    struct heard h = {.err = ERR_OK};
    if (store_is_postgres())
        skip();
    assert_int_equal(
        db_script(writer_db(embedded_writer(w->store)),
                  "INSERT INTO queue_topics (id, topic, log_id, next) VALUES (7, 't', 'l', 6000), "
                  "(8, 'empty', 'e', 0);"
                  "WITH RECURSIVE n (i) AS (VALUES (1000) UNION ALL SELECT i + 1 FROM n "
                  "WHERE i < 5999) INSERT INTO queue_records (topic_id, offset, timestamp_us, "
                  "value) SELECT 7, i, 0, CAST('v' AS BLOB) FROM n;"),
        ERR_OK);
    assert_int_equal(embedded_reader(w->store, &reader), ERR_OK);
    for (int i = 0; i < 4; i++) {
        static const char *const TOPICS[] = {"t", "empty", "none", "t"};
        static const enum err ENDS[] = {ERR_OK, ERR_OK, ERR_NOT_FOUND, ERR_IO};
        h = (struct heard){.err = i < 3 ? ERR_OK : ERR_IO};
        assert_int_equal(local_queue_open(&q, NULL, reader), ERR_OK);
        assert_int_equal(audit_log_read(q, TOPICS[i], heard_take, &h, i == 0), ENDS[i]);
        assert_int_equal(h.rejected, i == 0 ? 5000 : 0);
        assert_int_equal(h.records, i == 3 ? 1 : 0);
        queue_close(q);
    }
    embedded_reader_close(w->store, reader);
}

static void test_no_queue(void **state)
{
    if (!store_is_postgres())
        skip();
    append(*state, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    expect(CLI_NOT_CHECKED,
           "I1 not checked (0 checked): the queue cannot be read: KAFKA_HOST is unset\n");
    expect(CLI_NOT_CHECKED, "I4 ok 1 checked\n");
    expect(CLI_NOT_CHECKED, "I10 ok 1 checked\n");
}

/* Nothing of a session lasts there. */
static void test_pooled(void **state)
{
    (void)state;
    expect_complaint(NULL, CLI_USAGE, "DATABASE_URL: audit keeps temporary tables");
}

struct cluster {
    struct kafka *kafka;
    struct queue *queue;
    atomic_int durable;
    char topic[64], rejected[80];
};

static void durable(void *ctx, uint64_t token, enum queue_outcome outcome)
{
    (void)token;
    assert_int_equal(outcome, QUEUE_DURABLE);
    atomic_fetch_add(&((struct cluster *)ctx)->durable, 1);
}

static void publish(struct cluster *c, const char *topic, const char *key, const char *value)
{
    const struct queue_message m = {.topic = topic,
                                    .key = key,
                                    .key_len = strlen(key),
                                    .value = value,
                                    .value_len = strlen(value),
                                    .timestamp_us = REQUEST_NO_TIME};
    int before = atomic_load(&c->durable);
    assert_int_equal(queue_publish(c->queue, &m, durable, c, 0), ERR_OK);
    while (atomic_load(&c->durable) == before)
        sched_yield();
}

static void cluster_open(struct cluster *c)
{
    char why[256];
    const char *brokers = getenv("SUBPAY_TEST_KAFKA");
    const struct kafka_settings settings = {
        .brokers = brokers, .client_id = "test", .retention_days = 7, .clock = clock_real()};
    if (kafka_open(&c->kafka, &settings, why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    assert_int_equal(kafka_queue_open(&c->queue, c->kafka, NULL), ERR_OK);
    snprintf(c->topic, sizeof c->topic, "audit-%lld", (long long)clock_wall_us(clock_real()));
    snprintf(c->rejected, sizeof c->rejected, "%s.rejected", c->topic);
    assert_int_equal(queue_create(c->queue, c->topic, 3), ERR_OK);
    setenv("KAFKA_BROKERS", brokers, 1);
    setenv("TOPIC_PAYMENT", c->topic, 1);
}

/* The saver has taken all that is there. */
static void positions_set(struct world *w, struct cluster *c, const char *log_id)
{
    struct query q;
    for (int32_t i = 0; i < 3; i++) {
        struct queue_log log;
        assert_int_equal(queue_log(c->queue, c->topic, i, &log), ERR_OK);
        query_open(&q, w->place.tables,
                   "INSERT INTO positions (topic, partition, partitions, next, log_id, checksum) "
                   "VALUES (?1, ?2, 3, ?3, ?4, 0) ON CONFLICT (topic, partition) "
                   "DO UPDATE SET next = excluded.next, log_id = excluded.log_id");
        query_bind_text(&q, c->topic);
        query_bind_i64(&q, i);
        query_bind_i64(&q, log.next);
        query_bind_text(&q, log_id != NULL ? log_id : log.log_id);
        assert_int_equal(query_run(&q), ERR_OK);
    }
}

static void expect_exactly(int code, const char *in_output)
{
    char *out, *complaint;
    int got = command(NULL, &out, &complaint);
    if (got != code || strstr(out, in_output) == NULL)
        fail_msg("exit code %d, not %d, or no \"%s\" in:\n%s%s", got, code, in_output, out,
                 complaint);
    free(out);
    free(complaint);
}

static void test_kafka(void **state)
{
    struct world *w = *state;
    struct cluster c = {.durable = 0};
    if (!store_is_postgres() || getenv("SUBPAY_TEST_KAFKA") == NULL)
        skip();
    cluster_open(&c);
    append(w, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    publish(&c, c.topic, ALICE, VALUE);
    publish(&c, c.topic, BOB, "what?");
    publish(&c, c.topic, ALICE, VALUE);            /* again */
    expect_exactly(CLI_DONE, "I1 ok 0 checked\n"); /* none is taken */
    positions_set(w, &c, NULL);
    expect_exactly(CLI_FAILED,
                   "cannot be understood, and was not rejected"); /* no such topic yet */
    assert_int_equal(queue_create(c.queue, c.rejected, 1), ERR_OK);
    publish(&c, c.rejected, BOB, "what?");
    expect_exactly(CLI_DONE, "I1 ok 3 checked\n");
    positions_set(w, &c, "another-cluster");
    expect_exactly(CLI_NOT_CHECKED, "the queue cannot be read: the saver's position is in another "
                                    "log (another-cluster, not ");
    setenv("KAFKA_BROKERS", "127.0.0.1:1", 1);
    expect_exactly(CLI_NOT_CHECKED, "I1 not checked (0 checked): the queue cannot be read: audit-");
    unsetenv("KAFKA_BROKERS");
    unsetenv("TOPIC_PAYMENT");
    queue_close(c.queue);
    kafka_close(c.kafka);
}

#define STORED "EE000000-0000-0000-0000-000000000001"
#define LOST "ee000000-0000-0000-0000-000000000009"
static void test_accepted(void **state)
{
    struct world *w = *state;
    if (store_is_postgres())
        skip(); /* without a queue nobody can say */
    append(w, ALICE, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    expect_complaint("--accepted=told", CLI_USAGE, "--accepted told: No such file");
    told_file(STORED "\n\n  " STORED " \r\n");
    expect_told(CLI_DONE, "I1 ok 2 checked\n");
    told_file(STORED "\n" LOST);
    expect_told(CLI_FAILED, "I1 broken 2 checked, 1 broken: ");
    expect_told(CLI_FAILED, LOST " was told to a client (line 2), and is neither in the queue nor");
    told_file("");
    expect_told(CLI_DONE, "I1 ok 0 checked\n");
    told_file(STORED "\n" STORED " " STORED "\n");
    expect_complaint("--accepted=told", CLI_USAGE, "told: line 2: ");
    told_file("12\n");
    expect_complaint("--accepted=told", CLI_USAGE, "told: line 1: 12");
    char blanks[301];
    memset(blanks, ' ', sizeof blanks);
    blanks[300] = '\0';
    told_file(blanks);
    expect_complaint("--accepted=told", CLI_USAGE, "told: line 1: ");
}

int main(void)
{
#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_make, world_drop)
    const struct CMUnitTest tests[] = {
        WITH_WORLD(test_no_database),
        WITH_WORLD(test_usage),
        WITH_WORLD(test_nothing_was_sent),
        WITH_WORLD(test_sent_and_no_journal),
        WITH_WORLD(test_simulator_file),
        WITH_WORLD(test_processing_over_http),
        WITH_WORLD(test_simulator_over_http),
        WITH_WORLD(test_another_instance),
        WITH_WORLD(test_accepted),
        WITH_WORLD(test_log_read),
        WITH_WORLD(test_no_queue),
        WITH_WORLD(test_kafka),
    };
    const struct CMUnitTest pooled[] = {WITH_WORLD(test_pooled)};
    return store_is_pooled() ? cmocka_run_group_tests(pooled, NULL, NULL)
                             : cmocka_run_group_tests(tests, NULL, NULL);
}
