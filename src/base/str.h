/* str.h: a text that grows up to a limit, and the few things the C library lacks.
 *
 * The builder never fails in the middle: once it is over its limit (or out of memory) `failed` is
 * set, further appends do nothing, and the caller looks once at the end. `data` is always NUL-
 * terminated and never NULL after str_init. Owned by whoever initialised it; one thread at a
 * time. */
#ifndef SUBPAY_BASE_STR_H
#define SUBPAY_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    char *data;
    size_t len, cap, limit; /* bytes, without the NUL */
    bool failed;
};

void str_init(struct str *s, size_t limit);
void str_release(struct str *s);
void str_clear(struct str *s);
void str_add(struct str *s, const char *text);
void str_add_bytes(struct str *s, const void *bytes, size_t len);
void str_addf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_addv(struct str *s, const char *format, va_list args);

/* A borrowed range of bytes, not NUL-terminated. */
struct span {
    const char *data;
    size_t len;
};

/* Copies a text into a fixed array; false (and an empty dst) if it does not fit or has a NUL
 * inside. */
bool text_copy(char *dst, size_t cap, const char *src);
bool text_copy_n(char *dst, size_t cap, const char *src, size_t len);
/* A whole decimal number in [min, max], digits with an optional minus sign and nothing else. */
bool text_i64(const char *text, int64_t min, int64_t max, int64_t *out);
bool text_is_utf8(const char *text, size_t len);

#endif
