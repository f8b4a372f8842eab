/* The processor: what is sent, asked about, voided, and what is written down about the answers. */
#include <unistd.h>

#include "processor_bench.h"

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
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, 3, GATEWAY_ERROR)->voided = true;
    (void)step();
    assert_int_equal(B->ledger.settle_calls, 1); /* one batch */
    assert_int_equal(B->ledger.fact_count, 3);
    assert_int_equal(B->ledger.facts[0].outcome, PAYMENT_DECLINE);
    assert_int_equal(B->ledger.facts[0].reason, REASON_NONE);
    assert_int_equal(B->ledger.facts[1].outcome, PAYMENT_ERROR);
    assert_int_equal(B->ledger.facts[1].reason, REASON_REFUSED);
    assert_int_equal(B->ledger.facts[2].outcome, PAYMENT_ERROR);
    assert_true(B->ledger.facts[2].voided); /* the ledger knows why */
    assert_int_equal(B->ledger.facts[2].reason, REASON_NONE);
    assert_false(B->ledger.facts[1].voided);
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
        no_answer_after(0, 0, 500 * US_PER_MS, 1000 * US_PER_MS);
        no_answer_after(1, 0, 1000 * US_PER_MS, 2000 * US_PER_MS);
        no_answer_after(5, 0, 16 * US_PER_S, 32 * US_PER_S);
        no_answer_after(9, 0, 150 * US_PER_S, 300 * US_PER_S);
        no_answer_after(INT32_MAX, 0, 150 * US_PER_S, 300 * US_PER_S);
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
    const struct deferral *d = only_deferral();
    assert_true(d->ask_only);
    assert_true(d->needs_decision); /* at once after 409 and 422 */
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

static void test_repeats_before_half_of_the_key_ttl_and_voids_afterwards(void **state)
{
    (void)state;
    start();
    assert_int_equal(due_verb(HOUR_US, false), GATEWAY_SEND);
    assert_string_equal(call(0)->body, "{\"bytes\":1}");
    assert_in_range(call(0)->send_before_boot_us - B->env.boot_us, 11 * HOUR_US - 5 * US_PER_S,
                    11 * HOUR_US);
    assert_int_equal(due_verb(12 * HOUR_US - 10 * US_PER_S, false), GATEWAY_SEND);
    assert_int_equal(due_verb(12 * HOUR_US, false), GATEWAY_VOID);
    assert_string_equal(call(2)->body, "{\"bytes\":1}"); /* a void is told what it voids */
    assert_int_equal(due_verb(HOUR_US, true), GATEWAY_ASK);
    assert_int_equal(due_verb(12 * HOUR_US, true), GATEWAY_VOID);
}

/* Rule 6: on a clock that counts sleep. The store's clock may be set back. */
static void test_a_clock_that_was_set_back_makes_nothing_young(void **state)
{
    (void)state;
    start();
    struct attempt *a = fake_ledger_due(&B->ledger, 2);
    strcpy(a->boot_id, "simulated");
    B->env.boot_us += 13 * HOUR_US; /* since it was sent; by the store's clock 5 */
    a->sent_boot_us = B->env.boot_us - 13 * HOUR_US;
    a->age_us = 5 * HOUR_US;
    live(2 * US_PER_S);
    assert_int_equal(call(0)->verb, GATEWAY_VOID);
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, 2, GATEWAY_NO_ANSWER);
    (void)step();
    assert_true(only_deferral()->too_old); /* it stays so, whatever clocks say later */

    /* Of another machine, or before this one was started: it is not known how old it is. */
    a = fake_ledger_due(&B->ledger, 3);
    strcpy(a->boot_id, "another");
    a->sent_boot_us = B->env.boot_us; /* that clock says nothing here */
    a->age_us = -2 * US_PER_S;
    live(2 * US_PER_S);
    assert_int_equal(call(1)->verb, GATEWAY_VOID);
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, 3, GATEWAY_NO_ANSWER);
    (void)step();
    const struct deferral *d = only_deferral();
    assert_true(d->too_old);
    assert_false(d->needs_decision); /* that is for what cannot be voided */

    a = fake_ledger_due(&B->ledger, 4);
    a->too_old = true;
    live(2 * US_PER_S);
    assert_int_equal(call(2)->verb, GATEWAY_VOID);
}

