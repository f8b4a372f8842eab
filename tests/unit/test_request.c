/* The record codec: contract section 7, row by row, and the bodies that go to the processing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/times.h"
#include "billing/request.h"

#define USER "3f0c8b1e-6d1b-4c5a-9b43-0a7a5f1f2c11"
#define USER_UPPER "3F0C8B1E-6D1B-4C5A-9B43-0A7A5F1F2C11"
#define OTHER "aaaaaaaa-6d1b-4c5a-9b43-0a7a5f1f2c11"
#define PAYMENT "0190d5a2-0000-7000-8000-000000000001"
#define TARGET "0190d5a2-0000-7000-8000-000000000002"
#define NIL "00000000-0000-0000-0000-000000000000"
#define STAMP INT64_C(1668643200123456) /* 2022-11-17T00:00:00.123456Z */
#define ORIGINAL                                                                                   \
    "{\"payment_id\":\"month\",\"topic\":\"payments\",\"status\":\"new\",\"payment_type\":"        \
    "\"payment\"}"

static enum reject decode_at(const char *key, const char *value, int64_t timestamp_us,
                             struct request *out)
{
    struct record record = {.topic = "payments",
                            .partition = 3,
                            .offset = 42,
                            .timestamp_us = timestamp_us,
                            .key = key,
                            .key_len = key != NULL ? strlen(key) : 0,
                            .value = value,
                            .value_len = value != NULL ? strlen(value) : 0};
    return request_decode(&record, out);
}

static enum reject decode(const char *key, const char *value, struct request *out)
{
    return decode_at(key, value, STAMP, out);
}

static void assert_uuid(const struct uuid *id, const char *want)
{
    char text[UUID_TEXT];
    uuid_format(id, text);
    assert_string_equal(text, want);
}

static struct uuid uuid_of_name(const char *name, size_t len)
{
    return uuid_v5(&UUID_SUBPAY, name, len);
}

static void test_ours_round_trip(void **state)
{
    (void)state;
    struct request r = {0}, back;
    struct str out;
    str_init(&out, 8192);
    assert_true(uuid_parse(PAYMENT, 36, &r.payment_id));
    assert_true(uuid_parse(USER, 36, &r.user_id));
    assert_true(uuid_parse(TARGET, 36, &r.refund_of));
    r.payment_type = PAYMENT_TYPE_REFUND;
    r.subscription_type = SUBSCRIPTION_THREE_MONTHS;
    r.requested_at_us = STAMP;
    text_copy(r.actor, sizeof r.actor, "admin:" USER);
    text_copy(r.payment_method, sizeof r.payment_method, "tok_\"\\\n\xd0\x9f");
    request_encode(&r, &out);
    assert_false(out.failed);
    assert_int_equal(decode_at(USER, out.data, REQUEST_NO_TIME, &back), REJECT_NONE);
    assert_uuid(&back.payment_id, PAYMENT);
    assert_uuid(&back.user_id, USER);
    assert_uuid(&back.refund_of, TARGET);
    assert_int_equal(back.payment_type, PAYMENT_TYPE_REFUND);
    assert_int_equal(back.subscription_type, SUBSCRIPTION_THREE_MONTHS);
    assert_true(back.requested_at_us == STAMP);
    assert_string_equal(back.payment_method, r.payment_method);
    assert_string_equal(back.actor, r.actor);
    str_release(&out);
}

static void test_ours_as_written(void **state)
{
    (void)state;
    struct request r = {0};
    struct str out;
    str_init(&out, 8192);
    uuid_parse(PAYMENT, 36, &r.payment_id);
    uuid_parse(USER, 36, &r.user_id);
    r.requested_at_us = STAMP;
    request_encode(&r, &out);
    assert_string_equal(out.data, "{\"payment_id\":\"" PAYMENT "\",\"user_id\":\"" USER
                                  "\",\"payment_type\":\"payment\",\"subscription_type\":\"month\","
                                  "\"requested_at\":\"2022-11-17T00:00:00.123456Z\"}");
    str_clear(&out);
    r.requested_at_us = REQUEST_NO_TIME;
    request_encode(&r, &out);
    assert_null(strstr(out.data, "requested_at"));
    str_release(&out);
}

