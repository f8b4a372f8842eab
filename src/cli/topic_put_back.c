/* topic put-back: a record that was rejected goes to its topic again, with its own key and value, as a new record: for
 * after what was wrong has been mended (a price, a program that writes records). Twice is harmless where the value has
 * a payment_id. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/topic.h"
#include "cli/topic_door.h"

#define SUFFIX ".rejected"
#define READ_BYTES_MAX (2 * QUEUE_READ_BYTES_MAX)
#define READ_WAIT_US (10 * US_PER_S)
#define READ_PAUSE_NS 10000000

struct put_back {
    const char *from;                /* TOPIC.rejected */
    char topic[QUEUE_TOPIC_MAX + 1]; /* where it came from */
    int32_t partition;
    int64_t offset;
    struct arena arena; /* of the record */
    const struct record *found;
};

/* The record at the offset, once the reader has been given its partition and started there. */
static enum err read_one(struct topic_reader *reader, struct put_back *p)
{
    const struct timespec moment = {.tv_nsec = READ_PAUSE_NS};
    int64_t until_us = clock_boot_us(clock_real()) + READ_WAIT_US;
    enum err err = queue_subscribe(reader->queue, p->from);
    while (err == ERR_OK && !p->found && clock_boot_us(clock_real()) < until_us) {
        struct queue_batch batch = {0};
        arena_reset(&p->arena);
        err = queue_read(reader->queue, 1, &p->arena, &batch);
        if (err != ERR_OK || batch.partition != p->partition || batch.event == QUEUE_NOTHING)
            (void)nanosleep(&moment, NULL);
        else if (batch.event == QUEUE_ASSIGNED)
            err = queue_start(reader->queue, p->partition, p->offset);
        else if (batch.event == QUEUE_RECORDS && batch.count > 0)
            p->found = &batch.records[0];
    }
    if (err == ERR_OK && !p->found)
        err = ERR_UNREACHABLE;
    return err;
}

static int find(struct topic_reader *reader, struct put_back *p)
{
    struct queue_log log;
    if (!topic_reader_knows(reader, p->from))
        return CLI_FAILED;
    enum err err = queue_log(reader->queue, p->from, p->partition, &log);
    if (err == ERR_NOT_FOUND)
        return cli_failed("topic put-back %s: --partition %d: there is none of this number",
                          p->from, (int)p->partition);
    if (err == ERR_OK && (p->offset < log.first || p->offset >= log.next))
        return cli_failed("topic put-back %s: --offset %lld: allowed are %lld to %lld", p->from,
                          (long long)p->offset, (long long)log.first, (long long)log.next - 1);
    if (err == ERR_OK)
        err = read_one(reader, p);
    if (err != ERR_OK)
        return cli_failed("topic put-back %s: %s", p->from, why_or(queue_why(reader->queue), err));
    if (p->found->offset != p->offset)
        return cli_failed(
            "topic put-back %s: --offset %lld: there is no record; the next one is %lld", p->from,
            (long long)p->offset, (long long)p->found->offset);
    return CLI_DONE;
}

static int publish(const struct config *config, const struct put_back *p)
{
    struct door door;
    int code = CLI_DONE;
    const struct queue_message message = {
        .topic = p->topic,
        .key = p->found->key,
        .key_len = p->found->key_len,
        .value = p->found->value,
        .value_len = p->found->value_len,
        .timestamp_us = REQUEST_NO_TIME,
    };
    if (!door_open(&door, config, &code))
        return code;
    enum err err = door_append(&door, &message, 1);
    if (err != ERR_OK)
        code = cli_failed("topic put-back %s: %s %s: %s", p->from,
                          err == ERR_IO ? "it is not known to be in" : "it is not in", p->topic,
                          why_or(door.why, err));
    door_close(&door);
    return code;
}

static int put_back(const struct config *config, struct put_back *p)
{
    struct topic_reader reader;
    int code = CLI_DONE;
    if (!topic_reader_open(&reader, config, &code))
        return code;
    arena_init(&p->arena, READ_BYTES_MAX);
    code = find(&reader, p);
    topic_reader_close(&reader); /* the record is in our arena */
    if (code == CLI_DONE)
        code = publish(config, p);
    arena_release(&p->arena);
    return code;
}

int topic_put_back(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--partition", .takes_value = true},
                                   {.name = "--offset", .takes_value = true}};
    struct put_back p = {0};
    int count = 0;
    int64_t partition = 0;
    if (!cli_parse(argc, argv, options, 2, &p.from, 1, &count))
        return CLI_USAGE;
    size_t len = count == 1 ? strlen(p.from) : 0, suffix = sizeof SUFFIX - 1;
    if (len <= suffix || strcmp(p.from + len - suffix, SUFFIX) != 0 ||
        !text_copy_n(p.topic, sizeof p.topic, p.from, len - suffix))
        return cli_usage("topic put-back: wants one TOPIC" SUFFIX);
    if (!options[0].given || !text_i64(options[0].value, 0, INT32_MAX, &partition))
        return cli_usage("topic put-back %s: wants --partition P, a whole number from 0", p.from);
    if (!options[1].given || !text_i64(options[1].value, 0, INT64_MAX, &p.offset))
        return cli_usage("topic put-back %s: wants --offset N, a whole number from 0", p.from);
    p.partition = (int32_t)partition;
    return put_back(config, &p);
}
