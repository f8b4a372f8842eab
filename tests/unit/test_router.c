/* From requests to checked calls, in the order of the contract's checks. No sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "http/gate.h"
#include "http/pages.h"
#include "http/router.h"

#define USER "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
#define ID "0198a1f0-7c1e-7a58-9c56-3f1f0a7b2d11"
#define NOW_US (INT64_C(1800000000) * US_PER_S)
#define JSON                                                                                       \
    {                                                                                              \
        "Content-Type", "application/json"                                                         \
    }
#define HEADERS_MAX 8

static const char *const TYPES[] = {"payment", "refund", NULL};
static const char *const LENGTHS[] = {"month", "three_months", "year", NULL};
static const struct api_param CREATE[] = {
    {.name = "type",
     .in = API_QUERY,
     .also_body = true,
     .required = true,
     .form = API_ENUM,
     .values = TYPES},
    {.name = "length",
     .in = API_QUERY,
     .also_body = true,
     .required = true,
     .form = API_ENUM,
     .values = LENGTHS},
    {.name = "Key",
     .in = API_HEADER,
     .form = API_STRING,
     .min_len = 1,
     .max_len = 255,
     .visible_ascii = true},
    {.name = "method",
     .in = API_BODY,
     .form = API_STRING,
     .min_len = 1,
     .max_len = 5,
     .secret = true},
};
static const struct api_param LIST[] = {
    {.name = "limit",
     .in = API_QUERY,
     .form = API_INTEGER,
     .min = 1,
     .max = 100,
     .has_default = true,
     .default_number = 20},
    {.name = "on", .in = API_QUERY, .form = API_DATE},
    {.name = "from", .in = API_QUERY, .form = API_TIME},
    {.name = "active", .in = API_QUERY, .form = API_BOOLEAN},
    {.name = "user", .in = API_QUERY, .form = API_UUID},
};
static const struct api_param ONE[] = {
    {.name = "id", .in = API_PATH, .required = true, .form = API_UUID},
    {.name = "wait", .in = API_QUERY, .form = API_INTEGER, .min = 1, .max = 30},
};
static const struct api_param CHANGE[] = {
    {.name = "kind", .in = API_PATH, .required = true, .form = API_ENUM, .values = LENGTHS},
    {.name = "day", .in = API_PATH, .required = true, .form = API_DATE},
    {.name = "cost",
     .in = API_BODY,
     .required = true,
     .form = API_INTEGER,
     .min = 1,
     .max = 1000000000000},
    {.name = "flag", .in = API_BODY, .form = API_BOOLEAN},
};
static void handle(void *service, struct api_call *call)
{
    (void)service, (void)call;
}
static const struct api_route ROUTES[] = {
    {HTTP_POST, "/api/v1/payments/", "create", true, false, CREATE, 4, handle},
    {HTTP_GET, "/api/v1/payments/", "list", true, false, LIST, 5, handle},
    {HTTP_GET, "/api/v1/payments/{id}", "one", true, false, ONE, 2, handle},
    {HTTP_PUT, "/api/v1/admin/prices/{kind}/{day}", "change", true, true, CHANGE, 4, handle},
    {HTTP_GET, "/health/live", "live", false, false, NULL, 0, handle},
};

static int64_t fixed_us(struct clock *c)
{
    (void)c;
    return NOW_US;
}
static struct clock fixed_clock = {.wall_us = fixed_us, .boot_us = fixed_us};

struct world {
    struct config config;
    struct jwt_verifier *verifier;
    struct pages *pages;
    struct gate *gate;
    struct router *router;
    char token[JWT_TOKEN_MAX], admin[JWT_TOKEN_MAX];
    int status; /* of the answer; 0: none */
    char body[65536], header_names[HTTP_RESPONSE_HEADERS_MAX][64];
    char header_values[HTTP_RESPONSE_HEADERS_MAX][256];
};

static void on_reply(void *ctx, const struct http_request *request,
                     const struct http_response *response)
{
    struct world *w = ctx;
    (void)request;
    assert_int_equal(w->status, 0); /* one answer */
    w->status = response->status;
    snprintf(w->body, sizeof w->body, "%.*s", (int)response->body_len,
             response->body ? response->body : "");
    memset(w->header_names, 0, sizeof w->header_names);
    for (int i = 0; i < HTTP_RESPONSE_HEADERS_MAX && response->headers[i].name; i++) {
        snprintf(w->header_names[i], 64, "%s", response->headers[i].name);
        snprintf(w->header_values[i], 256, "%s", response->headers[i].value);
    }
}

