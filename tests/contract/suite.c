#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/times.h"
#include "ledger/schema.h"
#include "ledger/sql_ledger.h"

static int64_t test_wall_us(struct clock *c)
{
    return atomic_load(&((struct test_clock *)c)->wall_us);
}

static void noticed(void *ctx, unsigned changes)
{
    struct store *s = ctx;
    s->changes |= changes;
}

/* ---- life ---- */

bool store_is_postgres(void)
{
    const char *which = getenv("SUBPAY_TEST_STORE");
    return which && strncmp(which, "postgres", strlen("postgres")) == 0;
}

static bool store_is(const char *which)
{
    const char *asked = getenv("SUBPAY_TEST_STORE");
    return asked && strcmp(asked, which) == 0;
}

bool store_is_pooled(void)
{
    return store_is("postgres-pooled");
}

enum err store_ledger(struct store *s, struct ledger **out)
{
    if (!s->postgres)
        return embedded_ledger(s->embedded, out);
    enum err err = postgres_ledger(s->postgres, out);
    if (err == ERR_OK && store_is("postgres-rows"))
        (*out)->ops = &SQL_LEDGER_OPS;
    return err;
}

enum err store_views(struct store *s, struct views **out)
{
    return s->postgres ? postgres_views(s->postgres, out) : embedded_views(s->embedded, out);
}

static void store_open_handles(struct store *s)
{
    assert_int_equal(store_ledger(s, &s->ledger), ERR_OK);
    assert_int_equal(store_views(s, &s->views), ERR_OK);
    ledger_watch(s->ledger, noticed, s);
}

static enum err postgres_opens(struct store *s, char *why, size_t why_cap)
{
    const struct postgres_settings settings = {
        .url = s->place.url, .clock = &s->clock.clock, .notify = !s->silent};
    return postgres_open(&s->postgres, &settings, random_real(), why, why_cap);
}

void store_open(struct store *s)
{
    char why[SCHEMA_WHY_MAX] = "";
    enum err err;
    if (s->place.name[0])
        err = postgres_opens(s, why, sizeof why);
    else if (s->dir[0])
        err = embedded_open(&s->embedded, s->dir, &s->clock.clock, &s->random.random, why,
                            sizeof why);
    else
        err = embedded_open_memory(&s->embedded, &s->clock.clock, &s->random.random);
    if (err != ERR_OK)
        fail_msg("the store does not open: %s", why);
    store_open_handles(s);
}

static int setup(void **state, const char *which)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return -1;
    s->clock.clock = (struct clock){.wall_us = test_wall_us, .boot_us = test_wall_us};
    atomic_store(&s->clock.wall_us, START_US);
    random_seed(&s->random, 1);
    arena_init(&s->arena, 256 * 1024 * 1024);
    if (store_is_postgres()) {
        s->silent = store_is("postgres-silent");
        place_make(&s->place, store_is_pooled());
    } else if (strcmp(which, "sqlite-file") == 0) {
        snprintf(s->dir, sizeof s->dir, "/tmp/subpay-test-XXXXXX");
        if (!mkdtemp(s->dir))
            return -1;
    }
    store_open(s);
    *state = s;
    return 0;
}

int store_setup(void **state)
{
    static const char *const ALLOWED[] = {"sqlite",        "sqlite-file",     "postgres",
                                          "postgres-rows", "postgres-silent", "postgres-pooled"};
    const char *which = getenv("SUBPAY_TEST_STORE");
    if (!which)
        which = ALLOWED[0];
    for (size_t i = 0; i < sizeof ALLOWED / sizeof ALLOWED[0]; i++)
        if (strcmp(which, ALLOWED[i]) == 0)
            return setup(state, which);
    fprintf(stderr,
            "SUBPAY_TEST_STORE=%s: allowed are sqlite, sqlite-file, postgres, "
            "postgres-rows, postgres-silent, postgres-pooled\n",
            which);
    return -1;
}

int store_setup_file(void **state)
{
    return store_is_postgres() ? store_setup(state) : setup(state, "sqlite-file");
}

void store_close(struct store *s)
{
    views_close(s->views);
    ledger_close(s->ledger);
    embedded_close(s->embedded);
    postgres_close(s->postgres);
    s->views = NULL;
    s->ledger = NULL;
    s->embedded = NULL;
    s->postgres = NULL;
}

void store_reopen(struct store *s)
{
    assert_true(s->dir[0] != '\0' || s->postgres);
    store_close(s);
    store_open(s);
}

