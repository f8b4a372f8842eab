#include "http/buckets.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"

#define NONE UINT32_MAX

/* In a chain by hash, and in a ring by use; fresh ones are beyond `used`. */
struct bucket {
    unsigned char key[BUCKET_KEY_BYTES];
    int64_t full_at_us; /* when it will have all its tokens again */
    uint32_t chain, newer, older;
};
struct buckets {
    int64_t token_us, burst; /* time that brings one token; most of them */
    uint64_t seed;
    uint32_t max, used, newest, oldest;
    uint32_t *heads;
    struct bucket *buckets;
};

enum err buckets_open(struct buckets **out, const struct rate *rate, size_t max)
{
    struct buckets *b = calloc(1, sizeof *b);
    if (!b)
        return ERR_NO_MEMORY;
    b->max = (uint32_t)max;
    b->token_us = US_PER_S / rate->per_second > 0 ? US_PER_S / rate->per_second : 1;
    b->burst = rate->burst > 0 ? rate->burst : 1;
    b->newest = b->oldest = NONE;
    b->seed = random_u64(random_real());
    b->heads = malloc(max * sizeof *b->heads);
    b->buckets = malloc(max * sizeof *b->buckets);
    if (!b->heads || !b->buckets) {
        buckets_close(b);
        return ERR_NO_MEMORY;
    }
    memset(b->heads, 0xff, max * sizeof *b->heads);
    *out = b;
    return ERR_OK;
}

void buckets_close(struct buckets *b)
{
    if (!b)
        return;
    free(b->heads);
    free(b->buckets);
    free(b);
}

static uint32_t *head_of(struct buckets *b, const unsigned char *key)
{
    return &b->heads[hash_u64(b->seed, key, BUCKET_KEY_BYTES) % b->max];
}

static void use_unlink(struct buckets *b, uint32_t i)
{
    struct bucket *bucket = &b->buckets[i];
    *(bucket->newer == NONE ? &b->newest : &b->buckets[bucket->newer].older) = bucket->older;
    *(bucket->older == NONE ? &b->oldest : &b->buckets[bucket->older].newer) = bucket->newer;
}

static void use_link(struct buckets *b, uint32_t i)
{
    struct bucket *bucket = &b->buckets[i];
    bucket->newer = NONE;
    bucket->older = b->newest;
    *(b->newest == NONE ? &b->oldest : &b->buckets[b->newest].newer) = i;
    b->newest = i;
}

static uint32_t bucket_new(struct buckets *b, const unsigned char *key)
{
    uint32_t i = b->used;
    if (b->used < b->max) {
        b->used++;
    } else {
        i = b->oldest;
        uint32_t *at = head_of(b, b->buckets[i].key);
        while (*at != i)
            at = &b->buckets[*at].chain;
        *at = b->buckets[i].chain;
        use_unlink(b, i);
    }
    struct bucket *bucket = &b->buckets[i];
    uint32_t *head = head_of(b, key);
    memcpy(bucket->key, key, BUCKET_KEY_BYTES);
    bucket->full_at_us = 0;
    bucket->chain = *head;
    *head = i;
    use_link(b, i);
    return i;
}

int64_t buckets_take(struct buckets *b, const unsigned char key[BUCKET_KEY_BYTES], int64_t boot_us)
{
    uint32_t i = *head_of(b, key);
    while (i != NONE && memcmp(b->buckets[i].key, key, BUCKET_KEY_BYTES) != 0)
        i = b->buckets[i].chain;
    if (i == NONE) {
        i = bucket_new(b, key);
    } else {
        use_unlink(b, i);
        use_link(b, i);
    }
    struct bucket *bucket = &b->buckets[i];
    int64_t full_at_us = bucket->full_at_us > boot_us ? bucket->full_at_us : boot_us;
    int64_t over_us = full_at_us + b->token_us - boot_us - b->burst * b->token_us;
    if (over_us > 0)
        return (over_us + US_PER_S - 1) / US_PER_S;
    bucket->full_at_us = full_at_us + b->token_us;
    return 0;
}
