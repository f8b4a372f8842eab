/* The API service against a store and a queue that do what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "fakes.h"
#include "services/subscription_app.h"

#define TOPIC "payments"
#define USER 9

struct reply {
    int status;
    char body[32768], location[80], retry_after[8], replayed[8];
};

struct bench {
    struct fake_env env;
    struct fake_queue queue;
    struct fake_views views;
    struct service *app;
    struct reply replies[64]; /* by token */
    size_t reply_count;
    bool left[64]; /* the client of a token hung up */
};

static struct bench *B;

static bool on_reply(void *ctx, const struct api_call *call, const struct http_response *response)
{
    (void)ctx;
    B->reply_count++;
    if (call->token >= 64)
        return false; /* the client left */
    struct reply *r = &B->replies[call->token];
    assert_int_equal(r->status, 0); /* one answer per call */
    r->status = response->status;
    assert_true(response->body_len < sizeof r->body);
    if (response->body_len > 0)
        memcpy(r->body, response->body, response->body_len);
    for (int i = 0; i < HTTP_RESPONSE_HEADERS_MAX && response->headers[i].name != NULL; i++) {
        const struct http_header *h = &response->headers[i];
        if (strcmp(h->name, "Location") == 0)
            assert_true(text_copy(r->location, sizeof r->location, h->value));
        if (strcmp(h->name, "Retry-After") == 0)
            assert_true(text_copy(r->retry_after, sizeof r->retry_after, h->value));
        if (strcmp(h->name, "Idempotent-Replayed") == 0)
            assert_true(text_copy(r->replayed, sizeof r->replayed, h->value));
    }
    return true;
}

static bool awaited(const struct api_call *call)
{
    return call->token >= 64 || !B->left[call->token];
}

static int setup(void **state)
{
    const struct subscription_app_settings settings = {
        .topic = TOPIC, .store_courtesy_ms = 200, .awaited = awaited};

    B = calloc(1, sizeof *B);
    assert_non_null(B);
    fake_env_init(&B->env);
    fake_queue_init(&B->queue);
    fake_views_init(&B->views);
    assert_int_equal(subscription_app_open(&B->app, &settings, &B->views.views, &B->queue.queue,
                                           on_reply, NULL, B->env.metrics, (struct wake){0}),
                     ERR_OK);
    *state = B;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    B->app->ops->close(B->app);
    assert_true(B->queue.closed);
    assert_true(B->views.closed);
    fake_env_release(&B->env);
    free(B);
    return 0;
}

static int64_t step(void)
{
    return service_step(B->app, &B->env.env);
}

static void live(int64_t us)
{
    int64_t end_us = B->env.boot_us + us;

    for (int i = 0; i < 10000; i++) {
        int64_t next_us = step();
        if (next_us > end_us) {
            fake_env_pass(&B->env, end_us - B->env.boot_us);
            return;
        }
        if (next_us > B->env.boot_us)
            fake_env_pass(&B->env, next_us - B->env.boot_us);
    }
    fail_msg("the API service spins");
}

/* ---- calls as the router makes them ---- */

static struct api_call *call_of(const char *operation, uint64_t token)
{
    struct api_call *call = calloc(1, sizeof *call);

    assert_non_null(call);
    for (size_t i = 0; i < API_ROUTE_COUNT; i++)
        if (strcmp(API_ROUTES[i].operation, operation) == 0)
            call->route = &API_ROUTES[i];
    assert_non_null(call->route);
    call->token = token;
    call->who.user_id = fake_id(USER);
    call->arrived_boot_us = B->env.boot_us;
    return call;
}

static struct api_value *value_of(struct api_call *call, const char *name)
{
    for (size_t i = 0; i < call->route->param_count; i++)
        if (strcmp(call->route->params[i].name, name) == 0) {
            call->values[i].given = true;
            return &call->values[i];
        }
    fail_msg("no parameter %s", name);
    return NULL;
}

static void submit(struct api_call *call)
{
    assert_int_equal(subscription_app_submit(B->app, call), ERR_OK);
}

