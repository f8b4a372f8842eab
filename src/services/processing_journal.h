/* processing_journal.h: what the simulator executed, for ever: DATA_DIR/processing.db.
 *
 * Table `journal`: seq, key, request (the bytes of the body), answer (JSON), and what the rules need to know of
 * it as columns; rows are only added, a changed answer is a new row, the last row of a key is its answer.
 * Table `meta`: the instance id. All functions but journal_create run inside a closure of the journal's
 * writer: what they read and write is one transaction. */
#ifndef SUBPAY_SERVICES_PROCESSING_JOURNAL_H
#define SUBPAY_SERVICES_PROCESSING_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/db.h"
#include "base/err.h"
#include "base/str.h"
#include "base/uuid.h"
#include "billing/money.h"

struct journal_row {
    struct uuid key, user_id, refund_of; /* refund_of: nil for a payment */
    struct money money;
    const char *result; /* success, decline, error, pending */
    bool voided;
    int64_t executed_at_us; /* wall time of the execution; stays when the answer changes */
    int64_t expires_at_us;  /* TIME_NEVER: it was never pending */
    const char *request, *answer;
    size_t request_len;
};

/* Makes the tables of a new file, with `fresh` as its instance id; *instance gets the file's. */
enum err journal_create(struct db *db, const struct uuid *fresh, struct uuid *instance) MUST_CHECK;

/* The last row of a key. Texts are kept in *texts (an initialised str, cleared first) and live as long as it.
 * ERR_NOT_FOUND. */
enum err journal_find(struct db *db, const struct uuid *key, struct journal_row *out,
                      struct str *texts) MUST_CHECK;
enum err journal_append(struct db *db, const struct journal_row *e) MUST_CHECK;

/* What may still be given back of a charge: 0 when it is not known, was not successful, is a refund itself, or
 * belongs to another user or currency. */
enum err journal_left(struct db *db, const struct uuid *charge, const struct uuid *user_id,
                      const char *currency, int64_t *left_minor) MUST_CHECK;

/* Rows behind `after` as JSON lines, at most `limit`; ends early after the line that reaches `bytes`. */
enum err journal_page(struct db *db, int64_t after, int64_t limit, size_t bytes,
                      struct str *out) MUST_CHECK;

#endif
