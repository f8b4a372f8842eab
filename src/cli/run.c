/* run: all services in one process. */
#include "base/process.h"
#include "base/str.h"
#include "cli/cli.h"
#include "queue/kafka.h"
#include "services/runner.h"

bool cli_accept_partitions(const struct cli_option *option, struct config *config)
{
    int64_t partitions = 0;

    if (option->given && !text_i64(option->value, 1, KAFKA_PARTITIONS_MAX, &partitions)) {
        (void)cli_usage("%s %s: allowed are 1 to %d", option->name, option->value,
                        KAFKA_PARTITIONS_MAX);
        return false;
    }
    config->accept_partitions = (int32_t)partitions;
    return true;
}

int cli_run(int argc, char **argv)
{
    struct cli_option accept = {.name = "--accept-partitions", .takes_value = true};
    struct config config;
    int code = CLI_DONE;

    if (!cli_parse(argc, argv, &accept, 1, NULL, 0, NULL))
        return CLI_USAGE;
    process_keep_private(); /* before any key is read */
    process_raise_files();
    if (!cli_load(&config, CONFIG_FOR_RUN, &code) || !cli_jwt_key(&config, true, &code))
        return code;
    if (!cli_accept_partitions(&accept, &config))
        return CLI_USAGE;
    return runner_run(&config, RUN_ALL);
}
