/* The contract of queue.h. SUBPAY_TEST_QUEUE names the driver: local (the default), or kafka, on the brokers that
 * SUBPAY_TEST_KAFKA names (tests/kafka.py brings one). What only the embedded queue promises is tested at the end; what
 * only Kafka does, in test_queue_kafka.c. Every test runs twice: without and with the writer's thread; on Kafka with
 * readers alone and in groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "queue/kafka.h"
#include "queue/local.h"
#include "queue/queue.h"

#define SKIPPED 77 /* what meson takes for a test that could not run */

/* On brokers that outlive a test every test has topics of its own. */
static char TOPIC[64], OTHER_TOPIC[64], NOWHERE[64];

#define ARENA_MAX (64 * 1024 * 1024)
#define WAIT_S 30

/* ---- the driver under test: one file (or cluster), and handles over it ---- */

#define HANDLES_MAX 12

struct place {
    char dir[64];
    bool threaded;
    struct writer *writer;
    pthread_t thread;
    bool thread_runs;
    struct local_queue_hub *hub;
    struct kafka *kafka;
    struct db *readers[HANDLES_MAX];
    struct queue *handles[HANDLES_MAX];
    size_t handle_count;
};

struct driver {
    const char *name;
    void (*open)(struct place *p);
    struct queue *(*handle)(struct place *p);
    void (*close)(struct place *p);
    bool names_once; /* topics stay when a test ends */
};

static char *file_text(const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    (void)fclose(f);
    return text;
}

static void local_path(const struct place *p, const char *suffix, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%s/subpay.db%s", p->dir, suffix);
}

static void local_schema(struct db *db)
{
    const char *root = getenv("SUBPAY_ROOT");
    char path[512];
    (void)snprintf(path, sizeof path, "%s/src/ledger/migrations/sqlite/0001_initial.up.sql",
                   root ? root : ".");
    char *sql = file_text(path);
    assert_int_equal(db_script(db, sql), ERR_OK);
    free(sql);
}

static void *writer_thread(void *arg)
{
    writer_run(arg);
    return NULL;
}

static enum err who_writes(struct db *db, void *arg)
{
    (void)db;
    *(pthread_t *)arg = pthread_self();
    return ERR_OK;
}

/* Until then whoever writes does so in its own thread. */
static void writer_await_thread(struct place *p)
{
    pthread_t who;
    do
        assert_int_equal(writer_do(p->writer, who_writes, &who), ERR_OK);
    while (!pthread_equal(who, p->thread));
}

static void local_place_open(struct place *p)
{
    char path[128], why[256] = "";
    struct db *db = NULL;
    local_path(p, "", path, sizeof path);
    bool fresh = access(path, F_OK) != 0;
    assert_int_equal(db_open(&db, path, DB_WRITE, why, sizeof why), ERR_OK);
    if (fresh)
        local_schema(db);
    assert_int_equal(writer_open(&p->writer, db, clock_real()), ERR_OK);
    assert_int_equal(local_queue_hub_open(&p->hub, p->writer, clock_real(), random_real()), ERR_OK);
    if (p->threaded)
        assert_int_equal(pthread_create(&p->thread, NULL, writer_thread, p->writer), 0);
    p->thread_runs = p->threaded;
    if (p->threaded)
        writer_await_thread(p);
}

static struct queue *local_place_handle(struct place *p)
{
    char path[128], why[256] = "";
    assert_true(p->handle_count < HANDLES_MAX);
    local_path(p, "", path, sizeof path);
    size_t i = p->handle_count++;
    assert_int_equal(db_open(&p->readers[i], path, DB_READ, why, sizeof why), ERR_OK);
    assert_int_equal(local_queue_open(&p->handles[i], p->hub, p->readers[i]), ERR_OK);
    return p->handles[i];
}

static void local_place_stop(struct place *p)
{
    if (!p->thread_runs)
        return;
    writer_stop(p->writer);
    assert_int_equal(pthread_join(p->thread, NULL), 0);
    p->thread_runs = false;
}

static void local_place_close(struct place *p)
{
    local_place_stop(p);
    for (size_t i = 0; i < p->handle_count; i++) {
        queue_close(p->handles[i]);
        db_close(p->readers[i]);
    }
    p->handle_count = 0;
    local_queue_hub_close(p->hub);
    writer_close(p->writer);
}

