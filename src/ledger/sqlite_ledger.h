/* sqlite_ledger.h: what the files of the SQLite driver share; nobody else includes it.
 *
 * A verb is a struct that begins with struct verb: its arguments, its results, and `run`, the
 * closure over the writing connection. verb_do hands it to the group commit and tells the watchers
 * once it is durable. Inside run everything is under one lock, that of the file; accounts are
 * nevertheless taken first, as everywhere. */
#ifndef SUBPAY_LEDGER_SQLITE_LEDGER_H
#define SUBPAY_LEDGER_SQLITE_LEDGER_H

#include "base/clock.h"
#include "base/db.h"
#include "base/random.h"
#include "base/str.h"
#include "base/writer.h"
#include "ledger/embedded.h"
#include "ledger/ledger_driver.h"

#define SQLITE_WHY_MAX 256
#define SQLITE_DETAIL_MAX 4096
#define SQLITE_PARK_US (300 * US_PER_S) /* a user whose rows are damaged is left alone this long */
#define SQLITE_PARKED_MAX 8             /* … and at most this many are found in one call */

struct sqlite_ledger {
    struct ledger base;
    struct embedded *store;
    struct db *reader; /* for counts and positions, opened on first use */
    struct str detail; /* of the event being written */
    char why[SQLITE_WHY_MAX];
    void (*watch)(void *ctx, unsigned changes); /* under the store's lock */
    void *watch_ctx;
    struct sqlite_ledger *next; /* in the store's list */
};

struct verb {
    enum err (*run)(struct verb *v);
    struct sqlite_ledger *l;
    struct db *db;
    int64_t now_us;       /* the store's clock when run began */
    unsigned changes;     /* LEDGER_CHANGE_… for the watchers */
    char user[UUID_TEXT]; /* whose rows are being worked on, "": nobody's in particular */
    bool parks_telling;
};
enum err verb_do(struct verb *v) MUST_CHECK;
/* The same for work lists: a user whose rows are damaged must not keep the others waiting, so they
 * get an alarm event, are put off by SQLITE_PARK_US, and the verb runs again without them. `reset`
 * forgets results. */
enum err verb_do_list(struct verb *v, void (*reset)(struct verb *v)) MUST_CHECK;
/* Sets ledger_why; returns err. */
enum err verb_fails(struct verb *v, enum err err, const char *why);

/* ---- sqlite_rows.c: reading and writing what several verbs need ---- */

/* Columns as the words of the trade; a text that is none makes the query fail with ERR_CORRUPT. */
void row_broken(struct query *q, int column);
enum payment_type row_payment_type(struct query *q, int column);
enum subscription_type row_subscription_type(struct query *q, int column);
enum processing_status row_processing_status(struct query *q, int column);
enum payment_status row_payment_status(struct query *q, int column);
enum reason row_reason(struct query *q, int column);
struct money row_money(struct query *q, int amount_column, int currency_column);
void row_bind_money(struct query *q, const struct money *m);
void row_bind_reason(struct query *q, enum reason reason);
void row_bind_uuid(struct query *q, const struct uuid *id); /* nil binds null */

/* A move of a payment for `events`; what is nil, none or unknown is not part of it. */
struct move {
    const struct uuid *payment_id;
    const char *actor, *from, *to; /* from NULL: stored now */
    enum payment_status status;    /* after the move */
    struct uuid duplicate_of, refund_of;
    enum reason reason;
    struct money money;
    int64_t expiration_us; /* 0: not set by this move */
    const char *notification;
};
enum err row_move(struct verb *v, const struct move *move) MUST_CHECK;
/* Writes l->detail as the detail of an event. */
enum err row_event(struct verb *v, const char *subject, const char *subject_id, const char *actor,
                   const char *to) MUST_CHECK;
/* An alarm with l->detail, unless the very same is there already. */
enum err row_alarm(struct verb *v, const char *subject_id, const char *actor) MUST_CHECK;
/* new → duplicated. */
enum err row_duplicate(struct verb *v, int64_t seq, const struct uuid *payment_id,
                       const struct uuid *duplicate_of, enum reason reason) MUST_CHECK;

struct stored_period {
    struct uuid id, payment_id; /* payment_id nil for a grant */
    enum subscription_type subscription_type;
    struct period period;
    const char *end_reason; /* NULL or a static text */
};
enum err row_period_event(struct verb *v, const struct stored_period *p, const char *user,
                          const char *to) MUST_CHECK;

/* The account's columns that answer "subscribed?": see the migration. */
struct cover {
    bool any;
    int64_t from_us, until_us;
    struct uuid payment_id;
};
enum err row_cover(struct verb *v, const char *user, struct cover *out) MUST_CHECK;
/* The lowest seq ≥ from of the user's payments with that status; 0: none. */
enum err row_first(struct verb *v, const char *user, int64_t from, const char *status,
                   int64_t *out) MUST_CHECK;

/* ---- the verbs, one file each ---- */

enum err sqlite_append(struct ledger *l, struct ledger_record *records, size_t count,
                       const struct ledger_position *from, const struct ledger_position *to);
enum err sqlite_claim(struct ledger *l, const struct ledger_claim *claim, struct arena *arena,
                      struct ledger_claimed *out);
enum err sqlite_due(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                    struct attempt **out, size_t *count);
enum err sqlite_defer(struct ledger *l, const struct deferral *deferrals, size_t count);
enum err sqlite_settle(struct ledger *l, struct fact *facts, size_t count);
enum err sqlite_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                       struct telling **out, size_t *count);
enum err sqlite_told(struct ledger *l, const struct told *told, size_t count);

/* ---- embedded.c, for the handles over it ---- */

struct clock *embedded_clock(struct embedded *e);
struct random *embedded_random(struct embedded *e);
void embedded_join(struct embedded *e, struct sqlite_ledger *l);
void embedded_leave(struct embedded *e, struct sqlite_ledger *l);
void embedded_set_watch(struct embedded *e, struct sqlite_ledger *l, void (*fn)(void *, unsigned),
                        void *ctx);
void embedded_changed(struct embedded *e, unsigned changes); /* calls the watchers */
enum err sqlite_ledger_open(struct ledger **out, struct embedded *e) MUST_CHECK;
enum err sqlite_views_open(struct views **out, struct embedded *e) MUST_CHECK;

#endif
