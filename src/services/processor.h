/* processor.h: ledger ↔ gateway. Claims due users, sends what was decided, settles definite answers, and asks
 * about the rest by key with growing pauses until there is one. Never a verdict by timer (rule 6). */
#ifndef SUBPAY_SERVICES_PROCESSOR_H
#define SUBPAY_SERVICES_PROCESSOR_H

#include "gateway/gateway.h"
#include "ledger/ledger.h"
#include "services/service.h"

#define PROCESSOR_LEASE_SLACK_US (2 * US_PER_S) /* lease = time-out of a call + this */
#define PROCESSOR_DRAIN_US (5 * US_PER_S)       /* calls in flight get this on SIGTERM */

#define PROCESSOR_RECONCILE_US (600 * US_PER_S) /* rule 11, where the settings say 0 */
/* What a processor that starts has to read before it may send is a matter of a second, then. */
#define PROCESSOR_RECONCILE_CALLS 10000
#define PROCESSOR_DECISIONS_MAX 8 /* of people, inside at a time */
/* Calls are kept for the instance, the journal, and people's decisions. */
#define PROCESSOR_FLIGHTS_MIN 4
#define PROCESSOR_FLIGHTS_MAX (GATEWAY_IN_FLIGHT_MAX - 2 - PROCESSOR_DECISIONS_MAX)

struct processor_settings {
    int64_t timeout_us;     /* of a call */
    int64_t reconcile_us;   /* between two readings of the journal … */
    size_t reconcile_calls; /* … or so many answers; 0: PROCESSOR_RECONCILE_CALLS */
    size_t
        flights_max; /* payments in the air at a time; 0: PROCESSOR_FLIGHTS_MAX, which is the most */
    struct decide_limits limits;
};
/* Handles are taken over when OK. */
enum err processor_open(struct service **out, const struct processor_settings *settings,
                        struct ledger *ledger, struct gateway *gateway, struct metrics *metrics,
                        struct wake wake) MUST_CHECK;

/* What a person says of a payment that shows needs_decision (rule 10). */
struct processor_decision {
    struct uuid payment_id;
    enum payment_status outcome;            /* accepted, decline or error */
    char evidence[LEDGER_EVIDENCE_MAX + 1]; /* a text, not empty */
    char actor[LEDGER_ACTOR_MAX + 1];       /* admin:<user_id> or operator:<login> */
};
enum decided {
    DECIDED,            /* recorded */
    DECIDED_ANSWERED,   /* the processing has answered: that was recorded instead (409) */
    DECIDED_NOT_NEEDED, /* it does not show needs_decision, or is settled by now (409) */
    DECIDED_UNANSWERED, /* its key could not be voided: nothing was changed (409) */
    DECIDED_UNKNOWN,    /* no such payment (404) */
    DECIDED_LATER,      /* nothing was changed; try again: the store is away, or a shutdown (503) */
};
struct decided_outcome {
    enum decided decided;
    enum payment_status outcome; /* DECIDED and ANSWERED: what stands in the books now */
    char why[160];               /* for the person; "" when there is no more to say */
};
/* In the processor's thread, exactly once per decision that was taken. */
typedef void processor_decided(void *ctx, uint64_t token, const struct decided_outcome *outcome);
/* Any thread. ERR_BUSY: PROCESSOR_DECISIONS_MAX are inside; ERR_STOPPED: shutting down; ERR_INVALID: no evidence, no
 * actor, or no outcome that a person may give. Then `done` is not called. */
enum err processor_decide(struct service *processor, const struct processor_decision *decision,
                          processor_decided *done, void *ctx, uint64_t token) MUST_CHECK;

#endif