static struct api_call *create_of(uint64_t token, const char *type, const char *subscription,
                                  const char *key)
{
    struct api_call *call = call_of("createPayment", token);

    value_of(call, "payment_type")->text = type;
    value_of(call, "subscription_type")->text = subscription;
    if (key != NULL)
        value_of(call, "Idempotency-Key")->text = key;
    return call;
}

static struct reply *post(uint64_t token, const char *type, const char *subscription,
                          const char *key)
{
    submit(create_of(token, type, subscription, key));
    (void)step();
    return &B->replies[token];
}

static void submit_get(uint64_t token, uint32_t n, int64_t wait_s)
{
    struct api_call *call = call_of("getPayment", token);

    value_of(call, "payment_id")->id = fake_id(n);
    if (wait_s > 0)
        value_of(call, "wait")->number = wait_s;
    submit(call);
}

static struct reply *get(uint64_t token, uint32_t n, int64_t wait_s)
{
    submit_get(token, n, wait_s);
    (void)step();
    return &B->replies[token];
}

static struct payment_view *stored(uint32_t n, uint32_t user)
{
    struct uuid id = fake_id(n), user_id = fake_id(user);

    return fake_views_payment(&B->views, &id, &user_id);
}

static struct uuid key_id(const char *key, enum payment_type type,
                          enum subscription_type subscription)
{
    struct uuid user = fake_id(USER);

    return request_id_of_key(&user, key, type, subscription);
}

static void assert_in(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        assert_string_equal(text, part); /* shows both */
}

/* ---- POST ---- */

static void test_202_once_the_queue_has_it(void **state)
{
    (void)state;
    B->queue.hold = true;
    struct reply *r = post(1, "payment", "month", NULL);
    assert_int_equal(r->status, 0);
    live(US_PER_S);
    assert_int_equal(r->status, 0);
    fake_queue_confirm(&B->queue, QUEUE_DURABLE);
    (void)step();
    assert_int_equal(r->status, 202);

    struct json *doc = json_parse(r->body, strlen(r->body), NULL, 0);
    bool accepted = false;
    int64_t amount = 0;
    assert_true(json_bool(json_member(doc, "accepted"), &accepted) && accepted);
    assert_true(json_i64(json_member(doc, "amount"), &amount));
    assert_int_equal(amount, 39900);
    assert_string_equal(json_text(json_member(doc, "currency")), "RUB");
    const char *id = json_text(json_member(doc, "payment_id"));
    char location[80];
    (void)snprintf(location, sizeof location, "/api/v1/payments/%s", id);
    assert_string_equal(r->location, location);
    assert_string_equal(r->replayed, "");

    /* What the saver will read. */
    const struct fake_record *record = fake_queue_at(&B->queue, TOPIC, 0);
    const struct record as_read = {.topic = TOPIC,
                                   .timestamp_us = FAKE_WALL_US,
                                   .key = record->key,
                                   .key_len = strlen(record->key),
                                   .value = record->value,
                                   .value_len = strlen(record->value)};
    struct request request;
    assert_int_equal(request_decode(&as_read, &request), REJECT_NONE);
    struct uuid user = fake_id(USER), payment;
    assert_true(uuid_parse(id, strlen(id), &payment));
    assert_true(uuid_equal(&request.user_id, &user));
    assert_true(uuid_equal(&request.payment_id, &payment));
    assert_int_equal(request.payment_type, PAYMENT_TYPE_PAYMENT);
    assert_true(request.requested_at_us == FAKE_WALL_US);
    assert_string_equal(record->key, "01980000-0000-7000-8000-000000000009");
    json_free(doc);
    assert_int_equal(fake_metric(&B->env, "subpay_requests_total{result=\"queued\"}"), 1);
}

static void test_a_refund_costs_what_is_known_later(void **state)
{
    (void)state;
    struct reply *r = post(1, "refund", "month", NULL);
    assert_int_equal(r->status, 202);
    assert_in(r->body, "\"amount\":null,\"currency\":null");
}

static void assert_not_known(const struct reply *r)
{
    assert_int_equal(r->status, 503);
    assert_in(r->body, "not known to be queued");
    assert_in(r->body, "\"payment_id\":\"");
    assert_string_equal(r->retry_after, "1");
}