static const char *answered(const struct world *w, const char *name)
{
    for (int i = 0; i < HTTP_RESPONSE_HEADERS_MAX; i++) {
        if (strcmp(w->header_names[i], name) == 0)
            return w->header_values[i];
    }
    return NULL;
}

static void token_make(struct world *w, bool admin, char out[JWT_TOKEN_MAX])
{
    struct str token;
    struct uuid user;
    str_init(&token, JWT_TOKEN_MAX);
    assert_true(uuid_parse(USER, strlen(USER), &user));
    assert_int_equal(jwt_sign(&w->config, &user, admin, NOW_US, 3600, &token), ERR_OK);
    snprintf(out, JWT_TOKEN_MAX, "Bearer %.8000s", token.data);
    str_release(&token);
}

static void world_open(struct world *w)
{
    char why[200] = "";
    snprintf(w->config.jwt_secret, sizeof w->config.jwt_secret, "0123456789abcdef0123456789abcdef");
    assert_int_equal(jwt_verifier_open(&w->verifier, &w->config, why, sizeof why), ERR_OK);
    assert_int_equal(pages_open(&w->pages, "Test"), ERR_OK);
    assert_int_equal(gate_open(&w->gate, &w->config, why, sizeof why), ERR_OK);
    struct router_settings settings = {.routes = ROUTES,
                                       .count = sizeof ROUTES / sizeof ROUTES[0],
                                       .verifier = w->verifier,
                                       .clock = &fixed_clock,
                                       .pages = w->pages,
                                       .gate = w->gate,
                                       .reply = on_reply,
                                       .reply_ctx = w};
    assert_int_equal(router_open(&w->router, &settings), ERR_OK);
    token_make(w, false, w->token);
    token_make(w, true, w->admin);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    return 0;
}

static void world_close(struct world *w)
{
    router_close(w->router);
    gate_close(w->gate);
    pages_close(w->pages);
    jwt_verifier_close(w->verifier);
}

