/* audit_log.h: the queue as `subpay audit` reads it beside PostgreSQL: the topic and its rejected one, from the oldest
 * records on, without joining a group. */
#ifndef SUBPAY_CLI_AUDIT_LOG_H
#define SUBPAY_CLI_AUDIT_LOG_H

#include "audit/audit.h"
#include "base/config.h"
#include "queue/kafka.h"

struct audit_log {
    const struct config *config;
    struct db *db;       /* with the saver's positions */
    struct kafka *kafka; /* NULL: none is configured, and reading says so */
    char why[256];
};
/* Does not connect. false after it printed why; *code is set. */
bool audit_log_open(struct audit_log *l, const struct config *config, struct db *db, int *code);
void audit_log_close(struct audit_log *l);
/* A source over `l`, which must outlive it. */
struct log_source audit_log_source(struct audit_log *l);

/* All records of a topic up to those that were the last when it began. The handle has not subscribed yet, and is of no
 * use afterwards. Any driver. ERR_NOT_FOUND: there is no such topic. */
enum err audit_log_read(struct queue *q, const char *topic, log_each_fn *each, void *to,
                        bool rejected) MUST_CHECK;

#endif
