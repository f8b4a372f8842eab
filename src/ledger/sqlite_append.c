#include <string.h>

#include "billing/price.h"
#include "ledger/sqlite_ledger.h"

struct known_price {
    bool looked_up;
    struct date day;
    struct money cost; /* unknown: no price on that day */
};
struct append {
    struct verb verb;
    struct ledger_record *records;
    size_t count;
    const struct ledger_position *from, *to;
    int64_t next_seq;
    bool refused;
    struct known_price prices[SUBSCRIPTION_TYPE_COUNT]; /* of the day asked for last */
};

/* Compare-and-set: whoever moves the position first has stored the records, the other one starts
 * again. */
static enum err append_position(struct append *a)
{
    struct query q;
    query_open(&q, a->verb.db,
               "SELECT next, log_id FROM positions WHERE topic = ?1 AND partition = ?2");
    query_bind_text(&q, a->from->topic);
    query_bind_i64(&q, a->from->partition);
    bool same = a->from->next == 0 && a->from->log_id[0] == '\0';
    if (query_next(&q))
        same = query_i64(&q, 0) == a->from->next && strcmp(query_text(&q, 1), a->from->log_id) == 0;
    enum err err = query_close(&q);
    if (err != ERR_OK || same)
        return err;
    return ERR_MOVED;
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

static enum err append_first_seq(struct append *a)
{
    struct query q;
    query_open(&q, a->verb.db, "SELECT max(seq) FROM payments");
    if (query_next(&q))
        a->next_seq = query_i64(&q, 0) + 1;
    return query_close(&q);
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
        record->verdict = same ? APPEND_REPEATED : APPEND_REFUSED;
        record->reject = same ? REJECT_NONE : REJECT_ID_CONFLICT;
    }
    return query_close(&q);
}

/* Rule 7. */
static enum err append_price(struct append *a, const struct request *r, int64_t requested_at_us,
                             struct money *out)
{
    struct known_price *p = &a->prices[r->subscription_type];
    struct date day = price_day(requested_at_us, a->verb.now_us);
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
    query_bind_text(&q, subscription_type_text(r->subscription_type));
    query_bind_text(&q, text);
    if (query_next(&q))
        p->cost = row_money(&q, 0, 1);
    *out = p->cost;
    return query_close(&q);
}

/* A user with a payment in flight is not due by this: the request waits until it is settled (rule
 * 2). */
static enum err append_account(struct append *a, const struct uuid *user_id)
{
    struct query q;
    query_open(
        &q, a->verb.db,
        "INSERT INTO accounts (user_id, version, pending_seq, due_at) VALUES (?1, 1, ?2, ?3) "
        "ON CONFLICT (user_id) DO UPDATE SET version = version + 1, "
        "pending_seq = min(coalesce(pending_seq, excluded.pending_seq), "
        "excluded.pending_seq), "
        "due_at = CASE WHEN in_flight IS NULL "
        "THEN min(coalesce(due_at, excluded.due_at), excluded.due_at) ELSE due_at END");
    query_bind_uuid(&q, user_id);
    query_bind_i64(&q, a->next_seq);
    query_bind_time(&q, a->verb.now_us);
    return query_run(&q);
}

/* A broker's timestamp may be anything; TIME_NEVER would be stored as null. */
static int64_t in_calendar(int64_t at_us)
{
    return at_us == TIME_NEVER ? TIME_NEVER - 1 : at_us;
}

static enum err append_payment(struct append *a, const struct ledger_record *record,
                               int64_t requested_at_us, const struct money *price)
{
    const struct request *r = &record->request;
    struct query q;
    query_open(&q, a->verb.db,
               "INSERT INTO payments (seq, id, user_id, payment_type, subscription_type, "
               "payment_date, stored_at, recorded_at, amount, currency, payment_method, actor, "
               "refund_of) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
    query_bind_i64(&q, a->next_seq);
    query_bind_uuid(&q, &r->payment_id);
    query_bind_uuid(&q, &r->user_id);
    query_bind_text(&q, payment_type_text(r->payment_type));
    query_bind_text(&q, subscription_type_text(r->subscription_type));
    query_bind_time(&q, in_calendar(requested_at_us));
    query_bind_time(&q, a->verb.now_us);
    if (record->recorded_at_us == REQUEST_NO_TIME)
        query_bind_null(&q);
    else
        query_bind_time(&q, in_calendar(record->recorded_at_us));
    row_bind_money(&q, price);
    query_bind_text(&q, r->payment_method[0] ? r->payment_method : NULL);
    query_bind_text(&q, r->actor[0] ? r->actor : NULL);
    row_bind_uuid(&q, &r->refund_of);
    return query_run(&q);
}

static enum err append_store(struct append *a, struct ledger_record *record,
                             int64_t requested_at_us, const struct money *price)
{
    const struct request *r = &record->request;
    enum err err = append_account(a, &r->user_id);
    if (err == ERR_OK)
        err = append_payment(a, record, requested_at_us, price);
    if (err == ERR_OK)
        err = row_move(&a->verb, &(struct move){.payment_id = &r->payment_id,
                                                .actor = "saver",
                                                .to = "new",
                                                .refund_of = r->refund_of,
                                                .money = *price});
    record->verdict = APPEND_STORED;
    record->reject = REJECT_NONE;
    a->next_seq++;
    return err;
}

static enum err append_one(struct append *a, struct ledger_record *record)
{
    const struct request *r = &record->request;
    int64_t requested_at_us = r->requested_at_us;
    struct money price = {0, ""};
    bool known;
    enum err err = append_known(a, record, &known);
    if (err != ERR_OK || known)
        return err;
    if (requested_at_us == REQUEST_NO_TIME)
        requested_at_us = a->verb.now_us;
    if (r->payment_type == PAYMENT_TYPE_PAYMENT) {
        if ((err = append_price(a, r, requested_at_us, &price)) != ERR_OK)
            return err;
        if (!money_known(&price)) {
            record->verdict = APPEND_REFUSED;
            record->reject = REJECT_NO_PRICE;
            return ERR_OK;
        }
    }
    return append_store(a, record, requested_at_us, &price);
}

static enum err append_run(struct verb *v)
{
    struct append *a = (struct append *)v;
    enum err err = append_position(a);
    if (err == ERR_OK && a->count)
        err = append_first_seq(a);
    for (size_t i = 0; i < a->count && err == ERR_OK; i++) {
        err = append_one(a, &a->records[i]);
        a->refused |= a->records[i].verdict == APPEND_REFUSED;
        if (a->records[i].verdict == APPEND_STORED)
            v->changes = LEDGER_CHANGE_STORED | LEDGER_CHANGE_PAYMENT;
    }
    if (err == ERR_OK && a->refused)
        err = ERR_REFUSED;
    if (err == ERR_OK)
        err = append_position_moves(a);
    return err;
}

enum err sqlite_append(struct ledger *l, struct ledger_record *records, size_t count,
                       const struct ledger_position *from, const struct ledger_position *to)
{
    struct append a = {.verb = {.run = append_run, .l = (struct sqlite_ledger *)l},
                       .records = records,
                       .count = count,
                       .from = from,
                       .to = to};
    return verb_do(&a.verb);
}
