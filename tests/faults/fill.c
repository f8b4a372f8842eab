/* fill: requests straight into the books of PostgreSQL, as a saver stores them.
 *
 *     DATABASE_URL=… fill USERS ROUND TYPE
 *
 * One request of TYPE (payment or refund) for a month from each of USERS users, by batches that are
 * repeated until they are stored, whatever happens to the server. The ids follow from the numbers, so
 * that a round may be repeated, and others know what has to be there. The position is that of a topic
 * of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/str.h"
#include "ledger/postgres.h"

#define BATCH 500
#define USERS_MAX 10000000
#define PATIENCE_US (120 * US_PER_S)
#define TOPIC "filled"

static struct uuid numbered(uint8_t kind, int64_t round, int64_t n)
{
    struct uuid id = {.bytes = {kind, [6] = 0x70, [8] = 0x80}};
    for (int i = 0; i < 4; i++) {
        id.bytes[1 + i] = (uint8_t)(round >> (24 - 8 * i));
        id.bytes[12 + i] = (uint8_t)(n >> (24 - 8 * i));
    }
    return id;
}

static int fails(const char *what, const char *why)
{
    fprintf(stderr, "fill: %s: %s\n", what, why);
    return 1;
}

static struct ledger_record record_of(int64_t round, int64_t n, enum payment_type type)
{
    return (struct ledger_record){
        .request = {.payment_id = numbered(0xbb, round, n),
                    .user_id = numbered(0xaa, 0, n),
                    .payment_type = type,
                    .subscription_type = SUBSCRIPTION_MONTH,
                    .requested_at_us = REQUEST_NO_TIME},
        .recorded_at_us = REQUEST_NO_TIME,
    };
}

/* From the position that is stored, so that what was stored by a call without an answer is repeated,
 * which is harmless. */
static enum err store(struct ledger *l, struct ledger_record *records, size_t count)
{
    struct ledger_position from = {.topic = TOPIC, .partitions = 1};
    enum err err = ledger_position(l, TOPIC, 0, &from);
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return err;
    struct ledger_position to = from;
    to.next += (int64_t)count;
    (void)text_copy(to.log_id, sizeof to.log_id, TOPIC);
    return ledger_append(l, records, count, &from, &to);
}

static bool again(enum err err, int64_t until_us)
{
    const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    if (!err_retriable(err) && err != ERR_MOVED)
        return false;
    (void)nanosleep(&pause, NULL);
    return clock_boot_us(clock_real()) < until_us;
}

static int64_t patience(void)
{
    return clock_boot_us(clock_real()) + PATIENCE_US;
}

static enum err fill(struct ledger *l, int64_t users, int64_t round, enum payment_type type)
{
    static struct ledger_record records[BATCH];
    for (int64_t n = 0; n < users;) {
        size_t count = 0;
        while (count < BATCH && n < users)
            records[count++] = record_of(round, n++, type);
        int64_t until_us = patience();
        enum err err;
        while ((err = store(l, records, count)) != ERR_OK)
            if (!again(err, until_us))
                return err;
    }
    return ERR_OK;
}

static enum err connect_to(const char *url, struct postgres **store, struct ledger **ledger,
                           char *why, size_t why_cap)
{
    const struct postgres_settings settings = {.url = url, .notify = true};
    enum err err = postgres_open(store, &settings, random_real(), why, why_cap);
    if (err != ERR_OK)
        return err;
    err = postgres_ledger(*store, ledger);
    if (err != ERR_OK)
        postgres_close(*store);
    return err;
}

int main(int argc, char **argv)
{
    const char *url = getenv("DATABASE_URL");
    char why[512] = "";
    struct postgres *store;
    struct ledger *ledger;
    int64_t users, round, until_us = patience();
    enum payment_type type;
    enum err err;
    if (argc != 4 || !url || !text_i64(argv[1], 1, USERS_MAX, &users) ||
        !text_i64(argv[2], 0, 1000000, &round) || !payment_type_parse(argv[3], &type))
        return fails("usage", "DATABASE_URL=… fill USERS ROUND payment|refund");
    while ((err = connect_to(url, &store, &ledger, why, sizeof why)) != ERR_OK)
        if (!again(err, until_us))
            return fails(err_text(err), why);
    err = fill(ledger, users, round, type);
    int code = err == ERR_OK ? 0 : fails(err_text(err), ledger_why(ledger));
    ledger_close(ledger);
    postgres_close(store);
    return code;
}
