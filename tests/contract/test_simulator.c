/* The simulator of the processing over real HTTP (contract section 7). */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/db.h"
#include "base/json.h"
#include "base/times.h"
#include "simulator_stage.h"

/* ---- the original's interface, and the shape of the rest ---- */

static void luck_moves_no_money(void **state)
{
    struct stage *s = *state;
    struct got *got = get(s, "/execute_transaction");
    assert_int_equal(got->status, 200);
    assert_string_equal(got->body.data, "success!");
    stage_with(s, "error=1", "0-0", "");
    got = get(s, "/execute_transaction/");
    assert_int_equal(got->status, 404);
    assert_string_equal(got->body.data, "error!");
    assert_int_equal(journal_lines(s), 0);
}

static void unknown_paths_and_methods(void **state)
{
    struct stage *s = *state;
    const char *unknown[] = {"/",
                             "/execute",
                             "/execute_transaction/x",
                             "/transactions/1",
                             "/transactions//void",
                             "/pay",
                             "/pay/3f2b1a00-0000-7000-8000-0000000000001",
                             "/instance/x"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_int_equal(get(s, unknown[i])->status, 404);
    assert_int_equal(call(s, "POST", "/instance", NULL, "{}")->status, 405);
    assert_int_equal(call(s, "PUT", "/execute_transaction", NULL, "{}")->status, 405);
    assert_int_equal(call(s, "DELETE", "/transactions", NULL, NULL)->status, 405);
    assert_int_equal(get(s, path_of("/transactions/", 1, "/void"))->status, 405);
}

static void requests_are_checked(void **state)
{
    struct stage *s = *state;
    const char *names[] = {"payment_id",   "user_id", "payment_type", "subscription_type",
                           "requested_at", "amount",  "currency"};
    const char *broken[] = {"", "{", "[]", "null", "{}", "\"x\"", "{\"amount\":1,\"amount\":1}"};
    char body[BODY_MAX];
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_int_equal(call(s, "POST", "/execute_transaction", key_of(1), broken[i])->status,
                         400);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(body, sizeof body, "%s", body_of(1, USER, NULL, 39900));
        *strstr(body, names[i]) = 'X';
        struct got *got = call(s, "POST", "/execute_transaction", key_of(1), body);
        assert_int_equal(got->status, 400);
        assert_non_null(strstr(member(got, "detail"), names[i]));
    }
    assert_int_equal(
        call(s, "POST", "/execute_transaction", key_of(1), body_of(1, USER, NULL, 0))->status, 400);
    assert_int_equal(
        call(s, "POST", "/execute_transaction", NULL, body_of(1, USER, NULL, 39900))->status, 400);
    assert_int_equal(
        call(s, "POST", "/execute_transaction", key_of(2), body_of(1, USER, NULL, 39900))->status,
        422);
    assert_int_equal(
        call(s, "POST", path_of("/transactions/", 2, "/void"), NULL, body_of(1, USER, NULL, 39900))
            ->status,
        422);
    assert_int_equal(get(s, "/transactions?after=-1")->status, 422);
    assert_int_equal(get(s, "/transactions?after=x")->status, 422);
    assert_int_equal(get(s, "/transactions?limit=10001")->status, 422);
    assert_int_equal(journal_lines(s), 0);
}

/* What no reader of the journal could take is not executed: one such line would stop everything. */
static void a_line_that_nobody_can_read_is_not_made(void **state)
{
    static const struct {
        const char *name, *value;
    } BAD[] = {
        {"user_id", "00000000-0000-0000-0000-000000000000"},
        {"payment_id", "00000000-0000-0000-0000-000000000000"},
        {"requested_at", "1969-12-31T23:59:59Z"},
        {"requested_at", "9999-12-31T23:59:59-23:00"},
    };
    struct stage *s = *state;
    char body[BODY_MAX];
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        const char *good = body_of(1, USER, NULL, 39900), *at = strstr(good, BAD[i].name);
        at += strlen(BAD[i].name) + strlen("\":\"");
        snprintf(body, sizeof body, "%.*s%s%s", (int)(at - good), good, BAD[i].value,
                 strchr(at, '"'));
        struct got *got = call(s, "POST", "/execute_transaction", key_of(1), body);
        assert_int_equal(got->status, 400);
        assert_non_null(strstr(member(got, "detail"), BAD[i].name));
    }
    snprintf(body, sizeof body, "%s", body_of(1, USER, NULL, 39900));
    snprintf(strrchr(body, '}'), 64, ",\"x\":[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]}"); /* 16 deep */
    assert_int_equal(call(s, "POST", "/execute_transaction", key_of(1), body)->status, 400);
    assert_int_equal(journal_lines(s), 0);
}

