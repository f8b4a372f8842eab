/* The processing of the simulated world: executes, remembers as long as it promises, voids, keeps a journal. The
 * rules of an answer and the reading of it are the shipped ones. */
#include "gateway/processing.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/times.h"
#include "sim/inside.h"

#define SIM_PAGE_LINES 20 /* so that a reading takes several */
#define SIM_PAGE_BYTES (SIM_PAGE_LINES * 2 * SIM_CHARGE_BODY_MAX)
#define SIM_PENDING_US (300 * US_PER_S) /* a payer's page is good this long; some come too late */
#define SIM_REFUSAL 0.3                 /* chance of a 409, where it refuses at all */

enum err sim_processing_init(struct sim_processing *p)
{
    for (int i = 0; i < 2; i++) {
        struct sim_journal *j = &p->journals[i];
        snprintf(j->instance_id, sizeof j->instance_id, "simulated-%d", i);
        j->executions = calloc(SIM_CALLS_MAX, sizeof *j->executions);
        if (!j->executions)
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

void sim_processing_release(struct sim_processing *p)
{
    for (int i = 0; i < 2; i++)
        free(p->journals[i].executions);
}

struct sim_journal *sim_journal(struct world *w)
{
    return &w->processing.journals[w->processing.current];
}

struct sim_execution *sim_execution_of(const struct sim_journal *j, const struct uuid *key)
{
    for (size_t i = j->count; i > 0; i--)
        if (uuid_equal(&j->executions[i - 1].key, key))
            return &j->executions[i - 1];
    return NULL;
}

static bool pending(const struct sim_execution *e)
{
    return !strcmp(e->result, "pending");
}

const struct sim_execution *sim_definite(const struct sim_journal *j, const struct uuid *key)
{
    for (size_t i = j->count; i > 0; i--)
        if (!pending(&j->executions[i - 1]) && uuid_equal(&j->executions[i - 1].key, key))
            return &j->executions[i - 1];
    return NULL;
}

const struct sim_execution *sim_answer(const struct world *w, const struct uuid *key)
{
    const struct sim_execution *e = sim_definite(&w->processing.journals[0], key);
    return e ? e : sim_definite(&w->processing.journals[1], key);
}

bool sim_payers_open(struct world *w)
{
    const struct sim_journal *j = sim_journal(w);
    for (size_t i = 0; i < j->count; i++) {
        const struct sim_execution *e = &j->executions[i];
        if (pending(e) && e->expires_at_us > w->now_us && sim_execution_of(j, &e->key) == e)
            return true;
    }
    return false;
}

/* A new line; `like`: of a key that was pending. */
static struct sim_execution *execution_add(struct sim_journal *j, const struct sim_execution *like)
{
    assert(j->count < SIM_CALLS_MAX);
    struct sim_execution *e = &j->executions[j->count];
    if (like)
        *e = *like;
    else
        memset(e, 0, sizeof *e);
    e->seq = (int64_t)++j->count;
    snprintf(e->transaction_id, sizeof e->transaction_id, "sim-%zu", j->count);
    return e;
}

/* A refund gives back a charge that it knows, and no more than what is left of it. */
static bool refund_possible(const struct sim_journal *p, const struct sim_execution *refund)
{
    int64_t left = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct sim_execution *e = &p->executions[i];
        if (strcmp(e->result, "success") != 0)
            continue;
        if (!strcmp(e->payment_type, "payment") && !strcmp(e->payment_id, refund->refund_of))
            left += e->amount_minor;
        if (!strcmp(e->payment_type, "refund") && !strcmp(e->refund_of, refund->refund_of))
            left -= e->amount_minor;
    }
    return refund->amount_minor <= left;
}

static void field(const struct json *doc, const char *name, char *out, size_t cap)
{
    const char *text = json_text(json_member(doc, name));
    text_copy(out, cap, text ? text : "");
}

static void execution_read(struct sim_execution *e, const char *body, size_t len)
{
    struct json *doc = json_parse(body, len, NULL, 0);
    assert(doc); /* what the processor sends is JSON */
    text_copy_n(e->body, sizeof e->body, body, len);
    field(doc, "payment_id", e->payment_id, sizeof e->payment_id);
    field(doc, "user_id", e->user_id, sizeof e->user_id);
    field(doc, "refund_of", e->refund_of, sizeof e->refund_of);
    field(doc, "payment_type", e->payment_type, sizeof e->payment_type);
    field(doc, "subscription_type", e->subscription_type, sizeof e->subscription_type);
    field(doc, "currency", e->currency, sizeof e->currency);
    bool has_amount = json_i64(json_member(doc, "amount"), &e->amount_minor);
    assert(has_amount);
    json_free(doc);
}

/* ---- the payer ---- */

struct payer {
    int instance;
    struct uuid key;
};

static void payer_decides(struct world *w, void *what)
{
    const struct payer *payer = what;
    struct sim_journal *j = &w->processing.journals[payer->instance];
    struct sim_execution *e = sim_execution_of(j, &payer->key);
    if (e && pending(e) && w->now_us < e->expires_at_us && !w->closing) {
        e = execution_add(j, e);
        e->result = world_maybe(w, 0.7) ? "success" : "decline";
        world_tell(w, "the payer of %s: %s", e->payment_id, e->result);
    }
    free(what);
}

static void payer_comes(struct world *w, struct sim_execution *e)
{
    struct payer *payer = malloc(sizeof *payer);
    assert(payer);
    *payer = (struct payer){w->processing.current, e->key};
    e->expires_at_us = w->now_us + SIM_PENDING_US;
    world_later(w, world_between(w, US_PER_S, 2 * SIM_PENDING_US), payer_decides, payer);
}

/* ---- execute, void ---- */

/* As in the shipped simulator: after the promised time a key is as new, except that what was voided stays so, where
 * keys are remembered at all. */
static bool remembered(const struct world *w, const struct sim_execution *e)
{
    int64_t ttl_us = w->plan.promises.key_ttl_us;
    return ttl_us != 0 &&
           (e->voided || ttl_us == TIME_NEVER || w->now_us - e->executed_at_us < ttl_us);
}

static bool same_body(struct world *w, const struct sim_execution *e,
                      const struct gateway_call *call)
{
    bool same = strlen(e->body) == call->body_len && !memcmp(e->body, call->body, call->body_len);
    w->processing.other_bodies += !same;
    return same;
}

/* NULL: 422. */
static const struct sim_execution *execute(struct world *w, const struct gateway_call *call)
{
    static const char *const RESULTS[] = {"success", "decline", "error", "pending"};
    struct sim_journal *j = sim_journal(w);
    struct sim_execution *e = sim_execution_of(j, &call->payment_id);
    if (e && remembered(w, e))
        return same_body(w, e, call) ? e : NULL;
    e = execution_add(j, NULL);
    e->key = call->payment_id;
    e->executed_at_us = w->now_us;
    execution_read(e, call->body, call->body_len);
    e->result = "error"; /* while it is looked at what is left to be given back */
    enum simulator_outcome outcome = simulator_outcome_of(&w->processing.rules, &e->key);
    if (strcmp(e->payment_type, "refund") || (outcome != SIM_PENDING && refund_possible(j, e)))
        e->result = RESULTS[outcome];
    world_tell(w, "processing executes %s %s: %s", e->payment_type, e->payment_id, e->result);
    if (pending(e))
        payer_comes(w, e);
    return e;
}

/* Of a key that was never executed, or waits for its payer; else its answer stays. */
static const struct sim_execution *execution_void(struct world *w, const struct gateway_call *call)
{
    struct sim_journal *j = sim_journal(w);
    struct sim_execution *e = sim_execution_of(j, &call->payment_id);
    if (e && !same_body(w, e, call))
        return NULL;
    if (e && !pending(e))
        return e;
    e = execution_add(j, e);
    e->key = call->payment_id;
    execution_read(e, call->body, call->body_len);
    e->result = "error";
    e->voided = true;
    world_tell(w, "processing voids %s %s", e->payment_type, e->payment_id);
    return e;
}

/* ---- answers ---- */

static void answer_put(const struct world *w, struct str *out, const struct sim_execution *e)
{
    json_open(out, '{');
    json_put_text(out, "result", e->result);
    json_put_text(out, "payment_id", e->payment_id);
    json_put_i64(out, "amount", e->amount_minor);
    json_put_text(out, "currency", e->currency);
    json_put_text(out, "transaction_id", e->transaction_id);
    if (e->voided)
        json_put_text(out, "reason", "voided");
    if (pending(e)) {
        char expires_at[TIME_TEXT];
        time_format(world_true_wall_us(w) - w->now_us + e->expires_at_us, expires_at);
        json_put_text(out, "action_url", "http://processing.invalid/pay");
        json_put_text(out, "expires_at", expires_at);
    }
    json_close(out, '}');
}

static void page_put(struct world *w, struct str *out, int64_t after_seq)
{
    const struct sim_journal *j = sim_journal(w);
    for (size_t i = (size_t)after_seq, n = 0; i < j->count && n < SIM_PAGE_LINES; i++, n++) {
        const struct sim_execution *e = &j->executions[i];
        json_open(out, '{');
        json_put_i64(out, "seq", e->seq);
        json_put_text(out, "key", e->payment_id);
        json_name(out, "request");
        json_add_raw(out, e->body);
        json_name(out, "answer");
        answer_put(w, out, e);
        json_close(out, '}');
        str_add(out, "\n");
    }
}

/* The status of the answer; its body is put. */
static int answer_make(struct world *w, const struct gateway_call *call, struct str *body)
{
    const struct sim_execution *e;
    switch (call->verb) {
    case GATEWAY_JOURNAL:
        if (!w->plan.journal)
            return 404;
        page_put(w, body, call->after_seq);
        return 200;
    case GATEWAY_ASK:
        e = sim_execution_of(sim_journal(w), &call->payment_id);
        if (!e)
            return 404;
        break;
    default:
        if (w->plan.refuses && call->verb == GATEWAY_SEND && world_chance(w, SIM_REFUSAL))
            return 409;
        e = call->verb == GATEWAY_SEND ? execute(w, call) : execution_void(w, call);
        if (!e)
            return 422;
        break;
    }
    answer_put(w, body, e);
    return 200;
}

void sim_processing_call(struct world *w, const struct gateway_call *call,
                         struct gateway_answer *out)
{
    struct str body;
    if (call->verb == GATEWAY_INSTANCE) {
        *out = (struct gateway_answer){.verb = GATEWAY_INSTANCE, .result = GATEWAY_INSTANCE_IS};
        snprintf(out->instance_id, sizeof out->instance_id, "%s", sim_journal(w)->instance_id);
        return;
    }
    str_init(&body, SIM_PAGE_BYTES);
    int status = answer_make(w, call, &body);
    assert(!body.failed);
    processing_read_answer(call, status, body.data, body.len, out);
    /* what is in the journal can be read */
    assert(call->verb != GATEWAY_JOURNAL || status != 200 || out->result == GATEWAY_JOURNAL_IS);
    str_release(&body);
}
