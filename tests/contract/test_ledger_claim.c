/* claim, due, defer: rules 1, 3, 5, 9 through the real tables, and whose turn it is. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "suite.h"

/* ---- rule 1 ---- */

static void the_latest_of_whichever_type_is_sent(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), refunds(1, 2),
                                asks(1, 3, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR), pays(2, 4)};
    assert_int_equal(store_append(s, r, 4), ERR_OK);
    s->changes = 0;
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.users, 2);
    assert_int_equal(got.attempt_count, 2);
    assert_int_equal(got.duplicated, 2);
    assert_int_equal(got.closed, 0);
    assert_status(s, 1, "duplicated/unknown ->3");
    assert_status(s, 2, "duplicated/unknown ->3");
    assert_status(s, 3, "in_processing/unknown");
    assert_status(s, 4, "in_processing/unknown");
    assert_string_equal(last_event(s, 1),
                        "processor new>duplicated unknown "
                        "{\"duplicate_of\":\"bb000000-0000-7000-8000-000000000003\"}");
    assert_string_equal(last_event(s, 3), "processor new>in_processing unknown ");
    assert_int_equal(s->changes, LEDGER_CHANGE_PAYMENT);
    claim_none(s); /* and again */
}

static void the_attempt_is_what_was_stored(void **state)
{
    struct store *s = *state;
    struct ledger_record r = pays(1, 1);
    snprintf(r.request.payment_method, sizeof r.request.payment_method, "pm_\"7\"");
    append_ok(s, r);
    store_advance(s, SECOND);
    struct attempt a = claim_one(s, 1);
    static const char BODY[] =
        "{\"payment_id\":\"bb000000-0000-7000-8000-000000000001\","
        "\"user_id\":\"aa000000-0000-7000-8000-000000000001\",\"payment_type\":\"payment\","
        "\"subscription_type\":\"month\",\"requested_at\":\"2025-11-24T16:00:00.000000Z\","
        "\"amount\":39900,\"currency\":\"RUB\",\"payment_method\":\"pm_\\\"7\\\"\"}";
    assert_int_equal(a.body_len, strlen(BODY));
    assert_string_equal(a.body, BODY);
    assert_int_equal(a.seq, 1);
    assert_int_equal(a.money.amount_minor, 39900);
    assert_int_equal(a.age_us, 0);
    assert_int_equal(a.tries, 0);
    assert_false(a.ask_only);
    assert_string_equal(store_text(s, "SELECT body FROM attempts", NULL), BODY);
    assert_string_equal(
        store_text(s, "SELECT instance_id || ' ' || first_sent_at FROM attempts", NULL),
        "instance-1 2025-11-24T16:00:01.000000Z");
    struct attempt *due;
    size_t count;
    store_advance(s, LEASE_US);
    assert_int_equal(ledger_due(s->ledger, 5, LEASE_US, &s->arena, &due, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(due[0].body_len, strlen(BODY));
    assert_memory_equal(due[0].body, BODY, sizeof BODY);
    assert_true(uuid_equal(&due[0].user_id, &a.user_id));
    assert_true(uuid_equal(&due[0].payment_id, &a.payment_id));
    assert_true(money_equal(&due[0].money, &a.money));
    assert_int_equal(due[0].age_us, LEASE_US);
}

static void users_are_taken_in_the_order_in_which_they_became_due(void **state)
{
    struct store *s = *state;
    struct ledger_claim claim = claim_default();
    for (int n = 9; n >= 1; n--) { /* not the order of their ids */
        append_ok(s, pays(n, 10 + n));
        store_advance(s, SECOND);
    }
    append_ok(s, pays(9, 30)); /* stays where it was */
    claim.users_max = 2;
    struct ledger_claimed got = claim_as(s, &claim);
    struct uuid first = payment(30), second = payment(18);
    assert_int_equal(got.users, 2);
    assert_true(uuid_equal(&got.attempts[0].payment_id, &first));
    assert_true(uuid_equal(&got.attempts[1].payment_id, &second));
    for (int left = 7; left > 0; left -= 2)
        assert_int_equal(claim_as(s, &claim).users, left < 2 ? left : 2);
    assert_int_equal(claim_ok(s).users, 0);
}

static void nobody_is_due_in_an_empty_store(void **state)
{
    struct store *s = *state;
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.users + got.attempt_count + got.duplicated + got.closed, 0);
    assert_int_equal(due_count(s), 0);
    assert_int_equal(untold_count(s), 0);
}

/* ---- rule 3 ---- */

static void a_subscribed_user_pays_nothing(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    struct ledger_record r[] = {refunds(1, 2), asks(1, 3, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR)};
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.attempt_count, 0);
    assert_int_equal(got.duplicated, 2);
    assert_status(s, 2, "duplicated/unknown ->1"); /* what the decided one duplicates */
    assert_status(s, 3, "duplicated/unknown ->1");
    store_advance(s, 30 * DAY - SECOND); /* 24 Nov + 1 month = 24 Dec: still the last second */
    append_ok(s, pays(1, 4));
    claim_none(s);
    assert_status(s, 4, "duplicated/unknown ->1");
    store_advance(s, SECOND);
    append_ok(s, pays(1, 5));
    claim_one(s, 5);
}

