/* processor_inside.h: what the files of the processor share. */
#ifndef SUBPAY_SERVICES_PROCESSOR_INSIDE_H
#define SUBPAY_SERVICES_PROCESSOR_INSIDE_H

#include <stdatomic.h>

#include "services/processor.h"

#define PROCESSOR_NAME "processor"
#define PROCESSOR_FLIGHTS_MAX (GATEWAY_IN_FLIGHT_MAX - 1)   /* one call is kept for the instance */
#define PROCESSOR_SHARE_MAX (PROCESSOR_FLIGHTS_MAX * 3 / 4) /* of questions, and of new ones */
#define PROCESSOR_CLAIM_MIN (PROCESSOR_FLIGHTS_MAX / 4) /* a full house claims again from here */
#define PROCESSOR_PENDING_PAUSE_US (5 * US_PER_S)       /* rule 8: asked about every 5 s … */
#define PROCESSOR_PENDING_US (15 * 60 * US_PER_S)       /* … for 15 min */
#define PROCESSOR_FOR_EVER_US US_PER_DAY /* rule 6: repeats of a key that is remembered for ever */
#define PROCESSOR_TAKE_MAX 64            /* answers taken at once */
#define PROCESSOR_ARENA_MAX (64 * 1024 * 1024)

/* A payment that this processor works on, from claim or question to what is written down about the answer:
 * at most PROCESSOR_FLIGHTS_MAX, so nothing that was learned has to be thrown away. */
enum flight_state {
    FLIGHT_FREE,
    FLIGHT_CALLING, /* the gateway has it */
    FLIGHT_FACT,    /* a definite answer, to be settled */
    FLIGHT_LATER,   /* none, to be deferred */
    FLIGHT_CUT, /* given up on shutdown, deferred; an answer that still comes is a fact all the same */
};
struct flight {
    enum flight_state state;
    bool first; /* from a claim; else from a question that was due */
    bool cut;   /* LATER becomes CUT and not FREE */
    struct uuid payment_id;
    enum payment_type payment_type;
    struct money money;
    int64_t claimed_boot_us; /* rule 6: the first send, on our clock */
    int64_t send_before_boot_us;
    int32_t tries;
    struct fact fact;
    struct deferral deferral;
};

struct processor {
    struct service service;
    struct processor_settings settings;
    struct ledger *ledger;
    struct gateway *gateway;
    struct gateway_promises promises;
    struct wake wake;
    atomic_bool draining, busy,
        stored; /* stored: the ledger said that there may be something to claim */
    _Atomic(const char *) unready;

    struct arena arena;
    struct flight *flights;
    size_t free_count, calling_count, fact_count, later_count;
    struct fact *facts;             /* scratch of settling */
    struct deferral *deferrals;     /* scratch of deferring */
    struct flight **taken;          /* whose they are */
    struct gateway_answer *answers; /* scratch of taking */

    char instance_id[GATEWAY_INSTANCE_MAX + 1];
    bool instance_known;   /* it answered, and nothing since then says that it is away */
    bool instance_asked;   /* the question is under way */
    bool instance_ever;    /* instance_id is one that was used */
    bool instance_foreign; /* another one answers while something is undecided */

    int64_t asked_boot_us; /* when the last step wanted to be called */
    int64_t claim_boot_us, due_boot_us, counts_boot_us, drain_until_us;
    bool claim_full; /* the last claim took all it could */
    struct trouble storing, calling;
    struct metric *calls[GATEWAY_NOT_SENT + 1];
    struct metric *undecided, *oldest_s, *needing_decision, *alarms, *silent;
    int64_t undecided_count;
};

/* processor_flight.c */
/* How many flights may be added: neither new requests nor questions can take all of them. */
size_t processor_room(const struct processor *p, bool first);
/* Takes a free flight; there must be one. */
struct flight *processor_flight(struct processor *p, const struct attempt *a, int64_t now_us,
                                bool first);
struct flight *processor_flight_of(struct processor *p,
                                   const struct uuid *payment_id); /* or NULL */
/* Rule 6: sends, repeats or asks, or defers what can be neither. */
void processor_call(struct processor *p, const struct env *env, struct flight *f,
                    const struct attempt *a);
/* Answers become facts and deferrals; how many came. */
size_t processor_take(struct processor *p, const struct env *env);
/* Shutdown: what has no answer by now is asked about by the next process at once. */
void processor_cut(struct processor *p, const struct env *env);
/* Facts first, then deferrals; both stay until the store has them. */
void processor_write(struct processor *p, const struct env *env);

#endif
