/* Errors in the one form of the contract. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "http/problem.h"

static void test_plain(void **state)
{
    struct str s;
    (void)state;
    str_init(&s, 1000);
    problem_format(&s, 409, "Subscription is already paid", NULL, 0);
    assert_string_equal(s.data, "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
                                "\"detail\":\"Subscription is already paid\"}");
    str_release(&s);
}

static void test_fields(void **state)
{
    static const struct problem_field FIELDS[] = {
        {"query", "payment_type", "gift\"", "payment or refund"},
        {"body", "x", NULL, "no such field"},
    };
    struct str s;
    (void)state;
    str_init(&s, 1000);
    problem_format(&s, 422, "no", FIELDS, 2);
    assert_non_null(strstr(
        s.data, "\"errors\":[{\"in\":\"query\",\"name\":\"payment_type\",\"value\":\"gift\\\"\","
                "\"allowed\":\"payment or refund\"},{\"in\":\"body\",\"name\":\"x\",\"value\":null,"
                "\"allowed\":\"no such field\"}]}"));
    str_clear(&s);
    problem_format(&s, 400, "no", FIELDS, 2); /* errors come with 422 only */
    assert_null(strstr(s.data, "errors"));
    str_release(&s);
}

static void check_value(const char *value, size_t shown_max)
{
    struct problem_field field = {"query", "v", value, "a"};
    struct str s;
    str_init(&s, 10000);
    problem_format(&s, 422, "no", &field, 1);
    struct json *doc = json_parse(s.data, s.len, NULL, 0);
    assert_non_null(doc);
    const struct json *error = json_at(json_member(doc, "errors"), 0);
    const char *shown = json_text(json_member(error, "value"));
    assert_non_null(shown);
    assert_true(strlen(shown) <= shown_max);
    assert_true(text_is_utf8(shown, strlen(shown)));
    json_free(doc);
    str_release(&s);
}

static void test_values_are_fit_to_show(void **state)
{
    char text[1000];
    (void)state;
    check_value("", 0);
    check_value("\xff\xfe\x80", 9);
    check_value("\x01\x1b[31m\r\n", 20);
    for (size_t shift = 0; shift < 4; shift++) { /* the cut never halves a character */
        memset(text, 'a', shift);
        text[shift] = '\0';
        for (size_t i = 0; i < 100; i++)
            strncat(text, "\xf0\x9f\x92\xb3", sizeof text - strlen(text) - 1);
        check_value(text, PROBLEM_VALUE_MAX + 3);
    }
}

/* A name is cut as a value is, and a card number shown as neither. */
static void test_names_are_fit_to_show(void **state)
{
    char name[2000];
    struct problem_field field = {"body", name, "4111 1111-11111111", "a"};
    struct str s;
    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    str_init(&s, 10000);
    problem_format(&s, 422, "no", &field, 1);
    assert_true(s.len < PROBLEM_VALUE_MAX + 200);
    assert_non_null(strstr(s.data, "nnn…\",\"value\":\"***\""));
    field.name = "4111111111111111";
    field.value = "4111111111111112"; /* no card */
    str_clear(&s);
    problem_format(&s, 422, "no", &field, 1);
    assert_non_null(strstr(s.data, "\"name\":\"***\",\"value\":\"4111111111111112\""));
    str_release(&s);
}

static void test_member_and_response(void **state)
{
    struct str s;
    struct http_response r;
    (void)state;
    str_init(&s, 1000);
    problem_format_with(&s, 503, "not known to be queued", "payment_id", "1");
    assert_string_equal(s.data, "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\","
                                "\"status\":503,\"detail\":\"not known to be queued\","
                                "\"payment_id\":\"1\"}");
    str_release(&s);
    problem_response(&s, &r, 503, "x");
    assert_int_equal(r.status, 503);
    assert_string_equal(r.content_type, "application/problem+json");
    assert_string_equal(r.headers[0].name, "Retry-After");
    assert_int_equal(r.body_len, s.len);
    str_release(&s);
    problem_response(&s, &r, 404, "x");
    assert_null(r.headers[0].name);
    str_release(&s);
}

static void test_titles(void **state)
{
    static const int STATUSES[] = {400, 401, 403, 404, 405, 408, 409, 413, 414, 415,
                                   417, 422, 429, 431, 500, 501, 502, 503, 504};
    (void)state;
    for (size_t i = 0; i < sizeof STATUSES / sizeof STATUSES[0]; i++)
        assert_string_not_equal(status_title(STATUSES[i]), "Unknown");
    assert_string_equal(status_title(299), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_values_are_fit_to_show),
        cmocka_unit_test(test_names_are_fit_to_show),
        cmocka_unit_test(test_member_and_response),
        cmocka_unit_test(test_titles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
