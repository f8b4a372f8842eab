#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_table.h"

#define LISTEN_HOST "localhost"
#define LIST_MAX 64      /* entries of a list */
#define SHARE_SLACK 1e-9 /* 0.9 + 0.08 + 0.02 is not 1 in binary */
#define LATENCY_MAX_MS 600000

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter_or_digit(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_ip(int family, const char *text)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(family, text, bytes) == 1;
}

bool accepts_title(const char *text)
{
    return strlen(text) <= 200;
}

/* A name of letters, digits, dots, hyphens and underscores (compose makes those), or an address. */
bool accepts_host(const char *text)
{
    if (is_ip(AF_INET, text) || is_ip(AF_INET6, text))
        return true;
    for (const char *p = text; *p; p++)
        if (!is_letter_or_digit(*p) && !strchr(".-_", *p))
            return false;
    return *text && strlen(text) <= 253 && is_letter_or_digit(*text);
}

bool accepts_postgres_host(const char *text)
{
    return *text == '/' || accepts_host(text);
}

/* host, host:port or [v6]:port of the bytes at text; *port is -1 without one. */
static bool split_host(const char *text, size_t len, char *host, size_t host_cap, int *port)
{
    const char *end = text + len, *colon = memchr(text, ':', len), *host_end;
    bool brackets = len > 0 && *text == '[';
    if (brackets) {
        host_end = memchr(text, ']', len);
        if (!host_end || (host_end + 1 < end && host_end[1] != ':'))
            return false;
        colon = host_end + 1 < end ? host_end + 1 : NULL;
        text++;
    } else {
        host_end = colon ? colon : end;
    }
    if (!text_copy_n(host, host_cap, text, (size_t)(host_end - text)))
        return false;
    if (brackets && !is_ip(AF_INET6, host))
        return false;
    char digits[8];
    int64_t number = -1;
    if (colon && (!text_copy_n(digits, sizeof digits, colon + 1, (size_t)(end - colon - 1)) ||
                  !text_i64(digits, 0, 65535, &number)))
        return false;
    *port = (int)number;
    return true;
}

bool config_split_address(const char *text, char *host, size_t host_cap, int *port)
{
    char name[64]; /* the longest IPv6 text has 45 */
    int number;
    if (!split_host(text, strlen(text), name, sizeof name, &number) || number < 0)
        return false;
    if (strcmp(name, LISTEN_HOST) == 0 && !text_copy(name, sizeof name, "127.0.0.1"))
        return false;
    bool numeric = *text == '[' || *name == '\0' || is_ip(AF_INET, name);
    if (!numeric || !text_copy(host, host_cap, name))
        return false;
    *port = number;
    return true;
}

bool accepts_listen(const char *text)
{
    char host[64];
    int port;
    return config_split_address(text, host, sizeof host, &port);
}

bool accepts_listen_or_off(const char *text)
{
    return strcmp(text, "off") == 0 || accepts_listen(text);
}

