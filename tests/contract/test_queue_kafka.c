/* What only the queue on Kafka has to show: brokers that die or hang, groups, positions outside of the log, records of
 * others, damaged records, error codes (the library's mock cluster), settings. Runs under `tests/kafka.py`, which brings
 * the broker and the socket that steers it; without: skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <libgen.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "queue/kafka.h"

#define SKIPPED 77
#define WAIT_S 30
#define CONFIRM_S 6    /* KAFKA_CONFIRM_MS, and the library looks once a second */
#define TAKE_OVER_S 10 /* contract section 3 */
#define PARTITIONS 4
#define API_PRODUCE 0

/* ---- the broker ---- */

static void steer(const char *verb)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char answer[512] = "";
    assert_true(
        text_copy(address.sun_path, sizeof address.sun_path, getenv("SUBPAY_TEST_KAFKA_CONTROL")));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_true(dprintf(fd, "%s\n", verb) > 0);
    assert_true(read(fd, answer, sizeof answer - 1) > 0);
    (void)close(fd);
    assert_string_equal(answer, "ok\n");
}

static int64_t now_ms(void)
{
    return clock_boot_us(clock_real()) / 1000;
}

static void pause_ms(int ms)
{
    (void)usleep((useconds_t)ms * 1000);
}

/* ---- a test's own things ---- */

struct test {
    struct kafka *kafka;
    struct arena arena;
    char topic[64];
    struct queue *q; /* publishes and asks; alone */
};

static struct kafka *door_open(const char *brokers)
{
    struct kafka *kafka = NULL;
    char why[256] = "";
    const struct kafka_settings settings = {
        .brokers = brokers, .client_id = "test", .retention_days = 30, .clock = clock_real()};
    enum err err = kafka_open(&kafka, &settings, why, sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(err, ERR_OK);
    return kafka;
}

static struct test *test_open(const char *brokers)
{
    static int tests;
    struct test *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->kafka = door_open(brokers);
    arena_init(&t->arena, 64 * 1024 * 1024);
    (void)snprintf(t->topic, sizeof t->topic, "kafka.%d.%d", (int)getpid(), ++tests);
    assert_int_equal(kafka_queue_open(&t->q, t->kafka, NULL), ERR_OK);
    return t;
}

static void test_close(struct test *t)
{
    queue_close(t->q);
    kafka_close(t->kafka);
    arena_release(&t->arena);
    free(t);
}

static int setup(void **state)
{
    *state = test_open(getenv("SUBPAY_TEST_KAFKA"));
    return 0;
}

static int teardown(void **state)
{
    test_close(*state);
    return 0;
}

/* A broker that slept may be away for a moment once more. */
static void create(struct test *t, int32_t partitions)
{
    enum err err;
    for (int64_t until = now_ms() + TAKE_OVER_S * 1000;
         (err = queue_create(t->q, t->topic, partitions)) == ERR_UNREACHABLE && now_ms() < until;)
        pause_ms(20);
    assert_string_equal(err == ERR_OK ? "" : queue_why(t->q), "");
}

struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t count, durable, not_taken, unknown;
    bool *durables; /* by token; NULL: not wanted */
};

static void told_init(struct told *told)
{
    *told = (struct told){0};
    assert_int_equal(pthread_mutex_init(&told->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&told->changed, NULL), 0);
}

static void told_release(struct told *told)
{
    pthread_mutex_destroy(&told->lock);
    pthread_cond_destroy(&told->changed);
}

