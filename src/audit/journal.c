#include <stdio.h>

#include "audit/tables.h"
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

struct loading {
    struct db *db;
    struct journal_load *journal;
    enum err err; /* of the database, apart from the source's own */
};

static enum err line_store(void *to, const struct journal_line *line)
{
    struct loading *l = to;
    struct query q;
    query_open(&q, l->db,
               "INSERT INTO temp.journal (seq, key, payment_id, user_id, payment_type, "
               "subscription_type, refund_of, result, reason, transaction_id, amount, currency, "
               "late) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
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
    query_bind_i64(&q, l->journal->late);
    enum err err = query_run(&q);
    if (err == ERR_CONFLICT)
        return ERR_CORRUPT; /* a seq twice: that is no journal */
    l->err = err;
    if (line->seq > l->journal->last_seq)
        l->journal->last_seq = line->seq;
    return err;
}

static void journal_unreadable(struct journal_load *j)
{
    const struct journal_source *s = j->source;
    const char *why = s != NULL && s->why != NULL ? s->why(s->ctx) : NULL;
    j->readable = false;
    snprintf(j->why, sizeof j->why, "%s", why != NULL ? why : "it is not there");
}

static enum err instance_store(struct db *db, const struct journal_source *source)
{
    const char *instance = source->instance != NULL ? source->instance(source->ctx) : NULL;
    struct query q;
    query_open(&q, db, "INSERT INTO temp.instance (instance_id) VALUES (?1)");
    query_bind_text(&q, instance != NULL ? instance : "");
    return query_run(&q);
}

enum err journal_load(struct db *db, struct journal_load *j)
{
    struct loading l = {.db = db, .journal = j};
    j->readable = j->source != NULL;
    if (j->source == NULL) {
        journal_unreadable(j);
        return ERR_OK;
    }
    /* A transaction of its own, over temporary tables only: the books' snapshot comes later. */
    enum err err = db_begin(db);
    if (err != ERR_OK)
        return err;
    err = j->source->read(j->source->ctx, line_store, &l);
    if (err == ERR_OK)
        err = l.err = instance_store(db, j->source);
    if (err == ERR_OK)
        return db_commit(db);
    db_rollback(db);
    journal_unreadable(j);
    return l.err;
}

enum err journal_load_tail(struct db *db, struct journal_load *j)
{
    struct loading l = {.db = db, .journal = j};
    if (!j->readable || j->source->tail == NULL)
        return ERR_OK;
    j->late = true;
    if (j->source->tail(j->source->ctx, j->last_seq, line_store, &l) != ERR_OK)
        journal_unreadable(j);
    return l.err;
}
