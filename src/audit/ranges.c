/* The books in PostgreSQL, a range of users after the other, as texts in temporary tables. */
#include <stdio.h>
#include <string.h>

#include "audit/tables.h"
#include "base/uuid.h"

#define RANGE_PAYMENTS 50000 /* whose events are looked for at a time; ids only */
#define TEXT_LAST "\xF4\x8F\xBF\xBF"

struct range {
    struct uuid first, last; /* both in it */
    char first_text[UUID_TEXT], last_text[UUID_TEXT];
    bool is_first, is_last;
};

struct ranges {
    struct db *db;
    struct journal_load *journal;
    range_judge_fn *judge;
    void *ctx;
};

/* ---- walking ---- */

static bool uuid_follow(struct uuid *id)
{
    for (int i = (int)sizeof id->bytes - 1; i >= 0; i--)
        if (++id->bytes[i] != 0)
            return true;
    return false;
}

/* The range that begins at r->first and has `rows` of what `sql` walks; the last one has the rest. */
static enum err range_find(struct db *db, const char *sql, int64_t rows, struct range *r)
{
    struct query q;
    query_open(&q, db, sql);
    query_bind_uuid(&q, &r->first);
    query_bind_i64(&q, rows - 1);
    r->is_last = !query_next(&q);
    if (r->is_last)
        memset(r->last.bytes, 0xff, sizeof r->last.bytes);
    else
        r->last = query_uuid(&q, 0);
    uuid_format(&r->first, r->first_text);
    uuid_format(&r->last, r->last_text);
    return query_close(&q);
}

typedef enum err range_look_fn(struct ranges *all, const struct range *r);

static enum err ranges_walk(struct ranges *all, const char *sql, int64_t rows, range_look_fn *look)
{
    struct range r = {.first = UUID_NIL, .is_first = true};
    for (;;) {
        enum err err = range_find(all->db, sql, rows, &r);
        if (err == ERR_OK)
            err = db_begin(all->db);
        if (err != ERR_OK)
            return err;
        err = look(all, &r);
        if (err == ERR_OK)
            err = db_commit(all->db);
        else
            db_rollback(all->db);
        if (err != ERR_OK || r.is_last)
            return err;
        r.first = r.last;
        r.is_first = false;
        if (!uuid_follow(&r.first))
            return ERR_OK;
    }
}

/* ---- a range of users ---- */

#define STAMP(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
#define OF_USERS "user_id BETWEEN CAST(?1 AS uuid) AND CAST(?2 AS uuid)"
#define EVENT_COLUMNS                                                                              \
    "seq, subject, subject_id, actor, from_status, to_status, payment_status, detail"

static const char *const FILLS[] = {
    "INSERT INTO pg_temp.payments (seq, id, user_id, payment_type, subscription_type, "
    "processing_status, payment_status, stored_at, amount, currency, expiration_date, "
    "duplicate_of, refund_of, reason, notification) "
    "SELECT seq, CAST(id AS text), CAST(user_id AS text), payment_type, subscription_type, "
    "processing_status, payment_status, " STAMP("stored_at") ", amount, currency, " STAMP(
        "expiration_date") ", CAST(duplicate_of AS text), CAST(refund_of AS text), reason, "
                           "notification FROM public.payments WHERE " OF_USERS,
    "INSERT INTO pg_temp.accounts (user_id, in_flight, due_at, tell_due_at) "
    "SELECT CAST(user_id AS text), in_flight, " STAMP("due_at") ", " STAMP(
        "tell_due_at") " FROM public.accounts WHERE " OF_USERS,
    "INSERT INTO pg_temp.subscriptions (id, user_id, payment_id, subscription_type, starts_at, "
    "expiration_date, ends_at, end_reason) "
    "SELECT CAST(id AS text), CAST(user_id AS text), CAST(payment_id AS text), "
    "subscription_type, " STAMP("starts_at") ", " STAMP("expiration_date") ", " STAMP(
        "ends_at") ", end_reason FROM public.subscriptions WHERE " OF_USERS,
};

/* By their keys, one at a time: any other way would read all of a table for every range. In the order
 * of the keys, which is that of time: neighbours share pages, and what is sorted later is sorted. */
static const char *const FILLS_BY_KEY[] = {
    "INSERT INTO pg_temp.attempts (seq, instance_id) SELECT a.seq, a.instance_id "
    "FROM pg_temp.payments p CROSS JOIN LATERAL "
    "(SELECT seq, instance_id FROM public.attempts WHERE seq = p.seq OFFSET 0) a",
    "INSERT INTO pg_temp.events (" EVENT_COLUMNS ") SELECT e.* "
    "FROM (SELECT id FROM pg_temp.payments UNION SELECT id FROM pg_temp.subscriptions ORDER BY id) "
    "s "
    "CROSS JOIN LATERAL (SELECT " EVENT_COLUMNS " FROM public.events "
    "WHERE subject_id = s.id OFFSET 0) e",
};

