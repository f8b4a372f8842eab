#include "ledger/schema.h"

#include "ledger/migrations.h"

enum err schema_upgrade(struct db *db, const char *target, struct str *report, char *why,
                        size_t why_cap)
{
    struct migrations *own;
    enum err err = migrations_open(&own, db_is_postgres(db), NULL, why, why_cap);
    if (err != ERR_OK)
        return err;
    err = migrations_upgrade(own, db, target, report, why, why_cap);
    migrations_close(own);
    return err;
}

enum err schema_check(struct db *db, char *why, size_t why_cap)
{
    struct migrations *own;
    enum err err = migrations_open(&own, db_is_postgres(db), NULL, why, why_cap);
    if (err != ERR_OK)
        return err;
    err = migrations_check(own, db, why, why_cap);
    migrations_close(own);
    return err;
}
