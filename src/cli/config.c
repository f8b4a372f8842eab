#include <stdio.h>

#include "base/str.h"
#include "cli/cli.h"

#define DOCUMENT_MAX_BYTES (256 * 1024)

/* --env-example and --markdown print the two documents that are generated from the table of
 * settings: .env.example and docs/configuration.md. */
int cli_config(int argc, char **argv)
{
    enum { ENV_EXAMPLE, MARKDOWN };
    struct cli_option options[] = {
        [ENV_EXAMPLE] = {.name = "--env-example"},
        [MARKDOWN] = {.name = "--markdown"},
    };
    int code = CLI_DONE;
    struct config config;
    struct str text;
    if (!cli_parse(argc, argv, options, 2, NULL, 0, NULL))
        return CLI_USAGE;
    str_init(&text, DOCUMENT_MAX_BYTES);
    if (options[ENV_EXAMPLE].given) {
        config_print_env_example(&text);
    } else if (options[MARKDOWN].given) {
        config_print_markdown(&text);
    } else {
        if (!cli_load(&config, CONFIG_FOR_SHOW, &code))
            return code;
        config_print(&config, &text);
    }
    if (text.failed)
        code = cli_failed("config: out of memory");
    else
        fputs(text.data, stdout);
    str_release(&text);
    return code;
}
