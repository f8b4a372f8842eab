/* Threads, and the loop that steps a service. */
#include "services/runner_inside.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES (8 * RUNNER_STACK_BYTES) /* instrumented frames are larger */
#else
#define STACK_BYTES RUNNER_STACK_BYTES
#endif

static void *thread_run(void *arg)
{
    struct runner_thread *t = arg;

    t->run(t->ctx);
    return NULL;
}

/* The caller has all signals blocked, and a thread inherits that. */
bool runner_start(struct runner *r, struct runner_thread **out, const char *name,
                  void (*run)(void *), void *ctx)
{
    pthread_attr_t attributes;

    assert(r->thread_count < RUNNER_THREADS_MAX);
    struct runner_thread *t = &r->threads[r->thread_count];
    *t = (struct runner_thread){.run = run, .ctx = ctx};
    if (pthread_attr_init(&attributes) != 0)
        return false;
    t->running = pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
                 pthread_create(&t->id, &attributes, thread_run, t) == 0;
    pthread_attr_destroy(&attributes);
    if (!t->running)
        return false;
    char shown[16];
    (void)text_copy_n(shown, sizeof shown, name, strnlen(name, sizeof shown - 1));
    (void)pthread_setname_np(t->id, shown);
    r->thread_count++;
    *out = t;
    return true;
}

bool runner_ended(struct runner_thread *t)
{
    if (t != NULL && t->running && pthread_tryjoin_np(t->id, NULL) == 0)
        t->running = false;
    return t == NULL || !t->running;
}

struct runner_worker *runner_worker_add(struct runner *r)
{
    assert(r->worker_count < RUNNER_WORKERS_MAX);
    struct runner_worker *w = &r->workers[r->worker_count];

    w->env = &r->env;
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->wake_fd < 0)
        return NULL;
    r->worker_count++;
    return w;
}

/* One write for any number of wake-ups until the worker has seen it. */
void runner_worker_wake(void *worker)
{
    struct runner_worker *w = worker;
    const uint64_t one = 1;

    if (!atomic_exchange(&w->signalled, true) && write(w->wake_fd, &one, sizeof one) < 0)
        atomic_store(&w->signalled,
                     false); /* the next one tries again; the worker looks by itself */
}

struct wake runner_wake(struct runner_worker *w)
{
    return (struct wake){runner_worker_wake, w};
}

static void worker_pause(const struct runner_worker *w, int64_t until_boot_us, bool may_be_woken)
{
    int64_t left_us = until_boot_us - clock_boot_us(w->env->clock);
    struct timespec left = {.tv_sec = left_us / US_PER_S, .tv_nsec = (left_us % US_PER_S) * 1000};
    struct pollfd wake = {.fd = w->wake_fd, .events = POLLIN};

    if (left_us > 0)
        (void)ppoll(&wake, may_be_woken, &left, NULL); /* cut short: a step more */
}

/* Who is woken soon after the last step waits a little for what else comes: a transaction costs much the same for one
 * as for many. */
static void worker_sleep(struct runner_worker *w, int64_t began_boot_us, int64_t until_boot_us)
{
    uint64_t count;

    if (until_boot_us > clock_boot_us(w->env->clock)) { /* else there is more to be done */
        worker_pause(w, until_boot_us, true);
        if (!atomic_load(&w->stop))
            worker_pause(w, began_boot_us + w->pace_us, false);
    }
    if (!atomic_load(&w->signalled))
        return;
    /* Emptied first, then open for the next signal: the step that follows sees what the last one meant. */
    if (read(w->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        return;
    atomic_store(&w->signalled, false);
}

void runner_worker_run(void *worker)
{
    struct runner_worker *w = worker;

    while (!atomic_load(&w->stop)) {
        int64_t began_us = clock_boot_us(w->env->clock);
        worker_sleep(w, began_us, service_step(w->service, w->env));
    }
}
