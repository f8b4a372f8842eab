/* The settings of the clients: ours, then those of the properties file; what our promises depend on is not the file's
 * to change. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/kafka_inside.h"

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789._"
#define NUMBER_TEXT(number) NUMBER_TEXT_(number)
#define NUMBER_TEXT_(number) #number

/* What KAFKA_CONFIG may not change. */
static const char *const OURS[][2] = {
    {"acks", "all"},
    {"enable.idempotence", "false"},
    {"max.in.flight.requests.per.connection", "5"},
    {"message.timeout.ms", NUMBER_TEXT(KAFKA_CONFIRM_MS)},
    {"partitioner", "murmur2_random"}, /* as the Java clients do */
    {"allow.auto.create.topics", "false"},
    {"message.max.bytes", NUMBER_TEXT(KAFKA_RECORD_MAX)},
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "error"},
    {"partition.assignment.strategy", "range"},
    {"isolation.level", "read_committed"},
    {"check.crcs", "true"},
    {"session.timeout.ms", NUMBER_TEXT(KAFKA_SESSION_MS)},
    {"max.poll.interval.ms", NUMBER_TEXT(KAFKA_POLL_MAX_MS)},
};
/* What it may not set at all: other names of these, and what the driver gives itself. */
static const char *const REFUSED[] = {
    "bootstrap.servers",
    "metadata.broker.list",
    "request.required.acks",
    "max.in.flight",
    "delivery.timeout.ms",
    "auto.commit.enable",
    "transactional.id",
    "group.id",
    "group.instance.id",
    "enable.partition.eof",
    "client.id",
    "enable.gapless.guarantee",
    "log.queue",
};
/* What it may. */
static const char *const DEFAULTS[][2] = {
    {"linger.ms", "0"},
    {"queue.buffering.max.messages", NUMBER_TEXT(KAFKA_WAITING_MAX)},
    {"queue.buffering.max.kbytes", NUMBER_TEXT(KAFKA_WAITING_KB)},
    {"queued.min.messages", NUMBER_TEXT(KAFKA_AHEAD_MAX)},
    {"queued.max.messages.kbytes", NUMBER_TEXT(KAFKA_AHEAD_KB)},
    {"fetch.max.bytes", "8388608"},
    {"fetch.min.bytes", "65536"},
    {"fetch.wait.max.ms", NUMBER_TEXT(KAFKA_GATHER_MS)},
    {"fetch.error.backoff.ms", "200"},
    {"heartbeat.interval.ms", "1000"},
    {"socket.timeout.ms", "5000"},
    {"socket.connection.setup.timeout.ms", "5000"},
    {"socket.keepalive.enable", "true"},
    {"reconnect.backoff.ms", "100"},
    {"reconnect.backoff.max.ms", "1000"},
    {"topic.metadata.propagation.max.ms", "1000"},
    {"coordinator.query.interval.ms", "5000"},
};

static enum err refuse(char *why, size_t why_cap, const char *path, int line, const char *text)
{
    if (line > 0)
        (void)snprintf(why, why_cap, "%s, line %d: %s", path, line, text);
    else
        (void)snprintf(why, why_cap, "%s: %s", path, text);
    return ERR_INVALID;
}

static bool name_is_ours(const char *name)
{
    for (size_t i = 0; i < sizeof OURS / sizeof *OURS; i++)
        if (strcmp(OURS[i][0], name) == 0)
            return true;
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++)
        if (strcmp(REFUSED[i], name) == 0)
            return true;
    return false;
}

/* Without the blanks around it. */
static char *trimmed(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        text[--len] = '\0';
    return text;
}

/* name=value; the value is never shown: it may be a password. */
static enum err line_take(rd_kafka_conf_t *conf, char *line, const char *path, int number,
                          char *why, size_t why_cap)
{
    char text[256];
    line = trimmed(line);
    if (*line == '\0' || *line == '#')
        return ERR_OK;
    char *equals = strchr(line, '=');
    if (!equals)
        return refuse(why, why_cap, path, number, "allowed is name=value");
    *equals = '\0';
    const char *name = trimmed(line), *value = trimmed(equals + 1);
    if (name_is_ours(name)) {
        (void)snprintf(text, sizeof text, "%.100s is set by subpay and cannot be changed", name);
        return refuse(why, why_cap, path, number, text);
    }
    char said[256] = "";
    rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, name, value, said, sizeof said);
    if (res == RD_KAFKA_CONF_OK)
        return ERR_OK;
    bool is_name = name[strspn(name, NAME_CHARS)] == '\0'; /* else a part of a secret, perhaps */
    (void)snprintf(text, sizeof text, "%.100s %s", is_name ? name : "what is before =",
                   res == RD_KAFKA_CONF_UNKNOWN ? "is not a property that librdkafka knows"
                                                : "has a value that librdkafka does not take");
    return refuse(why, why_cap, path, number, text);
}

