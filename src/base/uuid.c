#include "base/uuid.h"

#include <assert.h>
#include <string.h>

#include <openssl/evp.h>

const struct uuid UUID_NIL = {{0}};
const struct uuid UUID_SUBPAY = {{0x2d, 0x0c, 0x5c, 0x0e, 0x6f, 0x5b, 0x5b, 0x0a, 0x9d, 0x5e, 0x7b,
                                  0x1f, 0x3a, 0x9c, 0x4e, 0x21}};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool dash_before(int byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

bool uuid_parse(const char *text, size_t len, struct uuid *out)
{
    struct uuid id;

    if (len != UUID_TEXT - 1)
        return false;
    for (int i = 0; i < 16; i++) {
        int high, low;

        if (dash_before(i) && *text++ != '-')
            return false;
        high = hex_value(*text++);
        low = hex_value(*text++);
        if (high < 0 || low < 0)
            return false;
        id.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out = id;
    return true;
}

void uuid_format(const struct uuid *id, char out[UUID_TEXT])
{
    static const char HEX[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        if (dash_before(i))
            *out++ = '-';
        *out++ = HEX[id->bytes[i] >> 4];
        *out++ = HEX[id->bytes[i] & 15];
    }
    *out = '\0';
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return uuid_compare(a, b) == 0;
}

int uuid_compare(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

bool uuid_is_nil(const struct uuid *id)
{
    return uuid_equal(id, &UUID_NIL);
}

/* RFC 9562: version in the high half of byte 6, variant 10 in the two high bits of byte 8. */
static void set_version(struct uuid *id, int version)
{
    id->bytes[6] = (uint8_t)((id->bytes[6] & 0x0f) | version << 4);
    id->bytes[8] = (uint8_t)((id->bytes[8] & 0x3f) | 0x80);
}

struct uuid uuid_v5_joined(const struct uuid *name_space, const struct span *parts, size_t count)
{
    static const unsigned char SEPARATOR = 0x1f;
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    struct uuid id;
    bool done = ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 &&
                EVP_DigestUpdate(ctx, name_space->bytes, sizeof(name_space->bytes)) == 1;

    for (size_t i = 0; i < count && done; i++)
        done = (i == 0 || EVP_DigestUpdate(ctx, &SEPARATOR, 1) == 1) &&
               EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) == 1;
    done = done && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    assert(done); /* only without memory: a wrong id would be worse than a stop */
    memcpy(id.bytes, digest, sizeof(id.bytes));
    set_version(&id, 5);
    return id;
}

struct uuid uuid_v5(const struct uuid *name_space, const void *name, size_t len)
{
    return uuid_v5_joined(name_space, &(struct span){name, len}, 1);
}

struct uuid uuid_v7(int64_t wall_us, struct random *random)
{
    uint64_t ms = wall_us > 0 ? (uint64_t)wall_us / 1000 : 0;
    struct uuid id;

    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    random->fill(random, id.bytes + 6, 10);
    set_version(&id, 7);
    return id;
}
