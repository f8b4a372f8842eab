/* The processor against a ledger and a gateway that do what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fakes.h"
#include "services/processor.h"

#define TIMEOUT_US (30 * US_PER_S)
#define HOUR_US (3600 * US_PER_S)

struct bench {
    struct fake_env env;
    struct fake_ledger ledger;
    struct fake_gateway gateway;
    struct service *processor;
};

static struct bench *B;

static void open_processor(void)
{
    const struct processor_settings settings = {.timeout_us = TIMEOUT_US,
                                                .limits = {.request_max_age_us = 6 * HOUR_US}};

    assert_int_equal(processor_open(&B->processor, &settings, &B->ledger.ledger,
                                    &B->gateway.gateway, B->env.metrics, (struct wake){0}),
                     ERR_OK);
}

static int setup(void **state)
{
    B = test_malloc(sizeof *B);
    fake_env_init(&B->env);
    fake_ledger_init(&B->ledger);
    fake_gateway_init(&B->gateway);
    open_processor();
    *state = B;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    B->processor->ops->close(B->processor);
    assert_true(B->ledger.closed);
    assert_true(B->gateway.closed);
    fake_env_release(&B->env);
    test_free(B);
    return 0;
}

static int64_t step(void)
{
    return service_step(B->processor, &B->env.env);
}

static void live(int64_t us)
{
    int64_t end_us = B->env.boot_us + us;

    for (int i = 0; i < 20000; i++) {
        int64_t next_us = step();
        if (next_us > end_us) {
            fake_env_pass(&B->env, end_us - B->env.boot_us);
            return;
        }
        if (next_us > B->env.boot_us)
            fake_env_pass(&B->env, next_us - B->env.boot_us);
    }
    fail_msg("the processor spins");
}

/* The processing says who it is, and what has to be asked is asked. */
static void start(void)
{
    live(US_PER_S / 2);
    fake_gateway_instance(&B->gateway, "instance-1");
    live(US_PER_S / 2);
    B->gateway.call_count = 0;
}

static const struct fake_call *call(size_t i)
{
    assert_true(i < B->gateway.call_count);
    return &B->gateway.calls[i];
}

static void answer(uint32_t n, enum gateway_result result)
{
    (void)fake_gateway_answer(&B->gateway, GATEWAY_SEND, n, result);
}

static const struct deferral *only_deferral(void)
{
    assert_int_equal(B->ledger.deferral_count, 1);
    B->ledger.deferral_count = 0;
    return &B->ledger.deferrals[0];
}

