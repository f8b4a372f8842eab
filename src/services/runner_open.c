/* Opening everything that a process needs, before its threads run, and closing it after they have ended. */
#include "services/runner_inside.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/processing.h"
#include "mailer/mailer.h"
#include "services/control.h"
#include "services/notifier.h"
#include "services/processing.h"
#include "services/processor.h"
#include "services/saver.h"
#include "services/subscription_app.h"

#define PROCESSOR_PRESET "http://127.0.0.1:5001"
/* On PostgreSQL and Kafka every step is some round trips: what comes soon after another shares them. */
#define PACE_US (20 * US_PER_MS)
#define APP_PACE_US (2 * US_PER_MS) /* somebody waits for the answer */
/* One writer settles no more at a time, and each call is a connection, and memory, at both its ends. */
#define EMBEDDED_FLIGHTS 246

/* Contract section 4: a service on its own has a port of its own, in the order of section 1. */
static const struct {
    enum runner_parts part;
    const char *listen;
} OPS_PRESETS[] = {
    {RUN_SUBSCRIPTION_APP, "127.0.0.1:9101"}, {RUN_SAVER, "127.0.0.1:9102"},
    {RUN_PROCESSOR, "127.0.0.1:9103"},        {RUN_PROCESSING, "127.0.0.1:9104"},
    {RUN_NOTIFIER, "127.0.0.1:9105"},
};

int runner_complain(int code, const char *format, ...)
{
    char line[2 * RUNNER_WHY];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *p = line; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    (void)fprintf(stderr, "subpay: %s\n", line);
    return code;
}

static int no_start(const char *what, enum err err, const char *why)
{
    return runner_complain(err == ERR_INVALID ? RUNNER_USAGE : RUNNER_FAILED, "%s: %s", what,
                           why[0] != '\0' ? why : err_text(err));
}

/* ---- listeners ---- */

