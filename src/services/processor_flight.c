/* What the processor does about one payment: the call, the answer, what is written down about it. */
#include "services/processor_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void flight_move(struct processor *p, struct flight *f, enum flight_state to)
{
    size_t *counts[] = {&p->free_count,    &p->calling_count, &p->fact_count,
                        &p->learned_count, &p->later_count,   NULL};

    if (to == FLIGHT_FREE) {
        free(f->body);
        f->body = NULL;
    }
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
    size_t used = 0, share_max = p->settings.flights_max * 3 / 4;

    for (size_t i = 0; i < PROCESSOR_FLIGHTS_MAX; i++)
        used += p->flights[i].state != FLIGHT_FREE && p->flights[i].first == first;
    size_t share = used < share_max ? share_max - used : 0;
    return share < p->free_count ? share : p->free_count;
}

struct flight *processor_flight(struct processor *p, const struct attempt *a, int64_t now_us,
                                bool first)
{
    struct flight *f = flight_free(p);

    assert(f != NULL);
    const struct undecided_sent sent = {
        .wall_us = a->age_us,
        .same_boot = p->boot_id[0] != '\0' && strcmp(a->boot_id, p->boot_id) == 0,
        .boot_us = now_us - a->sent_boot_us,
    };
    *f = (struct flight){
        .first = first,
        .payment_id = a->payment_id,
        .payment_type = a->payment_type,
        .money = a->money,
        .undecided = {.first = first,
                      .too_old = a->too_old,
                      .ask_only = a->ask_only,
                      .pending = a->pending,
                      .pending_us = a->pending_us,
                      .expired = a->expired,
                      .superseded = a->superseded,
                      .rewound = a->rewound},
        .read_boot_us = now_us,
        .send_before_boot_us = TIME_NEVER,
        .tries = a->tries,
        .ask_first = a->ask_first,
        .refund_of = a->refund_of,
    };
    undecided_aged(&f->undecided, &sent);
    flight_move(p, f, FLIGHT_CALLING);
    return f;
}

/* As it is now: ages have grown since it was read. */
static struct undecided flight_undecided(const struct flight *f, int64_t now_us)
{
    struct undecided u = f->undecided;

    u.age_us += now_us - f->read_boot_us;
    if (u.pending)
        u.pending_us += now_us - f->read_boot_us;
    return u;
}

static int64_t pause_us(const struct flight *f, const struct env *env, const struct undecided *u,
                        int64_t retry_after_us)
{
    return undecided_pause_us(u, f->tries, retry_after_us, random_unit(env->random));
}

void flight_later(struct processor *p, struct flight *f, const struct deferral *deferral)
{
    f->deferral = *deferral;
    f->deferral.payment_id = f->payment_id;
    flight_move(p, f, FLIGHT_LATER);
}

/* What is kept of a payment whose call went unanswered. Nothing of what is asked about before it is decided. */
static void flight_keeps(const struct processor *p, const struct flight *f, struct undecided u,
                         struct deferral *deferral)
{
    if (f->ask_first)
        return;
    u.first = false;
    struct undecided_step next = undecided_next(&u, &p->promises);
    deferral->needs_decision = next.needs_decision;
    deferral->too_old = next.too_old;
}

/* What is asked about first is told to the books with its body when it is answered. */
static bool flight_keep_body(struct flight *f, const struct attempt *a)
{
    f->body = malloc(a->body_len);
    if (f->body == NULL)
        return false;
    memcpy(f->body, a->body, a->body_len);
    f->body_len = a->body_len;
    return true;
}

static enum undecided_move flight_next(const struct processor *p, const struct flight *f,
                                       const struct undecided *u)
{
    if (f->ask_first)
        return p->promises.ask ? UNDECIDED_ASK : UNDECIDED_REST;
    return undecided_next(u, &p->promises).move;
}

