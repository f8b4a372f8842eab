/* db_postgres.c: PostgreSQL behind db.h: opening, transactions, notifications, fitness. */
#include "base/db_postgres.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

enum err db_open_postgres(struct db **out, const struct db_postgres_settings *s, char *why,
                          size_t why_cap)
{
    struct db_postgres *p = calloc(1, sizeof(*p));
    enum err err = p ? db_init(&p->db, &DB_POSTGRES_OPS, s->mode) : ERR_NO_MEMORY;

    if (!p)
        goto failed;
    p->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (err == ERR_OK && p->interrupt_fd < 0)
        err = ERR_IO;
    if (err == ERR_OK)
        err = postgres_settings_take(p, s);
    if (err == ERR_OK)
        err = postgres_connect(p);
    if (err != ERR_OK)
        goto failed;
    *out = &p->db;
    return ERR_OK;
failed:
    if (why_cap)
        snprintf(why, why_cap, "%s", p && *p->db.why ? p->db.why : err_text(err));
    if (p)
        db_close(&p->db);
    return err;
}

static void close_postgres(struct db *db)
{
    struct db_postgres *p = postgres_of(db);

    PQfinish(p->conn);
    if (p->interrupt_fd >= 0)
        close(p->interrupt_fd);
    explicit_bzero(p->password, sizeof(p->password));
    explicit_bzero(p->url, sizeof(p->url));
    free(p);
}

bool db_pooled(const struct db *db)
{
    return db_is_postgres(db) && postgres_of(db)->pooled;
}

void db_patience(struct db *db, int64_t ms)
{
    if (db_is_postgres(db))
        postgres_of(db)->patience_ms = ms == 0 ? postgres_of(db)->settings.patience_ms : ms;
}

void db_hook(struct db *db, void (*fn)(void *ctx, const char *sql), void *ctx)
{
    if (!db_is_postgres(db))
        return;
    postgres_of(db)->hook = fn;
    postgres_of(db)->hook_ctx = ctx;
}

static enum err script(struct db *db, const char *sql)
{
    return postgres_run(postgres_of(db), sql, NULL);
}

/* Also for handlers of signals. */
static void interrupt(struct db *db)
{
    struct db_postgres *p = postgres_of(db);

    atomic_store(&p->interrupted, true);
    (void)!write(p->interrupt_fd, &(uint64_t){1}, sizeof(uint64_t));
}

/* --- transactions ---------------------------------------------------------------------------- */

static enum err begin(struct db *db, int64_t *now_us)
{
    static const char CLOCK[] =
        "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)";
    struct db_postgres *p = postgres_of(db);
    char sql[sizeof(p->begin) + sizeof(CLOCK)];
    PGresult *r = NULL;
    enum err err;

    if (p->begun)
        return ERR_BUG;
    err = postgres_ready(p); /* now p->begin is of this connection */
    if (err != ERR_OK)
        return err;
    snprintf(sql, sizeof(sql), "%s%s", p->begin, now_us ? CLOCK : "");
    err = postgres_exchange(p, sql, postgres_until_us(p->patience_ms), &r);
    if (err == ERR_OK && now_us)
        *now_us = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    if (err != ERR_OK)
        db_rollback(db);
    return err;
}

static enum err commit(struct db *db)
{
    struct db_postgres *p = postgres_of(db);
    PGresult *r = NULL;
    enum err err;

    if (!p->begun)
        return ERR_BUG;
    err = postgres_run(p, "COMMIT", &r);
    /* The server takes it for a rollback when an error went before. */
    if (err == ERR_OK && strcmp(PQcmdStatus(r), "COMMIT") != 0)
        err = ERR_BUG;
    PQclear(r);
    if (err != ERR_OK)
        db_rollback(db);
    p->begun = false; /* also when the connection went right behind the answer */
    p->broken = ERR_OK;
    return err;
}

static void rollback(struct db *db)
{
    struct db_postgres *p = postgres_of(db);
    char why[sizeof(db->why)];

    if (!p->begun)
        return;
    memcpy(why, db->why, sizeof(why));
    if (p->conn &&
        postgres_exchange(p, "ROLLBACK", postgres_until_us(p->patience_ms), NULL) != ERR_OK &&
        p->conn)
        (void)postgres_give_up(p, ERR_UNREACHABLE);
    p->begun = false;
    p->broken = ERR_OK;
    memcpy(db->why, why, sizeof(why)); /* the reason why, not this */
}

static bool in_transaction(const struct db *db)
{
    return postgres_of(db)->begun;
}

static int64_t changes(const struct db *db)
{
    return postgres_of(db)->changes;
}

/* --- notifications --------------------------------------------------------------------------- */