/* ---- one effect a key ---- */

static void the_same_key_gives_the_same_answer(void **state)
{
    struct stage *s = *state;
    char first[1000], spaced[BODY_MAX];
    assert_int_equal(ask(s, 1)->status, 404);
    struct got *got = pay(s, 1);
    expect_result(got, "success", "");
    assert_string_equal(member(got, "payment_id"), key_of(1));
    assert_string_equal(member(got, "currency"), "RUB");
    assert_true(member(got, "transaction_id")[0] != '\0');
    snprintf(first, sizeof first, "%s", got->body.data);
    assert_string_equal(pay(s, 1)->body.data, first);
    assert_string_equal(ask(s, 1)->body.data, first);
    assert_string_equal(void_of(s, 1)->body.data, first);
    /* The same request in other bytes is another body. */
    snprintf(spaced, sizeof spaced, " %s", body_of(1, USER, NULL, 39900));
    assert_int_equal(call(s, "POST", "/execute_transaction", key_of(1), spaced)->status, 422);
    assert_int_equal(
        call(s, "POST", "/execute_transaction", key_of(1), body_of(1, OTHER_USER, NULL, 39900))
            ->status,
        422);
    assert_int_equal(journal_lines(s), 1);
}

static void it_survives_the_process(void **state)
{
    struct stage *s = *state;
    char first[1000], instance[UUID_TEXT];
    snprintf(first, sizeof first, "%s", pay(s, 1)->body.data);
    snprintf(instance, sizeof instance, "%s", member(get(s, "/instance"), "instance_id"));
    assert_int_equal(strlen(instance), 36);
    stage_with(s, "decline=1", "0-0", "");
    assert_string_equal(pay(s, 1)->body.data, first);
    assert_string_equal(member(get(s, "/instance"), "instance_id"), instance);
    expect_result(pay(s, 2), "decline", "");
    assert_int_equal(journal_lines(s), 2);
}

static void keys_are_forgotten_and_answers_are_not(void **state)
{
    struct stage *s = *state;
    char first[1000], second[1000];
    snprintf(first, sizeof first, "%s", pay(s, 1)->body.data);
    expect_result(void_of(s, 2), "error", "voided");
    atomic_store(&s->clock.wall_us, (86400 - 5) * US_PER_S);
    assert_string_equal(pay(s, 1)->body.data, first);
    atomic_store(&s->clock.wall_us, 86401 * US_PER_S);
    assert_string_equal(ask(s, 1)->body.data, first);
    assert_string_equal(void_of(s, 1)->body.data, first);
    assert_int_equal(journal_lines(s), 2);
    snprintf(second, sizeof second, "%s", pay(s, 1)->body.data); /* charged twice */
    assert_string_not_equal(second, first);
    assert_string_equal(ask(s, 1)->body.data, second);
    assert_string_equal(pay(s, 1)->body.data, second);
    expect_result(pay(s, 2), "error", "voided");
    assert_int_equal(journal_lines(s), 3);
}

static void voids(void **state)
{
    struct stage *s = *state;
    char first[1000];
    struct got *got = void_of(s, 1);
    expect_result(got, "error", "voided");
    assert_string_equal(member(got, "payment_id"), key_of(1));
    snprintf(first, sizeof first, "%s", got->body.data);
    assert_string_equal(pay(s, 1)->body.data, first); /* arrives too late */
    assert_string_equal(void_of(s, 1)->body.data, first);
    assert_string_equal(ask(s, 1)->body.data, first);
    assert_int_equal(
        call(s, "POST", path_of("/transactions/", 1, "/void"), NULL, body_of(1, USER, NULL, 1))
            ->status,
        422);
    assert_int_equal(journal_lines(s), 1);
}

static void refunds(void **state)
{
    struct stage *s = *state;
    expect_result(refund(s, 10, 1, USER, 39900), "error", "nothing_to_refund"); /* not charged */
    expect_result(pay(s, 1), "success", "");
    expect_result(refund(s, 11, 1, OTHER_USER, 39900), "error", "nothing_to_refund");
    expect_result(refund(s, 12, 1, USER, 39901), "error", "nothing_to_refund");
    expect_result(refund(s, 13, 1, USER, 30000), "success", "");
    expect_result(refund(s, 13, 1, USER, 30000), "success", ""); /* a repeat */
    expect_result(refund(s, 14, 1, USER, 9901), "error", "nothing_to_refund");
    expect_result(refund(s, 15, 1, USER, 9900), "success", "");
    expect_result(refund(s, 16, 13, USER, 1), "error", "nothing_to_refund"); /* of a refund */
    assert_int_equal(journal_lines(s), 8);
    stage_with(s, "decline=1", "0-0", "");
    expect_result(pay(s, 2), "decline", "");
    expect_result(refund(s, 17, 2, USER, 1), "error", "nothing_to_refund");
    stage_with(s, "pending=1", "0-0", "");
    expect_result(pay(s, 3), "pending", "");
    expect_result(refund(s, 18, 3, USER, 1), "error", "nothing_to_refund"); /* not yet charged */
}

