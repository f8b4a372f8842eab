/* Prices to come (rule 7): those in force are never changed. */
#include <stdio.h>

#include "base/json.h"
#include "ledger/sql_ledger.h"

#define SUBJECT_MAX 32 /* TYPE/DATE */

struct price_change {
    struct verb verb;
    struct price price; /* cost: of the added, or as deleted */
    const char *actor;
    enum catalog_verdict verdict;
};

static bool is_in_force(const struct price_change *c)
{
    return date_compare(c->price.starting_date, date_of(c->verb.now_us)) <= 0;
}

/* Two who change prices at the same time do it one after the other. */
static enum err prices_lock(struct verb *v)
{
    return verb_lock_table(v, "LOCK TABLE subscription_cost IN SHARE ROW EXCLUSIVE MODE");
}

static enum err price_find(struct price_change *c, bool *found)
{
    char day[DATE_TEXT];
    struct query q;
    date_format(c->price.starting_date, day);
    query_open(&q, c->verb.db,
               "SELECT cost, currency FROM subscription_cost WHERE subscription_type = ?1 "
               "AND starting_date = ?2");
    query_bind_text(&q, subscription_type_text(c->price.subscription_type));
    query_bind_text(&q, day);
    *found = query_next(&q);
    if (*found)
        c->price.cost = row_money(&q, 0, 1);
    return query_close(&q);
}

static enum err price_event(struct price_change *c, const char *to)
{
    char day[DATE_TEXT], subject[SUBJECT_MAX];
    struct str *out = &c->verb.l->detail;
    date_format(c->price.starting_date, day);
    (void)snprintf(subject, sizeof subject, "%s/%s",
                   subscription_type_text(c->price.subscription_type), day);
    str_clear(out);
    json_open(out, '{');
    json_put_i64(out, "cost", c->price.cost.amount_minor);
    json_put_text(out, "currency", c->price.cost.currency);
    json_close(out, '}');
    return row_event(&c->verb, "price", subject, c->actor, to);
}

static enum err add_run(struct verb *v)
{
    struct price_change *c = (struct price_change *)v;
    struct money cost = c->price.cost;
    char day[DATE_TEXT];
    struct query q;
    bool found = false;
    enum err err = prices_lock(v);
    if (err == ERR_OK)
        err = price_find(c, &found);
    c->verdict = is_in_force(c) ? CATALOG_IN_FORCE : found ? CATALOG_EXISTS : CATALOG_DONE;
    if (err != ERR_OK || c->verdict != CATALOG_DONE)
        return err;
    c->price.cost = cost;
    date_format(c->price.starting_date, day);
    query_open(&q, v->db,
               "INSERT INTO subscription_cost (subscription_type, starting_date, cost, currency) "
               "VALUES (?1, ?2, ?3, ?4)");
    query_bind_text(&q, subscription_type_text(c->price.subscription_type));
    query_bind_text(&q, day);
    row_bind_money(&q, &cost);
    err = query_run(&q);
    return err == ERR_OK ? price_event(c, "added") : err;
}

enum err sql_price_add(struct ledger *l, const struct price *price, const char *actor,
                       enum catalog_verdict *verdict)
{
    struct price_change c = {
        .verb = {.run = add_run, .l = (struct sql_ledger *)l}, .price = *price, .actor = actor};
    enum err err = verb_do(&c.verb);
    if (err == ERR_OK)
        *verdict = c.verdict;
    return err;
}

static enum err delete_run(struct verb *v)
{
    struct price_change *c = (struct price_change *)v;
    char day[DATE_TEXT];
    struct query q;
    bool found = false;
    enum err err = prices_lock(v);
    if (err == ERR_OK)
        err = price_find(c, &found);
    c->verdict = !found ? CATALOG_UNKNOWN : is_in_force(c) ? CATALOG_IN_FORCE : CATALOG_DONE;
    if (err != ERR_OK || c->verdict != CATALOG_DONE)
        return err;
    date_format(c->price.starting_date, day);
    query_open(&q, v->db,
               "DELETE FROM subscription_cost WHERE subscription_type = ?1 "
               "AND starting_date = ?2");
    query_bind_text(&q, subscription_type_text(c->price.subscription_type));
    query_bind_text(&q, day);
    err = query_run(&q);
    return err == ERR_OK ? price_event(c, "deleted") : err;
}

enum err sql_price_delete(struct ledger *l, enum subscription_type type, struct date day,
                          const char *actor, enum catalog_verdict *verdict)
{
    struct price_change c = {
        .verb = {.run = delete_run, .l = (struct sql_ledger *)l},
        .price = {.subscription_type = type, .starting_date = day},
        .actor = actor,
    };
    enum err err = verb_do(&c.verb);
    if (err == ERR_OK)
        *verdict = c.verdict;
    return err;
}
