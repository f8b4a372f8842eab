/* worlds: runs simulated worlds: `worlds [--seeds N] [--from SEED]`, or one with its story: `worlds --seed SEED`.
 * SUBPAY_SEEDS sets N where it is not given. A failing seed prints the command that repeats it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

#define SEEDS_DEFAULT 1000

static int usage(const char *what)
{
    fprintf(stderr, "worlds: %s: usage: worlds [--seeds N] [--from SEED] | --seed SEED\n", what);
    return 2;
}

static int world_once(uint64_t seed, bool trace, const char *program, struct world_result *sum)
{
    struct world_settings settings;
    struct world_result result;
    world_defaults(&settings, seed);
    settings.trace = trace;
    world_run(&settings, &result);
    sum->requests += result.requests;
    sum->accepted += result.accepted;
    sum->duplicated += result.duplicated;
    sum->crashes += result.crashes;
    sum->calls += result.calls;
    sum->steps += result.steps;
    if (result.ok)
        return 0;
    printf("seed %llu: %s\n  repeat it with: %s --seed %llu\n", (unsigned long long)seed,
           result.why, program, (unsigned long long)seed);
    return 1;
}

int main(int argc, char **argv)
{
    int64_t seeds = SEEDS_DEFAULT, from = 1, value;
    const char *environment = getenv("SUBPAY_SEEDS");
    bool one = false;
    if (environment && !text_i64(environment, 1, INT64_MAX, &seeds))
        return usage("SUBPAY_SEEDS");
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 >= argc || !text_i64(argv[i + 1], 1, INT64_MAX, &value))
            return usage(argv[i]);
        if (!strcmp(argv[i], "--seeds"))
            seeds = value;
        else if (!strcmp(argv[i], "--from"))
            from = value;
        else if (!strcmp(argv[i], "--seed"))
            from = value, seeds = 1, one = true;
        else
            return usage(argv[i]);
    }
    struct world_result sum = {0};
    int64_t failed = 0;
    for (int64_t seed = from; seed < from + seeds && failed < 10; seed++)
        failed += world_once((uint64_t)seed, one, argv[0], &sum);
    printf("%lld worlds, %lld failed: %lld requests, %lld answered 202, %lld duplicated, %lld "
           "crashes, "
           "%lld calls, %lld steps\n",
           (long long)seeds, (long long)failed, (long long)sum.requests, (long long)sum.accepted,
           (long long)sum.duplicated, (long long)sum.crashes, (long long)sum.calls,
           (long long)sum.steps);
    return failed ? 1 : 0;
}
