/* config_table.h: what the files of config share: the rows of the table, and the checks of
 * values. */
#ifndef SUBPAY_BASE_CONFIG_TABLE_H
#define SUBPAY_BASE_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/err.h"
#include "base/str.h"

enum setting_kind {
    SETTING_TEXT,    /* char[CONFIG_TEXT] */
    SETTING_NUMBER,  /* int64_t */
    SETTING_CHOICE,  /* int or enum: the index of the choice; bool: whether it is not the first */
    SETTING_RATE,    /* struct rate */
    SETTING_KEY_TTL, /* enum config_key_ttl, with its seconds in key_ttl_s */
};

struct setting {
    enum setting_kind kind;
    const char *group; /* the first row of a group names it; NULL elsewhere */
    const char *name;
    const char *other_name; /* NULL, or a second name for the same */
    bool secret;            /* masked wherever it is shown; NAME_FILE is understood */
    size_t offset, size;    /* of the member of struct config */
    const char *initial;    /* the default as one would write it; "" = unset */
    const char *unset;      /* what happens then, NULL when there is a default */
    int64_t min, max;       /* NUMBER */
    const char *const *choices;
    bool (*accepts)(const char *text); /* TEXT; NULL: any text */
    bool absent;                       /* not in this build: the documents say so */
    const char *allowed; /* what is said about it; NUMBER and CHOICE say it themselves */
    const char *help;
};

extern const struct setting SETTINGS[];
extern const size_t SETTINGS_COUNT;

const struct setting *setting_named(const char *name); /* must be there */
size_t setting_index(const struct setting *t);
/* Reads text into its member; false when it is not allowed (the member is then untouched). */
bool setting_parse(const struct setting *t, const char *text, struct config *c);
/* The member as one would write it; not masked. */
void setting_format(const struct setting *t, const struct config *c, struct str *out);
void setting_allowed(const struct setting *t, struct str *out);

/* Where values come from. The texts live as long as the sources. */
enum source_layer { LAYER_ENVIRONMENT, LAYER_FILE, LAYER_COUNT };
struct sources {
    char *const *environment;
    char *file;     /* the bytes of `.env`, cut into texts in place */
    char **entries; /* "NAME" of each line, its value behind the NUL */
    size_t file_len, entry_count;
};
enum err sources_open(struct sources *s, char *const *environment, const char *env_file, char *why,
                      size_t why_cap) MUST_CHECK;
void sources_close(struct sources *s);
/* The names in `.env` that are no setting's, with commas between; as many as fit. */
void sources_unknown(const struct sources *s, char *out, size_t cap);
/* NULL when it is not given there, or empty. */
const char *sources_find(const struct sources *s, enum source_layer layer, const char *name);

/* Bits of config.source */
enum {
    SOURCE_LAYER_MASK = 3, /* 0: the default; else 1 + layer; SOURCE_COMPOSED: of other settings */
    SOURCE_COMPOSED = 3,
    SOURCE_OTHER_NAME = 4, /* given under other_name */
    SOURCE_SECRET_FILE = 8 /* given as NAME_FILE */
};

/* Checks of texts (config_check.c) */
bool accepts_title(const char *text);
bool accepts_postgres_url(const char *text);
bool accepts_host(const char *text);
bool accepts_postgres_host(const char *text); /* also a directory with a socket */
bool accepts_brokers(const char *text);
bool accepts_topic(const char *text);
bool accepts_listen(const char *text);
bool accepts_listen_or_off(const char *text);
bool accepts_proxies(const char *text);
bool accepts_origins(const char *text);
bool accepts_http_url(const char *text);
bool accepts_smtp_url(const char *text);
bool accepts_mail_address(const char *text);
bool accepts_outcomes(const char *text);
bool accepts_faults(const char *text);
bool accepts_latency(const char *text);
bool address_is_loopback(const char *listen);

/* What values must keep together, by what is about to start (config_rules.c). */
enum err config_rules(const struct config *c, enum config_for purpose, char *why,
                      size_t why_cap) MUST_CHECK;

/* The errors: one line with variable, value (escaped, cut, masked) and what is allowed. */
enum err config_refuse(char *why, size_t why_cap, const char *name, const char *value, bool secret,
                       const char *format, ...) __attribute__((format(printf, 6, 7)));

#endif
