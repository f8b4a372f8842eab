/* ledger.h: where money moves. The write side of the store: ten verbs in the words of the trade.
 *
 * Purpose: the state of every request and the lock under which it changes. One account row per user
 * is that lock and the work list; a verb takes accounts first, then reads, asks billing/ to decide,
 * and writes, in one transaction. Each verb is durable when it returns OK and has done nothing
 * otherwise; each may be repeated after any crash. Statuses move only here, and every move leaves a
 * row in `events`.
 *
 * Owner: a handle is opened once per service and closed by it. Results live in the arena that is
 * passed in.
 * Threads: one handle, one thread at a time; handles of one store may be used side by side. Verbs
 * block.
 * Errors: retriable ones (err_retriable) mean "call again later"; ledger_why says more for the
 * operator.
 * Time: the store has its own clock (the database's; for SQLite the clock given at open), so no
 * verb has `now`.
 * Drivers: sqlite_ledger.c (embedded) and postgres_ledger.c, over sql_ledger.c, which has the verbs;
 * the front file ledger.c checks arguments and results for both. */
#ifndef SUBPAY_LEDGER_LEDGER_H
#define SUBPAY_LEDGER_LEDGER_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/uuid.h"
#include "billing/decide.h"
#include "billing/journal.h"
#include "billing/learn.h"
#include "billing/request.h"

#define LEDGER_BATCH_MAX 10000     /* records, facts, … in one call */
#define LEDGER_CLAIM_MAX 1000      /* users in one claim */
#define LEDGER_TOPIC_MAX 249       /* bytes of a topic's name */
#define LEDGER_LOG_ID_MAX 80       /* bytes of a log's identity */
#define LEDGER_INSTANCE_MAX 80     /* bytes of a processing's instance id */
#define LEDGER_EXTERNAL_ID_MAX 255 /* bytes of the processing's own transaction id */
#define LEDGER_NOTE_MAX 255        /* bytes of an operator's text: last error */
#define LEDGER_EVIDENCE_MAX 1000   /* bytes of a person's evidence */
#define LEDGER_URL_MAX 1023        /* bytes of an action_url */
#define LEDGER_ACTOR_MAX 255       /* bytes of who decided */
#define LEDGER_SERVICE_MAX 63      /* bytes of a service's name */

struct ledger {
    const struct ledger_ops *ops; /* ledger_driver.h */
};

/* ---- append: saver → new ---- */

/* Up to where a log has been taken. `next` = the first offset that was not. */
struct ledger_position {
    char topic[LEDGER_TOPIC_MAX + 1];
    int32_t partition, partitions; /* partitions: how many the topic had */
    int64_t next;
    char log_id[LEDGER_LOG_ID_MAX + 1]; /* cluster id, or the embedded log's own */
    uint64_t checksum;                  /* of the last record taken; 0: none */
};

enum append_verdict { APPEND_STORED, APPEND_REPEATED, APPEND_REFUSED };
struct ledger_record {
    struct request request;
    int64_t recorded_at_us;      /* the record's timestamp, REQUEST_NO_TIME when it has none */
    enum append_verdict verdict; /* out */
    enum reject reject;          /* out with APPEND_REFUSED: no_price or id_conflict */
};

/* Stores every request once, priced (rule 7), and moves the position from `from` to `to`, in one
 * transaction. seq follows the order of `records`. ERR_MOVED: the position is not `from` (another
 * saver; from->next 0 with an empty log_id = there was none). ERR_REFUSED: some verdicts are
 * APPEND_REFUSED and nothing was stored: put those where they belong and call again without them.
 * requested_at_us = REQUEST_NO_TIME takes the storing time. count may be 0: only the position
 * moves. */
enum err ledger_append(struct ledger *l, struct ledger_record *records, size_t count,
                       const struct ledger_position *from,
                       const struct ledger_position *to) MUST_CHECK;
/* ERR_NOT_FOUND before the first append of that partition. */
enum err ledger_position(struct ledger *l, const char *topic, int32_t partition,
                         struct ledger_position *out) MUST_CHECK;
/* Sets `next` (topic rewind); running savers notice by ERR_MOVED. log_id and checksum are
 * forgotten. */
enum err ledger_rewind(struct ledger *l, const char *topic, int32_t partition,
                       int64_t next) MUST_CHECK;

/* ---- claim, due, settle, defer: processor ---- */

