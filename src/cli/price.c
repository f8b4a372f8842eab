/* subpay price: the prices of the store (rule 7), beside the running system. */
#include <stdio.h>
#include <string.h>

#include "billing/price.h"
#include "cli/cli.h"
#include "cli/control_door.h"
#include "cli/store.h"
#include "ledger/catalog.h"
#include "services/control_prices.h"

#define PRICE_USAGE                                                                                \
    "price: wants list [--date DATE] | add TYPE COST CURRENCY DATE | delete TYPE DATE"
#define WHY_MAX 512
#define ARENA_MAX (4 * CATALOG_PRICES_MAX * sizeof(struct price)) /* it grows by doubling */

/* ---- arguments ---- */

static bool type_given(const char *typed, enum subscription_type *out)
{
    if (subscription_type_parse(typed, out))
        return true;
    (void)cli_usage("TYPE %s: allowed are month, three_months, year", typed);
    return false;
}

static bool date_given(const char *name, const char *typed, struct date *out)
{
    if (date_parse(typed, strlen(typed), out))
        return true;
    (void)cli_usage("%s %s: allowed is a date YYYY-MM-DD", name, typed);
    return false;
}

static bool cost_given(const char *cost, const char *currency, struct money *out)
{
    if (!text_i64(cost, 1, MONEY_MINOR_MAX, &out->amount_minor)) {
        (void)cli_usage("COST %s: allowed is a whole number of minor units, 1 to %lld", cost,
                        (long long)MONEY_MINOR_MAX);
        return false;
    }
    if (!currency_valid(currency) || !text_copy(out->currency, sizeof out->currency, currency)) {
        (void)cli_usage("CURRENCY %s: allowed are three capital letters, such as RUB", currency);
        return false;
    }
    return true;
}

/* ---- list ---- */

static void prices_show(const struct price *prices, size_t count, struct date day)
{
    for (size_t i = 0; i < count; i++) {
        const struct price *p = &prices[i];
        char text[DATE_TEXT];
        date_format(p->starting_date, text);
        printf("%s %lld %s %s %s\n", subscription_type_text(p->subscription_type),
               (long long)p->cost.amount_minor, p->cost.currency, text,
               date_compare(p->starting_date, day) > 0 ? "to come" : "in force");
    }
}

static int list_from(struct db *db, struct date day)
{
    struct price *prices = NULL;
    struct views *views;
    size_t count = 0;
    struct arena arena;
    enum err err = views_over(db, &views);
    if (err != ERR_OK)
        return cli_failed("price list: %s", err_text(err));
    arena_init(&arena, ARENA_MAX);
    int code = CLI_DONE;
    err = catalog_prices_from(views, day, &arena, &prices, &count);
    if (err == ERR_OK)
        prices_show(prices, count, day);
    else
        code = cli_failed("price list: %s: %s", err_text(err), views_why(views));
    arena_release(&arena);
    views_close(views);
    return code;
}

static int price_list(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--date", .takes_value = true}};
    struct date day = date_of(clock_wall_us(clock_real()));
    struct db *db;
    int code;
    if (!cli_parse(argc, argv, options, 1, NULL, 0, NULL))
        return CLI_USAGE;
    if (options[0].given && !date_given("--date", options[0].value, &day))
        return CLI_USAGE;
    if (!store_reader("price list", config, 0, &db, &code))
        return code;
    code = list_from(db, day);
    db_close(db);
    return code;
}

/* ---- add, delete ---- */

static int change_alone(void *ctx, struct own_store *store)
{
    char detail[WHY_MAX];
    int status = control_price_do(store->ledger, ctx, detail, sizeof detail);
    return status < 300 ? CLI_DONE : cli_failed("price: %s", detail);
}

static int price_change(const struct config *config, struct control_price *change)
{
    char path[128], day[DATE_TEXT];
    struct str body;
    int64_t number;
    str_init(&body, 1024);
    operator_name(change->actor);
    date_format(change->price.starting_date, day);
    const char *type = subscription_type_text(change->price.subscription_type);
    if (change->add)
        control_price_write(change, &body);
    (void)snprintf(path, sizeof path, change->add ? "/prices" : "/prices/%s/%s", type, day);
    const struct control_request request = {.method = change->add ? "POST" : "DELETE",
                                            .path = path,
                                            .type = change->add ? "application/json" : NULL,
                                            .body = &body,
                                            .actor = change->actor};
    int code = store_command("price", config, &request, change_alone, change, &number);
    str_release(&body);
    return code;
}

static int price_add(const struct config *config, int argc, char **argv)
{
    struct control_price change = {.add = true};
    const char *typed[4];
    int count = 0;
    if (!cli_parse(argc, argv, NULL, 0, typed, 4, &count))
        return CLI_USAGE;
    if (count != 4)
        return cli_usage("price add: wants TYPE COST CURRENCY DATE");
    if (!type_given(typed[0], &change.price.subscription_type) ||
        !cost_given(typed[1], typed[2], &change.price.cost) ||
        !date_given("DATE", typed[3], &change.price.starting_date))
        return CLI_USAGE;
    return price_change(config, &change);
}

static int price_delete(const struct config *config, int argc, char **argv)
{
    struct control_price change = {.add = false};
    const char *typed[2];
    int count = 0;
    if (!cli_parse(argc, argv, NULL, 0, typed, 2, &count))
        return CLI_USAGE;
    if (count != 2)
        return cli_usage("price delete: wants TYPE DATE");
    if (!type_given(typed[0], &change.price.subscription_type) ||
        !date_given("DATE", typed[1], &change.price.starting_date))
        return CLI_USAGE;
    return price_change(config, &change);
}

int cli_price(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct config *config, int argc, char **argv);
    } commands[] = {{"list", price_list}, {"add", price_add}, {"delete", price_delete}};
    struct config config;
    int code = CLI_USAGE;
    if (argc < 2)
        return cli_usage(PRICE_USAGE);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (!cli_load(&config, CONFIG_FOR_STORE, &code))
            return code;
        return commands[i].run(&config, argc - 1, argv + 1);
    }
    return cli_usage("price %s: no such command; " PRICE_USAGE, argv[1]);
}
