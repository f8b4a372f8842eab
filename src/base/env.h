/* env.h: the world that a step may see. Everything that is not a function of its inputs comes from here.
 *
 * The runner makes one per service thread from the real world, the simulated world makes one from a seed. */
#ifndef SUBPAY_BASE_ENV_H
#define SUBPAY_BASE_ENV_H

struct clock;
struct random;
struct log;

struct env {
    struct clock *clock;
    struct random *random;
    struct log *log;
};

#endif
