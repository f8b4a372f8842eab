/* journal.h: the temporary table `journal` of an audit. For audit.c only. */
#ifndef SUBPAY_AUDIT_JOURNAL_H
#define SUBPAY_AUDIT_JOURNAL_H

#include "audit/audit.h"

/* Makes the empty table; then reads all lines into it. *unreadable: the source failed, not the
 * database. */
enum err journal_load(struct db *db, const struct journal_source *source,
                      bool *unreadable) MUST_CHECK;
/* Removes the table, so that the name means nothing on this connection any more. */
enum err journal_unload(struct db *db) MUST_CHECK;

#endif
