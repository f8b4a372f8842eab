/* config_cases.h: what config_load takes and what it refuses, as two tables. */
#ifndef SUBPAY_TESTS_CONFIG_CASES_H
#define SUBPAY_TESTS_CONFIG_CASES_H

#include <stddef.h>

/* The file `key` in the test's folder holds it. */
#define S32 "0123456789abcdef0123456789abcdef"

struct accepted {
    int purpose;
    const char *environment[6];
    const char *file;  /* `.env`; NULL: none */
    const char *shows; /* a line of config_print, blanks squeezed */
};

struct refused {
    int purpose;
    const char *environment[6];
    const char *file;
    const char *why; /* exactly */
};

extern const struct accepted GOOD[];
extern const size_t GOOD_COUNT;
extern const struct refused BAD[];
extern const size_t BAD_COUNT;

#endif
