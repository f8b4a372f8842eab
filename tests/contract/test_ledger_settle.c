/* settle: rules 2, 4, 5 and 6 through the real tables; a definite answer is recorded whoever brings
 * it, once. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

static const char *periods(struct store *s, int user_n)
{
    struct uuid u = user(user_n);
    return store_text(s,
                      "SELECT coalesce(group_concat(x, ' | '), '') FROM (SELECT "
                      "substr(starts_at, 1, 16) || '..' || substr(ends_at, 1, 16) || "
                      "coalesce(' ' || end_reason, '') AS x FROM subscriptions WHERE user_id = ?1 "
                      "ORDER BY starts_at, ends_at) x",
                      text_of(s, &u));
}

/* ---- rule 4 ---- */

static void an_accepted_payment_opens_a_period(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    store_advance(s, HOUR);
    s->changes = 0;
    struct fact f = fact_of(s, 1, PAYMENT_ACCEPTED);
    assert_int_equal(settle_ok(s, f), SETTLE_DONE);
    assert_status(s, 1, "processed/accepted");
    assert_int_equal(s->changes, LEDGER_CHANGE_SETTLED | LEDGER_CHANGE_PAYMENT);
    assert_string_equal(periods(s, 1), "2025-11-24T17:00..2025-12-24T17:00");
    assert_string_equal(
        store_text(s, "SELECT processing_id || ' ' || expiration_date FROM payments", NULL),
        "tx-1 2025-12-24T17:00:00.000000Z");
    assert_string_equal(last_event(s, 1), "processor in_processing>processed accepted "
                                          "{\"expiration_date\":\"2025-12-24T17:00:00.000000Z\"}");
    assert_string_equal(
        store_text(s,
                   "SELECT actor || ' ' || to_status || ' ' || detail FROM events "
                   "WHERE subject = 'subscription'",
                   NULL),
        "processor active {\"user_id\":\"aa000000-0000-7000-8000-000000000001\","
        "\"payment_id\":\"bb000000-0000-7000-8000-000000000001\",\"subscription_type\":\"month\","
        "\"starts_at\":\"2025-11-24T17:00:00.000000Z\","
        "\"expiration_date\":\"2025-12-24T17:00:00.000000Z\","
        "\"ends_at\":\"2025-12-24T17:00:00.000000Z\"}");
}

static void every_subscription_type_has_its_length(void **state)
{
    struct store *s = *state;
    append_ok(s, asks(1, 1, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_THREE_MONTHS));
    append_ok(s, asks(2, 2, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR));
    assert_int_equal(claim_ok(s).attempt_count, 2);
    struct fact f[] = {fact_of(s, 1, PAYMENT_ACCEPTED), fact_of(s, 2, PAYMENT_ACCEPTED)};
    assert_int_equal(ledger_settle(s->ledger, f, 2), ERR_OK);
    assert_string_equal(periods(s, 1), "2025-11-24T16:00..2026-02-24T16:00");
    assert_string_equal(periods(s, 2), "2025-11-24T16:00..2026-11-24T16:00");
}

static void a_refused_payment_opens_nothing(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    append_ok(s, pays(3, 3));
    assert_int_equal(claim_ok(s).attempt_count, 3);
    struct fact f[] = {fact_of(s, 1, PAYMENT_DECLINE), fact_of(s, 2, PAYMENT_ERROR),
                       fact_of(s, 3, PAYMENT_ERROR)};
    f[2].reason = REASON_NOT_ANSWERED;
    assert_int_equal(ledger_settle(s->ledger, f, 3), ERR_OK);
    assert_status(s, 1, "processed/decline");
    assert_status(s, 2, "processed/error refused");
    assert_status(s, 3, "processed/error not_answered");
    assert_string_equal(last_event(s, 1), "processor in_processing>processed decline ");
    assert_string_equal(last_event(s, 2),
                        "processor in_processing>processed error {\"reason\":\"refused\"}");
    assert_int_equal(store_i64(s, "SELECT count(*) FROM subscriptions", NULL), 0);
    append_ok(s, pays(1, 4)); /* and may try again */
    claim_one(s, 4);
}

