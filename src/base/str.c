#include "base/str.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STR_CAP_MIN 63

/* Shared by all empty builders; never written, because their cap is 0. */
static const char EMPTY[1] = "";

void str_init(struct str *s, size_t limit)
{
    *s = (struct str){.data = (char *)EMPTY, .limit = limit};
}

void str_release(struct str *s)
{
    if (s->cap)
        free(s->data);
    str_init(s, s->limit);
}

void str_clear(struct str *s)
{
    s->len = 0;
    s->failed = false;
    if (s->cap)
        s->data[0] = '\0';
}

/* Room for `more` bytes and the NUL, or failed. */
static bool str_reserve(struct str *s, size_t more)
{
    size_t cap;
    char *data;

    if (s->failed)
        return false;
    assert(s->len <= s->limit);
    if (more > s->limit - s->len)
        goto failed;
    if (s->cap && more <= s->cap - s->len)
        return true;
    cap = s->cap < STR_CAP_MIN ? STR_CAP_MIN : s->cap;
    while (cap < s->len + more)
        cap = cap > s->limit / 2 ? s->limit : cap * 2;
    if (cap > s->limit)
        cap = s->limit;
    data = realloc(s->cap ? s->data : NULL, cap + 1);
    if (!data)
        goto failed;
    if (!s->cap)
        data[0] = '\0';
    s->data = data;
    s->cap = cap;
    return true;
failed:
    s->failed = true;
    return false;
}

void str_add_bytes(struct str *s, const void *bytes, size_t len)
{
    if (len == 0 || !str_reserve(s, len))
        return;
    memcpy(s->data + s->len, bytes, len);
    s->len += len;
    s->data[s->len] = '\0';
}

void str_add(struct str *s, const char *text)
{
    str_add_bytes(s, text, strlen(text));
}

void str_addv(struct str *s, const char *format, va_list args)
{
    va_list again;
    int len;

    if (s->failed)
        return;
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    if (len < 0)
        s->failed = true;
    else if (len > 0 && str_reserve(s, (size_t)len)) {
        vsnprintf(s->data + s->len, (size_t)len + 1, format, again);
        s->len += (size_t)len;
    }
    va_end(again);
}

void str_addf(struct str *s, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    str_addv(s, format, args);
    va_end(args);
}

bool text_copy_n(char *dst, size_t cap, const char *src, size_t len)
{
    if (cap == 0)
        return false;
    if (len >= cap || memchr(src, '\0', len)) {
        dst[0] = '\0';
        return false;
    }
    memcpy(dst, src, len);
    dst[len] = '\0';
    return true;
}

bool text_copy(char *dst, size_t cap, const char *src)
{
    return text_copy_n(dst, cap, src, strlen(src));
}

bool text_i64(const char *text, int64_t min, int64_t max, int64_t *out)
{
    bool negative = *text == '-';
    int64_t value = 0;

    if (negative)
        text++;
    if (*text == '\0')
        return false;
    for (; *text; text++) {
        int digit = *text - '0';

        if (digit < 0 || digit > 9)
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, negative ? -digit : digit, &value))
            return false;
    }
    if (value < min || value > max)
        return false;
    *out = value;
    return true;
}

/* The number of bytes of the code point at p, 0 if it is none (RFC 3629, table of section 4). */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    size_t len;

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (left < len)
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0; /* overlong */
    else if (p[0] == 0xed)
        high = 0x9f; /* surrogates */
    else if (p[0] == 0xf0)
        low = 0x90; /* overlong */
    else if (p[0] == 0xf4)
        high = 0x8f; /* above U+10FFFF */
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool text_is_utf8(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;

    for (size_t i = 0; i < len;) {
        size_t step = utf8_sequence(p + i, len - i);

        if (step == 0)
            return false;
        i += step;
    }
    return true;
}
