#include "billing/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/times.h"

#define CARD_DIGITS_MIN 13
#define CARD_DIGITS_MAX 19
#define TIME_END_US INT64_C(253402300800000000) /* 10000-01-01: the first time that has no text */

/* The key's two halves: "<user_id>:<subscription_type>", "<user_id>", or nothing. */
struct key_parts {
    struct span user, subscription; /* data NULL: not given */
};

static struct key_parts key_split(const struct record *record)
{
    struct key_parts parts = {{NULL, 0}, {NULL, 0}};
    if (record->key == NULL || record->key_len == 0)
        return parts;
    const char *colon = memchr(record->key, ':', record->key_len);
    size_t user_len = colon != NULL ? (size_t)(colon - record->key) : record->key_len;
    if (user_len > 0)
        parts.user = (struct span){record->key, user_len};
    if (colon != NULL && user_len + 1 < record->key_len)
        parts.subscription = (struct span){colon + 1, record->key_len - user_len - 1};
    return parts;
}

/* A member that is null is a member that is not there. */
static const struct json *given(const struct json *doc, const char *name)
{
    const struct json *v = json_member(doc, name);
    return json_is_null(v) ? NULL : v;
}

/* The nil UUID names nobody and nothing: inside the program it means "absent". */
static bool uuid_from(const char *text, size_t len, struct uuid *out)
{
    return text != NULL && uuid_parse(text, len, out) && !uuid_is_nil(out);
}

static bool uuid_of(const struct json *v, struct uuid *out)
{
    const char *text = json_text(v);
    return uuid_from(text, text != NULL ? strlen(text) : 0, out);
}

static enum reject read_user(const struct json *doc, const struct key_parts *key, struct request *r)
{
    const struct json *value = given(doc, "user_id");
    struct uuid of_key;
    bool key_good = uuid_from(key->user.data, key->user.len, &of_key);
    if (value == NULL) {
        if (!key_good)
            return REJECT_NO_USER;
        r->user_id = of_key;
        return REJECT_NONE;
    }
    if (!uuid_of(value, &r->user_id))
        return REJECT_NO_USER;
    if (key->user.data != NULL && (!key_good || !uuid_equal(&of_key, &r->user_id)))
        return REJECT_USER_DISAGREES;
    return REJECT_NONE;
}

static enum reject read_subscription(const struct json *doc, const struct key_parts *key,
                                     struct request *r)
{
    const struct json *value = given(doc, "subscription_type");
    enum subscription_type of_key;
    char text[16]; /* longer than any type */
    bool key_good = key->subscription.data != NULL &&
                    text_copy_n(text, sizeof text, key->subscription.data, key->subscription.len) &&
                    strlen(text) == key->subscription.len && subscription_type_parse(text, &of_key);
    if (value == NULL) {
        if (!key_good)
            return REJECT_NO_SUBSCRIPTION;
        r->subscription_type = of_key;
        return REJECT_NONE;
    }
    if (!subscription_type_parse(json_text(value), &r->subscription_type))
        return REJECT_NO_SUBSCRIPTION;
    if (key->subscription.data != NULL && (!key_good || of_key != r->subscription_type))
        return REJECT_SUBSCRIPTION_DISAGREES;
    return REJECT_NONE;
}

static enum reject read_payment_type(const struct json *doc, struct request *r)
{
    const char *text = json_text(given(doc, "payment_type"));
    if (text != NULL && strcmp(text, "cancellation") == 0) {
        r->payment_type = PAYMENT_TYPE_REFUND;
        return REJECT_NONE;
    }
    return payment_type_parse(text, &r->payment_type) ? REJECT_NONE : REJECT_NO_PAYMENT_TYPE;
}

