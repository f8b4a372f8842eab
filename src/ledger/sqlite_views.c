/* The read side over the embedded file: one prepared look-up per id, inside one snapshot per call.
 * Reading never waits for the writer (WAL), so patience_ms has nothing to bound here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/catalog.h"
#include "ledger/sqlite_ledger.h"

#define VIEWS_WHY_MAX 256

struct sqlite_views {
    struct views base;
    struct embedded *store;
    struct db *db;
    char why[VIEWS_WHY_MAX];
};

static struct sqlite_views *self(struct views *v)
{
    return (struct sqlite_views *)v;
}

static int64_t now_us(struct sqlite_views *v)
{
    return clock_wall_us(embedded_clock(v->store));
}

static enum err views_end(struct sqlite_views *v, enum err err)
{
    const char *said = db_why(v->db);
    if (err != ERR_OK)
        snprintf(v->why, sizeof v->why, "%s", said && said[0] ? said : err_text(err));
    return err;
}

/* A snapshot for several statements; a single one has its own. */
static enum err snapshot_begin(struct sqlite_views *v, size_t count)
{
    return count > 1 ? db_begin(v->db) : ERR_OK;
}

static enum err snapshot_end(struct sqlite_views *v, size_t count, enum err err)
{
    views_end(v, err);
    if (count > 1)
        db_rollback(v->db); /* nothing was written */
    return err;
}

/* waits_for: the payment in flight that a new one waits for. A duplicate of one that waits for its
 * payer shows the same action_url (rule 8); it is kept no longer than that. */
#define PAYMENT_SELECT                                                                             \
    "SELECT p.seq, p.id, p.user_id, p.payment_type, p.subscription_type, p.processing_status, "    \
    "p.payment_status, p.payment_date, p.expiration_date, p.amount, p.currency, p.duplicate_of, "  \
    "p.refund_of, f.id, p.reason, coalesce(p.action_url, d.action_url), p.needs_decision "         \
    "FROM payments p "                                                                             \
    "LEFT JOIN accounts a ON p.processing_status = 'new' AND a.user_id = p.user_id "               \
    "LEFT JOIN payments f ON f.seq = a.in_flight "                                                 \
    "LEFT JOIN payments d ON p.processing_status = 'duplicated' AND d.id = p.duplicate_of "

static void payment_read(struct query *q, struct arena *arena, struct payment_view *p)
{
    *p = (struct payment_view){
        .seq = query_i64(q, 0),
        .payment_id = query_uuid(q, 1),
        .user_id = query_uuid(q, 2),
        .payment_type = row_payment_type(q, 3),
        .subscription_type = row_subscription_type(q, 4),
        .processing_status = row_processing_status(q, 5),
        .payment_status = row_payment_status(q, 6),
        .payment_date_us = query_time(q, 7),
        .expiration_us = query_time(q, 8),
        .money = row_money(q, 9, 10),
        .duplicate_of = query_uuid(q, 11),
        .refund_of = query_uuid(q, 12),
        .waits_for = query_uuid(q, 13),
        .reason = row_reason(q, 14),
        .needs_decision = query_i64(q, 16) != 0,
    };
    if (!query_is_null(q, 15)) {
        const char *url = query_text(q, 15);
        p->action_url = arena_text(arena, url, strlen(url));
        if (!p->action_url)
            q->err = ERR_NO_MEMORY;
    }
}

static enum err payment_of_id(struct sqlite_views *v, const struct uuid *id, struct arena *arena,
                              struct payment_view **out)
{
    struct query q;
    *out = NULL;
    query_open(&q, v->db, PAYMENT_SELECT "WHERE p.id = ?1");
    query_bind_uuid(&q, id);
    if (query_next(&q)) {
        *out = arena_new(arena, struct payment_view);
        if (*out)
            payment_read(&q, arena, *out);
        else
            q.err = ERR_NO_MEMORY;
    }
    return query_close(&q);
}

static enum err sqlite_payments(struct views *views, const struct uuid *ids, size_t count,
                                int64_t patience_ms, struct arena *arena, struct payment_view **out)
{
    struct sqlite_views *v = self(views);
    enum err err = snapshot_begin(v, count);
    (void)patience_ms;
    if (err != ERR_OK)
        return views_end(v, err);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = payment_of_id(v, &ids[i], arena, &out[i]);
    return snapshot_end(v, count, err);
}

