/* sql_views.h: the read side in SQL, for both engines; nobody else includes it.
 *
 * SQLite: one look-up per id, within one snapshot a call; reading never waits for the writer (WAL),
 * so there is no patience to keep. PostgreSQL: one statement a call, which looks up by key, row by
 * row, whatever the planner believes of the tables. */
#ifndef SUBPAY_LEDGER_SQL_VIEWS_H
#define SUBPAY_LEDGER_SQL_VIEWS_H

#include "base/clock.h"
#include "base/db.h"
#include "ledger/views.h"

/* Takes over db, which `close_db` ends with ctx. clock NULL: the database's own (PostgreSQL). On
 * failure db is still the caller's. */
enum err sql_views_open(struct views **out, struct db *db, struct clock *clock,
                        void (*close_db)(void *ctx, struct db *db), void *ctx) MUST_CHECK;

#endif