static void test_503_when_the_queue_does_not_confirm(void **state)
{
    (void)state;
    B->queue.outcome = QUEUE_UNKNOWN;
    assert_not_known(post(1, "payment", "month", "key"));
    B->queue.outcome = QUEUE_NOT_TAKEN;
    assert_not_known(post(2, "payment", "month", NULL));
    B->queue.publish_err = ERR_BUSY;
    assert_not_known(post(3, "payment", "month", NULL));
    assert_non_null(B->app->ops->unready(B->app));
    B->queue.publish_err = ERR_OK;
    B->queue.outcome = QUEUE_DURABLE;
    struct reply *r = post(4, "payment", "month", "key");
    assert_int_equal(r->status, 202);
    live(US_PER_S);
    assert_null(B->app->ops->unready(B->app));
    /* The same key gave the same id. */
    char id[UUID_TEXT];
    struct uuid expected = key_id("key", PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    uuid_format(&expected, id);
    assert_in(B->replies[1].body, id);
    assert_in(r->body, id);
}

static void test_503_after_5_s_and_the_late_confirmation_finds_nobody(void **state)
{
    (void)state;
    B->queue.hold = true;
    struct reply *r = post(1, "payment", "month", NULL);
    live(4900 * US_PER_MS);
    assert_int_equal(r->status, 0);
    live(200 * US_PER_MS);
    assert_not_known(r);
    struct reply *second = post(2, "payment", "month", NULL); /* takes the place of the first */
    struct fake_publication later = B->queue.held[1];
    B->queue.held_count = 1;
    fake_queue_confirm(&B->queue, QUEUE_DURABLE);
    (void)step();
    assert_int_equal(second->status, 0);
    later.done(later.ctx, later.token, QUEUE_DURABLE);
    (void)step();
    assert_int_equal(second->status, 202);
}

static void test_503_at_once_while_the_queue_is_away_but_for_one(void **state)
{
    (void)state;
    B->queue.hold = true;
    (void)post(1, "payment", "month", NULL);
    live(5100 * US_PER_MS);
    assert_not_known(&B->replies[1]);
    assert_int_equal(post(2, "payment", "month", NULL)->status, 0); /* not for sure: both may try */
    assert_int_equal(post(3, "payment", "month", NULL)->status, 0);
    live(2 * US_PER_S);
    assert_not_known(post(4, "payment", "month", NULL));
    live(4 * US_PER_S);
    assert_int_equal(post(5, "payment", "month", NULL)->status,
                     0); /* none tries any more: this one does */
    assert_not_known(post(6, "payment", "month", NULL));
    assert_int_equal(B->queue.held_count, 4);
    fake_queue_confirm(&B->queue, QUEUE_DURABLE);
    (void)step();
    assert_int_equal(B->replies[5].status, 202);
    assert_int_equal(post(7, "payment", "month", NULL)->status, 0);
    assert_int_equal(post(8, "payment", "month", NULL)->status, 0);
}

static void test_a_call_that_is_too_late_is_not_queued(void **state)
{
    (void)state;
    submit(create_of(1, "payment", "month", NULL));
    fake_env_pass(&B->env, 6 * US_PER_S);
    (void)step();
    assert_not_known(&B->replies[1]);
    assert_int_equal(B->queue.record_count, 0);
}

static void test_a_stored_key_is_replayed(void **state)
{
    (void)state;
    struct uuid user = fake_id(USER);
    struct uuid id = key_id("order-1", PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR);
    fake_views_payment(&B->views, &id, &user)->money = (struct money){77700, "EUR"};
    B->views.subscribers[B->views.subscriber_count++] = user; /* comes later in the order */
    struct reply *r = post(1, "payment", "year", "order-1");
    assert_int_equal(r->status, 202);
    assert_string_equal(r->replayed, "true");
    assert_in(r->body, "\"amount\":77700,\"currency\":\"EUR\"");
    assert_int_equal(B->queue.record_count, 0);

    for (uint64_t token = 2; token < 4; token++) {
        r = token == 2 ? post(token, "refund", "year", "order-1")
                       : post(token, "payment", "month", "order-1");
        assert_int_equal(r->status, 422);
        assert_in(r->body, "\"in\":\"header\",\"name\":\"Idempotency-Key\"");
        assert_in(r->body, "\"detail\":\"Idempotency-Key: allowed is a key that was not used");
        assert_in(r->body, "\"value\":\"order-1\"");
    }
    assert_int_equal(B->queue.record_count, 0);
    assert_int_equal(fake_metric(&B->env, "subpay_requests_total{result=\"replayed\"}"), 1);
}

static void test_409_when_subscribed(void **state)
{
    (void)state;
    B->views.subscribers[B->views.subscriber_count++] = fake_id(USER);
    struct reply *r = post(1, "payment", "month", "key");
    assert_int_equal(r->status, 409);
    assert_in(r->body, "Subscription is already paid");
    assert_int_equal(B->queue.record_count, 0);
    assert_int_equal(post(2, "refund", "month", NULL)->status, 202);
}

static void test_without_the_store_the_checks_are_skipped(void **state)
{
    (void)state;
    B->views.err = ERR_UNREACHABLE;
    B->views.subscribers[B->views.subscriber_count++] = fake_id(USER);
    struct reply *r = post(1, "payment", "month", "key");
    assert_int_equal(r->status, 202);
    assert_in(r->body, "\"amount\":null");
    size_t calls = B->views.calls;
    for (uint64_t token = 2; token < 10; token++)
        assert_int_equal(post(token, "payment", "month", NULL)->status, 202);
    assert_int_equal(B->views.calls, calls); /* it is not waited for again and again */
    assert_int_equal(get(10, 5, 0)->status, 503);
    assert_string_equal(B->replies[10].retry_after, "1");
    assert_null(B->app->ops->unready(B->app)); /* ready = the queue confirms */
    B->views.err = ERR_OK;
    live(10 * US_PER_S);
    assert_int_equal(post(11, "payment", "month", NULL)->status, 409);
}

static void test_a_card_number_is_refused(void **state)
{
    (void)state;
    struct api_call *call = create_of(1, "payment", "month", NULL);
    value_of(call, "payment_method")->text = "4111 1111 1111 1111";
    submit(call);
    call = create_of(2, "payment", "month", NULL);
    value_of(call, "payment_method")->text = "tok_1";
    submit(call);
    (void)step();
    assert_int_equal(B->replies[1].status, 422);
    assert_null(strstr(B->replies[1].body, "4111"));
    assert_in(B->replies[1].body, "\"detail\":\"payment_method: allowed is an opaque token");
    assert_int_equal(B->replies[2].status, 202);
    assert_int_equal(B->queue.record_count, 1);
    assert_in(fake_queue_at(&B->queue, TOPIC, 0)->value, "\"payment_method\":\"tok_1\"");
}

static void test_a_batch_asks_the_store_once(void **state)
{
    (void)state;
    (void)post(1, "payment", "month", NULL); /* reads the prices */
    size_t calls = B->views.calls;
    for (uint64_t token = 2; token < 42; token++)
        submit(create_of(token, "payment", "month", token % 2 ? "key" : NULL));
    (void)step();
    assert_int_equal(B->views.calls, calls + 2); /* ids, subscribed */
    for (uint64_t token = 2; token < 42; token++)
        assert_int_equal(B->replies[token].status, 202);
}

static void test_no_more_calls_than_it_can_hold(void **state)
{
    (void)state;
    for (int i = 0; i < APP_CALLS_MAX; i++)
        submit(call_of("getLive", 64));
    struct api_call *one_more = call_of("getLive", 64);
    assert_int_equal(subscription_app_submit(B->app, one_more), ERR_BUSY);
    live(US_PER_S);
    assert_int_equal(B->reply_count, APP_CALLS_MAX);
    assert_int_equal(subscription_app_submit(B->app, one_more), ERR_OK);
}

static void test_open_calls_are_freed_on_close(void **state)
{
    (void)state;
    B->queue.hold = true;
    for (uint64_t token = 1; token < 4; token++)
        (void)post(token, "payment", "month", NULL);
    (void)get(5, 1, 30);
    submit(call_of("getLive", 6));
}

/* ---- GET ---- */

static void test_own_payments_only(void **state)
{
    (void)state;
    struct payment_view *p = stored(1, USER);
    p->processing_status = PROCESSING_PROCESSED;
    p->payment_status = PAYMENT_ERROR;
    p->reason = REASON_TOO_OLD;
    (void)stored(2, USER + 1);
    struct reply *r = get(1, 1, 0);
    assert_int_equal(r->status, 200);
    assert_string_equal(
        r->body,
        "{\"payment_id\":\"01980000-0000-7000-8000-000000000001\",\"payment_type\":\"payment\","
        "\"subscription_type\":\"month\",\"processing_status\":\"processed\",\"payment_status\":"
        "\"error\",\"payment_date\":\"2025-11-24T07:00:00.000000Z\",\"amount\":39900,\"currency\":"
        "\"RUB\",\"expiration_date\":null,\"duplicate_of\":null,\"refund_of\":null,\"reason\":"
        "\"too_old\",\"action_url\":null,\"needs_decision\":false,\"waits_for\":null}");
    r = get(2, 2, 0);
    assert_int_equal(r->status, 404);
    assert_string_equal(r->retry_after, "");
    r = get(3, 3, 0);
    assert_int_equal(r->status, 404);
    assert_string_equal(r->retry_after, "1");
    assert_int_equal(get(4, 2, 30)->status, 404); /* of somebody else: no wait */
}

static void test_wait_holds_until_it_is_over(void **state)
{
    (void)state;
    struct payment_view *p = stored(1, USER);
    struct reply *r = get(1, 1, 30);
    live(3 * US_PER_S);
    assert_int_equal(r->status, 0);
    p->processing_status = PROCESSING_IN_PROCESSING;
    live(3 * US_PER_S);
    assert_int_equal(r->status, 0);
    p->processing_status = PROCESSING_PROCESSED;
    p->payment_status = PAYMENT_ACCEPTED;
    subscription_app_changed(B->app);
    live(APP_WAIT_LOOK_US);
    assert_int_equal(r->status, 200);
    assert_in(r->body, "\"processing_status\":\"processed\"");
    assert_int_equal(get(2, 1, 30)->status, 200); /* nothing to wait for */
}

static void test_wait_sees_changes_without_being_told(void **state)
{
    (void)state;
    struct payment_view *p = stored(1, USER);
    struct reply *r = get(1, 1, 30);
    live(US_PER_S);
    p->processing_status = PROCESSING_DUPLICATED;
    live(2 * US_PER_S);
    assert_int_equal(r->status, 200);
}

static void test_a_user_waits_so_often_and_no_more(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= APP_USER_WAITS_MAX; i++)
        assert_int_equal(get(i, 99, 30)->status, 0);
    struct reply *r = get(20, 99, 30);
    assert_int_equal(r->status, 429);
    assert_string_equal(r->retry_after, "1");
    assert_int_equal(get(21, 99, 0)->status, 404); /* without waiting */
    struct api_call *other = call_of("getPayment", 22);
    other->who.user_id = fake_id(USER + 1);
    value_of(other, "payment_id")->id = fake_id(99);
    value_of(other, "wait")->number = 30;
    submit(other);
    (void)step();
    assert_int_equal(B->replies[22].status, 0);
    B->left[3] = true; /* one client leaves: another may wait, at once */
    assert_int_equal(get(23, 99, 30)->status, 0);
    assert_int_not_equal(B->replies[3].status, 0);
    assert_int_equal(get(24, 99, 30)->status, 429);
    for (uint64_t i = 1; i <= 23; i++)
        B->left[i] = true; /* and without anybody asking they are let go in a while */
    live(2 * US_PER_S);
    for (uint64_t i = 1; i <= APP_USER_WAITS_MAX; i++)
        assert_int_not_equal(B->replies[i].status, 0);
    B->app->ops->drain(B->app);
    assert_true(B->app->ops->drained(B->app));
}

