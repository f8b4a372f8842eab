/* The processor and who the processing is (contract section 4), and what its journal says (rule 11). */
#include "processor_bench.h"

/* ---- before anything is claimed ---- */

static void test_nothing_is_claimed_before_the_processing_says_who_it_is(void **state)
{
    (void)state;
    fake_ledger_claim(&B->ledger, 1);
    fake_ledger_due(&B->ledger, 2);
    live(20 * US_PER_S);
    assert_int_equal(B->gateway.instance_calls, 1);
    assert_int_equal(B->gateway.call_count, 0);
    assert_int_equal(B->ledger.claim_calls, 0);
    assert_int_equal(fake_metric(&B->env, "subpay_processing_silent"), 1);
    assert_int_equal(waits("silent"), 1);
    assert_null(unready()); /* silent is not unready */

    /* No answer: asked again, with pauses that stay short. */
    struct gateway_answer *a =
        fake_gateway_answer(&B->gateway, GATEWAY_INSTANCE, 0, GATEWAY_NO_ANSWER);
    (void)text_copy(a->note, sizeof a->note, "timed out");
    live(US_PER_S);
    assert_int_equal(B->gateway.instance_calls, 2);
    assert_int_equal(B->ledger.claim_calls, 0);

    fake_gateway_instance(&B->gateway, "instance-1");
    B->gateway.auto_journal = true;
    live(US_PER_S);
    assert_string_equal(B->ledger.last_claim.instance_id, "instance-1");
    assert_int_equal(B->gateway.call_count, 2);
    assert_int_equal(fake_metric(&B->env, "subpay_processing_silent"), 0);
    assert_int_equal(waits("silent"), 0);
}

static void assert_nothing_is_sent(void)
{
    assert_int_equal(B->ledger.claim_calls, 0);
    assert_int_equal(B->gateway.call_count, 0);
}

static void test_the_journal_is_read_before_anything_is_sent(void **state)
{
    (void)state;
    B->gateway.auto_instance = "instance-1";
    B->ledger.journal_position = 40;
    fake_ledger_claim(&B->ledger, 1);
    fake_ledger_due(&B->ledger, 2);
    live(5 * US_PER_S);
    assert_int_equal(B->gateway.journal_calls, 1);
    assert_int_equal(B->gateway.journal_after, 40);
    assert_int_equal(waits("journal"), 1);
    assert_null(unready());
    assert_nothing_is_sent();

    fake_gateway_page(&B->gateway, 41, 600);
    live(5 * US_PER_S);
    assert_int_equal(B->ledger.learned_count, 600);
    assert_int_equal(B->ledger.learned[599], 640);
    assert_true(B->ledger.longest_learn < 600); /* others want to write too */
    assert_int_equal(B->gateway.journal_calls, 2);
    assert_int_equal(B->gateway.journal_after, 640);
    assert_int_equal(B->ledger.learned_all_calls, 0);
    assert_nothing_is_sent();

    fake_gateway_page(&B->gateway, 641, 1);
    live(US_PER_S);
    assert_int_equal(B->gateway.journal_after, 641);
    assert_nothing_is_sent();
    fake_gateway_page(&B->gateway, 0, 0);
    live(US_PER_S);
    assert_int_equal(B->ledger.learned_all_calls, 1);
    assert_int_equal(B->gateway.call_count, 2);
    assert_int_equal(waits("journal"), 0);
}

static void test_a_reading_that_died_is_told_complete(void **state)
{
    (void)state;
    start(); /* no line is new: they were taken before the process died */
    assert_int_equal(B->ledger.learn_calls, 0);
    assert_int_equal(B->ledger.learned_all_calls, 1);
}

static void test_a_journal_that_does_not_answer_is_asked_again(void **state)
{
    (void)state;
    B->gateway.auto_instance = "instance-1";
    fake_ledger_claim(&B->ledger, 1);
    live(US_PER_S);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(B->gateway.journal_calls, 1 + i);
        (void)fake_gateway_answer(&B->gateway, GATEWAY_JOURNAL, 0, GATEWAY_NO_ANSWER);
        live(5 * US_PER_S);
        assert_int_equal(waits("silent"), 1);
        assert_null(unready());
        assert_nothing_is_sent();
    }
    fake_gateway_page(&B->gateway, 0, 0);
    live(US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    assert_int_equal(waits("silent"), 0);
}

