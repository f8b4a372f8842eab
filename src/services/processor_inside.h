/* processor_inside.h: what the files of the processor share. */
#ifndef SUBPAY_SERVICES_PROCESSOR_INSIDE_H
#define SUBPAY_SERVICES_PROCESSOR_INSIDE_H

#include <stdatomic.h>

#include "base/inbox.h"
#include "billing/decision.h"
#include "services/processor.h"

#define PROCESSOR_NAME "processor"
#define PROCESSOR_DEFER_MAX 64 /* in one transaction, payment by payment: some ms */
#define PROCESSOR_TAKE_MAX 64  /* answers taken at once */
#define PROCESSOR_ARENA_MAX (64 * 1024 * 1024)
#define PROCESSOR_INSTANCE_US (10 * US_PER_S) /* the processing is asked who it is that often … */
#define PROCESSOR_DOUBT_US (1 * US_PER_S)     /* … and, while calls go unanswered, that often */
#define PROCESSOR_AWAY_US (3 * US_PER_S)      /* a store that failed this long may be another one */
#define PROCESSOR_LEARN_MAX 256               /* lines of the journal in one transaction */
#define PROCESSOR_MARK_US (60 * US_PER_S)     /* while nothing may be sent: who needs a decision? */
#define PROCESSOR_MARK_PAUSE_US (5 * US_PER_S)

/* A payment that this processor works on, from claim or question to what is written down about the answer:
 * at most settings.flights_max, so nothing that was learned has to be thrown away. */
enum flight_state {
    FLIGHT_FREE,
    FLIGHT_CALLING, /* the gateway has it */
    FLIGHT_FACT,    /* a definite answer, to be settled */
    FLIGHT_LEARNED, /* what was asked first is answered, to be told like a line of the journal */
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
    struct undecided undecided; /* as it was read, at read_boot_us */
    int64_t read_boot_us, send_before_boot_us;
    int32_t tries;
    struct fact fact;
    struct deferral deferral;
    /* A payment that is new and has to be asked about before it is decided (ledger.h: ask_first). */
    bool ask_first, unknown_key; /* unknown_key: it was answered 404 */
    enum learn_answer learned;
    struct uuid refund_of;
    char *body; /* owned */
    size_t body_len;
};

/* A person's decision on its way (processor_decision.c). */
enum person_state {
    PERSON_ASKED, /* nothing was done about it yet */
    PERSON_VOIDING,
    PERSON_VOIDED, /* answered, or not: `voiding` says so */
};
struct person {
    enum person_state state;
    struct processor_decision decision;
    processor_decided *done;
    void *ctx;
    uint64_t token;
    enum decision_void voiding;
    struct fact fact; /* of DECISION_VOID_OTHER; its money from VOIDING on */
    char why[128];
};

/* Why nothing is sent: contract, rule 11 and section 4. In the order in which they end. */
enum processor_wait {
    WAIT_NOTHING,
    WAIT_STORE,    /* what is known cannot be recorded */
    WAIT_SILENT,   /* the processing does not say who it is */
    WAIT_LINE,     /* a line of its journal cannot be understood */
    WAIT_INSTANCE, /* another one answers while payments are undecided */
    WAIT_JOURNAL,  /* its journal has to be read first */
    WAIT_REWOUND,  /* the books were rewound: read again after PROCESSING_TIMEOUT_MS */
    WAIT_COUNT,
};

/* The processing, seen from here (processor_link.c). */
struct link {
    char instance_id[GATEWAY_INSTANCE_MAX + 1];  /* the one that may be used */
    char candidate_id[GATEWAY_INSTANCE_MAX + 1]; /* what was answered last */
    bool known;                 /* it answered, and nothing since then says that it is away */
    bool ever;                  /* instance_id is one that was used */
    bool candidate;             /* an answer that was not compared with the books yet */
    bool foreign;               /* another one answers while something is undecided */
    bool asked;                 /* the question is under way */
    int64_t asked_boot_us;      /* when it was put last */
    int64_t sure_boot_us;       /* when the last one that was answered was put */
    int64_t unanswered_boot_us; /* when a call of a payment ended without an answer */

    bool read;       /* the journal has been read since the start, and since the store was away */
    bool none;       /* it has no journal */
    bool reading;    /* a reading is under way: from `position` on … */
    bool positioned; /* … which was read from the store */
    bool page_asked; /* the next page is under way … */
    bool page_stale; /* … and too old to be learned */
    bool ended;      /* there is no more to read */
    bool bad_line;   /* the line behind `position` cannot be understood */
    bool learned;    /* this reading has to be told complete */
    bool again;      /* the books were rewound: now it waits, and reads again */
    struct uuid mark, waited;       /* of that (ledger_learned_all); waited: for this reading */
    int64_t mark_boot_us;           /* when it was seen first */
    int64_t position, read_boot_us; /* read_boot_us: when the next reading begins */
    int64_t began;                  /* of the reading (ledger_reading); 0: not known */
    size_t settled;                 /* answers since the last one */
    struct journal_page *page;      /* to be learned, from line `taken` on */
    size_t taken;
};

