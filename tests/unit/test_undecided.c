/* billing/undecided, learn, decision: what the tables in tests/rules do not say: every combination keeps to the
 * promises, extremes, the small functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "billing/decision.h"
#include "billing/learn.h"
#include "billing/undecided.h"

#define HOUR_US (INT64_C(3600) * US_PER_S)

static const int64_t TTLS_US[] = {
    0, 1, 2, US_PER_S, HOUR_US, US_PER_DAY, 30 * US_PER_DAY, TIME_NEVER - 1, TIME_NEVER};
static const int64_t AGES_US[] = {
    0,        1, US_PER_S, HOUR_US / 2, 12 * HOUR_US, US_PER_DAY - 1, US_PER_DAY, 40 * US_PER_DAY,
    INT64_MAX};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void check_step(const struct undecided *u, const struct promises *p)
{
    struct undecided_step step = undecided_next(u, p);
    switch (step.move) {
    case UNDECIDED_SEND:
        assert_true(undecided_may_send(u->age_us, p, u->first));
        assert_false(u->ask_only || u->too_old || u->rewound);
        break;
    case UNDECIDED_ASK:
        assert_true(p->ask);
        break;
    case UNDECIDED_VOID:
        assert_true(undecided_may_void(p) && !u->rewound);
        if (u->pending)
            assert_true(u->expired || u->superseded);
        break;
    case UNDECIDED_REST:
        assert_false(p->ask);
        break;
    }
    /* Nobody is asked while the payer may still pay; nothing that rests is kept from people for ever. */
    if (u->pending && !u->expired)
        assert_false(step.needs_decision);
    else if (u->age_us >= UNDECIDED_DAY_US || u->ask_only)
        assert_true(step.needs_decision);
    if (u->too_old)
        assert_true(step.too_old);
    if (step.move == UNDECIDED_REST && !u->pending && !u->rewound)
        assert_true(step.needs_decision);
}

static void test_every_combination_keeps_to_the_promises(void **state)
{
    (void)state;
    for (size_t t = 0; t < COUNT(TTLS_US); t++)
        for (size_t a = 0; a < COUNT(AGES_US); a++)
            for (unsigned bits = 0; bits < 1u << 9; bits++) {
                const struct promises p = {TTLS_US[t], bits & 1, bits & 2};
                const struct undecided u = {
                    .age_us = AGES_US[a],
                    .first = bits & 4,
                    .ask_only = bits & 8,
                    .pending = bits & 16,
                    .expired = bits & 32,
                    .superseded = bits & 64,
                    .too_old = bits & 128,
                    .rewound = bits & 256,
                };
                check_step(&u, &p);
            }
}

/* A repeat never leaves the first half, whatever the memory; without one there is only the first call. */
static void test_sends_stay_in_the_first_half(void **state)
{
    (void)state;
    for (size_t t = 0; t < COUNT(TTLS_US); t++) {
        const struct promises p = {TTLS_US[t], true, true};
        int64_t until_us = undecided_send_until_us(&p, false);
        assert_true(until_us >= 0);
        if (p.key_ttl_us == TIME_NEVER)
            assert_int_equal(until_us, US_PER_DAY);
        else
            assert_true(until_us <= p.key_ttl_us - until_us);
        assert_false(undecided_may_send(until_us, &p, false));
        if (until_us > 0)
            assert_true(undecided_may_send(until_us - 1, &p, false));
        assert_int_equal(undecided_may_void(&p), p.key_ttl_us != 0);
    }
    const struct promises none = {0, true, false};
    assert_true(undecided_may_send(0, &none, true));
    assert_false(undecided_may_send(0, &none, false));
    assert_false(undecided_may_send(UNDECIDED_DAY_US, &none, true));
}

static void test_pauses_have_bounds(void **state)
{
    (void)state;
    const struct undecided u = {0};
    for (int32_t tries = -1; tries < 70; tries++)
        for (double chance = 0; chance < 1; chance += 0.09) {
            int64_t pause_us = undecided_pause_us(&u, tries, 0, chance);
            assert_true(pause_us >= UNDECIDED_PAUSE_MIN_US / 2);
            assert_true(pause_us <= UNDECIDED_PAUSE_MAX_US);
        }
    assert_int_equal(undecided_pause_us(&u, INT32_MAX, INT64_MAX, 0.5), UNDECIDED_PAUSE_MAX_US);
    assert_true(undecided_pause_us(&u, 3, -5, 0) > 0);
}

static void test_what_was_recorded_stands_for_older_requests(void **state)
{
    (void)state;
    assert_true(learn_stands_for(5, 4, false));
    assert_false(learn_stands_for(5, 5, false));
    assert_false(learn_stands_for(5, 6, false));
    assert_false(learn_stands_for(5, 4, true)); /* it may have been sent itself */
    assert_false(learn_stands_for(0, 1, false));
}

static void test_answers_are_statuses(void **state)
{
    (void)state;
    assert_int_equal(learn_status(LEARN_SUCCESS), PAYMENT_ACCEPTED);
    assert_int_equal(learn_status(LEARN_DECLINE), PAYMENT_DECLINE);
    assert_int_equal(learn_status(LEARN_ERROR), PAYMENT_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_combination_keeps_to_the_promises),
        cmocka_unit_test(test_sends_stay_in_the_first_half),
        cmocka_unit_test(test_pauses_have_bounds),
        cmocka_unit_test(test_what_was_recorded_stands_for_older_requests),
        cmocka_unit_test(test_answers_are_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
