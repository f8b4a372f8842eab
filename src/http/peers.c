#include "http/peers.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096 /* a power of two */

struct peer {
    uint8_t address[16]; /* IPv4 mapped into IPv6 */
    size_t count;
    struct peer *next;
};
struct peers {
    size_t max, used;
    struct peer *buckets[BUCKETS];
    struct peer *spare;
    struct peer nodes[];
};

enum err peers_open(struct peers **out, size_t max)
{
    struct peers *p = calloc(1, sizeof *p + max * sizeof p->nodes[0]);
    if (!p)
        return ERR_NO_MEMORY;
    p->max = max;
    *out = p;
    return ERR_OK;
}

void peers_close(struct peers *p)
{
    free(p);
}

static bool address_of(const struct sockaddr *address, uint8_t out[16])
{
    if (address->sa_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        return true;
    }
    if (address->sa_family != AF_INET)
        return false;
    memset(out, 0, 10);
    memset(out + 10, 0xff, 2);
    memcpy(out + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
    return true;
}

static struct peer **bucket_of(struct peers *p, const uint8_t address[16])
{
    uint32_t hash = 2166136261U; /* FNV-1a: a flood of one bucket costs a walk, no more */
    for (int i = 0; i < 16; i++)
        hash = (hash ^ address[i]) * 16777619U;
    return &p->buckets[(hash ^ hash >> 16) % BUCKETS];
}

struct peer *peers_enter(struct peers *p, const struct sockaddr *address)
{
    uint8_t key[16];
    if (!address_of(address, key))
        return NULL;
    struct peer **bucket = bucket_of(p, key);
    for (struct peer *peer = *bucket; peer; peer = peer->next) {
        if (memcmp(peer->address, key, sizeof key) == 0) {
            peer->count++;
            return peer;
        }
    }
    struct peer *peer = p->spare;
    if (peer)
        p->spare = peer->next;
    else if (p->used < p->max)
        peer = &p->nodes[p->used++];
    else
        return NULL;
    memcpy(peer->address, key, sizeof key);
    peer->count = 1;
    peer->next = *bucket;
    *bucket = peer;
    return peer;
}

size_t peer_count(const struct peer *peer)
{
    return peer->count;
}

const unsigned char *peer_address(const struct peer *peer)
{
    return peer->address;
}

void peers_leave(struct peers *p, struct peer *peer)
{
    if (!peer || --peer->count > 0)
        return;
    struct peer **at = bucket_of(p, peer->address);
    while (*at != peer) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = peer->next;
    peer->next = p->spare;
    p->spare = peer;
}
