/* The books of a simulated world: in the embedded store beside the queue, or in a database of PostgreSQL, which the queue
 * then knows nothing of, as with Kafka. */
#include <assert.h>
#include <stdio.h>

#include "sim/inside.h"

enum err world_store_open(struct world *w)
{
    char why[256] = "";
    enum err err = embedded_open_memory(&w->embedded, &w->clock, &w->random.random);
    if (err != ERR_OK || !w->settings.database_url)
        return err;
    const struct postgres_settings settings = {.url = w->settings.database_url, .clock = &w->clock};
    err = postgres_open(&w->postgres, &settings, &w->random.random, why, sizeof why);
    if (err == ERR_OK)
        err = postgres_connection(w->postgres, DB_WRITE, &w->books);
    if (err != ERR_OK)
        fprintf(stderr, "PostgreSQL: %s: %s\n", err_text(err), why);
    return err;
}

void world_store_close(struct world *w)
{
    db_close(w->books);
    postgres_close(w->postgres);
    embedded_close(w->embedded);
}

enum err world_books_open(struct world *w, struct db **out)
{
    if (!w->postgres)
        return embedded_reader(w->embedded, out);
    *out = w->books;
    return ERR_OK;
}

void world_books_close(struct world *w, struct db *db)
{
    if (!w->postgres)
        embedded_reader_close(w->embedded, db);
}

enum err world_audit_open(struct world *w, struct db **out)
{
    return w->postgres ? postgres_connection(w->postgres, DB_READ, out)
                       : embedded_reader(w->embedded, out);
}

void world_audit_close(struct world *w, struct db *db)
{
    if (w->postgres)
        db_close(db);
    else
        embedded_reader_close(w->embedded, db);
}

enum err world_ledger(struct world *w, struct ledger **out)
{
    return w->postgres ? postgres_ledger(w->postgres, out) : embedded_ledger(w->embedded, out);
}

enum err world_views(struct world *w, struct views **out)
{
    return w->postgres ? postgres_views(w->postgres, out) : embedded_views(w->embedded, out);
}

int64_t world_queued(struct world *w, const char *static_sql, const char *text)
{
    struct db *db;
    struct query q;
    int64_t count = -1;
    if (embedded_reader(w->embedded, &db) != ERR_OK)
        return -1;
    query_open(&q, db, static_sql);
    if (text)
        query_bind_text(&q, text);
    if (query_next(&q))
        count = query_i64(&q, 0);
    if (query_close(&q) != ERR_OK)
        count = -1;
    embedded_reader_close(w->embedded, db);
    return count;
}