static void kafka_place_open(struct place *p)
{
    char why[256] = "";
    const struct kafka_settings settings = {
        .brokers = getenv("SUBPAY_TEST_KAFKA"), .client_id = "test", .clock = clock_real()};
    enum err err = kafka_open(&p->kafka, &settings, why, sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(err, ERR_OK);
}

static struct queue *kafka_place_handle(struct place *p)
{
    static int groups;
    char group[64];
    assert_true(p->handle_count < HANDLES_MAX);
    size_t i = p->handle_count++;
    (void)snprintf(group, sizeof group, "group-%d-%d", (int)getpid(), ++groups);
    assert_int_equal(kafka_queue_open(&p->handles[i], p->kafka, p->threaded ? group : NULL),
                     ERR_OK);
    return p->handles[i];
}

static void kafka_place_close(struct place *p)
{
    for (size_t i = 0; i < p->handle_count; i++)
        queue_close(p->handles[i]);
    p->handle_count = 0;
    kafka_close(p->kafka);
}

static const struct driver DRIVERS[] = {
    {"local", local_place_open, local_place_handle, local_place_close, false},
    {"kafka", kafka_place_open, kafka_place_handle, kafka_place_close, true},
};
static const struct driver *driver;
static bool with_thread;

/* ---- a test's own things ---- */

struct test {
    struct place place;
    struct arena arena;
};

static void names_make(void)
{
    static int tests;
    char tail[32] = "";
    if (driver->names_once)
        (void)snprintf(tail, sizeof tail, ".%d.%d", (int)getpid(), ++tests);
    (void)snprintf(TOPIC, sizeof TOPIC, "payments%s", tail);
    (void)snprintf(OTHER_TOPIC, sizeof OTHER_TOPIC, "payments.rejected%s", tail);
    (void)snprintf(NOWHERE, sizeof NOWHERE, "nowhere%s", tail);
}

static int test_setup(void **state)
{
    names_make();
    struct test *t = calloc(1, sizeof *t);
    assert_non_null(t);
    (void)snprintf(t->place.dir, sizeof t->place.dir, "/tmp/subpay-queue-XXXXXX");
    assert_non_null(mkdtemp(t->place.dir));
    t->place.threaded = with_thread;
    driver->open(&t->place);
    arena_init(&t->arena, ARENA_MAX);
    struct queue *q = driver->handle(&t->place);
    assert_int_equal(queue_create(q, TOPIC, 1), ERR_OK);
    assert_int_equal(queue_create(q, OTHER_TOPIC, 1), ERR_OK);
    *state = t;
    return 0;
}

static int test_teardown(void **state)
{
    struct test *t = *state;
    driver->close(&t->place);
    arena_release(&t->arena);
    for (const char *suffix[] = {"", "-wal", "-shm"}, **s = suffix; s < suffix + 3; s++) {
        char path[128];
        local_path(&t->place, *s, path, sizeof path);
        (void)unlink(path);
    }
    (void)rmdir(t->place.dir);
    free(t);
    return 0;
}

static struct queue *handle(struct test *t)
{
    return driver->handle(&t->place);
}

static struct queue_message message(const char *key, const char *value)
{
    return (struct queue_message){.topic = TOPIC,
                                  .key = key,
                                  .key_len = key ? strlen(key) : 0,
                                  .value = value,
                                  .value_len = value ? strlen(value) : 0,
                                  .timestamp_us = REQUEST_NO_TIME};
}

/* Confirmations, counted; from any thread. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t count, durable, not_taken, unknown;
    uint64_t tokens; /* their sum */
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
    told->tokens += token;
    told->durable += outcome == QUEUE_DURABLE;
    told->not_taken += outcome == QUEUE_NOT_TAKEN;
    told->unknown += outcome == QUEUE_UNKNOWN;
    pthread_cond_broadcast(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static struct timespec wait_until(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    return until;
}

static void told_wait(struct told *told, size_t count)
{
    struct timespec until = wait_until();
    int rc = 0;
    pthread_mutex_lock(&told->lock);
    while (told->count < count && rc == 0)
        rc = pthread_cond_timedwait(&told->changed, &told->lock, &until);
    size_t have = told->count;
    pthread_mutex_unlock(&told->lock);
    assert_int_equal(have, count);
}

/* Publishes until it is taken: a full queue is no error here. */
static void publish(struct queue *q, const struct queue_message *m, struct told *told,
                    uint64_t token)
{
    enum err err;
    while ((err = queue_publish(q, m, on_done, told, token)) == ERR_BUSY)
        (void)sched_yield();
    assert_int_equal(err, ERR_OK);
}

static void publish_and_wait(struct queue *q, const struct queue_message *messages, size_t count)
{
    struct told told;
    told_init(&told);
    for (size_t i = 0; i < count; i++)
        publish(q, &messages[i], &told, i);
    told_wait(&told, count);
    assert_int_equal(told.durable, count);
    told_release(&told);
}

static void publish_numbers(struct queue *q, int from, int to)
{
    struct told told;
    told_init(&told);
    for (int i = from; i < to; i++) {
        char key[16], value[16];
        (void)snprintf(key, sizeof key, "k%d", i % 7);
        (void)snprintf(value, sizeof value, "%d", i);
        struct queue_message m = message(key, value);
        publish(q, &m, &told, (uint64_t)i);
    }
    told_wait(&told, (size_t)(to - from));
    assert_int_equal(told.durable, to - from);
    told_release(&told);
}

/* What comes next, waited for: how soon something arrives is not in the contract. */
static struct queue_batch wait_batch(struct queue *q, size_t max, struct arena *arena)
{
    struct queue_batch batch = {.event = QUEUE_NOTHING};
    for (int i = 0; batch.event == QUEUE_NOTHING && i < WAIT_S * 1000; i++) {
        if (i > 0)
            (void)usleep(1000);
        arena_reset(arena);
        enum err err = queue_read(q, max, arena, &batch);
        if (err != ERR_OK)
            print_error("%s\n", queue_why(q));
        assert_int_equal(err, ERR_OK);
    }
    assert_int_not_equal(batch.event, QUEUE_NOTHING);
    return batch;
}

static void subscribe_at(struct test *t, struct queue *q, const char *topic, int64_t offset)
{
    assert_int_equal(queue_subscribe(q, topic), ERR_OK);
    struct queue_batch batch = wait_batch(q, 10, &t->arena);
    assert_int_equal(batch.event, QUEUE_ASSIGNED);
    assert_int_equal(batch.partition, 0);
    assert_int_equal(queue_start(q, batch.partition, offset), ERR_OK);
}

static struct queue_batch read_batch(struct test *t, struct queue *q, size_t max)
{
    struct queue_batch batch;
    assert_int_equal(queue_read(q, max, &t->arena, &batch), ERR_OK);
    return batch;
}

static void assert_bytes(const char *bytes, size_t len, const char *expected)
{
    assert_non_null(bytes);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(bytes, expected, len);
}

/* All of [from, to), read in batches of at most max, as publish_numbers made them. */
static void assert_numbers(struct test *t, struct queue *q, size_t max, int from, int to)
{
    int next = from;
    while (next < to) {
        struct queue_batch batch = wait_batch(q, max, &t->arena);
        assert_int_equal(batch.event, QUEUE_RECORDS);
        assert_true(batch.count <= max);
        for (size_t i = 0; i < batch.count; i++, next++) {
            char value[16];
            (void)snprintf(value, sizeof value, "%d", next);
            assert_bytes(batch.records[i].value, batch.records[i].value_len, value);
            assert_string_equal(batch.records[i].topic, TOPIC);
        }
        assert_int_equal(batch.next, batch.records[batch.count - 1].offset + 1);
    }
    assert_int_equal(next, to);
}

/* ---- the contract ---- */

static void test_order_and_offsets(void **state)
{
    struct test *t = *state;
    struct queue *writer = handle(t), *reader = handle(t);
    struct queue_log log;
    publish_numbers(writer, 0, 1000);
    assert_int_equal(queue_log(reader, TOPIC, 0, &log), ERR_OK);
    assert_int_equal(log.first, 0);
    assert_int_equal(log.next, 1000);
    subscribe_at(t, reader, TOPIC, 0);
    assert_numbers(t, reader, 64, 0, 1000);
    assert_int_equal(read_batch(t, reader, 64).event, QUEUE_NOTHING);
    publish_numbers(writer, 1000, 1010);
    assert_numbers(t, reader, 64, 1000, 1010);
}

static void test_assigned_then_started(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_batch batch;
    publish_numbers(q, 0, 20);
    assert_int_equal(read_batch(t, q, 10).event, QUEUE_NOTHING); /* reads no topic yet */
    assert_int_equal(queue_subscribe(q, TOPIC), ERR_OK);
    batch = wait_batch(q, 10, &t->arena);
    assert_int_equal(batch.event, QUEUE_ASSIGNED);
    assert_int_equal(read_batch(t, q, 10).event, QUEUE_NOTHING); /* where from? */
    assert_int_equal(queue_start(q, batch.partition, 15), ERR_OK);
    assert_numbers(t, q, 10, 15, 20);
    assert_int_equal(queue_start(q, batch.partition, 3), ERR_OK); /* a rewind */
    assert_numbers(t, q, 10, 3, 20);
    assert_int_equal(queue_start(q, batch.partition, 500), ERR_OK); /* behind the end */
    assert_int_equal(read_batch(t, q, 10).event, QUEUE_NOTHING);
}

static void test_nulls_and_empties(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_message messages[] = {message(NULL, "a"), message("", ""), message("k", NULL),
                                       message("x", "b")};
    messages[3].key = "k\0\xff\n";
    messages[3].key_len = 4;
    publish_and_wait(q, messages, 4);
    subscribe_at(t, q, TOPIC, 0);
    struct queue_batch batch = wait_batch(q, 10, &t->arena);
    assert_int_equal(batch.count, 4);
    assert_null(batch.records[0].key);
    assert_int_equal(batch.records[0].key_len, 0);
    assert_bytes(batch.records[0].value, batch.records[0].value_len, "a");
    assert_bytes(batch.records[1].key, batch.records[1].key_len, "");
    assert_bytes(batch.records[1].value, batch.records[1].value_len, "");
    assert_bytes(batch.records[2].key, batch.records[2].key_len, "k");
    assert_null(batch.records[2].value);
    assert_int_equal(batch.records[3].key_len, 4);
    assert_memory_equal(batch.records[3].key, "k\0\xff\n", 4);
}

static void test_timestamps(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_message messages[] = {message("k", "given"), message("k", "none")};
    messages[0].timestamp_us = INT64_C(1700000000123456);
    int64_t before_us = clock_wall_us(clock_real());
    publish_and_wait(q, messages, 2);
    int64_t after_us = clock_wall_us(clock_real());
    subscribe_at(t, q, TOPIC, 0);
    struct queue_batch batch = wait_batch(q, 1, &t->arena);
    /* Kafka keeps milliseconds. */
    assert_int_equal(batch.records[0].timestamp_us / 1000, INT64_C(1700000000123));
    batch = wait_batch(q, 1, &t->arena);
    assert_in_range(batch.records[0].timestamp_us / 1000, before_us / 1000, after_us / 1000);
}

static void test_big_records(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    char *big = malloc(QUEUE_RECORD_MAX + 1);
    assert_non_null(big);
    memset(big, 'b', QUEUE_RECORD_MAX + 1);
    struct queue_message m = message("k", "");
    m.value = big;
    m.value_len = QUEUE_RECORD_MAX + 1;
    assert_int_equal(queue_publish(q, &m, on_done, NULL, 0), ERR_INVALID);
    m.value_len = QUEUE_RECORD_MAX;
    m.key = big;
    m.key_len = QUEUE_KEY_MAX + 1;
    assert_int_equal(queue_publish(q, &m, on_done, NULL, 0), ERR_INVALID);
    m.key_len = 36;
    publish_and_wait(q, &m, 1);
    subscribe_at(t, q, TOPIC, 0);
    struct queue_batch batch = wait_batch(q, 10, &t->arena);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.records[0].value_len, QUEUE_RECORD_MAX);
    assert_memory_equal(batch.records[0].value, big, QUEUE_RECORD_MAX);
    free(big);
}

static void test_batches_bounded_by_bytes(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    char *big = calloc(1, QUEUE_RECORD_MAX);
    assert_non_null(big);
    struct queue_message m = message("k", "");
    m.value = big;
    m.value_len = QUEUE_RECORD_MAX;
    for (int i = 0; i < 12; i++)
        publish_and_wait(q, &m, 1);
    subscribe_at(t, q, TOPIC, 0);
    int64_t next = 0;
    while (next < 12) {
        struct queue_batch batch = wait_batch(q, QUEUE_READ_MAX, &t->arena);
        assert_int_equal(batch.event, QUEUE_RECORDS);
        assert_in_range(batch.count, 1, QUEUE_READ_BYTES_MAX / QUEUE_RECORD_MAX + 1);
        assert_int_equal(batch.records[0].offset, next);
        next = batch.next;
    }
    assert_int_equal(next, 12);
    free(big);
}

static void test_small_arena(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_batch batch;
    struct arena small;
    char value[4000];
    memset(value, 'v', sizeof value);
    struct queue_message m = message("k", "");
    m.value = value;
    m.value_len = sizeof value;
    for (int i = 0; i < 6; i++)
        publish_and_wait(q, &m, 1);
    subscribe_at(t, q, TOPIC, 0);
    arena_init(&small, 12000);
    batch = wait_batch(q, 6, &small);
    assert_in_range(batch.count, 1, 2);
    assert_int_equal(batch.next, (int64_t)batch.count);
    arena_release(&small);
    arena_init(&small, 2000); /* not even one */
    assert_int_equal(queue_read(q, 6, &small, &batch), ERR_NO_MEMORY);
    arena_release(&small);
    assert_true(read_batch(t, q, 6).count > 0); /* and nothing was skipped */
}

static void test_unknown_topics(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t), *late = handle(t);
    struct queue_message m = message("k", "v");
    struct queue_log log;
    uint64_t checksum;
    const char *const names[] = {NOWHERE, "", ".", "..", "a b", "a/b", "\xd0\xb0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        m.topic = names[i];
        assert_int_equal(queue_publish(q, &m, on_done, NULL, 0), ERR_NOT_FOUND);
        assert_int_equal(queue_log(q, names[i], 0, &log), ERR_NOT_FOUND);
        assert_int_equal(queue_checksum(q, names[i], 0, 0, &checksum), ERR_NOT_FOUND);
        assert_int_equal(queue_subscribe(q, names[i]), ERR_NOT_FOUND);
    }
    assert_int_equal(queue_log(q, TOPIC, 7, &log), ERR_NOT_FOUND);
    assert_int_equal(queue_log(q, TOPIC, -1, &log), ERR_NOT_FOUND);
    /* One that is made later, by another handle, is found. */
    assert_int_equal(queue_create(late, NOWHERE, 1), ERR_OK);
    m.topic = NOWHERE;
    publish_and_wait(q, &m, 1);
}

