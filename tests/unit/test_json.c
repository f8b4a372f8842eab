#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

struct input {
    const char *text;
    size_t len; /* 0: strlen */
};

static struct json *parse(const char *text)
{
    return json_parse(text, strlen(text), NULL, 0);
}

static void test_refuses(void **state)
{
    static const struct input BAD[] = {
        {"", 0},
        {" ", 0},
        {"{", 0},
        {"}", 0},
        {"{}}", 0},
        {"{} x", 0},
        {"{}{}", 0},
        {"[1,]", 0},
        {"{\"a\":1,}", 0},
        {"{'a':1}", 0},
        {"{a:1}", 0},
        {"{\"a\":1,\"a\":2}", 0},
        {"{\"a\":1,\"\\u0061\":2}", 0},
        {"{\"b\":{\"a\":1,\"a\":1}}", 0},
        {"\"\\ud800\"", 0},
        {"\"\\udc00\"", 0},
        {"\"\\ud800\\ud800\"", 0},
        {"\"\\ud800x\"", 0},
        {"\"\\u0000\"", 0},
        {"{\"a\\u0000\":1}", 0},
        {"\"a\0b\"", 5},
        {"{}\0", 3},
        {"\"\xff\"", 0},
        {"\"\xc0\xaf\"", 0},
        {"\"\xed\xa0\x80\"", 0},
        {"\"\xf4\x90\x80\x80\"", 0},
        {"\xef\xbb\xbf{}", 0},
        {"\"a\nb\"", 0},
        {"\"\\x41\"", 0},
        {"01", 0},
        {"+1", 0},
        {".5", 0},
        {"1.", 0},
        {"1e", 0},
        {"0x1", 0},
        {"NaN", 0},
        {"Infinity", 0},
        {"-", 0},
        {"True", 0},
        {"nul", 0},
        {"// c\n{}", 0},
        {"99999999999999999999x", 0},
        {"[1e999", 0},
        {"1e999.5", 0},
        {"0199999999999999999999", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        char why[80] = "";
        struct json *doc =
            json_parse(BAD[i].text, BAD[i].len ? BAD[i].len : strlen(BAD[i].text), why, sizeof why);
        if (doc)
            print_error("accepted: %s\n", BAD[i].text);
        assert_null(doc);
        assert_true(strlen(why) > 0);
    }
}

static void test_why_shows_no_input(void **state)
{
    (void)state;
    char why[80];
    const char *text = "{\"token\": hunter2}";
    assert_null(json_parse(text, strlen(text), why, sizeof why));
    assert_null(strstr(why, "hunter"));
    text = "{\"a\":1,\"a\":1}";
    assert_null(json_parse(text, strlen(text), why, sizeof why));
    assert_non_null(strstr(why, "a member twice"));
}

static void nest(char *out, size_t depth)
{
    memset(out, '[', depth);
    memset(out + depth, ']', depth);
    out[2 * depth] = '\0';
}

static void test_depth(void **state)
{
    (void)state;
    char text[4096], why[80];
    nest(text, 16);
    struct json *doc = parse(text);
    assert_non_null(doc);
    json_free(doc);
    nest(text, 17);
    assert_null(json_parse(text, strlen(text), why, sizeof why));
    assert_string_equal(why, "nested deeper than 16");
    nest(text, 2000);
    assert_null(parse(text));
    /* brackets in strings do not count, also behind escapes */
    doc = parse("[\"[[[[[[[[[[[[[[[[[[[[\", \"\\\"{{{{{{{{{{{{{{{{{{{{\\\\\", \"\"]");
    assert_non_null(doc);
    assert_int_equal(json_size(doc), 3);
    json_free(doc);
    doc =
        parse("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]"); /* wide, not deep */
    assert_non_null(doc);
    json_free(doc);
}

static bool collect(void *ctx, const char *name, const struct json *value)
{
    struct str *names = ctx;
    int64_t n = -1;
    json_i64(value, &n);
    str_addf(names, "%s=%" PRId64 ";", name, n);
    return strcmp(name, "stop") != 0;
}

static void test_values(void **state)
{
    (void)state;
    struct json *doc =
        parse("{\"s\":\"\\u00e9\\ud83d\\ude00\",\"z\":null,\"t\":true,\"f\":false,"
              "\"a\":[1,\"x\"],\"o\":{\"stop\":1,\"after\":2},\"c\":{\"b\":1,\"a\":2}}");
    bool flag = false;
    assert_true(json_is_object(doc));
    assert_int_equal(json_size(doc), 7);
    assert_string_equal(json_text(json_member(doc, "s")), "\xc3\xa9\xf0\x9f\x98\x80");
    assert_true(json_is_null(json_member(doc, "z")));
    assert_false(json_is_null(json_member(doc, "nothing")));
    assert_true(json_bool(json_member(doc, "t"), &flag) && flag);
    assert_true(json_bool(json_member(doc, "f"), &flag) && !flag);
    assert_false(json_bool(json_member(doc, "s"), &flag));
    const struct json *a = json_member(doc, "a");
    assert_int_equal(json_size(a), 2);
    assert_null(json_text(json_at(a, 0)));
    assert_string_equal(json_text(json_at(a, 1)), "x");
    assert_null(json_at(a, 2));
    assert_null(json_member(a, "x"));
    assert_false(json_is_object(a));
    struct str names;
    str_init(&names, 100);
    json_each(json_member(doc, "c"), collect, &names);
    json_each(json_member(doc, "o"), collect, &names);
    json_each(a, collect, &names);
    json_each(NULL, collect, &names);
    assert_string_equal(names.data, "b=1;a=2;stop=1;");
    str_release(&names);
    json_free(doc);
}

static void test_null_is_no(void **state)
{
    (void)state;
    int64_t n;
    bool b;
    assert_false(json_is_object(NULL) || json_is_null(NULL) || json_i64(NULL, &n) ||
                 json_bool(NULL, &b));
    assert_null(json_text(NULL));
    assert_null(json_member(NULL, "a"));
    assert_null(json_at(NULL, 0));
    assert_int_equal(json_size(NULL), 0);
    json_free(NULL);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        bool integer;
        int64_t value;
    } CASES[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"39900", true, 39900},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0}, /* JSON, but no int64 */
        {"-99999999999999999999999", false, 0},
        {"1e400", false, 0},
        {"-1e999", false, 0},
        {"10000001.0", true, 10000001},
        {"1e3", true, 1000},
        {"-2.50e1", true, -25},
        {"9007199254740992.0", true, INT64_C(9007199254740992)},
        {"9007199254740994.0", false, 0},
        {"1e300", false, 0},
        {"0.5", false, 0},
        {"39900.01", false, 0},
        {"\"1\"", false, 0},
        {"true", false, 0},
        {"[1]", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"before\":\"9e999 \\\" 1e999\",\"n\": %s,\"after\":7}",
                 CASES[i].text);
        struct json *doc = parse(text);
        int64_t value = -1, after = 0;
        if (!doc || json_i64(json_member(doc, "n"), &value) != CASES[i].integer)
            print_error("case: %s\n", CASES[i].text);
        assert_non_null(doc);
        assert_int_equal(json_i64(json_member(doc, "n"), &value), CASES[i].integer);
        assert_true(value == (CASES[i].integer ? CASES[i].value : -1));
        assert_true(json_i64(json_member(doc, "after"), &after) && after == 7);
        assert_string_equal(json_text(json_member(doc, "before")), "9e999 \" 1e999");
        json_free(doc);
    }
}

