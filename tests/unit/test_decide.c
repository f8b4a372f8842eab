/* Properties of decide_claim and decide_waiting that hold for every input, and the words of the
 * trade. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "billing/decide.h"

#define ROUNDS 60000
#define REQUESTS_MAX 12
#define HOUR_US (3600 * US_PER_S)

struct world {
    struct decide_account account;
    struct decide_limits limits;
    struct decide_request requests[REQUESTS_MAX];
    size_t count;
};

static struct uuid uuid_number(uint64_t n)
{
    struct uuid id = {{0}};
    id.bytes[0] = 0x5A;
    memcpy(id.bytes + 8, &n, sizeof n);
    return id;
}

static bool coin(struct random *r)
{
    return random_below(r, 2) == 0;
}

/* Mostly near now, sometimes at the edges of what a clock can say. */
static int64_t some_time(struct random *r, int64_t now_us)
{
    switch (random_below(r, 24)) {
    case 0:
        return 0;
    case 1:
        return INT64_MAX;
    case 2:
        return INT64_MIN;
    case 3:
        return now_us - 6 * HOUR_US;
    case 4:
        return now_us - 6 * HOUR_US - 1;
    default:
        return now_us - 8 * HOUR_US + (int64_t)random_below(r, 9 * HOUR_US);
    }
}

static struct refund_target some_target(struct random *r, uint64_t number)
{
    struct refund_target t = {.exists = random_below(r, 5) != 0};
    t.payment_id = uuid_number(number);
    t.subscription_type = (enum subscription_type)random_below(r, SUBSCRIPTION_TYPE_COUNT);
    t.money = (struct money){(int64_t)random_below(r, 100000) + 1, "RUB"};
    t.refunded = random_below(r, 4) == 0;
    t.refunded_by = uuid_number(number + 1);
    return t;
}

static void some_world(struct random *r, struct world *w)
{
    *w = (struct world){0};
    struct decide_account *a = &w->account;
    a->now_us = INT64_C(1773144000000000) + (int64_t)random_below(r, US_PER_DAY);
    a->has_last_period = coin(r);
    if (a->has_last_period) {
        a->last_period.starts_at_us = a->now_us - (int64_t)random_below(r, 40 * US_PER_DAY);
        a->last_period.ends_at_us =
            a->last_period.starts_at_us + (int64_t)random_below(r, 40 * US_PER_DAY);
        a->last_period.expires_at_us = a->last_period.ends_at_us;
        a->last_target = some_target(r, 1000);
        a->subscribed = period_contains(&a->last_period, a->now_us);
        if (a->subscribed && a->last_target.exists)
            a->subscribed_by = a->last_target.payment_id;
    }
    w->limits.request_max_age_us = random_below(r, 8) == 0 ? TIME_NEVER : 6 * HOUR_US;
    w->limits.refund_window_us = coin(r) ? 0 : 14 * US_PER_DAY;
    w->count = random_below(r, REQUESTS_MAX + 1);
    int64_t seq = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct decide_request *q = &w->requests[i];
        seq += 1 + (int64_t)random_below(r, 5);
        q->seq = seq;
        q->payment_id = uuid_number(i + 1);
        q->payment_type = coin(r) ? PAYMENT_TYPE_PAYMENT : PAYMENT_TYPE_REFUND;
        q->subscription_type = (enum subscription_type)random_below(r, SUBSCRIPTION_TYPE_COUNT);
        q->requested_at_us = some_time(r, a->now_us);
        q->stored_at_us = some_time(r, a->now_us);
        q->recorded_at_us = coin(r) ? q->stored_at_us : some_time(r, a->now_us);
        q->money = (struct money){(int64_t)random_below(r, 100000) + 1, "RUB"};
        q->names_target = q->payment_type == PAYMENT_TYPE_REFUND && random_below(r, 4) == 0;
        if (q->names_target)
            q->named = some_target(r, 2000 + 2 * i);
    }
}

/* Rule 9 said in another way, in arithmetic that cannot overflow. */
static bool is_old(const struct world *w, const struct decide_request *q)
{
    __int128 oldest = q->requested_at_us;
    if (q->recorded_at_us < oldest)
        oldest = q->recorded_at_us;
    if (q->stored_at_us < oldest)
        oldest = q->stored_at_us;
    return w->limits.request_max_age_us != TIME_NEVER &&
           (__int128)w->account.now_us - oldest > w->limits.request_max_age_us;
}

