/* peers.h: how many connections each address holds. A fixed table; one thread. */
#ifndef SUBPAY_HTTP_PEERS_H
#define SUBPAY_HTTP_PEERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

struct peers;
struct peer; /* an address that holds at least one connection */

enum err peers_open(struct peers **out, size_t max) MUST_CHECK; /* addresses at the same time */
void peers_close(struct peers *p);
/* One connection more; NULL when it is not IP (no caps) or the table is full. */
struct peer *peers_enter(struct peers *p, const struct sockaddr *address);
size_t peer_count(const struct peer *peer);
const unsigned char *peer_address(const struct peer *peer); /* 16 bytes, IPv4 mapped into IPv6 */
void peers_leave(struct peers *p, struct peer *peer);       /* NULL is fine */

#endif
