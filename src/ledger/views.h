/* views.h: the read side of the store: projections for the API. No locks, no effects.
 *
 * A handle is opened per thread. Batches where the API asks for many users at once. Results live in
 * the arena. Errors as in ledger.h; a store that is away answers ERR_UNREACHABLE within
 * patience_ms, where a call has none within VIEWS_PATIENCE_MS. */
#ifndef SUBPAY_LEDGER_VIEWS_H
#define SUBPAY_LEDGER_VIEWS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/uuid.h"
#include "billing/money.h"
#include "billing/price.h"
#include "billing/types.h"

#define VIEWS_LIMIT_MAX 101  /* rows: a page of 100, and one that tells whether there is more */
#define VIEWS_BATCH_MAX 4096 /* ids or users of a call */
#define VIEWS_PATIENCE_MS 1000

struct views {
    const struct views_ops *ops;
};

/* A payment as contract section 5 shows it. Absent ids are nil, absent times TIME_NEVER. */
struct payment_view {
    int64_t seq;
    struct uuid payment_id, user_id;
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    enum processing_status processing_status;
    enum payment_status payment_status;
    int64_t payment_date_us, expiration_us;
    struct money money;
    struct uuid duplicate_of, refund_of, waits_for;
    enum reason reason;
    const char
        *action_url; /* NULL when there is none; of a duplicate, that of the payment in flight */
    bool needs_decision;
};
struct subscription_view {
    struct uuid subscription_id, user_id, payment_id; /* payment_id nil for a grant */
    enum subscription_type subscription_type;
    int64_t starts_at_us, expiration_us, ends_at_us;
    const char *end_reason; /* NULL */
};

/* out[i] is the payment ids[i], or NULL. Whose it is, is the caller's business. */
enum err views_payments(struct views *v, const struct uuid *ids, size_t count, int64_t patience_ms,
                        struct arena *arena, struct payment_view **out) MUST_CHECK;
/* The user's payments with seq < before_seq (INT64_MAX: from the newest), newest first. */
enum err views_payments_of(struct views *v, const struct uuid *user_id, int64_t before_seq,
                           size_t limit, struct arena *arena, struct payment_view **out,
                           size_t *count) MUST_CHECK;
/* out[i]: has users[i] an active subscription now? One key look-up each, in one statement. */
enum err views_subscribed(struct views *v, const struct uuid *users, size_t count,
                          int64_t patience_ms, bool *out) MUST_CHECK;
/* The user's active subscription: 0 or 1 rows. */
enum err views_subscriptions_of(struct views *v, const struct uuid *user_id, struct arena *arena,
                                struct subscription_view **out, size_t *count) MUST_CHECK;
const char *views_why(const struct views *v);
void views_close(struct views *v); /* NULL is fine */

/* For commands: over a connection of the caller's, which stays the caller's. */
struct db;
enum err views_over(struct db *db, struct views **out) MUST_CHECK;

struct views_ops {
    enum err (*payments)(struct views *, const struct uuid *, size_t, int64_t, struct arena *,
                         struct payment_view **);
    enum err (*payments_of)(struct views *, const struct uuid *, int64_t, size_t, struct arena *,
                            struct payment_view **, size_t *);
    enum err (*subscribed)(struct views *, const struct uuid *, size_t, int64_t, bool *);
    enum err (*subscriptions_of)(struct views *, const struct uuid *, struct arena *,
                                 struct subscription_view **, size_t *);
    enum err (*prices)(struct views *, struct date day, struct arena *, struct price **, size_t *);
    enum err (*prices_from)(struct views *, struct date day, struct arena *, struct price **,
                            size_t *);
    const char *(*why)(const struct views *);
    void (*close)(struct views *);
};

#endif
