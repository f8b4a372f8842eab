/* db_postgres_connect.c: connecting to PostgreSQL, and again after a connection was lost. */
#include "base/db_postgres.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/str.h"

#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 2000
#define GONE_CHECK_MS 1000 /* a server notices within this that we gave a statement up */

/* --- settings -------------------------------------------------------------------------------- */

static bool option_is(const PQconninfoOption *o, const char *keyword)
{
    return strcmp(o->keyword, keyword) == 0 && o->val && *o->val;
}

/* A password with an unescaped @ or / would be read as host, port or database, and stand in
 * messages. */
static const char *url_flaw(struct db_postgres *p, const PQconninfoOption *options)
{
    for (const PQconninfoOption *o = options; o && o->keyword; o++) {
        if (option_is(o, "port") && o->val[strspn(o->val, "0123456789,")] != '\0')
            return "its port is not a number; in a password write % : / @ as %25 %3A %2F %40";
        if ((option_is(o, "dbname") || option_is(o, "host")) && strchr(o->val, '@'))
            return "there is an @ too many; in a password write % : / @ as %25 %3A %2F %40";
        if (option_is(o, "password") && !text_copy(p->password, sizeof(p->password), o->val))
            return "its password is too long";
    }
    return options ? NULL : "it does not parse; in a password write % : / @ as %25 %3A %2F %40";
}

static enum err url_take(struct db_postgres *p, const char *url)
{
    const char *flaw = NULL;
    PQconninfoOption *options;
    char *error = NULL;

    if (strncmp(url, "postgresql://", 13) != 0 && strncmp(url, "postgres://", 11) != 0)
        flaw = "it does not begin with postgresql://";
    else if (!text_copy(p->url, sizeof(p->url), url))
        flaw = "it is too long";
    if (!flaw) {
        options = PQconninfoParse(url, &error);
        flaw = url_flaw(p, options);
        PQconninfoFree(options);
        PQfreemem(error);
    }
    if (!flaw)
        return ERR_OK;
    snprintf(p->db.why, sizeof(p->db.why), "not a URL of PostgreSQL: %s", flaw);
    return ERR_INVALID;
}

static int64_t or_default(int64_t ms, int64_t fallback)
{
    return ms == 0 ? fallback : ms;
}

/* SET [LOCAL] … of the limits that the server keeps; 0 is none to it. */
static void limits_add(struct str *s, const struct db_postgres_settings *set, const char *how)
{
    const struct {
        const char *name;
        int64_t ms;
    } LIMITS[] = {
        {"lock_timeout", set->lock_ms},
        {"statement_timeout", set->statement_ms},
        {"idle_in_transaction_session_timeout", set->idle_ms},
        {"client_connection_check_interval", GONE_CHECK_MS},
    };
    static const char *const AVOIDED[] = {"enable_seqscan", "enable_bitmapscan", "enable_hashjoin",
                                          "enable_mergejoin", "jit"};

    for (size_t i = 0; i < sizeof(LIMITS) / sizeof(*LIMITS); i++)
        str_addf(s, "%s %s = %" PRId64 ";", how, LIMITS[i].name,
                 LIMITS[i].ms == DB_NO_LIMIT ? 0 : LIMITS[i].ms);
    /* jit: a plan that looks dear because nothing else was allowed is not worth compiling. */
    for (size_t i = 0; set->by_keys && i < sizeof(AVOIDED) / sizeof(*AVOIDED); i++)
        str_addf(s, "%s %s = off;", how, AVOIDED[i]);
}

enum err postgres_settings_take(struct db_postgres *p, const struct db_postgres_settings *s)
{
    if (s->mode == DB_MEMORY)
        return ERR_BUG;
    p->settings = (struct db_postgres_settings){
        .url = p->url,
        .mode = s->mode,
        .connect_ms = or_default(s->connect_ms, 5000),
        .patience_ms = or_default(s->patience_ms, 30000),
        .lock_ms = or_default(s->lock_ms, 5000),
        .statement_ms = or_default(s->statement_ms, 20000),
        .idle_ms = or_default(s->idle_ms, 30000),
        .by_keys = s->by_keys,
        .end_boot_us = s->end_boot_us,
    };
    p->patience_ms = p->settings.patience_ms;
    return url_take(p, s->url);
}

