/* The processing of the simulated world, and the network before it: requests and answers are delayed, lost,
 * doubled, reordered, and come after the caller has given up. The rules of an answer and the reading of it
 * are the shipped ones. */
#include "gateway/processing.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/times.h"
#include "sim/inside.h"

#define SIM_ANSWERS_MAX GATEWAY_IN_FLIGHT_MAX
#define SIM_PAGE_LINES 20 /* so that a reading takes several */
#define SIM_PAGE_BYTES (SIM_PAGE_LINES * 2 * SIM_CHARGE_BODY_MAX)
#define SIM_PENDING_US (300 * US_PER_S) /* a payer's page is good this long; some never come */

struct sim_gateway {
    struct gateway gateway;
    struct world *world;
    struct fuse *fuse;
    struct net_call *open; /* not answered yet */
    size_t in_flight;
    struct gateway_answer answers[SIM_ANSWERS_MAX];
    size_t answer_count;
    void (*wake)(void *ctx);
    void *wake_ctx;
};
/* A call on its way: held by its owner's list and by every event that is about it. */
struct net_call {
    struct sim_gateway *owner; /* NULL: answered, given up, or the caller is dead */
    struct net_call *next;
    int holders;
    struct gateway_call call;
    char body[SIM_CHARGE_BODY_MAX];
    struct gateway_answer answer;
};

static void call_drop(struct net_call *c)
{
    if (--c->holders > 0)
        return;
    journal_page_free(c->answer.page);
    free(c);
}

static void call_later(struct world *w, struct net_call *c, int64_t after_us,
                       void (*happen)(struct world *, void *))
{
    c->holders++;
    world_later(w, after_us, happen, c);
}

