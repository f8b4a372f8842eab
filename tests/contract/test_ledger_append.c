/* append, position, rewind: what the saver relies on. */
#include <stdio.h>
#include <string.h>

#include "base/times.h"
#include "suite.h"

static void stores_in_order_with_price_and_event(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {
        pays(1, 1),
        asks(2, 2, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR),
        refunds(1, 3),
    };
    assert_int_equal(store_append(s, r, 3), ERR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r[i].verdict, APPEND_STORED);
    assert_string_equal(store_text(s,
                                   "SELECT group_concat(id) FROM (SELECT id FROM payments "
                                   "ORDER BY seq) x",
                                   NULL),
                        store_text(s,
                                   "SELECT 'bb000000-0000-7000-8000-000000000001,' || "
                                   "'bb000000-0000-7000-8000-000000000002,' || "
                                   "'bb000000-0000-7000-8000-000000000003'",
                                   NULL));
    assert_string_equal(last_event(s, 1),
                        "saver >new unknown {\"amount\":39900,\"currency\":\"RUB\"}");
    assert_string_equal(last_event(s, 2),
                        "saver >new unknown {\"amount\":299900,\"currency\":\"RUB\"}");
    assert_string_equal(last_event(s, 3),
                        "saver >new unknown "); /* a refund's amount is its target's */
    assert_int_equal(s->changes, LEDGER_CHANGE_STORED | LEDGER_CHANGE_PAYMENT);
}

static void keeps_every_field(void **state)
{
    struct store *s = *state;
    struct ledger_record r = refunds(1, 1);
    r.request.requested_at_us = START_US - 5 * SECOND;
    r.recorded_at_us = START_US - 4 * SECOND;
    r.request.refund_of = payment(7);
    snprintf(r.request.actor, sizeof r.request.actor, "admin:somebody");
    snprintf(r.request.payment_method, sizeof r.request.payment_method, "карта \"α\"\n");
    append_ok(s, r);
    assert_string_equal(
        store_text(s, "SELECT payment_date || ' ' || recorded_at || ' ' || stored_at FROM payments",
                   NULL),
        "2025-11-24T15:59:55.000000Z 2025-11-24T15:59:56.000000Z 2025-11-24T16:00:00.000000Z");
    assert_string_equal(
        store_text(s, "SELECT actor || ' ' || payment_method || ' ' || refund_of FROM payments",
                   NULL),
        "admin:somebody карта \"α\"\n bb000000-0000-7000-8000-000000000007");
    assert_string_equal(last_event(s, 1),
                        "saver >new unknown "
                        "{\"refund_of\":\"bb000000-0000-7000-8000-000000000007\"}");
}

static void a_request_without_time_takes_the_storing_time(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    assert_int_equal(store_i64(s,
                               "SELECT payment_date = stored_at AND recorded_at IS NULL AND "
                               "stored_at = '2025-11-24T16:00:00.000000Z' FROM payments",
                               NULL),
                     1);
}

static void times_beyond_the_calendar_are_brought_back(void **state)
{
    struct store *s = *state;
    struct ledger_record r = pays(1, 1);
    r.request.requested_at_us = TIME_NEVER;
    r.recorded_at_us = TIME_NEVER;
    append_ok(s, r);
    r = refunds(1, 2);
    r.request.requested_at_us = -1;
    r.recorded_at_us = INT64_MIN + 1;
    append_ok(s, r);
    assert_int_equal(store_i64(s,
                               "SELECT count(*) FROM payments WHERE payment_date IN "
                               "('9999-12-31T23:59:59.999999Z', '1970-01-01T00:00:00.000000Z') "
                               "AND recorded_at IN ('9999-12-31T23:59:59.999999Z', "
                               "'1970-01-01T00:00:00.000000Z')",
                               NULL),
                     2);
}

static int64_t amount(struct store *s, int payment_n)
{
    struct uuid id = payment(payment_n);
    return store_i64(s, "SELECT amount FROM payments WHERE id = ?1", text_of(s, &id));
}

/* Rule 7. */
static void the_price_is_that_of_the_earlier_day(void **state)
{
    struct store *s = *state;
    struct ledger_record r;
    store_sql(s, "INSERT INTO subscription_cost (subscription_type, starting_date, cost, currency) "
                 "VALUES ('month', '2025-11-24', 50000, 'RUB'), "
                 "('month', '2025-11-25', 60000, 'EUR')");
    append_ok(s, pays(1, 1));
    r = pays(1, 2);
    r.request.requested_at_us = START_US - DAY; /* asked for yesterday, stored today */
    append_ok(s, r);
    r = pays(1, 3);
    r.request.requested_at_us = START_US + DAY; /* a clock that is ahead gains nothing */
    append_ok(s, r);
    struct ledger_record mixed[] = {pays(1, 4), pays(1, 5), pays(1, 6)};
    mixed[1].request.requested_at_us = START_US - DAY;
    assert_int_equal(store_append(s, mixed, 3), ERR_OK);
    store_advance(s, DAY);
    append_ok(s, pays(1, 7));
    assert_int_equal(amount(s, 1), 50000);
    assert_int_equal(amount(s, 2), 39900);
    assert_int_equal(amount(s, 3), 50000);
    assert_int_equal(amount(s, 4), 50000);
    assert_int_equal(amount(s, 5), 39900);
    assert_int_equal(amount(s, 6), 50000);
    assert_int_equal(amount(s, 7), 60000);
    assert_string_equal(
        store_text(s, "SELECT currency FROM payments ORDER BY seq DESC LIMIT 1", NULL), "EUR");
}

