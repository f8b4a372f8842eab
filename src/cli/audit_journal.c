#include "cli/audit_journal.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/processing_url.h"
#include "http/client.h"

#define PAGE_BYTES_MAX (64 * 1024 * 1024) /* 10,000 lines of 6 KiB */
#define LINE_BYTES_MAX (1024 * 1024)
#define PATH_ROOM (CONFIG_TEXT + 32)

static enum err line_take(struct audit_journal *j, const char *text, size_t len,
                          journal_each_fn *each, void *to, int64_t *seq)
{
    struct journal_line line;
    struct json *doc = json_parse(text, len, NULL, 0);
    enum err err = ERR_CORRUPT;
    if (journal_line_parse(doc, &line) && line.seq > *seq) {
        err = each(to, &line);
        *seq = line.seq;
    } else {
        snprintf(j->why, sizeof j->why, "the line behind %lld is no line of a journal",
                 (long long)*seq);
    }
    json_free(doc);
    return err;
}

/* ---- over HTTP ---- */

struct page {
    struct audit_journal *journal;
    journal_each_fn *each;
    void *to;
    int64_t seq; /* of the last line */
    size_t lines;
    int status;
    enum err err;
};

static void page_take(void *ctx, uint64_t token, const struct http_outcome *outcome)
{
    struct page *p = ctx;
    (void)token;
    p->status = outcome->status;
    if (outcome->status != 200) {
        struct audit_journal *j = p->journal;
        bool none = outcome->status == 404 || outcome->status == 501;
        p->err = ERR_UNREACHABLE;
        if (outcome->status == 0)
            snprintf(j->why, sizeof j->why, "no answer: %s", outcome->note ? outcome->note : "");
        else
            snprintf(j->why, sizeof j->why, "%s (%d)",
                     none ? "the processing has no journal" : "not an answer", outcome->status);
        return;
    }
    const char *at = outcome->body, *end = at + outcome->body_len;
    while (at < end && p->err == ERR_OK) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = newline != NULL ? (size_t)(newline - at) : (size_t)(end - at);
        if (len > 0) {
            p->err = line_take(p->journal, at, len, p->each, p->to, &p->seq);
            p->lines++;
        }
        at += len + 1;
    }
}

static enum err http_get(const struct config *c, const char *url, http_client_done *done, void *ctx)
{
    char authorization[CONFIG_TEXT + 32];
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", c->processing_token);
    struct http_call_out call = {.method = "GET",
                                 .url = url,
                                 .timeout_ms = c->processing_timeout_ms,
                                 .answer_max = PAGE_BYTES_MAX};
    if (c->processing_token[0] != '\0')
        call.headers[0] = authorization;
    return http_call_once(&call, done, ctx);
}

static void instance_take(void *ctx, uint64_t token, const struct http_outcome *outcome)
{
    struct audit_journal *j = ctx;
    (void)token;
    if (outcome->status != 200)
        return;
    struct json *doc = json_parse(outcome->body, outcome->body_len, NULL, 0);
    const char *id = json_text(json_member(doc, "instance_id"));
    if (id != NULL)
        (void)text_copy(j->instance, sizeof j->instance, id);
    json_free(doc);
}

/* Not every processing has one. */
static void http_instance(struct audit_journal *j, const char *base)
{
    char url[CONFIG_TEXT + 64];
    snprintf(url, sizeof url, "%s/instance", base);
    j->instance[0] = '\0';
    if (http_get(j->config, url, instance_take, j) != ERR_OK)
        j->instance[0] = '\0';
}

/* Pages until an empty one. */
static enum err http_read(const char *base, struct page *p)
{
    const struct config *c = p->journal->config;
    char url[CONFIG_TEXT + 64];
    (void)text_copy(p->journal->base, sizeof p->journal->base, base);
    do {
        snprintf(url, sizeof url, "%s/transactions?after=%lld", base, (long long)p->seq);
        p->lines = 0;
        enum err err = http_get(c, url, page_take, p);
        if (err != ERR_OK) {
            snprintf(p->journal->why, sizeof p->journal->why, "%s: %s", base, err_text(err));
            return err;
        }
    } while (p->err == ERR_OK && p->lines > 0);
    return p->err;
}

/* ---- from the simulator's file ---- */

static enum err rows_read(struct audit_journal *j, struct db *db, int64_t seq,
                          journal_each_fn *each, void *to)
{
    struct str text;
    struct query q;
    str_init(&text, LINE_BYTES_MAX);
    query_open(&q, db, "SELECT seq, key, request, answer FROM journal WHERE seq > ?1 ORDER BY seq");
    query_bind_i64(&q, seq);
    while (query_next(&q) && q.err == ERR_OK) {
        str_clear(&text);
        json_open(&text, '{');
        json_put_i64(&text, "seq", query_i64(&q, 0));
        json_put_text(&text, "key", query_text(&q, 1));
        json_name(&text, "request");
        json_add_raw(&text, query_text(&q, 2));
        json_name(&text, "answer");
        json_add_raw(&text, query_text(&q, 3));
        json_close(&text, '}');
        enum err err =
            text.failed ? ERR_NO_MEMORY : line_take(j, text.data, text.len, each, to, &seq);
        if (err != ERR_OK)
            q.err = err;
    }
    str_release(&text);
    return query_close(&q);
}