static void on_done(void *ctx, uint64_t token, enum queue_outcome outcome)
{
    struct told *told = ctx;
    pthread_mutex_lock(&told->lock);
    told->count++;
    told->durable += outcome == QUEUE_DURABLE;
    told->not_taken += outcome == QUEUE_NOT_TAKEN;
    told->unknown += outcome == QUEUE_UNKNOWN;
    if (told->durables)
        told->durables[token] = outcome == QUEUE_DURABLE;
    pthread_cond_broadcast(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static void told_wait(struct told *told, size_t count, int seconds)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    int rc = 0;
    pthread_mutex_lock(&told->lock);
    while (told->count < count && rc == 0)
        rc = pthread_cond_timedwait(&told->changed, &told->lock, &until);
    size_t have = told->count;
    pthread_mutex_unlock(&told->lock);
    assert_true(have >= count);
}

static struct queue_message message(const struct test *t, const char *key, const char *value)
{
    return (struct queue_message){.topic = t->topic,
                                  .key = key,
                                  .key_len = key ? strlen(key) : 0,
                                  .value = value,
                                  .value_len = value ? strlen(value) : 0,
                                  .timestamp_us = REQUEST_NO_TIME};
}

static void publish(struct test *t, const char *key, const char *value)
{
    struct queue_message m = message(t, key, value);
    struct told told;
    told_init(&told);
    assert_int_equal(queue_publish(t->q, &m, on_done, &told, 0), ERR_OK);
    told_wait(&told, 1, WAIT_S);
    assert_int_equal(told.durable, 1);
    told_release(&told);
}

static void publish_numbers(struct test *t, int count)
{
    struct told told;
    told_init(&told);
    for (int i = 0; i < count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        struct queue_message m = message(t, text, text);
        assert_int_equal(queue_publish(t->q, &m, on_done, &told, 0), ERR_OK);
    }
    told_wait(&told, (size_t)count, WAIT_S);
    assert_int_equal(told.durable, count);
    told_release(&told);
}

/* The next event that is something, or QUEUE_NOTHING after so long. */
static struct queue_batch wait_batch(struct queue *q, struct arena *arena, int seconds)
{
    struct queue_batch batch = {.event = QUEUE_NOTHING};
    for (int64_t until = now_ms() + seconds * 1000; now_ms() < until; pause_ms(1)) {
        arena_reset(arena);
        assert_int_equal(queue_read(q, 500, arena, &batch), ERR_OK);
        if (batch.event != QUEUE_NOTHING)
            break;
    }
    return batch;
}

static void read_from(struct test *t, int64_t offset)
{
    assert_int_equal(queue_subscribe(t->q, t->topic), ERR_OK);
    assert_int_equal(wait_batch(t->q, &t->arena, WAIT_S).event, QUEUE_ASSIGNED);
    assert_int_equal(queue_start(t->q, 0, offset), ERR_OK);
}

/* ---- brokers that die or hang ---- */

#define CROWD_MAX 100000
#define CROWD_MORE 500 /* confirmed between two kills */

struct crowd {
    struct test *t;
    struct told told;
    size_t published;
    atomic_bool enough;
    bool durables[CROWD_MAX], seen[CROWD_MAX];
};

/* About a thousand a second, each until it is taken. */
static void *crowd_publish(void *arg)
{
    struct crowd *c = arg;
    for (; c->published < CROWD_MAX && !atomic_load(&c->enough); c->published++, pause_ms(1)) {
        char text[24];
        (void)snprintf(text, sizeof text, "%zu", c->published);
        struct queue_message m = message(c->t, text, text);
        enum err err;
        while ((err = queue_publish(c->t->q, &m, on_done, &c->told, c->published)) == ERR_BUSY)
            pause_ms(1);
        assert_int_equal(err, ERR_OK);
    }
    return NULL;
}

/* Until one is confirmed. */
static void publish_again(struct test *t)
{
    struct queue_message m = message(t, "0", "0");
    struct told told;
    told_init(&told);
    for (size_t i = 1; told.durable == 0; i++) {
        assert_int_equal(queue_publish(t->q, &m, on_done, &told, 1), ERR_OK);
        told_wait(&told, i, CONFIRM_S);
    }
    told_release(&told);
}

/* Marks the numbers that are in the log. */
static void crowd_read(struct test *t, bool *seen)
{
    struct queue_log log;
    int64_t until = now_ms() + WAIT_S * 1000;
    while (queue_log(t->q, t->topic, 0, &log) != ERR_OK && now_ms() < until)
        pause_ms(50);
    read_from(t, 0);
    for (int64_t next = 0; next < log.next;) {
        struct queue_batch batch = wait_batch(t->q, &t->arena, WAIT_S);
        assert_int_equal(batch.event, QUEUE_RECORDS);
        for (size_t i = 0; i < batch.count; i++)
            seen[atoi(batch.records[i].value)] = true;
        next = batch.next;
    }
}

static size_t told_durable(struct told *told)
{
    pthread_mutex_lock(&told->lock);
    size_t durable = told->durable;
    pthread_mutex_unlock(&told->lock);
    return durable;
}

static void crowd_wait_durable(struct crowd *c, size_t count, int seconds)
{
    int64_t until = now_ms() + seconds * 1000;
    while (told_durable(&c->told) < count && now_ms() < until)
        pause_ms(5);
    assert_true(told_durable(&c->told) >= count);
}

/* Killed in the middle, twice: whatever was confirmed is there, everything is told once, and it goes on by itself. */
static void test_broker_killed(void **state)
{
    struct crowd *c = calloc(1, sizeof *c);
    pthread_t thread;
    assert_non_null(c);
    c->t = *state;
    create(c->t, 1);
    publish(c->t, "0", "0");
    told_init(&c->told);
    c->told.durables = c->durables;
    assert_int_equal(pthread_create(&thread, NULL, crowd_publish, c), 0);
    crowd_wait_durable(c, CROWD_MORE, WAIT_S);
    for (size_t i = 0; i < 2; i++) {
        size_t before = told_durable(&c->told);
        steer("kill");
        steer("start");
        crowd_wait_durable(c, before + CROWD_MORE, TAKE_OVER_S);
    }
    atomic_store(&c->enough, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    told_wait(&c->told, c->published, CONFIRM_S);
    assert_int_equal(c->told.count, c->published);
    print_message("%zu durable, %zu not taken, %zu unknown\n", c->told.durable, c->told.not_taken,
                  c->told.unknown);
    crowd_read(c->t, c->seen);
    for (size_t i = 0; i < c->published; i++)
        assert_true(c->seen[i] || !c->durables[i]);
    told_release(&c->told);
    free(c);
}

static void test_broker_away(void **state)
{
    struct test *t = *state;
    struct queue_message m = message(t, "k", "v");
    struct queue_batch batch;
    struct queue_log log;
    struct told told;
    create(t, 1);
    publish(t, "k", "v");
    read_from(t, 0);
    assert_int_equal(wait_batch(t->q, &t->arena, WAIT_S).event, QUEUE_RECORDS);
    steer("kill");
    told_init(&told);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(queue_publish(t->q, &m, on_done, &told, i), ERR_OK);
    told_wait(&told, 10, CONFIRM_S);
    assert_int_equal(told.not_taken, 10); /* never sent */
    /* Reading never waits; asking waits less and less. */
    int64_t start = now_ms();
    for (int i = 0; i < 100; i++)
        assert_int_equal(queue_read(t->q, 10, &t->arena, &batch), ERR_OK);
    assert_in_range(now_ms() - start, 0, 500);
    start = now_ms();
    struct queue *other = NULL;
    assert_int_equal(kafka_queue_open(&other, t->kafka, NULL), ERR_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(queue_log(other, t->topic, 0, &log), ERR_UNREACHABLE);
    assert_true(strlen(queue_why(other)) > 0);
    assert_in_range(now_ms() - start, 0, KAFKA_ASK_MS + KAFKA_ASK_SILENT_MS);
    steer("start");
    start = now_ms();
    while (queue_log(other, t->topic, 0, &log) != ERR_OK && now_ms() - start < TAKE_OVER_S * 1000)
        pause_ms(20);
    assert_in_range(now_ms() - start, 0, TAKE_OVER_S * 1000);
    assert_int_equal(log.next, 1);
    publish(t, "k", "again");
    batch = wait_batch(t->q, &t->arena, TAKE_OVER_S); /* and the reader goes on */
    assert_int_equal(batch.event, QUEUE_RECORDS);
    assert_int_equal(batch.records[0].offset, 1);
    queue_close(other);
    told_release(&told);
}

static void test_broker_hangs(void **state)
{
    struct test *t = *state;
    struct queue_message m = message(t, "k", "v");
    struct told told;
    create(t, 1);
    publish(t, "k", "v");
    told_init(&told);
    steer("pause");
    int64_t start = now_ms();
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(queue_publish(t->q, &m, on_done, &told, i), ERR_OK);
    told_wait(&told, 10, CONFIRM_S);
    assert_int_equal(told.durable, 0);
    assert_true(told.unknown > 0); /* those that were on their way */
    assert_in_range(now_ms() - start, KAFKA_CONFIRM_MS - 500, CONFIRM_S * 1000);
    steer("resume");
    start = now_ms();
    publish_again(t);
    assert_in_range(now_ms() - start, 0, TAKE_OVER_S * 1000);
    told_release(&told);
}

static size_t publish_until_busy(struct test *t, const struct queue_message *m, struct told *told)
{
    size_t taken = 0;
    enum err err;
    while ((err = queue_publish(t->q, m, on_done, told, taken)) == ERR_OK &&
           taken <= KAFKA_WAITING_MAX)
        taken++;
    assert_int_equal(err, ERR_BUSY);
    return taken;
}

static void test_buffers_bounded(void **state)
{
    struct test *t = *state;
    struct queue_message m = message(t, "k", "v");
    struct told told;
    char *big = calloc(1, QUEUE_RECORD_MAX);
    assert_non_null(big);
    create(t, 1);
    publish(t, "k", "v");
    told_init(&told);
    steer("pause");
    size_t taken = publish_until_busy(t, &m, &told);
    assert_int_equal(taken, KAFKA_WAITING_MAX); /* by number */
    told_wait(&told, taken, 2 * CONFIRM_S);
    m.value = big;
    m.value_len = QUEUE_RECORD_MAX;
    size_t bytes = publish_until_busy(t, &m, &told);
    assert_in_range(bytes, 32, KAFKA_WAITING_KB / 1024); /* by bytes */
    assert_true(strlen(queue_why(t->q)) > 0);
    told_wait(&told, taken + bytes, 2 * CONFIRM_S);
    steer("resume");
    told_release(&told);
    free(big);
}

/* Nobody is told after the handle is closed, and nothing leaks (under a sanitizer). */
static void test_closed_while_waiting(void **state)
{
    struct test *t = *state;
    struct queue_message m = message(t, "k", "v");
    struct queue *q = NULL;
    struct told told;
    create(t, 1);
    publish(t, "k", "v");
    told_init(&told);
    assert_int_equal(kafka_queue_open(&q, t->kafka, NULL), ERR_OK);
    steer("pause");
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(queue_publish(q, &m, on_done, &told, i), ERR_OK);
    queue_close(q);
    queue_close(t->q);
    int64_t start = now_ms();
    kafka_close(t->kafka);
    assert_in_range(now_ms() - start, 0, 3 * KAFKA_CLOSE_MS);
    assert_int_equal(told.count, 0);
    steer("resume");
    told_release(&told);
    t->kafka = door_open(getenv("SUBPAY_TEST_KAFKA"));
    assert_int_equal(kafka_queue_open(&t->q, t->kafka, NULL), ERR_OK);
}

/* ---- groups ---- */

/* A reader in a process of its own: reports each event as two bytes, kind and partition. */
static pid_t reader_fork(const struct test *t, const char *group, int *events)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) {
        (void)close(fds[1]);
        *events = fds[0];
        return child;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct kafka *kafka = door_open(getenv("SUBPAY_TEST_KAFKA"));
    struct queue *q = NULL;
    struct arena arena;
    arena_init(&arena, 64 * 1024 * 1024);
    if (kafka_queue_open(&q, kafka, group) || queue_subscribe(q, t->topic))
        _exit(2);
    for (;; pause_ms(1)) {
        struct queue_batch batch;
        arena_reset(&arena);
        if (queue_read(q, 500, &arena, &batch) != ERR_OK)
            _exit(3);
        unsigned char report[2] = {(unsigned char)batch.event, (unsigned char)batch.partition};
        if (batch.event == QUEUE_ASSIGNED && queue_start(q, batch.partition, 0) != ERR_OK)
            _exit(4);
        if (batch.event != QUEUE_NOTHING && write(fds[1], report, 2) != 2)
            _exit(5);
    }
}

/* Reads reports until `count` of the kind have come. */
static void reports_wait(int events, enum queue_event kind, int count)
{
    unsigned char report[2];
    for (int i = 0; i < count;) {
        assert_int_equal(read(events, report, 2), 2);
        i += report[0] == kind;
    }
}

struct owner {
    struct queue *q;
    struct arena *arena;
    bool mine[PARTITIONS];
    int owned, revoked;
    int64_t next[PARTITIONS];
};

static void owner_step(struct owner *o)
{
    struct queue_batch batch;
    arena_reset(o->arena);
    assert_int_equal(queue_read(o->q, 500, o->arena, &batch), ERR_OK);
    int p = batch.partition;
    if (batch.event == QUEUE_ASSIGNED) {
        assert_int_equal(queue_start(o->q, p, 0), ERR_OK);
        o->owned += !o->mine[p];
        o->mine[p] = true;
        o->next[p] = 0;
    } else if (batch.event == QUEUE_REVOKED) {
        assert_true(o->mine[p]);
        o->mine[p] = false;
        o->owned--;
        o->revoked++;
    } else if (batch.event == QUEUE_RECORDS) {
        assert_true(o->mine[p]);
        assert_int_equal(batch.records[0].offset, o->next[p]);
        o->next[p] = batch.next;
    } else {
        pause_ms(1);
    }
}

/* Milliseconds until it owns so many. */
static int64_t owner_wait(struct owner *o, int owned, int seconds)
{
    int64_t start = now_ms();
    while (o->owned != owned && now_ms() - start < seconds * 1000)
        owner_step(o);
    assert_int_equal(o->owned, owned);
    return now_ms() - start;
}

/* Until it has read as much as is in its partitions. */
static void owner_read_all(struct owner *o, int64_t count)
{
    int64_t have = 0, start = now_ms();
    while (have < count && now_ms() - start < WAIT_S * 1000) {
        owner_step(o);
        have = 0;
        for (int p = 0; p < PARTITIONS; p++)
            have += o->mine[p] ? o->next[p] : 0;
    }
    assert_int_equal(have, count);
}

/* Two readers: one joins, is killed (or put to sleep past its session), and is replaced within 10 s. */
static void take_over(struct test *t, bool sleeps)
{
    int events;
    struct owner owner = {.arena = &t->arena};
    create(t, PARTITIONS);
    publish_numbers(t, 200);
    pid_t child = reader_fork(t, t->topic, &events); /* before this process has a reader */
    reports_wait(events, QUEUE_ASSIGNED, PARTITIONS);
    assert_int_equal(kafka_queue_open(&owner.q, t->kafka, t->topic), ERR_OK);
    assert_int_equal(queue_subscribe(owner.q, t->topic), ERR_OK);
    (void)owner_wait(&owner, PARTITIONS / 2, WAIT_S);
    reports_wait(events, QUEUE_REVOKED, PARTITIONS);
    reports_wait(events, QUEUE_ASSIGNED, PARTITIONS / 2);
    assert_int_equal(kill(child, sleeps ? SIGSTOP : SIGKILL), 0);
    int64_t took_ms = owner_wait(&owner, PARTITIONS, TAKE_OVER_S);
    print_message("taken over after %d ms\n", (int)took_ms);
    owner_read_all(&owner, 200);
    if (sleeps) {
        int revoked = owner.revoked;
        assert_int_equal(kill(child, SIGCONT), 0);
        reports_wait(events, QUEUE_REVOKED, PARTITIONS / 2); /* it notices */
        (void)owner_wait(&owner, PARTITIONS / 2, WAIT_S);    /* and comes back */
        assert_true(owner.revoked > revoked);
        assert_int_equal(kill(child, SIGKILL), 0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(events);
    queue_close(owner.q);
}

static void test_dead_reader(void **state)
{
    take_over(*state, false);
}

static void test_sleeping_reader(void **state)
{
    take_over(*state, true);
}

/* One that ends properly is replaced at once. */
static void test_reader_leaves(void **state)
{
    struct test *t = *state;
    struct owner one = {.arena = &t->arena}, two = {.arena = &t->arena};
    create(t, PARTITIONS);
    assert_int_equal(kafka_queue_open(&one.q, t->kafka, t->topic), ERR_OK);
    assert_int_equal(queue_subscribe(one.q, t->topic), ERR_OK);
    (void)owner_wait(&one, PARTITIONS, WAIT_S);
    assert_int_equal(kafka_queue_open(&two.q, t->kafka, t->topic), ERR_OK);
    assert_int_equal(queue_subscribe(two.q, t->topic), ERR_OK);
    int64_t start = now_ms();
    while (two.owned != PARTITIONS / 2 && now_ms() - start < WAIT_S * 1000) {
        owner_step(&one);
        owner_step(&two);
    }
    assert_int_equal(two.owned, PARTITIONS / 2);
    queue_close(one.q);
    assert_in_range(owner_wait(&two, PARTITIONS, WAIT_S), 0, 3000);
    queue_close(two.q);
}

/* ---- positions, and what is in the log ---- */

/* A client of its own, for what the queue does not do. */
static rd_kafka_t *raw_producer(const char *codec)
{
    char said[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", getenv("SUBPAY_TEST_KAFKA"), said,
                                       sizeof said),
                     RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "compression.codec", codec, said, sizeof said),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *raw = rd_kafka_new(RD_KAFKA_PRODUCER, conf, said, sizeof said);
    assert_non_null(raw);
    return raw;
}

/* Everything below `offset` is removed, as the retention does. */
static void trim_below(const char *topic, int64_t offset)
{
    rd_kafka_t *raw = raw_producer("none");
    rd_kafka_queue_t *answers = rd_kafka_queue_new(raw);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = offset;
    rd_kafka_DeleteRecords_t *del = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(raw, &del, 1, NULL, answers);
    rd_kafka_event_t *event = rd_kafka_queue_poll(answers, WAIT_S * 1000);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteRecords_destroy(del);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(answers);
    rd_kafka_destroy(raw);
}

/* A position that is not in the log is asked for again, not guessed. */
static void test_position_outside(void **state)
{
    struct test *t = *state;
    struct queue_log log;
    uint64_t sum;
    create(t, 1);
    publish_numbers(t, 20);
    trim_below(t->topic, 10);
    assert_int_equal(queue_log(t->q, t->topic, 0, &log), ERR_OK);
    assert_int_equal(log.first, 10);
    assert_int_equal(log.next, 20);
    assert_int_equal(queue_checksum(t->q, t->topic, 0, 9, &sum), ERR_NOT_FOUND);
    assert_int_equal(queue_checksum(t->q, t->topic, 0, 10, &sum), ERR_OK);
    read_from(t, 3);
    for (int i = 0; i < 2; i++) {
        struct queue_batch batch = wait_batch(t->q, &t->arena, WAIT_S);
        assert_int_equal(batch.event, QUEUE_ASSIGNED);
        assert_int_equal(queue_read(t->q, 10, &t->arena, &batch), ERR_OK);
        assert_int_equal(batch.event, QUEUE_NOTHING);
        assert_int_equal(queue_start(t->q, 0, i == 0 ? 500 : 12), ERR_OK);
    }
    struct queue_batch batch = wait_batch(t->q, &t->arena, WAIT_S);
    assert_int_equal(batch.event, QUEUE_RECORDS);
    assert_int_equal(batch.records[0].offset, 12);
    assert_int_equal(queue_log(t->q, t->topic, 0, &log), ERR_OK); /* as the reader knows it */
    assert_int_equal(log.first, 10);
    assert_int_equal(log.next, 20);
}

/* Many starts in a row: the last one counts, and the library survives it. */
static void test_starts_in_a_row(void **state)
{
    struct test *t = *state;
    struct queue_batch batch;
    create(t, 1);
    publish_numbers(t, 50);
    read_from(t, 0);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(queue_start(t->q, 0, i % 50), ERR_OK);
        assert_int_equal(queue_read(t->q, 1, &t->arena, &batch), ERR_OK);
        assert_true(batch.event == QUEUE_NOTHING || batch.records[0].offset == i % 50);
    }
    assert_int_equal(queue_start(t->q, 0, 7), ERR_OK);
    batch = wait_batch(t->q, &t->arena, WAIT_S);
    assert_int_equal(batch.event, QUEUE_RECORDS);
    assert_int_equal(batch.records[0].offset, 7);
}

static void raw_produce(rd_kafka_t *raw, const char *topic, const char *key, const char *value,
                        int64_t timestamp_ms)
{
    assert_int_equal(
        rd_kafka_producev(raw, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(key, key ? strlen(key) : 0),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value ? strlen(value) : 0),
                          RD_KAFKA_V_HEADER("other", "header", -1),
                          RD_KAFKA_V_TIMESTAMP(timestamp_ms),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
        0);
    assert_int_equal(rd_kafka_flush(raw, WAIT_S * 1000), 0);
}

static void test_records_of_others(void **state)
{
    struct test *t = *state;
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    size_t count = sizeof codecs / sizeof *codecs;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    create(t, 1);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_t *raw = raw_producer(codecs[i]);
        raw_produce(raw, t->topic, i % 2 ? NULL : "k", text, 1700000000123);
        rd_kafka_destroy(raw);
    }
    rd_kafka_t *raw = raw_producer("none");
    raw_produce(raw, t->topic, "k", NULL, -1); /* a tombstone, without a time */
    rd_kafka_destroy(raw);
    read_from(t, 0);
    for (int64_t next = 0; next < (int64_t)count + 1;) {
        struct queue_batch batch = wait_batch(t->q, &t->arena, WAIT_S);
        assert_int_equal(batch.event, QUEUE_RECORDS);
        for (size_t i = 0; i < batch.count; i++, next++) {
            const struct record *r = &batch.records[i];
            bool last = next == (int64_t)count;
            assert_int_equal(r->offset, next);
            assert_true((r->key == NULL) == (!last && next % 2 == 1));
            assert_true((r->value == NULL) == last);
            assert_int_equal(r->value_len, last ? 0 : sizeof text - 1);
            assert_true(r->timestamp_us == (last ? REQUEST_NO_TIME : INT64_C(1700000000123000)));
        }
    }
}

/* As the Java clients do: murmur2("kafka") is 0xd067cf64. */
static void test_partition_of_a_key(void **state)
{
    struct test *t = *state;
    struct queue_log log;
    create(t, 7);
    publish(t, "kafka", "v");
    for (int32_t p = 0; p < 7; p++) {
        assert_int_equal(queue_log(t->q, t->topic, p, &log), ERR_OK);
        assert_int_equal(log.partitions, 7);
        assert_int_equal(log.next, p == (0xd067cf64 & 0x7fffffff) % 7);
    }
    assert_int_equal(queue_create(t->q, t->topic, 7), ERR_OK);
    assert_int_equal(queue_create(t->q, t->topic, 8), ERR_CONFLICT);
    assert_int_equal(queue_create(t->q, "other", KAFKA_PARTITIONS_MAX + 1), ERR_INVALID);
}

#define MIXED_PARTITIONS 4
#define MIXED_ROUNDS 10

/* Every fetch brings some of each partition: what waits is given as one batch of each. */
static void test_mixed_partitions(void **state)
{
    struct test *t = *state;
    size_t read = 0, batches = 0;
    int64_t next[MIXED_PARTITIONS] = {0};
    create(t, MIXED_PARTITIONS);
    assert_int_equal(queue_subscribe(t->q, t->topic), ERR_OK);
    for (int32_t p = 0; p < MIXED_PARTITIONS; p++) {
        struct queue_batch batch = wait_batch(t->q, &t->arena, WAIT_S);
        assert_int_equal(batch.event, QUEUE_ASSIGNED);
        assert_int_equal(queue_start(t->q, batch.partition, 0), ERR_OK);
    }
    assert_int_equal(wait_batch(t->q, &t->arena, 1).event, QUEUE_NOTHING);
    for (int i = 0; i < MIXED_ROUNDS; i++, pause_ms(2 * KAFKA_GATHER_MS))
        publish_numbers(t, 50);
    for (; read < MIXED_ROUNDS * 50; batches++) {
        struct queue_batch batch = wait_batch(t->q, &t->arena, WAIT_S);
        assert_int_equal(batch.event, QUEUE_RECORDS);
        for (size_t i = 0; i < batch.count; i++)
            assert_int_equal(batch.records[i].offset, next[batch.partition]++);
        assert_int_equal(batch.next, next[batch.partition]);
        read += batch.count;
    }
    assert_true(batches < MIXED_PARTITIONS * MIXED_ROUNDS / 2);
}

static void test_headers_arrive(void **state)
{
    struct test *t = *state;
    struct queue_header headers[] = {{"error", "no_time"}, {"at", ""}};
    struct queue_message m = message(t, "k", "v");
    struct told told;
    char said[256];
    m.headers = headers;
    m.header_count = 2;
    create(t, 1);
    told_init(&told);
    assert_int_equal(queue_publish(t->q, &m, on_done, &told, 0), ERR_OK);
    told_wait(&told, 1, WAIT_S);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", getenv("SUBPAY_TEST_KAFKA"), NULL, 0);
    (void)rd_kafka_conf_set(conf, "group.id", "headers", NULL, 0);
    rd_kafka_t *raw = rd_kafka_new(RD_KAFKA_CONSUMER, conf, said, sizeof said);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, t->topic, 0)->offset = 0;
    assert_int_equal(rd_kafka_assign(raw, list), 0);
    rd_kafka_message_t *got = rd_kafka_consumer_poll(raw, WAIT_S * 1000);
    assert_non_null(got);
    rd_kafka_headers_t *all = NULL;
    assert_int_equal(rd_kafka_message_headers(got, &all), 0);
    assert_int_equal(rd_kafka_header_cnt(all), 2);
    for (size_t i = 0; i < 2; i++) {
        const char *name;
        const void *value;
        size_t len;
        assert_int_equal(rd_kafka_header_get_all(all, i, &name, &value, &len), 0);
        assert_string_equal(name, headers[i].name);
        assert_int_equal(len, strlen(headers[i].value));
        assert_memory_equal(value, headers[i].value, len);
    }
    rd_kafka_message_destroy(got);
    rd_kafka_topic_partition_list_destroy(list);
    (void)rd_kafka_consumer_close(raw);
    rd_kafka_destroy(raw);
    told_release(&told);
}

