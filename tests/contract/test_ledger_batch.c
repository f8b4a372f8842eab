/* The ledger: the unusual among the ordinary in one call. An engine may work on a whole batch at
 * once; what comes out is what one after the other gives. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#define MANY 2100 /* more than a chunk of any engine */
#define CROWD 20  /* more than is ordinary behind one payment */

static void append_all(struct store *s, struct ledger_record *records, size_t count)
{
    if (store_append(s, records, count) != ERR_OK)
        fail_msg("append: %s", ledger_why(s->ledger));
}

static struct ledger_claimed claim_all(struct store *s)
{
    struct ledger_claim claim = claim_default();
    claim.users_max = LEDGER_CLAIM_MAX;
    return claim_as(s, &claim);
}

static void repeats_and_users_of_one_batch(void **state)
{
    struct store *s = *state;
    struct ledger_record records[] = {
        pays(1, 1), pays(2, 2),    pays(1, 1), /* repeated */
        pays(1, 3), refunds(3, 4), pays(1, 3),
    };
    append_all(s, records, 6);
    assert_int_equal(records[0].verdict, APPEND_STORED);
    assert_int_equal(records[2].verdict, APPEND_REPEATED);
    assert_int_equal(records[3].verdict, APPEND_STORED);
    assert_int_equal(records[5].verdict, APPEND_REPEATED);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM payments", NULL), 4);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM accounts", NULL), 3);
    struct ledger_record more[] = {pays(1, 5), pays(4, 6), pays(9, 1)}; /* another user's id */
    assert_int_equal(store_append(s, more, 3), ERR_REFUSED);
    assert_int_equal(more[2].reject, REJECT_ID_CONFLICT);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM payments", NULL), 4);
    append_all(s, more, 2);
    struct ledger_claimed got = claim_all(s);
    assert_int_equal(got.users, 4);
    assert_int_equal(got.attempt_count, 3);
    assert_int_equal(got.duplicated, 2);
    assert_int_equal(got.closed, 1);
    assert_status(s, 1, "duplicated/unknown ->5");
    assert_status(s, 4, "processed/error nothing_to_refund");
}

static void many_live_in_a_few_calls(void **state)
{
    struct store *s = *state;
    struct ledger_record *records = calloc(MANY, sizeof *records);
    struct fact *facts = calloc(MANY, sizeof *facts);
    struct told *told = calloc(MANY, sizeof *told);
    struct telling *tellings;
    size_t claimed = 0, count;
    assert_true(records && facts && told);
    for (int i = 0; i < MANY; i++)
        records[i] = pays(i + 1, i + 1);
    append_all(s, records, MANY);
    for (struct ledger_claimed got = claim_all(s); got.users; got = claim_all(s))
        for (size_t i = 0; i < got.attempt_count; i++)
            facts[claimed++] = (struct fact){.payment_id = got.attempts[i].payment_id,
                                             .outcome = i % 2 ? PAYMENT_ACCEPTED : PAYMENT_DECLINE,
                                             .money = got.attempts[i].money};
    assert_int_equal(claimed, MANY);
    assert_int_equal(ledger_settle(s->ledger, facts, MANY), ERR_OK);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(facts[i].verdict, SETTLE_DONE);
    assert_int_equal(ledger_untold(s->ledger, MANY, LEASE_US, &s->arena, &tellings, &count),
                     ERR_OK);
    assert_int_equal(count, MANY);
    for (size_t i = 0; i < count; i++)
        told[i] = (struct told){.payment_id = tellings[i].payment_id,
                                .notification = NOTIFICATION_DELIVERED};
    assert_int_equal(ledger_told(s->ledger, told, count), ERR_OK);
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM payments WHERE processing_status = 'completed'", NULL),
        MANY);
    free(told);
    free(facts);
    free(records);
}

/* Payments 1–6 of users 1–6 are in flight. */
static void six_in_flight(struct store *s)
{
    struct ledger_record records[6];
    for (int i = 0; i < 6; i++)
        records[i] = pays(i + 1, i + 1);
    append_all(s, records, 6);
    assert_int_equal(claim_all(s).attempt_count, 6);
}

