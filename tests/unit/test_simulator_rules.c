/* The simulator's rules: pure functions of seed, key and count. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "services/processing.h"

#define KEYS 20000

static struct config config_of(const char *outcomes, const char *latency, const char *faults)
{
    struct config c = {.key_ttl = KEY_TTL_SECONDS,
                       .key_ttl_s = 86400,
                       .processing_seed = 1,
                       .processing_pending_s = 900};
    assert_true(text_copy(c.processing_outcomes, sizeof c.processing_outcomes, outcomes));
    assert_true(text_copy(c.processing_latency_ms, sizeof c.processing_latency_ms, latency));
    assert_true(text_copy(c.processing_faults, sizeof c.processing_faults, faults));
    return c;
}

static struct simulator_rules rules_of(const char *outcomes, const char *latency,
                                       const char *faults)
{
    struct config c = config_of(outcomes, latency, faults);
    struct simulator_rules r;
    char why[256] = "";
    assert_int_equal(simulator_rules_parse(&c, &r, why, sizeof why), ERR_OK);
    return r;
}

static struct uuid key_of(int n)
{
    struct uuid key = {{0}};
    memcpy(key.bytes, &n, sizeof n);
    return key;
}

static void reads_its_settings(void **state)
{
    (void)state;
    struct simulator_rules r =
        rules_of("success=0.9,decline=0.08,error=0.02", "5-50", "timeout=0.01,drop=0.02,500=0.03");
    assert_true(r.success == 0.9 && r.decline == 0.08 && r.error == 0.02 && r.pending == 0);
    assert_true(r.fault_timeout == 0.01 && r.fault_drop == 0.02 && r.fault_500 == 0.03);
    assert_int_equal(r.latency_min_us, 5000);
    assert_int_equal(r.latency_max_us, 50000);
    assert_int_equal(r.pending_us, 900 * US_PER_S);
    assert_int_equal(r.key_ttl_us, 86400 * US_PER_S);
    r = rules_of("pending=1", "0-0", "");
    assert_true(r.pending == 1 && r.fault_timeout == 0);
    assert_int_equal(r.latency_max_us, 0);
    r = rules_of("success=1", "7", "");
    assert_int_equal(r.latency_min_us, 7000);
    assert_int_equal(r.latency_max_us, 7000);
}

static void how_long_keys_are_remembered(void **state)
{
    (void)state;
    struct config c = config_of("success=1", "0-0", "");
    struct simulator_rules r;
    char why[256];
    c.key_ttl = KEY_TTL_FOR_EVER;
    assert_int_equal(simulator_rules_parse(&c, &r, why, sizeof why), ERR_OK);
    assert_int_equal(r.key_ttl_us, TIME_NEVER);
    c.key_ttl = KEY_TTL_NONE;
    assert_int_equal(simulator_rules_parse(&c, &r, why, sizeof why), ERR_OK);
    assert_int_equal(r.key_ttl_us, 0);
}

static void refuses_other_settings(void **state)
{
    (void)state;
    const char *bad[][4] = {
        {"PROCESSING_OUTCOMES", "", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=0.9", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=1.1", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=-1,error=2", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=1e0", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=nan", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=1,", "0-0", ""},
        {"PROCESSING_OUTCOMES", ",success=1", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=0.5,success=0.5", "0-0", ""},
        {"PROCESSING_OUTCOMES", "succes=1", "0-0", ""},
        {"PROCESSING_OUTCOMES", "success=1..0", "0-0", ""},
        {"PROCESSING_LATENCY_MS", "success=1", "", ""},
        {"PROCESSING_LATENCY_MS", "success=1", "5-", ""},
        {"PROCESSING_LATENCY_MS", "success=1", "-5", ""},
        {"PROCESSING_LATENCY_MS", "success=1", "50-5", ""},
        {"PROCESSING_LATENCY_MS", "success=1", "5-50-500", ""},
        {"PROCESSING_LATENCY_MS", "success=1", "0-600001", ""},
        {"PROCESSING_FAULTS", "success=1", "0-0", "timeout=0.6,drop=0.6"},
        {"PROCESSING_FAULTS", "success=1", "0-0", "501=0.1"},
        {"PROCESSING_FAULTS", "success=1", "0-0", "drop"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config c = config_of(bad[i][1], bad[i][2], bad[i][3]);
        struct simulator_rules r;
        char why[256] = "";
        assert_int_equal(simulator_rules_parse(&c, &r, why, sizeof why), ERR_INVALID);
        assert_int_equal(strncmp(why, bad[i][0], strlen(bad[i][0])), 0);
    }
}

static void near(int count, double share)
{
    double expected = share * KEYS, slack = 5 * sqrt(KEYS * share * (1 - share)) + 0.5;
    assert_true(fabs(count - expected) <= slack);
}

static void outcomes_have_their_shares(void **state)
{
    (void)state;
    struct simulator_rules r =
        rules_of("success=0.7,decline=0.15,error=0.1,pending=0.05", "0-0", "");
    int counts[4] = {0};
    for (int i = 0; i < KEYS; i++) {
        struct uuid key = key_of(i);
        counts[simulator_outcome_of(&r, &key)]++;
    }
    near(counts[SIM_SUCCESS], 0.7);
    near(counts[SIM_DECLINE], 0.15);
    near(counts[SIM_ERROR], 0.1);
    near(counts[SIM_PENDING], 0.05);
}

static void certain_outcomes_are_certain(void **state)
{
    (void)state;
    const char *one[] = {"success=1", "decline=1", "error=1", "pending=1"};
    for (int outcome = 0; outcome < 4; outcome++) {
        struct simulator_rules r = rules_of(one[outcome], "0-0", "");
        for (int i = 0; i < 1000; i++) {
            struct uuid key = key_of(i);
            assert_int_equal(simulator_outcome_of(&r, &key), outcome);
        }
    }
}

static void faults_have_their_shares_and_pass(void **state)
{
    (void)state;
    struct simulator_rules r = rules_of("success=1", "0-0", "timeout=0.1,drop=0.2,500=0.3");
    int counts[4] = {0}, executed = 0;
    for (int i = 0; i < KEYS; i++) {
        struct uuid key = key_of(i);
        bool done;
        enum simulator_fault fault = simulator_fault_of(&r, &key, 1, &done);
        counts[fault]++;
        if (fault == FAULT_NONE)
            assert_true(done);
        else
            executed += done;
        int64_t n = 1; /* a repeat gets through before long */
        while (simulator_fault_of(&r, &key, n, &done) != FAULT_NONE)
            assert_true(++n < 60);
    }
    near(counts[FAULT_NONE], 0.4);
    near(counts[FAULT_TIMEOUT], 0.1);
    near(counts[FAULT_DROP], 0.2);
    near(counts[FAULT_500], 0.3);
    assert_in_range(executed, KEYS * 0.6 * 0.45, KEYS * 0.6 * 0.55);
}

