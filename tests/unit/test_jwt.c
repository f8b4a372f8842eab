/* Tokens: few are good, many are hostile. Everything is signed here, with OpenSSL and without
 * jwt.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/clock.h"
#include "http/base64.h"
#include "http/jwt.h"

#define NOW_S INT64_C(1800000000)
#define NOW_US (NOW_S * US_PER_S)
#define SECRET "0123456789abcdef0123456789abcdef"
#define PREVIOUS "previous-secret-previous-secret-"
#define USER "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
#define OTHER_USER "11111111-8b86-4d01-b42d-00cf4fc964ff"
#define HEAD "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define LATER "1800003600"
#define CLAIMS "{\"user_id\":\"" USER "\",\"exp\":" LATER "}"

static void part_add(struct str *out, const void *bytes, size_t len)
{
    base64url_encode(out, bytes, len);
}

/* head.claims, not yet signed; the caller releases it. */
static struct str unsigned_token(const char *head, const char *claims)
{
    struct str s;
    str_init(&s, 1 << 20);
    part_add(&s, head, strlen(head));
    str_add(&s, ".");
    part_add(&s, claims, strlen(claims));
    return s;
}

static void hmac_add(struct str *token, const void *key, size_t key_len, const EVP_MD *md)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    HMAC(md, key, (int)key_len, (unsigned char *)token->data, token->len, mac, &len);
    str_add(token, ".");
    part_add(token, mac, len);
}

static struct str hs256(const char *head, const char *claims, const char *secret)
{
    struct str s = unsigned_token(head, claims);
    hmac_add(&s, secret, strlen(secret), EVP_sha256());
    return s;
}

static struct config config_hs(void)
{
    struct config c = {.jwt_algorithm = JWT_HS256};
    snprintf(c.jwt_secret, sizeof c.jwt_secret, "%s", SECRET);
    return c;
}

static struct jwt_verifier *verifier(const struct config *config)
{
    struct jwt_verifier *v = NULL;
    char why[300] = "";
    enum err err = jwt_verifier_open(&v, config, why, sizeof why);
    if (err != ERR_OK)
        fail_msg("%s", why);
    return v;
}

static struct jwt_verifier *hs_verifier(void)
{
    struct config c = config_hs();
    return verifier(&c);
}

static const char *verify(struct jwt_verifier *v, const struct str *token, struct jwt_identity *who)
{
    return jwt_verify(v, token->data, token->len, NOW_US, who);
}

static bool is_user(const struct jwt_identity *who, const char *text)
{
    char id[UUID_TEXT];
    uuid_format(&who->user_id, id);
    return strcmp(id, text) == 0;
}

/* ---- claims: genuine tokens that are good or not ---- */

