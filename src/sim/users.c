#include "sim/users.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "sim/inside.h"

#define USER_TRIES_MAX 6
#define USER_PATIENCE_US (12 * US_PER_S) /* then the connection is given up */

static void ask_is_sent(struct world *w, void *what);

/* A try of an ask: the token of a call, so that late answers to earlier tries are told apart. */
static uint64_t ask_token(const struct world *w, const struct sim_ask *ask)
{
    return (uint64_t)(ask - w->asks) << 8 | (uint64_t)ask->tries;
}

static bool ask_open(const struct sim_ask *ask)
{
    return !ask->accepted && !ask->refused && !ask->given_up;
}

/* Somebody with an Idempotency-Key may repeat; somebody without one who repeats makes a new request. */
static void ask_again(struct world *w, struct sim_ask *ask)
{
    if (!ask->key[0] || ask->tries >= ask->tries_max)
        ask->given_up = true;
    else
        world_later(w, world_between(w, US_PER_MS, 5 * US_PER_S), ask_is_sent, ask);
}

struct patience {
    struct sim_ask *ask;
    int tries;
};

static void patience_ends(struct world *w, void *what)
{
    struct patience *p = what;
    if (ask_open(p->ask) && p->ask->tries == p->tries)
        ask_again(w, p->ask);
    free(p);
}

static const struct api_route *route_of(const char *operation)
{
    for (size_t i = 0; i < API_ROUTE_COUNT; i++)
        if (!strcmp(API_ROUTES[i].operation, operation))
            return &API_ROUTES[i];
    assert(!"no such operation");
    return NULL;
}

static void call_set(struct api_call *call, const char *name, const char *text, int64_t number)
{
    for (size_t i = 0; i < call->route->param_count; i++)
        if (!strcmp(call->route->params[i].name, name)) {
            call->values[i] = (struct api_value){.given = true, .text = text, .number = number};
            return;
        }
    assert(!"no such parameter");
}

static int64_t enum_index(const struct api_call *call, const char *name, const char *text)
{
    for (size_t i = 0; i < call->route->param_count; i++)
        if (!strcmp(call->route->params[i].name, name))
            for (int64_t v = 0; call->route->params[i].values[v]; v++)
                if (!strcmp(call->route->params[i].values[v], text))
                    return v;
    assert(!"no such value");
    return -1;
}

static struct api_call *call_make(struct world *w, struct sim_ask *ask)
{
    struct api_call *call = calloc(1, sizeof *call);
    assert(call);
    const char *type = payment_type_text(ask->payment_type);
    const char *subscription = subscription_type_text(ask->subscription_type);
    call->route = route_of("createPayment");
    call->token = ask_token(w, ask);
    call->who.user_id = ask->user_id;
    call->arrived_boot_us = w->now_us;
    call_set(call, "payment_type", type, enum_index(call, "payment_type", type));
    call_set(call, "subscription_type", subscription,
             enum_index(call, "subscription_type", subscription));
    if (ask->key[0])
        call_set(call, "Idempotency-Key", ask->key, 0);
    return call;
}

static void ask_is_sent(struct world *w, void *what)
{
    struct sim_ask *ask = what;
    if (!ask_open(ask))
        return;
    ask->tries++;
    struct service *app = w->lives[SIM_APP].service;
    if (!app || w->lives[SIM_APP].fuse.blown) { /* connection refused */
        ask_again(w, ask);
        return;
    }
    struct api_call *call = call_make(w, ask);
    world_tell(w, "user asks for a %s (try %d)", payment_type_text(ask->payment_type), ask->tries);
    if (subscription_app_submit(app, call) != ERR_OK) {
        api_call_free(call);
        ask_again(w, ask);
        return;
    }
    struct patience *p = malloc(sizeof *p);
    assert(p);
    *p = (struct patience){ask, ask->tries};
    world_later(w, USER_PATIENCE_US, patience_ends, p);
}