/* Beside processors that never pause there is no empty page. */
static void test_a_reading_ends_where_it_has_caught_up(void **state)
{
    (void)state;
    B->gateway.auto_instance = "instance-1";
    B->ledger.event_seq = 70;
    B->ledger.caught_up_at = 513;
    fake_ledger_claim(&B->ledger, 1);
    live(US_PER_S);
    fake_gateway_page(&B->gateway, 1, 600);
    live(5 * US_PER_S);
    assert_int_equal(B->ledger.began, 70);
    assert_int_equal(B->ledger.learned_count, 512); /* the rest is for the next reading */
    assert_int_equal(B->ledger.learned_all_calls, 1);
    assert_int_equal(B->gateway.journal_calls, 1);
    assert_int_equal(B->gateway.call_count, 1);
    assert_int_equal(waits("journal"), 0);
}

static void test_many_answers_bring_the_next_reading(void **state)
{
    (void)state;
    start();
    size_t before = B->gateway.journal_calls;
    for (uint32_t n = 1; n <= RECONCILE_CALLS; n++) {
        assert_int_equal(B->gateway.journal_calls, before);
        fake_ledger_claim(&B->ledger, n);
        live(2 * US_PER_S);
        answer(n, GATEWAY_SUCCESS);
        live(2 * US_PER_S);
    }
    assert_int_equal(B->gateway.journal_calls, before + 1);
    live(60 * US_PER_S);
    assert_int_equal(B->gateway.journal_calls, before + 1);
}

/* Whose payment it is is not known, so nothing is sent; the log and the metrics say where it is. */
static void test_a_line_that_cannot_be_understood_is_shown(void **state)
{
    (void)state;
    B->gateway.auto_instance = "instance-1";
    B->ledger.journal_position = 40;
    fake_ledger_claim(&B->ledger, 1);
    live(US_PER_S);
    struct gateway_answer *a =
        fake_gateway_answer(&B->gateway, GATEWAY_JOURNAL, 0, GATEWAY_NO_ANSWER);
    a->bad_line = true;
    (void)text_copy(a->note, sizeof a->note, "journal line 43: request.user_id");
    live(2 * US_PER_S);
    assert_int_equal(waits("journal_line"), 1);
    assert_int_equal(waits("silent"), 0);
    assert_int_equal(fake_metric(&B->env, "subpay_journal_unreadable_from"), 41);
    assert_nothing_is_sent();
    B->gateway.auto_journal = true; /* it was put right */
    fake_gateway_page(&B->gateway, 41, 2);
    live(10 * US_PER_S);
    assert_int_equal(fake_metric(&B->env, "subpay_journal_unreadable_from"), 0);
    assert_int_equal(B->gateway.call_count, 1);
}

