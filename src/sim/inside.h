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
#include "ledger/postgres.h"
#include "mailer/mailer.h"
#include "queue/local.h"
#include "services/processing.h"
#include "services/service.h"
#include "sim/world.h"

#define WORLD_BURSTS 3 /* of requests, with days between them */
#define SIM_EVENTS_MAX 65536
#define SIM_CALLS_MAX 16384 /* executions the processing remembers */
#define SIM_CHARGE_BODY_MAX 2048
#define SIM_MAILS_MAX 8192
#define SIM_USERS_MAX 64
#define SIM_ASKS_MAX 512
#define SIM_DECISIONS_MAX 512
#define SIM_TIMEOUT_US (30 * US_PER_S) /* of a call to the processing */
#define SIM_WAY_US (65 * US_PER_S)     /* the longest that a request is on its way */

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

bool world_chance(struct world *w, double p); /* of a fault: never in a healed world */
bool world_maybe(struct world *w, double p);
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

/* ---- what this world is like (plan.c) ---- */

struct sim_plan {
    const char *name;                /* of the processing's kind */
    struct promises promises;        /* of the processing; it keeps no more than these */
    bool journal;                    /* it has one */
    bool refuses;                    /* it answers 409 at times */
    bool people;                     /* decide what shows needs_decision, sometimes wrongly */
    bool instances;                  /* the processing is replaced at times */
    int backup_burst, restore_burst; /* a backup is taken, and put back; -1: none */
    int64_t request_max_age_us;
    int clock_steps; /* of the store's clock, per burst at most */
    int64_t back_us; /* how far that clock may still go back (rule 6) */
};
void world_plan(struct world *w);                  /* once, from the seed */
void world_plan_burst(struct world *w, int burst); /* what will happen in it */
void world_plan_rest(struct world *w);             /* between two bursts */

/* ---- the processing (processing.c) and the network before it (network.c) ---- */

struct sim_execution {
    int64_t seq; /* in the journal */
    struct uuid key;
    char body[SIM_CHARGE_BODY_MAX];
    const char *result; /* "success", "decline", "error", "pending" */
    bool voided;
    int64_t executed_at_us; /* from then on the key is remembered; boot time, as are all here */
    int64_t expires_at_us;  /* pending */
    char transaction_id[32];
    /* from the body, for the journal */
    char payment_id[UUID_TEXT], user_id[UUID_TEXT], refund_of[UUID_TEXT];
    char payment_type[16], subscription_type[16], currency[4];
    int64_t amount_minor;
};
struct sim_journal {
    char instance_id[24];
    struct sim_execution *executions; /* in order; the last line of a key counts */
    size_t count;
};
enum sim_state {
    SIM_UP,
    SIM_DEAF,    /* calls of payments go unanswered */
    SIM_SILENT,  /* all calls do */
    SIM_REFUSES, /* nobody listens: nothing is sent */
};
struct sim_processing {
    struct simulator_rules rules;
    struct sim_journal journals[2]; /* of two instances */
    int current;                    /* the one that answers */
    int replaced;                   /* how often: what was on its way to another is lost */
    enum sim_state state;
    int64_t other_bodies; /* one key with two bodies: always wrong */
};
struct sim_journal *sim_journal(struct world *w); /* the current one */
/* The last line of a key in it, or NULL; definite: the last that is not pending. */
struct sim_execution *sim_execution_of(const struct sim_journal *j, const struct uuid *key);
const struct sim_execution *sim_definite(const struct sim_journal *j, const struct uuid *key);
/* The definite answer to a payment, by whichever instance, or NULL. */
const struct sim_execution *sim_answer(const struct world *w, const struct uuid *key);
/* Pages on which the payer may still pay. */
bool sim_payers_open(struct world *w);
/* What it does and answers; `out` is read from the bytes by the shipped reader. */
void sim_processing_call(struct world *w, const struct gateway_call *call,
                         struct gateway_answer *out);
enum err sim_processing_init(struct sim_processing *p) MUST_CHECK;
void sim_processing_release(struct sim_processing *p);
void network_breaks(struct world *w); /* every connection with the processing */
enum err sim_gateway(struct gateway **out, struct world *w, struct fuse *fuse) MUST_CHECK;

