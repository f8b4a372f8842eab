#include <string.h>

#include "base/json.h"
#include "base/times.h"
#include "ledger/sql_ledger.h"

void row_broken(struct query *q, int column)
{
    (void)query_uuid(q, column); /* it is none, and so db_why names the column and what it holds */
    if (q->err == ERR_OK)
        q->err = ERR_CORRUPT;
}

void row_place(struct query *q, int column, char place[PLACE_TEXT])
{
    if (!text_copy(place, PLACE_TEXT, query_text(q, column)))
        row_broken(q, column);
}

#define ROW_WORD(type)                                                                             \
    enum type row_##type(struct query *q, int column)                                              \
    {                                                                                              \
        enum type word = 0;                                                                        \
        if (!type##_parse(query_text(q, column), &word))                                           \
            row_broken(q, column);                                                                 \
        return word;                                                                               \
    }
ROW_WORD(payment_type)
ROW_WORD(subscription_type)
ROW_WORD(processing_status)
ROW_WORD(payment_status)

enum reason row_reason(struct query *q, int column)
{
    enum reason reason = REASON_NONE;
    if (!query_is_null(q, column) && !reason_parse(query_text(q, column), &reason))
        row_broken(q, column);
    return reason;
}

struct money row_money(struct query *q, int amount_column, int currency_column)
{
    struct money m = {0, ""};
    if (query_is_null(q, amount_column))
        return m;
    m.amount_minor = query_i64(q, amount_column);
    if (!text_copy(m.currency, sizeof m.currency, query_text(q, currency_column)) ||
        !money_known(&m))
        row_broken(q, currency_column);
    return m;
}

void row_bind_money(struct query *q, const struct money *m)
{
    if (money_known(m)) {
        query_bind_i64(q, m->amount_minor);
        query_bind_text(q, m->currency);
    } else {
        query_bind_null(q);
        query_bind_null(q);
    }
}

void row_bind_reason(struct query *q, enum reason reason)
{
    query_bind_text(q, reason == REASON_NONE ? NULL : reason_text(reason));
}

void row_bind_uuid(struct query *q, const struct uuid *id)
{
    query_bind_uuid(q, uuid_is_nil(id) ? NULL : id);
}

void row_bind_seq(struct query *q, int64_t seq)
{
    if (seq)
        query_bind_i64(q, seq);
    else
        query_bind_null(q);
}

static void detail_uuid(struct str *out, const char *name, const struct uuid *id)
{
    char text[UUID_TEXT];
    if (uuid_is_nil(id))
        return;
    uuid_format(id, text);
    json_put_text(out, name, text);
}

static void detail_time(struct str *out, const char *name, int64_t at_us)
{
    char text[TIME_TEXT];
    time_format(at_us, text);
    json_put_text(out, name, text);
}

void row_move_detail(struct str *out, const struct move *m)
{
    str_clear(out);
    json_open(out, '{');
    detail_uuid(out, "duplicate_of", &m->duplicate_of);
    if (m->reason != REASON_NONE)
        json_put_text(out, "reason", reason_text(m->reason));
    detail_uuid(out, "refund_of", &m->refund_of);
    if (money_known(&m->money)) {
        json_put_i64(out, "amount", m->money.amount_minor);
        json_put_text(out, "currency", m->money.currency);
    }
    if (m->expiration_us != 0)
        detail_time(out, "expiration_date", m->expiration_us);
    if (m->notification)
        json_put_text(out, "notification", m->notification);
    if (m->evidence)
        json_put_text(out, "evidence", m->evidence);
    json_close(out, '}');
}

const char *row_detail(const struct str *detail)
{
    return strcmp(detail->data, "{}") == 0 ? NULL : detail->data;
}

#define EVENT_INSERT                                                                               \
    "INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, payment_status, " \
    "detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"

static enum err event_insert(struct verb *v, const char *subject, const char *subject_id,
                             const char *actor, const char *from, const char *to,
                             const char *status)
{
    struct query q;
    const struct str *detail = &v->l->detail;
    if (detail->failed)
        return ERR_NO_MEMORY;
    query_open(&q, v->db, EVENT_INSERT);
    query_bind_time(&q, v->now_us);
    query_bind_text(&q, subject);
    query_bind_text(&q, subject_id);
    query_bind_text(&q, actor);
    query_bind_text(&q, from);
    query_bind_text(&q, to);
    query_bind_text(&q, status);
    query_bind_text(&q, row_detail(detail));
    return query_run(&q);
}

enum err row_move(struct verb *v, const struct move *move)
{
    char id[UUID_TEXT];
    uuid_format(move->payment_id, id);
    row_move_detail(&v->l->detail, move);
    return event_insert(v, "payment", id, move->actor, move->from, move->to,
                        payment_status_text(move->status));
}

enum err row_event(struct verb *v, const char *subject, const char *subject_id, const char *actor,
                   const char *to)
{
    return event_insert(v, subject, subject_id, actor, NULL, to, NULL);
}

enum err row_alarm(struct verb *v, const char *subject_id, const char *actor)
{
    struct query q;
    enum err err;
    query_open(&q, v->db,
               "SELECT 1 FROM events WHERE subject_id = ?1 AND to_status IS NULL AND detail = ?2");
    query_bind_text(&q, subject_id);
    query_bind_text(&q, v->l->detail.data);
    bool known = query_next(&q);
    err = query_close(&q);
    if (err != ERR_OK || known)
        return err;
    return event_insert(v, "payment", subject_id, actor, NULL, NULL, NULL);
}

enum err row_contradiction(struct verb *v, const struct uuid *payment_id, const char *outcome,
                           const struct money *money)
{
    char id[UUID_TEXT];
    struct str *out = &v->l->detail;
    uuid_format(payment_id, id);
    str_clear(out);
    json_open(out, '{');
    json_put_text(out, "alarm", "contradiction");
    json_put_text(out, "outcome", outcome);
    if (money) {
        json_put_i64(out, "amount", money->amount_minor);
        json_put_text(out, "currency", money->currency);
    }
    json_close(out, '}');
    return row_alarm(v, id, "processor");
}

struct move duplicate_move(const struct uuid *payment_id, const struct uuid *duplicate_of,
                           enum reason reason)
{
    return (struct move){.payment_id = payment_id,
                         .actor = "processor",
                         .from = "new",
                         .to = "duplicated",
                         .duplicate_of = *duplicate_of,
                         .reason = reason};
}

enum err row_duplicate(struct verb *v, int64_t seq, const struct uuid *payment_id,
                       const struct uuid *duplicate_of, enum reason reason)
{
    struct move move = duplicate_move(payment_id, duplicate_of, reason);
    struct query q;
    enum err err;
    query_open(&q, v->db,
               "UPDATE payments SET processing_status = 'duplicated', duplicate_of = ?2, "
               "reason = ?3 WHERE seq = ?1 AND processing_status = 'new'");
    query_bind_i64(&q, seq);
    row_bind_uuid(&q, duplicate_of);
    row_bind_reason(&q, reason);
    err = query_run(&q);
    if (err != ERR_OK)
        return err;
    return row_move(v, &move);
}

void row_period_detail(struct str *out, const struct stored_period *p, const char *user)
{
    str_clear(out);
    json_open(out, '{');
    json_put_text(out, "user_id", user);
    detail_uuid(out, "payment_id", &p->payment_id);
    json_put_text(out, "subscription_type", subscription_type_text(p->subscription_type));
    detail_time(out, "starts_at", p->period.starts_at_us);
    detail_time(out, "expiration_date", p->period.expires_at_us);
    detail_time(out, "ends_at", p->period.ends_at_us);
    if (p->end_reason)
        json_put_text(out, "end_reason", p->end_reason);
    json_close(out, '}');
}

enum err row_period_event(struct verb *v, const struct stored_period *p, const char *user,
                          const char *actor, const char *to)
{
    char id[UUID_TEXT];
    uuid_format(&p->id, id);
    row_period_detail(&v->l->detail, p, user);
    return row_event(v, "subscription", id, actor, to);
}

enum err row_cover(struct verb *v, const char *user, struct cover *out)
{
    struct query q;
    *out = (struct cover){0};
    query_open(&q, v->db,
               "SELECT starts_at, ends_at, payment_id FROM subscriptions WHERE user_id = ?1 "
               "ORDER BY starts_at DESC, ends_at DESC, id DESC");
    query_bind_text(&q, user);
    while (query_next(&q)) {
        int64_t starts_at_us = query_time(&q, 0), ends_at_us = query_time(&q, 1);
        if (!out->any) {
            out->any = true;
            out->until_us = ends_at_us;
            out->payment_id = query_uuid(&q, 2);
        } else if (ends_at_us != out->from_us) {
            break;
        }
        out->from_us = starts_at_us;
    }
    return query_close(&q);
}

enum err row_first(struct verb *v, const char *user, int64_t from, const char *status, int64_t *out)
{
    struct query q;
    *out = 0;
    query_open(&q, v->db,
               "SELECT seq FROM payments WHERE user_id = ?1 AND seq >= ?2 "
               "AND processing_status = ?3 ORDER BY seq LIMIT 1");
    query_bind_text(&q, user);
    query_bind_i64(&q, from);
    query_bind_text(&q, status);
    if (query_next(&q))
        *out = query_i64(&q, 0);
    return query_close(&q);
}
