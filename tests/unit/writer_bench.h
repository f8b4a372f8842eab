/* writer_bench.h: a writer over a file in a folder of its own, for the tests of base/writer. */
#ifndef SUBPAY_TESTS_WRITER_BENCH_H
#define SUBPAY_TESTS_WRITER_BENCH_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/writer.h"

#define OPS 100

/* Advances by a fixed step whenever it is read. */
struct step_clock {
    struct clock clock;
    int64_t now_us, step_us;
};

struct bench {
    char folder[256], file[300];
    struct step_clock clock;
    struct writer *writer;
    pthread_t thread;
    bool threaded;
    sem_t gate, reached; /* holds the writer inside a closure */
    sem_t told;
    int order[OPS + 2], ran;   /* only touched by the writer */
    int64_t closures, commits; /* when the thread had begun */
};

int bench_open(void **state); /* setup and teardown of cmocka */
int bench_close(void **state);
void thread_begin(struct bench *b);
/* Until it is there, closures run in the caller's thread: some are spent on seeing that. */
void thread_start(struct bench *b);
void thread_stop(struct bench *b);
void *writer_thread(void *writer);

int64_t stored(struct bench *b, const char *sql); /* as another process would see it */
/* Since thread_start. */
void assert_counts(struct bench *b, int closures, int commits);

#endif