static void test_nothing_is_claimed_before_the_processing_says_who_it_is(void **state)
{
    (void)state;
    fake_ledger_claim(&B->ledger, 1);
    fake_ledger_due(&B->ledger, 2);
    live(20 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    assert_int_equal(call(0)->verb, GATEWAY_INSTANCE);
    assert_int_equal(B->ledger.claim_calls, 0);
    assert_int_equal(fake_metric(&B->env, "subpay_processing_silent"), 1);
    assert_null(B->processor->ops->unready(B->processor)); /* silent is not unready */

    /* No answer: asked again, with pauses that stay short. */
    struct gateway_answer *a =
        fake_gateway_answer(&B->gateway, GATEWAY_INSTANCE, 0, GATEWAY_NO_ANSWER);
    (void)text_copy(a->note, sizeof a->note, "timed out");
    live(US_PER_S);
    assert_int_equal(B->gateway.call_count, 2);
    assert_int_equal(B->ledger.claim_calls, 0);

    fake_gateway_instance(&B->gateway, "instance-1");
    live(US_PER_S);
    assert_string_equal(B->ledger.last_claim.instance_id, "instance-1");
    assert_int_equal(B->gateway.call_count, 4);
    assert_int_equal(fake_metric(&B->env, "subpay_processing_silent"), 0);
}

static void test_sends_the_stored_bytes_and_settles_the_answer(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    assert_int_equal(call(0)->verb, GATEWAY_SEND);
    assert_string_equal(call(0)->body, "{\"bytes\":1}");
    assert_int_equal(call(0)->money.amount_minor, 39900);
    assert_true(call(0)->send_before_boot_us > B->env.boot_us + 11 * HOUR_US);
    assert_true(call(0)->send_before_boot_us <= B->env.boot_us + 12 * HOUR_US);
    assert_true(B->ledger.last_claim.lease_us == TIMEOUT_US + PROCESSOR_LEASE_SLACK_US);
    assert_true(B->ledger.last_claim.encode == charge_encode_json);
    assert_true(B->ledger.last_claim.limits.request_max_age_us == 6 * HOUR_US);

    answer(1, GATEWAY_SUCCESS);
    (void)step();
    assert_int_equal(B->ledger.fact_count, 1);
    struct uuid id = fake_id(1);
    assert_true(uuid_equal(&B->ledger.facts[0].payment_id, &id));
    assert_int_equal(B->ledger.facts[0].outcome, PAYMENT_ACCEPTED);
    assert_int_equal(B->ledger.facts[0].reason, REASON_NONE);
    assert_int_equal(B->ledger.facts[0].money.amount_minor, 39900);
    assert_string_equal(B->ledger.facts[0].processing_id, "tx-1");
    assert_int_equal(fake_metric(&B->env, "subpay_processing_calls_total{result=\"success\"}"), 1);
}

static void test_declines_errors_and_voids_are_facts(void **state)
{
    (void)state;
    start();
    for (uint32_t n = 1; n <= 3; n++)
        fake_ledger_claim(&B->ledger, n);
    live(2 * US_PER_S);
    answer(1, GATEWAY_DECLINE);
    answer(2, GATEWAY_ERROR);
    fake_gateway_answer(&B->gateway, GATEWAY_SEND, 3, GATEWAY_ERROR)->voided = true;
    (void)step();
    assert_int_equal(B->ledger.settle_calls, 1); /* one batch */
    assert_int_equal(B->ledger.fact_count, 3);
    assert_int_equal(B->ledger.facts[0].outcome, PAYMENT_DECLINE);
    assert_int_equal(B->ledger.facts[0].reason, REASON_NONE);
    assert_int_equal(B->ledger.facts[1].outcome, PAYMENT_ERROR);
    assert_int_equal(B->ledger.facts[1].reason, REASON_REFUSED);
    assert_int_equal(B->ledger.facts[2].outcome, PAYMENT_ERROR);
    assert_int_equal(B->ledger.facts[2].reason, REASON_NOT_ANSWERED);
}

static void no_answer_after(int32_t tries, int64_t retry_after_us, int64_t low_us, int64_t high_us)
{
    fake_ledger_due(&B->ledger, 1)->tries = tries;
    live(2 * US_PER_S);
    struct gateway_answer *a = fake_gateway_answer(&B->gateway, GATEWAY_SEND, 1, GATEWAY_NO_ANSWER);
    a->retry_after_us = retry_after_us;
    (void)text_copy(a->note, sizeof a->note, "HTTP 500");
    (void)step();
    const struct deferral *d = only_deferral();
    assert_true(d->no_answer);
    assert_false(d->ask_only);
    assert_string_equal(d->note, "HTTP 500");
    assert_in_range(d->pause_us, low_us, high_us);
    assert_int_equal(B->ledger.fact_count, 0);
}

static void test_no_answer_is_asked_about_after_growing_pauses(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 20; i++) {
        no_answer_after(0, 0, 800 * US_PER_MS, 1200 * US_PER_MS);
        no_answer_after(1, 0, 1600 * US_PER_MS, 2400 * US_PER_MS);
        no_answer_after(5, 0, 25600 * US_PER_MS, 38400 * US_PER_MS);
        no_answer_after(9, 0, 240 * US_PER_S, 300 * US_PER_S);
        no_answer_after(INT32_MAX, 0, 240 * US_PER_S, 300 * US_PER_S);
        no_answer_after(0, 100 * US_PER_S, 100 * US_PER_S, 100 * US_PER_S);
        no_answer_after(0, HOUR_US, 300 * US_PER_S, 300 * US_PER_S); /* honoured up to 5 min */
    }
}

static void test_a_refused_repeat_is_only_asked_about(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    fake_gateway_answer(&B->gateway, GATEWAY_SEND, 1, GATEWAY_NO_ANSWER)->ask_only = true;
    (void)step();
    assert_true(only_deferral()->ask_only);
    fake_ledger_due(&B->ledger, 1)->ask_only = true;
    live(2 * US_PER_S);
    assert_int_equal(call(1)->verb, GATEWAY_ASK);
}

static enum gateway_verb due_verb(int64_t age_us, bool ask_only)
{
    size_t before = B->gateway.call_count;
    struct attempt *a = fake_ledger_due(&B->ledger, 1);

    a->age_us = age_us;
    a->ask_only = ask_only;
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, before + 1);
    answer(1, GATEWAY_DECLINE);
    (void)step();
    return call(before)->verb;
}

