/* Rule 11 where the processing has no journal: restored books ask about every new payment first. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

static int64_t mark(struct store *s)
{
    int64_t marked = -1;
    if (ledger_mark_restored(s->ledger, &marked) != ERR_OK)
        fail_msg("mark_restored: %s", ledger_why(s->ledger));
    return marked;
}

/* The answer to what claim returned. */
static struct ledger_learned asked(struct store *s, const struct attempt *a,
                                   enum learn_answer answer)
{
    struct ledger_learned out = {0};
    struct journal_entry e = {
        .answer = answer,
        .request = {.payment_id = a->payment_id, .refund_of = a->refund_of},
        .money = a->money,
        .body = a->body,
        .body_len = a->body_len,
        .processing_id = "tx",
        .action_url = answer == LEARN_PENDING ? PAGE : "",
        .expires_at_us = TIME_NEVER,
    };
    if (ledger_asked(s->ledger, INSTANCE, &e, &out) != ERR_OK)
        fail_msg("asked: %s", ledger_why(s->ledger));
    return out;
}

static void unknown(struct store *s, int payment_n)
{
    struct uuid id = payment(payment_n);
    if (ledger_asked_unknown(s->ledger, &id) != ERR_OK)
        fail_msg("asked_unknown: %s", ledger_why(s->ledger));
}

static struct attempt first(struct store *s, int payment_n)
{
    struct attempt a = claim_one(s, payment_n);
    assert_true(a.ask_first && a.ask_only);
    assert_status(s, payment_n, "new/unknown");
    return a;
}

static void the_oldest_is_asked_about_and_nothing_else_happens(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(1, 2), pays(2, 3)};
    assert_int_equal(store_append(s, r, 3), ERR_OK);
    assert_int_equal(mark(s), 3);
    assert_int_equal(mark(s), 3);
    append_ok(s, pays(1, 4)); /* after the restore: not marked */
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.attempt_count, 2);
    assert_int_equal(got.duplicated + got.closed, 0);
    struct uuid oldest = payment(1);
    const struct attempt *a = &got.attempts[0];
    assert_true(uuid_equal(&a->payment_id, &oldest) && a->ask_first && a->ask_only);
    assert_int_equal(a->money.amount_minor, 39900);
    assert_non_null(strstr(a->body, "\"amount\":39900"));
    assert_status(s, 1, "new/unknown");
    assert_int_equal(store_i64(s, "SELECT count(*) FROM attempts", NULL), 0);
    claim_none(s); /* leased */
    assert_int_equal(due_count(s), 0);
    store_advance(s, LEASE_US);
    assert_int_equal(claim_ok(s).attempt_count, 2);
}

static void what_the_processing_does_not_know_is_decided(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(1, 2)};
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    assert_int_equal(mark(s), 2);
    (void)first(s, 1);
    s->changes = 0;
    unknown(s, 1);
    assert_true(s->changes & LEDGER_CHANGE_STORED);
    unknown(s, 1);
    (void)first(s, 2);
    unknown(s, 2);
    unknown(s, 9); /* nobody */
    struct attempt a = claim_one(s, 2);
    assert_false(a.ask_first || a.ask_only);
    assert_status(s, 1, "duplicated/unknown ->2");
    unknown(s, 2); /* it is in flight by now */
    assert_status(s, 2, "in_processing/unknown");
}

static void what_it_knows_is_recorded_and_stands_for_the_older(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(1, 2), pays(1, 3)};
    assert_int_equal(store_append(s, r, 3), ERR_OK);
    assert_int_equal(mark(s), 3);
    (void)first(s, 1);
    unknown(s, 1);
    struct attempt a = first(s, 2);
    struct ledger_learned got = asked(s, &a, LEARN_DECLINE);
    assert_true(got.rewound);
    assert_int_equal(got.recorded, 1);
    assert_status(s, 1, "duplicated/unknown ->2");
    assert_status(s, 2, "processed/decline");
    assert_string_equal(store_text(s, "SELECT body FROM attempts", NULL), a.body);
    assert_int_equal(asked(s, &a, LEARN_DECLINE).recorded, 0); /* again */
    assert_int_equal(asked(s, &a, LEARN_SUCCESS).alarms, 1);
    a = first(s, 3);
    assert_int_equal(asked(s, &a, LEARN_SUCCESS).recorded, 1);
    assert_status(s, 3, "processed/accepted");
    claim_none(s);
}

static void what_waits_for_its_payer_is_adopted(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(1, 2));
    assert_int_equal(mark(s), 2);
    append_ok(s, pays(1, 3));
    struct attempt a = first(s, 1);
    assert_true(asked(s, &a, LEARN_PENDING).rewound);
    assert_status(s, 1, "in_processing/unknown");
    struct attempt page = due_is(s, 1);
    assert_true(page.pending && page.ask_only);
    assert_false(page.superseded); /* the next one may have been sent: it ends the list */
    assert_int_equal(claim_ok(s).duplicated, 0);
    assert_status(s, 3, "new/unknown");
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    assert_status(s, 2, "new/unknown");
    (void)first(s, 2);
    unknown(s, 2);
    claim_one(s, 3);
    assert_status(s, 2, "duplicated/unknown ->3");
}

