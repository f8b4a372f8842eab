#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config_table.h"

#define ENV_FILE_MAX_BYTES 65536
#define ENV_FILE_MAX_ENTRIES 1024
#define NAME_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define NAME_MAX_BYTES 128

/* The whole file in memory, with a NUL behind it. ERR_NOT_FOUND: there is none. */
static enum err file_read(const char *path, char **out, size_t *out_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    char *data = malloc(ENV_FILE_MAX_BYTES + 1);
    size_t len = 0;
    ssize_t n = data ? 1 : -1;
    while (n > 0 && len <= ENV_FILE_MAX_BYTES) {
        n = read(fd, data + len, ENV_FILE_MAX_BYTES + 1 - len);
        if (n > 0)
            len += (size_t)n;
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    close(fd);
    if (n < 0 || len > ENV_FILE_MAX_BYTES) {
        free(data);
        return !data ? ERR_NO_MEMORY : n < 0 ? ERR_IO : ERR_INVALID;
    }
    data[len] = '\0';
    *out = data;
    *out_len = len;
    return ERR_OK;
}

static bool only_comment(const char *p)
{
    p += strspn(p, " \t");
    return *p == '\0' || *p == '#';
}

/* Moves the text between quotes at p to `to`, backslashes resolved within double ones. Returns what
 * is wrong. */
static const char *unquote(char *p, char *to)
{
    char quote = *p++;
    while (*p && *p != quote) {
        if (quote == '"' && *p == '\\' && p[1]) {
            p++;
            if (!strchr("\"\\$`n", *p))
                *to++ = '\\';
            *to++ = *p == 'n' ? '\n' : *p;
            p++;
        } else {
            *to++ = *p++;
        }
    }
    if (*p != quote)
        return "a quote is not closed";
    if (!only_comment(p + 1))
        return "there is text behind the closing quote";
    *to = '\0';
    return NULL;
}

/* Cuts `NAME=value` into "NAME\0value" in place; *entry gets the name, NULL for a line without one.
 * The value begins behind the NUL of the name. Returns what is wrong with the line, or NULL. */
static const char *cut_line(char *line, char **entry)
{
    *entry = NULL;
    line += strspn(line, " \t");
    if (only_comment(line))
        return NULL;
    if (strncmp(line, "export", 6) == 0 && (line[6] == ' ' || line[6] == '\t'))
        line += 6 + strspn(line + 6, " \t");
    size_t name_len = strspn(line, NAME_LETTERS "0123456789");
    char *equals = line + name_len + strspn(line + name_len, " \t");
    if (name_len == 0 || name_len > NAME_MAX_BYTES || !strchr(NAME_LETTERS, *line) ||
        *equals != '=')
        return "expected NAME=value";
    char *from = equals + 1 + strspn(equals + 1, " \t"), *value = line + name_len + 1;
    line[name_len] = '\0';
    *entry = line;
    if (*from == '\'' || *from == '"')
        return unquote(from, value);
    size_t len = 0;
    while (from[len] && !(from[len] == '#' && (len == 0 || strchr(" \t", from[len - 1]))))
        len++;
    while (len > 0 && strchr(" \t", from[len - 1]))
        len--;
    memmove(value, from, len);
    value[len] = '\0';
    return NULL;
}

static enum err cut_lines(struct sources *s, const char *path, char *why, size_t why_cap)
{
    char *line = s->file, *end = s->file + s->file_len;
    if (s->file_len >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0)
        line += 3; /* a byte order mark of some editors */
    for (int number = 1; line < end; number++) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        char *next = stop ? stop + 1 : end;
        stop = stop ? stop : end;
        if (stop > line && stop[-1] == '\r')
            stop--;
        *stop = '\0';
        char *entry;
        const char *wrong = memchr(line, '\0', (size_t)(stop - line)) ? "there is a NUL in it"
                                                                      : cut_line(line, &entry);
        if (!wrong && entry && s->entry_count == ENV_FILE_MAX_ENTRIES)
            wrong = "too many settings";
        if (wrong) {
            /* not the line itself: it may hold a secret */
            snprintf(why, why_cap,
                     "%s line %d: %s; allowed are NAME=value, # comments and blank lines", path,
                     number, wrong);
            return ERR_INVALID;
        }
        if (entry)
            s->entries[s->entry_count++] = entry;
        line = next;
    }
    return ERR_OK;
}

enum err sources_open(struct sources *s, char *const *environment, const char *env_file, char *why,
                      size_t why_cap)
{
    *s = (struct sources){.environment = environment};
    if (!env_file)
        return ERR_OK;
    enum err err = file_read(env_file, &s->file, &s->file_len);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err == ERR_IO)
        snprintf(why, why_cap, "%s cannot be read: %s", env_file, strerror(errno));
    else if (err == ERR_INVALID)
        snprintf(why, why_cap, "%s is longer than the %d bytes allowed", env_file,
                 ENV_FILE_MAX_BYTES);
    if (err != ERR_OK)
        return err == ERR_NO_MEMORY ? err : ERR_INVALID;
    s->entries = calloc(ENV_FILE_MAX_ENTRIES, sizeof *s->entries);
    err = s->entries ? cut_lines(s, env_file, why, why_cap) : ERR_NO_MEMORY;
    if (err != ERR_OK)
        sources_close(s);
    return err;
}

void sources_close(struct sources *s)
{
    if (s->file)
        explicit_bzero(s->file, s->file_len);
    free(s->file);
    free(s->entries);
    *s = (struct sources){0};
}

static bool name_is(const char *name, const struct setting *t)
{
    size_t len = strlen(t->name);
    return strcmp(name, t->name) == 0 || (t->other_name && strcmp(name, t->other_name) == 0) ||
           (t->secret && strncmp(name, t->name, len) == 0 && strcmp(name + len, "_FILE") == 0);
}

void sources_unknown(const struct sources *s, char *out, size_t cap)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < s->entry_count; i++) {
        const char *name = s->entries[i];
        bool known = false;
        for (size_t k = 0; k < SETTINGS_COUNT && !known; k++)
            known = name_is(name, &SETTINGS[k]);
        if (known || len + strlen(name) + 3 > cap)
            continue;
        len += (size_t)snprintf(out + len, cap - len, "%s%s", len > 0 ? ", " : "", name);
    }
}

const char *sources_find(const struct sources *s, enum source_layer layer, const char *name)
{
    const char *value = NULL;
    size_t len = strlen(name);
    if (layer == LAYER_ENVIRONMENT) {
        for (char *const *e = s->environment; e && *e && !value; e++)
            if (strncmp(*e, name, len) == 0 && (*e)[len] == '=')
                value = *e + len + 1;
    } else {
        for (size_t i = 0; i < s->entry_count; i++)
            if (strcmp(s->entries[i], name) == 0)
                value = s->entries[i] + len + 1; /* the last one wins, as in a shell */
    }
    return value && *value ? value : NULL;
}
