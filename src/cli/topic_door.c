#include "cli/topic_door.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/control_door.h"
#include "cli/store.h"
#include "cli/topic_kafka.h"

#define PATH_BYTES 4096

/* ---- reading ---- */

bool topic_reader_open(struct topic_reader *r, const struct config *config, int *code)
{
    char path[PATH_BYTES], why[256] = "";
    *r = (struct topic_reader){.config = config};
    if (config->kafka) /* the store is opened when a position is asked for: topics do not want it */
        return topic_kafka_open(config, &r->kafka, &r->queue, code);
    embedded_path(config->data_dir, path, sizeof path);
    enum err err = db_open(&r->db, path, DB_READ, why, sizeof why);
    if (err == ERR_OK)
        err = local_queue_open(&r->queue, NULL, r->db);
    if (err == ERR_OK)
        return true;
    if (err == ERR_NOT_FOUND)
        *code = cli_failed("DATA_DIR=%s has no queue yet: `subpay run` or `subpay topic create` "
                           "makes it",
                           config->data_dir);
    else
        *code = cli_failed("%s: %s", path, why_or(why, err));
    topic_reader_close(r);
    return false;
}

void topic_reader_close(struct topic_reader *r)
{
    queue_close(r->queue);
    kafka_close(r->kafka);
    db_close(r->db);
    *r = (struct topic_reader){0};
}

static void say_unknown(const char *topic, const struct queue_topic *topics, size_t count)
{
    struct str names;
    str_init(&names, 4096);
    for (size_t i = 0; i < count && !names.failed; i++)
        str_addf(&names, "%s%s", i > 0 ? ", " : "", topics[i].topic);
    if (count > 0)
        (void)cli_failed("there is no topic %s; there are: %s", topic, names.data);
    else
        (void)cli_failed("there is no topic %s; there are none yet", topic);
    str_release(&names);
}

bool topic_reader_knows(struct topic_reader *r, const char *topic)
{
    struct arena arena;
    struct queue_topic *topics = NULL;
    size_t count = 0;
    bool known = false;
    arena_init(&arena, TOPICS_BYTES_MAX);
    enum err err = queue_topics(r->queue, &arena, &topics, &count);
    for (size_t i = 0; i < count && !known; i++)
        known = strcmp(topics[i].topic, topic) == 0;
    if (err != ERR_OK)
        (void)cli_failed("reading the topics: %s", why_or(queue_why(r->queue), err));
    else if (!known)
        say_unknown(topic, topics, count);
    arena_release(&arena);
    return known;
}

int topic_reader_position(struct topic_reader *r, const char *topic, int32_t partition,
                          int64_t *next)
{
    struct query q;
    int code = CLI_DONE;
    *next = -1;
    if (!r->db && !r->config->postgres)
        return CLI_DONE;
    if (!r->db && !store_reader("topic", r->config, 0, &r->db, &code))
        return code;
    query_open(&q, r->db, "SELECT next FROM positions WHERE topic = ?1 AND partition = ?2");
    query_bind_text(&q, topic);
    query_bind_i64(&q, partition);
    int64_t found = query_next(&q) ? query_i64(&q, 0) : 0;
    enum err err = query_close(&q);
    if (err != ERR_OK)
        return cli_failed("topic: %s", why_or(db_why(r->db), err));
    *next = found;
    return CLI_DONE;
}

const char *why_or(const char *why, enum err err)
{
    return why && *why ? why : err_text(err);
}

/* ---- writing: the file itself ---- */

static void own_close(struct door *d)
{
    ledger_close(d->ledger);
    queue_close(d->queue);
    if (d->reader)
        embedded_reader_close(d->embedded, d->reader);
    local_queue_hub_close(d->hub);
    embedded_close(d->embedded);
    d->ledger = NULL;
    d->queue = NULL;
    d->reader = NULL;
    d->hub = NULL;
    d->embedded = NULL;
}