static void test_a_processing_without_a_journal_is_used(void **state)
{
    (void)state;
    B->gateway.auto_instance = "";
    fake_ledger_claim(&B->ledger, 1);
    live(US_PER_S);
    (void)fake_gateway_answer(&B->gateway, GATEWAY_JOURNAL, 0, GATEWAY_NO_JOURNAL);
    live(US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    assert_string_equal(B->ledger.last_claim.instance_id, "");
}

static void test_another_reader_moves_the_position(void **state)
{
    (void)state;
    B->gateway.auto_instance = "instance-1";
    B->ledger.learn_moved = 7;
    live(US_PER_S);
    fake_gateway_page(&B->gateway, 1, 5);
    live(US_PER_S);
    assert_int_equal(B->ledger.learned_count, 0);
    assert_int_equal(B->gateway.journal_after, 7);
    fake_gateway_page(&B->gateway, 8, 1);
    live(US_PER_S);
    assert_int_equal(B->ledger.learned_count, 1);
    assert_int_equal(B->gateway.journal_after, 8);
}

static void test_a_page_is_kept_until_the_store_has_it(void **state)
{
    (void)state;
    B->gateway.auto_instance = "instance-1";
    live(US_PER_S);
    B->ledger.learn_err = ERR_NO_SPACE;
    fake_gateway_page(&B->gateway, 1, 3);
    live(30 * US_PER_S);
    assert_in_range(B->ledger.learn_calls, 5, 20);
    assert_non_null(strstr(unready(), "store"));
    B->ledger.learn_err = ERR_CORRUPT; /* no way to go on without it */
    live(30 * US_PER_S);
    assert_nothing_is_sent();
    B->ledger.learn_err = ERR_OK;
    B->gateway.auto_journal = true;
    live(20 * US_PER_S);
    assert_int_equal(B->ledger.learned_count, 3);
    assert_true(B->ledger.claim_calls > 0);
    assert_null(unready());
}

/* ---- books that were rewound ---- */

static void test_rewound_books_wait_and_read_again(void **state)
{
    (void)state;
    B->gateway.auto_instance = "instance-1";
    fake_ledger_claim(&B->ledger, 1);
    live(US_PER_S);
    B->ledger.learn_rewound = true;
    fake_gateway_page(&B->gateway, 1, 3);
    live(US_PER_S);
    fake_gateway_page(&B->gateway, 0, 0);
    live(TIMEOUT_US - 3 * US_PER_S);
    assert_int_equal(B->ledger.learned_all_calls, 1);
    assert_int_equal(B->gateway.journal_calls, 2);
    assert_int_equal(waits("rewound"), 1);
    assert_nothing_is_sent();
    live(4 * US_PER_S);
    assert_int_equal(B->gateway.journal_calls, 3);
    assert_int_equal(B->gateway.journal_after, 3);

    B->ledger.learn_rewound = true; /* what was on its way has arrived */
    fake_gateway_page(&B->gateway, 4, 1);
    live(US_PER_S);
    fake_gateway_page(&B->gateway, 0, 0);
    live(TIMEOUT_US + US_PER_S);
    assert_int_equal(B->ledger.learned_all_calls, 2);
    assert_int_equal(B->gateway.journal_calls, 5);
    assert_nothing_is_sent();
    fake_gateway_page(&B->gateway, 0, 0);
    live(US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    assert_int_equal(waits("rewound"), 0);
}

static void test_a_process_that_finds_rewound_books_waits_too(void **state)
{
    (void)state;
    B->ledger.mark = fake_id(77); /* another one has seen it, and died */
    B->gateway.auto_instance = "instance-1";
    B->gateway.auto_journal = true;
    fake_ledger_claim(&B->ledger, 1);
    live(TIMEOUT_US - US_PER_S);
    assert_int_equal(waits("rewound"), 1);
    assert_int_equal(B->ledger.learned_all_calls, 1);
    assert_nothing_is_sent();
    live(3 * US_PER_S);
    assert_int_equal(B->ledger.learned_all_calls, 2);
    assert_true(uuid_is_nil(&B->ledger.mark));
    assert_int_equal(B->gateway.call_count, 1);
}

static void test_a_processor_stops_when_another_one_sees_that_the_books_are_rewound(void **state)
{
    (void)state;
    start();
    fake_ledger_due(&B->ledger, 1)->rewound = true;
    live(2 * US_PER_S);
    assert_int_equal(call(0)->verb, GATEWAY_ASK);
    B->ledger.mark = fake_id(77);
    fake_ledger_claim(&B->ledger, 2);
    live(2 * US_PER_S);
    assert_int_equal(waits("rewound"), 1);
    size_t claims = B->ledger.claim_calls;
    live(TIMEOUT_US - 4 * US_PER_S);
    assert_int_equal(B->ledger.claim_calls, claims);
    B->ledger.mark = fake_id(78); /* and once more, while this one waits */
    live(5 * US_PER_S);
    assert_int_equal(waits("rewound"), 1);
    assert_int_equal(B->ledger.claim_calls, claims);
    live(TIMEOUT_US + US_PER_S);
    assert_int_equal(B->gateway.call_count, 2);
    assert_int_equal(call(1)->verb, GATEWAY_SEND);
}

static void test_answers_wait_while_the_books_are_rewound(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    B->gateway.auto_journal = false;
    live(PROCESSOR_RECONCILE_US);
    B->ledger.learn_rewound = true;
    fake_gateway_page(&B->gateway, 1, 1);
    live(US_PER_S);
    size_t claims = B->ledger.claim_calls;
    answer(1, GATEWAY_SUCCESS);
    fake_ledger_claim(&B->ledger, 2);
    fake_gateway_page(&B->gateway, 0, 0);
    live(TIMEOUT_US + 2 * US_PER_S);
    assert_int_equal(B->ledger.settle_calls, 0);
    assert_int_equal(B->ledger.claim_calls, claims);
    fake_gateway_page(&B->gateway, 0, 0);
    live(US_PER_S);
    assert_int_equal(B->ledger.fact_count, 1);
    assert_int_equal(B->gateway.call_count, 2);
}

static void test_a_shutdown_does_not_wait_for_rewound_books(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    B->gateway.auto_journal = false;
    B->ledger.verdict = SETTLE_UNKNOWN;
    answer(1, GATEWAY_SUCCESS);
    (void)step();
    fake_ledger_claim(&B->ledger, 2);
    live(2 * US_PER_S);
    answer(2, GATEWAY_SUCCESS);
    (void)step();
    B->processor->ops->drain(B->processor);
    live(6 * US_PER_S);
    assert_true(B->processor->ops->drained(B->processor));
}

static void test_an_answer_about_an_unknown_payment_shows_it_too(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    size_t read = B->gateway.journal_calls;
    B->gateway.auto_journal = false;
    B->ledger.verdict = SETTLE_UNKNOWN;
    answer(1, GATEWAY_SUCCESS);
    (void)step();
    fake_ledger_claim(&B->ledger, 2);
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.journal_calls, read + 1);
    assert_int_equal(B->gateway.call_count, 1);
    fake_gateway_page(&B->gateway, 0, 0);
    live(US_PER_S);
    assert_int_equal(B->gateway.call_count, 2);
}

/* ---- again and again ---- */

static void test_the_journal_is_read_every_ten_minutes(void **state)
{
    (void)state;
    start();
    size_t read = B->gateway.journal_calls;
    live(PROCESSOR_RECONCILE_US - 10 * US_PER_S);
    assert_int_equal(B->gateway.journal_calls, read);
    live(20 * US_PER_S);
    assert_int_equal(B->gateway.journal_calls, read + 1);
    assert_int_equal(B->ledger.learned_all_calls, 1); /* nothing was new */
    live(10 * PROCESSOR_RECONCILE_US);
    assert_in_range(B->gateway.journal_calls, read + 10, read + 11);

    B->gateway.auto_journal = false; /* meanwhile others are paid */
    live(PROCESSOR_RECONCILE_US);
    fake_ledger_claim(&B->ledger, 1);
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    fake_gateway_page(&B->gateway, 1, 2);
    live(US_PER_S);
    fake_ledger_claim(&B->ledger, 2);
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 2);
    fake_gateway_page(&B->gateway, 0, 0);
    live(US_PER_S);
    assert_int_equal(B->ledger.learned_all_calls, 2);
}

