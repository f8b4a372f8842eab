/* subscription_app_inside.h: what the files of the API service share. */
#ifndef SUBPAY_SERVICES_SUBSCRIPTION_APP_INSIDE_H
#define SUBPAY_SERVICES_SUBSCRIPTION_APP_INSIDE_H

#include <assert.h>
#include <stdatomic.h>

#include "base/inbox.h"
#include "billing/request.h"
#include "services/subscription_app.h"

#define APP_NAME "subscription-app"
#define APP_ARENA_MAX (16 * 1024 * 1024)
#define APP_BODY_MAX (256 * 1024)          /* bytes of an answer */
#define APP_PRICES_FRESH_US (1 * US_PER_S) /* prices in force never change, but days do */
#define APP_QUEUE_LOOK_US (5 * US_PER_S)   /* is the topic there? */
#define APP_QUEUE_SILENT_US (1 * US_PER_S) /* nothing confirmed for so long: it is away */
#define APP_UNREADY_US (10 * US_PER_S)     /* after the last record that was not confirmed */
#define APP_KEY_IDS (PAYMENT_TYPE_COUNT * SUBSCRIPTION_TYPE_COUNT) /* ids that one key can have */

static_assert(APP_BATCH_MAX * APP_KEY_IDS <= VIEWS_BATCH_MAX, "one look-up for a batch");

/* queue → app: how a publication ended. */
struct app_confirm {
    uint64_t token; /* generation, slot */
    enum queue_outcome outcome;
};

/* A request that the queue was given. The slots in use are a list by the time of publication. */
struct app_publish {
    struct api_call *call; /* NULL: free */
    struct uuid payment_id;
    struct money money;                  /* "" currency: not known yet */
    uint32_t generation, previous, next; /* slots, APP_NO_SLOT: none */
};
#define APP_NO_SLOT UINT32_MAX

/* A GET with ?wait=. */
struct app_wait {
    struct api_call *call;
    struct uuid user_id, payment_id;
    int64_t until_boot_us;
    uint64_t action_url_hash; /* as first seen; 0: none */
    bool needs_decision;
};

struct app {
    struct service service;
    char topic[QUEUE_TOPIC_MAX + 1];
    int64_t courtesy_ms;
    struct views *views;
    struct queue *queue;
    app_reply_fn *reply;
    bool (*awaited)(const struct api_call *call); /* NULL: always */
    void *reply_ctx;
    struct wake wake;
    struct inbox calls;    /* struct api_call *, from the HTTP loops */
    struct inbox confirms; /* struct app_confirm, from the queue */
    atomic_size_t inside;  /* calls, from submit to reply */
    atomic_bool changed, draining;
    _Atomic(const char *) unready;

    const struct env *env; /* of the step that runs */
    struct arena arena;    /* of the step that runs */
    struct str body;
    struct api_call *creates[APP_BATCH_MAX], *gets[APP_BATCH_MAX]; /* of the step that runs */
    size_t create_count, get_count;

    struct app_publish *publishes; /* APP_CALLS_MAX */
    uint32_t publish_fresh, publish_free, publish_first, publish_last;
    struct app_wait *waits; /* APP_CALLS_MAX */
    size_t wait_count;
    int64_t wait_looked_us, wait_until_us; /* the last look; the soonest end of a wait */

    struct price prices[SUBSCRIPTION_TYPE_COUNT];
    size_t price_count;
    struct date price_day;
    int64_t prices_boot_us; /* when they were read; TIME_NEVER: never */

    struct trouble store, queueing;
    int64_t unconfirmed_boot_us, queue_look_us;
    const char *topic_failing; /* NULL, or a static text */
    struct metric *queued, *replayed, *paid_already, *unconfirmed;
};

static inline struct app *app_of(void *service)
{
    return service;
}

/* ---- answers (subscription_app_answer.c); each frees the call ---- */
void app_answer(struct app *a, struct api_call *call, const struct http_response *response);
void app_answer_status(struct app *a, struct api_call *call, int status);
/* The body is a->body, JSON. */
void app_answer_json(struct app *a, struct api_call *call, int status);
/* retry_after_s 0: no header. payment_id NULL: not named. */
void app_answer_problem(struct app *a, struct api_call *call, int status, const char *detail,
                        int retry_after_s, const struct uuid *payment_id);
void app_answer_invalid(struct app *a, struct api_call *call, const char *in, const char *name,
                        const char *value, const char *allowed);
void app_answer_store_away(struct app *a, struct api_call *call);
void app_write_payment(struct str *out, const struct payment_view *p);

/* The store is asked: ERR_UNREACHABLE at once while it is in trouble, else what the call said, noted. */
bool app_store_waits(const struct app *a);
enum err app_store_said(struct app *a, enum err err);

/* A parameter by its name in the document; never NULL. */
const struct api_value *app_value(const struct api_call *call, const char *name);

/* ---- POST payments (subscription_app_create.c) ---- */
void app_create_batch(struct app *a);
void app_take_confirms(struct app *a);
void app_expire_publishes(struct app *a);
/* When the oldest publication runs out of time; TIME_NEVER: none is under way. */
int64_t app_publish_until_us(const struct app *a);
/* Today's prices, or none when the store does not tell. */
enum err app_prices(struct app *a, const struct price **out, size_t *count) MUST_CHECK;

/* ---- GET payment, also waiting (subscription_app_get.c) ---- */
void app_get_batch(struct app *a);
void app_look_at_waits(struct app *a);
int64_t app_wait_next_us(const struct app *a); /* when to look again */

/* ---- the handlers of the routes ---- */
api_handler handle_createPayment, handle_listPayments, handle_getPayment, handle_listSubscriptions,
    handle_listPrices, handle_getLive, handle_getReady;

#endif