static enum err sqlite_payments_of(struct views *views, const struct uuid *user_id,
                                   int64_t before_seq, size_t limit, struct arena *arena,
                                   struct payment_view **out, size_t *count)
{
    struct sqlite_views *v = self(views);
    struct payment_view *found = arena_array(arena, struct payment_view, limit);
    struct query q;
    size_t n = 0;
    if (!found)
        return ERR_NO_MEMORY;
    query_open(&q, v->db,
               PAYMENT_SELECT "WHERE p.user_id = ?1 AND p.seq < ?2 ORDER BY p.seq DESC LIMIT ?3");
    query_bind_uuid(&q, user_id);
    query_bind_i64(&q, before_seq);
    query_bind_i64(&q, (int64_t)limit);
    while (n < limit && query_next(&q))
        payment_read(&q, arena, &found[n++]);
    enum err err = views_end(v, query_close(&q));
    if (err == ERR_OK) {
        *out = found;
        *count = n;
    }
    return err;
}

/* The account answers, but for a user whose last unbroken cover is still to come: an earlier period
 * may hold. */
static enum err subscribed_one(struct sqlite_views *v, const struct uuid *user, int64_t at_us,
                               bool *out)
{
    struct query q;
    query_open(&q, v->db,
               "SELECT CASE WHEN active_until <= ?2 THEN 0 WHEN active_from <= ?2 THEN 1 "
               "ELSE EXISTS (SELECT 1 FROM subscriptions s WHERE s.user_id = ?1 "
               "AND s.starts_at <= ?2 AND s.ends_at > ?2) END "
               "FROM accounts WHERE user_id = ?1 AND active_until IS NOT NULL");
    query_bind_uuid(&q, user);
    query_bind_time(&q, at_us);
    *out = query_next(&q) && query_i64(&q, 0) != 0;
    return query_close(&q);
}

static enum err sqlite_subscribed(struct views *views, const struct uuid *users, size_t count,
                                  int64_t patience_ms, bool *out)
{
    struct sqlite_views *v = self(views);
    int64_t at_us = now_us(v);
    enum err err = snapshot_begin(v, count);
    (void)patience_ms;
    if (err != ERR_OK)
        return views_end(v, err);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = subscribed_one(v, &users[i], at_us, &out[i]);
    return snapshot_end(v, count, err);
}

static enum err subscription_read(struct query *q, struct arena *arena,
                                  struct subscription_view **out)
{
    struct subscription_view *s = arena_new(arena, struct subscription_view);
    if (!s)
        return ERR_NO_MEMORY;
    *s = (struct subscription_view){
        .subscription_id = query_uuid(q, 0),
        .user_id = query_uuid(q, 1),
        .payment_id = query_uuid(q, 2),
        .subscription_type = row_subscription_type(q, 3),
        .starts_at_us = query_time(q, 4),
        .expiration_us = query_time(q, 5),
        .ends_at_us = query_time(q, 6),
    };
    if (!query_is_null(q, 7)) {
        const char *reason = query_text(q, 7);
        s->end_reason = arena_text(arena, reason, strlen(reason));
        if (!s->end_reason)
            return ERR_NO_MEMORY;
    }
    *out = s;
    return ERR_OK;
}

static enum err sqlite_subscriptions_of(struct views *views, const struct uuid *user_id,
                                        struct arena *arena, struct subscription_view **out,
                                        size_t *count)
{
    struct sqlite_views *v = self(views);
    struct subscription_view *found = NULL;
    struct query q;
    query_open(&q, v->db,
               "SELECT id, user_id, payment_id, subscription_type, starts_at, expiration_date, "
               "ends_at, end_reason FROM subscriptions WHERE user_id = ?1 AND starts_at <= ?2 "
               "AND ends_at > ?2 LIMIT 1");
    query_bind_uuid(&q, user_id);
    query_bind_time(&q, now_us(v));
    if (query_next(&q)) {
        enum err read = subscription_read(&q, arena, &found);
        if (read != ERR_OK)
            q.err = read;
    }
    enum err err = views_end(v, query_close(&q));
    if (err == ERR_OK) {
        *out = found;
        *count = found ? 1 : 0;
    }
    return err;
}

static enum err price_in_force(struct sqlite_views *v, enum subscription_type type, const char *day,
                               struct price *out, bool *found)
{
    struct query q;
    query_open(&q, v->db,
               "SELECT cost, currency, starting_date FROM subscription_cost "
               "WHERE subscription_type = ?1 AND starting_date <= ?2 "
               "ORDER BY starting_date DESC LIMIT 1");
    query_bind_text(&q, subscription_type_text(type));
    query_bind_text(&q, day);
    *found = query_next(&q);
    if (*found) {
        const char *since = query_text(&q, 2);
        out->subscription_type = type;
        out->cost = row_money(&q, 0, 1);
        if (!date_parse(since, strlen(since), &out->starting_date))
            q.err = ERR_CORRUPT;
    }
    return query_close(&q);
}