static void test_wait_ends_with_the_current_state(void **state)
{
    (void)state;
    (void)stored(1, USER);
    submit_get(1, 1, 2);
    submit_get(2, 99, 2);
    live(1900 * US_PER_MS);
    assert_int_equal(B->replies[1].status, 0);
    live(200 * US_PER_MS);
    assert_int_equal(B->replies[1].status, 200);
    assert_in(B->replies[1].body, "\"processing_status\":\"new\"");
    assert_int_equal(B->replies[2].status, 404);
    assert_string_equal(B->replies[2].retry_after, "1");
}

static void test_wait_ends_when_the_payer_has_to_act(void **state)
{
    (void)state;
    struct reply *r = get(1, 1, 30);
    struct payment_view *p = stored(1, USER);
    live(2 * US_PER_S);
    assert_int_equal(r->status, 0);
    p->processing_status = PROCESSING_IN_PROCESSING;
    p->action_url = "http://processing.invalid/pay/1";
    live(2 * US_PER_S);
    assert_int_equal(r->status, 200);
    assert_in(r->body, "\"action_url\":\"http://processing.invalid/pay/1\"");
    r = get(2, 1, 30); /* as it is now: no change */
    live(2 * US_PER_S);
    assert_int_equal(r->status, 0);
    p->needs_decision = true;
    live(2 * US_PER_S);
    assert_int_equal(r->status, 200);
}

