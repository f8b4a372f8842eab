/* tables.h: the temporary tables that an audit reads beside the books. For audit.c only.
 *
 * Names are those of audit.h. Made at the beginning, dropped at the end, so that they mean nothing on
 * this connection afterwards. Rows are streamed: what is large stays in SQLite's temporary file. */
#ifndef SUBPAY_AUDIT_TABLES_H
#define SUBPAY_AUDIT_TABLES_H

#include "audit/audit.h"

/* The journal's part, for the tables and for the snapshot of the books. */
struct journal_load {
    const struct journal_source *source; /* NULL: cannot be read */
    bool readable;
    int64_t last_seq; /* of the lines so far */
    bool late;        /* the next ones are the tail */
    char why[160];    /* not readable: why */
};

enum err tables_make(struct db *db) MUST_CHECK;
enum err tables_drop(struct db *db) MUST_CHECK;

/* Outside a transaction: all lines, and whose they are. Not OK: the database failed, not the source. */
enum err journal_load(struct db *db, struct journal_load *j) MUST_CHECK;
/* Inside the transaction that reads the books. */
enum err journal_load_tail(struct db *db, struct journal_load *j) MUST_CHECK;
/* Outside a transaction. Also the source's own error. */
enum err accepted_load(struct db *db, const struct accepted_source *source) MUST_CHECK;
/* Inside it: the embedded queue, and the heartbeats. */
enum err log_load(struct db *db, const char *topic) MUST_CHECK;
enum err heartbeat_load(struct db *db) MUST_CHECK;

#endif