static enum err file_instance(struct audit_journal *j, struct db *db)
{
    struct query q;
    query_open(&q, db, "SELECT 1 FROM sqlite_schema WHERE name = 'meta'");
    bool there = query_next(&q);
    enum err err = query_close(&q);
    if (err != ERR_OK || !there)
        return err;
    query_open(&q, db, "SELECT instance_id FROM meta");
    if (query_next(&q))
        (void)text_copy(j->instance, sizeof j->instance, query_text(&q, 0));
    return query_close(&q);
}

/* ERR_NOT_FOUND: there is no such file. */
static enum err file_read(struct audit_journal *j, int64_t after, journal_each_fn *each, void *to)
{
    char path[PATH_ROOM], why[160];
    struct db *db;
    snprintf(path, sizeof path, "%s/processing.db", j->config->data_dir);
    enum err err = db_open(&db, path, DB_READ, why, sizeof why);
    if (err != ERR_OK) {
        snprintf(j->why, sizeof j->why, "processing.db: %s", why);
        return err;
    }
    j->base[0] = j->instance[0] = '\0';
    err = file_instance(j, db);
    if (err == ERR_OK)
        err = rows_read(j, db, after, each, to);
    if (err != ERR_OK && j->why[0] == '\0')
        snprintf(j->why, sizeof j->why, "processing.db: %s", db_why(db));
    db_close(db);
    return err;
}

/* ---- which ---- */

/* A simulator that was PROCESSOR and is stopped left its file. In prod there is none. */
static enum err processor_read(struct audit_journal *j, struct page *p)
{
    enum err err = http_read(j->config->processor, p);
    if (err == ERR_OK || p->status != 0 || p->seq != 0 || j->config->prod)
        return err;
    char why[sizeof j->why];
    memcpy(why, j->why, sizeof why);
    j->why[0] = '\0';
    enum err of_file = file_read(j, 0, p->each, p->to);
    if (of_file != ERR_NOT_FOUND)
        return of_file;
    memcpy(j->why, why, sizeof why);
    return err;
}

static enum err simulator_read(struct audit_journal *j, struct page *p)
{
    char base[CONFIG_TEXT + 16];
    enum err err = file_read(j, 0, p->each, p->to);
    if (err != ERR_NOT_FOUND)
        return err;
    j->why[0] = '\0';
    if (simulator_url(j->config, base, sizeof base)) {
        err = http_read(base, p);
        if (err == ERR_OK || p->status == 200)
            return err;
    }
    if ((j->absent = j->nothing_sent))
        return ERR_OK;
    snprintf(j->why, sizeof j->why,
             "PROCESSOR is unset, DATA_DIR has no processing.db, %.100s does not answer",
             j->config->processing_listen);
    return ERR_UNREACHABLE;
}

static enum err anywhere_read(struct audit_journal *j, struct page *p)
{
    if (j->config->processor[0] != '\0')
        return processor_read(j, p);
    if (!j->config->prod)
        return simulator_read(j, p);
    if ((j->absent = j->nothing_sent))
        return ERR_OK;
    snprintf(j->why, sizeof j->why, "PROCESSOR is unset");
    return ERR_UNREACHABLE;
}

static enum err journal_read(void *ctx, journal_each_fn *each, void *to)
{
    struct audit_journal *j = ctx;
    struct page p = {.journal = j, .each = each, .to = to, .err = ERR_OK};
    j->why[0] = j->base[0] = j->instance[0] = '\0';
    j->absent = false;
    enum err err = anywhere_read(j, &p);
    if (err == ERR_OK && j->base[0] != '\0')
        http_instance(j, j->base);
    return err;
}

/* From where the first lines came. */
static enum err journal_tail(void *ctx, int64_t after, journal_each_fn *each, void *to)
{
    struct audit_journal *j = ctx;
    struct page p = {.journal = j, .each = each, .to = to, .seq = after, .err = ERR_OK};
    char base[sizeof j->base];
    if (j->absent) /* it may have come meanwhile */
        return anywhere_read(j, &p);
    memcpy(base, j->base, sizeof base);
    return base[0] != '\0' ? http_read(base, &p) : file_read(j, after, each, to);
}

static const char *journal_instance(void *ctx)
{
    const struct audit_journal *j = ctx;
    return j->instance;
}

static const char *journal_why(void *ctx)
{
    const struct audit_journal *j = ctx;
    return j->why;
}

struct journal_source audit_journal_source(struct audit_journal *j)
{
    return (struct journal_source){.read = journal_read,
                                   .tail = journal_tail,
                                   .instance = journal_instance,
                                   .why = journal_why,
                                   .ctx = j};
}
