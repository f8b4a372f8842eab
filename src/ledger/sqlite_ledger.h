/* sqlite_ledger.h: what the files of the embedded store share; nobody else includes it. */
#ifndef SUBPAY_LEDGER_SQLITE_LEDGER_H
#define SUBPAY_LEDGER_SQLITE_LEDGER_H

#include "base/writer.h"
#include "ledger/embedded.h"
#include "ledger/sql_ledger.h"
#include "ledger/watchers.h"

struct sqlite_ledger {
    struct sql_ledger base;
    struct embedded *store;
    struct db *reader; /* opened on first use */
    struct watcher watcher;
};

/* ---- embedded.c, for the handles over it ---- */

struct clock *embedded_clock(struct embedded *e);
struct random *embedded_random(struct embedded *e);
struct watchers *embedded_watchers(struct embedded *e);
enum err sqlite_ledger_open(struct ledger **out, struct embedded *e) MUST_CHECK;

#endif