static void test_an_age_counts_from_before_the_claim(void **state)
{
    (void)state;
    start();
    struct attempt *a = fake_ledger_claim(&B->ledger, 5);
    strcpy(a->boot_id, "simulated");
    a->sent_boot_us = B->env.boot_us - HOUR_US; /* the store took its time */
    live(2 * US_PER_S);
    assert_int_equal(call(0)->verb, GATEWAY_SEND);
    assert_int_equal(call(0)->send_before_boot_us, a->sent_boot_us + 12 * HOUR_US);
    assert_string_equal(B->ledger.last_claim.boot_id, "simulated");
    assert_true(B->ledger.last_claim.boot_us <= B->env.boot_us);
}

static void test_a_key_that_is_remembered_for_ever_is_repeated_for_a_day(void **state)
{
    (void)state;
    reopen_with((struct promises){.key_ttl_us = TIME_NEVER, .ask = true, .voids = true});
    assert_int_equal(due_verb(23 * HOUR_US, false), GATEWAY_SEND);
    assert_int_equal(due_verb(24 * HOUR_US, false), GATEWAY_VOID);
}

static void test_without_void_it_only_asks_and_needs_a_person(void **state)
{
    (void)state;
    reopen_with((struct promises){.key_ttl_us = US_PER_DAY, .ask = true});
    assert_int_equal(due_verb(12 * HOUR_US, false), GATEWAY_ASK);
    fake_ledger_due(&B->ledger, 1)->age_us = 12 * HOUR_US - 3 * US_PER_S;
    live(2 * US_PER_S);
    assert_int_equal(call(1)->verb, GATEWAY_SEND);
    fake_env_pass(&B->env, 10 * US_PER_S); /* it grows old on its way */
    answer(1, GATEWAY_NO_ANSWER);
    (void)step();
    assert_true(only_deferral()->needs_decision);
}

/* It promised to void, and does not: it is only asked, and people see it. Said once, tried again later. */
static void test_a_processing_that_does_not_void_is_asked(void **state)
{
    (void)state;
    char said[4096] = "";
    int pipes[2];
    start();
    assert_int_equal(pipe(pipes), 0);
    B->env.log.fd = pipes[1];
    B->env.log.level = LOG_WARN;
    for (uint32_t n = 1; n <= 2; n++)
        fake_ledger_due(&B->ledger, n)->age_us = 13 * HOUR_US;
    live(2 * US_PER_S);
    for (uint32_t n = 1; n <= 2; n++) {
        assert_int_equal(call(n - 1)->verb, GATEWAY_VOID);
        struct gateway_answer *a =
            fake_gateway_answer(&B->gateway, GATEWAY_VOID, n, GATEWAY_NO_ANSWER);
        a->no_void = true;
        (void)text_copy(a->note, sizeof a->note, "HTTP 405");
    }
    (void)step();
    assert_int_equal(B->ledger.deferral_count, 2);
    assert_true(B->ledger.deferrals[0].needs_decision && B->ledger.deferrals[1].needs_decision);
    fake_ledger_due(&B->ledger, 3)->age_us = 13 * HOUR_US;
    live(2 * US_PER_S);
    assert_int_equal(call(2)->verb, GATEWAY_ASK);
    live(PROCESSOR_RECONCILE_US);
    fake_ledger_due(&B->ledger, 4)->age_us = 13 * HOUR_US;
    live(2 * US_PER_S);
    assert_int_equal(call(3)->verb, GATEWAY_VOID);
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, 4, GATEWAY_NO_ANSWER)->no_void = true;
    (void)step();
    B->env.log.fd = -1;
    close(pipes[1]);
    assert_true(read(pipes[0], said, sizeof said - 1) > 0);
    close(pipes[0]);
    const char *first = strstr(said, "does not void");
    assert_non_null(first);
    assert_non_null(strstr(said, "HTTP 405"));
    assert_null(strstr(first + 1, "does not void"));
}

