/* db_postgres_wire.c: round trips to PostgreSQL, each with an end in time, and what errors mean. */
#include "base/db_postgres.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define LOOK_MS 250 /* between two looks at when all is to end */

/* --- errors ---------------------------------------------------------------------------------- */

static void mask(char *text, const char *secret)
{
    size_t len = secret ? strlen(secret) : 0;

    for (char *at = text; len > 0 && (at = strstr(at, secret)); at += len)
        memset(at, '*', len);
}

void postgres_say(struct db_postgres *p, const char *words, const char *detail, const char *state)
{
    char *why = p->db.why;
    size_t len;

    snprintf(why, DB_WHY_MAX, "%s%s%s", words ? words : "", detail ? "; " : "",
             detail ? detail : "");
    for (len = strlen(why); len > 0 && strchr(" \n", why[len - 1]); len--)
        why[len - 1] = '\0';
    if (state)
        snprintf(why + len, DB_WHY_MAX - len, " (SQLSTATE %s)", state);
    for (char *at = why; (at = strpbrk(at, "\n\t"));)
        *at = ' ';
    mask(why, p->password);
    mask(why, p->conn ? PQpass(p->conn) : NULL);
}

enum err postgres_err_of(const struct db_postgres *p, const char *state)
{
    static const struct {
        const char *prefix;
        enum err err;
    } MEANING[] = {
        {"23", ERR_CONFLICT},     {"40003", ERR_UNREACHABLE}, {"40", ERR_BUSY},
        {"55P03", ERR_BUSY},      {"57014", ERR_BUSY},        {"08P01", ERR_BUG},
        {"08", ERR_UNREACHABLE},  {"57P", ERR_UNREACHABLE},   {"53100", ERR_NO_SPACE},
        {"53200", ERR_NO_MEMORY}, {"53", ERR_BUSY},           {"58", ERR_IO},
        {"XX001", ERR_CORRUPT},   {"XX002", ERR_CORRUPT},     {"28", ERR_REFUSED},
        {"3D000", ERR_REFUSED},   {"25P03", ERR_UNREACHABLE},
    };

    if (strcmp(state, "25006") == 0) /* read only: a standby, unless that was our wish */
        return p->settings.mode == DB_READ ? ERR_BUG : ERR_UNREACHABLE;
    for (size_t i = 0; i < sizeof(MEANING) / sizeof(*MEANING); i++)
        if (strncmp(state, MEANING[i].prefix, strlen(MEANING[i].prefix)) == 0)
            return MEANING[i].err;
    return ERR_BUG;
}

enum err postgres_give_up(struct db_postgres *p, enum err err)
{
    PQfinish(p->conn);
    p->conn = NULL;
    if (p->begun && p->broken == ERR_OK)
        p->broken = err;
    return err;
}

/* --- waiting --------------------------------------------------------------------------------- */

int64_t postgres_until_us(int64_t ms)
{
    return ms == DB_NO_LIMIT ? TIME_NEVER : clock_boot_us(clock_real()) + ms * US_PER_MS;
}

/* The end may be set while somebody waits. */
static int64_t left_until_us(const struct db_postgres *p, int64_t until_us)
{
    int64_t end_us = p->settings.end_boot_us ? atomic_load(p->settings.end_boot_us) : TIME_NEVER;
    int64_t first_us = end_us < until_us ? end_us : until_us;

    return first_us == TIME_NEVER ? TIME_NEVER : first_us - clock_boot_us(clock_real());
}

enum err postgres_poll(struct db_postgres *p, short events, int wake_fd, int64_t until_us)
{
    struct pollfd fds[] = {
        {.fd = p->conn ? PQsocket(p->conn) : -1, .events = events},
        {.fd = p->interrupt_fd, .events = POLLIN},
        {.fd = wake_fd, .events = POLLIN},
    };

    for (;;) {
        int64_t left_us = left_until_us(p, until_us);
        int64_t left_ms = left_us / US_PER_MS + 1;
        int ready = poll(fds, 3, left_us <= 0 ? 0 : (int)(left_ms < LOOK_MS ? left_ms : LOOK_MS));

        if (ready < 0 && errno != EINTR)
            return ERR_IO;
        if (ready > 0 && fds[1].revents)
            return ERR_STOPPED;
        if (ready > 0)
            return ERR_OK;
        if (left_us <= 0)
            return ERR_UNREACHABLE;
    }
}