/* A payment in_processing, as it was or will be sent; or, with ask_first, one that is new. Bytes
 * live in the arena. */
struct attempt {
    int64_t seq;
    struct uuid payment_id, user_id; /* payment_id is the key */
    enum payment_type payment_type;
    struct uuid refund_of; /* what a refund gives back, else nil */
    struct money money;
    const char *body; /* stored in the claim, byte for byte */
    size_t body_len;
    /* Since the first send, for undecided_aged: since the claim by the store's clock, when this was
     * read (below 0: it was set back); and who claimed it, when, by that machine's own clock. */
    int64_t age_us;
    char boot_id[CLOCK_BOOT_ID]; /* "": not known */
    int64_t sent_boot_us;
    bool too_old;  /* it was found too old to be repeated */
    int32_t tries; /* calls that ended without an answer so far */
    /* A repeat was refused (409, 422), or the journal knew it first: never send again. */
    bool ask_only;
    /* What else undecided_next wants to know (billing/undecided.h), by the store's clock: */
    bool pending;        /* it waits for the payer */
    int64_t pending_us;  /* since the first answer that said so */
    bool expired;        /* its expires_at, or without one 24 h after the first send, is past */
    bool superseded;     /* pending, and a newer request that is not its duplicate waits */
    bool rewound;        /* the books were rewound (ledger_learned_all): it is only asked about */
    bool needs_decision; /* shown already */
    /* Only from a claim, with ask_only: the payment is new and nothing was stored of this attempt.
     * It may have been sent by books that a restore has lost: ask for its key, then ledger_asked,
     * ledger_asked_unknown, or ledger_defer. */
    bool ask_first;
};

struct ledger_claim {
    struct decide_limits limits;
    size_t users_max;         /* 1..LEDGER_CLAIM_MAX */
    int64_t lease_us;         /* when somebody else may ask about what is claimed here */
    charge_encode_fn *encode; /* the gateway's body */
    const char *instance_id;  /* of the processing, "" when it has none */
    const char *boot_id;      /* of this machine; NULL: not known */
    int64_t boot_us;          /* its clock before the claim */
};
struct ledger_claimed {
    struct attempt *attempts; /* to be sent now: the claim is durable */
    size_t attempt_count;
    size_t users, duplicated, closed; /* accounts looked at; payments that ended without a call */
    struct uuid rewound; /* a mark of ledger_learned_all that stands: nothing was done; else nil */
};
/* Takes due users without a payment in flight, skips locked ones, and decides (rules 1, 3, 5, 9);
 * and looks at what waits behind payments that wait for their payer (rule 8): duplicates at once,
 * or the payment is due to be voided. Only for a processor that has read the journal (rule 11). Of
 * a user with requests that are to be asked about first it returns the oldest of them and does
 * nothing else. Users about whom a reading of the journal is not complete are left alone; and none
 * is claimed while the mark of rewound books stands, or until the saver has taken again what was in
 * the log when ledger_mark_restored was called. Accounts are locked by one statement and their
 * requests read by a later one: where others may write at the same time, one that does both decides
 * about what it saw before it had the lock (in the embedded file nobody can). users =
 * users_max: there may be more. Claim, due and untold put a user whose stored rows are damaged off
 * for five minutes, leave an alarm event, and go on with the others; ledger_why then says so
 * although the verb returned OK. */
enum err ledger_claim(struct ledger *l, const struct ledger_claim *claim, struct arena *arena,
                      struct ledger_claimed *out) MUST_CHECK;
/* Undecided payments whose next question is due, at most max; each is leased for lease_us. */
enum err ledger_due(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                    struct attempt **out, size_t *count) MUST_CHECK;

/* One payment as it was sent, whoever has leased it: for a decision, which voids its key first
 * (rule 10). A reading. ERR_NOT_FOUND: no such payment; ERR_CONFLICT: it is not in_processing. */
enum err ledger_attempt(struct ledger *l, const struct uuid *payment_id, struct arena *arena,
                        struct attempt **out) MUST_CHECK;