static void a_clock_that_is_set_back_makes_nobody_pay_again(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    store_advance(s, -HOUR); /* now the period is yet to begin */
    append_ok(s, pays(1, 2));
    claim_none(s);
    assert_status(s, 2, "duplicated/unknown ->1");
}

static void grant(struct store *s, int user_n, const char *id, const char *from, const char *until)
{
    char sql[1024];
    struct uuid u = user(user_n);
    snprintf(
        sql, sizeof sql,
        "INSERT INTO accounts (user_id) VALUES ('%s') ON CONFLICT DO NOTHING; "
        "INSERT INTO subscriptions VALUES ('%s', '%s', NULL, 'month', '%s', '%s', '%s', NULL); "
        "UPDATE accounts SET active_from = '%s', active_until = '%s', period_payment = NULL "
        "WHERE user_id = '%s'",
        text_of(s, &u), id, text_of(s, &u), from, until, until, from, until, text_of(s, &u));
    store_sql(s, sql);
}

static void a_grant_counts_too(void **state)
{
    struct store *s = *state;
    grant(s, 1, "cc000000-0000-7000-8000-000000000001", "2025-11-24T00:00:00.000000Z",
          "2025-12-24T00:00:00.000000Z");
    struct ledger_record r[] = {pays(1, 1), pays(1, 2)};
    assert_int_equal(store_append(s, r, 2), ERR_OK);
    claim_none(s);
    assert_status(s, 1, "duplicated/unknown granted");
    assert_status(s, 2, "duplicated/unknown granted");
    assert_string_equal(last_event(s, 2),
                        "processor new>duplicated unknown {\"reason\":\"granted\"}");
    append_ok(s, refunds(1, 3)); /* there is no money behind a grant */
    claim_none(s);
    assert_status(s, 3, "processed/error nothing_to_refund");
}

/* ---- rule 5 ---- */

static void a_refund_names_its_target_and_its_amount(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    store_advance(s, DAY);
    append_ok(s, refunds(1, 2));
    struct attempt a = claim_one(s, 2);
    assert_int_equal(a.payment_type, PAYMENT_TYPE_REFUND);
    assert_int_equal(a.money.amount_minor, 39900);
    assert_non_null(strstr(a.body, "\"refund_of\":\"bb000000-0000-7000-8000-000000000001\""));
    assert_string_equal(last_event(s, 2), "processor new>in_processing unknown "
                                          "{\"refund_of\":\"bb000000-0000-7000-8000-000000000001\","
                                          "\"amount\":39900,\"currency\":\"RUB\"}");
    assert_int_equal(store_i64(s,
                               "SELECT refund_of = refunding AND amount = 39900 FROM payments "
                               "WHERE seq = 2",
                               NULL),
                     1);
}

