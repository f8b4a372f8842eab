#include "http/router.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/gate.h"
#include "http/pages.h"
#include "http/router_values.h"

#define SCRATCH_MAX (512 * 1024) /* a request's texts, decoded */
#define ALLOW_MAX 96             /* bytes of an Allow header */
#define METHODS HTTP_OTHER

struct router {
    struct router_settings settings;
    struct arena arena;
};

enum err router_open(struct router **out, const struct router_settings *settings)
{
    struct router *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_NO_MEMORY;
    r->settings = *settings;
    arena_init(&r->arena, SCRATCH_MAX);
    *out = r;
    return ERR_OK;
}

void router_close(struct router *r)
{
    if (!r)
        return;
    arena_release(&r->arena);
    free(r);
}

void api_call_free(struct api_call *call)
{
    free(call);
}

const struct api_value *api_value(const struct api_call *call, const char *name)
{
    for (size_t i = 0; i < call->route->param_count; i++) {
        if (strcmp(call->route->params[i].name, name) == 0)
            return &call->values[i];
    }
    return NULL;
}

/* Answers */

static void answer(struct router *r, const struct http_request *request,
                   const struct http_response *response)
{
    if (r->settings.reply)
        r->settings.reply(r->settings.reply_ctx, request, response);
    else
        (void)http_reply(request->server, request->token, response);
}

/* header.name NULL: none */
static void answer_problem(struct router *r, const struct http_request *request, int status,
                           const char *detail, struct http_header header)
{
    struct str body;
    struct http_response response;
    problem_response(&body, &response, status, detail);
    if (header.name)
        response.headers[0] = header;
    answer(r, request, &response);
    str_release(&body);
}

static void answer_faults(struct router *r, const struct http_request *request,
                          const struct values *v)
{
    struct str body;
    str_init(&body, 64 * 1024);
    problem_format(&body, 422, v->detail, v->errors, v->error_count);
    if (body.failed) { /* half a list would be no JSON */
        str_clear(&body);
        problem_format(&body, 422, v->detail, NULL, 0);
    }
    struct http_response response = {.status = 422, .content_type = PROBLEM_TYPE};
    response.body = body.data;
    response.body_len = body.len;
    answer(r, request, &response);
    str_release(&body);
}

/* Routes: 404, 405 */

struct segment {
    const char *at;
    size_t len;
};

/* The next segment of a path; false at its end. The last slash does not count. */
static bool segment_next(const char **path, struct segment *out)
{
    if ((*path)[0] != '/' || (*path)[1] == '\0')
        return false;
    out->at = *path + 1;
    out->len = strcspn(out->at, "/");
    *path = out->at + out->len;
    return true;
}

static bool segment_is(const struct segment *sent, const struct segment *wanted)
{
    char text[128];
    size_t len;
    return sent->len < sizeof text && percent_decode(sent->at, sent->len, false, text, &len) &&
           len == wanted->len && memcmp(text, wanted->at, len) == 0;
}

/* values NULL: only whether it fits. */
static bool path_fits(const struct api_route *route, const char *path, struct values *values)
{
    const char *pattern = route->path;
    struct segment sent = {0}, wanted = {0};
    for (;;) {
        bool more = segment_next(&path, &sent);
        if (more != segment_next(&pattern, &wanted))
            return false;
        if (!more)
            return path[0] == '\0' || path[1] == '\0';
        if (wanted.at[0] != '{') {
            if (!segment_is(&sent, &wanted))
                return false;
        } else if (sent.len == 0) {
            return false;
        } else if (values) {
            char name[64];
            if (text_copy_n(name, sizeof name, wanted.at + 1, wanted.len - 2))
                values_take_path(values, name, sent.at, sent.len);
        }
    }
}

static enum http_method method_asked(enum http_method method)
{
    return method == HTTP_HEAD ? HTTP_GET : method;
}

/* NULL with *allow "" for a path that nobody answers, with *allow filled for one that takes
 * other methods. */