static void test_repeats_before_half_of_the_key_ttl_and_asks_afterwards(void **state)
{
    (void)state;
    start();
    assert_int_equal(due_verb(HOUR_US, false), GATEWAY_SEND);
    assert_string_equal(call(0)->body, "{\"bytes\":1}");
    assert_in_range(call(0)->send_before_boot_us - B->env.boot_us, 11 * HOUR_US - 5 * US_PER_S,
                    11 * HOUR_US);
    assert_int_equal(due_verb(12 * HOUR_US - 10 * US_PER_S, false), GATEWAY_SEND);
    assert_int_equal(due_verb(12 * HOUR_US, false), GATEWAY_ASK);
    assert_int_equal(due_verb(HOUR_US, true), GATEWAY_ASK);
}

static void reopen_with(struct gateway_promises promises)
{
    B->processor->ops->close(B->processor);
    metrics_close(B->env.metrics);
    B->env.metrics = metrics_open();
    B->gateway.promises = promises;
    open_processor();
    start();
}

static void test_a_key_that_is_remembered_for_ever_is_repeated_for_a_day(void **state)
{
    (void)state;
    reopen_with((struct gateway_promises){.key_ttl_us = TIME_NEVER, .ask = true, .voids = true});
    assert_int_equal(due_verb(23 * HOUR_US, false), GATEWAY_SEND);
    assert_int_equal(due_verb(24 * HOUR_US, false), GATEWAY_ASK);
}

static void test_without_a_key_memory_it_is_sent_once(void **state)
{
    (void)state;
    reopen_with((struct gateway_promises){.key_ttl_us = 0, .ask = true});
    fake_ledger_claim(&B->ledger, 7);
    live(2 * US_PER_S);
    assert_int_equal(call(0)->verb, GATEWAY_SEND);
    answer(7, GATEWAY_NO_ANSWER);
    (void)step();
    assert_int_equal(due_verb(US_PER_S, false), GATEWAY_ASK);
}

static void test_what_can_neither_be_repeated_nor_asked_about_waits(void **state)
{
    (void)state;
    reopen_with((struct gateway_promises){.key_ttl_us = US_PER_DAY});
    fake_ledger_due(&B->ledger, 1)->age_us = US_PER_DAY;
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 0);
    assert_int_equal(only_deferral()->pause_us, PROCESSOR_PAUSE_MAX_US);
}

static void test_pending_is_asked_about_every_5_s_for_15_min(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    answer(1, GATEWAY_PENDING);
    (void)step();
    const struct deferral *d = only_deferral();
    assert_int_equal(d->pause_us, 5 * US_PER_S);
    assert_false(d->no_answer); /* so that the pauses start at 1 s when it is over */
    fake_ledger_due(&B->ledger, 1)->age_us = 15 * 60 * US_PER_S;
    live(2 * US_PER_S);
    answer(1, GATEWAY_PENDING);
    (void)step();
    assert_true(only_deferral()->no_answer);

    fake_ledger_claim(&B->ledger, 2)->payment_type = PAYMENT_TYPE_REFUND;
    live(2 * US_PER_S);
    answer(2, GATEWAY_PENDING); /* a refund answered so has no answer */
    (void)step();
    d = only_deferral();
    assert_true(d->no_answer);
    assert_in_range(d->pause_us, 800 * US_PER_MS, 1200 * US_PER_MS);
}

static void test_answers_are_kept_until_the_store_has_them(void **state)
{
    (void)state;
    start();
    for (uint32_t n = 1; n <= 3; n++)
        fake_ledger_claim(&B->ledger, n);
    live(2 * US_PER_S);
    B->ledger.settle_err = B->ledger.defer_err = ERR_NO_SPACE;
    answer(1, GATEWAY_SUCCESS);
    answer(2, GATEWAY_DECLINE);
    answer(3, GATEWAY_NO_ANSWER);
    fake_ledger_claim(&B->ledger, 4);
    size_t claims = B->ledger.claim_calls;
    live(60 * US_PER_S);
    assert_in_range(B->ledger.settle_calls, 5, 40);  /* pauses grow */
    assert_int_equal(B->ledger.claim_calls, claims); /* what is known comes first */
    assert_non_null(strstr(B->processor->ops->unready(B->processor), "store"));
    B->ledger.settle_err = B->ledger.defer_err = ERR_OK;
    live(10 * US_PER_S);
    assert_int_equal(B->ledger.fact_count, 2);
    assert_int_equal(B->ledger.deferral_count, 1);
    assert_int_equal(B->gateway.call_count, 4);
    assert_null(B->processor->ops->unready(B->processor));
}