/* Takes the call from its owner and hands the answer in. */
static void call_finish(struct net_call *c, const struct gateway_answer *answer)
{
    struct sim_gateway *g = c->owner;
    if (!g)
        return;
    for (struct net_call **at = &g->open; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    c->owner = NULL;
    assert(g->answer_count < SIM_ANSWERS_MAX);
    g->answers[g->answer_count++] = *answer;
    if (g->wake)
        g->wake(g->wake_ctx);
    call_drop(c);
}

static void call_times_out(struct world *w, void *what)
{
    (void)w;
    struct net_call *c = what;
    struct gateway_answer none = {.verb = c->call.verb,
                                  .payment_id = c->call.payment_id,
                                  .result = GATEWAY_NO_ANSWER,
                                  .expires_at_us = TIME_NEVER};
    snprintf(none.note, sizeof none.note, "timed out");
    call_finish(c, &none);
    call_drop(c);
}

static void answer_arrives(struct world *w, void *what)
{
    (void)w;
    struct net_call *c = what;
    if (c->owner) {
        struct gateway_answer answer = c->answer;
        c->answer.page = NULL; /* it goes with the answer */
        call_finish(c, &answer);
    }
    call_drop(c);
}

/* ---- the processing itself ---- */

static struct sim_execution *execution_of(struct sim_processing *p, const struct uuid *key)
{
    for (size_t i = p->count; i > 0; i--)
        if (uuid_equal(&p->executions[i - 1].key, key))
            return &p->executions[i - 1];
    return NULL;
}

/* A new line; `like`: of a key that was pending. */
static struct sim_execution *execution_add(struct sim_processing *p,
                                           const struct sim_execution *like)
{
    assert(p->count < SIM_CALLS_MAX);
    struct sim_execution *e = &p->executions[p->count];
    if (like)
        *e = *like;
    else
        memset(e, 0, sizeof *e);
    e->seq = (int64_t)++p->count;
    snprintf(e->transaction_id, sizeof e->transaction_id, "sim-%zu", p->count);
    return e;
}

/* A refund gives back a charge that it knows, and no more than what is left of it. */
static bool refund_possible(const struct sim_processing *p, const struct sim_execution *refund)
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

static void payer_decides(struct world *w, void *what)
{
    const struct uuid *key = what;
    struct sim_execution *e = execution_of(&w->processing, key);
    if (e && !strcmp(e->result, "pending")) {
        e = execution_add(&w->processing, e);
        e->result = world_chance(w, 0.7) ? "success" : "decline";
        world_tell(w, "the payer of %s: %s", e->payment_id, e->result);
    }
    free(what);
}

static void payer_comes(struct world *w, struct sim_execution *e)
{
    struct uuid *key = malloc(sizeof *key);
    assert(key);
    *key = e->key;
    e->expires_at_us = clock_wall_us(&w->clock) + SIM_PENDING_US;
    world_later(w, world_between(w, US_PER_S, 2 * SIM_PENDING_US), payer_decides, key);
}

static struct sim_execution *execute(struct world *w, const struct net_call *c)
{
    struct sim_processing *p = &w->processing;
    struct sim_execution *e = execution_of(p, &c->call.payment_id);
    if (e) {
        if (strlen(e->body) != c->call.body_len || memcmp(e->body, c->body, c->call.body_len) != 0)
            p->other_bodies++;
        return e;
    }
    e = execution_add(p, NULL);
    e->key = c->call.payment_id;
    execution_read(e, c->body, c->call.body_len);
    bool refund = !strcmp(e->payment_type, "refund");
    static const char *const RESULTS[] = {"success", "decline", "error", "pending"};
    e->result = RESULTS[simulator_outcome_of(&p->rules, &e->key)];
    if (refund && (!strcmp(e->result, "pending") || !refund_possible(p, e)))
        e->result = "error";
    world_tell(w, "processing executes %s %s: %s", e->payment_type, e->payment_id, e->result);
    if (!strcmp(e->result, "pending"))
        payer_comes(w, e);
    return e;
}

/* Of a key that was never executed, or waits for its payer; else its answer stays. */
static struct sim_execution *execution_void(struct world *w, const struct net_call *c)
{
    struct sim_processing *p = &w->processing;
    struct sim_execution *e = execution_of(p, &c->call.payment_id);
    if (e && strcmp(e->result, "pending") != 0)
        return e;
    e = execution_add(p, e);
    e->key = c->call.payment_id;
    execution_read(e, c->body, c->call.body_len);
    e->result = "error";
    e->voided = true;
    world_tell(w, "processing voids %s %s", e->payment_type, e->payment_id);
    return e;
}

static void answer_put(struct str *out, const struct sim_execution *e)
{
    json_open(out, '{');
    json_put_text(out, "result", e->result);
    json_put_text(out, "payment_id", e->payment_id);
    json_put_i64(out, "amount", e->amount_minor);
    json_put_text(out, "currency", e->currency);
    json_put_text(out, "transaction_id", e->transaction_id);
    if (e->voided)
        json_put_text(out, "reason", "voided");
    if (!strcmp(e->result, "pending")) {
        char expires_at[TIME_TEXT];
        time_format(e->expires_at_us, expires_at);
        json_put_text(out, "action_url", "http://processing.invalid/pay");
        json_put_text(out, "expires_at", expires_at);
    }
    json_close(out, '}');
}

static void page_make(struct net_call *c, const struct sim_processing *p)
{
    struct str body;
    str_init(&body, SIM_PAGE_BYTES);
    for (size_t i = (size_t)c->call.after_seq, n = 0; i < p->count && n < SIM_PAGE_LINES;
         i++, n++) {
        const struct sim_execution *e = &p->executions[i];
        json_open(&body, '{');
        json_put_i64(&body, "seq", e->seq);
        json_put_text(&body, "key", e->payment_id);
        json_name(&body, "request");
        json_add_raw(&body, e->body);
        json_name(&body, "answer");
        answer_put(&body, e);
        json_close(&body, '}');
        str_add(&body, "\n");
    }
    assert(!body.failed);
    journal_page_free(c->answer.page); /* of the same request, on its first way */
    processing_read_answer(&c->call, 200, body.data, body.len, &c->answer);
    assert(c->answer.result == GATEWAY_JOURNAL_IS); /* what is in the journal can be read */
    str_release(&body);
}

/* The bytes of the answer, read by the shipped reader. */
static void answer_make(struct net_call *c, const struct sim_execution *e)
{
    struct str body;
    str_init(&body, 4096);
    if (e)
        answer_put(&body, e);
    processing_read_answer(&c->call, e ? 200 : 404, body.data, body.len, &c->answer);
    str_release(&body);
}

static void request_arrives(struct world *w, void *what)
{
    struct net_call *c = what;
    w->processing.calls++;
    const struct sim_execution *e = NULL;
    if (c->call.verb == GATEWAY_INSTANCE) {
        c->answer =
            (struct gateway_answer){.verb = GATEWAY_INSTANCE, .result = GATEWAY_INSTANCE_IS};
        snprintf(c->answer.instance_id, sizeof c->answer.instance_id, "simulated");
    } else if (c->call.verb == GATEWAY_JOURNAL) {
        page_make(c, &w->processing);
    } else {
        e = c->call.verb == GATEWAY_SEND   ? execute(w, c)
            : c->call.verb == GATEWAY_VOID ? execution_void(w, c)
                                           : execution_of(&w->processing, &c->call.payment_id);
        answer_make(c, e);
    }
    if (!world_chance(w, w->settings.lose))
        call_later(w, c, world_between(w, 100, 50 * US_PER_MS), answer_arrives);
    call_drop(c);
}

void sim_processing_release(struct sim_processing *p)
{
    free(p->executions);
    p->executions = NULL;
}

/* ---- the gateway's side ---- */

static struct sim_gateway *gateway_of(struct gateway *g)
{
    return (struct sim_gateway *)g;
}

static enum err sim_submit(struct gateway *gateway, const struct gateway_call *call)
{
    struct sim_gateway *g = gateway_of(gateway);
    struct world *w = g->world;
    if (fuse_blows(g->fuse, "before a call"))
        return ERR_STOPPED;
    if (g->in_flight >= GATEWAY_IN_FLIGHT_MAX)
        return ERR_BUSY;
    struct net_call *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NO_MEMORY;
    assert(call->body_len < sizeof c->body);
    c->call = *call;
    if (call->body_len)
        memcpy(c->body, call->body, call->body_len);
    c->call.body = c->body;
    c->owner = g;
    c->next = g->open;
    c->holders = 1;
    g->open = c;
    g->in_flight++;
    w->result->calls++;
    call_later(w, c, SIM_TIMEOUT_US, call_times_out);
    bool late = world_chance(w, w->settings.late);
    int64_t way_us = world_between(w, 100, late ? 2 * SIM_TIMEOUT_US : 50 * US_PER_MS);
    if (!world_chance(w, w->settings.lose))
        call_later(w, c, way_us, request_arrives);
    if (world_chance(w, w->settings.duplicate))
        call_later(w, c, way_us + world_between(w, 0, 5 * US_PER_S), request_arrives);
    return fuse_blows(g->fuse, "after a call") ? ERR_STOPPED : ERR_OK;
}

static size_t sim_take(struct gateway *gateway, struct gateway_answer *out, size_t max)
{
    struct sim_gateway *g = gateway_of(gateway);
    size_t n = g->answer_count < max ? g->answer_count : max;
    memcpy(out, g->answers, n * sizeof *out);
    memmove(g->answers, g->answers + n, (g->answer_count - n) * sizeof *out);
    g->answer_count -= n;
    g->in_flight -= n;
    return n;
}

static size_t sim_in_flight(const struct gateway *gateway)
{
    return ((const struct sim_gateway *)gateway)->in_flight;
}

static struct promises sim_promises(const struct gateway *gateway)
{
    (void)gateway;
    return (struct promises){.key_ttl_us = US_PER_DAY, .ask = true, .voids = true};
}

static charge_encode_fn *sim_encode(const struct gateway *gateway)
{
    (void)gateway;
    return charge_encode_json;
}

static void sim_watch(struct gateway *gateway, void (*wake)(void *), void *ctx)
{
    gateway_of(gateway)->wake = wake;
    gateway_of(gateway)->wake_ctx = ctx;
}

/* What is on its way stays on its way: a dead caller takes nothing back. */
static void sim_close(struct gateway *gateway)
{
    struct sim_gateway *g = gateway_of(gateway);
    while (g->open) {
        struct net_call *c = g->open;
        g->open = c->next;
        c->owner = NULL;
        call_drop(c);
    }
    for (size_t i = 0; i < g->answer_count; i++)
        journal_page_free(g->answers[i].page);
    free(g);
}

static const struct gateway_ops SIM_OPS = {
    .submit = sim_submit,
    .take = sim_take,
    .in_flight = sim_in_flight,
    .promises = sim_promises,
    .encode = sim_encode,
    .watch = sim_watch,
    .close = sim_close,
};

enum err sim_gateway(struct gateway **out, struct world *w, struct fuse *fuse)
{
    struct sim_gateway *g = calloc(1, sizeof *g);
    if (!g)
        return ERR_NO_MEMORY;
    g->gateway.ops = &SIM_OPS;
    g->world = w;
    g->fuse = fuse;
    *out = &g->gateway;
    return ERR_OK;
}
