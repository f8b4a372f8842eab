/* The locks of PostgreSQL: accounts first, all that a verb will touch, in the order of their ids. */
#include "base/db_array.h"
#include "ledger/sql_ledger.h"

#define LOCK_IDS_BYTES ((size_t)LEDGER_BATCH_MAX * UUID_TEXT + 8)

static enum err lock_run(struct verb *v, const char *static_sql, const struct uuid *first,
                         size_t stride, size_t count)
{
    const char *at = (const char *)first;
    struct db_array ids;
    struct query q;
    db_array_init(&ids, LOCK_IDS_BYTES);
    for (size_t i = 0; i < count; i++)
        db_array_uuid(&ids, (const struct uuid *)(const void *)(at + i * stride));
    query_open(&q, v->db, static_sql);
    query_bind_array(&q, &ids);
    enum err err = query_run(&q);
    db_array_release(&ids);
    return err;
}

/* The join is one by keys: `payments` may have been filled since the planner last looked. */
enum err verb_lock_payments(struct verb *v, const struct uuid *first, size_t stride, size_t count)
{
    if (!db_is_postgres(v->db) || count == 0)
        return ERR_OK;
    return lock_run(v,
                    "SELECT 1 FROM accounts WHERE user_id = ANY (ARRAY (SELECT p.user_id "
                    "FROM payments p WHERE p.id = ANY (?1))) ORDER BY user_id FOR UPDATE",
                    first, stride, count);
}

enum err verb_lock_users(struct verb *v, const struct uuid *first, size_t stride, size_t count)
{
    if (!db_is_postgres(v->db) || count == 0)
        return ERR_OK;
    enum err err = lock_run(v,
                            "INSERT INTO accounts (user_id) SELECT DISTINCT u.id "
                            "FROM unnest(?1::uuid[]) AS u (id) ORDER BY u.id "
                            "ON CONFLICT (user_id) DO NOTHING",
                            first, stride, count);
    if (err != ERR_OK)
        return err;
    return lock_run(v,
                    "SELECT 1 FROM accounts WHERE user_id = ANY (?1) ORDER BY user_id FOR UPDATE",
                    first, stride, count);
}

enum err verb_lock_table(struct verb *v, const char *static_sql)
{
    struct query q;
    if (!db_is_postgres(v->db))
        return ERR_OK;
    query_open(&q, v->db, static_sql);
    return query_run(&q);
}
