/* untold, told, and the watchers. */
#include <string.h>

#include "suite.h"

static struct telling untold_one(struct store *s)
{
    struct telling *out;
    size_t count;
    assert_int_equal(ledger_untold(s->ledger, 100, LEASE_US, &s->arena, &out, &count), ERR_OK);
    assert_int_equal(count, 1);
    return out[0];
}

static void a_processed_payment_is_told_and_completed(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    struct telling t = untold_one(s);
    struct uuid id = payment(1), u = user(1);
    assert_true(uuid_equal(&t.payment_id, &id));
    assert_true(uuid_equal(&t.user_id, &u));
    assert_int_equal(t.payment_type, PAYMENT_TYPE_PAYMENT);
    assert_int_equal(t.subscription_type, SUBSCRIPTION_MONTH);
    assert_int_equal(t.payment_status, PAYMENT_ACCEPTED);
    assert_int_equal(t.reason, REASON_NONE);
    assert_int_equal(t.money.amount_minor, 39900);
    assert_int_equal(t.expiration_us, START_US + 30 * DAY);
    s->changes = 0;
    told_ok(s, tell(1));
    assert_int_equal(s->changes, LEDGER_CHANGE_PAYMENT);
    assert_status(s, 1, "completed/accepted");
    assert_string_equal(last_event(s, 1), "notifier processed>completed accepted "
                                          "{\"notification\":\"delivered\"}");
    assert_string_equal(store_text(s, "SELECT notification FROM payments", NULL), "delivered");
    told_ok(s, tell(1)); /* once more, and with another end: left alone */
    struct told other = tell(1);
    other.notification = NOTIFICATION_UNREACHABLE;
    told_ok(s, other);
    assert_int_equal(event_count(s, 1), 4);
    assert_int_equal(untold_count(s), 0);
    store_advance(s, DAY);
    assert_int_equal(untold_count(s), 0);
}

static void a_lease_ends_and_the_user_is_told_again(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    assert_int_equal(untold_count(s), 1);
    assert_int_equal(untold_count(s), 0);
    store_advance(s, LEASE_US);
    assert_int_equal(untold_count(s), 1);
    told_ok(s, tell(1));
    store_advance(s, LEASE_US);
    assert_int_equal(untold_count(s), 0);
}

static void again_waits_its_pause(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    assert_int_equal(untold_count(s), 1);
    told_ok(s, (struct told){.payment_id = payment(1), .again = true, .pause_us = 5 * SECOND});
    assert_status(s, 1, "processed/accepted");
    store_advance(s, 5 * SECOND - 1);
    assert_int_equal(untold_count(s), 0);
    store_advance(s, 1);
    assert_int_equal(untold_count(s), 1);
    told_ok(s, (struct told){.payment_id = payment(1), .notification = NOTIFICATION_UNREACHABLE});
    told_ok(s, (struct told){.payment_id = payment(1), .again = true}); /* too late */
    assert_status(s, 1, "completed/accepted");
    assert_int_equal(untold_count(s), 0);
}

static void a_user_reads_the_outcomes_in_their_order(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    assert_int_equal(untold_one(s).seq, 1);
    append_ok(s, refunds(1, 2)); /* processed while the first mail is on its way */
    claim_one(s, 2);
    settle_ok(s, fact_of(s, 2, PAYMENT_ACCEPTED));
    assert_int_equal(untold_count(s), 0); /* the first one is not sent twice */
    s->changes = 0;
    told_ok(s, tell(1));
    assert_int_equal(s->changes, LEDGER_CHANGE_PAYMENT | LEDGER_CHANGE_SETTLED);
    assert_int_equal(untold_one(s).seq, 2);
    told_ok(s, tell(2));
    assert_int_equal(untold_count(s), 0);
}

