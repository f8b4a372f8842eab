#include "base/clock.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

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

static void real_boot_id(struct clock *c, char out[CLOCK_BOOT_ID])
{
    int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, out, CLOCK_BOOT_ID - 1);

    (void)c;
    out[len > 0 ? len : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (fd >= 0)
        close(fd);
}

void clock_boot_id(struct clock *c, char out[CLOCK_BOOT_ID])
{
    if (c->boot_id)
        c->boot_id(c, out);
    else
        memcpy(out, "simulated", sizeof "simulated");
}

struct clock *clock_real(void)
{
    static const struct clock REAL = {real_wall_us, real_boot_us, real_boot_id};

    return (struct clock *)&REAL; /* has no state: nobody writes to it */
}
