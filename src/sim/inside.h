/* inside.h: what the parts of the simulated world share: time, chance, events, fuses. One thread. */
#ifndef SUBPAY_SIM_INSIDE_H
#define SUBPAY_SIM_INSIDE_H

#include "base/clock.h"
#include "base/env.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "gateway/gateway.h"
#include "ledger/embedded.h"
#include "mailer/mailer.h"
#include "queue/local.h"
#include "services/processing.h"
#include "services/service.h"
#include "sim/world.h"

#define SIM_EVENTS_MAX 65536
#define SIM_CALLS_MAX 16384 /* executions the processing remembers */
#define SIM_CHARGE_BODY_MAX 2048
#define SIM_MAILS_MAX 8192
#define SIM_USERS_MAX 64
#define SIM_ASKS_MAX 512
#define SIM_TIMEOUT_US (30 * US_PER_S) /* of a call to the processing */

struct world;

/* ---- events: things that happen later ---- */

struct event {
    int64_t at_us;  /* of the world's clock */
    uint64_t order; /* events of one time happen in the order they were made */
    void (*happen)(struct world *w, void *what);
    void *what; /* freed by happen */
};
void world_later(struct world *w, int64_t after_us, void (*happen)(struct world *, void *),
                 void *what);

/* ---- chance ---- */

bool world_chance(struct world *w, double p);
int64_t world_between(struct world *w, int64_t low, int64_t high); /* inclusive */
void world_tell(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- fuse: the crash ---- */

/* One per life of a service. While it is whole, effects pass; at a side effect it may blow, just before or
 * just after; from then on nothing gets out any more and every verb answers ERR_STOPPED. */
struct fuse {
    struct world *world;
    const char *service;
    bool blown;
};
bool fuse_blows(struct fuse *f, const char *where); /* true: blown, now or before */

enum err fused_ledger(struct ledger **out, struct ledger *inner, struct fuse *fuse) MUST_CHECK;
/* Confirmations come late, or not at all, or say "not known". */
enum err fused_queue(struct queue **out, struct queue *inner, struct fuse *fuse) MUST_CHECK;

/* ---- the processing and the network before it ---- */

struct sim_execution {
    int64_t seq; /* in the journal */
    struct uuid key;
    char body[SIM_CHARGE_BODY_MAX];
    const char *result; /* "success", "decline", "error", "pending" */
    bool voided;
    int64_t expires_at_us; /* pending; wall time */
    char transaction_id[32];
    /* from the body, for the journal */
    char payment_id[UUID_TEXT], user_id[UUID_TEXT], refund_of[UUID_TEXT];
    char payment_type[16], subscription_type[16], currency[4];
    int64_t amount_minor;
};
struct sim_processing {
    struct simulator_rules rules;
    struct sim_execution *executions; /* the journal, in order; the last line of a key counts */
    size_t count;
    int64_t calls, other_bodies; /* other_bodies: one key with two bodies, always wrong */
};
enum err sim_gateway(struct gateway **out, struct world *w, struct fuse *fuse) MUST_CHECK;
void sim_processing_release(struct sim_processing *p);

/* ---- mail ---- */

struct sim_mailbox {
    struct uuid *delivered; /* one entry a delivery: at least once */
    size_t count;
};
enum err sim_mailer(struct mailer **out, struct world *w, struct fuse *fuse) MUST_CHECK;

/* ---- users ---- */

struct sim_ask { /* a request of a user, until it is answered 202 or given up */
    struct uuid user_id, payment_id;
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    char key[24]; /* Idempotency-Key, "" without */
    int tries;
    bool accepted, refused, given_up;
};

/* ---- the world ---- */

enum sim_role { SIM_APP, SIM_SAVER, SIM_PROCESSOR, SIM_PROCESSOR_2, SIM_NOTIFIER, SIM_ROLES };
struct sim_life {
    struct service *service; /* NULL: dead, to be opened at next_us */
    struct fuse fuse;
    struct db *reader, *reader_2;
    struct ledger *ledger; /* borrowed by the service, for watching */
    struct metrics *metrics;
    int64_t next_us; /* of the next step or birth */
};
struct world {
    struct world_settings settings;
    struct world_result *result;
    struct clock clock;
    int64_t now_us, wall_offset_us;
    struct random_seeded random;
    struct log log;
    struct env env;
    bool healed;          /* no more faults */
    struct event *events; /* heap */
    size_t event_count;
    uint64_t event_order;
    struct embedded *embedded;
    struct local_queue_hub *hub;
    struct sim_life lives[SIM_ROLES];
    struct sim_processing processing;
    struct sim_mailbox mailbox;
    struct uuid users[SIM_USERS_MAX];
    struct sim_ask asks[SIM_ASKS_MAX];
    int ask_count;
};

enum err world_open_life(struct world *w, enum sim_role role) MUST_CHECK; /* lives.c */
void world_close_life(struct world *w, enum sim_role role);
void world_make_asks(struct world *w, int count); /* users.c */
bool world_asks_open(const struct world *w);
/* verdict.c: false and result->why when something is wrong. */
bool world_at_rest(struct world *w);
void world_judge(struct world *w);

#endif
