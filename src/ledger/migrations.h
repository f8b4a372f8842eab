/* migrations.h: the migrations of an engine, in order, each with a way back, and what they do.
 *
 * A list comes from the program (files of ledger/migrations/ENGINE, embedded) or from a folder.
 * Files are NNNN_name.up.sql and NNNN_name.down.sql, NNNN from 0001 without gaps. A list also has
 * the declared schema: what the tables should be, in schema.sql of the folder, else the program's
 * own: statements CREATE TABLE, INDEX, TRIGGER, FUNCTION, EXTENSION, and INSERT for the rows that a
 * new table begins with.
 *
 * The table schema_migrations keeps what was applied and when, and compatible_from: the oldest head
 * that may still run on it, from a line `-- compatible_from: N` in the up file, else the migration's
 * own number; an empty one leaves it as it was. A line that begins with `-- changed:` (a draft that
 * somebody has to finish) is refused.
 *
 * Each migration is a transaction of its own. One migrator at a time: on SQLite the caller holds the
 * lock of the store; on PostgreSQL the transaction takes an advisory lock, then reads what there is
 * (so this works through a pooler), and a second migrator waits. Statements wait
 * MIGRATION_LOCK_WAIT_S for the locks of running services, a few times over: ERR_BUSY. On
 * PostgreSQL a name without a schema is of the first schema in the search path: public. */
#ifndef SUBPAY_LEDGER_MIGRATIONS_H
#define SUBPAY_LEDGER_MIGRATIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/db.h"
#include "base/err.h"
#include "base/str.h"

#define MIGRATIONS_MAX 999
#define MIGRATION_NAME_MAX 63          /* bytes of NNNN_name */
#define MIGRATION_FILE_MAX (1 << 20)   /* bytes of a file */
#define MIGRATIONS_TEXTS_MAX (8 << 20) /* bytes of all files of a folder */
#define MIGRATION_LOCK_WAIT_S 2
#define MIGRATION_LOCK_TRIES 5

struct migration {
    int number;                        /* NNNN */
    char name[MIGRATION_NAME_MAX + 1]; /* NNNN_name, as in the file's name */
    const char *up, *down;             /* SQL; live as long as the list */
    int compatible_from;
};
struct migrations;

/* folder NULL: the program's own. ERR_INVALID: why names the file and what is wrong with it;
 * ERR_NOT_FOUND: there is no such folder. An empty folder is an empty list. */
enum err migrations_open(struct migrations **out, bool postgres, const char *folder, char *why,
                         size_t why_cap) MUST_CHECK;
void migrations_close(struct migrations *m);
int migrations_head(const struct migrations *m); /* the number of the last one, 0: there is none */
/* NULL: there is no such migration. */
const struct migration *migrations_get(const struct migrations *m, int number);
const char *migrations_declared(const struct migrations *m); /* schema.sql */

/* `target`: "head", "+N", or a revision's number or name. Reports each step in `report` as a line.
 * ERR_NOT_FOUND: no such revision. ERR_VERSION: the database is newer than the list, or was made by
 * another list (then it is fine if it is what is declared, and nothing is done). why says more after
 * every failure, here and below. */
enum err migrations_upgrade(const struct migrations *m, struct db *db, const char *target,
                            struct str *report, char *why, size_t why_cap) MUST_CHECK;
/* `target`: "-N", "base", or a revision. ERR_REFUSED: rows would be deleted and destroy_data is not
 * given; nothing of that step was done. */
enum err migrations_downgrade(const struct migrations *m, struct db *db, const char *target,
                              bool destroy_data, struct str *report, char *why,
                              size_t why_cap) MUST_CHECK;
/* current: one line, or empty on an empty database; history: all known, with when they were
 * applied. */
enum err migrations_current(const struct migrations *m, struct db *db,
                            struct str *report) MUST_CHECK;
enum err migrations_history(const struct migrations *m, struct db *db,
                            struct str *report) MUST_CHECK;
/* May a program that ends with this list run on it? ERR_VERSION: no. */
enum err migrations_check(const struct migrations *m, struct db *db, char *why,
                          size_t why_cap) MUST_CHECK;
/* One line per object that is not what is declared; none: the same. */
enum err migrations_differences(const struct migrations *m, struct db *db, struct str *report,
                                char *why, size_t why_cap) MUST_CHECK;
/* What leads from the database to what is declared, and back; both empty: nothing does. ERR_VERSION:
 * the database is not at the head. */
enum err migrations_draft(const struct migrations *m, struct db *db, struct str *up,
                          struct str *down, char *why, size_t why_cap) MUST_CHECK;

/* Writes the two files of the migration after the head into `folder`; message becomes its first
 * line and its name. NULL texts: an empty one. Each path with its NUL in `paths`, up first.
 * ERR_INVALID, ERR_CONFLICT: a file of that name is there. */
#define MIGRATION_PATH_MAX 2048
enum err migrations_write(const struct migrations *m, const char *folder, const char *message,
                          const char *up, const char *down, char paths[2][MIGRATION_PATH_MAX],
                          char *why, size_t why_cap) MUST_CHECK;

#endif
