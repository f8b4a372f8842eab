/* The claim race: a claim that locks accounts and reads their requests by one statement takes what
 * another worker has taken. Under READ COMMITTED the second worker's statement has a snapshot from
 * before the first one's commit; the freed row of the account is read again, the rows of payments are
 * not, and no unique index objects, because it is the same row. This claim exists here only: to show
 * that the harness catches it, and that the shipped one, which reads by a second statement, is not
 * one of its kind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acts.h"
#include "explore.h"
#include "outcome.h"

#define LOCK_AND_READ                                                                              \
    "SELECT p.seq, p.id, p.user_id FROM accounts a JOIN payments p ON p.user_id = a.user_id "      \
    "WHERE p.processing_status = 'new' AND NOT EXISTS (SELECT 1 FROM restored r JOIN positions o " \
    "ON o.topic = r.topic AND o.partition = r.partition WHERE o.next < r.below) "                  \
    "ORDER BY p.seq LIMIT 1 FOR UPDATE OF a"

static void run(struct query *q, enum err *err)
{
    enum err ran = query_run(q);
    if (*err == ERR_OK)
        *err = ran;
}

static enum err take(struct db *db, int64_t seq, const struct uuid *id, const struct uuid *user)
{
    enum err err = ERR_OK;
    struct query q;
    query_open(&q, db, "UPDATE payments SET processing_status = 'in_processing' WHERE seq = ?1");
    query_bind_i64(&q, seq);
    run(&q, &err);
    query_open(&q, db,
               "INSERT INTO attempts (seq, body, first_sent_at) VALUES (?1, '{}', ?2) "
               "ON CONFLICT (seq) DO NOTHING");
    query_bind_i64(&q, seq);
    query_bind_time(&q, START_US);
    run(&q, &err);
    query_open(&q, db,
               "INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, "
               "payment_status) VALUES (?1, 'payment', ?2, 'processor', 'new', 'in_processing', "
               "'unknown')");
    query_bind_time(&q, START_US);
    query_bind_uuid(&q, id);
    run(&q, &err);
    query_open(&q, db,
               "UPDATE accounts SET version = version + 1, in_flight = ?2, pending_seq = NULL, "
               "due_at = ?3 WHERE user_id = ?1");
    query_bind_uuid(&q, user);
    query_bind_i64(&q, seq);
    query_bind_time(&q, START_US + LEASE_US);
    run(&q, &err);
    return err;
}

static void claim_by(struct actor *a, const char *lock_and_read)
{
    struct uuid id = UUID_NIL, user = UUID_NIL;
    int64_t seq = 0;
    struct query q;
    enum err err = db_begin(a->db);
    query_open(&q, a->db, lock_and_read);
    if (query_next(&q)) {
        seq = query_i64(&q, 0);
        id = query_uuid(&q, 1);
        user = query_uuid(&q, 2);
    }
    if (err == ERR_OK)
        err = query_close(&q);
    if (err == ERR_OK && seq)
        err = take(a->db, seq, &id, &user);
    if (err == ERR_OK)
        err = db_commit(a->db);
    if (err != ERR_OK)
        actor_says(a, "mutant: %s", db_why(a->db));
    else if (seq)
        a->handed[a->handed_count++] = id;
    db_rollback(a->db);
}

static void act_waits(struct actor *a)
{
    claim_by(a, LOCK_AND_READ);
}

static void act_skips(struct actor *a)
{
    claim_by(a, LOCK_AND_READ " SKIP LOCKED");
}

static void one_request(struct store *s, struct actor actors[])
{
    (void)actors;
    append_ok(s, pays(1, 1));
}

/* Of the same user again, once the first is settled: the account is due again while an older
 * statement is on its way to it. */
static void again_due(struct store *s, struct actor actors[])
{
    append_ok(s, pays(1, 1));
    settle_says(&actors[1], fact_of(s, 1, PAYMENT_DECLINE));
    append_asks(&actors[2], s, 0, pays(1, 2));
    actors[1].from = actors[2].from;
    actors[1].to = actors[2].to;
    actors[1].records[0] = actors[2].records[0];
}

static void act_life(struct actor *a)
{
    act_claim(a);
    act_settle(a);
    act_append(a);
}

static struct stepper stepper;

static void explored(const struct race *race, const char *wrong)
{
    struct explored found;
    explore(&stepper, race, &found);
    if (!wrong && found.why[0])
        fail_msg("%s", found.why);
    if (wrong && !strstr(found.why, wrong))
        fail_msg("%s: not caught in %zu orders: %s", race->name, found.runs, found.why);
    print_message("%s: %zu orders%s%s\n", race->name, found.runs, wrong ? ", caught: " : "",
                  wrong ? wrong : "");
}

static void test_one_statement_that_waits(void **state)
{
    static const struct race race = {
        "mutant x mutant, waiting", 2, {act_waits, act_waits}, one_request, false};
    (void)state;
    explored(&race, "two claims took the same payment");
}

static void test_one_statement_that_skips(void **state)
{
    static const struct race race = {
        "mutant x mutant, skipping", 2, {act_skips, act_skips}, one_request, false};
    (void)state;
    explored(&race, "two claims took the same payment");
}

static void test_one_statement_beside_the_shipped_claim(void **state)
{
    static const struct race race = {
        "mutant x claim", 2, {act_skips, act_claim}, one_request, false};
    (void)state;
    explored(&race, "two claims took the same payment");
}

static void test_the_shipped_claim(void **state)
{
    static const struct race race = {
        "claim x claim", 2, {act_claim, act_claim}, one_request, false};
    (void)state;
    explored(&race, NULL);
}

/* Its snapshot is from before a whole life of the payment that it then finds due again. */
static void test_the_shipped_claim_with_an_old_snapshot(void **state)
{
    static const struct race race = {
        "claim x claim, settle, append", 2, {act_claim, act_life}, again_due, false};
    (void)state;
    explored(&race, NULL);
}

static void *store;

static int open_all(void **state)
{
    (void)state;
    if (store_setup(&store) != 0)
        return -1;
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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_statement_that_waits),
        cmocka_unit_test(test_one_statement_that_skips),
        cmocka_unit_test(test_one_statement_beside_the_shipped_claim),
        cmocka_unit_test(test_the_shipped_claim),
        cmocka_unit_test(test_the_shipped_claim_with_an_old_snapshot),
    };
    setenv("SUBPAY_TEST_STORE", "postgres", 0);
    setenv("SUBPAY_RACES_BOUND", "400",
           1); /* so many are enough to catch them, whatever was asked for */
    return cmocka_run_group_tests(tests, open_all, close_all);
}