/* --- one connection -------------------------------------------------------------------------- */

static void notice_ignored(void *ctx, const PGresult *r)
{
    (void)ctx;
    (void)r;
}

static PGconn *connection_start(const struct db_postgres *p)
{
    /* What the URL says goes before the first ones, not before the last. */
    const char *const keywords[] = {
        "fallback_application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "dbname",
        "client_encoding",
        NULL,
    };
    const char *const values[] = {"subpay", "1", "30", "10", "3", "15000", p->url, "UTF8", NULL};
    PGconn *conn = PQconnectStartParams(keywords, values, 1);

    if (conn) {
        PQsetNoticeReceiver(conn, notice_ignored, NULL);
        PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* the only way to a SQLSTATE here */
    }
    return conn;
}

/* "…failed: FATAL:  28P01: password authentication failed…", in whatever language. */
static bool state_find(const char *words, char state[6])
{
    for (const char *at = words; (at = strstr(at, ":  ")); at++)
        if (strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && at[8] == ':')
            return text_copy_n(state, 6, at + 3, 5);
    return false;
}

static enum err connection_failed(struct db_postgres *p)
{
    char state[6] = "", words[DB_WHY_MAX];
    char *location;
    enum err err = ERR_UNREACHABLE;

    snprintf(words, sizeof(words), "%s", PQerrorMessage(p->conn));
    location = strstr(words, "\nLOCATION:");
    if (location)
        *location = '\0';
    if (state_find(words, state))
        err = postgres_err_of(p, state);
    else if (PQconnectionNeedsPassword(p->conn))
        err = ERR_REFUSED;
    postgres_say(p, words, NULL, NULL);
    return err == ERR_BUG ? ERR_UNREACHABLE : err;
}

static enum err connection_open(struct db_postgres *p, int64_t until_us)
{
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;

    p->conn = connection_start(p);
    if (!p->conn)
        return ERR_NO_MEMORY;
    if (PQstatus(p->conn) == CONNECTION_BAD)
        return connection_failed(p);
    while (state != PGRES_POLLING_OK) {
        enum err err =
            postgres_poll(p, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, -1, until_us);

        if (err != ERR_OK) {
            postgres_say(p, err == ERR_STOPPED ? err_text(err) : "no connection in time", NULL,
                         NULL);
            return err;
        }
        state = PQconnectPoll(p->conn);
        if (state == PGRES_POLLING_FAILED)
            return connection_failed(p);
    }
    PQsetErrorVerbosity(p->conn, PQERRORS_DEFAULT);
    return PQsetnonblocking(p->conn, 1) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* --- its session ----------------------------------------------------------------------------- */

/* The settings that a pooler carries from backend to backend, and whose backend this is: one that
 * the connection was not told of means that there is a pooler, which may change it any time. */
static enum err session_begin(struct db_postgres *p, int64_t until_us)
{
    PGresult *r;
    enum err err = postgres_exchange(p,
                                     "SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, YMD';"
                                     "SET TimeZone = 'UTC'; SET standard_conforming_strings = on;"
                                     "SELECT pg_backend_pid()",
                                     until_us, &r);

    if (err != ERR_OK)
        return err;
    p->pooled = strtol(PQgetvalue(r, 0, 0), NULL, 10) != PQbackendPID(p->conn);
    PQclear(r);
    return ERR_OK;
}

/* What lasts for a session; through a pooler it would be somebody else's, so that each transaction
 * brings it along. */
static enum err session_limits(struct db_postgres *p, int64_t until_us)
{
    struct str s;
    enum err err = ERR_OK;

