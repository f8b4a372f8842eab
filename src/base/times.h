/* times.h: calendar dates and RFC 3339, UTC only, proleptic Gregorian, years 1970–9999.
 *
 * Source: RFC 3339; contract sections 5 (answers) and 6 (stored form YYYY-MM-DDTHH:MM:SS.ffffffZ).
 * Pure. */
#ifndef SUBPAY_BASE_TIMES_H
#define SUBPAY_BASE_TIMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIME_TEXT 28 /* "2026-11-24T06:35:48.000000Z" and its NUL */
#define DATE_TEXT 11 /* "2026-11-24" and its NUL */

struct date {
    int32_t year;
    int8_t month, day; /* 1–12, 1–31 */
};

/* What is before 1970 or after 9999 (as TIME_NEVER) is the first or the last microsecond of these. */
int64_t time_in_calendar(int64_t at_us);
/* Of time_in_calendar. Always six fractional digits, so that text order is time order. */
void time_format(int64_t at_us, char out[TIME_TEXT]);
/* Any RFC 3339 time: T or t or a space, any fraction (cut to microseconds), Z or an offset. A leap
 * second (only at the end of a month, UTC) is the first second of the next day. */
bool time_parse(const char *text, size_t len, int64_t *out_us);

struct date date_of(int64_t at_us); /* the UTC day that contains it */
int64_t date_start_us(struct date d);
void date_format(struct date d, char out[DATE_TEXT]);
bool date_parse(const char *text, size_t len, struct date *out); /* only dates that exist */
int date_compare(struct date a, struct date b);                  /* <0, 0, >0 */
int date_days_in_month(int32_t year, int month);

#endif
