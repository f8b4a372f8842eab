#include "http/jwt.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "http/base64.h"
#include "http/jwt_claims.h"

#define SECRETS_MAX 2     /* the key and the one before it */
#define RSA_BITS_MIN 2048 /* RFC 7518 section 3.3 */
#define ES256_BYTES 64    /* r and s */
#define HS256_BYTES 32

struct jwt_verifier {
    enum jwt_algorithm algorithm;
    const char *secrets[SECRETS_MAX]; /* into config */
    struct jwt_expected expected;
    struct config config; /* a copy: the caller's may go */
    EVP_MAC_CTX *mac;
    EVP_PKEY *key;
    EVP_MD_CTX *digest;
    unsigned char part[JWT_TOKEN_MAX], signature[JWT_TOKEN_MAX];
};

static const char *algorithm_name(enum jwt_algorithm algorithm)
{
    switch (algorithm) {
    case JWT_HS256:
        return "HS256";
    case JWT_RS256:
        return "RS256";
    case JWT_ES256:
        return "ES256";
    case JWT_EDDSA:
        return "EdDSA";
    }
    return "";
}

static EVP_MAC_CTX *mac_make(void)
{
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac); /* the context holds it */
    return ctx;
}

static bool mac_of(EVP_MAC_CTX *ctx, const char *secret, const char *text, size_t len,
                   unsigned char out[HS256_BYTES])
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    size_t written = 0;
    return EVP_MAC_init(ctx, (const unsigned char *)secret, strlen(secret), params) == 1 &&
           EVP_MAC_update(ctx, (const unsigned char *)text, len) == 1 &&
           EVP_MAC_final(ctx, out, &written, HS256_BYTES) == 1 && written == HS256_BYTES;
}

/* The key must be of the algorithm's kind: what a key can do is decided here, not by a token. */
static bool key_fits(EVP_PKEY *key, enum jwt_algorithm algorithm)
{
    char group[64] = "";
    size_t len;
    if (algorithm == JWT_RS256)
        return EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
    if (algorithm == JWT_EDDSA)
        return EVP_PKEY_is_a(key, "ED25519");
    return EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                          &len) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

