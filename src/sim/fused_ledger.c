/* A ledger that dies: the real one behind a fuse, which may blow before or after each effect. */
#include "sim/inside.h"

#include <stdlib.h>

#include "ledger/ledger_driver.h"

struct fused {
    struct ledger ledger;
    struct ledger *inner;
    struct fuse *fuse;
};

static struct fused *fused_of(struct ledger *l)
{
    return (struct fused *)l;
}

/* Runs a verb of the real ledger unless the service is dead before; its answer is lost if it dies after. */
#define FUSED(l, name, call)                                                                       \
    struct fused *f = fused_of(l);                                                                 \
    if (fuse_blows(f->fuse, "before " name))                                                       \
        return ERR_STOPPED;                                                                        \
    enum err err = (call);                                                                         \
    return fuse_blows(f->fuse, "after " name) ? ERR_STOPPED : err

static enum err fused_append(struct ledger *l, struct ledger_record *records, size_t count,
                             const struct ledger_position *from, const struct ledger_position *to)
{
    FUSED(l, "append", ledger_append(f->inner, records, count, from, to));
}

static enum err fused_position(struct ledger *l, const char *topic, int32_t partition,
                               struct ledger_position *out)
{
    return ledger_position(fused_of(l)->inner, topic, partition, out);
}

static enum err fused_rewind(struct ledger *l, const char *topic, int32_t partition, int64_t next)
{
    FUSED(l, "rewind", ledger_rewind(f->inner, topic, partition, next));
}

static enum err fused_claim(struct ledger *l, const struct ledger_claim *claim, struct arena *arena,
                            struct ledger_claimed *out)
{
    FUSED(l, "claim", ledger_claim(f->inner, claim, arena, out));
}

static enum err fused_due(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                          struct attempt **out, size_t *count)
{
    FUSED(l, "due", ledger_due(f->inner, max, lease_us, arena, out, count));
}

static enum err fused_settle(struct ledger *l, struct fact *facts, size_t count)
{
    FUSED(l, "settle", ledger_settle(f->inner, facts, count));
}

static enum err fused_defer(struct ledger *l, const struct deferral *deferrals, size_t count)
{
    FUSED(l, "defer", ledger_defer(f->inner, deferrals, count));
}

static enum err fused_attempt(struct ledger *l, const struct uuid *payment_id, struct arena *arena,
                              struct attempt **out)
{
    FUSED(l, "attempt", ledger_attempt(f->inner, payment_id, arena, out));
}

static enum err fused_decide(struct ledger *l, struct ledger_decision *decision)
{
    FUSED(l, "decide", ledger_decide(f->inner, decision));
}

static enum err fused_reading(struct ledger *l, const char *instance_id, struct ledger_reading *out)
{
    return ledger_reading(fused_of(l)->inner, instance_id, out);
}

static enum err fused_learn(struct ledger *l, const struct ledger_reading *reading,
                            const struct journal_entry *entries, size_t count,
                            struct ledger_learned *out)
{
    FUSED(l, "learn", ledger_learn(f->inner, reading, entries, count, out));
}

static enum err fused_learned_all(struct ledger *l, const struct uuid *waited, struct uuid *stands)
{
    FUSED(l, "learned_all", ledger_learned_all(f->inner, waited, stands));
}

static enum err fused_asked(struct ledger *l, const char *instance_id,
                            const struct journal_entry *entry, struct ledger_learned *out)
{
    FUSED(l, "asked", ledger_asked(f->inner, instance_id, entry, out));
}

static enum err fused_asked_unknown(struct ledger *l, const struct uuid *payment_id)
{
    FUSED(l, "asked_unknown", ledger_asked_unknown(f->inner, payment_id));
}

static enum err fused_instance(struct ledger *l, char out[LEDGER_INSTANCE_MAX + 1])
{
    return ledger_instance(fused_of(l)->inner, out);
}

static enum err fused_mark_queued(struct ledger *l, const char *topic, int32_t partition,
                                  int64_t next)
{
    FUSED(l, "mark_queued", ledger_mark_queued(f->inner, topic, partition, next));
}

static enum err fused_mark_restored(struct ledger *l, int64_t *marked)
{
    FUSED(l, "mark_restored", ledger_mark_restored(f->inner, marked));
}

static enum err fused_heartbeat(struct ledger *l, const char *service)
{
    FUSED(l, "heartbeat", ledger_heartbeat(f->inner, service));
}

static enum err fused_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                             struct telling **out, size_t *count)
{
    FUSED(l, "untold", ledger_untold(f->inner, max, lease_us, arena, out, count));
}

static enum err fused_told(struct ledger *l, const struct told *told, size_t count)
{
    FUSED(l, "told", ledger_told(f->inner, told, count));
}

static enum err fused_counts(struct ledger *l, struct ledger_counts *out)
{
    return ledger_counts(fused_of(l)->inner, out);
}

static enum err fused_recover(struct ledger *l)
{
    FUSED(l, "recover", ledger_recover(f->inner));
}

static void fused_watch(struct ledger *l, void (*fn)(void *, unsigned), void *ctx)
{
    ledger_watch(fused_of(l)->inner, fn, ctx);
}

static const char *fused_why(const struct ledger *l)
{
    return ledger_why(((const struct fused *)l)->inner);
}

static void fused_close(struct ledger *l)
{
    ledger_close(fused_of(l)->inner);
    free(l);
}

static const struct ledger_ops FUSED_OPS = {
    .append = fused_append,
    .position = fused_position,
    .rewind = fused_rewind,
    .claim = fused_claim,
    .due = fused_due,
    .attempt = fused_attempt,
    .decide = fused_decide,
    .reading = fused_reading,
    .learn = fused_learn,
    .learned_all = fused_learned_all,
    .asked = fused_asked,
    .asked_unknown = fused_asked_unknown,
    .instance = fused_instance,
    .mark_restored = fused_mark_restored,
    .mark_queued = fused_mark_queued,
    .heartbeat = fused_heartbeat,
    .settle = fused_settle,
    .defer = fused_defer,
    .untold = fused_untold,
    .told = fused_told,
    .counts = fused_counts,
    .recover = fused_recover,
    .watch = fused_watch,
    .why = fused_why,
    .close = fused_close,
};

enum err fused_ledger(struct ledger **out, struct ledger *inner, struct fuse *fuse)
{
    struct fused *f = calloc(1, sizeof *f);
    if (!f)
        return ERR_NO_MEMORY;
    *f = (struct fused){{&FUSED_OPS}, inner, fuse};
    *out = &f->ledger;
    return ERR_OK;
}