static void check_one(const struct world *w, size_t i, size_t latest,
                      const struct verdict *verdicts)
{
    const struct decide_request *q = &w->requests[i];
    const struct verdict *v = &verdicts[i], *l = &verdicts[latest];
    if (is_old(w, q)) {
        assert_int_equal(v->kind, VERDICT_CLOSE);
        assert_int_equal(v->reason, REASON_TOO_OLD);
        return;
    }
    assert_false(v->kind == VERDICT_CLOSE && v->reason == REASON_TOO_OLD);
    if (i == latest) {
        assert_false(v->kind == VERDICT_DUPLICATE && uuid_equal(&v->duplicate_of, &q->payment_id));
        return;
    }
    /* Not the latest: a duplicate of the decided one, or of what that one duplicates. */
    assert_int_equal(v->kind, VERDICT_DUPLICATE);
    struct uuid want =
        l->kind == VERDICT_DUPLICATE ? l->duplicate_of : w->requests[latest].payment_id;
    assert_true(uuid_equal(&v->duplicate_of, &want));
    assert_int_equal(v->reason == REASON_GRANTED, uuid_is_nil(&v->duplicate_of));
    for (size_t j = 0; j < w->count; j++) /* never of one that is closed by age, never of itself */
        if (uuid_equal(&v->duplicate_of, &w->requests[j].payment_id))
            assert_true(j == latest && !is_old(w, &w->requests[j]));
}

static void check_sent(const struct world *w, size_t i, const struct verdict *v)
{
    const struct decide_request *q = &w->requests[i];
    assert_false(is_old(w, q));
    assert_true(money_known(&v->money));
    assert_int_equal(v->reason, REASON_NONE);
    assert_true(uuid_is_nil(&v->duplicate_of));
    if (q->payment_type == PAYMENT_TYPE_PAYMENT) {
        assert_false(w->account.subscribed);
        assert_true(uuid_is_nil(&v->refund_of));
        assert_true(money_equal(&v->money, &q->money));
        return;
    }
    const struct refund_target *t = q->names_target ? &q->named : &w->account.last_target;
    assert_true(t->exists && !t->refunded && t->subscription_type == q->subscription_type);
    assert_true(uuid_equal(&v->refund_of, &t->payment_id));
    assert_true(money_equal(&v->money, &t->money));
}

static void test_claim_properties(void **state)
{
    (void)state;
    struct random_seeded r;
    size_t seen[3] = {0}, reasons[REASON_COUNT] = {0};
    random_seed(&r, 20221117);
    for (int round = 0; round < ROUNDS; round++) {
        struct world w;
        struct verdict verdicts[REQUESTS_MAX], again[REQUESTS_MAX];
        some_world(&r.random, &w);
        memset(verdicts, 0x7F, sizeof verdicts); /* a verdict that is not written is seen */
        memset(again, 0x33, sizeof again);
        decide_claim(&w.account, &w.limits, w.requests, w.count, verdicts);
        decide_claim(&w.account, &w.limits, w.requests, w.count, again);
        size_t latest = 0, sent = 0;
        for (size_t i = 0; i < w.count; i++)
            if (!is_old(&w, &w.requests[i]))
                latest = i;
        for (size_t i = 0; i < w.count; i++) {
            const struct verdict *v = &verdicts[i];
            assert_in_range(v->kind, VERDICT_SEND, VERDICT_CLOSE);
            assert_in_range(v->reason, 0, REASON_COUNT - 1);
            assert_int_equal(v->kind, again[i].kind);
            assert_true(uuid_equal(&v->duplicate_of, &again[i].duplicate_of));
            check_one(&w, i, latest, verdicts);
            if (v->kind == VERDICT_SEND) {
                sent++;
                check_sent(&w, i, v);
            }
            if (v->kind == VERDICT_CLOSE)
                assert_int_not_equal(v->reason, REASON_NONE);
            seen[v->kind]++;
            reasons[v->reason]++;
        }
        assert_true(sent <= 1);
    }
    /* The inputs reach every branch. */
    for (int i = 0; i < 3; i++)
        assert_true(seen[i] > 100);
    static const enum reason CLOSED[] = {REASON_GRANTED,   REASON_NOTHING_TO_REFUND,
                                         REASON_CANCELLED, REASON_OTHER_SUBSCRIPTION,
                                         REASON_TOO_OLD,   REASON_REFUND_WINDOW_OVER};
    for (size_t i = 0; i < sizeof CLOSED / sizeof CLOSED[0]; i++)
        assert_true(reasons[CLOSED[i]] > 100);
}

