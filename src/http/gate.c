#include "http/gate.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/buckets.h"

#define ADDRESS_BYTES 16 /* IPv4 mapped into IPv6 */
#define V6_PREFIX 8      /* bytes: whoever has one IPv6 address has all of its /64 */

struct network {
    unsigned char address[ADDRESS_BYTES];
    int bits;
};
struct gate {
    struct network trusted[GATE_LIST_MAX];
    size_t trusted_count;
    char origins[CONFIG_TEXT]; /* one after the other, a NUL behind each */
    const char *origin[GATE_LIST_MAX];
    size_t origin_count;
    struct buckets *addresses, *users; /* NULL: no limit */
};

static bool address_parse(const char *text, size_t len, unsigned char out[ADDRESS_BYTES])
{
    char copy[64];
    static const unsigned char MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    if (!text_copy_n(copy, sizeof copy, text, len))
        return false;
    if (inet_pton(AF_INET6, copy, out) == 1)
        return true;
    memcpy(out, MAPPED, sizeof MAPPED);
    return inet_pton(AF_INET, copy, out + sizeof MAPPED) == 1;
}

static bool is_v4(const unsigned char address[ADDRESS_BYTES])
{
    static const unsigned char MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, MAPPED, sizeof MAPPED) == 0;
}

static bool network_parse(const char *text, size_t len, struct network *out)
{
    const char *slash = memchr(text, '/', len);
    char bits_text[8];
    int64_t bits = 0;
    size_t address_len = slash ? (size_t)(slash - text) : len;
    if (!address_parse(text, address_len, out->address))
        return false;
    int widest = is_v4(out->address) ? 32 : 128;
    bits = widest;
    if (slash && (!text_copy_n(bits_text, sizeof bits_text, slash + 1, len - address_len - 1) ||
                  !text_i64(bits_text, 0, widest, &bits)))
        return false;
    out->bits = 128 - widest + (int)bits;
    return true;
}

static bool network_has(const struct network *n, const unsigned char address[ADDRESS_BYTES])
{
    int bytes = n->bits / 8, rest = n->bits % 8;
    if (memcmp(n->address, address, (size_t)bytes) != 0)
        return false;
    return rest == 0 || ((n->address[bytes] ^ address[bytes]) >> (8 - rest)) == 0;
}

static bool is_trusted(const struct gate *g, const unsigned char address[ADDRESS_BYTES])
{
    for (size_t i = 0; i < g->trusted_count; i++) {
        if (network_has(&g->trusted[i], address))
            return true;
    }
    return false;
}

bool gate_trusts(const struct gate *g, const char *address)
{
    unsigned char bytes[ADDRESS_BYTES];
    return address_parse(address, strlen(address), bytes) && is_trusted(g, bytes);
}

/* Some proxies add the port: 1.2.3.4:5 and [v6]:5, also [v6] alone. Cuts it to the address. */
static void port_strip(struct span *entry)
{
    const char *end = memchr(entry->data, ']', entry->len);
    const char *colon = memchr(entry->data, ':', entry->len);
    const char *after = end ? end + 1 : colon;
    size_t rest = after ? entry->len - (size_t)(after - entry->data) : 0;
    bool port = rest > 1 && *after == ':' && strspn(after + 1, "0123456789") >= rest - 1;
    if (entry->len > 0 && *entry->data == '[' && end && (port || rest == 0)) {
        entry->data++;
        entry->len = (size_t)(end - entry->data);
    } else if (!end && port && memchr(entry->data, '.', (size_t)(colon - entry->data))) {
        entry->len = (size_t)(colon - entry->data); /* an IPv6 address has no dot before a colon */
    }
}

/* The next entry of a list with commas; false at its end. */
static bool entry_next(const char **at, struct span *out)
{
    *at += strspn(*at, ", \t");
    size_t len = strcspn(*at, ",");
    *out = (struct span){*at, len};
    *at += len;
    while (out->len > 0 && strchr(" \t", out->data[out->len - 1]))
        out->len--;
    return len > 0;
}

