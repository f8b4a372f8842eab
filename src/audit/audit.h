/* audit.h: are the books right? Published SELECTs per invariant (contract section 8) that return
 * the offending rows; this runs them over one snapshot and reports. On the embedded file an operator
 * can paste each .sql file.
 *
 * Files audit/I<n>*.sql, embedded at build time, begin with a comment "-- I<n>: what must hold";
 * then come pairs of statements: the first counts what is checked, the second returns offenders,
 * the id in the first column, the text in the second. A pair whose comment says "Needs the
 * journal." or "Needs the log." is left out, and named as not checked, when the processing's journal
 * or the queue cannot be read. The rows of a pair whose comment says "Listed, not judged." break
 * nothing, and its count counts for nothing. SQL is of the subset that SQLite and PostgreSQL share;
 * ids and times are texts in SQLite's stored form.
 *
 * The journal of the processing is read first, into a temporary table `journal` (seq, key,
 * payment_id, user_id, payment_type, subscription_type, refund_of, result, reason,
 * transaction_id, amount, currency, late), and the books after it: whatever the journal says was
 * claimed before, so the books of a running system know of it. Then the journal's tail, late = 1:
 * whatever the books say was answered before, so the whole journal knows of it.
 *
 * Other temporary tables: whole_journal (see below), instance (instance_id: whose journal it is, ''
 * unknown), log (the queue's records, understood by the codec, each with what is stored of it),
 * rejected (what went to <topic>.rejected; where it came from, or its content), accepted (ids that
 * clients were told, and whether they are stored), heartbeat (service, and ten minutes before its
 * last one).
 *
 * PostgreSQL: by ranges of users, so that no snapshot is older than a range takes. Temporary tables
 * payments, accounts, attempts, subscriptions, events and journal stand before those of the same
 * names and hold one range: what belongs to its users. Every row is in exactly one range; the last
 * ones are of events whose subject is in no table. A pair whose comment says "At once." runs once,
 * behind all ranges, over the store's own tables and whole_journal (the same as journal on SQLite):
 * for what is compared over users, or concerns no user. What two users share although they may not
 * is found on either side. The order above stays right:
 * - journal to books: a range's snapshot is later than the first reading, whose lines alone are
 *   judged (late = 0), and a line goes to the user to whom the books gave its payment before it.
 * - books to journal: every range reads the tail behind its own snapshot, before it is judged.
 * - log: positions and heartbeats are read in one snapshot first, then the log and, record by record,
 *   what is stored of it; what lies below a position was stored or rejected before. An id of
 *   `accepted` that is not stored is looked for in the log later: meanwhile it can't have left it.
 * - due times are read later than the heartbeat that they are compared with: only too kindly. */
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
/* Calls `each` for every record of the topic that the saver reads, and of its rejected one, up to what
 * each holds when it is come to; ends with its error. Not OK: the queue cannot be read. */
struct record;
typedef enum err log_each_fn(void *to, const struct record *record, bool rejected);
struct log_source {
    enum err (*read)(void *ctx, log_each_fn *each, void *to);
    const char *(*why)(void *ctx); /* may be NULL; says more after a failure */
    void *ctx;
};
#define AUDIT_RANGE_USERS 5000
struct audit_inputs {
    const struct journal_source *journal;   /* NULL: cannot be read */
    const struct accepted_source *accepted; /* NULL: none */
    const struct log_source *log; /* NULL: the embedded queue, or on PostgreSQL: cannot be read */
    const char *topic;   /* what the saver reads; NULL: the topics in which it has a position */
    int64_t range_users; /* of a range; 0: AUDIT_RANGE_USERS */
};
/* db: any connection to the store outside a transaction, on PostgreSQL a direct one, best DB_READ; it
 * may make temporary tables from then on.
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
