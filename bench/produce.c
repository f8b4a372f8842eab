/* produce: librdkafka alone with the producer's settings of src/queue/kafka_config.c: records of one size with the
 * key of a user, so many on their way, each delivery report awaited. The raw limit of queueing. One JSON line.
 *   produce BROKERS TOPIC RECORDS BYTES ON_THEIR_WAY */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"

#define BYTES_MAX 4096
#define POLL_MS 1000

static const char *const SETTINGS[][2] = {
    {"acks", "all"},
    {"linger.ms", "0"},
    {"enable.idempotence", "false"},
    {"max.in.flight.requests.per.connection", "5"},
    {"partitioner", "murmur2_random"},
    {"allow.auto.create.topics", "false"},
};
static long reported;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "produce: %s: %s\n", what, why);
    exit(1);
}

static void on_report(rd_kafka_t *producer, const rd_kafka_message_t *m, void *opaque)
{
    (void)producer, (void)opaque;
    if (m->err)
        die("a record", rd_kafka_err2str(m->err));
    reported++;
}

static rd_kafka_t *producer_open(const char *brokers)
{
    char why[512] = "";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why))
        die("settings", why);
    for (size_t i = 0; i < sizeof SETTINGS / sizeof *SETTINGS; i++)
        if (rd_kafka_conf_set(conf, SETTINGS[i][0], SETTINGS[i][1], why, sizeof why))
            die("settings", why);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer)
        die("producer", why);
    return producer;
}

static void publish(rd_kafka_t *producer, const char *topic, long record, size_t bytes)
{
    static char value[BYTES_MAX];
    char key[37];
    memset(value, 'x', sizeof value);
    (void)snprintf(key, sizeof key, "00000000-0000-7000-8000-%012lx", record);
    rd_kafka_resp_err_t err = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(key, sizeof key - 1),
        RD_KAFKA_V_VALUE(value, bytes), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    if (err)
        die("a record", rd_kafka_err2str(err));
}

int main(int argc, char **argv)
{
    struct cost cost = {0};
    long records = argc == 6 ? strtol(argv[3], NULL, 10) : 0,
         bytes = argc == 6 ? strtol(argv[4], NULL, 10) : 0,
         window = argc == 6 ? strtol(argv[5], NULL, 10) : 0;
    if (records < 1 || bytes < 1 || bytes > BYTES_MAX || window < 1) {
        fprintf(stderr, "produce BROKERS TOPIC RECORDS BYTES ON_THEIR_WAY\n");
        return 2;
    }
    rd_kafka_t *producer = producer_open(argv[1]);
    publish(producer, argv[2], records, (size_t)bytes); /* the first one asks for the topic */
    while (reported < 1)
        rd_kafka_poll(producer, POLL_MS);
    struct cost begun = cost_begin();
    for (long sent = 0; reported <= records;) {
        for (; sent < records && sent + 1 - reported < window; sent++)
            publish(producer, argv[2], sent, (size_t)bytes);
        rd_kafka_poll(producer, POLL_MS);
    }
    cost_end(&cost, &begun);
    printf("{\"records\": %ld, \"seconds\": %.3f, \"per_second\": %.0f, \"cpu_seconds\": %.3f}\n",
           records, cost.seconds, (double)records / cost.seconds, cost.client_s);
    rd_kafka_destroy(producer);
    return 0;
}
