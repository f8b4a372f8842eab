/* uuid.h: RFC 9562 identifiers. Text is 8-4-4-4-12: read in any case, written in lower case. */
#ifndef SUBPAY_BASE_UUID_H
#define SUBPAY_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "base/str.h"

#define UUID_TEXT 37 /* 36 characters and the NUL */

struct uuid {
    uint8_t bytes[16];
};

extern const struct uuid UUID_NIL;
extern const struct uuid UUID_SUBPAY; /* namespace of contract section 5: 2d0c5c0e-6f5b-… */

bool uuid_parse(const char *text, size_t len, struct uuid *out);
void uuid_format(const struct uuid *id, char out[UUID_TEXT]);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
int uuid_compare(const struct uuid *a, const struct uuid *b);
bool uuid_is_nil(const struct uuid *id);

struct uuid uuid_v5(const struct uuid *name_space, const void *name, size_t len);
/* Of several parts with 0x1F between them. */
struct uuid uuid_v5_joined(const struct uuid *name_space, const struct span *parts, size_t count);
/* Time-ordered: 48 bits of unix milliseconds, the rest random. */
struct uuid uuid_v7(int64_t wall_us, struct random *random);

#endif
