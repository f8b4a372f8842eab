#include "base/config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config_table.h"
#include "base/json.h"

#define SHOWN_VALUE_MAX 100 /* bytes of a value in a message */

static void put_line(char *why, size_t why_cap, const struct str *line)
{
    if (!text_copy(why, why_cap, line->data) && why_cap > 0)
        text_copy_n(why, why_cap, line->data, why_cap - 1);
}

/* A URL may have a user and a password in it, and a broken one may have them anywhere before its last @. */
static void put_value(struct str *line, const char *value)
{
    const char *at = strrchr(value, '@'), *scheme = strstr(value, "://");
    const char *from = scheme ? scheme + 3 : value;
    bool user = at && at > from && (scheme || memchr(value, ':', (size_t)(at - value)));
    if (user) {
        size_t before = (size_t)(from - value);
        json_escape(line, value, before < SHOWN_VALUE_MAX ? before : SHOWN_VALUE_MAX);
        str_add(line, "***");
        value = at;
    }
    size_t len = strlen(value), shown = len > SHOWN_VALUE_MAX ? SHOWN_VALUE_MAX : len;
    json_escape(line, value, shown);
    str_add(line, shown < len ? "..." : "");
}

enum err config_refuse(char *why, size_t why_cap, const char *name, const char *value, bool secret,
                       const char *format, ...)
{
    struct str line;
    str_init(&line, 4096);
    str_add(&line, name);
    if (value && secret) {
        str_add(&line, "=***");
    } else if (value) {
        str_add(&line, "=");
        put_value(&line, value);
    }
    va_list args;
    va_start(args, format);
    str_addv(&line, format, args);
    va_end(args);
    enum err err = line.failed ? ERR_NO_MEMORY : ERR_INVALID;
    put_line(why, why_cap, &line);
    str_release(&line);
    return err;
}

void config_defaults(struct config *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        bool allowed = setting_parse(&SETTINGS[i], SETTINGS[i].initial, out);
        assert(allowed);
    }
}

/* The text of NAME_FILE, without the newline at its end. */
static enum err read_secret(const char *name, const char *path, char text[CONFIG_TEXT], char *why,
                            size_t why_cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && len < CONFIG_TEXT) {
        n = read(fd, text + len, CONFIG_TEXT - len);
        if (n > 0)
            len += (size_t)n;
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return config_refuse(why, why_cap, name, path, false, " cannot be read: %s",
                             strerror(error));
    bool whole = len < CONFIG_TEXT;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    if (!whole || len == 0 || memchr(text, '\0', len))
        return config_refuse(why, why_cap, name, path, false,
                             ": allowed is a file with one text of 1 to %d bytes", CONFIG_TEXT - 1);
    text[len] = '\0';
    return ERR_OK;
}

/* What one layer says about a setting; *given is NULL when it says nothing. */
static enum err find_given(const struct sources *s, enum source_layer layer,
                           const struct setting *t, const char **given, char secret[CONFIG_TEXT],
                           unsigned char *source, char *why, size_t why_cap)
{
    char file_name[64];
    snprintf(file_name, sizeof file_name, "%s_FILE", t->name);
    const char *own = sources_find(s, layer, t->name);
    const char *other = t->other_name ? sources_find(s, layer, t->other_name) : NULL;
    const char *path = t->secret ? sources_find(s, layer, file_name) : NULL;
    if (own && other && strcmp(own, other) != 0)
        return config_refuse(why, why_cap, t->name, own, t->secret,
                             " and %s differ: allowed is one of them", t->other_name);
    if (own && path)
        return config_refuse(why, why_cap, t->name, own, t->secret,
                             " and %s are both set: allowed is one of them", file_name);
    *source = (unsigned char)(1 + layer);
    if (path) {
        *source |= SOURCE_SECRET_FILE;
        *given = secret;
        return read_secret(file_name, path, secret, why, why_cap);
    }
    if (!own && other)
        *source |= SOURCE_OTHER_NAME;
    *given = own ? own : other;
    return ERR_OK;
}

static enum err load_setting(const struct sources *s, const struct setting *t, struct config *out,
                             char *why, size_t why_cap)
{
    const char *given = NULL;
    char secret[CONFIG_TEXT];
    unsigned char source = 0;
    for (int layer = 0; layer < LAYER_COUNT && !given; layer++) {
        enum err err =
            find_given(s, (enum source_layer)layer, t, &given, secret, &source, why, why_cap);
        if (err != ERR_OK)
            return err;
    }
    if (!given)
        return ERR_OK;
    enum err err = ERR_OK;
    if (setting_parse(t, given, out)) {
        out->source[setting_index(t)] = source;
    } else {
        struct str allowed;
        str_init(&allowed, CONFIG_TEXT);
        setting_allowed(t, &allowed);
        err = config_refuse(why, why_cap, source & SOURCE_OTHER_NAME ? t->other_name : t->name,
                            given, t->secret, "%s: allowed is %s",
                            strlen(given) >= CONFIG_TEXT ? " (longer than 1023 bytes)" : "",
                            allowed.data);
        str_release(&allowed);
    }
    explicit_bzero(secret, sizeof secret);
    return err;
}