static enum err public_key_open(struct jwt_verifier *v, char *why, size_t why_cap)
{
    const char *path = v->config.jwt_public_key;
    BIO *file = BIO_new_file(path, "r");
    if (!file) {
        snprintf(why, why_cap, "JWT_PUBLIC_KEY: cannot read '%s'", path);
        return ERR_INVALID;
    }
    v->key = PEM_read_bio_PUBKEY(file, NULL, NULL, NULL);
    BIO_free(file);
    v->digest = EVP_MD_CTX_new();
    if (!v->digest)
        return ERR_NO_MEMORY;
    if (!v->key || !key_fits(v->key, v->algorithm)) {
        snprintf(why, why_cap, "JWT_PUBLIC_KEY: '%s' holds no public key for %s", path,
                 algorithm_name(v->algorithm));
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err secrets_open(struct jwt_verifier *v, char *why, size_t why_cap)
{
    v->secrets[0] = v->config.jwt_secret;
    v->secrets[1] = v->config.jwt_secret_previous[0] ? v->config.jwt_secret_previous : NULL;
    for (int i = 0; i < SECRETS_MAX; i++) {
        if (v->secrets[i] && strlen(v->secrets[i]) < JWT_SECRET_MIN) {
            snprintf(why, why_cap, "JWT_SECRET_KEY%s: at least %d bytes are needed",
                     i == 0 ? "" : "_PREVIOUS", JWT_SECRET_MIN);
            return ERR_INVALID;
        }
    }
    v->mac = mac_make();
    return v->mac ? ERR_OK : ERR_NO_MEMORY;
}

enum err jwt_verifier_open(struct jwt_verifier **out, const struct config *config, char *why,
                           size_t why_cap)
{
    struct jwt_verifier *v = calloc(1, sizeof *v);
    if (!v)
        return ERR_NO_MEMORY;
    v->config = *config;
    v->algorithm = config->jwt_algorithm;
    v->expected.algorithm = algorithm_name(v->algorithm);
    v->expected.audience = v->config.jwt_audience;
    v->expected.issuer = v->config.jwt_issuer;
    enum err err = v->algorithm == JWT_HS256 ? secrets_open(v, why, why_cap)
                                             : public_key_open(v, why, why_cap);
    if (err != ERR_OK) {
        jwt_verifier_close(v);
        return err;
    }
    *out = v;
    return ERR_OK;
}

void jwt_verifier_close(struct jwt_verifier *v)
{
    if (!v)
        return;
    EVP_MAC_CTX_free(v->mac);
    EVP_MD_CTX_free(v->digest);
    EVP_PKEY_free(v->key);
    OPENSSL_cleanse(v, sizeof *v);
    free(v);
}

static bool hmac_matches(struct jwt_verifier *v, const char *text, size_t len, size_t signature_len)
{
    bool matches = false;
    for (int i = 0; i < SECRETS_MAX && v->secrets[i]; i++) {
        unsigned char mac[HS256_BYTES];
        if (signature_len == HS256_BYTES && mac_of(v->mac, v->secrets[i], text, len, mac) &&
            CRYPTO_memcmp(mac, v->signature, HS256_BYTES) == 0)
            matches = true;
    }
    return matches;
}

/* r and s of a token become the DER that OpenSSL reads. */
static unsigned char *ecdsa_der(const unsigned char *raw, size_t raw_len, size_t *der_len)
{
    unsigned char *der = NULL;
    if (raw_len != ES256_BYTES)
        return NULL;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, ES256_BYTES / 2, NULL);
    BIGNUM *s = BN_bin2bn(raw + ES256_BYTES / 2, ES256_BYTES / 2, NULL);
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
        int len = i2d_ECDSA_SIG(sig, &der);
        *der_len = len > 0 ? (size_t)len : 0;
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(sig);
    return der;
}

static bool key_matches(struct jwt_verifier *v, const char *text, size_t len, size_t signature_len)
{
    const unsigned char *signature = v->signature;
    unsigned char *der = NULL;
    if (v->algorithm == JWT_ES256) {
        der = ecdsa_der(v->signature, signature_len, &signature_len);
        if (!der)
            return false;
        signature = der;
    }
    const EVP_MD *md = v->algorithm == JWT_EDDSA ? NULL : EVP_sha256();
    EVP_MD_CTX_reset(v->digest);
    bool matches = EVP_DigestVerifyInit(v->digest, NULL, md, NULL, v->key) == 1 &&
                   EVP_DigestVerify(v->digest, signature, signature_len,
                                    (const unsigned char *)text, len) == 1;
    OPENSSL_free(der);
    return matches;
}

static struct json *part_parse(struct jwt_verifier *v, const char *text, size_t len, size_t *bytes)
{
    struct json *doc = NULL;
    if (base64url_decode(text, len, v->part, bytes))
        doc = json_parse((const char *)v->part, *bytes, NULL, 0);
    if (doc && !json_is_object(doc)) {
        json_free(doc);
        doc = NULL;
    }
    return doc;
}

const char *jwt_verify(struct jwt_verifier *v, const char *token, size_t len, int64_t wall_us,
                       struct jwt_identity *out)
{
    if (len > JWT_TOKEN_MAX)
        return "the token is too long";
    const char *end = token + len;
    const char *dot = memchr(token, '.', len);
    const char *last = dot ? memchr(dot + 1, '.', (size_t)(end - dot - 1)) : NULL;
    if (!last || dot == token || last == dot + 1 || last + 1 == end)
        return "the token has not three parts";
    size_t signed_len = (size_t)(last - token), signature_len, bytes;
    if (!base64url_decode(last + 1, (size_t)(end - last - 1), v->signature, &signature_len))
        return "the token is malformed";
    bool genuine = v->algorithm == JWT_HS256 ? hmac_matches(v, token, signed_len, signature_len)
                                             : key_matches(v, token, signed_len, signature_len);
    if (!genuine)
        return "the signature does not match";
    struct json *head = part_parse(v, token, (size_t)(dot - token), &bytes);
    const char *wrong =
        head ? jwt_head_check(head, &v->expected) : "the token's header is malformed";
    json_free(head);
    if (wrong)
        return wrong;
    struct json *claims = part_parse(v, dot + 1, (size_t)(last - dot - 1), &bytes);
    if (!claims)
        return "the token's claims are malformed";
    struct span text = {(const char *)v->part, bytes};
    wrong = jwt_claims_check(claims, text, &v->expected, wall_us / US_PER_S, out);
    json_free(claims);
    return wrong;
}

static void claims_write(struct str *out, const struct config *config, const struct uuid *user_id,
                         bool admin, int64_t now_s, int64_t ttl_s)
{
    char id[UUID_TEXT];
    uuid_format(user_id, id);
    json_open(out, '{');
    json_put_text(out, "user_id", id);
    if (admin) {
        json_name(out, "roles");
        json_open(out, '[');
        json_add_text(out, "admin");
        json_close(out, ']');
    }
    json_put_i64(out, "iat", now_s);
    json_put_i64(out, "exp", now_s + ttl_s);
    if (config->jwt_audience[0])
        json_put_text(out, "aud", config->jwt_audience);
    if (config->jwt_issuer[0])
        json_put_text(out, "iss", config->jwt_issuer);
    json_close(out, '}');
}

enum err jwt_sign(const struct config *config, const struct uuid *user_id, bool admin,
                  int64_t wall_us, int64_t ttl_s, struct str *out)
{
    static const char HEAD[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    unsigned char mac[HS256_BYTES];
    struct str claims, token;
    if (config->jwt_algorithm != JWT_HS256 || strlen(config->jwt_secret) < JWT_SECRET_MIN)
        return ERR_INVALID;
    EVP_MAC_CTX *ctx = mac_make();
    str_init(&claims, JWT_TOKEN_MAX);
    str_init(&token, JWT_TOKEN_MAX);
    claims_write(&claims, config, user_id, admin, wall_us / US_PER_S, ttl_s);
    base64url_encode(&token, HEAD, sizeof HEAD - 1);
    str_add(&token, ".");
    base64url_encode(&token, claims.data, claims.len);
    bool done = ctx && mac_of(ctx, config->jwt_secret, token.data, token.len, mac);
    str_add(&token, ".");
    base64url_encode(&token, mac, sizeof mac);
    done = done && !claims.failed && !token.failed;
    if (done)
        str_add_bytes(out, token.data, token.len);
    EVP_MAC_CTX_free(ctx);
    str_release(&claims);
    str_release(&token);
    return done ? ERR_OK : ERR_NO_MEMORY;
}