static void refunds_that_need_no_call(void **state)
{
    struct store *s = *state;
    struct ledger_claim claim = claim_default();
    append_ok(s, refunds(1, 1));
    struct ledger_record undone[] = {pays(2, 2), refunds(2, 3)};
    assert_int_equal(store_append(s, undone, 2), ERR_OK);
    s->changes = 0;
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.closed, 2);
    assert_int_equal(got.duplicated, 1);
    assert_int_equal(got.attempt_count, 0);
    assert_int_equal(s->changes, LEDGER_CHANGE_SETTLED | LEDGER_CHANGE_PAYMENT);
    assert_status(s, 1, "processed/error nothing_to_refund");
    assert_status(s, 2, "duplicated/unknown ->3");
    assert_status(s, 3, "processed/error cancelled");
    assert_string_equal(last_event(s, 3),
                        "processor new>processed error {\"reason\":\"cancelled\"}");
    subscribe(s, 3, 4);
    append_ok(s, asks(3, 5, PAYMENT_TYPE_REFUND, SUBSCRIPTION_YEAR));
    claim_none(s);
    assert_status(s, 5, "processed/error other_subscription");
    store_advance(s, 2 * DAY);
    append_ok(s, refunds(3, 6));
    claim.limits.refund_window_us = DAY;
    assert_int_equal(claim_as(s, &claim).closed, 1);
    assert_status(s, 6, "processed/error refund_window_over");
    assert_int_equal(untold_count(s), 3); /* of three users; 4 of user 3 is told first */
}

static void a_second_refund_duplicates_the_first(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    struct ledger_record r = refunds(1, 3);
    r.request.requested_at_us = START_US; /* asked for while the period held */
    append_ok(s, refunds(1, 2));
    store_advance(s, SECOND);
    claim_one(s, 2);
    assert_int_equal(settle_ok(s, fact_of(s, 2, PAYMENT_ACCEPTED)), SETTLE_DONE);
    append_ok(s, r);
    claim_none(s);
    assert_status(s, 3, "duplicated/unknown ->2");
}

static void support_names_a_target_of_an_earlier_period(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    store_advance(s, 40 * DAY);
    subscribe(s, 1, 2);
    subscribe(s, 2, 3);
    struct ledger_record named = refunds(1, 4), foreign = refunds(2, 5), nothing = refunds(3, 6);
    named.request.refund_of = payment(1);
    foreign.request.refund_of = payment(1); /* another user's */
    nothing.request.refund_of = payment(99);
    append_ok(s, named);
    append_ok(s, foreign);
    append_ok(s, nothing);
    struct attempt a = claim_one(s, 4);
    assert_non_null(strstr(a.body, "\"refund_of\":\"bb000000-0000-7000-8000-000000000001\""));
    assert_status(s, 5, "processed/error nothing_to_refund");
    assert_status(s, 6, "processed/error nothing_to_refund");
    assert_int_equal(settle_ok(s, fact_of(s, 4, PAYMENT_ACCEPTED)), SETTLE_DONE);
    /* The period of 1 was over: it stays, and that of 2 holds. */
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM subscriptions WHERE end_reason IS NOT NULL", NULL), 0);
    named.request.payment_id = payment(7);
    append_ok(s, named);
    claim_none(s);
    assert_status(s, 7, "duplicated/unknown ->4");
}

/* ---- rule 9 ---- */

static void too_old_requests_are_closed_first(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(1, 2), refunds(1, 3)};
    r[2].request.requested_at_us = START_US - MAX_AGE_US - 1;
    assert_int_equal(store_append(s, r, 3), ERR_OK);
    struct ledger_record by_record = pays(2, 4);
    by_record.request.requested_at_us = START_US;
    by_record.recorded_at_us = START_US - MAX_AGE_US - 1;
    append_ok(s, by_record);
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.closed, 2);
    assert_status(s, 1, "duplicated/unknown ->2");
    assert_status(s, 2, "in_processing/unknown");
    assert_status(s, 3, "processed/error too_old");
    assert_status(s, 4, "processed/error too_old");
    assert_int_equal(untold_count(s), 2); /* also the one whose user has a payment in flight */
}

/* ---- due, leases, deferrals ---- */

static void a_lease_keeps_others_away_until_it_ends(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    assert_int_equal(due_count(s), 0);
    store_advance(s, LEASE_US - 1);
    assert_int_equal(due_count(s), 0);
    store_advance(s, 1);
    assert_int_equal(due_count(s), 1);
    assert_int_equal(due_count(s), 0); /* leased again */
    store_advance(s, LEASE_US);
    assert_int_equal(due_count(s), 1);
    claim_none(s);
}

