#include "base/config_table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const ENVIRONMENTS[] = {"dev", "prod", "prom",
                                           NULL}; /* prom: the original's word */
static const char *const ALGORITHMS[] = {"HS256", "RS256", "ES256", "EdDSA", NULL};
static const char *const LEVELS[] = {"error", "warn", "info", "debug", NULL};
static const char *const FORMATS[] = {"text", "json", NULL};

#define AT(member)                                                                                 \
    .offset = offsetof(struct config, member), .size = sizeof((struct config *)0)->member
#define TEXT(member) .kind = SETTING_TEXT, AT(member)
#define NUMBER(member, low, high) .kind = SETTING_NUMBER, AT(member), .min = (low), .max = (high)
#define CHOICE(member, list) .kind = SETTING_CHOICE, AT(member), .choices = (list)

#define A_LISTEN "an address and a port such as 127.0.0.1:8101, [::1]:8101 or :8101 (port 0: any)"
#define A_URL "http:// or https://, a host, and perhaps a port and a path"
#define A_RATE "requests a second and burst such as 10:20, or off"
#define A_SECRET "a text of at least 32 bytes (HS256)"

const struct setting SETTINGS[] = {
    {.group = "General",
     .name = "ENVIRONMENT",
     CHOICE(prod, ENVIRONMENTS),
     .initial = "dev",
     .help = "dev, or prod (prom is understood). In prod PROCESSOR and JWT_SECRET_KEY must be set, "
             "and the simulator is refused."},
    {.name = "PROJECT_NAME",
     TEXT(project_name),
     .initial = "Subscription API",
     .accepts = accepts_title,
     .allowed = "a text of 1 to 200 bytes",
     .help = "Title of the OpenAPI document."},
    {.name = "DATA_DIR",
     TEXT(data_dir),
     .initial = "./data",
     .allowed = "the path of a directory",
     .help = "Holds the embedded database, lock, socket, key, mail and the simulator's journal."},

    {.group = "Store and queue",
     .name = "DATABASE_URL",
     TEXT(database_url),
     .secret = true,
     .initial = "",
     .unset = "the embedded store",
     .accepts = accepts_postgres_url,
     .allowed = "postgresql://user:password@host:port/database",
     .help = "PostgreSQL as the store; services want Kafka with it. Wins over POSTGRES_*."},
    {.name = "POSTGRES_HOST",
     TEXT(postgres_host),
     .initial = "",
     .unset = "see DATABASE_URL",
     .accepts = accepts_postgres_host,
     .allowed = "a host name, an address, or a socket's directory",
     .help =
         "The same in parts, for those who have it so: DATABASE_URL is composed from POSTGRES_*."},
    {.name = "POSTGRES_PORT",
     NUMBER(postgres_port, 1, 65535),
     .initial = "5432",
     .help = "Port of POSTGRES_HOST."},
    {.name = "POSTGRES_DB",
     TEXT(postgres_db),
     .initial = "",
     .unset = "PostgreSQL's own default",
     .help = "Database on POSTGRES_HOST."},
    {.name = "POSTGRES_USER",
     TEXT(postgres_user),
     .initial = "",
     .unset = "PostgreSQL's own default",
     .help = "User on POSTGRES_HOST."},
    {.name = "POSTGRES_PASSWORD",
     TEXT(postgres_password),
     .secret = true,
     .initial = "",
     .unset = "none",
     .help = "Password of POSTGRES_USER."},
    {.name = "KAFKA_HOST",
     TEXT(kafka_host),
     .initial = "",
     .unset = "the embedded queue",
     .accepts = accepts_host,
     .allowed = "a host name or an address, without a port",
     .help = "Kafka's bootstrap broker; goes together with PostgreSQL."},
    {.name = "KAFKA_PORT",
     NUMBER(kafka_port, 1, 65535),
     .initial = "9092",
     .help = "Port of KAFKA_HOST."},
    {.name = "KAFKA_BROKERS",
     TEXT(kafka_brokers),
     .initial = "",
     .unset = "KAFKA_HOST:KAFKA_PORT",
     .accepts = accepts_brokers,
     .allowed = "a list such as kafka1:9092,kafka2:9092",
     .help = "Several bootstrap brokers. Wins over KAFKA_HOST and KAFKA_PORT."},
    {.name = "KAFKA_CONFIG",
     TEXT(kafka_config),
     .initial = "",
     .unset = "none",
     .allowed = "the path of a file",
     .help = "A librdkafka properties file (SASL, TLS)."},
    {.name = "TOPIC_PAYMENT",
     .other_name = "TOPIC",
     TEXT(topic),
     .initial = "payments",
     .accepts = accepts_topic,
     .allowed = "1 to 200 letters, digits, dots, underscores and hyphens, and not only dots",
     .help = "The topic of the requests; what cannot be understood goes to <topic>.rejected. TOPIC "
             "is the same."},
    {.name = "QUEUE_RETENTION_DAYS",
     NUMBER(queue_retention_days, 1, 36500),
     .initial = "30",
     .help = "How long the embedded queue keeps a record. What a reader has not read is never "
             "removed."},
    {.name = "BATCH_SIZE",
     NUMBER(batch_size, 1, 10000),
     .initial = "500",
     .help = "Most records per transaction of the saver."},

    {.group = "API",
     .name = "SUBSCRIPTION_APP_LISTEN",
     TEXT(subscription_app_listen),
     .initial = "127.0.0.1:8101",
     .accepts = accepts_listen,
     .allowed = A_LISTEN,
     .help = "Address of the API. Other than loopback wants TRUSTED_PROXIES, else there is a "
             "warning: TLS ends in front."},
    {.name = "OPS_LISTEN",
     TEXT(ops_listen),
     .initial = "127.0.0.1:9101",
     .accepts = accepts_listen_or_off,
     .allowed = A_LISTEN ", or off",
     .help = "Address of /metrics and of the detailed health. A service on its own has its own "
             "default port: subscription-app 9101, saver 9102, processor 9103, processing 9104, "
             "notifier 9105."},
    {.name = "TRUSTED_PROXIES",
     TEXT(trusted_proxies),
     .initial = "",
     .unset = "nobody is trusted",
     .accepts = accepts_proxies,
     .allowed = "addresses or networks such as 10.0.0.1,10.1.0.0/16",
     .help = "Addresses whose X-Forwarded-For counts."},
    {.name = "CORS_ORIGINS",
     TEXT(cors_origins),
     .initial = "",
     .unset = "no other origin",
     .accepts = accepts_origins,
     .allowed = "origins such as https://shop.example,http://localhost:3000",
     .help = "Origins of web pages that may call the API."},
    {.name = "RATE_LIMIT_ADDRESS",
     .kind = SETTING_RATE,
     AT(rate_address),
     .initial = "off",
     .allowed = A_RATE,
     .help = "Limit for one client address; over it: 429."},
    {.name = "RATE_LIMIT_USER",
     .kind = SETTING_RATE,
     AT(rate_user),
     .initial = "off",
     .allowed = A_RATE,
     .help = "Limit for one user; over it: 429."},
    {.name = "STORE_COURTESY_MS",
     NUMBER(store_courtesy_ms, 0, 5000),
     .initial = "200",
     .help = "How long the API waits for the store before it queues a request without its checks."},

    {.group = "Processing",
     .name = "PROCESSOR",
     TEXT(processor),
     .initial = "",
     .unset = "in dev the simulator; in prod refused",
     .accepts = accepts_http_url,
     .allowed = A_URL,
     .help = "Base URL of the payment processing."},
    {.name = "PROCESSING_TOKEN",
     TEXT(processing_token),
     .secret = true,
     .initial = "",
     .unset = "none is sent",
     .help = "Sent to the processing as Bearer token."},
    {.name = "PROCESSING_TIMEOUT_MS",
     NUMBER(processing_timeout_ms, 1, 600000),
     .initial = "30000",
     .help = "Time for one call to the processing."},
    {.name = "PROCESSING_KEY_TTL",
     .kind = SETTING_KEY_TTL,
     AT(key_ttl),
     .initial = "86400",
     .min = 1,
     .max = 315360000,
     .allowed = "seconds from 1 to 315360000, for-ever or none",
     .help = "How long the processing remembers an idempotency key. none: a request is sent once, "
             "then only asked about, never voided."},
    {.name = "REQUEST_MAX_AGE",
     NUMBER(request_max_age_s, 1, 315360000),
     .initial = "21600",
     .help = "Seconds; an older request is not sent any more (too_old). At most half of "
             "PROCESSING_KEY_TTL."},
    {.name = "REFUND_WINDOW_DAYS",
     NUMBER(refund_window_days, 0, 36500),
     .initial = "0",
     .help = "Days in which a refund may be asked for; 0: the whole period."},
    {.name = "RECONCILE_INTERVAL_S",
     NUMBER(reconcile_interval_s, 1, 86400),
     .initial = "600",
     .help = "How often the processing's journal is compared with the books; also after "
             "10,000 answers."},

    {.group = "Tokens",
     .name = "JWT_SECRET_KEY",
     TEXT(jwt_secret),
     .secret = true,
     .initial = "",
     .unset = "in dev on embedded engines DATA_DIR/jwt.key, made on the first start; else refused",
     .allowed = A_SECRET,
     .help = "Key of HS256 tokens, 32 bytes or more."},
    {.name = "JWT_SECRET_KEY_PREVIOUS",
     TEXT(jwt_secret_previous),
     .secret = true,
     .initial = "",
     .unset = "none",
     .allowed = A_SECRET,
     .help = "A key that is verified as well, while keys are being changed."},
    {.name = "JWT_ALGORITHM",
     CHOICE(jwt_algorithm, ALGORITHMS),
     .initial = "HS256",
     .help = "The one algorithm that is accepted. All but HS256 want JWT_PUBLIC_KEY."},
    {.name = "JWT_PUBLIC_KEY",
     TEXT(jwt_public_key),
     .initial = "",
     .unset = "none",
     .allowed = "the path of a PEM file",
     .help = "PEM file of the key that verifies RS256, ES256 or EdDSA."},
    {.name = "JWT_AUDIENCE",
     TEXT(jwt_audience),
     .initial = "",
     .unset = "not looked at",
     .help = "The claim aud that a token must have."},
    {.name = "JWT_ISSUER",
     TEXT(jwt_issuer),
     .initial = "",
     .unset = "not looked at",
     .help = "The claim iss that a token must have."},

    {.group = "Mail",
     .name = "AUTH_SERVICE",
     .absent = true,
     TEXT(auth_service),
     .initial = "",
     .unset = "<user_id>@users.invalid",
     .accepts = accepts_http_url,
     .allowed = A_URL,
     .help = "Base URL of the service that knows e-mail addresses: GET /v1/user_by_id?user_id=."},
    {.name = "SMTP_URL",
     .absent = true,
     TEXT(smtp_url),
     .secret = true,
     .initial = "",
     .unset = ".eml files under DATA_DIR/mail",
     .accepts = accepts_smtp_url,
     .allowed = "smtp://user:password@host:port or smtps://…",
     .help = "Server that takes the mail; wants AUTH_SERVICE."},
    {.name = "MAIL_FROM",
     TEXT(mail_from),
     .initial = "",
     .unset = "subpay@subpay.invalid",
     .accepts = accepts_mail_address,
     .allowed = "an address such as billing@example.org",
     .help = "Sender of the mail."},

    {.group = "Log and tools",
     .name = "LOG_LEVEL",
     CHOICE(log_level, LEVELS),
     .initial = "info",
     .help = "What is logged to standard error."},
    {.name = "LOG_FORMAT",
     CHOICE(log_json, FORMATS),
     .initial = "text",
     .help = "One line a fact, for people or for machines."},
    {.name = "MIGRATIONS_DIR",
     TEXT(migrations_dir),
     .initial = "",
     .unset = "the program's own migrations; in a checkout the project's folder",
     .allowed = "the path of a directory",
     .help =
         "Where `subpay migrate revision` writes, and whose migrations `subpay migrate` takes."},

    {.group = "Simulator of the processing (development and tests)",
     .name = "PROCESSING_LISTEN",
     TEXT(processing_listen),
     .initial = "127.0.0.1:5001",
     .accepts = accepts_listen,
     .allowed = A_LISTEN,
     .help = "Address of the simulator."},
    {.name = "PROCESSING_OUTCOMES",
     TEXT(processing_outcomes),
     .initial = "success=0.9,decline=0.08,error=0.02",
     .accepts = accepts_outcomes,
     .allowed = "shares of success, decline, error and pending that add up to 1",
     .help = "How often each outcome comes; also pending=."},
    {.name = "PROCESSING_LATENCY_MS",
     TEXT(processing_latency_ms),
     .initial = "5-50",
     .accepts = accepts_latency,
     .allowed = "a range such as 5-50, or one number, up to 600000",
     .help = "How long an answer takes."},
    {.name = "PROCESSING_FAULTS",
     TEXT(processing_faults),
     .initial = "",
     .unset = "no faults",
     .accepts = accepts_faults,
     .allowed = "shares of timeout, drop and 500 such as timeout=0.01,drop=0.01,500=0.01, together "
                "at most 1",
     .help = "How often a call, executed or not, gets no answer, a closed connection, or HTTP 500. "
             "To see timeouts soon, "
             "set PROCESSING_TIMEOUT_MS=1000 too."},
    {.name = "PROCESSING_SEED",
     NUMBER(processing_seed, 0, INT64_MAX),
     .initial = "1",
     .help = "Outcomes and faults are a function of this and of the key, so that a run repeats."},
    {.name = "PROCESSING_PENDING_S",
     NUMBER(processing_pending_s, 1, 2592000),
     .initial = "900",
     .help = "How long a pending payment waits for its payer."},
};
const size_t SETTINGS_COUNT = sizeof SETTINGS / sizeof SETTINGS[0];

