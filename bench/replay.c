/* replay: libpq alone, sending the statements of somebody else with their parameters, deciding
 * nothing. The raw limit of what they do.
 *   replay URL FILE [BROKERS TOPIC RECORDS BATCH]
 * FILE, written by bench/recording.py: numbers are 32 bits in the order of this machine, a text is
 * its length and its bytes with a NUL behind. How many settings, and they; how many statements, and
 * of each 1 when it is sent as it is, else 0, and its text; how many calls, and of each the
 * statement, how many parameters (SIMPLE: it is sent as it is), and these (length NONE: null).
 * Statements are prepared once, before the time begins, and arrays are brought into the server's
 * binary format, in which ours send them. With a topic, librdkafka alone takes a BATCH
 * of its RECORDS before each transaction: the raw limit of saving. One JSON line. */
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"

#define SIMPLE UINT32_MAX
#define NONE UINT32_MAX
#define PARAMETERS_MAX 64
#define STATEMENTS_MAX 256
#define BROKERS_MS 10000

/* A call, as it is sent. */
struct call {
    uint32_t statement, count;
    const char *values[PARAMETERS_MAX];
    int lens[PARAMETERS_MAX], formats[PARAMETERS_MAX];
};

static PGconn *conn;
static char *file, *end;
static char *at;
static const char *statements[STATEMENTS_MAX];
static Oid types[STATEMENTS_MAX][PARAMETERS_MAX];
static uint32_t statement_count;
static long long rows;
static rd_kafka_t *consumer; /* NULL: nothing is read */
static long records_left, batch;

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "replay: %s: %s\n", what, conn ? PQerrorMessage(conn) : "");
    exit(1);
}

static void file_read(const char *path)
{
    FILE *f = fopen(path, "re");
    long size = 0;
    must(f != NULL && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) > 0, path);
    rewind(f);
    file = malloc((size_t)size);
    must(file != NULL && fread(file, 1, (size_t)size, f) == (size_t)size, path);
    (void)fclose(f);
    at = file;
    end = file + size;
}

static uint32_t number(void)
{
    uint32_t n;
    must(end - at >= (ptrdiff_t)sizeof n, "the file ends too early");
    memcpy(&n, at, sizeof n);
    at += sizeof n;
    return n;
}

static const char *text(void)
{
    uint32_t len = number();
    const char *found = at;
    if (len == NONE)
        return NULL;
    must(end - at > (ptrdiff_t)len && at[len] == '\0', "the file ends too early");
    at += len + 1;
    return found;
}

/* All partitions from their beginning, without a group. */
static void consumer_open(const char *brokers, const char *topic)
{
    char why[512];
    const struct rd_kafka_metadata *metadata;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    must(!rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why) &&
             !rd_kafka_conf_set(conf, "group.id", "raw", why, sizeof why) &&
             !rd_kafka_conf_set(conf, "enable.auto.commit", "false", why, sizeof why) &&
             !rd_kafka_conf_set(conf, "check.crcs", "true", why, sizeof why),
         "settings");
    consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    must(consumer != NULL, why);
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_topic_t *t = rd_kafka_topic_new(consumer, topic, NULL);
    must(!rd_kafka_metadata(consumer, 0, t, &metadata, BROKERS_MS), "the topic");
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(1);
    for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
        rd_kafka_topic_partition_list_add(all, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    must(!rd_kafka_assign(consumer, all), "the partitions");
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(t);
}

static void consume(long count)
{
    for (long i = 0; i < count && records_left > 0; i++, records_left--) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, BROKERS_MS);
        must(m != NULL && !m->err, m ? rd_kafka_message_errstr(m) : "no record comes");
        rd_kafka_message_destroy(m);
    }
}

static void result(PGresult *r, const char *sql)
{
    ExecStatusType status = PQresultStatus(r);
    must(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, sql);
    rows += strtoll(PQcmdTuples(r), NULL, 10);
    PQclear(r);
}

/* Of the server's pg_type.dat. */
static const char *array_sender(Oid type)
{
    switch (type) {
    case 1009:
        return "SELECT array_send($1::text[])";
    case 1010:
        return "SELECT array_send($1::tid[])";
    case 1016:
        return "SELECT array_send($1::bigint[])";
    case 1185:
        return "SELECT array_send($1::timestamptz[])";
    case 2951:
        return "SELECT array_send($1::uuid[])";
    case 3807:
        return "SELECT array_send($1::jsonb[])";
    default:
        return NULL;
    }
}