/* Sends what is left and receives until one more answer is complete. */
static enum err one_answer(struct db_postgres *p, int64_t until_us)
{
    int unsent;

    while ((unsent = PQflush(p->conn)) != 0 || PQisBusy(p->conn)) {
        enum err err;

        if (unsent < 0)
            return postgres_say(p, PQerrorMessage(p->conn), NULL, NULL), ERR_UNREACHABLE;
        err = postgres_poll(p, unsent ? POLLIN | POLLOUT : POLLIN, -1, until_us);
        if (err != ERR_OK)
            return postgres_say(p, err == ERR_STOPPED ? err_text(err) : "no answer in time", NULL,
                                NULL),
                   err;
        if (!PQconsumeInput(p->conn))
            return postgres_say(p, PQerrorMessage(p->conn), NULL, NULL), ERR_UNREACHABLE;
    }
    return ERR_OK;
}

/* What one answer says. *gone: the connection is of no use any more. */
static enum err answer_err(struct db_postgres *p, const PGresult *r, bool *gone)
{
    const char *state, *severity;
    enum err err;

    switch (PQresultStatus(r)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        return ERR_OK;
    case PGRES_FATAL_ERROR:
        break;
    default: /* COPY, an empty text */
        postgres_say(p, PQresStatus(PQresultStatus(r)), NULL, NULL);
        *gone = true;
        return ERR_BUG;
    }
    state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    if (!state) {
        postgres_say(p, PQresultErrorMessage(r), NULL, NULL);
        *gone = true;
        return ERR_UNREACHABLE;
    }
    postgres_say(p, PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY),
                 PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL), state);
    err = postgres_err_of(p, state);
    severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    *gone = err == ERR_UNREACHABLE || (severity && strcmp(severity, "ERROR") != 0);
    return *gone && err == ERR_BUG ? ERR_UNREACHABLE : err;
}

/* Only the first error counts: the rest come of it. */
static enum err answers(struct db_postgres *p, int64_t until_us, bool *gone, PGresult **last)
{
    enum err err = ERR_OK;

    for (;;) {
        enum err waited = one_answer(p, until_us);
        PGresult *r = NULL;

        if (waited != ERR_OK) {
            *gone = true;
            return err == ERR_OK ? waited : err;
        }
        r = PQgetResult(p->conn);
        if (!r)
            return err;
        if (err == ERR_OK)
            err = answer_err(p, r, gone);
        if (*last && PQresultStatus(*last) == PGRES_TUPLES_OK &&
            PQresultStatus(r) != PGRES_TUPLES_OK) {
            PQclear(r);
        } else {
            PQclear(*last);
            *last = r;
        }
        if (*gone)
            return err;
    }
}

enum err postgres_await(struct db_postgres *p, int64_t until_us, PGresult **out)
{
    PGresult *last = NULL;
    bool gone = false;
    enum err err = answers(p, until_us, &gone, &last);

    if (err == ERR_OK && !last)
        err = ERR_BUG;
    if (gone || PQstatus(p->conn) != CONNECTION_OK) {
        (void)postgres_give_up(p, err == ERR_OK ? ERR_UNREACHABLE : err);
    } else {
        p->begun = PQtransactionStatus(p->conn) != PQTRANS_IDLE;
        p->broken = p->begun ? err : ERR_OK;
    }
    if (err != ERR_OK || !out)
        PQclear(last);
    else
        *out = last;
    return err;
}

enum err postgres_exchange(struct db_postgres *p, const char *sql, int64_t until_us, PGresult **out)
{
    if (p->hook)
        p->hook(p->hook_ctx, sql);
    if (!PQsendQuery(p->conn, sql)) {
        postgres_say(p, PQerrorMessage(p->conn), NULL, NULL);
        return postgres_give_up(p, ERR_UNREACHABLE);
    }
    return postgres_await(p, until_us, out);
}

enum err postgres_run(struct db_postgres *p, const char *sql, PGresult **out)
{
    enum err err = postgres_ready(p);

    return err == ERR_OK ? postgres_exchange(p, sql, postgres_until_us(p->patience_ms), out) : err;
}
