#include "queue/queue.h"

#include <assert.h>
#include <string.h>

#include "base/random.h"

#define CHECKSUM_SEED UINT64_C(0x737562706179716c)

bool queue_topic_valid(const char *topic)
{
    size_t len = strlen(topic);
    if (len == 0 || len > QUEUE_TOPIC_MAX || strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
        return false;
    return strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
           len;
}

static bool headers_valid(const struct queue_header *headers, size_t count)
{
    if (count > QUEUE_HEADERS_MAX)
        return false;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        size_t name = strlen(headers[i].name), value = strlen(headers[i].value);
        if (name == 0 || !text_is_utf8(headers[i].name, name) ||
            !text_is_utf8(headers[i].value, value))
            return false;
        for (size_t k = 0; k < i; k++)
            if (strcmp(headers[k].name, headers[i].name) == 0)
                return false;
        bytes += name + value;
        if (bytes > QUEUE_HEADERS_BYTES_MAX)
            return false;
    }
    return true;
}

enum err queue_message_check(const struct queue_message *message)
{
    assert(message->key || message->key_len == 0);
    assert(message->value || message->value_len == 0);
    assert(message->headers || message->header_count == 0);
    if (message->key_len > QUEUE_KEY_MAX || message->value_len > QUEUE_RECORD_MAX)
        return ERR_INVALID;
    if (message->timestamp_us != REQUEST_NO_TIME && message->timestamp_us < 0)
        return ERR_INVALID;
    return headers_valid(message->headers, message->header_count) ? ERR_OK : ERR_INVALID;
}

enum err queue_publish(struct queue *q, const struct queue_message *message, queue_done_fn *done,
                       void *ctx, uint64_t token)
{
    assert(done);
    enum err err = queue_message_check(message);
    if (err != ERR_OK)
        return err;
    if (!queue_topic_valid(message->topic))
        return ERR_NOT_FOUND;
    return q->ops->publish(q, message, done, ctx, token);
}

enum err queue_log(struct queue *q, const char *topic, int32_t partition, struct queue_log *out)
{
    if (!queue_topic_valid(topic) || partition < 0)
        return ERR_NOT_FOUND;
    struct queue_log log = {0};
    enum err err = q->ops->log(q, topic, partition, &log);
    if (err != ERR_OK)
        return err;
    assert(log.partitions > partition && log.first >= 0 && log.first <= log.next);
    *out = log;
    return ERR_OK;
}

enum err queue_checksum(struct queue *q, const char *topic, int32_t partition, int64_t offset,
                        uint64_t *out)
{
    if (!queue_topic_valid(topic) || partition < 0 || offset < 0)
        return ERR_NOT_FOUND;
    return q->ops->checksum(q, topic, partition, offset, out);
}

/* Lengths are part of it, so that a byte cannot move from key to value unseen. */
static uint64_t checksum_part(uint64_t seed, const char *bytes, size_t len)
{
    uint64_t length = bytes ? len : UINT64_MAX;
    unsigned char head[8];
    for (int i = 0; i < 8; i++)
        head[i] = (unsigned char)(length >> (8 * i));
    uint64_t hash = hash_u64(seed, head, sizeof head);
    return len > 0 ? hash_u64(hash, bytes, len) : hash;
}

uint64_t queue_record_checksum(const struct record *record)
{
    unsigned char offset[8];
    for (int i = 0; i < 8; i++)
        offset[i] = (unsigned char)((uint64_t)record->offset >> (8 * i));
    uint64_t hash = hash_u64(CHECKSUM_SEED, offset, sizeof offset);
    hash = checksum_part(hash, record->key, record->key_len);
    hash = checksum_part(hash, record->value, record->value_len);
    return hash ? hash : 1;
}

enum err queue_subscribe(struct queue *q, const char *topic)
{
    return queue_topic_valid(topic) ? q->ops->subscribe(q, topic) : ERR_NOT_FOUND;
}

static void batch_assert(const struct queue_batch *batch, size_t max)
{
    if (batch->event != QUEUE_RECORDS) {
        assert(batch->count == 0);
        return;
    }
    assert(batch->count > 0 && batch->count <= max);
    for (size_t i = 0; i < batch->count; i++) {
        assert(batch->records[i].partition == batch->partition);
        assert(i == 0 || batch->records[i].offset > batch->records[i - 1].offset);
    }
    assert(batch->next > batch->records[batch->count - 1].offset);
}

enum err queue_read(struct queue *q, size_t max, struct arena *arena, struct queue_batch *out)
{
    assert(max > 0 && max <= QUEUE_READ_MAX);
    struct queue_batch batch = {0};
    enum err err = q->ops->read(q, max, arena, &batch);
    if (err != ERR_OK)
        return err;
    batch_assert(&batch, max);
    *out = batch;
    return ERR_OK;
}

enum err queue_start(struct queue *q, int32_t partition, int64_t offset)
{
    assert(offset >= 0);
    return q->ops->start(q, partition, offset);
}

enum err queue_trim(struct queue *q, const char *topic, int32_t partition, int64_t taken,
                    int64_t older_than_us, bool *more)
{
    assert(taken >= 0);
    if (!queue_topic_valid(topic) || partition < 0)
        return ERR_NOT_FOUND;
    bool again = false;
    enum err err = q->ops->trim(q, topic, partition, taken, older_than_us, &again);
    if (err == ERR_OK)
        *more = again;
    return err;
}

enum err queue_topics(struct queue *q, struct arena *arena, struct queue_topic **out, size_t *count)
{
    return q->ops->topics(q, arena, out, count);
}

enum err queue_create(struct queue *q, const char *topic, int32_t partitions)
{
    if (!queue_topic_valid(topic) || partitions < 1)
        return ERR_INVALID;
    return q->ops->create(q, topic, partitions);
}

enum err queue_check(struct queue *q, const char *topic, struct queue_promise *out)
{
    if (!queue_topic_valid(topic))
        return ERR_NOT_FOUND;
    struct queue_promise promise = {0};
    enum err err = q->ops->check(q, topic, &promise);
    if (err == ERR_OK)
        *out = promise;
    return err;
}

void queue_watch(struct queue *q, void (*wake)(void *ctx), void *ctx)
{
    q->ops->watch(q, wake, ctx);
}

const char *queue_why(const struct queue *q)
{
    return q->ops->why(q);
}

void queue_close(struct queue *q)
{
    if (q)
        q->ops->close(q);
}
