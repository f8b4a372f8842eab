/* What only a store with many owners has: others who do the same at the same time, and news of what
 * they did. Whatever SUBPAY_TEST_STORE says, this is about PostgreSQL. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ledger/catalog.h"
#include "ledger/sql_ledger.h"
#include "suite.h"

#define CREW 6
#define ROUNDS 20

static struct postgres_settings settings_of(const struct store *s)
{
    return (struct postgres_settings){
        .url = s->place.url, .clock = (struct clock *)&s->clock.clock, .notify = !s->silent};
}

/* As another process has it. */
static struct postgres *another(struct store *s)
{
    const struct postgres_settings settings = settings_of(s);
    struct postgres *p = NULL;
    char why[256] = "";
    if (postgres_open(&p, &settings, random_real(), why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    return p;
}

/* ---- opening ---- */

static enum err opens(const char *url, char *why, size_t why_cap)
{
    const struct postgres_settings settings = {.url = url};
    struct postgres *p = NULL;
    enum err err = postgres_open(&p, &settings, random_real(), why, why_cap);
    postgres_close(p);
    return err;
}

static void what_cannot_be_the_store_is_refused(void **state)
{
    struct store *s = *state;
    char url[DB_URL_MAX + 64], why[256] = "";
    snprintf(url, sizeof url, "%s?options=-csynchronous_commit%%3Doff", s->place.url);
    if (!store_is_pooled()) { /* a pooler takes no options */
        assert_int_equal(opens(url, why, sizeof why), ERR_REFUSED);
        assert_non_null(strstr(why, "synchronous_commit=off"));
    }
    assert_int_equal(opens("postgresql://nobody@127.0.0.1:1/none", why, sizeof why),
                     ERR_UNREACHABLE);
    store_sql(s, "UPDATE schema_migrations SET compatible_from = 9999 "
                 "WHERE number = (SELECT max(number) FROM schema_migrations)");
    assert_int_equal(opens(s->place.url, why, sizeof why), ERR_VERSION);
    assert_string_not_equal(why, "");
    assert_null(strstr(why, "not-a-secret"));
    store_sql(s, "UPDATE schema_migrations SET compatible_from = number");
    assert_int_equal(opens(s->place.url, why, sizeof why), ERR_OK);
}

/* ---- time ---- */

static void time_is_the_databases(void **state)
{
    struct store *s = *state;
    struct postgres_settings settings = settings_of(s);
    struct postgres *p;
    struct ledger_counts counts;
    char why[256];
    struct ledger *test_ledger = s->ledger;
    settings.clock = NULL;
    assert_int_equal(postgres_open(&p, &settings, random_real(), why, sizeof why), ERR_OK);
    assert_int_equal(postgres_ledger(p, &s->ledger), ERR_OK);
    append_ok(s, pays(1, 1));
    claim_one(s, 1);
    assert_int_equal(ledger_counts(s->ledger, &counts), ERR_OK);
    ledger_close(s->ledger);
    postgres_close(p);
    s->ledger = test_ledger;
    assert_int_equal(
        store_i64(s,
                  "SELECT abs(extract(epoch FROM now() - stored_at::timestamptz)) < 60 "
                  "FROM payments",
                  NULL),
        1);
    assert_int_equal(counts.undecided, 1);
    assert_in_range(counts.undecided_oldest_us, 0, 60 * SECOND);
}

/* ---- news ---- */

static void heard(void *ctx, unsigned changes)
{
    *(unsigned *)ctx |= changes;
}

static void others_hear_of_commits(void **state)
{
    struct store *s = *state;
    struct postgres *p = another(s);
    struct ledger *l;
    unsigned seen = 0;
    assert_int_equal(postgres_ledger(p, &l), ERR_OK);
    ledger_watch(l, heard, &seen);
    enum err err = postgres_listen(p, 1, -1);
    append_ok(s, pays(1, 1));
    assert_int_equal(seen, 0);
    if (store_is_pooled()) {
        assert_int_equal(err, ERR_REFUSED);
    } else {
        assert_int_equal(err, ERR_OK);
        assert_int_equal(postgres_listen(p, s->silent ? 100 : 10000, -1), ERR_OK);
        assert_int_equal((seen & LEDGER_CHANGE_STORED) != 0, !s->silent);
    }
    ledger_close(l);
    postgres_close(p);
}

static void a_wait_can_be_ended(void **state)
{
    struct store *s = *state;
    int fd = eventfd(1, EFD_CLOEXEC);
    struct postgres *p = another(s);
    if (!store_is_pooled())
        assert_int_equal(postgres_listen(p, DB_NO_LIMIT, fd), ERR_OK);
    postgres_close(p);
    close(fd);
}

/* ---- the same at the same time ---- */

struct race {
    struct store *s;
    pthread_barrier_t *barrier;
    struct ledger *ledger;
    enum err (*run)(struct race *r);
    const struct journal_entry *lines;
    int number;
    bool by_rows;
    enum err err;
    int verdict;
};

static void *race_thread(void *arg)
{
    struct race *r = arg;
    pthread_barrier_wait(r->barrier);
    r->err = r->run(r);
    return NULL;
}

/* Each with a handle of its own; `by_rows`: with the form of every verb that works row by row. */
static void race(struct store *s, struct race *crew, enum err (*run)(struct race *), bool by_rows)
{
    const struct journal_entry lines[] = {line_of(s, 1, 1, LEARN_SUCCESS),
                                          line_of(s, 2, 2, LEARN_PENDING)};
    pthread_barrier_t barrier;
    pthread_t threads[CREW];
    pthread_barrier_init(&barrier, NULL, CREW);
    for (int i = 0; i < CREW; i++) {
        crew[i] = (struct race){.s = s,
                                .barrier = &barrier,
                                .run = run,
                                .lines = lines,
                                .number = i,
                                .by_rows = by_rows};
        assert_int_equal(store_ledger(s, &crew[i].ledger), ERR_OK);
        if (by_rows)
            crew[i].ledger->ops = &SQL_LEDGER_OPS;
    }
    for (int i = 0; i < CREW; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_thread, &crew[i]), 0);
    for (int i = 0; i < CREW; i++) {
        pthread_join(threads[i], NULL);
        ledger_close(crew[i].ledger);
    }
    pthread_barrier_destroy(&barrier);
}

static int count(const struct race *crew, enum err err)
{
    int n = 0;
    for (int i = 0; i < CREW; i++)
        n += crew[i].err == err;
    return n;
}

/* Other records at the same position, as if a partition had two savers. */
static enum err same_append(struct race *r)
{
    int n = (int)r->s->next + r->number;
    struct ledger_record records[3] = {pays(3 + n, 10 * n + 1), pays(1 + n, 10 * n + 2),
                                       pays(2 + n, 10 * n + 3)};
    struct ledger_position from = {.topic = TOPIC, .partitions = 1, .next = r->s->next};
    struct ledger_position to = from;
    snprintf(from.log_id, sizeof from.log_id, "%s", from.next ? LOG_ID : "");
    snprintf(to.log_id, sizeof to.log_id, LOG_ID);
    to.next += CREW;
    return ledger_append(r->ledger, records, 3, &from, &to);
}

static void one_saver_takes_a_position(void **state)
{
    struct store *s = *state;
    for (int round = 0; round < 6; round++) { /* the first one when there is no position yet */
        struct race crew[CREW];
        race(s, crew, same_append, round % 2);
        assert_int_equal(count(crew, ERR_OK), 1);
        assert_int_equal(count(crew, ERR_MOVED), CREW - 1);
        s->next += CREW;
        assert_int_equal(store_i64(s, "SELECT next FROM positions", NULL), s->next);
        assert_int_equal(store_i64(s, "SELECT count(*) FROM payments", NULL), 3 * (round + 1));
    }
}

/* Partitions of their own, users and ids in common, in another order each. */
static enum err crossing_append(struct race *r)
{
    enum err err = ERR_OK;
    for (int round = 0; round < ROUNDS && (err == ERR_OK || err == ERR_BUSY); round++) {
        struct ledger_record records[8];
        struct ledger_position from = {.topic = TOPIC, .partition = r->number, .partitions = CREW};
        struct ledger_position to;
        for (int i = 0; i < 8; i++) {
            int n = 1 + (i * (2 * r->number + 1) + round) % 8;
            records[i] = pays(n, 10000 * r->by_rows + 100 * round + n);
        }
        do {
            if (ledger_position(r->ledger, TOPIC, r->number, &from) == ERR_NOT_FOUND)
                from.next = 0;
            from.partitions = CREW;
            to = from;
            to.next = from.next + 8;
            snprintf(to.log_id, sizeof to.log_id, LOG_ID);
            err = ledger_append(r->ledger, records, 8, &from, &to);
            r->verdict += err == ERR_BUSY;
        } while (err == ERR_BUSY);
    }
    return err;
}

static void savers_of_many_partitions_get_along(void **state)
{
    struct store *s = *state;
    for (int by_rows = 0; by_rows < 2; by_rows++) {
        struct race crew[CREW];
        int busy = 0;
        race(s, crew, crossing_append, by_rows);
        assert_int_equal(count(crew, ERR_OK), CREW);
        for (int i = 0; i < CREW; i++)
            busy += crew[i].verdict;
        if (by_rows)
            assert_int_equal(busy,
                             0); /* accounts are taken in one order, before anything is read */
        assert_int_equal(store_i64(s, "SELECT count(*) FROM payments", NULL),
                         (by_rows + 1) * 8 * ROUNDS);
        store_sql(s, "DELETE FROM positions");
    }
}

static enum err same_line(struct race *r)
{
    const struct ledger_reading reading = {.instance_id = INSTANCE};
    struct ledger_learned out;
    return ledger_learn(r->ledger, &reading, r->lines, 2, &out);
}

static void a_line_of_the_journal_is_taken_once(void **state)
{
    struct store *s = *state;
    struct race crew[CREW];
    race(s, crew, same_line, false);
    assert_int_equal(count(crew, ERR_OK), 1);
    assert_int_equal(count(crew, ERR_MOVED), CREW - 1);
    learned_ok(s);
    assert_status(s, 1, "processed/accepted");
    assert_status(s, 2, "in_processing/unknown");
}

static enum err same_price(struct race *r)
{
    const struct price price = {
        .subscription_type = SUBSCRIPTION_YEAR, .starting_date = {2026, 2, 28}, .cost = {5, "RUB"}};
    enum catalog_verdict verdict = CATALOG_UNKNOWN;
    enum err err = catalog_add(r->ledger, &price, "operator:anna", &verdict);
    r->verdict = (int)verdict;
    return err;
}

static enum err same_price_gone(struct race *r)
{
    enum catalog_verdict verdict = CATALOG_DONE;
    enum err err = catalog_delete(r->ledger, SUBSCRIPTION_YEAR, (struct date){2026, 2, 28},
                                  "operator:anna", &verdict);
    r->verdict = (int)verdict;
    return err;
}

static void a_price_is_added_once_and_deleted_once(void **state)
{
    struct store *s = *state;
    struct race crew[CREW];
    int done = 0;
    race(s, crew, same_price, false);
    assert_int_equal(count(crew, ERR_OK), CREW);
    for (int i = 0; i < CREW; i++)
        done += crew[i].verdict == CATALOG_DONE;
    race(s, crew, same_price_gone, false);
    assert_int_equal(count(crew, ERR_OK), CREW);
    for (int i = 0; i < CREW; i++)
        done += crew[i].verdict == CATALOG_DONE;
    assert_int_equal(done, 2);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM events WHERE subject = 'price'", NULL), 2);
}

/* All of them claim, settle, ask and tell until everything is told. */
static enum err whole_life(struct race *r)
{
    struct ledger_claim claim = claim_default();
    struct arena arena;
    enum err err = ERR_OK;
    size_t quiet = 0;
    claim.users_max = 7;
    arena_init(&arena, 4 * 1024 * 1024);
    while ((err == ERR_OK || err == ERR_BUSY) && quiet < 20) {
        struct ledger_claimed got = {0};
        struct telling *untold = NULL;
        struct fact facts[8];
        struct told told[8];
        size_t n = 0, told_count = 0;
        arena_reset(&arena);
        err = ledger_claim(r->ledger, &claim, &arena, &got);
        for (; err == ERR_OK && n < got.attempt_count; n++)
            facts[n] = (struct fact){.payment_id = got.attempts[n].payment_id,
                                     .outcome = PAYMENT_DECLINE,
                                     .money = got.attempts[n].money};
        if (n) { /* twice: another one learned it, too */
            err = ledger_settle(r->ledger, facts, n);
            for (size_t i = 0; err == ERR_OK && i < n; i++)
                r->verdict += facts[i].verdict == SETTLE_DONE;
        }
        if (err == ERR_OK)
            err = ledger_untold(r->ledger, 8, LEASE_US, &arena, &untold, &told_count);
        for (size_t i = 0; err == ERR_OK && i < told_count; i++)
            told[i] = (struct told){.payment_id = untold[i].payment_id,
                                    .notification = NOTIFICATION_DELIVERED};
        if (err == ERR_OK && told_count)
            err = ledger_told(r->ledger, told, told_count);
        quiet = err == ERR_OK && n + told_count == 0 ? quiet + 1 : 0;
    }
    arena_release(&arena);
    return err;
}

static void every_payment_is_claimed_once(void **state)
{
    struct store *s = *state;
    for (int by_rows = 0; by_rows < 2; by_rows++) {
        struct race crew[CREW];
        int settled = 0;
        for (int user_n = 1; user_n <= 60; user_n++)
            append_ok(s, pays(user_n, 1000 * (1 + by_rows) + user_n));
        race(s, crew, whole_life, by_rows);
        assert_int_equal(count(crew, ERR_OK), CREW);
        for (int i = 0; i < CREW; i++)
            settled += crew[i].verdict;
        assert_int_equal(settled, 60);
    }
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM payments WHERE processing_status = 'completed'", NULL),
        120);
}

static int postgres_setup(void **state)
{
    if (!store_is_postgres())
        setenv("SUBPAY_TEST_STORE", "postgres", 1);
    return store_setup(state);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, postgres_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(what_cannot_be_the_store_is_refused),
        T(time_is_the_databases),
        T(others_hear_of_commits),
        T(a_wait_can_be_ended),
        T(one_saver_takes_a_position),
        T(savers_of_many_partitions_get_along),
        T(a_line_of_the_journal_is_taken_once),
        T(a_price_is_added_once_and_deleted_once),
        T(every_payment_is_claimed_once),
    };
    return cmocka_run_group_tests_name("ledger on postgres", tests, NULL, NULL);
}
