/* ledger: the verbs of the ledger alone, in the order of a payment's life, and what each costs.
 *   ledger STORE PAYMENTS BATCH [SLICE [FIRST LAST]]
 * STORE: a folder, or the URL of a PostgreSQL database on this machine; empty, or with books in
 * which all is done. Payments of as many users go through append, claim, settle, untold and told in
 * batches; of those that bench/fill.sql made, every second one is of a user FIRST..LAST. After each
 * SLICE payments one JSON line says, for each verb, payments a second, and CPU seconds per 1,000
 * payments of this process and of the server. PAYMENTS 0: each line of the input is a slice, so that
 * the server's process lives on between them, as it does in production: a new one has to map every
 * page of the shared buffers that it touches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/db.h"
#include "base/random.h"
#include "ledger/embedded.h"
#include "ledger/postgres.h"
#include "ledger/schema.h"

#include "cost.h"
#include "filled.h"

#define WHY 512
#define LEASE_US (60 * US_PER_S)
#define ARENA_MAX ((size_t)256 << 20)

static const char *const VERBS[] = {"append", "claim", "settle", "untold", "told"};
enum { APPEND, CLAIM, SETTLE, UNTOLD, TOLD, VERB_COUNT };

static struct ledger *ledger;
static struct embedded *embedded;
static struct postgres *postgres;
static int64_t first_user, last_user; /* 0: only new ones */
static struct arena arena;
static struct cost costs[VERB_COUNT];
static int64_t stored;
static struct ledger_position position;

static void must(enum err err, const char *what, const char *why)
{
    if (err == ERR_OK)
        return;
    fprintf(stderr, "ledger: %s: %s: %s\n", what, err_text(err), why);
    exit(1);
}

static void check(enum err err, int verb)
{
    must(err, VERBS[verb], ledger_why(ledger));
}

static void print(int64_t slice)
{
    struct cost all = {0};
    double k = (double)slice / 1000;
    printf("{\"payments\":%lld", (long long)stored);
    for (int i = 0; i < VERB_COUNT; i++) {
        printf(",\"%s\":{\"per_s\":%.0f,\"client\":%.4f,\"server\":%.4f}", VERBS[i],
               (double)slice / costs[i].seconds, costs[i].client_s / k, costs[i].server_s / k);
        all.seconds += costs[i].seconds;
        all.client_s += costs[i].client_s;
        all.server_s += costs[i].server_s;
    }
    printf(",\"all\":{\"per_s\":%.0f,\"client\":%.4f,\"server\":%.4f}}\n",
           (double)slice / all.seconds, all.client_s / k, all.server_s / k);
    (void)fflush(stdout);
    memset(costs, 0, sizeof costs);
}

/* ---- the store ---- */

static void open_postgres(const char *url)
{
    char why[WHY] = "";
    struct db_postgres_settings settings = {.url = url, .mode = DB_WRITE};
    struct str report;
    struct db *db;
    struct query q;
    long backend = 0;
    must(db_open_postgres(&db, &settings, why, sizeof why), "connect", why);
    str_init(&report, 1 << 20);
    must(schema_upgrade(db, "head", &report, why, sizeof why), "upgrade", why);
    str_release(&report);
    query_open(&q, db, "SELECT pg_backend_pid()");
    if (query_next(&q))
        backend = (long)query_i64(&q, 0);
    must(query_close(&q), "pid", db_why(db));
    must(postgres_open(&postgres, &(struct postgres_settings){.url = url, .notify = true},
                       random_real(), why, sizeof why),
         "open", why);
    must(postgres_ledger(postgres, &ledger), "ledger", "");
    cost_server(backend);
    db_close(db);
}

static void open_store(const char *store)
{
    char why[WHY] = "";
    if (strncmp(store, "postgres", 8) == 0) {
        open_postgres(store);
        return;
    }
    must(embedded_open(&embedded, store, clock_real(), random_real(), why, sizeof why), "open",
         why);
    must(embedded_ledger(embedded, &ledger), "ledger", "");
}

/* ---- the verbs ---- */

static void position_find(void)
{
    enum err err = ledger_position(ledger, "payments", 0, &position);
    if (err == ERR_NOT_FOUND)
        position = (struct ledger_position){.topic = "payments", .partitions = 1};
    else
        must(err, "position", ledger_why(ledger));
}

static struct uuid user_of(int64_t payment)
{
    struct uuid id;
    if (first_user && payment % 2)
        return filled_user(
            (uint64_t)first_user +
            filled_scattered((uint64_t)payment / 2, (uint64_t)(last_user - first_user + 1)));
    random_real()->fill(random_real(), &id, sizeof id);
    return id;
}

