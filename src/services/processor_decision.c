/* A person decides (rule 10), while the processor runs: before decline or error the key is voided where the processing
 * can; decision_next says what may be done. */
#include "services/processor_inside.h"

#include <stdlib.h>
#include <string.h>

static void person_reply(struct processor *p, struct person **slot,
                         const struct decided_outcome *outcome)
{
    struct person *person = *slot;

    *slot = NULL;
    person->done(person->ctx, person->token, outcome);
    free(person);
    atomic_fetch_sub(&p->people_count, 1);
}

static void person_refuse(struct processor *p, struct person **slot, enum decided decided,
                          const char *why)
{
    struct decided_outcome outcome = {.decided = decided};
    size_t len = strlen(why);

    /* Cut where it is too long: it is only for reading. */
    if (len > sizeof outcome.why - 1)
        len = sizeof outcome.why - 1;
    (void)text_copy_n(outcome.why, sizeof outcome.why, why, len);
    person_reply(p, slot, &outcome);
}

static void person_decide(struct processor *p, const struct env *env, struct person **slot)
{
    const struct processor_decision *said = &(*slot)->decision;
    struct ledger_decision decision = {
        .payment_id = said->payment_id,
        .outcome = said->outcome,
        .evidence = said->evidence,
        .actor = said->actor,
    };
    enum err err = ledger_decide(p->ledger, &decision);

    (void)processor_stored(p, env, "recording a decision", err);
    if (err != ERR_OK) {
        person_refuse(p, slot, DECIDED_LATER, ledger_why(p->ledger));
    } else if (decision.verdict == DECISION_RECORDED) {
        const struct decided_outcome outcome = {.decided = DECIDED, .outcome = said->outcome};
        p->claim_boot_us = 0; /* what waited for it may be decided now */
        person_reply(p, slot, &outcome);
    } else {
        person_refuse(p, slot,
                      decision.verdict == DECISION_UNKNOWN ? DECIDED_UNKNOWN : DECIDED_NOT_NEEDED,
                      "");
    }
}

/* The processing's answer goes before what a person says. */
static void person_answered(struct processor *p, const struct env *env, struct person **slot)
{
    struct fact *fact = &(*slot)->fact;
    enum err err = ledger_settle(p->ledger, fact, 1);

    (void)processor_stored(p, env, "recording answers", err);
    if (err != ERR_OK) { /* it is asked about again */
        person_refuse(p, slot, DECIDED_LATER, ledger_why(p->ledger));
        return;
    }
    processor_fact_settled(p, env, fact);
    const struct decided_outcome outcome = {.decided = DECIDED_ANSWERED, .outcome = fact->outcome};
    person_reply(p, slot, &outcome);
}

static void person_void(struct processor *p, const struct env *env, struct person **slot,
                        const struct attempt *a)
{
    struct person *person = *slot;
    const struct gateway_call call = {
        .verb = GATEWAY_VOID,
        .payment_id = a->payment_id,
        .money = a->money,
        .body = a->body,
        .body_len = a->body_len,
    };

    if (!p->link.known) {
        person_refuse(p, slot, DECIDED_UNANSWERED,
                      p->link.foreign ? "another instance of the processing answers"
                                      : "the processing does not answer");
        return;
    }
    if (!link_sure(p, env))
        return; /* it is being asked who it is */
    enum err err = gateway_submit(p->gateway, &call);
    if (err != ERR_OK) {
        person_refuse(p, slot, DECIDED_UNANSWERED, err_text(err));
        return;
    }
    person->fact.money = a->money;
    person->state = PERSON_VOIDING;
}

/* What the books say of the payment; NULL: the person was answered. */
static const struct attempt *person_attempt(struct processor *p, const struct env *env,
                                            struct person **slot)
{
    struct attempt *a = NULL;

    arena_reset(&p->arena);
    enum err err = ledger_attempt(p->ledger, &(*slot)->decision.payment_id, &p->arena, &a);
    if (err == ERR_OK)
        return a;
    if (err == ERR_NOT_FOUND) {
        person_refuse(p, slot, DECIDED_UNKNOWN, "");
    } else if (err == ERR_CONFLICT) {
        person_refuse(p, slot, DECIDED_NOT_NEEDED, "");
    } else {
        (void)processor_stored(p, env, "reading a payment", err);
        person_refuse(p, slot, DECIDED_LATER, ledger_why(p->ledger));
    }
    return NULL;
}

