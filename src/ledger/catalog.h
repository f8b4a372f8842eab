/* catalog.h: the prices (rule 7). Handles and errors are those of views.h. */
#ifndef SUBPAY_LEDGER_CATALOG_H
#define SUBPAY_LEDGER_CATALOG_H

#include "ledger/views.h"

/* The prices in force on `day`, one per subscription type that has one, in the order of the types.
 */
enum err catalog_prices(struct views *v, struct date day, struct arena *arena, struct price **out,
                        size_t *count) MUST_CHECK;

#endif
