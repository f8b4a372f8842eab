/* The notifier against a ledger and a mailer that do what the test says, and what it writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fakes.h"
#include "services/notifier.h"

struct bench {
    struct fake_env env;
    struct fake_ledger ledger;
    struct fake_mailer mailer;
    struct service *notifier;
};

static struct bench *B;

static int setup(void **state)
{
    B = test_malloc(sizeof *B);
    fake_env_init(&B->env);
    fake_ledger_init(&B->ledger);
    fake_mailer_init(&B->mailer);
    assert_int_equal(notifier_open(&B->notifier, &B->ledger.ledger, &B->mailer.mailer,
                                   B->env.metrics, (struct wake){0}),
                     ERR_OK);
    *state = B;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    B->notifier->ops->close(B->notifier);
    assert_true(B->ledger.closed);
    assert_true(B->mailer.closed);
    fake_env_release(&B->env);
    test_free(B);
    return 0;
}

static int64_t step(void)
{
    return service_step(B->notifier, &B->env.env);
}

static void live(int64_t us)
{
    int64_t end_us = B->env.boot_us + us;

    for (int i = 0; i < 10000; i++) {
        int64_t next_us = step();
        if (next_us > end_us) {
            fake_env_pass(&B->env, end_us - B->env.boot_us);
            return;
        }
        if (next_us > B->env.boot_us)
            fake_env_pass(&B->env, next_us - B->env.boot_us);
    }
    fail_msg("the notifier spins");
}

static struct telling *untold(uint32_t n)
{
    struct telling *t = &B->ledger.tellings[B->ledger.telling_count++];

    *t = (struct telling){.seq = n,
                          .payment_id = fake_id(n),
                          .user_id = fake_id(n + 1000),
                          .payment_status = PAYMENT_ACCEPTED,
                          .money = {39900, "RUB"},
                          .expiration_us = FAKE_WALL_US + 30 * US_PER_DAY};
    return t;
}

static const struct told *told(size_t i)
{
    assert_true(i < B->ledger.told_count);
    return &B->ledger.told[i];
}

static void test_tells_and_completes(void **state)
{
    (void)state;
    untold(1);
    live(2 * US_PER_S);
    assert_int_equal(B->mailer.mail_count, 1);
    assert_string_equal(B->mailer.mails[0].to,
                        "01980000-0000-7000-8000-0000000003e9@users.invalid");
    assert_int_equal(B->ledger.told_count, 0); /* not handed over yet */
    fake_mailer_result(&B->mailer, 1, MAIL_HANDED_OVER);
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.told_count, 1);
    assert_false(told(0)->again);
    assert_int_equal(told(0)->notification, NOTIFICATION_DELIVERED);
    assert_int_equal(fake_metric(&B->env, "subpay_notifications_total{result=\"delivered\"}"), 1);
    live(10 * US_PER_S);
    assert_int_equal(B->ledger.told_count, 1);
    assert_int_equal(B->mailer.mail_count, 1);
}

static void test_some_are_not_to_be_told(void **state)
{
    (void)state;
    untold(1)->reason = REASON_CANCELLED;
    untold(2)->reason = REASON_SUPERSEDED;
    live(2 * US_PER_S);
    assert_int_equal(B->mailer.mail_count, 0);
    assert_int_equal(B->ledger.told_count, 2);
    assert_int_equal(told(0)->notification, NOTIFICATION_NOT_TO_BE_TOLD);
    assert_int_equal(told(1)->notification, NOTIFICATION_NOT_TO_BE_TOLD);
}

static void test_unreachable_is_an_end_and_trouble_is_not(void **state)
{
    (void)state;
    untold(1);
    untold(2);
    live(2 * US_PER_S);
    fake_mailer_result(&B->mailer, 1, MAIL_UNREACHABLE);
    fake_mailer_result(&B->mailer, 2, MAIL_TRY_AGAIN);
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.told_count, 2);
    assert_int_equal(told(0)->notification, NOTIFICATION_UNREACHABLE);
    assert_true(told(1)->again);
    assert_in_range(told(1)->pause_us, 30 * US_PER_S, 60 * US_PER_S);
    assert_non_null(strstr(B->notifier->ops->unready(B->notifier), "mail"));

    untold(2); /* its pause is over */
    live(2 * US_PER_S);
    fake_mailer_result(&B->mailer, 2, MAIL_HANDED_OVER);
    live(2 * US_PER_S);
    assert_int_equal(told(2)->notification, NOTIFICATION_DELIVERED);
    assert_null(B->notifier->ops->unready(B->notifier));
}

