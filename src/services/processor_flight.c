/* What the processor does about one payment: the call, the answer, what is written down about it. */
#include "services/processor_inside.h"

#include <assert.h>
#include <string.h>

static void flight_move(struct processor *p, struct flight *f, enum flight_state to)
{
    size_t *counts[] = {&p->free_count, &p->calling_count, &p->fact_count, &p->later_count, NULL};

    if (counts[f->state] != NULL)
        (*counts[f->state])--;
    if (counts[to] != NULL)
        (*counts[to])++;
    f->state = to;
}

struct flight *processor_flight_of(struct processor *p, const struct uuid *payment_id)
{
    for (size_t i = 0; i < PROCESSOR_FLIGHTS_MAX; i++)
        if (p->flights[i].state != FLIGHT_FREE && uuid_equal(&p->flights[i].payment_id, payment_id))
            return &p->flights[i];
    return NULL;
}

static struct flight *flight_free(struct processor *p)
{
    for (size_t i = 0; i < PROCESSOR_FLIGHTS_MAX; i++)
        if (p->flights[i].state == FLIGHT_FREE)
            return &p->flights[i];
    return NULL;
}

size_t processor_room(const struct processor *p, bool first)
{
    size_t used = 0;

    for (size_t i = 0; i < PROCESSOR_FLIGHTS_MAX; i++)
        used += p->flights[i].state != FLIGHT_FREE && p->flights[i].first == first;
    size_t share = used < PROCESSOR_SHARE_MAX ? PROCESSOR_SHARE_MAX - used : 0;
    return share < p->free_count ? share : p->free_count;
}

struct flight *processor_flight(struct processor *p, const struct attempt *a, int64_t now_us,
                                bool first)
{
    struct flight *f = flight_free(p);

    assert(f != NULL);
    *f = (struct flight){
        .first = first,
        .payment_id = a->payment_id,
        .payment_type = a->payment_type,
        .money = a->money,
        .claimed_boot_us = now_us - a->age_us,
        .tries = a->tries,
    };
    flight_move(p, f, FLIGHT_CALLING);
    return f;
}

/* Rule 6: pauses double from 1 s to 5 min by the tries so far, a fifth more or less. */
static int64_t pause_us(const struct flight *f, const struct env *env, int64_t retry_after_us)
{
    int64_t pause = PROCESSOR_PAUSE_MAX_US;

    if (f->tries < 9) /* 2^9 s is more than 5 min */
        pause = PROCESSOR_PAUSE_MIN_US << (f->tries > 0 ? f->tries : 0);
    if (pause > PROCESSOR_PAUSE_MAX_US)
        pause = PROCESSOR_PAUSE_MAX_US;
    pause = pause * 4 / 5 + (int64_t)random_below(env->random, (uint64_t)(pause * 2 / 5));
    if (pause < retry_after_us)
        pause = retry_after_us;
    return pause < PROCESSOR_PAUSE_MAX_US ? pause : PROCESSOR_PAUSE_MAX_US;
}

static void flight_later(struct processor *p, struct flight *f, const struct deferral *deferral)
{
    f->deferral = *deferral;
    f->deferral.payment_id = f->payment_id;
    flight_move(p, f, FLIGHT_LATER);
}

/* How long after the first send the same bytes may be written again. */
static int64_t repeat_us(const struct gateway_promises *promises)
{
    return promises->key_ttl_us == TIME_NEVER ? PROCESSOR_FOR_EVER_US : promises->key_ttl_us / 2;
}

static enum err flight_submit(struct processor *p, const struct env *env, struct flight *f,
                              const struct attempt *a)
{
    struct gateway_call call = {
        .verb = GATEWAY_ASK,
        .payment_id = a->payment_id,
        .money = a->money,
        .body = a->body,
        .body_len = a->body_len,
    };
    int64_t until_us = f->claimed_boot_us + repeat_us(&p->promises);
    bool once = p->promises.key_ttl_us == 0; /* sent once, then only asked about */

    if (once ? f->first : !a->ask_only && clock_boot_us(env->clock) < until_us) {
        call.verb = GATEWAY_SEND;
        call.send_before_boot_us = once ? TIME_NEVER : until_us;
    } else if (!p->promises.ask) {
        return ERR_NOT_FOUND; /* neither is possible */
    }
    f->send_before_boot_us = call.verb == GATEWAY_SEND ? call.send_before_boot_us : TIME_NEVER;
    return gateway_submit(p->gateway, &call);
}