static void due_takes_at_most_max_the_longest_due_first(void **state)
{
    struct store *s = *state;
    struct attempt *out;
    size_t count;
    for (int n = 5; n >= 1; n--) {
        append_ok(s, pays(n, n));
        claim_one(s, n);
        store_advance(s, SECOND);
    }
    store_advance(s, LEASE_US);
    assert_int_equal(ledger_due(s->ledger, 2, LEASE_US, &s->arena, &out, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(out[0].seq, 1);
    assert_int_equal(out[1].seq, 2);
    assert_int_equal(due_count(s), 3);
}

static void defer(struct store *s, struct deferral d)
{
    assert_int_equal(ledger_defer(s->ledger, &d, 1), ERR_OK);
}

static struct attempt due_one(struct store *s)
{
    struct attempt *out;
    size_t count;
    assert_int_equal(ledger_due(s->ledger, 100, LEASE_US, &s->arena, &out, &count), ERR_OK);
    assert_int_equal(count, 1);
    return out[0];
}

/* Rule 6: the store's clock may be set back; who sent it has another one. */
static void when_it_was_sent_is_kept_by_the_senders_clock_too(void **state)
{
    struct store *s = *state;
    struct ledger_claim claim = claim_default();
    append_ok(s, pays(1, 1));
    claim.boot_id = "0dd3a9f6-7d7a-4c33-8d5e-9f5b4b2d7c11";
    claim.boot_us = 77 * SECOND;
    struct attempt a = claim_as(s, &claim).attempts[0];
    assert_string_equal(a.boot_id, claim.boot_id);
    assert_int_equal(a.sent_boot_us, 77 * SECOND);
    store_advance(s, -HOUR);
    struct deferral d = {.payment_id = payment(1), .no_answer = true, .too_old = true};
    defer(s, d);
    a = due_one(s);
    assert_int_equal(a.age_us, -HOUR);
    assert_string_equal(a.boot_id, claim.boot_id);
    assert_int_equal(a.sent_boot_us, 77 * SECOND);
    assert_true(a.too_old);
    d.too_old = false;
    defer(s, d);
    assert_true(due_one(s).too_old); /* sticks */
    struct attempt *found;
    assert_int_equal(ledger_attempt(s->ledger, &a.payment_id, &s->arena, &found), ERR_OK);
    assert_string_equal(found->boot_id, claim.boot_id);
}

static void a_deferral_paces_and_remembers(void **state)
{
    struct store *s = *state;
    struct deferral d = {.payment_id = payment(1), .pause_us = 5 * SECOND, .no_answer = true};
    snprintf(d.note, sizeof d.note, "HTTP 500");
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    defer(s, d);
    assert_int_equal(due_count(s), 0);
    store_advance(s, 5 * SECOND);
    struct attempt a = due_one(s);
    assert_int_equal(a.tries, 1);
    assert_int_equal(a.age_us, 5 * SECOND);
    assert_false(a.ask_only);
    d.ask_only = true;
    d.pause_us = 0;
    snprintf(d.note, sizeof d.note, "HTTP 422");
    defer(s, d);
    a = due_one(s); /* at once, by anybody */
    assert_int_equal(a.tries, 2);
    assert_true(a.ask_only);
    d = (struct deferral){.payment_id = payment(1)}; /* the call was never made */
    defer(s, d);
    a = due_one(s);
    assert_int_equal(a.tries, 2);
    assert_true(a.ask_only); /* sticks */
    assert_string_equal(store_text(s, "SELECT note || ' ' || last_try_at FROM attempts", NULL),
                        "HTTP 422 2025-11-24T16:00:05.000000Z");
}

static void a_deferral_of_what_is_not_in_flight_is_ignored(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    defer(s, (struct deferral){.payment_id = payment(1), .no_answer = true}); /* new */
    defer(s, (struct deferral){.payment_id = payment(99), .no_answer = true});
    claim_one(s, 1);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    defer(s, (struct deferral){.payment_id = payment(1), .no_answer = true});
    assert_int_equal(store_i64(s, "SELECT tries FROM attempts", NULL), 0);
    assert_int_equal(due_count(s), 0);
    append_ok(s, pays(1, 2));
    claim_one(s, 2); /* its own lease is not touched by news of the first */
    defer(s, (struct deferral){.payment_id = payment(1), .pause_us = 0});
    assert_int_equal(due_count(s), 0);
}

static void a_clock_that_steps_back_is_told(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    store_advance(s, -HOUR);
    assert_int_equal(ledger_recover(s->ledger), ERR_OK);
    assert_int_equal(due_one(s).age_us, -HOUR);
    settle_ok(s, fact_of(s, 1, PAYMENT_ACCEPTED));
    append_ok(s, refunds(1, 2));
    claim_one(s, 2);
    store_advance(s, -HOUR);
    assert_int_equal(settle_ok(s, fact_of(s, 2, PAYMENT_ACCEPTED)), SETTLE_DONE);
}

static void recover_ends_every_lease(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    assert_int_equal(claim_ok(s).attempt_count, 2);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    assert_int_equal(untold_count(s), 1);
    assert_int_equal(due_count(s) + untold_count(s), 0);
    defer(s, (struct deferral){.payment_id = payment(2), .pause_us = HOUR, .no_answer = true});
    assert_int_equal(store_i64(s, "SELECT sum(tries) FROM attempts", NULL), 1);
    assert_int_equal(ledger_recover(s->ledger), ERR_OK);
    assert_int_equal(store_i64(s, "SELECT sum(tries) FROM attempts", NULL), 0);
    assert_int_equal(ledger_recover(s->ledger), ERR_OK);
    assert_int_equal(due_count(s), 1);
    assert_int_equal(untold_count(s), 1);
}

/* ---- when something is wrong ---- */

static void a_damaged_user_does_not_keep_the_others_waiting(void **state)
{
    struct store *s = *state;
    struct ledger_counts counts;
    for (int n = 1; n <= 20; n++) /* more than are found in one call */
        append_ok(s, pays(n, n));
    store_sql(s, "UPDATE payments SET currency = 'none' WHERE seq <= 10");
    struct ledger_claimed got = {0};
    struct ledger_claim claim = claim_default();
    enum err err;
    int calls = 0;
    do
        err = ledger_claim(s->ledger, &claim, &s->arena, &got);
    while (err == ERR_CORRUPT && ++calls < 5);
    assert_int_equal(err, ERR_OK);
    assert_int_equal(calls, 1);
    assert_int_equal(got.attempt_count, 10);
    assert_non_null(strstr(ledger_why(s->ledger), "aa000000-0000-7000-8000-0000000000"));
    assert_int_equal(ledger_counts(s->ledger, &counts), ERR_OK);
    assert_int_equal(counts.alarms, 10);
    assert_non_null(strstr(last_event(s, 3), "\"alarm\":\"damaged\""));
    store_advance(s, 301 * SECOND); /* looked at again, and no second alarm */
    err = ledger_claim(s->ledger, &claim, &s->arena, &got);
    assert_int_equal(ledger_counts(s->ledger, &counts), ERR_OK);
    assert_int_equal(counts.alarms, 10);
    store_sql(s, "UPDATE payments SET currency = 'RUB'");
    store_advance(s, 301 * SECOND);
    assert_int_equal(claim_ok(s).attempt_count, 10);
}

static void a_damaged_payment_in_flight_does_not_keep_the_others_waiting(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    assert_int_equal(claim_ok(s).attempt_count, 2);
    store_advance(s, LEASE_US);
    store_sql(s, "UPDATE payments SET currency = 'none' WHERE seq = 1");
    assert_int_equal(due_count(s), 1);
    store_sql(s, "UPDATE payments SET currency = 'RUB'");
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    settle_ok(s, fact_of(s, 2, PAYMENT_DECLINE));
    store_sql(s, "UPDATE payments SET reason = 'x' WHERE seq = 2");
    assert_int_equal(untold_count(s), 1);
    store_sql(s, "UPDATE payments SET reason = NULL");
}

static void encode_nothing(const struct charge *charge, struct str *out)
{
    (void)charge;
    (void)out;
}

static void without_a_body_nothing_is_claimed(void **state)
{
    struct store *s = *state;
    struct ledger_claim claim = claim_default();
    struct ledger_claimed got;
    claim.encode = encode_nothing;
    append_ok(s, pays(1, 1));
    assert_int_equal(ledger_claim(s->ledger, &claim, &s->arena, &got), ERR_OK);
    assert_int_equal(got.attempt_count, 0);
    assert_status(s, 1, "new/unknown");
    assert_string_not_equal(ledger_why(s->ledger), "");
    store_advance(s, 301 * SECOND);
    claim_one(s, 1);
}

static void without_memory_nothing_is_claimed(void **state)
{
    struct store *s = *state;
    struct ledger_claim claim = claim_default();
    struct ledger_claimed got;
    struct arena small;
    arena_init(&small, 64);
    append_ok(s, pays(1, 1));
    s->changes = 0;
    assert_int_equal(ledger_claim(s->ledger, &claim, &small, &got), ERR_NO_MEMORY);
    arena_release(&small);
    assert_status(s, 1, "new/unknown");
    assert_int_equal(s->changes, 0);
    claim_one(s, 1);
}

/* ---- crowds: more requests of one user than are decided row by row ---- */

#define CROWD_BATCH 7000

/* `count` requests of a user as payments first_n, first_n + 1, …: payments, or refunds. */
static void append_crowd(struct store *s, int user_n, int first_n, int count, bool refund)
{
    static struct ledger_record r[CROWD_BATCH];
    for (int at = 0; at < count; at += CROWD_BATCH) {
        int n = count - at < CROWD_BATCH ? count - at : CROWD_BATCH;
        for (int i = 0; i < n; i++)
            r[i] = refund ? refunds(user_n, first_n + at + i) : pays(user_n, first_n + at + i);
        assert_int_equal(store_append(s, r, (size_t)n), ERR_OK);
    }
}

/* How many payments of the user are like that, by what row and last event say, and they agree. */
static int64_t crowd_count(struct store *s, int user_n, const char *like)
{
    char sql[900];
    struct uuid u = user(user_n);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM payments p JOIN events e ON e.subject_id = p.id AND e.seq = "
             "(SELECT max(x.seq) FROM events x WHERE x.subject_id = p.id) WHERE p.user_id = ?1 "
             "AND p.processing_status || '/' || p.payment_status || coalesce(' ' || p.reason, '') "
             "|| coalesce(' ->' || p.duplicate_of, '') || ' ' || e.subject || ' ' || e.actor || "
             "' ' || e.from_status || '>' || e.to_status || ' ' || e.payment_status || ' ' || "
             "e.detail || ' ' || e.at = '%s 2025-11-24T16:00:00.000000Z'",
             like);
    return store_i64(s, sql, text_of(s, &u));
}

#define PAYMENT_ID "bb000000-0000-7000-8000-"
#define DUPLICATE_OF(id)                                                                           \
    "duplicated/unknown ->" PAYMENT_ID id " payment processor new>duplicated unknown "             \
    "{\"duplicate_of\":\"" PAYMENT_ID id "\"}"
#define IS_TOO_OLD                                                                                 \
    "processed/error too_old payment processor new>processed error {\"reason\":\"too_old\"}"
#define IS_GRANTED                                                                                 \
    "duplicated/unknown granted payment processor new>duplicated unknown "                         \
    "{\"reason\":\"granted\"}"

static void a_flood_of_one_user_is_decided_at_once(void **state)
{
    enum { FLOOD = 70000 }; /* 0x11170 */
    struct store *s = *state;
    struct timespec from, to;
    append_ok(s, refunds(1, 1)); /* the oldest */
    append_crowd(s, 1, 2, FLOOD - 1, false);
    append_ok(s, pays(2, FLOOD + 1));
    store_analyze(s);
    s->changes = 0;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    struct ledger_claimed got = claim_ok(s);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    assert_true(to.tv_sec - from.tv_sec < 10); /* a guard; it takes a second */
    assert_int_equal(got.users, 2);
    assert_int_equal(got.attempt_count, 2);
    struct uuid flooder = user(1);
    size_t his = uuid_equal(&got.attempts[0].user_id, &flooder) ? 0 : 1; /* in whatever order */
    assert_int_equal(got.attempts[his].seq, FLOOD); /* the latest, not the oldest */
    assert_int_equal(got.duplicated, FLOOD - 1);
    assert_int_equal(got.closed, 0);
    assert_int_equal(s->changes, LEDGER_CHANGE_PAYMENT);
    assert_int_equal(crowd_count(s, 1, DUPLICATE_OF("000000011170")), FLOOD - 1);
    struct fact f = fact_of(s, FLOOD, PAYMENT_DECLINE);
    assert_int_equal(ledger_settle(s->ledger, &f, 1), ERR_OK);
    assert_int_equal(f.waiting_duplicated, 0);
    claim_none(s); /* the refund was not decided as if it were the latest */
    assert_status(s, 1, "duplicated/unknown ->70000");
}

/* The same requests of two users, of whom one has a few more than are decided row by row. */
static void a_crowd_becomes_what_few_become(void **state)
{
    enum { CROWD = 3000, FEW = 3 };
    struct store *s = *state;
    append_crowd(s, 1, 1, CROWD - 1, false);
    append_ok(s, pays(1, CROWD));
    append_crowd(s, 2, CROWD + 1, FEW, false);
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.attempt_count, 2);
    assert_int_equal(got.duplicated, CROWD - 1 + FEW - 1);
    assert_int_equal(crowd_count(s, 1, DUPLICATE_OF("000000000bb8")), CROWD - 1);
    assert_int_equal(crowd_count(s, 2, DUPLICATE_OF("000000000bbb")), FEW - 1);
    /* By the oldest and the newest: both forms, to the last column. */
    assert_int_equal(
        store_i64(s,
                  "SELECT count(DISTINCT e.at || e.subject || e.actor || e.from_status || "
                  "e.to_status || e.payment_status || e.detail) FROM events e JOIN payments p "
                  "ON p.id = e.subject_id WHERE e.to_status = 'duplicated' AND p.seq <= 3000",
                  NULL),
        1);
    assert_int_equal(store_i64(s,
                               "SELECT count(*) FROM events a JOIN events b ON b.seq = a.seq + 1 "
                               "WHERE a.to_status = 'duplicated' AND b.to_status = 'duplicated' "
                               "AND a.subject_id > b.subject_id",
                               NULL),
                     0); /* in the order of the requests */
}

