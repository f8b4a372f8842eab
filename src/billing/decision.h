/* decision.h: what a person's decision about an undecided payment may do (contract section 2, rule 10). Pure.
 *
 * Like any settlement it makes duplicates of what waits (rule 2), so it is carried out by a processor that has read
 * the journal since its start, never before. */
#ifndef SUBPAY_BILLING_DECISION_H
#define SUBPAY_BILLING_DECISION_H

#include "billing/types.h"
#include "billing/undecided.h"

/* What became of voiding its key for this decision. */
enum decision_void {
    DECISION_VOID_NOT_TRIED,
    DECISION_VOID_UNANSWERED,
    DECISION_VOID_DONE,  /* answered `voided`: it will never be executed */
    DECISION_VOID_OTHER, /* another definite answer, or one was learned meanwhile */
};
struct decision {
    enum processing_status processing_status;
    bool needs_decision;         /* it shows needs_decision */
    enum payment_status outcome; /* what the person says: accepted, decline or error */
    enum decision_void voiding;
};

enum decision_move {
    DECISION_REFUSE, /* 409, nothing changes: it is not to be decided, or the void is unanswered */
    DECISION_VOID,   /* void the key and ask here again */
    DECISION_RECORD, /* processed with the person's outcome, reason `decided` */
    DECISION_ANSWER, /* the processing's answer is recorded, and the person told (409) */
};
enum decision_move decision_next(const struct decision *d, const struct promises *p);

#endif
