/* sql_claim.h: what the two forms of a claim share: user by user (sql_claim.c), or all at once
 * (postgres_claim.c). */
#ifndef SUBPAY_LEDGER_SQL_CLAIM_H
#define SUBPAY_LEDGER_SQL_CLAIM_H

#include "ledger/sql_ledger.h"

#define CLAIM_REQUESTS_MAX 1024 /* of one user, row by row; of more: see rest_end */

struct due_user {
    char id[UUID_TEXT];
    char place[PLACE_TEXT];
    int64_t pending_seq;
    bool had_period; /* has ever had one */
    bool covered;    /* has one that is not over: only then somebody may be subscribed */
};
struct claim {
    struct verb verb;
    enum err (*decide)(struct claim *c); /* about all of `users`, whose accounts are locked */
    const struct ledger_claim *asked;
    struct arena *arena; /* the caller's */
    struct ledger_claimed found;
    struct arena scratch; /* for what follows */
    struct str body;
    struct due_user *users;
    struct decide_request *requests; /* of one user, CLAIM_REQUESTS_MAX + 1, … */
    struct verdict *verdicts;        /* … and what becomes of each */
};
/* One user while the account is locked. */
struct desk {
    struct due_user *due;
    struct uuid user_id;
    struct decide_account account;
    struct decide_request *requests; /* ascending seq; the last ones of the claim's room */
    struct verdict *verdicts;
    size_t count;
    bool ask_first;               /* one of them is to be asked about first */
    bool crowd;                   /* too many: these are the newest that are not too old, … */
    int64_t rest_below, kept_seq; /* … those below are not among them, but for that; 0: none */
    int64_t sent_seq, closed_seq; /* 0: none; closed: the lowest */
};

enum err claim_with(struct ledger *l, const struct ledger_claim *asked, struct arena *arena,
                    struct ledger_claimed *out, enum err (*decide)(struct claim *c)) MUST_CHECK;
/* One after the other. */
enum err claim_user(struct claim *c, struct due_user *due) MUST_CHECK;

/* A row of payments that begins with these columns; behind them: ask_first. */
#define CLAIM_COLUMNS                                                                              \
    "seq, id, payment_type, subscription_type, payment_date, stored_at, recorded_at, amount, "     \
    "currency, refund_of, ask_first"
void claim_request(struct query *q, struct decide_request *r);
/* Is a refund among them that gives back whatever is the last? Nobody else asks for that period. */
bool claim_wants_last(const struct desk *d);
/* Six columns, from `first` on: starts_at, expiration_date, ends_at, payment_id of the last period;
 * … */
void claim_period(struct query *q, int first, struct decide_account *account);
/* … subscription_type, amount, currency of the target, id of its accepted refund. */
void claim_target_row(struct query *q, int first, struct refund_target *out);
struct move claim_move(const struct decide_request *r, const struct verdict *v);
enum err claim_target(struct claim *c, const struct desk *d, const struct uuid *payment_id,
                      struct refund_target *out) MUST_CHECK;
/* c->body: what is sent; the attempt with it becomes one of c->found. */
enum err claim_encode(struct claim *c, const struct desk *d, const struct decide_request *r,
                      const struct verdict *v, const char *method) MUST_CHECK;
enum err claim_encode_row(struct claim *c, const struct desk *d, const struct decide_request *r,
                          const struct verdict *v) MUST_CHECK;
enum err claim_attempt(struct claim *c, const struct desk *d, const struct decide_request *r,
                       const struct verdict *v, struct attempt **out) MUST_CHECK;

/* ---- sql_claim_ask.c ---- */

/* The oldest request that is to be asked about first, and how often it was. */
enum err claim_ask_find(struct claim *c, const struct desk *d, struct decide_request *r,
                        int64_t *asked, bool *found) MUST_CHECK;
enum err claim_ask(struct claim *c, struct desk *d, const struct decide_request *r,
                   int64_t asked) MUST_CHECK;

#endif
