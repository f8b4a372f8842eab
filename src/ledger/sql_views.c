/* The read side in SQL. Joins are written as scalar subqueries, and batches as lateral ones with a
 * LIMIT: so PostgreSQL has no plan for them but the look-up by key. */
#include "ledger/sql_views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db_array.h"
#include "ledger/catalog.h"
#include "ledger/sql_ledger.h"

#define KEYS_BYTES ((size_t)VIEWS_BATCH_MAX * UUID_TEXT + 8)

struct sql_views {
    struct views base;
    struct db *db;
    struct clock *clock; /* NULL: the database's own */
    void (*close_db)(void *ctx, struct db *db);
    void *close_ctx;
    struct db_array keys; /* PostgreSQL: of the batch under way */
    char why[SQL_WHY_MAX];
};

static struct sql_views *self(struct views *v)
{
    return (struct sql_views *)v;
}

/* Every call begins with it, and ends with views_end. */
static bool views_begin(struct sql_views *v, int64_t patience_ms)
{
    /* 0 would be the default of the connection, which is longer than any caller of ours waits. */
    db_patience(v->db, patience_ms > 0 ? patience_ms : 1);
    return db_is_postgres(v->db);
}

static enum err views_end(struct sql_views *v, enum err err)
{
    const char *said = db_why(v->db);
    if (err != ERR_OK)
        snprintf(v->why, sizeof v->why, "%s", said && said[0] ? said : err_text(err));
    return err;
}

/* SQLite: a snapshot for several statements; a single one has its own. */
static enum err snapshot_begin(struct sql_views *v, size_t count)
{
    return count > 1 ? db_begin(v->db) : ERR_OK;
}

static enum err snapshot_end(struct sql_views *v, size_t count, enum err err)
{
    views_end(v, err);
    if (count > 1)
        db_rollback(v->db); /* nothing was written */
    return err;
}

static void keys_bind(struct sql_views *v, struct query *q, const struct uuid *ids, size_t count)
{
    db_array_clear(&v->keys);
    for (size_t i = 0; i < count; i++)
        db_array_uuid(&v->keys, &ids[i]);
    query_bind_array(q, &v->keys);
}

/* The place of a row in its batch, from 1; 0 when there is none such. */
static size_t key_place(struct query *q, int column, size_t count)
{
    int64_t place = query_i64(q, column);
    if (place >= 1 && (uint64_t)place <= count)
        return (size_t)place;
    q->err = ERR_BUG;
    return 0;
}

/* Now, where ?2 is the time of the caller's clock. */
#define SQLITE_NOW "?2"
#define POSTGRES_NOW "coalesce(?2::timestamptz, now())"

static void now_bind(struct sql_views *v, struct query *q)
{
    query_bind_time(q, v->clock ? clock_wall_us(v->clock) : TIME_NEVER);
}

/* ---- payments ---- */

/* waits_for: the payment in flight that a new one waits for. A duplicate of one that waits for its
 * payer shows the same action_url (rule 8); it is kept no longer than that. */
#define PAYMENT_SELECT                                                                             \
    "SELECT p.seq, p.id, p.user_id, p.payment_type, p.subscription_type, p.processing_status, "    \
    "p.payment_status, p.payment_date, p.expiration_date, p.amount, p.currency, p.duplicate_of, "  \
    "p.refund_of, CASE WHEN p.processing_status = 'new' THEN "                                     \
    "(SELECT f.id FROM accounts a JOIN payments f ON f.seq = a.in_flight "                         \
    "WHERE a.user_id = p.user_id) END, p.reason, "                                                 \
    "coalesce(p.action_url, CASE WHEN p.processing_status = 'duplicated' THEN "                    \
    "(SELECT d.action_url FROM payments d WHERE d.id = p.duplicate_of) END), p.needs_decision "    \
    "FROM payments p "
#define PAYMENT_COLUMNS 17

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

static struct payment_view *payment_new(struct query *q, struct arena *arena)
{
    struct payment_view *p = arena_new(arena, struct payment_view);
    if (p)
        payment_read(q, arena, p);
    else
        q->err = ERR_NO_MEMORY;
    return p;
}

static enum err payments_by_key(struct sql_views *v, const struct uuid *ids, size_t count,
                                struct arena *arena, struct payment_view **out)
{
    enum err err = snapshot_begin(v, count);
    if (err != ERR_OK)
        return views_end(v, err);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct query q;
        query_open(&q, v->db, PAYMENT_SELECT "WHERE p.id = ?1");
        query_bind_uuid(&q, &ids[i]);
        out[i] = query_next(&q) ? payment_new(&q, arena) : NULL;
        err = query_close(&q);
    }
    return snapshot_end(v, count, err);
}

