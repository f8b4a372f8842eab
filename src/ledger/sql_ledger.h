/* sql_ledger.h: what the files of the ledger in SQL share; nobody else includes it.
 *
 * The verbs are written once, in SQL that SQLite and PostgreSQL both speak (base/db.h); an engine
 * gives them a transaction, a clock and watchers. Where PostgreSQL pays for every round trip, it has
 * its own form of a verb, over all rows at once (postgres_*.c).
 *
 * A verb is a struct that begins with struct verb: its arguments, its results, and `run`, the
 * closure over the connection that writes. verb_do runs it in a transaction of the engine and tells
 * the watchers once it is durable. Accounts are taken first (verb_lock_…): on SQLite that is
 * nothing, everything there is under one lock, that of the file. */
#ifndef SUBPAY_LEDGER_SQL_LEDGER_H
#define SUBPAY_LEDGER_SQL_LEDGER_H

#include "base/clock.h"
#include "base/db.h"
#include "base/random.h"
#include "base/str.h"
#include "billing/price.h"
#include "billing/undecided.h"
#include "ledger/ledger_driver.h"

#define SQL_WHY_MAX 256
#define SQL_DETAIL_MAX 16384         /* evidence may need six bytes for one */
#define SQL_PARK_US (300 * US_PER_S) /* a user whose rows are damaged is left alone this long */
#define SQL_PARKED_MAX 8             /* … and at most this many are found in one call */

struct verb;
struct sql_ledger {
    struct ledger base;
    const struct sql_engine *engine;
    struct random *random; /* for ids */
    struct str detail;     /* of the event being written */
    char why[SQL_WHY_MAX];
};
struct sql_engine {
    /* verb_inside, in one transaction. */
    enum err (*transact)(struct verb *v);
    /* A connection for reading; the engine keeps it. */
    enum err (*reader)(struct sql_ledger *l, struct db **out);
    enum err (*now)(struct sql_ledger *l, int64_t *now_us); /* for readings */
    void (*changed)(struct sql_ledger *l, unsigned changes);
    void (*watch)(struct sql_ledger *l, void (*fn)(void *, unsigned), void *ctx);
    void (*close)(struct sql_ledger *l); /* frees l */
};
extern const struct ledger_ops SQL_LEDGER_OPS;
void sql_ledger_init(struct sql_ledger *l, const struct sql_engine *engine, struct random *random);

struct verb {
    enum err (*run)(struct verb *v);
    struct sql_ledger *l;
    struct db *db;
    int64_t now_us;       /* the store's clock when run began */
    unsigned changes;     /* LEDGER_CHANGE_… for the watchers */
    char user[UUID_TEXT]; /* whose rows are being worked on, "": nobody's in particular */
    bool parks_telling;
};
enum err verb_do(struct verb *v) MUST_CHECK;
/* For the engine, within its transaction. */
enum err verb_inside(struct verb *v, struct db *db, int64_t now_us) MUST_CHECK;
/* The same for work lists: a user whose rows are damaged must not keep the others waiting, so they
 * get an alarm event, are put off by SQL_PARK_US, and the verb runs again without them. `reset`
 * forgets results. */
enum err verb_do_list(struct verb *v, void (*reset)(struct verb *v)) MUST_CHECK;
/* Sets ledger_why; returns err. */
enum err verb_fails(struct verb *v, enum err err, const char *why);

/* ---- sql_lock.c: what has to be locked before it is read; nothing on SQLite ---- */

/* Accounts, in one order for all verbs: of these payments, as far as they are known; of these users,
 * made where there are none. The ids are `stride` bytes apart, at most LEDGER_BATCH_MAX. What is
 * read afterwards, by another statement, is what everybody before has left. */
enum err verb_lock_payments(struct verb *v, const struct uuid *first, size_t stride,
                            size_t count) MUST_CHECK;
enum err verb_lock_users(struct verb *v, const struct uuid *first, size_t stride,
                         size_t count) MUST_CHECK;
enum err verb_lock_table(struct verb *v, const char *static_sql) MUST_CHECK; /* LOCK TABLE … */
/* The text of a query whose rows are locked as it reads them. */
#define VERB_LOCKING(v, sql, how) (db_is_postgres((v)->db) ? sql " " how : sql)
/* … with one more column, where the row is (ctid): nobody moves it while it is locked, so that a later
 * statement of the transaction finds it without an index. '' on SQLite, which has no use for it. */