static void test_topics(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_topic *topics;
    struct queue_log first, again, other;
    size_t count;
    char long_name[QUEUE_TOPIC_MAX + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[QUEUE_TOPIC_MAX + 1] = '\0';
    memcpy(long_name, TOPIC, strlen(TOPIC));
    assert_int_equal(queue_log(q, TOPIC, 0, &first), ERR_OK);
    publish_numbers(q, 0, 3);
    assert_int_equal(queue_create(q, TOPIC, 1), ERR_OK); /* changes nothing */
    assert_int_equal(queue_log(q, TOPIC, 0, &again), ERR_OK);
    assert_string_equal(first.log_id, again.log_id);
    assert_int_equal(again.next, 3);
    assert_int_equal(again.partitions, 1);
    assert_int_equal(queue_log(q, OTHER_TOPIC, 0, &other), ERR_OK);
    assert_int_equal(other.next, 0);
    assert_true(strlen(first.log_id) > 0);
    size_t before;
    assert_int_equal(queue_topics(q, &t->arena, &topics, &before), ERR_OK);
    assert_int_equal(queue_create(q, long_name, 1), ERR_INVALID);
    assert_int_equal(queue_create(q, "a b", 1), ERR_INVALID);
    assert_int_equal(queue_create(q, "ok", 0), ERR_INVALID);
    long_name[QUEUE_TOPIC_MAX] = '\0';
    assert_int_equal(queue_create(q, long_name, 1), ERR_OK);
    assert_int_equal(queue_topics(q, &t->arena, &topics, &count), ERR_OK);
    assert_int_equal(count, before + 1);
    bool found = false;
    for (size_t i = 0; i < count; i++)
        found |= strcmp(topics[i].topic, long_name) == 0;
    assert_true(found);
}

static void test_promises(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_promise promise;
    assert_int_equal(queue_check(q, TOPIC, &promise), ERR_OK);
    assert_string_equal(promise.wrong, ""); /* one that we made is fit for requests */
    assert_int_equal(promise.partitions, 1);
    assert_in_range(promise.copies_min, 1, promise.copies);
    assert_true(promise.keeps_us >= 7 * US_PER_DAY);
    assert_int_equal(queue_check(q, NOWHERE, &promise), ERR_NOT_FOUND);
}

static void test_two_readers(void **state)
{
    struct test *t = *state;
    struct queue *writer = handle(t), *one = handle(t), *two = handle(t);
    publish_numbers(writer, 0, 50);
    subscribe_at(t, one, TOPIC, 0);
    subscribe_at(t, two, TOPIC, 40);
    assert_numbers(t, one, 7, 0, 50);
    assert_numbers(t, two, 7, 40, 50); /* each has its own position */
}

static void test_topics_apart(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_message m = message("k", "other");
    m.topic = OTHER_TOPIC;
    publish_numbers(q, 0, 5);
    publish_and_wait(q, &m, 1);
    subscribe_at(t, q, OTHER_TOPIC, 0);
    struct queue_batch batch = wait_batch(q, 10, &t->arena);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.records[0].offset, 0);
    assert_string_equal(batch.records[0].topic, OTHER_TOPIC);
}