/* A file that was made just now comes with the topics of the configuration, as when `run` makes it. */
static enum err own_first_topics(struct door *d)
{
    struct arena arena;
    struct queue_topic *topics = NULL;
    size_t count = 0;
    arena_init(&arena, TOPICS_BYTES_MAX);
    enum err err = queue_topics(d->queue, &arena, &topics, &count);
    arena_release(&arena);
    if (err != ERR_OK || count > 0)
        return err;
    char rejected[QUEUE_TOPIC_MAX + 1];
    int len = snprintf(rejected, sizeof rejected, "%s.rejected", d->config->topic);
    err = queue_create(d->queue, d->config->topic, 1);
    if (err == ERR_OK && len > 0 && (size_t)len < sizeof rejected)
        err = queue_create(d->queue, rejected, 1);
    return err;
}

/* ERR_LOCKED: somebody else holds it. */
static enum err own_open(struct door *d)
{
    d->why[0] = '\0';
    enum err err = embedded_open(&d->embedded, d->config->data_dir, clock_real(), random_real(),
                                 d->why, sizeof d->why);
    if (err != ERR_OK) {
        d->embedded = NULL;
        return err;
    }
    err = embedded_reader(d->embedded, &d->reader);
    if (err == ERR_OK)
        err = local_queue_hub_open(&d->hub, embedded_writer(d->embedded), clock_real(),
                                   random_real());
    if (err == ERR_OK)
        err = local_queue_open(&d->queue, d->hub, d->reader);
    if (err == ERR_OK)
        err = embedded_ledger(d->embedded, &d->ledger);
    if (err == ERR_OK)
        err = own_first_topics(d);
    if (err != ERR_OK) {
        (void)snprintf(d->why, sizeof d->why, "%s", err_text(err));
        own_close(d);
    }
    return err;
}

static enum err own_failed(struct door *d, enum err err, const char *why)
{
    if (err != ERR_OK)
        (void)snprintf(d->why, sizeof d->why, "%s", why_or(why, err));
    return err;
}

static enum err own_rewind(struct door *d, const char *topic, int32_t partition, int64_t to)
{
    struct queue_log log;
    enum err err = queue_log(d->queue, topic, partition, &log);
    if (err != ERR_OK)
        return own_failed(d, err, queue_why(d->queue));
    int64_t next = to == DOOR_BEGINNING ? log.first : to;
    if (next < log.first || next > log.next) {
        (void)snprintf(d->why, sizeof d->why,
                       "to: the log begins at %lld and its next record will be %lld",
                       (long long)log.first, (long long)log.next);
        return ERR_INVALID;
    }
    return own_failed(d, ledger_rewind(d->ledger, topic, partition, next), ledger_why(d->ledger));
}

/* ---- writing: the cluster ---- */

/* Opened when a position is to be moved; records and topics do not concern the store. */
static enum err cluster_ledger(struct door *d)
{
    const struct postgres_settings settings = {.url = d->config->database_url};
    enum err err = ERR_INVALID;
    if (!d->config->postgres)
        (void)snprintf(d->why, sizeof d->why,
                       "the saver's position is in the store: DATABASE_URL is unset");
    else
        err = postgres_open(&d->store, &settings, random_real(), d->why, sizeof d->why);
    return err == ERR_OK ? postgres_ledger(d->store, &d->ledger) : err;
}

static enum err cluster_rewind(struct door *d, const char *topic, int32_t partition, int64_t to)
{
    enum err err = d->ledger ? ERR_OK : cluster_ledger(d);
    return err == ERR_OK ? own_rewind(d, topic, partition, to) : err;
}

static void cluster_close(struct door *d)
{
    ledger_close(d->ledger);
    postgres_close(d->store);
    queue_close(d->queue);
    kafka_close(d->kafka);
}

/* ---- writing: through the process that holds the file ---- */