static void test_one_bad_answer_does_not_hold_up_the_others(void **state)
{
    (void)state;
    start();
    for (uint32_t n = 1; n <= 3; n++) {
        fake_ledger_claim(&B->ledger, n);
        answer(n, GATEWAY_SUCCESS);
    }
    B->ledger.bad = fake_id(2);
    B->gateway.answer_count = 0;
    live(2 * US_PER_S);
    for (uint32_t n = 1; n <= 3; n++)
        answer(n, GATEWAY_SUCCESS);
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.fact_count, 2);
    const struct deferral *d = only_deferral(); /* asked again: the processing still knows */
    struct uuid id = fake_id(2);
    assert_true(uuid_equal(&d->payment_id, &id));
    assert_int_equal(d->pause_us, PROCESSOR_PAUSE_MAX_US);
}

static void test_counts_become_metrics_and_contradictions_alarms(void **state)
{
    (void)state;
    start();
    B->ledger.counts = (struct ledger_counts){
        .undecided = 3, .undecided_oldest_us = 90 * US_PER_S, .needing_decision = 1, .alarms = 2};
    live(3 * US_PER_S);
    assert_int_equal(fake_metric(&B->env, "subpay_payments_undecided"), 3);
    assert_int_equal(fake_metric(&B->env, "subpay_payments_undecided_oldest_seconds"), 90);
    assert_int_equal(fake_metric(&B->env, "subpay_payments_needing_decision"), 1);
    assert_int_equal(fake_metric(&B->env, "subpay_alarms_total"), 2);
    B->ledger.counts.alarms = 3;
    live(3 * US_PER_S);
    assert_int_equal(fake_metric(&B->env, "subpay_alarms_total"), 3);
}

static void test_a_processing_that_is_away_gets_nothing_new(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    answer(1, GATEWAY_NOT_SENT);
    fake_ledger_claim(&B->ledger, 2);
    size_t claims = B->ledger.claim_calls;
    live(30 * US_PER_S);
    assert_int_equal(B->ledger.claim_calls, claims);
    assert_int_equal(call(1)->verb, GATEWAY_INSTANCE);
    assert_int_equal(B->gateway.call_count, 2);
    assert_int_equal(fake_metric(&B->env, "subpay_processing_silent"), 1);
    const struct deferral *d = only_deferral();
    assert_false(d->no_answer); /* nothing was written: no try */
    assert_in_range(d->pause_us, 800 * US_PER_MS, 1200 * US_PER_MS);
    fake_gateway_instance(&B->gateway, "instance-1");
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 3);
}

static void test_another_instance_stops_it_while_something_is_undecided(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    B->ledger.counts.undecided = 1;
    live(2 * US_PER_S);
    answer(1, GATEWAY_NOT_SENT);
    live(US_PER_S);
    fake_gateway_instance(&B->gateway, "instance-2");
    size_t claims = B->ledger.claim_calls;
    fake_ledger_claim(&B->ledger, 2);
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.claim_calls, claims);
    assert_non_null(strstr(B->processor->ops->unready(B->processor), "another instance"));
    B->ledger.counts.undecided = 0;
    for (int i = 0; i < 4; i++) {
        live(5 * US_PER_S);
        fake_gateway_instance(&B->gateway, "instance-2");
    }
    live(2 * US_PER_S);
    assert_null(B->processor->ops->unready(B->processor));
    assert_string_equal(B->ledger.last_claim.instance_id, "instance-2");
}

static void test_never_more_than_the_gateway_can_hold(void **state)
{
    (void)state;
    start();
    for (uint32_t n = 1; n <= 600; n++)
        fake_ledger_claim(&B->ledger, n);
    for (uint32_t n = 1001; n <= 1300; n++)
        fake_ledger_due(&B->ledger, n);
    live(2 * US_PER_S);
    assert_in_range(B->gateway.most_in_flight, 200, GATEWAY_IN_FLIGHT_MAX);
    /* Both kinds of work have room. */
    size_t claimed = 0;
    for (size_t i = 0; i < B->gateway.call_count; i++)
        claimed += B->gateway.calls[i].payment_id.bytes[14] < 1001 / 256;
    assert_true(claimed >= 60);
    assert_true(B->gateway.call_count - claimed >= 60);

    for (size_t answered = 0; B->ledger.fact_count < 900;) {
        for (; answered < B->gateway.call_count; answered++) {
            const struct uuid *id = &B->gateway.calls[answered].payment_id;
            answer((uint32_t)id->bytes[14] << 8 | id->bytes[15], GATEWAY_SUCCESS);
        }
        live(2 * US_PER_S);
    }
    assert_int_equal(B->gateway.call_count, 900);
    assert_true(B->gateway.most_in_flight <= GATEWAY_IN_FLIGHT_MAX);
}

