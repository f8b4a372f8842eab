/* explore.h: a case of two or three verbs, in every order of their statements that matters.
 *
 * Orders that differ only in turns of statements that cannot notice each other are the same
 * (effects_meet; the method is that of sleep sets), so one of each is run, on fresh rows. Of more than
 * SUBPAY_RACES_BOUND (preset RACES_BOUND) the first ones and some random ones are, and that is said,
 * with their seed. After each run the books have to be sane, and what came of it has to be what comes
 * of the verbs one after the other, in one of their orders. */
#ifndef SUBPAY_TESTS_RACES_EXPLORE_H
#define SUBPAY_TESTS_RACES_EXPLORE_H

#include "stepper.h"

#define RACES_BOUND 2000
#define RACES_SEED 1
#define RACES_WHY_MAX 8192

struct race {
    const char *name;
    int count; /* of actors */
    void (*act[ACTORS_MAX])(struct actor *a);
    /* Rows, and what the actors are to do. */
    void (*prepare)(struct store *s, struct actor actors[ACTORS_MAX]);
    bool reads_journal; /* a reading has to end behind it */
};
struct explored {
    size_t runs, random;     /* one after the other; at random, if there are more */
    bool all;                /* runs are all there are */
    uint64_t again;          /* verbs that had to be repeated, … */
    uint64_t deadlocks;      /* … for one of these */
    char why[RACES_WHY_MAX]; /* "" or what was wrong, with the order; exploring ends there */
};
void explore(struct stepper *s, const struct race *race, struct explored *out);

#endif