/* Recording never fails on a business rule: the period follows whatever is there. */
static void a_late_answer_opens_the_next_period(void **state)
{
    struct store *s = *state;
    struct uuid u = user(1);
    char sql[700];
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    snprintf(sql, sizeof sql,
             "INSERT INTO subscriptions VALUES ('cc000000-0000-7000-8000-000000000001', '%s', "
             "NULL, 'month', '2025-11-20T00:00:00.000000Z', '2025-12-20T00:00:00.000000Z', "
             "'2025-12-20T00:00:00.000000Z', NULL); UPDATE accounts SET active_from = "
             "'2025-11-20T00:00:00.000000Z', active_until = '2025-12-20T00:00:00.000000Z'",
             text_of(s, &u));
    store_sql(s, sql); /* a grant while the payment was in flight */
    assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_string_equal(periods(s, 1),
                        "2025-11-20T00:00..2025-12-20T00:00 | 2025-12-20T00:00..2026-01-20T00:00");
    assert_string_equal(
        store_text(s, "SELECT active_from || ' ' || active_until FROM accounts", NULL),
        "2025-11-20T00:00:00.000000Z 2026-01-20T00:00:00.000000Z");
    append_ok(s, pays(1, 2));
    claim_none(s);
    assert_status(s, 2, "duplicated/unknown granted");
}

static void the_database_itself_forbids_overlaps(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
#define PERIOD(from, until)                                                                        \
    "INSERT INTO subscriptions SELECT 'dd000000-0000-7000-8000-000000000001', user_id, NULL, "     \
    "'month', '" from "T00:00:00.000000Z', '" until "T00:00:00.000000Z', '" until                  \
    "T00:00:00.000000Z', NULL FROM subscriptions"
    assert_int_equal(store_try_sql(s, PERIOD("2025-12-01", "2025-12-02")), ERR_CONFLICT);
    assert_int_equal(store_try_sql(s, PERIOD("2025-11-01", "2025-11-25")), ERR_CONFLICT);
    assert_int_equal(store_try_sql(s, PERIOD("2025-12-24", "2026-01-24")), ERR_CONFLICT);
    assert_int_equal(store_try_sql(s, "UPDATE subscriptions SET ends_at = "
                                      "'2025-11-01T00:00:00.000000Z'"),
                     ERR_CONFLICT); /* before its start */
    store_sql(s, "BEGIN");
    store_sql(s, PERIOD("2025-12-01", "2025-12-01")); /* an empty one overlaps nothing */
    assert_int_equal(store_try_sql(s, "UPDATE subscriptions SET ends_at = '2025-12-09', "
                                      "expiration_date = '2025-12-09' WHERE payment_id IS NULL"),
                     ERR_CONFLICT);
    store_rollback(s);
    store_sql(s, "BEGIN");
    store_sql(s, PERIOD("2025-12-25", "2026-01-25"));
    store_rollback(s);
}

/* ---- rule 2 ---- */

static void what_waited_becomes_duplicates_up_to_another_type(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    struct ledger_record r[] = {pays(1, 2), asks(1, 3, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR),
                                refunds(1, 4), pays(1, 5), pays(2, 6)};
    assert_int_equal(store_append(s, r, 5), ERR_OK);
    s->changes = 0;
    struct fact f = fact_of(s, 1, PAYMENT_DECLINE);
    assert_int_equal(ledger_settle(s->ledger, &f, 1), ERR_OK);
    assert_int_equal(f.waiting_duplicated, 2);
    assert_true(s->changes & LEDGER_CHANGE_STORED); /* there is something left to claim */
    assert_status(s, 2, "duplicated/unknown ->1");
    assert_status(s, 3, "duplicated/unknown ->1");
    assert_status(s, 4, "new/unknown");
    assert_status(s, 5, "new/unknown");
    assert_status(s, 6, "new/unknown");
    store_sane(s);
    assert_int_equal(claim_ok(s).attempt_count, 2); /* 5 by rule 1, and the other user's */
    assert_status(s, 4, "duplicated/unknown ->5");
}

static void after_superseded_nobody_is_a_duplicate(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, pays(1, 2));
    struct fact f = fact_of(s, 1, PAYMENT_ERROR);
    f.reason = REASON_SUPERSEDED;
    assert_int_equal(ledger_settle(s->ledger, &f, 1), ERR_OK);
    assert_int_equal(f.waiting_duplicated, 0);
    claim_one(s, 2);
}

