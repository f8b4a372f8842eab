/* buckets.h: token buckets by key, in a table of fixed size: who was seen least recently makes
 * room. One thread.
 *
 * Making room forgets a debt, which only helps who spreads over more keys than the table holds. */
#ifndef SUBPAY_HTTP_BUCKETS_H
#define SUBPAY_HTTP_BUCKETS_H

#include "base/config.h"
#include "base/err.h"

#define BUCKET_KEY_BYTES 16

struct buckets;
enum err buckets_open(struct buckets **out, const struct rate *rate, size_t max) MUST_CHECK;
void buckets_close(struct buckets *b); /* NULL is fine */
/* Takes one token: 0; or none is left: how many seconds until there is one, at least 1. */
int64_t buckets_take(struct buckets *b, const unsigned char key[BUCKET_KEY_BYTES], int64_t boot_us);

#endif