static void test_without_a_key_memory_it_is_sent_once(void **state)
{
    (void)state;
    reopen_with((struct promises){.key_ttl_us = 0, .ask = true, .voids = true});
    fake_ledger_claim(&B->ledger, 7);
    live(2 * US_PER_S);
    assert_int_equal(call(0)->verb, GATEWAY_SEND);
    answer(7, GATEWAY_NO_ANSWER);
    (void)step();
    assert_true(only_deferral()->needs_decision);
    assert_int_equal(due_verb(US_PER_S, false), GATEWAY_ASK); /* never voided */
}

static void test_what_can_neither_be_repeated_nor_asked_about_waits(void **state)
{
    (void)state;
    reopen_with((struct promises){.key_ttl_us = US_PER_DAY});
    fake_ledger_due(&B->ledger, 1)->age_us = US_PER_DAY;
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 0);
    const struct deferral *d = only_deferral();
    assert_int_equal(d->pause_us, UNDECIDED_PAUSE_MAX_US);
    assert_true(d->needs_decision);
    assert_false(d->no_answer);
}

static void test_a_day_without_an_answer_needs_a_person(void **state)
{
    (void)state;
    start();
    for (int day = 0; day < 2; day++) {
        fake_ledger_due(&B->ledger, 1)->age_us = day ? US_PER_DAY : 23 * HOUR_US;
        live(2 * US_PER_S);
        assert_int_equal(call((size_t)day)->verb, GATEWAY_VOID);
        (void)fake_gateway_answer(&B->gateway, GATEWAY_VOID, 1, GATEWAY_NO_ANSWER);
        (void)step();
        assert_int_equal(only_deferral()->needs_decision, day);
    }
}

static void test_a_void_may_be_answered_otherwise(void **state)
{
    (void)state;
    start();
    fake_ledger_due(&B->ledger, 1)->age_us = 13 * HOUR_US;
    fake_ledger_due(&B->ledger, 2)->age_us = 13 * HOUR_US;
    live(2 * US_PER_S);
    assert_int_equal(call(0)->verb, GATEWAY_VOID);
    (void)fake_gateway_answer(&B->gateway, GATEWAY_VOID, 1, GATEWAY_SUCCESS);
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, 2, GATEWAY_ERROR)->voided = true;
    (void)step();
    assert_int_equal(B->ledger.fact_count, 2);
    assert_int_equal(B->ledger.facts[0].outcome, PAYMENT_ACCEPTED);
    assert_false(B->ledger.facts[0].voided);
    assert_int_equal(B->ledger.facts[1].outcome, PAYMENT_ERROR);
    assert_true(B->ledger.facts[1].voided);
}

static void test_404_to_a_question_is_no_answer(void **state)
{
    (void)state;
    start();
    struct attempt *a = fake_ledger_due(&B->ledger, 1);
    a->ask_only = true;
    a->needs_decision = true;
    live(2 * US_PER_S);
    fake_gateway_answer(&B->gateway, GATEWAY_ASK, 1, GATEWAY_NO_ANSWER)->unknown_key = true;
    (void)step();
    assert_true(only_deferral()->no_answer);
    assert_int_equal(B->ledger.fact_count, 0);
}

static void pending_answer(uint32_t n, int64_t expires_at_us)
{
    struct gateway_answer *a = fake_gateway_answer(&B->gateway, GATEWAY_SEND, n, GATEWAY_PENDING);
    a->expires_at_us = expires_at_us;
    (void)step();
}

static void test_pending_is_asked_about_every_5_s_for_15_min(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    pending_answer(1, B->env.wall_us + HOUR_US);
    const struct deferral *d = only_deferral();
    assert_true(d->pending);
    assert_string_equal(d->action_url, "http://processing.invalid/pay");
    assert_true(d->expires_at_us > B->env.wall_us);
    assert_int_equal(d->pause_us, 5 * US_PER_S);
    assert_false(d->no_answer); /* so that the pauses start at 1 s when it is over */
    assert_false(d->needs_decision);

    struct attempt *a = fake_ledger_due(&B->ledger, 1);
    a->pending = true;
    a->age_us = HOUR_US;
    a->pending_us = UNDECIDED_PENDING_US - 20 * US_PER_S;
    live(2 * US_PER_S);
    assert_int_equal(call(1)->verb, GATEWAY_ASK); /* the processing knows it: nothing is repeated */
    fake_gateway_answer(&B->gateway, GATEWAY_ASK, 1, GATEWAY_NO_ANSWER)->unknown_key = true;
    (void)step();
    d = only_deferral();
    assert_int_equal(d->pause_us, 5 * US_PER_S);
    assert_false(d->pending); /* nothing new was said */

    *(a = fake_ledger_due(&B->ledger, 1)) = (struct attempt){.seq = 1,
                                                             .payment_id = fake_id(1),
                                                             .user_id = fake_id(9),
                                                             .money = {39900, "RUB"},
                                                             .body = "{}",
                                                             .body_len = 2,
                                                             .age_us = HOUR_US,
                                                             .pending = true,
                                                             .pending_us = UNDECIDED_PENDING_US};
    live(2 * US_PER_S);
    pending_answer(1, TIME_NEVER);
    d = only_deferral();
    assert_true(d->no_answer);
    assert_in_range(d->pause_us, 500 * US_PER_MS, 1000 * US_PER_MS);
}

