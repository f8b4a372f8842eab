#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/topic.h"
#include "cli/topic_door.h"

#define CONSUME_LOOK_MS 50
#define CONSUME_BATCH 500
#define CONSUME_BYTES_MAX (2 * QUEUE_READ_BYTES_MAX)

/* The stop flag; a handler can reach nothing else. */
static volatile sig_atomic_t consume_stopped;

static void consume_stop(int signal)
{
    (void)signal;
    consume_stopped = 1;
}

/* Without SA_RESTART: a write that waits ends as well. */
static void consume_listen_for_stop(void)
{
    struct sigaction action = {.sa_handler = consume_stop};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

struct consumer {
    struct topic_reader reader;
    const char *topic, *separator;
    bool from_beginning;
    bool starts; /* assigned, and where it begins is still to be said */
    int32_t partition;
    int64_t max;        /* records to print */
    int64_t timeout_us; /* TIME_NEVER: waits for ever */
    int64_t printed, heard_boot_us;
    struct arena arena;
};

static bool record_print(const struct consumer *c, const struct record *r)
{
    if (r->key)
        (void)fwrite(r->key, 1, r->key_len, stdout);
    (void)fputs(c->separator, stdout);
    if (r->value)
        (void)fwrite(r->value, 1, r->value_len, stdout);
    (void)fputc('\n', stdout);
    return !ferror(stdout);
}

/* false: nobody reads what is printed, or the signal came in the middle. */
static bool batch_print(struct consumer *c, const struct queue_batch *batch)
{
    for (size_t i = 0; i < batch->count && c->printed < c->max; i++, c->printed++)
        if (!record_print(c, &batch->records[i]))
            return false;
    return fflush(stdout) == 0;
}

static enum err consume_start(struct consumer *c)
{
    struct queue_log log;
    enum err err = queue_log(c->reader.queue, c->topic, c->partition, &log);
    if (err == ERR_OK)
        err = queue_start(c->reader.queue, c->partition, c->from_beginning ? log.first : log.next);
    c->starts = err != ERR_OK;
    return err;
}

/* Waits for the next look. false: nobody reads what is printed (`| head -1`), which nothing but a write would tell. */
static bool consume_pause(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (poll(&out, 1, CONSUME_LOOK_MS) <= 0 || !(out.revents & (POLLERR | POLLHUP)))
        return true;
    errno = EPIPE;
    return false;
}

/* false: nothing more can be printed. */
static bool consume_look(struct consumer *c, enum err *err)
{
    struct queue_batch batch = {0};
    arena_reset(&c->arena);
    *err = c->starts ? consume_start(c) : ERR_OK;
    if (*err == ERR_OK)
        *err = queue_read(c->reader.queue, CONSUME_BATCH, &c->arena, &batch);
    if (*err == ERR_OK && batch.event == QUEUE_ASSIGNED) {
        c->partition = batch.partition;
        c->starts = true;
    } else if (*err == ERR_OK && batch.event == QUEUE_RECORDS) {
        c->heard_boot_us = clock_boot_us(clock_real());
        return batch_print(c, &batch);
    } else {
        return consume_pause();
    }
    return true;
}

static bool consume_over(const struct consumer *c)
{
    return consume_stopped || c->printed >= c->max ||
           (c->timeout_us != TIME_NEVER &&
            clock_boot_us(clock_real()) - c->heard_boot_us >= c->timeout_us);
}

/* Stopped in a write, or the reader has had enough (`| head -1`): what is left is not for anybody. Any other
 * failure of standard output is named when the command ends. */
static int consume_cut_off(void)
{
    if (!consume_stopped && errno != EPIPE)
        return CLI_FAILED;
    __fpurge(stdout);
    clearerr(stdout);
    return CLI_DONE;
}

static int consume_all(struct consumer *c)
{
    enum err err = queue_subscribe(c->reader.queue, c->topic);
    c->heard_boot_us = clock_boot_us(clock_real());
    while ((err == ERR_OK || err_retriable(err)) && !consume_over(c))
        if (!consume_look(c, &err))
            return consume_cut_off();
    if (err == ERR_OK || consume_stopped)
        return CLI_DONE;
    return cli_failed("topic consume %s: %s", c->topic, why_or(queue_why(c->reader.queue), err));
}

static int consume_from(struct consumer *c, const struct config *config)
{
    int code = CLI_DONE;
    if (!topic_reader_open(&c->reader, config, &code))
        return code;
    code = CLI_FAILED;
    if (topic_reader_knows(&c->reader, c->topic)) {
        consume_listen_for_stop();
        arena_init(&c->arena, CONSUME_BYTES_MAX);
        code = consume_all(c);
        arena_release(&c->arena);
    }
    topic_reader_close(&c->reader);
    return code;
}

int topic_consume(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--from-beginning"},
                                   {.name = "--max-messages", .takes_value = true},
                                   {.name = "--timeout-ms", .takes_value = true},
                                   {.name = "-K", .takes_value = true}};
    struct consumer c = {.separator = "\t", .max = INT64_MAX, .timeout_us = TIME_NEVER};
    int count = 0;
    int64_t timeout_ms = 0;
    if (!cli_parse(argc, argv, options, 4, &c.topic, 1, &count))
        return CLI_USAGE;
    if (count != 1)
        return cli_usage("topic consume: wants one TOPIC");
    if (options[1].given && !text_i64(options[1].value, 1, INT64_MAX, &c.max))
        return cli_usage("--max-messages %s: a whole number from 1", options[1].value);
    if (options[2].given && !text_i64(options[2].value, 0, INT32_MAX, &timeout_ms))
        return cli_usage("--timeout-ms %s: a whole number from 0", options[2].value);
    if (options[3].given && !topic_separator(options[3].value, &c.separator))
        return CLI_USAGE;
    c.from_beginning = options[0].given;
    if (options[2].given)
        c.timeout_us = timeout_ms * US_PER_MS;
    return consume_from(&c, config);
}