struct processor {
    struct service service;
    struct processor_settings settings;
    struct ledger *ledger;
    struct gateway *gateway;
    struct promises promises; /* as long as the processing keeps them: see processor_no_void */
    bool no_void_said;
    char boot_id[CLOCK_BOOT_ID];
    struct wake wake;
    atomic_bool draining, busy,
        stored; /* stored: the ledger said that there may be something to claim */
    _Atomic(const char *) unready;

    struct arena arena;
    struct flight *flights;
    size_t free_count, calling_count, fact_count, learned_count, later_count;
    struct fact *facts;             /* scratch of settling */
    struct deferral *deferrals;     /* scratch of deferring */
    struct flight **taken;          /* whose they are */
    struct gateway_answer *answers; /* scratch of taking */

    struct link link;
    struct inbox asked; /* struct person *: any thread → step */
    atomic_size_t people_count;
    struct person *people[PROCESSOR_DECISIONS_MAX];

    int64_t asked_boot_us; /* when the last step wanted to be called */
    int64_t claim_boot_us, due_boot_us, counts_boot_us, mark_boot_us, heartbeat_boot_us,
        drain_until_us;
    bool claim_full;                                   /* the last claim took all it could */
    bool due_full;                                     /* likewise */
    struct trouble storing, looking, calling, reading; /* looking: into the books */
    struct metric *calls[GATEWAY_NOT_SENT + 1];
    struct metric *undecided, *oldest_s, *needing_decision, *alarms, *silent, *waits[WAIT_COUNT];
    struct metric *unclear, *unreadable; /* lines of the journal */
    struct ledger_counts counts;
};

/* processor_flight.c */
void flight_move(struct processor *p, struct flight *f, enum flight_state to);
/* No answer: to be deferred. */
void flight_later(struct processor *p, struct flight *f, const struct deferral *deferral);
/* How many flights may be added: neither new requests nor questions can take all of them. */
size_t processor_room(const struct processor *p, bool first);
/* Takes a free flight; there must be one. */
struct flight *processor_flight(struct processor *p, const struct attempt *a, int64_t now_us,
                                bool first);
struct flight *processor_flight_of(struct processor *p,
                                   const struct uuid *payment_id); /* or NULL */
/* Rules 6 and 8: does what undecided_next says, or defers it. */
void processor_call(struct processor *p, const struct env *env, struct flight *f,
                    const struct attempt *a);
/* Nothing may be sent: only shows who needs a decision. */
void processor_mark(struct processor *p, const struct env *env, struct flight *f);
/* A definite answer as the books take it. */
void processor_fact(struct fact *fact, const struct uuid *payment_id, const struct money *money,
                    const struct gateway_answer *a);
/* Answers become facts and deferrals; how many came. */
size_t processor_take(struct processor *p, const struct env *env);
/* Shutdown: what has no answer by now is asked about by the next process at once. */
void processor_cut(struct processor *p, const struct env *env);

/* processor_write.c */
void processor_fact_settled(struct processor *p, const struct env *env, const struct fact *fact);
/* Facts first, then deferrals; both stay until the store has them. */
void processor_write(struct processor *p, const struct env *env);
/* Answers that are known and not written down yet. They wait until the journal is read. */
size_t processor_unwritten(const struct processor *p);
/* The end: what cannot be written down any more is answered again when the next process asks. */
void processor_forget(struct processor *p);
/* What a write came to; after the store was away the journal is read before anything else. Returns err. */
enum err processor_stored(struct processor *p, const struct env *env, const char *doing,
                          enum err err);

/* processor_link.c */
void link_instance_answered(struct processor *p, const struct env *env,
                            const struct gateway_answer *a);
void link_page_answered(struct processor *p, const struct env *env, struct gateway_answer *a);
/* Nobody listens there. */
void link_away(struct processor *p, const struct env *env, const char *note);
/* Asks who the processing is and reads its journal, as far as either is due. */
void link_tend(struct processor *p, const struct env *env);
void link_read_again(struct processor *p);            /* before anything else is sent */
void link_settled(struct processor *p, size_t count); /* so many answers were written down */
/* The store says that the books were rewound: the same, after PROCESSING_TIMEOUT_MS. */
void link_rewound(struct processor *p, const struct env *env, const struct uuid *mark);
enum processor_wait link_waits(const struct processor *p);
/* May undecided payments be asked about and repeated? Stricter than claiming: it has to be the one they were sent
 * to, and it may have been replaced since the call that was not answered. */
bool link_sure(const struct processor *p, const struct env *env);
int64_t link_next_boot_us(const struct processor *p, const struct env *env);
void link_release(struct link *l);

/* processor_decision.c */
void decisions_take(struct processor *p, const struct env *env);
/* Does the answer to a void belong to a person's decision? Then it is taken. */
bool decisions_answered(struct processor *p, const struct gateway_answer *a);
/* They are told that nothing was changed; without `voiding` those whose key is being voided are left. */
void decisions_drop(struct processor *p, bool voiding);

#endif