/* ---- the payer ---- */

static void the_payer_decides(void **state)
{
    struct stage *s = *state;
    stage_with(s, "pending=1", "0-0", "");
    struct got *got = pay(s, 1);
    char path[128], transaction_id[64], expected[256];
    int64_t expires_at_us, left_us;
    expect_result(got, "pending", "");
    snprintf(path, sizeof path, "%s", path_of("/pay/", 1, ""));
    snprintf(expected, sizeof expected, "%s%s", s->url, path);
    assert_string_equal(member(got, "action_url"), expected);
    const char *expires = member(got, "expires_at");
    assert_true(time_parse(expires, strlen(expires), &expires_at_us));
    left_us = expires_at_us - clock_wall_us(clock_real());
    assert_in_range(left_us, 850 * US_PER_S, 900 * US_PER_S);
    snprintf(transaction_id, sizeof transaction_id, "%s", member(got, "transaction_id"));
    got = get(s, path);
    assert_int_equal(got->status, 200);
    assert_non_null(strstr(got->body.data, "399.00 RUB"));
    assert_int_equal(call(s, "POST", path, NULL, "result=maybe")->status, 422);
    assert_int_equal(call(s, "POST", path, NULL, "x=1&result=success")->status, 200);
    got = ask(s, 1);
    expect_result(got, "success", "");
    assert_string_equal(member(got, "transaction_id"), transaction_id);
    assert_string_equal(member(got, "action_url"), "");
    assert_int_equal(call(s, "POST", path, NULL, "result=decline")->status, 409);
    assert_int_equal(get(s, path)->status, 200);
    expect_result(pay(s, 1), "success", "");
    expect_result(void_of(s, 1), "success", "");
    assert_int_equal(journal_lines(s), 2);
    assert_int_equal(get(s, path_of("/pay/", 9, ""))->status, 404);
}

static void the_payer_is_late(void **state)
{
    struct stage *s = *state;
    stage_with(s, "pending=1", "0-0", "");
    expect_result(pay(s, 1), "pending", "");
    expect_result(void_of(s, 1), "error", "voided");
    assert_int_equal(call(s, "POST", path_of("/pay/", 1, ""), NULL, "result=success")->status, 409);
    expect_result(pay(s, 1), "error", "voided");
    expect_result(pay(s, 2), "pending", "");
    atomic_store(&s->clock.wall_us, 901 * US_PER_S);
    assert_int_equal(call(s, "POST", path_of("/pay/", 2, ""), NULL, "result=success")->status, 409);
    expect_result(ask(s, 2), "pending", "");
    expect_result(void_of(s, 2), "error", "voided");
    assert_int_equal(journal_lines(s), 4);
}

/* ---- many at once ---- */

static void one_of_many_executes(void **state)
{
    struct stage *s = *state;
    struct crowd c;
    stage_with(s, "success=1", "0-20", "");
    crowd_open(&c);
    for (int i = 0; i < 200; i++)
        crowd_pay(s, &c, 1);
    crowd_wait(&c, 200);
    assert_int_equal(c.answered, 200);
    assert_false(c.differ);
    for (int i = 0; i < 200; i++)
        crowd_pay(s, &c, 100 + i);
    crowd_wait(&c, 400);
    assert_int_equal(c.answered, 400);
    assert_true(c.differ);
    crowd_close(&c);
    assert_int_equal(journal_lines(s), 201);
}

static void pages_of_the_journal(void **state)
{
    struct stage *s = *state;
    struct crowd c;
    struct got *got;
    crowd_open(&c);
    for (int i = 0; i < 250; i++)
        crowd_pay(s, &c, i);
    crowd_wait(&c, 250);
    crowd_close(&c);
    int seen = 0, last = 0;
    do {
        char path[64];
        snprintf(path, sizeof path, "/transactions?after=%d&limit=100", last);
        got = get(s, path);
        for (char *line = got->body.data; *line; line = strchr(line, '\n') + 1) {
            assert_int_equal(sscanf(line, "{\"seq\":%d,", &last), 1);
            seen++;
        }
    } while (got->body.len > 0);
    assert_int_equal(seen, 250);
    assert_int_equal(last, 250);
}

