#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outcome.h"

#define DEPTH_MAX 200
#define ORDERS_MAX 6 /* of three */
#define RANDOM_PART 4
#define CUT_PART 4 /* a run that is cut short costs about as much */

/* Before a step: who could take it, who took it this time and who at other times, and whose step
 * here is the same as one that was taken before. */
struct node {
    unsigned ready, sleeping, done;
    int chosen;
    struct effect next[ACTORS_MAX];
    const char *sql; /* of the step */
};
struct search {
    struct stepper *stepper;
    const struct race *race;
    struct explored *found;
    struct node path[DEPTH_MAX];
    size_t known, depth; /* of the path: to be gone again; gone so far */
    struct random_seeded random;
    char serial[ORDERS_MAX][OUTCOME_MAX];
    size_t serial_count;
};

/* ---- who goes ---- */

static int lowest(unsigned bits)
{
    return __builtin_ctz(bits);
}

static void node_fill(struct node *n, const struct stepper *s, unsigned ready)
{
    n->ready = ready;
    for (int i = 0; i < s->count; i++)
        n->next[i] = s->actors[i].next;
}

/* The next order: false when there is none any more. */
static bool search_next(struct search *s)
{
    for (s->known = s->depth; s->known > 0; s->known--) {
        struct node *n = &s->path[s->known - 1];
        unsigned left = n->ready & ~n->sleeping & ~n->done;
        if (left) {
            n->chosen = lowest(left);
            n->done |= 1u << n->chosen;
            return true;
        }
    }
    return false;
}

static unsigned sleeping_behind(const struct node *n, int count)
{
    unsigned asleep = (n->sleeping | n->done) & ~(1u << n->chosen);
    for (int i = 0; i < count; i++)
        if ((asleep & 1u << i) && effects_meet(n->next[i], n->next[n->chosen]))
            asleep &= ~(1u << i);
    return asleep;
}

/* -1: whatever follows is known. */
static int choose(struct search *s, unsigned ready)
{
    struct node *n = &s->path[s->depth];
    if (s->depth < s->known) {
        assert_int_equal(n->ready, ready); /* the same again */
        return n->chosen;
    }
    *n = (struct node){
        .sleeping = s->depth ? sleeping_behind(&s->path[s->depth - 1], s->stepper->count) : 0};
    node_fill(n, s->stepper, ready);
    if ((ready & ~n->sleeping) == 0)
        return -1;
    n->chosen = lowest(ready & ~n->sleeping);
    n->done = 1u << n->chosen;
    return n->chosen;
}

static int choose_random(struct search *s, unsigned ready)
{
    int left = (int)random_below(&s->random.random, (uint64_t)__builtin_popcount(ready));
    while (left-- > 0)
        ready &= ready - 1;
    return lowest(ready);
}

/* ---- one run ---- */

static void run_begin(struct search *s)
{
    outcome_reset(s->stepper->store);
    for (int i = 0; i < ACTORS_MAX; i++) {
        s->stepper->actors[i].count = 0;
    }
    s->race->prepare(s->stepper->store, s->stepper->actors);
    for (int i = 0; i < s->race->count; i++)
        s->stepper->actors[i].act = s->race->act[i];
    stepper_start(s->stepper, s->race->count);
    s->depth = 0;
}

static void run_rest(struct search *s)
{
    unsigned ready;
    while ((ready = stepper_ready(s->stepper)) != 0)
        stepper_go(s->stepper, lowest(ready));
    stepper_join(s->stepper);
}

static void run_serial(struct search *s, const int order[ACTORS_MAX])
{
    unsigned ready;
    run_begin(s);
    while ((ready = stepper_ready(s->stepper)) != 0) {
        int i = 0;
        while (!(ready & 1u << order[i]))
            i++;
        stepper_go(s->stepper, order[i]);
    }
    stepper_join(s->stepper);
}