static void test_a_mailer_that_takes_nothing(void **state)
{
    (void)state;
    B->mailer.send_err = ERR_BUSY;
    untold(1);
    live(2 * US_PER_S);
    assert_true(told(0)->again);
    B->mailer.send_err = ERR_INVALID;
    untold(2);
    live(2 * US_PER_S);
    assert_int_equal(told(1)->notification, NOTIFICATION_UNREACHABLE);
}

static void test_a_store_that_fails_is_told_later_and_nobody_twice(void **state)
{
    (void)state;
    untold(1);
    live(2 * US_PER_S);
    B->ledger.told_err = ERR_IO;
    fake_mailer_result(&B->mailer, 1, MAIL_HANDED_OVER);
    untold(2);
    live(30 * US_PER_S);
    assert_int_equal(B->ledger.told_count, 0);
    assert_int_equal(B->mailer.mail_count, 1); /* what is known comes first */
    assert_non_null(strstr(B->notifier->ops->unready(B->notifier), "store"));
    B->ledger.told_err = ERR_OK;
    live(10 * US_PER_S);
    assert_int_equal(B->ledger.told_count, 1);
    assert_int_equal(B->mailer.mail_count, 2);
}

static void test_what_is_under_way_is_not_sent_again(void **state)
{
    (void)state;
    untold(1);
    live(2 * US_PER_S);
    untold(1); /* the lease ran out */
    live(NOTIFIER_LEASE_US);
    assert_int_equal(B->mailer.mail_count, 1);
    assert_int_equal(B->ledger.telling_count, 0);
    fake_mailer_result(&B->mailer, 1, MAIL_HANDED_OVER);
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.told_count, 1);
}

static void test_never_more_than_the_mailer_can_hold(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 600; n++)
        untold(n);
    live(5 * US_PER_S);
    assert_int_equal(B->mailer.mail_count, MAIL_BATCH_MAX);
    size_t answered = 0;
    for (int round = 0; round < 5; round++) {
        for (; answered < B->mailer.mail_count; answered++)
            fake_mailer_result(&B->mailer, (uint32_t)answered + 1, MAIL_HANDED_OVER);
        live(2 * US_PER_S);
        assert_true(B->mailer.mail_count - B->ledger.told_count <= MAIL_BATCH_MAX);
    }
    assert_int_equal(B->mailer.mail_count, 600);
    assert_int_equal(B->ledger.told_count, 600);
}

static void test_settled_payments_wake_it(void **state)
{
    (void)state;
    live(5 * US_PER_S);
    assert_true(step() > B->env.boot_us);
    untold(1);
    B->ledger.watch(B->ledger.watch_ctx, LEDGER_CHANGE_SETTLED);
    (void)step(); /* no time has passed */
    assert_int_equal(B->mailer.mail_count, 1);
}

static void test_drain_waits_for_what_is_under_way(void **state)
{
    (void)state;
    untold(1);
    live(2 * US_PER_S);
    B->notifier->ops->drain(B->notifier);
    untold(2);
    live(2 * US_PER_S);
    assert_false(B->notifier->ops->drained(B->notifier));
    fake_mailer_result(&B->mailer, 1, MAIL_HANDED_OVER);
    live(2 * US_PER_S);
    assert_true(B->notifier->ops->drained(B->notifier));
    assert_int_equal(B->mailer.mail_count, 1);
    assert_int_equal(B->ledger.told_count, 1);
}

/* ---- the texts ---- */

