/* config.h: every setting of contract section 4, from one table.
 *
 * config_table.c holds the table: name, type, default, range, secret?, help. `.env.example`,
 * docs/configuration.md and `subpay config` are generated from it and compared in the tests.
 * Sources, the first that has it wins: the environment, `.env` in the working directory, the
 * default. NAME_FILE gives the value of a secret NAME from a file. An empty value counts as unset;
 * unknown names are ignored, for the environment and `.env` are shared with others
 * (config_warns tells those of `.env`). After
 * config_load nothing changes: any thread may read. */
#ifndef SUBPAY_BASE_CONFIG_H
#define SUBPAY_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define CONFIG_TEXT 1024 /* bytes of a value, with its NUL */

enum config_key_ttl { KEY_TTL_SECONDS, KEY_TTL_FOR_EVER, KEY_TTL_NONE };
enum jwt_algorithm { JWT_HS256, JWT_RS256, JWT_ES256, JWT_EDDSA };
struct rate {
    int64_t per_second, burst;
}; /* 0:0 is off */

/* Values after parsing; an unset text is "". A copy with defaults needs no environment (tests). */
struct config {
    bool prod; /* ENVIRONMENT */
    char project_name[CONFIG_TEXT];
    char data_dir[CONFIG_TEXT];
    bool postgres, kafka; /* which engines are configured; equal, or config_load fails */
    char database_url[CONFIG_TEXT], kafka_brokers[CONFIG_TEXT], kafka_config[CONFIG_TEXT];
    /* the parts that database_url and kafka_brokers are composed from where they are not given */
    char postgres_host[CONFIG_TEXT], postgres_db[CONFIG_TEXT], postgres_user[CONFIG_TEXT];
    char postgres_password[CONFIG_TEXT], kafka_host[CONFIG_TEXT];
    int64_t postgres_port, kafka_port;
    char topic[CONFIG_TEXT];
    int64_t queue_retention_days, batch_size;
    int32_t accept_partitions; /* no setting: --accept-partitions of a command; 0: not given */
    char subscription_app_listen[CONFIG_TEXT], ops_listen[CONFIG_TEXT],
        processing_listen[CONFIG_TEXT];
    bool ops_listen_given;
    char trusted_proxies[CONFIG_TEXT], cors_origins[CONFIG_TEXT]; /* lists with commas */
    struct rate rate_address, rate_user;
    int64_t store_courtesy_ms;
    char processor[CONFIG_TEXT]; /* a base URL without a slash at the end, like auth_service */
    char processing_token[CONFIG_TEXT];
    int64_t processing_timeout_ms;
    enum config_key_ttl key_ttl;
    int64_t key_ttl_s; /* with KEY_TTL_SECONDS */
    int64_t request_max_age_s, refund_window_days, reconcile_interval_s;
    char jwt_secret[CONFIG_TEXT], jwt_secret_previous[CONFIG_TEXT];
    enum jwt_algorithm jwt_algorithm;
    char jwt_public_key[CONFIG_TEXT]; /* path of a PEM file */
    char jwt_audience[CONFIG_TEXT], jwt_issuer[CONFIG_TEXT];
    char auth_service[CONFIG_TEXT], smtp_url[CONFIG_TEXT], mail_from[CONFIG_TEXT];
    int log_level; /* enum log_level */
    bool log_json;
    char migrations_dir[CONFIG_TEXT];
    /* the simulator's */
    char processing_outcomes[CONFIG_TEXT], processing_latency_ms[CONFIG_TEXT];
    char processing_faults[CONFIG_TEXT];
    int64_t processing_seed, processing_pending_s;
    char unknown[256]; /* names in `.env` that are no setting's, for config_warns */
    /* where each value came from, for `subpay config`; private to config_*.c */
    unsigned char source[64];
};

/* What is about to start decides which settings must be there (contract section 4, last
 * paragraphs). */
enum config_for {
    CONFIG_FOR_SHOW,    /* config, token: no engine is opened, so a mixture does not concern them */
    CONFIG_FOR_STORE,   /* migrate, audit: the store alone, likewise */
    CONFIG_FOR_QUEUE,   /* topic: the queue alone, likewise */
    CONFIG_FOR_RUN,     /* all services in one process */
    CONFIG_FOR_SERVICE, /* one service other than the simulator */
    CONFIG_FOR_PROCESSING, /* the simulator alone: refused in prod */
};

/* ERR_INVALID: why names the variable, the value (masked if secret) and what is allowed, in one
 * line: exit code 2. `out` is then worth nothing. env_file may be missing, or NULL. */
enum err config_load(struct config *out, enum config_for purpose, char *const *environment,
                     const char *env_file, char *why, size_t why_cap) MUST_CHECK;
void config_defaults(struct config *out);
/* What is allowed and an operator should know, all of it in one line; false when there is nothing. */
bool config_warns(const struct config *c, char *why, size_t why_cap);

/* The documents. config_print masks secrets and says where each value came from. */
void config_print(const struct config *c, struct str *out);
void config_print_env_example(struct str *out);
void config_print_markdown(struct str *out);

/* "127.0.0.1:8101", "[::1]:80", "localhost:80" or ":0" → a numeric host ("" is any address,
 * localhost is 127.0.0.1) and a port; false when it is none of them. */
bool config_split_address(const char *text, char *host, size_t host_cap, int *port);

#endif