static enum err flight_submit(struct processor *p, struct flight *f, const struct undecided *u,
                              enum undecided_move move, const struct attempt *a)
{
    static const enum gateway_verb VERBS[] = {[UNDECIDED_SEND] = GATEWAY_SEND,
                                              [UNDECIDED_ASK] = GATEWAY_ASK,
                                              [UNDECIDED_VOID] = GATEWAY_VOID};
    struct gateway_call call = {
        .verb = VERBS[move],
        .payment_id = a->payment_id,
        .money = a->money,
        .body = a->body,
        .body_len = a->body_len,
    };

    if (move == UNDECIDED_SEND)
        f->send_before_boot_us = call.send_before_boot_us =
            f->read_boot_us - f->undecided.age_us + undecided_send_until_us(&p->promises, u->first);
    if (f->ask_first && !flight_keep_body(f, a))
        return ERR_NO_MEMORY;
    return gateway_submit(p->gateway, &call);
}

void processor_call(struct processor *p, const struct env *env, struct flight *f,
                    const struct attempt *a)
{
    struct undecided u = flight_undecided(f, clock_boot_us(env->clock));
    enum undecided_move move = flight_next(p, f, &u);
    struct deferral deferral = {.expires_at_us = TIME_NEVER};

    flight_keeps(p, f, u, &deferral);
    if (move == UNDECIDED_REST) {
        deferral.pause_us = UNDECIDED_PAUSE_MAX_US;
        (void)text_copy(deferral.note, sizeof deferral.note,
                        "can be neither repeated nor asked about");
        flight_later(p, f, &deferral);
        return;
    }
    enum err err = flight_submit(p, f, &u, move, a);
    if (err == ERR_OK)
        return;
    deferral.pause_us = pause_us(f, env, &u, 0);
    (void)text_copy(deferral.note, sizeof deferral.note, err_text(err));
    flight_later(p, f, &deferral);
}

void processor_mark(struct processor *p, const struct env *env, struct flight *f)
{
    struct deferral deferral = {.pause_us = PROCESSOR_MARK_PAUSE_US, .expires_at_us = TIME_NEVER};

    flight_keeps(p, f, flight_undecided(f, clock_boot_us(env->clock)), &deferral);
    (void)text_copy(deferral.note, sizeof deferral.note, "nothing may be sent now");
    flight_later(p, f, &deferral);
}

void processor_fact(struct fact *fact, const struct uuid *payment_id, const struct money *money,
                    const struct gateway_answer *a)
{
    *fact = (struct fact){.payment_id = *payment_id, .money = *money};
    switch (a->result) {
    case GATEWAY_SUCCESS:
        fact->outcome = PAYMENT_ACCEPTED;
        break;
    case GATEWAY_DECLINE:
        fact->outcome = PAYMENT_DECLINE;
        break;
    default:
        fact->outcome = PAYMENT_ERROR;
        fact->voided = a->voided;
        fact->reason = a->voided ? REASON_NONE : REASON_REFUSED;
        break;
    }
    (void)text_copy(fact->processing_id, sizeof fact->processing_id, a->transaction_id);
}

/* Rule 8: the payer decides; a refund waits for nobody, so that is no answer. */
static bool answer_waits(const struct flight *f, const struct gateway_answer *a)
{
    return a->result == GATEWAY_PENDING && f->payment_type == PAYMENT_TYPE_PAYMENT;
}

static void flight_pending(struct undecided *u, const struct env *env,
                           const struct gateway_answer *a, struct deferral *deferral)
{
    if (!u->pending)
        u->pending_us = 0;
    u->pending = true;
    u->expired = a->expires_at_us == TIME_NEVER ? u->age_us >= UNDECIDED_DAY_US
                                                : a->expires_at_us <= clock_wall_us(env->clock);
    deferral->pending = true;
    deferral->expires_at_us = a->expires_at_us;
    (void)text_copy(deferral->action_url, sizeof deferral->action_url, a->action_url);
}

