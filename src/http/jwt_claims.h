/* jwt_claims.h: what a genuine token must say. The signature was verified before. Pure. */
#ifndef SUBPAY_HTTP_JWT_CLAIMS_H
#define SUBPAY_HTTP_JWT_CLAIMS_H

#include "base/json.h"
#include "http/jwt.h"

struct jwt_expected {
    const char *algorithm;         /* as a token's header spells it */
    const char *audience, *issuer; /* "" is not asked for */
};
/* NULL, or what is wrong. */
const char *jwt_head_check(const struct json *head, const struct jwt_expected *expected);
/* text: the claims as sent, the same as `claims`. */
const char *jwt_claims_check(const struct json *claims, struct span text,
                             const struct jwt_expected *expected, int64_t now_s,
                             struct jwt_identity *out);

#endif