static void a_run_repeats(void **state)
{
    (void)state;
    struct simulator_rules r =
        rules_of("success=0.5,decline=0.5", "5-50", "timeout=0.2,drop=0.2,500=0.2");
    struct simulator_rules other = r;
    other.seed++;
    int differ[3] = {0};
    for (int i = 0; i < 1000; i++) {
        struct uuid key = key_of(i);
        bool a, b;
        assert_int_equal(simulator_outcome_of(&r, &key), simulator_outcome_of(&r, &key));
        assert_int_equal(simulator_fault_of(&r, &key, 3, &a), simulator_fault_of(&r, &key, 3, &b));
        assert_int_equal(a, b);
        differ[0] += simulator_outcome_of(&r, &key) != simulator_outcome_of(&other, &key);
        differ[1] += simulator_fault_of(&r, &key, 1, &a) != simulator_fault_of(&r, &key, 2, &b);
        differ[2] += simulator_latency_us(&r, &key, 1) != simulator_latency_us(&r, &key, 2);
        assert_in_range(simulator_latency_us(&r, &key, 1), 5000, 50000);
    }
    for (int i = 0; i < 3; i++)
        assert_true(differ[i] > 300);
}

/* The journal of a run on one machine is compared with a run on another: these never change. */
static void known_values(void **state)
{
    (void)state;
    struct simulator_rules r =
        rules_of("success=0.9,decline=0.08,error=0.02", "5-50", "timeout=0.3,drop=0.3,500=0.3");
    char outcomes[33] = "", faults[33] = "";
    bool executed;
    for (int i = 0; i < 32; i++) {
        struct uuid key = key_of(i);
        outcomes[i] = "sdep"[simulator_outcome_of(&r, &key)];
        faults[i] = "-td5"[simulator_fault_of(&r, &key, 1, &executed)];
    }
    assert_string_equal(outcomes, "sdssssssssssssssesssssssssssesss");
    assert_string_equal(faults, "5dttddtt5ddddd-t555t55dd5dtd5ttt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_its_settings),
        cmocka_unit_test(how_long_keys_are_remembered),
        cmocka_unit_test(refuses_other_settings),
        cmocka_unit_test(outcomes_have_their_shares),
        cmocka_unit_test(certain_outcomes_are_certain),
        cmocka_unit_test(faults_have_their_shares_and_pass),
        cmocka_unit_test(a_run_repeats),
        cmocka_unit_test(known_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