/* A body over several lines is one line in the journal. */
static void one_line_a_transaction(void **state)
{
    struct stage *s = *state;
    char body[BODY_MAX] = "";
    for (const char *p = body_of(1, USER, NULL, 39900); *p; p++)
        snprintf(body + strlen(body), sizeof body - strlen(body), *p == ',' ? ",\r\n" : "%c", *p);
    expect_result(call(s, "POST", "/execute_transaction", key_of(1), body), "success", "");
    assert_int_equal(journal_lines(s), 1);
    expect_result(call(s, "POST", "/execute_transaction", key_of(1), body), "success", "");
}

/* ---- faults and the end ---- */

static void faults_pass_and_execute_once(void **state)
{
    struct stage *s = *state;
    int silent = 0, errors = 0;
    stage_with(s, "success=1", "0-3", "timeout=0.15,drop=0.2,500=0.2");
    for (int n = 1; n <= 40; n++) {
        int calls = 0;
        struct got *got;
        do {
            assert_true(++calls < 30);
            got = call_within(s, "POST", "/execute_transaction", key_of(n),
                              body_of(n, USER, NULL, 39900), 100);
            silent += got->status == 0;
            errors += got->status == 500;
        } while (got->status != 200);
        expect_result(got, "success", "");
    }
    assert_true(silent > 5 && errors > 3);
    assert_int_equal(journal_lines(s), 40);
}

/* Two keys whose counts of calls lie in the same place: when each call forgot the other key's count, every call was the
 * first one, with its fault, for ever. */
static void keys_that_clash_get_through_too(void **state)
{
    enum { CLASH_MASK = (1 << 20) - 1, KEYS_MAX = 20000 };
    struct stage *s = *state;
    static uint64_t places[KEYS_MAX];
    struct simulator_rules rules;
    int a = 0, b = 0;
    char why[128];
    stage_with(s, "success=1", "0-0", "500=0.5");
    assert_int_equal(simulator_rules_parse(&s->config, &rules, why, sizeof why), ERR_OK);
    for (int n = 1; n < KEYS_MAX && b == 0; n++) {
        bool executed;
        struct uuid key;
        assert_true(uuid_parse(key_of(n), UUID_TEXT - 1, &key));
        places[n] = UINT64_MAX;
        if (simulator_fault_of(&rules, &key, 1, &executed) != FAULT_500 ||
            simulator_fault_of(&rules, &key, 2, &executed) != FAULT_NONE)
            continue;
        places[n] = hash_u64(0, key.bytes, sizeof key.bytes) & CLASH_MASK;
        for (int k = 1; k < n && b == 0; k++)
            if (places[k] == places[n]) {
                a = k;
                b = n;
            }
    }
    assert_true(b > 0);
    assert_int_equal(pay(s, a)->status, 500);
    assert_int_equal(pay(s, b)->status, 500);
    expect_result(pay(s, a), "success", "");
    expect_result(pay(s, b), "success", "");
}

static void certain_faults(void **state)
{
    struct stage *s = *state;
    stage_with(s, "success=1", "0-0", "500=1");
    int known = 0;
    for (int n = 1; n <= 40; n++) {
        assert_int_equal(pay(s, n)->status, 500);
        known += ask(s, n)->status == 200; /* executed or not */
    }
    assert_in_range(known, 5, 35);
    assert_int_equal(journal_lines(s), known);
    stage_with(s, "success=1", "0-0", "drop=1");
    assert_int_equal(pay(s, 100)->status, 0);
}

static void one_simulator_a_journal(void **state)
{
    struct stage *s = *state;
    struct service *second = NULL;
    char why[256] = "", pid[32];
    assert_int_equal(processing_service_open(&second, &s->config, &s->clock.clock, random_real(),
                                             NULL, (struct wake){0}, why, sizeof why),
                     ERR_LOCKED);
    snprintf(pid, sizeof pid, "process %ld:", (long)getpid());
    assert_non_null(strstr(why, pid));
    stage_restart(s); /* the lock ends with the holder */
}

