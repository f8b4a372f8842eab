#include "rules_words.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

bool words_split(struct words *w, const char *line, size_t len)
{
    w->count = w->at = 0;
    if (!text_copy_n(w->line, sizeof w->line, line, len))
        return false;
    for (char *p = w->line; *p != '\0';) {
        if (*p == ' ' || *p == '\t') {
            *p++ = '\0';
            continue;
        }
        if (w->count == WORDS_MAX)
            return false;
        w->word[w->count++] = p;
        while (*p != '\0' && *p != ' ' && *p != '\t')
            p++;
    }
    return true;
}

const char *peek(const struct words *w)
{
    return w->at < w->count ? w->word[w->at] : "";
}

const char *take(struct words *w)
{
    return w->at < w->count ? w->word[w->at++] : "";
}

bool at_end(const struct words *w)
{
    return w->at == w->count;
}

/* The given words come next; all of them or none is taken. */
bool take_phrase(struct words *w, const char *phrase)
{
    struct words p;
    if (!words_split(&p, phrase, strlen(phrase)) || w->count - w->at < p.count)
        return false;
    for (int i = 0; i < p.count; i++)
        if (strcmp(w->word[w->at + i], p.word[i]) != 0)
            return false;
    w->at += p.count;
    return true;
}

bool take_i64(struct words *w, int64_t max, int64_t *out)
{
    return text_i64(take(w), 0, max, out);
}

bool take_date(struct words *w, struct date *out)
{
    const char *text = take(w);
    return date_parse(text, strlen(text), out);
}

/* 2026-03-10, 2026-03-10 12:00, 2026-03-10 12:00:05, 2026-03-10 12:00:05.000001 */
bool take_time(struct words *w, int64_t *out)
{
    const char *day = take(w);
    const char *time = strchr(peek(w), ':') != NULL ? take(w) : "00:00:00";
    char text[64];
    int len = snprintf(text, sizeof text, "%sT%s%sZ", day, time, strlen(time) == 5 ? ":00" : "");
    return len > 0 && (size_t)len < sizeof text && time_parse(text, (size_t)len, out);
}

bool take_money(struct words *w, struct money *out)
{
    *out = (struct money){0};
    return take_i64(w, MONEY_MINOR_MAX, &out->amount_minor) &&
           text_copy(out->currency, sizeof out->currency, take(w)) && money_known(out);
}

bool take_subscription(struct words *w, enum subscription_type *out)
{
    return subscription_type_parse(take(w), out);
}

struct uuid uuid_named(const char *name)
{
    struct uuid id = {{0xAA}}; /* never nil */
    snprintf((char *)id.bytes + 1, sizeof id.bytes - 1, "%s", name);
    return id;
}

bool take_name(struct words *w, const char **name)
{
    *name = take(w);
    return (*name)[0] != '\0' && strlen(*name) < NAME_MAX_LEN;
}
