/* The calendar and RFC 3339. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/times.h"

#define LAST INT64_C(253402300799999999) /* 9999-12-31T23:59:59.999999Z */

static int64_t parsed(const char *text)
{
    int64_t at = -1;

    if (!time_parse(text, strlen(text), &at))
        fail_msg("not taken: %s", text);
    return at;
}

static void formats_and_parses_back(void **state)
{
    static const struct {
        int64_t at_us;
        const char *text;
    } ROWS[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1, "1970-01-01T00:00:00.000001Z"},
        {INT64_C(951782399999999), "2000-02-28T23:59:59.999999Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z"},
        {INT64_C(951868800000000), "2000-03-01T00:00:00.000000Z"},
        {INT64_C(1764027348000000), "2025-11-24T23:35:48.000000Z"},
        {INT64_C(4107542399000000), "2100-02-28T23:59:59.000000Z"},
        {INT64_C(4107542400000000), "2100-03-01T00:00:00.000000Z"},
        {LAST, "9999-12-31T23:59:59.999999Z"},
    };
    char text[TIME_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(*ROWS); i++) {
        time_format(ROWS[i].at_us, text);
        assert_string_equal(text, ROWS[i].text);
        assert_true(parsed(text) == ROWS[i].at_us);
    }
}

static void beyond_the_calendar_is_its_edge(void **state)
{
    char text[TIME_TEXT];

    (void)state;
    time_format(TIME_NEVER, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
    time_format(INT64_MIN, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
    assert_int_equal(date_of(TIME_NEVER).year, 9999);
    assert_int_equal(date_of(-1).year, 1970);
}

static void every_day_agrees_with_the_c_library(void **state)
{
    char text[DATE_TEXT];

    (void)state;
    for (int64_t day = 0; day <= INT64_C(2932896); day += day < 50000 ? 1 : 13) {
        time_t seconds = (time_t)(day * 86400);
        struct date d = date_of(day * US_PER_DAY + US_PER_DAY - 1);
        struct date back;
        struct tm tm;

        gmtime_r(&seconds, &tm);
        assert_int_equal(d.year, tm.tm_year + 1900);
        assert_int_equal(d.month, tm.tm_mon + 1);
        assert_int_equal(d.day, tm.tm_mday);
        assert_true(date_start_us(d) == day * US_PER_DAY);
        date_format(d, text);
        assert_true(date_parse(text, strlen(text), &back));
        assert_int_equal(date_compare(d, back), 0);
    }
}

static void takes_what_rfc_3339_allows(void **state)
{
    static const struct {
        const char *text, *same;
    } ROWS[] = {
        {"2026-11-24t06:35:48z", "2026-11-24T06:35:48.000000Z"},
        {"2026-11-24 06:35:48Z", "2026-11-24T06:35:48.000000Z"},
        {"2026-11-24T06:35:48.5Z", "2026-11-24T06:35:48.500000Z"},
        {"2026-11-24T06:35:48.1234567899999999999999Z", "2026-11-24T06:35:48.123456Z"},
        {"2026-11-24T06:35:48+03:00", "2026-11-24T03:35:48.000000Z"},
        {"2026-11-24T06:35:48-00:00", "2026-11-24T06:35:48.000000Z"},
        {"2026-12-31T23:35:48-05:45", "2027-01-01T05:20:48.000000Z"},
        {"2026-01-01T00:00:00+23:59", "2025-12-31T00:01:00.000000Z"},
        {"1969-12-31T23:00:00-01:00", "1970-01-01T00:00:00.000000Z"},
        {"2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"},
        {"2017-01-01T02:59:60.25+03:00", "2017-01-01T00:00:00.250000Z"},
        {"2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000000Z"},
    };
    char text[TIME_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(*ROWS); i++) {
        time_format(parsed(ROWS[i].text), text);
        assert_string_equal(text, ROWS[i].same);
    }
}

static void refuses_the_rest(void **state)
{
    static const char *const BAD[] = {
        "",
        "2026-11-24",
        "2026-11-24T06:35:48",
        "2026-11-24T06:35Z",
        "2026-11-24T06:35:48.Z",
        "2026-11-24T06:35:48,5Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T06:60:00Z",
        "2026-11-24T06:35:61Z",
        "2026-11-24T06:35:60Z", /* not a leap second */
        "2026-11-24T23:59:60Z", /* not at the end of a month */
        "2026-11-24T06:35:48+3:00",
        "2026-11-24T06:35:48+0300",
        "2026-11-24T06:35:48+24:00",
        "2026-11-24T06:35:48+03:60",
        "2026-11-24T06:35:48Z ",
        " 2026-11-24T06:35:48Z",
        "2026-11-24T06:35:48ZZ",
        "2026-11-24_06:35:48Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-13-10T00:00:00Z",
        "2026-10-00T00:00:00Z",
        "26-10-01T00:00:00Z",
        "+2026-10-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2026-11-24T06:35:48\xd9\xa0Z",
    };
    int64_t at = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(*BAD); i++) {
        if (time_parse(BAD[i], strlen(BAD[i]), &at))
            fail_msg("taken: %s", BAD[i]);
        assert_true(at == 7);
    }
    assert_false(time_parse("2026-11-24T06:35:48Z\0", 21, &at)); /* NUL is not one of "TtZz …" */
    assert_false(time_parse("2026-11-24\0"
                            "06:35:48Z",
                            20, &at));
}

static void no_prefix_of_a_time_is_read_beyond(void **state)
{
    static const char WHOLE[] = "2026-11-24T06:35:48.5+03:00";
    int64_t at;

    (void)state;
    for (size_t len = 0; len < sizeof(WHOLE) - 1; len++) {
        char cut[sizeof(WHOLE)];

        memset(cut, '0', sizeof(cut)); /* a reader that goes on would find digits */
        memcpy(cut, WHOLE, len);
        assert_false(time_parse(cut, len, &at));
    }
}

static void dates(void **state)
{
    static const char *const BAD[] = {
        "",           "2026-1-01", "2026-02-30",  "2026-13-01", "2026-00-01", "2026-01-00",
        "1969-12-31", "20260101",  "2026-01-01 ", "2026/01/01", "10000-01-01"};
    struct date d = {1, 1, 1};

    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(*BAD); i++)
        assert_false(date_parse(BAD[i], strlen(BAD[i]), &d));
    assert_int_equal(d.year, 1);
    assert_true(date_parse("9999-12-31", 10, &d));
    assert_true(date_start_us(d) == LAST + 1 - US_PER_DAY);
    assert_int_equal(date_days_in_month(2024, 2), 29);
    assert_int_equal(date_days_in_month(2026, 2), 28);
    assert_int_equal(date_days_in_month(2000, 2), 29);
    assert_int_equal(date_days_in_month(2100, 2), 28);
    assert_int_equal(date_days_in_month(2026, 12), 31);
    assert_true(date_compare((struct date){2026, 1, 31}, (struct date){2026, 2, 1}) < 0);
    assert_true(date_compare((struct date){2026, 1, 31}, (struct date){2025, 12, 31}) > 0);
    assert_true(date_compare((struct date){2026, 1, 30}, (struct date){2026, 1, 31}) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_and_parses_back),
        cmocka_unit_test(beyond_the_calendar_is_its_edge),
        cmocka_unit_test(every_day_agrees_with_the_c_library),
        cmocka_unit_test(takes_what_rfc_3339_allows),
        cmocka_unit_test(refuses_the_rest),
        cmocka_unit_test(no_prefix_of_a_time_is_read_beyond),
        cmocka_unit_test(dates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
