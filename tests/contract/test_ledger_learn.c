/* Rule 11 through the tables: what the processing's journal tells books that are behind it. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

static const char *id_text(struct store *s, int payment_n)
{
    struct uuid id = payment(payment_n);
    return text_of(s, &id);
}

static void sent(struct store *s, int user_n, int payment_n)
{
    append_ok(s, pays(user_n, payment_n));
    claim_one(s, payment_n);
}

static struct journal_entry refund_line(struct store *s, int user_n, int payment_n, int of,
                                        enum learn_answer answer)
{
    struct journal_entry e = line_of(s, user_n, payment_n, answer);
    e.request.payment_type = PAYMENT_TYPE_REFUND;
    e.request.refund_of = payment(of);
    return e;
}

static int64_t alarms(struct store *s)
{
    return store_i64(s, "SELECT count(*) FROM events WHERE to_status IS NULL", NULL);
}

/* ---- the position ---- */

static void the_position_is_compared_and_set(void **state)
{
    struct store *s = *state;
    struct ledger_learned out = {.rewound = true, .recorded = 7};
    sent(s, 1, 1);
    struct journal_entry e = line_of(s, 1, 1, LEARN_SUCCESS);
    e.seq = 10;
    assert_int_equal(journal_position(s), 0);
    struct ledger_reading reading = {.instance_id = INSTANCE, .from = 3};
    assert_int_equal(ledger_learn(s->ledger, &reading, &e, 1, &out), ERR_MOVED);
    assert_true(out.rewound && out.recorded == 7); /* untouched */
    assert_status(s, 1, "in_processing/unknown");
    reading.from = 0;
    assert_int_equal(ledger_learn(s->ledger, &reading, &e, 1, &out), ERR_OK);
    assert_int_equal(out.recorded, 1);
    assert_false(out.rewound);
    assert_int_equal(journal_position(s), 10);
    assert_int_equal(ledger_learn(s->ledger, &reading, &e, 1, &out), ERR_MOVED);
    assert_int_equal(ledger_reading(s->ledger, "another", &reading), ERR_OK);
    assert_int_equal(reading.from, 0);
    assert_int_equal(ledger_learn(s->ledger, &reading, NULL, 0, &out), ERR_OK);
    assert_int_equal(out.recorded, 0);
    assert_int_equal(journal_position(s), 10);
}

/* ---- where a reading may end ---- */

static struct ledger_learned read_one(struct store *s, int64_t began, struct journal_entry line)
{
    struct ledger_reading reading = reading_now(s);
    struct ledger_learned out = {0};
    reading.began = began;
    assert_int_equal(ledger_learn(s->ledger, &reading, &line, 1, &out), ERR_OK);
    return out;
}

/* By a processor, which knows by which clock it sends. */
static void sent_by_processor(struct store *s, int user_n, int payment_n)
{
    struct ledger_claim claim = claim_default();
    claim.boot_id = "0dd3a9f6-7d7a-4c33-8d5e-9f5b4b2d7c11";
    append_ok(s, pays(user_n, payment_n));
    assert_int_equal(claim_as(s, &claim).attempt_count, 1);
}

static void a_reading_has_caught_up_with_what_was_claimed_after_it_began(void **state)
{
    struct store *s = *state;
    sent_by_processor(s, 1, 1);
    int64_t began = reading_now(s).began;
    assert_true(began > 0);
    sent_by_processor(s, 2, 2);
    assert_false(read_one(s, began, line_of(s, 1, 1, LEARN_DECLINE)).caught_up);
    int64_t position = journal_position(s);
    struct ledger_learned got = read_one(s, began, line_of(s, 2, 2, LEARN_SUCCESS));
    assert_true(got.caught_up);
    assert_int_equal(got.taken + got.recorded, 0); /* it is left to who sent it */
    assert_int_equal(journal_position(s), position);
    assert_int_equal(settle_ok(s, fact_of(s, 2, PAYMENT_ACCEPTED)), SETTLE_DONE);
    assert_true(read_one(s, began, line_of(s, 2, 2, LEARN_SUCCESS)).caught_up);
    got = read_one(s, reading_now(s).began, line_of(s, 2, 2, LEARN_SUCCESS));
    assert_true(!got.caught_up && got.taken == 1);
    learned_ok(s);
}