/* A definite answer of the processing. */
struct fact {
    struct uuid payment_id;
    enum payment_status outcome; /* accepted, decline or error */
    /* An error because the key was voided: the ledger says why (undecided_void_reason). */
    bool voided;
    enum reason reason; /* error, not voided: REASON_REFUSED; else REASON_NONE. out: as recorded */
    struct money money; /* what the answer said; checked against the payment: else ERR_BUG */
    char processing_id[LEDGER_EXTERNAL_ID_MAX + 1];
    enum settle_verdict {
        SETTLE_DONE,        /* recorded now */
        SETTLE_REPEATED,    /* the same answer was recorded before */
        SETTLE_CONTRADICTS, /* another one was, or the payment is a duplicate: one alarm event per
                               outcome is left, and what was recorded first stays (rule 6) */
        SETTLE_UNKNOWN,     /* no such payment, or it is still new */
    } verdict;              /* out */
    size_t waiting_duplicated; /* out: requests that waited and became its duplicates (rule 2) */
};
/* Records answers whoever brings them: status, period (rules 4, 5), the requests that waited,
 * account and events in one transaction. Never fails on a business rule. */
enum err ledger_settle(struct ledger *l, struct fact *facts, size_t count) MUST_CHECK;

/* No definite answer: when to ask again. Ignored for a payment that is settled by now. Of one that
 * claim returned with ask_first: pause_us and no_answer count, the rest is ignored. */
struct deferral {
    struct uuid payment_id;
    int64_t pause_us;    /* 0: at once, by anybody */
    bool no_answer;      /* counts as a try; false: the call was never made (shutdown) */
    bool ask_only;       /* sticks once set */
    bool too_old;        /* likewise: undecided_step */
    bool needs_decision; /* shown to people from now on; sticks until it is settled */
    /* The processing answered `pending` (rule 8); ignored for a refund. Sticks; "" leaves what is
     * stored. What waits is looked at by the next claim. */
    bool pending;
    char action_url[LEDGER_URL_MAX + 1];
    int64_t expires_at_us;          /* TIME_NEVER: none given */
    char note[LEDGER_NOTE_MAX + 1]; /* what happened, for the operator */
};
enum err ledger_defer(struct ledger *l, const struct deferral *deferrals, size_t count) MUST_CHECK;

/* A person decides (rule 10): a payment that shows needs_decision, and no other. */
struct ledger_decision {
    struct uuid payment_id;
    enum payment_status outcome; /* accepted, decline or error: reason `decided` */
    const char *evidence;        /* a text, 1..LEDGER_EVIDENCE_MAX bytes */
    const char *actor;           /* admin:<user_id> or operator:<login> */
    enum decision_verdict {
        DECISION_RECORDED,
        DECISION_NOT_NEEDED, /* it does not show needs_decision, or is settled by now */
        DECISION_UNKNOWN,    /* no such payment */
    } verdict;               /* out */
};
/* As settle, with the actor and the evidence in the event. Voiding before is the caller's business.
 * */
enum err ledger_decide(struct ledger *l, struct ledger_decision *decision) MUST_CHECK;

/* ---- learn: the processing's journal → the books (rule 11) ---- */

/* A reading: from the position to the end, in any number of calls, and ledger_learned_all. */
struct ledger_reading {
    const char *instance_id;
    int64_t from;  /* the position: up to which seq the journal has been compared; 0 at first */
    int64_t began; /* the seq of the books' last event when the reading began */
};
/* Where a reading of this instance's journal would begin now. */
enum err ledger_reading(struct ledger *l, const char *instance_id,
                        struct ledger_reading *out) MUST_CHECK;
struct ledger_learned {
    bool rewound; /* a step showed that the books were rewound (learn_rewound) */
    bool caught_up;
    size_t taken; /* lines, from the first on */
    size_t recorded, alarms;
};
/* Takes lines as billing/learn.h says and moves the position to the last one taken, in one
 * transaction (a few hundred lines a call leave room for others). ERR_MOVED: it is not `from` any
 * more. count 0: nothing. Nothing becomes a duplicate before ledger_learned_all, which then knows
 * whether the books were rewound. Lines that show that they were leave a mark in the store, for all
 * processors and over every crash: while it stands nothing is claimed, what is due is only asked
 * about, and nothing becomes a duplicate of what is settled. out->caught_up: the first line that was
 * not taken is about a payment that was claimed after the reading began, so what had been sent before
 * has been read, and the reading may end although the journal goes on; never while the mark stands. */
enum err ledger_learn(struct ledger *l, const struct ledger_reading *reading,
                      const struct journal_entry *entries, size_t count,
                      struct ledger_learned *out) MUST_CHECK;
