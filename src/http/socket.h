/* socket.h: sockets that listen: TCP addresses, and unix sockets below any directory. */
#ifndef SUBPAY_HTTP_SOCKET_H
#define SUBPAY_HTTP_SOCKET_H

#include <stddef.h>

#include "base/err.h"

#define SOCKET_NAME_MAX 64

/* Where a unix socket is, to remove it; dir_fd -1: nowhere. */
struct unix_place {
    int dir_fd;
    char name[SOCKET_NAME_MAX];
};
/* "127.0.0.1:8101", "[::1]:80", ":0". ERR_LOCKED: taken; ERR_INVALID: no address of this
 * machine. */
enum err socket_listen(const char *address, int *fd, int *port, char *why,
                       size_t why_cap) MUST_CHECK;
/* Mode 0600; a socket that is there already is removed. */
enum err socket_listen_unix(const char *directory, const char *name, int *fd,
                            struct unix_place *place, char *why, size_t why_cap) MUST_CHECK;
void unix_place_release(struct unix_place *place); /* removes the socket; twice is fine */

#endif
