/* What the processor writes down about its payments: facts, what was learned of new ones, when to ask again. */
#include "services/processor_inside.h"

static size_t flights_in(struct processor *p, enum flight_state state)
{
    size_t count = 0;

    for (size_t i = 0; i < PROCESSOR_FLIGHTS_MAX; i++)
        if (p->flights[i].state == state)
            p->taken[count++] = &p->flights[i];
    return count;
}

void processor_fact_settled(struct processor *p, const struct env *env, const struct fact *fact)
{
    char id[UUID_TEXT];

    if (fact->verdict == SETTLE_DONE)
        p->claim_boot_us = 0; /* what waited for it may be decided now */
    if (fact->verdict != SETTLE_CONTRADICTS && fact->verdict != SETTLE_UNKNOWN)
        return;
    if (fact->verdict == SETTLE_UNKNOWN)
        link_read_again(p); /* the books were rewound */
    uuid_format(&fact->payment_id, id);
    log_event(env->log, LOG_ERROR, PROCESSOR_NAME,
              fact->verdict == SETTLE_CONTRADICTS
                  ? "the processing contradicts what is recorded; the record stays"
                  : "the processing answered about a payment that was never sent",
              F_STR("payment_id", id), F_STR("answer", payment_status_text(fact->outcome)));
}

/* The answer itself is not lost: the processing gives it again. */
static void flight_unrecorded(struct processor *p, const struct env *env, struct flight *f,
                              enum err err)
{
    char id[UUID_TEXT];
    struct deferral deferral = {
        .pause_us = UNDECIDED_PAUSE_MAX_US, .no_answer = true, .expires_at_us = TIME_NEVER};

    uuid_format(&f->payment_id, id);
    log_event(env->log, LOG_ERROR, PROCESSOR_NAME, "an answer cannot be recorded",
              F_STR("payment_id", id), F_STR("answer", payment_status_text(f->fact.outcome)),
              F_STR("error", err_text(err)), F_STR("why", ledger_why(p->ledger)));
    (void)text_copy(deferral.note, sizeof deferral.note, "its answer cannot be recorded");
    flight_later(p, f, &deferral);
}

/* A batch that the store refuses for good is tried one by one, so that one answer does not hold up the others. */
static enum err settle_one_by_one(struct processor *p, const struct env *env, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct flight *f = p->taken[i];
        enum err err = ledger_settle(p->ledger, &f->fact, 1);
        if (err == ERR_OK) {
            processor_fact_settled(p, env, &f->fact);
            flight_move(p, f, FLIGHT_FREE);
        } else if (err_retriable(err)) {
            return err;
        } else {
            flight_unrecorded(p, env, f, err);
        }
    }
    return ERR_OK;
}

static enum err processor_settle(struct processor *p, const struct env *env)
{
    size_t count = flights_in(p, FLIGHT_FACT);

    for (size_t i = 0; i < count; i++)
        p->facts[i] = p->taken[i]->fact;
    enum err err = ledger_settle(p->ledger, p->facts, count);
    if (err != ERR_OK)
        return err_retriable(err) || err == ERR_STOPPED ? err : settle_one_by_one(p, env, count);
    link_settled(p, count);
    for (size_t i = 0; i < count; i++) {
        processor_fact_settled(p, env, &p->facts[i]);
        flight_move(p, p->taken[i], FLIGHT_FREE);
    }
    return ERR_OK;
}

static enum err learned_tell(struct processor *p, const struct env *env, const struct flight *f)
{
    struct ledger_learned learned = {0};
    const struct journal_entry entry = {
        .answer = f->learned,
        .voided = f->fact.voided,
        .request = {.payment_id = f->payment_id, .refund_of = f->refund_of},
        .money = f->money,
        .body = f->body,
        .body_len = f->body_len,
        .processing_id = f->fact.processing_id,
        .action_url = f->deferral.action_url,
        .expires_at_us = f->deferral.expires_at_us,
    };
    char id[UUID_TEXT];

    if (f->unknown_key)
        return ledger_asked_unknown(p->ledger, &f->payment_id);
    enum err err = ledger_asked(p->ledger, p->link.instance_id, &entry, &learned);
    if (err == ERR_OK) {
        uuid_format(&f->payment_id, id);
        log_event(env->log, learned.alarms > 0 ? LOG_ERROR : LOG_INFO, PROCESSOR_NAME,
                  "the processing knew a payment that is new here", F_STR("payment_id", id),
                  F_NUM("alarms", (int64_t)learned.alarms));
    }
    return err;
}

static enum err processor_learned(struct processor *p, const struct env *env)
{
    size_t count = flights_in(p, FLIGHT_LEARNED);

    for (size_t i = 0; i < count; i++) {
        struct flight *f = p->taken[i];
        enum err err = learned_tell(p, env, f);
        if (err == ERR_OK) {
            p->claim_boot_us = 0; /* its user may be decided about now */
            flight_move(p, f, FLIGHT_FREE);
        } else if (err_retriable(err) || err == ERR_STOPPED) {
            return err;
        } else {
            flight_unrecorded(p, env, f, err);
        }
    }
    return ERR_OK;
}

static enum err defer_some(struct processor *p, int64_t now_us, struct flight **flights,
                           size_t count)
{
    for (size_t i = 0; i < count; i++)
        p->deferrals[i] = flights[i]->deferral;
    enum err err = ledger_defer(p->ledger, p->deferrals, count);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct flight *f = flights[i];
        if (p->due_boot_us > now_us + f->deferral.pause_us)
            p->due_boot_us = now_us + f->deferral.pause_us;
        flight_move(p, f, f->cut ? FLIGHT_CUT : FLIGHT_FREE);
    }
    return err;
}

/* Some at a time: what is written stays when the end comes, and nobody waits long for their accounts. */
static enum err processor_defer(struct processor *p, const struct env *env)
{
    size_t count = flights_in(p, FLIGHT_LATER);
    int64_t now_us = clock_boot_us(env->clock);
    enum err err = ERR_OK;

    for (size_t i = 0; i < count && err == ERR_OK; i += PROCESSOR_DEFER_MAX) {
        size_t left = count - i;
        err = defer_some(p, now_us, p->taken + i,
                         left < PROCESSOR_DEFER_MAX ? left : PROCESSOR_DEFER_MAX);
    }
    return err;
}

size_t processor_unwritten(const struct processor *p)
{
    return p->fact_count + p->learned_count + p->later_count;
}

void processor_write(struct processor *p, const struct env *env)
{
    bool answers = p->link.read && p->fact_count + p->learned_count > 0;
    enum err err = ERR_OK;

    if ((!answers && p->later_count == 0) || trouble_waits(&p->storing, env))
        return;
    if (answers && p->fact_count > 0)
        err = processor_settle(p, env);
    if (err == ERR_OK && p->link.read && p->learned_count > 0)
        err = processor_learned(p, env);
    if (err == ERR_OK && p->later_count > 0)
        err = processor_defer(p, env);
    (void)processor_stored(p, env, "recording answers", err);
}

void processor_forget(struct processor *p)
{
    for (size_t i = 0; i < PROCESSOR_FLIGHTS_MAX; i++) {
        struct flight *f = &p->flights[i];
        if (f->state == FLIGHT_FACT || f->state == FLIGHT_LEARNED)
            flight_move(p, f, FLIGHT_FREE);
    }
}
