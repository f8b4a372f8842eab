/* log.h: one line a fact, to a sink that never blocks a payment.
 *
 * text:  2026-11-24T06:35:48.123Z info  saver: stored records=12 next=340
 * json:  {"at":"…","level":"info","service":"saver","message":"stored","records":12,"next":340}
 *
 * Only services and cli log; library code returns errors. Values are escaped (CR, LF, ESC and other
 * control characters never reach a terminal). Secrets, tokens, keys of requests and payment methods
 * are never given to it. Any thread; a line is one write(2). A line that the sink cannot take now
 * is dropped and counted. */
#ifndef SUBPAY_BASE_LOG_H
#define SUBPAY_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define LOG_LEVEL_LIST(X) X(ERROR, "error") X(WARN, "warn") X(INFO, "info") X(DEBUG, "debug")
#define LOG_LINE_MAX 4096 /* bytes, = PIPE_BUF: what a pipe takes whole or not at all */
#define LOG_TEXT_MAX 512  /* bytes of one value; longer ones are cut and end in "..." */

enum log_level {
#define LOG_ENUM(name, text) LOG_##name,
    LOG_LEVEL_LIST(LOG_ENUM)
#undef LOG_ENUM
};

struct log {
    int fd; /* -1: say nothing */
    enum log_level level;
    bool json;
    struct clock *clock;
    int64_t dropped; /* lines; read it with log_dropped */
};

enum log_field_kind { LOG_END, LOG_TEXT, LOG_NUMBER };
struct log_field {
    enum log_field_kind kind;
    const char *name;
    const char *text;
    int64_t number;
};

/* log_event(log, LOG_INFO, "saver", "stored", F_NUM("records", n), F_STR("topic", t)); */
#define F_STR(name, text) ((struct log_field){LOG_TEXT, (name), (text), 0})
#define F_NUM(name, number) ((struct log_field){LOG_NUMBER, (name), 0, (number)})
#define log_event(log, level, service, ...)                                                        \
    log_event_(log, level, service, LOG_FIRST_(__VA_ARGS__, 0),                                    \
               (const struct log_field[]){LOG_REST_(__VA_ARGS__, ((struct log_field){0}))})
#define LOG_FIRST_(message, ...) message
#define LOG_REST_(message, ...) __VA_ARGS__

void log_event_(struct log *log, enum log_level level, const char *service, const char *message,
                const struct log_field *fields);
/* Lines that were lost because the sink was full, closed or broken, for metrics. Any thread. */
int64_t log_dropped(const struct log *log);
const char *log_level_text(enum log_level level);

#endif
