/* clock.h: time is passed in, never asked for.
 *
 * All times are int64 microseconds. `wall_us` counts from 1970-01-01T00:00:00Z and may step in
 * either direction; `boot_us` never steps and counts time asleep (CLOCK_BOOTTIME) since a start of
 * the machine that `boot_id` names. The simulated world has its own clock. Any thread may read the
 * real one. */
#ifndef SUBPAY_BASE_CLOCK_H
#define SUBPAY_BASE_CLOCK_H

#include <stdint.h>

#define US_PER_MS INT64_C(1000)
#define US_PER_S INT64_C(1000000)
#define US_PER_DAY (INT64_C(86400) * US_PER_S)
#define TIME_NEVER INT64_MAX
#define CLOCK_BOOT_ID 37 /* room for the text of a boot id */

struct clock {
    int64_t (*wall_us)(struct clock *);
    int64_t (*boot_us)(struct clock *);
    void (*boot_id)(struct clock *, char out[CLOCK_BOOT_ID]); /* NULL: there was one start only */
};

struct clock *clock_real(void);

static inline int64_t clock_wall_us(struct clock *c)
{
    return c->wall_us(c);
}
static inline int64_t clock_boot_us(struct clock *c)
{
    return c->boot_us(c);
}
/* Times of boot_us can be compared where this is the same; "" where it is not known: with none. */
void clock_boot_id(struct clock *c, char out[CLOCK_BOOT_ID]);

#endif