static void what_needs_no_message_goes_the_same_way(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), refunds(1, 2)};
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    claim_none(s);
    struct telling t = untold_one(s);
    assert_int_equal(t.seq, 2);
    assert_int_equal(t.reason, REASON_CANCELLED);
    assert_int_equal(t.payment_status, PAYMENT_ERROR);
    assert_false(money_known(&t.money));
    assert_int_equal(t.expiration_us, TIME_NEVER);
    told_ok(s,
            (struct told){.payment_id = payment(2), .notification = NOTIFICATION_NOT_TO_BE_TOLD});
    assert_status(s, 2, "completed/error cancelled");
    assert_string_equal(store_text(s, "SELECT notification FROM payments WHERE seq = 2", NULL),
                        "not_to_be_told");
}

static void only_processed_payments_are_completed(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(1, 2), pays(2, 3)};
    told_ok(s, tell(99));
    assert_int_equal(store_append(s, r, 3), ERR_OK);
    told_ok(s, tell(3)); /* new */
    assert_status(s, 3, "new/unknown");
    assert_int_equal(claim_ok(s).attempt_count, 2);
    told_ok(s, tell(1)); /* duplicated */
    told_ok(s, tell(2)); /* in_processing */
    told_ok(s, (struct told){.payment_id = payment(2), .again = true});
    assert_status(s, 1, "duplicated/unknown ->2");
    assert_status(s, 2, "in_processing/unknown");
}

static void untold_takes_at_most_max_the_longest_due_first(void **state)
{
    struct store *s = *state;
    struct telling *out;
    size_t count;
    for (int n = 5; n >= 1; n--) {
        subscribe(s, n, n);
        store_advance(s, SECOND);
    }
    assert_int_equal(ledger_untold(s->ledger, 2, LEASE_US, &s->arena, &out, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(out[0].seq, 1);
    assert_int_equal(out[1].seq, 2);
    assert_int_equal(untold_count(s), 3);
}

static void a_batch_of_tellings(void **state)
{
    struct store *s = *state;
    struct told t[50];
    for (int n = 1; n <= 50; n++) {
        subscribe(s, n, n);
        t[n - 1] = tell(n);
    }
    assert_int_equal(untold_count(s), 50);
    assert_int_equal(ledger_told(s->ledger, t, 50), ERR_OK);
    assert_int_equal(ledger_told(s->ledger, t, 50), ERR_OK);
    assert_int_equal(ledger_told(s->ledger, t, 0), ERR_OK);
    assert_int_equal(untold_count(s), 0);
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM events WHERE to_status = 'completed'", NULL), 50);
}

static void count_changes(void *ctx, unsigned changes)
{
    unsigned *seen = ctx;
    *seen |= changes;
}

static void every_handle_hears_of_every_commit(void **state)
{
    struct store *s = *state;
    struct ledger *other;
    unsigned seen = 0;
    assert_int_equal(store_ledger(s, &other), ERR_OK);
    ledger_watch(other, count_changes, &seen);
    append_ok(s, pays(1, 1));
    assert_int_equal(seen, LEDGER_CHANGE_STORED | LEDGER_CHANGE_PAYMENT);
    seen = 0;
    assert_int_equal(ledger_rewind(other, TOPIC, 0, 0), ERR_OK);
    assert_int_equal(store_append(s, &(struct ledger_record){0}, 0), ERR_MOVED);
    assert_int_equal(seen, 0); /* nothing was stored */
    ledger_watch(other, NULL, NULL);
    claim_one(s, 1);
    assert_int_equal(seen, 0);
    ledger_close(other);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(a_processed_payment_is_told_and_completed),
        T(a_lease_ends_and_the_user_is_told_again),
        T(again_waits_its_pause),
        T(a_user_reads_the_outcomes_in_their_order),
        T(what_needs_no_message_goes_the_same_way),
        T(only_processed_payments_are_completed),
        T(untold_takes_at_most_max_the_longest_due_first),
        T(a_batch_of_tellings),
        T(every_handle_hears_of_every_commit),
    };
    return cmocka_run_group_tests_name("ledger tell", tests, NULL, NULL);
}
