/* The embedded engines: DATA_DIR/subpay.db holds store and queue. */
#include <stdio.h>
#include <stdlib.h>

#include "ledger/embedded.h"
#include "queue/local.h"
#include "services/engines.h"

#define READERS_MAX 8 /* queue handles of a process */
#define REJECTED_SUFFIX ".rejected"

struct embedded_engines {
    struct engines engines;
    struct embedded *store;
    struct local_queue_hub *hub;
    struct db *readers[READERS_MAX];
    size_t reader_count;
    struct ledger *looking; /* at what is owed */
};

static struct embedded_engines *self(struct engines *e)
{
    return (struct embedded_engines *)e;
}

static enum err embedded_engines_ledger(struct engines *e, struct ledger **out)
{
    return embedded_ledger(self(e)->store, out);
}

static enum err embedded_engines_views(struct engines *e, struct views **out)
{
    return embedded_views(self(e)->store, out);
}

static enum err embedded_engines_queue(struct engines *engines, struct queue **out)
{
    struct embedded_engines *e = self(engines);
    struct db *reader;
    if (e->reader_count == READERS_MAX)
        return ERR_BUSY;
    enum err err = embedded_reader(e->store, &reader);
    if (err != ERR_OK)
        return err;
    e->readers[e->reader_count++] = reader;
    return local_queue_open(out, e->hub, reader);
}

static void embedded_engines_run(struct engines *e)
{
    writer_run(embedded_writer(self(e)->store));
}

static void embedded_engines_stop(struct engines *e)
{
    writer_stop(embedded_writer(self(e)->store));
}

/* The file is here, and a stop of its writer answers who waits. */
static void embedded_engines_hurry(struct engines *e, int64_t boot_us)
{
    (void)e;
    (void)boot_us;
}

/* The file is here: a look at it does not wait for anybody. */
static bool embedded_engines_away(struct engines *engines, char *why, size_t why_cap)
{
    struct embedded_engines *e = self(engines);
    struct ledger_counts counts;
    if (ledger_counts(e->looking, &counts) == ERR_OK)
        return false;
    (void)snprintf(why, why_cap, "%s", ledger_why(e->looking));
    return true;
}

static void embedded_engines_close(struct engines *engines)
{
    struct embedded_engines *e = self(engines);
    ledger_close(e->looking);
    local_queue_hub_close(e->hub);
    for (size_t i = 0; i < e->reader_count; i++)
        embedded_reader_close(e->store, e->readers[i]);
    embedded_close(e->store);
    free(e);
}

static const struct engines_ops EMBEDDED_OPS = {
    .ledger = embedded_engines_ledger,
    .views = embedded_engines_views,
    .queue = embedded_engines_queue,
    .run = embedded_engines_run,
    .stop = embedded_engines_stop,
    .hurry = embedded_engines_hurry,
    .away = embedded_engines_away,
    .close = embedded_engines_close,
};

static enum err create_topics(struct embedded_engines *e, const char *topic)
{
    char rejected[QUEUE_TOPIC_MAX + sizeof REJECTED_SUFFIX];
    struct queue *queue = NULL;
    enum err err = embedded_engines_queue(&e->engines, &queue);

    (void)snprintf(rejected, sizeof rejected, "%.*s" REJECTED_SUFFIX, QUEUE_TOPIC_MAX, topic);
    if (err == ERR_OK)
        err = queue_create(queue, topic, 1);
    if (err == ERR_OK)
        err = queue_create(queue, rejected, 1);
    queue_close(queue);
    return err;
}

enum err engines_embedded_open(struct engines **out, const struct config *config,
                               const struct env *env, char *why, size_t why_cap)
{
    char text[512] = "";
    struct embedded_engines *e = calloc(1, sizeof *e);
    if (!e) {
        (void)snprintf(why, why_cap, "%s", err_text(ERR_NO_MEMORY));
        return ERR_NO_MEMORY;
    }
    e->engines = (struct engines){&EMBEDDED_OPS, true};
    enum err err =
        embedded_open(&e->store, config->data_dir, env->clock, env->random, text, sizeof text);
    if (err == ERR_OK)
        err = local_queue_hub_open(&e->hub, embedded_writer(e->store), env->clock, env->random);
    if (err == ERR_OK)
        err = create_topics(e, config->topic);
    if (err == ERR_OK)
        err = embedded_ledger(e->store, &e->looking);
    if (err == ERR_OK) {
        *out = &e->engines;
        return ERR_OK;
    }
    (void)snprintf(why, why_cap, "DATA_DIR=%s: %s", config->data_dir,
                   text[0] != '\0' ? text : err_text(err));
    embedded_engines_close(&e->engines);
    return err;
}
