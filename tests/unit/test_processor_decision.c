/* A person decides (rule 10), while the processor runs. */
#include "processor_bench.h"

struct reply {
    int count;
    struct decided_outcome outcome;
};

static void replied(void *ctx, uint64_t token, const struct decided_outcome *outcome)
{
    struct reply *r = ctx;

    assert_int_equal(token, 77);
    r->count++;
    r->outcome = *outcome;
}

static enum err decide(struct reply *r, uint32_t n, enum payment_status outcome)
{
    const struct processor_decision decision = {
        .payment_id = fake_id(n),
        .outcome = outcome,
        .evidence = "bank statement 12",
        .actor = "operator:ann",
    };

    return processor_decide(B->processor, &decision, replied, r, 77);
}

static void assert_replied(const struct reply *r, enum decided decided)
{
    assert_int_equal(r->count, 1);
    assert_int_equal(r->outcome.decided, decided);
}

static void voided(uint32_t n, enum gateway_result result, bool is_voided)
{
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, n, result)->voided = is_voided;
    live(US_PER_S);
}

static void test_accepted_is_recorded_without_a_void(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r, 1, PAYMENT_ACCEPTED), ERR_OK);
    assert_int_equal(r.count, 0);
    live(US_PER_S);
    assert_replied(&r, DECIDED);
    assert_int_equal(r.outcome.outcome, PAYMENT_ACCEPTED);
    assert_int_equal(B->ledger.decision_count, 1);
    assert_int_equal(B->ledger.decisions[0].outcome, PAYMENT_ACCEPTED);
    assert_string_equal(B->ledger.evidence, "bank statement 12");
    assert_string_equal(B->ledger.actor, "operator:ann");
    assert_int_equal(B->gateway.call_count, 0);
}

static void test_the_key_is_voided_before_a_decline(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    assert_int_equal(call(0)->verb, GATEWAY_VOID);
    assert_string_equal(call(0)->body, "{\"bytes\":1}");
    assert_int_equal(call(0)->money.amount_minor, 39900);
    assert_int_equal(B->ledger.decision_count, 0);
    voided(1, GATEWAY_ERROR, true);
    assert_replied(&r, DECIDED);
    assert_int_equal(B->ledger.decisions[0].outcome, PAYMENT_DECLINE);
    assert_int_equal(B->ledger.fact_count, 0);
    assert_int_equal(B->gateway.call_count, 1);
}

static void test_what_the_processing_answers_goes_first(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r, 1, PAYMENT_ERROR), ERR_OK);
    live(US_PER_S);
    voided(1, GATEWAY_SUCCESS, false);
    assert_replied(&r, DECIDED_ANSWERED);
    assert_int_equal(r.outcome.outcome, PAYMENT_ACCEPTED);
    assert_int_equal(B->ledger.decision_count, 0);
    assert_int_equal(B->ledger.fact_count, 1);
    assert_int_equal(B->ledger.facts[0].outcome, PAYMENT_ACCEPTED);
    assert_int_equal(B->ledger.facts[0].money.amount_minor, 39900);
    assert_string_equal(B->ledger.facts[0].processing_id, "tx-1");
}

static void test_where_the_processing_does_not_void_the_evidence_is_enough(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    assert_int_equal(call(0)->verb, GATEWAY_VOID);
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, 1, GATEWAY_NO_ANSWER)->no_void = true;
    live(US_PER_S);
    assert_replied(&r, DECIDED);
    assert_int_equal(B->ledger.decision_count, 1);
}

static void test_an_unanswered_void_changes_nothing(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    struct gateway_answer *a = fake_gateway_answer(&B->gateway, GATEWAY_VOID, 1, GATEWAY_NO_ANSWER);
    (void)text_copy(a->note, sizeof a->note, "HTTP 500");
    live(US_PER_S);
    assert_replied(&r, DECIDED_UNANSWERED);
    assert_string_equal(r.outcome.why, "HTTP 500");
    assert_int_equal(B->ledger.decision_count, 0);
    assert_int_equal(B->ledger.fact_count, 0);
    assert_int_equal(B->ledger.deferral_count, 0);
    r = (struct reply){0};
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK); /* he may try again */
    live(US_PER_S);
    voided(1, GATEWAY_ERROR, true);
    assert_replied(&r, DECIDED);
}