struct claims_case {
    bool good, admin;
    const char *claims;
};
#define U "{\"user_id\":\"" USER "\","
static const struct claims_case CLAIMS_CASES[] = {
    {true, false, CLAIMS},
    {true, false, "{\"sub\":\"" USER "\",\"exp\":" LATER "}"},
    {true, false, "{\"sub\":\"" OTHER_USER "\",\"user_id\":\"" USER "\",\"exp\":" LATER "}"},
    {true, false, "{\"sub\":\"nobody\",\"user_id\":\"" USER "\",\"exp\":" LATER "}"},
    {true, false, "{\"user_id\":\"6F9619FF-8B86-4D01-B42D-00CF4FC964FF\",\"exp\":" LATER "}"},
    {true, false, U "\"exp\":1799999971}"},   /* leeway */
    {true, false, U "\"exp\":1799999971.5}"}, /* a fraction is cut */
    {true, false, U "\"exp\":1800003600.25}"},
    {true, false, U "\"exp\":1.8000036e9}"},
    {true, false, "{\"x\":{\"exp\":1},\"user_id\":\"" USER "\", \"exp\" : 1800003600.75 }"},
    {true, false, U "\"exp\":" LATER ",\"nbf\":1800000030}"},
    {true, false, U "\"exp\":" LATER ",\"nbf\":1800000029.5}"},
    {true, false, U "\"exp\":" LATER ",\"iat\":1799999999.123,\"jti\":\"a\",\"aud\":\"x\"}"},
    {true, false, U "\"exp\":9223372036854775807}"},
    {true, false, U "\"exp\":" LATER ",\"roles\":[]}"},
    {true, false, U "\"exp\":" LATER ",\"roles\":null}"},
    {true, true, U "\"exp\":" LATER ",\"roles\":[\"admin\"]}"},
    {true, true, U "\"exp\":" LATER ",\"roles\":[1,null,\"user\",\"admin\"]}"},
    {true, false, U "\"exp\":" LATER ",\"roles\":[\"Admin\",\"admin \",[\"admin\"]]}"},
    {true, false, U "\"exp\":" LATER ",\"roles\":\"admin\"}"},
    {true, false, U "\"exp\":" LATER ",\"roles\":{\"admin\":true}}"},
    {true, false, U "\"exp\":" LATER ",\"role\":\"admin\",\"admin\":true}"},
    {false, false, "{\"user_id\":\"" USER "\"}"},
    {false, false, "{\"exp\":" LATER "}"},
    {false, false, "{}"},
    {false, false, ""},
    {false, false, "null"},
    {false, false, "[]"},
    {false, false, "\"" USER "\""},
    {false, false, "[" CLAIMS "]"},
    {false, false, U "\"exp\":1799999970}"},
    {false, false, U "\"exp\":1799999970.9}"},
    {false, false, U "\"exp\":0}"},
    {false, false, U "\"exp\":-1}"},
    {false, false, U "\"exp\":-9223372036854775808}"},
    {false, false, U "\"exp\":1e400}"},
    {false, false, U "\"exp\":1e300}"},
    {false, false, U "\"exp\":99999999999999999999999999}"},
    {false, false, U "\"exp\":null}"},
    {false, false, U "\"exp\":true}"},
    {false, false, U "\"exp\":\"" LATER "\"}"},
    {false, false, U "\"exp\":[" LATER "]}"},
    {false, false, U "\"exp\":{}}"},
    {false, false, U "\"EXP\":" LATER "}"},
    {false, false, U "\"exp \":" LATER "}"},
    {false, false, U "\"x\":{\"exp\":1800003600.5}}"},
    {false, false, U "\"exp\":" LATER ",\"nbf\":1800000031}"},
    {false, false, U "\"exp\":" LATER ",\"nbf\":\"0\"}"},
    {false, false, U "\"exp\":" LATER ",\"nbf\":null}"},
    {false, false, U "\"exp\":" LATER ",\"iat\":\"now\"}"},
    {false, false, U "\"exp\":1,\"exp\":" LATER "}"},
    {false, false, U "\"exp\":" LATER ",\"exp\":" LATER "}"},
    {false, false, U "\"exp\":" LATER ",\"\\u0065xp\":" LATER "}"},
    {false, false, U "\"user_id\":\"" OTHER_USER "\",\"exp\":" LATER "}"},
    {false, false, U "\"exp\":" LATER ",\"roles\":[],\"roles\":[\"admin\"]}"},
    {false, false, "{\"user_id\":null,\"sub\":\"" USER "\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"\",\"sub\":\"" USER "\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":7,\"sub\":\"" USER "\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":[\"" USER "\"],\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"nobody\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"" USER " \",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"" USER "\\u0000\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"{" USER "}\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"urn:uuid:" USER "\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"6f9619ff8b864d01b42d00cf4fc964ff\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"6f9619ff-8b86-4d01-b42d-00cf4fc964fg\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"6f9619ff-8b86-4d01-b42d-00cf4fc964f\",\"exp\":" LATER "}"},
    {false, false, "{\"user_id\":\"' OR 1=1 --\",\"exp\":" LATER "}"},
    {false, false, "{\"sub\":\"admin\",\"exp\":" LATER "}"},
    {false, false, CLAIMS " x"},
    {false, false, CLAIMS CLAIMS},
    {false, false, "{\"user_id\":'" USER "',\"exp\":" LATER "}"},
    {false, false, U "\"exp\":" LATER ",}"},
    {false, false, U "\"exp\":0" LATER "}"},
    {false, false, U "\"exp\":+" LATER "}"},
    {false, false, U "\"exp\":0x6b49d200}"},
    {false, false, U "\"exp\":NaN}"},
    {false, false, U "\"exp\":Infinity}"},
    {false, false, U "\"exp\":" LATER ",\"x\":\"\xff\"}"},
    {false, false, U "\"exp\":" LATER ",\"x\":\"\\ud800\"}"},
    {false, false, U "\"exp\":" LATER ",\"x\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}"},
};

static void test_claims(void **state)
{
    struct jwt_verifier *v = hs_verifier();
    (void)state;
    for (size_t i = 0; i < sizeof CLAIMS_CASES / sizeof CLAIMS_CASES[0]; i++) {
        const struct claims_case *c = &CLAIMS_CASES[i];
        struct jwt_identity who = {0};
        struct str token = hs256(HEAD, c->claims, SECRET);
        const char *wrong = verify(v, &token, &who);
        if (c->good != (wrong == NULL))
            fail_msg("%s: %s", c->claims, wrong ? wrong : "accepted");
        assert_true(!c->good || is_user(&who, USER));
        assert_int_equal(who.admin, c->admin);
        assert_true(!wrong || (!strchr(wrong, '"') && uuid_is_nil(&who.user_id)));
        str_release(&token);
    }
    jwt_verifier_close(v);
}

/* ---- headers: genuinely signed, whatever they say ---- */

struct head_case {
    bool good;
    const char *head;
};
static const struct head_case HEAD_CASES[] = {
    {true, HEAD},
    {true, "{\"alg\":\"HS256\"}"},
    {true, "{\"typ\":\"jwt\",\"alg\":\"HS256\",\"kid\":\"../../etc/passwd\"}"},
    {true, "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"cty\":\"x\"}"},
    {false, "{}"},
    {false, "{\"typ\":\"JWT\"}"},
    {false, "{\"alg\":\"none\"}"},
    {false, "{\"alg\":\"None\"}"},
    {false, "{\"alg\":\"NONE\"}"},
    {false, "{\"alg\":\"nOnE\"}"},
    {false, "{\"alg\":\"\"}"},
    {false, "{\"alg\":null}"},
    {false, "{\"alg\":[\"HS256\"]}"},
    {false, "{\"alg\":256}"},
    {false, "{\"alg\":\"hs256\"}"},
    {false, "{\"alg\":\"HS256 \"}"},
    {false, "{\"alg\":\"HS256\\u0000\"}"},
    {false, "{\"alg\":\"HS384\"}"},
    {false, "{\"alg\":\"HS512\"}"},
    {false, "{\"alg\":\"RS256\"}"},
    {false, "{\"alg\":\"ES256\"}"},
    {false, "{\"alg\":\"EdDSA\"}"},
    {false, "{\"alg\":\"PS256\"}"},
    {false, "{\"ALG\":\"HS256\"}"},
    {false, "{\"alg\":\"HS256\",\"alg\":\"none\"}"},
    {false, "{\"alg\":\"none\",\"alg\":\"HS256\"}"},
    {false, "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}"},
    {false, "{\"alg\":\"HS256\",\"crit\":[]}"},
    {false, "{\"alg\":\"HS256\",\"crit\":null}"},
    {false, "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}"},
    {false, "{\"alg\":\"HS256\",\"b64\":false}"},
    {false, "{\"alg\":\"HS256\",\"zip\":\"DEF\"}"},
    {false, "{\"alg\":\"HS256\",\"enc\":\"A256GCM\"}"},
    {false, "{\"alg\":\"HS256\",\"jku\":\"http://127.0.0.1/keys\"}"},
    {false, "{\"alg\":\"HS256\",\"x5u\":\"file:///etc/passwd\"}"},
    {false, "{\"alg\":\"HS256\",\"x5c\":[\"MIIB\"]}"},
    {false, "{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"}}"},
    {false, "{\"alg\":\"HS256\",\"typ\":\"JOSE\"}"},
    {false, "{\"alg\":\"HS256\",\"typ\":1}"},
    {false, "{\"alg\":\"HS256\",\"typ\":null}"},
    {false, "[\"HS256\"]"},
    {false, "\"HS256\""},
    {false, "HS256"},
    {false, "{\"alg\":\"HS256\""},
    {false, HEAD "{}"},
    {false, "{\"alg\":\"HS256\",}"},
    {false, "{\"alg\":\"HS256\",\"x\":\"\xc0\x80\"}"},
};

