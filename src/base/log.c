#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "base/times.h"

#define AT_TEXT 25 /* "2026-11-24T06:35:48.123Z" and its NUL */

const char *log_level_text(enum log_level level)
{
    static const char *const TEXTS[] = {
#define LOG_NAME(name, text) text,
        LOG_LEVEL_LIST(LOG_NAME)
#undef LOG_NAME
    };
    return TEXTS[level];
}

static void format_at(const struct log *log, char out[AT_TEXT])
{
    char text[TIME_TEXT];
    time_format(clock_wall_us(log->clock), text);
    memcpy(out, text, AT_TEXT - 2); /* milliseconds are enough for people */
    out[AT_TEXT - 2] = 'Z';
    out[AT_TEXT - 1] = '\0';
}

/* Escaped, and cut between characters if it is too long. */
static void add_escaped(struct str *line, const char *text)
{
    size_t len = strlen(text);
    if (len <= LOG_TEXT_MAX) {
        json_escape(line, text, len);
        return;
    }
    len = LOG_TEXT_MAX;
    while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
        len--;
    json_escape(line, text, len);
    str_add(line, "...");
}

static bool needs_quotes(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7F || strchr("\"\\=", *p))
            return true;
    return *text == '\0';
}

static void add_field(struct str *line, bool json, const struct log_field *f)
{
    if (json)
        json_name(line, f->name);
    else
        str_addf(line, " %s=", f->name);
    if (f->kind == LOG_NUMBER) {
        str_addf(line, "%lld", (long long)f->number);
    } else if (!f->text) {
        str_add(line, json ? "null" : "-");
    } else {
        bool quotes = json || needs_quotes(f->text);
        str_add(line, quotes ? "\"" : "");
        add_escaped(line, f->text);
        str_add(line, quotes ? "\"" : "");
    }
}

static void add_head(struct str *line, const struct log *log, enum log_level level,
                     const char *service, const char *message)
{
    char at[AT_TEXT];
    format_at(log, at);
    if (!log->json) {
        str_addf(line, "%s %-5s %s: ", at, log_level_text(level), service);
        add_escaped(line, message);
        return;
    }
    json_open(line, '{');
    json_put_text(line, "at", at);
    json_put_text(line, "level", log_level_text(level));
    json_put_text(line, "service", service);
    json_name(line, "message");
    str_add(line, "\"");
    add_escaped(line, message);
    str_add(line, "\"");
}

/* A pipe that polls writable takes PIPE_BUF bytes without blocking. */
static bool write_line(int fd, const char *data, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
        return false;
    ssize_t n;
    do
        n = write(fd, data, len);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)len;
}

void log_event_(struct log *log, enum log_level level, const char *service, const char *message,
                const struct log_field *fields)
{
    if (log->fd < 0 || level > log->level)
        return;
    int saved = errno; /* a caller may log first and look at errno afterwards */
    struct str line;
    str_init(&line, LOG_LINE_MAX - 2); /* room for the end */
    add_head(&line, log, level, service, message);
    for (const struct log_field *f = fields; !line.failed && f->kind != LOG_END; f++) {
        size_t before = line.len;
        add_field(&line, log->json, f);
        if (line.failed) { /* no room for this one; what stands before it is worth printing */
            line.failed = false;
            line.len = before;
            line.data[before] = '\0';
        }
    }
    line.limit = LOG_LINE_MAX;
    str_add(&line, log->json ? "}\n" : "\n");
    if (line.failed || !write_line(log->fd, line.data, line.len))
        __atomic_fetch_add(&log->dropped, 1, __ATOMIC_RELAXED);
    str_release(&line);
    errno = saved;
}

int64_t log_dropped(const struct log *log)
{
    return __atomic_load_n(&log->dropped, __ATOMIC_RELAXED);
}
