#include "services/subscription_app.h"

#include <assert.h>
#include <stdlib.h>

#include "services/subscription_app_inside.h"

enum err subscription_app_submit(struct service *s, struct api_call *call)
{
    struct app *a = app_of(s);

    if (atomic_fetch_add(&a->inside, 1) >= APP_CALLS_MAX) {
        atomic_fetch_sub(&a->inside, 1);
        return ERR_BUSY;
    }
    enum err err = inbox_push(&a->calls, &call);
    if (err != ERR_OK)
        atomic_fetch_sub(&a->inside, 1);
    return err;
}

void subscription_app_changed(struct service *s)
{
    struct app *a = app_of(s);

    if (!atomic_exchange(&a->changed, true) && a->wake.fn != NULL)
        a->wake.fn(a->wake.ctx);
}

/* The topic has to be there and to keep what it is given, and the last record must not have been refused a moment ago.
 * Without new requests nobody would ever find out that the queue confirms again: so after a while it is believed. */
static void app_look_at_queue(struct app *a)
{
    int64_t now_us = clock_boot_us(a->env->clock);
    struct queue_promise promise;
    /* A queue that is silent would hold up the question, and with it the answers that are due. */
    bool silent = app_publish_until_us(a) - now_us < APP_QUEUE_CONFIRM_US - US_PER_S;

    if (now_us >= a->queue_look_us && !silent) {
        enum err err = queue_check(a->queue, a->topic, &promise);
        a->topic_failing = err != ERR_OK ? "queue: the topic cannot be read"
                           : promise.wrong[0] != '\0'
                               ? "queue: requests are not safe in the topic; "
                                 "`subpay topic check` says why"
                               : NULL;
        a->queue_look_us = now_us + (err == ERR_OK ? APP_QUEUE_LOOK_US : SERVICE_IDLE_US);
    }
    bool unconfirmed =
        a->unconfirmed_boot_us != TIME_NEVER && now_us - a->unconfirmed_boot_us < APP_UNREADY_US;
    atomic_store(&a->unready, a->topic_failing ? a->topic_failing
                              : unconfirmed    ? "queue: the last record was not confirmed"
                                               : NULL);
}

static size_t app_take_calls(struct app *a)
{
    struct api_call *calls[APP_BATCH_MAX];
    size_t count = inbox_take(&a->calls, calls, APP_BATCH_MAX);

    for (size_t i = 0; i < count; i++)
        calls[i]->route->handler(a, calls[i]);
    app_create_batch(a);
    app_get_batch(a);
    return count;
}

static int64_t app_step(struct service *service, const struct env *env)
{
    struct app *a = app_of(service);

    a->env = env;
    arena_reset(&a->arena);
    app_take_confirms(a);
    app_expire_publishes(a);
    app_look_at_queue(a); /* before the calls: the first one may ask whether we are ready */
    size_t count = app_take_calls(a);
    app_take_confirms(a); /* a queue may confirm at once */
    app_look_at_waits(a);
    a->env = NULL;

    int64_t now_us = clock_boot_us(env->clock), next_us = now_us + SERVICE_IDLE_US;
    if (count == APP_BATCH_MAX)
        return now_us;
    if (app_publish_until_us(a) < next_us)
        next_us = app_publish_until_us(a);
    return app_wait_next_us(a) < next_us ? app_wait_next_us(a) : next_us;
}

static void app_drain(struct service *service)
{
    atomic_store(&app_of(service)->draining, true);
}

static bool app_drained(struct service *service)
{
    return atomic_load(&app_of(service)->inside) == 0;
}

static const char *app_unready(struct service *service)
{
    return atomic_load(&app_of(service)->unready);
}

static void app_free(struct app *a)
{
    inbox_release(&a->calls);
    inbox_release(&a->confirms);
    arena_release(&a->arena);
    str_release(&a->body);
    free(a->publishes);
    free(a->waits);
    free(a);
}

/* Calls that are still inside are not answered: the loop that brought them has an end of its own for them. */
static void app_close(struct service *service)
{
    struct app *a = app_of(service);
    struct api_call *call;

    queue_close(a->queue); /* first: no confirmation comes after it */
    views_close(a->views);
    while (inbox_take(&a->calls, &call, 1) == 1)
        api_call_free(call);
    for (uint32_t slot = a->publish_first; slot != APP_NO_SLOT; slot = a->publishes[slot].next)
        api_call_free(a->publishes[slot].call);
    for (size_t i = 0; i < a->wait_count; i++)
        api_call_free(a->waits[i].call);
    app_free(a);
}

static const struct service_ops APP_OPS = {
    .name = APP_NAME,
    .step = app_step,
    .drain = app_drain,
    .drained = app_drained,
    .unready = app_unready,
    .close = app_close,
};

static void app_add_metrics(struct app *a, struct metrics *m)
{
    static const char NAME[] = "subpay_requests_total", HELP[] = "Requests to pay or to refund";

    a->queued = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"queued\"");
    a->replayed = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"replayed\"");
    a->paid_already = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"already_paid\"");
    a->unconfirmed = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"not_confirmed\"");
}

static enum err app_make_room(struct app *a)
{
    enum err err = inbox_init(&a->calls, sizeof(struct api_call *), APP_CALLS_MAX);

    if (err == ERR_OK)
        err = inbox_init(&a->confirms, sizeof(struct app_confirm), APP_CALLS_MAX);
    if (err != ERR_OK)
        return err;
    a->publishes = calloc(APP_CALLS_MAX, sizeof *a->publishes);
    a->waits = calloc(APP_CALLS_MAX, sizeof *a->waits);
    return a->publishes != NULL && a->waits != NULL ? ERR_OK : ERR_NO_MEMORY;
}

enum err subscription_app_open(struct service **out,
                               const struct subscription_app_settings *settings,
                               struct views *views, struct queue *queue, app_reply_fn *reply,
                               void *reply_ctx, struct metrics *metrics, struct wake wake)
{
    struct app *a = calloc(1, sizeof *a);

    if (a == NULL)
        return ERR_NO_MEMORY;
    arena_init(&a->arena, APP_ARENA_MAX);
    str_init(&a->body, APP_BODY_MAX);
    enum err err = app_make_room(a);
    if (err == ERR_OK && !text_copy(a->topic, sizeof a->topic, settings->topic))
        err = ERR_INVALID;
    if (err != ERR_OK) {
        app_free(a);
        return err;
    }
    a->service.ops = &APP_OPS;
    a->courtesy_ms = settings->store_courtesy_ms;
    a->awaited = settings->awaited;
    a->views = views;
    a->queue = queue;
    a->reply = reply;
    a->reply_ctx = reply_ctx;
    a->wake = wake;
    a->calls.wake = a->confirms.wake = wake.fn;
    a->calls.wake_ctx = a->confirms.wake_ctx = wake.ctx;
    a->publish_free = a->publish_first = a->publish_last = APP_NO_SLOT;
    a->topic_failing = "queue: not asked yet";
    atomic_init(&a->unready, a->topic_failing);
    a->wait_until_us = a->prices_boot_us = a->unconfirmed_boot_us = TIME_NEVER;
    app_add_metrics(a, metrics);
    *out = &a->service;
    return ERR_OK;
}