static void a_crowd_is_cancelled_with_its_oldest_payment(void **state)
{
    enum { CROWD = 3000 };
    struct store *s = *state;
    struct ledger_record old = pays(3, 3 * CROWD + 1);
    append_crowd(s, 2, 1, CROWD, true); /* there is nothing else */
    append_crowd(s, 1, CROWD + 1, 2, false);
    append_crowd(s, 1, CROWD + 3, CROWD - 2, true);
    append_crowd(s, 1, 2 * CROWD + 1, CROWD, true);
    old.request.requested_at_us = START_US - MAX_AGE_US - 1; /* takes no part */
    append_ok(s, old);
    append_crowd(s, 3, 3 * CROWD + 2, CROWD, true);
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.attempt_count, 0);
    assert_int_equal(got.closed, 4);
    assert_int_equal(got.duplicated, 4 * CROWD - 3);
    assert_status(s, CROWD, "processed/error nothing_to_refund");
    assert_status(s, 3 * CROWD, "processed/error cancelled");
    assert_status(s, 4 * CROWD + 1, "processed/error nothing_to_refund");
    assert_int_equal(crowd_count(s, 1, DUPLICATE_OF("000000002328")), 2 * CROWD - 1);
    assert_int_equal(crowd_count(s, 3, IS_TOO_OLD), 1);
    assert_int_equal(untold_count(s), 3);
}