/* What the journal itself taught, before or in this reading, was sent long ago. */
static void what_was_learned_does_not_end_a_reading(void **state)
{
    struct store *s = *state;
    int64_t began = reading_now(s).began;
    append_ok(s, pays(1, 1));
    assert_false(read_one(s, began, line_of(s, 1, 1, LEARN_PENDING)).caught_up);
    learned_ok(s);
    assert_false(read_one(s, began, line_of(s, 1, 1, LEARN_SUCCESS)).caught_up);
    assert_false(
        read_one(s, began, line_of(s, 3, 3, LEARN_SUCCESS)).caught_up); /* nobody knew it */
    learned_ok(s);
}

/* While the books are known to be rewound a reading goes on to the end of the journal. */
static void rewound_books_are_read_to_the_end(void **state)
{
    struct store *s = *state;
    int64_t began = reading_now(s).began;
    sent_by_processor(s, 1, 1);
    append_ok(s, pays(2, 2));
    struct journal_entry lines[] = {line_of(s, 2, 2, LEARN_DECLINE),
                                    line_of(s, 1, 1, LEARN_SUCCESS)};
    struct ledger_reading reading = reading_now(s);
    struct ledger_learned out = {0};
    reading.began = began;
    assert_int_equal(ledger_learn(s->ledger, &reading, lines, 2, &out), ERR_OK);
    assert_true(out.rewound && !out.caught_up);
    assert_int_equal(out.taken, 1);
    assert_int_equal(read_one(s, began, lines[1]).taken, 1);
    learned_ok(s);
    assert_true(read_one(s, began, line_of(s, 1, 1, LEARN_SUCCESS)).caught_up);
}

/* ---- books that are not behind ---- */

static void what_the_books_know_changes_nothing(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    int64_t events = store_i64(s, "SELECT count(*) FROM events", NULL);
    struct journal_entry lines[] = {line_of(s, 1, 1, LEARN_PENDING),
                                    line_of(s, 1, 1, LEARN_SUCCESS)};
    struct ledger_learned got = learn_lines(s, lines, 2);
    assert_false(got.rewound);
    assert_int_equal(got.recorded + got.alarms, 0);
    learned_ok(s);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM events", NULL), events);
}

static void an_answer_that_was_lost_is_settled(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    append_ok(s, pays(1, 2)); /* a double click */
    append_ok(s, asks(1, 3, PAYMENT_TYPE_REFUND, SUBSCRIPTION_MONTH));
    struct ledger_learned got = learn_ok(s, line_of(s, 1, 1, LEARN_SUCCESS));
    assert_int_equal(got.recorded, 1);
    assert_status(s, 1, "processed/accepted");
    assert_status(s, 2, "new/unknown"); /* held: it may show that it was sent itself */
    append_ok(s, pays(1, 4));           /* did not wait */
    claim_none(s);                      /* not before the reading is complete */
    learned_ok(s);
    assert_status(s, 2, "duplicated/unknown ->1"); /* rule 2, as if answered */
    assert_status(s, 3, "new/unknown");
    claim_none(s);
    assert_status(s, 4, "duplicated/unknown ->1"); /* rule 3: a second subscription */
    assert_status(s, 3, "duplicated/unknown ->1");
}

static void what_was_stored_after_it_did_not_wait(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    append_ok(s, pays(1, 2));
    (void)learn_ok(s, line_of(s, 1, 1, LEARN_DECLINE));
    append_ok(s, pays(1, 3));
    learned_ok(s);
    assert_status(s, 2, "duplicated/unknown ->1");
    assert_status(s, 3, "new/unknown");
    claim_one(s, 3);
}