static void append(struct ledger_record *records, size_t count)
{
    struct ledger_position to = position;
    (void)snprintf(to.log_id, sizeof to.log_id, "bench");
    to.next += (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        int64_t now_us = clock_wall_us(clock_real());
        records[i] = (struct ledger_record){
            .request = {.payment_id = uuid_v7(now_us, random_real()),
                        .user_id = user_of(position.next + (int64_t)i),
                        .payment_type = PAYMENT_TYPE_PAYMENT,
                        .subscription_type = (enum subscription_type)(i % SUBSCRIPTION_TYPE_COUNT),
                        .requested_at_us = now_us},
            .recorded_at_us = now_us};
    }
    struct cost start = cost_begin();
    check(ledger_append(ledger, records, count, &position, &to), APPEND);
    cost_end(&costs[APPEND], &start);
    position = to;
    stored += (int64_t)count;
}

static size_t claim(struct fact *facts, size_t batch)
{
    struct ledger_claim asked = {.limits = {.request_max_age_us = TIME_NEVER},
                                 .users_max = batch,
                                 .lease_us = LEASE_US,
                                 .encode = charge_encode_json,
                                 .instance_id = "bench"};
    struct ledger_claimed got;
    struct cost start = cost_begin();
    check(ledger_claim(ledger, &asked, &arena, &got), CLAIM);
    cost_end(&costs[CLAIM], &start);
    for (size_t i = 0; i < got.attempt_count; i++)
        facts[i] = (struct fact){.payment_id = got.attempts[i].payment_id,
                                 .outcome = PAYMENT_ACCEPTED,
                                 .money = got.attempts[i].money,
                                 .processing_id = "e1f5c1de-0000-7000-8000-000000000000"};
    arena_reset(&arena);
    return got.attempt_count;
}

static void settle(struct fact *facts, size_t count)
{
    struct cost start = cost_begin();
    check(ledger_settle(ledger, facts, count), SETTLE);
    cost_end(&costs[SETTLE], &start);
}

static size_t untold(struct told *told, size_t batch)
{
    struct telling *tellings;
    size_t count;
    struct cost start = cost_begin();
    check(ledger_untold(ledger, batch, LEASE_US, &arena, &tellings, &count), UNTOLD);
    cost_end(&costs[UNTOLD], &start);
    for (size_t i = 0; i < count; i++)
        told[i] = (struct told){.payment_id = tellings[i].payment_id,
                                .notification = NOTIFICATION_DELIVERED};
    arena_reset(&arena);
    return count;
}

static void tell(const struct told *told, size_t count)
{
    struct cost start = cost_begin();
    check(ledger_told(ledger, told, count), TOLD);
    cost_end(&costs[TOLD], &start);
}

static void slice_run(int64_t slice, size_t batch)
{
    struct ledger_record *records = calloc(batch, sizeof *records);
    struct fact *facts = calloc(batch, sizeof *facts);
    struct told *told = calloc(batch, sizeof *told);
    if (!records || !facts || !told)
        must(ERR_NO_MEMORY, "batch", "");
    for (int64_t left = slice; left > 0; left -= (int64_t)batch) {
        append(records, left < (int64_t)batch ? (size_t)left : batch);
        settle(facts, claim(facts, batch));
        tell(told, untold(told, batch));
    }
    free(told);
    free(facts);
    free(records);
}

int main(int argc, char **argv)
{
    int64_t payments = 0, batch = 0, slice = 0;
    if (argc < 4 || argc == 6 || argc > 7 || !text_i64(argv[2], 0, COST_MAX, &payments) ||
        !text_i64(argv[3], 1, LEDGER_CLAIM_MAX, &batch) ||
        !text_i64(argc > 4 ? argv[4] : argv[2], payments > 0, payments, &slice) ||
        !text_i64(argc > 5 ? argv[5] : "0", 0, INT32_MAX, &first_user) ||
        !text_i64(argc > 5 ? argv[6] : "0", first_user, INT32_MAX, &last_user)) {
        fprintf(stderr, "ledger STORE PAYMENTS BATCH [SLICE [FIRST LAST]]\n");
        return 2;
    }
    arena_init(&arena, ARENA_MAX);
    open_store(argv[1]);
    position_find();
    while (payments ? stored < payments : cost_asked(&slice)) {
        slice_run(slice, (size_t)batch);
        print(slice);
    }
    ledger_close(ledger);
    postgres_close(postgres);
    embedded_close(embedded);
    arena_release(&arena);
    return 0;
}
