/* db_postgres_query.c: statements and values of PostgreSQL. Values travel as text, arrays with elements in binary. */
#include "base/db_postgres.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/times.h"

#define VALUES_MAX (64 << 20)  /* bytes of one statement's parameters */
#define VALUES_KEPT (64 << 10) /* more than this is given back after use */

#define SECONDS_TEXT 19 /* "2026-11-24 09:44:56" */

struct postgres_statement {
    struct statement statement;
    char *text;          /* as it was given */
    char *sql;           /* with $N */
    bool kept;           /* else it is not worth a name */
    uint64_t generation; /* of the connection that knows it by its name */
    char name[24];
    /* of one use */
    struct str values; /* each with a NUL behind it */
    size_t at[DB_PARAMETERS_MAX];
    bool null[DB_PARAMETERS_MAX];
    int binary[DB_PARAMETERS_MAX]; /* libpq's format: 0 is text */
    int len[DB_PARAMETERS_MAX];    /* of a binary one */
    PGresult *result;              /* NULL: has not run */
    int row;
};

static struct postgres_statement *statement_of(const struct query *q)
{
    return q->statement;
}

/* --- statements ------------------------------------------------------------------------------ */

/* Behind what is quoted or a comment; at itself when it is neither. */
static const char *skip_quoted(const char *at)
{
    const char *end = NULL;

    if (*at == '\'' || *at == '"')
        end = strchr(at + 1, *at);
    else if (strncmp(at, "--", 2) == 0)
        end = strchr(at, '\n');
    else if (strncmp(at, "/*", 2) == 0 && (end = strstr(at + 2, "*/")))
        end++;
    else
        return at;
    return end ? end + 1 : at + strlen(at);
}

/* ?N to $N. */
static char *translate(const char *text)
{
    char *sql = strdup(text);

    for (char *at = sql; at && *at;) {
        char *behind = sql + (skip_quoted(at) - sql);

        if (behind != at) {
            at = behind;
            continue;
        }
        if (*at == '?' && at[1] >= '1' && at[1] <= '9')
            *at = '$';
        at++;
    }
    return sql;
}

enum err postgres_statement_make(struct db *db, const char *sql, bool kept, struct statement **out)
{
    struct postgres_statement *s = calloc(1, sizeof(*s));

    (void)db;
    if (!s)
        return ERR_NO_MEMORY;
    str_init(&s->values, VALUES_MAX);
    s->kept = kept;
    s->text = strdup(sql);
    s->sql = translate(sql);
    if (!s->text || !s->sql) {
        postgres_statement_free(&s->statement);
        return ERR_NO_MEMORY;
    }
    *out = &s->statement;
    return ERR_OK;
}

bool postgres_statement_is(const struct statement *s, const char *sql)
{
    return strcmp(((const struct postgres_statement *)s)->text, sql) == 0;
}

void postgres_statement_free(struct statement *statement)
{
    struct postgres_statement *s = (struct postgres_statement *)statement;

    PQclear(s->result);
    str_release(&s->values);
    free(s->text);
    free(s->sql);
    free(s);
}

/* --- parameters ------------------------------------------------------------------------------ */

static enum err value_begin(struct query *q)
{
    struct postgres_statement *s = statement_of(q);

    if (q->bound > DB_PARAMETERS_MAX)
        return ERR_BUG;
    s->at[q->bound - 1] = s->values.len;
    s->null[q->bound - 1] = false;
    s->binary[q->bound - 1] = 0;
    return ERR_OK;
}

static enum err value_end(struct query *q)
{
    struct postgres_statement *s = statement_of(q);

    str_add_bytes(&s->values, "", 1);
    return s->values.failed ? ERR_NO_MEMORY : ERR_OK;
}

enum err postgres_bind_text(struct query *q, const char *text, size_t len)
{
    enum err err = value_begin(q);

    if (err != ERR_OK)
        return err;
    if (!text)
        statement_of(q)->null[q->bound - 1] = true;
    else if (memchr(text, '\0', len))
        return postgres_say(postgres_of(q->db), "a text has a NUL inside", NULL, NULL), ERR_INVALID;
    else
        str_add_bytes(&statement_of(q)->values, text, len);
    return value_end(q);
}

enum err postgres_bind_i64(struct query *q, int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%" PRId64, value);

    return postgres_bind_text(q, text, (size_t)len);
}

enum err postgres_bind_blob(struct query *q, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    enum err err = value_begin(q);

    if (err != ERR_OK)
        return err;
    if (!bytes)
        return postgres_bind_text(q, NULL, 0);
    str_add(&statement_of(q)->values, "\\x");
    for (size_t i = 0; i < len; i++) {
        char hex[] = {"0123456789abcdef"[at[i] >> 4], "0123456789abcdef"[at[i] & 15]};

        str_add_bytes(&statement_of(q)->values, hex, 2);
    }
    return value_end(q);
}

enum err postgres_bind_binary(struct query *q, const struct span *parts, size_t count)
{
    struct postgres_statement *s = statement_of(q);
    enum err err = value_begin(q);

    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < count; i++)
        str_add_bytes(&s->values, parts[i].data, parts[i].len);
    s->binary[q->bound - 1] = 1;
    s->len[q->bound - 1] = (int)(s->values.len - s->at[q->bound - 1]); /* below VALUES_MAX */
    return value_end(q);
}

/* --- running --------------------------------------------------------------------------------- */

static enum err sent(struct db_postgres *p, int ok, PGresult **out)
{
    if (!ok) {
        postgres_say(p, PQerrorMessage(p->conn), NULL, NULL);
        return postgres_give_up(p, ERR_UNREACHABLE);
    }
    return postgres_await(p, postgres_until_us(p->patience_ms), out);
}