static void test_what_is_in_the_air_is_not_called_twice(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    fake_ledger_due(&B->ledger, 1); /* its lease ran out before the answer came */
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.due_count, 0);
    assert_int_equal(B->gateway.call_count, 1);
}

static void test_a_gateway_that_takes_nothing_defers(void **state)
{
    (void)state;
    start();
    B->gateway.submit_err = ERR_BUSY;
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    const struct deferral *d = only_deferral();
    assert_false(d->no_answer);
    assert_in_range(d->pause_us, 800 * US_PER_MS, 1200 * US_PER_MS);
}

static void test_stored_requests_wake_it(void **state)
{
    (void)state;
    start();
    live(5 * US_PER_S);
    int64_t next_us = step();
    assert_true(next_us > B->env.boot_us);
    fake_ledger_claim(&B->ledger, 1);
    B->ledger.watch(B->ledger.watch_ctx, LEDGER_CHANGE_STORED);
    (void)step(); /* no time has passed */
    assert_int_equal(B->gateway.call_count, 1);
}

static void test_drain_gives_calls_5_s_and_loses_no_late_answer(void **state)
{
    (void)state;
    start();
    for (uint32_t n = 1; n <= 3; n++)
        fake_ledger_claim(&B->ledger, n);
    live(2 * US_PER_S);
    assert_true(B->gateway.call_count == 3);
    B->processor->ops->drain(B->processor);
    fake_ledger_claim(&B->ledger, 4);
    fake_ledger_due(&B->ledger, 5);
    live(3 * US_PER_S);
    assert_false(B->processor->ops->drained(B->processor));
    answer(1, GATEWAY_SUCCESS);
    live(US_PER_S);
    assert_int_equal(B->ledger.fact_count, 1);
    assert_int_equal(B->ledger.deferral_count, 0);
    live(2 * US_PER_S);
    assert_true(B->processor->ops->drained(B->processor));
    assert_int_equal(B->ledger.deferral_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(B->ledger.deferrals[i].pause_us, 0);
        assert_false(B->ledger.deferrals[i].no_answer);
    }
    answer(2, GATEWAY_DECLINE); /* after it was given up */
    answer(3, GATEWAY_NO_ANSWER);
    (void)step();
    assert_int_equal(B->ledger.fact_count, 2);
    assert_int_equal(B->ledger.deferral_count, 2);
    assert_int_equal(B->gateway.call_count, 3);
}

static void test_an_idle_processor_rests(void **state)
{
    (void)state;
    start();
    size_t claims = B->ledger.claim_calls, dues = B->ledger.due_calls;
    live(60 * US_PER_S);
    assert_in_range(B->ledger.claim_calls - claims, 50, 61);
    assert_in_range(B->ledger.due_calls - dues, 50, 61);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_claimed_before_the_processing_says_who_it_is),
        TEST(test_sends_the_stored_bytes_and_settles_the_answer),
        TEST(test_declines_errors_and_voids_are_facts),
        TEST(test_no_answer_is_asked_about_after_growing_pauses),
        TEST(test_a_refused_repeat_is_only_asked_about),
        TEST(test_repeats_before_half_of_the_key_ttl_and_asks_afterwards),
        TEST(test_a_key_that_is_remembered_for_ever_is_repeated_for_a_day),
        TEST(test_without_a_key_memory_it_is_sent_once),
        TEST(test_what_can_neither_be_repeated_nor_asked_about_waits),
        TEST(test_pending_is_asked_about_every_5_s_for_15_min),
        TEST(test_answers_are_kept_until_the_store_has_them),
        TEST(test_one_bad_answer_does_not_hold_up_the_others),
        TEST(test_counts_become_metrics_and_contradictions_alarms),
        TEST(test_a_processing_that_is_away_gets_nothing_new),
        TEST(test_another_instance_stops_it_while_something_is_undecided),
        TEST(test_never_more_than_the_gateway_can_hold),
        TEST(test_what_is_in_the_air_is_not_called_twice),
        TEST(test_a_gateway_that_takes_nothing_defers),
        TEST(test_stored_requests_wake_it),
        TEST(test_drain_gives_calls_5_s_and_loses_no_late_answer),
        TEST(test_an_idle_processor_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