static void test_a_processing_that_cannot_void_is_not_asked(void **state)
{
    struct reply r = {0};
    (void)state;
    reopen_with((struct promises){.key_ttl_us = US_PER_DAY, .ask = true});
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED);
    assert_int_equal(B->gateway.call_count, 0);
}

static void test_only_what_needs_a_decision_is_decided(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1)->needs_decision = false;
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_NOT_NEEDED);
    r.count = 0;
    B->ledger.conflicts = fake_id(2); /* new, or settled */
    assert_int_equal(decide(&r, 2, PAYMENT_ACCEPTED), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_NOT_NEEDED);
    r.count = 0;
    assert_int_equal(decide(&r, 3, PAYMENT_ACCEPTED), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_UNKNOWN);
    r.count = 0;
    fake_ledger_known(&B->ledger, 4);
    B->ledger.decision_verdict = DECISION_NOT_NEEDED; /* settled in between by another processor */
    assert_int_equal(decide(&r, 4, PAYMENT_ACCEPTED), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_NOT_NEEDED);
    assert_int_equal(B->gateway.call_count, 0);
}

static void test_a_settled_payment_is_not_decided_after_its_void(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    B->ledger.conflicts = fake_id(1);
    voided(1, GATEWAY_ERROR, true);
    assert_replied(&r, DECIDED_NOT_NEEDED);
    assert_int_equal(B->ledger.decision_count, 0);
}

static void test_nobody_decides_while_the_processing_is_silent(void **state)
{
    struct reply r = {0};
    (void)state;
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r, 1, PAYMENT_ACCEPTED), ERR_OK);
    live(US_PER_S);
    assert_int_equal(r.count, 0); /* the processing is being asked */
    (void)fake_gateway_answer(&B->gateway, GATEWAY_INSTANCE, 0, GATEWAY_NO_ANSWER);
    B->gateway.auto_instance = "instance-1";
    (void)step();
    assert_replied(&r, DECIDED_LATER); /* the journal was not read */
    r.count = 0;
    live(US_PER_S);
    assert_int_equal(decide(&r, 1, PAYMENT_ACCEPTED), ERR_OK);
    (void)fake_gateway_answer(&B->gateway, GATEWAY_JOURNAL, 0, GATEWAY_NO_ANSWER);
    live(US_PER_S);
    assert_replied(&r, DECIDED_LATER);
    fake_gateway_page(&B->gateway, 0, 0);
    start();
    fake_ledger_claim(&B->ledger, 2);
    live(2 * US_PER_S);
    B->gateway.auto_instance = NULL;
    answer(2, GATEWAY_NOT_SENT);
    (void)step();
    r.count = 0;
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_UNANSWERED);
    r.count = 0;
    assert_int_equal(decide(&r, 1, PAYMENT_ACCEPTED), ERR_OK); /* needs no void */
    live(US_PER_S);
    assert_replied(&r, DECIDED);
}

static void test_another_instance_is_not_told_to_void(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    (void)text_copy(B->ledger.instance, sizeof B->ledger.instance, "instance-1");
    B->gateway.auto_instance = "instance-2";
    live(15 * US_PER_S);
    assert_non_null(unready());
    assert_int_equal(decide(&r, 1, PAYMENT_ERROR), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_UNANSWERED);
    assert_int_equal(B->gateway.call_count, 0);
}

/* The processing that was used is gone, with its journal: evidence is all that is left. */
static void test_people_decide_where_only_another_instance_is_left(void **state)
{
    struct reply r = {0};
    (void)state;
    fake_ledger_known(&B->ledger, 1);
    (void)text_copy(B->ledger.instance, sizeof B->ledger.instance, "instance-0");
    B->gateway.auto_instance = "instance-1";
    live(5 * US_PER_S);
    assert_int_equal(decide(&r, 1, PAYMENT_ACCEPTED), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED);
    assert_int_equal(B->gateway.journal_calls, 0);
}

static void test_a_store_that_is_away_refuses(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    B->ledger.decide_err = ERR_NO_SPACE;
    assert_int_equal(decide(&r, 1, PAYMENT_ACCEPTED), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_LATER);
    r.count = 0;
    B->ledger.attempt_err = ERR_UNREACHABLE;
    assert_int_equal(decide(&r, 1, PAYMENT_ACCEPTED), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_LATER);
}

