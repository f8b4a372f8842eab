/* Answers of the API: JSON of contract section 5, and the end of a call. */
#include "services/subscription_app_inside.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/times.h"
#include "http/problem.h"

const struct api_value *app_value(const struct api_call *call, const char *name)
{
    for (size_t i = 0; i < call->route->param_count; i++)
        if (strcmp(call->route->params[i].name, name) == 0)
            return &call->values[i];
    assert(!"the document has this parameter");
    return NULL;
}

/* A client that left is not told: reply says so, and there is nothing to be done about it. */
void app_answer(struct app *a, struct api_call *call, const struct http_response *response)
{
    (void)a->reply(a->reply_ctx, call, response);
    api_call_free(call);
    atomic_fetch_sub(&a->inside, 1);
}

void app_answer_status(struct app *a, struct api_call *call, int status)
{
    app_answer(a, call, &(struct http_response){.status = status});
}

static void app_answer_body(struct app *a, struct api_call *call, struct http_response *response)
{
    if (a->body.failed) { /* over APP_BODY_MAX, or out of memory */
        app_answer_status(a, call, 503);
        return;
    }
    response->body = a->body.data;
    response->body_len = a->body.len;
    app_answer(a, call, response);
}

void app_answer_json(struct app *a, struct api_call *call, int status)
{
    app_answer_body(a, call,
                    &(struct http_response){.status = status, .content_type = "application/json"});
}

void app_answer_problem(struct app *a, struct api_call *call, int status, const char *detail,
                        int retry_after_s, const struct uuid *payment_id)
{
    struct http_response response = {.status = status, .content_type = PROBLEM_TYPE};
    char seconds[12], id[UUID_TEXT];

    str_clear(&a->body);
    if (payment_id != NULL) {
        uuid_format(payment_id, id);
        problem_format_with(&a->body, status, detail, "payment_id", id);
    } else {
        problem_format(&a->body, status, detail, NULL, 0);
    }
    if (retry_after_s > 0) {
        (void)snprintf(seconds, sizeof seconds, "%d", retry_after_s);
        response.headers[0] = (struct http_header){"Retry-After", seconds};
    }
    app_answer_body(a, call, &response);
}

void app_answer_invalid(struct app *a, struct api_call *call, const char *in, const char *name,
                        const char *value, const char *allowed)
{
    struct http_response response = {.status = 422, .content_type = PROBLEM_TYPE};
    const struct problem_field field = {in, name, value, allowed};
    char detail[256];

    (void)snprintf(detail, sizeof detail, "%s: allowed is %s", name, allowed);
    str_clear(&a->body);
    problem_format(&a->body, 422, detail, &field, 1);
    app_answer_body(a, call, &response);
}

bool app_store_waits(const struct app *a)
{
    return trouble_waits(&a->store, a->env);
}

enum err app_store_said(struct app *a, enum err err)
{
    return trouble_note(&a->store, a->env, APP_NAME, "reading the store", err, views_why(a->views));
}

void app_answer_store_away(struct app *a, struct api_call *call)
{
    app_answer_problem(a, call, 503, "the store does not answer", 1, NULL);
}

static void put_id(struct str *out, const char *name, const struct uuid *id)
{
    char text[UUID_TEXT];

    uuid_format(id, text);
    json_put_text(out, name, uuid_is_nil(id) ? NULL : text);
}

static void put_time(struct str *out, const char *name, int64_t at_us)
{
    char text[TIME_TEXT];

    if (at_us == TIME_NEVER) {
        json_put_null(out, name);
        return;
    }
    time_format(at_us, text);
    json_put_text(out, name, text);
}

static void put_money(struct str *out, const struct money *m)
{
    if (money_known(m)) {
        json_put_i64(out, "amount", m->amount_minor);
        json_put_text(out, "currency", m->currency);
    } else {
        json_put_null(out, "amount");
        json_put_null(out, "currency");
    }
}

void app_write_payment(struct str *out, const struct payment_view *p)
{
    json_open(out, '{');
    put_id(out, "payment_id", &p->payment_id);
    json_put_text(out, "payment_type", payment_type_text(p->payment_type));
    json_put_text(out, "subscription_type", subscription_type_text(p->subscription_type));
    json_put_text(out, "processing_status", processing_status_text(p->processing_status));
    json_put_text(out, "payment_status", payment_status_text(p->payment_status));
    put_time(out, "payment_date", p->payment_date_us);
    put_money(out, &p->money);
    put_time(out, "expiration_date", p->expiration_us);
    put_id(out, "duplicate_of", &p->duplicate_of);
    put_id(out, "refund_of", &p->refund_of);
    json_put_text(out, "reason", p->reason == REASON_NONE ? NULL : reason_text(p->reason));
    json_put_text(out, "action_url", p->action_url);
    json_put_bool(out, "needs_decision", p->needs_decision);
    put_id(out, "waits_for", &p->waits_for);
    json_close(out, '}');
}

