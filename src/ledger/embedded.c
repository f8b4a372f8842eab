#include "ledger/embedded.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/schema.h"
#include "ledger/sql_views.h"
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
    struct watchers watchers;
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
    if (watchers_init(&e->watchers) != ERR_OK) {
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
    watchers_release(&e->watchers);
    writer_close(e->writer);
    embedded_unlock(e->lock_fd);
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

static void views_reader_close(void *e, struct db *db)
{
    embedded_reader_close(e, db);
}

enum err embedded_views(struct embedded *e, struct views **out)
{
    struct db *db;
    enum err err = embedded_reader(e, &db);
    if (err != ERR_OK)
        return err;
    err = sql_views_open(out, db, e->clock, views_reader_close, e);
    if (err != ERR_OK)
        embedded_reader_close(e, db);
    return err;
}

struct clock *embedded_clock(struct embedded *e)
{
    return e->clock;
}

struct random *embedded_random(struct embedded *e)
{
    return e->random;
}

struct watchers *embedded_watchers(struct embedded *e)
{
    return &e->watchers;
}