/* False: it was cut short, since it is known. */
static bool run_once(struct search *s, bool at_random)
{
    unsigned ready;
    run_begin(s);
    while ((ready = stepper_ready(s->stepper)) != 0) {
        int chosen = at_random ? choose_random(s, ready) : choose(s, ready);
        if (chosen < 0) {
            run_rest(s);
            return false;
        }
        assert_true(s->depth < DEPTH_MAX);
        struct node *n = &s->path[s->depth++];
        n->chosen = chosen;
        n->sql = s->stepper->actors[chosen].sql;
        stepper_go(s->stepper, chosen);
    }
    stepper_join(s->stepper);
    return true;
}

/* ---- what came of it ---- */

static void explain(struct search *s, const char *outcome, const char *what)
{
    struct str out;
    str_init(&out, RACES_WHY_MAX - 1);
    str_addf(&out, "%s: %s\n", s->race->name, what);
    for (size_t i = 0; i < s->depth; i++)
        str_addf(&out, "  %c %.70s\n", 'a' + s->path[i].chosen, s->path[i].sql);
    str_addf(&out, "  outcome:  %s\n", outcome);
    for (size_t i = 0; i < s->serial_count; i++)
        str_addf(&out, "  serial %zu: %s\n", i, s->serial[i]);
    snprintf(s->found->why, sizeof s->found->why, "%s", out.data);
    str_release(&out);
}

static bool run_judge(struct search *s)
{
    char outcome[OUTCOME_MAX] = "";
    const char *wrong = outcome_read(s->stepper, s->race->reads_journal, outcome);
    bool explained = false;
    for (size_t i = 0; i < s->serial_count; i++)
        explained |= strcmp(outcome, s->serial[i]) == 0;
    if (!wrong && !explained)
        wrong = "no serial order explains it";
    if (wrong)
        explain(s, outcome, wrong);
    return !wrong;
}

static bool serial_all(struct search *s)
{
    static const int ORDERS[ORDERS_MAX][ACTORS_MAX] = {{0, 1, 2}, {1, 0, 2}, {0, 2, 1},
                                                       {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    size_t orders = s->race->count == 2 ? 2 : ORDERS_MAX;
    s->serial_count = 0;
    for (size_t i = 0; i < orders; i++) {
        run_serial(s, ORDERS[i]);
        const char *wrong =
            outcome_read(s->stepper, s->race->reads_journal, s->serial[s->serial_count++]);
        if (wrong) {
            explain(s, s->serial[i], wrong);
            return false;
        }
    }
    return true;
}

/* ---- all of them ---- */

static size_t bound(void)
{
    const char *asked = getenv("SUBPAY_RACES_BOUND");
    int64_t value = RACES_BOUND;
    if (asked && !text_i64(asked, 1, 1000000, &value))
        fail_msg("SUBPAY_RACES_BOUND=%s: allowed are 1 to 1000000", asked);
    return (size_t)value;
}

static void explore_all(struct search *s, size_t most)
{
    size_t cut = 0;
    bool more = true;
    while (more && s->found->runs + cut / CUT_PART < most) {
        if (!run_once(s, false))
            cut++;
        else if (s->found->runs++, !run_judge(s))
            return;
        more = search_next(s);
    }
    s->found->all = !more;
    if (!more)
        return;
    random_seed(&s->random, RACES_SEED);
    for (; s->found->random < most / RANDOM_PART; s->found->random++) {
        (void)run_once(s, true);
        if (!run_judge(s))
            return;
    }
}

void explore(struct stepper *stepper, const struct race *race, struct explored *out)
{
    struct search *s = calloc(1, sizeof *s);
    assert_non_null(s);
    memset(out, 0, sizeof *out);
    s->stepper = stepper;
    s->race = race;
    s->found = out;
    stepper->again = stepper->deadlocks = 0;
    if (serial_all(s))
        explore_all(s, bound());
    out->again = stepper->again;
    out->deadlocks = stepper->deadlocks;
    free(s);
}