/* Every time that is kept must have a text; a record's timestamp may be any number. */
static enum reject read_time(const struct json *doc, const struct record *record, struct request *r)
{
    r->requested_at_us = record->timestamp_us;
    if (record->timestamp_us != REQUEST_NO_TIME &&
        (record->timestamp_us < 0 || record->timestamp_us >= TIME_END_US))
        return REJECT_BAD_TIME;
    const struct json *value = given(doc, "requested_at");
    if (value == NULL)
        return REJECT_NONE;
    const char *text = json_text(value);
    if (text == NULL || !time_parse(text, strlen(text), &r->requested_at_us))
        return REJECT_BAD_TIME;
    return r->requested_at_us >= 0 && r->requested_at_us < TIME_END_US ? REJECT_NONE
                                                                       : REJECT_BAD_TIME;
}

/* Characters of valid UTF-8: every byte but the continuations. */
static size_t character_count(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static enum reject read_method(const struct json *doc, struct request *r)
{
    const struct json *value = given(doc, "payment_method");
    if (value == NULL)
        return REJECT_NONE;
    const char *text = json_text(value);
    if (text == NULL || character_count(text) > REQUEST_METHOD_MAX ||
        request_method_is_card(text) ||
        !text_copy(r->payment_method, sizeof r->payment_method, text))
        return REJECT_BAD_PAYMENT_METHOD;
    return REJECT_NONE;
}

static enum reject read_actor(const struct json *doc, struct request *r)
{
    const struct json *value = given(doc, "actor");
    if (value == NULL)
        return REJECT_NONE;
    const char *text = json_text(value);
    if (text == NULL || text[0] == '\0' || !text_copy(r->actor, sizeof r->actor, text))
        return REJECT_BAD_ACTOR;
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            return REJECT_BAD_ACTOR;
    return REJECT_NONE;
}

/* Only support may name the payment; a user's refund finds it by rule 5. */
static enum reject read_refund_of(const struct json *doc, struct request *r)
{
    const struct json *value = given(doc, "refund_of");
    if (value == NULL)
        return REJECT_NONE;
    if (!uuid_of(value, &r->refund_of) || r->payment_type != PAYMENT_TYPE_REFUND ||
        r->actor[0] == '\0')
        return REJECT_BAD_REFUND_OF;
    return REJECT_NONE;
}

/* The id of a record whose writer gave none: the same record always gets the same one. */
static struct uuid derived_id(const struct record *record)
{
    char first[32], second[32];
    struct span parts[3];
    if (record->timestamp_us == REQUEST_NO_TIME) {
        int partition = snprintf(first, sizeof first, "%" PRId32, record->partition);
        int offset = snprintf(second, sizeof second, "%" PRId64, record->offset);
        parts[0] = (struct span){record->topic, strlen(record->topic)};
        parts[1] = (struct span){first, (size_t)partition};
        parts[2] = (struct span){second, (size_t)offset};
    } else {
        int ms = snprintf(first, sizeof first, "%" PRId64, record->timestamp_us / US_PER_MS);
        parts[0] = (struct span){first, (size_t)ms};
        parts[1] = (struct span){record->key, record->key_len};
        parts[2] = (struct span){record->value, record->value_len};
    }
    return uuid_v5_joined(&UUID_SUBPAY, parts, 3);
}

static enum reject read_all(const struct json *doc, const struct record *record, struct request *r)
{
    struct key_parts key = key_split(record);
    enum reject why = read_user(doc, &key, r);
    if (why == REJECT_NONE)
        why = read_subscription(doc, &key, r);
    if (why == REJECT_NONE)
        why = read_payment_type(doc, r);
    if (why == REJECT_NONE)
        why = read_time(doc, record, r);
    if (why == REJECT_NONE)
        why = read_method(doc, r);
    if (why == REJECT_NONE)
        why = read_actor(doc, r);
    if (why == REJECT_NONE)
        why = read_refund_of(doc, r);
    if (why == REJECT_NONE && !uuid_of(json_member(doc, "payment_id"), &r->payment_id))
        r->payment_id = derived_id(record);
    return why;
}

enum reject request_decode(const struct record *record, struct request *out)
{
    if (record->value_len > REQUEST_RECORD_MAX)
        return REJECT_TOO_LARGE;
    if (record->value == NULL)
        return REJECT_NOT_JSON;
    struct json *doc = json_parse(record->value, record->value_len, NULL, 0);
    if (!json_is_object(doc)) {
        json_free(doc);
        return REJECT_NOT_JSON;
    }
    struct request r = {0};
    enum reject why = read_all(doc, record, &r);
    json_free(doc);
    if (why == REJECT_NONE)
        *out = r;
    return why;
}

static void put_uuid(struct str *out, const char *name, const struct uuid *id)
{
    char text[UUID_TEXT];
    uuid_format(id, text);
    json_put_text(out, name, text);
}

static void put_time(struct str *out, const char *name, int64_t at_us)
{
    char text[TIME_TEXT];
    time_format(at_us, text);
    json_put_text(out, name, text);
}

void request_encode(const struct request *r, struct str *out)
{
    json_open(out, '{');
    put_uuid(out, "payment_id", &r->payment_id);
    put_uuid(out, "user_id", &r->user_id);
    json_put_text(out, "payment_type", payment_type_text(r->payment_type));
    json_put_text(out, "subscription_type", subscription_type_text(r->subscription_type));
    if (r->requested_at_us != REQUEST_NO_TIME)
        put_time(out, "requested_at", r->requested_at_us);
    if (r->payment_method[0] != '\0')
        json_put_text(out, "payment_method", r->payment_method);
    if (!uuid_is_nil(&r->refund_of))
        put_uuid(out, "refund_of", &r->refund_of);
    if (r->actor[0] != '\0')
        json_put_text(out, "actor", r->actor);
    json_close(out, '}');
}

void charge_encode_json(const struct charge *charge, struct str *out)
{
    json_open(out, '{');
    put_uuid(out, "payment_id", &charge->payment_id);
    put_uuid(out, "user_id", &charge->user_id);
    json_put_text(out, "payment_type", payment_type_text(charge->payment_type));
    json_put_text(out, "subscription_type", subscription_type_text(charge->subscription_type));
    put_time(out, "requested_at", charge->requested_at_us);
    json_put_i64(out, "amount", charge->money.amount_minor);
    json_put_text(out, "currency", charge->money.currency);
    if (!uuid_is_nil(&charge->refund_of))
        put_uuid(out, "refund_of", &charge->refund_of);
    if (charge->payment_method[0] != '\0')
        json_put_text(out, "payment_method", charge->payment_method);
    json_close(out, '}');
}

struct uuid request_id_of_key(const struct uuid *user_id, const char *idempotency_key,
                              enum payment_type type, enum subscription_type subscription)
{
    char user[UUID_TEXT];
    const char *type_text = payment_type_text(type);
    const char *subscription_text = subscription_type_text(subscription);
    uuid_format(user_id, user);
    const struct span parts[] = {
        {user, strlen(user)},
        {idempotency_key, strlen(idempotency_key)},
        {type_text, strlen(type_text)},
        {subscription_text, strlen(subscription_text)},
    };
    return uuid_v5_joined(&UUID_SUBPAY, parts, sizeof parts / sizeof *parts);
}

bool request_method_is_card(const char *payment_method)
{
    size_t digits = 0;
    for (const char *c = payment_method; *c != '\0'; c++) {
        if (*c >= '0' && *c <= '9')
            digits++;
        else if (*c != ' ' && *c != '-')
            return false;
    }
    if (digits < CARD_DIGITS_MIN || digits > CARD_DIGITS_MAX)
        return false;
    /* Luhn: from the right, every second digit doubled, digits summed. */
    int sum = 0;
    bool twice = false;
    for (size_t i = strlen(payment_method); i > 0; i--) {
        char c = payment_method[i - 1];
        if (c < '0' || c > '9')
            continue;
        int d = c - '0';
        if (twice)
            d = d > 4 ? 2 * d - 9 : 2 * d;
        sum += d;
        twice = !twice;
    }
    return sum % 10 == 0;
}
