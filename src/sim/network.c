/* The network before the processing: requests and answers are delayed, lost, doubled, reordered, and come after
 * the caller has given up. What is on its way to a processing that was replaced is lost. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/inside.h"

#define REFUSED_US US_PER_MS
#define DOUBLED_US (5 * US_PER_S) /* the second copy comes this much later at most */

static_assert(2 * SIM_TIMEOUT_US + DOUBLED_US <= SIM_WAY_US, "the longest way");

struct sim_gateway {
    struct gateway gateway;
    struct world *world;
    struct fuse *fuse;
    struct net_call *open;           /* not answered yet */
    struct net_call *first, **after; /* answered, to be taken */
    size_t in_flight;
    void (*wake)(void *ctx);
    void *wake_ctx;
};
/* A call on its way: held by its owner's list and by every event that is about it. */
struct net_call {
    struct sim_gateway *owner; /* NULL: answered, given up, or the caller is dead */
    struct net_call *next;
    int holders;
    int replaced; /* of the processing, when it was made */
    struct gateway_call call;
    char body[SIM_CHARGE_BODY_MAX];
    struct gateway_answer answer; /* of the last copy that arrived */
    struct gateway_answer given;  /* what the caller gets */
};

static bool about_payment(const struct net_call *c)
{
    return c->call.verb != GATEWAY_INSTANCE && c->call.verb != GATEWAY_JOURNAL;
}

static void call_drop(struct net_call *c)
{
    if (--c->holders > 0)
        return;
    journal_page_free(c->answer.page);
    journal_page_free(c->given.page);
    free(c);
}

static void call_later(struct world *w, struct net_call *c, int64_t after_us,
                       void (*happen)(struct world *, void *))
{
    c->holders++;
    world_later(w, after_us, happen, c);
}

