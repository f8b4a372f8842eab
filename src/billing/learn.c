#include "billing/learn.h"

#include <assert.h>

enum payment_status learn_status(enum learn_answer definite)
{
    assert(definite < LEARN_PENDING);
    if (definite == LEARN_SUCCESS)
        return PAYMENT_ACCEPTED;
    return definite == LEARN_DECLINE ? PAYMENT_DECLINE : PAYMENT_ERROR;
}

static enum learn_move move_new(const struct learn_payment *p, enum learn_answer answer)
{
    if (answer < LEARN_PENDING)
        return LEARN_RECORD;
    return p->other_in_flight ? LEARN_ASK_FIRST : LEARN_ADOPT;
}

struct learn_step learn_line(const struct learn_payment *p, enum learn_answer answer)
{
    struct learn_step step = {.move = LEARN_ALARM};
    if (!p->known) {
        step.make = true;
        step.move = move_new(p, answer);
        return step;
    }
    switch (p->processing_status) {
    case PROCESSING_NEW:
        step.move = move_new(p, answer);
        break;
    case PROCESSING_IN_PROCESSING:
        if (answer == LEARN_UNCLEAR)
            step.move = LEARN_NOTHING; /* it is being asked about */
        else
            step.move = answer == LEARN_PENDING ? LEARN_PAGE : LEARN_SETTLE;
        break;
    case PROCESSING_PROCESSED:
    case PROCESSING_COMPLETED:
        /* An old line: the payer's page was before the answer. */
        if (answer >= LEARN_PENDING || learn_status(answer) == p->payment_status)
            step.move = LEARN_NOTHING;
        break;
    case PROCESSING_DUPLICATED:
    case PROCESSING_STATUS_COUNT:
        break;
    }
    return step;
}

bool learn_rewound(const struct learn_step *step)
{
    return step->make || step->move == LEARN_RECORD || step->move == LEARN_ADOPT ||
           step->move == LEARN_ASK_FIRST;
}

bool learn_stands_for(int64_t latest_seq, int64_t request_seq, bool ask_first)
{
    return request_seq < latest_seq && !ask_first;
}