static void a_crowd_that_waited(void **state)
{
    enum { CROWD = 700 }; /* more than one chunk */
    static struct ledger_record r[CROWD];
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    for (int i = 0; i < CROWD; i++)
        r[i] = i == 600 ? refunds(1, 2 + i) : pays(1, 2 + i);
    assert_int_equal(store_append(s, r, CROWD), ERR_OK);
    struct fact f = fact_of(s, 1, PAYMENT_ACCEPTED);
    assert_int_equal(ledger_settle(s->ledger, &f, 1), ERR_OK);
    assert_int_equal(f.waiting_duplicated, 600);
    assert_status(s, 601, "duplicated/unknown ->1");
    assert_status(s, 602, "new/unknown");
    claim_none(s);
    assert_status(s, 701, "duplicated/unknown ->1"); /* subscribed by now */
}

/* What a crowd becomes, to the last column, is what few become row by row. */
static void a_crowd_and_few_become_the_same(void **state)
{
    enum { FEW = 200, CROWD = 5000 };
    static struct ledger_record r[FEW + CROWD + 1];
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    assert_int_equal(claim_ok(s).attempt_count, 2);
    for (int i = 0; i < FEW + CROWD; i++)
        r[i] = pays(i < FEW ? 1 : 2, 3 + i);
    r[FEW + CROWD] = refunds(2, 3 + FEW + CROWD);
    assert_int_equal(store_append(s, r, FEW + CROWD + 1), ERR_OK);
    struct fact f[] = {fact_of(s, 1, PAYMENT_DECLINE), fact_of(s, 2, PAYMENT_DECLINE)};
    assert_int_equal(ledger_settle(s->ledger, f, 2), ERR_OK);
    assert_int_equal(f[0].waiting_duplicated, FEW);
    assert_int_equal(f[1].waiting_duplicated, CROWD);
    assert_status(s, 3 + FEW + CROWD, "new/unknown");
    static const char *const SAME[] = {
        "SELECT count(DISTINCT at || subject || actor || from_status || to_status || "
        "payment_status || replace(detail, '000000000002', '000000000001')) FROM events "
        "WHERE to_status = 'duplicated'",
        "SELECT count(DISTINCT processing_status || payment_status || coalesce(reason, '-') || "
        "replace(duplicate_of, '000000000002', '000000000001')) FROM payments "
        "WHERE processing_status = 'duplicated'",
    };
    assert_int_equal(store_i64(s, SAME[0], NULL), 1);
    assert_int_equal(store_i64(s, SAME[1], NULL), 1);
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM events WHERE to_status = 'duplicated'", NULL),
        FEW + CROWD);
    assert_int_equal(store_i64(s,
                               "SELECT count(*) FROM events a JOIN events b ON b.seq = a.seq + 1 "
                               "WHERE a.to_status = 'duplicated' AND b.to_status = 'duplicated' "
                               "AND a.subject_id > b.subject_id",
                               NULL),
                     0); /* in the order of the requests */
}

static void a_crowd_behind_a_page(void **state)
{
    enum { CROWD = 1000 };
    static struct ledger_record r[CROWD];
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    defer_ok(s, page_of(1, SECOND));
    for (int i = 0; i < CROWD; i++)
        r[i] = i == 800 ? asks(1, 2 + i, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR) : pays(1, 2 + i);
    assert_int_equal(store_append(s, r, CROWD), ERR_OK);
    assert_int_equal(claim_ok(s).duplicated, 800);
    assert_status(s, 801, "duplicated/unknown ->1");
    assert_status(s, 802, "new/unknown");
    assert_status(s, 803, "new/unknown");
    assert_string_equal(last_event(s, 700),
                        "processor new>duplicated unknown "
                        "{\"duplicate_of\":\"bb000000-0000-7000-8000-000000000001\"}");
    store_sane(s);
    struct fact f = settled_ok(s, voided_of(s, 1));
    assert_int_equal(f.reason, REASON_SUPERSEDED);
    assert_int_equal(f.waiting_duplicated, 0);
}

/* One that is to be asked about first ends the list. */
static void a_crowd_around_what_is_asked_first(void **state)
{
    enum { CROWD = 1000 };
    static struct ledger_record r[CROWD];
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    for (int i = 0; i < CROWD; i++)
        r[i] = pays(1, 2 + i);
    assert_int_equal(store_append(s, r, CROWD), ERR_OK);
    store_sql(s, "UPDATE payments SET ask_first = 1 WHERE seq = 701");
    struct fact f = fact_of(s, 1, PAYMENT_DECLINE);
    assert_int_equal(ledger_settle(s->ledger, &f, 1), ERR_OK);
    assert_int_equal(f.waiting_duplicated, 699);
    assert_status(s, 700, "duplicated/unknown ->1");
    assert_status(s, 701, "new/unknown");
    assert_status(s, 702, "new/unknown");
}

