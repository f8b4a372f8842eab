/* control_prices.h: the prices over the control socket, for `subpay price` beside a running process:
 *   POST /prices                  {"subscription_type","cost","currency","starting_date"} → 201
 *   DELETE /prices/{type}/{date}  → 204
 * Both with the header Actor: operator:<login>. 409: there is one already, or it is in force; 422: not acceptable.
 * control.c passes on what control_price_path claims; the command with the file in its own hands does the same. */
#ifndef SUBPAY_SERVICES_CONTROL_PRICES_H
#define SUBPAY_SERVICES_CONTROL_PRICES_H

#include "http/server.h"
#include "ledger/catalog.h"

struct control_price {
    bool add;
    struct price price; /* delete: without its cost */
    char actor[LEDGER_ACTOR_MAX + 1];
};

bool control_price_path(const char *path);
/* In the loop's thread. 0 and *out, or the status of the refusal: *why (a static text) says more. */
int control_price_read(const struct http_request *request, struct control_price *out,
                       const char **why);
/* The body of the POST. */
void control_price_write(const struct control_price *change, struct str *out);
/* In the step: 201 or 204, or the status of the refusal, and why. */
int control_price_do(struct ledger *ledger, const struct control_price *change, char *why,
                     size_t why_cap);

#endif
