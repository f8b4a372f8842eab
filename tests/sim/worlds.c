/* worlds: runs simulated worlds: `worlds [--seeds N] [--from SEED] [--failures N]`, or one with its
 * story: `worlds --seed SEED`. It stops after so many failures (10). SUBPAY_SEEDS sets N where it is
 * not given. SUBPAY_TEST_STORE=postgres: the books are on the server of SUBPAY_TEST_POSTGRES
 * (tests/postgres.py); the queue is in memory still. A failing seed prints the command that repeats
 * it. Many worlds in which something never happened that has to be seen fail too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"
#include "suite_postgres.h"

#define SEEDS_DEFAULT 1000
#define SEEDS_SEEN 1000 /* from so many on everything has to be seen */

static int usage(const char *what)
{
    fprintf(stderr,
            "worlds: %s: usage: worlds [--seeds N] [--from SEED] [--failures N] | --seed SEED\n",
            what);
    return 2;
}

/* place: of the books on PostgreSQL, or NULL. */
static int world_once(uint64_t seed, bool trace, struct place *place, const char *program,
                      struct world_result *sum)
{
    struct world_settings settings;
    struct world_result result;
    world_defaults(&settings, seed);
    if (place)
        place_make(place, false);
    settings.database_url = place ? place->url : NULL;
    settings.trace = trace;
    if (trace)
        setvbuf(stdout, NULL, _IOLBF, 0); /* in the order of the log's lines */
    world_run(&settings, &result);
    sum->requests += result.requests;
    sum->accepted += result.accepted;
    sum->duplicated += result.duplicated;
    sum->crashes += result.crashes;
    sum->calls += result.calls;
    sum->steps += result.steps;
    for (int i = 0; i < SEEN_COUNT; i++)
        sum->seen[i] += result.seen[i];
    if (result.ok)
        return 0;
    printf("seed %llu: %s\n  repeat it with: %s --seed %llu\n", (unsigned long long)seed,
           result.why, program, (unsigned long long)seed);
    return 1;
}

/* How many of them: so that a rule that stops being exercised is noticed. */
static int64_t seen_print(const struct world_result *sum, int64_t seeds)
{
    int64_t missing = 0;
    for (int i = 0; i < SEEN_COUNT; i++) {
        printf("%s%lld %s", i ? ", " : "", (long long)sum->seen[i], WORLD_SEEN[i]);
        missing += seeds >= SEEDS_SEEN && sum->seen[i] == 0;
    }
    printf("%s\n", missing ? ": what is 0 has to be seen" : "");
    return missing;
}

int main(int argc, char **argv)
{
    int64_t seeds = SEEDS_DEFAULT, from = 1, failures = 10, value;
    const char *environment = getenv("SUBPAY_SEEDS");
    const char *store = getenv("SUBPAY_TEST_STORE");
    const bool postgres = store && strcmp(store, "postgres") == 0;
    struct place place;
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
        else if (!strcmp(argv[i], "--failures"))
            failures = value;
        else if (!strcmp(argv[i], "--seed"))
            from = value, seeds = 1, one = true;
        else
            return usage(argv[i]);
    }
    struct world_result sum = {0};
    int64_t failed = 0;
    for (int64_t seed = from; seed < from + seeds && failed < failures; seed++)
        failed += world_once((uint64_t)seed, one, postgres ? &place : NULL, argv[0], &sum);
    printf("%lld worlds, %lld failed: %lld requests, %lld answered 202, %lld duplicated, %lld "
           "crashes, "
           "%lld calls, %lld steps\n",
           (long long)seeds, (long long)failed, (long long)sum.requests, (long long)sum.accepted,
           (long long)sum.duplicated, (long long)sum.crashes, (long long)sum.calls,
           (long long)sum.steps);
    return failed + seen_print(&sum, seeds) ? 1 : 0;
}
