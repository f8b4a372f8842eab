#include <string.h>

#include "billing/price.h"
#include "ledger/sql_ledger.h"

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
    bool refused, ask_first;
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

static enum err append_store(struct append *a, struct ledger_record *record,
                             int64_t requested_at_us, const struct money *price)
{
    struct stored_request stored = {
        .seq = a->next_seq++,
        .request = &record->request,
        .requested_at_us = requested_at_us,
        .recorded_at_us = record->recorded_at_us,
        .money = *price,
        .actor = "saver",
        .ask_first = a->ask_first,
    };
    record->verdict = APPEND_STORED;
    record->reject = REJECT_NONE;
    return row_store(&a->verb, &stored);
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
    if (err == ERR_OK)
        err = append_restored(a);
    if (err == ERR_OK && a->count)
        err = row_next_seq(v, &a->next_seq);
    for (size_t i = 0; i < a->count && err == ERR_OK; i++) {
        err = append_one(a, &a->records[i]);
        a->refused |= a->records[i].verdict == APPEND_REFUSED;
        if (a->records[i].verdict == APPEND_STORED)
            v->changes |= LEDGER_CHANGE_STORED | LEDGER_CHANGE_PAYMENT;
    }
    if (err == ERR_OK && a->refused)
        err = ERR_REFUSED;
    if (err == ERR_OK)
        err = append_position_moves(a);
    return err;
}

enum err sql_append(struct ledger *l, struct ledger_record *records, size_t count,
                    const struct ledger_position *from, const struct ledger_position *to)
{
    struct append a = {.verb = {.run = append_run, .l = (struct sql_ledger *)l},
                       .records = records,
                       .count = count,
                       .from = from,
                       .to = to};
    return verb_do(&a.verb);
}
