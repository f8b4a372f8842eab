/* db.c: the front of db.h: what is the same for both engines. Statements are in db_query.c. */
#include "base/db.h"

#include <stdlib.h>

#include "base/db_private.h"

enum err db_init(struct db *db, const struct db_ops *ops, enum db_mode mode)
{
    db->ops = ops;
    db->mode = mode;
    return statements_init(&db->statements);
}

void db_close(struct db *db)
{
    if (!db)
        return;
    statements_release(&db->statements, db->ops);
    db->ops->close(db);
}

bool db_is_postgres(const struct db *db)
{
    return db->ops == &DB_POSTGRES_OPS;
}

const char *db_why(const struct db *db)
{
    return db->why;
}

enum err db_script(struct db *db, const char *sql)
{
    return db->ops->script(db, sql);
}

void db_interrupt(struct db *db)
{
    db->ops->interrupt(db);
}

enum err db_backup(struct db *db, const char *path)
{
    return db->ops->backup ? db->ops->backup(db, path) : ERR_BUG;
}

enum err db_begin(struct db *db)
{
    return db->ops->begin(db, NULL);
}

enum err db_begin_now(struct db *db, int64_t *now_us)
{
    return db_is_postgres(db) ? db->ops->begin(db, now_us) : ERR_BUG;
}

enum err db_commit(struct db *db)
{
    return db->ops->commit(db);
}

void db_rollback(struct db *db)
{
    db->ops->rollback(db);
}

bool db_in_transaction(const struct db *db)
{
    return db->ops->in_transaction(db);
}

int64_t db_changes(const struct db *db)
{
    return db->ops->changes(db);
}
