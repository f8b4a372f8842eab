/* writer.h: group commit: many callers, one thread that writes, one fsync for what came together.
 *
 * Work is a closure over the writing connection. One that fails is rolled back alone (a savepoint;
 * the first of a transaction needs none) and takes nothing with it; a commit takes what is waiting,
 * `first` ones first, up to WRITER_OPS_MAX closures or WRITER_BUDGET_US of running time, and only
 * after COMMIT are the callers told. When SQLite itself rolled the transaction back (no space, I/O
 * error, no memory), or COMMIT failed, every closure of the group fails with that error, retriably.
 * A closure that was told an I/O error of COMMIT may still be found stored if the machine stops
 * right then: what is repeated must be harmless. Closures are short, touch nothing but the database
 * and their argument, neither begin nor end transactions, and call nothing of the writer
 * (asserted). A closure runs at most once.
 *
 * The thread is the runner's: it calls writer_run. While nobody has, writer_do and writer_submit
 * work in the caller's thread, one transaction each (CLI, tests, the simulated world). */
#ifndef SUBPAY_BASE_WRITER_H
#define SUBPAY_BASE_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/db.h"
#include "base/err.h"

#define WRITER_OPS_MAX 64
#define WRITER_BUDGET_US 2000
#define WRITER_QUEUE_MAX 16384 /* closures waiting; one more is ERR_BUSY */

struct writer;
struct write {
    /* In the writer's thread; what is not OK is rolled back. */
    enum err (*run)(struct db *db, void *arg);
    /* After COMMIT, in the thread that wrote; may free w and submit more, but not wait; may be
     * NULL. */
    void (*done)(struct write *w, enum err err);
    void *arg;
    bool first;         /* accepts go before the rest of the group */
    struct write *next; /* the writer's */
    enum err err;       /* the writer's; the answer, once done is called */
};

/* Takes the connection over when it succeeds. */
enum err writer_open(struct writer **out, struct db *db, struct clock *clock) MUST_CHECK;
void writer_close(struct writer *w); /* after writer_run has returned; closes the connection */
enum err writer_do(struct writer *w, enum err (*run)(struct db *, void *), void *arg) MUST_CHECK;
/* ERR_BUSY or ERR_STOPPED: not taken, done is not called. */
enum err writer_submit(struct writer *w, struct write *write) MUST_CHECK;
void writer_run(struct writer *w);  /* until writer_stop; finishes what was taken */
void writer_stop(struct writer *w); /* any thread; later work is ERR_STOPPED */
/* Figures for metrics: closures and commits since the start. */
void writer_counts(struct writer *w, int64_t *closures, int64_t *commits);
/* For a caller that knows that no writer thread runs (schema work at start, tests). */
struct db *writer_db(struct writer *w);

#endif