static void test_checksums(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_message messages[] = {message("k", "v"), message("k", "v"), message("kv", ""),
                                       message("", "kv"), message(NULL, "kv")};
    uint64_t sums[5];
    publish_and_wait(q, messages, 5);
    subscribe_at(t, q, TOPIC, 0);
    struct queue_batch batch = wait_batch(q, 10, &t->arena);
    assert_int_equal(batch.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(queue_checksum(q, TOPIC, 0, (int64_t)i, &sums[i]), ERR_OK);
        assert_true(sums[i] != 0);
        assert_true(sums[i] == queue_record_checksum(&batch.records[i]));
        for (size_t k = 0; k < i; k++)
            assert_true(sums[i] != sums[k]);
    }
    uint64_t none;
    assert_int_equal(queue_checksum(q, TOPIC, 0, 5, &none), ERR_NOT_FOUND);
    assert_int_equal(queue_checksum(q, TOPIC, 0, -1, &none), ERR_NOT_FOUND);
}

/* Pure: what it depends on, and what not. */
static void test_checksum_of_a_record(void **state)
{
    (void)state;
    struct record r = {.topic = TOPIC,
                       .offset = 7,
                       .key = "k",
                       .key_len = 1,
                       .value = "v",
                       .value_len = 1,
                       .timestamp_us = 5};
    const uint64_t sum = queue_record_checksum(&r);
    struct record other = r;
    other.topic = "elsewhere";
    other.partition = 3;
    other.timestamp_us = REQUEST_NO_TIME;
    assert_true(queue_record_checksum(&other) == sum);
    other.offset = 8;
    assert_true(queue_record_checksum(&other) != sum);
    other = r;
    other.key = "kv";
    other.key_len = 2;
    other.value_len = 0;
    assert_true(queue_record_checksum(&other) != sum); /* a byte that moved */
    other = r;
    other.key_len = 0;
    const uint64_t empty = queue_record_checksum(&other);
    other.key = NULL;
    assert_true(queue_record_checksum(&other) != empty);
}

