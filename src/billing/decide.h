/* decide.h: the rules of money (contract section 2, rules 1–5 and 9) as pure functions.
 *
 * The ledger reads everything first, under the lock of the user's account, then asks here, then writes
 * exactly what was answered. No I/O, no clock, no malloc; text tables in tests/rules state each rule.
 * `subpay prove` explores these very functions. */
#ifndef SUBPAY_BILLING_DECIDE_H
#define SUBPAY_BILLING_DECIDE_H

#include <stddef.h>

#include "base/uuid.h"
#include "billing/money.h"
#include "billing/period.h"
#include "billing/types.h"

/* A payment that a refund could give back. */
struct refund_target {
    bool exists; /* an accepted payment of this user; the rest means something only then */
    struct uuid payment_id;
    enum subscription_type subscription_type;
    struct money money;
    bool refunded; /* it has an accepted refund: */
    struct uuid refunded_by;
};

/* A new request of the user, as stored. */
struct decide_request {
    int64_t seq;
    struct uuid payment_id;
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    int64_t requested_at_us, stored_at_us;
    int64_t recorded_at_us;     /* the record's timestamp; stored_at_us where it had none */
    struct money money;         /* of a payment; a refund's comes from its target */
    bool names_target;          /* support named the payment to refund (refund_of): */
    struct refund_target named; /* it, or !exists */
};

/* What is true of the user when the account is locked. */
struct decide_account {
    int64_t now_us;       /* the store's clock */
    bool has_last_period; /* of any kind; the last by start: */
    struct period last_period;
    struct refund_target last_target; /* the payment behind it; !exists for a grant */
    bool subscribed;                  /* some period contains now: */
    struct uuid subscribed_by;        /* the payment behind that one; nil for a grant */
};

struct decide_limits {
    int64_t request_max_age_us; /* TIME_NEVER: no bound */
    int64_t refund_window_us;   /* 0: the whole period; counts from the start of the period */
};

enum verdict_kind { VERDICT_SEND, VERDICT_DUPLICATE, VERDICT_CLOSE };
/* What becomes of one request. */
struct verdict {
    enum verdict_kind kind;
    enum reason reason;       /* CLOSE: why (processed/error); DUPLICATE: REASON_GRANTED or NONE */
    struct uuid duplicate_of; /* DUPLICATE; nil with REASON_GRANTED */
    struct uuid refund_of;    /* SEND of a refund */
    struct money money;       /* SEND */
};

/* Claim: nothing is in flight. `requests` are all new requests of the user by ascending seq; one verdict
 * each. Too old ones are closed first (rule 9); of the others the latest is decided (rules 3 and 5) and the
 * rest duplicate it, or what it duplicates (rule 1). At most one SEND. */
void decide_claim(const struct decide_account *account, const struct decide_limits *limits,
                  const struct decide_request *requests, size_t count, struct verdict *verdicts);

/* Settlement: how many of the requests that waited, by ascending seq, become duplicates of the settled
 * payment: those up to the first of another payment_type; none after `superseded` (rule 2). */
size_t decide_waiting(enum payment_type settled, enum reason settled_reason,
                      const enum payment_type *waiting, size_t count);

/* Is the pair legal, is the move? (contract section 2, the table and the line below it) */
bool status_pair_legal(enum processing_status processing, enum payment_status payment);
bool status_move_legal(enum processing_status from, enum processing_status to);

#endif
