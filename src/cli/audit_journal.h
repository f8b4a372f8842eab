/* audit_journal.h: where `subpay audit` finds the processing's journal.
 *
 * PROCESSOR, by GET /transactions; in dev also the simulator: its file DATA_DIR/processing.db,
 * which can be read beside it and without it, else PROCESSING_LISTEN. The file comes first
 * because it is surely the one of this DATA_DIR; on the port there may be anybody's. Where
 * nothing was ever sent an absent journal is an empty one. */
#ifndef SUBPAY_CLI_AUDIT_JOURNAL_H
#define SUBPAY_CLI_AUDIT_JOURNAL_H

#include "audit/audit.h"
#include "base/config.h"

struct audit_journal {
    const struct config *config;
    bool nothing_sent; /* the books have no attempt */
    char why[256];
    char instance[80]; /* of the processing whose journal was read; "" when it tells none */
    char base[CONFIG_TEXT + 16]; /* URL that the lines came from; "": the simulator's file */
    bool absent;                 /* there is none, and nothing was sent */
};

/* A source over `j`, which must outlive it. */
struct journal_source audit_journal_source(struct audit_journal *j);

#endif