static void test_waits_survive_a_store_that_is_away(void **state)
{
    (void)state;
    struct payment_view *p = stored(1, USER);
    submit_get(1, 1, 30);
    submit_get(2, 1, 3);
    (void)step();
    B->views.err = ERR_UNREACHABLE;
    live(4 * US_PER_S);
    assert_int_equal(B->replies[1].status, 0);
    assert_int_equal(B->replies[2].status, 503);
    B->views.err = ERR_OK;
    p->processing_status = PROCESSING_COMPLETED;
    p->payment_status = PAYMENT_DECLINE;
    live(10 * US_PER_S);
    assert_int_equal(B->replies[1].status, 200);
}

static void test_drain_answers_those_who_wait(void **state)
{
    (void)state;
    (void)stored(1, USER);
    struct reply *r = get(1, 1, 30);
    assert_false(B->app->ops->drained(B->app));
    B->app->ops->drain(B->app);
    (void)step();
    assert_int_equal(r->status, 200);
    assert_true(B->app->ops->drained(B->app));
    submit(call_of("getReady", 2));
    (void)step();
    assert_int_equal(B->replies[2].status, 503);
}

static struct reply *list(uint64_t token, const char *operation, int64_t limit, int64_t cursor)
{
    struct api_call *call = call_of(operation, token);

