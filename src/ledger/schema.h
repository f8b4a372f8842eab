/* schema.h: who owns the tables: migrations, in order, each with a way back.
 *
 * Migrations are files ledger/migrations/ENGINE/NNNN_name.up.sql and .down.sql, NNNN from 0001
 * without gaps, embedded at build time (base/embed.h). The table schema_migrations keeps what was
 * applied and when, and compatible_from: the oldest head that may still run on it, from a line `--
 * compatible_from: N` in the up file, else the migration's own number. One migrator at a time: the
 * caller holds the lock of the store. */
#ifndef SUBPAY_LEDGER_SCHEMA_H
#define SUBPAY_LEDGER_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

#define SCHEMA_NAME_MAX 63 /* bytes of NNNN_name */
#define SCHEMA_WHY_MAX 400

struct db;

struct migration {
    int number;                     /* NNNN */
    char name[SCHEMA_NAME_MAX + 1]; /* NNNN_name, as in the file's name */
    const char *up, *down;          /* SQL; live as long as the program */
    int compatible_from;
};
int schema_head(void); /* the number of the last migration of this program */
/* false: this program has no such migration. */
bool schema_migration(int number, struct migration *out);

/* `target`: "head", "+N", or a revision's number or name. Works on the writing connection, one
 * transaction per migration; reports each step in `report` as a line. ERR_NOT_FOUND: no such
 * revision. ERR_VERSION: the file is newer than this program. why says more after every failure. */
enum err schema_upgrade(struct db *db, const char *target, struct str *report, char *why,
                        size_t why_cap) MUST_CHECK;
/* `target`: "-N", "base", or a revision. ERR_REFUSED: rows would be deleted and destroy_data is not
 * given; nothing of that step was done. */
enum err schema_downgrade(struct db *db, const char *target, bool destroy_data, struct str *report,
                          char *why, size_t why_cap) MUST_CHECK;
/* current: one line, or empty on an empty database; history: all known, with when they were
 * applied. */
enum err schema_current(struct db *db, struct str *report) MUST_CHECK;
enum err schema_history(struct db *db, struct str *report) MUST_CHECK;
/* ERR_VERSION with why when this program may not run on the file. */
enum err schema_check(struct db *db, char *why, size_t why_cap) MUST_CHECK;
/* One line per table, index or trigger that is not what the migrations up to head make; none: the
 * same. */
enum err schema_differences(struct db *db, struct str *report) MUST_CHECK;

#endif
