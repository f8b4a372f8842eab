/* ledger: the verbs of the ledger alone, in the order of a payment's life, and what each costs.
 *   ledger STORE PAYMENTS BATCH [SLICE]
 * STORE: an empty folder, or the URL of an empty PostgreSQL database on this machine. Payments of as
 * many users go through append, claim, settle, untold and told in batches; after each SLICE payments
 * one JSON line says, for each verb, payments a second, and CPU seconds per 1,000 payments of this
 * process and of the server. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/db.h"
#include "base/random.h"
#include "ledger/embedded.h"
#include "ledger/postgres.h"
#include "ledger/schema.h"

#define WHY 512
#define LEASE_US (60 * US_PER_S)
#define ARENA_MAX ((size_t)256 << 20)

static const char *const VERBS[] = {"append", "claim", "settle", "untold", "told"};
enum { APPEND, CLAIM, SETTLE, UNTOLD, TOLD, VERB_COUNT };

struct cost {
    double seconds, client_s, server_s;
};
static struct ledger *ledger;
static struct embedded *embedded;
static struct postgres *postgres;
static long postmaster; /* 0: there is no server */
static struct arena arena;
static struct cost costs[VERB_COUNT];
static int64_t stored;

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

/* ---- what it costs ---- */

/* The parent, and the CPU seconds with those of children that have ended. */
static double stat_cpu(long pid, long *parent)
{
    char path[64], text[1024] = "";
    unsigned long long user = 0, system = 0, children_user = 0, children_system = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t len = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[len] = '\0';
    const char *at = strrchr(text, ')');
    if (!at || sscanf(at + 2, "%*c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu",
                      parent, &user, &system, &children_user, &children_system) != 5)
        return 0;
    return (double)(user + system + children_user + children_system) / (double)sysconf(_SC_CLK_TCK);
}

static double server_cpu(void)
{
    double sum = 0;
    DIR *proc = postmaster ? opendir("/proc") : NULL;
    for (struct dirent *e; proc && (e = readdir(proc));) {
        long pid = strtol(e->d_name, NULL, 10), parent = 0;
        double cpu = pid > 0 ? stat_cpu(pid, &parent) : 0;
        if (pid == postmaster || (parent == postmaster && parent != 0))
            sum += cpu;
    }
    if (proc)
        (void)closedir(proc);
    return sum;
}

static struct cost so_far(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (struct cost){
        .seconds = (double)clock_boot_us(clock_real()) / 1e6,
        .client_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
        .server_s = server_cpu(),
    };
}

static void spent(int verb, const struct cost *from)
{
    struct cost to = so_far();
    costs[verb].seconds += to.seconds - from->seconds;
    costs[verb].client_s += to.client_s - from->client_s;
    costs[verb].server_s += to.server_s - from->server_s;
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
    must(db_open_postgres(&db, &settings, why, sizeof why), "connect", why);
    str_init(&report, 1 << 20);
    must(schema_upgrade(db, "head", &report, why, sizeof why), "upgrade", why);
    str_release(&report);
    query_open(&q, db, "SELECT pg_backend_pid()");
    if (query_next(&q))
        (void)stat_cpu((long)query_i64(&q, 0), &postmaster);
    must(query_close(&q), "pid", db_why(db));
    db_close(db);
    must(postgres_open(&postgres, &(struct postgres_settings){.url = url, .notify = true},
                       random_real(), why, sizeof why),
         "open", why);
    must(postgres_ledger(postgres, &ledger), "ledger", "");
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

static void append(struct ledger_record *records, size_t count)
{
    struct ledger_position from = {.topic = "payments", .partitions = 1, .next = stored};
    struct ledger_position to = from;
    if (stored)
        (void)snprintf(from.log_id, sizeof from.log_id, "bench");
    (void)snprintf(to.log_id, sizeof to.log_id, "bench");
    to.next += (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        int64_t now_us = clock_wall_us(clock_real());
        records[i] = (struct ledger_record){
            .request = {.payment_id = uuid_v7(now_us, random_real()),
                        .payment_type = PAYMENT_TYPE_PAYMENT,
                        .subscription_type = (enum subscription_type)(i % SUBSCRIPTION_TYPE_COUNT),
                        .requested_at_us = now_us},
            .recorded_at_us = now_us};
        random_real()->fill(random_real(), &records[i].request.user_id, sizeof(struct uuid));
    }
    struct cost start = so_far();
    check(ledger_append(ledger, records, count, &from, &to), APPEND);
    spent(APPEND, &start);
    stored = to.next;
}

static size_t claim(struct fact *facts, size_t batch)
{
    struct ledger_claim asked = {.limits = {.request_max_age_us = TIME_NEVER},
                                 .users_max = batch,
                                 .lease_us = LEASE_US,
                                 .encode = charge_encode_json,
                                 .instance_id = "bench"};
    struct ledger_claimed got;
    struct cost start = so_far();
    check(ledger_claim(ledger, &asked, &arena, &got), CLAIM);
    spent(CLAIM, &start);
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
    struct cost start = so_far();
    check(ledger_settle(ledger, facts, count), SETTLE);
    spent(SETTLE, &start);
}

static size_t untold(struct told *told, size_t batch)
{
    struct telling *tellings;
    size_t count;
    struct cost start = so_far();
    check(ledger_untold(ledger, batch, LEASE_US, &arena, &tellings, &count), UNTOLD);
    spent(UNTOLD, &start);
    for (size_t i = 0; i < count; i++)
        told[i] = (struct told){.payment_id = tellings[i].payment_id,
                                .notification = NOTIFICATION_DELIVERED};
    arena_reset(&arena);
    return count;
}

static void tell(const struct told *told, size_t count)
{
    struct cost start = so_far();
    check(ledger_told(ledger, told, count), TOLD);
    spent(TOLD, &start);
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
    if (argc < 4 || argc > 5 || !text_i64(argv[2], 1, 100000000, &payments) ||
        !text_i64(argv[3], 1, LEDGER_CLAIM_MAX, &batch) ||
        !text_i64(argc > 4 ? argv[4] : argv[2], 1, payments, &slice)) {
        fprintf(stderr, "ledger STORE PAYMENTS BATCH [SLICE]\n");
        return 2;
    }
    arena_init(&arena, ARENA_MAX);
    open_store(argv[1]);
    while (stored < payments) {
        slice_run(slice, (size_t)batch);
        print(slice);
    }
    ledger_close(ledger);
    postgres_close(postgres);
    embedded_close(embedded);
    arena_release(&arena);
    return 0;
}
