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

#define OPS_LISTEN_OF_PROCESSING "127.0.0.1:9104" /* contract section 4: the fourth service */

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

static int open_ops(struct runner *r, struct http_server *server, const char *preset)
{
    const char *address = r->config->ops_listen_given ? r->config->ops_listen : preset;

    if (strcmp(address, "off") == 0)
        return RUNNER_DONE;
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
    int code = listen_on(r->api, "SUBSCRIPTION_APP_LISTEN", r->config->subscription_app_listen,
                         runner_on_api, r, r->api_url);
    return code == RUNNER_DONE ? open_ops(r, r->api, r->config->ops_listen) : code;
}

/* ---- services ---- */

static enum err open_reader(struct runner *r, struct db **out)
{
    assert(r->reader_count < RUNNER_READERS_MAX);
    enum err err = embedded_reader(r->embedded, out);

    if (err == ERR_OK)
        r->readers[r->reader_count++] = *out;
    return err;
}

static enum err open_queue(struct runner *r, struct queue **out)
{
    struct db *reader = NULL;
    enum err err = open_reader(r, &reader);

    return err == ERR_OK ? local_queue_open(out, r->hub, reader) : err;
}

/* The worker is counted only once it has a service. */
static enum err add_worker(struct runner *r, struct runner_worker **out)
{
    *out = runner_worker_add(r);
    return *out != NULL ? ERR_OK : ERR_NO_MEMORY;
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
        err = embedded_views(r->embedded, &views);
    if (err == ERR_OK)
        err = add_worker(r, &r->app);
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
    };
    enum err err = open_queue(r, &queue);

    if (err == ERR_OK)
        err = embedded_ledger(r->embedded, &ledger);
    if (err == ERR_OK)
        err = add_worker(r, &w);
    if (err == ERR_OK)
        err = saver_open(&w->service, &settings, ledger, queue, r->metrics, runner_wake(w));
    if (err != ERR_OK) {
        ledger_close(ledger);
        queue_close(queue);
    }
    return err;
}

static enum err open_gateway(struct runner *r, struct gateway **out)
{
    const struct processing_settings settings = {
        .url = r->config->processor[0] != '\0' ? r->config->processor : r->simulator_url,
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
        .limits = {.request_max_age_us = r->config->request_max_age_s * US_PER_S,
                   .refund_window_us = r->config->refund_window_days * US_PER_DAY},
    };
    enum err err = embedded_ledger(r->embedded, &ledger);

    /* The lock of the file says that whoever held a lease before is dead. */
    if (err == ERR_OK)
        err = ledger_recover(ledger);
    if (err == ERR_OK)
        err = open_gateway(r, &gateway);
    if (err == ERR_OK)
        err = add_worker(r, &r->processor);
    if (err == ERR_OK)
        err = processor_open(&r->processor->service, &settings, ledger, gateway, r->metrics,
                             runner_wake(r->processor));
    if (err != ERR_OK) {
        gateway_close(gateway);
        ledger_close(ledger);
    }
    return err;
}

static enum err open_notifier(struct runner *r, char *why, size_t why_cap)
{
    char directory[RUNNER_PATH];
    struct runner_worker *w = NULL;
    struct ledger *ledger = NULL;
    struct mailer *mailer = NULL;
    enum err err = embedded_ledger(r->embedded, &ledger);

    (void)snprintf(directory, sizeof directory, "%s/mail", r->config->data_dir);
    if (err == ERR_OK)
        err = directory_mailer_open(&mailer, directory, r->config->mail_from);
    if (err == ERR_IO)
        (void)snprintf(why, why_cap, "%.400s: %s", directory, strerror(errno));
    if (err == ERR_OK)
        err = add_worker(r, &w);
    if (err == ERR_OK)
        err = notifier_open(&w->service, ledger, mailer, r->metrics, runner_wake(w));
    if (err != ERR_OK) {
        mailer_close(mailer);
        ledger_close(ledger);
    }
    return err;
}