static void the_too_old_ones_of_a_crowd_are_closed(void **state)
{
    enum { CROWD = 3000 };
    struct store *s = *state;
    append_crowd(s, 1, 1, CROWD, false);
    append_crowd(s, 2, CROWD + 1, CROWD, false);
    /* Each of the three clocks; one at the very limit is not too old. */
    store_sql(s, "UPDATE payments SET payment_date = '2025-11-24T09:59:59.999999Z' WHERE seq = 7; "
                 "UPDATE payments SET recorded_at = '2025-11-24T09:59:59.999999Z' WHERE seq = 8; "
                 "UPDATE payments SET stored_at = '2025-11-24T09:59:59.999999Z' WHERE seq = 9; "
                 "UPDATE payments SET payment_date = '2025-11-24T10:00:00.000000Z', "
                 "recorded_at = '2025-11-24T10:00:00.000000Z' WHERE seq = 10; "
                 /* of the first user all of the newest, of the other all */
                 "UPDATE payments SET payment_date = '2025-11-24T09:00:00.000000Z' "
                 "WHERE seq > 1500");
    s->changes = 0;
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.users, 2);
    assert_int_equal(got.attempt_count, 1);
    assert_int_equal(got.attempts[0].seq, 1500);
    assert_int_equal(got.closed, 2 * CROWD - 1500 + 3);
    assert_int_equal(got.duplicated, 1500 - 3 - 1);
    assert_int_equal(s->changes, LEDGER_CHANGE_PAYMENT | LEDGER_CHANGE_SETTLED);
    assert_int_equal(crowd_count(s, 1, IS_TOO_OLD), CROWD - 1500 + 3);
    assert_int_equal(crowd_count(s, 2, IS_TOO_OLD), CROWD);
    assert_int_equal(crowd_count(s, 1, DUPLICATE_OF("0000000005dc")), 1500 - 3 - 1);
    assert_status(s, 7, "processed/error too_old");
    assert_status(s, 8, "processed/error too_old");
    assert_status(s, 9, "processed/error too_old");
    assert_status(s, 10, "duplicated/unknown ->1500");
    assert_int_equal(untold_count(s), 2);
}

