#include "services/processing_journal.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"

static const char SCHEMA[] =
    "CREATE TABLE IF NOT EXISTS journal ("
    " seq INTEGER PRIMARY KEY,"
    " key TEXT NOT NULL,"
    " user_id TEXT NOT NULL,"
    " refund_of TEXT,"
    " amount INTEGER NOT NULL,"
    " currency TEXT NOT NULL,"
    " result TEXT NOT NULL CHECK (result IN ('success', 'decline', 'error', 'pending')),"
    " voided INTEGER NOT NULL CHECK (voided IN (0, 1)),"
    " executed_at TEXT NOT NULL,"
    " expires_at TEXT,"
    " request TEXT NOT NULL,"
    " answer TEXT NOT NULL) STRICT;"
    "CREATE INDEX IF NOT EXISTS journal_key ON journal (key);"
    "CREATE INDEX IF NOT EXISTS journal_refund_of ON journal (refund_of)"
    " WHERE refund_of IS NOT NULL;"
    "CREATE TRIGGER IF NOT EXISTS journal_no_update BEFORE UPDATE ON journal"
    " BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END;"
    "CREATE TRIGGER IF NOT EXISTS journal_no_delete BEFORE DELETE ON journal"
    " BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END;"
    "CREATE TABLE IF NOT EXISTS meta ("
    " one INTEGER PRIMARY KEY CHECK (one = 1),"
    " instance_id TEXT NOT NULL) STRICT;";

static enum err instance_settle(struct db *db, const struct uuid *fresh, struct uuid *instance)
{
    struct query q;
    query_open(&q, db, "INSERT INTO meta (one, instance_id) VALUES (1, ?1) ON CONFLICT DO NOTHING");
    query_bind_uuid(&q, fresh);
    enum err err = query_run(&q);
    if (err != ERR_OK)
        return err;
    struct uuid found = UUID_NIL;
    query_open(&q, db, "SELECT instance_id FROM meta");
    if (query_next(&q))
        found = query_uuid(&q, 0);
    err = query_close(&q);
    if (err == ERR_OK)
        *instance = found;
    return err;
}

enum err journal_create(struct db *db, const struct uuid *fresh, struct uuid *instance)
{
    enum err err = db_begin(db);
    if (err != ERR_OK)
        return err;
    err = db_script(db, SCHEMA);
    if (err == ERR_OK)
        err = instance_settle(db, fresh, instance);
    if (err == ERR_OK)
        err = db_commit(db);
    if (err != ERR_OK)
        db_rollback(db);
    return err;
}

/* The names of results are static texts, so that an entry need not own one. */
static const char *result_static(const char *text)
{
    static const char *const RESULTS[] = {"success", "decline", "error", "pending"};
    for (size_t i = 0; i < sizeof RESULTS / sizeof *RESULTS; i++)
        if (strcmp(RESULTS[i], text) == 0)
            return RESULTS[i];
    return NULL;
}

/* Both texts go into one str, the request first; their addresses are taken when it grows no more. */
static void entry_read(struct query *q, struct journal_row *e, struct str *texts)
{
    const char *request = query_text(q, 8);
    e->user_id = query_uuid(q, 0);
    e->refund_of = query_uuid(q, 1);
    e->money.amount_minor = query_i64(q, 2);
    if (!text_copy(e->money.currency, sizeof e->money.currency, query_text(q, 3)))
        q->err = ERR_CORRUPT;
    e->result = result_static(query_text(q, 4));
    if (!e->result)
        q->err = ERR_CORRUPT;
    e->voided = query_i64(q, 5) != 0;
    e->executed_at_us = query_time(q, 6);
    e->expires_at_us = query_time(q, 7);
    e->request_len = strlen(request);
    str_clear(texts);
    str_add_bytes(texts, request, e->request_len + 1);
    str_add(texts, query_text(q, 9));
    e->request = texts->data;
    e->answer = texts->data + e->request_len + 1;
}