static enum err fill_run(struct db *db, const char *sql, const struct range *r)
{
    struct query q;
    query_open(&q, db, sql);
    if (r != NULL) {
        query_bind_text(&q, r->first_text);
        query_bind_text(&q, r->last_text);
    }
    return query_run(&q);
}

static enum err books_fill(struct db *db, const struct range *r)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < sizeof FILLS / sizeof *FILLS && err == ERR_OK; i++)
        err = fill_run(db, FILLS[i], r);
    for (size_t i = 0; i < sizeof FILLS_BY_KEY / sizeof *FILLS_BY_KEY && err == ERR_OK; i++)
        err = fill_run(db, FILLS_BY_KEY[i], NULL);
    return err;
}

static enum err users_look(struct ranges *all, const struct range *r)
{
    enum err err = books_fill(all->db, r); /* the first look into the books takes the snapshot */
    if (err == ERR_OK)
        err = journal_load_tail(all->db, all->journal);
    if (err == ERR_OK)
        err = fill_run(all->db,
                       "INSERT INTO pg_temp.journal (seq, key, payment_id, user_id, payment_type, "
                       "subscription_type, refund_of, result, reason, transaction_id, amount, "
                       "currency, late) SELECT seq, key, payment_id, user_id, payment_type, "
                       "subscription_type, refund_of, result, reason, transaction_id, amount, "
                       "currency, late FROM pg_temp.whole_journal "
                       "WHERE owner BETWEEN CAST(?1 AS uuid) AND CAST(?2 AS uuid)",
                       r);
    if (err == ERR_OK && r->is_first) /* so that joins are planned for as many rows as come */
        err = db_script(all->db, "ANALYZE pg_temp.payments, pg_temp.accounts, "
                                 "pg_temp.subscriptions, pg_temp.attempts, pg_temp.events, "
                                 "pg_temp.journal, pg_temp.instance, pg_temp.heartbeat");
    return err == ERR_OK ? all->judge(all->ctx) : err;
}

/* ---- nobody ---- */

/* Events of what is in no table, by the index alone. Ids sort as their texts do. */
static const char STRAYS[] =
    "WITH strays AS MATERIALIZED (SELECT e.seq FROM public.events e "
    "WHERE e.subject_id >= ?3 AND e.subject_id < ?4 "
    "AND NOT EXISTS (SELECT 1 FROM public.payments p WHERE CAST(p.id AS text) = e.subject_id "
    "AND p.id BETWEEN CAST(?1 AS uuid) AND CAST(?2 AS uuid)) "
    "AND NOT EXISTS (SELECT 1 FROM public.subscriptions s WHERE CAST(s.id AS text) = e.subject_id "
    "AND s.id BETWEEN CAST(?1 AS uuid) AND CAST(?2 AS uuid))) "
    "INSERT INTO pg_temp.events (" EVENT_COLUMNS ") SELECT e.* FROM strays "
    "CROSS JOIN LATERAL (SELECT " EVENT_COLUMNS " FROM public.events "
    "WHERE seq = strays.seq OFFSET 0) e";

static enum err nobody_look(struct ranges *all, const struct range *r)
{
    struct uuid next = r->last;
    char next_text[UUID_TEXT] = TEXT_LAST;
    struct query q;
    if (!r->is_last && uuid_follow(&next))
        uuid_format(&next, next_text);
    query_open(&q, all->db, STRAYS);
    query_bind_text(&q, r->first_text);
    query_bind_text(&q, r->last_text);
    query_bind_text(&q, r->is_first ? "" : r->first_text);
    query_bind_text(&q, next_text);
    enum err err = query_run(&q);
    return err == ERR_OK && db_changes(all->db) > 0 ? all->judge(all->ctx) : err;
}

enum err ranges_run(struct db *db, struct journal_load *j, int64_t users, range_judge_fn *judge,
                    void *ctx)
{
    struct ranges all = {.db = db, .journal = j, .judge = judge, .ctx = ctx};
    enum err err = ranges_walk(&all,
                               "SELECT user_id FROM public.accounts "
                               "WHERE user_id >= CAST(?1 AS uuid) ORDER BY user_id "
                               "OFFSET ?2 LIMIT 1",
                               users, users_look);
    if (err != ERR_OK)
        return err;
    return ranges_walk(&all,
                       "SELECT id FROM public.payments WHERE id >= CAST(?1 AS uuid) ORDER BY id "
                       "OFFSET ?2 LIMIT 1",
                       users < RANGE_PAYMENTS ? users : RANGE_PAYMENTS, nobody_look);
}
