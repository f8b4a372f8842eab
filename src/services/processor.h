/* processor.h: ledger ↔ gateway. Claims due users, sends what was decided, settles definite answers, and asks
 * about the rest by key with growing pauses until there is one. Never a verdict by timer (rule 6). */
#ifndef SUBPAY_SERVICES_PROCESSOR_H
#define SUBPAY_SERVICES_PROCESSOR_H

#include "gateway/gateway.h"
#include "ledger/ledger.h"
#include "services/service.h"

#define PROCESSOR_PAUSE_MIN_US (1 * US_PER_S)   /* rule 6: doubles from 1 s … */
#define PROCESSOR_PAUSE_MAX_US (300 * US_PER_S) /* … to 5 min, with jitter */
#define PROCESSOR_LEASE_SLACK_US (2 * US_PER_S) /* lease = time-out of a call + this */
#define PROCESSOR_DRAIN_US (5 * US_PER_S)       /* calls in flight get this on SIGTERM */

struct processor_settings {
    int64_t timeout_us; /* of a call */
    struct decide_limits limits;
};
enum err processor_open(struct service **out, const struct processor_settings *settings,
                        struct ledger *ledger, struct gateway *gateway, struct metrics *metrics,
                        struct wake wake) MUST_CHECK;

#endif
