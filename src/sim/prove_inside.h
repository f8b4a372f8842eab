/* prove_inside.h: what the files of `subpay prove` share: the state of the small world and its steps.
 *
 * Time is counted in ticks: a tick is as long as a request may be repeated (half of the key's memory), and ages
 * are kept up to two ticks, which is all that any rule tells apart. `now` never moves, the ages do.
 * A processor has no state but whether it has read the journal since its start and what it has on its way, so
 * any number of them is told by one bit: is there one that has? That the books were rewound is a mark in the
 * store, which stops all of them until one has read again. What is on its way has no owner: an answer
 * that reaches another processor is one that it could have asked for. Faults have no budget: any number of
 * crashes, and of lost, late and repeated messages, at any point. */
#ifndef SUBPAY_SIM_PROVE_INSIDE_H
#define SUBPAY_SIM_PROVE_INSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "billing/decide.h"
#include "billing/learn.h"
#include "billing/undecided.h"

#define PROOF_KEYS_MAX 4
#define PROOF_AGE_MAX 2
#define PROOF_NOW_US INT64_C(1773144000000000) /* 2026-03-10 12:00 UTC */

/* One payment in the store. */
struct proof_book {
    uint32_t status : 3;    /* 0: the store does not know it; else enum processing_status + 1 */
    uint32_t payment : 2;   /* enum payment_status */
    uint32_t refund_of : 3; /* key + 1 */
    uint32_t seq : 3;       /* 1 … by order of storing */
    uint32_t sent_age : 2;  /* in ticks, as every age; of the attempt */
    uint32_t ask_only : 1, pending : 1, pending_age : 1;
    uint32_t ask_first : 1; /* to be asked about before anything is decided */
    uint32_t person : 1;    /* a person decided */
    uint32_t period : 3;    /* 1 … by order of opening; 0: none */
    uint32_t start_age : 2, ended : 1, end_age : 2; /* ended: by a refund */
    uint32_t unread : 1; /* the journal has a line about it behind the store's journal position */
};

/* One request: what the user asked, what the processing knows of its key, what is on its way. */
struct proof_key {
    uint32_t type : 1, subscription : 1;
    uint32_t age : 2;    /* since the user asked */
    uint32_t logged : 1; /* in the queue's log (a restored file has lost the later ones) */
    uint32_t record : 3; /* enum proof_record */
    uint32_t record_age : 2;
    uint32_t succeeded : 1; /* money has moved, whatever was recorded later */
    uint32_t line : 3; /* order in the journal, among lines that somebody has not read; 0: none */
    uint32_t refund_of : 3; /* in the body that was sent; key + 1 */
    uint32_t fresh : 1;     /* copies are on their way, any number: written in this tick */
    uint32_t late : 1;      /* … in the last one */
    uint32_t voiding : 1;   /* a void is on its way */
    uint32_t answered : 1;  /* a definite answer is on its way back */
};
enum proof_record {
    RECORD_NONE,
    RECORD_PENDING,
    RECORD_SUCCESS,
    RECORD_DECLINE,
    RECORD_VOIDED,
};

enum proof_backup { BACKUP_NO_MORE, BACKUP_POSSIBLE, BACKUP_TAKEN };
/* Plain bytes: compared and hashed as a whole, so everything that does not matter is zero (prove_tidy.c). */
struct proof_state {
    struct proof_book book[PROOF_KEYS_MAX];
    struct proof_book saved[PROOF_KEYS_MAX]; /* the backup */
    struct proof_key key[PROOF_KEYS_MAX];    /* in the order of the log */
    uint8_t count, left;                     /* requests that matter still; requests to come */
    uint8_t position;                        /* of the saver: the first key that it has not taken */
    uint8_t backup : 2;                      /* enum proof_backup */
    uint8_t restores : 6; /* that may still happen, with the one that the backup is for */
    uint8_t saved_position, saved_count; /* of the backup; saved_count: how long the log was */
    uint8_t
        asked_below; /* keys below it were in the log when books without a journal were restored */
    uint8_t
        ready : 1; /* some processor has read the journal since its start, or since the store was away */
    uint8_t rewound : 1, saved_rewound : 1; /* the mark of books that were rewound */
};

/* A world to prove. */
struct proof_world {
    const char *name, *what;
    struct promises promises;
    bool journal;    /* the processing has one; else `subpay restored` */
    bool queue_kept; /* a restore rewinds the books alone (Kafka); else also the queue (one file) */
    bool hasty;      /* without the assumption about a restore; must be broken */
};
struct proof_bound {
    uint8_t requests, restores;
    bool late_answers; /* on their way by themselves; else a late answer is a later question */
    bool saver_lags;   /* records wait for the saver; else a request is made when it is stored,
                          however old it is then */
    bool age_half;     /* REQUEST_MAX_AGE is the largest allowed, half of the key's memory; else
                          less than a tick */
};

/* One state while a step changes it. */
struct proof {
    const struct proof_world *world;
    const struct proof_bound *bound;
    int64_t tick_us;
    struct decide_limits limits;
    struct proof_state s;
    const char *broken;           /* the invariant that does not hold any more, or NULL */
    uint8_t from[PROOF_KEYS_MAX]; /* which key it was before it was tidied */
    bool swapped;                 /* the subscription types changed places */
    bool untidied;                /* in: the caller tidies */
};