/* Turns a bit of the log on the broker's disk. */
static void damage(const struct test *t, const char *where)
{
    char folder[256], path[512], bytes[4096];
    (void)snprintf(folder, sizeof folder, "%s", getenv("SUBPAY_TEST_KAFKA_CONTROL"));
    (void)snprintf(path, sizeof path, "%s/log/%s-0/00000000000000000000.log", dirname(folder),
                   t->topic);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    ssize_t len = read(fd, bytes, sizeof bytes);
    assert_true(len > 0);
    char *at = memmem(bytes, (size_t)len, where, strlen(where));
    assert_non_null(at);
    *at ^= 1;
    assert_int_equal(pwrite(fd, at, 1, at - bytes), 1);
    (void)close(fd);
}

static void test_damaged_record(void **state)
{
    struct test *t = *state;
    struct queue_batch batch = {.event = QUEUE_NOTHING};
    create(t, 1);
    publish(t, "k", "before");
    publish(t, "k", "precious");
    publish(t, "k", "after");
    damage(t, "precious");
    read_from(t, 0);
    int refused = 0;
    int64_t next = 0;
    for (int64_t until = now_ms() + WAIT_S * 1000; refused < 3 && now_ms() < until; pause_ms(1)) {
        arena_reset(&t->arena);
        enum err err = queue_read(t->q, 10, &t->arena, &batch);
        if (err == ERR_OK && batch.event == QUEUE_RECORDS)
            next = batch.next;
        else if (err != ERR_OK) {
            assert_int_equal(err, ERR_CORRUPT);
            assert_true(strlen(queue_why(t->q)) > 0);
            refused++;
        }
        assert_true(next <= 1); /* never past it */
    }
    assert_int_equal(refused, 3); /* again and again */
    assert_int_equal(next, 1);
    damage(t, "qrecious"); /* put right */
    while (next < 3) {
        arena_reset(&t->arena);
        if (queue_read(t->q, 10, &t->arena, &batch) == ERR_OK && batch.event == QUEUE_RECORDS) {
            assert_int_equal(batch.records[0].offset, next);
            next = batch.next;
        }
    }
}

