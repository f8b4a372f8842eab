/* db_postgres.h: what the files db_postgres*.c share, and nobody else. */
#ifndef SUBPAY_BASE_DB_POSTGRES_H
#define SUBPAY_BASE_DB_POSTGRES_H

#include <stdatomic.h>

#include <libpq-fe.h>

#include "base/db_private.h"

struct db_postgres {
    struct db db;
    PGconn *conn;        /* NULL: there is none */
    uint64_t generation; /* of the connection, from 1: a prepared statement is of one */
    uint64_t names;      /* that were given to prepared statements */
    bool pooled;
    bool begun;      /* a transaction is open, or was when the connection went */
    enum err broken; /* what ended it; everything answers this until db_rollback */
    int64_t changes;

    struct db_postgres_settings settings; /* defaults filled in; url is the one below */
    char url[DB_URL_MAX];
    char password[256]; /* of the URL, only to keep it out of texts */
    char begin[512];    /* what db_begin sends */
    int64_t patience_ms;
    int64_t retry_at_us, pause_ms; /* the back-off, on the boot clock */

    const char *channel;
    bool missed; /* reconnected since the last wait */
    int interrupt_fd;
    atomic_bool interrupted;
    void (*hook)(void *ctx, const char *sql);
    void *hook_ctx;
};

static inline struct db_postgres *postgres_of(const struct db *db)
{
    return (struct db_postgres *)db;
}

/* ---- db_postgres_wire.c: round trips ---- */

/* Not before: UNREACHABLE when the time is over, STOPPED by db_interrupt. wake_fd -1: none;
 * otherwise readable counts as OK. */
enum err postgres_poll(struct db_postgres *p, short events, int wake_fd, int64_t until_us);
int64_t postgres_until_us(int64_t ms); /* DB_NO_LIMIT: never */
/* For what was sent: waits for all answers. *out, the last one with rows (or without, if there were
 * none with), is the caller's and set only with OK; out may be NULL. */
enum err postgres_await(struct db_postgres *p, int64_t until_us, PGresult **out) MUST_CHECK;
/* On the connection as it is: sends a text without parameters, and awaits. */
enum err postgres_exchange(struct db_postgres *p, const char *sql, int64_t until_us,
                           PGresult **out) MUST_CHECK;
/* The same within patience, on a connection that is ready. */
enum err postgres_run(struct db_postgres *p, const char *sql, PGresult **out) MUST_CHECK;
/* Closed without a word; an open transaction is broken. Returns err. */
enum err postgres_give_up(struct db_postgres *p, enum err err);
void postgres_say(struct db_postgres *p, const char *words, const char *detail, const char *state);
enum err postgres_err_of(const struct db_postgres *p, const char *state);

/* ---- db_postgres_connect.c ---- */

/* url, password, begin. ERR_INVALID with words of our own: libpq's may hold the password. */
enum err postgres_settings_take(struct db_postgres *p,
                                const struct db_postgres_settings *s) MUST_CHECK;
enum err postgres_connect(struct db_postgres *p) MUST_CHECK;
/* A connection for the next statement: looks whether the one that is there was closed, reconnects
 * as far as the back-off allows. In a transaction: what broke it. */
enum err postgres_ready(struct db_postgres *p) MUST_CHECK;

/* ---- db_postgres_query.c ---- */

enum err postgres_statement_make(struct db *db, const char *sql, bool kept, struct statement **out);
bool postgres_statement_is(const struct statement *s, const char *sql);
void postgres_statement_free(struct statement *s);
enum err postgres_bind_i64(struct query *q, int64_t value);
enum err postgres_bind_text(struct query *q, const char *text, size_t len);
enum err postgres_bind_blob(struct query *q, const void *bytes, size_t len);
enum err postgres_bind_binary(struct query *q, const struct span *parts, size_t count);
enum err postgres_next(struct query *q, bool *row);
enum err postgres_end(struct query *q);
bool postgres_is_null(const struct query *q, int column);
int64_t postgres_i64(const struct query *q, int column);
const char *postgres_text(const struct query *q, int column);
const void *postgres_blob(const struct query *q, int column, size_t *len);
int postgres_columns(const struct query *q);
const char *postgres_column_name(const struct query *q, int column);

#endif