static void assert_written(const struct telling *t, const char *subject, const char *text)
{
    struct str got_subject, got_text;
    char expected[1024];

    str_init(&got_subject, MAIL_SUBJECT_MAX);
    str_init(&got_text, MAIL_BODY_MAX);
    notifier_write(t, &got_subject, &got_text);
    (void)snprintf(expected, sizeof expected, "%s\nPayment: 01980000-0000-7000-8000-000000000001\n",
                   text);
    assert_string_equal(got_subject.data, subject);
    assert_string_equal(got_text.data, expected);
    str_release(&got_subject);
    str_release(&got_text);
}

static void test_texts(void **state)
{
    (void)state;
    struct telling t = *untold(1);
    B->ledger.telling_count = 0;
    assert_written(&t, "Your subscription is paid",
                   "Thank you! We have received your payment of 399.00 RUB for a subscription of "
                   "one month.\nIt is valid until 24 December 2025, 07:00 UTC.\n");
    t.subscription_type = SUBSCRIPTION_YEAR;
    t.money = (struct money){5, "USD"};
    t.payment_type = PAYMENT_TYPE_REFUND;
    assert_written(&t, "Your refund is made",
                   "We have refunded 0.05 USD for a subscription of one year.\n"
                   "Your subscription has ended.\n");
    t.payment_status = PAYMENT_ERROR;
    t.reason = REASON_NOTHING_TO_REFUND;
    t.money = (struct money){0};
    assert_written(&t, "Your refund could not be made",
                   "The refund for a subscription of one year could not be made.\n"
                   "There is no paid subscription that could be refunded.\n"
                   "No money was moved.\n");
    t.payment_type = PAYMENT_TYPE_PAYMENT;
    t.payment_status = PAYMENT_DECLINE;
    t.reason = REASON_NONE;
    t.subscription_type = SUBSCRIPTION_THREE_MONTHS;
    assert_written(&t, "Your payment was declined",
                   "Your bank declined the payment for a subscription of three months.\n"
                   "You have not been charged.\n");
}

static void test_money_has_the_digits_of_its_currency(void **state)
{
    (void)state;
    static const struct {
        struct money money;
        const char *text;
    } cases[] = {{{39900, "JPY"}, " of 39900 JPY "},
                 {{39905, "KWD"}, " of 39.905 KWD "},
                 {{100, "EUR"}, " of 1.00 EUR "},
                 {{1, "BHD"}, " of 0.001 BHD "}};
    struct telling t = *untold(1);
    B->ledger.telling_count = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct str subject, text;
        str_init(&subject, MAIL_SUBJECT_MAX);
        str_init(&text, MAIL_BODY_MAX);
        t.money = cases[i].money;
        notifier_write(&t, &subject, &text);
        assert_non_null(strstr(text.data, cases[i].text));
        str_release(&subject);
        str_release(&text);
    }
}

static void test_every_outcome_has_words(void **state)
{
    (void)state;
    struct telling t = *untold(1);
    B->ledger.telling_count = 0;
    for (int type = 0; type < PAYMENT_TYPE_COUNT; type++)
        for (int status = PAYMENT_ACCEPTED; status < PAYMENT_STATUS_COUNT; status++)
            for (int reason = 0; reason < REASON_COUNT; reason++) {
                struct str subject, text;
                str_init(&subject, MAIL_SUBJECT_MAX);
                str_init(&text, MAIL_BODY_MAX);
                t.payment_type = (enum payment_type)type;
                t.payment_status = (enum payment_status)status;
                t.reason = (enum reason)reason;
                notifier_write(&t, &subject, &text);
                assert_false(subject.failed || text.failed);
                assert_true(subject.len > 10 && strchr(subject.data, '\n') == NULL);
                assert_true(text.len > 60);
                str_release(&subject);
                str_release(&text);
            }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tells_and_completes),
        TEST(test_some_are_not_to_be_told),
        TEST(test_unreachable_is_an_end_and_trouble_is_not),
        TEST(test_a_mailer_that_takes_nothing),
        TEST(test_a_store_that_fails_is_told_later_and_nobody_twice),
        TEST(test_what_is_under_way_is_not_sent_again),
        TEST(test_never_more_than_the_mailer_can_hold),
        TEST(test_settled_payments_wake_it),
        TEST(test_drain_waits_for_what_is_under_way),
        TEST(test_texts),
        TEST(test_money_has_the_digits_of_its_currency),
        TEST(test_every_outcome_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
