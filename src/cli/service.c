#include "cli/cli.h"
#include "services/runner.h"

/* subscription-app, saver, processor, notifier: each on its own wants a queue and a store that
 * processes share. */
int cli_service(int argc, char **argv)
{
    struct config config;
    int code;
    if (!cli_parse(argc, argv, NULL, 0, NULL, 0, NULL))
        return CLI_USAGE;
    if (!cli_load(&config, CONFIG_FOR_SHOW, &code))
        return code;
    if ((config.kafka || config.postgres) && !cli_load(&config, CONFIG_FOR_SERVICE, &code))
        return code;
    return cli_usage(
        "%s: KAFKA_HOST and DATABASE_URL are unset, and on embedded engines no service "
        "stands alone: allowed are run and processing",
        argv[0]);
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
