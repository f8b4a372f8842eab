/* Verbs of the ledger against each other on PostgreSQL: see explore.h. In the form of all rows at
 * once (SUBPAY_TEST_STORE=postgres, the preset) and row by row (postgres-rows). */
#include <stdio.h>
#include <stdlib.h>

#include "acts.h"
#include "explore.h"
#include "outcome.h"

#define BY_PERSON "admin:aa000000-0000-7000-8000-000000000009"

/* ---- claims ---- */

static void two_users(struct store *s, struct actor actors[])
{
    (void)actors;
    append_ok(s, pays(1, 1));
    append_ok(s, refunds(1, 2));
    append_ok(s, pays(1, 3));
    append_ok(s, pays(2, 4));
}

static void claim_and_newer(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    append_asks(&actors[1], s, 0, pays(1, 2));
}

static void claim_and_other_type(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    append_asks(&actors[1], s, 0, refunds(1, 2));
    append_asks(&actors[1], s, 0, pays(2, 3));
}

static void claim_and_first(struct store *s, struct actor actors[])
{
    append_ok(s, pays(9, 9));
    append_asks(&actors[1], s, 0, pays(1, 1));
}

static void claim_and_settle(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, pays(1, 2));
    append_ok(s, refunds(1, 3));
    settle_says(&actors[1], fact_of(s, 1, PAYMENT_ACCEPTED));
}

static void claim_and_decide(struct store *s, struct actor actors[])
{
    struct deferral shown = deferral_of(1, 0);
    shown.needs_decision = true;
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, pays(1, 2));
    append_ok(s, refunds(1, 3));
    defer_ok(s, shown);
    actors[1].decision = (struct ledger_decision){.payment_id = payment(1),
                                                  .outcome = PAYMENT_DECLINE,
                                                  .evidence = "a statement",
                                                  .actor = BY_PERSON};
}

/* The books have lost that payment 1 was sent. */
static void claim_and_learn(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    journal_says(&actors[1], s, line_of(s, 1, 1, LEARN_SUCCESS));
}

static void claim_and_adopt(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    append_ok(s, pays(1, 2));
    journal_says(&actors[1], s, line_of(s, 1, 1, LEARN_PENDING));
    journal_says(&actors[1], s, line_of(s, 3, 3, LEARN_DECLINE)); /* of a payment that is lost */
}

static void claim_and_learned_all(struct store *s, struct actor actors[])
{
    (void)actors;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(1, 2));
    append_ok(s, pays(2, 3));
    learn_ok(s, line_of(s, 1, 1, LEARN_DECLINE));
}

/* Rule 8: what a claim does about those who wait behind a page. */
static void claim_and_page(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, pays(1, 2));
    actors[1].deferral = page_of(1, SECOND);
}

static void paged_and_settle(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    defer_ok(s, page_of(1, SECOND));
    append_ok(s, pays(1, 2));
    append_ok(s, refunds(1, 3));
    settle_says(&actors[1], fact_of(s, 1, PAYMENT_DECLINE));
}

static void paged_and_append(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    defer_ok(s, page_of(1, SECOND));
    append_ok(s, pays(1, 2));
    append_asks(&actors[1], s, 0, refunds(1, 3));
}

static void claim_and_mark(struct store *s, struct actor actors[])
{
    (void)actors;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
}

static void claim_and_unknown(struct store *s, struct actor actors[])
{
    int64_t marked;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(1, 2));
    assert_int_equal(ledger_mark_restored(s->ledger, &marked), ERR_OK);
    actors[1].payment = payment(1);
}

/* ---- requests ---- */

static void same_new_user(struct store *s, struct actor actors[])
{
    append_ok(s, pays(9, 9));
    append_asks(&actors[0], s, 1, pays(1, 1));
    append_asks(&actors[0], s, 1, refunds(1, 2));
    append_asks(&actors[1], s, 2, pays(1, 3));
}

static void same_user(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 9));
    append_asks(&actors[0], s, 1, pays(1, 1));
    append_asks(&actors[0], s, 1, pays(2, 2));
    append_asks(&actors[1], s, 2, pays(2, 3));
    append_asks(&actors[1], s, 2, pays(1, 4));
}

