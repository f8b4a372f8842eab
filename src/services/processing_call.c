#include "services/processing_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "billing/journal.h"
#include "http/problem.h"

/* ---- from a request, and to a reply ---- */

/* It becomes a part of links: letters, digits, and what addresses and ports are made of. */
static bool host_valid(const char *host)
{
    return *host && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "0123456789.-_:[]") == strlen(host);
}

struct sim_call *call_make(const struct http_request *request)
{
    struct sim_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    str_init(&call->texts, CALL_TEXTS_MAX);
    str_init(&call->reply, CALL_REPLY_MAX);
    call->body = malloc(request->body_len + 1);
    if (!call->body) {
        call_free(call);
        return NULL;
    }
    if (request->body_len > 0)
        memcpy(call->body, request->body, request->body_len);
    call->body[request->body_len] = '\0';
    call->body_len = request->body_len;
    call->server = request->server;
    call->token = request->token;
    call->method = request->method;
    int keys = 0;
    const char *host = http_header(request, "Host", NULL);
    const char *key = http_header(request, "Idempotency-Key", &keys);
    if (!host || !host_valid(host) || !text_copy(call->host, sizeof call->host, host))
        (void)text_copy(call->host, sizeof call->host, "127.0.0.1");
    if (key && keys == 1)
        (void)text_copy(call->idempotency_key, sizeof call->idempotency_key, key);
    /* What does not fit is no path of ours. */
    (void)text_copy(call->path, sizeof call->path, request->path);
    (void)text_copy(call->query, sizeof call->query, request->query);
    return call;
}

void call_free(struct sim_call *call)
{
    if (!call)
        return;
    str_release(&call->texts);
    str_release(&call->reply);
    free(call->body);
    free(call);
}

void call_text(struct sim_call *call, int status, const char *content_type, const char *text)
{
    str_clear(&call->reply);
    str_add(&call->reply, text);
    call->status = status;
    call->reply_type = content_type;
}

void call_problem(struct sim_call *call, int status, const char *detail)
{
    str_clear(&call->reply);
    problem_format(&call->reply, status, detail, NULL, 0);
    call->status = status;
    call->reply_type = "application/problem+json";
}

void call_send(const struct sim_call *call)
{
    struct http_response response = {
        .status = call->status,
        .content_type = call->reply_type,
        .body = call->reply.data,
        .body_len = call->reply.len,
    };
    size_t headers = 0;
    if (call->status == 405 && call->reply_allow)
        response.headers[headers++] = (struct http_header){"Allow", call->reply_allow};
    if (call->status == 503)
        response.headers[headers++] = (struct http_header){"Retry-After", "1"};
    if (call->reply_type && strncmp(call->reply_type, "text/html", 9) == 0)
        response.headers[headers++] = (struct http_header){
            "Content-Security-Policy", "default-src 'none'; form-action 'self'"};
    (void)http_reply(call->server, call->token, &response); /* who gave up is not waited for */
}

/* ---- the body of a transaction ---- */

/* The first member that is missing or not what it should be; NULL: all is well. What is taken here becomes a line of
 * the journal, so it is what a reader of the journal can read. */
static const char *transaction_read(const struct json *doc, struct call_transaction *out)
{
    struct journal_entry line = {0};
    const struct json *method = json_member(doc, "payment_method");
    const char *bad = journal_request_read(doc, &line);
    if (bad)
        return bad + strlen("request.");
    if (method && !json_is_null(method) && !json_text(method))
        return "payment_method";
    *out = (struct call_transaction){.payment_id = line.request.payment_id,
                                     .user_id = line.request.user_id,
                                     .refund_of = line.request.refund_of,
                                     .money = line.money};
    return NULL;
}

/* A line has it one level deeper. */
static bool too_deep(const struct sim_call *call)
{
    int opened = 0;
    for (size_t i = 0; i < call->body_len; i++)
        opened += call->body[i] == '{' || call->body[i] == '[';
    return opened >= JSON_DEPTH_MAX;
}

static bool call_read_transaction(struct sim_call *call)
{
    char why[128], detail[192];
    struct json *doc = json_parse(call->body, call->body_len, why, sizeof why);
    const char *bad = doc && json_is_object(doc) ? transaction_read(doc, &call->transaction) : "";
    json_free(doc);
    if (!doc)
        (void)snprintf(detail, sizeof detail, "not JSON: %s", why);
    else if (bad && !*bad)
        (void)snprintf(detail, sizeof detail, "not a JSON object");
    else if (bad)
        (void)snprintf(detail, sizeof detail, "%s is missing or not acceptable", bad);
    else if (too_deep(call))
        (void)snprintf(detail, sizeof detail, "nested too deep");
    else
        return true;
    call_problem(call, 400, detail);
    return false;
}

static void call_read_execute(struct sim_call *call)
{
    struct uuid key;
    if (!call_read_transaction(call))
        return;
    if (!call->idempotency_key[0])
        call_problem(call, 400, "Idempotency-Key is missing, repeated or no UUID");
    else if (!uuid_parse(call->idempotency_key, strlen(call->idempotency_key), &key) ||
             !uuid_equal(&key, &call->transaction.payment_id))
        call_problem(call, 422, "Idempotency-Key is not the payment_id");
    else
        call->verb = CALL_EXECUTE;
    call->key = call->transaction.payment_id;
}

