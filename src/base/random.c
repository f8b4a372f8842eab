#include "base/random.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void real_fill(struct random *r, void *out, size_t len)
{
    unsigned char *p = out;

    (void)r;
    while (len) {
        ssize_t got = getrandom(p, len, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort(); /* without random numbers ids would collide: there is no way to go on */
        p += got;
        len -= (size_t)got;
    }
}

struct random *random_real(void)
{
    static const struct random REAL = {real_fill};

    return (struct random *)&REAL; /* has no state: nobody writes to it */
}

/* splitmix64 (Vigna, public domain): its mixing function, which is a bijection. */
static uint64_t mix_u64(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

/* xoshiro256** 1.0 (Blackman and Vigna, public domain). */
static uint64_t seeded_next(uint64_t s[4])
{
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Little-endian whatever the machine is, so that a seed means the same everywhere. */
static void seeded_fill(struct random *random, void *out, size_t len)
{
    struct random_seeded *r = (struct random_seeded *)random;
    unsigned char *p = out;

    while (len) {
        uint64_t value = seeded_next(r->state);

        for (int i = 0; i < 8 && len; i++, len--) {
            *p++ = (unsigned char)value;
            value >>= 8;
        }
    }
}

void random_seed(struct random_seeded *r, uint64_t seed)
{
    r->random.fill = seeded_fill;
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        r->state[i] = mix_u64(seed);
    }
}

uint64_t random_u64(struct random *r)
{
    unsigned char bytes[8];
    uint64_t value = 0;

    r->fill(r, bytes, sizeof(bytes));
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

uint64_t random_below(struct random *r, uint64_t bound)
{
    uint64_t skip, value;

    assert(bound > 0);
    skip = -bound % bound; /* 2^64 mod bound: what would favour the small ones */
    do
        value = random_u64(r);
    while (value < skip);
    return value % bound;
}

double random_unit(struct random *r)
{
    return (double)(random_u64(r) >> 11) * 0x1.0p-53;
}

/* FNV-1a over the bytes, begun at a place that depends on the seed, finished by splitmix64's
 * mixer. */
uint64_t hash_u64(uint64_t seed, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ mix_u64(seed);

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return mix_u64(hash);
}