/* The reading is complete. Where it showed that a user's books were rewound: what was recorded or
 * adopted stands for the older requests (learn_stands_for), and what is in flight is only asked
 * about from now on. Elsewhere: what was held becomes duplicates (rule 2). Until then these users
 * are not claimed, so every reading in which a line was taken ends with this call. Repeating it is
 * harmless.
 * `waited`: the mark of rewound books that had been seen for PROCESSING_TIMEOUT_MS when this reading
 * began, else nil: it is taken away, unless a line has left another one since. *stands: the mark
 * that stands now, else nil. While one does, these users are kept from being claimed, and what was
 * held stays so: read again. */
enum err ledger_learned_all(struct ledger *l, const struct uuid *waited,
                            struct uuid *stands) MUST_CHECK;
/* The answer to the question about a payment that claim returned with ask_first, told like a line
 * of the journal: of `request` only payment_id and refund_of are read; body and refund_of are the
 * attempt's; seq is ignored. What is recorded stands for the older requests of its user at once. */
enum err ledger_asked(struct ledger *l, const char *instance_id, const struct journal_entry *entry,
                      struct ledger_learned *out) MUST_CHECK;
/* The processing does not know its key (404): it is decided as any other from now on. */
enum err ledger_asked_unknown(struct ledger *l, const struct uuid *payment_id) MUST_CHECK;
/* The instance that undecided payments were sent to, "" when nothing is undecided (or it has none).
 * */
enum err ledger_instance(struct ledger *l, char out[LEDGER_INSTANCE_MAX + 1]) MUST_CHECK;
/* `subpay restored`: every payment that is new now, or is in the embedded queue now and not stored
 * yet, is asked about before it is decided (no journal). marked: those that are new. A queue that is
 * elsewhere is marked before, partition by partition: next is where its log ends now. */
enum err ledger_mark_restored(struct ledger *l, int64_t *marked) MUST_CHECK;
enum err ledger_mark_queued(struct ledger *l, const char *topic, int32_t partition,
                            int64_t next) MUST_CHECK;

/* ---- untold, told: notifier → completed ---- */

struct telling {
    int64_t seq;
    struct uuid payment_id, user_id;
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    enum payment_status payment_status;
    enum reason reason;
    struct money money;    /* may be unknown for a refund that was closed */
    int64_t expiration_us; /* of an accepted payment, else TIME_NEVER */
};
/* Processed payments that nobody has told the user about, at most max: of a user one at a time, the
 * oldest. The user is leased for lease_us; the next one is due as soon as this one is told. */
enum err ledger_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                       struct telling **out, size_t *count) MUST_CHECK;
struct told {
    struct uuid payment_id;
    bool again; /* could not be handed over: try again after pause_us */
    int64_t pause_us;
    enum notification notification; /* unless again */
};
/* processed → completed. A payment that is completed already is left alone. */
enum err ledger_told(struct ledger *l, const struct told *told, size_t count) MUST_CHECK;

/* ---- for everybody ---- */

/* What is owed, for metrics and for /health: one cheap read. */
struct ledger_counts {
    int64_t undecided, undecided_oldest_us, needing_decision, alarms;
};
enum err ledger_counts(struct ledger *l, struct ledger_counts *out) MUST_CHECK;
/* "I am alive and up to date": what a service owes is judged by its last one (I9). Names are the
 * services'. */
enum err ledger_heartbeat(struct ledger *l, const char *service) MUST_CHECK;
/* Leases of a process that is surely dead end now, and its growing pauses start anew (tries = 0).
 * Only for a store with one owner (the embedded file, at start); elsewhere they run out. */
enum err ledger_recover(struct ledger *l) MUST_CHECK;

enum ledger_change {
    LEDGER_CHANGE_STORED = 1,  /* there may be something to claim */
    LEDGER_CHANGE_SETTLED = 2, /* there may be somebody to tell */
    LEDGER_CHANGE_PAYMENT = 4, /* some payment looks different now (?wait=) */
};
/* fn is called after commits, from any thread, with a mask of ledger_change; it only shortens waits
 * and may be lost. One watcher per handle; NULL removes it. */
void ledger_watch(struct ledger *l, void (*fn)(void *ctx, unsigned changes), void *ctx);
const char *ledger_why(const struct ledger *l);
void ledger_close(struct ledger *l); /* NULL is fine */

#endif
