/* runner.h: the only place with threads. Starts what a command needs, prints where it is, waits for SIGTERM or
 * SIGINT, drains within 10 s, and ends. Each service has a thread that steps it, sleeps on an eventfd until
 * the time the step named, and is woken by inboxes and watchers. */
#ifndef SUBPAY_SERVICES_RUNNER_H
#define SUBPAY_SERVICES_RUNNER_H

#include "base/config.h"

#define RUNNER_DRAIN_S 10
#define RUNNER_TRIM_S 10                    /* how often free memory is looked at … */
#define RUNNER_FREE_BYTES (4 * 1024 * 1024) /* … and given back when there is more of it */
#define RUNNER_STACK_BYTES (512 * 1024)

enum runner_parts { RUN_ALL, RUN_PROCESSING };
/* The exit code of the process (contract section 3). */
int runner_run(const struct config *config, enum runner_parts parts);

#endif
