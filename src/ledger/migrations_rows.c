#include "ledger/migrations_inside.h"
#include "ledger/schema_text.h"

static const char SQLITE_TABLES[] = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name "
                                    "NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
                                    "AND name <> 'schema_migrations' ORDER BY name";

#define POSTGRES_TABLES_OF                                                                         \
    "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "        \
    "WHERE n.nspname = current_schema() AND c.relkind = 'r' AND c.relname <> 'schema_migrations' " \
    "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass "              \
    "AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"
static const char POSTGRES_TABLES[] = POSTGRES_TABLES_OF;
/* Or a row could come in between the counting and the dropping. */
static const char POSTGRES_LOCK[] =
    "DO $$DECLARE name text; BEGIN FOR name IN " POSTGRES_TABLES_OF
    " LOOP EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', name); END LOOP; END$$";

static enum err count_one(struct db *db, struct table_rows *t)
{
    struct str sql;
    struct query q;
    str_init(&sql, 4 * MIGRATION_NAME_MAX);
    str_add(&sql, "SELECT count(*) FROM ");
    schema_text_name(t->name, &sql);
    query_open(&q, db, sql.data);
    if (query_next(&q))
        t->rows = query_i64(&q, 0);
    enum err err = query_close(&q);
    str_release(&sql);
    return err;
}

enum err migrations_count_rows(struct db *db, struct tables *out)
{
    struct query q;
    out->count = 0;
    enum err err = db_is_postgres(db) ? db_script(db, POSTGRES_LOCK) : ERR_OK;
    if (err != ERR_OK)
        return err;
    query_open(&q, db, db_is_postgres(db) ? POSTGRES_TABLES : SQLITE_TABLES);
    while (query_next(&q)) {
        if (out->count == TABLES_MAX ||
            !text_copy(out->list[out->count].name, MIGRATION_NAME_MAX + 1, query_text(&q, 0))) {
            q.err = ERR_CORRUPT;
            break;
        }
        out->count++;
    }
    err = query_close(&q);
    for (int i = 0; i < out->count && err == ERR_OK; i++)
        err = count_one(db, &out->list[i]);
    return err;
}