bool address_is_loopback(const char *listen)
{
    char host[64];
    int port;
    if (!config_split_address(listen, host, sizeof host, &port))
        return false;
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

/* Every entry of a list with commas, blanks around them not counting. */
static bool each_entry(const char *text, bool (*accepts)(const char *entry))
{
    char entry[CONFIG_TEXT];
    for (size_t count = 1; count <= LIST_MAX; count++) {
        text += strspn(text, " ");
        size_t len = strcspn(text, ","), kept = len;
        while (kept > 0 && text[kept - 1] == ' ')
            kept--;
        if (kept == 0 || !text_copy_n(entry, sizeof entry, text, kept) || !accepts(entry))
            return false;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
    return false;
}

static bool accepts_broker(const char *entry)
{
    char host[256];
    int port;
    return split_host(entry, strlen(entry), host, sizeof host, &port) && port != 0 &&
           accepts_host(host);
}

bool accepts_brokers(const char *text)
{
    return each_entry(text, accepts_broker);
}

/* Kafka's rule, and room for ".rejected" within its 249. */
bool accepts_topic(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!is_letter_or_digit(*p) && !strchr("._-", *p))
            return false;
    return strlen(text) <= 200 && strspn(text, ".") < strlen(text);
}

static bool accepts_proxy(const char *entry)
{
    char address[64];
    const char *slash = strchr(entry, '/');
    if (!text_copy_n(address, sizeof address, entry,
                     slash ? (size_t)(slash - entry) : strlen(entry)))
        return false;
    bool v6 = is_ip(AF_INET6, address);
    int64_t bits;
    return (v6 || is_ip(AF_INET, address)) &&
           (!slash || text_i64(slash + 1, 0, v6 ? 128 : 32, &bits));
}

bool accepts_proxies(const char *text)
{
    return each_entry(text, accepts_proxy);
}

/* scheme://host[:port] and whatever may follow, which *rest gets; the host must not be empty. */
static bool split_url(const char *text, const char *const *schemes, const char **rest)
{
    for (; *schemes; schemes++)
        if (strncmp(text, *schemes, strlen(*schemes)) == 0)
            break;
    if (!*schemes || strchr(text, ' '))
        return false;
    text += strlen(*schemes);
    size_t len = strcspn(text, "/?#");
    char host[256];
    int port;
    if (!split_host(text, len, host, sizeof host, &port) || port == 0 || !accepts_host(host))
        return false;
    *rest = text + len;
    return true;
}

static const char *const HTTP_SCHEMES[] = {"http://", "https://", NULL};

bool accepts_http_url(const char *text)
{
    const char *rest;
    return split_url(text, HTTP_SCHEMES, &rest) && !strpbrk(rest, "?#\\");
}

static bool accepts_origin(const char *entry)
{
    const char *rest;
    return split_url(entry, HTTP_SCHEMES, &rest) && *rest == '\0';
}

bool accepts_origins(const char *text)
{
    return each_entry(text, accepts_origin);
}

bool accepts_postgres_url(const char *text)
{
    const char *rest = strncmp(text, "postgresql://", 13) == 0 ? text + 13
                       : strncmp(text, "postgres://", 11) == 0 ? text + 11
                                                               : NULL;
    return rest && *rest && !strchr(rest, ' '); /* libpq reads the rest, several hosts included */
}

bool accepts_smtp_url(const char *text)
{
    static const char *const SCHEMES[] = {"smtp://", "smtps://", NULL};
    const char *at = strrchr(text, '@'), *rest;
    if (!at)
        return split_url(text, SCHEMES, &rest) && !strpbrk(rest, "?#");
    char without_user[CONFIG_TEXT]; /* the same, as if no user were named */
    size_t scheme = strncmp(text, "smtps://", 8) == 0 ? 8 : 7;
    return (size_t)(at - text) > scheme &&
           text_copy_n(without_user, sizeof without_user, text, scheme) &&
           text_copy(without_user + scheme, sizeof without_user - scheme, at + 1) &&
           !strchr(text, ' ') && split_url(without_user, SCHEMES, &rest) && !strpbrk(rest, "?#");
}

bool accepts_mail_address(const char *text)
{
    const char *at = strrchr(text, '@');
    for (const char *p = text; *p; p++)
        if (*p <= ' ' || strchr("<>,;:\"()[]\\", *p)) /* also what is not ASCII: char is signed */
            return false;
    return at && at > text && strchr(text, '@') == at && strlen(text) <= 254 &&
           accepts_host(at + 1);
}

static bool parse_share(const char *text, double *out)
{
    for (const char *p = text; *p; p++)
        if (!is_digit(*p) && *p != '.')
            return false;
    char *end;
    double share = strtod(text, &end);
    if (end == text || *end || !(share >= 0 && share <= 1))
        return false;
    *out = share;
    return true;
}

/* "name=share,…", each of names at most once; *sum gets the total. */
static bool parse_shares(const char *text, const char *const *names, double *sum)
{
    unsigned seen = 0;
    *sum = 0;
    for (;;) {
        size_t len = strcspn(text, ","), name_len = strcspn(text, "=,");
        char value[32];
        double share;
        int which = 0;
        while (names[which] &&
               (strlen(names[which]) != name_len || strncmp(names[which], text, name_len) != 0))
            which++;
        if (!names[which] || (seen & (1U << which)) || text[name_len] != '=' ||
            !text_copy_n(value, sizeof value, text + name_len + 1, len - name_len - 1) ||
            !parse_share(value, &share))
            return false;
        seen |= 1U << which;
        *sum += share;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
}

bool accepts_outcomes(const char *text)
{
    static const char *const NAMES[] = {"success", "decline", "error", "pending", NULL};
    double sum;
    return parse_shares(text, NAMES, &sum) && fabs(sum - 1) <= SHARE_SLACK;
}

bool accepts_faults(const char *text)
{
    static const char *const NAMES[] = {"timeout", "drop", "500", NULL};
    double sum;
    return parse_shares(text, NAMES, &sum) && sum <= 1 + SHARE_SLACK;
}

bool accepts_latency(const char *text)
{
    char first[16];
    int64_t low, high;
    size_t len = strcspn(text, "-");
    return text_copy_n(first, sizeof first, text, len) &&
           text_i64(first, 0, LATENCY_MAX_MS, &low) &&
           (text[len] == '\0' || text_i64(text + len + 1, low, LATENCY_MAX_MS, &high));
}
