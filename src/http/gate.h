/* gate.h: who may come in how often, and from which web pages.
 *
 * RATE_LIMIT_ADDRESS and RATE_LIMIT_USER (token buckets in a table of fixed size; the one that
 * was used least recently makes room), CORS_ORIGINS, and TRUSTED_PROXIES, whose X-Forwarded-For
 * names the client. One gate per loop; one thread at a time. */
#ifndef SUBPAY_HTTP_GATE_H
#define SUBPAY_HTTP_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/err.h"
#include "base/uuid.h"
#include "http/server.h"

#define GATE_BUCKETS_MAX 16384 /* addresses, and users likewise */
#define GATE_LIST_MAX 64       /* trusted proxies, and origins likewise */

struct gate;
/* ERR_INVALID: why names the variable, the value and what is allowed. */
enum err gate_open(struct gate **out, const struct config *config, char *why,
                   size_t why_cap) MUST_CHECK;
void gate_close(struct gate *g); /* NULL is fine */

/* The client's address: the peer, or what the trusted proxies say: the last one that is not
 * trusted. */
const char *gate_client(const struct gate *g, const struct http_request *r, char *buffer,
                        size_t cap);
/* Is it one of the trusted proxies? */
bool gate_trusts(const struct gate *g, const char *address);
/* 0: come in; else how many seconds to wait (Retry-After). An IPv6 client counts by its /64. */
int64_t gate_address_wait_s(struct gate *g, const char *address, int64_t boot_us);
int64_t gate_user_wait_s(struct gate *g, const struct uuid *user, int64_t boot_us);
/* The allowed origin of the request, owned by the gate; NULL: none was sent or it is not
 * allowed. */
const char *gate_origin(const struct gate *g, const struct http_request *r);

#endif