static void a_page_is_learned(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    struct journal_entry e = line_of(s, 1, 1, LEARN_PENDING);
    e.expires_at_us = START_US + HOUR;
    append_ok(s, pays(1, 2));
    struct ledger_learned got = learn_ok(s, e);
    assert_false(got.rewound);
    assert_string_equal(
        store_text(s, "SELECT action_url FROM payments WHERE id = ?1", id_text(s, 1)), PAGE);
    learned_ok(s);
    assert_int_equal(claim_ok(s).duplicated, 1);
    assert_status(s, 2, "duplicated/unknown ->1");
    store_advance(s, LEASE_US);
    struct attempt a = due_is(s, 1);
    assert_true(a.pending);
    assert_false(a.ask_only); /* these books sent it */
}

static void a_voided_one_says_why(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    defer_ok(s, page_of(1, 0));
    append_ok(s, refunds(1, 2));
    struct journal_entry e = line_of(s, 1, 1, LEARN_ERROR);
    e.voided = true;
    (void)learn_ok(s, e);
    assert_status(s, 1, "processed/error superseded");
    learned_ok(s);
    claim_none(s);
    assert_status(s, 2, "processed/error nothing_to_refund");
}

/* ---- books that were rewound ---- */

static void a_new_payment_that_was_executed_is_recorded(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    s->changes = 0;
    struct ledger_learned got = learn_ok(s, line_of(s, 1, 1, LEARN_SUCCESS));
    assert_true(got.rewound);
    assert_int_equal(got.recorded, 1);
    assert_true(s->changes & LEDGER_CHANGE_SETTLED);
    assert_status(s, 1, "processed/accepted");
    assert_string_equal(store_text(s,
                                   "SELECT group_concat(coalesce(from_status, '') || '>' || "
                                   "to_status, ' ') FROM events WHERE subject_id = ?1",
                                   id_text(s, 1)),
                        ">new new>in_processing in_processing>processed");
    assert_string_equal(store_text(s, "SELECT body || instance_id || ask_only FROM attempts", NULL),
                        "{\"as\":\"sent\"}" INSTANCE "1");
    assert_string_equal(store_text(s, "SELECT processing_id FROM payments", NULL), "tx");
    assert_string_equal(store_text(s, "SELECT starts_at FROM subscriptions", NULL),
                        "2025-11-24T16:00:00.000000Z");
    learned_ok(s);
    claim_none(s);
    assert_int_equal(untold_count(s), 1); /* the user is told again: at least once */
    assert_false(learn_ok(s, line_of(s, 1, 1, LEARN_SUCCESS)).rewound);
    learned_ok(s);
}

static void one_that_the_books_do_not_know_is_made(void **state)
{
    struct store *s = *state;
    struct journal_entry e = line_of(s, 1, 1, LEARN_SUCCESS);
    e.request.subscription_type = SUBSCRIPTION_YEAR;
    e.money = (struct money){123, "EUR"}; /* as executed, whatever the price is now */
    snprintf(e.request.payment_method, sizeof e.request.payment_method, "pm_1");
    assert_true(learn_ok(s, e).rewound);
    assert_status(s, 1, "processed/accepted");
    assert_string_equal(store_text(s,
                                   "SELECT amount || currency || payment_method || payment_date "
                                   "FROM payments",
                                   NULL),
                        "123EURpm_12025-11-24T16:00:00.000000Z");
    learned_ok(s);
    struct ledger_record r = asks(1, 1, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_YEAR);
    assert_int_equal(store_append(s, &r, 1), ERR_OK); /* the saver comes to it later */
    assert_int_equal(r.verdict, APPEND_REPEATED);
    claim_none(s);
}