/* The processor voids the same key of its own accord: both hear of it. */
static void test_a_decision_crosses_the_processors_own_void(void **state)
{
    struct reply r = {0};
    (void)state;
    start();
    fake_ledger_due(&B->ledger, 1)->age_us = 13 * HOUR_US;
    fake_ledger_known(&B->ledger, 1);
    live(2 * US_PER_S);
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    assert_int_equal(B->gateway.call_count, 2);
    voided(1, GATEWAY_ERROR, true);
    assert_replied(&r, DECIDED);
    B->ledger.verdict = SETTLE_CONTRADICTS;
    voided(1, GATEWAY_ERROR, true);
    assert_int_equal(B->ledger.fact_count, 1);
    assert_true(B->processor->ops->unready(B->processor) == NULL);
}

static void test_bad_decisions_and_too_many(void **state)
{
    struct reply r = {0}, rs[PROCESSOR_DECISIONS_MAX] = {0};
    struct processor_decision d = {
        .payment_id = fake_id(1), .outcome = PAYMENT_ACCEPTED, .evidence = "x", .actor = "y"};
    (void)state;
    start();
    d.evidence[0] = '\0';
    assert_int_equal(processor_decide(B->processor, &d, replied, &r, 77), ERR_INVALID);
    d.evidence[0] = (char)0xff;
    assert_int_equal(processor_decide(B->processor, &d, replied, &r, 77), ERR_INVALID);
    assert_int_equal(decide(&r, 1, PAYMENT_UNKNOWN), ERR_INVALID);
    for (uint32_t n = 0; n < PROCESSOR_DECISIONS_MAX; n++) {
        fake_ledger_known(&B->ledger, 1 + n);
        assert_int_equal(decide(&rs[n], 1 + n, PAYMENT_DECLINE), ERR_OK);
    }
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_BUSY);
    live(US_PER_S);
    assert_int_equal(B->gateway.call_count, PROCESSOR_DECISIONS_MAX);
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_BUSY);
    voided(3, GATEWAY_ERROR, true);
    assert_replied(&rs[2], DECIDED);
    assert_int_equal(decide(&r, 40, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    assert_replied(&r, DECIDED_UNKNOWN);
    B->processor->ops->drain(B->processor);
    assert_int_equal(decide(&r, 1, PAYMENT_DECLINE), ERR_STOPPED);
    live(US_PER_S);
    assert_false(B->processor->ops->drained(B->processor));
    voided(1, GATEWAY_ERROR, true); /* a shutdown waits for calls under way */
    assert_replied(&rs[0], DECIDED);
    live(6 * US_PER_S);
    assert_true(B->processor->ops->drained(B->processor));
    assert_replied(&rs[1], DECIDED_LATER);
    assert_int_equal(r.count, 1);
}

static void test_the_end_is_told(void **state)
{
    struct reply r[2] = {0};
    (void)state;
    start();
    fake_ledger_known(&B->ledger, 1);
    assert_int_equal(decide(&r[0], 1, PAYMENT_DECLINE), ERR_OK);
    live(US_PER_S);
    assert_int_equal(decide(&r[1], 1, PAYMENT_ACCEPTED), ERR_OK);
    B->processor->ops->drain(B->processor);
    (void)step();
    assert_replied(&r[1], DECIDED_LATER);
    assert_int_equal(r[0].count, 0);
    reopen_with((struct promises){.key_ttl_us = US_PER_DAY, .ask = true});
    assert_replied(&r[0], DECIDED_LATER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_accepted_is_recorded_without_a_void),
        TEST(test_the_key_is_voided_before_a_decline),
        TEST(test_what_the_processing_answers_goes_first),
        TEST(test_where_the_processing_does_not_void_the_evidence_is_enough),
        TEST(test_an_unanswered_void_changes_nothing),
        TEST(test_a_processing_that_cannot_void_is_not_asked),
        TEST(test_only_what_needs_a_decision_is_decided),
        TEST(test_a_settled_payment_is_not_decided_after_its_void),
        TEST(test_nobody_decides_while_the_processing_is_silent),
        TEST(test_another_instance_is_not_told_to_void),
        TEST(test_people_decide_where_only_another_instance_is_left),
        TEST(test_a_store_that_is_away_refuses),
        TEST(test_a_decision_crosses_the_processors_own_void),
        TEST(test_bad_decisions_and_too_many),
        TEST(test_the_end_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