static_assert(sizeof SETTINGS / sizeof SETTINGS[0] <= sizeof((struct config *)0)->source,
              "config.source has a place for every setting");

const struct setting *setting_named(const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++)
        if (strcmp(SETTINGS[i].name, name) == 0)
            return &SETTINGS[i];
    assert(!"a setting of that name");
    return NULL;
}

size_t setting_index(const struct setting *t)
{
    return (size_t)(t - SETTINGS);
}

static bool parse_choice(const struct setting *t, const char *text, void *member)
{
    for (int i = 0; t->choices[i]; i++) {
        if (strcmp(t->choices[i], text) != 0)
            continue;
        if (t->size == sizeof(bool))
            *(bool *)member = i > 0;
        else
            *(int *)member = i;
        return true;
    }
    return false;
}

#define RATE_MAX 1000000

static bool parse_rate(const char *text, struct rate *out)
{
    if (strcmp(text, "off") == 0) {
        *out = (struct rate){0, 0};
        return true;
    }
    char first[16];
    struct rate r;
    const char *colon = strchr(text, ':');
    if (!colon || !text_copy_n(first, sizeof first, text, (size_t)(colon - text)) ||
        !text_i64(first, 1, RATE_MAX, &r.per_second) || !text_i64(colon + 1, 1, RATE_MAX, &r.burst))
        return false;
    *out = r;
    return true;
}