static void without_a_bound_nobody_of_a_crowd_is_too_old(void **state)
{
    enum { CROWD = 1100 };
    struct store *s = *state;
    struct ledger_claim claim = claim_default();
    claim.limits.request_max_age_us = TIME_NEVER;
    append_crowd(s, 1, 1, CROWD, false);
    store_sql(s, "UPDATE payments SET payment_date = '1970-01-01T00:00:00.000000Z'");
    struct ledger_claimed got = claim_as(s, &claim);
    assert_int_equal(got.attempt_count, 1);
    assert_int_equal(got.closed, 0);
    assert_int_equal(got.duplicated, CROWD - 1);
}

static void a_crowd_duplicates_what_the_latest_duplicates(void **state)
{
    enum { CROWD = 2500 };
    struct store *s = *state;
    subscribe(s, 1, 9001); /* 0x2329 */
    grant(s, 2, "cc000000-0000-7000-8000-000000000001", "2025-11-24T00:00:00.000000Z",
          "2025-12-24T00:00:00.000000Z");
    append_crowd(s, 1, 1, CROWD, false);
    append_crowd(s, 2, CROWD + 1, CROWD, false);
    claim_none(s);
    assert_int_equal(crowd_count(s, 1, DUPLICATE_OF("000000002329")), CROWD);
    assert_int_equal(crowd_count(s, 2, IS_GRANTED), CROWD);
}