static void same_ids(struct store *s, struct actor actors[])
{
    append_ok(s, pays(9, 9));
    append_asks(&actors[0], s, 1, pays(1, 1));
    append_asks(&actors[0], s, 1, pays(2, 2));
    append_asks(&actors[1], s, 2, pays(2, 2));
    append_asks(&actors[1], s, 2, pays(1, 1));
}

static void same_id_of_another(struct store *s, struct actor actors[])
{
    append_ok(s, pays(9, 9));
    append_asks(&actors[0], s, 1, pays(1, 1));
    append_asks(&actors[1], s, 2, pays(2, 1));
}

static void same_position(struct store *s, struct actor actors[])
{
    append_ok(s, pays(9, 9));
    append_asks(&actors[0], s, 0, pays(1, 1));
    append_asks(&actors[1], s, 0, pays(1, 2));
}

static void same_first_position(struct store *s, struct actor actors[])
{
    append_asks(&actors[0], s, 0, pays(1, 1));
    append_asks(&actors[1], s, 0, pays(1, 1));
}

static void append_and_rewind(struct store *s, struct actor actors[])
{
    append_ok(s, pays(9, 9));
    append_asks(&actors[0], s, 0, pays(1, 1));
}

static void append_and_mark(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    append_asks(&actors[0], s, 0, pays(1, 2));
    append_asks(&actors[0], s, 0, pays(2, 3));
}

static void append_and_page(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_asks(&actors[0], s, 0, pays(1, 2));
    actors[1].deferral = page_of(1, SECOND);
}

/* The journal has a payment that the saver stores at the same time. */
static void append_and_learn(struct store *s, struct actor actors[])
{
    append_ok(s, pays(9, 9));
    append_asks(&actors[0], s, 0, pays(1, 1));
    journal_says(&actors[1], s, line_of(s, 1, 1, LEARN_SUCCESS));
}

/* ---- answers ---- */

static void settle_and_append(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    settle_says(&actors[0], fact_of(s, 1, PAYMENT_DECLINE));
    append_asks(&actors[1], s, 0, pays(1, 2));
    append_asks(&actors[1], s, 0, refunds(1, 3));
}

static void same_answers(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    assert_int_equal(claim_ok(s).attempt_count, 2);
    append_ok(s, pays(1, 3));
    settle_says(&actors[0], fact_of(s, 1, PAYMENT_ACCEPTED));
    settle_says(&actors[0], fact_of(s, 2, PAYMENT_DECLINE));
    settle_says(&actors[1], fact_of(s, 2, PAYMENT_DECLINE));
    settle_says(&actors[1], fact_of(s, 1, PAYMENT_ACCEPTED));
}

static void other_answers(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    settle_says(&actors[0], fact_of(s, 1, PAYMENT_ACCEPTED));
    settle_says(&actors[1], fact_of(s, 1, PAYMENT_DECLINE));
}

static void refund_answers(struct store *s, struct actor actors[])
{
    subscribe(s, 1, 1);
    append_ok(s, refunds(1, 2));
    claim_one(s, 2);
    append_ok(s, refunds(1, 3));
    settle_says(&actors[0], fact_of(s, 2, PAYMENT_ACCEPTED));
    settle_says(&actors[1], fact_of(s, 2, PAYMENT_ACCEPTED));
}

static void settle_and_decide(struct store *s, struct actor actors[])
{
    claim_and_decide(s, actors);
    settle_says(&actors[0], fact_of(s, 1, PAYMENT_ACCEPTED));
}

static void settle_and_learn(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, pays(1, 2));
    settle_says(&actors[0], fact_of(s, 1, PAYMENT_ACCEPTED));
    journal_says(&actors[1], s, line_of(s, 1, 1, LEARN_SUCCESS));
    snprintf(actors[0].facts[0].processing_id, LEDGER_EXTERNAL_ID_MAX, "tx");
}

static void settle_and_learned_all(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
    assert_int_equal(claim_ok(s).attempt_count, 2);
    append_ok(s, pays(1, 3));
    learn_ok(s, line_of(s, 1, 1, LEARN_DECLINE));
    append_ok(s, pays(1, 4));
    settle_says(&actors[0], fact_of(s, 2, PAYMENT_DECLINE));
    settle_says(&actors[0], fact_of(s, 1, PAYMENT_DECLINE));
}

