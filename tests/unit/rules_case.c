#include "rules_case.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

void fail_at(struct runner *r, int line, const char *format, ...)
{
    r->failures++;
    if (r->quiet)
        return;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "tests/rules/%s:%d: ", r->file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static struct money usual_price(enum subscription_type type)
{
    static const int64_t PRICES[] = {39900, 99900, 299900};
    return (struct money){PRICES[type], "RUB"};
}

/* What follows a paid period or an accepted payment: [for MONEY] [refunded by NAME] */
static bool take_paid(struct words *w, const char *name, enum subscription_type type,
                      struct refund_target *out)
{
    *out = (struct refund_target){.exists = true, .payment_id = uuid_named(name)};
    out->subscription_type = type;
    out->money = usual_price(type);
    if (take_phrase(w, "for") && !take_money(w, &out->money))
        return false;
    if (take_phrase(w, "refunded by")) {
        const char *refund;
        if (!take_name(w, &refund))
            return false;
        out->refunded = true;
        out->refunded_by = uuid_named(refund);
    }
    return at_end(w);
}

static bool fact_accepted(struct scenario *s, struct words *w)
{
    const char *name;
    enum subscription_type type;
    if (s->paid_count == ITEMS_MAX || !take_name(w, &name) || !take_subscription(w, &type) ||
        !take_paid(w, name, type, &s->paid[s->paid_count]))
        return false;
    s->paid_count++;
    return true;
}

static bool fact_period(struct scenario *s, struct words *w)
{
    enum subscription_type type;
    const char *name;
    if (s->cover_count == ITEMS_MAX || s->paid_count == ITEMS_MAX)
        return false;
    struct period p;
    if (!take_subscription(w, &type) || !take_phrase(w, "from") || !take_time(w, &p.starts_at_us) ||
        !take_phrase(w, "to") || !take_time(w, &p.ends_at_us) || p.ends_at_us < p.starts_at_us)
        return false;
    p.expires_at_us = period_expiration_us(p.starts_at_us, type);
    struct refund_target target = {0};
    if (!take_phrase(w, "granted")) {
        if (!take_phrase(w, "paid by") || !take_name(w, &name) ||
            !take_paid(w, name, type, &target))
            return false;
        s->paid[s->paid_count++] = target;
    }
    s->covers[s->cover_count].period = p;
    s->covers[s->cover_count++].target = target;
    return at_end(w);
}

static bool fact_request(struct scenario *s, struct words *w)
{
    const char *name;
    if (s->request_count == ITEMS_MAX || !take_name(w, &name))
        return false;
    struct decide_request r = {.seq = (int64_t)s->request_count + 1,
                               .payment_id = uuid_named(name)};
    if (!payment_type_parse(take(w), &r.payment_type) ||
        !take_subscription(w, &r.subscription_type) || !take_phrase(w, "at") ||
        !take_time(w, &r.requested_at_us))
        return false;
    r.stored_at_us = r.requested_at_us;
    r.recorded_at_us = INT64_MIN;
    r.money = usual_price(r.subscription_type);
    while (!at_end(w)) {
        bool good = false;
        if (take_phrase(w, "recorded"))
            good = take_time(w, &r.recorded_at_us);
        else if (take_phrase(w, "stored"))
            good = take_time(w, &r.stored_at_us);
        else if (take_phrase(w, "price"))
            good = take_money(w, &r.money);
        else if (take_phrase(w, "names") && take_name(w, &name)) {
            r.names_target = good = true;
            r.named.payment_id = uuid_named(name);
        }
        if (!good)
            return false;
    }
    if (r.recorded_at_us == INT64_MIN)
        r.recorded_at_us = r.stored_at_us;
    for (size_t i = 0; i < s->request_count; i++)
        if (uuid_equal(&s->requests[i].payment_id, &r.payment_id))
            return false;
    s->requests[s->request_count++] = r;
    return true;
}

/* "6 hours" */
static bool take_span(struct words *w, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t us;
    } UNITS[] = {{"minutes", 60 * US_PER_S}, {"hours", 3600 * US_PER_S}, {"days", US_PER_DAY}};
    int64_t n;
    if (!take_i64(w, 100000, &n))
        return false;
    for (size_t i = 0; i < 3; i++)
        if (take_phrase(w, UNITS[i].unit)) {
            *out = n * UNITS[i].us;
            return at_end(w);
        }
    return false;
}