static const struct api_route *route_find(struct router *r, const struct http_request *request,
                                          char allow[ALLOW_MAX])
{
    const struct api_route *found = NULL;
    bool methods[METHODS] = {false};
    for (size_t i = 0; i < r->settings.count; i++) {
        const struct api_route *route = &r->settings.routes[i];
        if (!path_fits(route, request->path, NULL))
            continue;
        methods[route->method] = true;
        if (route->method == method_asked(request->method))
            found = route;
    }
    size_t len = 0;
    allow[0] = '\0';
    methods[HTTP_HEAD] = methods[HTTP_GET];
    for (int m = 0; m < METHODS; m++) {
        if (methods[m])
            len += (size_t)snprintf(allow + len, ALLOW_MAX - len, "%s%s", len ? ", " : "",
                                    http_method_text((enum http_method)m));
    }
    return found;
}

/* Origins: a page of an allowed origin asks before it calls. */
static bool preflight_answer(struct router *r, const struct http_request *request,
                             const char *origin, const char *allow)
{
    if (request->method != HTTP_OPTIONS || !origin || !*allow ||
        !http_header(request, "Access-Control-Request-Method", NULL))
        return false;
    struct http_response response = {.status = 204};
    response.headers[0] = (struct http_header){"Access-Control-Allow-Methods", allow};
    response.headers[1] = (struct http_header){"Access-Control-Allow-Headers",
                                               "Authorization, Content-Type, Idempotency-Key"};
    response.headers[2] = (struct http_header){"Access-Control-Max-Age", "600"};
    answer(r, request, &response);
    return true;
}

/* Who: 429, 401, 403 */

static bool too_often(struct router *r, const struct http_request *request, int64_t wait_s,
                      const char *detail)
{
    char seconds[24];
    if (wait_s <= 0)
        return false;
    snprintf(seconds, sizeof seconds, "%lld", (long long)wait_s);
    answer_problem(r, request, 429, detail, (struct http_header){"Retry-After", seconds});
    return true;
}

static bool address_passes(struct router *r, const struct http_request *request, int64_t boot_us)
{
    char buffer[64];
    if (!r->settings.gate)
        return true;
    const char *client = gate_client(r->settings.gate, request, buffer, sizeof buffer);
    return !too_often(r, request, gate_address_wait_s(r->settings.gate, client, boot_us),
                      "too many requests from this address");
}

/* Whoever watches the service must not be locked out of what he is to see. */
static bool is_health(const struct api_route *route)
{
    return route && strncmp(route->path, "/health/", 8) == 0;
}

/* NULL, or what is wrong; *missing: no credentials at all. */
static const char *token_check(struct router *r, const struct http_request *request,
                               struct jwt_identity *who, bool *missing)
{
    int count;
    const char *value = http_header(request, "Authorization", &count);
    *missing = count == 0;
    if (count != 1)
        return count == 0 ? "a token is needed" : "more than one Authorization";
    if (strncasecmp(value, "Bearer ", 7) != 0)
        return "the scheme is not Bearer";
    value += 7 + strspn(value + 7, " ");
    return jwt_verify(r->settings.verifier, value, strlen(value), clock_wall_us(r->settings.clock),
                      who);
}

static bool user_passes(struct router *r, const struct http_request *request,
                        const struct api_route *route, struct jwt_identity *who, int64_t boot_us)
{
    char challenge[160];
    bool missing;
    if (!route->authenticated)
        return true;
    const char *wrong = token_check(r, request, who, &missing);
    if (wrong) {
        snprintf(challenge, sizeof challenge,
                 missing ? "Bearer" : "Bearer error=\"invalid_token\", error_description=\"%s\"",
                 wrong);
        answer_problem(r, request, 401, wrong, (struct http_header){"WWW-Authenticate", challenge});
        return false;
    }
    if (route->admin && !who->admin) {
        answer_problem(r, request, 403, "the role admin is needed", (struct http_header){0});
        return false;
    }
    return !r->settings.gate ||
           !too_often(r, request, gate_user_wait_s(r->settings.gate, &who->user_id, boot_us),
                      "too many requests of this user");
}

/* What: 415, 400, 422 */

/* The value of a parameter, which may be quoted, is utf-8. */
static bool charset_fits(const char *value, size_t len)
{
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        value++;
        len -= 2;
    }
    return len == 5 && strncasecmp(value, "utf-8", 5) == 0;
}

