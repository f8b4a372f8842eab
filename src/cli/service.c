#include <string.h>

#include "base/process.h"
#include "cli/cli.h"
#include "services/runner.h"

/* subscription-app, saver, processor, notifier: each on its own wants a queue and a store that
 * processes share. */
int cli_service(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum runner_parts part;
    } SERVICES[] = {{"subscription-app", RUN_SUBSCRIPTION_APP},
                    {"saver", RUN_SAVER},
                    {"processor", RUN_PROCESSOR},
                    {"notifier", RUN_NOTIFIER}};
    struct cli_option accept = {.name = "--accept-partitions", .takes_value = true};
    struct config config;
    unsigned part = 0;
    int code;
    for (size_t i = 0; i < sizeof SERVICES / sizeof *SERVICES; i++)
        if (strcmp(argv[0], SERVICES[i].name) == 0)
            part = SERVICES[i].part;
    if (!cli_parse(argc, argv, &accept, part == RUN_SAVER, NULL, 0, NULL))
        return CLI_USAGE;
    process_keep_private(); /* before any key is read */
    process_raise_files();
    if (!cli_load(&config, CONFIG_FOR_SHOW, &code))
        return code;
    if (!config.kafka && !config.postgres)
        return cli_usage(
            "%s: KAFKA_HOST and DATABASE_URL are unset, and on embedded engines no service "
            "stands alone: allowed are run and processing",
            argv[0]);
    if (!cli_load(&config, CONFIG_FOR_SERVICE, &code))
        return code;
    if (!cli_accept_partitions(&accept, &config))
        return CLI_USAGE;
    return runner_run(&config, part);
}

int cli_processing(int argc, char **argv)
{
    struct config config;
    int code;
    if (!cli_parse(argc, argv, NULL, 0, NULL, 0, NULL))
        return CLI_USAGE;
    if (!cli_load(&config, CONFIG_FOR_PROCESSING, &code))
        return code;
    return runner_run(&config, RUN_PROCESSING);
}
