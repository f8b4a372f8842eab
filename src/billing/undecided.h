/* undecided.h: what to do about a payment that was sent and has no definite answer (contract section 2, rules 6
 * and 8). Pure: no I/O, no clock, no malloc. The processor does what is answered here and nothing else;
 * text tables in tests/rules state each rule; `subpay prove` explores these very functions. */
#ifndef SUBPAY_BILLING_UNDECIDED_H
#define SUBPAY_BILLING_UNDECIDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "billing/types.h"

#define UNDECIDED_DAY_US US_PER_DAY /* 24 h: needs_decision, and a page without expires_at */
#define UNDECIDED_PAUSE_MIN_US (1 * US_PER_S)   /* doubles from here … */
#define UNDECIDED_PAUSE_MAX_US (300 * US_PER_S) /* … to here; also the longest Retry-After */
#define UNDECIDED_PENDING_PAUSE_US                                                                 \
    (5 * US_PER_S)                            /* a pending payment is asked about this often … */
#define UNDECIDED_PENDING_US (900 * US_PER_S) /* … for this long, then as any other */
#define UNDECIDED_SKEW_US (1 * US_PER_S)      /* by which clocks may differ and still be right */

/* What a processing promises about keys; what it does not promise is not done. */
struct promises {
    int64_t key_ttl_us; /* how long it remembers a key; TIME_NEVER: for ever; 0: not at all */
    bool ask, voids;    /* the outcome can be asked for by key; a key can be voided */
};

struct undecided {
    int64_t age_us;     /* since the first send: undecided_aged */
    bool too_old;       /* it was found too old to be repeated, or its age is not known */
    bool first;         /* the call that belongs to the claim: nobody wrote the bytes yet */
    bool ask_only;      /* 409 or 422 to a repeat: it is never sent again */
    bool pending;       /* it waits for the payer (rule 8); of a payment only */
    int64_t pending_us; /* since the first answer that said so */
    bool expired;       /* its expires_at, or without one 24 h after the first send, is past */
    bool superseded;    /* pending, and a newer request that is not its duplicate waits */
    bool rewound; /* the books were rewound, and the journal was not read again: only questions */
};

/* What is known of the time since the first send, stored with the attempt in the claim. */
struct undecided_sent {
    int64_t wall_us; /* by the store's clock; below 0: that was set back */
    bool same_boot;  /* who asks runs on the machine that sent it, not started since … */
    int64_t boot_us; /* … by whose clock it is this, which never steps */
};
/* Sets the age: the larger of the two. Where the store's clock went back and the machine was started again, nobody
 * knows: too_old. */
void undecided_aged(struct undecided *u, const struct undecided_sent *sent);

enum undecided_move {
    UNDECIDED_SEND, /* the stored bytes, again unless `first`, under the same key */
    UNDECIDED_ASK,  /* for the outcome, by key */
    UNDECIDED_VOID, /* the key; the answer is definite, also when it is another one */
    UNDECIDED_REST, /* nothing can be done: no look-up, no repeat, no void */
};
struct undecided_step {
    enum undecided_move move;
    bool needs_decision; /* shown to people from now on (rule 6) */
    bool too_old;        /* kept with it: no clock that is set back makes it young again */
};
struct undecided_step undecided_next(const struct undecided *u, const struct promises *p);

/* The age, exclusive, up to which the bytes may be written: half of the key's memory; for ever: 24 h; none:
 * the first call only, and not after a day. Checked in the claim, in undecided_next, and again immediately
 * before they are written. */
int64_t undecided_send_until_us(const struct promises *p, bool first);
bool undecided_may_send(int64_t age_us, const struct promises *p, bool first);
/* A key that is not remembered cannot be voided: a request that is on its way would execute all the same. */
bool undecided_may_void(const struct promises *p);

/* How long to wait before the next question, after `tries` calls without an answer. chance in [0, 1) spreads it
 * over the upper half; retry_after_us is what the processing asked for, 0: nothing. */
int64_t undecided_pause_us(const struct undecided *u, int32_t tries, int64_t retry_after_us,
                           double chance);

/* Why a payment whose key was voided ended. Superseded goes before expired: the newer request is what the user
 * wants now, and after `superseded` it does not become a duplicate of what ended (rule 2). */
enum reason undecided_void_reason(const struct undecided *u);

/* A payment of subscription type `pending` waits for its payer; `waiting` are the newer requests by ascending seq.
 * Returns how many of them, from the first, become its duplicates at once: payments of the same subscription
 * type. If any remain, it is superseded; those behind the first other one are decided with it (rule 1). It is a
 * processor that has read the journal who makes them so, not the saver: that may be reading again what was sent. */
struct undecided_waiting {
    enum payment_type payment_type;
    enum subscription_type subscription_type;
};
size_t undecided_while_pending(enum subscription_type pending,
                               const struct undecided_waiting *waiting, size_t count);

#endif
