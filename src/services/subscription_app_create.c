/* POST payments: checks that ask the store once for a whole batch, and the answer once the queue has it. */
#include "services/subscription_app_inside.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/crash.h"
#include "base/json.h"
#include "ledger/catalog.h"

static const char NOT_KNOWN[] = "not known to be queued: repeat it under the same Idempotency-Key";

/* One request of the batch. */
struct create {
    struct api_call *call;
    struct request request;
    const char *key; /* Idempotency-Key, NULL without */
    size_t first_id; /* of the APP_KEY_IDS ids that this key can have */
    size_t own_id;   /* which of them is the request's */
    bool subscribed;
};

/* What the store says about the batch. */
struct create_known {
    bool asked; /* false: the store is away and the checks are skipped */
    struct uuid *ids;
    struct payment_view **payments; /* by ids */
    size_t id_count;
};

void handle_createPayment(void *service, struct api_call *call)
{
    struct app *a = app_of(service);
    const struct api_value *method = app_value(call, "payment_method");

    if (method->given && method->text != NULL && request_method_is_card(method->text)) {
        app_answer_invalid(a, call, "body", "payment_method", NULL,
                           "an opaque token of the payment processing, never a card number");
        return;
    }
    assert(a->create_count < APP_BATCH_MAX);
    a->creates[a->create_count++] = call;
}

static void create_read(struct app *a, struct api_call *call, struct create *c,
                        struct create_known *known)
{
    const struct api_value *key = app_value(call, "Idempotency-Key");
    const struct api_value *method = app_value(call, "payment_method");
    struct request *r = &c->request;
    int64_t wall_us = clock_wall_us(a->env->clock);

    *c = (struct create){.call = call};
    r->user_id = call->who.user_id;
    bool typed =
        payment_type_parse(app_value(call, "payment_type")->text, &r->payment_type) &&
        subscription_type_parse(app_value(call, "subscription_type")->text, &r->subscription_type);
    assert(typed); /* the router lets nothing else in */
    /* When it arrived, not when its turn came. */
    r->requested_at_us = wall_us - (clock_boot_us(a->env->clock) - call->arrived_boot_us);
    if (method->given && method->text != NULL)
        (void)text_copy(r->payment_method, sizeof r->payment_method, method->text);
    if (!key->given) {
        r->payment_id = uuid_v7(wall_us, a->env->random);
        return;
    }
    c->key = key->text;
    c->first_id = known->id_count;
    for (int type = 0; type < PAYMENT_TYPE_COUNT; type++)
        for (int subscription = 0; subscription < SUBSCRIPTION_TYPE_COUNT; subscription++) {
            if (type == (int)r->payment_type && subscription == (int)r->subscription_type)
                c->own_id = known->id_count;
            known->ids[known->id_count++] = request_id_of_key(
                &r->user_id, c->key, (enum payment_type)type, (enum subscription_type)subscription);
        }
    r->payment_id = known->ids[c->own_id];
}

static enum err create_ask_subscribed(struct app *a, struct create *creates, size_t count)
{
    struct uuid *users = arena_array(&a->arena, struct uuid, count);
    struct create **payments = arena_array(&a->arena, struct create *, count);
    bool *subscribed = arena_array(&a->arena, bool, count);
    size_t user_count = 0;

    if (users == NULL || payments == NULL || subscribed == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (creates[i].request.payment_type == PAYMENT_TYPE_PAYMENT) {
            users[user_count] = creates[i].request.user_id;
            payments[user_count++] = &creates[i];
        }
    if (user_count == 0)
        return ERR_OK;
    enum err err = views_subscribed(a->views, users, user_count, a->courtesy_ms, subscribed);
    for (size_t i = 0; err == ERR_OK && i < user_count; i++)
        payments[i]->subscribed = subscribed[i];
    return err;
}

/* One look-up of each kind for all. A store that does not answer in time is asked again after a pause: the
 * checks are a courtesy, the claim decides. */
static void create_ask_store(struct app *a, struct create *creates, size_t count,
                             struct create_known *known)
{
    enum err err = ERR_OK;

    if (app_store_waits(a))
        return;
    if (known->id_count > 0)
        err = views_payments(a->views, known->ids, known->id_count, a->courtesy_ms, &a->arena,
                             known->payments);
    if (err == ERR_OK)
        err = create_ask_subscribed(a, creates, count);
    known->asked = app_store_said(a, err) == ERR_OK;
}

enum err app_prices(struct app *a, const struct price **out, size_t *count)
{
    int64_t now_us = clock_boot_us(a->env->clock);
    struct date today = date_of(clock_wall_us(a->env->clock));
    struct price *prices = NULL;
    size_t read = 0;

