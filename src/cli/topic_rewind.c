#include <stdio.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/topic.h"
#include "cli/topic_door.h"

/* What a rewind starts from, and where it may go. */
struct rewind {
    const char *topic;
    int32_t partition;
    bool all;   /* every partition */
    int64_t to; /* DOOR_BEGINNING: the oldest record that is kept */
    int64_t from;
};

/* After the door is open: then there is a file. CLI_DONE, or the code after it complained. *partitions: of the topic. */
static int rewind_look(struct topic_reader *reader, struct rewind *r, int32_t *partitions)
{
    struct queue_log log;
    enum err err = queue_log(reader->queue, r->topic, r->partition, &log);
    if (err == ERR_NOT_FOUND)
        return cli_failed("topic rewind %s: --partition %d: there is none of this number", r->topic,
                          (int)r->partition);
    if (err != ERR_OK)
        return cli_failed("topic rewind %s: %s", r->topic, why_or(queue_why(reader->queue), err));
    int code = topic_reader_position(reader, r->topic, r->partition, &r->from);
    if (code != CLI_DONE)
        return code;
    *partitions = log.partitions;
    if (r->to == DOOR_BEGINNING)
        r->to = log.first;
    if (r->to < log.first || r->to > log.next)
        return cli_failed("topic rewind %s: --to %lld: allowed are %lld to %lld", r->topic,
                          (long long)r->to, (long long)log.first, (long long)log.next);
    return CLI_DONE;
}

static int rewind_partition(struct door *door, struct topic_reader *reader, const struct rewind *of,
                            int32_t partition, int32_t *partitions)
{
    struct rewind r = *of;
    r.partition = partition;
    int code = rewind_look(reader, &r, partitions);
    if (code != CLI_DONE)
        return code;
    if (r.all && of->to != DOOR_BEGINNING && *partitions > 1)
        return cli_usage("topic rewind %s: --to %lld: wants --partition, of %d", r.topic,
                         (long long)r.to, (int)*partitions);
    enum err err = door_rewind(door, r.topic, partition, r.to);
    if (err != ERR_OK)
        return cli_failed("topic rewind %s: %s", r.topic, why_or(door->why, err));
    (void)printf("%s", r.topic);
    if (*partitions > 1)
        (void)printf(" %d", (int)partition);
    (void)printf(": %lld -> %lld\n", (long long)(r.from < 0 ? 0 : r.from), (long long)r.to);
    return CLI_DONE;
}

static int rewind_all(struct door *door, struct topic_reader *reader, const struct rewind *r)
{
    int32_t partition = r->partition, partitions = 1;
    int code = CLI_DONE;
    if (!topic_reader_knows(reader, r->topic))
        return CLI_FAILED;
    do
        code = rewind_partition(door, reader, r, partition, &partitions);
    while (code == CLI_DONE && r->all && ++partition < partitions);
    return code;
}

static int rewind_do(const struct config *config, const struct rewind *r)
{
    struct door door;
    struct topic_reader reader;
    int code = CLI_DONE;
    if (!door_open(&door, config, &code))
        return code;
    if (topic_reader_open(&reader, config, &code)) {
        code = rewind_all(&door, &reader, r);
        topic_reader_close(&reader);
    }
    door_close(&door);
    return code;
}

int topic_rewind(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--beginning"},
                                   {.name = "--to", .takes_value = true},
                                   {.name = "--partition", .takes_value = true}};
    const char *topic[1];
    int count = 0;
    int64_t to = DOOR_BEGINNING, partition = 0;
    if (!cli_parse(argc, argv, options, 3, topic, 1, &count))
        return CLI_USAGE;
    if (count != 1)
        return cli_usage("topic rewind: wants one TOPIC");
    if (options[0].given == options[1].given)
        return cli_usage("topic rewind %s: wants --beginning or --to N, one of them", topic[0]);
    if (options[1].given && !text_i64(options[1].value, 0, INT64_MAX, &to))
        return cli_usage("--to %s: an offset is a whole number from 0", options[1].value);
    if (options[2].given && !text_i64(options[2].value, 0, INT32_MAX, &partition))
        return cli_usage("--partition %s: a whole number from 0", options[2].value);
    return rewind_do(config, &(struct rewind){.topic = topic[0],
                                              .partition = (int32_t)partition,
                                              .all = !options[2].given,
                                              .to = to});
}
