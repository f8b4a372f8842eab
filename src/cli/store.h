/* store.h: the store that is configured, for commands that read it: PostgreSQL where DATABASE_URL or POSTGRES_HOST is
 * set, else the file in DATA_DIR. Commands that write: control_door.h. */
#ifndef SUBPAY_CLI_STORE_H
#define SUBPAY_CLI_STORE_H

#include "base/config.h"
#include "base/db.h"

#define STORE_LONG_MS (INT64_C(3600) * 1000) /* for statements over all of the books */

/* A connection that reads beside whoever writes, with a schema that this program may run on; db_close ends it.
 * statement_ms bounds a statement on PostgreSQL, 0: as usual. false after it printed why, *code is set. */
bool store_reader(const char *command, const struct config *config, int64_t statement_ms,
                  struct db **out, int *code);
/* The exit code after it printed why the store cannot be used. */
int store_refused(const char *command, const struct config *config, enum err err, const char *why);

#endif
