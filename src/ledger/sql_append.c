#include <string.h>

#include "billing/price.h"
#include "ledger/sql_ledger.h"

/* Compare-and-set: whoever moves the position first has stored the records, the other one starts
 * again. */
static enum err position_same(struct append *a, bool *found, bool *same)
{
    struct query q;
    query_open(&q, a->verb.db,
               VERB_LOCKING(&a->verb,
                            "SELECT next, log_id FROM positions "
                            "WHERE topic = ?1 AND partition = ?2",
                            "FOR UPDATE"));
    query_bind_text(&q, a->from->topic);
    query_bind_i64(&q, a->from->partition);
    *same = a->from->next == 0 && a->from->log_id[0] == '\0';
    *found = query_next(&q);
    if (*found)
        *same =
            query_i64(&q, 0) == a->from->next && strcmp(query_text(&q, 1), a->from->log_id) == 0;
    return query_close(&q);
}

/* For the first time: a row to lock, as if there was none. */
static enum err position_made(struct append *a)
{
    struct query q;
    query_open(&q, a->verb.db,
               "INSERT INTO positions (topic, partition, partitions, next, log_id, checksum) "
               "VALUES (?1, ?2, 0, 0, '', 0) ON CONFLICT (topic, partition) DO NOTHING");
    query_bind_text(&q, a->from->topic);
    query_bind_i64(&q, a->from->partition);
    return query_run(&q);
}

static enum err append_position(struct append *a)
{
    bool found, same;
    enum err err = position_same(a, &found, &same);
    if (err == ERR_OK && !found && db_is_postgres(a->verb.db)) {
        if ((err = position_made(a)) == ERR_OK)
            err = position_same(a, &found, &same);
    }
    return err != ERR_OK || same ? err : ERR_MOVED;
}

static enum err append_position_moves(struct append *a)
{
    const struct ledger_position *to = a->to;
    struct query q;
    query_open(&q, a->verb.db,
               "INSERT INTO positions (topic, partition, partitions, next, log_id, checksum) "
               "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (topic, partition) DO UPDATE "
               "SET partitions = excluded.partitions, next = excluded.next, "
               "log_id = excluded.log_id, checksum = excluded.checksum");
    query_bind_text(&q, to->topic);
    query_bind_i64(&q, to->partition);
    query_bind_i64(&q, to->partitions);
    query_bind_i64(&q, to->next);
    query_bind_text(&q, to->log_id);
    query_bind_i64(&q, (int64_t)to->checksum);
    return query_run(&q);
}

/* Rule 11: what was in the log when the books were restored may have been sent by those that were
 * lost. */
static enum err append_restored(struct append *a)
{
    struct query q;
    query_open(&q, a->verb.db, "SELECT below FROM restored WHERE topic = ?1 AND partition = ?2");
    query_bind_text(&q, a->from->topic);
    query_bind_i64(&q, a->from->partition);
    int64_t below = query_next(&q) ? query_i64(&q, 0) : 0;
    enum err err = query_close(&q);
    a->ask_first = a->from->next < below;
    if (err != ERR_OK || below == 0 || a->to->next < below)
        return err;
    query_open(&q, a->verb.db, "DELETE FROM restored WHERE topic = ?1 AND partition = ?2");
    query_bind_text(&q, a->from->topic);
    query_bind_i64(&q, a->from->partition);
    a->verb.changes |= LEDGER_CHANGE_STORED; /* claims may begin */
    return query_run(&q);
}

void append_repeats(struct ledger_record *record, bool same)
{
    record->verdict = same ? APPEND_REPEATED : APPEND_REFUSED;
    record->reject = same ? REJECT_NONE : REJECT_ID_CONFLICT;
}

/* Is the id known, and for the same request? Earlier records of the batch are stored by now. */
static enum err append_known(struct append *a, struct ledger_record *record, bool *known)
{
    const struct request *r = &record->request;
    char user[UUID_TEXT];
    struct query q;
    uuid_format(&r->user_id, user);
    query_open(&q, a->verb.db,
               "SELECT user_id, payment_type, subscription_type FROM payments WHERE id = ?1");
    query_bind_uuid(&q, &r->payment_id);
    *known = query_next(&q);
    if (*known) {
        bool same = strcmp(query_text(&q, 0), user) == 0 &&
                    strcmp(query_text(&q, 1), payment_type_text(r->payment_type)) == 0 &&
                    strcmp(query_text(&q, 2), subscription_type_text(r->subscription_type)) == 0;
        append_repeats(record, same);
    }
    return query_close(&q);
}

