#include "billing/journal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/times.h"

#define PAGE_ARENA_MAX (4 * (size_t)JOURNAL_PAGE_MAX)
#define TIME_END_US INT64_C(253402300800000000) /* 10000-01-01: the first time that has no text */

static const char NO_MEMORY[] = "no memory";

/* ---- texts ---- */

static bool read_uuid(const struct json *object, const char *name, struct uuid *out)
{
    const char *text = json_text(json_member(object, name));
    return text && uuid_parse(text, strlen(text), out) && !uuid_is_nil(out);
}

static bool read_time(const struct json *v, int64_t *out)
{
    const char *text = json_text(v);
    return text && time_parse(text, strlen(text), out) && *out >= 0 && *out < TIME_END_US;
}

static bool read_money(const struct json *object, struct money *out)
{
    const char *currency = json_text(json_member(object, "currency"));
    return currency && json_i64(json_member(object, "amount"), &out->amount_minor) &&
           text_copy(out->currency, sizeof out->currency, currency) && money_known(out);
}

static bool is_web_link(const char *url)
{
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return false;
    for (const unsigned char *c = (const unsigned char *)url; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || strchr("\"<>\\^`{|}", *c))
            return false;
    return true;
}

static bool is_plain(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < ' ' || *c == 0x7f)
            return false;
    return true;
}

/* What the books cannot keep or show is left out: the answer is definite without it. */
static const char *keep(struct arena *arena, const char *text, size_t max,
                        bool (*good)(const char *))
{
    size_t len = text ? strlen(text) : 0;
    return len == 0 || len > max || !good(text) ? "" : arena_text(arena, text, len);
}

/* ---- the bytes of a member of a line that is known to be JSON ---- */

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *skip_text(const char *at)
{
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : at;
}

static const char *skip_value(const char *at)
{
    int depth = 0;
    do {
        if (*at == '"') {
            at = skip_text(at);
            continue;
        }
        if (depth == 0 && *at != '{' && *at != '[')
            return at + strcspn(at, ",}] \t\r\n"); /* a number, true, false or null */
        depth += *at == '{' || *at == '[';
        depth -= *at == '}' || *at == ']';
        at++;
    } while (depth > 0 && *at);
    return at;
}

/* Top level only; a member's name is written without escapes by whoever keeps to the contract. */
static bool member_bytes(const char *line, const char *name, struct span *out)
{
    size_t name_len = strlen(name);
    const char *at = skip_space(skip_space(line) + 1);
    while (*at == '"') {
        const char *member = at + 1;
        at = skip_text(at);
        bool wanted = (size_t)(at - member) == name_len + 1 && memcmp(member, name, name_len) == 0;
        at = skip_space(at);
        at = skip_space(*at == ':' ? at + 1 : at);
        const char *end = skip_value(at);
        if (wanted) {
            *out = (struct span){at, (size_t)(end - at)};
            return end > at;
        }
        at = skip_space(end);
        if (*at == ',')
            at = skip_space(at + 1);
    }
    return false;
}

/* ---- a line ---- */

const char *journal_request_read(const struct json *request, struct journal_entry *e)
{
    struct request *r = &e->request;
    const char *method = json_text(json_member(request, "payment_method"));
    if (!read_uuid(request, "payment_id", &r->payment_id))
        return "request.payment_id";
    if (!read_uuid(request, "user_id", &r->user_id))
        return "request.user_id";
    if (!payment_type_parse(json_text(json_member(request, "payment_type")), &r->payment_type))
        return "request.payment_type";
    if (!subscription_type_parse(json_text(json_member(request, "subscription_type")),
                                 &r->subscription_type))
        return "request.subscription_type";
    if (!read_time(json_member(request, "requested_at"), &r->requested_at_us))
        return "request.requested_at";
    if (!json_i64(json_member(request, "amount"), &e->money.amount_minor) ||
        e->money.amount_minor < 1 || e->money.amount_minor > MONEY_MINOR_MAX)
        return "request.amount";
    if (!read_money(request, &e->money))
        return "request.currency";
    if (r->payment_type == PAYMENT_TYPE_REFUND && !read_uuid(request, "refund_of", &r->refund_of))
        return "request.refund_of";
    if (method) /* too long: the body has it */
        (void)text_copy(r->payment_method, sizeof r->payment_method, method);
    return NULL;
}

static bool read_result(const struct json *answer, enum learn_answer *out)
{
    static const char *const RESULTS[] = {
        [LEARN_SUCCESS] = "success",
        [LEARN_DECLINE] = "decline",
        [LEARN_ERROR] = "error",
        [LEARN_PENDING] = "pending",
    };
    const char *text = json_text(json_member(answer, "result"));
    for (size_t i = 0; text && i < sizeof RESULTS / sizeof *RESULTS; i++)
        if (strcmp(RESULTS[i], text) == 0) {
            *out = (enum learn_answer)i;
            return true;
        }
    return false;
}

