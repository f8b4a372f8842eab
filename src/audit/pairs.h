/* pairs.h: the statements of audit/I<n>*.sql, read once. For audit.c only. */
#ifndef SUBPAY_AUDIT_PAIRS_H
#define SUBPAY_AUDIT_PAIRS_H

#include "audit/audit.h"

#define AUDIT_PAIRS_MAX 48
#define AUDIT_PAIRS_BYTES_MAX (256 * 1024)

/* What the comment before it says. */
struct pair {
    int invariant; /* of the report, from 0 */
    const char *count;
    const char *rows; /* asked so that it answers: how many rows, and the first of them */
    bool needs_journal, needs_log, listed, at_once;
};
struct pairs {
    struct pair all[AUDIT_PAIRS_MAX];
    int count;
};

/* Also names the invariants of the report. The texts are in the arena. */
enum err pairs_read(struct pairs *out, struct audit_report *report, struct arena *texts) MUST_CHECK;

#endif