static void an_executed_amount_that_differs_from_the_price_is_the_truth(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    struct journal_entry e = line_of(s, 1, 1, LEARN_SUCCESS);
    e.money.amount_minor = 50000;
    assert_true(learn_ok(s, e).rewound);
    assert_int_equal(store_i64(s, "SELECT amount FROM payments", NULL), 50000);
    append_ok(s, pays(2, 2));
    e = line_of(s, 2, 2, LEARN_SUCCESS);
    e.money.amount_minor = 9; /* the last move says what it was, not the largest */
    assert_true(learn_ok(s, e).rewound);
    learned_ok(s);
}

static void every_definite_answer(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    append_ok(s, pays(3, 3));
    struct journal_entry lines[] = {line_of(s, 1, 1, LEARN_DECLINE), line_of(s, 2, 2, LEARN_ERROR),
                                    line_of(s, 3, 3, LEARN_ERROR)};
    lines[2].voided = true;
    assert_int_equal(learn_lines(s, lines, 3).recorded, 3);
    assert_status(s, 1, "processed/decline");
    assert_status(s, 2, "processed/error refused");
    assert_status(s, 3, "processed/error not_answered");
    learned_ok(s);
}

static void a_refund_that_was_executed_is_recorded(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    store_advance(s, DAY);
    append_ok(s, refunds(1, 2));
    struct journal_entry lines[] = {refund_line(s, 1, 2, 1, LEARN_SUCCESS),
                                    line_of(s, 2, 5, LEARN_SUCCESS),
                                    refund_line(s, 2, 6, 5, LEARN_SUCCESS)};
    assert_int_equal(learn_lines(s, lines, 3).recorded, 3);
    assert_status(s, 2, "processed/accepted");
    assert_status(s, 6, "processed/accepted");
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM subscriptions WHERE end_reason = 'refund'", NULL), 2);
    assert_string_equal(
        store_text(s, "SELECT refund_of || amount FROM payments WHERE id = ?1", id_text(s, 2)),
        "bb000000-0000-7000-8000-00000000000139900");
    learned_ok(s);
    append_ok(s, refunds(1, 7));
    claim_none(s);
}

static void what_waits_for_its_payer_is_adopted(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    assert_true(learn_ok(s, line_of(s, 1, 1, LEARN_PENDING)).rewound);
    assert_status(s, 1, "in_processing/unknown");
    struct attempt a = due_is(s, 1);
    assert_true(a.pending && a.ask_only);
    assert_string_equal(a.body, "{\"as\":\"sent\"}");
    append_ok(s, pays(1, 2)); /* may have been sent: only the whole reading shows that */
    assert_int_equal(claim_ok(s).duplicated, 0);
    learned_ok(s);
    assert_int_equal(claim_ok(s).duplicated, 1);
    assert_status(s, 2, "duplicated/unknown ->1");
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    assert_status(s, 1, "processed/decline");
}

static void an_older_request_does_not_supersede_it(void **state)
{
    struct store *s = *state;
    append_ok(s, refunds(1, 1));
    append_ok(s, pays(1, 2));
    assert_true(learn_ok(s, line_of(s, 1, 2, LEARN_PENDING)).rewound);
    assert_false(due_is(s, 2).superseded);
    learned_ok(s);
    assert_status(s, 1, "duplicated/unknown ->2");
}

static void an_unknown_one_that_waits_is_made_and_adopted_and_then_answered(void **state)
{
    struct store *s = *state;
    struct journal_entry lines[] = {line_of(s, 1, 1, LEARN_PENDING),
                                    line_of(s, 1, 1, LEARN_SUCCESS)};
    assert_true(learn_lines(s, lines, 2).rewound);
    assert_status(s, 1, "processed/accepted");
    learned_ok(s);
}

