/* jwt.h: tokens: one algorithm, pinned by configuration, keys kept. Source: RFC 7515/7519/8725,
 * contract section 5. The signature is verified before any claim is read; secrets are compared
 * in constant time. A verifier belongs to one thread (its contexts are reused); open one per
 * loop. */
#ifndef SUBPAY_HTTP_JWT_H
#define SUBPAY_HTTP_JWT_H

#include "base/config.h"
#include "base/err.h"
#include "base/str.h"
#include "base/uuid.h"

#define JWT_TOKEN_MAX 8192 /* bytes */
#define JWT_LEEWAY_S 30
#define JWT_SECRET_MIN 32 /* bytes of an HS256 key */

struct jwt_verifier;
struct jwt_identity {
    struct uuid user_id;
    bool admin;
};
enum err jwt_verifier_open(struct jwt_verifier **out, const struct config *config, char *why,
                           size_t why_cap) MUST_CHECK;
void jwt_verifier_close(struct jwt_verifier *v);
/* NULL, or a short reason for the log and WWW-Authenticate (never the token). */
const char *jwt_verify(struct jwt_verifier *v, const char *token, size_t len, int64_t wall_us,
                       struct jwt_identity *out);
/* HS256 with config->jwt_secret (`subpay token`); audience and issuer when configured. */
enum err jwt_sign(const struct config *config, const struct uuid *user_id, bool admin,
                  int64_t wall_us, int64_t ttl_s, struct str *out) MUST_CHECK;

#endif