static void person_goes_on(struct processor *p, const struct env *env, struct person **slot)
{
    struct person *person = *slot;

    /* Requests that waited would become duplicates, and they may have been sent. Where the processing that was used
     * is gone, its journal is too, and people are all that is left. */
    if (!p->link.read && !p->link.foreign) {
        if (p->link.again || p->calling.count > 0 || p->reading.count > 0)
            person_refuse(p, slot, DECIDED_LATER,
                          "the processing's journal has to be read before anything is decided");
        return; /* else it is being read */
    }
    const struct attempt *a = person_attempt(p, env, slot);
    if (a == NULL)
        return;
    const struct decision decision = {
        .processing_status = PROCESSING_IN_PROCESSING,
        .needs_decision = a->needs_decision,
        .outcome = person->decision.outcome,
        .voiding = person->voiding,
    };
    switch (decision_next(&decision, &p->promises)) {
    case DECISION_REFUSE:
        if (person->voiding == DECISION_VOID_UNANSWERED)
            person_refuse(p, slot, DECIDED_UNANSWERED, person->why);
        else
            person_refuse(p, slot, DECIDED_NOT_NEEDED, "");
        break;
    case DECISION_VOID:
        person_void(p, env, slot, a);
        break;
    case DECISION_RECORD:
        person_decide(p, env, slot);
        break;
    case DECISION_ANSWER:
        person_answered(p, env, slot);
        break;
    }
}

void decisions_take(struct processor *p, const struct env *env)
{
    for (size_t i = 0; i < PROCESSOR_DECISIONS_MAX; i++)
        if (p->people[i] == NULL && inbox_take(&p->asked, &p->people[i], 1) != 1)
            break;
    for (size_t i = 0; i < PROCESSOR_DECISIONS_MAX; i++) {
        struct person **slot = &p->people[i];
        if (*slot != NULL && (*slot)->state != PERSON_VOIDING)
            person_goes_on(p, env, slot);
    }
}

bool decisions_answered(struct processor *p, const struct gateway_answer *a)
{
    for (size_t i = 0; i < PROCESSOR_DECISIONS_MAX; i++) {
        struct person *person = p->people[i];
        if (person == NULL || person->state != PERSON_VOIDING ||
            !uuid_equal(&person->decision.payment_id, &a->payment_id))
            continue;
        const struct money money = person->fact.money;
        person->state = PERSON_VOIDED;
        if (a->result > GATEWAY_ERROR) {
            person->voiding = DECISION_VOID_UNANSWERED;
            (void)text_copy(person->why, sizeof person->why, a->note);
        } else {
            person->voiding = a->voided ? DECISION_VOID_DONE : DECISION_VOID_OTHER;
            processor_fact(&person->fact, &person->decision.payment_id, &money, a);
        }
        return true;
    }
    return false;
}

void decisions_drop(struct processor *p, bool voiding)
{
    struct person *left = NULL;

    while (inbox_take(&p->asked, &left, 1) == 1)
        person_refuse(p, &left, DECIDED_LATER, "shutting down");
    for (size_t i = 0; i < PROCESSOR_DECISIONS_MAX; i++)
        if (p->people[i] != NULL && (voiding || p->people[i]->state == PERSON_ASKED))
            person_refuse(p, &p->people[i], DECIDED_LATER, "shutting down");
}

static bool text_given(const char *text, size_t cap)
{
    size_t len = strnlen(text, cap);

    return len > 0 && len < cap && text_is_utf8(text, len);
}

static bool decision_valid(const struct processor_decision *d)
{
    return (d->outcome == PAYMENT_ACCEPTED || d->outcome == PAYMENT_DECLINE ||
            d->outcome == PAYMENT_ERROR) &&
           text_given(d->evidence, sizeof d->evidence) && text_given(d->actor, sizeof d->actor) &&
           !uuid_is_nil(&d->payment_id);
}

enum err processor_decide(struct service *processor, const struct processor_decision *decision,
                          processor_decided *done, void *ctx, uint64_t token)
{
    struct processor *p = (struct processor *)processor;
    enum err err = ERR_BUSY;

    if (!decision_valid(decision))
        return ERR_INVALID;
    if (atomic_load(&p->draining))
        return ERR_STOPPED;
    struct person *person = calloc(1, sizeof *person);
    if (person == NULL)
        return ERR_NO_MEMORY;
    *person = (struct person){.decision = *decision, .done = done, .ctx = ctx, .token = token};
    if (atomic_fetch_add(&p->people_count, 1) < PROCESSOR_DECISIONS_MAX)
        err = inbox_push(&p->asked, &person);
    if (err == ERR_OK)
        return ERR_OK;
    atomic_fetch_sub(&p->people_count, 1);
    free(person);
    return err;
}