static void a_refund_without_an_answer_is_adopted_without_a_page(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    struct journal_entry e = refund_line(s, 1, 2, 1, LEARN_PENDING);
    assert_true(learn_ok(s, e).rewound);
    assert_status(s, 2, "in_processing/unknown");
    struct attempt a = due_is(s, 2);
    assert_true(a.ask_only);
    assert_false(a.pending);
    learned_ok(s);
    (void)learn_ok(s, refund_line(s, 1, 2, 1, LEARN_PENDING)); /* no page either */
    learned_ok(s);
}

static void the_recorded_one_stands_for_the_older_ones(void **state)
{
    struct store *s = *state;
    struct ledger_record r[] = {pays(1, 1), pays(1, 2), refunds(1, 3), pays(1, 4)};
    assert_int_equal(store_append(s, r, 4), ERR_OK);
    assert_true(learn_ok(s, line_of(s, 1, 2, LEARN_DECLINE)).rewound);
    assert_true(learn_ok(s, refund_line(s, 1, 3, 9, LEARN_ERROR)).rewound);
    assert_status(s, 1, "new/unknown");
    learned_ok(s);
    assert_status(s, 1, "duplicated/unknown ->3"); /* of the latest */
    assert_status(s, 4, "new/unknown");
    claim_one(s, 4);
    learned_ok(s); /* harmless */
}

/* More of them than are looked at one by one. */
static void it_stands_for_a_crowd_but_not_for_what_was_sent(void **state)
{
    struct store *s = *state;
    enum { CROWD = 1100 };
    static struct ledger_record r[CROWD + 2];
    for (int i = 0; i < CROWD + 2; i++)
        r[i] = pays(1, i + 1);
    assert_int_equal(store_append(s, r, CROWD + 2), ERR_OK);
    store_sql(s, "UPDATE payments SET ask_first = 1 WHERE seq = 300");
    assert_true(learn_ok(s, line_of(s, 1, CROWD + 1, LEARN_DECLINE)).rewound);
    learned_ok(s);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM payments WHERE duplicate_of = ?1",
                               id_text(s, CROWD + 1)),
                     CROWD - 1);
    assert_status(s, 300, "new/unknown");
    assert_status(s, CROWD + 2, "new/unknown");
    assert_int_equal(event_count(s, 1), 2);
    assert_string_equal(last_event(s, CROWD), last_event(s, 1));
}

/* A was in flight in the backup; afterwards it was answered, and B was sent. */
static void nothing_becomes_a_duplicate_while_the_books_are_rewound(void **state)
{
    struct store *s = *state;
    for (int calls = 1; calls <= 2; calls++) {
        int a = 10 * calls + 1, b = a + 1;
        sent(s, calls, a);
        append_ok(s, pays(calls, b));
        struct journal_entry lines[] = {line_of(s, calls, a, LEARN_DECLINE),
                                        line_of(s, calls, b, LEARN_SUCCESS)};
        if (calls == 2) {
            (void)learn_ok(s, lines[0]);
            assert_true(learn_ok(s, lines[1]).rewound);
        } else {
            assert_true(learn_lines(s, lines, 2).rewound);
        }
        assert_status(s, a, "processed/decline");
        assert_status(s, b, "processed/accepted");
        learned_ok(s);
    }
    assert_int_equal(alarms(s), 0);
}

static void a_person_had_decided_about_the_one_in_flight(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    append_ok(s, pays(1, 2));
    assert_true(learn_ok(s, line_of(s, 1, 2, LEARN_SUCCESS)).rewound); /* only after 1 was over */
    assert_string_equal(last_event(s, 2),
                        "processor new>processed accepted {\"amount\":39900,\"currency\":\"RUB\","
                        "\"expiration_date\":\"2025-12-24T16:00:00.000000Z\"}");
    learned_ok(s);
    store_advance(s, LEASE_US);
    assert_true(due_is(s, 1).ask_only);
    settle_ok(s, voided_of(s, 1));
}

