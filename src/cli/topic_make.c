/* topic create, topic check: what a topic has to be, so that no request is lost in it. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/topic.h"
#include "cli/topic_door.h"

#define PARTITIONS_KAFKA 8 /* unless --partitions says otherwise */
#define REJECTED_SUFFIX ".rejected"
#define US_PER_HOUR (3600 * US_PER_S)

static int create_one(struct door *door, const char *topic, int32_t partitions)
{
    enum err err = door_create(door, topic, partitions);
    return err == ERR_OK ? CLI_DONE
                         : cli_failed("topic create %s: %s", topic, why_or(door->why, err));
}

/* Of a topic that is there already, any number will do unless one is asked for. */
static bool is_there(struct door *door, const char *topic)
{
    struct queue_promise promise;
    return door->kafka && queue_check(door->queue, topic, &promise) == ERR_OK;
}

/* The topic, and for that of the configuration the one for what cannot be understood: no service makes it. */
static int create_in(struct door *door, const char *topic, int32_t partitions, bool asked)
{
    char rejected[QUEUE_TOPIC_MAX + sizeof REJECTED_SUFFIX];
    int code = !asked && is_there(door, topic) ? CLI_DONE : create_one(door, topic, partitions);
    (void)snprintf(rejected, sizeof rejected, "%s" REJECTED_SUFFIX, topic);
    if (code != CLI_DONE || !door->kafka || strcmp(topic, door->config->topic) != 0 ||
        is_there(door, rejected))
        return code;
    return create_one(door, rejected, 1);
}

int topic_create(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--partitions", .takes_value = true}};
    const char *topic[1];
    int count = 0, code = CLI_DONE;
    int64_t partitions = config->kafka ? PARTITIONS_KAFKA : 1;
    if (!cli_parse(argc, argv, options, 1, topic, 1, &count))
        return CLI_USAGE;
    if (count != 1)
        return cli_usage("topic create: wants one TOPIC");
    if (!queue_topic_valid(topic[0]))
        return cli_usage("topic create %s: a name has 1 to %d letters, digits, '.', '_' and '-'",
                         topic[0], QUEUE_TOPIC_MAX);
    int64_t partitions_max = config->kafka ? KAFKA_PARTITIONS_MAX : 1;
    if (options[0].given && !text_i64(options[0].value, 1, partitions_max, &partitions))
        return config->kafka ? cli_usage("--partitions %s: allowed are 1 to %lld", options[0].value,
                                         (long long)partitions_max)
                             : cli_usage("--partitions %s: a topic of the embedded queue has 1",
                                         options[0].value);
    struct door door;
    if (!door_open(&door, config, &code))
        return code;
    code = create_in(&door, topic[0], (int32_t)partitions, options[0].given);
    door_close(&door);
    return code;
}

static int check_in(struct topic_reader *reader, const char *topic)
{
    struct queue_promise p;
    if (!topic_reader_knows(reader, topic))
        return CLI_FAILED;
    enum err err = queue_check(reader->queue, topic, &p);
    if (err != ERR_OK)
        return cli_failed("topic check %s: %s", topic, why_or(queue_why(reader->queue), err));
    (void)printf("%s\tpartitions %d\treplicas %d\tmin.insync.replicas %d\tkeeps ", topic,
                 (int)p.partitions, (int)p.copies, (int)p.copies_min);
    if (p.keeps_us == TIME_NEVER)
        (void)printf("what is needed\n");
    else
        (void)printf("%lld h\n", (long long)(p.keeps_us / US_PER_HOUR));
    return p.wrong[0] == '\0' ? CLI_DONE : cli_failed("topic check %s: %s", topic, p.wrong);
}

int topic_check(const struct config *config, int argc, char **argv)
{
    struct topic_reader reader;
    const char *topic[1];
    int count = 0, code = CLI_DONE;
    if (!cli_parse(argc, argv, NULL, 0, topic, 1, &count))
        return CLI_USAGE;
    if (count != 1)
        return cli_usage("topic check: wants one TOPIC");
    if (!topic_reader_open(&reader, config, &code))
        return code;
    code = check_in(&reader, topic[0]);
    topic_reader_close(&reader);
    return code;
}
