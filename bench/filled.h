/* filled.h: the names of what bench/fill.sql has written. */
#ifndef SUBPAY_BENCH_FILLED_H
#define SUBPAY_BENCH_FILLED_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/uuid.h"

/* Users from 1; their ids are scattered over all ids. */
static inline struct uuid filled_user(uint64_t number)
{
    char text[64];
    struct uuid id = {0};
    snprintf(text, sizeof text, "%08" PRIx64 "-0000-4000-8000-%012" PRIx64,
             number * 2654435761U % 4294967296U, number);
    (void)uuid_parse(text, strlen(text), &id);
    return id;
}

/* Payments from 1; their ids ascend, as those of version 7 do. */
static inline struct uuid filled_payment(uint64_t number)
{
    uint64_t ms = 1700000000000U + number * 8640;
    char text[64];
    struct uuid id = {0};
    snprintf(text, sizeof text, "%08" PRIx64 "-%04" PRIx64 "-7000-8000-%012" PRIx64, ms >> 16,
             ms & 0xffff, number);
    (void)uuid_parse(text, strlen(text), &id);
    return id;
}

/* The i-th of `count` in an order that has nothing to do with theirs; each once: it is a prime. */
static inline uint64_t filled_scattered(uint64_t i, uint64_t count)
{
    return i % count * 2654435761U % count;
}

#endif