static bool given(const struct config *c, const char *name)
{
    return c->source[setting_index(setting_named(name))] != 0;
}

static void mark_composed(struct config *c, const char *name)
{
    c->source[setting_index(setting_named(name))] = SOURCE_COMPOSED;
}

static void trim_slashes(char *text)
{
    for (size_t len = strlen(text); len > 1 && text[len - 1] == '/'; len--)
        text[len - 1] = '\0';
}

/* RFC 3986: everything but unreserved characters. */
static void add_percent_encoded(struct str *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
            strchr("-._~", *p))
            str_add_bytes(out, p, 1);
        else
            str_addf(out, "%%%02X", *p);
}

static enum err compose_database_url(struct config *c, char *why, size_t why_cap)
{
    static const char *const PARTS[] = {"POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER",
                                        "POSTGRES_PASSWORD"};
    if (*c->database_url)
        return ERR_OK;
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++)
        if (!*c->postgres_host && given(c, PARTS[i]))
            return config_refuse(why, why_cap, "POSTGRES_HOST", NULL, false,
                                 " is unset while %s is set: allowed are both or neither",
                                 PARTS[i]);
    if (!*c->postgres_host)
        return ERR_OK;
    struct str url;
    str_init(&url, CONFIG_TEXT - 1);
    str_add(&url, "postgresql://");
    add_percent_encoded(&url, c->postgres_user);
    if (*c->postgres_password) {
        str_add(&url, ":");
        add_percent_encoded(&url, c->postgres_password);
    }
    str_add(&url, *c->postgres_user || *c->postgres_password ? "@" : "");
    if (strchr(c->postgres_host, ':'))
        str_addf(&url, "[%s]", c->postgres_host); /* IPv6 */
    else
        add_percent_encoded(&url, c->postgres_host);
    str_addf(&url, ":%" PRId64 "/", c->postgres_port);
    add_percent_encoded(&url, c->postgres_db);
    enum err err = ERR_OK;
    if (url.failed || !text_copy(c->database_url, sizeof c->database_url, url.data))
        err = config_refuse(why, why_cap, "POSTGRES_HOST", c->postgres_host, false,
                            " with POSTGRES_*: allowed are 1023 bytes in all, percent-encoded");
    mark_composed(c, "DATABASE_URL");
    explicit_bzero(url.data, url.cap);
    str_release(&url);
    return err;
}

static void compose_kafka_brokers(struct config *c)
{
    if (*c->kafka_brokers || !*c->kafka_host)
        return;
    bool v6 = strchr(c->kafka_host, ':') != NULL;
    int n = snprintf(c->kafka_brokers, sizeof c->kafka_brokers, "%s%s%s:%" PRId64, v6 ? "[" : "",
                     c->kafka_host, v6 ? "]" : "", c->kafka_port);
    assert(n > 0 && (size_t)n < sizeof c->kafka_brokers); /* a host has at most 253 bytes */
    mark_composed(c, "KAFKA_BROKERS");
}

static enum err compose(struct config *c, char *why, size_t why_cap)
{
    c->ops_listen_given = given(c, "OPS_LISTEN");
    trim_slashes(c->data_dir);
    trim_slashes(c->processor);
    trim_slashes(c->auth_service);
    compose_kafka_brokers(c);
    enum err err = compose_database_url(c, why, why_cap);
    c->kafka = *c->kafka_brokers != '\0';
    c->postgres = *c->database_url != '\0';
    return err;
}

enum err config_load(struct config *out, enum config_for purpose, char *const *environment,
                     const char *env_file, char *why, size_t why_cap)
{
    struct sources sources;
    enum err err = sources_open(&sources, environment, env_file, why, why_cap);
    if (err != ERR_OK)
        return err;
    config_defaults(out);
    for (size_t i = 0; i < SETTINGS_COUNT && err == ERR_OK; i++)
        err = load_setting(&sources, &SETTINGS[i], out, why, why_cap);
    sources_unknown(&sources, out->unknown, sizeof out->unknown);
    sources_close(&sources);
    if (err == ERR_OK)
        err = compose(out, why, why_cap);
    if (err == ERR_OK)
        err = config_rules(out, purpose, why, why_cap);
    return err;
}