static void a_crowd_passes_over_what_is_older_and_asked_first(void **state)
{
    enum { CROWD = 1000 };
    static struct ledger_record r[CROWD];
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(1, 2));
    store_sql(s, "UPDATE payments SET ask_first = 1 WHERE seq = 1");
    learn_ok(s, line_of(s, 1, 2, LEARN_PENDING)); /* in flight, and 1 stays new */
    learned_ok(s);
    store_sql(s, "UPDATE attempts SET pending_since = NULL"); /* rule 2, not rule 8 */
    for (int i = 0; i < CROWD; i++)
        r[i] = pays(1, 3 + i);
    assert_int_equal(store_append(s, r, CROWD), ERR_OK);
    assert_status(s, 2, "in_processing/unknown");
    struct fact f = settled_ok(s, fact_of(s, 2, PAYMENT_DECLINE));
    assert_int_equal(f.waiting_duplicated, CROWD);
    assert_status(s, 1, "new/unknown");
    assert_status(s, 3, "duplicated/unknown ->2");
    assert_status(s, CROWD + 2, "duplicated/unknown ->2");
}

/* ---- rule 5 ---- */

static void an_accepted_refund_ends_the_period(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    store_advance(s, DAY);
    append_ok(s, refunds(1, 2));
    claim_one(s, 2);
    store_advance(s, HOUR);
    assert_int_equal(settle_ok(s, fact_of(s, 2, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_string_equal(periods(s, 1), "2025-11-24T16:00..2025-11-25T17:00 refund");
    assert_string_equal(
        store_text(s,
                   "SELECT to_status || ' ' || substr(detail, instr(detail, '\"ends_at')) FROM "
                   "events WHERE subject = 'subscription' ORDER BY seq DESC LIMIT 1",
                   NULL),
        "ended \"ends_at\":\"2025-11-25T17:00:00.000000Z\",\"end_reason\":\"refund\"}");
    assert_int_equal(settle_ok(s, fact_of(s, 2, PAYMENT_ACCEPTED)), SETTLE_REPEATED);
    append_ok(s, pays(1, 3)); /* subscribed no more */
    claim_one(s, 3);
    assert_int_equal(settle_ok(s, fact_of(s, 3, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_string_equal(periods(s, 1), "2025-11-24T16:00..2025-11-25T17:00 refund | "
                                       "2025-11-25T17:00..2025-12-25T17:00");
}

static void a_refused_refund_may_be_asked_for_again(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    append_ok(s, refunds(1, 2));
    claim_one(s, 2);
    assert_int_equal(settle_ok(s, fact_of(s, 2, PAYMENT_DECLINE)), SETTLE_DONE);
    assert_string_equal(periods(s, 1), "2025-11-24T16:00..2025-12-24T16:00");
    append_ok(s, refunds(1, 3));
    claim_one(s, 3);
    assert_int_equal(store_try_sql(s, "UPDATE payments SET refunding = refund_of WHERE seq = 2"),
                     ERR_CONFLICT); /* one at most is in flight or accepted */
    assert_int_equal(settle_ok(s, fact_of(s, 3, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_int_equal(store_try_sql(s, "UPDATE payments SET refunding = refund_of WHERE seq = 2"),
                     ERR_CONFLICT);
}

static void refunds_of_a_chain_of_periods(void **state)
{
    struct store *s = *state;
    struct uuid u = user(1);
    struct ledger_record named;
    subscribe(s, 1, 1);
    /* Two more periods behind it, as late answers leave them. */
    for (int n = 2; n <= 3; n++) {
        store_sql(s, "UPDATE subscriptions SET user_id = user_id"); /* triggers look at it again */
        store_advance(s, n == 2 ? 31 * DAY : 32 * DAY);
        append_ok(s, pays(1, n));
        claim_one(s, n);
        store_advance(s, n == 2 ? -31 * DAY : -32 * DAY);
        assert_int_equal(settle_ok(s, fact_of(s, n, PAYMENT_ACCEPTED)), SETTLE_DONE);
        if (n == 2)
            store_advance(s, 31 * DAY);
    }
    assert_string_equal(periods(s, 1),
                        "2025-11-24T16:00..2025-12-24T16:00 | 2025-12-24T16:00..2026-01-24T16:00 "
                        "| 2026-01-24T16:00..2026-02-24T16:00");
    store_sane(s);
    /* The one in the middle is given back while it holds: a gap, and the last one stays to come. */
    named = refunds(1, 4);
    named.request.refund_of = payment(2);
    append_ok(s, named);
    claim_one(s, 4);
    assert_int_equal(settle_ok(s, fact_of(s, 4, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_string_equal(periods(s, 1), "2025-11-24T16:00..2025-12-24T16:00 | "
                                       "2025-12-24T16:00..2025-12-25T16:00 refund | "
                                       "2026-01-24T16:00..2026-02-24T16:00");
    assert_string_equal(
        store_text(s, "SELECT active_from FROM accounts WHERE user_id = ?1", text_of(s, &u)),
        "2026-01-24T16:00:00.000000Z");
    /* The last one has not begun: given back it becomes empty. */
    named = refunds(1, 5);
    named.request.refund_of = payment(3);
    append_ok(s, named);
    claim_one(s, 5);
    assert_int_equal(settle_ok(s, fact_of(s, 5, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_string_equal(periods(s, 1), "2025-11-24T16:00..2025-12-24T16:00 | "
                                       "2025-12-24T16:00..2025-12-25T16:00 refund | "
                                       "2026-01-24T16:00..2026-01-24T16:00 refund");
    store_sane(s);
    append_ok(s, pays(1, 6)); /* not subscribed; the new period follows the end of the last one */
    claim_one(s, 6);
    assert_int_equal(settle_ok(s, fact_of(s, 6, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_non_null(strstr(periods(s, 1), "| 2026-01-24T16:00..2026-02-24T16:00"));
}

/* ---- rule 6: facts ---- */

static void the_same_answer_again_changes_nothing(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    int64_t events = store_i64(s, "SELECT count(*) FROM events", NULL);
    s->changes = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED)), SETTLE_REPEATED);
    assert_int_equal(untold_count(s), 1);
    told_ok(s, tell(1));
    s->changes = 0;
    assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED)), SETTLE_REPEATED);
    assert_int_equal(s->changes, 0);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM events", NULL), events + 1);
}

static void another_answer_is_an_alarm_and_the_first_stays(void **state)
{
    struct store *s = *state;
    struct ledger_counts counts;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED)), SETTLE_CONTRADICTS);
        assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ERROR)), SETTLE_CONTRADICTS);
    }
    assert_status(s, 1, "processed/decline");
    assert_int_equal(store_i64(s, "SELECT count(*) FROM subscriptions", NULL), 0);
    assert_string_equal(last_event(s, 1),
                        "processor >  {\"alarm\":\"contradiction\",\"outcome\":\"error\"}");
    assert_int_equal(event_count(s, 1), 3 + 2);
    assert_int_equal(ledger_counts(s->ledger, &counts), ERR_OK);
    assert_int_equal(counts.alarms, 2);
    told_ok(s, tell(1));
    assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED)), SETTLE_CONTRADICTS);
    assert_status(s, 1, "completed/decline");
}

static void answers_about_what_was_never_sent(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(1, 2)};
    struct fact nobody = {.payment_id = payment(99), .outcome = PAYMENT_ACCEPTED};
    assert_int_equal(settle_ok(s, nobody), SETTLE_UNKNOWN);
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED)), SETTLE_UNKNOWN);
    assert_status(s, 1, "new/unknown");
    claim_one(s, 2);
    assert_int_equal(settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED)), SETTLE_CONTRADICTS);
    assert_status(s, 1, "duplicated/unknown ->2");
}

