/* sql_tell.h: what the two forms of untold and told share: user by user (sql_tell.c), or all at once
 * (postgres_tell.c). */
#ifndef SUBPAY_LEDGER_SQL_TELL_H
#define SUBPAY_LEDGER_SQL_TELL_H

#include "ledger/sql_ledger.h"

struct tell_user {
    char id[UUID_TEXT];
    char place[PLACE_TEXT];
    int64_t tell_seq;
};
struct untold {
    struct verb verb;
    enum err (*look)(struct untold *u); /* at all of `users`, whose accounts are locked */
    size_t max;
    int64_t lease_us;
    struct arena *arena; /* the caller's */
    struct tell_user *users;
    size_t user_count;
    struct telling *tellings;
    size_t count;
};
enum err untold_with(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                     struct telling **out, size_t *count,
                     enum err (*look)(struct untold *u)) MUST_CHECK;
/* A row of payments that begins with these columns is one of u->tellings. */
#define UNTOLD_COLUMNS                                                                             \
    "seq, id, user_id, payment_type, subscription_type, payment_status, reason, amount, "          \
    "currency, expiration_date"
void untold_row(struct untold *u, struct query *q);

struct tell {
    struct verb verb;
    enum err (*record)(struct tell *t); /* all of them; the accounts are locked */
    const struct told *told;
    size_t count;
};
enum err told_with(struct ledger *l, const struct told *told, size_t count,
                   enum err (*record)(struct tell *t)) MUST_CHECK;
enum err told_one(struct tell *t, const struct told *told) MUST_CHECK;
struct move told_move(const struct told *told, enum payment_status status);

#endif