/* What waits for its latency, or is held for nothing, does not hold up the end. */
static void drains_at_once(void **state)
{
    struct stage *s = *state;
    struct crowd c;
    stage_with(s, "success=1", "60000-60000", "timeout=0.5");
    crowd_open(&c);
    for (int n = 1; n <= 40; n++)
        crowd_pay(s, &c, n);
    while (http_server_open_requests(s->server) < 40)
        (void)poll(NULL, 0, 1);
    assert_false(s->service->ops->drained(s->service));
    s->service->ops->drain(s->service);
    on_wake(s);
    crowd_wait(&c, 40);
    for (int i = 0; i < WAIT_MS && !s->service->ops->drained(s->service); i++)
        (void)poll(NULL, 0, 1); /* a reply is out a moment before it is counted */
    assert_true(s->service->ops->drained(s->service));
    assert_in_range(c.answered, 5, 35);
    assert_int_equal(pay(s, 50)->status, 503);
    crowd_close(&c);
}

/* Clients that have long gone do not pile up. */
static void silence_has_a_maximum(void **state)
{
    struct stage *s = *state;
    struct crowd c;
    stage_with(s, "success=1", "0-0", "timeout=1");
    crowd_open(&c);
    c.timeout_ms = 50;
    for (int n = 0; n < SIMULATOR_HELD_MAX + 200; n++) {
        crowd_pay(s, &c, n);
        if (n % 200 == 199)
            crowd_wait(&c, n + 1);
    }
    crowd_wait(&c, SIMULATOR_HELD_MAX + 200);
    assert_int_equal(c.answered, 0);
    for (int i = 0; i < WAIT_MS && http_server_open_requests(s->server) > SIMULATOR_HELD_MAX; i++)
        (void)poll(NULL, 0, 1);
    assert_true(http_server_open_requests(s->server) <= SIMULATOR_HELD_MAX);
    crowd_close(&c);
}

/* Somebody else holds the file: no effect, no answer that says otherwise, and it heals. */
static void a_journal_that_cannot_be_written(void **state)
{
    struct stage *s = *state;
    struct db *db;
    char path[128], why[256];
    snprintf(path, sizeof path, "%s/processing.db", s->folder);
    assert_int_equal(db_open(&db, path, DB_WRITE, why, sizeof why), ERR_OK);
    assert_int_equal(db_begin(db), ERR_OK);
    struct got *got = pay(s, 1);
    assert_int_equal(got->status, 503);
    assert_int_equal(got->retry_after_us, US_PER_S);
    assert_string_equal(s->service->ops->unready(s->service), "journal");
    db_rollback(db);
    db_close(db);
    assert_int_equal(ask(s, 1)->status, 404);
    expect_result(pay(s, 1), "success", "");
    assert_null(s->service->ops->unready(s->service));
}

/* A child is killed while it executes for many; whatever it answered is there afterwards. */
static void answers_survive_sigkill(void **state)
{
    (void)state;
    struct stage *s = stage_new();
    struct crowd c;
    char answers[30][1000];
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        stage_start(s);
        if (write(ready[1], s->url, sizeof s->url) != (ssize_t)sizeof s->url)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], s->url, sizeof s->url), sizeof s->url);
    for (int n = 0; n < 30; n++) {
        struct got *got = pay(s, n);
        assert_int_equal(got->status, 200);
        snprintf(answers[n], sizeof answers[n], "%s", got->body.data);
    }
    crowd_open(&c);
    for (int n = 0; n < 800; n++)
        crowd_pay(s, &c, 100 + n);
    crowd_wait(&c, 50);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    crowd_wait(&c, 800);
    crowd_close(&c);
    close(ready[0]);
    close(ready[1]);
    stage_start(s);
    for (int n = 0; n < 30; n++)
        assert_string_equal(ask(s, n)->body.data, answers[n]);
    assert_in_range(journal_lines(s), 30 + c.answered, 830);
    stage_stop(s);
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)
        cmocka_unit_test(answers_survive_sigkill), /* first: it forks, and must have no threads */
        ON_STAGE(luck_moves_no_money),
        ON_STAGE(unknown_paths_and_methods),
        ON_STAGE(requests_are_checked),
        ON_STAGE(a_line_that_nobody_can_read_is_not_made),
        ON_STAGE(the_same_key_gives_the_same_answer),
        ON_STAGE(it_survives_the_process),
        ON_STAGE(keys_are_forgotten_and_answers_are_not),
        ON_STAGE(voids),
        ON_STAGE(refunds),
        ON_STAGE(the_payer_decides),
        ON_STAGE(the_payer_is_late),
        ON_STAGE(one_of_many_executes),
        ON_STAGE(pages_of_the_journal),
        ON_STAGE(one_line_a_transaction),
        ON_STAGE(faults_pass_and_execute_once),
        ON_STAGE(certain_faults),
        ON_STAGE(keys_that_clash_get_through_too),
        ON_STAGE(one_simulator_a_journal),
        ON_STAGE(drains_at_once),
        ON_STAGE(silence_has_a_maximum),
        ON_STAGE(a_journal_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