struct request_out {
    const char *method, *topic, *behind; /* path: /topics/TOPIC/behind */
    const char *type;
    const struct str *body;
};

static enum err own_open_for(void *ctx)
{
    return own_open(ctx);
}

/* *ours: the holder has gone, and the file is ours now. */
static enum err remote_until_answered(struct door *d, const struct request_out *r, bool *ours)
{
    char path[QUEUE_TOPIC_MAX + 64];
    struct control_reply reply;
    (void)snprintf(path, sizeof path, "/topics/%s%s", r->topic, r->behind);
    const struct control_request request = {
        .method = r->method, .path = path, .type = r->type, .body = r->body};
    enum err err = control_reach(d->config, &request, own_open_for, d, ours, &reply);
    if (reply.why[0] != '\0')
        (void)text_copy(d->why, sizeof d->why, reply.why);
    return err;
}

bool door_open(struct door *d, const struct config *config, int *code)
{
    *d = (struct door){.config = config};
    if (config->kafka)
        return topic_kafka_open(config, &d->kafka, &d->queue, code);
    if (embedded_holder(config->data_dir) != 0)
        return true;
    enum err err = own_open(d);
    if (err == ERR_OK || err == ERR_LOCKED)
        return true;
    *code = cli_failed("DATA_DIR=%s: %s", config->data_dir, why_or(d->why, err));
    return false;
}

void door_close(struct door *d)
{
    if (d->kafka)
        cluster_close(d);
    if (d->embedded)
        own_close(d);
}

enum err door_append(struct door *d, const struct queue_message *messages, size_t count)
{
    bool ours = d->embedded != NULL;
    enum err err = ERR_OK;
    if (d->kafka)
        return own_failed(d, topic_kafka_append(d->queue, messages, count), queue_why(d->queue));
    if (!ours) {
        struct str body;
        str_init(&body, CONTROL_BODY_MAX);
        for (size_t i = 0; i < count; i++)
            control_frame_add(&body, &messages[i]);
        const struct request_out r = {"POST", messages[0].topic, "/records",
                                      "application/octet-stream", &body};
        err = remote_until_answered(d, &r, &ours);
        str_release(&body);
    }
    if (!ours || err != ERR_OK)
        return err;
    err = local_queue_append(d->queue, messages, count);
    return own_failed(d, err == ERR_CORRUPT ? ERR_IO : err, queue_why(d->queue));
}

enum err door_create(struct door *d, const char *topic, int32_t partitions)
{
    bool ours = d->embedded != NULL || d->kafka != NULL;
    enum err err = ERR_OK;
    if (!ours) {
        struct str body;
        str_init(&body, 256);
        json_open(&body, '{');
        json_put_i64(&body, "partitions", partitions);
        json_close(&body, '}');
        const struct request_out r = {"PUT", topic, "", "application/json", &body};
        err = remote_until_answered(d, &r, &ours);
        str_release(&body);
    }
    if (!ours || err != ERR_OK)
        return err;
    return own_failed(d, queue_create(d->queue, topic, partitions), queue_why(d->queue));
}

enum err door_rewind(struct door *d, const char *topic, int32_t partition, int64_t to)
{
    bool ours = d->embedded != NULL;
    enum err err = ERR_OK;
    if (d->kafka)
        return cluster_rewind(d, topic, partition, to);
    if (!ours) {
        struct str body;
        str_init(&body, 256);
        json_open(&body, '{');
        json_put_i64(&body, "partition", partition);
        if (to == DOOR_BEGINNING)
            json_put_text(&body, "to", "beginning");
        else
            json_put_i64(&body, "to", to);
        json_close(&body, '}');
        const struct request_out r = {"POST", topic, "/rewind", "application/json", &body};
        err = remote_until_answered(d, &r, &ours);
        str_release(&body);
    }
    if (!ours || err != ERR_OK)
        return err;
    return own_rewind(d, topic, partition, to);
}
