#include "cli/audit_journal.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "http/client.h"

#define PAGE_BYTES_MAX (64 * 1024 * 1024) /* 10,000 lines of 6 KiB */
#define LINE_BYTES_MAX (1024 * 1024)
#define PATH_ROOM (CONFIG_TEXT + 32)

typedef enum err each_fn(void *to, const struct journal_line *line);

static enum err line_take(struct audit_journal *j, const char *text, size_t len, each_fn *each,
                          void *to, int64_t *seq)
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
    each_fn *each;
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

/* Pages until an empty one. */
static enum err http_read(const char *base, struct page *p)
{
    const struct config *c = p->journal->config;
    char url[CONFIG_TEXT + 64], authorization[CONFIG_TEXT + 32];
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", c->processing_token);
    do {
        snprintf(url, sizeof url, "%s/transactions?after=%lld", base, (long long)p->seq);
        struct http_call_out call = {.method = "GET",
                                     .url = url,
                                     .timeout_ms = c->processing_timeout_ms,
                                     .answer_max = PAGE_BYTES_MAX};
        if (c->processing_token[0] != '\0')
            call.headers[0] = authorization;
        p->lines = 0;
        enum err err = http_call_once(&call, page_take, p);
        if (err != ERR_OK) {
            snprintf(p->journal->why, sizeof p->journal->why, "%s: %s", base, err_text(err));
            return err;
        }
    } while (p->err == ERR_OK && p->lines > 0);
    return p->err;
}

static bool simulator_url(const struct config *c, char *out, size_t cap)
{
    char host[CONFIG_TEXT];
    int port;
    if (!config_split_address(c->processing_listen, host, sizeof host, &port) || port == 0)
        return false;
    const char *name = host[0] == '\0' ? "127.0.0.1" : host;
    int len = strchr(name, ':') != NULL ? snprintf(out, cap, "http://[%s]:%d", name, port)
                                        : snprintf(out, cap, "http://%s:%d", name, port);
    return len > 0 && (size_t)len < cap;
}

/* ---- from the simulator's file ---- */

static enum err rows_read(struct audit_journal *j, struct db *db, each_fn *each, void *to)
{
    struct str text;
    struct query q;
    int64_t seq = 0;
    str_init(&text, LINE_BYTES_MAX);
    query_open(&q, db, "SELECT seq, key, request, answer FROM journal ORDER BY seq");
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

/* ERR_NOT_FOUND: there is no such file. */
static enum err file_read(struct audit_journal *j, each_fn *each, void *to)
{
    char path[PATH_ROOM], why[160];
    struct db *db;
    snprintf(path, sizeof path, "%s/processing.db", j->config->data_dir);
    enum err err = db_open(&db, path, DB_READ, why, sizeof why);
    if (err != ERR_OK) {
        snprintf(j->why, sizeof j->why, "processing.db: %s", why);
        return err;
    }
    err = rows_read(j, db, each, to);
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
    enum err of_file = file_read(j, p->each, p->to);
    if (of_file != ERR_NOT_FOUND)
        return of_file;
    memcpy(j->why, why, sizeof why);
    return err;
}

static enum err simulator_read(struct audit_journal *j, struct page *p)
{
    char base[CONFIG_TEXT + 16];
    enum err err = file_read(j, p->each, p->to);
    if (err != ERR_NOT_FOUND)
        return err;
    j->why[0] = '\0';
    if (simulator_url(j->config, base, sizeof base)) {
        err = http_read(base, p);
        if (err == ERR_OK || p->status == 200)
            return err;
    }
    if (j->nothing_sent)
        return ERR_OK;
    snprintf(j->why, sizeof j->why,
             "PROCESSOR is unset, DATA_DIR has no processing.db, %.100s does not answer",
             j->config->processing_listen);
    return ERR_UNREACHABLE;
}

static enum err journal_read(void *ctx, each_fn *each, void *to)
{
    struct audit_journal *j = ctx;
    struct page p = {.journal = j, .each = each, .to = to, .err = ERR_OK};
    j->why[0] = '\0';
    if (j->config->processor[0] != '\0')
        return processor_read(j, &p);
    if (!j->config->prod)
        return simulator_read(j, &p);
    if (j->nothing_sent)
        return ERR_OK;
    snprintf(j->why, sizeof j->why, "PROCESSOR is unset");
    return ERR_UNREACHABLE;
}

static const char *journal_why(void *ctx)
{
    const struct audit_journal *j = ctx;
    return j->why;
}

struct journal_source audit_journal_source(struct audit_journal *j)
{
    return (struct journal_source){.read = journal_read, .why = journal_why, .ctx = j};
}
