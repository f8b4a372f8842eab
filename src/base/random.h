/* random.h: random numbers are passed in: the kernel's, or in simulations those of a seed. */
#ifndef SUBPAY_BASE_RANDOM_H
#define SUBPAY_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    void (*fill)(struct random *, void *out, size_t len);
};

struct random *random_real(void); /* getrandom(2); any thread */

/* xoshiro256**, for simulations, jitter and outcomes: not for secrets. One thread at a time. */
struct random_seeded {
    struct random random;
    uint64_t state[4];
};
void random_seed(struct random_seeded *r, uint64_t seed);

uint64_t random_u64(struct random *r);
uint64_t random_below(struct random *r, uint64_t bound); /* [0, bound), unbiased; bound > 0 */
double random_unit(struct random *r);                    /* [0, 1) */
/* A fixed hash of bytes under a seed (the simulator's outcomes depend on it: never change it). */
uint64_t hash_u64(uint64_t seed, const void *bytes, size_t len);

#endif