enum err db_listen(struct db *db, const char *static_channel)
{
    struct db_postgres *p = postgres_of(db);
    enum err err;

    if (!db_is_postgres(db) || p->begun)
        return ERR_BUG;
    if (p->pooled)
        return ERR_REFUSED;
    /* A new connection listens by itself. */
    if (p->conn)
        (void)postgres_give_up(p, ERR_UNREACHABLE);
    p->channel = static_channel;
    err = postgres_ready(p);
    p->missed = false;
    return err;
}

static bool notified_already(struct db_postgres *p)
{
    bool any = p->missed;

    p->missed = false;
    for (PGnotify *n; (n = PQnotifies(p->conn)); any = true)
        PQfreemem(n);
    return any;
}

enum err db_wait_notification(struct db *db, int64_t timeout_ms, int wake_fd, bool *notified)
{
    struct db_postgres *p = postgres_of(db);
    int64_t until_us = postgres_until_us(timeout_ms);
    enum err err;

    *notified = false;
    if (!db_is_postgres(db) || !p->channel || p->begun)
        return ERR_BUG;
    err = postgres_ready(p);
    if (err != ERR_OK && err != ERR_STOPPED) /* not at once: the caller would spin */
        (void)postgres_poll(p, 0, wake_fd, p->retry_at_us < until_us ? p->retry_at_us : until_us);
    while (err == ERR_OK && !(*notified = notified_already(p))) {
        struct pollfd input = {.fd = PQsocket(p->conn), .events = POLLIN};

        err = postgres_poll(p, POLLIN, wake_fd, until_us);
        if (err == ERR_UNREACHABLE) /* the time is over */
            return ERR_OK;
        if (err == ERR_OK && poll(&input, 1, 0) == 0) /* woken */
            return ERR_OK;
        if (err == ERR_OK && !PQconsumeInput(p->conn)) {
            postgres_say(p, PQerrorMessage(p->conn), NULL, NULL);
            err = postgres_give_up(p, ERR_UNREACHABLE);
        }
    }
    return err;
}

/* --- fitness --------------------------------------------------------------------------------- */

enum err db_postgres_fit(struct db *db, char *why, size_t why_cap)
{
    static const char *const ALLOWED[][3] = {
        {"fsync", "on", NULL},
        {"full_page_writes", "on", NULL},
        {"synchronous_commit", "on", "remote_apply"},
    };
    struct query q;
    bool fits = true;
    enum err err;

    query_open(&q, db,
               "SELECT current_setting('fsync'), current_setting('full_page_writes'), "
               "current_setting('synchronous_commit'), "
               "CAST(current_setting('server_version_num') AS bigint), pg_is_in_recovery()");
    if (query_next(&q)) {
        for (int i = 2; i >= 0; i--) {
            const char *value = query_text(&q, i);

            if (strcmp(value, ALLOWED[i][1]) == 0 ||
                (ALLOWED[i][2] && strcmp(value, ALLOWED[i][2]) == 0))
                continue;
            snprintf(why, why_cap, "PostgreSQL runs with %s=%s; allowed: %s%s%s", ALLOWED[i][0],
                     value, ALLOWED[i][1], ALLOWED[i][2] ? ", " : "",
                     ALLOWED[i][2] ? ALLOWED[i][2] : "");
            fits = false;
        }
        if (query_i64(&q, 3) < 150000) {
            snprintf(why, why_cap,
                     "PostgreSQL is of version server_version_num=%s; allowed: "
                     "150000 and later",
                     query_text(&q, 3));
            fits = false;
        }
        if (query_i64(&q, 4)) {
            snprintf(why, why_cap,
                     "PostgreSQL is a standby (pg_is_in_recovery=on); allowed: a "
                     "primary");
            fits = false;
        }
    }
    err = query_close(&q);
    if (err != ERR_OK)
        snprintf(why, why_cap, "%s", db_why(db));
    return err != ERR_OK || fits ? err : ERR_REFUSED;
}

const struct db_ops DB_POSTGRES_OPS = {
    .close = close_postgres,
    .script = script,
    .interrupt = interrupt,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .in_transaction = in_transaction,
    .changes = changes,
    .statement_make = postgres_statement_make,
    .statement_is = postgres_statement_is,
    .statement_free = postgres_statement_free,
    .bind_i64 = postgres_bind_i64,
    .bind_text = postgres_bind_text,
    .bind_blob = postgres_bind_blob,
    .bind_binary = postgres_bind_binary,
    .next = postgres_next,
    .end = postgres_end,
    .is_null = postgres_is_null,
    .i64 = postgres_i64,
    .text = postgres_text,
    .blob = postgres_blob,
    .columns = postgres_columns,
    .column_name = postgres_column_name,
};