/* ---- mail ---- */

struct sim_mailbox {
    struct uuid *delivered; /* one entry a delivery: at least once */
    size_t count;
    size_t forgotten_from, forgotten_to; /* deliveries that a restore has lost */
};
enum err sim_mailer(struct mailer **out, struct world *w, struct fuse *fuse) MUST_CHECK;

/* ---- users ---- */

struct sim_ask { /* a request of a user, until it is answered 202 or given up */
    struct uuid user_id, payment_id;
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    char key[24]; /* Idempotency-Key, "" without */
    int tries, tries_max;
    bool accepted, refused, given_up;
    int64_t accepted_us;
};

/* ---- people (people.c) ---- */

struct sim_decision { /* recorded, as the person was told */
    struct uuid payment_id;
    enum payment_status outcome;
    int64_t at_us;
};
void people_come(struct world *w);

/* ---- backup and restore (restore.c) ---- */

struct sim_backup {
    bool taken;
    int64_t at_us;
    size_t mails; /* delivered by then */
    size_t lines; /* of the journal, when it was put back */
};
void world_backs_up(struct world *w, void *nothing);
/* Everybody stops, the store becomes what it was, and everybody starts when nothing is on its way any more. */
void world_restores(struct world *w, void *nothing);

/* ---- the store (store.c) ---- */

enum err world_store_open(struct world *w) MUST_CHECK;
void world_store_close(struct world *w);
/* For looking at the books, and putting them back. */
enum err world_books_open(struct world *w, struct db **out) MUST_CHECK;
void world_books_close(struct world *w, struct db *db);
/* For the audit, which leaves temporary tables behind. */
enum err world_audit_open(struct world *w, struct db **out) MUST_CHECK;
void world_audit_close(struct world *w, struct db *db);
enum err world_ledger(struct world *w, struct ledger **out) MUST_CHECK;
enum err world_views(struct world *w, struct views **out) MUST_CHECK;
/* One number from the queue's tables. */
int64_t world_queued(struct world *w, const char *static_sql, const char *text);

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
    struct sim_plan plan;
    bool healed;               /* no more faults */
    bool closing;              /* what happens now is only to be freed */
    int64_t heal_us;           /* when it heals */
    int64_t busy_us;           /* no rest before */
    int64_t wall_went_back_us; /* how far in all */
    struct event *events;      /* heap */
    size_t event_count;
    uint64_t event_order;
    struct embedded *embedded; /* the queue, and the books, unless they are on PostgreSQL: */
    struct postgres *postgres;
    struct db *books;
    struct local_queue_hub *hub;
    struct sim_life lives[SIM_ROLES];
    struct sim_processing processing;
    struct sim_mailbox mailbox;
    struct sim_backup backup;
    struct sim_decision decisions[SIM_DECISIONS_MAX];
    int decision_count;
    struct uuid users[SIM_USERS_MAX];
    struct sim_ask asks[SIM_ASKS_MAX];
    int ask_count;
};

enum err world_open_life(struct world *w, enum sim_role role) MUST_CHECK; /* lives.c */
void world_close_life(struct world *w, enum sim_role role);
int64_t world_true_wall_us(const struct world *w); /* without the steps of the store's clock */
void world_make_asks(struct world *w, int count);  /* users.c */
bool world_asks_open(const struct world *w);
void world_stranger_writes(struct world *w, void *nothing);
/* A 202 that went with the file: the user asks again. */
void world_ask_is_lost(struct world *w, struct sim_ask *ask);
/* verdict.c: result->why names the first thing that is wrong. */
void world_wrong(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One number from the store; parameters are a payment's id and a text, where they are not NULL. -1: it fails. */
int64_t world_count(struct world *w, const char *static_sql, const struct uuid *id,
                    const char *text);
bool world_at_rest(struct world *w);
void world_restless(struct world *w); /* why it does not come to rest */
void judge_books(struct world *w);    /* books.c */
void world_judge(struct world *w);

#endif