static void flight_no_answer(struct processor *p, const struct env *env, struct flight *f,
                             const struct gateway_answer *a)
{
    int64_t now_us = clock_boot_us(env->clock);
    struct undecided u = flight_undecided(f, now_us);
    struct deferral deferral = {
        .no_answer = a->result != GATEWAY_NOT_SENT,
        .ask_only = a->ask_only,
        .expires_at_us = TIME_NEVER,
    };

    u.ask_only |= a->ask_only;
    if (answer_waits(f, a)) {
        flight_pending(&u, env, a, &deferral);
        /* The pauses grow from their beginning when it has been asked about often enough. */
        deferral.no_answer = u.pending_us >= UNDECIDED_PENDING_US;
    }
    deferral.pause_us = pause_us(f, env, &u, a->retry_after_us);
    flight_keeps(p, f, u, &deferral);
    (void)text_copy(deferral.note, sizeof deferral.note, a->note);
    flight_later(p, f, &deferral);
    if (a->result == GATEWAY_NO_ANSWER && !a->unknown_key)
        p->link.unanswered_boot_us = now_us;
    /* Nobody listens there: no new request is sent before the processing answers again. */
    if (a->result == GATEWAY_NOT_SENT && now_us < f->send_before_boot_us && p->link.known)
        link_away(p, env, a->note);
}

/* The answer about a payment that is new to these books. */
static void flight_learned(struct processor *p, const struct env *env, struct flight *f,
                           const struct gateway_answer *a)
{
    static const enum learn_answer LEARNED[] = {[GATEWAY_SUCCESS] = LEARN_SUCCESS,
                                                [GATEWAY_DECLINE] = LEARN_DECLINE,
                                                [GATEWAY_ERROR] = LEARN_ERROR,
                                                [GATEWAY_PENDING] = LEARN_PENDING};
    struct undecided u = flight_undecided(f, clock_boot_us(env->clock));

    f->deferral = (struct deferral){.expires_at_us = TIME_NEVER};
    f->unknown_key = a->unknown_key;
    if (!f->unknown_key) {
        f->learned = LEARNED[a->result];
        processor_fact(&f->fact, &f->payment_id, &f->money, a);
        if (a->result == GATEWAY_PENDING)
            flight_pending(&u, env, a, &f->deferral);
    }
    flight_move(p, f, FLIGHT_LEARNED);
}

/* A key is never unknown to a void (contract section 7), so it cannot void at all: undecided_next is not told that it
 * can, until the journal was read the next time; then it is tried again. */
static void processor_no_void(struct processor *p, const struct env *env,
                              const struct gateway_answer *a)
{
    p->promises.voids = false;
    if (!p->no_void_said)
        log_event(env->log, LOG_WARN, PROCESSOR_NAME,
                  "the processing does not void; it is asked, and people decide what it does not "
                  "answer",
                  F_STR("answer", a->note));
    p->no_void_said = true;
}

static void processor_answer(struct processor *p, const struct env *env, struct gateway_answer *a)
{
    if (a->verb == GATEWAY_INSTANCE) {
        link_instance_answered(p, env, a);
        return;
    }
    if (a->verb == GATEWAY_JOURNAL) {
        link_page_answered(p, env, a);
        return;
    }
    if (a->result <= GATEWAY_NOT_SENT)
        metric_add(p->calls[a->result], 1);
    if (a->no_void)
        processor_no_void(p, env, a);
    if (a->verb == GATEWAY_VOID && decisions_answered(p, a))
        return;
    struct flight *f = processor_flight_of(p, &a->payment_id);
    bool definite = a->result <= GATEWAY_ERROR;
    if (f == NULL ||
        (f->state != FLIGHT_CALLING && f->state != FLIGHT_CUT && f->state != FLIGHT_LATER))
        return; /* it is written down, or about to be */
    if (f->ask_first && (definite || answer_waits(f, a) || a->unknown_key)) {
        flight_learned(p, env, f, a);
    } else if (definite) {
        processor_fact(&f->fact, &f->payment_id, &f->money, a);
        flight_move(p, f, FLIGHT_FACT);
    } else if (f->state == FLIGHT_CALLING) {
        flight_no_answer(p, env, f, a);
    }
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
    const struct deferral deferral = {
        .pause_us = 0, .no_answer = false, .expires_at_us = TIME_NEVER, .note = "shut down"};
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