static void a_refund_that_was_decided_gives_way_to_the_recorded_one(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    append_ok(s, refunds(1, 2));
    claim_one(s, 2);
    assert_true(learn_ok(s, refund_line(s, 1, 3, 1, LEARN_SUCCESS)).rewound);
    learned_ok(s);
    assert_status(s, 3, "processed/accepted");
    store_sane(s);
    settle_ok(s, fact_of(s, 2, PAYMENT_ERROR)); /* nothing is left of the charge */
    assert_status(s, 2, "processed/error refused");
}

/* The answer cannot be understood: this payment alone is asked about, nobody waits for it. */
static void what_is_unclear_is_asked_about(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    struct journal_entry e = line_of(s, 1, 1, LEARN_UNCLEAR);
    e.processing_id = "";
    assert_true(learn_ok(s, e).rewound);
    learned_ok(s);
    assert_status(s, 1, "in_processing/unknown");
    claim_one(s, 2);
    struct attempt a = due_is(s, 1);
    assert_true(a.ask_only);
    assert_false(a.pending);
    e.seq = ++s->line;
    assert_false(learn_ok(s, e).rewound); /* once more */
    learned_ok(s);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
}

static void a_second_page_is_asked_about_first(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    append_ok(s, pays(1, 2));
    assert_true(learn_ok(s, line_of(s, 1, 2, LEARN_PENDING)).rewound);
    assert_status(s, 2, "new/unknown");
    learned_ok(s);
    settle_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    assert_status(s, 2, "new/unknown"); /* no duplicate: it was sent */
    struct attempt a = claim_one(s, 2);
    assert_true(a.ask_first && a.ask_only);
    assert_status(s, 2, "new/unknown");
}

/* ---- contradictions ---- */

static void contradictions_are_alarms_and_change_nothing(void **state)
{
    struct store *s = *state;
    subscribe(s, 1, 1);
    struct ledger_record r[] = {pays(2, 2), pays(2, 3), pays(4, 5)};
    assert_int_equal(store_append(s, r, 3), ERR_OK);
    struct ledger_claim claim = claim_default();
    (void)claim_as(s, &claim);
    struct journal_entry lines[] = {
        line_of(s, 1, 1, LEARN_DECLINE), /* recorded otherwise */
        line_of(s, 2, 2, LEARN_SUCCESS), /* a duplicate */
        line_of(s, 9, 3, LEARN_SUCCESS), /* another user */
        line_of(s, 4, 5, LEARN_SUCCESS), /* another amount */
        line_of(s, 4, 5, LEARN_SUCCESS), /* and once more */
    };
    lines[3].money.amount_minor = lines[4].money.amount_minor = 1;
    struct ledger_learned got = learn_lines(s, lines, 5);
    assert_int_equal(got.alarms, 5);
    assert_int_equal(got.recorded, 0);
    assert_false(got.rewound);
    learned_ok(s);
    assert_int_equal(alarms(s), 4); /* each once */
    assert_status(s, 1, "processed/accepted");
    assert_status(s, 2, "duplicated/unknown ->3");
    assert_status(s, 3, "in_processing/unknown");
    assert_status(s, 5, "in_processing/unknown");
}

/* ---- marks ---- */

static void many_users(void **state)
{
    struct store *s = *state;
    enum { MANY = 600 }; /* more than one transaction of the end */
    static struct ledger_record r[MANY];
    static struct journal_entry lines[MANY];
    for (int i = 0; i < MANY; i++)
        r[i] = pays(i + 1, i + 1);
    assert_int_equal(store_append(s, r, MANY), ERR_OK);
    for (int i = 0; i < MANY; i++)
        lines[i] = line_of(s, i + 1, i + 1, i % 2 ? LEARN_SUCCESS : LEARN_PENDING);
    assert_int_equal(learn_lines(s, lines, MANY).recorded, MANY / 2);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM learning", NULL), MANY);
    learned_ok(s);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM learning", NULL), 0);
    assert_int_equal(due_count(s), 100);
}

