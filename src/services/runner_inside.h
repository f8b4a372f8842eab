/* runner_inside.h: what the files of the runner share. */
#ifndef SUBPAY_SERVICES_RUNNER_INSIDE_H
#define SUBPAY_SERVICES_RUNNER_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/random.h"
#include "base/str.h"
#include "http/client.h"
#include "http/gate.h"
#include "http/jwt.h"
#include "http/pages.h"
#include "http/router.h"
#include "services/engines.h"
#include "services/runner.h"
#include "services/service.h"

#define RUNNER_WORKERS_MAX 6
#define RUNNER_THREADS_MAX 16
#define RUNNER_CODES 18 /* HTTP statuses that have a counter of their own */
#define RUNNER_WHY 512
#define RUNNER_PATH (CONFIG_TEXT + 32)
#define RUNNER_URL 320

/* Contract section 3. */
enum { RUNNER_DONE = 0, RUNNER_FAILED = 1, RUNNER_USAGE = 2 };

/* A thread with a loop inside that ends when it is told to. */
struct runner_thread {
    pthread_t id;
    bool running;
    void (*run)(void *ctx);
    void *ctx;
};

/* A thread that steps a service, and sleeps on an eventfd until the time the step named. */
struct runner_worker {
    struct service *service;
    const struct env *env;
    int wake_fd;
    int64_t
        pace_us; /* a step that is called early begins so long after the one before; 0: at once */
    atomic_bool signalled, stop;
    struct runner_thread *thread;
};

struct runner {
    const struct config *config;
    unsigned parts; /* enum runner_parts */
    struct log log;
    struct env env; /* the real world; its parts may be used by any thread */
    struct metrics *metrics;
    struct metric *http_codes[RUNNER_CODES], *http_other;

    struct engines *engines; /* NULL: the simulator alone has none */
    struct ledger *watcher;  /* wakes the API */

    struct runner_worker workers[RUNNER_WORKERS_MAX];
    size_t worker_count;
    struct runner_worker *app, *processor, *processing; /* NULL: not part of this process */
    struct runner_thread threads[RUNNER_THREADS_MAX];
    size_t thread_count;
    struct runner_thread *api_thread, *simulator_thread, *client_thread, *engines_thread,
        *journal_thread, *ops_thread;

    struct http_server *api, *simulator, *ops; /* loops; ops: of a process without another one */
    struct http_client *client;
    struct jwt_verifier *verifier;
    struct pages *pages;
    struct gate *gate;
    struct router *router;
    char api_url[RUNNER_URL], ops_url[RUNNER_URL],
        simulator_url[RUNNER_URL]; /* "": not listening */

    char why[RUNNER_WHY]; /* what failed while opening, for the line on stderr */
    int64_t stop_boot_us; /* when the first signal came */
};

/* runner_thread.c. False: it cannot be started. All signals are blocked in every thread. name: what `top -H` and
 * debuggers show, at most 15 bytes of it. */
bool runner_start(struct runner *r, struct runner_thread **out, const char *name,
                  void (*run)(void *), void *ctx) MUST_CHECK;
/* Its wake is given to the service; the thread starts later. NULL: no eventfd. */
struct runner_worker *runner_worker_add(struct runner *r);
void runner_worker_run(void *worker); /* for runner_start */
void runner_worker_wake(void *worker);
struct wake runner_wake(struct runner_worker *w);
/* Has the thread ended? It is joined then. */
bool runner_ended(struct runner_thread *t);

/* runner_open.c: everything that is open before a thread runs. RUNNER_DONE, or the exit code after the line on stderr. */
int runner_open(struct runner *r) MUST_CHECK;
/* After all threads have ended; also after a failed open. */
void runner_close(struct runner *r);
int runner_complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* runner_ops.c: health in detail and metrics, on the listener of those who run it. */
http_on_request runner_on_ops; /* ctx = the runner */
http_on_request runner_on_api; /* likewise */
void runner_add_http_metrics(struct runner *r);

/* runner_print.c: where everything is. */
void runner_print(const struct runner *r);

#endif