static void decide_and_learn(struct store *s, struct actor actors[])
{
    claim_and_decide(s, actors);
    actors[0].decision = actors[1].decision;
    journal_says(&actors[1], s, line_of(s, 1, 1, LEARN_DECLINE));
}

static void due_and_settle(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, refunds(1, 2));
    defer_ok(s, page_of(1, 0));
    settle_says(&actors[1], fact_of(s, 1, PAYMENT_ACCEPTED));
}

static void due_and_defer(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    defer_ok(s, deferral_of(1, 0));
    actors[1].deferral = page_of(1, 10 * SECOND);
    actors[1].deferral.no_answer = true;
}

static void defer_and_settle(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, pays(1, 2));
    actors[0].deferral = page_of(1, SECOND);
    actors[0].deferral.needs_decision = true;
    settle_says(&actors[1], fact_of(s, 1, PAYMENT_DECLINE));
}

static void same_lines(struct store *s, struct actor actors[])
{
    append_ok(s, pays(2, 2));
    claim_one(s, 2);
    append_ok(s, pays(1, 1));
    journal_says(&actors[0], s, line_of(s, 1, 1, LEARN_SUCCESS));
    journal_says(&actors[0], s, line_of(s, 2, 2, LEARN_DECLINE));
    actors[1].journal = actors[0].journal;
    actors[1].lines[0] = actors[0].lines[0];
    actors[1].lines[1] = actors[0].lines[1];
    actors[1].count = 2;
}

static void learn_and_learned_all(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    append_ok(s, pays(1, 2));
    append_ok(s, pays(1, 3));
    learn_ok(s, line_of(s, 1, 1, LEARN_DECLINE));
    journal_says(&actors[0], s, line_of(s, 1, 2, LEARN_DECLINE));
}

/* ---- telling ---- */

static void told_and_settle(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    settled_ok(s, fact_of(s, 1, PAYMENT_DECLINE));
    append_ok(s, pays(1, 2));
    claim_one(s, 2);
    assert_int_equal(untold_count(s), 1);
    actors[0].told = tell(1);
    settle_says(&actors[1], fact_of(s, 2, PAYMENT_ACCEPTED));
}

static void untold_and_told(struct store *s, struct actor actors[])
{
    told_and_settle(s, actors);
    actors[1].count = 0;
    settled_ok(s, fact_of(s, 2, PAYMENT_ACCEPTED));
    store_advance(s, 2 * LEASE_US);
    actors[1].told = tell(1);
}

static void both_told(struct store *s, struct actor actors[])
{
    untold_and_told(s, actors);
    actors[0].told = tell(1);
    actors[1].told = tell(1);
}

/* ---- three ---- */

static void three_claims(struct store *s, struct actor actors[])
{
    (void)actors;
    append_ok(s, pays(1, 1));
    append_ok(s, pays(2, 2));
}

static void claim_settle_append(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    append_ok(s, refunds(1, 2));
    settle_says(&actors[1], fact_of(s, 1, PAYMENT_DECLINE));
    append_asks(&actors[2], s, 0, pays(1, 3));
}

