/* suite.h: a store to test against, chosen by SUBPAY_TEST_STORE: sqlite (default, in memory),
 * sqlite-file, or with a server at SUBPAY_TEST_POSTGRES (tests/postgres.py) postgres,
 * postgres-rows (every verb in the form of SQLite), postgres-silent (without NOTIFY) or
 * postgres-pooled (through SUBPAY_TEST_POSTGRES_POOLED).
 *
 * A test gets a fresh store with a clock that moves only when told, and afterwards store_sane
 * recomputes everything that can be recomputed. Helpers fail the test by themselves; those that
 * return an err do not. */
#ifndef SUBPAY_TESTS_CONTRACT_SUITE_H
#define SUBPAY_TESTS_CONTRACT_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/random.h"
#include "ledger/embedded.h"
#include "ledger/ledger.h"
#include "ledger/views.h"
#include "suite_postgres.h"

#define SECOND US_PER_S
#define HOUR (3600 * US_PER_S)
#define DAY US_PER_DAY
#define START_US (INT64_C(1764000000) * US_PER_S) /* 2025-11-24T16:00:00Z */
#define LEASE_US (32 * SECOND)
#define MAX_AGE_US (6 * HOUR)
#define TOPIC "payments"
#define LOG_ID "log-1"
#define INSTANCE "instance-1"
#define PAGE "https://pay.example/1"

struct test_clock {
    struct clock clock;
    _Atomic int64_t wall_us;
};
struct store {
    struct test_clock clock;
    struct random_seeded random;
    struct embedded *embedded; /* or: */
    struct postgres *postgres;
    bool silent;
    struct place place;
    struct ledger *ledger;
    struct views *views;
    struct arena arena;
    char dir[64];     /* of the file, else "" */
    int64_t next;     /* the position */
    int64_t line;     /* the journal's last line */
    unsigned changes; /* what the watcher was told since it was last zeroed */
};

int store_setup(void **state);
int store_setup_file(void **state); /* in a file, or PostgreSQL: it can be opened again */
bool store_is_postgres(void);
bool store_is_pooled(void);
int store_teardown(void **state); /* sane, then closed */
void store_close(struct store *s);
void store_open(struct store *s);
void store_reopen(struct store *s); /* a file or PostgreSQL: as after a crash, all handles closed */
void store_sane(struct store *s);
/* PostgreSQL knows nothing yet about tables as young as a test's: without it, looking at many rows is slow. */
void store_analyze(struct store *s);
const char *store_wrong(struct store *s); /* NULL, or the rule that is not kept */
void store_advance(struct store *s, int64_t us);
/* Another handle. */
enum err store_ledger(struct store *s, struct ledger **out);
enum err store_views(struct store *s, struct views **out);

/* Straight at the tables: ?1 is the text, NULL for none. On PostgreSQL these two see ids and times
 * as SQLite stores them (suite_postgres.h); store_sql and store_try_sql work on the tables. */
int64_t store_i64(struct store *s, const char *sql, const char *text);
const char *store_text(struct store *s, const char *sql, const char *text); /* in the arena */
void store_sql(struct store *s, const char *sql);
enum err store_try_sql(struct store *s, const char *sql);
void store_rollback(struct store *s); /* of store_sql's BEGIN; also after a failure */
struct db *store_looks(struct store *s);

/* Small numbers as ids; 0 is nil. */
struct uuid user(int n);
struct uuid payment(int n);
const char *text_of(struct store *s, const struct uuid *id); /* in the arena */

struct ledger_record asks(int user_n, int payment_n, enum payment_type type,
                          enum subscription_type subscription); /* now, without a time */
struct ledger_record pays(int user_n, int payment_n);           /* a month */
struct ledger_record refunds(int user_n, int payment_n);        /* a month */

enum err store_append(struct store *s, struct ledger_record *records, size_t count);
void append_ok(struct store *s, struct ledger_record record);

struct ledger_claim claim_default(void);
struct ledger_claimed claim_as(struct store *s, const struct ledger_claim *claim);
struct ledger_claimed claim_ok(struct store *s);
struct attempt claim_one(struct store *s, int payment_n); /* exactly that one is to be sent */
void claim_none(struct store *s);                         /* nothing is to be sent */
size_t due_count(struct store *s);
struct attempt due_is(struct store *s, int payment_n); /* exactly that one is due */

struct deferral deferral_of(int payment_n, int64_t pause_us);
struct deferral page_of(int payment_n, int64_t pause_us); /* it waits for its payer */
void defer_ok(struct store *s, struct deferral deferral);

struct fact fact_of(struct store *s, int payment_n,
                    enum payment_status outcome); /* money as stored */
enum settle_verdict settle_ok(struct store *s, struct fact fact);
struct fact voided_of(struct store *s, int payment_n);
struct fact settled_ok(struct store *s, struct fact fact); /* as it comes back */
/* append, claim, settle: and the period is open. */
void subscribe(struct store *s, int user_n, int payment_n);
size_t untold_count(struct store *s);
struct told tell(int payment_n);
void told_ok(struct store *s, struct told told);

/* A line of the journal about a month's payment of a user; the next seq. */
struct journal_entry line_of(struct store *s, int user_n, int payment_n, enum learn_answer answer);
struct ledger_learned learn_lines(struct store *s, const struct journal_entry *lines, size_t count);
struct ledger_learned learn_ok(struct store *s, struct journal_entry line);
struct ledger_reading reading_now(struct store *s);
struct uuid learned_with(struct store *s, struct uuid waited); /* the mark that stands */
void learned_ok(struct store *s); /* and, if books were rewound, once more after the wait */
int64_t journal_position(struct store *s);

/* "processed/error cancelled", "duplicated/unknown ->3" (the payment it duplicates, by number) … */
const char *status_of(struct store *s, int payment_n);
void assert_status(struct store *s, int payment_n, const char *expected);
int64_t event_count(struct store *s, int payment_n);
const char *last_event(struct store *s, int payment_n); /* "actor from>to status detail" */

#endif
