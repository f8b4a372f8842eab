#include "billing/period.h"

#include <assert.h>

#include "base/clock.h"
#include "base/times.h"

#define PERIOD_YEAR_LAST 9999 /* the last year that a stored time can have */

static int months_of(enum subscription_type type)
{
    switch (type) {
    case SUBSCRIPTION_MONTH:
        return 1;
    case SUBSCRIPTION_THREE_MONTHS:
        return 3;
    case SUBSCRIPTION_YEAR:
        return 12;
    case SUBSCRIPTION_TYPE_COUNT:
        break;
    }
    assert(!"a subscription type");
    return 0;
}

/* The last microsecond that a stored time can name. */
static int64_t time_last_us(void)
{
    struct date last = {PERIOD_YEAR_LAST, 12, 31};
    return date_start_us(last) + US_PER_DAY - 1;
}

int64_t period_expiration_us(int64_t starts_at_us, enum subscription_type type)
{
    int64_t last_us = time_last_us();
    if (starts_at_us >= last_us)
        return last_us;
    if (starts_at_us < 0)
        starts_at_us = 0;

    struct date day = date_of(starts_at_us);
    int64_t time_of_day_us = starts_at_us - date_start_us(day);
    int month = day.month - 1 + months_of(type); /* from 0 */
    struct date end = {day.year + month / 12, (int8_t)(month % 12 + 1), day.day};
    if (end.year > PERIOD_YEAR_LAST)
        return last_us;
    int days = date_days_in_month(end.year, end.month);
    if (end.day > days)
        end.day = (int8_t)days;
    return date_start_us(end) + time_of_day_us;
}

struct period period_after(int64_t settled_at_us, int64_t last_ends_at_us,
                           enum subscription_type type)
{
    int64_t starts_at_us = settled_at_us > last_ends_at_us ? settled_at_us : last_ends_at_us;
    int64_t expires_at_us = period_expiration_us(starts_at_us, type);
    return (struct period){starts_at_us, expires_at_us, expires_at_us};
}

int64_t period_end_early_us(const struct period *p, int64_t now_us)
{
    int64_t ends_at_us = p->ends_at_us < now_us ? p->ends_at_us : now_us;
    return ends_at_us > p->starts_at_us ? ends_at_us : p->starts_at_us;
}

bool period_contains(const struct period *p, int64_t at_us)
{
    return p->starts_at_us <= at_us && at_us < p->ends_at_us;
}