static bool parse_key_ttl(const struct setting *t, const char *text, struct config *c)
{
    if (strcmp(text, "for-ever") == 0)
        c->key_ttl = KEY_TTL_FOR_EVER;
    else if (strcmp(text, "none") == 0)
        c->key_ttl = KEY_TTL_NONE;
    else if (text_i64(text, t->min, t->max, &c->key_ttl_s))
        c->key_ttl = KEY_TTL_SECONDS;
    else
        return false;
    return true;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            return true;
    return false;
}

bool setting_parse(const struct setting *t, const char *text, struct config *c)
{
    void *member = (char *)c + t->offset;
    if (has_control(text) || !text_is_utf8(text, strlen(text)))
        return false;
    switch (t->kind) {
    case SETTING_TEXT:
        if (*text && t->accepts && !t->accepts(text))
            return false;
        return text_copy(member, t->size, text);
    case SETTING_NUMBER:
        return text_i64(text, t->min, t->max, member);
    case SETTING_CHOICE:
        return parse_choice(t, text, member);
    case SETTING_RATE:
        return parse_rate(text, member);
    case SETTING_KEY_TTL:
        return parse_key_ttl(t, text, c);
    }
    return false;
}

void setting_format(const struct setting *t, const struct config *c, struct str *out)
{
    const void *member = (const char *)c + t->offset;
    const struct rate *rate = member;
    switch (t->kind) {
    case SETTING_TEXT:
        str_add(out, member);
        break;
    case SETTING_NUMBER:
        str_addf(out, "%" PRId64, *(const int64_t *)member);
        break;
    case SETTING_CHOICE:
        str_add(out,
                t->choices[t->size == sizeof(bool) ? *(const bool *)member : *(const int *)member]);
        break;
    case SETTING_RATE:
        if (rate->per_second > 0)
            str_addf(out, "%" PRId64 ":%" PRId64, rate->per_second, rate->burst);
        else
            str_add(out, "off");
        break;
    case SETTING_KEY_TTL:
        if (c->key_ttl == KEY_TTL_SECONDS)
            str_addf(out, "%" PRId64, c->key_ttl_s);
        else
            str_add(out, c->key_ttl == KEY_TTL_NONE ? "none" : "for-ever");
        break;
    }
}

void setting_allowed(const struct setting *t, struct str *out)
{
    if (t->kind == SETTING_NUMBER) {
        str_addf(out, "a whole number from %" PRId64 " to %" PRId64, t->min, t->max);
    } else if (t->kind == SETTING_CHOICE) {
        for (int i = 0; t->choices[i]; i++)
            str_addf(out, "%s%s", i == 0 ? "" : t->choices[i + 1] ? ", " : " or ", t->choices[i]);
    } else {
        str_add(out, t->allowed ? t->allowed : "a text");
    }
}