/* What is too old changes nothing for the others. */
static void test_old_ones_do_not_matter(void **state)
{
    (void)state;
    struct random_seeded r;
    random_seed(&r, 7);
    for (int round = 0; round < ROUNDS; round++) {
        struct world w;
        struct verdict all[REQUESTS_MAX], young[REQUESTS_MAX];
        struct decide_request rest[REQUESTS_MAX];
        size_t index[REQUESTS_MAX], count = 0;
        some_world(&r.random, &w);
        decide_claim(&w.account, &w.limits, w.requests, w.count, all);
        for (size_t i = 0; i < w.count; i++)
            if (!is_old(&w, &w.requests[i])) {
                index[count] = i;
                rest[count++] = w.requests[i];
            }
        decide_claim(&w.account, &w.limits, rest, count, young);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(all[index[i]].kind, young[i].kind);
            assert_int_equal(all[index[i]].reason, young[i].reason);
            assert_true(uuid_equal(&all[index[i]].duplicate_of, &young[i].duplicate_of));
            assert_true(uuid_equal(&all[index[i]].refund_of, &young[i].refund_of));
        }
    }
}

static void test_waiting_properties(void **state)
{
    (void)state;
    struct random_seeded r;
    random_seed(&r, 11);
    for (int round = 0; round < ROUNDS; round++) {
        enum payment_type waiting[8], settled = (enum payment_type)random_below(&r.random, 2);
        enum reason reason = (enum reason)random_below(&r.random, REASON_COUNT);
        size_t count = random_below(&r.random, 9);
        for (size_t i = 0; i < count; i++)
            waiting[i] = (enum payment_type)random_below(&r.random, 2);
        size_t n = decide_waiting(settled, reason, waiting, count);
        assert_true(n <= count);
        if (reason == REASON_SUPERSEDED) {
            assert_int_equal(n, 0);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            assert_int_equal(waiting[i], settled);
        assert_true(n == count || waiting[n] != settled);
    }
}

#define ROUND_TRIP(type, COUNT)                                                                    \
    for (int i = 0; i < COUNT; i++) {                                                              \
        enum type back = (enum type)((i + 1) % COUNT);                                             \
        assert_true(type##_parse(type##_text((enum type)i), &back));                               \
        assert_int_equal(back, i);                                                                 \
        assert_false(type##_parse("Payment ", &back));                                             \
        assert_false(type##_parse(NULL, &back));                                                   \
        assert_int_equal(back, i);                                                                 \
    }

static void test_words(void **state)
{
    (void)state;
    ROUND_TRIP(payment_type, PAYMENT_TYPE_COUNT)
    ROUND_TRIP(subscription_type, SUBSCRIPTION_TYPE_COUNT)
    ROUND_TRIP(processing_status, PROCESSING_STATUS_COUNT)
    ROUND_TRIP(payment_status, PAYMENT_STATUS_COUNT)
    ROUND_TRIP(reason, REASON_COUNT)
    ROUND_TRIP(notification, NOTIFICATION_COUNT)
    assert_string_equal(reject_text(REJECT_ID_CONFLICT), "id_conflict");
    assert_string_equal(reason_text(REASON_NONE), "");
}

static void test_money(void **state)
{
    (void)state;
    assert_true(currency_valid("RUB"));
    assert_false(currency_valid(""));
    assert_false(currency_valid("RU"));
    assert_false(currency_valid("rub"));
    assert_false(currency_valid("RUBL"));
    struct money m = {1, "RUB"}, none = {0, ""}, other = {1, "EUR"};
    assert_true(money_known(&m));
    assert_false(money_known(&none));
    m.amount_minor = MONEY_MINOR_MAX;
    assert_true(money_known(&m));
    m.amount_minor++;
    assert_false(money_known(&m));
    m.amount_minor = -1;
    assert_false(money_known(&m));
    m.amount_minor = 1;
    assert_false(money_equal(&m, &other));
    assert_true(money_equal(&m, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claim_properties),
        cmocka_unit_test(test_old_ones_do_not_matter),
        cmocka_unit_test(test_waiting_properties),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_money),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