static void raw_create(const char *topic, const char *name, const char *value)
{
    char said[256];
    rd_kafka_t *raw = raw_producer("none");
    rd_kafka_queue_t *answers = rd_kafka_queue_new(raw);
    rd_kafka_NewTopic_t *new_topic = rd_kafka_NewTopic_new(topic, 1, 1, said, sizeof said);
    assert_int_equal(rd_kafka_NewTopic_set_config(new_topic, name, value), 0);
    rd_kafka_CreateTopics(raw, &new_topic, 1, NULL, answers);
    rd_kafka_event_t *event = rd_kafka_queue_poll(answers, WAIT_S * 1000);
    assert_non_null(event);
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(new_topic);
    rd_kafka_queue_destroy(answers);
    rd_kafka_destroy(raw);
}

static void test_topics_checked(void **state)
{
    struct test *t = *state;
    static const char *const cases[][3] = {
        {"retention.ms", "604799999", "retention.ms"},
        {"retention.ms", "604800000", ""},
        {"retention.ms", "-1", ""},
        {"retention.bytes", "1000000", "bytes"},
        {"cleanup.policy", "compact", "compact"},
        {"min.insync.replicas", "2", "insync"},
        {"max.message.bytes", "2000000", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct queue_promise promise;
        char topic[100];
        (void)snprintf(topic, sizeof topic, "%s.%zu", t->topic, i);
        raw_create(topic, cases[i][0], cases[i][1]);
        int64_t until = now_ms() + WAIT_S * 1000;
        enum err err;
        while ((err = queue_check(t->q, topic, &promise)) == ERR_NOT_FOUND && now_ms() < until)
            pause_ms(5);
        assert_int_equal(err, ERR_OK);
        assert_int_equal(promise.partitions, 1);
        assert_int_equal(promise.copies, 1);
        if (cases[i][2][0])
            assert_non_null(strstr(promise.wrong, cases[i][2]));
        else
            assert_string_equal(promise.wrong, "");
        assert_true(i != 2 || promise.keeps_us == TIME_NEVER);
    }
}

/* ---- error codes ---- */

struct mock_case {
    rd_kafka_resp_err_t code;
    int times;
    enum queue_outcome outcome;
};

static void test_error_codes(void **state)
{
    (void)state;
    static const struct mock_case cases[] = {
        {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 2, QUEUE_DURABLE},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2, QUEUE_DURABLE},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, 2, QUEUE_DURABLE},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, QUEUE_NOT_TAKEN},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1, QUEUE_NOT_TAKEN},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 200, QUEUE_NOT_TAKEN},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, 200, QUEUE_UNKNOWN},
        {RD_KAFKA_RESP_ERR__TRANSPORT, 200, QUEUE_UNKNOWN},
    };
    char said[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        rd_kafka_conf_set_log_cb(conf, NULL);
        rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, said, sizeof said);
        assert_non_null(host);
        rd_kafka_mock_cluster_t *mock = rd_kafka_mock_cluster_new(host, 1);
        struct test *t = test_open(rd_kafka_mock_cluster_bootstraps(mock));
        assert_int_equal(rd_kafka_mock_topic_create(mock, t->topic, 1, 1), 0);
        publish(t, "k", "v");
        rd_kafka_resp_err_t codes[200];
        for (int k = 0; k < cases[i].times; k++)
            codes[k] = cases[i].code;
        rd_kafka_mock_push_request_errors_array(mock, API_PRODUCE, (size_t)cases[i].times, codes);
        struct queue_message m = message(t, "k", "v");
        struct told told;
        told_init(&told);
        assert_int_equal(queue_publish(t->q, &m, on_done, &told, 0), ERR_OK);
        told_wait(&told, 1, CONFIRM_S);
        enum queue_outcome outcome = told.durable     ? QUEUE_DURABLE
                                     : told.not_taken ? QUEUE_NOT_TAKEN
                                                      : QUEUE_UNKNOWN;
        if (outcome != cases[i].outcome)
            print_error("%s, %d times\n", rd_kafka_err2name(cases[i].code), cases[i].times);
        assert_int_equal(outcome, cases[i].outcome);
        told_release(&told);
        test_close(t);
        rd_kafka_mock_cluster_destroy(mock);
        rd_kafka_destroy(host);
    }
}

