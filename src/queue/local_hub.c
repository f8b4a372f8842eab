#include "queue/local_hub.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/json.h"

struct local_queue_hub {
    struct writer *writer;
    struct clock *clock;
    struct random *random;
    pthread_mutex_t lock;
    struct local_queue *handles[LOCAL_QUEUE_HANDLES_MAX];
    size_t handle_count;
    size_t waiting_bytes; /* of publications that are not committed yet */
};

enum err local_queue_hub_open(struct local_queue_hub **out, struct writer *writer,
                              struct clock *clock, struct random *random)
{
    assert(writer && clock && random);
    struct local_queue_hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return ERR_NO_MEMORY;
    hub->writer = writer;
    hub->clock = clock;
    hub->random = random;
    pthread_mutex_init(&hub->lock, NULL);
    *out = hub;
    return ERR_OK;
}

void local_queue_hub_close(struct local_queue_hub *hub)
{
    if (!hub)
        return;
    assert(hub->handle_count == 0);
    assert(hub->waiting_bytes == 0);
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}

enum err local_hub_join(struct local_queue_hub *hub, struct local_queue *q)
{
    enum err err = ERR_BUSY;
    pthread_mutex_lock(&hub->lock);
    if (hub->handle_count < LOCAL_QUEUE_HANDLES_MAX) {
        hub->handles[hub->handle_count++] = q;
        err = ERR_OK;
    }
    pthread_mutex_unlock(&hub->lock);
    return err;
}

void local_hub_leave(struct local_queue_hub *hub, struct local_queue *q)
{
    pthread_mutex_lock(&hub->lock);
    for (size_t i = 0; i < hub->handle_count; i++)
        if (hub->handles[i] == q)
            hub->handles[i--] = hub->handles[--hub->handle_count];
    pthread_mutex_unlock(&hub->lock);
}

void local_hub_watch(struct local_queue_hub *hub, struct local_queue *q, void (*wake)(void *ctx),
                     void *ctx)
{
    pthread_mutex_lock(&hub->lock);
    q->wake = wake;
    q->wake_ctx = ctx;
    atomic_store(&q->woken, false);
    pthread_mutex_unlock(&hub->lock);
}

/* Called for every publication of a commit; a reader hears of it once until it reads. Under the lock, so that
 * nobody is woken who has left. */
static void hub_wake(struct local_queue_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    for (size_t i = 0; i < hub->handle_count; i++) {
        struct local_queue *q = hub->handles[i];
        if (q->wake && !atomic_exchange(&q->woken, true))
            q->wake(q->wake_ctx);
    }
    pthread_mutex_unlock(&hub->lock);
}

static bool hub_reserve(struct local_queue_hub *hub, size_t bytes)
{
    pthread_mutex_lock(&hub->lock);
    bool fits = hub->waiting_bytes + bytes <= LOCAL_QUEUE_WAITING_BYTES_MAX;
    if (fits)
        hub->waiting_bytes += bytes;
    pthread_mutex_unlock(&hub->lock);
    return fits;
}

static void hub_give_back(struct local_queue_hub *hub, size_t bytes)
{
    pthread_mutex_lock(&hub->lock);
    assert(hub->waiting_bytes >= bytes);
    hub->waiting_bytes -= bytes;
    pthread_mutex_unlock(&hub->lock);
}

/* A record on its way into the tables; borrowed. */
struct entry {
    const char *key, *value; /* NULL: null */
    size_t key_len, value_len;
    const char *headers; /* JSON, NULL: none */
    int64_t timestamp_us;
};

/* The next `count` offsets of a topic are the caller's, in this transaction. */
static enum err offsets_take(struct db *db, int64_t topic_id, size_t count, int64_t *first)
{
    struct query q;
    query_open(&q, db,
               "UPDATE queue_topics SET next = next + ?1 WHERE id = ?2 RETURNING next - ?1");
    query_bind_i64(&q, (int64_t)count);
    query_bind_i64(&q, topic_id);
    bool found = false;
    while (query_next(&q)) {
        *first = query_i64(&q, 0);
        found = true;
    }
    enum err err = query_close(&q);
    return err == ERR_OK && !found ? ERR_NOT_FOUND : err;
}