/* What a browser on this machine would type for a listener. */
static void url_of(const char *listen, int port, char out[RUNNER_URL])
{
    char host[64];
    int ignored;

    if (!config_split_address(listen, host, sizeof host, &ignored) || host[0] == '\0' ||
        strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        (void)text_copy(host, sizeof host, "127.0.0.1");
    bool v6 = strchr(host, ':') != NULL;
    (void)snprintf(out, RUNNER_URL, "http://%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static int listen_on(struct http_server *server, const char *variable, const char *address,
                     http_on_request *fn, void *ctx, char url[RUNNER_URL])
{
    char why[RUNNER_WHY] = "";
    int port = 0;
    enum err err = http_listen(server, address, fn, ctx, &port, why, sizeof why);

    if (err == ERR_OK) {
        url_of(address, port, url);
        return RUNNER_DONE;
    }
    if (err == ERR_LOCKED)
        return runner_complain(RUNNER_USAGE,
                               "%s=%s: the port is taken; allowed is a free one, or 0 for any",
                               variable, address);
    return runner_complain(RUNNER_USAGE, "%s=%s: %s; allowed is an address of this machine",
                           variable, address, why[0] != '\0' ? why : err_text(err));
}

static const char *ops_address(const struct runner *r)
{
    if (r->config->ops_listen_given)
        return r->config->ops_listen;
    for (size_t i = 0; i < sizeof OPS_PRESETS / sizeof OPS_PRESETS[0]; i++)
        if (r->parts == OPS_PRESETS[i].part)
            return OPS_PRESETS[i].listen;
    return r->config->ops_listen;
}

/* In the loop of the API or of the simulator; a process that has neither gets a loop for it. */
static int open_ops(struct runner *r)
{
    struct http_server *server = r->api != NULL ? r->api : r->simulator;
    const char *address = ops_address(r);

    if (strcmp(address, "off") == 0)
        return RUNNER_DONE;
    if (server == NULL) {
        enum err err = http_server_open(&r->ops, r->env.clock);
        if (err != ERR_OK)
            return no_start("OPS_LISTEN", err, "");
        server = r->ops;
    }
    return listen_on(server, "OPS_LISTEN", address, runner_on_ops, r, r->ops_url);
}

static bool api_trusts(void *gate, const char *address)
{
    return gate_trusts(gate, address);
}

static int open_api(struct runner *r)
{
    char why[RUNNER_WHY] = "";
    enum err err = jwt_verifier_open(&r->verifier, r->config, why, sizeof why);

    if (err != ERR_OK)
        return no_start("tokens", err, why);
    err = gate_open(&r->gate, r->config, why, sizeof why);
    if (err != ERR_OK)
        return no_start("the API", err, why);
    err = pages_open(&r->pages, r->config->project_name);
    const struct router_settings settings = {
        .routes = API_ROUTES,
        .count = API_ROUTE_COUNT,
        .verifier = r->verifier,
        .clock = r->env.clock,
        .pages = r->pages,
        .gate = r->gate,
    };
    if (err == ERR_OK)
        err = router_open(&r->router, &settings);
    if (err == ERR_OK)
        err = http_server_open(&r->api, r->env.clock);
    if (err != ERR_OK)
        return no_start("the API", err, "");
    http_server_trust(r->api, api_trusts, r->gate);
    return listen_on(r->api, "SUBSCRIPTION_APP_LISTEN", r->config->subscription_app_listen,
                     runner_on_api, r, r->api_url);
}

/* ---- services ---- */

static enum err open_ledger(struct runner *r, struct ledger **out)
{
    return r->engines->ops->ledger(r->engines, out);
}

static enum err open_queue(struct runner *r, struct queue **out)
{
    return r->engines->ops->queue(r->engines, out);
}

/* The worker is counted only once it has a service. */
static enum err add_worker(struct runner *r, struct runner_worker **out)
{
    *out = runner_worker_add(r);
    return *out != NULL ? ERR_OK : ERR_NO_MEMORY;
}

static enum err add_paced_worker(struct runner *r, int64_t pace_us, struct runner_worker **out)
{
    enum err err = add_worker(r, out);

    if (err == ERR_OK && !r->engines->embedded)
        (*out)->pace_us = pace_us;
    return err;
}

static bool app_reply(void *ctx, const struct api_call *call, const struct http_response *response)
{
    (void)ctx;
    return http_reply(call->server, call->token, response);
}

static bool app_awaited(const struct api_call *call)
{
    return http_awaited(call->server, call->token);
}

static enum err open_app(struct runner *r)
{
    struct queue *queue = NULL;
    struct views *views = NULL;
    const struct subscription_app_settings settings = {
        .topic = r->config->topic,
        .store_courtesy_ms = r->config->store_courtesy_ms,
        .awaited = app_awaited,
    };
    enum err err = open_queue(r, &queue);

    if (err == ERR_OK)
        err = r->engines->ops->views(r->engines, &views);
    if (err == ERR_OK)
        err = add_paced_worker(r, APP_PACE_US, &r->app);
    if (err == ERR_OK)
        err = subscription_app_open(&r->app->service, &settings, views, queue, app_reply, NULL,
                                    r->metrics, runner_wake(r->app));
    if (err != ERR_OK) {
        views_close(views);
        queue_close(queue);
    }
    return err;
}

static enum err open_saver(struct runner *r)
{
    struct runner_worker *w = NULL;
    struct queue *queue = NULL;
    struct ledger *ledger = NULL;
    const struct saver_settings settings = {
        .topic = r->config->topic,
        .batch_size = r->config->batch_size,
        .retention_us = r->config->queue_retention_days * US_PER_DAY,
        .accept_partitions = r->config->accept_partitions,
    };
    enum err err = open_queue(r, &queue);

    if (err == ERR_OK)
        err = open_ledger(r, &ledger);
    if (err == ERR_OK)
        err = add_paced_worker(r, PACE_US, &w);
    if (err == ERR_OK)
        err = saver_open(&w->service, &settings, ledger, queue, r->metrics, runner_wake(w));
    if (err != ERR_OK) {
        ledger_close(ledger);
        queue_close(queue);
    }
    return err;
}

/* A processor on its own, in dev, takes the simulator where that listens by default. */
static const char *processor_url(const struct runner *r)
{
    if (r->config->processor[0] != '\0')
        return r->config->processor;
    return r->simulator_url[0] != '\0' ? r->simulator_url : PROCESSOR_PRESET;
}

static enum err open_gateway(struct runner *r, struct gateway **out)
{
    const struct processing_settings settings = {
        .url = processor_url(r),
        .token = r->config->processing_token,
        .timeout_ms = r->config->processing_timeout_ms,
        .promises = processing_promises_of(r->config),
    };
    enum err err = http_client_open(&r->client, r->env.clock);

    return err == ERR_OK ? processing_open(out, r->client, &settings, r->env.clock) : err;
}

static enum err open_processor(struct runner *r)
{
    struct ledger *ledger = NULL;
    struct gateway *gateway = NULL;
    const struct processor_settings settings = {
        .timeout_us = r->config->processing_timeout_ms * US_PER_MS,
        .reconcile_us = r->config->reconcile_interval_s * US_PER_S,
        .flights_max = r->engines->embedded ? EMBEDDED_FLIGHTS : 0,
        .limits = {.request_max_age_us = r->config->request_max_age_s * US_PER_S,
                   .refund_window_us = r->config->refund_window_days * US_PER_DAY},
    };
    enum err err = open_ledger(r, &ledger);

    /* The lock of the file says that whoever held a lease before is dead. */
    if (err == ERR_OK && r->engines->embedded)
        err = ledger_recover(ledger);
    if (err == ERR_OK)
        err = open_gateway(r, &gateway);
    if (err == ERR_OK)
        err = add_paced_worker(r, PACE_US, &r->processor);
    if (err == ERR_OK)
        err = processor_open(&r->processor->service, &settings, ledger, gateway, r->metrics,
                             runner_wake(r->processor));
    if (err != ERR_OK) {
        gateway_close(gateway);
        ledger_close(ledger);
    }
    return err;
}

static enum err open_notifier(struct runner *r)
{
    char directory[RUNNER_PATH];
    struct runner_worker *w = NULL;
    struct ledger *ledger = NULL;
    struct mailer *mailer = NULL;
    enum err err = open_ledger(r, &ledger);

    (void)snprintf(directory, sizeof directory, "%s/mail", r->config->data_dir);
    if (err == ERR_OK)
        err = directory_mailer_open(&mailer, directory, r->config->mail_from);
    if (err == ERR_IO)
        (void)snprintf(r->why, sizeof r->why, "%.400s: %s", directory, strerror(errno));
    if (err == ERR_OK)
        err = add_paced_worker(r, PACE_US, &w);
    if (err == ERR_OK)
        err = notifier_open(&w->service, ledger, mailer, r->metrics, runner_wake(w));
    if (err != ERR_OK) {
        mailer_close(mailer);
        ledger_close(ledger);
    }
    return err;
}

static enum err open_control(struct runner *r)
{
    struct runner_worker *w = NULL;
    struct ledger *ledger = NULL;
    struct queue *queue = NULL;
    enum err err = open_queue(r, &queue);

    if (err == ERR_OK)
        err = open_ledger(r, &ledger);
    if (err == ERR_OK)
        err = add_worker(r, &w);
    if (err == ERR_OK)
        err = control_open(&w->service, ledger, queue, r->processor->service, runner_wake(w));
    if (err != ERR_OK) {
        ledger_close(ledger);
        queue_close(queue);
        return err;
    }
    return http_listen_unix(r->api, r->config->data_dir, CONTROL_SOCKET, CONTROL_BODY_MAX,
                            control_on_request, w->service, r->why, sizeof r->why);
}

/* `listen`: the simulator of this process; its loop is its own. */
static int open_processing(struct runner *r)
{
    char why[RUNNER_WHY] = "";
    enum err err = add_worker(r, &r->processing);

    if (err == ERR_OK)
        err =
            processing_service_open(&r->processing->service, r->config, r->env.clock, r->env.random,
                                    r->metrics, runner_wake(r->processing), why, sizeof why);
    if (err == ERR_INVALID)
        return runner_complain(RUNNER_USAGE, "%s", why);
    if (err == ERR_OK)
        err = http_server_open(&r->simulator, r->env.clock);
    if (err != ERR_OK)
        return no_start("processing", err, why);
    return listen_on(r->simulator, "PROCESSING_LISTEN", r->config->processing_listen,
                     processing_on_request, r->processing->service, r->simulator_url);
}

/* ---- the store ---- */

static void store_changed(void *ctx, unsigned changes)
{
    struct runner *r = ctx;

    if (changes & LEDGER_CHANGE_PAYMENT)
        subscription_app_changed(r->app->service);
}

static int open_engines(struct runner *r)
{
    char why[RUNNER_WHY] = "";
    enum err err = engines_open(&r->engines, r->config, &r->env, why, sizeof why);

    if (err == ERR_OK)
        return RUNNER_DONE;
    bool usage = err == ERR_VERSION || err == ERR_INVALID || err == ERR_REFUSED;
    return runner_complain(usage ? RUNNER_USAGE : RUNNER_FAILED, "%s", why);
}

static int open_services(struct runner *r)
{
    const struct {
        enum runner_parts part;
        const char *name;
        enum err (*open)(struct runner *);
    } services[] = {{RUN_SUBSCRIPTION_APP, "subscription-app", open_app},
                    {RUN_SAVER, "saver", open_saver},
                    {RUN_PROCESSOR, "processor", open_processor},
                    {RUN_NOTIFIER, "notifier", open_notifier}};

    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        enum err err = r->parts & services[i].part ? services[i].open(r) : ERR_OK;
        if (err != ERR_OK)
            return no_start(services[i].name, err, r->why);
    }
    enum err err = r->engines->embedded ? open_control(r) : ERR_OK;
    if (err != ERR_OK)
        return no_start(CONTROL_SOCKET, err, r->why);
    if (r->app == NULL)
        return RUNNER_DONE;
    err = open_ledger(r, &r->watcher);
    if (err != ERR_OK)
        return no_start("the store", err, "");
    ledger_watch(r->watcher, store_changed, r);
    return RUNNER_DONE;
}

static bool simulates(const struct runner *r)
{
    return r->parts == RUN_PROCESSING ||
           ((r->parts & RUN_PROCESSING) && r->config->processor[0] == '\0');
}

int runner_open(struct runner *r)
{
    int code = RUNNER_DONE;

    r->metrics = metrics_open();
    if (r->metrics == NULL)
        return no_start("metrics", ERR_NO_MEMORY, "");
    runner_add_http_metrics(r);
    if (r->parts != RUN_PROCESSING)
        code = open_engines(r); /* first: a lock may say that this process may not be at all */
    if (code == RUNNER_DONE && (r->parts & RUN_SUBSCRIPTION_APP))
        code = open_api(r);
    if (code == RUNNER_DONE && simulates(r))
        code = open_processing(r);
    if (code == RUNNER_DONE)
        code = open_ops(r);
    return code == RUNNER_DONE && r->engines != NULL ? open_services(r) : code;
}

void runner_close(struct runner *r)
{
    if (r->watcher != NULL)
        ledger_watch(r->watcher, NULL, NULL);
    for (size_t i = 0; i < r->worker_count; i++) {
        struct runner_worker *w = &r->workers[i];
        if (w->service != NULL)
            w->service->ops->close(w->service);
        w->service = NULL;
    }
    ledger_close(r->watcher);
    if (r->api != NULL)
        http_server_close(r->api);
    if (r->simulator != NULL)
        http_server_close(r->simulator);
    if (r->ops != NULL)
        http_server_close(r->ops);
    http_client_close(r->client);
    if (r->router != NULL)
        router_close(r->router);
    pages_close(r->pages);
    gate_close(r->gate);
    if (r->verifier != NULL)
        jwt_verifier_close(r->verifier);
    engines_close(r->engines);
    metrics_close(r->metrics);
    for (size_t i = 0; i < r->worker_count; i++) /* last: nobody wakes anybody any more */
        close(r->workers[i].wake_fd);
}
