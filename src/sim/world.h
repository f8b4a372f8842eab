/* world.h: the simulated world: the shipped steps in one thread under one seed.
 *
 * A world is a clock that moves only when asked, an embedded store in memory, the local queue over it, a
 * processing and a mail server that delay, lose, duplicate, reorder and answer late, users who ask, and the
 * services. A crash closes a service between any two of its side effects (a switch in front of ledger, queue,
 * gateway and mailer lets nothing out any more) and a new one is opened on the same store. By the seed some worlds
 * have a processing that promises less, is away or is replaced, a store whose clock steps or that is restored from
 * a backup, or people who decide. A run ends when the world has healed and come to rest, with the audit. Same seed,
 * same story. */
#ifndef SUBPAY_SIM_WORLD_H
#define SUBPAY_SIM_WORLD_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct world_settings {
    uint64_t seed;
    int users, requests;                 /* how many of each */
    double crash, lose, late, duplicate; /* chance per side effect */
    bool trace;                          /* print the story */
    const char *database_url; /* of fresh tables on PostgreSQL; NULL: the embedded store */
};
/* What has to be seen in many worlds, or they show less than they say. */
enum world_seen {
    SEEN_RESTORES,
    SEEN_CLOCK_STEPS,
    SEEN_OUTAGES,
    SEEN_STRANGERS,    /* records that are to be rejected */
    SEEN_REPLACEMENTS, /* of the processing by another instance, for a while or for good */
    SEEN_REFUNDED,
    SEEN_VOIDED,       /* payments that ended by a void: not_answered … */
    SEEN_SUPERSEDED,   /* … because a newer request came while the payer was waited for … */
    SEEN_EXPIRED,      /* … because the payer did not come */
    SEEN_DECIDED,      /* by people */
    SEEN_CONTRADICTED, /* of those, by the processing */
    SEEN_LEARNED,      /* payments that a restored store learned of */
    SEEN_COUNT,
};
extern const char *const WORLD_SEEN[SEEN_COUNT];

struct world_result {
    bool ok;
    char why[400]; /* what is wrong, when not ok */
    int64_t requests, accepted, duplicated, crashes, calls, steps;
    int64_t seen[SEEN_COUNT];
};
void world_defaults(struct world_settings *s, uint64_t seed);
/* One whole life. Result ok=false also when it does not come to rest. */
void world_run(const struct world_settings *settings, struct world_result *out);

#endif