static void test_heads(void **state)
{
    struct jwt_verifier *v = hs_verifier();
    (void)state;
    for (size_t i = 0; i < sizeof HEAD_CASES / sizeof HEAD_CASES[0]; i++) {
        struct jwt_identity who = {0};
        struct str token = hs256(HEAD_CASES[i].head, CLAIMS, SECRET);
        const char *wrong = verify(v, &token, &who);
        if (HEAD_CASES[i].good != (wrong == NULL))
            fail_msg("%s: %s", HEAD_CASES[i].head, wrong ? wrong : "accepted");
        str_release(&token);
    }
    jwt_verifier_close(v);
}

/* ---- forms: what is done to a good token's text ---- */

static void refused(struct jwt_verifier *v, const char *what, const char *token, size_t len)
{
    struct jwt_identity who = {0};
    if (!jwt_verify(v, token, len, NOW_US, &who))
        fail_msg("accepted: %s", what);
    assert_true(uuid_is_nil(&who.user_id) && !who.admin);
}

static void test_every_byte_counts(void **state)
{
    struct jwt_verifier *v = hs_verifier();
    struct str token = hs256(HEAD, CLAIMS, SECRET);
    (void)state;
    for (size_t i = 0; i < token.len; i++) {
        char was = token.data[i];
        for (int k = 0; k < 8; k++) {
            token.data[i] = (char)(was ^ 1 << k);
            refused(v, "a changed bit", token.data, token.len);
        }
        token.data[i] = was;
        refused(v, "a cut token", token.data, i);
    }
    str_release(&token);
    jwt_verifier_close(v);
}

