/* service.h: a service is a step.
 *
 * A step does what is ready and says when it wants to be called again. It never blocks but on the ledger,
 * whose verbs are synchronous; queue, gateway and mailer are submit now, completion as input of a later
 * step. No threads, no sleeping, no reading of clocks but env's: so the simulated world drives the very
 * same steps. One thread at a time; completions arrive through inboxes whose wake reaches the runner. */
#ifndef SUBPAY_SERVICES_SERVICE_H
#define SUBPAY_SERVICES_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/metrics.h"

#define SERVICE_IDLE_US (1 * US_PER_S) /* an idle step asks again after this, wake-ups or not */
#define SERVICE_PAUSE_MIN_US (100 * US_PER_MS) /* after a retriable error, doubled up to… */
#define SERVICE_PAUSE_MAX_US (5 * US_PER_S)

struct service;
struct service_ops {
    const char *name;
    /* The boot time of the next call; in the past: at once; TIME_NEVER is not allowed. */
    int64_t (*step)(struct service *, const struct env *env);
    /* From now on take no new work; drained: nothing of its own is in flight any more. */
    void (*drain)(struct service *);
    bool (*drained)(struct service *);
    /* NULL when ready, else a static text that names the failing part. Any thread. */
    const char *(*unready)(struct service *);
    /* Frees everything at once, finished or not: the polite end and the simulated crash are one thing. */
    void (*close)(struct service *);
};
struct service {
    const struct service_ops *ops;
};

static inline int64_t service_step(struct service *s, const struct env *env)
{
    return s->ops->step(s, env);
}

/* Growing pauses after retriable errors: one per kind of work. Logs once when trouble starts and once when it
 * ends; counts in between. */
struct trouble {
    int64_t pause_us, until_boot_us;
    int64_t since_boot_us, count;
};
/* What to do with err: OK clears; retriable sets the pause; returns err. */
enum err trouble_note(struct trouble *t, const struct env *env, const char *service,
                      const char *doing, enum err err, const char *why);
bool trouble_waits(const struct trouble *t, const struct env *env);

/* The wake-up a service is given at birth: the runner's eventfd; {0} in the simulated world. */
struct wake {
    void (*fn)(void *ctx);
    void *ctx;
};

#endif
