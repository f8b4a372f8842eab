/* What can be recomputed, recomputed: after every test. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

/* The last move that sets a field, and whether the field is not what that says. */
#define DETAIL_LAST(name)                                                                          \
    "max(CASE WHEN e.detail ->> '" name "' IS NOT NULL THEN e.seq END) AS " name
#define DETAIL_DIFFERS(name)                                                                       \
    "CAST((SELECT s.detail ->> '" name "' FROM events s WHERE s.seq = f." name                     \
    ") AS TEXT) IS DISTINCT FROM CAST(p." name " AS TEXT)"

/* Each counts offenders. */
static const struct {
    const char *rule, *sql;
} RULES[] = {
    {"accounts.in_flight is the payment in_processing",
     "SELECT count(*) FROM accounts a WHERE a.in_flight IS DISTINCT FROM (SELECT max(p.seq) "
     "FROM payments p WHERE p.user_id = a.user_id AND p.processing_status = 'in_processing')"},
    {"one in flight per user",
     "SELECT count(*) FROM (SELECT user_id FROM payments WHERE processing_status = "
     "'in_processing' GROUP BY user_id HAVING count(*) > 1) x"},
    {"accounts.pending_seq is the first new one",
     "SELECT count(*) FROM accounts a WHERE a.pending_seq IS DISTINCT FROM (SELECT min(p.seq) "
     "FROM payments p WHERE p.user_id = a.user_id AND p.processing_status = 'new')"},
    {"accounts.tell_seq is the first processed one",
     "SELECT count(*) FROM accounts a WHERE a.tell_seq IS DISTINCT FROM (SELECT min(p.seq) "
     "FROM payments p WHERE p.user_id = a.user_id AND p.processing_status = 'processed')"},
    {"due while there is something to do, and only then",
     "SELECT count(*) FROM accounts WHERE (due_at IS NULL) <> "
     "(in_flight IS NULL AND pending_seq IS NULL)"},
    {"tell_due while there is somebody to tell, and only then",
     "SELECT count(*) FROM accounts WHERE (tell_due_at IS NULL) <> (tell_seq IS NULL)"},
    {"what is or was in flight has an attempt",
     "SELECT count(*) FROM payments p WHERE (p.processing_status = 'in_processing' "
     "OR p.payment_status IN ('accepted', 'decline')) "
     "AND NOT EXISTS (SELECT 1 FROM attempts t WHERE t.seq = p.seq AND t.body <> '')"},
    {"the last event says where the payment is",
     "SELECT count(*) FROM payments p WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.seq = "
     "(SELECT max(x.seq) FROM events x WHERE x.subject_id = p.id AND x.to_status IS NOT NULL) "
     "AND e.to_status = p.processing_status AND e.payment_status = p.payment_status)"},
    {"each event follows the one before",
     "SELECT count(*) FROM (SELECT from_status, lag(to_status) OVER (PARTITION BY subject_id "
     "ORDER BY seq) AS before FROM events WHERE subject = 'payment' AND to_status IS NOT NULL) x "
     "WHERE from_status IS DISTINCT FROM before"},
    {"only legal moves",
     "SELECT count(*) FROM events WHERE subject = 'payment' AND to_status IS NOT NULL AND "
     "coalesce(from_status, '') || '>' || to_status NOT IN ('>new', 'new>in_processing', "
     "'in_processing>processed', 'new>processed', 'new>duplicated', 'processed>completed')"},
    {"an accepted payment has one period that begins with its expiration date",
     "SELECT count(*) FROM payments p WHERE p.payment_type = 'payment' AND p.payment_status = "
     "'accepted' AND (SELECT count(*) FROM subscriptions s WHERE s.payment_id = p.id "
     "AND s.expiration_date = p.expiration_date AND s.user_id = p.user_id) <> 1"},
    {"a period has an accepted payment behind it, or is a grant",
     "SELECT count(*) FROM subscriptions s WHERE s.payment_id IS NOT NULL AND NOT EXISTS "
     "(SELECT 1 FROM payments p WHERE p.id = s.payment_id AND p.payment_status = 'accepted')"},
    {"an early end has a reason, and only an early end",
     "SELECT count(*) FROM subscriptions WHERE (end_reason IS NULL) <> "
     "(ends_at = expiration_date)"},
    {"periods never overlap",
     "SELECT count(*) FROM subscriptions a JOIN subscriptions b ON a.user_id = b.user_id "
     "AND a.id < b.id AND a.starts_at < b.ends_at AND b.starts_at < a.ends_at "
     "AND a.starts_at < a.ends_at AND b.starts_at < b.ends_at"},
    {"refunding is refund_of, in flight or accepted, unless it gave way to another refund",
     "SELECT count(*) FROM payments p WHERE (refunding IS NOT NULL) <> (payment_type = 'refund' "
     "AND (processing_status = 'in_processing' OR payment_status = 'accepted')) "
     "AND NOT EXISTS (SELECT 1 FROM payments o WHERE o.refunding = p.refund_of "
     "AND o.seq <> p.seq)"},
    {"a page, and needs_decision, are of what is in flight",
     "SELECT count(*) FROM payments WHERE processing_status <> 'in_processing' "
     "AND (action_url IS NOT NULL OR needs_decision <> 0)"},
    {"only payments wait for their payer",
     "SELECT count(*) FROM payments p JOIN attempts t ON t.seq = p.seq "
     "WHERE t.pending_since IS NOT NULL AND p.payment_type <> 'payment'"},
    {"what is asked first is new",
     "SELECT count(*) FROM payments WHERE ask_first <> 0 AND processing_status <> 'new'"},
    {"nothing is marked when a reading of the journal is complete",
     "SELECT count(*) FROM learning"},
    {"a decision has a person and evidence",
     "SELECT count(*) FROM payments p WHERE p.reason = 'decided' AND NOT EXISTS (SELECT 1 "
     "FROM events e WHERE e.subject_id = p.id AND e.to_status = 'processed' "
     "AND e.detail ->> 'evidence' <> '' AND (e.actor LIKE 'admin:%' OR e.actor LIKE "
     "'operator:%'))"},
    {"the details of the moves, replayed, are those of the payment",
     "WITH f AS (SELECT e.subject_id, " DETAIL_LAST("duplicate_of") ", " //
     DETAIL_LAST("reason") ", " DETAIL_LAST("refund_of") ", "            //
     DETAIL_LAST("amount") ", " DETAIL_LAST("currency") ", "             //
     DETAIL_LAST("expiration_date") " FROM events e WHERE e.to_status IS NOT NULL "
                                    "GROUP BY e.subject_id) SELECT count(*) FROM payments p "
                                    "LEFT JOIN f ON f.subject_id = p.id WHERE " DETAIL_DIFFERS(
                                        "duplicate_of") " OR "          //
     DETAIL_DIFFERS("reason") " OR " DETAIL_DIFFERS("refund_of") " OR " //
     DETAIL_DIFFERS("amount") " OR " DETAIL_DIFFERS("currency") " OR "  //
     DETAIL_DIFFERS("expiration_date")},
    {"a user's intervals in processing do not overlap",
     "SELECT count(*) FROM (SELECT sum(CASE WHEN e.to_status = 'in_processing' THEN 1 ELSE -1 END) "
     "OVER (PARTITION BY p.user_id ORDER BY e.seq) AS inside FROM payments p JOIN events e "
     "ON e.subject_id = p.id WHERE e.to_status IS NOT NULL AND (e.to_status = 'in_processing') <> "
     "(coalesce(e.from_status, '') = 'in_processing')) x WHERE inside > 1"},
    {"a duplicate stands for something, or for a grant",
     "SELECT count(*) FROM payments WHERE processing_status = 'duplicated' AND duplicate_of IS "
     "NULL AND reason IS DISTINCT FROM 'granted'"},
    {"money is known where it moves",
     "SELECT count(*) FROM payments WHERE amount IS NULL AND (payment_type = 'payment' OR "
     "processing_status = 'in_processing' OR payment_status = 'accepted')"},
};

