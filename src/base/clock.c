#include "base/clock.h"

#include <assert.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec now;
    int rc = clock_gettime(id, &now);

    assert(rc == 0);
    (void)rc;
    return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

static int64_t real_wall_us(struct clock *c)
{
    (void)c;
    return read_us(CLOCK_REALTIME);
}

static int64_t real_boot_us(struct clock *c)
{
    (void)c;
    return read_us(CLOCK_BOOTTIME);
}

struct clock *clock_real(void)
{
    static const struct clock REAL = {real_wall_us, real_boot_us};

    return (struct clock *)&REAL; /* has no state: nobody writes to it */
}