static void file_remove(const char *dir)
{
    static const char *const NAMES[] = {"subpay.db", "subpay.db-wal", "subpay.db-shm",
                                        "subpay.lock"};
    char path[128];
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, NAMES[i]);
        unlink(path);
    }
    rmdir(dir);
}

int store_teardown(void **state)
{
    struct store *s = *state;
    store_sane(s);
    store_close(s);
    if (s->dir[0])
        file_remove(s->dir);
    arena_release(&s->arena);
    free(s);
    return 0;
}

void store_advance(struct store *s, int64_t us)
{
    atomic_fetch_add(&s->clock.wall_us, us);
}

/* ---- straight at the tables ---- */

static struct db *tables(struct store *s)
{
    return s->place.name[0] ? s->place.tables : writer_db(embedded_writer(s->embedded));
}

struct db *store_looks(struct store *s)
{
    return s->place.name[0] ? s->place.looks : tables(s);
}

int64_t store_i64(struct store *s, const char *sql, const char *text)
{
    struct query q;
    int64_t value = 0;
    query_open(&q, store_looks(s), sql);
    if (text)
        query_bind_text(&q, text);
    if (query_next(&q))
        value = query_i64(&q, 0);
    if (query_close(&q) != ERR_OK)
        fail_msg("%s: %s", sql, db_why(store_looks(s)));
    return value;
}

const char *store_text(struct store *s, const char *sql, const char *text)
{
    struct query q;
    const char *value = "";
    query_open(&q, store_looks(s), sql);
    if (text)
        query_bind_text(&q, text);
    if (query_next(&q)) {
        value = query_text(&q, 0);
        value = arena_text(&s->arena, value, strlen(value));
    }
    if (query_close(&q) != ERR_OK)
        fail_msg("%s: %s", sql, db_why(store_looks(s)));
    return value;
}

enum err store_try_sql(struct store *s, const char *sql)
{
    return db_script(tables(s), sql);
}

void store_rollback(struct store *s)
{
    db_rollback(tables(s));
}

void store_analyze(struct store *s)
{
    if (s->place.name[0])
        store_sql(s, "ANALYZE accounts, payments, events, attempts, subscriptions");
}

void store_sql(struct store *s, const char *sql)
{
    if (store_try_sql(s, sql) != ERR_OK)
        fail_msg("%s: %s", sql, db_why(tables(s)));
}

/* ---- names ---- */

static struct uuid numbered(uint8_t kind, int n)
{
    struct uuid id = UUID_NIL;
    if (n == 0)
        return id;
    id.bytes[0] = kind;
    id.bytes[6] = 0x70;
    id.bytes[8] = 0x80;
    for (int i = 0; i < 4; i++)
        id.bytes[12 + i] = (uint8_t)((unsigned)n >> (24 - 8 * i));
    return id;
}

struct uuid user(int n)
{
    return numbered(0xaa, n);
}

struct uuid payment(int n)
{
    return numbered(0xbb, n);
}

const char *text_of(struct store *s, const struct uuid *id)
{
    char text[UUID_TEXT];
    uuid_format(id, text);
    return arena_text(&s->arena, text, UUID_TEXT - 1);
}

struct ledger_record asks(int user_n, int payment_n, enum payment_type type,
                          enum subscription_type subscription)
{
    return (struct ledger_record){
        .request = {.payment_id = payment(payment_n),
                    .user_id = user(user_n),
                    .payment_type = type,
                    .subscription_type = subscription,
                    .requested_at_us = REQUEST_NO_TIME},
        .recorded_at_us = REQUEST_NO_TIME,
    };
}

struct ledger_record pays(int user_n, int payment_n)
{
    return asks(user_n, payment_n, PAYMENT_TYPE_PAYMENT, SUBSCRIPTION_MONTH);
}

struct ledger_record refunds(int user_n, int payment_n)
{
    return asks(user_n, payment_n, PAYMENT_TYPE_REFUND, SUBSCRIPTION_MONTH);
}

/* ---- verbs ---- */

enum err store_append(struct store *s, struct ledger_record *records, size_t count)
{
    struct ledger_position from = {.topic = TOPIC, .partitions = 1, .next = s->next};
    struct ledger_position to = from;
    snprintf(from.log_id, sizeof from.log_id, "%s", s->next ? LOG_ID : "");
    snprintf(to.log_id, sizeof to.log_id, "%s", LOG_ID);
    to.next += (int64_t)(count ? count : 1);
    to.checksum = (uint64_t)to.next;
    enum err err = ledger_append(s->ledger, records, count, &from, &to);
    if (err == ERR_OK)
        s->next = to.next;
    return err;
}