static enum err file_take(rd_kafka_conf_t *conf, const char *path, char *why, size_t why_cap)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return refuse(why, why_cap, path, 0, strerror(errno));
    char *text = calloc(1, KAFKA_CONFIG_BYTES_MAX + 1);
    size_t len = text ? fread(text, 1, KAFKA_CONFIG_BYTES_MAX + 1, file) : 0;
    bool broken = ferror(file) != 0;
    (void)fclose(file);
    enum err err = ERR_OK;
    if (!text)
        err = ERR_NO_MEMORY;
    else if (broken)
        err = refuse(why, why_cap, path, 0, "cannot be read");
    else if (len > KAFKA_CONFIG_BYTES_MAX || strlen(text) != len)
        err = refuse(why, why_cap, path, 0, "is no text of at most 64 KiB");
    char *rest = text, *line;
    for (int number = 1; err == ERR_OK && (line = strsep(&rest, "\n")) != NULL; number++)
        err = line_take(conf, line, path, number, why, why_cap);
    if (text)
        explicit_bzero(text, KAFKA_CONFIG_BYTES_MAX + 1);
    free(text);
    return err;
}

static void ours_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char said[256] = "";
    rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, name, value, said, sizeof said);
    assert(res == RD_KAFKA_CONF_OK);
}

/* "": not set. */
static void conf_text(const rd_kafka_conf_t *conf, const char *name, char *out, size_t cap)
{
    if (rd_kafka_conf_get(conf, name, out, &cap) != RD_KAFKA_CONF_OK)
        out[0] = '\0';
}

/* Logins that the library would only fail at later, without saying why. */
static enum err login_check(struct kafka *k, const rd_kafka_conf_t *conf, const char *path,
                            char *why, size_t why_cap)
{
    char protocol[32], mechanism[32], user[256];
    conf_text(conf, "security.protocol", protocol, sizeof protocol);
    conf_text(conf, "sasl.mechanisms", mechanism, sizeof mechanism);
    conf_text(conf, "sasl.username", user, sizeof user);
    if (strncmp(protocol, "sasl", 4) != 0)
        return ERR_OK;
    if (strcmp(mechanism, "OAUTHBEARER") == 0)
        return refuse(why, why_cap, path, 0,
                      "sasl.mechanism=OAUTHBEARER wants tokens, which subpay does not fetch; use "
                      "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or GSSAPI");
    if (strcmp(mechanism, "GSSAPI") == 0 && user[0] != '\0')
        return refuse(why, why_cap, path, 0,
                      "sasl.username is set, but sasl.mechanism is not, or is GSSAPI: use PLAIN, "
                      "SCRAM-SHA-256 or SCRAM-SHA-512");
    k->scram = strncmp(mechanism, "SCRAM", 5) == 0;
    return ERR_OK;
}

/* Library code never logs: what it says of trouble comes as an error too. */
static void log_nothing(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

enum err kafka_conf_make(struct kafka *k, const struct kafka_settings *settings, char *why,
                         size_t why_cap)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char said[256] = "";
    rd_kafka_conf_set_log_cb(conf, log_nothing);
    for (size_t i = 0; i < sizeof OURS / sizeof *OURS; i++)
        ours_set(conf, OURS[i][0], OURS[i][1]);
    for (size_t i = 0; i < sizeof DEFAULTS / sizeof *DEFAULTS; i++)
        ours_set(conf, DEFAULTS[i][0], DEFAULTS[i][1]);
    enum err err = ERR_OK;
    if (rd_kafka_conf_set(conf, "bootstrap.servers", settings->brokers, said, sizeof said) ||
        rd_kafka_conf_set(conf, "client.id", settings->client_id, said, sizeof said))
        err = refuse(why, why_cap, "brokers and client id", 0, said);
    if (err == ERR_OK && settings->config_path)
        err = file_take(conf, settings->config_path, why, why_cap);
    if (err == ERR_OK)
        err = login_check(k, conf, settings->config_path, why, why_cap);
    if (err != ERR_OK) {
        rd_kafka_conf_destroy(conf);
        return err;
    }
    k->conf = conf;
    return ERR_OK;
}

rd_kafka_conf_t *kafka_conf_with(const struct kafka *k, const char *const values[][2])
{
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(k->conf);
    for (size_t i = 0; values[i][0]; i++)
        ours_set(conf, values[i][0], values[i][1]);
    return conf;
}

struct kafka_settings kafka_settings_of(const struct config *config, const char *client_id,
                                        struct clock *clock)
{
    return (struct kafka_settings){
        .brokers = config->kafka_brokers,
        .config_path = config->kafka_config[0] != '\0' ? config->kafka_config : NULL,
        .client_id = client_id,
        .retention_days = config->queue_retention_days,
        .clock = clock,
    };
}
