/* The front: what is true of every driver is checked here, once. */
#include "gateway/gateway.h"

#include <assert.h>

static bool verb_promised(const struct gateway *g, enum gateway_verb verb)
{
    struct gateway_promises promises = g->ops->promises(g);
    return (verb != GATEWAY_ASK || promises.ask) && (verb != GATEWAY_VOID || promises.voids);
}

static bool call_sane(const struct gateway_call *call)
{
    if (call->verb == GATEWAY_INSTANCE)
        return true;
    if (uuid_is_nil(&call->payment_id) || !money_known(&call->money))
        return false;
    return call->verb == GATEWAY_ASK || (call->body && call->body_len > 0);
}

/* A driver that says more than the verb allows is a bug of ours, not of the processing. */
static bool answer_sane(const struct gateway_answer *a)
{
    bool instance = a->verb == GATEWAY_INSTANCE;
    switch (a->result) {
    case GATEWAY_SUCCESS:
    case GATEWAY_DECLINE:
        return !instance && !a->voided;
    case GATEWAY_ERROR:
        return !instance;
    case GATEWAY_PENDING:
        return !instance && a->verb != GATEWAY_VOID && a->action_url[0] != '\0';
    case GATEWAY_NO_ANSWER:
        return (!a->ask_only || a->verb == GATEWAY_SEND) &&
               (!a->unknown_key || a->verb == GATEWAY_ASK);
    case GATEWAY_NOT_SENT:
        return true;
    case GATEWAY_INSTANCE_IS:
        return instance;
    }
    return false;
}

enum err gateway_submit(struct gateway *g, const struct gateway_call *call)
{
    assert(call_sane(call));
    if (!verb_promised(g, call->verb))
        return ERR_INVALID;
    if (g->ops->in_flight(g) >= GATEWAY_IN_FLIGHT_MAX)
        return ERR_BUSY;
    return g->ops->submit(g, call);
}

size_t gateway_take(struct gateway *g, struct gateway_answer *out, size_t max)
{
    size_t count = g->ops->take(g, out, max);
    assert(count <= max);
    for (size_t i = 0; i < count; i++)
        assert(answer_sane(&out[i]));
    return count;
}

size_t gateway_in_flight(const struct gateway *g)
{
    return g->ops->in_flight(g);
}

struct gateway_promises gateway_promises(const struct gateway *g)
{
    return g->ops->promises(g);
}

charge_encode_fn *gateway_encode(const struct gateway *g)
{
    return g->ops->encode(g);
}

void gateway_watch(struct gateway *g, void (*wake)(void *ctx), void *ctx)
{
    g->ops->watch(g, wake, ctx);
}

void gateway_close(struct gateway *g)
{
    if (g)
        g->ops->close(g);
}