static int teardown(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

/* path may carry a query; token NULL: none; headers up to the first without a name. */
static struct api_call *send_full(struct world *w, enum http_method method, const char *path,
                                  const char *token, const struct http_header *more,
                                  const char *body, size_t body_len)
{
    char target[4096];
    struct http_header headers[HEADERS_MAX + 1] = {0};
    struct http_request r = {.method = method, .path = target, .query = "", .peer = "1.2.3.4"};
    snprintf(target, sizeof target, "%s", path);
    char *mark = strchr(target, '?');
    if (mark) {
        *mark = '\0';
        r.query = mark + 1;
    }
    if (token)
        headers[r.header_count++] = (struct http_header){"authorization", token};
    for (; more && more->name && r.header_count < HEADERS_MAX; more++)
        headers[r.header_count++] = *more;
    r.headers = headers;
    r.body = body;
    r.body_len = body_len;
    w->status = 0;
    w->body[0] = '\0';
    return router_take(w->router, &r);
}

static void expect(struct world *w, int status, struct api_call *call, const char *what)
{
    if (call || w->status != status)
        fail_msg("%d instead of %d for %s: %s", w->status, status, what, w->body);
    if (status >= 400) {
        struct json *doc = json_parse(w->body, strlen(w->body), NULL, 0);
        int64_t said = 0;
        assert_non_null(doc);
        assert_true(json_i64(json_member(doc, "status"), &said) && said == status);
        assert_true((json_member(doc, "errors") != NULL) == (status == 422));
        json_free(doc);
    }
}

static void get_fails(struct world *w, int status, const char *path)
{
    expect(w, status, send_full(w, HTTP_GET, path, w->token, NULL, "", 0), path);
}

static struct api_call *get(struct world *w, const char *path)
{
    struct api_call *call = send_full(w, HTTP_GET, path, w->token, NULL, "", 0);
    if (!call)
        fail_msg("%s: %s", path, w->body);
    return call;
}

static void post_fails(struct world *w, int status, const char *path, const char *type,
                       const char *body)
{
    struct http_header headers[] = {{type ? "Content-Type" : NULL, type}, {0}};
    expect(w, status, send_full(w, HTTP_POST, path, w->token, headers, body, strlen(body)), body);
}

static struct api_call *post(struct world *w, const char *path, const char *body)
{
    struct http_header headers[] = {JSON, {0}};
    struct api_call *call = send_full(w, HTTP_POST, path, w->token, body ? headers : NULL, body,
                                      body ? strlen(body) : 0);
    if (!call)
        fail_msg("%s: %s", path, w->body);
    return call;
}

/* ---- 404, 405 ---- */

static void test_unknown_paths(void **state)
{
    static const char *const PATHS[] = {
        "/",
        "//",
        "/api",
        "/api/v1",
        "/api/v1/payment",
        "/api/v1/payments//",
        "/api/v1//payments/",
        "//api/v1/payments/",
        "/api/v1/payments/" ID "/x",
        "/api/v1/payments/" ID "//",
        "/API/v1/payments/",
        "/api/v1/payments%2f",
        "/api%2Fv1/payments",
        "/api/v1/payments;x=1",
        "/api/v1/%zz/",
        "/api/v1/payment%73%00",
        "/api/v2/payments/",
        "*",
        "/health",
        "/health/live/x",
        "/api/v1/admin/prices/month",
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++)
        expect(w, 404, send_full(w, HTTP_GET, PATHS[i], NULL, NULL, "", 0), PATHS[i]);
}

static void test_known_paths(void **state)
{
    static const char *const PATHS[] = {"/api/v1/payments",         "/api/v1/payments/",
                                        "/api/v1/payment%73/",      "/api/v1/payments/" ID,
                                        "/api/v1/payments/" ID "/", "/%61pi/v1/payments?limit=3"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++)
        api_call_free(get(w, PATHS[i]));
    struct api_call *call = send_full(w, HTTP_HEAD, "/health/live", NULL, NULL, "", 0);
    assert_non_null(call); /* HEAD is GET here; the server keeps the body back */
    assert_string_equal(call->route->operation, "live");
    api_call_free(call);
}

static void test_methods(void **state)
{
    struct world *w = *state;
    for (enum http_method m = HTTP_GET; m < HTTP_OTHER; m++) {
        if (m == HTTP_GET || m == HTTP_HEAD)
            continue;
        /* before the token, the type and the body are looked at */
        struct api_call *call =
            send_full(w, m, "/api/v1/payments/" ID "?nonsense", NULL, NULL, "{", 1);
        expect(w, 405, call, http_method_text(m));
        assert_string_equal(answered(w, "Allow"), "GET, HEAD");
    }
    expect(w, 405, send_full(w, HTTP_DELETE, "/api/v1/payments", NULL, NULL, "", 0), "DELETE");
    assert_string_equal(answered(w, "Allow"), "GET, HEAD, POST");
    expect(w, 405, send_full(w, HTTP_POST, "/api/openapi.json", NULL, NULL, "", 0), "a page");
    assert_string_equal(answered(w, "Allow"), "GET, HEAD");
    expect(w, 200, send_full(w, HTTP_GET, "/api/openapi.json", NULL, NULL, "", 0), "the document");
}

/* ---- 401, 403 ---- */

static void test_tokens(void **state)
{
    static const char *const BAD[] = {
        "",          "Bearer",      "Bearer ",      "Basic abc", "Bearer a.b.c",
        "BearerX a", "Token a.b.c", "bearer\ta.b.c"};
    struct world *w = *state;
    char text[JWT_TOKEN_MAX + 64];
    /* before the body and the query are looked at */
    expect(w, 401, send_full(w, HTTP_POST, "/api/v1/payments/?x", NULL, NULL, "{", 1), "no token");
    assert_string_equal(answered(w, "WWW-Authenticate"), "Bearer");
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        expect(w, 401, send_full(w, HTTP_GET, "/api/v1/payments/", BAD[i], NULL, "", 0), BAD[i]);
        assert_non_null(strstr(answered(w, "WWW-Authenticate"), "Bearer error=\"invalid_token\""));
    }
    struct http_header twice[] = {{"Authorization", w->token}, {0}};
    expect(w, 401, send_full(w, HTTP_GET, "/api/v1/payments/", w->token, twice, "", 0), "twice");
    snprintf(text, sizeof text, "%.2000s, %.2000s", w->token, w->token);
    expect(w, 401, send_full(w, HTTP_GET, "/api/v1/payments/", text, NULL, "", 0), "a list");
    snprintf(text, sizeof text, "%.2000s x", w->token);
    expect(w, 401, send_full(w, HTTP_GET, "/api/v1/payments/", text, NULL, "", 0), "two words");
    snprintf(text, sizeof text, "bEaReR   %.2000s", w->token + 7);
    struct api_call *call = send_full(w, HTTP_GET, "/api/v1/payments/", text, NULL, "", 0);
    assert_non_null(call);
    char id[UUID_TEXT];
    uuid_format(&call->who.user_id, id);
    assert_string_equal(id, USER);
    assert_false(call->who.admin);
    assert_true(call->arrived_boot_us == NOW_US);
    api_call_free(call);
}

