#include "http/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/config.h"

#define BACKLOG 1024
#define SOCKET_TYPE (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

static bool address_parse(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
    char host[64];
    int port;
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    if (!config_split_address(text, host, sizeof host, &port))
        return false;
    memset(out, 0, sizeof *out);
    if (host[0] == '\0' || inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET; /* no host: every address */
        v4->sin_port = htons((uint16_t)port);
        *len = sizeof *v4;
        return true;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    *len = sizeof *v6;
    return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1;
}

static int port_of(int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) < 0)
        return 0;
    return ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                             : ((struct sockaddr_in *)&bound)->sin_port);
}

enum err socket_listen(const char *address, int *fd, int *port, char *why, size_t why_cap)
{
    struct sockaddr_storage where;
    socklen_t len;
    int one = 1;
    if (!address_parse(address, &where, &len)) {
        snprintf(why, why_cap, "an address and a port are needed");
        return ERR_INVALID;
    }
    int sock = socket(where.ss_family, SOCKET_TYPE, 0);
    /* Accepted sockets inherit TCP_NODELAY. Without SO_REUSEPORT a port that is listened on
     * stays taken. */
    if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        bind(sock, (struct sockaddr *)&where, len) < 0 || listen(sock, BACKLOG) < 0) {
        int error = errno;
        snprintf(why, why_cap, "%s", error == EADDRINUSE ? "the port is taken" : strerror(error));
        if (sock >= 0)
            close(sock);
        return error == EADDRINUSE ? ERR_LOCKED : ERR_INVALID;
    }
    *fd = sock;
    *port = port_of(sock);
    return ERR_OK;
}

/* The path of a socket may have 107 bytes, that of a directory many more: it goes in by its
 * descriptor. */
static bool bind_below(int sock, const struct unix_place *place)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    int len = snprintf(where.sun_path, sizeof where.sun_path, "/proc/self/fd/%d/%s", place->dir_fd,
                       place->name);
    if (len < 0 || (size_t)len >= sizeof where.sun_path)
        return false;
    if (unlinkat(place->dir_fd, place->name, 0) < 0 && errno != ENOENT)
        return false;
    /* The file gets the socket's mode, so it is never open to others, whatever the umask. */
    return fchmod(sock, 0600) == 0 && bind(sock, (struct sockaddr *)&where, sizeof where) == 0 &&
           listen(sock, BACKLOG) == 0;
}

enum err socket_listen_unix(const char *directory, const char *name, int *fd,
                            struct unix_place *place, char *why, size_t why_cap)
{
    struct unix_place here = {.dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    int sock = -1;
    if (here.dir_fd < 0 || !text_copy(here.name, sizeof here.name, name) ||
        (sock = socket(AF_UNIX, SOCKET_TYPE, 0)) < 0 || !bind_below(sock, &here)) {
        snprintf(why, why_cap, "%s/%s: %s", directory, name, strerror(errno));
        if (sock >= 0)
            close(sock);
        if (here.dir_fd >= 0)
            close(here.dir_fd);
        return ERR_IO;
    }
    *fd = sock;
    *place = here;
    return ERR_OK;
}

void unix_place_release(struct unix_place *place)
{
    if (place->dir_fd < 0)
        return;
    unlinkat(place->dir_fd, place->name, 0);
    close(place->dir_fd);
    place->dir_fd = -1;
}
