#include "billing/decide.h"

#include <assert.h>

#include "base/clock.h"

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Did more than `span_us` pass between the two? Never overflows. */
static bool passed_more_than(int64_t from_us, int64_t to_us, int64_t span_us)
{
    int64_t passed_us;
    if (__builtin_sub_overflow(to_us, from_us, &passed_us))
        return to_us > from_us;
    return passed_us > span_us;
}

/* Rule 9. Of three clocks the earliest counts: an old request must not look young. */
static bool too_old(const struct decide_account *account, const struct decide_limits *limits,
                    const struct decide_request *r)
{
    if (limits->request_max_age_us == TIME_NEVER)
        return false;
    int64_t earliest_us = min_i64(r->requested_at_us, min_i64(r->recorded_at_us, r->stored_at_us));
    return passed_more_than(earliest_us, account->now_us, limits->request_max_age_us);
}

static struct verdict close_with(enum reason reason)
{
    return (struct verdict){.kind = VERDICT_CLOSE, .reason = reason};
}

static struct verdict duplicate_of(const struct uuid *payment_id)
{
    return (struct verdict){.kind = VERDICT_DUPLICATE, .duplicate_of = *payment_id};
}

/* Rule 3, else it is sent. */
static struct verdict decide_payment(const struct decide_account *account,
                                     const struct decide_request *r)
{
    if (!account->subscribed)
        return (struct verdict){.kind = VERDICT_SEND, .money = r->money};
    struct verdict v = duplicate_of(&account->subscribed_by);
    if (uuid_is_nil(&account->subscribed_by))
        v.reason = REASON_GRANTED;
    return v;
}

/* Rule 5: what a refund gives back; NULL: nothing. */
static const struct refund_target *target_of(const struct decide_account *account,
                                             const struct decide_request *r)
{
    if (r->names_target)
        return r->named.exists ? &r->named : NULL;
    if (!account->has_last_period || !account->last_target.exists)
        return NULL;
    if (!period_contains(&account->last_period, account->now_us) &&
        !period_contains(&account->last_period, r->requested_at_us))
        return NULL;
    return &account->last_target;
}

/* Rule 5: the window counts from the start of the period, and who asked in time is in time
 * however long the request waited. Support is not bound by it. */
static bool window_over(const struct decide_account *account, const struct decide_limits *limits,
                        const struct decide_request *r)
{
    if (limits->refund_window_us == 0 || r->names_target)
        return false;
    int64_t asked_us = min_i64(r->requested_at_us, account->now_us);
    return passed_more_than(account->last_period.starts_at_us, asked_us,
                            limits->refund_window_us - 1);
}

/* Rule 5. undoes_payment: an unsent payment of the user becomes this request's duplicate. */
static struct verdict decide_refund(const struct decide_account *account,
                                    const struct decide_limits *limits,
                                    const struct decide_request *r, bool undoes_payment)
{
    const struct refund_target *target = target_of(account, r);
    if (target == NULL)
        return close_with(undoes_payment ? REASON_CANCELLED : REASON_NOTHING_TO_REFUND);
    if (target->refunded)
        return duplicate_of(&target->refunded_by);
    if (target->subscription_type != r->subscription_type)
        return close_with(REASON_OTHER_SUBSCRIPTION);
    if (window_over(account, limits, r))
        return close_with(REASON_REFUND_WINDOW_OVER);
    return (struct verdict){
        .kind = VERDICT_SEND, .refund_of = target->payment_id, .money = target->money};
}

void decide_claim(const struct decide_account *account, const struct decide_limits *limits,
                  const struct decide_request *requests, size_t count, struct verdict *verdicts)
{
    const size_t none = SIZE_MAX;
    size_t latest = none;
    size_t payments = 0; /* requests of type payment that take part */
    for (size_t i = 0; i < count; i++) {
        assert(i == 0 || requests[i - 1].seq < requests[i].seq);
        if (too_old(account, limits, &requests[i])) {
            verdicts[i] = close_with(REASON_TOO_OLD);
            continue;
        }
        verdicts[i] = (struct verdict){.kind = VERDICT_DUPLICATE}; /* of what, is known below */
        latest = i;
        payments += requests[i].payment_type == PAYMENT_TYPE_PAYMENT;
    }
    if (latest == none)
        return;

    const struct decide_request *decided = &requests[latest];
    struct verdict v = decided->payment_type == PAYMENT_TYPE_PAYMENT
                           ? decide_payment(account, decided)
                           : decide_refund(account, limits, decided, payments > 0);
    verdicts[latest] = v;

    /* Rule 1: the others duplicate it, or what it duplicates. */
    struct verdict other = v.kind == VERDICT_DUPLICATE ? v : duplicate_of(&decided->payment_id);
    for (size_t i = 0; i < latest; i++)
        if (verdicts[i].kind == VERDICT_DUPLICATE)
            verdicts[i] = other;
}

size_t decide_waiting(enum payment_type settled, enum reason settled_reason,
                      const enum payment_type *waiting, size_t count)
{
    if (settled_reason == REASON_SUPERSEDED)
        return 0;
    size_t n = 0;
    while (n < count && waiting[n] == settled)
        n++;
    return n;
}

bool status_pair_legal(enum processing_status processing, enum payment_status payment)
{
    switch (processing) {
    case PROCESSING_NEW:
    case PROCESSING_IN_PROCESSING:
    case PROCESSING_DUPLICATED:
        return payment == PAYMENT_UNKNOWN;
    case PROCESSING_PROCESSED:
    case PROCESSING_COMPLETED:
        return payment == PAYMENT_ACCEPTED || payment == PAYMENT_DECLINE ||
               payment == PAYMENT_ERROR;
    case PROCESSING_STATUS_COUNT:
        break;
    }
    return false;
}

bool status_move_legal(enum processing_status from, enum processing_status to)
{
    switch (from) {
    case PROCESSING_NEW:
        return to == PROCESSING_IN_PROCESSING || to == PROCESSING_PROCESSED ||
               to == PROCESSING_DUPLICATED;
    case PROCESSING_IN_PROCESSING:
        return to == PROCESSING_PROCESSED;
    case PROCESSING_PROCESSED:
        return to == PROCESSING_COMPLETED;
    case PROCESSING_COMPLETED:
    case PROCESSING_DUPLICATED:
    case PROCESSING_STATUS_COUNT:
        break;
    }
    return false;
}