#define VERB_LOCKING_PLACES(v, columns, rest, how)                                                 \
    (db_is_postgres((v)->db) ? columns ", ctid " rest " " how : columns ", '' " rest)
#define PLACE_TEXT 32
void row_place(struct query *q, int column, char place[PLACE_TEXT]);

/* ---- sql_rows.c: reading and writing what several verbs need ---- */

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
void row_bind_seq(struct query *q, int64_t seq);            /* 0 binds null */

/* A move of a payment for `events`; what is nil, none or unknown is not part of it. */
struct move {
    const struct uuid *payment_id;
    const char *actor, *from, *to; /* from NULL: stored now */
    enum payment_status status;    /* after the move */
    struct uuid duplicate_of, refund_of;
    enum reason reason;
    struct money money;
    int64_t expiration_us; /* 0: not set by this move */
    const char *notification, *evidence;
};
enum err row_move(struct verb *v, const struct move *move) MUST_CHECK;
void row_move_detail(struct str *out, const struct move *move);
const char *row_detail(const struct str *detail); /* as it is stored: NULL when it says nothing */
/* Writes l->detail as the detail of an event. */
enum err row_event(struct verb *v, const char *subject, const char *subject_id, const char *actor,
                   const char *to) MUST_CHECK;
/* An alarm with l->detail, unless the very same is there already. */
enum err row_alarm(struct verb *v, const char *subject_id, const char *actor) MUST_CHECK;
/* The alarm that an answer contradicts the books: money NULL unless it is that which differs. */
enum err row_contradiction(struct verb *v, const struct uuid *payment_id, const char *outcome,
                           const struct money *money) MUST_CHECK;
/* new → duplicated. */
struct move duplicate_move(const struct uuid *payment_id, const struct uuid *duplicate_of,
                           enum reason reason);
enum err row_duplicate(struct verb *v, int64_t seq, const struct uuid *payment_id,
                       const struct uuid *duplicate_of, enum reason reason) MUST_CHECK;

struct stored_period {
    struct uuid id, payment_id; /* payment_id nil for a grant */
    enum subscription_type subscription_type;
    struct period period;
    const char *end_reason; /* NULL or a static text */
};
void row_period_detail(struct str *out, const struct stored_period *p, const char *user);
enum err row_period_event(struct verb *v, const struct stored_period *p, const char *user,
                          const char *actor, const char *to) MUST_CHECK;

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

/* ---- sql_store.c: a request becomes a row ---- */

struct stored_request {
    int64_t seq;
    const struct request *request;
    int64_t requested_at_us;
    int64_t recorded_at_us; /* REQUEST_NO_TIME: none */
    struct money money;     /* unknown: not known yet */
    const char *actor;      /* of the event */
    bool ask_first;
};
enum err row_next_seq(struct verb *v, int64_t *out) MUST_CHECK;
/* For `events`, of row_store. */
struct move store_move(const struct stored_request *r);
/* Account, payment and event. */
enum err row_store(struct verb *v, const struct stored_request *r) MUST_CHECK;

/* A broker's timestamp may be anything, and TIME_NEVER is stored as null, as REQUEST_NO_TIME is. */
int64_t row_calendar(int64_t at_us);

/* ---- sql_append.c: records one after the other, or all at once (postgres_append.c) ---- */

#define APPEND_DAYS 32 /* places for prices; days of the month never clash */
struct known_price {
    bool looked_up;
    struct date day;
    struct money cost; /* unknown: no price on that day */
};
struct append {
    struct verb verb;
    enum err (*store)(struct append *a); /* gives every record its verdict */
    struct ledger_record *records;
    size_t count;
    const struct ledger_position *from, *to;
    int64_t next_seq;
    bool ask_first;
    struct known_price prices[SUBSCRIPTION_TYPE_COUNT][APPEND_DAYS];
};
enum err append_with(struct ledger *l, struct ledger_record *records, size_t count,
                     const struct ledger_position *from, const struct ledger_position *to,
                     enum err (*store)(struct append *a)) MUST_CHECK;
