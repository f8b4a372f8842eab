#include <string.h>

#include "ledger/sql_ledger.h"

/* Rules 2 and 8: those who waited. */
static enum err settle_waiting(struct verb *v, struct standing *p, struct outcome *o, bool hold,
                               size_t *taken)
{
    enum err err = ERR_OK;
    if (p->undecided.pending)
        err = waiting_paged(v, p, !hold, taken);
    if (o->voided)
        o->reason = undecided_void_reason(&p->undecided);
    if (err != ERR_OK || p->pending_seq == 0)
        return err;
    return hold ? learning_holds(v, p) : waiting_settled(v, p, o->reason, INT64_MAX, taken);
}

enum err standing_settle(struct verb *v, struct standing *p, struct outcome *o, bool hold,
                         size_t *waiting_duplicated)
{
    if (p->in_flight != p->seq)
        return verb_fails(v, ERR_CORRUPT, "the account does not know of its payment");
    enum err err = settle_waiting(v, p, o, hold || p->learning, waiting_duplicated);
    if (err == ERR_OK)
        err = standing_ends(v, p, o);
    return err == ERR_OK ? standing_account(v, p) : err;
}

struct outcome settle_outcome(const struct fact *f)
{
    return (struct outcome){
        .status = f->outcome,
        .voided = f->voided,
        .reason = f->reason,
        .processing_id = f->processing_id,
        .actor = "processor",
    };
}

static enum err settle_now(struct settle *s, struct fact *f, struct standing *p)
{
    struct outcome o = settle_outcome(f);
    if (!money_equal(&f->money, &p->money))
        return verb_fails(&s->verb, ERR_BUG, "an answer about another amount is no answer");
    enum err err = standing_settle(&s->verb, p, &o, false, &f->waiting_duplicated);
    f->reason = o.reason;
    f->verdict = SETTLE_DONE;
    return err;
}

enum settle_verdict settle_verdict_of(const struct fact *f, const struct standing *p)
{
    switch (p->processing_status) {
    case PROCESSING_NEW:
        return SETTLE_UNKNOWN;
    case PROCESSING_IN_PROCESSING:
        return SETTLE_DONE;
    case PROCESSING_PROCESSED:
    case PROCESSING_COMPLETED:
        return p->payment_status == f->outcome ? SETTLE_REPEATED : SETTLE_CONTRADICTS;
    case PROCESSING_DUPLICATED:
    case PROCESSING_STATUS_COUNT:
        break;
    }
    return SETTLE_CONTRADICTS;
}

enum err settle_one(struct settle *s, struct fact *f)
{
    struct standing p;
    bool found;
    enum err err = standing_read(&s->verb, &f->payment_id, &p, &found);
    if (err != ERR_OK)
        return err;
    f->waiting_duplicated = 0;
    f->verdict = SETTLE_UNKNOWN;
    if (!found)
        return ERR_OK;
    memcpy(s->verb.user, p.user, sizeof s->verb.user);
    f->verdict = settle_verdict_of(f, &p);
    if (f->verdict == SETTLE_DONE)
        return settle_now(s, f, &p);
    if (f->verdict != SETTLE_CONTRADICTS)
        return ERR_OK;
    return row_contradiction(&s->verb, &f->payment_id, payment_status_text(f->outcome), NULL);
}

static enum err settle_each(struct settle *s)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < s->count && err == ERR_OK; i++)
        err = settle_one(s, &s->facts[i]);
    return err;
}

static enum err settle_run(struct verb *v)
{
    struct settle *s = (struct settle *)v;
    enum err err = verb_lock_payments(v, &s->facts->payment_id, sizeof *s->facts, s->count);
    return err == ERR_OK ? s->record(s) : err;
}

enum err settle_with(struct ledger *l, struct fact *facts, size_t count,
                     enum err (*record)(struct settle *s))
{
    struct settle s = {.verb = {.run = settle_run, .l = (struct sql_ledger *)l},
                       .record = record,
                       .facts = facts,
                       .count = count};
    return verb_do(&s.verb);
}

enum err sql_settle(struct ledger *l, struct fact *facts, size_t count)
{
    return settle_with(l, facts, count, settle_each);
}