static void test_original_producer(void **state)
{
    (void)state;
    struct request r;
    assert_int_equal(decode(USER ":month", ORIGINAL, &r), REJECT_NONE);
    assert_uuid(&r.user_id, USER);
    assert_int_equal(r.payment_type, PAYMENT_TYPE_PAYMENT);
    assert_int_equal(r.subscription_type, SUBSCRIPTION_MONTH);
    assert_true(r.requested_at_us == STAMP);
    static const char NAME[] = "1668643200123\x1f" USER ":month\x1f" ORIGINAL;
    struct uuid want = uuid_of_name(NAME, sizeof NAME - 1);
    assert_true(uuid_equal(&r.payment_id, &want));
    assert_int_equal(r.payment_id.bytes[6] >> 4, 5); /* a version 5 UUID */

    /* The same bytes a millisecond later are another request; within the same millisecond the same. */
    struct request later;
    assert_int_equal(decode_at(USER ":month", ORIGINAL, STAMP + 1000, &later), REJECT_NONE);
    assert_false(uuid_equal(&later.payment_id, &r.payment_id));
    assert_int_equal(decode_at(USER ":month", ORIGINAL, STAMP + 1, &later), REJECT_NONE);
    assert_true(uuid_equal(&later.payment_id, &r.payment_id));

    /* Without a timestamp: topic, partition, offset; the time is not known. */
    assert_int_equal(decode_at(USER ":month", ORIGINAL, REQUEST_NO_TIME, &r), REJECT_NONE);
    static const char PLACE[] = "payments\x1f"
                                "3\x1f"
                                "42";
    want = uuid_of_name(PLACE, sizeof PLACE - 1);
    assert_true(uuid_equal(&r.payment_id, &want));
    assert_true(r.requested_at_us == REQUEST_NO_TIME);

    assert_int_equal(decode(USER ":year", "{\"payment_type\":\"cancellation\"}", &r), REJECT_NONE);
    assert_int_equal(r.payment_type, PAYMENT_TYPE_REFUND);
    assert_int_equal(r.subscription_type, SUBSCRIPTION_YEAR);
}

static void test_console_tools(void **state)
{
    (void)state;
    struct request r;
    /* no key at all */
    assert_int_equal(decode(NULL,
                            "{\"user_id\":\"" USER_UPPER "\",\"payment_type\":\"payment\","
                            "\"subscription_type\":\"month\",\"more\":[1,{}]}",
                            &r),
                     REJECT_NONE);
    assert_uuid(&r.user_id, USER);
    /* the payment id in any case */
    assert_int_equal(decode(USER,
                            "{\"payment_id\":\"0190D5A2-0000-7000-8000-000000000001\","
                            "\"payment_type\":\"payment\",\"subscription_type\":\"month\"}",
                            &r),
                     REJECT_NONE);
    assert_uuid(&r.payment_id, PAYMENT);
    /* key and value agree in another case, and with the type in both */
    assert_int_equal(decode(USER_UPPER ":month",
                            "{\"user_id\":\"" USER
                            "\",\"payment_type\":\"payment\",\"subscription_type\":\"month\"}",
                            &r),
                     REJECT_NONE);
    /* null is absent; an empty key is none; a payment id that is no text is none */
    assert_int_equal(decode(USER ":month",
                            "{\"user_id\":null,\"subscription_type\":null,\"requested_at\":null,"
                            "\"payment_method\":null,\"refund_of\":null,\"actor\":null,"
                            "\"payment_id\":17,\"payment_type\":\"payment\"}",
                            &r),
                     REJECT_NONE);
    assert_string_equal(r.payment_method, "");
    assert_string_equal(r.actor, "");
    assert_true(uuid_is_nil(&r.refund_of));
    assert_int_equal(decode("",
                            "{\"user_id\":\"" USER
                            "\",\"payment_type\":\"payment\",\"subscription_type\":\"month\"}",
                            &r),
                     REJECT_NONE);
    /* the nil id is none */
    assert_int_equal(
        decode(USER ":month", "{\"payment_id\":\"" NIL "\",\"payment_type\":\"payment\"}", &r),
        REJECT_NONE);
    assert_int_equal(r.payment_id.bytes[6] >> 4, 5);
    /* only the type in the key */
    assert_int_equal(
        decode(":month", "{\"user_id\":\"" USER "\",\"payment_type\":\"payment\"}", &r),
        REJECT_NONE);
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *requested_at; /* JSON */
        int64_t timestamp_us, want_us;
        enum reject reject;
    } ROWS[] = {
        {"\"2022-11-17T03:00:00+03:00\"", STAMP, INT64_C(1668643200000000), REJECT_NONE},
        {"\"2022-11-17T00:00:00.123456789Z\"", 0, STAMP, REJECT_NONE},
        {"\"2022-11-17T00:00:00.123456Z\"", REQUEST_NO_TIME, STAMP, REJECT_NONE},
        {"null", STAMP, STAMP, REJECT_NONE},
        {"null", 0, 0, REJECT_NONE},
        {"null", REQUEST_NO_TIME, REQUEST_NO_TIME, REJECT_NONE},
        {"\"\"", STAMP, 0, REJECT_BAD_TIME},
        {"\"2022-11-17\"", STAMP, 0, REJECT_BAD_TIME},
        {"\"2022-11-31T00:00:00Z\"", STAMP, 0, REJECT_BAD_TIME},
        {"\"2022-11-17T00:00:00\"", STAMP, 0, REJECT_BAD_TIME},
        {"\"1969-12-31T23:59:59Z\"", STAMP, 0, REJECT_BAD_TIME},
        {"\"10000-01-01T00:00:00Z\"", STAMP, 0, REJECT_BAD_TIME},
        {"\"9999-12-31T23:59:59.999999Z\"", STAMP, INT64_C(253402300799999999), REJECT_NONE},
        {"1668643200", STAMP, 0, REJECT_BAD_TIME},
        {"null", -1, 0, REJECT_BAD_TIME},
        {"null", INT64_MAX, 0, REJECT_BAD_TIME},
        {"null", INT64_C(253402300800000000), 0, REJECT_BAD_TIME},
        {"\"2022-11-17T00:00:00Z\"", INT64_MIN + 1, 0, REJECT_BAD_TIME},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        char value[256];
        struct request r;
        snprintf(value, sizeof value, "{\"payment_type\":\"payment\",\"requested_at\":%s}",
                 ROWS[i].requested_at);
        enum reject got = decode_at(USER ":month", value, ROWS[i].timestamp_us, &r);
        if (got != ROWS[i].reject)
            fail_msg("row %zu: %s", i, reject_text(got));
        if (got == REJECT_NONE)
            assert_true(r.requested_at_us == ROWS[i].want_us);
    }
}

