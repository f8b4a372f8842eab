#include "ledger/postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ledger/postgres_ledger.h"
#include "ledger/schema.h"
#include "ledger/sql_views.h"

#define ALL_CHANGES (LEDGER_CHANGE_STORED | LEDGER_CHANGE_SETTLED | LEDGER_CHANGE_PAYMENT)
/* Each question of the look: nothing can end it sooner. More than a lock is waited for; less than an
 * end may take (10 s), unless a server that is merely slow answers several only just in time. */
#define LOOK_PATIENCE_MS 8000

struct postgres {
    char url[DB_URL_MAX];
    struct clock *clock;
    struct random *random;
    bool notify;
    _Atomic int64_t end_boot_us;
    struct watchers watchers;
    struct db *first; /* the connection that was made at the start, then the listener's */
    bool listens, refused;
};

/* A server that may lose commits is no store. */
static enum err look(struct postgres *p, char *why, size_t why_cap)
{
    struct db_postgres_settings settings = {.url = p->url,
                                            .mode = DB_WRITE,
                                            .patience_ms = LOOK_PATIENCE_MS,
                                            .end_boot_us = &p->end_boot_us};
    enum err err = db_open_postgres(&p->first, &settings, why, why_cap);
    if (err == ERR_OK)
        err = db_postgres_fit(p->first, why, why_cap);
    if (err == ERR_OK)
        err = schema_check(p->first, why, why_cap);
    return err;
}

enum err postgres_open(struct postgres **out, const struct postgres_settings *settings,
                       struct random *random, char *why, size_t why_cap)
{
    struct postgres *p = calloc(1, sizeof *p);
    if (!p || watchers_init(&p->watchers) != ERR_OK) {
        free(p);
        snprintf(why, why_cap, "%s", err_text(ERR_NO_MEMORY));
        return ERR_NO_MEMORY;
    }
    p->clock = settings->clock;
    p->random = random;
    p->notify = settings->notify;
    atomic_init(&p->end_boot_us, TIME_NEVER);
    enum err err = ERR_INVALID;
    if (text_copy(p->url, sizeof p->url, settings->url))
        err = look(p, why, why_cap);
    else
        snprintf(why, why_cap, "not a URL of PostgreSQL: it is too long");
    if (err != ERR_OK) {
        postgres_close(p);
        return err;
    }
    *out = p;
    return ERR_OK;
}

void postgres_close(struct postgres *p)
{
    if (!p)
        return;
    db_close(p->first);
    watchers_release(&p->watchers);
    explicit_bzero(p->url, sizeof p->url);
    free(p);
}

void postgres_end_at(struct postgres *p, int64_t boot_us)
{
    atomic_store(&p->end_boot_us, boot_us);
}

enum err postgres_connection(struct postgres *p, enum db_mode mode, struct db **out)
{
    struct db_postgres_settings settings = {
        .url = p->url, .mode = mode, .by_keys = true, .end_boot_us = &p->end_boot_us};
    return db_open_postgres(out, &settings, NULL, 0);
}

enum err postgres_ledger(struct postgres *p, struct ledger **out)
{
    return postgres_ledger_open(out, p);
}

static void views_close_db(void *ctx, struct db *db)
{
    (void)ctx;
    db_close(db);
}

enum err postgres_views(struct postgres *p, struct views **out)
{
    struct db *db;
    enum err err = postgres_connection(p, DB_READ, &db);
    if (err != ERR_OK)
        return err;
    err = sql_views_open(out, db, p->clock, views_close_db, NULL);
    if (err != ERR_OK)
        db_close(db);
    return err;
}

enum err postgres_listen(struct postgres *p, int64_t timeout_ms, int wake_fd)
{
    bool notified = false;
    if (!p->listens) {
        /* Unreachable: it listens as soon as it is connected again. */
        p->refused = db_listen(p->first, POSTGRES_CHANNEL) == ERR_REFUSED;
        p->listens = true;
    }
    if (p->refused)
        return ERR_REFUSED;
    enum err err = db_wait_notification(p->first, timeout_ms, wake_fd, &notified);
    if (notified) /* of what, does not matter: whoever is told looks */
        watchers_tell(&p->watchers, ALL_CHANGES);
    return err;
}

struct clock *postgres_clock(struct postgres *p)
{
    return p->clock;
}

struct random *postgres_random(struct postgres *p)
{
    return p->random;
}

bool postgres_notifies(const struct postgres *p)
{
    return p->notify;
}

struct watchers *postgres_watchers(struct postgres *p)
{
    return &p->watchers;
}
