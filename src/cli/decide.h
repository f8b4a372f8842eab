/* decide.h: `subpay decide` with the file in our own hands (rule 10). */
#ifndef SUBPAY_CLI_DECIDE_H
#define SUBPAY_CLI_DECIDE_H

#include "base/config.h"
#include "cli/control_door.h"
#include "ledger/ledger.h"

struct decide_call {
    const struct config *config;
    struct ledger_decision decision;
};

/* What the processor does: the processing says who it is, its journal is read, the key is voided where that can be
 * done, and the decision is recorded. Returns the exit code after it printed what was refused. */
int decide_alone(void *ctx, struct own_store *store);

#endif