static bool fact_price(struct scenario *s, struct words *w)
{
    struct price p;
    if (s->price_count == ITEMS_MAX || !take_subscription(w, &p.subscription_type) ||
        !take_money(w, &p.cost) || !take_phrase(w, "from") || !take_date(w, &p.starting_date))
        return false;
    s->prices[s->price_count++] = p;
    return at_end(w);
}

static bool name_known(const struct scenario *s, const char *name)
{
    struct uuid id = uuid_named(name);
    for (size_t i = 0; i < s->request_count; i++)
        if (uuid_equal(&s->requests[i].payment_id, &id))
            return true;
    for (size_t i = 0; i < s->paid_count; i++)
        if (uuid_equal(&s->paid[i].payment_id, &id) ||
            (s->paid[i].refunded && uuid_equal(&s->paid[i].refunded_by, &id)))
            return true;
    return false;
}

/* sent [for MONEY] | sent refunding NAME [for MONEY] | duplicate of NAME | duplicate of a grant
 * | closed REASON */
static bool take_verdict(struct scenario *s, struct words *w, const struct decide_request *r,
                         struct verdict *out)
{
    const char *name;
    *out = (struct verdict){0};
    if (take_phrase(w, "duplicate of a grant")) {
        *out = (struct verdict){.kind = VERDICT_DUPLICATE, .reason = REASON_GRANTED};
        return at_end(w);
    }
    if (take_phrase(w, "duplicate of")) {
        if (!take_name(w, &name) || !name_known(s, name))
            return false;
        *out = (struct verdict){.kind = VERDICT_DUPLICATE, .duplicate_of = uuid_named(name)};
        return at_end(w);
    }
    if (take_phrase(w, "closed")) {
        out->kind = VERDICT_CLOSE;
        return reason_parse(take(w), &out->reason) && out->reason != REASON_NONE && at_end(w);
    }
    if (!take_phrase(w, "sent"))
        return false;
    *out = (struct verdict){.kind = VERDICT_SEND, .money = r->money};
    if (take_phrase(w, "refunding")) {
        if (!take_name(w, &name) || !name_known(s, name))
            return false;
        out->refund_of = uuid_named(name);
        for (size_t i = 0; i < s->paid_count; i++)
            if (uuid_equal(&s->paid[i].payment_id, &out->refund_of))
                out->money = s->paid[i].money;
    }
    if (take_phrase(w, "for") && !take_money(w, &out->money))
        return false;
    return at_end(w);
}

static bool expect_verdict(struct runner *r, struct words *w)
{
    struct scenario *s = &r->scenario;
    const char *name;
    if (!take_name(w, &name))
        return false;
    struct uuid id = uuid_named(name);
    for (size_t i = 0; i < s->request_count; i++) {
        if (!uuid_equal(&s->requests[i].payment_id, &id))
            continue;
        if (s->expected[i].line != 0)
            return false;
        s->expected[i].line = r->line;
        return take_verdict(s, w, &s->requests[i], &s->expected[i].verdict);
    }
    return false;
}

static void money_text(const struct money *m, char *out, size_t cap)
{
    snprintf(out, cap, "%lld %s", (long long)m->amount_minor, m->currency);
}

static void verdict_text(const struct verdict *v, char *out, size_t cap)
{
    char money[40];
    if (v->kind == VERDICT_CLOSE)
        snprintf(out, cap, "closed %s", reason_text(v->reason));
    else if (v->kind == VERDICT_DUPLICATE && uuid_is_nil(&v->duplicate_of))
        snprintf(out, cap, "duplicate of nothing, reason '%s'", reason_text(v->reason));
    else if (v->kind == VERDICT_DUPLICATE)
        snprintf(out, cap, "duplicate of %.14s", (const char *)v->duplicate_of.bytes + 1);
    else {
        money_text(&v->money, money, sizeof money);
        snprintf(out, cap, "sent %s%.14s for %s", uuid_is_nil(&v->refund_of) ? "" : "refunding ",
                 (const char *)v->refund_of.bytes + 1, money);
    }
}

static bool verdict_equal(const struct verdict *a, const struct verdict *b)
{
    return a->kind == b->kind && a->reason == b->reason &&
           uuid_equal(&a->duplicate_of, &b->duplicate_of) &&
           uuid_equal(&a->refund_of, &b->refund_of) && money_equal(&a->money, &b->money);
}

