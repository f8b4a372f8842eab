/* views and prices: what the API shows. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ledger/catalog.h"
#include "suite.h"

static struct payment_view *look(struct store *s, int payment_n)
{
    struct uuid id = payment(payment_n);
    struct payment_view *out;
    assert_int_equal(views_payments(s->views, &id, 1, 100, &s->arena, &out), ERR_OK);
    return out;
}

static void a_payment_is_shown_whole(void **state)
{
    struct store *s = *state;
    assert_null(look(s, 1));
    append_ok(s, pays(1, 1));
    struct payment_view *p = look(s, 1);
    struct uuid one = payment(1), u = user(1);
    assert_int_equal(p->seq, 1);
    assert_true(uuid_equal(&p->payment_id, &one));
    assert_true(uuid_equal(&p->user_id, &u));
    assert_int_equal(p->processing_status, PROCESSING_NEW);
    assert_int_equal(p->payment_status, PAYMENT_UNKNOWN);
    assert_int_equal(p->payment_date_us, START_US);
    assert_int_equal(p->expiration_us, TIME_NEVER);
    assert_int_equal(p->money.amount_minor, 39900);
    assert_true(uuid_is_nil(&p->duplicate_of) && uuid_is_nil(&p->refund_of));
    assert_true(uuid_is_nil(&p->waits_for));
    assert_int_equal(p->reason, REASON_NONE);
    assert_null(p->action_url);
    assert_false(p->needs_decision);
    claim_one(s, 1);
    store_sql(s, "UPDATE payments SET action_url = 'https://pay.example/1', needs_decision = 1");
    p = look(s, 1);
    assert_string_equal(p->action_url, "https://pay.example/1");
    assert_true(p->needs_decision);
    settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED));
    p = look(s, 1);
    assert_int_equal(p->payment_status, PAYMENT_ACCEPTED);
    assert_int_equal(p->expiration_us, START_US + 30 * DAY);
    assert_null(p->action_url);
    append_ok(s, refunds(1, 2));
    claim_one(s, 2);
    p = look(s, 2);
    assert_true(uuid_equal(&p->refund_of, &one));
    assert_int_equal(p->money.amount_minor, 39900);
    settle_ok(s, fact_of(s, 2, PAYMENT_ACCEPTED));
    append_ok(s, refunds(2, 3));
    claim_none(s);
    p = look(s, 3);
    assert_int_equal(p->reason, REASON_NOTHING_TO_REFUND);
    assert_false(money_known(&p->money));
}

static void a_new_one_waits_for_the_one_in_flight(void **state)
{
    struct store *s = *state;
    struct uuid one = payment(1);
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, pays(1, 2));
    append_ok(s, pays(2, 3));
    struct payment_view *p = look(s, 2);
    assert_true(uuid_equal(&p->waits_for, &one));
    assert_true(uuid_is_nil(&look(s, 1)->waits_for));
    assert_true(uuid_is_nil(&look(s, 3)->waits_for));
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    p = look(s, 2);
    assert_true(uuid_is_nil(&p->waits_for));
    assert_true(uuid_equal(&p->duplicate_of, &one));
}

static void a_batch_keeps_its_order_and_its_gaps(void **state)
{
    struct store *s = *state;
    struct uuid ids[] = {payment(2), payment(99), payment(1), payment(2)};
    struct payment_view *out[4];
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    assert_int_equal(views_payments(s->views, ids, 4, 100, &s->arena, out), ERR_OK);
    assert_int_equal(out[0]->seq, 2);
    assert_null(out[1]);
    assert_int_equal(out[2]->seq, 1);
    assert_int_equal(out[3]->seq, 2);
    assert_int_equal(views_payments(s->views, ids, 0, 100, &s->arena, out), ERR_OK);
}

static void a_users_payments_page_by_page(void **state)
{
    struct store *s = *state;
    struct uuid u = user(1), nobody = user(99);
    struct payment_view *page;
    size_t count;
    for (int n = 1; n <= 10; n++)
        append_ok(s, pays(n % 2 ? 1 : 2, n));
    assert_int_equal(views_payments_of(s->views, &u, INT64_MAX, 3, &s->arena, &page, &count),
                     ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(page[0].seq, 9);
    assert_int_equal(page[2].seq, 5);
    assert_int_equal(views_payments_of(s->views, &u, 5, 3, &s->arena, &page, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(page[0].seq, 3);
    assert_int_equal(page[1].seq, 1);
    assert_int_equal(views_payments_of(s->views, &u, 1, 100, &s->arena, &page, &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(views_payments_of(s->views, &nobody, INT64_MAX, 3, &s->arena, &page, &count),
                     ERR_OK);
    assert_int_equal(count, 0);
}

static bool subscribed(struct store *s, int user_n)
{
    struct uuid u = user(user_n);
    struct subscription_view *held;
    size_t count;
    bool out;
    assert_int_equal(views_subscribed(s->views, &u, 1, 100, &out), ERR_OK);
    assert_int_equal(views_subscriptions_of(s->views, &u, &s->arena, &held, &count), ERR_OK);
    assert_int_equal(count, out); /* the two ways to ask agree */
    return out;
}