#define GOOD "\"user_id\":\"" USER "\",\"subscription_type\":\"month\",\"payment_type\":\"payment\""
#define REFUND                                                                                     \
    "\"user_id\":\"" USER "\",\"subscription_type\":\"month\",\"payment_type\":\"refund\""

static void test_rejects(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        enum reject reject;
    } ROWS[] = {
        {USER, "{" GOOD "}", REJECT_NONE},
        {USER, NULL, REJECT_NOT_JSON},
        {USER, "", REJECT_NOT_JSON},
        {USER, "not json", REJECT_NOT_JSON},
        {USER, "[]", REJECT_NOT_JSON},
        {USER, "\"text\"", REJECT_NOT_JSON},
        {USER, "null", REJECT_NOT_JSON},
        {USER, "{" GOOD "} tail", REJECT_NOT_JSON},
        {USER, "{" GOOD "," GOOD "}", REJECT_NOT_JSON},
        {USER, "{" GOOD ",\"x\":\"\xff\"}", REJECT_NOT_JSON},
        {NULL, "{\"subscription_type\":\"month\",\"payment_type\":\"payment\"}", REJECT_NO_USER},
        {"ivan:month", "{\"payment_type\":\"payment\"}", REJECT_NO_USER},
        {":month", "{\"payment_type\":\"payment\"}", REJECT_NO_USER},
        {USER,
         "{\"user_id\":\"ivan\",\"subscription_type\":\"month\",\"payment_type\":\"payment\"}",
         REJECT_NO_USER},
        {USER, "{\"user_id\":17,\"subscription_type\":\"month\",\"payment_type\":\"payment\"}",
         REJECT_NO_USER},
        {USER "0", "{\"subscription_type\":\"month\",\"payment_type\":\"payment\"}",
         REJECT_NO_USER},
        {NIL ":month", "{\"payment_type\":\"payment\"}", REJECT_NO_USER},
        {NULL,
         "{\"user_id\":\"" NIL "\",\"subscription_type\":\"month\",\"payment_type\":\"payment\"}",
         REJECT_NO_USER},
        {OTHER, "{" GOOD "}", REJECT_USER_DISAGREES},
        {NIL, "{" GOOD "}", REJECT_USER_DISAGREES},
        {"ivan", "{" GOOD "}", REJECT_USER_DISAGREES},
        {USER, "{\"payment_type\":\"payment\"}", REJECT_NO_SUBSCRIPTION},
        {USER ":", "{\"payment_type\":\"payment\"}", REJECT_NO_SUBSCRIPTION},
        {USER ":week", "{\"payment_type\":\"payment\"}", REJECT_NO_SUBSCRIPTION},
        {USER ":month:month", "{\"payment_type\":\"payment\"}", REJECT_NO_SUBSCRIPTION},
        {USER ":Month", "{\"payment_type\":\"payment\"}", REJECT_NO_SUBSCRIPTION},
        {USER ":month", "{\"subscription_type\":\"week\",\"payment_type\":\"payment\"}",
         REJECT_NO_SUBSCRIPTION},
        {USER ":month", "{\"subscription_type\":1,\"payment_type\":\"payment\"}",
         REJECT_NO_SUBSCRIPTION},
        {USER ":year", "{" GOOD "}", REJECT_SUBSCRIPTION_DISAGREES},
        {USER ":a_type_that_is_longer_than_any", "{" GOOD "}", REJECT_SUBSCRIPTION_DISAGREES},
        {USER ":month", "{}", REJECT_NO_PAYMENT_TYPE},
        {USER ":month", "{\"payment_type\":\"gift\"}", REJECT_NO_PAYMENT_TYPE},
        {USER ":month", "{\"payment_type\":null}", REJECT_NO_PAYMENT_TYPE},
        {USER, "{" GOOD ",\"payment_method\":17}", REJECT_BAD_PAYMENT_METHOD},
        {USER, "{" GOOD ",\"payment_method\":\"4111 1111-1111 1111\"}", REJECT_BAD_PAYMENT_METHOD},
        {USER, "{" GOOD ",\"payment_method\":\"4111 1111-1111 1112\"}", REJECT_NONE},
        {USER, "{" REFUND ",\"actor\":\"\"}", REJECT_BAD_ACTOR},
        {USER, "{" REFUND ",\"actor\":{}}", REJECT_BAD_ACTOR},
        {USER, "{" REFUND ",\"actor\":\"a\\u0007\"}", REJECT_BAD_ACTOR},
        {USER, "{" REFUND ",\"actor\":\"\\u043f\"}", REJECT_BAD_ACTOR},
        {USER, "{" REFUND ",\"actor\":\"admin:x\"}", REJECT_NONE},
        {USER, "{" REFUND ",\"actor\":\"admin:x\",\"refund_of\":\"" TARGET "\"}", REJECT_NONE},
        {USER, "{" REFUND ",\"refund_of\":\"" TARGET "\"}", REJECT_BAD_REFUND_OF},
        {USER, "{" GOOD ",\"actor\":\"admin:x\",\"refund_of\":\"" TARGET "\"}",
         REJECT_BAD_REFUND_OF},
        {USER, "{" REFUND ",\"actor\":\"admin:x\",\"refund_of\":\"all\"}", REJECT_BAD_REFUND_OF},
        {USER, "{" REFUND ",\"actor\":\"admin:x\",\"refund_of\":17}", REJECT_BAD_REFUND_OF},
        {USER,
         "{" REFUND
         ",\"actor\":\"admin:x\",\"refund_of\":\"00000000-0000-0000-0000-000000000000\"}",
         REJECT_BAD_REFUND_OF},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct request r, before;
        memset(&r, 0x5A, sizeof r);
        before = r;
        enum reject got = decode(ROWS[i].key, ROWS[i].value, &r);
        if (got != ROWS[i].reject)
            fail_msg("%s -> %s", ROWS[i].value, reject_text(got));
        if (got != REJECT_NONE) /* outputs are untouched */
            assert_memory_equal(&r, &before, sizeof r);
    }
}

