/* schema.h: whether the tables are those that this program needs, for those who only use them;
 * migrations.h has the rest. */
#ifndef SUBPAY_LEDGER_SCHEMA_H
#define SUBPAY_LEDGER_SCHEMA_H

#include <stddef.h>

#include "base/db.h"
#include "base/err.h"
#include "base/str.h"

#define SCHEMA_WHY_MAX 400

/* By the migrations of this program: target and errors are those of migrations_upgrade. */
enum err schema_upgrade(struct db *db, const char *target, struct str *report, char *why,
                        size_t why_cap) MUST_CHECK;
/* ERR_VERSION with why when this program may not run on the database: its head is not there yet, or
 * the database's compatible_from is beyond it. why names the command to run. */
enum err schema_check(struct db *db, char *why, size_t why_cap) MUST_CHECK;

#endif