/* Of a record whose id is known already: for the same request? */
void append_repeats(struct ledger_record *record, bool same);
/* Of one whose id is not: what is to be stored, but for seq, unless it is refused (rule 7). */
enum err append_priced(struct append *a, struct ledger_record *record,
                       struct stored_request *out) MUST_CHECK;

/* ---- sql_outcome.c: a payment with its account, and how it ends ---- */

struct standing {
    int64_t seq;
    struct uuid payment_id;
    char user[UUID_TEXT];
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    enum processing_status processing_status;
    enum payment_status payment_status;
    struct money money;
    struct uuid refund_of;
    int64_t in_flight, pending_seq; /* of the account; 0: none */
    struct cover cover;             /* of the account; changed by what was accepted */
    int64_t expiration_us;          /* of the period that it opened, else TIME_NEVER */
    int64_t ask_first;              /* as stored */
    bool needs_decision;
    /* A reading of the journal is under way, or has to be repeated: what waits is not looked at. */
    bool learning;
    struct undecided undecided; /* of what is in processing; superseded: see waiting_paged */
    struct sent {
        int64_t wall_us, boot_us; /* of what is in processing: see struct attempt */
        char boot_id[CLOCK_BOOT_ID];
    } sent;
};
struct outcome {
    enum payment_status status;
    bool voided;               /* the reason is found out */
    enum reason reason;        /* out: as recorded */
    const char *processing_id; /* "" for none */
    const char *actor;
    const char *evidence; /* NULL for none */
};
enum err standing_read(struct verb *v, const struct uuid *id, struct standing *out,
                       bool *found) MUST_CHECK;
/* The rows of STANDING_FROM, beginning with STANDING_COLUMNS. */
#define STANDING_COLUMNS                                                                           \
    "p.seq, p.user_id, p.payment_type, p.subscription_type, p.processing_status, "                 \
    "p.payment_status, p.amount, p.currency, p.refund_of, coalesce(a.in_flight, 0), "              \
    "coalesce(a.pending_seq, 0), a.active_from, a.active_until, a.period_payment, p.ask_first, "   \
    "p.needs_decision, EXISTS (SELECT 1 FROM learning l WHERE l.user_id = p.user_id), "            \
    "t.first_sent_at, t.ask_only, t.pending_since, p.action_expires_at, t.too_old, t.boot_id, "    \
    "coalesce(t.sent_boot_us, 0), EXISTS (SELECT 1 FROM rewound), p.id"
#define STANDING_FROM                                                                              \
    "payments p JOIN accounts a ON a.user_id = p.user_id LEFT JOIN attempts t ON t.seq = p.seq "
void standing_row(struct verb *v, struct query *q, struct standing *out);
/* The period that an accepted payment opens: cover and expiration_us are changed by it. */
struct stored_period standing_period(struct verb *v, struct standing *p);
/* For `events`, of standing_ends. */
struct move standing_move(const struct standing *p, const struct outcome *o);
/* → processed, from in_processing or new: the payment, what it does to periods, the event. */
enum err standing_ends(struct verb *v, struct standing *p, const struct outcome *o) MUST_CHECK;
/* The account, after the above and after those who waited: nothing new is below p->pending_seq. */
enum err standing_account(struct verb *v, struct standing *p) MUST_CHECK;
/* Both, of a payment in flight, with what waits. hold: that is left for ledger_learned_all. */
enum err standing_settle(struct verb *v, struct standing *p, struct outcome *o, bool hold,
                         size_t *waiting_duplicated) MUST_CHECK;

/* ---- sql_settle.c: facts one after the other, or all at once (postgres_settle.c) ---- */

struct settle {
    struct verb verb;
    enum err (*record)(struct settle *s); /* all of them; the accounts are locked */
    struct fact *facts;
    size_t count;
};
enum err settle_with(struct ledger *l, struct fact *facts, size_t count,
                     enum err (*record)(struct settle *s)) MUST_CHECK;
enum err settle_one(struct settle *s, struct fact *f) MUST_CHECK;
/* SETTLE_DONE: it is in processing, so it is to be recorded now. */
enum settle_verdict settle_verdict_of(const struct fact *f, const struct standing *p);
struct outcome settle_outcome(const struct fact *f);

/* ---- sql_waiting.c: new requests behind a payment; one to be asked first ends the list ---- */