enum proof_kind {
    /* In this order a calm world goes on (prove_search.c): what is under way first, the clock last. */
    STEP_ANSWER,       /* key */
    STEP_READ,         /* variant 1: it began too early to take the mark of rewound books away */
    STEP_SAVE,         /**/
    STEP_VOID_ARRIVES, /* key; variant 1: its answer does not reach a processor at once */
    STEP_ARRIVES,      /* key; variant: see ARRIVES_* */
    STEP_CLAIM,        /**/
    STEP_NEXT,         /**/
    STEP_CLOCK,        /**/
    STEP_CALM_COUNT,
    /* What need not happen. */
    STEP_PERSON = STEP_CALM_COUNT, /* key; variant 0: accepted, 1: error */
    STEP_PAYER,                    /* key; variant 0: pays, 1: declines */
    STEP_REQUEST,                  /* variant: REQUEST_* */
    STEP_LOST,                     /* key; variant: enum proof_lost */
    STEP_REFUSED,                  /* key: a copy is answered 409 */
    STEP_CRASH,                    /**/
    STEP_RESTORE,                  /**/
    STEP_KINDS,
};
#define REQUEST_REFUND 1u
#define REQUEST_OTHER 2u /* the other subscription type */
#define REQUEST_OLD 4u   /* it was made long before it is stored */
#define REQUEST_ALL 8u
#define ARRIVES_LATE 1u        /* the copy that was written in the last tick */
#define ARRIVES_LATE_ANSWER 2u /* the answer does not reach a processor at once */
#define ARRIVES_OUT 4u         /* times the outcome: success, decline, pending */
#define ARRIVES_ALL 12u        /* variants in all */
enum proof_lost { LOST_FRESH, LOST_LATE, LOST_ANSWER, LOST_VOID, LOST_COUNT };
struct proof_step {
    uint8_t kind, who, variant;
    uint8_t backup; /* a backup is taken right after */
};

/* prove_steps.c: false: the step is not possible. The state is tidied after it. */
bool proof_step(struct proof *p, const struct proof_step *step);
void proof_start(struct proof *p);
bool proof_of_a_key(enum proof_kind kind);
unsigned proof_variants(enum proof_kind kind);
bool proof_backs_up(const struct proof *p, enum proof_kind kind); /* may a backup follow it? */

/* prove_processing.c: the processing, the network, the payer, the clock. */
bool step_arrives(struct proof *p, unsigned key, unsigned variant);
bool step_void_arrives(struct proof *p, unsigned key, bool late_answer);
bool step_payer(struct proof *p, unsigned key, bool pays);
bool step_lost(struct proof *p, unsigned key, enum proof_lost what);
bool step_refused(struct proof *p, unsigned key);
bool step_clock(struct proof *p);
void record_set(struct proof *p, unsigned key, enum proof_record record);
bool record_definite(enum proof_record record);
enum learn_answer record_answer(enum proof_record record);

/* prove_books.c: the transactions of the ledger. */
bool book_is(const struct proof_book *b, enum processing_status status);
int book_in_flight(const struct proof *p); /* key, or -1 */
struct period book_period(const struct proof *p, unsigned key);
struct undecided book_undecided(const struct proof *p, unsigned key);
bool book_next_new(const struct proof *p, unsigned above_seq, unsigned *key); /* by seq */
void book_move(struct proof *p, unsigned key, enum processing_status to,
               enum payment_status payment);
void book_finish(struct proof *p, unsigned key, enum payment_status outcome);
void book_settle(struct proof *p, unsigned key, enum proof_record record, bool hold);
void book_page(struct proof *p, unsigned key);
bool step_save(struct proof *p);
bool step_claim(struct proof *p);
bool step_next(struct proof *p);
bool step_person(struct proof *p, unsigned key, bool accepted);

/* prove_learn.c: what the journal, and questions about payments that are new, tell the books. */
bool step_read(struct proof *p, bool early);
bool step_answer(struct proof *p, unsigned key);
void book_answer(struct proof *p, unsigned key);
bool book_ask_first(struct proof *p, unsigned key);
/* Is there nothing more to learn about the key from its last line? */
bool book_knows(const struct proof *p, const struct proof_book *b, unsigned key);

/* prove_check.c: sets p->broken. */
void proof_check(struct proof *p);
void proof_check_leaf(struct proof *p);
bool proof_refunded(const struct proof_state *s, unsigned charge);

/* prove_tidy.c */
void proof_tidy(struct proof *p);

/* prove_search.c */
struct proof_result {
    bool proved;
    const char *broken; /* NULL with !proved: out of memory */
    uint64_t states, steps;
    unsigned depth;
    double seconds;
    struct proof_step *story; /* from the start to what is broken; freed by the caller */
    unsigned story_len;
};
void proof_search(const struct proof_world *world, const struct proof_bound *bound,
                  struct proof_result *out);
/* prove_story.c */
void proof_tell(const struct proof_world *world, const struct proof_bound *bound,
                const struct proof_result *result);

#endif