static void test_forms(void **state)
{
    static const char *const TEXTS[] = {
        "",
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c",
        ".b.c",
        "a..c",
        "a.b.",
        "=.=.=",
        "bearer",
        "null",
        "eyJhbGciOiJub25lIn0.e30.",
        "eyJhbGciOiJub25lIn0.e30",
        "{\"alg\":\"HS256\"}.{}.x",
        "%65yJ.a.b",
        "\xff.\xff.\xff",
        "../../x",
        "a.b.c.d.e",
    };
    struct jwt_verifier *v = hs_verifier();
    struct str token = hs256(HEAD, CLAIMS, SECRET), other;
    (void)state;
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++)
        refused(v, TEXTS[i], TEXTS[i], strlen(TEXTS[i]));
    static const char *const TAILS[] = {"=", "==", ".", ".x", " ", "\n", "A", "AAAA", "\x01"};
    for (size_t i = 0; i < sizeof TAILS / sizeof TAILS[0]; i++) {
        str_init(&other, 1 << 16);
        str_addf(&other, "%s%s", token.data, TAILS[i]);
        refused(v, TAILS[i], other.data, other.len);
        str_clear(&other);
        str_addf(&other, "%s%s", TAILS[i], token.data);
        refused(v, TAILS[i], other.data, other.len);
        str_release(&other);
    }
    refused(v, "a NUL behind it", token.data, token.len + 1);
    struct str stripped = unsigned_token(HEAD, CLAIMS);
    str_add(&stripped, ".");
    refused(v, "no signature", stripped.data, stripped.len);
    str_release(&stripped);
    str_release(&token);
    jwt_verifier_close(v);
}