static void a_reading_that_died_is_completed_by_the_next(void **state)
{
    struct store *s = *state;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(1, 2));
    assert_true(learn_ok(s, line_of(s, 1, 2, LEARN_DECLINE)).rewound);
    store_reopen(s);
    claim_none(s);
    learned_ok(s); /* the next one has no new line */
    assert_status(s, 1, "duplicated/unknown ->2");
}

static void damage_of_one_user_does_not_stop_the_end(void **state)
{
    struct store *s = *state;
    for (int n = 1; n <= 3; n++) {
        append_ok(s, pays(n, n));
        append_ok(s, pays(n, 10 + n));
        (void)learn_ok(s, line_of(s, n, 10 + n, LEARN_DECLINE));
    }
    store_sql(s, store_is_postgres()
                     ? "ALTER TABLE payments DROP CONSTRAINT payments_payment_type_check; "
                       "UPDATE payments SET payment_type = 'x' WHERE seq = 3"
                     : "UPDATE payments SET id = 'x' WHERE seq = 3");
    learned_ok(s);
    assert_status(s, 1, "duplicated/unknown ->11");
    assert_status(s, 3, "duplicated/unknown ->13");
    assert_int_equal(store_i64(s, "SELECT count(*) FROM learning", NULL), 1);
    assert_int_equal(alarms(s), 1);
    claim_none(s);
    store_sql(s, "UPDATE payments SET id = 'bb000000-0000-7000-8000-000000000002', "
                 "payment_type = 'payment' WHERE seq = 3;");
    if (store_is_postgres())
        store_sql(s, "ALTER TABLE payments ADD CONSTRAINT payments_payment_type_check "
                     "CHECK (payment_type IN ('payment', 'refund'))");
    learned_ok(s);
    assert_status(s, 2, "duplicated/unknown ->12");
}

static void an_answer_during_a_reading_is_held_too(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    append_ok(s, pays(1, 2));
    append_ok(s, pays(1, 3));
    assert_true(learn_ok(s, line_of(s, 1, 2, LEARN_SUCCESS)).rewound);
    assert_int_equal(settled_ok(s, fact_of(s, 1, PAYMENT_DECLINE)).waiting_duplicated, 0);
    assert_status(s, 3, "new/unknown");
    learned_ok(s);
    claim_none(s);
    assert_status(s, 3, "duplicated/unknown ->2"); /* rule 3 */
}

/* ---- the mark of rewound books ---- */

static void nobody_sends_while_the_mark_stands(void **state)
{
    struct store *s = *state;
    const struct ledger_claim claim = claim_default();
    sent(s, 1, 1);
    sent(s, 2, 2);
    append_ok(s, pays(2, 3)); /* a double click */
    append_ok(s, pays(3, 4));
    append_ok(s, pays(4, 5));
    assert_true(learn_ok(s, line_of(s, 3, 4, LEARN_DECLINE)).rewound);
    store_reopen(s);           /* the process died */
    store_advance(s, 9 * DAY); /* that does not make it go away */
    const struct uuid mark = learned_with(s, UUID_NIL);
    assert_false(uuid_is_nil(&mark));
    struct ledger_claimed claimed = claim_as(s, &claim); /* of another one, that knows nothing */
    assert_int_equal(claimed.users, 0);
    assert_true(uuid_equal(&claimed.rewound, &mark));
    struct attempt *due = NULL;
    size_t count = 0;
    assert_int_equal(ledger_due(s->ledger, 10, LEASE_US, &s->arena, &due, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_true(due[0].rewound && due[1].rewound);
    assert_int_equal(settled_ok(s, fact_of(s, 2, PAYMENT_DECLINE)).waiting_duplicated, 0);
    assert_status(s, 3, "new/unknown"); /* it may have been sent: a line about it may come */

    struct uuid stands = learned_with(s, payment(77)); /* not this one was waited for */
    assert_true(uuid_equal(&stands, &mark));
    assert_status(s, 3, "new/unknown");
    stands = learned_with(s, mark);
    assert_true(uuid_is_nil(&stands));
    assert_status(s, 3, "duplicated/unknown ->2");
    claimed = claim_as(s, &claim);
    assert_true(uuid_is_nil(&claimed.rewound));
    assert_int_equal(claimed.attempt_count, 0); /* all are too old by now */
    assert_status(s, 5, "processed/error too_old");
    store_advance(s, LEASE_US);
    assert_false(due_is(s, 1).rewound);
}

static void what_is_seen_during_the_wait_makes_it_wait_again(void **state)
{
    struct store *s = *state;
    sent(s, 2, 2);
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 3));
    (void)learn_ok(s, line_of(s, 1, 1, LEARN_DECLINE));
    (void)learn_ok(s, line_of(s, 2, 2, LEARN_DECLINE));
    struct uuid first = learned_with(s, UUID_NIL);
    assert_status(s, 3, "new/unknown");
    assert_true(learn_ok(s, line_of(s, 2, 3, LEARN_SUCCESS)).rewound); /* it had been sent, too */
    struct uuid second = learned_with(s, first);
    assert_false(uuid_is_nil(&second) || uuid_equal(&second, &first));
    learned_ok(s);
    assert_status(s, 3, "processed/accepted");
    assert_int_equal(alarms(s), 0);
    claim_none(s);
}