static void test_a_refund_answered_pending_has_no_answer(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 2)->payment_type = PAYMENT_TYPE_REFUND;
    live(2 * US_PER_S);
    pending_answer(2, TIME_NEVER);
    const struct deferral *d = only_deferral();
    assert_true(d->no_answer);
    assert_false(d->pending);
    assert_string_equal(d->action_url, "");
    assert_in_range(d->pause_us, 500 * US_PER_MS, 1000 * US_PER_MS);
}

static void pending_due(bool expired, bool superseded)
{
    struct attempt *a = fake_ledger_due(&B->ledger, 1);
    a->age_us = 2 * US_PER_DAY;
    a->pending = true;
    a->pending_us = US_PER_DAY;
    a->expired = expired;
    a->superseded = superseded;
    live(2 * US_PER_S);
}

static void test_expired_and_superseded_pages_are_voided(void **state)
{
    (void)state;
    start();
    pending_due(true, false);
    assert_int_equal(call(0)->verb, GATEWAY_VOID);
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, 1, GATEWAY_ERROR)->voided = true;
    pending_due(false, true);
    assert_int_equal(call(1)->verb, GATEWAY_VOID);
    fake_gateway_answer(&B->gateway, GATEWAY_VOID, 1, GATEWAY_ERROR)->voided = true;
    pending_due(false, false);
    assert_int_equal(call(2)->verb, GATEWAY_ASK);
    fake_gateway_answer(&B->gateway, GATEWAY_ASK, 1, GATEWAY_NO_ANSWER)->unknown_key = true;
    (void)step();
    assert_false(only_deferral()->needs_decision); /* never before its expires_at */
    assert_int_equal(B->ledger.fact_count, 2);

    reopen_with((struct promises){.key_ttl_us = US_PER_DAY, .ask = true});
    pending_due(true, false);
    assert_int_equal(call(0)->verb, GATEWAY_ASK);
    pending_answer(1, B->env.wall_us - 1);
    assert_true(only_deferral()->needs_decision);
    pending_due(true, false);
    pending_answer(1, B->env.wall_us + HOUR_US); /* the processing gives it more time */
    assert_false(only_deferral()->needs_decision);
}

static void test_a_late_answer_crosses_its_deferral(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    B->ledger.defer_err = B->ledger.learned_all_err = ERR_NO_SPACE;
    answer(1, GATEWAY_NO_ANSWER);
    (void)step();
    answer(1, GATEWAY_SUCCESS);
    answer(1, GATEWAY_DECLINE); /* what came first stays */
    live(US_PER_S);
    B->ledger.defer_err = B->ledger.learned_all_err = ERR_OK;
    live(10 * US_PER_S);
    assert_int_equal(B->ledger.deferral_count, 0);
    assert_int_equal(B->ledger.fact_count, 1);
    assert_int_equal(B->ledger.facts[0].outcome, PAYMENT_ACCEPTED);
}