/* Rule 7. */
static enum err append_price(struct append *a, enum subscription_type type, int64_t requested_at_us,
                             struct money *out)
{
    struct date day = price_day(requested_at_us, a->verb.now_us);
    struct known_price *p = &a->prices[type][day.day % APPEND_DAYS];
    char text[DATE_TEXT];
    struct query q;
    if (p->looked_up && date_compare(p->day, day) == 0) {
        *out = p->cost;
        return ERR_OK;
    }
    *p = (struct known_price){.looked_up = true, .day = day};
    date_format(day, text);
    query_open(&q, a->verb.db,
               "SELECT cost, currency FROM subscription_cost WHERE subscription_type = ?1 "
               "AND starting_date <= ?2 ORDER BY starting_date DESC LIMIT 1");
    query_bind_text(&q, subscription_type_text(type));
    query_bind_text(&q, text);
    if (query_next(&q))
        p->cost = row_money(&q, 0, 1);
    *out = p->cost;
    return query_close(&q);
}

enum err append_priced(struct append *a, struct ledger_record *record, struct stored_request *out)
{
    const struct request *r = &record->request;
    enum err err = ERR_OK;
    *out = (struct stored_request){
        .request = r,
        .requested_at_us =
            r->requested_at_us == REQUEST_NO_TIME ? a->verb.now_us : r->requested_at_us,
        .recorded_at_us = record->recorded_at_us,
        .actor = "saver",
        .ask_first = a->ask_first,
    };
    record->verdict = APPEND_STORED;
    record->reject = REJECT_NONE;
    if (r->payment_type != PAYMENT_TYPE_PAYMENT)
        return ERR_OK;
    err = append_price(a, r->subscription_type, out->requested_at_us, &out->money);
    if (err == ERR_OK && !money_known(&out->money)) {
        record->verdict = APPEND_REFUSED;
        record->reject = REJECT_NO_PRICE;
    }
    return err;
}

/* PostgreSQL: others take some from between. */
static enum err append_seq(struct append *a, int64_t *out)
{
    if (a->next_seq == 0 || db_is_postgres(a->verb.db)) {
        enum err err = row_next_seq(&a->verb, &a->next_seq);
        if (err != ERR_OK)
            return err;
    }
    *out = a->next_seq++;
    return ERR_OK;
}

static enum err append_one(struct append *a, struct ledger_record *record)
{
    struct stored_request stored;
    bool known;
    enum err err = append_known(a, record, &known);
    if (err != ERR_OK || known)
        return err;
    err = append_priced(a, record, &stored);
    if (err != ERR_OK || record->verdict != APPEND_STORED)
        return err;
    err = append_seq(a, &stored.seq);
    return err == ERR_OK ? row_store(&a->verb, &stored) : err;
}

static enum err append_each(struct append *a)
{
    enum err err =
        verb_lock_users(&a->verb, &a->records->request.user_id, sizeof *a->records, a->count);
    for (size_t i = 0; i < a->count && err == ERR_OK; i++)
        err = append_one(a, &a->records[i]);
    return err;
}

static bool append_refused(const struct append *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->records[i].verdict == APPEND_REFUSED)
            return true;
    return false;
}

static enum err append_run(struct verb *v)
{
    struct append *a = (struct append *)v;
    enum err err = append_position(a);
    if (err == ERR_OK)
        err = append_restored(a);
    if (err == ERR_OK && a->count > 0) /* records may be NULL */
        err = a->store(a);
    if (err == ERR_OK && append_refused(a))
        err = ERR_REFUSED;
    if (err == ERR_OK)
        err = append_position_moves(a);
    for (size_t i = 0; i < a->count && err == ERR_OK; i++)
        if (a->records[i].verdict == APPEND_STORED)
            v->changes |= LEDGER_CHANGE_STORED | LEDGER_CHANGE_PAYMENT;
    return err;
}

enum err append_with(struct ledger *l, struct ledger_record *records, size_t count,
                     const struct ledger_position *from, const struct ledger_position *to,
                     enum err (*store)(struct append *a))
{
    struct append a = {.verb = {.run = append_run, .l = (struct sql_ledger *)l},
                       .store = store,
                       .records = records,
                       .count = count,
                       .from = from,
                       .to = to};
    return verb_do(&a.verb);
}

enum err sql_append(struct ledger *l, struct ledger_record *records, size_t count,
                    const struct ledger_position *from, const struct ledger_position *to)
{
    return append_with(l, records, count, from, to, append_each);
}