/* Characters, not bytes; and records at and over the limit. */
static void test_sizes(void **state)
{
    (void)state;
    struct request r;
    for (int count = REQUEST_METHOD_MAX; count <= REQUEST_METHOD_MAX + 1; count++) {
        struct str value;
        str_init(&value, 8192);
        str_add(&value, "{" GOOD ",\"payment_method\":\"");
        for (int i = 0; i < count; i++)
            str_add(&value, "\xf0\x9f\x92\xb3"); /* four bytes each */
        str_add(&value, "\"}");
        assert_int_equal(decode(USER, value.data, &r),
                         count <= REQUEST_METHOD_MAX ? REJECT_NONE : REJECT_BAD_PAYMENT_METHOD);
        str_release(&value);
    }
    for (int count = REQUEST_ACTOR_MAX; count <= REQUEST_ACTOR_MAX + 1; count++) {
        struct str value;
        str_init(&value, 8192);
        str_addf(&value, "{" REFUND ",\"actor\":\"%0*d\"}", count, 7);
        assert_int_equal(decode(USER, value.data, &r),
                         count <= REQUEST_ACTOR_MAX ? REJECT_NONE : REJECT_BAD_ACTOR);
        str_release(&value);
    }
    for (size_t len = REQUEST_RECORD_MAX; len <= REQUEST_RECORD_MAX + 1; len++) {
        char *value = malloc(len + 1);
        assert_non_null(value);
        memset(value, ' ', len);
        memcpy(value, "{" GOOD, strlen("{" GOOD));
        value[len - 1] = '}';
        value[len] = '\0';
        assert_int_equal(decode(USER, value, &r),
                         len <= REQUEST_RECORD_MAX ? REJECT_NONE : REJECT_TOO_LARGE);
        free(value);
    }
}