/* The same bytes, spelled with bits that decoding would drop. */
static void test_one_spelling(void **state)
{
    unsigned char out[64];
    size_t len;
    (void)state;
    assert_true(base64url_decode("AA", 2, out, &len));
    assert_int_equal(len, 1);
    assert_false(base64url_decode("AB", 2, out, &len));
    assert_false(base64url_decode("AAB", 3, out, &len));
    assert_true(base64url_decode("AAE", 3, out, &len));
    assert_false(base64url_decode("A", 1, out, &len));
    assert_false(base64url_decode("AAAAA", 5, out, &len));
    assert_false(base64url_decode("AA==", 4, out, &len));
    assert_false(base64url_decode("A+/A", 4, out, &len));
    assert_false(base64url_decode("A A", 3, out, &len));
    assert_true(base64url_decode("A-_A", 4, out, &len));
    assert_true(base64url_decode("", 0, out, &len));
    assert_int_equal(len, 0);
    for (size_t n = 0; n < 40; n++) {
        unsigned char bytes[40];
        struct str text;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(i * 37 + n);
        str_init(&text, 100);
        base64url_encode(&text, bytes, n);
        assert_true(base64url_decode(text.data, text.len, out, &len));
        assert_int_equal(len, n);
        assert_memory_equal(out, bytes, n);
        str_release(&text);
    }
}

static void test_length(void **state)
{
    struct jwt_verifier *v = hs_verifier();
    struct jwt_identity who;
    (void)state;
    for (int size = 5900; size <= 6200; size += 300) {
        struct str claims, token;
        str_init(&claims, 1 << 16);
        str_addf(&claims, U "\"exp\":" LATER ",\"x\":\"%0*d\"}", size, 0);
        token = hs256(HEAD, claims.data, SECRET);
        const char *wrong = verify(v, &token, &who);
        assert_true(token.len <= JWT_TOKEN_MAX ? wrong == NULL : wrong != NULL);
        assert_true((token.len <= JWT_TOKEN_MAX) == (size == 5900));
        str_release(&claims);
        str_release(&token);
    }
    size_t big = 10 * 1024 * 1024;
    char *text = malloc(big);
    memset(text, 'A', big);
    refused(v, "10 MB", text, big);
    free(text);
    jwt_verifier_close(v);
}

/* ---- keys ---- */

static void test_other_keys_and_digests(void **state)
{
    static const char *const KEYS[] = {"",
                                       "0123456789abcdef0123456789abcdeF",
                                       "0123456789abcdef0123456789abcde",
                                       "0123456789abcdef0123456789abcdef0",
                                       PREVIOUS,
                                       "secret"};
    struct jwt_verifier *v = hs_verifier();
    (void)state;
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        struct str token = hs256(HEAD, CLAIMS, KEYS[i]);
        refused(v, KEYS[i], token.data, token.len);
        str_release(&token);
    }
    const EVP_MD *mds[] = {EVP_sha384(), EVP_sha512(), EVP_sha1(), EVP_sha224(), EVP_sha3_256()};
    for (size_t i = 0; i < sizeof mds / sizeof mds[0]; i++) {
        struct str token = unsigned_token(HEAD, CLAIMS);
        hmac_add(&token, SECRET, strlen(SECRET), mds[i]);
        refused(v, EVP_MD_get0_name(mds[i]), token.data, token.len);
        str_release(&token);
    }
    jwt_verifier_close(v);
}

