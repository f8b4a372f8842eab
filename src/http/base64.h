/* base64.h: base64url without padding (RFC 4648 section 5), as tokens use it. Pure. */
#ifndef SUBPAY_HTTP_BASE64_H
#define SUBPAY_HTTP_BASE64_H

#include <stdbool.h>

#include "base/str.h"

/* Strict: no padding, no other characters, no bits left over: each value has one spelling. At
 * most len * 3 / 4 bytes are written. */
bool base64url_decode(const char *text, size_t len, unsigned char *out, size_t *out_len);
void base64url_encode(struct str *out, const void *bytes, size_t len);

#endif