/* ---- settings ---- */

#define LOGIN "security.protocol=sasl_plaintext\nsasl.username=me\nsasl.password=hush\n"

static void test_settings(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"# nothing\n\n", ""},
        {"sasl.username = a=b \nsecurity.protocol=plaintext\n", ""},
        {"linger.ms=3\r\n", ""},
        {"acks=1\n", "line 1: acks"},
        {"\n\nenable.idempotence=true", "line 3: enable.idempotence"},
        {"group.id=x", "line 1: group.id"},
        {"request.required.acks=0", "line 1: request.required.acks"},
        {"no.such.thing=1", "line 1: no.such.thing is not"},
        {"linger.ms=soon", "line 1: linger.ms has"},
        {"linger.ms", "name=value"},
        {"sasl.password: hush=hush", "line 1: what is before = is not"},
        {LOGIN "sasl.mechanism=PLAIN\n", ""},
        {LOGIN "sasl.mechanism=OAUTHBEARER\n", "sasl.mechanism=OAUTHBEARER wants tokens"},
        {LOGIN, "sasl.mechanism is not"},
        {LOGIN "sasl.mechanism=NONE\n", "NONE"},
        {NULL, "No such file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[] = "/tmp/subpay-kafka-XXXXXX", why[256] = "";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        if (cases[i][0])
            assert_int_equal(write(fd, cases[i][0], strlen(cases[i][0])), strlen(cases[i][0]));
        else
            (void)unlink(path);
        (void)close(fd);
        struct kafka *kafka = NULL;
        const struct kafka_settings settings = {.brokers = "127.0.0.1:1",
                                                .config_path = path,
                                                .client_id = "test",
                                                .clock = clock_real()};
        enum err err = kafka_open(&kafka, &settings, why, sizeof why);
        assert_int_equal(err, cases[i][1][0] ? ERR_INVALID : ERR_OK);
        if (cases[i][1][0])
            assert_non_null(strstr(why, cases[i][1]));
        assert_null(strstr(why, "hush"));
        kafka_close(kafka);
        (void)unlink(path);
    }
}