static void one_batch_with_everything_in_it(void **state)
{
    struct store *s = *state;
    for (int n = 1; n <= 3; n++)
        append_ok(s, pays(n, n));
    assert_int_equal(claim_ok(s).attempt_count, 3);
    struct fact f[] = {
        fact_of(s, 1, PAYMENT_ACCEPTED), fact_of(s, 1, PAYMENT_ACCEPTED),
        fact_of(s, 1, PAYMENT_DECLINE),  fact_of(s, 2, PAYMENT_DECLINE),
        fact_of(s, 3, PAYMENT_ACCEPTED),
    };
    assert_int_equal(ledger_settle(s->ledger, f, 5), ERR_OK);
    assert_int_equal(f[0].verdict, SETTLE_DONE);
    assert_int_equal(f[1].verdict, SETTLE_REPEATED);
    assert_int_equal(f[2].verdict, SETTLE_CONTRADICTS);
    assert_int_equal(f[3].verdict, SETTLE_DONE);
    assert_int_equal(f[4].verdict, SETTLE_DONE);
    assert_int_equal(ledger_settle(s->ledger, f, 0), ERR_OK);
}

static void an_answer_about_another_amount_is_a_bug_and_stores_nothing(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    assert_int_equal(claim_ok(s).attempt_count, 2);
    struct fact f[] = {fact_of(s, 1, PAYMENT_ACCEPTED), fact_of(s, 2, PAYMENT_ACCEPTED)};
    f[1].money.amount_minor++;
    assert_int_equal(ledger_settle(s->ledger, f, 2), ERR_BUG);
    assert_string_not_equal(ledger_why(s->ledger), "");
    f[1].money.amount_minor--;
    snprintf(f[1].money.currency, sizeof f[1].money.currency, "EUR");
    assert_int_equal(ledger_settle(s->ledger, f, 2), ERR_BUG);
    assert_status(s, 1, "in_processing/unknown");
    assert_status(s, 2, "in_processing/unknown");
    assert_int_equal(settle_ok(s, f[0]), SETTLE_DONE);
}