static void test_headers(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_header headers[] = {{"error", "no_time"}, {"at", "\"\\\xd1\x8f"}, {"error", "x"}};
    struct queue_message m = message("k", "v");
    m.headers = headers;
    m.header_count = 2;
    publish_and_wait(q, &m, 1);
    m.header_count = 3; /* a name twice */
    assert_int_equal(queue_publish(q, &m, on_done, NULL, 0), ERR_INVALID);
    m.header_count = 2;
    headers[1].value = "\xff"; /* no UTF-8 */
    assert_int_equal(queue_publish(q, &m, on_done, NULL, 0), ERR_INVALID);
}

/* ---- wake ---- */

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    size_t count;
};

static void bell_ring(void *ctx)
{
    struct bell *b = ctx;
    pthread_mutex_lock(&b->lock);
    b->count++;
    pthread_cond_broadcast(&b->rung);
    pthread_mutex_unlock(&b->lock);
}

static void bell_wait(struct bell *b, size_t seen)
{
    struct timespec until = wait_until();
    int rc = 0;
    pthread_mutex_lock(&b->lock);
    while (b->count <= seen && rc == 0)
        rc = pthread_cond_timedwait(&b->rung, &b->lock, &until);
    pthread_mutex_unlock(&b->lock);
    assert_int_equal(rc, 0);
}

static size_t bell_count(struct bell *b)
{
    pthread_mutex_lock(&b->lock);
    size_t count = b->count;
    pthread_mutex_unlock(&b->lock);
    return count;
}

static void bell_init(struct bell *b)
{
    b->count = 0;
    assert_int_equal(pthread_mutex_init(&b->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&b->rung, NULL), 0);
}

static void bell_release(struct bell *b)
{
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->rung);
}

/* A reader that sleeps until it is woken hears of everything, whoever published it. */
static void test_wake(void **state)
{
    struct test *t = *state;
    struct queue *writer = handle(t), *reader = handle(t);
    struct bell bell;
    bell_init(&bell);
    queue_watch(reader, bell_ring, &bell);
    subscribe_at(t, reader, TOPIC, 0);
    for (int i = 0; i < 50; i++) {
        size_t seen = bell_count(&bell);
        assert_int_equal(read_batch(t, reader, 10).event, QUEUE_NOTHING);
        publish_numbers(writer, i, i + 1);
        bell_wait(&bell, seen);
        assert_numbers(t, reader, 10, i, i + 1);
    }
    queue_watch(reader, NULL, NULL);
    size_t seen = bell_count(&bell);
    publish_numbers(writer, 50, 60);
    assert_int_equal(bell_count(&bell), seen);
    bell_release(&bell);
}

/* ---- several publishers at once ---- */

struct publisher {
    pthread_t thread;
    struct queue *q;
    struct told told;
    int number;
};
#define PUBLISHERS 4
#define PUBLISHED_EACH 400

static void *publisher_run(void *arg)
{
    struct publisher *p = arg;
    for (int i = 0; i < PUBLISHED_EACH; i++) {
        char key[16], value[16];
        (void)snprintf(key, sizeof key, "%d", p->number);
        (void)snprintf(value, sizeof value, "%d", i);
        struct queue_message m = message(key, value);
        publish(p->q, &m, &p->told, (uint64_t)i);
    }
    return NULL;
}

static void test_publishers_side_by_side(void **state)
{
    struct test *t = *state;
    struct publisher publishers[PUBLISHERS];
    struct queue *reader = handle(t);
    for (int i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){.q = handle(t), .number = i};
        told_init(&publishers[i].told);
        assert_int_equal(pthread_create(&publishers[i].thread, NULL, publisher_run, &publishers[i]),
                         0);
    }
    for (int i = 0; i < PUBLISHERS; i++) {
        assert_int_equal(pthread_join(publishers[i].thread, NULL), 0);
        told_wait(&publishers[i].told, PUBLISHED_EACH);
        assert_int_equal(publishers[i].told.durable, PUBLISHED_EACH);
        assert_int_equal(publishers[i].told.tokens, PUBLISHED_EACH * (PUBLISHED_EACH - 1) / 2);
        told_release(&publishers[i].told);
    }
    int next[PUBLISHERS] = {0}, total = 0;
    subscribe_at(t, reader, TOPIC, 0);
    while (total < PUBLISHERS * PUBLISHED_EACH) {
        struct queue_batch batch = wait_batch(reader, 500, &t->arena);
        for (size_t i = 0; i < batch.count; i++, total++) {
            int who = batch.records[i].key[0] - '0';
            assert_int_equal(atoll(batch.records[i].value), next[who]++); /* each in its order */
        }
    }
    assert_int_equal(total, PUBLISHERS * PUBLISHED_EACH);
}

