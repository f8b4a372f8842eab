#include "base/times.h"

#include <string.h>

#include "base/clock.h"

#define YEAR_MIN 1970
#define YEAR_MAX 9999
#define DAYS_MAX INT64_C(2932896) /* of 9999-12-31 */
#define TIME_MAX ((DAYS_MAX + 1) * US_PER_DAY - 1)

/* Days since 1970-01-01; years begin in March, so that the leap day is the last (Hinnant,
 * "chrono-Compatible Low-Level Date Algorithms"). */
static int64_t days_of(int32_t year, int month, int day)
{
    int64_t y = month <= 2 ? (int64_t)year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

static struct date date_of_days(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = z / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);

    return (struct date){
        .year = (int32_t)(yoe + era * 400 + (month <= 2)),
        .month = (int8_t)month,
        .day = (int8_t)(doy - (153 * mp + 2) / 5 + 1),
    };
}

int64_t time_in_calendar(int64_t at_us)
{
    return at_us < 0 ? 0 : at_us > TIME_MAX ? TIME_MAX : at_us;
}

int date_days_in_month(int32_t year, int month)
{
    static const int8_t DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month == 2 && leap ? 29 : DAYS[month - 1];
}

struct date date_of(int64_t at_us)
{
    return date_of_days(time_in_calendar(at_us) / US_PER_DAY);
}

int64_t date_start_us(struct date d)
{
    return days_of(d.year, d.month, d.day) * US_PER_DAY;
}

int date_compare(struct date a, struct date b)
{
    if (a.year != b.year)
        return a.year < b.year ? -1 : 1;
    if (a.month != b.month)
        return a.month < b.month ? -1 : 1;
    return (a.day > b.day) - (a.day < b.day);
}

/* Exactly `width` digits of a value that fits. */
static char *put_digits(char *out, int64_t value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return out + width;
}

static char *put_date(char *out, struct date d)
{
    out = put_digits(out, d.year, 4);
    *out++ = '-';
    out = put_digits(out, d.month, 2);
    *out++ = '-';
    return put_digits(out, d.day, 2);
}

void date_format(struct date d, char out[DATE_TEXT])
{
    *put_date(out, d) = '\0';
}

void time_format(int64_t at_us, char out[TIME_TEXT])
{
    int64_t at = time_in_calendar(at_us);
    int64_t in_day = at % US_PER_DAY;

    out = put_date(out, date_of_days(at / US_PER_DAY));
    *out++ = 'T';
    out = put_digits(out, in_day / (3600 * US_PER_S), 2);
    *out++ = ':';
    out = put_digits(out, in_day / (60 * US_PER_S) % 60, 2);
    *out++ = ':';
    out = put_digits(out, in_day / US_PER_S % 60, 2);
    *out++ = '.';
    out = put_digits(out, in_day % US_PER_S, 6);
    *out++ = 'Z';
    *out = '\0';
}

/* What is still to be read; once something is wrong, `ok` stays false. */
struct reader {
    const char *at, *end;
    bool ok;
};

static int take_digits(struct reader *r, int width)
{
    int value = 0;

    for (int i = 0; i < width; i++) {
        if (r->at == r->end || *r->at < '0' || *r->at > '9') {
            r->ok = false;
            return 0;
        }
        value = value * 10 + (*r->at++ - '0');
    }
    return value;
}

/* One of the characters in `set`, or 0. */
static char take_one_of(struct reader *r, const char *set)
{
    if (r->at == r->end || *r->at == '\0' || !strchr(set, *r->at)) {
        r->ok = false;
        return 0;
    }
    return *r->at++;
}

static struct date take_date(struct reader *r)
{
    struct date d;

    d.year = take_digits(r, 4);
    take_one_of(r, "-");
    d.month = (int8_t)take_digits(r, 2);
    take_one_of(r, "-");
    d.day = (int8_t)take_digits(r, 2);
    if (!r->ok || d.month < 1 || d.month > 12 || d.day < 1 ||
        d.day > date_days_in_month(d.year, d.month))
        r->ok = false;
    return d;
}

bool date_parse(const char *text, size_t len, struct date *out)
{
    struct reader r = {text, text + len, true};
    struct date d = take_date(&r);

    if (!r.ok || r.at != r.end || d.year < YEAR_MIN || d.year > YEAR_MAX)
        return false;
    *out = d;
    return true;
}

/* "." and at least one digit, if there is a point; what is finer than a microsecond is cut. */
static int64_t take_fraction_us(struct reader *r)
{
    int64_t value = 0, unit = US_PER_S / 10;

    if (r->at == r->end || *r->at != '.')
        return 0;
    r->at++;
    if (r->at == r->end || *r->at < '0' || *r->at > '9')
        r->ok = false;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++, unit /= 10)
        value += (*r->at - '0') * unit;
    return value;
}

static int64_t take_offset_us(struct reader *r)
{
    char sign = take_one_of(r, "Zz+-");
    int hours, minutes;

    if (sign != '+' && sign != '-')
        return 0;
    hours = take_digits(r, 2);
    take_one_of(r, ":");
    minutes = take_digits(r, 2);
    if (hours > 23 || minutes > 59)
        r->ok = false;
    return (hours * 60 + minutes) * (sign == '-' ? -60 : 60) * US_PER_S;
}

bool time_parse(const char *text, size_t len, int64_t *out_us)
{
    struct reader r = {text, text + len, true};
    struct date d = take_date(&r);
    int hours, minutes, seconds;
    int64_t fraction, at;

    take_one_of(&r, "Tt ");
    hours = take_digits(&r, 2);
    take_one_of(&r, ":");
    minutes = take_digits(&r, 2);
    take_one_of(&r, ":");
    seconds = take_digits(&r, 2);
    if (hours > 23 || minutes > 59 || seconds > 60)
        r.ok = false;
    fraction = take_fraction_us(&r);
    at = -take_offset_us(&r);
    if (!r.ok || r.at != r.end)
        return false;
    at += date_start_us(d) + ((hours * 60 + minutes) * INT64_C(60) + seconds) * US_PER_S;
    /* A leap second ends a month in UTC; as in POSIX it is the first second of the next day. */
    if (seconds == 60 && (at % US_PER_DAY != 0 || date_of(at).day != 1))
        return false;
    at += fraction;
    if (at < 0 || at > TIME_MAX)
        return false;
    *out_us = at;
    return true;
}
