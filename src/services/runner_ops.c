/* Requests of the listeners: the API's, and those of the people who run it. */
#include "services/runner_inside.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "http/problem.h"
#include "services/subscription_app.h"

#define METRICS_TEXT_MAX (256 * 1024) /* bytes */
#define HEALTH_TEXT_MAX (16 * 1024)
#define WAIT_SLACK_US (5 * US_PER_S) /* the service answers first */

/* ---- the API ---- */

/* ?wait= holds the answer longer than a loop usually lets it. */
static int64_t call_wait_us(const struct api_call *call)
{
    for (size_t i = 0; i < call->route->param_count; i++)
        if (strcmp(call->route->params[i].name, "wait") == 0 && call->values[i].given)
            return call->values[i].number * US_PER_S;
    return 0;
}

static void reply_problem(const struct http_request *request, int status, const char *detail,
                          struct http_header header)
{
    struct http_response response = {.status = status, .content_type = PROBLEM_TYPE};
    struct str body;

    str_init(&body, HEALTH_TEXT_MAX);
    problem_format(&body, status, detail, NULL, 0);
    response.body = body.data;
    response.body_len = body.len;
    response.headers[0] = header;
    (void)http_reply(request->server, request->token, &response);
    str_release(&body);
}

void runner_on_api(void *ctx, const struct http_request *request)
{
    struct runner *r = ctx;
    struct api_call *call = router_take(r->router, request);

    if (call == NULL)
        return; /* answered */
    int64_t wait_us = call_wait_us(call);
    if (wait_us > 0)
        http_set_deadline(request, wait_us + WAIT_SLACK_US);
    if (subscription_app_submit(r->app->service, call) == ERR_OK)
        return;
    api_call_free(call);
    reply_problem(request, 503, "too many requests are under way; nothing was queued",
                  (struct http_header){"Retry-After", "1"});
}

/* ---- metrics ---- */

static const int CODES[RUNNER_CODES] = {200, 202, 204, 304, 400, 401, 403, 404, 405,
                                        408, 409, 413, 414, 415, 422, 429, 431, 503};

void runner_add_http_metrics(struct runner *r)
{
    static const char NAME[] = "subpay_http_requests_total",
                      HELP[] = "Requests answered, by status";
    char label[32];

    for (size_t i = 0; i < RUNNER_CODES; i++) {
        (void)snprintf(label, sizeof label, "code=\"%d\"", CODES[i]);
        r->http_codes[i] = metrics_add(r->metrics, METRIC_COUNTER, NAME, HELP, label);
    }
    r->http_other = metrics_add(r->metrics, METRIC_COUNTER, NAME, HELP, "code=\"other\"");
}

static int64_t http_count(const struct runner *r, int status)
{
    struct http_server *counted = r->api != NULL         ? r->api
                                  : r->simulator != NULL ? r->simulator
                                                         : r->ops;
    return counted != NULL ? http_server_count(counted, status) : 0;
}

static void count_http(struct runner *r)
{
    int64_t other = 0;

    for (int status = 100, known = 0; status < 600; status++) {
        int64_t count = http_count(r, status);
        if (known < RUNNER_CODES && CODES[known] == status) {
            struct metric *metric = r->http_codes[known++];
            metric_add(metric, count - metric_value(metric));
        } else {
            other += count;
        }
    }
    metric_add(r->http_other, other - metric_value(r->http_other));
}

static void reply_metrics(struct runner *r, const struct http_request *request)
{
    struct http_response response = {.status = 200,
                                     .content_type = "text/plain; version=0.0.4; charset=utf-8"};
    struct str text;

    count_http(r);
    str_init(&text, METRICS_TEXT_MAX);
    metrics_render(r->metrics, &text);
    response.body = text.data;
    response.body_len = text.len;
    if (text.failed)
        response = (struct http_response){.status = 503};
    (void)http_reply(request->server, request->token, &response);
    str_release(&text);
}

/* ---- health ---- */

static void put_part(struct str *out, const char *part, const char *why)
{
    json_open(out, '{');
    json_put_text(out, "part", part);
    json_put_text(out, "why", why);
    json_close(out, '}');
}

/* Names what fails. The store being away is named too, but who is ready is said by the services. */
static bool put_failing(struct runner *r, struct str *out)
{
    char away[RUNNER_WHY];
    bool ready = true;

    for (size_t i = 0; i < r->worker_count; i++) {
        struct service *s = r->workers[i].service;
        const char *why = s->ops->unready(s);
        if (why != NULL)
            put_part(out, s->ops->name, why);
        ready = ready && why == NULL;
    }
    if (r->engines != NULL && r->engines->ops->away(r->engines, away, sizeof away))
        put_part(out, "store", away);
    return ready;
}

static void reply_health(struct runner *r, const struct http_request *request, bool live)
{
    struct http_response response = {.status = 200, .content_type = "application/json"};
    struct str failing, body;
    bool ready = true;

    str_init(&failing, HEALTH_TEXT_MAX);
    str_init(&body, HEALTH_TEXT_MAX);
    json_open(&failing, '[');
    if (!live)
        ready = put_failing(r, &failing);
    json_close(&failing, ']');
    json_open(&body, '{');
    json_put_text(&body, "status", live ? "live" : ready ? "ready" : "not ready");
    json_name(&body, "failing");
    json_add_raw(&body, failing.data);
    json_close(&body, '}');
    response.status = ready ? 200 : 503;
    response.body = body.data;
    response.body_len = body.len;
    (void)http_reply(request->server, request->token, &response);
    str_release(&failing);
    str_release(&body);
}

static bool is_path(const char *path, const char *wanted)
{
    size_t len = strlen(wanted);

    return strncmp(path, wanted, len) == 0 &&
           (path[len] == '\0' || (path[len] == '/' && path[len + 1] == '\0'));
}

void runner_on_ops(void *ctx, const struct http_request *request)
{
    struct runner *r = ctx;
    bool metrics = is_path(request->path, "/metrics");
    bool live = is_path(request->path, "/health/live");

    if (!metrics && !live && !is_path(request->path, "/health/ready"))
        reply_problem(request, 404, "there are /metrics, /health/live and /health/ready",
                      (struct http_header){0});
    else if (request->method != HTTP_GET && request->method != HTTP_HEAD)
        reply_problem(request, 405, "GET and HEAD are allowed",
                      (struct http_header){"Allow", "GET, HEAD"});
    else if (metrics)
        reply_metrics(r, request);
    else
        reply_health(r, request, live);
}
