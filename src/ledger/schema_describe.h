/* schema_describe.h: what is in a database, as objects whose definitions can be compared, and how
 * it differs from the declared schema.
 *
 * The same catalogue is read of the live database and of a scratch one that is made from the
 * declared schema.sql: on SQLite a database in memory, on PostgreSQL a schema in a transaction that
 * is rolled back, for which the user needs CREATE on the database. The table schema_migrations,
 * extensions and what belongs to them are no part of it. */
#ifndef SUBPAY_LEDGER_SCHEMA_DESCRIBE_H
#define SUBPAY_LEDGER_SCHEMA_DESCRIBE_H

#include "base/arena.h"
#include "base/db.h"
#include "base/err.h"
#include "base/str.h"
#include "ledger/schema_text.h"

#define SCHEMA_OBJECTS_MAX 5000
#define SCHEMA_DESCRIPTION_MAX (16 << 20) /* bytes of both descriptions */

struct object {
    enum object_kind kind;
    const char *table; /* of which it is a part; of a table itself; "" where there is none */
    const char *name;
    const char *text; /* column: what follows its name; constraint: all but its name; table: what
                         follows the brackets; index, trigger, function: the statement */
    int position;     /* of a column in its table */
    size_t place;     /* of the statement that declares it (a column: its table) in schema.sql; its
                         count where none does */
};
struct description {
    struct object *list; /* in the order in which they can be made */
    size_t count;
    /* Of the declared side; NULL of the live one. */
    const struct schema_statement *statements;
    size_t statement_count;
};
/* why says more after a failure. db is not in a transaction; nothing in it changes. */
enum err schema_describe_both(struct db *db, const char *declared, struct arena *arena,
                              struct description *live, struct description *wanted, char *why,
                              size_t why_cap) MUST_CHECK;
/* The same object on the other side; NULL: it is not there. */
const struct object *description_find(const struct description *d, const struct object *o);

/* One line per object that is missing, different or unknown in `live`. */
void schema_report(const struct description *live, const struct description *wanted,
                   struct str *report);
/* The statements that make `to` of `from`: tables, columns, indexes, triggers and functions
 * are added and dropped; anything else is a line `-- changed: …`. */
void schema_draft(const struct description *from, const struct description *to, bool postgres,
                  struct str *out);

#endif
