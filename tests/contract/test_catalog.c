/* Rule 7: prices to come are added and deleted, those in force are not touched. */
#include <stdio.h>
#include <string.h>

#include "ledger/catalog.h"
#include "suite.h"

#define ACTOR "operator:anna"

static struct price price_of(enum subscription_type type, int64_t cost, struct date from)
{
    return (struct price){.subscription_type = type, .cost = {cost, "RUB"}, .starting_date = from};
}

static enum catalog_verdict add(struct store *s, struct price p)
{
    enum catalog_verdict verdict = CATALOG_UNKNOWN;
    if (catalog_add(s->ledger, &p, ACTOR, &verdict) != ERR_OK)
        fail_msg("add: %s", ledger_why(s->ledger));
    return verdict;
}

static enum catalog_verdict removed(struct store *s, enum subscription_type type, struct date from)
{
    enum catalog_verdict verdict = CATALOG_EXISTS;
    if (catalog_delete(s->ledger, type, from, ACTOR, &verdict) != ERR_OK)
        fail_msg("delete: %s", ledger_why(s->ledger));
    return verdict;
}

static const char *price_events(struct store *s)
{
    return store_text(s,
                      "SELECT coalesce(group_concat(subject_id || ' ' || actor || ' ' || to_status "
                      "|| ' ' || detail, '; '), '') FROM events WHERE subject = 'price'",
                      NULL);
}

static const struct date TODAY = {2025, 11, 24}, TOMORROW = {2025, 11, 25}, LATER = {2026, 2, 28};
static const struct date FIRST = {2020, 1, 1};

static void a_price_starts_tomorrow_at_the_earliest(void **state)
{
    struct store *s = *state;
    assert_int_equal(add(s, price_of(SUBSCRIPTION_MONTH, 1, TODAY)), CATALOG_IN_FORCE);
    assert_int_equal(add(s, price_of(SUBSCRIPTION_MONTH, 1, FIRST)), CATALOG_IN_FORCE);
    assert_string_equal(price_events(s), "");
    assert_int_equal(add(s, price_of(SUBSCRIPTION_MONTH, 44900, TOMORROW)), CATALOG_DONE);
    assert_int_equal(add(s, price_of(SUBSCRIPTION_MONTH, 1, TOMORROW)), CATALOG_EXISTS);
    assert_string_equal(
        price_events(s),
        "month/2025-11-25 operator:anna added {\"cost\":44900,\"currency\":\"RUB\"}");
    append_ok(s, pays(1, 1));
    store_advance(s, 8 * HOUR); /* midnight, UTC */
    append_ok(s, pays(2, 2));
    assert_int_equal(fact_of(s, 1, PAYMENT_DECLINE).money.amount_minor, 39900);
    assert_int_equal(fact_of(s, 2, PAYMENT_DECLINE).money.amount_minor, 44900);
}

static void one_to_come_may_be_deleted(void **state)
{
    struct store *s = *state;
    assert_int_equal(removed(s, SUBSCRIPTION_YEAR, LATER), CATALOG_UNKNOWN);
    assert_int_equal(removed(s, SUBSCRIPTION_YEAR, TODAY), CATALOG_UNKNOWN);
    assert_int_equal(removed(s, SUBSCRIPTION_YEAR, FIRST), CATALOG_IN_FORCE);
    assert_int_equal(add(s, price_of(SUBSCRIPTION_YEAR, 5, LATER)), CATALOG_DONE);
    assert_int_equal(removed(s, SUBSCRIPTION_MONTH, LATER), CATALOG_UNKNOWN);
    assert_int_equal(removed(s, SUBSCRIPTION_YEAR, LATER), CATALOG_DONE);
    assert_int_equal(removed(s, SUBSCRIPTION_YEAR, LATER), CATALOG_UNKNOWN);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM subscription_cost", NULL), 3);
    assert_string_equal(price_events(s),
                        "year/2026-02-28 operator:anna added {\"cost\":5,\"currency\":\"RUB\"}; "
                        "year/2026-02-28 operator:anna deleted {\"cost\":5,\"currency\":\"RUB\"}");
    assert_int_equal(add(s, price_of(SUBSCRIPTION_YEAR, 5, TOMORROW)), CATALOG_DONE);
    store_advance(s, DAY);
    assert_int_equal(removed(s, SUBSCRIPTION_YEAR, TOMORROW), CATALOG_IN_FORCE);
}

static void those_in_force_and_to_come_are_listed(void **state)
{
    struct store *s = *state;
    struct price *prices = NULL;
    size_t count = 0;
    for (int day = 1; day <= 28; day++) {
        assert_int_equal(
            add(s, price_of(SUBSCRIPTION_YEAR, day, (struct date){2026, 3, (int8_t)day})),
            CATALOG_DONE);
        assert_int_equal(
            add(s, price_of(SUBSCRIPTION_MONTH, day, (struct date){2026, 3, (int8_t)day})),
            CATALOG_DONE);
    }
    assert_int_equal(catalog_prices_from(s->views, TODAY, &s->arena, &prices, &count), ERR_OK);
    assert_int_equal(count, 3 + 2 * 28);
    assert_int_equal(prices[0].cost.amount_minor, 39900);
    assert_int_equal(prices[1].cost.amount_minor, 1);
    assert_int_equal(prices[29].subscription_type, SUBSCRIPTION_THREE_MONTHS);
    assert_int_equal(prices[30].subscription_type, SUBSCRIPTION_YEAR);
    assert_int_equal(prices[58].cost.amount_minor, 28);
    assert_int_equal(
        catalog_prices_from(s->views, (struct date){2026, 3, 28}, &s->arena, &prices, &count),
        ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(prices[0].cost.amount_minor, 28);
    assert_int_equal(
        catalog_prices_from(s->views, (struct date){2019, 12, 31}, &s->arena, &prices, &count),
        ERR_OK);
    assert_int_equal(count, 3 + 2 * 28);
    store_sql(s, "DELETE FROM subscription_cost");
    assert_int_equal(catalog_prices_from(s->views, TODAY, &s->arena, &prices, &count), ERR_OK);
    assert_int_equal(count, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(a_price_starts_tomorrow_at_the_earliest),
        T(one_to_come_may_be_deleted),
        T(those_in_force_and_to_come_are_listed),
    };
    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