static void bind_bytes(struct query *q, const char *bytes, size_t len)
{
    if (bytes)
        query_bind_blob(q, bytes, len); /* an empty one is not null */
    else
        query_bind_null(q);
}

static enum err entry_insert(struct db *db, int64_t topic_id, int64_t offset, const struct entry *e)
{
    struct query q;
    query_open(&q, db,
               "INSERT INTO queue_records (topic_id, offset, timestamp_us, key, value, headers)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    query_bind_i64(&q, topic_id);
    query_bind_i64(&q, offset);
    query_bind_i64(&q, e->timestamp_us);
    bind_bytes(&q, e->key, e->key_len);
    bind_bytes(&q, e->value, e->value_len);
    query_bind_text(&q, e->headers);
    return query_run(&q);
}

/* ---- publish: one closure per record, told after the commit ---- */

struct publication {
    struct write write;
    struct local_queue *owner; /* held */
    queue_done_fn *done;
    void *ctx;
    uint64_t token;
    int64_t topic_id;
    size_t bytes; /* of this block */
    struct entry entry;
    char data[]; /* key, value, headers */
};

static enum err publication_run(struct db *db, void *arg)
{
    struct publication *p = arg;
    int64_t offset = 0;
    enum err err = offsets_take(db, p->topic_id, 1, &offset);
    return err == ERR_OK ? entry_insert(db, p->topic_id, offset, &p->entry) : err;
}

/* A COMMIT that failed on the disk may be there after all when the file is opened again. */
static enum queue_outcome outcome_of(enum err err)
{
    if (err == ERR_OK)
        return QUEUE_DURABLE;
    return err == ERR_IO || err == ERR_CORRUPT ? QUEUE_UNKNOWN : QUEUE_NOT_TAKEN;
}

static void publication_tell(struct publication *p, enum queue_outcome outcome)
{
    struct local_queue *q = p->owner;
    pthread_mutex_lock(&q->lock);
    bool tell = !q->closed;
    q->calling += tell;
    pthread_mutex_unlock(&q->lock);
    if (!tell)
        return;
    p->done(p->ctx, p->token, outcome);
    pthread_mutex_lock(&q->lock);
    q->calling--;
    pthread_cond_broadcast(&q->idle);
    pthread_mutex_unlock(&q->lock);
}

static void publication_done(struct write *w, enum err err)
{
    struct publication *p = w->arg;
    struct local_queue_hub *hub = p->owner->hub;
    hub_give_back(hub, p->bytes);
    CRASH_POINT("queue.publish.after");
    publication_tell(p, outcome_of(err));
    local_queue_drop(p->owner);
    if (err == ERR_OK)
        hub_wake(hub);
    free(p);
}

void local_queue_drop(struct local_queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool last = --q->holders == 0;
    pthread_mutex_unlock(&q->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->idle);
    free(q);
}

static void headers_write(struct str *out, const struct queue_message *m)
{
    json_open(out, '{');
    for (size_t i = 0; i < m->header_count; i++)
        json_put_text(out, m->headers[i].name, m->headers[i].value);
    json_close(out, '}');
}

static const char *put_bytes(char **at, const char *bytes, size_t len)
{
    if (!bytes)
        return NULL;
    char *start = *at;
    if (len > 0)
        memcpy(start, bytes, len);
    *at += len;
    return start;
}

static struct publication *publication_make(struct local_queue *q, int64_t topic_id,
                                            const struct queue_message *m,
                                            const struct str *headers)
{
    size_t bytes = sizeof(struct publication) + m->key_len + m->value_len + headers->len + 1;
    struct publication *p = calloc(1, bytes);
    if (!p)
        return NULL;
    p->write =
        (struct write){.run = publication_run, .done = publication_done, .arg = p, .first = true};
    p->owner = q;
    p->topic_id = topic_id;
    p->bytes = bytes;
    p->entry.timestamp_us =
        m->timestamp_us == REQUEST_NO_TIME ? clock_wall_us(q->hub->clock) : m->timestamp_us;
    char *at = p->data;
    p->entry.key = put_bytes(&at, m->key, m->key_len);
    p->entry.key_len = m->key_len;
    p->entry.value = put_bytes(&at, m->value, m->value_len);
    p->entry.value_len = m->value_len;
    if (m->header_count > 0)
        p->entry.headers = put_bytes(&at, headers->data, headers->len + 1);
    return p;
}

static enum err publication_submit(struct publication *p)
{
    struct local_queue *q = p->owner;
    if (!hub_reserve(q->hub, p->bytes))
        return ERR_BUSY;
    pthread_mutex_lock(&q->lock);
    q->holders++;
    pthread_mutex_unlock(&q->lock);
    enum err err = writer_submit(q->hub->writer, &p->write); /* p may be gone when it is OK */
    if (err != ERR_OK) {
        hub_give_back(q->hub, p->bytes);
        local_queue_drop(q);
    }
    return err;
}

enum err local_publish(struct local_queue *q, int64_t topic_id, const struct queue_message *message,
                       queue_done_fn *done, void *ctx, uint64_t token)
{
    struct str headers;
    str_init(&headers, 8 * QUEUE_HEADERS_BYTES_MAX); /* escapes may be six times as long */
    if (message->header_count > 0)
        headers_write(&headers, message);
    struct publication *p =
        headers.failed ? NULL : publication_make(q, topic_id, message, &headers);
    str_release(&headers);
    if (!p)
        return ERR_NO_MEMORY;
    p->done = done;
    p->ctx = ctx;
    p->token = token;
    enum err err = publication_submit(p);
    if (err != ERR_OK)
        free(p);
    return err;
}

/* ---- append, create, remove: verbs that block ---- */

struct append {
    int64_t topic_id, now_us;
    const struct queue_message *messages;
    size_t count;
};

static enum err append_run(struct db *db, void *arg)
{
    const struct append *a = arg;
    int64_t first = 0;
    enum err err = offsets_take(db, a->topic_id, a->count, &first);
    for (size_t i = 0; i < a->count && err == ERR_OK; i++) {
        const struct queue_message *m = &a->messages[i];
        struct entry e = {
            .key = m->key, .key_len = m->key_len, .value = m->value, .value_len = m->value_len};
        e.timestamp_us = m->timestamp_us == REQUEST_NO_TIME ? a->now_us : m->timestamp_us;
        err = entry_insert(db, a->topic_id, first + (int64_t)i, &e);
    }
    return err;
}

enum err local_append(struct local_queue *q, int64_t topic_id, const struct queue_message *messages,
                      size_t count)
{
    struct append a = {topic_id, clock_wall_us(q->hub->clock), messages, count};
    enum err err = writer_do(q->hub->writer, append_run, &a);
    if (err == ERR_OK)
        hub_wake(q->hub);
    return err;
}

struct create {
    const char *topic;
    char log_id[UUID_TEXT];
};

static enum err create_run(struct db *db, void *arg)
{
    const struct create *c = arg;
    struct query q;
    query_open(&q, db,
               "INSERT INTO queue_topics (topic, log_id)"
               " SELECT ?1, ?2 WHERE (SELECT count(*) FROM queue_topics) < ?3"
               " ON CONFLICT (topic) DO NOTHING");
    query_bind_text(&q, c->topic);
    query_bind_text(&q, c->log_id);
    query_bind_i64(&q, LOCAL_QUEUE_TOPICS_MAX);
    return query_run(&q);
}

enum err local_create(struct local_queue_hub *hub, const char *topic)
{
    struct create c = {.topic = topic};
    struct uuid id = uuid_v7(clock_wall_us(hub->clock), hub->random);
    uuid_format(&id, c.log_id);
    return writer_do(hub->writer, create_run, &c);
}

struct removal {
    int64_t topic_id, last;
};

static enum err removal_run(struct db *db, void *arg)
{
    const struct removal *r = arg;
    struct query q;
    query_open(&q, db, "DELETE FROM queue_records WHERE topic_id = ?1 AND offset <= ?2");
    query_bind_i64(&q, r->topic_id);
    query_bind_i64(&q, r->last);
    return query_run(&q);
}

enum err local_remove(struct local_queue_hub *hub, int64_t topic_id, int64_t last)
{
    struct removal r = {topic_id, last};
    return writer_do(hub->writer, removal_run, &r);
}
