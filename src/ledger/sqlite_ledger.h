/* sqlite_ledger.h: what the files of the embedded store share; nobody else includes it. */
#ifndef SUBPAY_LEDGER_SQLITE_LEDGER_H
#define SUBPAY_LEDGER_SQLITE_LEDGER_H

#include "base/writer.h"
#include "ledger/embedded.h"
#include "ledger/sql_ledger.h"

struct sqlite_ledger {
    struct sql_ledger base;
    struct embedded *store;
    struct db *reader;                          /* opened on first use */
    void (*watch)(void *ctx, unsigned changes); /* under the store's lock */
    void *watch_ctx;
    struct sqlite_ledger *next; /* in the store's list */
};

/* ---- embedded.c, for the handles over it ---- */

struct clock *embedded_clock(struct embedded *e);
struct random *embedded_random(struct embedded *e);
void embedded_join(struct embedded *e, struct sqlite_ledger *l);
void embedded_leave(struct embedded *e, struct sqlite_ledger *l);
void embedded_set_watch(struct embedded *e, struct sqlite_ledger *l, void (*fn)(void *, unsigned),
                        void *ctx);
void embedded_changed(struct embedded *e, unsigned changes); /* calls the watchers */
enum err sqlite_ledger_open(struct ledger **out, struct embedded *e) MUST_CHECK;
enum err sqlite_views_open(struct views **out, struct embedded *e) MUST_CHECK;

#endif