static void a_settled_user_is_not_asked_about(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    store_advance(s, LEASE_US);
    assert_int_equal(due_count(s), 1);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    store_advance(s, LEASE_US);
    assert_int_equal(due_count(s), 0);
}

static void counts_say_what_is_owed(void **state)
{
    struct store *s = *state;
    struct ledger_counts c;
    assert_int_equal(ledger_counts(s->ledger, &c), ERR_OK);
    assert_int_equal(c.undecided + c.undecided_oldest_us + c.needing_decision + c.alarms, 0);
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    store_advance(s, HOUR);
    append_ok(s, pays(2, 2));
    claim_one(s, 2);
    store_advance(s, SECOND);
    store_sql(s, "UPDATE payments SET needs_decision = 1 WHERE seq = 1");
    assert_int_equal(ledger_counts(s->ledger, &c), ERR_OK);
    assert_int_equal(c.undecided, 2);
    assert_int_equal(c.undecided_oldest_us, HOUR + SECOND);
    assert_int_equal(c.needing_decision, 1);
    settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED));
    assert_int_equal(ledger_counts(s->ledger, &c), ERR_OK);
    assert_int_equal(c.undecided, 1);
    assert_int_equal(c.undecided_oldest_us, SECOND);
    assert_int_equal(c.needing_decision, 0);
}

static void events_are_only_added(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    assert_int_equal(store_try_sql(s, "UPDATE events SET actor = 'x'"), ERR_CONFLICT);
    assert_int_equal(store_try_sql(s, "DELETE FROM events"), ERR_CONFLICT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(an_accepted_payment_opens_a_period),
        T(every_subscription_type_has_its_length),
        T(a_refused_payment_opens_nothing),
        T(a_late_answer_opens_the_next_period),
        T(the_database_itself_forbids_overlaps),
        T(what_waited_becomes_duplicates_up_to_another_type),
        T(after_superseded_nobody_is_a_duplicate),
        T(a_crowd_that_waited),
        T(a_crowd_and_few_become_the_same),
        T(a_crowd_behind_a_page),
        T(a_crowd_around_what_is_asked_first),
        T(a_crowd_passes_over_what_is_older_and_asked_first),
        T(an_accepted_refund_ends_the_period),
        T(a_refused_refund_may_be_asked_for_again),
        T(refunds_of_a_chain_of_periods),
        T(the_same_answer_again_changes_nothing),
        T(another_answer_is_an_alarm_and_the_first_stays),
        T(answers_about_what_was_never_sent),
        T(one_batch_with_everything_in_it),
        T(an_answer_about_another_amount_is_a_bug_and_stores_nothing),
        T(a_settled_user_is_not_asked_about),
        T(counts_say_what_is_owed),
        T(events_are_only_added),
    };
    return cmocka_run_group_tests_name("ledger settle", tests, NULL, NULL);
}
