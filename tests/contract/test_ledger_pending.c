/* Rule 8 through the tables: a payment that waits for its payer, what is stored behind it, how it
 * is voided. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

static void sent(struct store *s, int user_n, int payment_n)
{
    append_ok(s, pays(user_n, payment_n));
    claim_one(s, payment_n);
}

static const struct payment_view *view(struct store *s, int payment_n)
{
    struct uuid id = payment(payment_n);
    struct payment_view *out = NULL;
    assert_int_equal(views_payments(s->views, &id, 1, 1000, &s->arena, &out), ERR_OK);
    assert_non_null(out);
    return out;
}

static int64_t now(struct store *s)
{
    return atomic_load(&s->clock.wall_us);
}

static void the_page_is_kept_and_shown(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    struct deferral d = page_of(1, 5 * SECOND);
    d.expires_at_us = now(s) + 900 * SECOND;
    s->changes = 0;
    defer_ok(s, d);
    assert_int_equal(s->changes, LEDGER_CHANGE_PAYMENT);
    assert_string_equal(view(s, 1)->action_url, PAGE);
    assert_int_equal(due_count(s), 0);
    store_advance(s, 5 * SECOND);
    struct attempt a = due_is(s, 1);
    assert_true(a.pending);
    assert_int_equal(a.pending_us, 5 * SECOND);
    assert_int_equal(a.age_us, 5 * SECOND);
    assert_false(a.expired);
    assert_false(a.superseded);
    assert_false(a.needs_decision);
    assert_int_equal(a.tries, 0);

    d.action_url[0] = '\0'; /* "" and never leave what is stored */
    d.expires_at_us = TIME_NEVER;
    s->changes = 0;
    defer_ok(s, d);
    assert_int_equal(s->changes, 0);
    assert_string_equal(view(s, 1)->action_url, PAGE);
    store_advance(s, 894 * SECOND);
    assert_false(due_is(s, 1).expired);
    store_advance(s, LEASE_US);
    struct attempt late = due_is(s, 1);
    assert_true(late.expired);
    assert_int_equal(late.pending_us, 899 * SECOND + LEASE_US);

    assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_null(view(s, 1)->action_url);
}

static void without_a_time_it_expires_a_day_after_the_first_send(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    store_advance(s, HOUR);
    defer_ok(s, page_of(1, 0));
    store_advance(s, 23 * HOUR - 1);
    assert_false(due_is(s, 1).expired);
    store_advance(s, LEASE_US);
    assert_true(due_is(s, 1).expired);
}

static void a_refund_waits_for_nobody(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    append_ok(s, refunds(1, 2));
    claim_one(s, 2);
    struct deferral d = page_of(2, 0);
    d.no_answer = true;
    defer_ok(s, d);
    assert_null(view(s, 2)->action_url);
    struct attempt a = due_is(s, 2);
    struct uuid target = payment(1);
    assert_false(a.pending);
    assert_true(uuid_equal(&a.refund_of, &target));
    assert_int_equal(a.tries, 1);
}

static void who_needs_a_decision_is_shown(void **state)
{
    struct store *s = *state;
    struct ledger_counts counts;
    sent(s, 1, 1);
    struct deferral d = deferral_of(1, 0);
    d.needs_decision = d.ask_only = true;
    s->changes = 0;
    defer_ok(s, d);
    assert_int_equal(s->changes, LEDGER_CHANGE_PAYMENT);
    assert_true(view(s, 1)->needs_decision);
    assert_int_equal(ledger_counts(s->ledger, &counts), ERR_OK);
    assert_int_equal(counts.needing_decision, 1);
    s->changes = 0;
    defer_ok(s, deferral_of(1, 0)); /* sticks */
    assert_int_equal(s->changes, 0);
    struct attempt a = due_is(s, 1);
    assert_true(a.needs_decision && a.ask_only);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    assert_false(view(s, 1)->needs_decision);
}

/* ---- what waits behind it ---- */

static void the_same_request_becomes_its_duplicate_at_once(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 5 * SECOND));
    s->changes = 0;
    append_ok(s, pays(1, 2));
    assert_int_equal(s->changes, LEDGER_CHANGE_STORED | LEDGER_CHANGE_PAYMENT);
    assert_int_equal(due_count(s), 0);
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.duplicated, 1);
    assert_int_equal(got.attempt_count, 0);
    assert_status(s, 2, "duplicated/unknown ->1");
    assert_string_equal(view(s, 2)->action_url, PAGE);
    assert_int_equal(due_count(s), 0); /* nothing to void */
    assert_int_equal(claim_ok(s).duplicated, 0);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    assert_null(view(s, 2)->action_url);
    claim_none(s);
}

static void what_waited_when_the_page_came_is_looked_at(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    append_ok(s, pays(1, 2));
    assert_int_equal(claim_ok(s).duplicated, 0); /* not pending: it waits (rule 2) */
    s->changes = 0;
    defer_ok(s, page_of(1, 5 * SECOND));
    assert_true(s->changes & LEDGER_CHANGE_STORED);
    assert_int_equal(claim_ok(s).duplicated, 1);
    assert_status(s, 2, "duplicated/unknown ->1");
}

static void another_request_has_it_voided(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 300 * SECOND));
    struct ledger_record r[] = {pays(1, 2), asks(1, 3, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR),
                                pays(1, 4)};
    assert_int_equal(store_append(s, r, 3), ERR_OK);
    assert_int_equal(due_count(s), 0);
    s->changes = 0;
    assert_int_equal(claim_ok(s).duplicated, 1);
    assert_true(s->changes & LEDGER_CHANGE_STORED);
    assert_status(s, 2, "duplicated/unknown ->1");
    assert_status(s, 3, "new/unknown");
    struct attempt a = due_is(s, 1);
    assert_true(a.superseded);

    struct fact f = settled_ok(s, voided_of(s, 1));
    assert_int_equal(f.reason, REASON_SUPERSEDED);
    assert_int_equal(f.waiting_duplicated, 0);
    assert_status(s, 1, "processed/error superseded");
    claim_one(s, 4); /* the newer ones by rule 1 */
    assert_status(s, 3, "duplicated/unknown ->4");
    assert_int_equal(settle_ok(s, voided_of(s, 1)), SETTLE_REPEATED);
}

