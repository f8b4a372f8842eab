#include "billing/money.h"

#include <string.h>

bool currency_valid(const char *text)
{
    for (int i = 0; i < 3; i++)
        if (text[i] < 'A' || text[i] > 'Z')
            return false;
    return text[3] == '\0';
}

bool money_known(const struct money *m)
{
    return m->amount_minor >= 1 && m->amount_minor <= MONEY_MINOR_MAX &&
           currency_valid(m->currency);
}

bool money_equal(const struct money *a, const struct money *b)
{
    return a->amount_minor == b->amount_minor && strcmp(a->currency, b->currency) == 0;
}