/* Nobody there: everything says so, in its time, and closing does not hang. */
static void test_nobody_there(void **state)
{
    (void)state;
    struct test *t = test_open("127.0.0.1:1");
    struct queue_message m = message(t, "k", "v");
    struct queue_log log;
    int64_t start = now_ms();
    assert_int_equal(queue_log(t->q, t->topic, 0, &log), ERR_UNREACHABLE);
    assert_int_equal(queue_publish(t->q, &m, on_done, NULL, 0), ERR_UNREACHABLE);
    assert_int_equal(queue_subscribe(t->q, t->topic), ERR_UNREACHABLE);
    assert_int_equal(queue_create(t->q, t->topic, 1), ERR_UNREACHABLE);
    assert_non_null(strstr(queue_why(t->q), "refused"));
    assert_in_range(now_ms() - start, 0, KAFKA_ASK_MS + 500);
    test_close(t);
    assert_in_range(now_ms() - start, 0, KAFKA_ASK_MS + 1000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_error_codes),
        T(test_partition_of_a_key),
        T(test_mixed_partitions),
        T(test_headers_arrive),
        T(test_records_of_others),
        T(test_position_outside),
        T(test_starts_in_a_row),
        T(test_damaged_record),
        T(test_topics_checked),
        T(test_reader_leaves),
        T(test_dead_reader),
        T(test_sleeping_reader),
        T(test_broker_killed),
        T(test_broker_away),
        T(test_broker_hangs),
        T(test_buffers_bounded),
        T(test_closed_while_waiting),
    };
    if (!getenv("SUBPAY_TEST_KAFKA") || !getenv("SUBPAY_TEST_KAFKA_CONTROL")) {
        (void)fprintf(stderr, "SKIPPED: no broker that can be steered; "
                              "`tests/kafka.py COMMAND` brings one\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests_name("queue on kafka", tests, NULL, NULL) == 0 ? 0 : 1;
}
