/* migrate.h: what `subpay migrate` works with: the configured store, and the list of migrations. */
#ifndef SUBPAY_CLI_MIGRATE_H
#define SUBPAY_CLI_MIGRATE_H

#include <limits.h>
#include <stdbool.h>

#include "base/config.h"
#include "base/db.h"
#include "ledger/migrations.h"

#define MIGRATE_WHY_MAX 1024
#define MIGRATE_REPORT_MAX 262144

/* The list is that of MIGRATIONS_DIR, else of the project's folder when the working directory is a
 * checkout, else the program's own; folder is "" then. */
struct migrate_list {
    struct migrations *migrations;
    char folder[PATH_MAX];
};
/* `make`: a MIGRATIONS_DIR that is missing is made. False after it printed the line: *code is set. */
bool migrate_list_open(struct migrate_list *l, const struct config *c, bool make, int *code);
void migrate_list_close(struct migrate_list *l);

/* Open for as long as the command runs. write: on SQLite with the file's lock, else beside a running
 * process, where no file is an empty database. */
struct migrate_store {
    struct db *db;
    int lock_fd;
};
bool migrate_store_open(struct migrate_store *s, const struct config *c, bool write, int *code);
void migrate_store_close(struct migrate_store *s);

/* `revision -m MESSAGE [--autogenerate]`; returns the exit code. */
int migrate_revision(const struct migrate_list *l, const struct config *c, const char *message,
                     bool autogenerate);
/* The line for a failure of migrations.h; returns the exit code. */
int migrate_fails(enum err err, const char *why);

#endif
