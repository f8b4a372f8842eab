/* tables.h: the temporary tables that an audit reads beside the books. For audit.c only.
 *
 * Names are those of audit.h. Made at the beginning, dropped at the end, so that they mean nothing on
 * this connection afterwards. Rows are streamed: what is large stays in the engine's temporary
 * files. */
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
/* The queue's. */
struct log_load {
    const struct log_source *source; /* NULL: the embedded queue, in the books' own file */
    const char *topic;
    bool readable;
    char why[160];
};

enum err tables_make(struct db *db) MUST_CHECK;
enum err tables_drop(struct db *db) MUST_CHECK;

/* Outside a transaction: all lines, and whose they are. Not OK: the database failed, not the source. */
enum err journal_load(struct db *db, struct journal_load *j) MUST_CHECK;
/* Inside the transaction that reads the books. */
enum err journal_load_tail(struct db *db, struct journal_load *j) MUST_CHECK;
/* Outside a transaction. Also the source's own error. */
enum err accepted_load(struct db *db, const struct accepted_source *source) MUST_CHECK;
/* Which of them are stored. Before the log is read: what is not stored yet is still in it. */
enum err accepted_mark(struct db *db) MUST_CHECK;
/* SQLite: inside the transaction that reads the books. PostgreSQL: outside of one, behind heartbeat_load; not OK: the
 * database failed, not the source. */
enum err log_load(struct db *db, struct log_load *l) MUST_CHECK;
/* Inside a transaction: the heartbeats and, on PostgreSQL, the saver's positions of the same moment. */
enum err heartbeat_load(struct db *db) MUST_CHECK;

/* ---- ranges.c, PostgreSQL only ---- */

typedef enum err range_judge_fn(void *ctx);
/* Judges one range after the other, each in a transaction of its own, with the tables of audit.h
 * filled for it; first those of `users` accounts each, then what belongs to nobody. */
enum err ranges_run(struct db *db, struct journal_load *j, int64_t users, range_judge_fn *judge,
                    void *ctx) MUST_CHECK;

#endif
