/* GET of one payment, at once or with ?wait=. */
#include "services/subscription_app_inside.h"

#include <assert.h>
#include <string.h>

#define APP_WAITS_A_LOOK 256 /* more of them are looked at less often: each look costs */

void handle_getPayment(void *service, struct api_call *call)
{
    struct app *a = app_of(service);

    assert(a->get_count < APP_BATCH_MAX);
    a->gets[a->get_count++] = call;
}

static uint64_t url_hash(const struct payment_view *p)
{
    return p != NULL && p->action_url != NULL
               ? hash_u64(0, p->action_url, strlen(p->action_url)) | 1
               : 0;
}

static bool is_own(const struct api_call *call, const struct payment_view *p)
{
    return p != NULL && uuid_equal(&p->user_id, &call->who.user_id);
}

static bool is_over(enum processing_status status)
{
    return status == PROCESSING_PROCESSED || status == PROCESSING_COMPLETED ||
           status == PROCESSING_DUPLICATED;
}

/* The current state, whatever it is. */
static void answer_payment(struct app *a, struct api_call *call, const struct payment_view *p)
{
    if (p == NULL) {
        app_answer_problem(a, call, 404, "there is no such payment, or it is not stored yet", 1,
                           NULL);
        return;
    }
    if (!is_own(call, p)) {
        app_answer_problem(a, call, 404, "there is no such payment", 0, NULL);
        return;
    }
    str_clear(&a->body);
    app_write_payment(&a->body, p);
    app_answer_json(a, call, 200);
}

/* Those whose client left are let go; their answer reaches nobody. */
static bool wait_drop(struct app *a, size_t i)
{
    struct app_wait *w = &a->waits[i];

    if (a->awaited == NULL || a->awaited(w->call))
        return false;
    app_answer_status(a, w->call, 503);
    *w = a->waits[--a->wait_count];
    return true;
}

/* A walk of all that wait: they are few, or each is a connection that its owner pays for. */
static bool user_may_wait(struct app *a, const struct uuid *user)
{
    size_t count = 0;

    for (size_t i = a->wait_count; i-- > 0;)
        if (uuid_equal(&a->waits[i].user_id, user) && !wait_drop(a, i))
            count++;
    return count < APP_USER_WAITS_MAX;
}

static void wait_add(struct app *a, struct api_call *call, const struct payment_view *p,
                     int64_t wait_s)
{
    assert(a->wait_count < APP_CALLS_MAX); /* as many as calls inside */
    if (!user_may_wait(a, &call->who.user_id)) {
        app_answer_problem(a, call, 429, "too many requests of this user are waiting", 1, NULL);
        return;
    }
    struct app_wait *w = &a->waits[a->wait_count++];

    *w = (struct app_wait){
        .call = call,
        .user_id = call->who.user_id,
        .payment_id = app_value(call, "payment_id")->id,
        .until_boot_us = call->arrived_boot_us + wait_s * US_PER_S,
        .action_url_hash = url_hash(p),
        .needs_decision = p != NULL && p->needs_decision,
    };
    if (w->until_boot_us < a->wait_until_us)
        a->wait_until_us = w->until_boot_us;
}

static enum err ask_payments(struct app *a, const struct uuid *ids, size_t count,
                             struct payment_view **out)
{
    if (app_store_waits(a))
        return ERR_UNREACHABLE;
    return app_store_said(a, views_payments(a->views, ids, count, a->courtesy_ms, &a->arena, out));
}

void app_get_batch(struct app *a)
{
    struct uuid ids[APP_BATCH_MAX];
    size_t count = a->get_count;

    if (count == 0)
        return;
    a->get_count = 0;
    struct payment_view **payments = arena_array(&a->arena, struct payment_view *, count);
    for (size_t i = 0; i < count; i++)
        ids[i] = app_value(a->gets[i], "payment_id")->id;
    bool known = payments != NULL && ask_payments(a, ids, count, payments) == ERR_OK;
    for (size_t i = 0; i < count; i++) {
        struct api_call *call = a->gets[i];
        const struct api_value *wait = app_value(call, "wait");
        if (!known) {
            app_answer_store_away(a, call);
            continue;
        }
        const struct payment_view *p = payments[i];
        bool foreign = p != NULL && !is_own(call, p);
        if (!wait->given || foreign || (p != NULL && is_over(p->processing_status)) ||
            atomic_load(&a->draining))
            answer_payment(a, call, p);
        else
            wait_add(a, call, p, wait->number);
    }
}

/* Is the wait over? Then it is answered, and the last one takes its place. */
static bool wait_settle(struct app *a, size_t i, const struct payment_view *p, bool known)
{
    struct app_wait *w = &a->waits[i];
    bool time_is_over =
        clock_boot_us(a->env->clock) >= w->until_boot_us || atomic_load(&a->draining);
    bool differs =
        p != NULL && (!is_own(w->call, p) || is_over(p->processing_status) ||
                      url_hash(p) != w->action_url_hash || p->needs_decision != w->needs_decision);

    if (!time_is_over && !(known && differs))
        return false;
    if (known)
        answer_payment(a, w->call, p);
    else
        app_answer_store_away(a, w->call);
    *w = a->waits[--a->wait_count];
    return true;
}

static int64_t look_pause_us(const struct app *a)
{
    return APP_WAIT_LOOK_US * (int64_t)(1 + a->wait_count / APP_WAITS_A_LOOK);
}

int64_t app_wait_next_us(const struct app *a)
{
    if (a->wait_count == 0)
        return TIME_NEVER;
    int64_t next_us =
        a->wait_looked_us + (atomic_load(&a->changed) ? look_pause_us(a) : SERVICE_IDLE_US);
    return a->wait_until_us < next_us ? a->wait_until_us : next_us;
}

/* From the last to the first, so that the one that takes an answered one's place was looked at already. */
static void look_at(struct app *a, size_t from, size_t to)
{
    size_t count = to - from;
    struct uuid *ids = arena_array(&a->arena, struct uuid, count);
    struct payment_view **payments = arena_array(&a->arena, struct payment_view *, count);
    bool known = false;

    if (ids != NULL && payments != NULL) {
        for (size_t i = 0; i < count; i++)
            ids[i] = a->waits[from + i].payment_id;
        known = ask_payments(a, ids, count, payments) == ERR_OK;
    }
    for (size_t i = count; i-- > 0;)
        (void)wait_settle(a, from + i, known ? payments[i] : NULL, known);
}

void app_look_at_waits(struct app *a)
{
    int64_t now_us = clock_boot_us(a->env->clock);

    if (a->wait_count == 0 || (now_us < app_wait_next_us(a) && !atomic_load(&a->draining)))
        return;
    atomic_store(&a->changed, false);
    a->wait_looked_us = now_us;
    for (size_t i = a->wait_count; i-- > 0;)
        (void)wait_drop(a, i);
    for (size_t to = a->wait_count; to > 0;) {
        size_t from = to > VIEWS_BATCH_MAX ? to - VIEWS_BATCH_MAX : 0;
        look_at(a, from, to);
        to = from;
    }
    a->wait_until_us = TIME_NEVER;
    for (size_t i = 0; i < a->wait_count; i++)
        if (a->waits[i].until_boot_us < a->wait_until_us)
            a->wait_until_us = a->waits[i].until_boot_us;
}