static void test_previous_key(void **state)
{
    struct config c = config_hs();
    struct jwt_identity who;
    (void)state;
    snprintf(c.jwt_secret_previous, sizeof c.jwt_secret_previous, "%s", PREVIOUS);
    struct jwt_verifier *v = verifier(&c);
    struct str old = hs256(HEAD, CLAIMS, PREVIOUS), fresh = hs256(HEAD, CLAIMS, SECRET);
    struct str wrong = hs256(HEAD, CLAIMS, "another-secret-another-secret-32");
    assert_null(verify(v, &old, &who));
    assert_null(verify(v, &fresh, &who));
    assert_non_null(verify(v, &wrong, &who));
    str_release(&old), str_release(&fresh), str_release(&wrong);
    jwt_verifier_close(v);
}

static void test_short_secret(void **state)
{
    struct config c = config_hs();
    struct jwt_verifier *v;
    char why[200] = "";
    (void)state;
    snprintf(c.jwt_secret, sizeof c.jwt_secret, "%s", "short");
    assert_int_equal(jwt_verifier_open(&v, &c, why, sizeof why), ERR_INVALID);
    assert_non_null(strstr(why, "JWT_SECRET_KEY"));
    assert_null(strstr(why, "short"));
}

static void pem_write(const char *path, EVP_PKEY *key)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PUBKEY(f, key), 1);
    fclose(f);
}

/* r and s as a token has them. */
static void es256_add(struct str *token, EVP_PKEY *key)
{
    unsigned char der[256], raw[64];
    size_t len = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const unsigned char *at = der;
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, der, &len, (unsigned char *)token->data, token->len), 1);
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32), 32);
    str_add(token, ".");
    part_add(token, raw, sizeof raw);
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
}

static void key_add(struct str *token, EVP_PKEY *key, const EVP_MD *md)
{
    unsigned char sig[1024];
    size_t len = sizeof sig;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, md, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, (unsigned char *)token->data, token->len), 1);
    str_add(token, ".");
    part_add(token, sig, len);
    EVP_MD_CTX_free(ctx);
}

static struct str token_of(enum jwt_algorithm algorithm, EVP_PKEY *key)
{
    const char *head = algorithm == JWT_RS256   ? "{\"alg\":\"RS256\"}"
                       : algorithm == JWT_ES256 ? "{\"alg\":\"ES256\"}"
                                                : "{\"alg\":\"EdDSA\"}";
    struct str token = unsigned_token(head, CLAIMS);
    if (algorithm == JWT_ES256)
        es256_add(&token, key);
    else
        key_add(&token, key, algorithm == JWT_RS256 ? EVP_sha256() : NULL);
    return token;
}

static EVP_PKEY *key_make(enum jwt_algorithm algorithm)
{
    EVP_PKEY *key = algorithm == JWT_RS256   ? EVP_RSA_gen(2048)
                    : algorithm == JWT_ES256 ? EVP_EC_gen("P-256")
                                             : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    assert_non_null(key);
    return key;
}

static const char *file_text(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "r");
    size_t n = fread(out, 1, cap - 1, f);
    fclose(f);
    out[n] = '\0';
    return out;
}

/* An attacker knows the public key, and signs with it as if it were a secret. */
static void confusion(struct jwt_verifier *v, const char *path, const char *algorithm)
{
    char pem[4096], head[64];
    static const char *const HEADS[] = {HEAD, "{\"alg\":\"none\"}", NULL};
    file_text(path, pem, sizeof pem);
    snprintf(head, sizeof head, "{\"alg\":\"%s\"}", algorithm);
    for (int i = 0; i < 3; i++) {
        struct str token = hs256(HEADS[i] ? HEADS[i] : head, CLAIMS, pem);
        refused(v, "signed with the public key", token.data, token.len);
        str_release(&token);
    }
}

