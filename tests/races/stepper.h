/* stepper.h: verbs of the ledger in threads of their own, one statement at a time.
 *
 * Every actor has a handle, and stops before each statement of its verbs until it is told to go
 * (db_hook); BEGIN and pg_notify are not stops, since nobody can see what they do. That an actor
 * waits for a lock is seen from a third connection (pg_blocking_pids), never guessed by a pause. A
 * claim may also be stopped inside of the statement that locks: it has its snapshot by then, and has
 * not come to its rows yet (stop(), see stepper_open).
 *
 * Threads: everything here is called by one thread, but for what is marked as an actor's. */
#ifndef SUBPAY_TESTS_RACES_STEPPER_H
#define SUBPAY_TESTS_RACES_STEPPER_H

#include <pthread.h>

#include "base/db.h"
#include "base/str.h"
#include "suite.h"

#define ACTORS_MAX 3
#define ACTOR_BATCH_MAX 4
#define ACTOR_HANDED_MAX 16

/* How a statement can be noticed by others: reading what is committed never is; a lock or a row that
 * is written is, by those who write to the same tables; the end of a transaction is, by all. */
struct effect {
    enum { EFFECT_READ, EFFECT_WRITE, EFFECT_END } kind;
    unsigned tables; /* one bit each */
};
bool effects_meet(struct effect a, struct effect b);

struct actor {
    struct ledger *ledger;
    struct db *db; /* of the handle */
    int64_t backend;
    struct stepper *stepper;
    pthread_t thread;
    void (*act)(struct actor *a); /* in its thread */
    enum actor_state {
        ACTOR_DONE,
        ACTOR_STOPPED, /* before a statement */
        ACTOR_INSIDE,  /* of one, at stop() */
        ACTOR_MOVING,
        ACTOR_WAITING, /* for a lock of another actor */
        ACTOR_LATER,   /* it has to repeat its verb, when the others are done */
    } state;
    bool free; /* it does not stop any more */
    struct effect next;
    const char *sql; /* of `next` */

    /* What it does, prepared by the case: */
    struct fact facts[ACTOR_BATCH_MAX];
    struct ledger_record records[ACTOR_BATCH_MAX];
    struct journal_entry lines[ACTOR_BATCH_MAX];
    struct ledger_position from, to;
    struct ledger_decision decision;
    struct deferral deferral;
    struct told told;
    struct uuid payment;
    size_t count; /* of facts, records or lines */
    int64_t journal;
    /* What came of it: */
    struct arena arena;
    struct str said;
    struct uuid handed[ACTOR_HANDED_MAX]; /* by claims: to be sent */
    size_t handed_count;
};

struct stepper {
    struct store *store;
    struct db *looks; /* sees who waits for whom, and holds the stops */
    int64_t backend;
    struct actor actors[ACTORS_MAX];
    int count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t again, deadlocks; /* verbs that had to be repeated; … for one of these */
};

/* Handles for `count` actors on the store, which has to be PostgreSQL. Connections made from then on
 * do not wait for the disk, leave it to the stepper to end a deadlock, and see `restored` through a view that stops claims. */
void stepper_open(struct stepper *s, struct store *store);
void stepper_close(struct stepper *s);

/* Starts `count` threads; each stops before its first statement. */
void stepper_start(struct stepper *s, int count);
/* Bits of the actors that can be told to go. 0: all are done. */
unsigned stepper_ready(struct stepper *s);
/* One statement, until everybody has stopped, ended or waits. */
void stepper_go(struct stepper *s, int actor);
/* Once all are done. */
void stepper_join(struct stepper *s);

/* ---- for actors ---- */

/* After a retriable error: waits until the others are done. False: often enough. */
bool actor_again(struct actor *a, enum err err);
#define ACTOR_TRY(a, call)                                                                         \
    ({                                                                                             \
        enum err tried;                                                                            \
        do                                                                                         \
            tried = (call);                                                                        \
        while (err_retriable(tried) && actor_again(a, tried));                                     \
        tried;                                                                                     \
    })

#endif
