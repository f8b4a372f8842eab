/* copy.h: the books of an embedded file into an empty PostgreSQL (`subpay copy`).
 *
 * Copied is everything that is about users, payments, prices and the processing's journal. Not
 * copied: the queue, positions in it (the other engine has another log), and heartbeats. Both
 * connections are the caller's, of one thread; nobody may write to the file meanwhile. */
#ifndef SUBPAY_LEDGER_COPY_H
#define SUBPAY_LEDGER_COPY_H

#include "base/db.h"

/* What the services have still to do with the file before it can be copied. */
struct copy_owed {
    int64_t unread;           /* records of the queue that the saver has not taken */
    int64_t in_processing;    /* payments without a definite answer */
    int64_t needing_decision; /* of those */
};
enum err copy_owes(struct db *from, const char *topic, struct copy_owed *out) MUST_CHECK;

struct copy_counts {
    int64_t users, payments, periods, events;
};
/* In one transaction of `to`, in which everything is then read back and compared: users in their
 * order, then what is not a user's. why says more of every failure, after which `to` is empty still.
 * ERR_VERSION: their schemas differ. ERR_REFUSED: `to` is not empty, or the file has a table that is
 * not known here. ERR_CONFLICT: a difference was found; why names the first. ERR_UNREACHABLE with
 * *maybe: it was lost during the commit, which may have happened. */
enum err copy_books(struct db *from, struct db *to, struct copy_counts *out, bool *maybe, char *why,
                    size_t why_cap) MUST_CHECK;

#endif
