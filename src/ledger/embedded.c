#include "ledger/embedded.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/schema.h"
#include "ledger/sqlite_ledger.h"

#define REPORT_MAX 65536
/* Savepoints keep the pages that they would restore: in memory, not in a temporary file. The cache
 * holds what a batch of a few hundred users dirties. */
#define WRITER_PRAGMAS "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-4096;"

struct embedded {
    struct writer *writer; /* owns the writing connection */
    struct clock *clock;
    struct random *random;
    bool memory;
    int lock_fd; /* -1 in memory */
    char path[PATH_MAX];
    pthread_mutex_t watchers_lock;
    struct sqlite_ledger *ledgers; /* for their watchers */
};

static enum err migrate(struct db *db, char *why, size_t why_cap)
{
    struct str report;
    str_init(&report, REPORT_MAX);
    enum err err = schema_upgrade(db, "head", &report, why, why_cap);
    str_release(&report);
    return err;
}

/* Opens, migrates, and hands the connection to a writer. */
static enum err open_writer(struct embedded *e, char *why, size_t why_cap)
{
    struct db *db;
    enum err err = db_open(&db, e->path, e->memory ? DB_MEMORY : DB_WRITE, why, why_cap);
    if (err != ERR_OK)
        return err;
    err = e->memory ? ERR_OK : db_script(db, WRITER_PRAGMAS);
    if (err != ERR_OK)
        snprintf(why, why_cap, "%s", db_why(db));
    else
        err = migrate(db, why, why_cap);
    if (err == ERR_OK) {
        err = writer_open(&e->writer, db, e->clock);
        if (err == ERR_OK)
            return ERR_OK;
        snprintf(why, why_cap, "%s", err_text(err));
    }
    db_close(db);
    return err;
}

static struct embedded *embedded_new(struct clock *clock, struct random *random)
{
    struct embedded *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    if (pthread_mutex_init(&e->watchers_lock, NULL) != 0) {
        free(e);
        return NULL;
    }
    e->clock = clock;
    e->random = random;
    e->lock_fd = -1;
    return e;
}

enum err embedded_open(struct embedded **out, const char *data_dir, struct clock *clock,
                       struct random *random, char *why, size_t why_cap)
{
    struct embedded *e = embedded_new(clock, random);
    if (!e) {
        snprintf(why, why_cap, "%s", err_text(ERR_NO_MEMORY));
        return ERR_NO_MEMORY;
    }
    embedded_path(data_dir, e->path, sizeof e->path);
    enum err err = embedded_lock(&e->lock_fd, data_dir, false, why, why_cap);
    if (err == ERR_OK)
        err = open_writer(e, why, why_cap);
    if (err != ERR_OK) {
        embedded_close(e);
        return err;
    }
    *out = e;
    return ERR_OK;
}

enum err embedded_open_memory(struct embedded **out, struct clock *clock, struct random *random)
{
    char why[SCHEMA_WHY_MAX];
    struct embedded *e = embedded_new(clock, random);
    if (!e)
        return ERR_NO_MEMORY;
    e->memory = true;
    enum err err = open_writer(e, why, sizeof why);
    if (err != ERR_OK) {
        embedded_close(e);
        return err;
    }
    *out = e;
    return ERR_OK;
}

void embedded_close(struct embedded *e)
{
    if (!e)
        return;
    assert(!e->ledgers);
    writer_close(e->writer);
    embedded_unlock(e->lock_fd);
    pthread_mutex_destroy(&e->watchers_lock);
    free(e);
}

struct writer *embedded_writer(struct embedded *e)
{
    return e->writer;
}

enum err embedded_reader(struct embedded *e, struct db **out)
{
    char why[SQL_WHY_MAX];
    if (!e->memory)
        return db_open(out, e->path, DB_READ, why, sizeof why);
    *out = writer_db(e->writer);
    return ERR_OK;
}

void embedded_reader_close(struct embedded *e, struct db *db)
{
    if (!e->memory)
        db_close(db);
}

enum err embedded_ledger(struct embedded *e, struct ledger **out)
{
    return sqlite_ledger_open(out, e);
}

enum err embedded_views(struct embedded *e, struct views **out)
{
    return sqlite_views_open(out, e);
}

struct clock *embedded_clock(struct embedded *e)
{
    return e->clock;
}

struct random *embedded_random(struct embedded *e)
{
    return e->random;
}

/* ---- watchers: every handle hears of every handle's commits ---- */

void embedded_join(struct embedded *e, struct sqlite_ledger *l)
{
    pthread_mutex_lock(&e->watchers_lock);
    l->next = e->ledgers;
    e->ledgers = l;
    pthread_mutex_unlock(&e->watchers_lock);
}

void embedded_leave(struct embedded *e, struct sqlite_ledger *l)
{
    pthread_mutex_lock(&e->watchers_lock);
    struct sqlite_ledger **at = &e->ledgers;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    pthread_mutex_unlock(&e->watchers_lock);
}

void embedded_set_watch(struct embedded *e, struct sqlite_ledger *l, void (*fn)(void *, unsigned),
                        void *ctx)
{
    pthread_mutex_lock(&e->watchers_lock);
    l->watch = fn;
    l->watch_ctx = ctx;
    pthread_mutex_unlock(&e->watchers_lock);
}

void embedded_changed(struct embedded *e, unsigned changes)
{
    pthread_mutex_lock(&e->watchers_lock);
    for (struct sqlite_ledger *l = e->ledgers; l; l = l->next)
        if (l->watch)
            l->watch(l->watch_ctx, changes);
    pthread_mutex_unlock(&e->watchers_lock);
}