/* application/json, with a charset only of utf-8. */
static bool type_is_json(const struct http_request *request)
{
    int count;
    const char *type = http_header(request, "Content-Type", &count);
    if (count != 1 || strncasecmp(type, "application/json", 16) != 0)
        return false;
    const char *at = type + 16;
    for (;;) {
        at += strspn(at, " \t");
        if (*at == '\0')
            return true;
        if (*at != ';')
            return false;
        at += 1 + strspn(at + 1, " \t");
        size_t len = strcspn(at, "; \t");
        if (strncasecmp(at, "charset=", 8) == 0 && !charset_fits(at + 8, len - 8))
            return false;
        at += len;
    }
}

static bool body_take(struct router *r, const struct http_request *request, struct values *v)
{
    char why[128];
    if (request->body_len == 0)
        return true;
    if (!type_is_json(request)) {
        answer_problem(r, request, 415, "the body must be application/json in UTF-8",
                       (struct http_header){0});
        return false;
    }
    struct json *body = json_parse(request->body, request->body_len, why, sizeof why);
    if (!body) {
        char detail[192];
        snprintf(detail, sizeof detail, "the body does not parse: %s", why);
        answer_problem(r, request, 400, detail, (struct http_header){0});
        return false;
    }
    values_take_body(v, body);
    json_free(body);
    return true;
}

/* One block: the call, then its texts. */
static struct api_call *call_make(const struct http_request *request, const struct values *v)
{
    size_t size = sizeof(struct api_call);
    for (size_t i = 0; i < v->route->param_count; i++)
        size += v->values[i].text ? strlen(v->values[i].text) + 1 : 0;
    struct api_call *call = malloc(size);
    if (!call)
        return NULL;
    *call =
        (struct api_call){.server = request->server, .token = request->token, .route = v->route};
    char *at = (char *)(call + 1);
    for (size_t i = 0; i < v->route->param_count; i++) {
        call->values[i] = v->values[i];
        if (!v->values[i].text)
            continue;
        size_t len = strlen(v->values[i].text) + 1;
        memcpy(at, v->values[i].text, len);
        call->values[i].text = at;
        at += len;
    }
    return call;
}

static struct api_call *call_read(struct router *r, const struct http_request *request,
                                  const struct api_route *route)
{
    struct values v = {.arena = &r->arena, .route = route};
    struct api_call *call = NULL;
    arena_reset(&r->arena);
    if (!path_fits(route, request->path, &v))
        assert(!"it was found by this path");
    values_take_query(&v, request->query);
    values_take_headers(&v, request);
    if (!body_take(r, request, &v))
        return NULL;
    values_finish(&v);
    if (!v.failed && v.error_count > 0) {
        answer_faults(r, request, &v);
        return NULL;
    }
    if (!v.failed)
        call = call_make(request, &v);
    if (!call)
        answer_problem(r, request, 503, "out of memory", (struct http_header){0});
    return call;
}

static bool page_answered(struct router *r, const struct http_request *request)
{
    struct page_answer page;
    if (!r->settings.pages || !pages_answer(r->settings.pages, request, &page))
        return false;
    answer(r, request, &page.response);
    return true;
}

struct api_call *router_take(struct router *r, const struct http_request *request)
{
    int64_t boot_us = clock_boot_us(r->settings.clock);
    char allow[ALLOW_MAX];
    struct jwt_identity who = {0};
    const char *origin = r->settings.gate ? gate_origin(r->settings.gate, request) : NULL;
    if (origin && request->server)
        http_set_origin(request, origin);
    const struct api_route *route = route_find(r, request, allow);
    if (!is_health(route) && !address_passes(r, request, boot_us))
        return NULL;
    if (page_answered(r, request))
        return NULL;
    if (preflight_answer(r, request, origin, allow))
        return NULL;
    if (!route) {
        if (*allow)
            answer_problem(r, request, 405, "this path takes other methods",
                           (struct http_header){"Allow", allow});
        else
            answer_problem(r, request, 404,
                           r->settings.pages ? "there is nothing at this path; /api/openapi tells "
                                               "what there is"
                                             : "there is nothing at this path",
                           (struct http_header){0});
        return NULL;
    }
    if (!user_passes(r, request, route, &who, boot_us))
        return NULL;
    struct api_call *call = call_read(r, request, route);
    if (call) {
        call->who = who;
        call->arrived_boot_us = boot_us;
    }
    return call;
}