enum err journal_find(struct db *db, const struct uuid *key, struct journal_row *out,
                      struct str *texts)
{
    struct journal_row e = {.key = *key};
    struct query q;
    query_open(
        &q, db,
        "SELECT user_id, refund_of, amount, currency, result, voided, executed_at,"
        " expires_at, request, answer FROM journal WHERE key = ?1 ORDER BY seq DESC LIMIT 1");
    query_bind_uuid(&q, key);
    bool found = query_next(&q);
    if (found)
        entry_read(&q, &e, texts);
    enum err err = query_close(&q);
    if (err == ERR_OK && !found)
        err = ERR_NOT_FOUND;
    if (err == ERR_OK && texts->failed)
        err = ERR_NO_MEMORY;
    if (err == ERR_OK)
        *out = e;
    return err;
}

enum err journal_append(struct db *db, const struct journal_row *e)
{
    struct query q;
    query_open(&q, db,
               "INSERT INTO journal (key, user_id, refund_of, amount, currency, result, voided,"
               " executed_at, expires_at, request, answer)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
    query_bind_uuid(&q, &e->key);
    query_bind_uuid(&q, &e->user_id);
    query_bind_uuid(&q, uuid_is_nil(&e->refund_of) ? NULL : &e->refund_of);
    query_bind_i64(&q, e->money.amount_minor);
    query_bind_text(&q, e->money.currency);
    query_bind_text(&q, e->result);
    query_bind_i64(&q, e->voided);
    query_bind_time(&q, e->executed_at_us);
    query_bind_time(&q, e->expires_at_us);
    query_bind_text_n(&q, e->request, e->request_len);
    query_bind_text(&q, e->answer);
    return query_run(&q);
}

static enum err charge_amount(struct db *db, const struct uuid *charge, const struct uuid *user_id,
                              const char *currency, int64_t *amount_minor)
{
    struct query q;
    *amount_minor = 0;
    query_open(&q, db,
               "SELECT user_id, refund_of, amount, currency, result FROM journal WHERE key = ?1"
               " ORDER BY seq DESC LIMIT 1");
    query_bind_uuid(&q, charge);
    if (query_next(&q)) {
        struct uuid owner = query_uuid(&q, 0);
        bool good = uuid_equal(&owner, user_id) && query_is_null(&q, 1) &&
                    strcmp(query_text(&q, 3), currency) == 0 &&
                    strcmp(query_text(&q, 4), "success") == 0;
        *amount_minor = good ? query_i64(&q, 2) : 0;
    }
    return query_close(&q);
}

enum err journal_left(struct db *db, const struct uuid *charge, const struct uuid *user_id,
                      const char *currency, int64_t *left_minor)
{
    struct query q;
    int64_t charged, given_back = 0;
    enum err err = charge_amount(db, charge, user_id, currency, &charged);
    if (err != ERR_OK)
        return err;
    query_open(&q, db,
               "SELECT coalesce(sum(amount), 0) FROM journal WHERE refund_of = ?1"
               " AND result = 'success'");
    query_bind_uuid(&q, charge);
    if (query_next(&q))
        given_back = query_i64(&q, 0);
    err = query_close(&q);
    if (err == ERR_OK)
        *left_minor = charged > given_back ? charged - given_back : 0;
    return err;
}

/* JSON has line breaks between its tokens only: as spaces they mean the same. */
static void add_one_line(struct str *out, const char *json)
{
    for (const char *at = json; *at;) {
        size_t len = strcspn(at, "\r\n");
        str_add_bytes(out, at, len);
        at += len;
        if (*at) {
            str_add(out, " ");
            at++;
        }
    }
}

enum err journal_page(struct db *db, int64_t after, int64_t limit, size_t bytes, struct str *out)
{
    struct query q;
    query_open(
        &q, db,
        "SELECT seq, key, request, answer FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2");
    query_bind_i64(&q, after);
    query_bind_i64(&q, limit);
    while (out->len < bytes && query_next(&q)) {
        str_addf(out, "{\"seq\":%lld,\"key\":\"%s\",\"request\":", (long long)query_i64(&q, 0),
                 query_text(&q, 1));
        add_one_line(out, query_text(&q, 2));
        str_add(out, ",\"answer\":");
        add_one_line(out, query_text(&q, 3));
        str_add(out, "}\n");
    }
    enum err err = query_close(&q);
    return err == ERR_OK && out->failed ? ERR_NO_MEMORY : err;
}
