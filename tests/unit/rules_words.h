/* rules_words.h: the words of a line of tests/rules, and the values they spell. */
#ifndef SUBPAY_TESTS_RULES_WORDS_H
#define SUBPAY_TESTS_RULES_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/times.h"
#include "base/uuid.h"
#include "billing/money.h"
#include "billing/types.h"

#define WORDS_MAX 40
#define NAME_MAX_LEN 15
#define LINE_MAX_LEN 400

struct words {
    char line[LINE_MAX_LEN];
    char *word[WORDS_MAX];
    int count, at;
};

/* The take functions move on; false: the words are something else, and the line is wrong. */
bool words_split(struct words *w, const char *line, size_t len);
const char *peek(const struct words *w);
const char *take(struct words *w);
bool at_end(const struct words *w);
bool take_phrase(struct words *w, const char *phrase);
bool take_i64(struct words *w, int64_t max, int64_t *out);
bool take_date(struct words *w, struct date *out);
bool take_time(struct words *w, int64_t *out);
bool take_money(struct words *w, struct money *out);
bool take_subscription(struct words *w, enum subscription_type *out);
struct uuid uuid_named(const char *name);
bool take_name(struct words *w, const char **name);

#endif
