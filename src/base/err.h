/* err.h: the one list of ways in which a call can fail.
 *
 * Library code returns an enum err and never logs; the caller that gives up logs once. A handle
 * that can say more keeps a text of its own (db_why, config_why). Outputs are untouched when a call
 * fails, unless its header says otherwise. A failed assertion is a bug of ours, not an error, and
 * asserts stay on. */
#ifndef SUBPAY_BASE_ERR_H
#define SUBPAY_BASE_ERR_H

#include <stdbool.h>

/* name, text for the operator, is the same call worth repeating later? */
#define ERR_LIST(X)                                                                                \
    X(OK, "done", false)                                                                           \
    X(BUSY, "busy: a queue or a table is at its limit", true)                                      \
    X(UNREACHABLE, "the other side does not answer", true)                                         \
    X(IO, "reading or writing failed", true)                                                       \
    X(NO_SPACE, "no space left", true)                                                             \
    X(NO_MEMORY, "out of memory", true)                                                            \
    X(MOVED, "somebody else moved the position first", false)                                      \
    X(FOREIGN, "not the log or the instance that was used before", false)                          \
    X(INVALID, "the input is not acceptable", false)                                               \
    X(NOT_FOUND, "there is no such thing", false)                                                  \
    X(CONFLICT, "it contradicts what is stored", false)                                            \
    X(REFUSED, "a record of the batch is refused; nothing was stored", false)                      \
    X(LOCKED, "held by another process", false)                                                    \
    X(CORRUPT, "stored data is damaged", false)                                                    \
    X(VERSION, "made by another version", false)                                                   \
    X(STOPPED, "shut down", false)                                                                 \
    X(BUG, "the statement or the program is wrong", false)

enum err {
#define ERR_ENUM(name, text, retriable) ERR_##name,
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
        ERR_COUNT
};

const char *err_text(enum err err);
/* The only place that decides whether a repeat can help. */
bool err_retriable(enum err err);

#define MUST_CHECK __attribute__((warn_unused_result))

#endif
