#include "cli/topic.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/topic_door.h"

#define TOPIC_USAGE                                                                                \
    "topic: wants list [--long] | create TOPIC [--partitions N] | produce TOPIC [-K SEP] | "       \
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

/* name, records that are kept, offset of the next record, offset up to which the saver has read; TABs between. */
static int topic_print_long(struct topic_reader *reader, const char *topic)
{
    struct queue_log log;
    int64_t read_up_to = 0;
    enum err err = queue_log(reader->queue, topic, 0, &log);
    if (err != ERR_OK)
        return cli_failed("topic list: %s: %s", topic, why_or(queue_why(reader->queue), err));
    err = topic_reader_position(reader, topic, 0, &read_up_to);
    if (err != ERR_OK)
        return cli_failed("topic list: %s: %s", topic, why_or(db_why(reader->db), err));
    (void)printf("%s\t%lld\t%lld\t%lld\n", topic, (long long)(log.next - log.first),
                 (long long)log.next, (long long)read_up_to);
    return CLI_DONE;
}

static int topic_list(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--long"}};
    if (!cli_parse(argc, argv, options, 1, NULL, 0, NULL))
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
        code = cli_failed("reading the topics: %s", why_or(queue_why(reader.queue), err));
    for (size_t i = 0; i < topic_count && code == CLI_DONE; i++)
        if (options[0].given)
            code = topic_print_long(&reader, topics[i].topic);
        else
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
    int code = err == ERR_OK ? CLI_DONE
                             : cli_failed("topic create %s: %s", topic[0], why_or(door.why, err));
    door_close(&door);
    return code;
}

/* What a rewind starts from, and where it may go. */
struct rewind {
    const char *topic;
    int32_t partition;
    int64_t to; /* DOOR_BEGINNING until the log is known */
    int64_t from;
};

/* After the door is open: then there is a file. CLI_DONE, or the code after it complained. */
static int rewind_look(struct topic_reader *reader, struct rewind *r)
{
    struct queue_log log;
    if (!topic_reader_knows(reader, r->topic))
        return CLI_FAILED;
    enum err err = queue_log(reader->queue, r->topic, r->partition, &log);
    if (err == ERR_NOT_FOUND)
        return cli_failed("topic rewind %s: --partition %d: there is none of this number", r->topic,
                          (int)r->partition);
    if (err == ERR_OK)
        err = topic_reader_position(reader, r->topic, r->partition, &r->from);
    if (err != ERR_OK)
        return cli_failed("topic rewind %s: %s", r->topic, why_or(queue_why(reader->queue), err));
    if (r->to == DOOR_BEGINNING)
        r->to = log.first;
    if (r->to < log.first || r->to > log.next)
        return cli_failed("topic rewind %s: --to %lld: allowed are %lld to %lld", r->topic,
                          (long long)r->to, (long long)log.first, (long long)log.next);
    return CLI_DONE;
}

static int rewind_do(const struct config *config, struct rewind *r)
{
    struct door door;
    struct topic_reader reader;
    if (!door_open(&door, config))
        return CLI_FAILED;
    int code = CLI_FAILED;
    if (topic_reader_open(&reader, config->data_dir)) {
        code = rewind_look(&reader, r);
        topic_reader_close(&reader);
    }
    if (code == CLI_DONE) {
        enum err err = door_rewind(&door, r->topic, r->partition, r->to);
        if (err != ERR_OK)
            code = cli_failed("topic rewind %s: %s", r->topic, why_or(door.why, err));
        else
            (void)printf("%s: %lld -> %lld\n", r->topic, (long long)r->from, (long long)r->to);
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
    return rewind_do(
        config, &(struct rewind){.topic = topic[0], .partition = (int32_t)partition, .to = to});
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
    char name[16];
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
        (void)snprintf(name, sizeof name, "topic %s", argv[1]); /* for what it complains about */
        argv[1] = name;
        return commands[i].run(&config, argc - 1, argv + 1);
    }
    return cli_usage("topic %s: no such command; " TOPIC_USAGE, argv[1]);
}
