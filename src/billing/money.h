/* money.h: int64 minor units with an ISO 4217 currency; never a float. Pure. */
#ifndef SUBPAY_BILLING_MONEY_H
#define SUBPAY_BILLING_MONEY_H

#include <stdbool.h>
#include <stdint.h>

#define MONEY_MINOR_MAX INT64_C(1000000000000) /* far above any subscription, far below overflow */

struct money {
    int64_t amount_minor; /* 1..MONEY_MINOR_MAX when known */
    char currency[4];     /* three capital letters and the NUL; "" = not known */
};

bool money_known(const struct money *m);
bool money_equal(const struct money *a, const struct money *b);
bool currency_valid(const char *text); /* the form, three capital letters */

#endif