static void subscribed_from_the_start_to_before_the_end(void **state)
{
    struct store *s = *state;
    struct uuid u = user(1), one = payment(1);
    struct subscription_view *held;
    size_t count;
    append_ok(s, pays(1, 1));
    assert_false(subscribed(s, 1));
    claim_one(s, 1);
    assert_false(subscribed(s, 1));
    settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED));
    assert_true(subscribed(s, 1));
    assert_false(subscribed(s, 2));
    assert_int_equal(views_subscriptions_of(s->views, &u, &s->arena, &held, &count), ERR_OK);
    assert_true(uuid_equal(&held->payment_id, &one));
    assert_true(uuid_equal(&held->user_id, &u));
    assert_false(uuid_is_nil(&held->subscription_id));
    assert_int_equal(held->starts_at_us, START_US);
    assert_int_equal(held->expiration_us, START_US + 30 * DAY);
    assert_int_equal(held->ends_at_us, START_US + 30 * DAY);
    assert_int_equal(held->subscription_type, SUBSCRIPTION_MONTH);
    assert_null(held->end_reason);
    store_advance(s, 30 * DAY - 1);
    assert_true(subscribed(s, 1));
    store_advance(s, 1);
    assert_false(subscribed(s, 1));
    struct uuid many[] = {user(2), user(1), user(1)};
    bool out[3] = {true, true, true};
    assert_int_equal(views_subscribed(s->views, many, 3, 100, out), ERR_OK);
    assert_false(out[0] || out[1] || out[2]);
}

/* Given back in the middle: covered now and later, with a gap between. */
static void an_early_period_counts_before_a_gap(void **state)
{
    struct store *s = *state;
    struct ledger_record named = refunds(1, 4);
    subscribe(s, 1, 1);
    for (int n = 2; n <= 3; n++) {
        store_advance(s, 31 * DAY * (n - 1));
        append_ok(s, pays(1, n));
        claim_one(s, n);
        store_advance(s, -31 * DAY * (n - 1));
        settle_ok(s, fact_of(s, n, PAYMENT_ACCEPTED));
    }
    named.request.refund_of = payment(2);
    append_ok(s, named);
    claim_one(s, 4);
    settle_ok(s, fact_of(s, 4, PAYMENT_ACCEPTED));
    assert_true(subscribed(s, 1)); /* by 1 */
    append_ok(s, pays(1, 5));
    claim_none(s);
    assert_status(s, 5, "duplicated/unknown ->1");
    store_advance(s, 31 * DAY);
    assert_false(subscribed(s, 1)); /* the gap of 2 */
    store_advance(s, 31 * DAY);
    assert_true(subscribed(s, 1)); /* by 3 */
}