static void test_answers_are_kept_until_the_store_has_them(void **state)
{
    (void)state;
    start();
    for (uint32_t n = 1; n <= 3; n++)
        fake_ledger_claim(&B->ledger, n);
    live(2 * US_PER_S);
    B->ledger.settle_err = B->ledger.defer_err = B->ledger.learned_all_err = ERR_NO_SPACE;
    answer(1, GATEWAY_SUCCESS);
    answer(2, GATEWAY_DECLINE);
    answer(3, GATEWAY_NO_ANSWER);
    fake_ledger_claim(&B->ledger, 4);
    size_t claims = B->ledger.claim_calls;
    live(60 * US_PER_S);
    assert_in_range(B->ledger.settle_calls, 5, 40);  /* pauses grow */
    assert_int_equal(B->ledger.claim_calls, claims); /* what is known comes first */
    assert_non_null(strstr(B->processor->ops->unready(B->processor), "store"));
    B->ledger.settle_err = B->ledger.defer_err = B->ledger.learned_all_err = ERR_OK;
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
    assert_int_equal(d->pause_us, UNDECIDED_PAUSE_MAX_US);
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
    size_t claims = B->ledger.claim_calls, asked = B->gateway.instance_calls;
    B->gateway.auto_instance = NULL;
    live(30 * US_PER_S);
    assert_int_equal(B->ledger.claim_calls, claims);
    assert_int_equal(B->gateway.instance_calls, asked + 1);
    assert_int_equal(B->gateway.call_count, 1);
    assert_int_equal(fake_metric(&B->env, "subpay_processing_silent"), 1);
    const struct deferral *d = only_deferral();
    assert_false(d->no_answer); /* nothing was written: no try */
    assert_in_range(d->pause_us, 500 * US_PER_MS, 1000 * US_PER_MS);
    fake_gateway_instance(&B->gateway, "instance-1");
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 2);
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

static void test_never_more_than_it_was_told(void **state)
{
    (void)state;
    B->flights_max = 8;
    reopen();
    for (uint32_t n = 1; n <= 100; n++)
        fake_ledger_claim(&B->ledger, n);
    for (size_t answered = 0; B->ledger.fact_count < 100;) {
        for (; answered < B->gateway.call_count; answered++)
            answer(B->gateway.calls[answered].payment_id.bytes[15], GATEWAY_SUCCESS);
        live(2 * US_PER_S);
    }
    /* A quarter is for questions; two more are the instance and the journal. */
    assert_in_range(B->gateway.most_in_flight, 6, 8);
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
    assert_in_range(d->pause_us, 500 * US_PER_MS, 1000 * US_PER_MS);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sends_the_stored_bytes_and_settles_the_answer),
        TEST(test_declines_errors_and_voids_are_facts),
        TEST(test_no_answer_is_asked_about_after_growing_pauses),
        TEST(test_a_refused_repeat_is_only_asked_about),
        TEST(test_repeats_before_half_of_the_key_ttl_and_voids_afterwards),
        TEST(test_a_clock_that_was_set_back_makes_nothing_young),
        TEST(test_an_age_counts_from_before_the_claim),
        TEST(test_a_key_that_is_remembered_for_ever_is_repeated_for_a_day),
        TEST(test_without_void_it_only_asks_and_needs_a_person),
        TEST(test_a_processing_that_does_not_void_is_asked),
        TEST(test_without_a_key_memory_it_is_sent_once),
        TEST(test_what_can_neither_be_repeated_nor_asked_about_waits),
        TEST(test_a_day_without_an_answer_needs_a_person),
        TEST(test_a_void_may_be_answered_otherwise),
        TEST(test_404_to_a_question_is_no_answer),
        TEST(test_pending_is_asked_about_every_5_s_for_15_min),
        TEST(test_a_refund_answered_pending_has_no_answer),
        TEST(test_expired_and_superseded_pages_are_voided),
        TEST(test_a_late_answer_crosses_its_deferral),
        TEST(test_answers_are_kept_until_the_store_has_them),
        TEST(test_one_bad_answer_does_not_hold_up_the_others),
        TEST(test_counts_become_metrics_and_contradictions_alarms),
        TEST(test_a_processing_that_is_away_gets_nothing_new),
        TEST(test_never_more_than_the_gateway_can_hold),
        TEST(test_never_more_than_it_was_told),
        TEST(test_what_is_in_the_air_is_not_called_twice),
        TEST(test_a_gateway_that_takes_nothing_defers),
        TEST(test_stored_requests_wake_it),
        TEST(test_drain_gives_calls_5_s_and_loses_no_late_answer),
        TEST(test_an_idle_processor_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
