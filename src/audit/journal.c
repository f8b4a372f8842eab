#include "audit/journal.h"

#include "base/json.h"

bool journal_line_parse(const struct json *doc, struct journal_line *out)
{
    const struct json *request = json_member(doc, "request"), *answer = json_member(doc, "answer");
    struct journal_line line = {.key = json_text(json_member(doc, "key"))};
    if (!json_is_object(request) || !json_is_object(answer) || line.key == NULL ||
        !json_i64(json_member(doc, "seq"), &line.seq))
        return false;
    line.payment_id = json_text(json_member(request, "payment_id"));
    line.user_id = json_text(json_member(request, "user_id"));
    line.payment_type = json_text(json_member(request, "payment_type"));
    line.subscription_type = json_text(json_member(request, "subscription_type"));
    line.refund_of = json_text(json_member(request, "refund_of"));
    line.result = json_text(json_member(answer, "result"));
    line.reason = json_text(json_member(answer, "reason"));
    line.transaction_id = json_text(json_member(answer, "transaction_id"));
    line.currency = json_text(json_member(answer, "currency"));
    if (line.result == NULL)
        return false;
    if (line.payment_id == NULL)
        line.payment_id = line.key;
    if (line.currency == NULL)
        line.currency = json_text(json_member(request, "currency"));
    if (!json_i64(json_member(answer, "amount"), &line.amount_minor) &&
        !json_i64(json_member(request, "amount"), &line.amount_minor))
        line.amount_minor = 0;
    *out = line;
    return true;
}

static const char TABLE[] =
    "CREATE TEMPORARY TABLE journal (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, payment_id TEXT, "
    "user_id TEXT, payment_type TEXT, subscription_type TEXT, refund_of TEXT, result TEXT NOT "
    "NULL, "
    "reason TEXT, transaction_id TEXT, amount INTEGER, currency TEXT);"
    "CREATE INDEX temp.journal_key ON journal (key);";

struct loading {
    struct db *db;
    enum err err; /* of the database, apart from the source's own */
};

static enum err line_store(void *to, const struct journal_line *line)
{
    struct loading *l = to;
    struct query q;
    query_open(&q, l->db,
               "INSERT INTO temp.journal (seq, key, payment_id, user_id, payment_type, "
               "subscription_type, refund_of, result, reason, transaction_id, amount, currency) "
               "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)");
    query_bind_i64(&q, line->seq);
    query_bind_text(&q, line->key);
    query_bind_text(&q, line->payment_id);
    query_bind_text(&q, line->user_id);
    query_bind_text(&q, line->payment_type);
    query_bind_text(&q, line->subscription_type);
    query_bind_text(&q, line->refund_of);
    query_bind_text(&q, line->result);
    query_bind_text(&q, line->reason);
    query_bind_text(&q, line->transaction_id);
    if (line->amount_minor != 0)
        query_bind_i64(&q, line->amount_minor);
    else
        query_bind_null(&q);
    query_bind_text(&q, line->currency);
    enum err err = query_run(&q);
    if (err == ERR_CONFLICT)
        return ERR_CORRUPT; /* a seq twice: that is no journal */
    l->err = err;
    return err;
}

enum err journal_load(struct db *db, const struct journal_source *source, bool *unreadable)
{
    struct loading l = {.db = db};
    enum err err = db_script(db, TABLE);
    *unreadable = source == NULL;
    if (err != ERR_OK || source == NULL)
        return err;
    /* A transaction of its own, over temporary tables only: the books' snapshot comes later. */
    if ((err = db_begin(db)) != ERR_OK)
        return err;
    err = source->read(source->ctx, line_store, &l);
    if (err == ERR_OK)
        return db_commit(db);
    db_rollback(db);
    *unreadable = l.err == ERR_OK;
    return l.err;
}

enum err journal_unload(struct db *db)
{
    return db_script(db, "DROP TABLE IF EXISTS temp.journal;");
}
