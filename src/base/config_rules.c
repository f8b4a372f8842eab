#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config_table.h"

#define SECRET_MIN_BYTES 32 /* of an HS256 key: RFC 7518 section 3.2 */

/* A rule looks at values that are allowed each for itself, and may refuse them together. */
typedef enum err rule(const struct config *c, char *why, size_t why_cap);

/* DATABASE_URL wins over POSTGRES_HOST, and may then differ from it: name what was given. */
static enum err refuse_postgres(const struct config *c, char *why, size_t why_cap, const char *text)
{
    bool composed = (c->source[setting_index(setting_named("DATABASE_URL"))] & SOURCE_LAYER_MASK) ==
                    SOURCE_COMPOSED;
    return config_refuse(why, why_cap, composed ? "POSTGRES_HOST" : "DATABASE_URL",
                         composed ? c->postgres_host : c->database_url, !composed, "%s", text);
}

static enum err refuse_kafka(const struct config *c, char *why, size_t why_cap, const char *text)
{
    bool composed = (c->source[setting_index(setting_named("KAFKA_BROKERS"))] &
                     SOURCE_LAYER_MASK) == SOURCE_COMPOSED;
    return config_refuse(why, why_cap, composed ? "KAFKA_HOST" : "KAFKA_BROKERS",
                         composed ? c->kafka_host : c->kafka_brokers, false, "%s", text);
}

static enum err rule_no_mixture(const struct config *c, char *why, size_t why_cap)
{
    if (c->kafka && !c->postgres)
        return refuse_kafka(c, why, why_cap,
                            " and DATABASE_URL unset: allowed are both (Kafka and PostgreSQL) or "
                            "neither (embedded engines): DATABASE_URL or POSTGRES_HOST is missing");
    if (c->postgres && !c->kafka)
        return refuse_postgres(
            c, why, why_cap,
            " and KAFKA_HOST unset: allowed are both (PostgreSQL and Kafka) or neither (embedded "
            "engines): KAFKA_HOST or KAFKA_BROKERS is missing");
    return ERR_OK;
}

static enum err rule_secret_length(const struct config *c, char *why, size_t why_cap)
{
    const char *const names[] = {"JWT_SECRET_KEY", "JWT_SECRET_KEY_PREVIOUS"};
    const char *const texts[] = {c->jwt_secret, c->jwt_secret_previous};
    for (int i = 0; i < 2 && c->jwt_algorithm == JWT_HS256; i++)
        if (*texts[i] && strlen(texts[i]) < SECRET_MIN_BYTES)
            return config_refuse(why, why_cap, names[i], texts[i], true,
                                 " (%zu bytes): allowed with HS256 is a text of at least %d bytes",
                                 strlen(texts[i]), SECRET_MIN_BYTES);
    return ERR_OK;
}

static enum err rule_token_key(const struct config *c, char *why, size_t why_cap)
{
    if (c->jwt_algorithm == JWT_HS256) {
        if (*c->jwt_secret || (!c->prod && !c->postgres && !c->kafka))
            return ERR_OK; /* dev on embedded engines makes DATA_DIR/jwt.key */
        return config_refuse(
            why, why_cap, "JWT_SECRET_KEY", NULL, false,
            " is unset%s: allowed is a text of at least %d bytes, or JWT_SECRET_KEY_FILE",
            c->prod ? " with ENVIRONMENT=prod" : " with Kafka and PostgreSQL", SECRET_MIN_BYTES);
    }
    if (!*c->jwt_public_key)
        return config_refuse(
            why, why_cap, "JWT_PUBLIC_KEY", NULL, false,
            " is unset: allowed with this JWT_ALGORITHM is the path of a PEM file");
    if (access(c->jwt_public_key, R_OK) != 0)
        return config_refuse(why, why_cap, "JWT_PUBLIC_KEY", c->jwt_public_key, false,
                             " (%s): allowed is the path of a PEM file that can be read",
                             strerror(errno));
    return ERR_OK;
}

/* Rule 6 repeats only within the first half of the key's life; what is older must not be sent at
 * all. */
static enum err rule_request_age(const struct config *c, char *why, size_t why_cap)
{
    if (c->key_ttl != KEY_TTL_SECONDS || c->request_max_age_s <= c->key_ttl_s / 2)
        return ERR_OK;
    char value[24];
    snprintf(value, sizeof value, "%" PRId64, c->request_max_age_s);
    return config_refuse(why, why_cap, "REQUEST_MAX_AGE", value, false,
                         ": allowed is at most %" PRId64 ", half of PROCESSING_KEY_TTL=%" PRId64,
                         c->key_ttl_s / 2, c->key_ttl_s);
}