static void no_price_refuses_the_batch_and_stores_nothing(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(2, 2), refunds(3, 3)};
    struct ledger_position p;
    r[1].request.requested_at_us = INT64_C(1577836800) * SECOND - 1; /* 2019-12-31 */
    r[2].request.requested_at_us = r[1].request.requested_at_us;
    assert_int_equal(store_append(s, r, 3), ERR_REFUSED);
    assert_int_equal(r[0].verdict, APPEND_STORED);
    assert_int_equal(r[1].verdict, APPEND_REFUSED);
    assert_int_equal(r[1].reject, REJECT_NO_PRICE);
    assert_int_equal(r[2].verdict, APPEND_STORED); /* a refund needs no price */
    assert_int_equal(store_i64(s,
                               "SELECT (SELECT count(*) FROM payments) + (SELECT count(*) FROM "
                               "accounts) + (SELECT count(*) FROM events)",
                               NULL),
                     0);
    assert_int_equal(ledger_position(s->ledger, TOPIC, 0, &p), ERR_NOT_FOUND);
    assert_int_equal(s->changes, 0);
    r[1] = r[2];
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    assert_int_equal(r[0].verdict, APPEND_STORED);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM payments", NULL), 2);
}

static void a_known_id_is_a_repeat_or_a_conflict(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    struct ledger_record same = pays(1, 1);
    same.request.requested_at_us = START_US - HOUR; /* not part of what is compared */
    assert_int_equal(store_append(s, &same, 1), ERR_OK);
    assert_int_equal(same.verdict, APPEND_REPEATED);
    assert_int_equal(event_count(s, 1), 1);
    struct ledger_record others[] = {
        pays(2, 1),
        refunds(1, 1),
        asks(1, 1, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR),
    };
    for (int i = 0; i < 3; i++) {
        struct ledger_record r[] = {pays(1, 2), others[i], pays(1, 1)};
        assert_int_equal(store_append(s, r, 3), ERR_REFUSED);
        assert_int_equal(r[0].verdict, APPEND_STORED);
        assert_int_equal(r[1].verdict, APPEND_REFUSED);
        assert_int_equal(r[1].reject, REJECT_ID_CONFLICT);
        assert_int_equal(r[2].verdict, APPEND_REPEATED);
    }
    assert_int_equal(store_i64(s, "SELECT count(*) FROM payments", NULL), 1);
}

static void the_same_id_twice_in_a_batch(void **state)
{
    struct store *s = *state;
    struct ledger_record twice[] = {pays(1, 1), pays(1, 1)};
    assert_int_equal(store_append(s, twice, 2), ERR_OK);
    assert_int_equal(twice[0].verdict, APPEND_STORED);
    assert_int_equal(twice[1].verdict, APPEND_REPEATED);
    assert_int_equal(event_count(s, 1), 1);
    struct ledger_record other[] = {pays(1, 2), pays(2, 2)};
    assert_int_equal(store_append(s, other, 2), ERR_REFUSED);
    assert_int_equal(other[0].verdict, APPEND_STORED);
    assert_int_equal(other[1].reject, REJECT_ID_CONFLICT);
    assert_int_equal(event_count(s, 2), 0);
}

static void a_repeat_makes_nobody_due(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    s->changes = 0;
    struct ledger_record r = pays(1, 1);
    assert_int_equal(store_append(s, &r, 1), ERR_OK);
    assert_int_equal(r.verdict, APPEND_REPEATED);
    assert_int_equal(s->changes, 0);
    assert_int_equal(claim_ok(s).users, 0);
}

static void what_comes_during_a_flight_waits(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, refunds(1, 2));
    append_ok(s, pays(1, 3));
    assert_int_equal(claim_ok(s).users, 0);
    assert_int_equal(due_count(s), 0); /* the lease is as it was */
    store_advance(s, LEASE_US);
    assert_int_equal(due_count(s), 1);
}

/* ---- the position ---- */

static struct ledger_position at(int64_t next, const char *log_id)
{
    struct ledger_position p = {.topic = TOPIC, .partitions = 1, .next = next};
    snprintf(p.log_id, sizeof p.log_id, "%s", log_id);
    return p;
}

static enum err move(struct store *s, struct ledger_position from, struct ledger_position to)
{
    struct ledger_record r = pays(1, (int)to.next);
    return ledger_append(s->ledger, &r, 1, &from, &to);
}

