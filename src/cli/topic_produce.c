#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/topic.h"
#include "cli/topic_door.h"
#include "services/control.h"

#define PRODUCE_BATCH_BYTES (256 * 1024) /* of one request, about */
#define PRODUCE_BUFFER_BYTES                                                                       \
    (QUEUE_RECORD_MAX + QUEUE_KEY_MAX + TOPIC_SEPARATOR_MAX + 1 + PRODUCE_BATCH_BYTES)

/* Standard input on its way into the queue: [start, len) of the buffer was read and is not published. */
struct producer {
    struct door door;
    const char *topic;
    const char *separator; /* NULL: no keys */
    char *buffer;
    size_t start, len;
    bool ended;     /* end of input */
    int64_t line;   /* lines published or in the batch */
    char what[160]; /* what is wrong with line + 1; "" */
    struct queue_message batch[CONTROL_BATCH_MAX];
    size_t batch_count, batch_bytes;
};

static int64_t first_of_batch(const struct producer *p)
{
    return p->line - (int64_t)p->batch_count + 1;
}

/* false after it printed why. */
static bool batch_flush(struct producer *p)
{
    if (p->batch_count == 0)
        return true;
    enum err err = door_append(&p->door, p->batch, p->batch_count);
    if (err != ERR_OK)
        (void)cli_failed("topic produce %s: lines %lld to %lld %s: %s", p->topic,
                         (long long)first_of_batch(p), (long long)p->line,
                         err == ERR_IO ? "are not known to be in the queue"
                                       : "are not in the queue",
                         why_or(p->door.why, err));
    p->batch_count = 0;
    p->batch_bytes = 0;
    return err == ERR_OK;
}

/* A line without its end → a record of the batch; false with p->what set. */
static bool line_take(struct producer *p, const char *line, size_t len)
{
    struct queue_message m = {
        .topic = p->topic, .value = line, .value_len = len, .timestamp_us = REQUEST_NO_TIME};
    if (p->separator) {
        size_t separator_len = strlen(p->separator);
        const char *at = len > 0 ? memmem(line, len, p->separator, separator_len) : NULL;
        if (!at) {
            (void)snprintf(p->what, sizeof p->what, "has no separator %s",
                           strcmp(p->separator, "\t") == 0 ? "TAB" : p->separator);
            return false;
        }
        m.key = line;
        m.key_len = (size_t)(at - line);
        m.value = at + separator_len;
        m.value_len = len - m.key_len - separator_len;
    }
    if (queue_message_check(&m) != ERR_OK) {
        (void)snprintf(p->what, sizeof p->what, "a record has at most %d bytes, its key at most %d",
                       QUEUE_RECORD_MAX, QUEUE_KEY_MAX);
        return false;
    }
    p->batch[p->batch_count++] = m;
    p->batch_bytes += len;
    p->line++;
    return true;
}

/* Whole lines of the buffer, as many as a request takes. */
static void batch_fill(struct producer *p)
{
    while (p->batch_count < CONTROL_BATCH_MAX && p->batch_bytes < PRODUCE_BATCH_BYTES) {
        const char *line = p->buffer + p->start;
        size_t left = p->len - p->start;
        const char *end = left > 0 ? memchr(line, '\n', left) : NULL;
        bool last = !end && p->ended && left > 0; /* without an end of line */
        size_t len = end ? (size_t)(end - line) : left;
        if (!end && !last)
            return;
        /* A big record travels alone. */
        if (p->batch_count > 0 && p->batch_bytes + len > PRODUCE_BATCH_BYTES)
            return;
        if (!line_take(p, line, len))
            return;
        p->start += len + (end != NULL);
    }
}

/* More of the input behind what is left; false after it printed why. A full buffer is a line that is too long. */
static bool input_read(struct producer *p)
{
    if (p->start > 0) {
        memmove(p->buffer, p->buffer + p->start, p->len - p->start);
        p->len -= p->start;
        p->start = 0;
    }
    if (p->len == PRODUCE_BUFFER_BYTES)
        return line_take(p, p->buffer, p->len);
    ssize_t n = read(STDIN_FILENO, p->buffer + p->len, PRODUCE_BUFFER_BYTES - p->len);
    if (n < 0 && errno != EINTR) {
        (void)cli_failed("topic produce %s: standard input: %s", p->topic, strerror(errno));
        return false;
    }
    p->len += n > 0 ? (size_t)n : 0;
    p->ended = n == 0;
    return true;
}

static int produce_all(struct producer *p)
{
    for (;;) {
        batch_fill(p);
        bool filled = p->batch_count > 0;
        if (!batch_flush(p))
            return CLI_FAILED;
        if (p->what[0])
            break;
        if (!filled && p->ended)
            return CLI_DONE;
        if (!filled && !input_read(p) && !p->what[0])
            return CLI_FAILED;
        if (p->what[0])
            break;
    }
    return cli_failed("topic produce %s: line %lld: %s", p->topic, (long long)(p->line + 1),
                      p->what);
}

static int produce_into(struct producer *p, const struct config *config)
{
    struct topic_reader reader;
    int code = CLI_DONE;
    if (!door_open(&p->door, config, &code))
        return code;
    if (topic_reader_open(&reader, config, &code)) {
        bool known = topic_reader_knows(&reader, p->topic);
        topic_reader_close(&reader);
        code = known ? produce_all(p) : CLI_FAILED;
    }
    door_close(&p->door);
    return code;
}

int topic_produce(const struct config *config, int argc, char **argv)
{
    struct cli_option options[] = {{.name = "-K", .takes_value = true}};
    const char *topic[1], *separator = NULL;
    int count = 0;
    if (!cli_parse(argc, argv, options, 1, topic, 1, &count))
        return CLI_USAGE;
    if (count != 1)
        return cli_usage("topic produce: wants one TOPIC");
    if (options[0].given && !topic_separator(options[0].value, &separator))
        return CLI_USAGE;
    struct producer *p = calloc(1, sizeof *p);
    char *buffer = malloc(PRODUCE_BUFFER_BYTES);
    int code = CLI_FAILED;
    if (p && buffer) {
        p->topic = topic[0];
        p->separator = separator;
        p->buffer = buffer;
        code = produce_into(p, config);
    } else {
        (void)cli_failed("%s", err_text(ERR_NO_MEMORY));
    }
    free(buffer);
    free(p);
    return code;
}