/* ---- crash ---- */

static int confirmed_fd = -1;

static void on_done_report(void *ctx, uint64_t token, enum queue_outcome outcome)
{
    (void)ctx;
    if (outcome == QUEUE_DURABLE && write(confirmed_fd, &token, sizeof token) != sizeof token)
        _exit(2);
}

/* Publishes for ever, and reports what is confirmed: until it is killed. */
static void crash_child(struct place *p, int fd)
{
    confirmed_fd = fd;
    p->threaded = true;
    driver->open(p);
    struct queue *q = driver->handle(p);
    for (uint64_t i = 0;; i++) {
        char value[24];
        (void)snprintf(value, sizeof value, "%llu", (unsigned long long)i);
        struct queue_message m = message("k", value);
        enum err err;
        while ((err = queue_publish(q, &m, on_done_report, NULL, i)) == ERR_BUSY)
            (void)sched_yield();
        if (err != ERR_OK)
            _exit(3);
    }
}

static uint64_t crash_once(struct place *p, int confirmations)
{
    int fds[2];
    uint64_t token = 0, last = 0;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct place own = {0};
        (void)snprintf(own.dir, sizeof own.dir, "%s", p->dir);
        (void)close(fds[0]);
        crash_child(&own, fds[1]);
    }
    (void)close(fds[1]);
    for (int i = 0; i < confirmations; i++)
        assert_int_equal(read(fds[0], &token, sizeof token), sizeof token);
    assert_int_equal(kill(child, SIGKILL), 0);
    do
        last = token > last ? token : last;
    while (read(fds[0], &token, sizeof token) == sizeof token);
    (void)close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return last;
}

static void test_durable_after_kill(void **state)
{
    struct test *t = *state;
    for (int round = 0; round < 5; round++) {
        struct queue_log log;
        driver->close(&t->place); /* the child is the only one that has the file open */
        uint64_t last = crash_once(&t->place, 200 + 37 * round);
        driver->open(&t->place);
        struct queue *q = handle(t);
        assert_int_equal(queue_log(q, TOPIC, 0, &log), ERR_OK);
        subscribe_at(t, q, TOPIC, log.first);
        uint64_t next = 0;
        for (struct queue_batch batch = {0}; batch.next < log.next;) {
            batch = wait_batch(q, 1000, &t->arena);
            for (size_t i = 0; i < batch.count; i++, next++) {
                if (atoll(batch.records[i].value) == 0 && next > 0)
                    next = 0; /* of this round */
                assert_int_equal(atoll(batch.records[i].value), next);
            }
        }
        assert_true(next > last); /* whatever was confirmed is there, in order, without a gap */
    }
}

/* ---- local only ---- */

static void test_local_headers_stored(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_header headers[] = {{"error", "no_time"}, {"offset", "12"}};
    struct queue_message messages[] = {message("k", "v"), message("k", "w")};
    messages[0].headers = headers;
    messages[0].header_count = 2;
    publish_and_wait(q, messages, 2);
    struct query query;
    query_open(&query, t->place.readers[0], "SELECT headers FROM queue_records ORDER BY offset");
    assert_true(query_next(&query));
    assert_string_equal(query_text(&query, 0), "{\"error\":\"no_time\",\"offset\":\"12\"}");
    assert_true(query_next(&query));
    assert_true(query_is_null(&query, 0));
    assert_int_equal(query_close(&query), ERR_OK);
}

static void publish_at(struct queue *q, int64_t timestamp_us)
{
    struct queue_message m = message("k", "v");
    m.timestamp_us = timestamp_us;
    publish_and_wait(q, &m, 1);
}

static void assert_first(struct queue *q, int64_t first, int64_t next)
{
    struct queue_log log;
    assert_int_equal(queue_log(q, TOPIC, 0, &log), ERR_OK);
    assert_int_equal(log.first, first);
    assert_int_equal(log.next, next);
}

static void test_local_trim(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    bool more = true;
    for (int64_t i = 0; i < 10; i++)
        publish_at(q, i * US_PER_S);
    assert_int_equal(queue_trim(q, TOPIC, 0, 0, 100 * US_PER_S, &more), ERR_OK);
    assert_false(more);
    assert_first(q, 0, 10); /* nobody has read any */
    assert_int_equal(queue_trim(q, TOPIC, 0, 10, 0, &more), ERR_OK);
    assert_first(q, 0, 10); /* none is old */
    assert_int_equal(queue_trim(q, TOPIC, 0, 4, 100 * US_PER_S, &more), ERR_OK);
    assert_first(q, 4, 10); /* what was read */
    assert_int_equal(queue_trim(q, TOPIC, 0, 10, 6 * US_PER_S, &more), ERR_OK);
    assert_first(q, 6, 10); /* what is old */
    uint64_t sum;
    assert_int_equal(queue_checksum(q, TOPIC, 0, 5, &sum), ERR_NOT_FOUND);
    assert_int_equal(queue_checksum(q, TOPIC, 0, 6, &sum), ERR_OK);
    subscribe_at(t, q, TOPIC, 0); /* what is gone is a gap */
    struct queue_batch batch = read_batch(t, q, 10);
    assert_int_equal(batch.records[0].offset, 6);
    assert_int_equal(queue_trim(q, TOPIC, 0, 10, 100 * US_PER_S, &more), ERR_OK);
    assert_first(q, 10, 10); /* an empty log keeps its end */
    publish_at(q, 1);
    assert_first(q, 10, 11);
    assert_int_equal(queue_trim(q, "nowhere", 0, 10, 1, &more), ERR_NOT_FOUND);
}