static enum err rule_mail(const struct config *c, char *why, size_t why_cap)
{
    if (*c->smtp_url && !*c->auth_service)
        return config_refuse(
            why, why_cap, "SMTP_URL", c->smtp_url, true,
            " and AUTH_SERVICE unset: allowed is SMTP_URL together with AUTH_SERVICE");
    return ERR_OK;
}

static enum err rule_prod_processor(const struct config *c, char *why, size_t why_cap)
{
    if (c->prod && !*c->processor)
        return config_refuse(
            why, why_cap, "PROCESSOR", NULL, false,
            " is unset with ENVIRONMENT=prod: allowed is the base URL of the processing");
    return ERR_OK;
}

static enum err rule_no_simulator_in_prod(const struct config *c, char *why, size_t why_cap)
{
    if (c->prod)
        return config_refuse(why, why_cap, "ENVIRONMENT", "prod", false,
                             ": `subpay processing` simulates the processing: allowed is dev");
    return ERR_OK;
}

/* What this build does not have is refused, never ignored. */
static enum err rule_build_mail(const struct config *c, char *why, size_t why_cap)
{
    if (*c->smtp_url)
        return config_refuse(
            why, why_cap, "SMTP_URL", c->smtp_url, true,
            ": this build writes mail to DATA_DIR/mail only: allowed is to leave it unset");
    if (*c->auth_service)
        return config_refuse(
            why, why_cap, "AUTH_SERVICE", c->auth_service, false,
            ": this build does not look addresses up: allowed is to leave it unset");
    return ERR_OK;
}

enum { SHOW = 1, STORE = 2, QUEUE = 4, RUN = 8, SERVICE = 16, PROCESSING = 32 };

/* Which rules concern which purpose, in the order in which they speak. */
static const struct {
    rule *rule;
    unsigned purposes;
} RULES[] = {
    {rule_no_simulator_in_prod, PROCESSING},
    {rule_no_mixture, RUN | SERVICE | PROCESSING},
    {rule_secret_length, SHOW | RUN | SERVICE},
    {rule_token_key, RUN | SERVICE},
    {rule_prod_processor, RUN | SERVICE},
    {rule_request_age, SHOW | STORE | QUEUE | RUN | SERVICE},
    {rule_mail, SHOW | RUN | SERVICE},
    {rule_build_mail, RUN | SERVICE},
};

enum err config_rules(const struct config *c, enum config_for purpose, char *why, size_t why_cap)
{
    static const unsigned BITS[] = {
        [CONFIG_FOR_SHOW] = SHOW,       [CONFIG_FOR_STORE] = STORE,
        [CONFIG_FOR_QUEUE] = QUEUE,     [CONFIG_FOR_RUN] = RUN,
        [CONFIG_FOR_SERVICE] = SERVICE, [CONFIG_FOR_PROCESSING] = PROCESSING,
    };
    enum err err = ERR_OK;
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0] && err == ERR_OK; i++)
        if (RULES[i].purposes & BITS[purpose])
            err = RULES[i].rule(c, why, why_cap);
    return err;
}

static void add_warning(struct str *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_warning(struct str *out, const char *format, ...)
{
    va_list args;
    str_add(out, out->len > 0 ? "; " : "");
    va_start(args, format);
    str_addv(out, format, args);
    va_end(args);
}

bool config_warns(const struct config *c, char *why, size_t why_cap)
{
    struct str line;
    str_init(&line, 4 * CONFIG_TEXT);
    if (c->prod && !*c->smtp_url)
        add_warning(&line, "nobody gets mail: this build only writes it to DATA_DIR/mail");
    if (!address_is_loopback(c->subscription_app_listen) && !*c->trusted_proxies)
        add_warning(&line,
                    "SUBSCRIPTION_APP_LISTEN=%s is not loopback and TRUSTED_PROXIES is unset: TLS "
                    "has to end in front of the API, and TRUSTED_PROXIES names what stands there",
                    c->subscription_app_listen);
    if (*c->unknown)
        add_warning(&line, ".env has names that are no settings of subpay: %s", c->unknown);
    bool any = line.len > 0;
    if (any && !text_copy(why, why_cap, line.data))
        (void)text_copy_n(why, why_cap, line.data, why_cap - 1);
    str_release(&line);
    return any;
}