static void test_public_keys(void **state)
{
    static const enum jwt_algorithm ALL[] = {JWT_RS256, JWT_ES256, JWT_EDDSA};
    static const char *const NAMES[] = {"RS256", "ES256", "EdDSA"};
    char path[] = "/tmp/subpay-jwt-XXXXXX", why[300];
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    for (int a = 0; a < 3; a++) {
        EVP_PKEY *key = key_make(ALL[a]), *stranger = key_make(ALL[a]);
        struct config c = {.jwt_algorithm = ALL[a]};
        struct jwt_identity who = {0};
        snprintf(c.jwt_public_key, sizeof c.jwt_public_key, "%s", path);
        pem_write(path, key);
        struct jwt_verifier *v = verifier(&c);
        struct str good = token_of(ALL[a], key), bad = token_of(ALL[a], stranger);
        assert_null(verify(v, &good, &who));
        assert_true(is_user(&who, USER));
        assert_null(verify(v, &good, &who)); /* the contexts serve again */
        refused(v, "another key", bad.data, bad.len);
        for (size_t i = 0; i < good.len; i += 7) {
            good.data[i] ^= 1;
            refused(v, "a changed bit", good.data, good.len);
            good.data[i] ^= 1;
        }
        confusion(v, path, NAMES[a]);
        struct jwt_verifier *wrong;
        for (int b = 0; b < 3; b++) { /* a key of another kind is no key */
            c.jwt_algorithm = ALL[b];
            assert_int_equal(jwt_verifier_open(&wrong, &c, why, sizeof why),
                             a == b ? ERR_OK : ERR_INVALID);
            if (a == b)
                jwt_verifier_close(wrong);
        }
        str_release(&good), str_release(&bad);
        jwt_verifier_close(v);
        EVP_PKEY_free(key), EVP_PKEY_free(stranger);
    }
    unlink(path);
}

static void test_es256_signatures(void **state)
{
    char path[] = "/tmp/subpay-jwt-XXXXXX";
    close(mkstemp(path));
    EVP_PKEY *key = key_make(JWT_ES256);
    struct config c = {.jwt_algorithm = JWT_ES256};
    (void)state;
    snprintf(c.jwt_public_key, sizeof c.jwt_public_key, "%s", path);
    pem_write(path, key);
    struct jwt_verifier *v = verifier(&c);
    struct str token = unsigned_token("{\"alg\":\"ES256\"}", CLAIMS);
    key_add(&token, key, EVP_sha256()); /* DER, as OpenSSL writes it */
    refused(v, "a DER signature", token.data, token.len);
    str_release(&token);
    static const unsigned char ZEROS[128];
    static const size_t LENGTHS[] = {64, 0, 1, 63, 65, 96, 128};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        token = unsigned_token("{\"alg\":\"ES256\"}", CLAIMS);
        str_add(&token, ".");
        part_add(&token, ZEROS, LENGTHS[i]);
        refused(v, "zeros", token.data, token.len); /* CVE-2022-21449 */
        str_release(&token);
    }
    jwt_verifier_close(v);
    EVP_PKEY_free(key);
    unlink(path);
}

static void test_bad_public_keys(void **state)
{
    char path[] = "/tmp/subpay-jwt-XXXXXX", why[300] = "";
    close(mkstemp(path));
    struct config c = {.jwt_algorithm = JWT_RS256};
    struct jwt_verifier *v;
    (void)state;
    snprintf(c.jwt_public_key, sizeof c.jwt_public_key, "%s", "/nowhere.pem");
    assert_int_equal(jwt_verifier_open(&v, &c, why, sizeof why), ERR_INVALID);
    assert_non_null(strstr(why, "/nowhere.pem"));
    snprintf(c.jwt_public_key, sizeof c.jwt_public_key, "%s", path);
    assert_int_equal(jwt_verifier_open(&v, &c, why, sizeof why), ERR_INVALID); /* empty */
    EVP_PKEY *small = EVP_RSA_gen(1024);
    pem_write(path, small);
    assert_int_equal(jwt_verifier_open(&v, &c, why, sizeof why), ERR_INVALID);
    EVP_PKEY_free(small);
    EVP_PKEY *p384 = EVP_EC_gen("P-384");
    pem_write(path, p384);
    c.jwt_algorithm = JWT_ES256;
    assert_int_equal(jwt_verifier_open(&v, &c, why, sizeof why), ERR_INVALID);
    EVP_PKEY_free(p384);
    unlink(path);
}

