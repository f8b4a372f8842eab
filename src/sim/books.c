/* What the books of a world at rest must show beside the invariants of the audit: the rules of money, as far as an
 * end shows them. Every check holds for whatever the world went through. */
#include "sim/inside.h"

/* Was it sent before the store was put back? */
static bool sent_before_restore(const struct world *w, const struct uuid *key)
{
    for (size_t i = 0; i < 2; i++) {
        const struct sim_journal *j = &w->processing.journals[i];
        for (size_t k = 0; k < j->count && (size_t)j->executions[k].seq <= w->backup.lines; k++)
            if (uuid_equal(&j->executions[k].key, key))
                return true;
    }
    return false;
}

/* Nobody grants anything here: a period that starts after its payment was settled is a second charge. Not where the
 * store's clock went back meanwhile, and not where a payment was learned after a restore: long ago it was the first. */
static void judge_charges(struct world *w)
{
    struct db *db;
    struct query q;
    if (world_books_open(w, &db) != ERR_OK)
        return;
    query_open(
        &q, db,
        "SELECT s.payment_id, s.starts_at, e.at FROM subscriptions s"
        " JOIN events e ON e.subject_id = CAST(s.payment_id AS text) AND e.to_status = 'processed'"
        " WHERE s.starts_at > e.at");
    while (query_next(&q)) {
        const struct uuid id = query_uuid(&q, 0);
        char text[UUID_TEXT];
        uuid_format(&id, text);
        if (query_time(&q, 1) > query_time(&q, 2) + w->wall_went_back_us &&
            !sent_before_restore(w, &id))
            world_wrong(w, "%s was charged to a user who was subscribed: settled at %s, from %s",
                        text, query_text(&q, 2), query_text(&q, 1));
    }
    if (query_close(&q) != ERR_OK)
        world_wrong(w, "periods cannot be read");
    world_books_close(w, db);
}

/* Who got the money back has no subscription any more. */
static void judge_refunds(struct world *w)
{
    struct db *db;
    struct query q;
    if (world_books_open(w, &db) != ERR_OK)
        return;
    query_open(&q, db,
               "SELECT r.id, s.ends_at, e.at FROM payments r"
               " JOIN subscriptions s ON s.payment_id = r.refund_of"
               " JOIN events e ON e.subject_id = CAST(r.id AS text) AND e.to_status = 'processed'"
               " WHERE r.payment_type = 'refund' AND r.payment_status = 'accepted'"
               " AND s.ends_at > e.at AND s.ends_at > s.starts_at");
    while (query_next(&q))
        if (query_time(&q, 1) > query_time(&q, 2) + w->wall_went_back_us)
            world_wrong(w, "refund %s was accepted at %s, its period ends at %s", query_text(&q, 0),
                        query_text(&q, 2), query_text(&q, 1));
    if (query_close(&q) != ERR_OK)
        world_wrong(w, "refunds cannot be read");
    world_books_close(w, db);
}

/* The first column of the first row names what is wrong; there may be none. */
static void judge_none(struct world *w, const char *static_sql, const char *what)
{
    struct db *db;
    struct query q;
    if (world_books_open(w, &db) != ERR_OK)
        return;
    query_open(&q, db, static_sql);
    if (query_next(&q))
        world_wrong(w, "%s %s", query_text(&q, 0), what);
    if (query_close(&q) != ERR_OK)
        world_wrong(w, "whether a payment %s cannot be read", what);
    world_books_close(w, db);
}

#define DUPLICATES                                                                                 \
    "SELECT d.id FROM payments d JOIN payments p ON p.id = d.duplicate_of"                         \
    " WHERE d.processing_status = 'duplicated' AND "

/* Rules 1, 2 and 8. What is older than the payment it gave way to may have asked for anything, and so may what gave way
 * to a request that was itself a duplicate, of an accepted one (rules 3 and 5). */
static void judge_duplicates(struct world *w)
{
    judge_none(w, DUPLICATES "p.processing_status = 'duplicated'", "is a duplicate of a duplicate");
    judge_none(w,
               DUPLICATES "d.seq > p.seq AND p.payment_status <> 'accepted'"
                          " AND d.payment_type <> p.payment_type",
               "asked later for another thing than the payment it is a duplicate of");
    judge_none(w,
               DUPLICATES "d.seq > p.seq AND p.reason = 'superseded'"
                          " AND d.subscription_type <> p.subscription_type",
               "is a duplicate of the payment that was voided for it");
}

/* Rule 9, by the store's clock; the journal does not say when a payment that it knew first was sent. */
static void judge_ages(struct world *w)
{
    struct db *db;
    struct query q;
    if (world_books_open(w, &db) != ERR_OK)
        return;
    query_open(&q, db,
               "SELECT p.id, p.stored_at, t.first_sent_at FROM attempts t"
               " JOIN payments p ON p.seq = t.seq WHERE t.ask_only = 0");
    while (query_next(&q))
        if (query_time(&q, 2) - query_time(&q, 1) > w->plan.request_max_age_us)
            world_wrong(w, "%s was stored at %s and sent at %s", query_text(&q, 0),
                        query_text(&q, 1), query_text(&q, 2));
    if (query_close(&q) != ERR_OK)
        world_wrong(w, "attempts cannot be read");
    world_books_close(w, db);
}

void judge_books(struct world *w)
{
    judge_charges(w);
    judge_refunds(w);
    judge_duplicates(w);
    judge_ages(w);
}
