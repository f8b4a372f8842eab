/* A person decides (rule 10). */
#include <string.h>

#include "billing/decision.h"
#include "ledger/sql_ledger.h"

struct decide {
    struct verb verb;
    struct ledger_decision *decision;
};

static enum err decide_record(struct decide *d, struct standing *p)
{
    size_t waiting_duplicated = 0;
    struct outcome o = {
        .status = d->decision->outcome,
        .reason = REASON_DECIDED,
        .processing_id = "",
        .actor = d->decision->actor,
        .evidence = d->decision->evidence,
    };
    d->decision->verdict = DECISION_RECORDED;
    return standing_settle(&d->verb, p, &o, false, &waiting_duplicated);
}

static enum err decide_run(struct verb *v)
{
    struct decide *d = (struct decide *)v;
    const struct promises as_voided = {
        0}; /* whoever calls has voided the key where that can be done */
    struct standing p;
    bool found;
    enum err err = verb_lock_payments(v, &d->decision->payment_id, 0, 1);
    if (err != ERR_OK)
        return err;
    err = standing_read(v, &d->decision->payment_id, &p, &found);
    d->decision->verdict = found ? DECISION_NOT_NEEDED : DECISION_UNKNOWN;
    if (err != ERR_OK || !found)
        return err;
    memcpy(v->user, p.user, sizeof v->user);
    struct decision decision = {
        .processing_status = p.processing_status,
        .needs_decision = p.needs_decision,
        .outcome = d->decision->outcome,
        .voiding = DECISION_VOID_DONE,
    };
    if (decision_next(&decision, &as_voided) != DECISION_RECORD)
        return ERR_OK;
    return decide_record(d, &p);
}

enum err sql_decide(struct ledger *l, struct ledger_decision *decision)
{
    struct decide d = {.verb = {.run = decide_run, .l = (struct sql_ledger *)l},
                       .decision = decision};
    return verb_do(&d.verb);
}
