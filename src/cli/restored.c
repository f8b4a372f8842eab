/* subpay restored: the store was restored from a backup, and the processing has no journal that could tell what
 * happened since (rule 11): every new payment is asked about before it is decided. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/control_door.h"
#include "cli/topic_door.h"
#include "cli/topic_kafka.h"

struct restored {
    const struct config *config;
    int64_t marked;
};

/* What is in Kafka now may have been sent by the lost books: every partition up to its end. */
static int mark_partitions(const struct config *config, struct queue *queue, struct ledger *ledger)
{
    struct queue_log log = {.partitions = 1};
    for (int32_t partition = 0; partition < log.partitions; partition++) {
        enum err err = queue_log(queue, config->topic, partition, &log);
        if (err != ERR_OK)
            return cli_failed("restored: %s: %s", config->topic, why_or(queue_why(queue), err));
        err = ledger_mark_queued(ledger, config->topic, partition, log.next);
        if (err != ERR_OK)
            return cli_failed("restored: %s", why_or(ledger_why(ledger), err));
    }
    return CLI_DONE;
}

static int mark_cluster(const struct config *config, struct ledger *ledger)
{
    struct kafka *kafka;
    struct queue *queue;
    int code = CLI_DONE;
    if (!topic_kafka_open(config, &kafka, &queue, &code))
        return code;
    code = mark_partitions(config, queue, ledger);
    queue_close(queue);
    kafka_close(kafka);
    return code;
}

static int restored_alone(void *ctx, struct own_store *store)
{
    struct restored *r = ctx;
    int code = store->postgres ? mark_cluster(r->config, store->ledger) : CLI_DONE;
    if (code != CLI_DONE)
        return code;
    enum err err = ledger_mark_restored(store->ledger, &r->marked);
    return err == ERR_OK ? CLI_DONE
                         : cli_failed("restored: %s: %s", err_text(err), ledger_why(store->ledger));
}

int cli_restored(int argc, char **argv)
{
    struct config config;
    char actor[OPERATOR_MAX];
    struct restored r = {.config = &config};
    int code;
    if (!cli_parse(argc, argv, NULL, 0, NULL, 0, NULL))
        return CLI_USAGE;
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    if (config.postgres && !config.kafka)
        return cli_usage(
            "restored: KAFKA_HOST and KAFKA_BROKERS are unset: what is in the queue has to be "
            "marked, too: allowed is the broker of these services");
    struct str body;
    str_init(&body, 64);
    str_add(&body, "{}");
    operator_name(actor);
    const struct control_request request = {.method = "POST",
                                            .path = "/restored",
                                            .type = "application/json",
                                            .body = &body,
                                            .actor = actor};
    code = store_command("restored", &config, &request, restored_alone, &r, &r.marked);
    str_release(&body);
    if (code == CLI_DONE)
        printf("%lld new payments will be asked about before they are decided, and so will what is "
               "in the queue now\n",
               (long long)r.marked);
    return code;
}