static void test_role(void **state)
{
    struct world *w = *state;
    const char *path = "/api/v1/admin/prices/month/2030-01-01";
    expect(w, 401, send_full(w, HTTP_PUT, path, NULL, NULL, "{", 1), "no token");
    expect(w, 403, send_full(w, HTTP_PUT, path, w->token, NULL, "{", 1), "no role");
    expect(w, 415, send_full(w, HTTP_PUT, path, w->admin, NULL, "{", 1), "no type");
    struct http_header json[] = {JSON, {0}};
    struct api_call *call = send_full(w, HTTP_PUT, path, w->admin, json, "{\"cost\":5.0}", 12);
    assert_non_null(call);
    assert_true(call->who.admin);
    assert_int_equal(api_value(call, "kind")->number, 0);
    assert_string_equal(api_value(call, "day")->text, "2030-01-01");
    assert_int_equal(api_value(call, "cost")->number, 5);
    assert_false(api_value(call, "flag")->given);
    api_call_free(call);
}

/* ---- 415, 400 ---- */

static void test_content_types(void **state)
{
    static const char *const GOOD[] = {
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json ; charset=\"utf-8\"",
        "application/json; profile=x",
        "application/json;",
    };
    static const char *const BAD[] = {
        "",
        "text/plain",
        "application/jsonx",
        "application/json, application/json",
        "application/json charset=utf-8",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "*/*",
    };
    struct world *w = *state;
    const char *path = "/api/v1/payments/?type=payment&length=month";
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        struct http_header h[] = {{"Content-Type", GOOD[i]}, {0}};
        struct api_call *call = send_full(w, HTTP_POST, path, w->token, h, "{}", 2);
        if (!call)
            fail_msg("%s: %s", GOOD[i], w->body);
        api_call_free(call);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        post_fails(w, 415, path, BAD[i], "{");
    post_fails(w, 415, path, NULL, "{}");
    struct http_header twice[] = {JSON, JSON, {0}};
    expect(w, 415, send_full(w, HTTP_POST, path, w->token, twice, "{}", 2), "twice");
    struct http_header text[] = {{"Content-Type", "text/plain"}, {0}};
    struct api_call *call = send_full(w, HTTP_POST, path, w->token, text, "", 0);
    assert_non_null(call); /* no body has no type */
    api_call_free(call);
    expect(w, 415, send_full(w, HTTP_GET, "/api/v1/payments?x", w->token, text, "x", 1), "GET");
}