/* Hands the answer to the owner, once. */
static void call_finish(struct net_call *c, const struct gateway_answer *answer)
{
    struct sim_gateway *g = c->owner;
    for (struct net_call **at = &g->open; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    c->owner = NULL;
    c->given = *answer;
    c->next = NULL;
    *g->after = c;
    g->after = &c->next;
    if (g->wake)
        g->wake(g->wake_ctx);
}

static void call_fails(struct net_call *c, enum gateway_result result, const char *note)
{
    struct gateway_answer none = {.verb = c->call.verb,
                                  .payment_id = c->call.payment_id,
                                  .result = result,
                                  .expires_at_us = TIME_NEVER};
    if (!c->owner)
        return;
    snprintf(none.note, sizeof none.note, "%s", note);
    call_finish(c, &none);
}

static void call_times_out(struct world *w, void *what)
{
    (void)w;
    call_fails(what, GATEWAY_NO_ANSWER, "timed out");
    call_drop(what);
}

static void call_is_refused(struct world *w, void *what)
{
    (void)w;
    call_fails(what, GATEWAY_NOT_SENT, "connection refused");
    call_drop(what);
}

void network_breaks(struct world *w)
{
    for (size_t i = 0; i < w->event_count; i++)
        if (w->events[i].happen == call_times_out)
            call_fails(w->events[i].what, GATEWAY_NO_ANSWER, "connection reset");
}

static void answer_arrives(struct world *w, void *what)
{
    (void)w;
    struct net_call *c = what;
    if (c->owner) {
        call_finish(c, &c->answer);
        c->answer.page = NULL; /* it went with the answer */
    }
    call_drop(c);
}

/* Contract, section 4: another instance than the one that undecided payments were sent to hears of no payment. */
static void check_instance(struct world *w, const struct net_call *c)
{
    char id[UUID_TEXT];
    if (!w->plan.instances ||
        world_count(w,
                    "SELECT count(*) FROM payments p JOIN attempts t ON t.seq = p.seq"
                    " WHERE p.processing_status = 'in_processing' AND t.instance_id <> ?1",
                    NULL, sim_journal(w)->instance_id) == 0)
        return;
    uuid_format(&c->call.payment_id, id);
    world_wrong(w, "%s was sent while payments are undecided at another instance", id);
}

/* Rule 6: what was refused, and what the journal knew first, is only asked about. */
static void check_ask_only(struct world *w, const struct net_call *c)
{
    char id[UUID_TEXT];
    if (c->call.verb != GATEWAY_SEND || (!w->plan.refuses && w->plan.restore_burst < 0) ||
        world_count(w,
                    "SELECT count(*) FROM payments p JOIN attempts t ON t.seq = p.seq"
                    " WHERE p.id = ?1 AND t.ask_only <> 0",
                    &c->call.payment_id, NULL) == 0)
        return;
    uuid_format(&c->call.payment_id, id);
    world_wrong(w, "%s is only to be asked about, and was sent again", id);
}

static void request_arrives(struct world *w, void *what)
{
    struct net_call *c = what;
    const struct sim_processing *p = &w->processing;
    bool deaf = p->state == SIM_DEAF && about_payment(c);
    if (c->replaced == p->replaced && p->state < SIM_SILENT && !(deaf && world_chance(w, 0.3)) &&
        !w->closing) {
        if (about_payment(c))
            check_instance(w, c);
        journal_page_free(c->answer.page); /* of the same request, on its first way */
        sim_processing_call(w, &c->call, &c->answer);
        if (!deaf && !world_chance(w, w->settings.lose))
            call_later(w, c, world_between(w, 100, 50 * US_PER_MS), answer_arrives);
    }
    call_drop(c);
}

/* ---- the gateway ---- */

static struct sim_gateway *gateway_of(struct gateway *g)
{
    return (struct sim_gateway *)g;
}

static void call_tell(struct world *w, const struct net_call *c, const char *what)
{
    static const char *const VERBS[] = {[GATEWAY_SEND] = "sends",
                                        [GATEWAY_ASK] = "asks about",
                                        [GATEWAY_VOID] = "voids",
                                        [GATEWAY_INSTANCE] = "asks who it is",
                                        [GATEWAY_JOURNAL] = "reads the journal"};
    char id[UUID_TEXT] = "";
    if (about_payment(c))
        uuid_format(&c->call.payment_id, id);
    world_tell(w, "%s %s %s", what, VERBS[c->call.verb], id);
}

static void call_leaves(struct world *w, struct net_call *c)
{
    if (w->processing.state == SIM_REFUSES) {
        call_later(w, c, REFUSED_US, call_is_refused);
        return;
    }
    /* Where no key is remembered nothing may be doubled on the way: one connection carries one request. */
    bool doubles = c->call.verb != GATEWAY_SEND || w->plan.promises.key_ttl_us != 0;
    bool late = world_chance(w, w->settings.late);
    int64_t way_us = world_between(w, 100, late ? 2 * SIM_TIMEOUT_US : 50 * US_PER_MS);
    call_later(w, c, SIM_TIMEOUT_US, call_times_out);
    if (!world_chance(w, w->settings.lose))
        call_later(w, c, way_us, request_arrives);
    if (doubles && world_chance(w, w->settings.duplicate))
        call_later(w, c, way_us + world_between(w, 0, DOUBLED_US), request_arrives);
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
    c->replaced = w->processing.replaced;
    g->open = c;
    g->in_flight++;
    w->result->calls++;
    call_tell(w, c, g->fuse->service);
    check_ask_only(w, c);
    call_leaves(w, c);
    return fuse_blows(g->fuse, "after a call") ? ERR_STOPPED : ERR_OK;
}

static size_t sim_take(struct gateway *gateway, struct gateway_answer *out, size_t max)
{
    struct sim_gateway *g = gateway_of(gateway);
    size_t n = 0;
    while (n < max && g->first) {
        struct net_call *c = g->first;
        g->first = c->next;
        out[n++] = c->given;
        c->given.page = NULL; /* whoever takes the answer owns it */
        call_drop(c);
    }
    if (!g->first)
        g->after = &g->first;
    g->in_flight -= n;
    return n;
}

static size_t sim_in_flight(const struct gateway *gateway)
{
    return ((const struct sim_gateway *)gateway)->in_flight;
}

static struct promises sim_promises(const struct gateway *gateway)
{
    return ((const struct sim_gateway *)gateway)->world->plan.promises;
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

static void calls_drop(struct net_call *c)
{
    while (c) {
        struct net_call *next = c->next;
        c->owner = NULL;
        call_drop(c);
        c = next;
    }
}

/* What is on its way stays on its way: a dead caller takes nothing back. */
static void sim_close(struct gateway *gateway)
{
    struct sim_gateway *g = gateway_of(gateway);
    calls_drop(g->open);
    calls_drop(g->first);
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
    g->after = &g->first;
    *out = &g->gateway;
    return ERR_OK;
}