/* The server itself says what it is in binary. */
static void parameter_pack(struct call *c, uint32_t i)
{
    const char *sender = array_sender(types[c->statement][i]);
    if (!sender || !c->values[i])
        return;
    PGresult *r = PQexecParams(conn, sender, 1, NULL, &c->values[i], NULL, NULL, 1);
    must(PQresultStatus(r) == PGRES_TUPLES_OK, sender);
    c->lens[i] = PQgetlength(r, 0, 0);
    char *packed = malloc((size_t)c->lens[i]);
    must(packed != NULL, "out of memory");
    memcpy(packed, PQgetvalue(r, 0, 0), (size_t)c->lens[i]);
    c->values[i] = packed; /* until the end */
    c->formats[i] = 1;
    PQclear(r);
}

static void call_read(struct call *c)
{
    c->statement = number();
    c->count = number();
    must(c->statement < statement_count, "no such statement");
    if (c->count == SIMPLE)
        return;
    must(c->count <= PARAMETERS_MAX, "too many parameters");
    for (uint32_t i = 0; i < c->count; i++) {
        c->values[i] = text();
        parameter_pack(c, i);
    }
}

static void call_send(const struct call *c)
{
    const char *statement = statements[c->statement];
    char name[24];
    if (consumer && strncmp(statement, "BEGIN", 5) == 0)
        consume(batch);
    if (c->count == SIMPLE) {
        result(PQexec(conn, statement), statement);
        return;
    }
    (void)snprintf(name, sizeof name, "s%u", c->statement);
    result(PQexecPrepared(conn, name, (int)c->count, c->values, c->lens, c->formats, 0), statement);
}

static void types_read(uint32_t statement, const char *name)
{
    PGresult *r = PQdescribePrepared(conn, name);
    must(PQresultStatus(r) == PGRES_COMMAND_OK, statements[statement]);
    must(PQnparams(r) <= PARAMETERS_MAX, "too many parameters");
    for (int i = 0; i < PQnparams(r); i++)
        types[statement][i] = PQparamtype(r, i);
    PQclear(r);
}

static void prepare(void)
{
    char name[24];
    statement_count = number();
    must(statement_count <= STATEMENTS_MAX, "too many statements");
    for (uint32_t i = 0; i < statement_count; i++) {
        bool simple = number() == 1;
        statements[i] = text();
        (void)snprintf(name, sizeof name, "s%u", i);
        if (simple)
            continue;
        result(PQprepare(conn, name, statements[i], 0, NULL), statements[i]);
        types_read(i, name);
    }
}

int main(int argc, char **argv)
{
    struct cost cost = {0};
    if (argc != 3 && argc != 7) {
        fprintf(stderr, "replay URL FILE [BROKERS TOPIC RECORDS BATCH]\n");
        return 2;
    }
    if (argc == 7) {
        records_left = strtol(argv[5], NULL, 10);
        batch = strtol(argv[6], NULL, 10);
        consumer_open(argv[3], argv[4]);
    }
    file_read(argv[2]);
    conn = PQconnectdb(argv[1]);
    must(PQstatus(conn) == CONNECTION_OK, "connect");
    cost_server(PQbackendPID(conn));
    for (uint32_t setting = number(); setting > 0; setting--)
        result(PQexec(conn, text()), "setting");
    prepare();
    uint32_t calls = number();
    struct call *all = calloc(calls ? calls : 1, sizeof *all);
    must(all != NULL, "out of memory");
    for (uint32_t i = 0; i < calls; i++)
        call_read(&all[i]);
    rows = 0;
    if (consumer)
        consume(1); /* it has found the brokers */
    struct cost begun = cost_begin();
    for (uint32_t i = 0; i < calls; i++)
        call_send(&all[i]);
    cost_end(&cost, &begun);
    printf("{\"calls\":%u,\"rows\":%lld,\"seconds\":%.6f,\"client\":%.6f,\"server\":%.6f}\n", calls,
           rows, cost.seconds, cost.client_s, cost.server_s);
    PQfinish(conn);
    if (consumer)
        rd_kafka_destroy(consumer);
    free(all);
    free(file);
    return 0;
}
