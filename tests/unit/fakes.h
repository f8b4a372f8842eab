/* fakes.h: a world for one service: clock, queue, ledger, gateway, mailer and views that do what a test tells
 * them. One thread; nothing happens by itself. */
#ifndef SUBPAY_TESTS_FAKES_H
#define SUBPAY_TESTS_FAKES_H

#include "base/env.h"
#include "base/metrics.h"
#include "gateway/gateway.h"
#include "ledger/ledger.h"
#include "ledger/views.h"
#include "mailer/mailer.h"
#include "queue/queue.h"
#include "services/service.h"

#define FAKE_MANY 1024
#define FAKE_WALL_US INT64_C(1763967600000000) /* 2025-11-24T07:00:00Z */

struct fake_env {
    struct clock clock;
    int64_t boot_us, wall_us;
    struct random_seeded random;
    struct log log;
    struct env env;
    struct metrics *metrics;
};
void fake_env_init(struct fake_env *e);
void fake_env_release(struct fake_env *e);
void fake_env_pass(struct fake_env *e, int64_t us); /* both clocks */
struct uuid fake_id(uint32_t n);
/* The value of a series in the registry's text: `name{labels}` or `name`. */
int64_t fake_metric(struct fake_env *e, const char *series);

/* ---- queue ---- */

struct fake_record {
    char topic[64], key[128], value[1024], headers[512]; /* headers: name=value; … */
    int64_t timestamp_us;
    bool no_key;
};
struct fake_publication {
    queue_done_fn *done;
    void *ctx;
    uint64_t token;
};
struct fake_queue {
    struct queue queue;
    struct fake_record records[FAKE_MANY];
    size_t record_count;
    char log_id[QUEUE_LOG_ID_MAX + 1];
    int32_t partitions;
    int64_t first;        /* oldest kept offset of every topic */
    enum err publish_err; /* of the next publications */
    enum err log_err;
    bool hold;                  /* confirmations wait for fake_queue_confirm */
    enum queue_outcome outcome; /* where they do not wait */
    struct fake_publication held[FAKE_MANY];
    size_t held_count;
    char subscribed[64];
    bool assigned, revoke;
    int64_t read_from; /* -1: not started */
    int starts, trims;
    int64_t trim_taken, trim_rejected_taken, trim_older_than_us, trim_rejected_older_than_us;
    bool trim_more;
    bool closed;
    const char *wrong; /* what queue_check says of every topic; NULL: nothing */
};
void fake_queue_init(struct fake_queue *q);
void fake_queue_add(struct fake_queue *q, const char *topic, const char *key, const char *value,
                    int64_t timestamp_us);
size_t fake_queue_count(const struct fake_queue *q, const char *topic);
const struct fake_record *fake_queue_at(const struct fake_queue *q, const char *topic, size_t n);
/* Confirms what is held, in order. */
void fake_queue_confirm(struct fake_queue *q, enum queue_outcome outcome);

/* ---- ledger ---- */

struct fake_ledger {
    struct ledger ledger;
    enum err append_err, claim_err, due_err, settle_err, defer_err, untold_err, told_err,
        position_err;

    struct ledger_record stored[FAKE_MANY];
    size_t stored_count, append_calls;
    struct uuid refused; /* append refuses this id */
    bool has_position;
    struct ledger_position position;

    struct attempt claims[FAKE_MANY], dues[FAKE_MANY];
    size_t claim_count, due_count; /* given out from the front */
    size_t claim_calls, due_calls;
    struct ledger_claim last_claim;
    struct fact facts[FAKE_MANY];
    size_t fact_count, settle_calls;
    enum settle_verdict verdict;
    struct uuid bad; /* settle answers ERR_BUG when it is among the facts */
    struct deferral deferrals[FAKE_MANY];
    size_t deferral_count;
    struct attempt known[16]; /* to ledger_attempt; `conflicts` is known and not in processing */
    size_t known_count;
    struct uuid conflicts;
    struct ledger_decision decisions[16]; /* their texts are borrowed: look at evidence and actor */
    char evidence[LEDGER_EVIDENCE_MAX + 1], actor[LEDGER_ACTOR_MAX + 1];
    size_t decision_count;
    enum decision_verdict decision_verdict;
    enum err attempt_err, decide_err;