static void the_prices_in_force_on_a_day(void **state)
{
    struct store *s = *state;
    struct price *p;
    size_t count;
    store_sql(s, "INSERT INTO subscription_cost (subscription_type, starting_date, cost, currency) "
                 "VALUES ('month', '2026-01-01', 45000, 'EUR')");
    assert_int_equal(catalog_prices(s->views, (struct date){2025, 12, 31}, &s->arena, &p, &count),
                     ERR_OK);
    assert_int_equal(count, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(p[i].subscription_type, i);
    assert_int_equal(p[0].cost.amount_minor, 39900);
    assert_int_equal(p[2].cost.amount_minor, 299900);
    assert_int_equal(catalog_prices(s->views, (struct date){2026, 1, 1}, &s->arena, &p, &count),
                     ERR_OK);
    assert_int_equal(p[0].cost.amount_minor, 45000);
    assert_string_equal(p[0].cost.currency, "EUR");
    assert_int_equal(date_compare(p[0].starting_date, (struct date){2026, 1, 1}), 0);
    assert_int_equal(catalog_prices(s->views, (struct date){2019, 12, 31}, &s->arena, &p, &count),
                     ERR_OK);
    assert_int_equal(count, 0);
}

static void damage_is_an_error_and_not_an_answer(void **state)
{
    struct store *s = *state;
    struct uuid id = payment(1);
    struct payment_view *out;
    append_ok(s, pays(1, 1));
    store_sql(s, "UPDATE payments SET reason = 'x'");
    assert_int_equal(views_payments(s->views, &id, 1, 100, &s->arena, &out), ERR_CORRUPT);
    assert_string_not_equal(views_why(s->views), "");
    store_sql(s, "UPDATE payments SET reason = NULL");
    assert_non_null(look(s, 1));
}

/* The tables are locked, so the server says nothing, as one that is stopped does. */
static void a_silent_store_is_not_waited_for(void **state)
{
    struct store *s = *state;
    struct uuid id = payment(1), u = user(1);
    struct payment_view *out, *page;
    size_t count;
    bool any;
    append_ok(s, pays(1, 1));
    if (!store_is_postgres())
        return; /* reading never waits for the writer */
    store_sql(s, "BEGIN; LOCK TABLE payments, accounts IN ACCESS EXCLUSIVE MODE");
    int64_t began_us = clock_boot_us(clock_real());
    assert_int_equal(views_payments(s->views, &id, 1, 100, &s->arena, &out), ERR_UNREACHABLE);
    assert_in_range(clock_boot_us(clock_real()) - began_us, 90 * US_PER_MS, 900 * US_PER_MS);
    assert_string_not_equal(views_why(s->views), "");
    began_us = clock_boot_us(clock_real());
    assert_int_equal(views_subscribed(s->views, &u, 1, 100, &any), ERR_UNREACHABLE);
    assert_int_equal(views_payments_of(s->views, &u, INT64_MAX, 3, &s->arena, &page, &count),
                     ERR_UNREACHABLE);
    assert_true(clock_boot_us(clock_real()) - began_us < 2 * VIEWS_PATIENCE_MS * US_PER_MS);
    store_sql(s, "ROLLBACK");
    enum err err = ERR_UNREACHABLE;
    for (int i = 0; i < 100 && err == ERR_UNREACHABLE; i++) {
        err = views_subscribed(s->views, &u, 1, 100, &any);
        (void)nanosleep(&(struct timespec){.tv_nsec = 100 * 1000000L}, NULL);
    }
    assert_int_equal(err, ERR_OK);
    assert_non_null(look(s, 1));
}

/* As many as the API may ask about at once, in any order and twice. */
static void a_whole_batch(void **state)
{
    struct store *s = *state;
    static struct uuid ids[VIEWS_BATCH_MAX], users[VIEWS_BATCH_MAX];
    static struct payment_view *out[VIEWS_BATCH_MAX];
    static bool held[VIEWS_BATCH_MAX];
    subscribe(s, 60, 60);
    for (int n = 1; n <= 50; n++)
        append_ok(s, pays(n, n));
    for (int i = 0; i < VIEWS_BATCH_MAX; i++) {
        ids[i] = payment(VIEWS_BATCH_MAX - i);
        users[i] = user(i % 64);
        held[i] = true;
    }
    assert_int_equal(views_payments(s->views, ids, VIEWS_BATCH_MAX, 5000, &s->arena, out), ERR_OK);
    assert_int_equal(views_subscribed(s->views, users, VIEWS_BATCH_MAX, 5000, held), ERR_OK);
    for (int i = 0; i < VIEWS_BATCH_MAX; i++) {
        int n = VIEWS_BATCH_MAX - i;
        assert_int_equal(out[i] != NULL, n <= 50 || n == 60);
        assert_int_equal(held[i], i % 64 == 60);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(a_payment_is_shown_whole),
        T(a_new_one_waits_for_the_one_in_flight),
        T(a_batch_keeps_its_order_and_its_gaps),
        T(a_users_payments_page_by_page),
        T(subscribed_from_the_start_to_before_the_end),
        T(an_early_period_counts_before_a_gap),
        T(the_prices_in_force_on_a_day),
        T(damage_is_an_error_and_not_an_answer),
        T(a_whole_batch),
        T(a_silent_store_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("views", tests, NULL, NULL);
}