/* ---- audience, issuer, signing ---- */

static void test_audience_and_issuer(void **state)
{
    static const struct {
        bool good;
        const char *rest;
    } CASES[] = {
        {true, "\"aud\":\"shop\",\"iss\":\"us\"}"},
        {true, "\"aud\":[\"x\",\"shop\"],\"iss\":\"us\"}"},
        {false, "\"iss\":\"us\"}"},
        {false, "\"aud\":\"shop\"}"},
        {false, "\"aud\":\"Shop\",\"iss\":\"us\"}"},
        {false, "\"aud\":[],\"iss\":\"us\"}"},
        {false, "\"aud\":[[\"shop\"]],\"iss\":\"us\"}"},
        {false, "\"aud\":{\"shop\":1},\"iss\":\"us\"}"},
        {false, "\"aud\":null,\"iss\":\"us\"}"},
        {false, "\"aud\":\"shop\",\"iss\":[\"us\"]}"},
        {false, "\"aud\":\"shop\",\"iss\":\"us2\"}"},
        {false, "\"aud\":\"shop\",\"iss\":null}"},
    };
    struct config c = config_hs();
    (void)state;
    snprintf(c.jwt_audience, sizeof c.jwt_audience, "%s", "shop");
    snprintf(c.jwt_issuer, sizeof c.jwt_issuer, "%s", "us");
    struct jwt_verifier *v = verifier(&c);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct jwt_identity who;
        char claims[300];
        snprintf(claims, sizeof claims, U "\"exp\":" LATER ",%s", CASES[i].rest);
        struct str token = hs256(HEAD, claims, SECRET);
        if ((verify(v, &token, &who) == NULL) != CASES[i].good)
            fail_msg("%s", claims);
        str_release(&token);
    }
    jwt_verifier_close(v);
}

static void test_sign(void **state)
{
    struct config c = config_hs();
    struct uuid user;
    (void)state;
    assert_true(uuid_parse(USER, strlen(USER), &user));
    for (int full = 0; full < 2; full++) {
        struct jwt_identity who;
        struct str token;
        if (full) {
            snprintf(c.jwt_audience, sizeof c.jwt_audience, "%s", "sh\"op");
            snprintf(c.jwt_issuer, sizeof c.jwt_issuer, "%s", "us");
        }
        struct jwt_verifier *v = verifier(&c);
        str_init(&token, JWT_TOKEN_MAX);
        assert_int_equal(jwt_sign(&c, &user, full, NOW_US, 60, &token), ERR_OK);
        assert_null(jwt_verify(v, token.data, token.len, NOW_US, &who));
        assert_true(is_user(&who, USER));
        assert_int_equal(who.admin, full);
        assert_null(jwt_verify(v, token.data, token.len, NOW_US + 89 * US_PER_S, &who));
        assert_non_null(jwt_verify(v, token.data, token.len, NOW_US + 90 * US_PER_S, &who));
        str_release(&token);
        jwt_verifier_close(v);
    }
    struct str token;
    str_init(&token, JWT_TOKEN_MAX);
    c.jwt_algorithm = JWT_RS256;
    assert_int_equal(jwt_sign(&c, &user, false, NOW_US, 60, &token), ERR_INVALID);
    c = config_hs();
    c.jwt_secret[0] = '\0';
    assert_int_equal(jwt_sign(&c, &user, false, NOW_US, 60, &token), ERR_INVALID);
    assert_int_equal(token.len, 0);
    str_release(&token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_one_spelling),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_other_keys_and_digests),
        cmocka_unit_test(test_previous_key),
        cmocka_unit_test(test_short_secret),
        cmocka_unit_test(test_public_keys),
        cmocka_unit_test(test_es256_signatures),
        cmocka_unit_test(test_bad_public_keys),
        cmocka_unit_test(test_audience_and_issuer),
        cmocka_unit_test(test_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
