/* Rule 10: a person decides; and what else is told about services and instances. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

#define ACTOR "operator:anna"

static void undecided(struct store *s, int user_n, int payment_n)
{
    append_ok(s, pays(user_n, payment_n));
    claim_one(s, payment_n);
    struct deferral d = deferral_of(payment_n, 0);
    d.needs_decision = true;
    defer_ok(s, d);
}

static enum decision_verdict decide(struct store *s, int payment_n, enum payment_status outcome)
{
    struct ledger_decision d = {
        .payment_id = payment(payment_n),
        .outcome = outcome,
        .evidence = "statement of \"24 Nov\"",
        .actor = ACTOR,
    };
    if (ledger_decide(s->ledger, &d) != ERR_OK)
        fail_msg("decide: %s", ledger_why(s->ledger));
    return d.verdict;
}

static void accepted_opens_a_period(void **state)
{
    struct store *s = *state;
    undecided(s, 1, 1);
    s->changes = 0;
    assert_int_equal(decide(s, 1, PAYMENT_ACCEPTED), DECISION_RECORDED);
    assert_int_equal(s->changes, LEDGER_CHANGE_SETTLED | LEDGER_CHANGE_PAYMENT);
    assert_status(s, 1, "processed/accepted decided");
    assert_string_equal(last_event(s, 1),
                        "operator:anna in_processing>processed accepted {\"reason\":\"decided\","
                        "\"expiration_date\":\"2025-12-24T16:00:00.000000Z\","
                        "\"evidence\":\"statement of \\\"24 Nov\\\"\"}");
    assert_string_equal(
        store_text(s, "SELECT actor FROM events WHERE subject = 'subscription'", NULL), ACTOR);
    assert_int_equal(untold_count(s), 1); /* the user is told as of any other */
    told_ok(s, tell(1));
    assert_status(s, 1, "completed/accepted decided");
}

static void declined_and_failed(void **state)
{
    struct store *s = *state;
    undecided(s, 1, 1);
    undecided(s, 2, 2);
    assert_int_equal(decide(s, 1, PAYMENT_DECLINE), DECISION_RECORDED);
    assert_int_equal(decide(s, 2, PAYMENT_ERROR), DECISION_RECORDED);
    assert_status(s, 1, "processed/decline decided");
    assert_status(s, 2, "processed/error decided");
    assert_int_equal(store_i64(s, "SELECT count(*) FROM subscriptions", NULL), 0);
}

static void only_what_needs_it(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    assert_int_equal(decide(s, 1, PAYMENT_ERROR), DECISION_NOT_NEEDED); /* new */
    claim_one(s, 1);
    assert_int_equal(decide(s, 1, PAYMENT_ERROR), DECISION_NOT_NEEDED); /* not shown yet */
    assert_int_equal(decide(s, 9, PAYMENT_ERROR), DECISION_UNKNOWN);
    struct deferral d = deferral_of(1, 0);
    d.needs_decision = true;
    defer_ok(s, d);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE)); /* the answer came first */
    assert_int_equal(decide(s, 1, PAYMENT_ACCEPTED), DECISION_NOT_NEEDED);
    assert_status(s, 1, "processed/decline");
    undecided(s, 2, 2);
    assert_int_equal(decide(s, 2, PAYMENT_ERROR), DECISION_RECORDED);
    int64_t events = event_count(s, 2);
    assert_int_equal(decide(s, 2, PAYMENT_ERROR), DECISION_NOT_NEEDED); /* twice */
    assert_int_equal(event_count(s, 2), events);
}

static void one_attempt_is_found_by_its_id(void **state)
{
    struct store *s = *state;
    struct arena arena;
    struct attempt *a = NULL;
    struct uuid id = payment(1), nobody = payment(9);
    arena_init(&arena, 65536);
    append_ok(s, pays(1, 1));
    assert_int_equal(ledger_attempt(s->ledger, &id, &arena, &a), ERR_CONFLICT); /* new */
    assert_int_equal(ledger_attempt(s->ledger, &nobody, &arena, &a), ERR_NOT_FOUND);
    claim_one(s, 1); /* and leased */
    assert_int_equal(ledger_attempt(s->ledger, &id, &arena, &a), ERR_OK);
    assert_true(uuid_equal(&a->payment_id, &id));
    assert_true(a->body_len > 0 && a->body[0] == '{');
    assert_int_equal(a->money.amount_minor, 39900);
    assert_false(a->needs_decision);
    struct deferral d = deferral_of(1, 0);
    d.needs_decision = true;
    defer_ok(s, d);
    assert_int_equal(ledger_attempt(s->ledger, &id, &arena, &a), ERR_OK);
    assert_true(a->needs_decision);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    assert_int_equal(ledger_attempt(s->ledger, &id, &arena, &a), ERR_CONFLICT);
    arena_release(&arena);
}