    str_init(&s, sizeof(p->begin) - 1);
    str_add(&s, p->settings.mode == DB_READ ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                                            : "BEGIN ISOLATION LEVEL READ COMMITTED;");
    if (p->pooled)
        limits_add(&s, &p->settings, "SET LOCAL");
    if (!text_copy(p->begin, sizeof(p->begin), s.data) || s.failed)
        err = ERR_NO_MEMORY;
    str_clear(&s);
    limits_add(&s, &p->settings, "SET");
    /* One plan for good: a look-up by its key costs less than its planning. */
    if (p->settings.by_keys)
        str_add(&s, "SET plan_cache_mode = force_generic_plan;");
    str_add(&s, "SET default_transaction_isolation = 'read committed'");
    if (err == ERR_OK && s.failed)
        err = ERR_NO_MEMORY;
    if (err == ERR_OK && !p->pooled)
        err = postgres_exchange(p, s.data, until_us, NULL);
    str_release(&s);
    return err;
}

static enum err session_listen(struct db_postgres *p, int64_t until_us)
{
    char *name = PQescapeIdentifier(p->conn, p->channel, strlen(p->channel));
    char sql[160];
    int len = name ? snprintf(sql, sizeof(sql), "LISTEN %s", name) : -1;

    PQfreemem(name);
    if (len < 0 || (size_t)len >= sizeof(sql))
        return ERR_BUG;
    p->missed = true;
    return postgres_exchange(p, sql, until_us, NULL);
}

enum err postgres_connect(struct db_postgres *p)
{
    int64_t ms = p->settings.connect_ms, until_us;
    enum err err;

    if (ms == DB_NO_LIMIT || (p->patience_ms != DB_NO_LIMIT && p->patience_ms < ms))
        ms = p->patience_ms;
    until_us = postgres_until_us(ms);
    p->generation++;
    err = connection_open(p, until_us);
    if (err == ERR_OK)
        err = session_begin(p, until_us);
    if (err == ERR_OK)
        err = session_limits(p, until_us);
    if (err == ERR_OK && p->channel)
        err = p->pooled ? ERR_REFUSED : session_listen(p, until_us);
    if (err != ERR_OK && p->conn)
        (void)postgres_give_up(p, err);
    return err;
}

/* --- again ----------------------------------------------------------------------------------- */

/* Refused now is no verdict on what is asked for: somebody may be changing a password. */
static enum err reconnect(struct db_postgres *p)
{
    enum err err;

    if (clock_boot_us(clock_real()) < p->retry_at_us)
        return ERR_UNREACHABLE;
    err = postgres_connect(p);
    if (err == ERR_OK) {
        p->pause_ms = 0;
        return ERR_OK;
    }
    p->pause_ms = p->pause_ms == 0 ? PAUSE_MIN_MS : p->pause_ms * 2;
    if (p->pause_ms > PAUSE_MAX_MS)
        p->pause_ms = PAUSE_MAX_MS;
    p->retry_at_us = postgres_until_us(p->pause_ms / 2) +
                     (int64_t)random_below(random_real(), (uint64_t)(p->pause_ms / 2) * US_PER_MS);
    return err_retriable(err) || err == ERR_STOPPED ? err : ERR_UNREACHABLE;
}

/* One that was closed while nothing was asked, by a server that went down or a pooler, can be
 * replaced without anybody noticing. */
static bool was_closed(const struct db_postgres *p)
{
    struct pollfd fd = {.fd = PQsocket(p->conn), .events = POLLIN};

    for (int i = 0; i < 3 && poll(&fd, 1, 0) > 0; i++)
        if (!PQconsumeInput(p->conn))
            return true;
    return PQstatus(p->conn) != CONNECTION_OK;
}

enum err postgres_ready(struct db_postgres *p)
{
    uint64_t count;

    if (atomic_exchange(&p->interrupted, false)) /* nothing was running */
        (void)!read(p->interrupt_fd, &count, sizeof(count));
    if (p->begun)
        return p->broken;
    if (p->conn && was_closed(p))
        (void)postgres_give_up(p, ERR_UNREACHABLE);
    return p->conn ? ERR_OK : reconnect(p);
}
