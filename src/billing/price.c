#include "billing/price.h"

const struct price *price_on(const struct price *prices, size_t count, enum subscription_type type,
                             struct date day)
{
    const struct price *found = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct price *p = &prices[i];
        if (p->subscription_type != type || date_compare(p->starting_date, day) > 0)
            continue;
        if (found == NULL || date_compare(p->starting_date, found->starting_date) > 0)
            found = p;
    }
    return found;
}

struct date price_day(int64_t requested_at_us, int64_t stored_at_us)
{
    return date_of(requested_at_us < stored_at_us ? requested_at_us : stored_at_us);
}
