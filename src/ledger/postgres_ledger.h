/* postgres_ledger.h: what the files of the PostgreSQL store share; nobody else includes it, but
 * tests/races, for the connection of a handle. */
#ifndef SUBPAY_LEDGER_POSTGRES_LEDGER_H
#define SUBPAY_LEDGER_POSTGRES_LEDGER_H

#include "ledger/postgres.h"
#include "ledger/sql_ledger.h"
#include "ledger/watchers.h"

struct postgres_ledger {
    struct sql_ledger base;
    struct ledger_ops ops; /* those of sql_ledger.h, but for the verbs of postgres_rows.h */
    struct postgres *store;
    struct db *db; /* for everything: this handle's verbs are one after the other */
    struct watcher watcher;
};

enum err postgres_ledger_open(struct ledger **out, struct postgres *p) MUST_CHECK;

/* ---- postgres.c, for the handles over it ---- */

#define POSTGRES_CHANNEL "subpay"

struct clock *postgres_clock(struct postgres *p); /* NULL: the database's own */
struct random *postgres_random(struct postgres *p);
bool postgres_notifies(const struct postgres *p);
struct watchers *postgres_watchers(struct postgres *p);

#endif
