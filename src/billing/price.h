/* price.h: which price holds on which day (rule 7). Pure. */
#ifndef SUBPAY_BILLING_PRICE_H
#define SUBPAY_BILLING_PRICE_H

#include <stddef.h>

#include "base/times.h"
#include "billing/money.h"
#include "billing/types.h"

struct price {
    enum subscription_type subscription_type;
    struct money cost;
    struct date
        starting_date; /* in force from 00:00 UTC of this day until the next one of its type */
};

/* The price in force on `day`: the latest that started by then. NULL: none. Any order of prices. */
const struct price *price_on(const struct price *prices, size_t count, enum subscription_type type,
                             struct date day);
/* The day whose price a request pays: of the earlier of request time and storing time. */
struct date price_day(int64_t requested_at_us, int64_t stored_at_us);

#endif