void append_ok(struct store *s, struct ledger_record record)
{
    enum err err = store_append(s, &record, 1);
    if (err != ERR_OK)
        fail_msg("append: %s", ledger_why(s->ledger));
    assert_int_equal(record.verdict, APPEND_STORED);
}

struct ledger_claim claim_default(void)
{
    return (struct ledger_claim){
        .limits = {.request_max_age_us = MAX_AGE_US},
        .users_max = 100,
        .lease_us = LEASE_US,
        .encode = charge_encode_json,
        .instance_id = INSTANCE,
    };
}

struct ledger_claimed claim_as(struct store *s, const struct ledger_claim *claim)
{
    struct ledger_claimed out = {0};
    if (ledger_claim(s->ledger, claim, &s->arena, &out) != ERR_OK)
        fail_msg("claim: %s", ledger_why(s->ledger));
    return out;
}

struct ledger_claimed claim_ok(struct store *s)
{
    struct ledger_claim claim = claim_default();
    return claim_as(s, &claim);
}

struct attempt claim_one(struct store *s, int payment_n)
{
    struct ledger_claimed got = claim_ok(s);
    struct uuid id = payment(payment_n);
    assert_int_equal(got.attempt_count, 1);
    assert_true(uuid_equal(&got.attempts[0].payment_id, &id));
    return got.attempts[0];
}

void claim_none(struct store *s)
{
    assert_int_equal(claim_ok(s).attempt_count, 0);
}

size_t due_count(struct store *s)
{
    struct attempt *out;
    size_t count = 0;
    assert_int_equal(ledger_due(s->ledger, 100, LEASE_US, &s->arena, &out, &count), ERR_OK);
    return count;
}