static enum err payments_by_keys(struct sql_views *v, const struct uuid *ids, size_t count,
                                 struct arena *arena, struct payment_view **out)
{
    struct query q;
    query_open(&q, v->db,
               "SELECT v.*, k.n FROM unnest(?1::uuid[]) WITH ORDINALITY AS k (id, n) "
               "CROSS JOIN LATERAL (" PAYMENT_SELECT "WHERE p.id = k.id LIMIT 1) AS v");
    keys_bind(v, &q, ids, count);
    for (size_t i = 0; i < count; i++)
        out[i] = NULL;
    while (query_next(&q)) {
        size_t place = key_place(&q, PAYMENT_COLUMNS, count);
        if (place > 0)
            out[place - 1] = payment_new(&q, arena);
    }
    return views_end(v, query_close(&q));
}

static enum err sql_payments(struct views *views, const struct uuid *ids, size_t count,
                             int64_t patience_ms, struct arena *arena, struct payment_view **out)
{
    struct sql_views *v = self(views);
    return views_begin(v, patience_ms) ? payments_by_keys(v, ids, count, arena, out)
                                       : payments_by_key(v, ids, count, arena, out);
}

static enum err sql_payments_of(struct views *views, const struct uuid *user_id, int64_t before_seq,
                                size_t limit, struct arena *arena, struct payment_view **out,
                                size_t *count)
{
    struct sql_views *v = self(views);
    struct payment_view *found = arena_array(arena, struct payment_view, limit);
    struct query q;
    size_t n = 0;
    if (!found)
        return ERR_NO_MEMORY;
    (void)views_begin(v, VIEWS_PATIENCE_MS);
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

/* ---- subscriptions ---- */

/* The account answers, but for a user whose last unbroken cover is still to come: an earlier period
 * may hold. */
#define SUBSCRIBED_SELECT(user, now)                                                               \
    "(SELECT CASE WHEN active_until <= " now " THEN 0 WHEN active_from <= " now " THEN 1 "         \
    "WHEN EXISTS (SELECT 1 FROM subscriptions s WHERE s.user_id = " user " "                       \
    "AND s.starts_at <= " now " AND s.ends_at > " now ") THEN 1 ELSE 0 END "                       \
    "FROM accounts WHERE user_id = " user " AND active_until IS NOT NULL)"

static enum err subscribed_by_key(struct sql_views *v, const struct uuid *users, size_t count,
                                  bool *out)
{
    enum err err = snapshot_begin(v, count);
    if (err != ERR_OK)
        return views_end(v, err);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct query q;
        query_open(&q, v->db, "SELECT " SUBSCRIBED_SELECT("?1", SQLITE_NOW));
        query_bind_uuid(&q, &users[i]);
        now_bind(v, &q);
        out[i] = query_next(&q) && query_i64(&q, 0) != 0;
        err = query_close(&q);
    }
    return snapshot_end(v, count, err);
}

static enum err subscribed_by_keys(struct sql_views *v, const struct uuid *users, size_t count,
                                   bool *out)
{
    struct query q;
    query_open(&q, v->db,
               "SELECT k.n FROM unnest(?1::uuid[]) WITH ORDINALITY AS k (id, n) "
               "WHERE 1 = " SUBSCRIBED_SELECT("k.id", POSTGRES_NOW));
    keys_bind(v, &q, users, count);
    now_bind(v, &q);
    for (size_t i = 0; i < count; i++)
        out[i] = false;
    while (query_next(&q)) {
        size_t place = key_place(&q, 0, count);
        if (place > 0)
            out[place - 1] = true;
    }
    return views_end(v, query_close(&q));
}

