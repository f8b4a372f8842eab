/* The simulator's rules: what a key's outcome is, and what befalls a call. Pure. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "services/processing.h"

#define SUM_SLACK 1e-9

/* A list like `success=0.9,decline=0.1`. */
struct share {
    const char *name;
    double *value;
    bool given;
};

static enum err refuse(char *why, size_t why_cap, const char *name, const char *value,
                       const char *allowed)
{
    if (why_cap > 0)
        (void)snprintf(why, why_cap, "%s=%s: %s", name, value, allowed);
    return ERR_INVALID;
}

static bool probability_parse(const char *text, size_t len, double *out)
{
    char copy[32], *end;
    if (len == 0 || strspn(text, "0123456789.") < len || !text_copy_n(copy, sizeof copy, text, len))
        return false;
    *out = strtod(copy, &end);
    return *end == '\0' && *out >= 0 && *out <= 1;
}

/* Every name at most once; an empty text gives none. */
static bool shares_parse(const char *text, struct share *shares, size_t count)
{
    while (*text) {
        size_t len = strcspn(text, ",");
        const char *equals = memchr(text, '=', len);
        if (!equals)
            return false;
        size_t name_len = (size_t)(equals - text), i = 0;
        while (i < count &&
               (strlen(shares[i].name) != name_len || strncmp(shares[i].name, text, name_len) != 0))
            i++;
        if (i == count || shares[i].given ||
            !probability_parse(equals + 1, len - name_len - 1, shares[i].value))
            return false;
        shares[i].given = true;
        text += len;
        if (*text == ',' && *++text == '\0')
            return false;
    }
    return true;
}

static bool outcomes_parse(const char *text, struct simulator_rules *r)
{
    struct share shares[] = {{"success", &r->success, false},
                             {"decline", &r->decline, false},
                             {"error", &r->error, false},
                             {"pending", &r->pending, false}};
    return shares_parse(text, shares, sizeof shares / sizeof *shares) &&
           fabs(r->success + r->decline + r->error + r->pending - 1) <= SUM_SLACK;
}

static bool faults_parse(const char *text, struct simulator_rules *r)
{
    struct share shares[] = {{"timeout", &r->fault_timeout, false},
                             {"drop", &r->fault_drop, false},
                             {"500", &r->fault_500, false}};
    return shares_parse(text, shares, sizeof shares / sizeof *shares) &&
           r->fault_timeout + r->fault_drop + r->fault_500 <= 1 + SUM_SLACK;
}

/* "5-50", or "5" for always 5. */
static bool latency_parse(const char *text, struct simulator_rules *r)
{
    char from[16];
    size_t len = strcspn(text, "-");
    int64_t min, max;
    if (!text_copy_n(from, sizeof from, text, len) ||
        !text_i64(from, 0, SIMULATOR_LATENCY_MAX_MS, &min))
        return false;
    max = min;
    if (text[len] == '-' && !text_i64(text + len + 1, min, SIMULATOR_LATENCY_MAX_MS, &max))
        return false;
    r->latency_min_us = min * US_PER_MS;
    r->latency_max_us = max * US_PER_MS;
    return true;
}

enum err simulator_rules_parse(const struct config *config, struct simulator_rules *out, char *why,
                               size_t why_cap)
{
    struct simulator_rules r = {
        .seed = (uint64_t)config->processing_seed,
        .pending_us = config->processing_pending_s * US_PER_S,
        .key_ttl_us =
            config->key_ttl == KEY_TTL_SECONDS ? config->key_ttl_s * US_PER_S : TIME_NEVER,
    };
    if (config->key_ttl == KEY_TTL_NONE)
        r.key_ttl_us = 0; /* nothing is remembered: every POST executes */
    if (!outcomes_parse(config->processing_outcomes, &r))
        return refuse(why, why_cap, "PROCESSING_OUTCOMES", config->processing_outcomes,
                      "shares of success, decline, error and pending that add up to 1");
    if (!latency_parse(config->processing_latency_ms, &r))
        return refuse(why, why_cap, "PROCESSING_LATENCY_MS", config->processing_latency_ms,
                      "MIN-MAX in milliseconds, 0-600000");
    if (!faults_parse(config->processing_faults, &r))
        return refuse(why, why_cap, "PROCESSING_FAULTS", config->processing_faults,
                      "shares of timeout, drop and 500 that add up to at most 1");
    *out = r;
    return ERR_OK;
}

/* One hash for each question about a call, so that the answers are independent of each other. */
enum question { ASK_OUTCOME = 1, ASK_FAULT, ASK_EXECUTED, ASK_LATENCY };

static uint64_t hash_of(const struct simulator_rules *r, enum question question,
                        const struct uuid *key, int64_t n)
{
    unsigned char bytes[16 + 8 + 1];
    memcpy(bytes, key->bytes, 16);
    for (int i = 0; i < 8; i++)
        bytes[16 + i] = (unsigned char)((uint64_t)n >> (8 * i));
    bytes[24] = (unsigned char)question;
    return hash_u64(r->seed, bytes, sizeof bytes);
}

static double unit_of(uint64_t hash)
{
    return (double)(hash >> 11) * 0x1p-53;
}

enum simulator_outcome simulator_outcome_of(const struct simulator_rules *r, const struct uuid *key)
{
    double at = unit_of(hash_of(r, ASK_OUTCOME, key, 0));
    if ((at -= r->decline) < 0)
        return SIM_DECLINE;
    if ((at -= r->error) < 0)
        return SIM_ERROR;
    if ((at -= r->pending) < 0)
        return SIM_PENDING;
    /* What rounding leaves over goes to success, unless there is none of it. */
    if (r->success > 0)
        return SIM_SUCCESS;
    return r->pending > 0 ? SIM_PENDING : r->error > 0 ? SIM_ERROR : SIM_DECLINE;
}

enum simulator_fault simulator_fault_of(const struct simulator_rules *r, const struct uuid *key,
                                        int64_t n, bool *executed)
{
    double at = unit_of(hash_of(r, ASK_FAULT, key, n));
    *executed = hash_of(r, ASK_EXECUTED, key, n) & 1;
    if ((at -= r->fault_timeout) < 0)
        return FAULT_TIMEOUT;
    if ((at -= r->fault_drop) < 0)
        return FAULT_DROP;
    if ((at -= r->fault_500) < 0)
        return FAULT_500;
    *executed = true;
    return FAULT_NONE;
}

int64_t simulator_latency_us(const struct simulator_rules *r, const struct uuid *key, int64_t n)
{
    uint64_t span = (uint64_t)(r->latency_max_us - r->latency_min_us) + 1;
    return r->latency_min_us + (int64_t)(hash_of(r, ASK_LATENCY, key, n) % span);
}