    if (a->prices_boot_us == TIME_NEVER || now_us - a->prices_boot_us > APP_PRICES_FRESH_US ||
        date_compare(today, a->price_day) != 0) {
        if (app_store_waits(a))
            return ERR_UNREACHABLE;
        enum err err =
            app_store_said(a, catalog_prices(a->views, today, &a->arena, &prices, &read));
        if (err != ERR_OK)
            return err;
        a->price_count = read < SUBSCRIPTION_TYPE_COUNT ? read : SUBSCRIPTION_TYPE_COUNT;
        if (a->price_count > 0)
            memcpy(a->prices, prices, a->price_count * sizeof *prices);
        a->price_day = today;
        a->prices_boot_us = now_us;
    }
    *out = a->prices;
    *count = a->price_count;
    return ERR_OK;
}

/* What a payment will cost; a refund's amount is known when it is claimed. */
static struct money create_money(struct app *a, const struct request *r, bool store_answers)
{
    const struct price *prices = NULL, *price = NULL;
    size_t count = 0;

    if (r->payment_type == PAYMENT_TYPE_PAYMENT && store_answers &&
        app_prices(a, &prices, &count) == ERR_OK)
        price = price_on(prices, count, r->subscription_type, a->price_day);
    return price != NULL ? price->cost : (struct money){0};
}

static void answer_accepted(struct app *a, struct api_call *call, const struct uuid *payment_id,
                            const struct money *money, bool replayed)
{
    char id[UUID_TEXT], location[64];
    struct http_response response = {.status = 202, .content_type = "application/json"};

    uuid_format(payment_id, id);
    (void)snprintf(location, sizeof location, "/api/v1/payments/%s", id);
    str_clear(&a->body);
    json_open(&a->body, '{');
    json_put_bool(&a->body, "accepted", true);
    json_put_text(&a->body, "payment_id", id);
    if (money_known(money)) {
        json_put_i64(&a->body, "amount", money->amount_minor);
        json_put_text(&a->body, "currency", money->currency);
    } else {
        json_put_null(&a->body, "amount");
        json_put_null(&a->body, "currency");
    }
    json_close(&a->body, '}');
    response.body = a->body.data;
    response.body_len = a->body.len;
    response.headers[0] = (struct http_header){"Location", location};
    if (replayed)
        response.headers[1] = (struct http_header){"Idempotent-Replayed", "true"};
    app_answer(a, call, &response);
}

static void answer_unconfirmed(struct app *a, struct api_call *call, const struct uuid *payment_id)
{
    metric_add(a->unconfirmed, 1);
    app_answer_problem(a, call, 503, NOT_KNOWN, 1, payment_id);
}

/* ---- publications under way ---- */

static uint64_t publish_token(const struct app *a, uint32_t slot)
{
    return (uint64_t)a->publishes[slot].generation << 32 | slot;
}

static uint32_t publish_add(struct app *a, struct api_call *call)
{
    uint32_t slot = a->publish_free;

    if (slot != APP_NO_SLOT)
        a->publish_free = a->publishes[slot].next;
    else
        slot = a->publish_fresh++;
    assert(slot < APP_CALLS_MAX); /* as many slots as calls inside */
    struct app_publish *p = &a->publishes[slot];
    p->call = call;
    p->previous = a->publish_last;
    p->next = APP_NO_SLOT;
    if (a->publish_last != APP_NO_SLOT)
        a->publishes[a->publish_last].next = slot;
    else
        a->publish_first = slot;
    a->publish_last = slot;
    return slot;
}

/* The generation moves on, so that a late confirmation finds nobody. */
static struct app_publish publish_remove(struct app *a, uint32_t slot)
{
    struct app_publish *p = &a->publishes[slot], copy = *p;

