#include "sim/prove.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/prove_inside.h"

#define BOUND_DEFAULT 2

/* requests, restores, late_answers, saver_lags, age_half */
static const struct proof_bound BOUNDS[] = {
    [1] = {1, 3, true, true, true},
    [2] = {2, 1, true, true, true},
    [3] = {3, 1, true, true, true},
    [4] = {4, 1, false, false, true},
};
#define BOUND_MAX (sizeof BOUNDS / sizeof BOUNDS[0] - 1)

static const struct proof_world WORLDS[] = {
    {.name = "file",
     .what = "keys for a day, questions, void, journal; a restore rewinds books and queue",
     .promises = {US_PER_DAY, true, true},
     .journal = true},
    {.name = "kafka",
     .what = "keys for a day, questions, void, journal; a restore rewinds the books only",
     .promises = {US_PER_DAY, true, true},
     .journal = true,
     .queue_kept = true},
    {.name = "for-ever",
     .what = "keys for ever, questions, void, journal",
     .promises = {TIME_NEVER, true, true},
     .journal = true,
     .queue_kept = true},
    {.name = "no-keys",
     .what = "no memory of keys: sent once, then questions only; journal",
     .promises = {0, true, false},
     .journal = true,
     .queue_kept = true},
    {.name = "no-void",
     .what = "keys for a day, questions, journal, no void: people decide",
     .promises = {US_PER_DAY, true, false},
     .journal = true,
     .queue_kept = true},
    {.name = "no-questions",
     .what = "keys for a day, void, journal, no questions by key",
     .promises = {US_PER_DAY, false, true},
     .journal = true,
     .queue_kept = true},
    {.name = "no-journal",
     .what = "keys for a day, questions, void, no journal: `subpay restored`",
     .promises = {US_PER_DAY, true, true},
     .queue_kept = true},
    {.name = "hasty",
     .what = "as kafka, but a restore does not wait for what is on its way: must be broken",
     .promises = {US_PER_DAY, true, true},
     .journal = true,
     .queue_kept = true,
     .hasty = true},
};
#define WORLD_COUNT (sizeof WORLDS / sizeof WORLDS[0])

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "subpay: prove: %s %s: allowed are --bound 1 to %zu and --world ", what, value,
            BOUND_MAX);
    for (size_t i = 0; i < WORLD_COUNT; i++)
        fprintf(stderr, "%s%s", WORLDS[i].name, i + 1 < WORLD_COUNT ? ", " : "\n");
    return 2;
}

static const char ASSUMED[] = "assumed: a request arrives within half of the key's memory, or "
                              "never (rule 6); where no key is remembered it is\n"
                              "  delivered once; a person's evidence is true; and when a backup is "
                              "put in place, no request and no void is on\n"
                              "  its way any more of a payment whose claim the backup has lost "
                              "(the world `hasty` shows what happens else)\n";

/* True: as it should be. */
static bool prove_world(const struct proof_world *world, const struct proof_bound *bound)
{
    struct proof_result r;
    printf("%-13s %s\n", world->name, world->what);
    (void)fflush(stdout);
    proof_search(world, bound, &r);
    const char *verdict = r.proved       ? "proved"
                          : !r.broken    ? "NOT FINISHED: out of memory"
                          : world->hasty ? "broken, as it must be"
                                         : "BROKEN";
    printf("    %s: %llu states, %llu steps, depth %u, %.1f s\n", verdict,
           (unsigned long long)r.states, (unsigned long long)r.steps, r.depth, r.seconds);
    if (r.broken)
        proof_tell(world, bound, &r);
    (void)fflush(stdout);
    free(r.story);
    return world->hasty ? r.broken != NULL : r.proved;
}

static void print_bound(int number, const struct proof_bound *b)
{
    printf("bound %d: up to %d request%s of any type, %d restore%s of a backup taken at any time; "
           "any number of\n  processors, of crashes, and of lost, late and repeated messages%s\n%s",
           number, b->requests, b->requests > 1 ? "s" : "", b->restores, b->restores > 1 ? "s" : "",
           b->late_answers ? "" : " (a late answer is one with a later question)", ASSUMED);
}

static int prove_worlds(const struct proof_bound *bound, const char *only)
{
    size_t looked = 0, good = 0;
    for (size_t i = 0; i < WORLD_COUNT; i++) {
        if (only != NULL && strcmp(only, WORLDS[i].name) != 0)
            continue;
        looked++;
        good += prove_world(&WORLDS[i], bound);
    }
    printf("%zu of %zu worlds as they should be\n", good, looked);
    return good == looked ? 0 : 1;
}

static bool world_known(const char *name)
{
    for (size_t i = 0; i < WORLD_COUNT; i++)
        if (strcmp(name, WORLDS[i].name) == 0)
            return true;
    return false;
}

int prove_command(int argc, char **argv)
{
    int64_t bound = BOUND_DEFAULT;
    const char *only = NULL;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool world = strcmp(argv[i], "--world") == 0;
        if (!world && strcmp(argv[i], "--bound") != 0)
            return usage(argv[i], "is unknown");
        if (value == NULL)
            return usage(argv[i], "needs a value");
        if (world ? !world_known(value) : !text_i64(value, 1, (int64_t)BOUND_MAX, &bound))
            return usage(argv[i], value);
        if (world)
            only = value;
    }
    print_bound((int)bound, &BOUNDS[bound]);
    return prove_worlds(&BOUNDS[bound], only);
}