static enum err prepare(struct db_postgres *p, struct postgres_statement *s)
{
    enum err err;

    if (s->generation == p->generation)
        return ERR_OK;
    snprintf(s->name, sizeof(s->name), "s%" PRIu64, ++p->names);
    err = sent(p, PQsendPrepare(p->conn, s->name, s->sql, 0, NULL), NULL);
    if (err == ERR_OK)
        s->generation = p->generation;
    return err;
}

/* A migration changed what it answers, or somebody forgot it: it has to be prepared again, and in
 * the transaction that is broken now it cannot be. */
static bool outdated(const struct db_postgres *p)
{
    return strstr(p->db.why, "(SQLSTATE 0A000)") || strstr(p->db.why, "(SQLSTATE 26000)");
}

static enum err execute(struct query *q)
{
    struct db_postgres *p = postgres_of(q->db);
    struct postgres_statement *s = statement_of(q);
    const char *values[DB_PARAMETERS_MAX];
    bool named;
    enum err err = postgres_ready(p);

    for (int i = 0; i < q->bound; i++)
        values[i] = s->null[i] ? NULL : s->values.data + s->at[i];
    named = s->kept && !p->pooled;
    if (err == ERR_OK && named)
        err = prepare(p, s);
    if (err != ERR_OK)
        return err;
    if (p->hook)
        p->hook(p->hook_ctx, s->text);
    err =
        named
            ? sent(p, PQsendQueryPrepared(p->conn, s->name, q->bound, values, s->len, s->binary, 0),
                   &s->result)
            : sent(p,
                   PQsendQueryParams(p->conn, s->sql, q->bound, NULL, values, s->len, s->binary, 0),
                   &s->result);
    if (err == ERR_BUG && named && outdated(p)) {
        s->generation = 0;
        err = p->broken = ERR_BUSY;
    }
    if (err == ERR_OK && *PQcmdTuples(s->result) &&
        strncmp(PQcmdStatus(s->result), "SELECT", 6) != 0)
        p->changes = strtoll(PQcmdTuples(s->result), NULL, 10);
    return err;
}

/* --- rows ------------------------------------------------------------------------------------ */

/* "2026-11-24 09:44:56.12+00" becomes "2026-11-24T09:44:56.120000Z"; other forms of years and zones stay. */
static void column_to_stored(PGresult *r, int row, int column)
{
    char stored[TIME_TEXT] = "0000-00-00T00:00:00.000000Z";
    const char *value = PQgetvalue(r, row, column);
    size_t len = (size_t)PQgetlength(r, row, column), known = len - 3; /* without the zone */

    if (len < SECONDS_TEXT + 3 || known > TIME_TEXT - 2 || value[4] != '-' ||
        strcmp(value + known, "+00") != 0)
        return;
    memcpy(stored, value, known);
    stored[10] = 'T';
    stored[SECONDS_TEXT] = '.';
    (void)PQsetvalue(r, row, column, stored, TIME_TEXT - 1);
}

static enum err row_read_as_sqlite(PGresult *r, int row)
{
    for (int column = 0; column < PQnfields(r); column++) {
        unsigned char *bytes;
        size_t len = 0;

        if (PQgetisnull(r, row, column))
            continue;
        switch (PQftype(r, column)) {
        case TYPE_BOOL:
            *PQgetvalue(r, row, column) = *PQgetvalue(r, row, column) == 't' ? '1' : '0';
            break;
        case TYPE_TIMESTAMPTZ:
            column_to_stored(r, row, column);
            break;
        case TYPE_BYTEA:
            bytes = PQunescapeBytea((unsigned char *)PQgetvalue(r, row, column), &len);
            if (!bytes || !PQsetvalue(r, row, column, (char *)bytes, (int)len))
                return PQfreemem(bytes), ERR_NO_MEMORY;
            PQfreemem(bytes);
            break;
        default:
            break;
        }
    }
    return ERR_OK;
}

enum err postgres_next(struct query *q, bool *row)
{
    struct postgres_statement *s = statement_of(q);
    enum err err = ERR_OK;

    *row = false;
    if (!s->result) {
        err = execute(q);
        s->row = -1;
    }
    if (err != ERR_OK || ++s->row >= PQntuples(s->result))
        return err;
    err = row_read_as_sqlite(s->result, s->row);
    *row = err == ERR_OK;
    return err;
}

enum err postgres_end(struct query *q)
{
    struct postgres_statement *s = statement_of(q);

    PQclear(s->result);
    s->result = NULL;
    if (s->values.cap > VALUES_KEPT)
        str_release(&s->values);
    str_clear(&s->values);
    return q->err;
}

bool postgres_is_null(const struct query *q, int column)
{
    const struct postgres_statement *s = statement_of(q);

    return !s || !s->result || PQgetisnull(s->result, s->row, column);
}

const char *postgres_text(const struct query *q, int column)
{
    return postgres_is_null(q, column)
               ? NULL
               : PQgetvalue(statement_of(q)->result, statement_of(q)->row, column);
}

int64_t postgres_i64(const struct query *q, int column)
{
    const char *text = postgres_text(q, column);

    return text ? strtoll(text, NULL, 10) : 0;
}

const void *postgres_blob(const struct query *q, int column, size_t *len)
{
    const char *bytes = postgres_text(q, column);

    *len = bytes ? (size_t)PQgetlength(statement_of(q)->result, statement_of(q)->row, column) : 0;
    return *len > 0 ? bytes : NULL; /* none for an empty value, as SQLite has it */
}

int postgres_columns(const struct query *q)
{
    return q->statement && statement_of(q)->result ? PQnfields(statement_of(q)->result) : 0;
}

const char *postgres_column_name(const struct query *q, int column)
{
    return q->statement && statement_of(q)->result ? PQfname(statement_of(q)->result, column) : "";
}