struct attempt due_is(struct store *s, int payment_n)
{
    struct attempt *out = NULL;
    size_t count = 0;
    struct uuid id = payment(payment_n);
    assert_int_equal(ledger_due(s->ledger, 100, LEASE_US, &s->arena, &out, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_true(uuid_equal(&out[0].payment_id, &id));
    return out[0];
}

struct deferral deferral_of(int payment_n, int64_t pause_us)
{
    return (struct deferral){
        .payment_id = payment(payment_n), .pause_us = pause_us, .expires_at_us = TIME_NEVER};
}

struct deferral page_of(int payment_n, int64_t pause_us)
{
    struct deferral d = deferral_of(payment_n, pause_us);
    d.pending = true;
    snprintf(d.action_url, sizeof d.action_url, "%s", PAGE);
    return d;
}

void defer_ok(struct store *s, struct deferral deferral)
{
    if (ledger_defer(s->ledger, &deferral, 1) != ERR_OK)
        fail_msg("defer: %s", ledger_why(s->ledger));
}

struct fact fact_of(struct store *s, int payment_n, enum payment_status outcome)
{
    struct uuid id = payment(payment_n);
    const char *text = text_of(s, &id);
    struct fact f = {
        .payment_id = id,
        .outcome = outcome,
        .reason = outcome == PAYMENT_ERROR ? REASON_REFUSED : REASON_NONE,
        .money.amount_minor = store_i64(s, "SELECT amount FROM payments WHERE id = ?1", text),
    };
    snprintf(f.money.currency, sizeof f.money.currency, "%s",
             store_text(s, "SELECT currency FROM payments WHERE id = ?1", text));
    snprintf(f.processing_id, sizeof f.processing_id, "tx-%d", payment_n);
    return f;
}

enum settle_verdict settle_ok(struct store *s, struct fact fact)
{
    if (ledger_settle(s->ledger, &fact, 1) != ERR_OK)
        fail_msg("settle: %s", ledger_why(s->ledger));
    return fact.verdict;
}

struct fact voided_of(struct store *s, int payment_n)
{
    struct fact f = fact_of(s, payment_n, PAYMENT_ERROR);
    f.voided = true;
    f.reason = REASON_NONE;
    return f;
}

struct fact settled_ok(struct store *s, struct fact fact)
{
    if (ledger_settle(s->ledger, &fact, 1) != ERR_OK)
        fail_msg("settle: %s", ledger_why(s->ledger));
    assert_int_equal(fact.verdict, SETTLE_DONE);
    return fact;
}

/* ---- the journal ---- */

struct journal_entry line_of(struct store *s, int user_n, int payment_n, enum learn_answer answer)
{
    return (struct journal_entry){
        .seq = ++s->line,
        .answer = answer,
        .request = {.payment_id = payment(payment_n),
                    .user_id = user(user_n),
                    .payment_type = PAYMENT_TYPE_PAYMENT,
                    .subscription_type = SUBSCRIPTION_MONTH,
                    .requested_at_us = atomic_load(&s->clock.wall_us)},
        .money = {39900, "RUB"},
        .body = "{\"as\":\"sent\"}",
        .body_len = strlen("{\"as\":\"sent\"}"),
        .processing_id = answer == LEARN_PENDING ? "" : "tx",
        .action_url = answer == LEARN_PENDING ? PAGE : "",
        .expires_at_us = TIME_NEVER,
    };
}

int64_t journal_position(struct store *s)
{
    return reading_now(s).from;
}

struct ledger_reading reading_now(struct store *s)
{
    struct ledger_reading reading;
    if (ledger_reading(s->ledger, INSTANCE, &reading) != ERR_OK)
        fail_msg("reading: %s", ledger_why(s->ledger));
    return reading;
}

struct ledger_learned learn_lines(struct store *s, const struct journal_entry *lines, size_t count)
{
    struct ledger_learned out = {0};
    struct ledger_reading reading = reading_now(s);
    if (ledger_learn(s->ledger, &reading, lines, count, &out) != ERR_OK)
        fail_msg("learn: %s", ledger_why(s->ledger));
    if (count)
        assert_int_equal(journal_position(s), lines[count - 1].seq);
    return out;
}

struct ledger_learned learn_ok(struct store *s, struct journal_entry line)
{
    return learn_lines(s, &line, 1);
}

struct uuid learned_with(struct store *s, struct uuid waited)
{
    struct uuid stands = payment(999);
    if (ledger_learned_all(s->ledger, &waited, &stands) != ERR_OK)
        fail_msg("learned_all: %s", ledger_why(s->ledger));
    return stands;
}

void learned_ok(struct store *s)
{
    struct uuid mark = learned_with(s, UUID_NIL);
    if (!uuid_is_nil(&mark))
        mark = learned_with(s, mark);
    assert_true(uuid_is_nil(&mark));
}

void subscribe(struct store *s, int user_n, int payment_n)
{
    append_ok(s, pays(user_n, payment_n));
    claim_one(s, payment_n);
    assert_int_equal(settle_ok(s, fact_of(s, payment_n, PAYMENT_ACCEPTED)), SETTLE_DONE);
}

size_t untold_count(struct store *s)
{
    struct telling *out;
    size_t count = 0;
    assert_int_equal(ledger_untold(s->ledger, 100, LEASE_US, &s->arena, &out, &count), ERR_OK);
    return count;
}

struct told tell(int payment_n)
{
    return (struct told){.payment_id = payment(payment_n), .notification = NOTIFICATION_DELIVERED};
}

void told_ok(struct store *s, struct told told)
{
    assert_int_equal(ledger_told(s->ledger, &told, 1), ERR_OK);
}

/* ---- what became of a payment ---- */

static int number_of(const char *id)
{
    return (int)strtol(id + UUID_TEXT - 9, NULL, 16);
}

const char *status_of(struct store *s, int payment_n)
{
    struct uuid id = payment(payment_n);
    const char *text = text_of(s, &id);
    char out[200];
    const char *status = store_text(s,
                                    "SELECT processing_status || '/' || payment_status || "
                                    "coalesce(' ' || reason, '') FROM payments WHERE id = ?1",
                                    text);
    const char *of = store_text(s, "SELECT duplicate_of FROM payments WHERE id = ?1", text);
    if (of[0])
        snprintf(out, sizeof out, "%s ->%d", status, number_of(of));
    else
        snprintf(out, sizeof out, "%s", status);
    return arena_text(&s->arena, out, strlen(out));
}

void assert_status(struct store *s, int payment_n, const char *expected)
{
    assert_string_equal(status_of(s, payment_n), expected);
}

int64_t event_count(struct store *s, int payment_n)
{
    struct uuid id = payment(payment_n);
    return store_i64(s, "SELECT count(*) FROM events WHERE subject_id = ?1", text_of(s, &id));
}

const char *last_event(struct store *s, int payment_n)
{
    struct uuid id = payment(payment_n);
    return store_text(s,
                      "SELECT actor || ' ' || coalesce(from_status, '') || '>' || "
                      "coalesce(to_status, '') || ' ' || coalesce(payment_status, '') || ' ' || "
                      "coalesce(detail, '') FROM events WHERE subject_id = ?1 "
                      "ORDER BY seq DESC LIMIT 1",
                      text_of(s, &id));
}