    value_of(call, "limit")->number = limit;
    if (cursor > 0)
        value_of(call, "cursor")->number = cursor;
    submit(call);
    (void)step();
    assert_int_equal(B->replies[token].status, 200);
    return &B->replies[token];
}

static void test_lists_have_pages(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 5; n++)
        (void)stored(n, USER);
    (void)stored(6, USER + 1);
    struct reply *r = list(1, "listPayments", 2, 0);
    assert_in(r->body, "00000005");
    assert_in(r->body, "00000004");
    assert_null(strstr(r->body, "00000003"));
    assert_in(r->body, "\"next_cursor\":\"4\"");
    r = list(2, "listPayments", 2, 4);
    assert_in(r->body, "00000003");
    assert_in(r->body, "\"next_cursor\":\"2\"");
    r = list(3, "listPayments", 2, 2);
    assert_in(r->body, "00000001");
    assert_in(r->body, "\"next_cursor\":null");
    assert_in(list(4, "listPayments", 100, 0)->body, "\"next_cursor\":null");
    assert_string_equal(list(5, "listPayments", 2, 1)->body, "{\"items\":[],\"next_cursor\":null}");
}

static void test_prices_and_subscriptions(void **state)
{
    (void)state;
    struct reply *r = list(1, "listPrices", 20, 0);
    assert_in(r->body, "{\"items\":[{\"subscription_type\":\"month\",\"cost\":39900,\"currency\":"
                       "\"RUB\",\"starting_date\":\"2020-01-01\"},");
    assert_in(r->body, "\"next_cursor\":null}");
    assert_in(list(2, "listPrices", 1, 0)->body, "\"next_cursor\":\"1\"");
    assert_in(list(3, "listPrices", 2, 1)->body, "299900");
    assert_string_equal(list(4, "listSubscriptions", 20, 0)->body,
                        "{\"items\":[],\"next_cursor\":null}");
    B->views.subscribers[B->views.subscriber_count++] = fake_id(USER);
    assert_string_equal(
        list(5, "listSubscriptions", 20, 0)->body,
        "{\"items\":[{\"subscription_id\":\"01980000-0000-7000-8000-00000000004d\","
        "\"subscription_type\":\"month\",\"starts_at\":\"2025-11-24T07:00:00.000000Z\","
        "\"expiration_date\":\"2025-11-25T07:00:00.000000Z\",\"ends_at\":"
        "\"2025-11-25T07:00:00.000000Z\",\"end_reason\":null,\"payment_id\":null}],"
        "\"next_cursor\":null}");
}