static void books_that_are_not_behind_leave_no_mark(void **state)
{
    struct store *s = *state;
    sent(s, 1, 1);
    append_ok(s, pays(2, 2));
    (void)learn_ok(s, line_of(s, 1, 1, LEARN_SUCCESS));
    const struct uuid mark = learned_with(s, UUID_NIL);
    assert_true(uuid_is_nil(&mark));
    claim_one(s, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
#define F(name) cmocka_unit_test_setup_teardown(name, store_setup_file, store_teardown)
    const struct CMUnitTest tests[] = {
        T(the_position_is_compared_and_set),
        T(a_reading_has_caught_up_with_what_was_claimed_after_it_began),
        T(what_was_learned_does_not_end_a_reading),
        T(rewound_books_are_read_to_the_end),
        T(what_the_books_know_changes_nothing),
        T(an_answer_that_was_lost_is_settled),
        T(what_was_stored_after_it_did_not_wait),
        T(a_page_is_learned),
        T(a_voided_one_says_why),
        T(a_new_payment_that_was_executed_is_recorded),
        T(one_that_the_books_do_not_know_is_made),
        T(an_executed_amount_that_differs_from_the_price_is_the_truth),
        T(every_definite_answer),
        T(a_refund_that_was_executed_is_recorded),
        T(what_waits_for_its_payer_is_adopted),
        T(an_older_request_does_not_supersede_it),
        T(an_unknown_one_that_waits_is_made_and_adopted_and_then_answered),
        T(a_refund_without_an_answer_is_adopted_without_a_page),
        T(the_recorded_one_stands_for_the_older_ones),
        T(it_stands_for_a_crowd_but_not_for_what_was_sent),
        T(nothing_becomes_a_duplicate_while_the_books_are_rewound),
        T(a_person_had_decided_about_the_one_in_flight),
        T(a_refund_that_was_decided_gives_way_to_the_recorded_one),
        T(what_is_unclear_is_asked_about),
        T(a_second_page_is_asked_about_first),
        T(contradictions_are_alarms_and_change_nothing),
        T(many_users),
        F(a_reading_that_died_is_completed_by_the_next),
        T(damage_of_one_user_does_not_stop_the_end),
        T(an_answer_during_a_reading_is_held_too),
        F(nobody_sends_while_the_mark_stands),
        T(what_is_seen_during_the_wait_makes_it_wait_again),
        T(books_that_are_not_behind_leave_no_mark),
    };
    return cmocka_run_group_tests_name("ledger_learn", tests, NULL, NULL);
}