static enum err sql_subscribed(struct views *views, const struct uuid *users, size_t count,
                               int64_t patience_ms, bool *out)
{
    struct sql_views *v = self(views);
    return views_begin(v, patience_ms) ? subscribed_by_keys(v, users, count, out)
                                       : subscribed_by_key(v, users, count, out);
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

#define SUBSCRIPTION_SELECT(now)                                                                   \
    "SELECT id, user_id, payment_id, subscription_type, starts_at, expiration_date, ends_at, "     \
    "end_reason FROM subscriptions WHERE user_id = ?1 AND starts_at <= " now " AND ends_at > " now \
    " LIMIT 1"

static enum err sql_subscriptions_of(struct views *views, const struct uuid *user_id,
                                     struct arena *arena, struct subscription_view **out,
                                     size_t *count)
{
    struct sql_views *v = self(views);
    struct subscription_view *found = NULL;
    struct query q;
    query_open(&q, v->db,
               views_begin(v, VIEWS_PATIENCE_MS) ? SUBSCRIPTION_SELECT(POSTGRES_NOW)
                                                 : SUBSCRIPTION_SELECT(SQLITE_NOW));
    query_bind_uuid(&q, user_id);
    now_bind(v, &q);
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

/* ---- prices ---- */

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
static enum err prices_read(struct sql_views *v, struct query *q, struct arena *arena,
                            struct price **out, size_t *count)
{
    struct price *prices = NULL;
    size_t n = 0, cap = 0;
    while (query_next(q)) {
        const char *since = query_text(q, 1);
        struct price *p = price_room(arena, &prices, n, &cap);
        if (!p || n == CATALOG_PRICES_MAX) {
            q->err = p ? ERR_BUSY : ERR_NO_MEMORY;
            break;
        }
        p->subscription_type = row_subscription_type(q, 0);
        p->cost = row_money(q, 2, 3);
        if (!date_parse(since, strlen(since), &p->starting_date))
            q->err = ERR_CORRUPT;
        n++;
    }
    enum err err = views_end(v, query_close(q));
    if (err == ERR_OK) {
        *out = prices;
        *count = n;
    }
    return err;
}

#define PRICE_SELECT "SELECT c.subscription_type, c.starting_date, c.cost, c.currency "
#define PRICE_SINCE                                                                                \
    "(SELECT max(i.starting_date) FROM subscription_cost i "                                       \
    "WHERE i.subscription_type = c.subscription_type AND i.starting_date <= ?1) "
#define PRICE_ORDER                                                                                \
    "ORDER BY CASE c.subscription_type WHEN 'month' THEN 0 WHEN 'three_months' THEN 1 "            \
    "ELSE 2 END, c.starting_date LIMIT ?2"

static enum err sql_prices(struct views *views, struct date day, struct arena *arena,
                           struct price **out, size_t *count)
{
    struct sql_views *v = self(views);
    char text[DATE_TEXT];
    struct query q;
    date_format(day, text);
    (void)views_begin(v, VIEWS_PATIENCE_MS);
    query_open(&q, v->db,
               PRICE_SELECT
               "FROM subscription_cost c WHERE c.starting_date = " PRICE_SINCE PRICE_ORDER);
    query_bind_text(&q, text);
    query_bind_i64(&q, CATALOG_PRICES_MAX + 1);
    return prices_read(v, &q, arena, out, count);
}

static enum err sql_prices_from(struct views *views, struct date day, struct arena *arena,
                                struct price **out, size_t *count)
{
    struct sql_views *v = self(views);
    char text[DATE_TEXT];
    struct query q;
    date_format(day, text);
    (void)views_begin(v, VIEWS_PATIENCE_MS);
    query_open(&q, v->db,
               PRICE_SELECT "FROM subscription_cost c WHERE c.starting_date > ?1 "
                            "OR c.starting_date = " PRICE_SINCE PRICE_ORDER);
    query_bind_text(&q, text);
    query_bind_i64(&q, CATALOG_PRICES_MAX + 1);
    return prices_read(v, &q, arena, out, count);
}

/* ---- the handle ---- */

static const char *sql_views_why(const struct views *v)
{
    return ((const struct sql_views *)v)->why;
}

static void sql_views_close(struct views *views)
{
    struct sql_views *v = self(views);
    v->close_db(v->close_ctx, v->db);
    db_array_release(&v->keys);
    free(v);
}

static const struct views_ops SQL_VIEWS_OPS = {
    .payments = sql_payments,
    .payments_of = sql_payments_of,
    .subscribed = sql_subscribed,
    .subscriptions_of = sql_subscriptions_of,
    .prices = sql_prices,
    .prices_from = sql_prices_from,
    .why = sql_views_why,
    .close = sql_views_close,
};

enum err sql_views_open(struct views **out, struct db *db, struct clock *clock,
                        void (*close_db)(void *ctx, struct db *db), void *ctx)
{
    struct sql_views *v = malloc(sizeof *v);
    if (!v)
        return ERR_NO_MEMORY;
    *v = (struct sql_views){.base.ops = &SQL_VIEWS_OPS,
                            .db = db,
                            .clock = clock,
                            .close_db = close_db,
                            .close_ctx = ctx};
    db_array_init(&v->keys, KEYS_BYTES);
    *out = &v->base;
    return ERR_OK;
}

static void close_nothing(void *ctx, struct db *db)
{
    (void)ctx;
    (void)db;
}

enum err views_over(struct db *db, struct views **out)
{
    return sql_views_open(out, db, db_is_postgres(db) ? NULL : clock_real(), close_nothing, NULL);
}
