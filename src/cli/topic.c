#include "cli/topic.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/topic_door.h"

#define TOPIC_USAGE                                                                                \
    "topic: wants list | create TOPIC [--partitions N] | produce TOPIC [-K SEP] | "                \
    "consume TOPIC [--from-beginning] [--max-messages N] [--timeout-ms N] [-K SEP] | "             \
    "rewind TOPIC --beginning|--to N [--partition P]"

bool topic_separator(const char *typed, const char **out)
{
    *out = strcmp(typed, "\\t") == 0 ? "\t" : typed;
    if (**out && strlen(*out) <= TOPIC_SEPARATOR_MAX)
        return true;
    (void)cli_usage("-K %s: a separator has 1 to %d bytes", typed, TOPIC_SEPARATOR_MAX);
    return false;
}

static int topic_list(const struct config *config, int argc, char **argv)
{
    int count = 0;
    const char *rest[1];
    if (!cli_parse(argc, argv, NULL, 0, rest, 0, &count))
        return CLI_USAGE;
    struct topic_reader reader;
    if (!topic_reader_open(&reader, config->data_dir))
        return CLI_FAILED;
    struct arena arena;
    struct queue_topic *topics = NULL;
    size_t topic_count = 0;
    int code = CLI_DONE;
    arena_init(&arena, 2 * LOCAL_QUEUE_TOPICS_MAX * sizeof *topics);
    enum err err = queue_topics(reader.queue, &arena, &topics, &topic_count);
    if (err != ERR_OK)
        code = cli_failed("reading the topics: %s: %s", err_text(err), queue_why(reader.queue));
    for (size_t i = 0; i < topic_count; i++)
        (void)printf("%s\n", topics[i].topic);
    arena_release(&arena);
    topic_reader_close(&reader);
    return code;
}

static int topic_create(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--partitions", .takes_value = true}};
    const char *topic[1];
    int count = 0;
    int64_t partitions = 1;
    if (!cli_parse(argc, argv, options, 1, topic, 1, &count))
        return CLI_USAGE;
    if (count != 1)
        return cli_usage("topic create: wants one TOPIC");
    if (!queue_topic_valid(topic[0]))
        return cli_usage("topic create %s: a name has 1 to %d letters, digits, '.', '_' and '-'",
                         topic[0], QUEUE_TOPIC_MAX);
    if (options[0].given &&
        (!text_i64(options[0].value, 1, INT32_MAX, &partitions) || partitions != 1))
        return cli_usage("--partitions %s: a topic of the embedded queue has 1", options[0].value);
    struct door door;
    if (!door_open(&door, config))
        return CLI_FAILED;
    enum err err = door_create(&door, topic[0], (int32_t)partitions);
    int code = err == ERR_OK
                   ? CLI_DONE
                   : cli_failed("topic create %s: %s: %s", topic[0], err_text(err), door.why);
    door_close(&door);
    return code;
}

/* Is there such a topic? After the door is open: then there is a file. */
static bool topic_known(const struct config *config, const char *topic)
{
    struct topic_reader reader;
    if (!topic_reader_open(&reader, config->data_dir))
        return false;
    bool known = topic_reader_knows(&reader, topic);
    topic_reader_close(&reader);
    return known;
}

static int rewind_do(const struct config *config, const char *topic, int32_t partition, int64_t to)
{
    struct door door;
    if (!door_open(&door, config))
        return CLI_FAILED;
    int code = CLI_FAILED;
    if (topic_known(config, topic)) {
        enum err err = door_rewind(&door, topic, partition, to);
        code = err == ERR_OK ? CLI_DONE
                             : cli_failed("topic rewind %s, partition %d: %s: %s", topic,
                                          (int)partition, err_text(err), door.why);
    }
    door_close(&door);
    return code;
}

static int topic_rewind(const struct config *config, int argc, char **argv)
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
    return rewind_do(config, topic[0], (int32_t)partition, to);
}

int cli_topic(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct config *config, int argc, char **argv);
    } commands[] = {{"list", topic_list},
                    {"create", topic_create},
                    {"produce", topic_produce},
                    {"consume", topic_consume},
                    {"rewind", topic_rewind}};
    struct config config;
    int code = CLI_USAGE;
    if (argc < 2)
        return cli_usage(TOPIC_USAGE);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (!cli_load(&config, CONFIG_FOR_STORE, &code))
            return code;
        if (config.kafka)
            return cli_usage("KAFKA_HOST, KAFKA_BROKERS %s: topic takes the embedded queue only; "
                             "for this one take Kafka's own tools",
                             config.kafka_brokers);
        return commands[i].run(&config, argc - 1, argv + 1);
    }
    return cli_usage("topic %s: no such command; " TOPIC_USAGE, argv[1]);
}
