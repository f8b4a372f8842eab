/* A queue that dies and mumbles: the real log behind a fuse. A confirmation may come late, say "not known", or
 * never come; a record may not be taken. */
#include "sim/inside.h"

#include <stdlib.h>
#include <string.h>

struct fused_queue {
    struct queue queue;
    struct queue *inner;
    struct fuse *fuse;
    struct confirmation *open; /* late confirmations: dropped when the handle is closed */
};
struct confirmation {
    struct fused_queue *owner; /* NULL: closed meanwhile */
    struct confirmation *next;
    queue_done_fn *done;
    void *ctx;
    uint64_t token;
    enum queue_outcome outcome;
};

static struct fused_queue *fused_of(struct queue *q)
{
    return (struct fused_queue *)q;
}

static void confirmation_arrives(struct world *w, void *what)
{
    (void)w;
    struct confirmation *c = what;
    if (c->owner) {
        for (struct confirmation **at = &c->owner->open; *at; at = &(*at)->next)
            if (*at == c) {
                *at = c->next;
                break;
            }
        if (!c->owner->fuse->blown)
            c->done(c->ctx, c->token, c->outcome);
    }
    free(c);
}

static enum err confirm_later(struct fused_queue *f, queue_done_fn *done, void *ctx, uint64_t token,
                              enum queue_outcome outcome)
{
    struct world *w = f->fuse->world;
    struct confirmation *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NO_MEMORY;
    *c = (struct confirmation){f, f->open, done, ctx, token, outcome};
    f->open = c;
    bool late = world_chance(w, w->settings.late);
    world_later(w, world_between(w, 100, late ? 8 * US_PER_S : 5 * US_PER_MS), confirmation_arrives,
                c);
    return ERR_OK;
}

static void note_outcome(void *ctx, uint64_t token, enum queue_outcome outcome)
{
    (void)token;
    *(enum queue_outcome *)ctx = outcome;
}

static enum err fused_publish(struct queue *q, const struct queue_message *message,
                              queue_done_fn *done, void *ctx, uint64_t token)
{
    struct fused_queue *f = fused_of(q);
    struct world *w = f->fuse->world;
    if (fuse_blows(f->fuse, "before publish"))
        return ERR_STOPPED;
    if (world_chance(w, w->settings.lose / 2))
        return confirm_later(f, done, ctx, token, QUEUE_NOT_TAKEN);
    /* Without a writer's thread the real log confirms before it returns. */
    enum queue_outcome outcome = QUEUE_UNKNOWN;
    enum err err = queue_publish(f->inner, message, note_outcome, &outcome, token);
    if (fuse_blows(f->fuse, "after publish"))
        return ERR_STOPPED;
    if (err != ERR_OK)
        return err;
    /* Taken, and nobody ever says so: worse than queue.h allows. The API gives up by itself; the saver trusts. */
    if (strcmp(message->topic, "payments") == 0 && world_chance(w, w->settings.lose / 2))
        return ERR_OK;
    if (world_chance(w, w->settings.lose / 2))
        outcome = QUEUE_UNKNOWN;
    return confirm_later(f, done, ctx, token, outcome);
}

static enum err fused_log(struct queue *q, const char *topic, int32_t partition,
                          struct queue_log *out)
{
    return queue_log(fused_of(q)->inner, topic, partition, out);
}

static enum err fused_checksum(struct queue *q, const char *topic, int32_t partition,
                               int64_t offset, uint64_t *out)
{
    return queue_checksum(fused_of(q)->inner, topic, partition, offset, out);
}

static enum err fused_subscribe(struct queue *q, const char *topic)
{
    return queue_subscribe(fused_of(q)->inner, topic);
}

static enum err fused_read(struct queue *q, size_t max, struct arena *arena,
                           struct queue_batch *out)
{
    struct fused_queue *f = fused_of(q);
    if (f->fuse->blown)
        return ERR_STOPPED;
    /* Batches of any size: what a reader gets together is chance. */
    size_t few = (size_t)world_between(f->fuse->world, 1, 8);
    return queue_read(f->inner, max < few ? max : few, arena, out);
}

static enum err fused_start(struct queue *q, int32_t partition, int64_t offset)
{
    return queue_start(fused_of(q)->inner, partition, offset);
}

static enum err fused_trim(struct queue *q, const char *topic, int32_t partition, int64_t taken,
                           int64_t older_than_us, bool *more)
{
    struct fused_queue *f = fused_of(q);
    if (fuse_blows(f->fuse, "before trim"))
        return ERR_STOPPED;
    return queue_trim(f->inner, topic, partition, taken, older_than_us, more);
}

static enum err fused_topics(struct queue *q, struct arena *arena, struct queue_topic **out,
                             size_t *count)
{
    return queue_topics(fused_of(q)->inner, arena, out, count);
}

static enum err fused_create(struct queue *q, const char *topic, int32_t partitions)
{
    return queue_create(fused_of(q)->inner, topic, partitions);
}

static enum err fused_check(struct queue *q, const char *topic, struct queue_promise *out)
{
    return queue_check(fused_of(q)->inner, topic, out);
}

static void fused_watch(struct queue *q, void (*wake)(void *), void *ctx)
{
    queue_watch(fused_of(q)->inner, wake, ctx);
}

static const char *fused_why(const struct queue *q)
{
    return queue_why(((const struct fused_queue *)q)->inner);
}

static void fused_close(struct queue *q)
{
    struct fused_queue *f = fused_of(q);
    for (struct confirmation *c = f->open; c; c = c->next)
        c->owner = NULL;
    queue_close(f->inner);
    free(f);
}

static const struct queue_ops FUSED_OPS = {
    .publish = fused_publish,
    .log = fused_log,
    .checksum = fused_checksum,
    .subscribe = fused_subscribe,
    .read = fused_read,
    .start = fused_start,
    .trim = fused_trim,
    .topics = fused_topics,
    .create = fused_create,
    .check = fused_check,
    .watch = fused_watch,
    .why = fused_why,
    .close = fused_close,
};

enum err fused_queue(struct queue **out, struct queue *inner, struct fuse *fuse)
{
    struct fused_queue *f = calloc(1, sizeof *f);
    if (!f)
        return ERR_NO_MEMORY;
    *f = (struct fused_queue){{&FUSED_OPS}, inner, fuse, NULL};
    *out = &f->queue;
    return ERR_OK;
}