static void test_local_trim_in_bites(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    struct queue_message m = message("k", "v");
    struct queue_message *many = calloc(2500, sizeof *many);
    assert_non_null(many);
    m.timestamp_us = 1;
    for (int i = 0; i < 2500; i++)
        many[i] = m;
    assert_int_equal(local_queue_append(q, many, 2500), ERR_OK);
    free(many);
    bool more = false;
    for (int64_t i = 1; i <= 3; i++) {
        assert_int_equal(queue_trim(q, TOPIC, 0, 2500, US_PER_S, &more), ERR_OK);
        assert_first(q, i < 3 ? i * LOCAL_QUEUE_TRIM_MAX : 2500, 2500);
        assert_int_equal(more, i < 3);
    }
    char *big = calloc(1, QUEUE_RECORD_MAX);
    assert_non_null(big);
    m.value = big;
    m.value_len = QUEUE_RECORD_MAX;
    for (int i = 0; i < 10; i++)
        publish_and_wait(q, &m, 1);
    free(big);
    assert_int_equal(queue_trim(q, TOPIC, 0, 2510, US_PER_S, &more), ERR_OK);
    assert_true(more);
    assert_first(q, 2504, 2510);
}

static void test_local_append(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t), *reader = handle(t);
    struct bell bell;
    bell_init(&bell);
    queue_watch(reader, bell_ring, &bell);
    struct queue_message messages[] = {message("a", "0"), message("b", "1"), message(NULL, "2")};
    assert_int_equal(local_queue_append(q, messages, 3), ERR_OK);
    assert_int_equal(bell_count(&bell), 1);
    subscribe_at(t, reader, TOPIC, 0);
    assert_numbers(t, reader, 10, 0, 3);
    messages[2].key = "k";
    messages[2].key_len = QUEUE_KEY_MAX + 1;
    assert_int_equal(local_queue_append(q, messages, 3), ERR_INVALID);
    assert_first(q, 0, 3); /* all or none */
    for (int i = 0; i < 3; i++)
        messages[i] = (struct queue_message){.topic = "nowhere"};
    assert_int_equal(local_queue_append(q, messages, 3), ERR_NOT_FOUND);
    queue_watch(reader, NULL, NULL);
    bell_release(&bell);
}

static void test_local_reading_only(void **state)
{
    struct test *t = *state;
    struct queue *writer = handle(t), *q = NULL;
    struct db *db = NULL;
    char path[128], why[128] = "";
    bool more;
    publish_numbers(writer, 0, 5);
    local_path(&t->place, "", path, sizeof path);
    assert_int_equal(db_open(&db, path, DB_READ, why, sizeof why), ERR_OK);
    assert_int_equal(local_queue_open(&q, NULL, db), ERR_OK);
    struct queue_message m = message("k", "v");
    assert_int_equal(queue_publish(q, &m, on_done, NULL, 0), ERR_LOCKED);
    assert_int_equal(queue_create(q, "new", 1), ERR_LOCKED);
    assert_int_equal(queue_trim(q, TOPIC, 0, 5, 1, &more), ERR_LOCKED);
    assert_int_equal(local_queue_append(q, &m, 1), ERR_LOCKED);
    assert_true(strlen(queue_why(q)) > 0);
    subscribe_at(t, q, TOPIC, 0);
    assert_numbers(t, q, 10, 0, 5);
    publish_numbers(writer, 5, 9);
    assert_numbers(t, q, 10, 5, 9);
    queue_close(q);
    db_close(db);
}

static void test_local_one_partition(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t);
    assert_int_equal(queue_create(q, "wide", 3), ERR_INVALID);
    struct queue_log log;
    assert_int_equal(queue_log(q, "wide", 0, &log), ERR_NOT_FOUND);
}

static enum err forget_topic(struct db *db, void *arg)
{
    (void)arg;
    struct query q;
    query_open(&q, db, "DELETE FROM queue_topics WHERE topic = 'payments'");
    return query_run(&q);
}

static void test_local_not_taken(void **state)
{
    struct test *t = *state;
    struct queue *q = handle(t), *reader = handle(t);
    struct queue_message m = message("k", "v");
    struct bell bell;
    struct told told;
    publish_at(q, 1); /* now the handle knows the topic */
    bool more;
    assert_int_equal(queue_trim(q, TOPIC, 0, 1, US_PER_S, &more), ERR_OK);
    assert_int_equal(writer_do(t->place.writer, forget_topic, NULL), ERR_OK);
    bell_init(&bell);
    queue_watch(reader, bell_ring, &bell);
    told_init(&told);
    publish(q, &m, &told, 1);
    told_wait(&told, 1);
    assert_int_equal(told.not_taken, 1);
    assert_int_equal(bell_count(&bell), 0);
    queue_watch(reader, NULL, NULL);
    told_release(&told);
    bell_release(&bell);
}

/* The writer's thread, held in a closure. */
struct gate {
    sem_t entered, leave;
};

static enum err gate_run(struct db *db, void *arg)
{
    struct gate *g = arg;
    (void)db;
    sem_post(&g->entered);
    while (sem_wait(&g->leave) != 0)
        continue;
    return ERR_OK;
}

static void gate_close(struct gate *g, struct write *w, struct writer *writer)
{
    assert_int_equal(sem_init(&g->entered, 0, 0), 0);
    assert_int_equal(sem_init(&g->leave, 0, 0), 0);
    *w = (struct write){.run = gate_run, .arg = g};
    assert_int_equal(writer_submit(writer, w), ERR_OK);
    while (sem_wait(&g->entered) != 0)
        continue;
}