static enum err open_control(struct runner *r, char *why, size_t why_cap)
{
    struct runner_worker *w = NULL;
    struct ledger *ledger = NULL;
    struct queue *queue = NULL;
    enum err err = open_queue(r, &queue);

    if (err == ERR_OK)
        err = embedded_ledger(r->embedded, &ledger);
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
                            control_on_request, w->service, why, why_cap);
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

static enum err create_topics(struct runner *r)
{
    char rejected[CONFIG_TEXT];
    struct queue *queue = NULL;
    enum err err = open_queue(r, &queue);

    (void)snprintf(rejected, sizeof rejected, "%.*s.rejected", QUEUE_TOPIC_MAX, r->config->topic);
    if (err == ERR_OK)
        err = queue_create(queue, r->config->topic, 1);
    if (err == ERR_OK)
        err = queue_create(queue, rejected, 1);
    queue_close(queue);
    return err;
}

static void store_changed(void *ctx, unsigned changes)
{
    struct runner *r = ctx;

    if (changes & LEDGER_CHANGE_PAYMENT)
        subscription_app_changed(r->app->service);
}

static int open_store(struct runner *r)
{
    char why[RUNNER_WHY] = "";
    enum err err = embedded_open(&r->embedded, r->config->data_dir, r->env.clock, r->env.random,
                                 why, sizeof why);

    if (err != ERR_OK)
        return runner_complain(
            err == ERR_VERSION || err == ERR_INVALID ? RUNNER_USAGE : RUNNER_FAILED,
            "DATA_DIR=%s: %s", r->config->data_dir, why[0] != '\0' ? why : err_text(err));
    err = local_queue_hub_open(&r->hub, embedded_writer(r->embedded), r->env.clock, r->env.random);
    if (err == ERR_OK)
        err = create_topics(r);
    if (err == ERR_OK)
        err = embedded_ledger(r->embedded, &r->watcher);
    return err == ERR_OK ? RUNNER_DONE : no_start("the store", err, "");
}

static int open_services(struct runner *r)
{
    char why[RUNNER_WHY] = "";
    const struct {
        const char *name;
        enum err (*open)(struct runner *);
    } services[] = {
        {"subscription-app", open_app}, {"saver", open_saver}, {"processor", open_processor}};

    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        enum err err = services[i].open(r);
        if (err != ERR_OK)
            return no_start(services[i].name, err, "");
    }
    enum err err = open_notifier(r, why, sizeof why);
    if (err != ERR_OK)
        return no_start("notifier", err, why);
    err = open_control(r, why, sizeof why);
    if (err != ERR_OK)
        return no_start(CONTROL_SOCKET, err, why);
    ledger_watch(r->watcher, store_changed, r);
    return RUNNER_DONE;
}

int runner_open(struct runner *r)
{
    int code = RUNNER_DONE;

    r->metrics = metrics_open();
    if (r->metrics == NULL)
        return no_start("metrics", ERR_NO_MEMORY, "");
    runner_add_http_metrics(r);
    if (r->parts == RUN_PROCESSING) {
        code = open_processing(r);
        return code == RUNNER_DONE ? open_ops(r, r->simulator, OPS_LISTEN_OF_PROCESSING) : code;
    }
    code = open_store(r); /* first: the lock of the file says whether this process may be at all */
    if (code == RUNNER_DONE)
        code = open_api(r);
    if (code == RUNNER_DONE && r->config->processor[0] == '\0')
        code = open_processing(r);
    return code == RUNNER_DONE ? open_services(r) : code;
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
    http_client_close(r->client);
    if (r->router != NULL)
        router_close(r->router);
    pages_close(r->pages);
    gate_close(r->gate);
    if (r->verifier != NULL)
        jwt_verifier_close(r->verifier);
    local_queue_hub_close(r->hub);
    for (size_t i = 0; i < r->reader_count; i++)
        embedded_reader_close(r->embedded, r->readers[i]);
    embedded_close(r->embedded);
    metrics_close(r->metrics);
    for (size_t i = 0; i < r->worker_count; i++) /* last: nobody wakes anybody any more */
        close(r->workers[i].wake_fd);
}
