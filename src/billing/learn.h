/* learn.h: what a line of the processing's journal, or an answer to a question about a payment that these books
 * do not have in flight, means to the books (contract section 2, rules 6 and 11). Pure.
 *
 * Books that were restored from a backup do not know what they sent: the processing does. Lines are taken in the
 * order of the journal. Rule 11 in steps, for whoever reads:
 *   1. look: learn_line for every line that is new to the books; does any of them learn_rewound?
 *   2. record, in the order of the journal. When the books were rewound no request that waited becomes a
 *      duplicate of what is settled (rule 2 is held): it may have been sent itself. In the ledger's words:
 *      `hold ? 0 : decide_waiting(…)`.
 *   3. when all are recorded: new requests older than the latest one recorded or adopted here are its duplicates
 *      (learn_stands_for): its claim had made them so (rule 1). A payment of that user that was in flight before
 *      and still is was decided by a person in the time that is lost, else no other would have been sent: it is
 *      ask_only from now on, and if it is a refund, it gives way to the recorded one of the same payment.
 *   4. books that were rewound: wait PROCESSING_TIMEOUT_MS and read again; nothing is sent, settled, decided by a
 *      person or made a duplicate before a reading that shows nothing of the kind.
 * A payment marked to be asked first is neither decided nor made a duplicate before the processing was asked for
 * its key: a claim that finds one asks for the oldest of them, and does nothing else for that user. */
#ifndef SUBPAY_BILLING_LEARN_H
#define SUBPAY_BILLING_LEARN_H

#include <stdbool.h>
#include <stdint.h>

#include "billing/types.h"

/* Where the payment stands in the books. */
struct learn_payment {
    bool known; /* there is such a payment; the rest means something only then: */
    enum processing_status processing_status;
    enum payment_status payment_status;
    bool
        other_in_flight; /* another payment of its user is in processing; also when it is not known */
};

/* LEARN_UNCLEAR: it was sent, and what the line says came of it is no answer (rule 6). */
enum learn_answer { LEARN_SUCCESS, LEARN_DECLINE, LEARN_ERROR, LEARN_PENDING, LEARN_UNCLEAR };

enum learn_move {
    LEARN_NOTHING, /* the books know */
    LEARN_SETTLE,  /* in flight: recorded as the answer to its call */
    LEARN_PAGE,    /* in flight: it waits for its payer (rule 8) */
    LEARN_RECORD,  /* never sent by these books: new → processed, with the answer */
    LEARN_ADOPT, /* never sent by these books, and waits for its payer or is unclear: new → in_processing, the
                        body from the journal's request, to be asked about only and never sent again */
    LEARN_ASK_FIRST, /* as ADOPT, but another one is in flight: it stays new and is asked about first */
    LEARN_ALARM,     /* it contradicts the books: what was recorded first stays */
};
struct learn_step {
    enum learn_move move;
    bool make; /* not known: first made, new, from the journal's request */
};
struct learn_step learn_line(const struct learn_payment *p, enum learn_answer answer);

/* Does this step show that the books were rewound? */
bool learn_rewound(const struct learn_step *step);
/* Is a new request a duplicate of the latest payment that was recorded or adopted? By seq (rule 1). */
bool learn_stands_for(int64_t latest_seq, int64_t request_seq, bool ask_first);

/* What a definite answer makes of a payment. */
enum payment_status learn_status(enum learn_answer definite);

#endif
