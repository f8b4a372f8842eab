/* The ledger on PostgreSQL: a verb is a transaction on the handle's own connection. Those that carry
 * most of the load have a form of their own, over all rows at once (postgres_*.c). */
#include "ledger/postgres_ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "ledger/postgres_rows.h"

static struct postgres_ledger *self(struct sql_ledger *l)
{
    return (struct postgres_ledger *)l;
}

static enum err begin(struct postgres_ledger *p, int64_t *now_us)
{
    struct clock *clock = postgres_clock(p->store);
    if (!clock)
        return db_begin_now(p->db, now_us);
    enum err err = db_begin(p->db);
    *now_us = clock_wall_us(clock);
    return err;
}

/* It goes out with the commit, and not without. */
static enum err notify(struct postgres_ledger *p, unsigned changes)
{
    struct query q;
    query_open(&q, p->db, "SELECT pg_notify('" POSTGRES_CHANNEL "', ?1)");
    query_bind_i64(&q, changes);
    return query_run(&q);
}

static enum err postgres_transact(struct verb *v)
{
    struct postgres_ledger *p = self(v->l);
    int64_t now_us = 0;
    enum err err = begin(p, &now_us);
    if (err == ERR_OK)
        err = verb_inside(v, p->db, now_us);
    if (err == ERR_OK && v->changes && postgres_notifies(p->store))
        err = notify(p, v->changes);
    if (err == ERR_OK)
        err = db_commit(p->db);
    if (err != ERR_OK && v->l->why[0] == '\0')
        snprintf(v->l->why, sizeof v->l->why, "%s", db_why(p->db));
    db_rollback(p->db); /* nothing after a commit */
    return err;
}

static enum err postgres_reader(struct sql_ledger *l, struct db **out)
{
    *out = self(l)->db;
    return ERR_OK;
}

static enum err postgres_now(struct sql_ledger *l, int64_t *now_us)
{
    struct postgres_ledger *p = self(l);
    struct clock *clock = postgres_clock(p->store);
    struct query q;
    if (clock) {
        *now_us = clock_wall_us(clock);
        return ERR_OK;
    }
    query_open(&q, p->db, "SELECT clock_timestamp()");
    if (query_next(&q))
        *now_us = query_time(&q, 0);
    return sql_read_ends(l, p->db, query_close(&q));
}

static void postgres_changed(struct sql_ledger *l, unsigned changes)
{
    watchers_tell(postgres_watchers(self(l)->store), changes);
}

static void postgres_watch(struct sql_ledger *l, void (*fn)(void *, unsigned), void *ctx)
{
    watchers_set(postgres_watchers(self(l)->store), &self(l)->watcher, fn, ctx);
}

static void postgres_ledger_close(struct sql_ledger *l)
{
    struct postgres_ledger *p = self(l);
    watchers_leave(postgres_watchers(p->store), &p->watcher);
    db_close(p->db);
    free(p);
}

static const struct sql_engine POSTGRES_ENGINE = {
    .transact = postgres_transact,
    .reader = postgres_reader,
    .now = postgres_now,
    .changed = postgres_changed,
    .watch = postgres_watch,
    .close = postgres_ledger_close,
};

enum err postgres_ledger_open(struct ledger **out, struct postgres *store)
{
    struct postgres_ledger *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NO_MEMORY;
    enum err err = postgres_connection(store, DB_WRITE, &p->db);
    if (err != ERR_OK) {
        free(p);
        return err;
    }
    sql_ledger_init(&p->base, &POSTGRES_ENGINE, postgres_random(store));
    p->ops = SQL_LEDGER_OPS;
    p->ops.append = postgres_append;
    p->ops.claim = postgres_claim;
    p->ops.settle = postgres_settle;
    p->ops.untold = postgres_untold;
    p->ops.told = postgres_told;
    p->base.base.ops = &p->ops;
    p->store = store;
    watchers_join(postgres_watchers(store), &p->watcher);
    *out = &p->base.base;
    return ERR_OK;
}