void processor_call(struct processor *p, const struct env *env, struct flight *f,
                    const struct attempt *a)
{
    enum err err = flight_submit(p, env, f, a);
    struct deferral deferral = {.no_answer = false};

    if (err == ERR_OK)
        return;
    deferral.pause_us = err == ERR_NOT_FOUND ? PROCESSOR_PAUSE_MAX_US : pause_us(f, env, 0);
    (void)text_copy(deferral.note, sizeof deferral.note,
                    err == ERR_NOT_FOUND ? "can be neither repeated nor asked about"
                                         : err_text(err));
    flight_later(p, f, &deferral);
}

static void flight_fact(struct processor *p, struct flight *f, const struct gateway_answer *a)
{
    f->fact = (struct fact){.payment_id = f->payment_id, .money = f->money};
    switch (a->result) {
    case GATEWAY_SUCCESS:
        f->fact.outcome = PAYMENT_ACCEPTED;
        break;
    case GATEWAY_DECLINE:
        f->fact.outcome = PAYMENT_DECLINE;
        break;
    default:
        f->fact.outcome = PAYMENT_ERROR;
        f->fact.reason = a->voided ? REASON_NOT_ANSWERED : REASON_REFUSED;
        break;
    }
    (void)text_copy(f->fact.processing_id, sizeof f->fact.processing_id, a->transaction_id);
    flight_move(p, f, FLIGHT_FACT);
}

static void processor_away(struct processor *p, const struct env *env, const char *note)
{
    p->instance_known = false;
    (void)trouble_note(&p->calling, env, PROCESSOR_NAME, "calling the processing", ERR_UNREACHABLE,
                       note);
}

static void flight_no_answer(struct processor *p, const struct env *env, struct flight *f,
                             const struct gateway_answer *a)
{
    int64_t now_us = clock_boot_us(env->clock);
    /* Rule 8: the payer decides; a refund waits for nobody, so that is no answer. */
    bool pending = a->result == GATEWAY_PENDING && f->payment_type == PAYMENT_TYPE_PAYMENT &&
                   now_us - f->claimed_boot_us < PROCESSOR_PENDING_US;
    struct deferral deferral = {
        .pause_us = pending ? PROCESSOR_PENDING_PAUSE_US : pause_us(f, env, a->retry_after_us),
        .no_answer = !pending && a->result != GATEWAY_NOT_SENT,
        .ask_only = a->ask_only,
    };

    (void)text_copy(deferral.note, sizeof deferral.note, a->note);
    flight_later(p, f, &deferral);
    /* Nobody listens there: no new request is sent before the processing answers again. */
    if (a->result == GATEWAY_NOT_SENT && now_us < f->send_before_boot_us && p->instance_known)
        processor_away(p, env, a->note);
}

static void processor_instance(struct processor *p, const struct env *env,
                               const struct gateway_answer *a)
{
    p->instance_asked = false;
    if (a->result != GATEWAY_INSTANCE_IS) {
        processor_away(p, env, a->note);
        return;
    }
    if (p->instance_ever && strcmp(p->instance_id, a->instance_id) != 0 && p->undecided_count > 0) {
        if (!p->instance_foreign)
            log_event(env->log, LOG_ERROR, PROCESSOR_NAME,
                      "another instance of the processing answers while payments are undecided",
                      F_STR("instance", a->instance_id), F_STR("expected", p->instance_id));
        p->instance_foreign = true;
        (void)trouble_note(&p->calling, env, PROCESSOR_NAME, "calling the processing", ERR_FOREIGN,
                           a->instance_id);
        return;
    }
    (void)text_copy(p->instance_id, sizeof p->instance_id, a->instance_id);
    p->instance_ever = p->instance_known = true;
    p->instance_foreign = false;
    (void)trouble_note(&p->calling, env, PROCESSOR_NAME, "calling the processing", ERR_OK, NULL);
}

static void processor_answer(struct processor *p, const struct env *env,
                             const struct gateway_answer *a)
{
    if (a->verb == GATEWAY_INSTANCE) {
        processor_instance(p, env, a);
        return;
    }
    if (a->result <= GATEWAY_NOT_SENT)
        metric_add(p->calls[a->result], 1);
    struct flight *f = processor_flight_of(p, &a->payment_id);
    bool definite = a->result <= GATEWAY_ERROR;
    if (f == NULL ||
        (f->state != FLIGHT_CALLING && f->state != FLIGHT_CUT && f->state != FLIGHT_LATER))
        return; /* it is written down, or about to be */
    if (definite)
        flight_fact(p, f, a);
    else if (f->state == FLIGHT_CALLING)
        flight_no_answer(p, env, f, a);
}