static bool lists_read(struct gate *g, const struct config *config, char *why, size_t why_cap)
{
    struct span entry;
    size_t at = 0;
    for (const char *list = config->trusted_proxies; entry_next(&list, &entry);) {
        if (g->trusted_count == GATE_LIST_MAX ||
            !network_parse(entry.data, entry.len, &g->trusted[g->trusted_count])) {
            snprintf(why, why_cap, "TRUSTED_PROXIES: '%s': at most %d addresses or networks",
                     config->trusted_proxies, GATE_LIST_MAX);
            return false;
        }
        g->trusted_count++;
    }
    for (const char *list = config->cors_origins; entry_next(&list, &entry);) {
        if (g->origin_count == GATE_LIST_MAX) {
            snprintf(why, why_cap, "CORS_ORIGINS: at most %d origins", GATE_LIST_MAX);
            return false;
        }
        memcpy(g->origins + at, entry.data,
               entry.len); /* no longer than the list with its commas */
        g->origins[at + entry.len] = '\0';
        g->origin[g->origin_count++] = g->origins + at;
        at += entry.len + 1;
    }
    return true;
}

enum err gate_open(struct gate **out, const struct config *config, char *why, size_t why_cap)
{
    struct gate *g = calloc(1, sizeof *g);
    enum err err = ERR_OK;
    if (!g)
        return ERR_NO_MEMORY;
    if (!lists_read(g, config, why, why_cap))
        err = ERR_INVALID;
    if (err == ERR_OK && config->rate_address.per_second > 0)
        err = buckets_open(&g->addresses, &config->rate_address, GATE_BUCKETS_MAX);
    if (err == ERR_OK && config->rate_user.per_second > 0)
        err = buckets_open(&g->users, &config->rate_user, GATE_BUCKETS_MAX);
    if (err != ERR_OK) {
        gate_close(g);
        return err;
    }
    *out = g;
    return ERR_OK;
}

void gate_close(struct gate *g)
{
    if (!g)
        return;
    buckets_close(g->addresses);
    buckets_close(g->users);
    free(g);
}

/* The last entry of a list, which is made shorter by it. */
static bool entry_last(const char *list, size_t *len, struct span *out)
{
    while (*len > 0 && strchr(", \t", list[*len - 1]))
        --*len;
    size_t end = *len;
    while (*len > 0 && list[*len - 1] != ',')
        --*len;
    *out = (struct span){list + *len, end - *len};
    while (out->len > 0 && strchr(" \t", *out->data)) {
        out->data++;
        out->len--;
    }
    return out->len > 0;
}

const char *gate_client(const struct gate *g, const struct http_request *r, char *buffer,
                        size_t cap)
{
    unsigned char address[ADDRESS_BYTES];
    const char *client = r->peer;
    if (g->trusted_count == 0 || !address_parse(client, strlen(client), address) ||
        !is_trusted(g, address))
        return client;
    /* Each proxy adds the address that it saw at the end, over as many headers as there are:
     * from the last entry on, the first that is not one of ours is the client; what stands
     * before it anybody can write. */
    for (size_t i = r->header_count; i-- > 0;) {
        if (strcasecmp(r->headers[i].name, "X-Forwarded-For") != 0)
            continue;
        const char *list = r->headers[i].value;
        size_t len = strlen(list);
        for (struct span entry; entry_last(list, &len, &entry);) {
            port_strip(&entry);
            if (!address_parse(entry.data, entry.len, address) ||
                !text_copy_n(buffer, cap, entry.data, entry.len))
                return client;
            client = buffer;
            if (!is_trusted(g, address))
                return client;
        }
    }
    return client;
}

int64_t gate_address_wait_s(struct gate *g, const char *address, int64_t boot_us)
{
    unsigned char key[BUCKET_KEY_BYTES];
    if (!g->addresses || !address_parse(address, strlen(address), key))
        return 0;
    if (!is_v4(key))
        memset(key + V6_PREFIX, 0, sizeof key - V6_PREFIX);
    return buckets_take(g->addresses, key, boot_us);
}

int64_t gate_user_wait_s(struct gate *g, const struct uuid *user, int64_t boot_us)
{
    return g->users ? buckets_take(g->users, user->bytes, boot_us) : 0;
}

const char *gate_origin(const struct gate *g, const struct http_request *r)
{
    int count;
    if (g->origin_count == 0)
        return NULL;
    const char *origin = http_header(r, "Origin", &count);
    if (count != 1)
        return NULL;
    for (size_t i = 0; i < g->origin_count; i++) {
        if (strcmp(g->origin[i], origin) == 0)
            return g->origin[i];
    }
    return NULL;
}