    char instance[LEDGER_INSTANCE_MAX + 1]; /* that something undecided was sent to */
    enum err instance_err, learn_err, learned_all_err, asked_err;
    int64_t journal_position;
    int64_t learned[FAKE_MANY]; /* seqs */
    size_t learned_count, learn_calls, learned_all_calls, longest_learn;
    int64_t event_seq, began;       /* of the books; of the reading of the last call */
    int64_t caught_up_at;           /* the line that is not taken: the reading has caught up */
    bool learn_rewound;             /* of the next one: leaves a mark */
    struct uuid mark;               /* of rewound books */
    int64_t learn_moved;            /* > 0: the next call finds the position there */
    struct journal_entry asked[16]; /* texts are borrowed, but: */
    char asked_body[64], asked_url[LEDGER_URL_MAX + 1];
    size_t asked_count;
    struct uuid asked_unknown[16];
    size_t asked_unknown_count;
    int64_t marked;
    size_t mark_calls, heartbeats;
    char heartbeat_of[32];

    struct telling tellings[FAKE_MANY];
    size_t telling_count;
    struct told told[FAKE_MANY];
    size_t told_count;
    struct ledger_counts counts;
    void (*watch)(void *ctx, unsigned changes);
    void *watch_ctx;
    bool closed;
};
void fake_ledger_init(struct fake_ledger *l);
/* One more to be claimed, or due. */
struct attempt *fake_ledger_claim(struct fake_ledger *l, uint32_t n);
struct attempt *fake_ledger_due(struct fake_ledger *l, uint32_t n);
struct attempt *fake_ledger_known(struct fake_ledger *l, uint32_t n); /* in processing */

/* ---- gateway ---- */

struct fake_call {
    enum gateway_verb verb;
    struct uuid payment_id;
    struct money money;
    char body[256];
    int64_t send_before_boot_us;
};
struct fake_gateway {
    struct gateway gateway;
    struct promises promises;
    enum err submit_err;
    struct fake_call calls[FAKE_MANY]; /* about payments */
    size_t call_count, in_flight, most_in_flight;
    size_t instance_calls, journal_calls;
    int64_t journal_after; /* of the last of them */
    /* Answers at once: who it is (NULL: not), and an empty journal. */
    const char *auto_instance;
    bool auto_journal;
    struct gateway_answer answers[FAKE_MANY];
    size_t answer_count;
    bool closed;
};
void fake_gateway_init(struct fake_gateway *g);
struct gateway_answer *fake_gateway_answer(struct fake_gateway *g, enum gateway_verb verb,
                                           uint32_t n, enum gateway_result result);
void fake_gateway_instance(struct fake_gateway *g, const char *instance_id);
/* A page with these seqs; count 0: the end. */
void fake_gateway_page(struct fake_gateway *g, int64_t first_seq, size_t count);

/* ---- mailer ---- */

struct fake_mail {
    struct uuid payment_id;
    char to[MAIL_ADDRESS_MAX + 1], subject[MAIL_SUBJECT_MAX + 1], text[1024];
};
struct fake_mailer {
    struct mailer mailer;
    enum err send_err;
    struct fake_mail mails[FAKE_MANY];
    size_t mail_count;
    struct mail_result results[FAKE_MANY];
    size_t result_count;
    bool closed;
};
void fake_mailer_init(struct fake_mailer *m);
void fake_mailer_result(struct fake_mailer *m, uint32_t n, enum mail_outcome outcome);

/* ---- views ---- */

struct fake_views {
    struct views views;
    enum err err;
    struct payment_view payments[FAKE_MANY];
    size_t payment_count, calls;
    struct uuid subscribers[16];
    size_t subscriber_count;
    struct price prices[SUBSCRIPTION_TYPE_COUNT];
    size_t price_count;
    bool closed;
};
void fake_views_init(struct fake_views *v);
struct payment_view *fake_views_payment(struct fake_views *v, const struct uuid *payment_id,
                                        const struct uuid *user_id);

#endif