static void test_bad_json(void **state)
{
    static const char *const BAD[] = {
        " ",
        "{",
        "{}x",
        "{\"method\":\"a\",\"method\":\"a\"}",
        "{\"type\":\"payment\",\"type\":\"payment\"}",
        "{\"method\":\"\\ud800\"}",
        "{\"method\":\"\\u0000\"}",
        "{\"method\":\"\xff\"}",
        "{'method':'a'}",
        "{\"method\":NaN}",
        "{\"method\":01}",
        "{\"method\":\"a\",}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
        "\xef\xbb\xbf{}",
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        post_fails(w, 400, "/api/v1/payments/?nonsense", "application/json",
                   BAD[i]); /* before 422 */
    struct http_header h[] = {JSON, {0}};
    expect(w, 400,
           send_full(w, HTTP_POST, "/api/v1/payments/", w->token, h, "{\"method\":\"a\0b\"}", 16),
           "NUL");
}

/* ---- 422 ---- */

static const char *error_text(const struct world *w, size_t index, const char *member)
{
    static char text[1000];
    struct json *doc = json_parse(w->body, strlen(w->body), NULL, 0);
    const struct json *error = json_at(json_member(doc, "errors"), index);
    const char *value = json_text(json_member(error, member));
    snprintf(text, sizeof text, "%s", value ? value : "(null)");
    json_free(doc);
    return text;
}

static void fails_at(struct world *w, const char *in, const char *name, const char *value)
{
    if (strcmp(error_text(w, 0, "in"), in) != 0)
        fail_msg("not in %s: %s", in, w->body);
    if (strcmp(error_text(w, 0, "name"), name) != 0)
        fail_msg("not %s: %s", name, w->body);
    if (strcmp(error_text(w, 0, "value"), value) != 0)
        fail_msg("not %s: %s", value, w->body);
}

static void test_query_refused(void **state)
{
    static const struct {
        const char *query, *name, *value;
    } CASES[] = {
        {"limit=0", "limit", "0"},
        {"limit=101", "limit", "101"},
        {"limit=", "limit", ""},
        {"limit", "limit", ""},
        {"limit=x", "limit", "x"},
        {"limit=1x", "limit", "1x"},
        {"limit=+1", "limit", " 1"},
        {"limit=%2B1", "limit", "+1"},
        {"limit=01", "limit", "01"},
        {"limit=-1", "limit", "-1"},
        {"limit=1e1", "limit", "1e1"},
        {"limit=1.5", "limit", "1.5"},
        {"limit=1.", "limit", "1."},
        {"limit=.0", "limit", ".0"},
        {"limit=0x10", "limit", "0x10"},
        {"limit=99999999999999999999", "limit", "99999999999999999999"},
        {"limit=%EF%BC%91", "limit", "\xef\xbc\x91"},
        {"limit=1&limit=1", "limit", "1"},
        {"limit=1&limit=2", "limit", "2"},
        {"limit=1&%6cimit=1", "limit", "1"},
        {"limits=1", "limits", "(null)"}, /* it may be a secret of another place */
        {"Limit=1", "Limit", "(null)"},
        {"=1", "", "(null)"},
        {"type=payment", "type", "(null)"},
        {"limit=%zz", "limit", "%zz"},
        {"limit=1%", "limit", "1%"},
        {"limit=1%2", "limit", "1%2"},
        {"limit=1%00", "limit", "1%00"},
        {"limit=%ff", "limit", "%ff"},
        {"limit=%c0%80", "limit", "%c0%80"},
        {"limit=%ed%a0%80", "limit", "%ed%a0%80"},
        {"%ff=1", "%ff", "(null)"},
        {"on=2026-02-29", "on", "2026-02-29"},
        {"on=2026-2-1", "on", "2026-2-1"},
        {"on=today", "on", "today"},
        {"from=2026-01-01", "from", "2026-01-01"},
        {"from=2026-01-01T00:00:00", "from", "2026-01-01T00:00:00"},
        {"from=2026-01-01T00:00:00+02:00", "from", "2026-01-01T00:00:00 02:00"},
        {"active=1", "active", "1"},
        {"active=True", "active", "True"},
        {"user=x", "user", "x"},
        {"user={" ID "}", "user", "{" ID "}"},
        {"limit=5;on=2026-01-01", "limit", "5;on=2026-01-01"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char path[300];
        snprintf(path, sizeof path, "/api/v1/payments/?%s", CASES[i].query);
        get_fails(w, 422, path);
        fails_at(w, "query", CASES[i].name, CASES[i].value);
    }
}

static void test_query_taken(void **state)
{
    struct world *w = *state;
    struct api_call *call = get(w, "/api/v1/payments?");
    assert_true(api_value(call, "limit")->given);
    assert_int_equal(api_value(call, "limit")->number, 20);
    assert_null(api_value(call, "limit")->text);
    assert_false(api_value(call, "on")->given);
    assert_null(api_value(call, "nothing"));
    api_call_free(call);
    call =
        get(w, "/api/v1/payments?&limit=7.000&&active=true&on=2028-02-29&user=0198A1F0-7C1E-7A58-"
               "9C56-3F1F0A7B2D11&from=2026-01-01T00%3a00:00%2B02:00&");
    assert_int_equal(api_value(call, "limit")->number, 7);
    assert_int_equal(api_value(call, "active")->number, 1);
    assert_string_equal(api_value(call, "on")->text, "2028-02-29");
    assert_true(api_value(call, "from")->number == INT64_C(1767218400) * US_PER_S);
    char id[UUID_TEXT];
    uuid_format(&api_value(call, "user")->id, id);
    assert_string_equal(id, ID);
    api_call_free(call);
    call = get(w, "/api/v1/payments?active=false&limit=100");
    assert_true(api_value(call, "active")->given);
    assert_int_equal(api_value(call, "active")->number, 0);
    api_call_free(call);
}

static void test_path_parameters(void **state)
{
    static const char *const BAD[] = {
        "x",      "1",    "%20",         "0198a1f0-7c1e-7a58-9c56-3f1f0a7b2d1",
        ID "%20", "%ff",  "%00",         "%zz",
        "..",     ID "+", "%7B" ID "%7D"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        char path[200];
        snprintf(path, sizeof path, "/api/v1/payments/%s", BAD[i]);
        get_fails(w, 422, path);
        assert_string_equal(error_text(w, 0, "in"), "path");
        assert_string_equal(error_text(w, 0, "name"), "id");
    }
    struct api_call *call =
        get(w, "/api/v1/payments/%30198A1F0-7c1e-7a58-9c56-3f1f0a7b2d11?wait=30");
    char id[UUID_TEXT];
    uuid_format(&api_value(call, "id")->id, id);
    assert_string_equal(id, ID);
    assert_int_equal(api_value(call, "wait")->number, 30);
    api_call_free(call);
    get_fails(w, 422, "/api/v1/payments/" ID "?wait=31");
    get_fails(w, 422, "/api/v1/payments/" ID "?id=" ID); /* not from there */
    fails_at(w, "query", "id", "(null)");
}

static void test_no_body(void **state)
{
    struct world *w = *state;
    struct api_call *call = post(w, "/api/v1/payments/?type=refund&length=year", NULL);
    assert_int_equal(api_value(call, "type")->number, 1);
    assert_string_equal(api_value(call, "length")->text, "year");
    assert_false(api_value(call, "method")->given);
    api_call_free(call);
}

static void test_body_taken(void **state)
{
    struct world *w = *state;
    struct api_call *call =
        post(w, "/api/v1/payments/",
             "{\"type\":\"payment\",\"length\":\"month\",\"method\":\"\\u20ac1234\"}");
    assert_int_equal(api_value(call, "type")->number, 0);
    assert_string_equal(api_value(call, "type")->text, "payment");
    assert_string_equal(api_value(call, "method")->text, "€1234"); /* five characters */
    api_call_free(call);
    call = post(w, "/api/v1/payments/?type=refund", "{\"length\":\"year\"}");
    assert_int_equal(api_value(call, "type")->number, 1);
    assert_int_equal(api_value(call, "length")->number, 2);
    api_call_free(call);
}

static void test_body_refused(void **state)
{
    static const struct {
        const char *query, *body, *in, *name, *value;
    } CASES[] = {
        {"?type=payment&length=month", "{\"type\":\"payment\"}", "body", "type", "payment"},
        {"?type=payment&length=month", "{\"type\":\"gift\"}", "body", "type", "gift"},
        {"?type=payment&type=payment&length=month", "{}", "query", "type", "payment"},
        {"?type=payment", "{}", "query", "length", "(null)"},
        {"?type=payment", "", "query", "length", "(null)"},
        {"", "{\"type\":\"payment\",\"length\":\"week\"}", "body", "length", "week"},
        {"", "{\"type\":\"payment\",\"length\":null}", "body", "length", "null"},
        {"", "{\"type\":\"payment\",\"length\":1}", "body", "length", "1"},
        {"", "{\"type\":[\"payment\"],\"length\":\"month\"}", "body", "type", "another type"},
        {"?type=payment&length=month", "{\"amount\":1}", "body", "amount", "(null)"},
        {"?type=payment&length=month", "{\"user_id\":\"x\"}", "body", "user_id", "(null)"},
        {"?type=payment&length=month", "{\"Key\":\"x\"}", "body", "Key", "(null)"},
        {"?type=payment&length=month", "{\"method\":\"\"}", "body", "method", "(null)"},
        {"?type=payment&length=month", "{\"method\":\"123456\"}", "body", "method", "(null)"},
        {"?type=payment&length=month", "{\"method\":4111111111111111}", "body", "method", "(null)"},
        {"?type=payment&length=month", "{\"method\":null}", "body", "method", "(null)"},
        {"?type=payment&length=month&method=a", "{}", "query", "method", "(null)"},
        {"?type=payment&length=month&Key=a", "{}", "query", "Key", "(null)"},
        {"?type=payment&length=month", "[]", "body", "", "(null)"},
        {"?type=payment&length=month", "[{}]", "body", "", "(null)"},
        {"?type=payment&length=month", "\"x\"", "body", "", "(null)"},
        {"?type=payment&length=month", "null", "body", "", "(null)"},
        {"?type=payment&length=month", "1", "body", "", "(null)"},
        {"?type=Payment&length=month", "", "query", "type", "Payment"},
        {"?type=payment%20&length=month", "", "query", "type", "payment "},
        {"?type=payment+&length=month", "", "query", "type", "payment "},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char path[300];
        snprintf(path, sizeof path, "/api/v1/payments/%s", CASES[i].query);
        post_fails(w, 422, path, "application/json", CASES[i].body);
        fails_at(w, CASES[i].in, CASES[i].name, CASES[i].value);
        assert_null(strstr(w->body, "4111"));
    }
    /* A body where none is described. */
    struct http_header h[] = {JSON, {0}};
    expect(w, 422, send_full(w, HTTP_GET, "/api/v1/payments", w->token, h, "{\"limit\":1}", 11),
           "GET");
    struct api_call *call = send_full(w, HTTP_GET, "/api/v1/payments", w->token, h, "{}", 2);
    assert_non_null(call);
    api_call_free(call);
}

static void test_numbers_in_bodies(void **state)
{
    static const struct {
        bool good;
        const char *body;
    } CASES[] = {
        {true, "{\"cost\":1}"},
        {true, "{\"cost\":1.0}"},
        {true, "{\"cost\":1e3}"},
        {true, "{\"cost\":1000000000000}"},
        {true, "{\"cost\":1,\"flag\":false}"},
        {false, "{\"cost\":0}"},
        {false, "{\"cost\":1000000000001}"},
        {false, "{\"cost\":1.5}"},
        {false, "{\"cost\":\"1\"}"},
        {false, "{\"cost\":true}"},
        {false, "{\"cost\":1e400}"},
        {false, "{\"cost\":99999999999999999999999}"},
        {false, "{\"cost\":1,\"flag\":\"true\"}"},
        {false, "{\"cost\":1,\"flag\":1}"},
        {false, "{\"flag\":true}"},
        {false, "{}"},
    };
    struct world *w = *state;
    struct http_header h[] = {JSON, {0}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct api_call *call = send_full(w, HTTP_PUT, "/api/v1/admin/prices/year/2030-01-01",
                                          w->admin, h, CASES[i].body, strlen(CASES[i].body));
        if (CASES[i].good != (call != NULL))
            fail_msg("%s: %s", CASES[i].body, w->body);
        api_call_free(call);
    }
    expect(w, 422, send_full(w, HTTP_PUT, "/api/v1/admin/prices/week/x", w->admin, NULL, "", 0),
           "all");
    assert_string_equal(error_text(w, 0, "name"), "kind");
    assert_string_equal(error_text(w, 1, "name"), "day");
    assert_string_equal(error_text(w, 2, "name"), "cost");
}

/* The detail says what is wrong with which field, and what is allowed. */
static void test_details(void **state)
{
    static const struct {
        const char *query, *body, *detail;
    } CASES[] = {
        {"length=month", NULL, "type is missing: allowed is payment or refund"},
        {"type=gift&length=month", NULL, "type: allowed is payment or refund"},
        {"type=payment&length=month&wait=5", NULL, "no such parameter: wait"},
        {"type=payment&length=month&4111111111111111=1", NULL, "no such parameter: ***"},
        {"length=month", "{\"type\":1}", "type is not a text: allowed is payment or refund"},
        {"type=payment", "{\"length\":\"month\",\"gift\":1}", "no such field: gift"},
        {"type=payment&length=month", "{\"type\":\"payment\"}",
         "type is given more than once: allowed is once, and not in both query and body"},
        {"type=payment&length=month", "[]", "the body is not a JSON object"},
        {"type=payment&length=month", "{\"method\":\"123456\"}",
         "method: allowed is 1 to 5 characters"},
        {"type=%ff&length=month", NULL, "type: allowed is percent-encoded UTF-8 without NUL"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char path[256], detail[256];
        snprintf(path, sizeof path, "/api/v1/payments/?%s", CASES[i].query);
        struct http_header h[] = {{"Content-Type", "application/json"}, {0}};
        const char *body = CASES[i].body ? CASES[i].body : "";
        expect(w, 422, send_full(w, HTTP_POST, path, w->token, h, body, strlen(body)), path);
        snprintf(detail, sizeof detail, "\"detail\":\"%s\"", CASES[i].detail);
        if (!strstr(w->body, detail))
            fail_msg("not %s: %s", detail, w->body);
        assert_null(strstr(w->body, "123456"));
        assert_null(strstr(w->body, "4111"));
    }
}

static void test_header_parameter(void **state)
{
    struct world *w = *state;
    const char *path = "/api/v1/payments/?type=payment&length=month";
    char text[300];
    memset(text, 'k', sizeof text);
    static const size_t LENGTHS_OK[] = {1, 255};
    for (int i = 0; i < 2; i++) {
        text[LENGTHS_OK[i]] = '\0';
        struct http_header h[] = {{"key", text}, {0}};
        struct api_call *call = send_full(w, HTTP_POST, path, w->token, h, "", 0);
        assert_non_null(call);
        assert_string_equal(api_value(call, "Key")->text, text);
        api_call_free(call);
        text[LENGTHS_OK[i]] = 'k';
    }
    text[256] = '\0';
    const char *bad[] = {"", text, "a b", "a\tb", "\xc3\xa9", "\xff", "a\x7f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct http_header h[] = {{"Key", bad[i]}, {0}};
        expect(w, 422, send_full(w, HTTP_POST, path, w->token, h, "", 0), bad[i]);
        assert_string_equal(error_text(w, 0, "in"), "header");
        assert_string_equal(error_text(w, 0, "name"), "Key");
    }
    struct http_header twice[] = {{"Key", "a"}, {"KEY", "a"}, {0}};
    expect(w, 422, send_full(w, HTTP_POST, path, w->token, twice, "", 0), "twice");
    assert_string_equal(error_text(w, 0, "in"), "header");
}

static void test_floods(void **state)
{
    struct world *w = *state;
    char path[4000] = "/api/v1/payments/?";
    for (int i = 0; i < 300; i++)
        snprintf(path + strlen(path), sizeof path - strlen(path), "a%d=%d&", i, i);
    get_fails(w, 422, path);
    snprintf(path, sizeof path, "/api/v1/payments/?x=%03500d", 0);
    get_fails(w, 422, path);
    assert_true(strlen(w->body) < 1000);
}

/* ---- gate ---- */

static void test_rates(void **state)
{
    struct world *w = *state;
    world_close(w);
    w->config.rate_address = (struct rate){1, 3};
    w->config.rate_user = (struct rate){1, 1};
    world_open(w);
    api_call_free(get(w, "/api/v1/payments"));
    get_fails(w, 429, "/api/v1/payments");
    assert_string_equal(answered(w, "Retry-After"), "1");
    assert_non_null(strstr(w->body, "this user"));
    expect(w, 401, send_full(w, HTTP_GET, "/api/v1/payments", NULL, NULL, "", 0), "no token");
    /* Pages and paths that are none cost as much; only who looks after the service is free. */
    static const char *const PATHS[] = {"/api/v1/payments", "/x", "/api/openapi",
                                        "/api/openapi/swagger-ui-bundle.js"};
    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++) {
        get_fails(w, 429, PATHS[i]);
        assert_non_null(strstr(w->body, "this address"));
    }
    expect(w, 429, send_full(w, HTTP_PUT, "/api/v1/payments", NULL, NULL, "", 0), "no 405");
    for (int i = 0; i < 10; i++)
        api_call_free(get(w, "/health/live"));
    world_close(w);
    world_open(w);
    for (int i = 0; i < 3; i++)
        expect(w, 404, send_full(w, HTTP_GET, "/x", NULL, NULL, "", 0), "three are free");
    get_fails(w, 429, "/x");
}

static void test_preflight(void **state)
{
    struct world *w = *state;
    struct http_header ask[] = {
        {"Origin", "https://shop.example"}, {"Access-Control-Request-Method", "POST"}, {0}};
    expect(w, 405, send_full(w, HTTP_OPTIONS, "/api/v1/payments", NULL, ask, "", 0), "not allowed");
    world_close(w);
    snprintf(w->config.cors_origins, sizeof w->config.cors_origins, "https://shop.example");
    world_open(w);
    expect(w, 204, send_full(w, HTTP_OPTIONS, "/api/v1/payments", NULL, ask, "", 0), "allowed");
    assert_string_equal(answered(w, "Access-Control-Allow-Methods"), "GET, HEAD, POST");
    assert_non_null(strstr(answered(w, "Access-Control-Allow-Headers"), "Idempotency-Key"));
    expect(w, 404, send_full(w, HTTP_OPTIONS, "/nothing", NULL, ask, "", 0), "no path");
    ask[0].value = "https://evil.example";
    expect(w, 405, send_full(w, HTTP_OPTIONS, "/api/v1/payments", NULL, ask, "", 0),
           "another origin");
    ask[0].value = "https://shop.example";
    ask[1] = (struct http_header){0};
    expect(w, 405, send_full(w, HTTP_OPTIONS, "/api/v1/payments", NULL, ask, "", 0),
           "no preflight");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_unknown_paths), TEST(test_known_paths),
        TEST(test_methods),       TEST(test_tokens),
        TEST(test_role),          TEST(test_content_types),
        TEST(test_bad_json),      TEST(test_query_refused),
        TEST(test_query_taken),   TEST(test_path_parameters),
        TEST(test_no_body),       TEST(test_body_taken),
        TEST(test_body_refused),  TEST(test_numbers_in_bodies),
        TEST(test_details),       TEST(test_header_parameter),
        TEST(test_floods),        TEST(test_rates),
        TEST(test_preflight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