static void a_refund_behind_it_has_it_voided_too(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 0));
    append_ok(s, refunds(1, 2));
    (void)claim_ok(s);
    assert_true(due_is(s, 1).superseded);
    assert_int_equal(settled_ok(s, voided_of(s, 1)).reason, REASON_SUPERSEDED);
    claim_none(s);
    assert_status(s, 2, "processed/error nothing_to_refund");
}

static void a_void_that_is_answered_otherwise_is_recorded_so(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 0));
    append_ok(s, asks(1, 2, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR));
    (void)claim_ok(s);
    struct fact f = settled_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED));
    assert_int_equal(f.reason, REASON_NONE);
    assert_int_equal(f.waiting_duplicated, 1); /* rule 2 */
    assert_status(s, 1, "processed/accepted");
    assert_status(s, 2, "duplicated/unknown ->1");
}

static void nobody_looked_before_it_was_voided(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 0));
    struct ledger_record r[] = {pays(1, 2), refunds(1, 3)};
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    struct fact f = settled_ok(s, voided_of(s, 1));
    assert_int_equal(f.reason, REASON_SUPERSEDED);
    assert_status(s, 2, "duplicated/unknown ->1");
    claim_none(s);
    assert_status(s, 3, "processed/error nothing_to_refund");
}

static void why_it_was_voided_is_found_out(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    assert_int_equal(settled_ok(s, voided_of(s, 1)).reason, REASON_NOT_ANSWERED);
    assert_status(s, 1, "processed/error not_answered");
    sent(s, 2, 2);
    struct deferral d = page_of(2, 0);
    d.expires_at_us = now(s) + SECOND;
    defer_ok(s, d);
    append_ok(s, pays(2, 3)); /* its duplicate: that supersedes nothing */
    store_advance(s, SECOND);
    struct fact f = settled_ok(s, voided_of(s, 2));
    assert_int_equal(f.reason, REASON_EXPIRED);
    assert_int_equal(f.waiting_duplicated, 1);
    assert_status(s, 2, "processed/error expired");
    assert_string_equal(last_event(s, 2),
                        "processor in_processing>processed error {\"reason\":\"expired\"}");
}

static void a_deferral_does_not_hide_that_it_is_to_be_voided(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 0));
    (void)due_is(s, 1); /* asked */
    append_ok(s, refunds(1, 2));
    (void)claim_ok(s);
    defer_ok(s, page_of(1, 300 * SECOND)); /* the answer to that question */
    assert_true(due_is(s, 1).superseded);
    defer_ok(
        s, page_of(1, 300 * SECOND)); /* and then at its pace: it may be that it cannot be voided */
    assert_int_equal(due_count(s), 0);
}

static void many_behind_it_are_all_its_duplicates(void **state)
{
    struct store *s = *state;
    enum { MANY = 700 };
    static struct ledger_record r[MANY + 1];
    sent(s, 1, 1);
    for (int i = 0; i < MANY; i++)
        r[i] = pays(1, 10 + i);
    r[MANY] = refunds(1, 5000);
    assert_int_equal(store_append(s, r, MANY), ERR_OK);
    defer_ok(s, page_of(1, 300 * SECOND));
    assert_int_equal(claim_ok(s).duplicated, MANY);
    assert_int_equal(due_count(s), 0);
    assert_int_equal(store_append(s, &r[MANY], 1), ERR_OK);
    assert_int_equal(claim_ok(s).duplicated, 0);
    assert_true(due_is(s, 1).superseded);
}

static void what_is_settled_before_the_claim_looks_is_left_alone(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 0));
    append_ok(s, pays(1, 2));
    assert_int_equal(settled_ok(s, fact_of(s, 1, PAYMENT_DECLINE)).waiting_duplicated, 1);
    append_ok(s, pays(1, 3));
    claim_one(s, 3);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM paged", NULL), 0);
}

static void damage_behind_a_page_does_not_stop_the_others(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 0));
    append_ok(s, pays(1, 2));
    append_ok(s, pays(2, 3));
    store_sql(s, "UPDATE payments SET currency = 'none' WHERE seq < 3");
    claim_one(s, 3);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM events WHERE to_status IS NULL", NULL), 1);
    store_sql(s, "UPDATE payments SET currency = 'RUB'");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(the_page_is_kept_and_shown),
        T(without_a_time_it_expires_a_day_after_the_first_send),
        T(a_refund_waits_for_nobody),
        T(who_needs_a_decision_is_shown),
        T(the_same_request_becomes_its_duplicate_at_once),
        T(what_waited_when_the_page_came_is_looked_at),
        T(another_request_has_it_voided),
        T(a_refund_behind_it_has_it_voided_too),
        T(a_void_that_is_answered_otherwise_is_recorded_so),
        T(nobody_looked_before_it_was_voided),
        T(why_it_was_voided_is_found_out),
        T(a_deferral_does_not_hide_that_it_is_to_be_voided),
        T(many_behind_it_are_all_its_duplicates),
        T(what_is_settled_before_the_claim_looks_is_left_alone),
        T(damage_behind_a_page_does_not_stop_the_others),
    };
    return cmocka_run_group_tests_name("ledger_pending", tests, NULL, NULL);
}