#define COVER_COLUMNS                                                                              \
    "coalesce(a.active_from, '') || ' ' || coalesce(a.active_until, '') || ' ' || "                \
    "coalesce(a.period_payment, '')"

static void cover_of(struct store *s, const char *id, char *out, size_t cap)
{
    struct query q;
    char from[64] = "", until[64] = "", behind[64] = "";
    query_open(&q, store_looks(s),
               "SELECT starts_at, ends_at, coalesce(payment_id, '') FROM subscriptions "
               "WHERE user_id = ?1 ORDER BY starts_at DESC, ends_at DESC, id DESC");
    query_bind_text(&q, id);
    for (bool last = true; query_next(&q); last = false) {
        if (last) {
            snprintf(until, sizeof until, "%s", query_text(&q, 1));
            snprintf(behind, sizeof behind, "%s", query_text(&q, 2));
        } else if (strcmp(query_text(&q, 1), from) != 0) {
            break;
        }
        snprintf(from, sizeof from, "%s", query_text(&q, 0));
    }
    assert_int_equal(query_close(&q), ERR_OK);
    snprintf(out, cap, "%s %s %s", from, until, behind);
}

static void covers_sane(struct store *s)
{
    struct query q;
    query_open(&q, store_looks(s), "SELECT a.user_id, " COVER_COLUMNS " FROM accounts a");
    while (query_next(&q)) {
        char expected[200];
        cover_of(s, query_text(&q, 0), expected, sizeof expected);
        assert_string_equal(query_text(&q, 1), expected);
    }
    assert_int_equal(query_close(&q), ERR_OK);
}

const char *store_wrong(struct store *s)
{
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0]; i++)
        if (store_i64(s, RULES[i].sql, NULL) != 0)
            return RULES[i].rule;
    return NULL;
}

void store_sane(struct store *s)
{
    store_analyze(s);
    const char *wrong = store_wrong(s);
    if (wrong)
        fail_msg("not sane: %s", wrong);
    covers_sane(s);
    if (s->postgres)
        return;
    assert_string_equal(store_text(s, "PRAGMA integrity_check", NULL), "ok");
    assert_string_equal(store_text(s,
                                   "SELECT coalesce(min(\"table\"), '') FROM "
                                   "pragma_foreign_key_check",
                                   NULL),
                        "");
}
