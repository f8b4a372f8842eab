/* views: reading payments that bench/fill.sql made, in an order that has nothing to do with theirs.
 *   views URL KIND CALLS PAYMENTS
 * KIND: `one` payment by its id, `many`: 64 of them by a call, or `list`: the page of 20 that a user
 * asks for first. One JSON line: calls a second, and CPU seconds per 1,000 calls of this process and
 * of the server. CALLS 0: each line of the input says how many, as `ledger` takes slices; the same
 * ones each time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"
#include "base/random.h"
#include "ledger/postgres.h"

#include "cost.h"
#include "filled.h"

#define MANY 64
#define PAGE 20
#define WHY 512
#define PATIENCE_MS 5000
#define ARENA_MAX ((size_t)16 << 20)

static struct postgres *postgres;
static struct views *views;
static struct arena arena;

static void must(bool ok, const char *what, const char *why)
{
    if (ok)
        return;
    fprintf(stderr, "views: %s: %s\n", what, why);
    exit(1);
}

static void open_views(const char *url)
{
    char why[WHY] = "";
    struct db *db;
    struct query q;
    long backend = 0;
    must(postgres_open(&postgres, &(struct postgres_settings){.url = url}, random_real(), why,
                       sizeof why) == ERR_OK,
         "open", why);
    must(postgres_views(postgres, &views) == ERR_OK, "views", "");
    must(postgres_connection(postgres, DB_WRITE, &db) == ERR_OK, "connect", "");
    query_open(&q, db, "SELECT pg_backend_pid()");
    if (query_next(&q))
        backend = (long)query_i64(&q, 0);
    must(query_close(&q) == ERR_OK, "pid", db_why(db));
    cost_server(backend);
    db_close(db);
}

static void look_up(int64_t call, size_t count, int64_t payments)
{
    struct uuid ids[MANY];
    struct payment_view *found[MANY];
    for (size_t i = 0; i < count; i++)
        ids[i] =
            filled_payment(1 + filled_scattered((uint64_t)call * count + i, (uint64_t)payments));
    must(views_payments(views, ids, count, PATIENCE_MS, &arena, found) == ERR_OK, "payments",
         views_why(views));
    for (size_t i = 0; i < count; i++)
        must(found[i] != NULL, "payments", "one is not there");
}

static void list(int64_t call, int64_t payments)
{
    struct uuid user = filled_user(1 + filled_scattered((uint64_t)call, (uint64_t)payments / 5));
    struct payment_view *found;
    size_t count;
    must(views_payments_of(views, &user, INT64_MAX, PAGE, &arena, &found, &count) == ERR_OK,
         "payments of", views_why(views));
    must(count >= 5, "payments of", "some are not there");
}

/* count: of a call; 0: lists */
static void look(int64_t calls, size_t count, int64_t payments)
{
    struct cost cost = {0};
    struct cost begun = cost_begin();
    for (int64_t i = 0; i < calls; i++) {
        if (count)
            look_up(i, count, payments);
        else
            list(i, payments);
        arena_reset(&arena);
    }
    cost_end(&cost, &begun);
    double k = (double)calls / 1000;
    printf("{\"calls\":%lld,\"per_s\":%.0f,\"client\":%.4f,\"server\":%.4f}\n", (long long)calls,
           (double)calls / cost.seconds, cost.client_s / k, cost.server_s / k);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    int64_t calls = 0, payments = 0;
    size_t count = 0;
    bool known = argc == 5 && strcmp(argv[2], "list") == 0;
    if (argc == 5 && !known) {
        count = strcmp(argv[2], "one") == 0 ? 1 : MANY;
        known = count == 1 || strcmp(argv[2], "many") == 0;
    }
    if (!known || !text_i64(argv[3], 0, COST_MAX, &calls) ||
        !text_i64(argv[4], 5, 1000000000, &payments)) {
        fprintf(stderr, "views URL one|many|list CALLS PAYMENTS\n");
        return 2;
    }
    arena_init(&arena, ARENA_MAX);
    open_views(argv[1]);
    if (calls)
        look(calls, count, payments);
    else
        while (cost_asked(&calls))
            look(calls, count, payments);
    views_close(views);
    postgres_close(postgres);
    arena_release(&arena);
    return 0;
}
