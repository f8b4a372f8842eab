/* migrations_inside.h: what the files migrations*.c share, and nobody else. */
#ifndef SUBPAY_LEDGER_MIGRATIONS_INSIDE_H
#define SUBPAY_LEDGER_MIGRATIONS_INSIDE_H

#include "base/arena.h"
#include "ledger/migrations.h"

#define UP_SUFFIX ".up.sql"
#define DOWN_SUFFIX ".down.sql"
#define DECLARED_NAME "schema.sql"

struct migrations {
    bool postgres;
    int count;
    struct migration list[MIGRATIONS_MAX]; /* of number 1 and on */
    const char *declared;
    struct arena texts; /* of a folder */
};

/* A line into why; returns err. "" leaves the subject out. */
enum err migrations_fail(enum err err, char *why, size_t why_cap, const char *subject,
                         const char *text);

/* ---- migrations.c ---- */

/* Takes a file's text, which must live as long as the list, under its name; other names than those
 * of migrations are ERR_INVALID. */
enum err migrations_take(struct migrations *m, const char *name, const char *text, char *why,
                         size_t why_cap) MUST_CHECK;

/* ---- migrations_folder.c ---- */

enum err migrations_read_folder(struct migrations *m, const char *folder, char *why,
                                size_t why_cap) MUST_CHECK;

/* ---- migrations_state.c ---- */

/* What the database says. */
struct revision {
    bool any_table; /* schema_migrations is there */
    bool foreign;   /* a migration of the list has another name there */
    int number;     /* 0: empty */
    int compatible_from;
};
enum err migrations_revision(const struct migrations *m, struct db *db,
                             struct revision *out) MUST_CHECK;
enum err migrations_newer(const struct migrations *m, const struct revision *r, char *why,
                          size_t why_cap);
/* A database that another list has made: ERR_OK if it is what is declared. */
enum err migrations_foreign(const struct migrations *m, struct db *db, char *why,
                            size_t why_cap) MUST_CHECK;

/* ---- migrations_rows.c ---- */

#define TABLES_MAX 256
struct table_rows {
    char name[MIGRATION_NAME_MAX + 1];
    int64_t rows;
};
struct tables {
    struct table_rows list[TABLES_MAX];
    int count;
};
/* Of all tables but schema_migrations; on PostgreSQL nobody can write into them any more until the
 * transaction ends. */
enum err migrations_count_rows(struct db *db, struct tables *out) MUST_CHECK;

#endif