static enum err sqlite_prices(struct views *views, struct date day, struct arena *arena,
                              struct price **out, size_t *count)
{
    struct sqlite_views *v = self(views);
    struct price *found = arena_array(arena, struct price, SUBSCRIPTION_TYPE_COUNT);
    char text[DATE_TEXT];
    size_t n = 0;
    if (!found)
        return ERR_NO_MEMORY;
    date_format(day, text);
    enum err err = snapshot_begin(v, SUBSCRIPTION_TYPE_COUNT);
    if (err != ERR_OK)
        return views_end(v, err);
    for (int type = 0; type < SUBSCRIPTION_TYPE_COUNT && err == ERR_OK; type++) {
        bool any;
        err = price_in_force(v, (enum subscription_type)type, text, &found[n], &any);
        n += err == ERR_OK && any;
    }
    if (err == ERR_OK) {
        *out = found;
        *count = n;
    }
    return snapshot_end(v, SUBSCRIPTION_TYPE_COUNT, err);
}

static struct price *price_room(struct arena *arena, struct price **prices, size_t count,
                                size_t *cap)
{
    if (count == *cap) {
        size_t more = *cap ? *cap * 2 : 16;
        struct price *bigger = arena_array(arena, struct price, more);
        if (!bigger)
            return NULL;
        if (count)
            memcpy(bigger, *prices, count * sizeof *bigger);
        *prices = bigger;
        *cap = more;
    }
    return &(*prices)[count];
}

/* Without its LIMIT a table that somebody filled otherwise would fill the memory. */
static enum err sqlite_prices_from(struct views *views, struct date day, struct arena *arena,
                                   struct price **out, size_t *count)
{
    struct sqlite_views *v = self(views);
    struct price *prices = NULL;
    char text[DATE_TEXT];
    size_t n = 0, cap = 0;
    struct query q;
    date_format(day, text);
    query_open(&q, v->db,
               "SELECT c.subscription_type, c.starting_date, c.cost, c.currency "
               "FROM subscription_cost c WHERE c.starting_date > ?1 OR c.starting_date = "
               "(SELECT max(i.starting_date) FROM subscription_cost i "
               "WHERE i.subscription_type = c.subscription_type AND i.starting_date <= ?1) "
               "ORDER BY CASE c.subscription_type WHEN 'month' THEN 0 WHEN 'three_months' THEN 1 "
               "ELSE 2 END, c.starting_date LIMIT ?2");
    query_bind_text(&q, text);
    query_bind_i64(&q, CATALOG_PRICES_MAX + 1);
    while (query_next(&q)) {
        const char *since = query_text(&q, 1);
        struct price *p = price_room(arena, &prices, n, &cap);
        if (!p || n == CATALOG_PRICES_MAX) {
            q.err = p ? ERR_BUSY : ERR_NO_MEMORY;
            break;
        }
        p->subscription_type = row_subscription_type(&q, 0);
        p->cost = row_money(&q, 2, 3);
        if (!date_parse(since, strlen(since), &p->starting_date))
            q.err = ERR_CORRUPT;
        n++;
    }
    enum err err = views_end(v, query_close(&q));
    if (err == ERR_OK) {
        *out = prices;
        *count = n;
    }
    return err;
}

static const char *sqlite_views_why(const struct views *v)
{
    return ((const struct sqlite_views *)v)->why;
}

static void sqlite_views_close(struct views *views)
{
    struct sqlite_views *v = self(views);
    embedded_reader_close(v->store, v->db);
    free(v);
}

static const struct views_ops SQLITE_VIEWS_OPS = {
    .payments = sqlite_payments,
    .payments_of = sqlite_payments_of,
    .subscribed = sqlite_subscribed,
    .subscriptions_of = sqlite_subscriptions_of,
    .prices = sqlite_prices,
    .prices_from = sqlite_prices_from,
    .why = sqlite_views_why,
    .close = sqlite_views_close,
};

enum err sqlite_views_open(struct views **out, struct embedded *e)
{
    struct sqlite_views *v = calloc(1, sizeof *v);
    if (!v)
        return ERR_NO_MEMORY;
    v->base.ops = &SQLITE_VIEWS_OPS;
    v->store = e;
    enum err err = embedded_reader(e, &v->db);
    if (err != ERR_OK) {
        free(v);
        return err;
    }
    *out = &v->base;
    return ERR_OK;
}
