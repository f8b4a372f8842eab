/* run: all services in one process. */
#include "base/process.h"
#include "cli/cli.h"
#include "services/runner.h"

int cli_run(int argc, char **argv)
{
    struct config config;
    int code = CLI_DONE;

    if (!cli_parse(argc, argv, NULL, 0, NULL, 0, NULL))
        return CLI_USAGE;
    process_keep_private(); /* before any key is read */
    process_raise_files();
    if (!cli_load(&config, CONFIG_FOR_RUN, &code) || !cli_jwt_key(&config, true, &code))
        return code;
    return runner_run(&config, RUN_ALL);
}
