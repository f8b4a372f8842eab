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
