/* processor_bench.h: a processor between a ledger and a gateway that do what the test says. */
#ifndef SUBPAY_TESTS_PROCESSOR_BENCH_H
#define SUBPAY_TESTS_PROCESSOR_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fakes.h"
#include "services/processor.h"

#define TIMEOUT_US (30 * US_PER_S)
#define RECONCILE_CALLS 20
#define HOUR_US (3600 * US_PER_S)

struct bench {
    struct fake_env env;
    struct fake_ledger ledger;
    struct fake_gateway gateway;
    struct service *processor;
    size_t flights_max; /* of the next one that is opened */
};
extern struct bench *B;

int bench_setup(void **state);
int bench_teardown(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int64_t step(void);
void live(int64_t us); /* steps and lets time pass; what is answered is taken at once */
/* The processing says who it is, its journal is empty, and what has to be asked is asked. */
void start(void);
void reopen_with(struct promises promises); /* and starts */
void reopen(void);                          /* likewise */
const struct fake_call *call(size_t i);
void answer(uint32_t n, enum gateway_result result); /* to a SEND */
const struct deferral *only_deferral(void);
int64_t waits(const char *reason); /* subpay_processing_waits */
const char *unready(void);

#endif