static void facts_of_all_kinds_in_one_call(void **state)
{
    struct store *s = *state;
    six_in_flight(s);
    settle_ok(s, fact_of(s, 5, PAYMENT_ACCEPTED));
    append_ok(s, refunds(5, 7));
    claim_one(s, 7);
    append_ok(s, pays(2, 8));
    append_ok(s, refunds(2, 9));
    for (int i = 0; i < CROWD; i++)
        append_ok(s, pays(3, 20 + i));
    settle_ok(s, fact_of(s, 6, PAYMENT_ACCEPTED));
    struct fact unknown = fact_of(s, 1, PAYMENT_DECLINE);
    unknown.payment_id = payment(99);
    struct fact facts[] = {
        fact_of(s, 1, PAYMENT_ACCEPTED),
        fact_of(s, 2, PAYMENT_DECLINE),
        fact_of(s, 1, PAYMENT_ACCEPTED), /* again */
        fact_of(s, 3, PAYMENT_ACCEPTED),
        unknown,
        fact_of(s, 7, PAYMENT_ACCEPTED), /* a refund */
        fact_of(s, 6, PAYMENT_DECLINE),  /* contradicts */
        voided_of(s, 4),
        fact_of(s, 9, PAYMENT_DECLINE),
    };
    facts[8].money = facts[0].money; /* of one that is new */
    assert_int_equal(ledger_settle(s->ledger, facts, 9), ERR_OK);
    static const enum settle_verdict EXPECTED[] = {
        SETTLE_DONE, SETTLE_DONE,        SETTLE_REPEATED, SETTLE_DONE,   SETTLE_UNKNOWN,
        SETTLE_DONE, SETTLE_CONTRADICTS, SETTLE_DONE,     SETTLE_UNKNOWN};
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(facts[i].verdict, EXPECTED[i]);
    assert_int_equal(facts[1].waiting_duplicated, 1); /* up to the refund */
    assert_int_equal(facts[3].waiting_duplicated, CROWD);
    assert_int_equal(facts[7].reason, REASON_NOT_ANSWERED);
    assert_status(s, 8, "duplicated/unknown ->2");
    assert_status(s, 9, "new/unknown");
    assert_status(s, 20 + CROWD - 1, "duplicated/unknown ->3");
    assert_status(s, 4, "processed/error not_answered");
    struct ledger_counts counts;
    assert_int_equal(ledger_counts(s->ledger, &counts), ERR_OK);
    assert_int_equal(counts.undecided, 0);
    assert_int_equal(counts.alarms, 1);
}

static void a_crowd_beside_others_is_claimed(void **state)
{
    struct store *s = *state;
    struct ledger_record records[CROWD + 3];
    for (int i = 0; i < CROWD; i++)
        records[i] = pays(1, i + 1);
    records[CROWD] = pays(2, 101);
    records[CROWD + 1] = pays(3, 102);
    records[CROWD + 2] = refunds(3, 103);
    append_all(s, records, CROWD + 3);
    struct ledger_claimed got = claim_all(s);
    assert_int_equal(got.attempt_count, 2);
    assert_int_equal(got.duplicated, CROWD - 1 + 1);
    assert_int_equal(got.closed, 1);
    assert_status(s, 1, "duplicated/unknown ->20");
    assert_status(s, CROWD, "in_processing/unknown");
    assert_status(s, 102, "duplicated/unknown ->103");
    assert_status(s, 103, "processed/error cancelled");
}

static void told_twice_and_again_in_one_call(void **state)
{
    struct store *s = *state;
    struct telling *tellings;
    size_t count;
    six_in_flight(s);
    for (int i = 1; i <= 3; i++)
        settle_ok(s, fact_of(s, i, PAYMENT_DECLINE));
    append_ok(s, pays(1, 11));
    claim_one(s, 11);
    settle_ok(s, fact_of(s, 11, PAYMENT_DECLINE));
    assert_int_equal(ledger_untold(s->ledger, 100, LEASE_US, &s->arena, &tellings, &count), ERR_OK);
    assert_int_equal(count, 3); /* of a user one at a time */
    struct told told[] = {tell(1), tell(2), tell(1), tell(11), tell(3), tell(4), tell(99)};
    told[4].again = true;
    told[4].pause_us = HOUR;
    assert_int_equal(ledger_told(s->ledger, told, 7), ERR_OK);
    assert_status(s, 1, "completed/decline");
    assert_status(s, 2, "completed/decline");
    assert_status(s, 11, "completed/decline");
    assert_status(s, 3, "processed/decline");
    assert_status(s, 4, "in_processing/unknown");
    assert_int_equal(event_count(s, 1), 4);
    assert_int_equal(untold_count(s), 0);
    store_advance(s, HOUR);
    assert_int_equal(untold_count(s), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(repeats_and_users_of_one_batch),   T(many_live_in_a_few_calls),
        T(facts_of_all_kinds_in_one_call),   T(a_crowd_beside_others_is_claimed),
        T(told_twice_and_again_in_one_call),
    };
    return cmocka_run_group_tests_name("ledger batch", tests, NULL, NULL);
}
