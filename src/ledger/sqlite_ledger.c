/* The ledger on the embedded file: its verbs are closures for the one thread that writes. */
#include <stdlib.h>

#include "ledger/sqlite_ledger.h"

static struct sqlite_ledger *self(struct sql_ledger *l)
{
    return (struct sqlite_ledger *)l;
}

/* In the writer's thread: what SQLite says of a failure has to be copied before the next closure
 * runs. */
static enum err sqlite_closure(struct db *db, void *arg)
{
    struct verb *v = arg;
    return verb_inside(v, db, clock_wall_us(embedded_clock(self(v->l)->store)));
}

static enum err sqlite_transact(struct verb *v)
{
    return writer_do(embedded_writer(self(v->l)->store), sqlite_closure, v);
}

static enum err sqlite_reader(struct sql_ledger *l, struct db **out)
{
    struct sqlite_ledger *s = self(l);
    enum err err = s->reader ? ERR_OK : embedded_reader(s->store, &s->reader);
    *out = s->reader;
    return err;
}

static enum err sqlite_now(struct sql_ledger *l, int64_t *now_us)
{
    *now_us = clock_wall_us(embedded_clock(self(l)->store));
    return ERR_OK;
}

static void sqlite_changed(struct sql_ledger *l, unsigned changes)
{
    watchers_tell(embedded_watchers(self(l)->store), changes);
}

static void sqlite_watch(struct sql_ledger *l, void (*fn)(void *, unsigned), void *ctx)
{
    watchers_set(embedded_watchers(self(l)->store), &self(l)->watcher, fn, ctx);
}

static void sqlite_close(struct sql_ledger *l)
{
    struct sqlite_ledger *s = self(l);
    watchers_leave(embedded_watchers(s->store), &s->watcher);
    if (s->reader)
        embedded_reader_close(s->store, s->reader);
    free(s);
}

static const struct sql_engine SQLITE_ENGINE = {
    .transact = sqlite_transact,
    .reader = sqlite_reader,
    .now = sqlite_now,
    .changed = sqlite_changed,
    .watch = sqlite_watch,
    .close = sqlite_close,
};

enum err sqlite_ledger_open(struct ledger **out, struct embedded *e)
{
    struct sqlite_ledger *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NO_MEMORY;
    sql_ledger_init(&s->base, &SQLITE_ENGINE, embedded_random(e));
    s->store = e;
    watchers_join(embedded_watchers(e), &s->watcher);
    *out = &s->base.base;
    return ERR_OK;
}