static void gate_release(struct gate *g)
{
    sem_destroy(&g->entered);
    sem_destroy(&g->leave);
}

static size_t publish_until_busy(struct queue *q, const struct queue_message *m, struct told *told,
                                 size_t max)
{
    size_t taken = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && taken <= max) {
        err = queue_publish(q, m, on_done, told, taken);
        taken += err == ERR_OK;
    }
    assert_int_equal(err, ERR_BUSY);
    return taken;
}

static void test_local_busy(void **state)
{
    struct test *t = *state;
    if (!with_thread)
        return; /* without the thread nothing waits */
    struct queue *q = handle(t);
    struct gate gate;
    struct write held;
    struct told told;
    char *big = calloc(1, QUEUE_RECORD_MAX);
    assert_non_null(big);
    told_init(&told);
    struct queue_message m = message("k", "v");
    gate_close(&gate, &held, t->place.writer);
    size_t taken = publish_until_busy(q, &m, &told, WRITER_QUEUE_MAX);
    assert_int_equal(taken, WRITER_QUEUE_MAX); /* by number */
    sem_post(&gate.leave);
    told_wait(&told, taken);
    assert_int_equal(told.durable, taken);
    gate_release(&gate);
    m.value = big;
    m.value_len = QUEUE_RECORD_MAX;
    gate_close(&gate, &held, t->place.writer);
    size_t bytes = publish_until_busy(q, &m, &told, LOCAL_QUEUE_WAITING_BYTES_MAX);
    assert_in_range(bytes, 1, LOCAL_QUEUE_WAITING_BYTES_MAX / QUEUE_RECORD_MAX); /* by bytes */
    sem_post(&gate.leave);
    told_wait(&told, taken + bytes);
    assert_first(q, 0, (int64_t)(taken + bytes));
    gate_release(&gate);
    publish_at(q, 1); /* and there is room again */
    told_release(&told);
    free(big);
}

static void test_local_closed_while_waiting(void **state)
{
    struct test *t = *state;
    if (!with_thread)
        return;
    struct db *db = NULL;
    struct queue *q = NULL, *other = handle(t);
    struct gate gate;
    struct write held;
    struct told told;
    char path[128], why[128] = "";
    local_path(&t->place, "", path, sizeof path);
    assert_int_equal(db_open(&db, path, DB_READ, why, sizeof why), ERR_OK);
    assert_int_equal(local_queue_open(&q, t->place.hub, db), ERR_OK);
    told_init(&told);
    gate_close(&gate, &held, t->place.writer);
    struct queue_message m = message("k", "v");
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(queue_publish(q, &m, on_done, &told, i), ERR_OK);
    queue_close(q);
    db_close(db);
    sem_post(&gate.leave);
    publish_at(other, 1); /* behind them */
    assert_first(other, 0, 21);
    assert_int_equal(told.count, 0);
    gate_release(&gate);
    told_release(&told);
}

static void test_local_after_the_end(void **state)
{
    struct test *t = *state;
    if (!with_thread)
        return;
    struct queue *q = handle(t);
    struct queue_message m = message("k", "v");
    publish_at(q, 1);
    local_place_stop(&t->place);
    assert_int_equal(queue_publish(q, &m, on_done, NULL, 0), ERR_STOPPED);
    assert_int_equal(local_queue_append(q, &m, 1), ERR_STOPPED);
    assert_first(q, 0, 1); /* reading goes on */
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_setup, test_teardown)

static int run_contract(void)
{
    const struct CMUnitTest tests[] = {
        T(test_order_and_offsets),
        T(test_assigned_then_started),
        T(test_nulls_and_empties),
        T(test_timestamps),
        T(test_big_records),
        T(test_batches_bounded_by_bytes),
        T(test_small_arena),
        T(test_unknown_topics),
        T(test_topics),
        T(test_promises),
        T(test_two_readers),
        T(test_topics_apart),
        T(test_checksums),
        T(test_checksum_of_a_record),
        T(test_headers),
        T(test_wake),
        T(test_publishers_side_by_side),
        T(test_durable_after_kill),
    };
    return cmocka_run_group_tests_name("queue contract", tests, NULL, NULL);
}

static int run_local(void)
{
    const struct CMUnitTest tests[] = {
        T(test_local_headers_stored),
        T(test_local_trim),
        T(test_local_trim_in_bites),
        T(test_local_append),
        T(test_local_reading_only),
        T(test_local_one_partition),
        T(test_local_not_taken),
        T(test_local_busy),
        T(test_local_closed_while_waiting),
        T(test_local_after_the_end),
    };
    return cmocka_run_group_tests_name("local queue", tests, NULL, NULL);
}

int main(void)
{
    const char *name = getenv("SUBPAY_TEST_QUEUE");
    name = name && *name ? name : "local";
    for (size_t i = 0; i < sizeof DRIVERS / sizeof *DRIVERS; i++)
        if (strcmp(DRIVERS[i].name, name) == 0)
            driver = &DRIVERS[i];
    if (!driver) {
        (void)fprintf(stderr, "SUBPAY_TEST_QUEUE=%s: no such driver\n", name);
        return 2;
    }
    const char *brokers = getenv("SUBPAY_TEST_KAFKA");
    if (driver->open == kafka_place_open && (!brokers || !*brokers)) {
        (void)fprintf(stderr, "SKIPPED: no broker: SUBPAY_TEST_KAFKA=host:port is unset; "
                              "`tests/kafka.py COMMAND` brings one\n");
        return SKIPPED;
    }
    int failed = 0;
    for (int thread = 0; thread <= 1; thread++) {
        with_thread = thread == 1;
        failed += run_contract();
        if (strcmp(name, "local") == 0)
            failed += run_local();
    }
    return failed == 0 ? 0 : 1;
}
