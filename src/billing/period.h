/* period.h: how long a subscription lasts (rule 4), and how a refund shortens it (rule 5). Pure, UTC. */
#ifndef SUBPAY_BILLING_PERIOD_H
#define SUBPAY_BILLING_PERIOD_H

#include <stdbool.h>
#include <stdint.h>

#include "billing/types.h"

/* [starts_at, ends_at): contains its start and not its end; may be empty. */
struct period {
    int64_t starts_at_us, expires_at_us, ends_at_us;
};

/* One calendar month, three, or a year later at the same time of day; a day that the month does not have
 * becomes its last day (31 January + 1 month = the last day of February). */
int64_t period_expiration_us(int64_t starts_at_us, enum subscription_type type);
/* Rule 4: starts at the later of the settling time and the end of the user's last period (0: none). */
struct period period_after(int64_t settled_at_us, int64_t last_ends_at_us,
                           enum subscription_type type);
/* Rule 5: the later of starts_at and the earlier of ends_at and now. */
int64_t period_end_early_us(const struct period *p, int64_t now_us);
bool period_contains(const struct period *p, int64_t at_us);

/* Rule 3 takes a period that begins within this of now as active: it began when it was settled, so
 * either the clock has been set back since, or it is the user's next one and about to begin. */
#define PERIOD_AHEAD_US US_PER_DAY

#endif