/* On both sides of the limit. */
static void as_many_as_are_decided_row_by_row(void **state)
{
    struct store *s = *state;
    int n = 1;
    for (int crowd = 1023; crowd <= 1026; crowd++) {
        append_crowd(s, crowd, n, crowd, false);
        n += crowd;
    }
    struct ledger_claimed got = claim_ok(s);
    assert_int_equal(got.attempt_count, 4);
    assert_int_equal(got.duplicated, 1022 + 1023 + 1024 + 1025);
    assert_int_equal(store_i64(s, "SELECT count(DISTINCT duplicate_of) FROM payments", NULL), 4);
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM payments WHERE processing_status = 'new'", NULL), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(the_latest_of_whichever_type_is_sent),
        T(the_attempt_is_what_was_stored),
        T(users_are_taken_in_the_order_in_which_they_became_due),
        T(nobody_is_due_in_an_empty_store),
        T(a_subscribed_user_pays_nothing),
        T(a_clock_that_is_set_back_makes_nobody_pay_again),
        T(a_grant_counts_too),
        T(a_refund_names_its_target_and_its_amount),
        T(refunds_that_need_no_call),
        T(a_second_refund_duplicates_the_first),
        T(support_names_a_target_of_an_earlier_period),
        T(too_old_requests_are_closed_first),
        T(a_lease_keeps_others_away_until_it_ends),
        T(due_takes_at_most_max_the_longest_due_first),
        T(when_it_was_sent_is_kept_by_the_senders_clock_too),
        T(a_deferral_paces_and_remembers),
        T(a_deferral_of_what_is_not_in_flight_is_ignored),
        T(a_clock_that_steps_back_is_told),
        T(recover_ends_every_lease),
        T(a_damaged_user_does_not_keep_the_others_waiting),
        T(a_damaged_payment_in_flight_does_not_keep_the_others_waiting),
        T(without_a_body_nothing_is_claimed),
        T(without_memory_nothing_is_claimed),
        T(a_flood_of_one_user_is_decided_at_once),
        T(a_crowd_becomes_what_few_become),
        T(a_crowd_is_cancelled_with_its_oldest_payment),
        T(the_too_old_ones_of_a_crowd_are_closed),
        T(without_a_bound_nobody_of_a_crowd_is_too_old),
        T(a_crowd_duplicates_what_the_latest_duplicates),
        T(as_many_as_are_decided_row_by_row),
    };
    return cmocka_run_group_tests_name("ledger claim", tests, NULL, NULL);
}
