/* audit.h: are the books right? Published SELECTs per invariant (contract section 8) that return
 * the offending rows; this runs them over one snapshot and reports. An operator can paste each .sql
 * file.
 *
 * Files audit/I<n>*.sql, embedded at build time, begin with a comment "-- I<n>: what must hold";
 * then come pairs of statements: the first counts what is checked, the second returns offenders,
 * the id in the first column, the text in the second. A pair whose comment says "Needs the
 * journal." is left out, and named as not checked, when the journal cannot be read. The rows of a
 * pair whose comment says "Listed, not judged." break nothing, and its count counts for nothing. SQL
 * is of the subset that SQLite and PostgreSQL share.
 *
 * The journal of the processing is read first, into a temporary table `journal` (seq, key,
 * payment_id, user_id, payment_type, subscription_type, refund_of, result, reason,
 * transaction_id, amount, currency, late), and the books after it: whatever the journal says was
 * claimed before, so the books of a running system know of it. Then the journal's tail, late = 1:
 * whatever the books say was answered before, so the whole journal knows of it.
 *
 * Other temporary tables: instance (instance_id: whose journal it is, '' unknown), log (the queue's
 * records, understood by the codec), rejected (what went to <topic>.rejected), accepted (ids that
 * clients were told), heartbeat (service, and ten minutes before its last one). */
#ifndef SUBPAY_AUDIT_AUDIT_H
#define SUBPAY_AUDIT_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/db.h"
#include "base/err.h"
#include "base/str.h"

#define AUDIT_EXAMPLES_MAX 10
#define AUDIT_EXAMPLE_TEXT 200
#define AUDIT_INVARIANTS_MAX 16

struct audit_invariant {
    char id[8]; /* "I2" */
    char title[160];
    bool
        checked_at_all; /* false: (a part of it) could not be checked, `why` says so: exit code 3 */
    char why[200];
    int64_t checked, broken, listed;
    char examples[AUDIT_EXAMPLES_MAX][AUDIT_EXAMPLE_TEXT]; /* "<id> <text>" */
    char listings[AUDIT_EXAMPLES_MAX][AUDIT_EXAMPLE_TEXT]; /* likewise, of what is not judged */
    int example_count, listing_count;
};
struct audit_report {
    struct audit_invariant invariants[AUDIT_INVARIANTS_MAX];
    int count;
};
/* One line of the processing's journal, in the order of seq. Texts that are absent are NULL. */
struct journal_line {
    int64_t seq;
    const char *key, *payment_id, *user_id, *payment_type, *subscription_type, *refund_of;
    const char *result, *reason, *transaction_id, *currency;
    int64_t amount_minor; /* 0: absent */
};
typedef enum err journal_each_fn(void *to, const struct journal_line *line);
/* Calls `each` for every line and ends with its error; not OK: the journal cannot be read. */
struct journal_source {
    enum err (*read)(void *ctx, journal_each_fn *each, void *to);
    const char *(*why)(void *ctx); /* may be NULL; says more after a failure */
    void *ctx;
    /* The lines behind `after`, that were written while the audit ran; NULL: nothing runs. */
    enum err (*tail)(void *ctx, int64_t after, journal_each_fn *each, void *to);
    const char *(*instance)(void *ctx); /* after read: whose journal it is; NULL or "": not known */
};
/* Calls `each` for every payment_id that a client was told, lower-case, with its line in the file. */
struct accepted_source {
    enum err (*read)(void *ctx, enum err (*each)(void *to, const char *payment_id, int64_t line),
                     void *to);
    void *ctx;
};
struct audit_inputs {
    const struct journal_source *journal;   /* NULL: cannot be read */
    const struct accepted_source *accepted; /* NULL: none */
    const char *topic; /* what the saver reads; NULL: the topics in which it has a position */
};
/* db: any connection to the store outside a transaction; it may make temporary tables from then on.
 * Not OK: the books (or the accepted ids) cannot be read; db_why says more. */
enum err audit_all(struct db *db, const struct audit_inputs *inputs,
                   struct audit_report *out) MUST_CHECK;
/* With a journal alone. */
enum err audit_run(struct db *db, const struct journal_source *journal,
                   struct audit_report *out) MUST_CHECK;
void audit_print(const struct audit_report *r, struct str *out); /* I1 ok 1234 checked */
void audit_print_json(const struct audit_report *r, struct str *out);
int audit_exit_code(const struct audit_report *r); /* 0, 1 broken, 3 not checked */
/* A journal line from the JSON of GET /transactions {"seq","key","request","answer"}; borrows
 * from doc; false when it is not one. */
struct json;
bool journal_line_parse(const struct json *doc, struct journal_line *out);

#endif
