/* simulator_stage.h: a simulator over real HTTP with its threads, and what tests say to it. */
#ifndef SUBPAY_TESTS_SIMULATOR_STAGE_H
#define SUBPAY_TESTS_SIMULATOR_STAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/str.h"
#include "http/client.h"
#include "http/server.h"
#include "services/processing.h"

#define WAIT_MS 20000
#define BODY_MAX 2000
#define USER "0b2b1a00-0000-4000-8000-000000000001"
#define OTHER_USER "0b2b1a00-0000-4000-8000-000000000002"

struct shifted_clock {
    struct clock clock;
    atomic_llong wall_us; /* added to the real one */
};

struct stage {
    char folder[64], url[64];
    struct config config;
    struct shifted_clock clock;
    struct service *service;
    struct http_server *server;
    pthread_t loop, writer, stepper;
    int event_fd;
    atomic_bool stopping;
};

struct got {
    int status;
    int64_t retry_after_us;
    struct str body;
};

/* Many calls over one client. */
struct crowd {
    struct http_client *client;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t timeout_ms; /* of the next calls */
    int ended, answered;
    char first[1000];
    bool differ;
};

void stage_start(struct stage *s);
void stage_stop(struct stage *s);
void stage_restart(struct stage *s);
struct stage *stage_new(void);
int stage_open(void **state);
void stage_free(struct stage *s);
int stage_close(void **state);
void stage_with(struct stage *s, const char *outcomes, const char *latency, const char *faults);
struct got *call_within(struct stage *s, const char *method, const char *path, const char *key,
                        const char *body, int64_t timeout_ms);
struct got *call(struct stage *s, const char *method, const char *path, const char *key,
                 const char *body);
struct got *get(struct stage *s, const char *path);
const char *key_of(int n);
const char *body_of(int n, const char *user, const char *refund_of, int64_t amount);
struct got *pay(struct stage *s, int n);
struct got *refund(struct stage *s, int n, int charge, const char *user, int64_t amount);
const char *path_of(const char *before, int n, const char *after);
struct got *ask(struct stage *s, int n);
struct got *void_of(struct stage *s, int n);
const char *member(const struct got *got, const char *name);
void expect_result(const struct got *got, const char *result, const char *reason);
int journal_lines(struct stage *s);
void crowd_open(struct crowd *c);
void crowd_close(struct crowd *c);
void crowd_pay(struct stage *s, struct crowd *c, int n);
void crowd_wait(struct crowd *c, int ended);
void on_wake(void *ctx);

#endif