static void write_subscription(struct str *out, const struct subscription_view *s)
{
    json_open(out, '{');
    put_id(out, "subscription_id", &s->subscription_id);
    json_put_text(out, "subscription_type", subscription_type_text(s->subscription_type));
    put_time(out, "starts_at", s->starts_at_us);
    put_time(out, "expiration_date", s->expiration_us);
    put_time(out, "ends_at", s->ends_at_us);
    json_put_text(out, "end_reason", s->end_reason);
    put_id(out, "payment_id", &s->payment_id);
    json_close(out, '}');
}

static void write_price(struct str *out, const struct price *p)
{
    char day[DATE_TEXT];

    date_format(p->starting_date, day);
    json_open(out, '{');
    json_put_text(out, "subscription_type", subscription_type_text(p->subscription_type));
    json_put_i64(out, "cost", p->cost.amount_minor);
    json_put_text(out, "currency", p->cost.currency);
    json_put_text(out, "starting_date", day);
    json_close(out, '}');
}

/* ---- collections ---- */

static size_t page_limit(const struct api_call *call)
{
    const struct api_value *limit = app_value(call, "limit");

    return limit->given ? (size_t)limit->number : 20;
}

static void collection_open(struct app *a)
{
    str_clear(&a->body);
    json_open(&a->body, '{');
    json_name(&a->body, "items");
    json_open(&a->body, '[');
}

/* cursor 0: this was the last page. */
static void collection_answer(struct app *a, struct api_call *call, int64_t cursor)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)cursor);
    json_close(&a->body, ']');
    json_put_text(&a->body, "next_cursor", cursor > 0 ? text : NULL);
    json_close(&a->body, '}');
    app_answer_json(a, call, 200);
}

/* The cursor is the seq of the last payment of the page before. */
void handle_listPayments(void *service, struct api_call *call)
{
    struct app *a = app_of(service);
    struct payment_view *payments = NULL;
    const struct api_value *cursor = app_value(call, "cursor");
    size_t count = 0, limit = page_limit(call);
    int64_t last = 0;

    /* One more than is shown tells whether there is a next page. */
    size_t ask = limit + 1;
    int64_t before = cursor->given ? cursor->number : INT64_MAX;
    if (app_store_waits(a) ||
        app_store_said(a, views_payments_of(a->views, &call->who.user_id, before, ask, &a->arena,
                                            &payments, &count)) != ERR_OK) {
        app_answer_store_away(a, call);
        return;
    }
    bool more = count > limit;
    if (count > limit)
        count = limit;
    collection_open(a);
    for (size_t i = 0; i < count; i++) {
        app_write_payment(&a->body, &payments[i]);
        last = payments[i].seq;
    }
    collection_answer(a, call, more ? last : 0);
}

/* Where the items are few and all at hand, the cursor counts those that were shown. */
static size_t page_start(const struct api_call *call, size_t count)
{
    const struct api_value *cursor = app_value(call, "cursor");

    return cursor->given && cursor->number < (int64_t)count ? (size_t)cursor->number
           : cursor->given                                  ? count
                                                            : 0;
}

static size_t page_end(const struct api_call *call, size_t start, size_t count)
{
    size_t limit = page_limit(call);

    return count - start > limit ? start + limit : count;
}

void handle_listSubscriptions(void *service, struct api_call *call)
{
    struct app *a = app_of(service);
    struct subscription_view *subscriptions = NULL;
    size_t count = 0;

    if (app_store_waits(a) ||
        app_store_said(a, views_subscriptions_of(a->views, &call->who.user_id, &a->arena,
                                                 &subscriptions, &count)) != ERR_OK) {
        app_answer_store_away(a, call);
        return;
    }
    size_t start = page_start(call, count), end = page_end(call, start, count);
    collection_open(a);
    for (size_t i = start; i < end; i++)
        write_subscription(&a->body, &subscriptions[i]);
    collection_answer(a, call, end < count ? (int64_t)end : 0);
}

void handle_listPrices(void *service, struct api_call *call)
{
    struct app *a = app_of(service);
    const struct price *prices = NULL;
    size_t count = 0;

    if (app_prices(a, &prices, &count) != ERR_OK) {
        app_answer_store_away(a, call);
        return;
    }
    size_t start = page_start(call, count), end = page_end(call, start, count);
    collection_open(a);
    for (size_t i = start; i < end; i++)
        write_price(&a->body, &prices[i]);
    collection_answer(a, call, end < count ? (int64_t)end : 0);
}

/* That this step runs is the proof of life. */
void handle_getLive(void *service, struct api_call *call)
{
    app_answer_status(app_of(service), call, 200);
}

void handle_getReady(void *service, struct api_call *call)
{
    struct app *a = app_of(service);
    bool ready = atomic_load(&a->unready) == NULL && !atomic_load(&a->draining);

    app_answer_status(a, call, ready ? 200 : 503);
}