bool user_is_answered(void *ctx, const struct api_call *call, const struct http_response *response)
{
    struct world *w = ctx;
    struct sim_ask *ask = &w->asks[call->token >> 8];
    if (w->lives[SIM_APP].fuse.blown || ask->tries != (int)(call->token & 255) || !ask_open(ask))
        return false;
    if (world_chance(w, w->settings.lose))
        return true; /* the answer is lost on its way */
    if (response->status == 202) {
        struct json *doc = json_parse(response->body, response->body_len, NULL, 0);
        const char *id = json_text(json_member(doc, "payment_id"));
        bool is_id = id && uuid_parse(id, strlen(id), &ask->payment_id);
        assert(is_id); /* a 202 names the payment */
        json_free(doc);
        ask->accepted = true;
        ask->accepted_us = w->now_us;
        w->result->accepted++;
    } else if (response->status == 503) {
        ask_again(w, ask);
    } else {
        assert(response->status == 409); /* nothing else can come of a well-formed request */
        ask->refused = true;
    }
    return true;
}

void world_make_asks(struct world *w, int count)
{
    static const enum subscription_type TYPES[] = {SUBSCRIPTION_MONTH, SUBSCRIPTION_MONTH,
                                                   SUBSCRIPTION_THREE_MONTHS, SUBSCRIPTION_YEAR};
    for (int i = 0; i < count && w->ask_count < SIM_ASKS_MAX; i++) {
        struct sim_ask *ask = &w->asks[w->ask_count++];
        memset(ask, 0, sizeof *ask);
        ask->user_id = w->users[world_between(w, 0, w->settings.users - 1)];
        ask->payment_type = world_between(w, 0, 3) ? PAYMENT_TYPE_PAYMENT : PAYMENT_TYPE_REFUND;
        ask->subscription_type = TYPES[world_between(w, 0, 3)];
        if (world_between(w, 0, 2))
            snprintf(ask->key, sizeof ask->key, "ask-%d", w->ask_count);
        ask->tries_max = USER_TRIES_MAX;
        w->result->requests++;
        world_later(w, world_between(w, 0, 60 * US_PER_S), ask_is_sent, ask);
    }
}

void world_ask_is_lost(struct world *w, struct sim_ask *ask)
{
    ask->accepted = false;
    ask->tries_max = ask->tries + USER_TRIES_MAX;
    world_later(w, world_between(w, 0, 20 * US_PER_S), ask_is_sent, ask);
}

static void stranger_is_told(void *ctx, uint64_t token, enum queue_outcome outcome)
{
    (void)ctx;
    (void)token;
    (void)outcome;
}

/* Somebody else writes into the topic: nothing that can be understood, or a payment's id with another request. */
void world_stranger_writes(struct world *w, void *nothing)
{
    const struct sim_ask *ask = &w->asks[world_between(w, 0, w->ask_count - 1)];
    char value[256], id[UUID_TEXT], user[UUID_TEXT];
    struct db *reader;
    struct queue *queue;
    (void)nothing;
    if (w->closing)
        return;
    uuid_format(&ask->payment_id, id);
    uuid_format(&ask->user_id, user);
    if (world_count(w, "SELECT count(*) FROM payments WHERE id = ?1", &ask->payment_id, NULL) == 1)
        snprintf(value, sizeof value,
                 "{\"payment_id\":\"%s\",\"payment_type\":\"%s\",\"subscription_type\":\"%s\"}", id,
                 payment_type_text(ask->payment_type),
                 ask->subscription_type == SUBSCRIPTION_YEAR ? "month" : "year");
    else
        snprintf(value, sizeof value, "no request");
    const struct queue_message message = {.topic = "payments",
                                          .key = user,
                                          .key_len = strlen(user),
                                          .value = value,
                                          .value_len = strlen(value),
                                          .timestamp_us = REQUEST_NO_TIME};
    enum err err = embedded_reader(w->embedded, &reader);
    if (err == ERR_OK)
        err = local_queue_open(&queue, w->hub, reader);
    if (err == ERR_OK) {
        err = queue_publish(queue, &message, stranger_is_told, NULL, 0);
        queue_close(queue);
    }
    assert(err == ERR_OK);
    embedded_reader_close(w->embedded, reader);
    w->result->seen[SEEN_STRANGERS]++;
    world_tell(w, "a stranger writes %s", value);
}

bool world_asks_open(const struct world *w)
{
    for (int i = 0; i < w->ask_count; i++)
        if (ask_open(&w->asks[i]))
            return true;
    return false;
}