size_t processor_take(struct processor *p, const struct env *env)
{
    size_t taken = 0, count;

    while ((count = gateway_take(p->gateway, p->answers, PROCESSOR_TAKE_MAX)) > 0) {
        for (size_t i = 0; i < count; i++)
            processor_answer(p, env, &p->answers[i]);
        taken += count;
    }
    return taken;
}

void processor_cut(struct processor *p, const struct env *env)
{
    const struct deferral deferral = {.pause_us = 0, .no_answer = false, .note = "shut down"};
    int64_t cut = 0;

    for (size_t i = 0; i < PROCESSOR_FLIGHTS_MAX; i++) {
        struct flight *f = &p->flights[i];
        if (f->state != FLIGHT_CALLING)
            continue;
        flight_later(p, f, &deferral);
        f->cut = true;
        cut++;
    }
    if (cut > 0)
        log_event(env->log, LOG_INFO, PROCESSOR_NAME,
                  "calls cut off; the next process asks at once", F_NUM("calls", cut));
}

static size_t flights_in(struct processor *p, enum flight_state state)
{
    size_t count = 0;

    for (size_t i = 0; i < PROCESSOR_FLIGHTS_MAX; i++)
        if (p->flights[i].state == state)
            p->taken[count++] = &p->flights[i];
    return count;
}

static void fact_settled(struct processor *p, const struct env *env, const struct fact *fact)
{
    char id[UUID_TEXT];

    if (fact->verdict == SETTLE_DONE)
        p->claim_boot_us = 0; /* what waited for it may be decided now */
    if (fact->verdict != SETTLE_CONTRADICTS && fact->verdict != SETTLE_UNKNOWN)
        return;
    uuid_format(&fact->payment_id, id);
    log_event(env->log, LOG_ERROR, PROCESSOR_NAME,
              fact->verdict == SETTLE_CONTRADICTS
                  ? "the processing contradicts what is recorded; the record stays"
                  : "the processing answered about a payment that was never sent",
              F_STR("payment_id", id), F_STR("answer", payment_status_text(fact->outcome)));
}

/* A batch that the store refuses for good is tried one by one, so that one answer does not hold up the others. The
 * answer itself is not lost: the processing gives it again. */
static enum err settle_one_by_one(struct processor *p, const struct env *env, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct flight *f = p->taken[i];
        enum err err = ledger_settle(p->ledger, &f->fact, 1);
        if (err == ERR_OK) {
            fact_settled(p, env, &f->fact);
            flight_move(p, f, FLIGHT_FREE);
        } else if (err_retriable(err)) {
            return err;
        } else {
            char id[UUID_TEXT];
            struct deferral deferral = {.pause_us = PROCESSOR_PAUSE_MAX_US, .no_answer = true};
            uuid_format(&f->payment_id, id);
            log_event(env->log, LOG_ERROR, PROCESSOR_NAME, "an answer cannot be recorded",
                      F_STR("payment_id", id),
                      F_STR("answer", payment_status_text(f->fact.outcome)),
                      F_STR("error", err_text(err)), F_STR("why", ledger_why(p->ledger)));
            (void)text_copy(deferral.note, sizeof deferral.note, "its answer cannot be recorded");
            flight_later(p, f, &deferral);
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
    for (size_t i = 0; i < count; i++) {
        fact_settled(p, env, &p->facts[i]);
        flight_move(p, p->taken[i], FLIGHT_FREE);
    }
    return ERR_OK;
}

static enum err processor_defer(struct processor *p, const struct env *env)
{
    size_t count = flights_in(p, FLIGHT_LATER);
    int64_t now_us = clock_boot_us(env->clock);

    for (size_t i = 0; i < count; i++)
        p->deferrals[i] = p->taken[i]->deferral;
    enum err err = ledger_defer(p->ledger, p->deferrals, count);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < count; i++) {
        struct flight *f = p->taken[i];
        if (p->due_boot_us > now_us + f->deferral.pause_us)
            p->due_boot_us = now_us + f->deferral.pause_us;
        flight_move(p, f, f->cut ? FLIGHT_CUT : FLIGHT_FREE);
    }
    return ERR_OK;
}

void processor_write(struct processor *p, const struct env *env)
{
    enum err err = ERR_OK;

    if (p->fact_count == 0 && p->later_count == 0)
        return;
    if (trouble_waits(&p->storing, env))
        return;
    if (p->fact_count > 0)
        err = processor_settle(p, env);
    if (err == ERR_OK && p->later_count > 0)
        err = processor_defer(p, env);
    (void)trouble_note(&p->storing, env, PROCESSOR_NAME, "recording answers", err,
                       ledger_why(p->ledger));
}