static void test_a_store_that_was_away_is_compared_first(void **state)
{
    (void)state;
    start();
    size_t read = B->gateway.journal_calls;
    B->gateway.auto_journal = false;
    B->ledger.claim_err = ERR_UNREACHABLE;
    live(20 * US_PER_S);
    assert_non_null(strstr(unready(), "store"));
    B->ledger.claim_err = ERR_OK;
    fake_ledger_claim(&B->ledger, 1);
    size_t claims = B->ledger.claim_calls;
    live(10 * US_PER_S);
    assert_int_equal(B->gateway.journal_calls, read + 1);
    assert_int_equal(B->ledger.claim_calls, claims);
    fake_gateway_page(&B->gateway, 0, 0);
    live(US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    assert_null(unready());

    B->ledger.claim_err = ERR_BUSY; /* a moment is no reason */
    live(US_PER_S);
    B->ledger.claim_err = ERR_OK;
    live(3 * US_PER_S);
    assert_int_equal(B->gateway.journal_calls, read + 1);
}

/* ---- another instance ---- */

static void test_another_instance_at_the_start_stops_it(void **state)
{
    (void)state;
    (void)text_copy(B->ledger.instance, sizeof B->ledger.instance, "instance-0");
    B->gateway.auto_instance = "instance-1";
    B->gateway.auto_journal = true;
    fake_ledger_claim(&B->ledger, 1);
    fake_ledger_due(&B->ledger, 2);
    live(60 * US_PER_S);
    assert_nothing_is_sent();
    assert_int_equal(B->gateway.journal_calls, 0);
    assert_non_null(strstr(unready(), "another instance"));
    assert_int_equal(waits("instance"), 1);
    assert_in_range(B->gateway.instance_calls, 10, 30); /* asked again and again */

    B->ledger.counts.undecided = 1; /* the way out: people decide */
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.deferral_count, 1);
    assert_false(B->ledger.deferrals[0].needs_decision);

    B->gateway.auto_instance = "instance-0";
    fake_ledger_due(&B->ledger, 2);
    live(10 * US_PER_S);
    assert_null(unready());
    assert_int_equal(B->gateway.call_count, 2);
}

