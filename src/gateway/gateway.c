/* The front: what is true of every driver is checked here, once. */
#include "gateway/gateway.h"

#include <assert.h>

#include "base/crash.h"

static bool verb_promised(const struct gateway *g, enum gateway_verb verb)
{
    struct promises promises = g->ops->promises(g);
    return (verb != GATEWAY_ASK || promises.ask) && (verb != GATEWAY_VOID || promises.voids);
}

static bool call_sane(const struct gateway_call *call)
{
    if (call->verb == GATEWAY_INSTANCE)
        return true;
    if (call->verb == GATEWAY_JOURNAL)
        return call->after_seq >= 0;
    if (uuid_is_nil(&call->payment_id) || !money_known(&call->money))
        return false;
    return call->verb == GATEWAY_ASK || (call->body && call->body_len > 0);
}

/* A driver that says more than the verb allows is a bug of ours, not of the processing. */
static bool answer_sane(const struct gateway_answer *a)
{
    bool journal = a->verb == GATEWAY_JOURNAL, instance = a->verb == GATEWAY_INSTANCE;
    bool of_a_key = !journal && !instance;
    if ((a->page != NULL) != (a->result == GATEWAY_JOURNAL_IS))
        return false;
    switch (a->result) {
    case GATEWAY_SUCCESS:
    case GATEWAY_DECLINE:
        return of_a_key && !a->voided;
    case GATEWAY_ERROR:
        return of_a_key;
    case GATEWAY_PENDING:
        return of_a_key && a->verb != GATEWAY_VOID && a->action_url[0] != '\0';
    case GATEWAY_NO_ANSWER:
        return (!a->ask_only || a->verb == GATEWAY_SEND) &&
               (!a->unknown_key || a->verb == GATEWAY_ASK) &&
               (!a->no_void || a->verb == GATEWAY_VOID) && (!a->bad_line || journal);
    case GATEWAY_NOT_SENT:
        return true;
    case GATEWAY_JOURNAL_IS:
    case GATEWAY_NO_JOURNAL:
        return journal;
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
    CRASH_POINT("gateway.submit.before");
    enum err err = g->ops->submit(g, call);
    CRASH_POINT("gateway.submit.after");
    return err;
}

size_t gateway_take(struct gateway *g, struct gateway_answer *out, size_t max)
{
    size_t count = g->ops->take(g, out, max);
    if (count)
        CRASH_POINT("gateway.take.after");
    assert(count <= max);
    for (size_t i = 0; i < count; i++)
        assert(answer_sane(&out[i]));
    return count;
}

size_t gateway_in_flight(const struct gateway *g)
{
    return g->ops->in_flight(g);
}

struct promises gateway_promises(const struct gateway *g)
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
