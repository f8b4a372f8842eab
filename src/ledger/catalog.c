#include "ledger/catalog.h"

#include <assert.h>
#include <string.h>

#include "ledger/ledger_driver.h"

static bool actor_valid(const char *actor)
{
    return actor && actor[0] != '\0' && strnlen(actor, LEDGER_ACTOR_MAX + 1) <= LEDGER_ACTOR_MAX;
}

static bool date_valid(struct date d)
{
    char text[DATE_TEXT];
    struct date again;
    date_format(d, text);
    return date_parse(text, strlen(text), &again) && date_compare(d, again) == 0;
}

enum err catalog_prices(struct views *v, struct date day, struct arena *arena, struct price **out,
                        size_t *count)
{
    enum err err = v->ops->prices(v, day, arena, out, count);
    assert(err != ERR_OK || *count <= SUBSCRIPTION_TYPE_COUNT);
    return err;
}

enum err catalog_prices_from(struct views *v, struct date day, struct arena *arena,
                             struct price **out, size_t *count)
{
    enum err err = v->ops->prices_from(v, day, arena, out, count);
    assert(err != ERR_OK || *count <= CATALOG_PRICES_MAX);
    for (size_t i = 1; err == ERR_OK && i < *count; i++) {
        const struct price *a = &(*out)[i - 1], *b = &(*out)[i];
        assert(a->subscription_type < b->subscription_type ||
               (a->subscription_type == b->subscription_type &&
                date_compare(a->starting_date, b->starting_date) < 0));
    }
    return err;
}

enum err catalog_add(struct ledger *l, const struct price *price, const char *actor,
                     enum catalog_verdict *verdict)
{
    assert((unsigned)price->subscription_type < SUBSCRIPTION_TYPE_COUNT);
    assert(money_known(&price->cost) && currency_valid(price->cost.currency));
    assert(date_valid(price->starting_date) && actor_valid(actor));
    return l->ops->price_add(l, price, actor, verdict);
}

enum err catalog_delete(struct ledger *l, enum subscription_type type, struct date starting_date,
                        const char *actor, enum catalog_verdict *verdict)
{
    assert((unsigned)type < SUBSCRIPTION_TYPE_COUNT);
    assert(date_valid(starting_date) && actor_valid(actor));
    return l->ops->price_delete(l, type, starting_date, actor, verdict);
}
