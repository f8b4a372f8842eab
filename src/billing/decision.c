#include "billing/decision.h"

enum decision_move decision_next(const struct decision *d, const struct promises *p)
{
    if (d->processing_status != PROCESSING_IN_PROCESSING || !d->needs_decision ||
        d->outcome == PAYMENT_UNKNOWN)
        return DECISION_REFUSE;
    if (d->voiding == DECISION_VOID_OTHER)
        return DECISION_ANSWER;
    if (d->outcome == PAYMENT_ACCEPTED || !undecided_may_void(p))
        return DECISION_RECORD; /* accepted: a void would contradict the evidence */
    switch (d->voiding) {
    case DECISION_VOID_NOT_TRIED:
        return DECISION_VOID;
    case DECISION_VOID_DONE:
        return DECISION_RECORD;
    case DECISION_VOID_UNANSWERED:
    case DECISION_VOID_OTHER:
        break;
    }
    return DECISION_REFUSE;
}