static void test_cards(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool card;
    } ROWS[] = {
        {"4111111111111111", true},
        {"4111 1111 1111 1111", true},
        {"4111-1111-1111-1111", true},
        {" 4111111111111111 ", true},
        {"4111111111111112", false},      /* Luhn */
        {"378282246310005", true},        /* 15 digits */
        {"4222222222222", true},          /* 13 */
        {"6304000000000000000", true},    /* 19 */
        {"630400000000000000000", false}, /* more than 19 */
        {"422222222222", false},          /* 12 */
        {"tok_4111111111111111", false},  /* opaque */
        {"4111.1111.1111.1111", false},
        {"", false},
        {"-", false},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        if (request_method_is_card(ROWS[i].text) != ROWS[i].card)
            fail_msg("%s", ROWS[i].text);
}

static void test_id_of_key(void **state)
{
    (void)state;
    struct uuid user;
    uuid_parse(USER_UPPER, 36, &user);
    struct uuid id = request_id_of_key(&user, "key 1", PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
    static const char NAME[] = USER "\x1fkey 1\x1fpayment\x1fmonth";
    struct uuid want = uuid_of_name(NAME, sizeof NAME - 1);
    assert_true(uuid_equal(&id, &want));
    char longest[256];
    memset(longest, 'k', 255);
    longest[255] = '\0';
    id = request_id_of_key(&user, longest, PAYMENT_TYPE_REFUND, SUBSCRIPTION_THREE_MONTHS);
    assert_false(uuid_equal(&id, &want));
}

static void test_charge(void **state)
{
    (void)state;
    struct charge c = {.payment_type = PAYMENT_TYPE_REFUND,
                       .subscription_type = SUBSCRIPTION_YEAR,
                       .requested_at_us = STAMP,
                       .money = {299900, "RUB"},
                       .payment_method = "tok \"1\""};
    struct str out;
    str_init(&out, 8192);
    uuid_parse(PAYMENT, 36, &c.payment_id);
    uuid_parse(USER, 36, &c.user_id);
    uuid_parse(TARGET, 36, &c.refund_of);
    charge_encode_json(&c, &out);
    assert_string_equal(out.data,
                        "{\"payment_id\":\"" PAYMENT "\",\"user_id\":\"" USER
                        "\",\"payment_type\":\"refund\",\"subscription_type\":\"year\","
                        "\"requested_at\":\"2022-11-17T00:00:00.123456Z\",\"amount\":299900,"
                        "\"currency\":\"RUB\",\"refund_of\":\"" TARGET
                        "\",\"payment_method\":\"tok \\\"1\\\"\"}");
    str_clear(&out);
    c.payment_type = PAYMENT_TYPE_PAYMENT;
    c.refund_of = UUID_NIL;
    c.payment_method = "";
    charge_encode_json(&c, &out);
    assert_null(strstr(out.data, "refund_of"));
    assert_null(strstr(out.data, "payment_method"));
    struct json *doc = json_parse(out.data, out.len, NULL, 0);
    int64_t amount;
    assert_true(json_i64(json_member(doc, "amount"), &amount) && amount == 299900);
    json_free(doc);
    str_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours_round_trip),
        cmocka_unit_test(test_ours_as_written),
        cmocka_unit_test(test_original_producer),
        cmocka_unit_test(test_console_tools),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_rejects),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_cards),
        cmocka_unit_test(test_id_of_key),
        cmocka_unit_test(test_charge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
