#include <stdio.h>
#include <string.h>

#include "audit/rows.h"
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
    struct journal_load *journal;
    struct rows rows;
    enum err err; /* of the database, apart from the source's own */
};

/* Whose line it is, so that a range of users has it: whoever the payment of its key belongs to, or the payment that it
 * gives back, or whom it names, or nobody: then the first one. The books knew all of these before the line was
 * written. */
#define POSTGRES_INSERT                                                                            \
    "INSERT INTO pg_temp.whole_journal (seq, key, payment_id, user_id, payment_type, "             \
    "subscription_type, refund_of, result, reason, transaction_id, amount, currency, late, "       \
    "owner) SELECT l.seq, l.key, l.payment_id, l.user_id, l.payment_type, l.subscription_type, "   \
    "l.refund_of, l.result, l.reason, l.transaction_id, l.amount, l.currency, l.late, "            \
    "coalesce(p.user_id, r.user_id, l.named_user, '00000000-0000-0000-0000-000000000000') "        \
    "FROM unnest(?1::bigint[], ?2::text[], ?3::text[], ?4::text[], ?5::text[], ?6::text[], "       \
    "?7::text[], ?8::text[], ?9::text[], ?10::text[], ?11::bigint[], ?12::text[], "                \
    "?13::bigint[], ?14::uuid[], ?15::uuid[], ?16::uuid[]) AS l (seq, key, payment_id, "           \
    "user_id, payment_type, subscription_type, refund_of, result, reason, transaction_id, "        \
    "amount, currency, late, named_payment, named_target, named_user) "                            \
    "LEFT JOIN public.payments p ON p.id = l.named_payment "                                       \
    "LEFT JOIN public.payments r ON r.id = l.named_target"
#define SQLITE_INSERT                                                                              \
    "INSERT INTO temp.journal (seq, key, payment_id, user_id, payment_type, subscription_type, "   \
    "refund_of, result, reason, transaction_id, amount, currency, late) "                          \
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"

static void loading_open(struct loading *l, struct db *db, struct journal_load *j)
{
    l->journal = j;
    l->err = ERR_OK;
    rows_open(&l->rows, db, SQLITE_INSERT, POSTGRES_INSERT, db_is_postgres(db) ? 16 : 13);
}

/* A seq twice: that is no journal. */
static enum err loading_err(struct loading *l, enum err err)
{
    if (err != ERR_CONFLICT)
        l->err = err;
    return err == ERR_CONFLICT ? ERR_CORRUPT : err;
}

static enum err loading_close(struct loading *l, enum err of_source)
{
    enum err err = rows_close(&l->rows, of_source);
    return of_source == ERR_OK ? loading_err(l, err) : of_source;
}

static void id_add(struct rows *rows, const char *text)
{
    struct uuid id;
    rows_uuid(rows, text != NULL && uuid_parse(text, strlen(text), &id) ? &id : NULL);
}

static enum err line_store(void *to, const struct journal_line *line)
{
    struct loading *l = to;
    struct rows *rows = &l->rows;
    if (l->journal->late && line->seq <= l->journal->last_seq)
        return ERR_CORRUPT;
    rows_i64(rows, line->seq);
    rows_text(rows, line->key);
    rows_text(rows, line->payment_id);
    rows_text(rows, line->user_id);
    rows_text(rows, line->payment_type);
    rows_text(rows, line->subscription_type);
    rows_text(rows, line->refund_of);
    rows_text(rows, line->result);
    rows_text(rows, line->reason);
    rows_text(rows, line->transaction_id);
    if (line->amount_minor != 0)
        rows_i64(rows, line->amount_minor);
    else
        rows_text(rows, NULL);
    rows_text(rows, line->currency);
    rows_i64(rows, l->journal->late);
    if (db_is_postgres(rows->db)) {
        id_add(rows, line->key);
        id_add(rows, line->refund_of);
        id_add(rows, line->user_id);
    }
    if (line->seq > l->journal->last_seq)
        l->journal->last_seq = line->seq;
    return loading_err(l, rows_next(rows));
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
    query_open(&q, db, "INSERT INTO instance (instance_id) VALUES (?1)");
    query_bind_text(&q, instance != NULL ? instance : "");
    return query_run(&q);
}

/* Not one line of a journal that is not read to its end. */
static enum err lines_forget(struct db *db)
{
    if (!db_is_postgres(db)) {
        db_rollback(db);
        return ERR_OK;
    }
    return db_script(db, "TRUNCATE pg_temp.whole_journal");
}

/* By whom they belong to. Before they are all there every one of them would cost a page. */
static enum err lines_sort(struct db *db)
{
    return db_script(db, "CREATE INDEX ON pg_temp.whole_journal (owner);"
                         "ANALYZE pg_temp.whole_journal");
}

enum err journal_load(struct db *db, struct journal_load *j)
{
    struct loading l;
    bool as_one =
        !db_is_postgres(db); /* there the snapshot of a long reading would hold back vacuum */
    j->readable = j->source != NULL;
    if (j->source == NULL) {
        journal_unreadable(j);
        return ERR_OK;
    }
    /* A transaction of its own, over temporary tables only: the books' snapshot comes later. */
    enum err err = as_one ? db_begin(db) : ERR_OK;
    if (err != ERR_OK)
        return err;
    loading_open(&l, db, j);
    err = loading_close(&l, j->source->read(j->source->ctx, line_store, &l));
    if (err == ERR_OK)
        err = l.err = instance_store(db, j->source);
    if (err == ERR_OK)
        return as_one ? db_commit(db) : lines_sort(db);
    err = lines_forget(db);
    journal_unreadable(j);
    return l.err != ERR_OK ? l.err : err;
}

enum err journal_load_tail(struct db *db, struct journal_load *j)
{
    struct loading l;
    if (!j->readable || j->source->tail == NULL)
        return ERR_OK;
    j->late = true;
    loading_open(&l, db, j);
    if (loading_close(&l, j->source->tail(j->source->ctx, j->last_seq, line_store, &l)) != ERR_OK)
        journal_unreadable(j);
    return l.err;
}