static void test_a_processing_that_was_replaced_gets_no_repeat(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(5 * US_PER_S);
    (void)text_copy(B->ledger.instance, sizeof B->ledger.instance, "instance-1");
    B->gateway.auto_instance = "instance-2";
    answer(1, GATEWAY_NO_ANSWER); /* the connection broke when it was replaced */
    (void)step();
    fake_ledger_due(&B->ledger, 1);
    size_t claims = B->ledger.claim_calls;
    live(20 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    assert_true(B->ledger.claim_calls <= claims + 1);
    assert_non_null(strstr(unready(), "another instance"));

    B->ledger.instance[0] = '\0'; /* a person has decided it */
    size_t read = B->gateway.journal_calls;
    B->ledger.due_count = 0;
    fake_ledger_claim(&B->ledger, 2);
    live(10 * US_PER_S);
    assert_null(unready());
    assert_int_equal(B->gateway.journal_calls, read + 1); /* its journal is another one */
    assert_string_equal(B->ledger.last_claim.instance_id, "instance-2");
    assert_int_equal(B->gateway.call_count, 2);
}

/* It was away; meanwhile another one was there, and another processor sent to that. */
static void test_a_former_instance_is_looked_up_in_the_books(void **state)
{
    (void)state;
    start();
    B->gateway.auto_instance = NULL;
    live(120 * US_PER_S);
    assert_int_equal(waits("silent"), 1);
    (void)text_copy(B->ledger.instance, sizeof B->ledger.instance, "instance-2");
    B->gateway.auto_instance = "instance-1";
    fake_gateway_instance(&B->gateway, "instance-1");
    fake_ledger_claim(&B->ledger, 1);
    fake_ledger_due(&B->ledger, 2);
    live(60 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 0);
    assert_non_null(strstr(unready(), "another instance"));
}

static void test_repeats_wait_until_it_says_who_it_is(void **state)
{
    (void)state;
    start();
    fake_ledger_claim(&B->ledger, 1);
    live(5 * US_PER_S);
    B->gateway.auto_instance = NULL;
    answer(1, GATEWAY_NO_ANSWER);
    (void)step();
    fake_ledger_due(&B->ledger, 1);
    fake_ledger_claim(&B->ledger, 2); /* one call without an answer does not stop the others */
    live(5 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 2);
    fake_gateway_instance(&B->gateway, "instance-1");
    live(2 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 3);
}

static void test_a_processing_that_stops_saying_who_it_is_is_silent(void **state)
{
    (void)state;
    start();
    B->gateway.auto_instance = NULL;
    live(60 * US_PER_S);
    size_t claims = B->ledger.claim_calls;
    live(60 * US_PER_S);
    assert_in_range(B->ledger.claim_calls, claims, claims + 20);
    assert_int_equal(waits("silent"), 1);
    fake_gateway_instance(&B->gateway, "instance-1");
    B->gateway.auto_instance = "instance-1";
    live(10 * US_PER_S);
    assert_int_equal(waits("silent"), 0);
}

static void test_people_see_what_needs_them_while_it_is_silent(void **state)
{
    (void)state;
    B->ledger.counts.undecided = 3;
    B->ledger.counts.needing_decision = 1;
    live(5 * US_PER_S);
    assert_int_equal(B->ledger.due_calls, 0); /* not before the journal is read */
    fake_gateway_instance(&B->gateway, "instance-1");
    start();
    fake_ledger_claim(&B->ledger, 3);
    live(2 * US_PER_S);
    B->gateway.auto_instance = NULL;
    answer(3, GATEWAY_NOT_SENT);
    (void)step();
    B->ledger.deferral_count = 0;
    fake_ledger_due(&B->ledger, 1)->age_us = US_PER_DAY;
    fake_ledger_due(&B->ledger, 2)->age_us = HOUR_US;
    live(61 * US_PER_S);
    assert_int_equal(B->gateway.call_count, 1);
    assert_int_equal(B->ledger.deferral_count, 2);
    assert_true(B->ledger.deferrals[0].needs_decision);
    assert_false(B->ledger.deferrals[1].needs_decision);
    for (int i = 0; i < 2; i++) {
        assert_false(B->ledger.deferrals[i].no_answer);
        assert_true(B->ledger.deferrals[i].pause_us <= 5 * US_PER_S);
    }
    size_t dues = B->ledger.due_calls;
    live(120 * US_PER_S);
    assert_in_range(B->ledger.due_calls - dues, 1, 3);
}

static void test_a_heartbeat_says_that_nothing_is_overdue(void **state)
{
    (void)state;
    live(10 * US_PER_S);
    assert_int_equal(B->ledger.heartbeats, 0); /* silent: it may owe something */
    B->gateway.answer_count = 0;
    fake_gateway_instance(&B->gateway, "instance-1");
    start();
    assert_int_equal(B->ledger.heartbeats, 1);
    assert_string_equal(B->ledger.heartbeat_of, "processor");
    live(600 * US_PER_S);
    assert_in_range(B->ledger.heartbeats, 9, 11);
}

/* ---- what has to be asked about before it is decided (rule 11 without a journal) ---- */

static void ask_first(uint32_t n, enum payment_type type)
{
    struct attempt *a = fake_ledger_claim(&B->ledger, n);
    a->ask_first = a->ask_only = true;
    a->payment_type = type;
    a->refund_of = type == PAYMENT_TYPE_REFUND ? fake_id(99) : UUID_NIL;
    a->age_us = US_PER_DAY;
    live(2 * US_PER_S);
    assert_int_equal(call(B->gateway.call_count - 1)->verb, GATEWAY_ASK);
}

static void test_a_restored_payment_is_asked_about_first(void **state)
{
    (void)state;
    start();
    ask_first(1, PAYMENT_TYPE_REFUND);
    (void)fake_gateway_answer(&B->gateway, GATEWAY_ASK, 1, GATEWAY_SUCCESS);
    (void)step();
    assert_int_equal(B->ledger.fact_count, 0); /* it was never in processing here */
    assert_int_equal(B->ledger.asked_count, 1);
    const struct journal_entry *e = &B->ledger.asked[0];
    struct uuid id = fake_id(1), charge = fake_id(99);
    assert_true(uuid_equal(&e->request.payment_id, &id));
    assert_true(uuid_equal(&e->request.refund_of, &charge));
    assert_int_equal(e->answer, LEARN_SUCCESS);
    assert_int_equal(e->money.amount_minor, 39900);
    assert_string_equal(B->ledger.asked_body, "{\"bytes\":1}");

    ask_first(2, PAYMENT_TYPE_PAYMENT);
    struct gateway_answer *a = fake_gateway_answer(&B->gateway, GATEWAY_ASK, 2, GATEWAY_PENDING);
    a->expires_at_us = B->env.wall_us + HOUR_US;
    (void)step();
    e = &B->ledger.asked[1];
    assert_int_equal(e->answer, LEARN_PENDING);
    assert_string_equal(B->ledger.asked_url, "http://processing.invalid/pay");
    assert_int_equal(e->expires_at_us, B->env.wall_us + HOUR_US);

    ask_first(3, PAYMENT_TYPE_PAYMENT);
    fake_gateway_answer(&B->gateway, GATEWAY_ASK, 3, GATEWAY_ERROR)->voided = true;
    (void)step();
    assert_int_equal(B->ledger.asked[2].answer, LEARN_ERROR);
    assert_true(B->ledger.asked[2].voided);
    assert_int_equal(B->ledger.deferral_count, 0);
}

static void test_a_restored_payment_that_nobody_knows_is_decided(void **state)
{
    (void)state;
    start();
    ask_first(1, PAYMENT_TYPE_PAYMENT);
    fake_gateway_answer(&B->gateway, GATEWAY_ASK, 1, GATEWAY_NO_ANSWER)->unknown_key = true;
    (void)step();
    assert_int_equal(B->ledger.asked_unknown_count, 1);
    assert_int_equal(B->ledger.deferral_count, 0);
    ask_first(2, PAYMENT_TYPE_PAYMENT);
    (void)fake_gateway_answer(&B->gateway, GATEWAY_ASK, 2, GATEWAY_NO_ANSWER);
    (void)step();
    const struct deferral *d = only_deferral();
    assert_true(d->no_answer);
    assert_false(d->needs_decision); /* nobody sent it yet */
    ask_first(3, PAYMENT_TYPE_REFUND);
    (void)fake_gateway_answer(&B->gateway, GATEWAY_ASK, 3, GATEWAY_PENDING);
    (void)step();
    assert_false(only_deferral()->pending);
    assert_int_equal(B->ledger.asked_count, 0);
    B->ledger.asked_err = ERR_CORRUPT; /* is told to the log, and asked about again */
    ask_first(4, PAYMENT_TYPE_PAYMENT);
    (void)fake_gateway_answer(&B->gateway, GATEWAY_ASK, 4, GATEWAY_SUCCESS);
    (void)step();
    assert_int_equal(only_deferral()->pause_us, UNDECIDED_PAUSE_MAX_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_claimed_before_the_processing_says_who_it_is),
        TEST(test_the_journal_is_read_before_anything_is_sent),
        TEST(test_a_reading_that_died_is_told_complete),
        TEST(test_a_journal_that_does_not_answer_is_asked_again),
        TEST(test_a_reading_ends_where_it_has_caught_up),
        TEST(test_many_answers_bring_the_next_reading),
        TEST(test_a_line_that_cannot_be_understood_is_shown),
        TEST(test_a_processing_without_a_journal_is_used),
        TEST(test_another_reader_moves_the_position),
        TEST(test_a_page_is_kept_until_the_store_has_it),
        TEST(test_rewound_books_wait_and_read_again),
        TEST(test_a_process_that_finds_rewound_books_waits_too),
        TEST(test_a_processor_stops_when_another_one_sees_that_the_books_are_rewound),
        TEST(test_answers_wait_while_the_books_are_rewound),
        TEST(test_a_shutdown_does_not_wait_for_rewound_books),
        TEST(test_an_answer_about_an_unknown_payment_shows_it_too),
        TEST(test_the_journal_is_read_every_ten_minutes),
        TEST(test_a_store_that_was_away_is_compared_first),
        TEST(test_another_instance_at_the_start_stops_it),
        TEST(test_a_processing_that_was_replaced_gets_no_repeat),
        TEST(test_a_former_instance_is_looked_up_in_the_books),
        TEST(test_repeats_wait_until_it_says_who_it_is),
        TEST(test_a_processing_that_stops_saying_who_it_is_is_silent),
        TEST(test_people_see_what_needs_them_while_it_is_silent),
        TEST(test_a_heartbeat_says_that_nothing_is_overdue),
        TEST(test_a_restored_payment_is_asked_about_first),
        TEST(test_a_restored_payment_that_nobody_knows_is_decided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