static void the_position_is_compared_and_set(void **state)
{
    struct store *s = *state;
    struct ledger_position p;
    assert_int_equal(ledger_position(s->ledger, TOPIC, 0, &p), ERR_NOT_FOUND);
    assert_int_equal(move(s, at(3, LOG_ID), at(4, LOG_ID)), ERR_MOVED); /* there is none yet */
    assert_int_equal(move(s, at(0, LOG_ID), at(4, LOG_ID)), ERR_MOVED);
    struct ledger_position to = at(5, LOG_ID);
    to.checksum = UINT64_C(0xfedcba9876543210);
    to.partitions = 3;
    assert_int_equal(move(s, at(0, ""), to), ERR_OK);
    assert_int_equal(move(s, at(0, ""), to), ERR_MOVED); /* the same call once more */
    assert_int_equal(move(s, at(5, "log-2"), at(6, LOG_ID)), ERR_MOVED);
    assert_int_equal(move(s, at(4, LOG_ID), at(6, LOG_ID)), ERR_MOVED);
    assert_string_not_equal(ledger_why(s->ledger), "");
    assert_int_equal(ledger_position(s->ledger, TOPIC, 0, &p), ERR_OK);
    assert_int_equal(p.next, 5);
    assert_int_equal(p.partitions, 3);
    assert_true(p.checksum == UINT64_C(0xfedcba9876543210));
    assert_string_equal(p.log_id, LOG_ID);
    assert_string_equal(p.topic, TOPIC);
    assert_int_equal(move(s, at(5, LOG_ID), at(6, LOG_ID)), ERR_OK);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM payments", NULL), 2);
}

static void an_empty_batch_moves_the_position(void **state)
{
    struct store *s = *state;
    struct ledger_position from = at(0, ""), to = at(9, LOG_ID), p;
    assert_int_equal(ledger_append(s->ledger, NULL, 0, &from, &to), ERR_OK);
    assert_int_equal(ledger_position(s->ledger, TOPIC, 0, &p), ERR_OK);
    assert_int_equal(p.next, 9);
    assert_int_equal(s->changes, 0);
}

static void partitions_and_topics_are_apart(void **state)
{
    struct store *s = *state;
    struct ledger_position from = at(0, ""), to = at(2, LOG_ID), p;
    assert_int_equal(ledger_append(s->ledger, NULL, 0, &from, &to), ERR_OK);
    from.partition = to.partition = 1;
    to.next = 7;
    assert_int_equal(ledger_append(s->ledger, NULL, 0, &from, &to), ERR_OK);
    assert_int_equal(ledger_position(s->ledger, TOPIC, 0, &p), ERR_OK);
    assert_int_equal(p.next, 2);
    assert_int_equal(ledger_position(s->ledger, TOPIC, 1, &p), ERR_OK);
    assert_int_equal(p.next, 7);
    assert_int_equal(ledger_position(s->ledger, "other", 0, &p), ERR_NOT_FOUND);
}

static void after_a_rewind_everything_is_a_repeat(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(2, 2)};
    struct ledger_position p;
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    assert_int_equal(ledger_rewind(s->ledger, TOPIC, 0, 0), ERR_OK);
    assert_int_equal(ledger_rewind(s->ledger, TOPIC, 0, 0), ERR_OK);
    assert_int_equal(ledger_position(s->ledger, TOPIC, 0, &p), ERR_OK);
    assert_int_equal(p.next, 0);
    assert_string_equal(p.log_id, "");
    assert_int_equal(p.checksum, 0);
    assert_int_equal(store_append(s, r, 2), ERR_MOVED); /* a saver that has not noticed */
    struct ledger_position to = at(2, LOG_ID);
    assert_int_equal(ledger_append(s->ledger, r, 2, &p, &to), ERR_OK);
    assert_int_equal(r[0].verdict, APPEND_REPEATED);
    assert_int_equal(r[1].verdict, APPEND_REPEATED);
}

static void a_rewind_to_the_middle_and_of_a_new_partition(void **state)
{
    struct store *s = *state;
    struct ledger_position p;
    append_ok(s, pays(1, 1));
    assert_int_equal(ledger_rewind(s->ledger, TOPIC, 0, 12), ERR_OK);
    assert_int_equal(move(s, at(12, ""), at(13, LOG_ID)), ERR_OK);
    assert_int_equal(ledger_rewind(s->ledger, TOPIC, 5, 3), ERR_OK);
    assert_int_equal(ledger_position(s->ledger, TOPIC, 5, &p), ERR_OK);
    assert_int_equal(p.next, 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(stores_in_order_with_price_and_event),
        T(keeps_every_field),
        T(a_request_without_time_takes_the_storing_time),
        T(times_beyond_the_calendar_are_brought_back),
        T(the_price_is_that_of_the_earlier_day),
        T(no_price_refuses_the_batch_and_stores_nothing),
        T(a_known_id_is_a_repeat_or_a_conflict),
        T(the_same_id_twice_in_a_batch),
        T(a_repeat_makes_nobody_due),
        T(what_comes_during_a_flight_waits),
        T(the_position_is_compared_and_set),
        T(an_empty_batch_moves_the_position),
        T(partitions_and_topics_are_apart),
        T(after_a_rewind_everything_is_a_repeat),
        T(a_rewind_to_the_middle_and_of_a_new_partition),
    };
    return cmocka_run_group_tests_name("ledger append", tests, NULL, NULL);
}
