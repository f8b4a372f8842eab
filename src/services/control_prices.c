#include "services/control_prices.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define PREFIX "/prices"
#define BAD_PRICE                                                                                  \
    "wants subscription_type, cost (minor units), currency (three capital letters) and "           \
    "starting_date (YYYY-MM-DD), and nothing else"

bool control_price_path(const char *path)
{
    size_t len = sizeof PREFIX - 1;
    return strncmp(path, PREFIX, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool actor_read(const struct http_request *r, struct control_price *out)
{
    int count = 0;
    const char *actor = http_header(r, "Actor", &count);
    return count == 1 && strncmp(actor, "operator:", 9) == 0 && actor[9] != '\0' &&
           text_is_utf8(actor, strlen(actor)) && text_copy(out->actor, sizeof out->actor, actor);
}

static bool date_read(const char *text, struct date *out)
{
    return text != NULL && date_parse(text, strlen(text), out);
}

static bool price_read(const struct json *doc, struct price *p)
{
    const char *type = json_text(json_member(doc, "subscription_type"));
    const char *currency = json_text(json_member(doc, "currency"));
    return json_is_object(doc) && json_size(doc) == 4 && type != NULL && currency != NULL &&
           subscription_type_parse(type, &p->subscription_type) &&
           json_i64(json_member(doc, "cost"), &p->cost.amount_minor) && p->cost.amount_minor >= 1 &&
           p->cost.amount_minor <= MONEY_MINOR_MAX && currency_valid(currency) &&
           text_copy(p->cost.currency, sizeof p->cost.currency, currency) &&
           date_read(json_text(json_member(doc, "starting_date")), &p->starting_date);
}

static int add_read(const struct http_request *r, struct control_price *out, const char **why)
{
    struct json *doc = json_parse(r->body, r->body_len, NULL, 0);
    int status = doc == NULL ? 400 : price_read(doc, &out->price) ? 0 : 422;
    json_free(doc);
    *why = status == 400 ? "the body is not JSON" : BAD_PRICE;
    out->add = true;
    return status;
}

/* "/month/2026-05-01" */
static int delete_read(const char *rest, struct control_price *out, const char **why)
{
    char type[16];
    size_t len = strcspn(rest + 1, "/");
    *why = "wants /prices/{subscription_type}/{starting_date}";
    if (!text_copy_n(type, sizeof type, rest + 1, len) || rest[1 + len] != '/')
        return 404;
    return subscription_type_parse(type, &out->price.subscription_type) &&
                   date_read(rest + 1 + len + 1, &out->price.starting_date)
               ? 0
               : 422;
}

int control_price_read(const struct http_request *request, struct control_price *out,
                       const char **why)
{
    const char *rest = request->path + sizeof PREFIX - 1;
    *out = (struct control_price){.add = false};
    *why = "this route takes another method";
    if (request->method != (*rest == '\0' ? HTTP_POST : HTTP_DELETE))
        return 405;
    int status = *rest == '\0' ? add_read(request, out, why) : delete_read(rest, out, why);
    if (status != 0 || actor_read(request, out))
        return status;
    *why = "wants the header Actor: operator:<login>";
    return 422;
}

void control_price_write(const struct control_price *change, struct str *out)
{
    char day[DATE_TEXT];
    date_format(change->price.starting_date, day);
    json_open(out, '{');
    json_put_text(out, "subscription_type",
                  subscription_type_text(change->price.subscription_type));
    json_put_i64(out, "cost", change->price.cost.amount_minor);
    json_put_text(out, "currency", change->price.cost.currency);
    json_put_text(out, "starting_date", day);
    json_close(out, '}');
}

static int verdict_status(const struct control_price *change, enum catalog_verdict verdict,
                          char *why, size_t why_cap)
{
    char day[DATE_TEXT];
    const char *type = subscription_type_text(change->price.subscription_type);
    date_format(change->price.starting_date, day);
    switch (verdict) {
    case CATALOG_DONE:
        return change->add ? 201 : 204;
    case CATALOG_EXISTS:
        snprintf(why, why_cap, "there is a price of %s from %s already", type, day);
        return 409;
    case CATALOG_UNKNOWN:
        snprintf(why, why_cap, "there is no price of %s from %s", type, day);
        return 404;
    case CATALOG_IN_FORCE:
        break;
    }
    if (change->add)
        snprintf(why, why_cap, "starting_date %s: a price starts tomorrow (UTC) at the earliest",
                 day);
    else
        snprintf(why, why_cap, "the price of %s from %s is in force, it is never changed", type,
                 day);
    return change->add ? 422 : 409;
}

int control_price_do(struct ledger *ledger, const struct control_price *change, char *why,
                     size_t why_cap)
{
    const struct price *p = &change->price;
    enum catalog_verdict verdict = CATALOG_UNKNOWN;
    enum err err = change->add ? catalog_add(ledger, p, change->actor, &verdict)
                               : catalog_delete(ledger, p->subscription_type, p->starting_date,
                                                change->actor, &verdict);
    if (err == ERR_OK)
        return verdict_status(change, verdict, why, why_cap);
    snprintf(why, why_cap, "%s: %s", err_text(err), ledger_why(ledger));
    return err_retriable(err) || err == ERR_STOPPED ? 503 : 500;
}
