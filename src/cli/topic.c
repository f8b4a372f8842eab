#include "cli/topic.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/topic_door.h"

#define TOPIC_USAGE                                                                                \
    "topic: wants list [--long] | create TOPIC [--partitions N] | produce TOPIC [-K SEP] | "       \
    "consume TOPIC [--from-beginning] [--max-messages N] [--timeout-ms N] [-K SEP] | "             \
    "rewind TOPIC --beginning|--to N [--partition P] | check TOPIC | "                             \
    "put-back TOPIC.rejected --partition P --offset N"

bool topic_separator(const char *typed, const char **out)
{
    *out = strcmp(typed, "\\t") == 0 ? "\t" : typed;
    if (**out && strlen(*out) <= TOPIC_SEPARATOR_MAX)
        return true;
    (void)cli_usage("-K %s: a separator has 1 to %d bytes", typed, TOPIC_SEPARATOR_MAX);
    return false;
}

/* name, records that are kept, offset of the next record, offset up to which the saver has read, partition; TABs
 * between. */
static int topic_print_long(struct topic_reader *reader, const struct queue_topic *t)
{
    for (int32_t partition = 0; partition < t->partitions; partition++) {
        struct queue_log log;
        int64_t read_up_to = 0;
        enum err err = queue_log(reader->queue, t->topic, partition, &log);
        if (err != ERR_OK)
            return cli_failed("topic list: %s: %s", t->topic,
                              why_or(queue_why(reader->queue), err));
        int code = topic_reader_position(reader, t->topic, partition, &read_up_to);
        if (code != CLI_DONE)
            return code;
        (void)printf("%s\t%lld\t%lld\t", t->topic, (long long)(log.next - log.first),
                     (long long)log.next);
        if (read_up_to >= 0)
            (void)printf("%lld\t%d\n", (long long)read_up_to, (int)partition);
        else /* no store is configured */
            (void)printf("-\t%d\n", (int)partition);
    }
    return CLI_DONE;
}

static int topic_list(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--long"}};
    if (!cli_parse(argc, argv, options, 1, NULL, 0, NULL))
        return CLI_USAGE;
    struct topic_reader reader;
    int code = CLI_DONE;
    if (!topic_reader_open(&reader, config, &code))
        return code;
    struct arena arena;
    struct queue_topic *topics = NULL;
    size_t topic_count = 0;
    arena_init(&arena, TOPICS_BYTES_MAX);
    enum err err = queue_topics(reader.queue, &arena, &topics, &topic_count);
    if (err != ERR_OK)
        code = cli_failed("reading the topics: %s", why_or(queue_why(reader.queue), err));
    for (size_t i = 0; i < topic_count && code == CLI_DONE; i++)
        if (options[0].given)
            code = topic_print_long(&reader, &topics[i]);
        else
            (void)printf("%s\n", topics[i].topic);
    arena_release(&arena);
    topic_reader_close(&reader);
    return code;
}

int cli_topic(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct config *config, int argc, char **argv);
    } commands[] = {{"list", topic_list},        {"create", topic_create},
                    {"produce", topic_produce},  {"consume", topic_consume},
                    {"rewind", topic_rewind},    {"check", topic_check},
                    {"put-back", topic_put_back}};
    struct config config;
    char name[16];
    int code = CLI_USAGE;
    if (argc < 2)
        return cli_usage(TOPIC_USAGE);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (!cli_load(&config, CONFIG_FOR_QUEUE, &code))
            return code;
        (void)snprintf(name, sizeof name, "topic %s", argv[1]); /* for what it complains about */
        argv[1] = name;
        return commands[i].run(&config, argc - 1, argv + 1);
    }
    return cli_usage("topic %s: no such command; " TOPIC_USAGE, argv[1]);
}