static void call_read_void(struct sim_call *call)
{
    if (!call_read_transaction(call))
        return;
    if (uuid_equal(&call->key, &call->transaction.payment_id))
        call->verb = CALL_VOID;
    else
        call_problem(call, 422, "the key is not the payment_id");
}

/* ---- other parameters ---- */

/* name=value&name=value; false when it is not there or does not fit. No value of ours needs escapes. */
static bool form_value(const char *form, const char *name, char *out, size_t cap)
{
    size_t name_len = strlen(name);
    while (*form) {
        size_t len = strcspn(form, "&");
        if (len > name_len && strncmp(form, name, name_len) == 0 && form[name_len] == '=')
            return text_copy_n(out, cap, form + name_len + 1, len - name_len - 1);
        form += len + (form[len] == '&');
    }
    return false;
}

static void call_read_journal(struct sim_call *call)
{
    char text[24];
    call->after = 0;
    call->limit = SIMULATOR_PAGE_MAX;
    if (form_value(call->query, "after", text, sizeof text) &&
        !text_i64(text, 0, INT64_MAX, &call->after))
        call_problem(call, 422, "after is not a position");
    else if (form_value(call->query, "limit", text, sizeof text) &&
             !text_i64(text, 1, SIMULATOR_PAGE_MAX, &call->limit))
        call_problem(call, 422, "limit is not between 1 and 10000");
    else
        call->verb = CALL_JOURNAL;
}

static void call_read_payer(struct sim_call *call)
{
    char result[16];
    if (!form_value(call->body, "result", result, sizeof result) ||
        (strcmp(result, "success") != 0 && strcmp(result, "decline") != 0)) {
        call_problem(call, 422, "result is neither success nor decline");
        return;
    }
    call->payer_pays = strcmp(result, "success") == 0;
    call->verb = CALL_PAYER_END;
}

/* ---- routes ---- */

enum route {
    ROUTE_EXECUTE,
    ROUTE_INSTANCE,
    ROUTE_JOURNAL,
    ROUTE_TRANSACTION,
    ROUTE_VOID,
    ROUTE_PAY,
    ROUTE_NONE,
};
static const struct {
    const char *before, *after; /* of the key; after NULL: there is none in it */
    bool gets, posts;
} ROUTES[] = {
    [ROUTE_EXECUTE] = {"/execute_transaction", NULL, true, true},
    [ROUTE_INSTANCE] = {"/instance", NULL, true, false},
    [ROUTE_JOURNAL] = {"/transactions", NULL, true, false},
    [ROUTE_TRANSACTION] = {"/transactions/", "", true, false},
    [ROUTE_VOID] = {"/transactions/", "/void", false, true},
    [ROUTE_PAY] = {"/pay/", "", true, true},
};

static bool route_matches(const char *path, size_t len, enum route route, struct uuid *key)
{
    const char *before = ROUTES[route].before, *after = ROUTES[route].after;
    size_t before_len = strlen(before), after_len = after ? strlen(after) : 0;
    if (!after)
        return len == before_len && strncmp(path, before, len) == 0;
    return len == before_len + UUID_TEXT - 1 + after_len &&
           strncmp(path, before, before_len) == 0 &&
           strncmp(path + len - after_len, after, after_len) == 0 &&
           uuid_parse(path + before_len, UUID_TEXT - 1, key);
}

static enum route route_find(struct sim_call *call)
{
    size_t len = strlen(call->path);
    if (len > 1 && call->path[len - 1] == '/')
        len--;
    for (enum route route = 0; route < ROUTE_NONE; route++)
        if (route_matches(call->path, len, route, &call->key))
            return route;
    return ROUTE_NONE;
}

static void call_read_get(struct sim_call *call, enum route route)
{
    switch (route) {
    case ROUTE_EXECUTE:
        call->verb = CALL_LUCK;
        break;
    case ROUTE_INSTANCE:
        call->verb = CALL_INSTANCE;
        break;
    case ROUTE_JOURNAL:
        call_read_journal(call);
        break;
    case ROUTE_TRANSACTION:
        call->verb = CALL_ASK;
        break;
    case ROUTE_PAY:
        call->verb = CALL_PAYER_LOOK;
        break;
    case ROUTE_VOID:
    case ROUTE_NONE:
        break;
    }
}

static void call_read_post(struct sim_call *call, enum route route)
{
    if (route == ROUTE_EXECUTE)
        call_read_execute(call);
    else if (route == ROUTE_VOID)
        call_read_void(call);
    else
        call_read_payer(call);
}

void call_read(struct sim_call *call)
{
    enum route route = route_find(call);
    call->verb = CALL_NONE;
    if (route == ROUTE_NONE) {
        call_problem(call, 404, "no such path");
    } else if (call->method == HTTP_GET && ROUTES[route].gets) {
        call_read_get(call, route);
    } else if (call->method == HTTP_POST && ROUTES[route].posts) {
        call_read_post(call, route);
    } else {
        call_problem(call, 405, "not with this method");
        call->reply_allow = !ROUTES[route].posts ? "GET"
                            : ROUTES[route].gets ? "GET, POST"
                                                 : "POST";
    }
}

bool call_needs_journal(const struct sim_call *call)
{
    return call->verb > CALL_INSTANCE;
}

bool call_may_fault(const struct sim_call *call)
{
    return call->verb == CALL_EXECUTE || call->verb == CALL_VOID;
}
