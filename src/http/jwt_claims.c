#include "http/jwt_claims.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SECONDS_MAX 253402300799.0 /* the end of the year 9999 */
#define NUMBER_MAX 64              /* bytes of a number */

const char *jwt_head_check(const struct json *head, const struct jwt_expected *expected)
{
    /* They would change how a token is read, or bring keys of their own (RFC 8725 section 3.10). */
    static const char *const REFUSED[] = {"crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c"};
    const char *algorithm = json_text(json_member(head, "alg"));
    const struct json *typ = json_member(head, "typ");
    if (!algorithm || strcmp(algorithm, expected->algorithm) != 0)
        return "the token's algorithm is another one";
    if (typ && (!json_text(typ) || (strcasecmp(json_text(typ), "JWT") != 0 &&
                                    strcasecmp(json_text(typ), "at+jwt") != 0)))
        return "the token's type is another one";
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        if (json_member(head, REFUSED[i]))
            return "the token's header asks for what is not supported";
    }
    return NULL;
}

/* The end of the string that begins at `at`, a quote: behind its closing quote. */
static size_t string_end(struct span text, size_t at)
{
    for (at++; at < text.len && text.data[at] != '"'; at++) {
        if (text.data[at] == '\\')
            at++;
    }
    return at + 1;
}

static size_t space_end(struct span text, size_t at)
{
    while (at < text.len && strchr(" \t\r\n", text.data[at]))
        at++;
    return at;
}

/* Where the value of a member of the outermost object begins, in JSON that was parsed already;
 * len: nowhere. */
static size_t value_at(struct span text, const char *name)
{
    size_t name_len = strlen(name);
    int depth = 0;
    for (size_t at = 0; at < text.len;) {
        char c = text.data[at];
        if (c != '"') {
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            at++;
            continue;
        }
        size_t end = string_end(text, at), colon = space_end(text, end);
        if (depth == 1 && colon < text.len && text.data[colon] == ':' && end - at == name_len + 2 &&
            memcmp(text.data + at + 1, name, name_len) == 0)
            return space_end(text, colon + 1);
        at = end;
    }
    return text.len;
}

/* A NumericDate: seconds, a fraction is allowed and cut (RFC 7519 section 2). */
static bool seconds_of(const struct json *claims, struct span text, const char *name, int64_t *out)
{
    char number[NUMBER_MAX];
    if (json_i64(json_member(claims, name), out))
        return true;
    size_t at = value_at(text, name);
    size_t len = 0;
    while (at + len < text.len && strchr("+-.0123456789eE", text.data[at + len]))
        len++;
    if (len == 0 || !text_copy_n(number, sizeof number, text.data + at, len))
        return false;
    double value = strtod(number, NULL);
    if (!(fabs(value) <= SECONDS_MAX))
        return false;
    *out = (int64_t)floor(value);
    return true;
}

static const char *times_check(const struct json *claims, struct span text, int64_t now_s)
{
    int64_t at;
    if (!seconds_of(claims, text, "exp", &at))
        return "the token has no exp";
    if (at < now_s - JWT_LEEWAY_S + 1)
        return "the token has expired";
    if (json_member(claims, "nbf")) {
        if (!seconds_of(claims, text, "nbf", &at))
            return "the token's nbf is no time";
        if (at > now_s + JWT_LEEWAY_S)
            return "the token is not valid yet";
    }
    if (json_member(claims, "iat") && !seconds_of(claims, text, "iat", &at))
        return "the token's iat is no time";
    return NULL;
}

static bool has_text(const struct json *list, const char *wanted)
{
    for (size_t i = 0; i < json_size(list); i++) {
        const char *text = json_text(json_at(list, i));
        if (text && strcmp(text, wanted) == 0)
            return true;
    }
    return false;
}

static bool is_array(const struct json *v)
{
    return v && !json_is_object(v) && !json_text(v) && json_size(v) > 0;
}

static bool audience_fits(const struct json *claim, const char *audience)
{
    const char *one = json_text(claim);
    if (one)
        return strcmp(one, audience) == 0;
    return is_array(claim) && has_text(claim, audience);
}

const char *jwt_claims_check(const struct json *claims, struct span text,
                             const struct jwt_expected *expected, int64_t now_s,
                             struct jwt_identity *out)
{
    struct jwt_identity who = {0};
    const char *wrong = times_check(claims, text, now_s);
    if (wrong)
        return wrong;
    const struct json *user = json_member(claims, "user_id");
    const char *id = json_text(user ? user : json_member(claims, "sub"));
    if (!id || !uuid_parse(id, strlen(id), &who.user_id))
        return "the token's user_id is no UUID";
    const char *issuer = json_text(json_member(claims, "iss"));
    if (expected->issuer[0] && (!issuer || strcmp(issuer, expected->issuer) != 0))
        return "the token's issuer is another one";
    if (expected->audience[0] && !audience_fits(json_member(claims, "aud"), expected->audience))
        return "the token is for another audience";
    const struct json *roles = json_member(claims, "roles");
    who.admin = is_array(roles) && has_text(roles, "admin");
    *out = who;
    return NULL;
}
