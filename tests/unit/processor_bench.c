#include "processor_bench.h"

struct bench *B;

static void open_processor(void)
{
    const struct processor_settings settings = {.timeout_us = TIMEOUT_US,
                                                .reconcile_calls = RECONCILE_CALLS,
                                                .flights_max = B->flights_max,
                                                .limits = {.request_max_age_us = 6 * HOUR_US}};

    assert_int_equal(processor_open(&B->processor, &settings, &B->ledger.ledger,
                                    &B->gateway.gateway, B->env.metrics, (struct wake){0}),
                     ERR_OK);
}

int bench_setup(void **state)
{
    B = test_malloc(sizeof *B);
    fake_env_init(&B->env);
    fake_ledger_init(&B->ledger);
    fake_gateway_init(&B->gateway);
    B->flights_max = 0;
    open_processor();
    *state = B;
    return 0;
}

int bench_teardown(void **state)
{
    (void)state;
    B->processor->ops->close(B->processor);
    assert_true(B->ledger.closed);
    assert_true(B->gateway.closed);
    fake_env_release(&B->env);
    test_free(B);
    return 0;
}

int64_t step(void)
{
    return service_step(B->processor, &B->env.env);
}

void live(int64_t us)
{
    int64_t end_us = B->env.boot_us + us;

    for (int i = 0; i < 20000; i++) {
        int64_t next_us = step();
        if (B->gateway.answer_count > 0)
            continue; /* an answer wakes it */
        if (next_us > end_us) {
            fake_env_pass(&B->env, end_us - B->env.boot_us);
            return;
        }
        if (next_us > B->env.boot_us)
            fake_env_pass(&B->env, next_us - B->env.boot_us);
    }
    fail_msg("the processor spins");
}

void start(void)
{
    B->gateway.auto_instance = "instance-1";
    B->gateway.auto_journal = true;
    live(US_PER_S);
    assert_true(B->ledger.claim_calls > 0);
    B->gateway.call_count = 0;
}

void reopen(void)
{
    B->processor->ops->close(B->processor);
    metrics_close(B->env.metrics);
    B->env.metrics = metrics_open();
    open_processor();
    start();
}

void reopen_with(struct promises promises)
{
    B->gateway.promises = promises;
    reopen();
}

const struct fake_call *call(size_t i)
{
    assert_true(i < B->gateway.call_count);
    return &B->gateway.calls[i];
}

void answer(uint32_t n, enum gateway_result result)
{
    (void)fake_gateway_answer(&B->gateway, GATEWAY_SEND, n, result);
}

const struct deferral *only_deferral(void)
{
    assert_int_equal(B->ledger.deferral_count, 1);
    B->ledger.deferral_count = 0;
    return &B->ledger.deferrals[0];
}

int64_t waits(const char *reason)
{
    char series[96];

    (void)snprintf(series, sizeof series, "subpay_processing_waits{reason=\"%s\"}", reason);
    return fake_metric(&B->env, series);
}

const char *unready(void)
{
    return B->processor->ops->unready(B->processor);
}
