/* A request becomes a row: by the saver, or because the processing knows it and the books do not.
 * */
#include "ledger/sql_ledger.h"

enum err row_next_seq(struct verb *v, int64_t *out)
{
    struct query q;
    query_open(&q, v->db,
               db_is_postgres(v->db) ? "SELECT nextval(pg_get_serial_sequence('payments', 'seq'))"
                                     : "SELECT coalesce(max(seq), 0) + 1 FROM payments");
    if (query_next(&q))
        *out = query_i64(&q, 0);
    return query_close(&q);
}

/* A user with a payment in flight is not due by this: the request waits until it is settled (rule
 * 2). */
static enum err store_account(struct verb *v, const struct stored_request *r)
{
    struct query q;
    query_open(
        &q, v->db,
        "INSERT INTO accounts (user_id, version, pending_seq, due_at) VALUES (?1, 1, ?2, ?3) "
        "ON CONFLICT (user_id) DO UPDATE SET version = accounts.version + 1, "
        "pending_seq = least(accounts.pending_seq, excluded.pending_seq), "
        "due_at = CASE WHEN accounts.in_flight IS NULL "
        "THEN least(accounts.due_at, excluded.due_at) ELSE accounts.due_at END");
    query_bind_uuid(&q, &r->request->user_id);
    query_bind_i64(&q, r->seq);
    query_bind_time(&q, v->now_us);
    return query_run(&q);
}

int64_t row_calendar(int64_t at_us)
{
    if (at_us == REQUEST_NO_TIME)
        return TIME_NEVER;
    return at_us == TIME_NEVER ? TIME_NEVER - 1 : at_us;
}

static enum err store_payment(struct verb *v, const struct stored_request *s)
{
    const struct request *r = s->request;
    struct query q;
    query_open(&q, v->db,
               "INSERT INTO payments (seq, id, user_id, payment_type, subscription_type, "
               "payment_date, stored_at, recorded_at, amount, currency, payment_method, actor, "
               "refund_of, ask_first) "
               "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)");
    query_bind_i64(&q, s->seq);
    query_bind_uuid(&q, &r->payment_id);
    query_bind_uuid(&q, &r->user_id);
    query_bind_text(&q, payment_type_text(r->payment_type));
    query_bind_text(&q, subscription_type_text(r->subscription_type));
    query_bind_time(&q, row_calendar(s->requested_at_us));
    query_bind_time(&q, v->now_us);
    query_bind_time(&q, row_calendar(s->recorded_at_us));
    row_bind_money(&q, &s->money);
    query_bind_text(&q, r->payment_method[0] ? r->payment_method : NULL);
    query_bind_text(&q, r->actor[0] ? r->actor : NULL);
    row_bind_uuid(&q, &r->refund_of);
    query_bind_i64(&q, s->ask_first);
    enum err err = query_run(&q);
    /* Somebody has just stored that id for another user: the next time it is known. */
    if (err == ERR_CONFLICT && db_is_postgres(v->db))
        return verb_fails(v, ERR_BUSY, db_why(v->db));
    return err;
}

struct move store_move(const struct stored_request *r)
{
    return (struct move){.payment_id = &r->request->payment_id,
                         .actor = r->actor,
                         .to = "new",
                         .refund_of = r->request->refund_of,
                         .money = r->money};
}

enum err row_store(struct verb *v, const struct stored_request *r)
{
    char user[UUID_TEXT];
    struct move move = store_move(r);
    uuid_format(&r->request->user_id, user);
    enum err err = store_account(v, r);
    if (err == ERR_OK)
        err = store_payment(v, r);
    if (err == ERR_OK)
        err = waiting_note(v, user);
    if (err == ERR_OK)
        err = row_move(v, &move);
    return err;
}
