/* catalog.h: the prices (rule 7). Handles and errors are those of views.h. */
#ifndef SUBPAY_LEDGER_CATALOG_H
#define SUBPAY_LEDGER_CATALOG_H

#include "ledger/ledger.h"
#include "ledger/views.h"

#define CATALOG_PRICES_MAX 10000 /* rows of a list; one more is ERR_BUSY */

/* The prices in force on `day`, one per subscription type that has one, in the order of the types.
 */
enum err catalog_prices(struct views *v, struct date day, struct arena *arena, struct price **out,
                        size_t *count) MUST_CHECK;

enum catalog_verdict { CATALOG_DONE, CATALOG_EXISTS, CATALOG_IN_FORCE, CATALOG_UNKNOWN };
/* A price that starts tomorrow (UTC, the store's clock) or later; earlier: CATALOG_IN_FORCE; the
 * same type and date again: CATALOG_EXISTS. Leaves an event with its actor. */
enum err catalog_add(struct ledger *l, const struct price *price, const char *actor,
                     enum catalog_verdict *verdict) MUST_CHECK;
/* One not yet in force. CATALOG_IN_FORCE: it is; CATALOG_UNKNOWN: there is none. */
enum err catalog_delete(struct ledger *l, enum subscription_type type, struct date starting_date,
                        const char *actor, enum catalog_verdict *verdict) MUST_CHECK;
/* In force on `day` and all to come, by type and date. */
enum err catalog_prices_from(struct views *v, struct date day, struct arena *arena,
                             struct price **out, size_t *count) MUST_CHECK;

#endif
