#include "ledger/postgres_rows.h"

#include <assert.h>

#define SET_COLUMN_BYTES ((size_t)32 << 20)

void set_init(struct set *s, size_t width)
{
    assert(width <= SET_COLUMNS_MAX);
    s->width = width;
    for (size_t i = 0; i < width; i++)
        db_array_init(&s->columns[i], SET_COLUMN_BYTES);
}

void set_release(struct set *s)
{
    for (size_t i = 0; i < s->width; i++)
        db_array_release(&s->columns[i]);
}

void set_clear(struct set *s)
{
    for (size_t i = 0; i < s->width; i++)
        db_array_clear(&s->columns[i]);
}

size_t set_count(const struct set *s)
{
    return s->columns[0].count;
}

void set_bind(struct query *q, const struct set *s)
{
    for (size_t i = 0; i < s->width; i++) {
        assert(s->columns[i].count == set_count(s));
        query_bind_array(q, &s->columns[i]);
    }
}

void set_uuid(struct db_array *a, const struct uuid *id)
{
    db_array_uuid(a, uuid_is_nil(id) ? NULL : id);
}

void set_seq(struct db_array *a, int64_t seq)
{
    if (seq == 0)
        db_array_null(a);
    else
        db_array_i64(a, seq);
}

void set_reason(struct db_array *a, enum reason reason)
{
    db_array_text(a, reason == REASON_NONE ? NULL : reason_text(reason));
}

void set_money(struct db_array *amount, struct db_array *currency, const struct money *m)
{
    bool known = money_known(m);
    set_seq(amount, known ? m->amount_minor : 0);
    db_array_text(currency, known ? m->currency : NULL);
}

enum err set_run(struct verb *v, struct query *q, const struct set *s)
{
    enum err err = query_run(q);
    if (err == ERR_OK && db_changes(v->db) != (int64_t)set_count(s))
        return verb_fails(v, ERR_BUG, "what is written is not what was decided about");
    return err;
}

bool postgres_blames_rows(enum err err)
{
    return err == ERR_CORRUPT || err == ERR_CONFLICT || err == ERR_BUG;
}

/* ---- events ---- */

enum { EVENT_SUBJECT, EVENT_ID, EVENT_FROM, EVENT_TO, EVENT_STATUS, EVENT_DETAIL, EVENT_WIDTH };

void events_init(struct events *e)
{
    set_init(&e->set, EVENT_WIDTH);
    str_init(&e->detail, SQL_DETAIL_MAX);
}

void events_release(struct events *e)
{
    set_release(&e->set);
    str_release(&e->detail);
}

static void events_add(struct events *e, const char *subject, const struct uuid *id,
                       const char *from, const char *to, const char *status)
{
    struct db_array *c = e->set.columns;
    char subject_id[UUID_TEXT];
    db_array_text(&c[EVENT_SUBJECT], subject);
    uuid_format(id, subject_id);
    db_array_text(&c[EVENT_ID], subject_id);
    db_array_text(&c[EVENT_FROM], from);
    db_array_text(&c[EVENT_TO], to);
    db_array_text(&c[EVENT_STATUS], status);
    db_array_json(&c[EVENT_DETAIL], row_detail(&e->detail));
    c[EVENT_DETAIL].bytes.failed |= e->detail.failed;
}

void events_move(struct events *e, const struct move *move)
{
    row_move_detail(&e->detail, move);
    events_add(e, "payment", move->payment_id, move->from, move->to,
               payment_status_text(move->status));
}

void events_period(struct events *e, const struct stored_period *p, const char *user,
                   const char *to)
{
    row_period_detail(&e->detail, p, user);
    events_add(e, "subscription", &p->id, NULL, to, NULL);
}

enum err events_write(struct verb *v, struct events *e, const char *actor)
{
    struct query q;
    if (set_count(&e->set) == 0)
        return ERR_OK;
    query_open(&q, v->db,
               "INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, "
               "payment_status, detail) SELECT ?1::timestamptz, u.subject, u.id, ?2, u.was, u.now, "
               "u.status, "
               "u.detail FROM unnest(?3::text[], ?4::text[], ?5::text[], ?6::text[], ?7::text[], "
               "?8::jsonb[]) WITH ORDINALITY AS u (subject, id, was, now, status, detail, n) "
               "ORDER BY u.n");
    query_bind_time(&q, v->now_us);
    query_bind_text(&q, actor);
    set_bind(&q, &e->set);
    enum err err = set_run(v, &q, &e->set);
    set_clear(&e->set);
    return err;
}