/* An answer about something else is no answer (rule 6). */
static const char *read_answer(const struct json *answer, struct arena *arena,
                               struct journal_entry *e)
{
    const struct json *expires = json_member(answer, "expires_at");
    const char *reason = json_text(json_member(answer, "reason"));
    struct uuid id;
    struct money money;
    if (!read_result(answer, &e->answer))
        return "answer.result";
    if (!read_uuid(answer, "payment_id", &id) || !uuid_equal(&id, &e->request.payment_id))
        return "answer.payment_id";
    if (!read_money(answer, &money) || !money_equal(&money, &e->money))
        return "answer.amount or currency";
    e->expires_at_us = TIME_NEVER;
    if (e->answer == LEARN_PENDING && expires && !json_is_null(expires) &&
        !read_time(expires, &e->expires_at_us))
        return "answer.expires_at";
    e->voided = e->answer == LEARN_ERROR && reason && strcmp(reason, "voided") == 0;
    e->processing_id =
        keep(arena, json_text(json_member(answer, "transaction_id")), JOURNAL_ID_MAX, is_plain);
    e->action_url = e->answer == LEARN_PENDING
                        ? keep(arena, json_text(json_member(answer, "action_url")), JOURNAL_URL_MAX,
                               is_web_link)
                        : "";
    return e->processing_id && e->action_url ? NULL : NO_MEMORY;
}

static const char *read_members(const struct json *doc, const char *line, struct arena *arena,
                                struct journal_entry *e)
{
    struct uuid key;
    struct span body;
    if (!json_is_object(doc))
        return "not a JSON object";
    if (!json_i64(json_member(doc, "seq"), &e->seq) || e->seq < 1)
        return "seq";
    const char *bad = journal_request_read(json_member(doc, "request"), e);
    if (bad)
        return bad;
    if (!read_uuid(doc, "key", &key) || !uuid_equal(&key, &e->request.payment_id))
        return "key";
    if (!member_bytes(line, "request", &body))
        return "request";
    e->body = arena_text(arena, body.data, body.len);
    e->body_len = body.len;
    bad = e->body ? read_answer(json_member(doc, "answer"), arena, e) : NO_MEMORY;
    if (!bad || bad == NO_MEMORY)
        return bad;
    e->answer = LEARN_UNCLEAR;
    e->unclear = bad;
    e->voided = false;
    e->expires_at_us = TIME_NEVER;
    e->processing_id = e->action_url = "";
    return NULL;
}

/* `line` is a text of its own: a NUL inside has been refused. */
static bool read_line(const char *line, size_t len, int64_t after, struct arena *arena,
                      struct journal_entry *e, char *why, size_t why_cap)
{
    char said[128] = "";
    struct json *doc = json_parse(line, len, said, sizeof said);
    const char *bad = doc ? read_members(doc, line, arena, e) : said;
    if (!bad && e->seq <= after)
        bad = "seq is not ascending";
    if (bad && e->seq > 0)
        (void)snprintf(why, why_cap, "journal line %lld: %s", (long long)e->seq, bad);
    else if (bad)
        (void)snprintf(why, why_cap, "journal line behind %lld: %s", (long long)after, bad);
    json_free(doc);
    return bad == NULL;
}

/* ---- a page ---- */

static size_t lines_count(const char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += text[i] == '\n' || i + 1 == len;
    return count;
}

static bool page_read(const char *text, size_t len, size_t lines, struct journal_page *page,
                      char *why, size_t why_cap)
{
    int64_t after = 0;
    struct str line;
    bool good = true;
    str_init(&line, JOURNAL_PAGE_MAX);
    for (size_t at = 0; at < len && good;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = (end ? (size_t)(end - text) : len) - at;
        struct journal_entry *e = &page->entries[page->count];
        str_clear(&line);
        str_add_bytes(&line, text + at, line_len);
        at += line_len + 1;
        if (line.failed) {
            (void)snprintf(why, why_cap, "%s", err_text(ERR_NO_MEMORY));
            good = false;
            break;
        }
        if (strspn(line.data, " \t\r") == line_len)
            continue; /* an empty line says nothing */
        good = page->count < lines &&
               read_line(line.data, line_len, after, &page->arena, e, why, why_cap);
        if (!good) {
            if (e->seq > 0 && e->seq <= after)
                page->count = 0; /* in another order: the position would be led astray */
            break;
        }
        after = e->seq;
        page->count++;
    }
    str_release(&line);
    return good || page->count > 0;
}

bool journal_page_parse(const char *text, size_t len, struct journal_page **out, char *why,
                        size_t why_cap)
{
    struct arena arena;
    size_t lines = lines_count(text, len);
    if (len > JOURNAL_PAGE_MAX || lines > JOURNAL_LINES_MAX) {
        (void)snprintf(why, why_cap, "a page of the journal is too long");
        return false;
    }
    arena_init(&arena, PAGE_ARENA_MAX);
    struct journal_page *page = arena_new(&arena, struct journal_page);
    struct journal_entry *entries = arena_array(&arena, struct journal_entry, lines);
    if (!page || !entries) {
        (void)snprintf(why, why_cap, "%s", err_text(ERR_NO_MEMORY));
        arena_release(&arena);
        return false;
    }
    *page = (struct journal_page){.arena = arena, .entries = entries};
    if (!page_read(text, len, lines, page, why, why_cap)) {
        journal_page_free(page);
        return false;
    }
    *out = page;
    return true;
}

void journal_page_free(struct journal_page *page)
{
    if (!page)
        return;
    struct arena arena = page->arena; /* the page lives in it */
    arena_release(&arena);
}