    if (p->previous != APP_NO_SLOT)
        a->publishes[p->previous].next = p->next;
    else
        a->publish_first = p->next;
    if (p->next != APP_NO_SLOT)
        a->publishes[p->next].previous = p->previous;
    else
        a->publish_last = p->previous;
    p->call = NULL;
    p->generation++;
    p->next = a->publish_free;
    a->publish_free = slot;
    return copy;
}

/* From any thread. A confirmation that finds no room is one that never came: its call runs out of time. */
static void app_confirmed(void *ctx, uint64_t token, enum queue_outcome outcome)
{
    struct app *a = ctx;
    struct app_confirm confirm = {token, outcome};

    if (inbox_push(&a->confirms, &confirm) != ERR_OK)
        return;
}

static void queue_outcome_note(struct app *a, enum err err, const char *why)
{
    if (err != ERR_OK)
        a->unconfirmed_boot_us = clock_boot_us(a->env->clock);
    else
        a->unconfirmed_boot_us = TIME_NEVER;
    (void)trouble_note(&a->queueing, a->env, APP_NAME, "queueing", err, why);
}

void app_take_confirms(struct app *a)
{
    struct app_confirm confirms[128];
    size_t count;

    while ((count = inbox_take(&a->confirms, confirms, 128)) > 0)
        for (size_t i = 0; i < count; i++) {
            uint32_t slot = (uint32_t)confirms[i].token;
            bool durable = confirms[i].outcome == QUEUE_DURABLE;
            queue_outcome_note(a, durable ? ERR_OK : ERR_IO, "the queue did not confirm");
            if (a->publishes[slot].call == NULL || publish_token(a, slot) != confirms[i].token)
                continue; /* answered meanwhile */
            struct app_publish p = publish_remove(a, slot);
            if (durable) {
                metric_add(a->queued, 1);
                CRASH_POINT("app.accept.before");
                answer_accepted(a, p.call, &p.payment_id, &p.money, false);
                CRASH_POINT("app.accept.after");
            } else {
                answer_unconfirmed(a, p.call, &p.payment_id);
            }
        }
}

int64_t app_publish_until_us(const struct app *a)
{
    return a->publish_first == APP_NO_SLOT
               ? TIME_NEVER
               : a->publishes[a->publish_first].call->arrived_boot_us + APP_QUEUE_CONFIRM_US;
}

void app_expire_publishes(struct app *a)
{
    while (app_publish_until_us(a) <= clock_boot_us(a->env->clock)) {
        struct app_publish p = publish_remove(a, a->publish_first);
        queue_outcome_note(a, ERR_UNREACHABLE, "the queue did not confirm in time");
        answer_unconfirmed(a, p.call, &p.payment_id);
    }
}

/* It would be answered before the queue could; or the queue confirms nothing any more, and one request at a time finds
 * out when it does again: the others hear so at once. */
static bool publish_futile(const struct app *a, const struct api_call *call)
{
    int64_t now_us = clock_boot_us(a->env->clock);

    return now_us - call->arrived_boot_us >= APP_QUEUE_CONFIRM_US ||
           (a->queueing.count > 0 && a->publish_first != APP_NO_SLOT &&
            now_us - a->queueing.since_boot_us >= APP_QUEUE_SILENT_US);
}

static void create_publish(struct app *a, struct create *c, const struct money *money)
{
    char key[UUID_TEXT];

    if (publish_futile(a, c->call)) {
        answer_unconfirmed(a, c->call, &c->request.payment_id);
        return;
    }
    uuid_format(&c->request.user_id, key);
    str_clear(&a->body);
    request_encode(&c->request, &a->body);
    const struct queue_message message = {
        .topic = a->topic,
        .key = key,
        .key_len = UUID_TEXT - 1,
        .value = a->body.data,
        .value_len = a->body.len,
        .timestamp_us = REQUEST_NO_TIME,
    };
    uint32_t slot = publish_add(a, c->call);
    a->publishes[slot].payment_id = c->request.payment_id;
    a->publishes[slot].money = *money;
    enum err err = a->body.failed ? ERR_NO_MEMORY
                                  : queue_publish(a->queue, &message, app_confirmed, a,
                                                  publish_token(a, slot));
    if (err != ERR_OK) {
        queue_outcome_note(a, err, queue_why(a->queue));
        (void)publish_remove(a, slot);
        answer_unconfirmed(a, c->call, &c->request.payment_id);
    }
}

/* ---- the batch ---- */

/* In the order of contract section 5. */
static void create_decide(struct app *a, struct create *c, const struct create_known *known)
{
    if (known->asked && c->key != NULL) {
        const struct payment_view *stored = known->payments[c->own_id];
        if (stored != NULL) {
            metric_add(a->replayed, 1);
            answer_accepted(a, c->call, &stored->payment_id, &stored->money, true);
            return;
        }
        for (size_t i = c->first_id; i < c->first_id + APP_KEY_IDS; i++)
            if (known->payments[i] != NULL) {
                app_answer_invalid(a, c->call, "header", "Idempotency-Key", c->key,
                                   "a key that was not used with another payment_type or "
                                   "subscription_type");
                return;
            }
    }
    if (known->asked && c->subscribed) {
        metric_add(a->paid_already, 1);
        app_answer_problem(a, c->call, 409, "Subscription is already paid", 0, NULL);
        return;
    }
    struct money money = create_money(a, &c->request, known->asked);
    create_publish(a, c, &money);
}

void app_create_batch(struct app *a)
{
    size_t count = a->create_count;
    struct create_known known = {0};

    if (count == 0)
        return;
    a->create_count = 0;
    struct create *creates = arena_array(&a->arena, struct create, count);
    known.ids = arena_array(&a->arena, struct uuid, count * APP_KEY_IDS);
    known.payments = arena_array(&a->arena, struct payment_view *, count * APP_KEY_IDS);
    if (creates == NULL || known.ids == NULL || known.payments == NULL) {
        for (size_t i = 0; i < count; i++)
            app_answer_problem(a, a->creates[i], 503, "out of memory; nothing was queued", 1, NULL);
        return;
    }
    for (size_t i = 0; i < count; i++)
        create_read(a, a->creates[i], &creates[i], &known);
    create_ask_store(a, creates, count, &known);
    for (size_t i = 0; i < count; i++)
        create_decide(a, &creates[i], &known);
}