static void test_writing(void **state)
{
    (void)state;
    struct str out;
    str_init(&out, 4096);
    json_open(&out, '{');
    json_put_text(&out, "a", "x");
    json_put_i64(&out, "b", INT64_MIN);
    json_put_bool(&out, "c", true);
    json_put_null(&out, "d");
    json_put_text(&out, "e", NULL);
    json_name(&out, "f");
    json_open(&out, '[');
    json_add_i64(&out, 1);
    json_add_bool(&out, false);
    json_open(&out, '{');
    json_close(&out, '}');
    json_open(&out, '[');
    json_close(&out, ']');
    json_add_raw(&out, "{\"r\": 1}\n");
    json_add_null(&out);
    json_add_text(&out, "[");
    json_add_text(&out, ":");
    json_add_text(&out, "");
    json_close(&out, ']');
    json_name(&out, "g");
    json_open(&out, '{');
    json_put_i64(&out, "h", 0);
    json_close(&out, '}');
    json_close(&out, '}');
    str_add(&out, "\n");
    json_open(&out, '['); /* the next line is a document of its own */
    json_close(&out, ']');
    assert_string_equal(
        out.data, "{\"a\":\"x\",\"b\":-9223372036854775808,\"c\":true,\"d\":null,\"e\":null,"
                  "\"f\":[1,false,{},[],{\"r\": 1},null,\"[\",\":\",\"\"],\"g\":{\"h\":0}}\n[]");
    str_release(&out);
}

static void test_escaping(void **state)
{
    static const struct {
        const char *text, *written;
    } CASES[] = {
        {"plain \xd0\xb4\xd0\xb0 \xf0\x9f\x98\x80", "plain \xd0\xb4\xd0\xb0 \xf0\x9f\x98\x80"},
        {"q\"b\\s/", "q\\\"b\\\\s/"},
        {"\b\f\n\r\t", "\\b\\f\\n\\r\\t"},
        {"\x01\x1b[31m\x1f\x7f", "\\u0001\\u001b[31m\\u001f\\u007f"},
        {"a\xc2\x9b"
         "b\xc2\xa0",
         "a\\u009bb\xc2\xa0"}, /* CSI in one character; a no-break space is none */
        {"\xff"
         "a\xc0\xaf"
         "b\xed\xa0\x80",
         "\xef\xbf\xbd"
         "a\xef\xbf\xbd\xef\xbf\xbd"
         "b"
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct str out;
        str_init(&out, 1000);
        json_escape(&out, CASES[i].text, strlen(CASES[i].text));
        assert_string_equal(out.data, CASES[i].written);
        str_release(&out);
    }
}

/* Whatever bytes are written, what comes out is read again, and valid text comes back as it was. */
static void test_round_trip(void **state)
{
    (void)state;
    uint32_t x = 12345;
    for (int round = 0; round < 20000; round++) {
        char text[24];
        size_t len = round % 23;
        for (size_t i = 0; i < len; i++) {
            x = x * 1664525 + 1013904223;
            text[i] = (char)(1 + (x >> 24) % 255);
        }
        text[len] = '\0';
        struct str out;
        str_init(&out, 1000);
        json_add_text(&out, text);
        struct json *doc = json_parse(out.data, out.len, NULL, 0);
        assert_non_null(doc);
        if (text_is_utf8(text, len))
            assert_string_equal(json_text(doc), text);
        json_free(doc);
        str_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),    cmocka_unit_test(test_why_shows_no_input),
        cmocka_unit_test(test_depth),      cmocka_unit_test(test_values),
        cmocka_unit_test(test_null_is_no), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_writing),    cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