/* Rule 2: those that waited below below_seq; *taken become its duplicates. */
enum err waiting_settled(struct verb *v, const struct standing *p, enum reason reason,
                         int64_t below_seq, size_t *taken) MUST_CHECK;
/* Rule 8: of a payment that waits for its payer; the same ones become duplicates, if `duplicate`.
 * Says whether others are left: p->undecided.superseded. */
enum err waiting_paged(struct verb *v, struct standing *p, bool duplicate,
                       size_t *taken) MUST_CHECK;
/* Has a claim look at what waits, if a payment of the user waits for its payer and anything waits
 * for that. */
enum err waiting_note(struct verb *v, const char *user) MUST_CHECK;
/* Rule 11: what is new and older than `latest`, but what is to be asked first, duplicates it. */
enum err waiting_older(struct verb *v, const char *user, int64_t latest_seq) MUST_CHECK;
/* pending_seq and, if nothing is in flight, due_at of the account, after some of its requests are
 * new no more. Nothing below from_seq is new. */
enum err waiting_account(struct verb *v, const char *user, int64_t from_seq) MUST_CHECK;

/* ---- sql_defer.c ---- */

/* The payer's page of a payment; "" and TIME_NEVER leave what is stored. */
enum err row_page(struct verb *v, int64_t seq, const char *action_url,
                  int64_t expires_at_us) MUST_CHECK;

/* ---- sql_paged.c: the part of a claim about payments that wait for their payer ---- */

enum err paged_claim(struct verb *v, size_t users_max, size_t *duplicated) MUST_CHECK;

/* ---- sql_learned.c: marks of a reading of the journal ---- */

enum err learning_rewound(struct verb *v, const char *user, int64_t latest_seq) MUST_CHECK;
enum err learning_holds(struct verb *v, const struct standing *p) MUST_CHECK;
/* The mark of rewound books: a new one; the one that stands, else nil. */
enum err rewound_marks(struct verb *v) MUST_CHECK;
enum err rewound_read(struct verb *v, struct uuid *out) MUST_CHECK;

/* ---- the verbs, one file each ---- */

enum err sql_append(struct ledger *l, struct ledger_record *records, size_t count,
                    const struct ledger_position *from, const struct ledger_position *to);
enum err sql_claim(struct ledger *l, const struct ledger_claim *claim, struct arena *arena,
                   struct ledger_claimed *out);
enum err sql_due(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                 struct attempt **out, size_t *count);
enum err sql_attempt(struct ledger *l, const struct uuid *payment_id, struct arena *arena,
                     struct attempt **out);
enum err sql_defer(struct ledger *l, const struct deferral *deferrals, size_t count);
enum err sql_settle(struct ledger *l, struct fact *facts, size_t count);
enum err sql_decide(struct ledger *l, struct ledger_decision *decision);
enum err sql_reading(struct ledger *l, const char *instance_id, struct ledger_reading *out);
enum err sql_learn(struct ledger *l, const struct ledger_reading *reading,
                   const struct journal_entry *entries, size_t count, struct ledger_learned *out);
enum err sql_learned_all(struct ledger *l, const struct uuid *waited, struct uuid *stands);
enum err sql_asked(struct ledger *l, const char *instance_id, const struct journal_entry *entry,
                   struct ledger_learned *out);
enum err sql_asked_unknown(struct ledger *l, const struct uuid *payment_id);
enum err sql_mark_restored(struct ledger *l, int64_t *marked);
enum err sql_mark_queued(struct ledger *l, const char *topic, int32_t partition, int64_t next);
enum err sql_price_add(struct ledger *l, const struct price *price, const char *actor,
                       enum catalog_verdict *verdict);
enum err sql_price_delete(struct ledger *l, enum subscription_type type, struct date day,
                          const char *actor, enum catalog_verdict *verdict);
enum err sql_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                    struct telling **out, size_t *count);
enum err sql_told(struct ledger *l, const struct told *told, size_t count);

/* A connection for reading; and how a read ends: why is kept. */
enum err sql_reader(struct sql_ledger *l, struct db **out) MUST_CHECK;
enum err sql_read_ends(struct sql_ledger *l, struct db *db, enum err err) MUST_CHECK;

#endif
