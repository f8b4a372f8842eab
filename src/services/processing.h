/* processing.h: the simulator of the external payment processing (contract section 7), with a durable journal.
 *
 * Not a part of the product's promises: the world outside, for development and tests. The rules of an answer
 * (outcome of a key, fault of a call, latency) are pure functions of seed, key and count, so a run repeats.
 * HTTP comes in through processing_on_request in a loop's thread; steps decide, write the journal
 * (DATA_DIR/processing.db, group commit) and reply when latency has passed.
 *
 * Choices where the contract is silent: faults befall the calls that may have an effect (POST of a transaction
 * and of a void), never the questions, so that the truth can always be learnt; the count of a key's calls
 * starts anew with the process; a refund is never pending; `GET /transactions` also takes limit=. */
#ifndef SUBPAY_SERVICES_PROCESSING_H
#define SUBPAY_SERVICES_PROCESSING_H

#include "base/config.h"
#include "base/random.h"
#include "base/uuid.h"
#include "base/writer.h"
#include "http/server.h"
#include "services/service.h"

#define SIMULATOR_OPEN_MAX 4096 /* calls inside; more get 503 */
#define SIMULATOR_HELD_MAX 1024 /* of them held without an answer; the oldest is closed */
#define SIMULATOR_HELD_US (120 * US_PER_S) /* then its connection is closed */
#define SIMULATOR_PAGE_MAX 10000           /* lines of the journal in one answer */
#define SIMULATOR_PAGE_BYTES                                                                       \
    (8 * 1024 * 1024) /* a page ends early after the line that reaches this */
#define SIMULATOR_LATENCY_MAX_MS 600000

/* The journal is DATA_DIR/processing.db; its writer is made here, the thread of it is the runner's. ERR_INVALID: a
 * setting, why names it. ERR_LOCKED: another simulator has that journal, why names its pid. */
enum err processing_service_open(struct service **out, const struct config *config,
                                 struct clock *clock, struct random *random,
                                 struct metrics *metrics, struct wake wake, char *why,
                                 size_t why_cap) MUST_CHECK;
http_on_request processing_on_request; /* ctx = the service */
struct writer *processing_service_writer(struct service *s);

/* The rules, pure; also used by the simulated world. */
struct simulator_rules {
    double success, decline, error, pending; /* sum 1 */
    int64_t latency_min_us, latency_max_us;
    double fault_timeout, fault_drop, fault_500; /* sum at most 1 */
    uint64_t seed;
    int64_t pending_us, key_ttl_us; /* TIME_NEVER: remembered for ever */
};
enum simulator_outcome { SIM_SUCCESS, SIM_DECLINE, SIM_ERROR, SIM_PENDING };
enum simulator_fault { FAULT_NONE, FAULT_TIMEOUT, FAULT_DROP, FAULT_500 };
enum err simulator_rules_parse(const struct config *config, struct simulator_rules *out, char *why,
                               size_t why_cap) MUST_CHECK;
enum simulator_outcome simulator_outcome_of(const struct simulator_rules *r,
                                            const struct uuid *key);
/* The fault of the n-th call of a key; *executed: before (false) or after (true) the effect. */
enum simulator_fault simulator_fault_of(const struct simulator_rules *r, const struct uuid *key,
                                        int64_t n, bool *executed);
int64_t simulator_latency_us(const struct simulator_rules *r, const struct uuid *key, int64_t n);

#endif