static void no_answer_is_counted(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    assert_int_equal(mark(s), 1);
    assert_int_equal(first(s, 1).tries, 0);
    struct deferral d = deferral_of(1, 3 * SECOND);
    d.no_answer = true;
    defer_ok(s, d);
    claim_none(s);
    store_advance(s, 3 * SECOND);
    assert_int_equal(first(s, 1).tries, 1);
    d.no_answer = d.needs_decision = d.pending = false;
    d.pause_us = 0;
    defer_ok(s, d); /* cut off: at once */
    assert_int_equal(first(s, 1).tries, 1);
    assert_int_equal(ledger_recover(s->ledger),
                     ERR_OK); /* a new start does not wait for the lease */
    assert_int_equal(first(s, 1).tries, 1);
}

static void a_refund_is_asked_about_with_its_money(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    append_ok(s, refunds(1, 2));
    assert_int_equal(mark(s), 1);
    struct attempt a = first(s, 2);
    struct uuid target = payment(1);
    assert_true(uuid_equal(&a.refund_of, &target));
    assert_int_equal(a.money.amount_minor, 39900);
    assert_int_equal(asked(s, &a, LEARN_SUCCESS).recorded, 1);
    assert_status(s, 2, "processed/accepted");
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM subscriptions WHERE end_reason = 'refund'", NULL), 1);
}

static void support_named_what_is_asked_about(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    struct ledger_record r = refunds(1, 2);
    r.request.refund_of = payment(1);
    snprintf(r.request.actor, sizeof r.request.actor, "admin:x");
    append_ok(s, r);
    assert_int_equal(mark(s), 1);
    struct attempt a = first(s, 2);
    assert_true(uuid_equal(&a.refund_of, &r.request.refund_of));
    unknown(s, 2);
    claim_one(s, 2);
}

static void a_refund_of_nothing_is_decided_without_a_question(void **state)
{
    struct store *s = *state;
    append_ok(s, refunds(1, 1));
    assert_int_equal(mark(s), 1);
    s->changes = 0;
    claim_none(s);
    assert_true(s->changes & LEDGER_CHANGE_STORED);
    claim_none(s);
    assert_status(s, 1, "processed/error nothing_to_refund");
}

static void an_old_one_is_not_closed_before_it_was_asked_about(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    assert_int_equal(mark(s), 1);
    store_advance(s, MAX_AGE_US + 1);
    struct attempt a = first(s, 1);
    assert_int_equal(asked(s, &a, LEARN_SUCCESS).recorded, 1);
    assert_status(s, 1, "processed/accepted");
}

static void one_of_many_thousands_is_found(void **state)
{
    struct store *s = *state;
    enum { MANY = 7000 };
    static struct ledger_record r[MANY];
    append_ok(s, pays(1, 1));
    assert_int_equal(mark(s), 1);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < MANY; i++)
            r[i] = pays(1, 10 + round * MANY + i);
        assert_int_equal(store_append(s, r, MANY), ERR_OK);
    }
    (void)first(s, 1); /* behind more than a claim reads */
    store_sql(s, "UPDATE payments SET ask_first = 0");
}

/* ---- what the saver has to take again ---- */

static void queue_has(struct store *s, int64_t next)
{
    char sql[200];
    if (store_is_postgres()) { /* the queue is elsewhere; whoever knows it says so */
        assert_int_equal(ledger_mark_queued(s->ledger, TOPIC, 0, next), ERR_OK);
        return;
    }
    snprintf(sql, sizeof sql,
             "INSERT INTO queue_topics (topic, log_id, next) VALUES ('" TOPIC "', 'l', %lld), "
             "('" TOPIC ".rejected', 'r', 3)",
             (long long)next);
    store_sql(s, sql);
}

/* Nothing of it was ever taken. */
static void a_queue_that_was_never_read_holds_claims_back_too(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    assert_int_equal(ledger_mark_queued(s->ledger, "elsewhere", 3, 0), ERR_OK);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM restored", NULL), 0);
    assert_int_equal(ledger_mark_queued(s->ledger, "elsewhere", 3, 7), ERR_OK);
    claim_none(s);
}

static void nothing_is_claimed_before_the_saver_has_taken_what_was_there(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1)); /* offset 0 */
    queue_has(s, 3);          /* 1 and 2 are not taken yet */
    assert_int_equal(mark(s), 1);
    claim_none(s);
    append_ok(s, pays(1, 2));
    claim_none(s);
    s->changes = 0;
    append_ok(s, pays(1, 3));
    assert_true(s->changes & LEDGER_CHANGE_STORED);
    (void)first(s, 1);
    unknown(s, 1);
    (void)first(s, 2);
    unknown(s, 2);
    (void)first(s, 3);
    unknown(s, 3);
    append_ok(s, pays(1, 4)); /* newer than the restore */
    claim_one(s, 4);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM restored WHERE topic = '" TOPIC "'", NULL),
                     0);
}

static void a_queue_that_was_taken_stops_nobody(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    queue_has(s, 1);
    assert_int_equal(mark(s), 1);
    (void)first(s, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(the_oldest_is_asked_about_and_nothing_else_happens),
        T(what_the_processing_does_not_know_is_decided),
        T(what_it_knows_is_recorded_and_stands_for_the_older),
        T(what_waits_for_its_payer_is_adopted),
        T(no_answer_is_counted),
        T(a_refund_is_asked_about_with_its_money),
        T(support_named_what_is_asked_about),
        T(a_refund_of_nothing_is_decided_without_a_question),
        T(an_old_one_is_not_closed_before_it_was_asked_about),
        T(one_of_many_thousands_is_found),
        T(nothing_is_claimed_before_the_saver_has_taken_what_was_there),
        T(a_queue_that_was_taken_stops_nobody),
        T(a_queue_that_was_never_read_holds_claims_back_too),
    };
    return cmocka_run_group_tests_name("ledger_restored", tests, NULL, NULL);
}