static void test_prices_are_those_of_today(void **state)
{
    (void)state;
    assert_in(post(1, "payment", "month", NULL)->body, "39900");
    B->views.prices[0].cost.amount_minor = 49900;
    fake_env_pass(&B->env, US_PER_S / 2);
    assert_in(post(2, "payment", "month", NULL)->body, "39900"); /* a second old at most */
    fake_env_pass(&B->env, 2 * US_PER_S);
    assert_in(post(3, "payment", "month", NULL)->body, "49900");
    B->views.prices[0].cost.amount_minor = 59900;
    B->env.wall_us += US_PER_DAY; /* midnight has passed */
    assert_in(post(4, "payment", "month", NULL)->body, "59900");
}

static void test_not_ready_before_the_queue_was_asked(void **state)
{
    (void)state;
    assert_string_equal(B->app->ops->unready(B->app), "queue: not asked yet");
    B->queue.log_err = ERR_UNREACHABLE;
    submit(call_of("getReady", 1));
    (void)step();
    assert_int_equal(B->replies[1].status, 503);
    assert_string_equal(B->app->ops->unready(B->app), "queue: the topic cannot be read");
    B->queue.log_err = ERR_OK;
    live(2 * US_PER_S);
    assert_null(B->app->ops->unready(B->app));
}

static void test_health(void **state)
{
    (void)state;
    submit(call_of("getLive", 1));
    submit(call_of("getReady", 2));
    (void)step();
    assert_int_equal(B->replies[1].status, 200);
    assert_string_equal(B->replies[1].body, "");
    assert_int_equal(B->replies[2].status, 200);
    B->queue.log_err = ERR_IO; /* the topic is gone */
    live(10 * US_PER_S);
    submit(call_of("getReady", 3));
    (void)step();
    assert_int_equal(B->replies[3].status, 503);
    assert_non_null(strstr(B->app->ops->unready(B->app), "queue"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_202_once_the_queue_has_it),
        TEST(test_a_refund_costs_what_is_known_later),
        TEST(test_503_when_the_queue_does_not_confirm),
        TEST(test_503_after_5_s_and_the_late_confirmation_finds_nobody),
        TEST(test_503_at_once_while_the_queue_is_away_but_for_one),
        TEST(test_a_call_that_is_too_late_is_not_queued),
        TEST(test_a_stored_key_is_replayed),
        TEST(test_409_when_subscribed),
        TEST(test_without_the_store_the_checks_are_skipped),
        TEST(test_a_card_number_is_refused),
        TEST(test_a_batch_asks_the_store_once),
        TEST(test_no_more_calls_than_it_can_hold),
        TEST(test_open_calls_are_freed_on_close),
        TEST(test_own_payments_only),
        TEST(test_wait_holds_until_it_is_over),
        TEST(test_wait_sees_changes_without_being_told),
        TEST(test_wait_ends_with_the_current_state),
        TEST(test_a_user_waits_so_often_and_no_more),
        TEST(test_wait_ends_when_the_payer_has_to_act),
        TEST(test_waits_survive_a_store_that_is_away),
        TEST(test_drain_answers_those_who_wait),
        TEST(test_lists_have_pages),
        TEST(test_prices_and_subscriptions),
        TEST(test_prices_are_those_of_today),
        TEST(test_not_ready_before_the_queue_was_asked),
        TEST(test_health),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