static void what_waited_is_looked_at_as_after_an_answer(void **state)
{
    struct store *s = *state;
    undecided(s, 1, 1);
    struct ledger_record r[] = {pays(1, 2), refunds(1, 3)};
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    assert_int_equal(decide(s, 1, PAYMENT_ACCEPTED), DECISION_RECORDED);
    assert_status(s, 2, "duplicated/unknown ->1");
    claim_one(s, 3);
}

static void a_refund_is_decided_too(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    append_ok(s, refunds(1, 2));
    claim_one(s, 2);
    struct deferral d = deferral_of(2, 0);
    d.needs_decision = true;
    defer_ok(s, d);
    store_advance(s, DAY);
    assert_int_equal(decide(s, 2, PAYMENT_ACCEPTED), DECISION_RECORDED);
    assert_string_equal(
        store_text(s, "SELECT end_reason || ' ' || ends_at FROM subscriptions", NULL),
        "refund 2025-11-25T16:00:00.000000Z");
    append_ok(s, refunds(1, 3));
    claim_none(s);
    assert_status(s, 3, "processed/error nothing_to_refund");
}

static void the_processing_contradicts_a_person(void **state)
{
    struct store *s = *state;
    struct ledger_counts counts;
    undecided(s, 1, 1);
    assert_int_equal(decide(s, 1, PAYMENT_DECLINE), DECISION_RECORDED);
    struct fact f = fact_of(s, 1, PAYMENT_ACCEPTED);
    assert_int_equal(settle_ok(s, f), SETTLE_CONTRADICTS);
    assert_int_equal(settle_ok(s, f), SETTLE_CONTRADICTS);
    assert_status(s, 1, "processed/decline decided");
    assert_int_equal(ledger_counts(s->ledger, &counts), ERR_OK);
    assert_int_equal(counts.alarms, 1); /* once per outcome */
    assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE)), SETTLE_REPEATED);
    struct journal_entry line = line_of(s, 1, 1, LEARN_SUCCESS);
    assert_int_equal(learn_ok(s, line).alarms, 1); /* the journal says the same */
    assert_int_equal(ledger_counts(s->ledger, &counts), ERR_OK);
    assert_int_equal(counts.alarms, 1);
}

static void evidence_of_any_length_is_kept(void **state)
{
    struct store *s = *state;
    char evidence[LEDGER_EVIDENCE_MAX + 1];
    memset(evidence, '\x01', LEDGER_EVIDENCE_MAX); /* six bytes each in JSON */
    evidence[LEDGER_EVIDENCE_MAX] = '\0';
    undecided(s, 1, 1);
    struct ledger_decision d = {.payment_id = payment(1),
                                .outcome = PAYMENT_ERROR,
                                .evidence = evidence,
                                .actor = "admin:aa000000-0000-7000-8000-000000000009"};
    assert_int_equal(ledger_decide(s->ledger, &d), ERR_OK);
    assert_int_equal(d.verdict, DECISION_RECORDED);
    assert_int_equal(store_i64(s,
                               "SELECT length(detail ->> 'evidence') FROM events "
                               "WHERE to_status = 'processed'",
                               NULL),
                     LEDGER_EVIDENCE_MAX);
}

/* ---- instance, heartbeat ---- */

static void the_instance_is_that_of_what_is_undecided(void **state)
{
    struct store *s = *state;
    char id[LEDGER_INSTANCE_MAX + 1] = "x";
    assert_int_equal(ledger_instance(s->ledger, id), ERR_OK);
    assert_string_equal(id, "");
    append_ok(s, pays(1, 1));
    assert_int_equal(ledger_instance(s->ledger, id), ERR_OK);
    assert_string_equal(id, "");
    claim_one(s, 1);
    assert_int_equal(ledger_instance(s->ledger, id), ERR_OK);
    assert_string_equal(id, INSTANCE);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    assert_int_equal(ledger_instance(s->ledger, id), ERR_OK);
    assert_string_equal(id, "");
}

static void a_heartbeat_is_the_last_one(void **state)
{
    struct store *s = *state;
    assert_int_equal(ledger_heartbeat(s->ledger, "processor"), ERR_OK);
    store_advance(s, SECOND);
    assert_int_equal(ledger_heartbeat(s->ledger, "processor"), ERR_OK);
    assert_int_equal(ledger_heartbeat(s->ledger, "saver"), ERR_OK);
    assert_string_equal(store_text(s,
                                   "SELECT group_concat(service || ' ' || at, ',') FROM "
                                   "(SELECT * FROM heartbeats ORDER BY service) x",
                                   NULL),
                        "processor 2025-11-24T16:00:01.000000Z,saver 2025-11-24T16:00:01.000000Z");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(accepted_opens_a_period),
        T(declined_and_failed),
        T(only_what_needs_it),
        T(one_attempt_is_found_by_its_id),
        T(what_waited_is_looked_at_as_after_an_answer),
        T(a_refund_is_decided_too),
        T(the_processing_contradicts_a_person),
        T(evidence_of_any_length_is_kept),
        T(the_instance_is_that_of_what_is_undecided),
        T(a_heartbeat_is_the_last_one),
    };
    return cmocka_run_group_tests_name("ledger_decide", tests, NULL, NULL);
}