/* The facts about periods, as the ledger would tell them. */
static void scenario_account(struct scenario *s)
{
    struct decide_account *a = &s->account;
    for (size_t i = 0; i < s->cover_count; i++) {
        const struct period *p = &s->covers[i].period;
        if (!a->has_last_period || p->starts_at_us >= a->last_period.starts_at_us) {
            a->has_last_period = true;
            a->last_period = *p;
            a->last_target = s->covers[i].target;
        }
        if (period_contains(p, a->now_us)) {
            a->subscribed = true;
            a->subscribed_by = s->covers[i].target.payment_id; /* nil for a grant */
        }
    }
    for (size_t i = 0; i < s->request_count; i++)
        for (size_t j = 0; s->requests[i].names_target && j < s->paid_count; j++)
            if (uuid_equal(&s->paid[j].payment_id, &s->requests[i].named.payment_id))
                s->requests[i].named = s->paid[j];
}

void case_close(struct runner *r)
{
    struct scenario *s = &r->scenario;
    if (s->line == 0)
        return;
    r->cases++;
    if (s->checks == 0 && s->request_count == 0)
        fail_at(r, s->line, "the case expects nothing");
    scenario_account(s);
    struct verdict verdicts[ITEMS_MAX];
    decide_claim(&s->account, &s->limits, s->requests, s->request_count, verdicts);
    for (size_t i = 0; i < s->request_count; i++) {
        const char *name = (const char *)s->requests[i].payment_id.bytes + 1;
        char want[120], got[120];
        verdict_text(&s->expected[i].verdict, want, sizeof want);
        verdict_text(&verdicts[i], got, sizeof got);
        if (s->expected[i].line == 0)
            fail_at(r, s->line, "%.14s: nothing is expected; the program says: %s", name, got);
        else if (!verdict_equal(&verdicts[i], &s->expected[i].verdict))
            fail_at(r, s->expected[i].line, "%.14s: expected %s; the program says: %s", name, want,
                    got);
    }
    *s = (struct scenario){0};
}

bool case_open(struct runner *r, struct words *w)
{
    case_close(r);
    r->scenario.line = r->line;
    r->scenario.limits.request_max_age_us = 6 * 3600 * US_PER_S;
    return !at_end(w);
}

/* pays TYPE requested TIME stored TIME MONEY|nothing */
static bool check_pays(struct runner *r, struct words *w)
{
    struct scenario *s = &r->scenario;
    enum subscription_type type;
    int64_t requested_us, stored_us;
    struct money want = {0};
    if (!take_subscription(w, &type) || !take_phrase(w, "requested") ||
        !take_time(w, &requested_us) || !take_phrase(w, "stored") || !take_time(w, &stored_us))
        return false;
    if (!take_phrase(w, "nothing") && !take_money(w, &want))
        return false;
    const struct price *p =
        price_on(s->prices, s->price_count, type, price_day(requested_us, stored_us));
    struct money got = p != NULL ? p->cost : (struct money){0};
    s->checks++;
    if (!money_equal(&want, &got)) {
        char text[40];
        money_text(&got, text, sizeof text);
        fail_at(r, r->line, "the program says: %s", p != NULL ? text : "no price");
    }
    return at_end(w);
}

bool case_line(struct runner *r, struct words *w)
{
    struct scenario *s = &r->scenario;
    if (s->line == 0)
        return false;
    if (take_phrase(w, "now"))
        return take_time(w, &s->account.now_us) && at_end(w);
    if (take_phrase(w, "max age none")) {
        s->limits.request_max_age_us = TIME_NEVER;
        return at_end(w);
    }
    if (take_phrase(w, "max age"))
        return take_span(w, &s->limits.request_max_age_us);
    if (take_phrase(w, "refund window"))
        return take_span(w, &s->limits.refund_window_us);
    if (take_phrase(w, "period"))
        return fact_period(s, w);
    if (take_phrase(w, "accepted"))
        return fact_accepted(s, w);
    if (take_phrase(w, "request"))
        return s->account.now_us != 0 && fact_request(s, w);
    if (take_phrase(w, "price"))
        return fact_price(s, w);
    if (take_phrase(w, "expect"))
        return expect_verdict(r, w);
    return take_phrase(w, "pays") && check_pays(r, w);
}