static const struct race RACES[] = {
    {"claim x claim", 2, {act_claim, act_claim}, two_users, false},
    {"claim x append, the same type", 2, {act_claim, act_append}, claim_and_newer, false},
    {"claim x append, other types", 2, {act_claim, act_append}, claim_and_other_type, false},
    {"claim x append, a new user", 2, {act_claim, act_append}, claim_and_first, false},
    {"claim x settle", 2, {act_claim, act_settle}, claim_and_settle, false},
    {"claim x decide", 2, {act_claim, act_decide}, claim_and_decide, false},
    {"claim x learn", 2, {act_claim, act_learn}, claim_and_learn, true},
    {"claim x learn, adopted", 2, {act_claim, act_learn}, claim_and_adopt, true},
    {"claim x learned_all", 2, {act_claim, act_learned_all}, claim_and_learned_all, true},
    {"claim x defer", 2, {act_claim, act_defer}, claim_and_page, false},
    {"claim behind a page x settle", 2, {act_claim, act_settle}, paged_and_settle, false},
    {"claim behind a page x append", 2, {act_claim, act_append}, paged_and_append, false},
    {"claim behind a page x claim", 2, {act_claim, act_claim}, paged_and_append, false},
    {"claim x mark_restored", 2, {act_claim, act_mark_restored}, claim_and_mark, false},
    {"claim x asked_unknown", 2, {act_claim, act_asked_unknown}, claim_and_unknown, false},
    {"append x append, a new user", 2, {act_append, act_append}, same_new_user, false},
    {"append x append, known users", 2, {act_append, act_append}, same_user, false},
    {"append x append, the same ids", 2, {act_append, act_append}, same_ids, false},
    {"append x append, an id of another", 2, {act_append, act_append}, same_id_of_another, false},
    {"append x append, one position", 2, {act_append, act_append}, same_position, false},
    {"append x append, a first position", 2, {act_append, act_append}, same_first_position, false},
    {"append x rewind", 2, {act_append, act_rewind}, append_and_rewind, false},
    {"append x mark_restored", 2, {act_append, act_mark_restored}, append_and_mark, false},
    {"append x defer", 2, {act_append, act_defer}, append_and_page, false},
    {"append x learn", 2, {act_append, act_learn}, append_and_learn, true},
    {"settle x append", 2, {act_settle, act_append}, settle_and_append, false},
    {"settle x settle, the same", 2, {act_settle, act_settle}, same_answers, false},
    {"settle x settle, another answer", 2, {act_settle, act_settle}, other_answers, false},
    {"settle x settle, a refund", 2, {act_settle, act_settle}, refund_answers, false},
    {"settle x decide", 2, {act_settle, act_decide}, settle_and_decide, false},
    {"settle x learn", 2, {act_settle, act_learn}, settle_and_learn, true},
    {"settle x learned_all", 2, {act_settle, act_learned_all}, settle_and_learned_all, true},
    {"decide x learn", 2, {act_decide, act_learn}, decide_and_learn, true},
    {"due x settle", 2, {act_due, act_settle}, due_and_settle, false},
    {"due x defer", 2, {act_due, act_defer}, due_and_defer, false},
    {"due x due", 2, {act_due, act_due}, due_and_settle, false},
    {"defer x settle", 2, {act_defer, act_settle}, defer_and_settle, false},
    {"learn x learn", 2, {act_learn, act_learn}, same_lines, true},
    {"learn x learned_all", 2, {act_learn, act_learned_all}, learn_and_learned_all, true},
    {"learned_all x learned_all",
     2,
     {act_learned_all, act_learned_all},
     learn_and_learned_all,
     true},
    {"told x settle", 2, {act_told, act_settle}, told_and_settle, false},
    {"untold x told", 2, {act_untold, act_told}, untold_and_told, false},
    {"untold x settle", 2, {act_untold, act_settle}, told_and_settle, false},
    {"told x told", 2, {act_told, act_told}, both_told, false},
    {"three claims", 3, {act_claim, act_claim, act_claim}, three_claims, false},
    {"claim x settle x append", 3, {act_claim, act_settle, act_append}, claim_settle_append, false},
};
#define RACE_COUNT (sizeof RACES / sizeof *RACES)

/* ---- running ---- */

static struct stepper stepper;

static void run_race(void **state)
{
    struct explored found;
    const struct race *race = *state;
    explore(&stepper, race, &found);
    if (found.why[0])
        fail_msg("%s", found.why);
    print_message("%s: %s %zu orders, %zu random ones (seed %d), %llu verbs repeated, "
                  "%llu deadlocks\n",
                  race->name, found.all ? "all" : "the first", found.runs, found.random, RACES_SEED,
                  (unsigned long long)found.again, (unsigned long long)found.deadlocks);
}

static void *store;

static int open_all(void **state)
{
    (void)state;
    if (store_setup(&store) != 0)
        return -1;
    assert_true(store_is_postgres());
    stepper_open(&stepper, store);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    outcome_reset(store);
    stepper_close(&stepper);
    return store_teardown(&store);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[RACE_COUNT];
    setenv("SUBPAY_TEST_STORE", "postgres", 0);
    for (size_t i = 0; i < RACE_COUNT; i++)
        tests[i] = (struct CMUnitTest){
            .name = RACES[i].name, .test_func = run_race, .initial_state = (void *)&RACES[i]};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("races", tests, open_all, close_all);
}
