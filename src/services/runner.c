#include "services/runner.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "services/processing.h"
#include "services/runner_inside.h"

#define RUNNER_NAME "run"
#define RUNNER_CALLS_US                                                                            \
    (6 * US_PER_S) /* calls in flight get 5 s, and a moment to be written down */
#define RUNNER_STORE_US                                                                            \
    (1 * US_PER_S) /* then a store that does not answer is waited for no longer */
#define RUNNER_SECOND_SIGNAL_US                                                                    \
    (300 * US_PER_MS)          /* `timeout` and shells send the first one twice */
#define RUNNER_LOOK_NS 5000000 /* between looks while ending */

static void block_signals(sigset_t *ending)
{
    sigset_t all;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
    sigemptyset(ending);
    sigaddset(ending, SIGTERM);
    sigaddset(ending, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* ---- start ---- */

static void run_engines(void *ctx)
{
    struct engines *e = ctx;

    e->ops->run(e);
}

static void run_writer(void *ctx)
{
    writer_run(ctx);
}

static void run_server(void *ctx)
{
    http_server_run(ctx);
}

static void run_client(void *ctx)
{
    http_client_run(ctx);
}

/* Those who are asked before those who ask. */
static bool start_threads(struct runner *r)
{
    bool ok = true;

    if (r->engines != NULL)
        ok = runner_start(r, &r->engines_thread, "engines", run_engines, r->engines);
    if (ok && r->processing != NULL)
        ok = runner_start(r, &r->journal_thread, "journal", run_writer,
                          processing_service_writer(r->processing->service));
    if (ok && r->simulator != NULL)
        ok = runner_start(r, &r->simulator_thread, "simulator", run_server, r->simulator);
    if (ok && r->client != NULL)
        ok = runner_start(r, &r->client_thread, "client", run_client, r->client);
    for (size_t i = 0; ok && i < r->worker_count; i++)
        ok = runner_start(r, &r->workers[i].thread, r->workers[i].service->ops->name,
                          runner_worker_run, &r->workers[i]);
    if (ok && r->api != NULL)
        ok = runner_start(r, &r->api_thread, "api", run_server, r->api);
    if (ok && r->ops != NULL)
        ok = runner_start(r, &r->ops_thread, "ops", run_server, r->ops);
    return ok;
}

/* ---- end ---- */

static int64_t ending_us(const struct runner *r)
{
    return clock_boot_us(r->env.clock) - r->stop_boot_us;
}

/* A moment; a second signal, or the end of patience, ends the process at once: a crash is a normal way to stop. */
static void end_pause(const struct runner *r, const sigset_t *ending)
{
    const struct timespec moment = {.tv_nsec = RUNNER_LOOK_NS};

    if (sigtimedwait(ending, NULL, &moment) > 0 && ending_us(r) > RUNNER_SECOND_SIGNAL_US)
        _exit(RUNNER_FAILED);
    if (ending_us(r) > (RUNNER_DRAIN_S - 1) * US_PER_S)
        _exit(RUNNER_FAILED);
}

static void end_thread(const struct runner *r, const sigset_t *ending, struct runner_thread *t)
{
    while (!runner_ended(t))
        end_pause(r, ending);
}

static void end_worker(const struct runner *r, const sigset_t *ending, struct runner_worker *w)
{
    atomic_store(&w->stop, true);
    runner_worker_wake(w);
    end_thread(r, ending, w->thread);
}

static bool all_drained(const struct runner *r)
{
    if (r->api != NULL && http_server_open_requests(r->api) > 0)
        return false;
    for (size_t i = 0; i < r->worker_count; i++) {
        struct service *s = r->workers[i].service;
        if (&r->workers[i] != r->processing && !s->ops->drained(s))
            return false;
    }
    return true;
}

/* No new work from now on; calls in flight get their time. The simulator goes on: it owes answers. */
static void end_politely(struct runner *r, const sigset_t *ending)
{
    if (r->api != NULL)
        http_server_drain(r->api);
    for (size_t i = 0; i < r->worker_count; i++) {
        struct service *s = r->workers[i].service;
        if (&r->workers[i] == r->processing)
            continue;
        s->ops->drain(s);
        runner_worker_wake(&r->workers[i]);
    }
    while (!all_drained(r) && ending_us(r) < RUNNER_CALLS_US)
        end_pause(r, ending);
    if (r->engines != NULL)
        r->engines->ops->hurry(r->engines, clock_boot_us(r->env.clock) + RUNNER_STORE_US);
}

static void end_simulator(struct runner *r, const sigset_t *ending)
{
    if (r->processing == NULL)
        return;
    struct service *s = r->processing->service;
    int64_t until_us = ending_us(r) + US_PER_S;

    http_server_drain(r->simulator);
    s->ops->drain(s);
    runner_worker_wake(r->processing);
    while (!s->ops->drained(s) && ending_us(r) < until_us)
        end_pause(r, ending);
    http_server_stop(r->simulator);
    end_thread(r, ending, r->simulator_thread);
    end_worker(r, ending, r->processing);
    writer_stop(processing_service_writer(s));
    end_thread(r, ending, r->journal_thread);
}

static void end_all(struct runner *r, const sigset_t *ending)
{
    r->stop_boot_us = clock_boot_us(r->env.clock);
    end_politely(r, ending);
    if (r->api != NULL) {
        http_server_stop(r->api);
        end_thread(r, ending, r->api_thread);
    }
    for (size_t i = 0; i < r->worker_count; i++)
        if (&r->workers[i] != r->processing)
            end_worker(r, ending, &r->workers[i]);
    end_simulator(r, ending);
    if (r->client != NULL) {
        http_client_stop(r->client);
        end_thread(r, ending, r->client_thread);
    }
    if (r->engines != NULL) {
        r->engines->ops->stop(r->engines);
        end_thread(r, ending, r->engines_thread);
    }
    if (r->ops != NULL) { /* last: until then it says how far the end is */
        http_server_stop(r->ops);
        end_thread(r, ending, r->ops_thread);
    }
}

/* ---- in between ---- */

/* Memory that a load has left behind goes back to the system: who runs this counts on its resting size. */
static int wait_for_signal(const sigset_t *ending)
{
    const struct timespec look = {.tv_sec = RUNNER_TRIM_S};
    int signal_number;
    while ((signal_number = sigtimedwait(ending, NULL, &look)) < 0)
        if (errno == EAGAIN && mallinfo2().fordblks > RUNNER_FREE_BYTES)
            malloc_trim(0);
    return signal_number;
}

static int run_until_signal(struct runner *r, const sigset_t *ending)
{
    bool started = start_threads(r);

    if (started) {
        runner_print(r);
        log_event(&r->log, LOG_INFO, RUNNER_NAME, "started", F_STR("data", r->config->data_dir));
        int signal_number = wait_for_signal(ending);
        log_event(&r->log, LOG_INFO, RUNNER_NAME, "stopping", F_NUM("signal", signal_number));
    } else {
        (void)runner_complain(RUNNER_FAILED, "threads cannot be started");
    }
    end_all(r, ending);
    if (started)
        log_event(&r->log, LOG_INFO, RUNNER_NAME, "stopped", F_NUM("ms", ending_us(r) / US_PER_MS));
    return started ? RUNNER_DONE : RUNNER_FAILED;
}

/* Until it is open nobody looks at signals; what fails meanwhile has been said, and is no failure of the end. */
static bool ended_early(struct runner *r, const sigset_t *ending)
{
    int signal_number = sigtimedwait(ending, NULL, &(struct timespec){0});

    if (signal_number > 0)
        log_event(&r->log, LOG_INFO, RUNNER_NAME, "stopped before it was ready",
                  F_NUM("signal", signal_number));
    return signal_number > 0;
}

static void warn(struct runner *r)
{
    char why[RUNNER_WHY];

    if ((r->parts & RUN_SUBSCRIPTION_APP) && config_warns(r->config, why, sizeof why))
        log_event(&r->log, LOG_WARN, RUNNER_NAME, "configuration", F_STR("why", why));
}

int runner_run(const struct config *config, unsigned parts)
{
    sigset_t ending;
    struct runner *r = calloc(1, sizeof *r);

    if (r == NULL)
        return runner_complain(RUNNER_FAILED, "out of memory");
    /* Each thread with an arena of its own would be megabytes of rest. */
    (void)mallopt(M_ARENA_MAX, 2);
    block_signals(&ending);
    r->config = config;
    r->parts = parts;
    r->log = (struct log){
        .fd = STDERR_FILENO,
        .level = (enum log_level)config->log_level,
        .json = config->log_json,
        .clock = clock_real(),
    };
    r->env = (struct env){clock_real(), random_real(), &r->log};
    warn(r);
    int code = runner_open(r);
    if (code == RUNNER_DONE)
        code = run_until_signal(r, &ending);
    else if (code == RUNNER_FAILED && ended_early(r, &ending))
        code = RUNNER_DONE;
    runner_close(r);
    free(r);
    return code;
}
