/* runner.h: the only place with threads. Starts what a command needs, prints where it is, waits for SIGTERM or
 * SIGINT, drains within 10 s, and ends, also when the store does not answer: what is not known then is left as
 * by a crash. Each service has a thread that steps it, sleeps on an eventfd until the time the step named, and
 * is woken by inboxes and watchers. */
#ifndef SUBPAY_SERVICES_RUNNER_H
#define SUBPAY_SERVICES_RUNNER_H

#include "base/config.h"

#define RUNNER_DRAIN_S 10
#define RUNNER_TRIM_S 10                    /* how often free memory is looked at … */
#define RUNNER_FREE_BYTES (4 * 1024 * 1024) /* … and given back when there is more of it */
#define RUNNER_STACK_BYTES (512 * 1024)

/* Which services the process has. RUN_PROCESSING beside others: the simulator, if PROCESSOR is unset. */
enum runner_parts {
    RUN_SUBSCRIPTION_APP = 1,
    RUN_SAVER = 2,
    RUN_PROCESSOR = 4,
    RUN_PROCESSING = 8,
    RUN_NOTIFIER = 16,
    RUN_ALL = 31,
};
/* The exit code of the process (contract section 3). On embedded engines: RUN_ALL or RUN_PROCESSING. */
int runner_run(const struct config *config, unsigned parts);

#endif
