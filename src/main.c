/* subpay: one binary, a table of commands (contract section 3). */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage; /* behind the name, one line a form */
    const char *summary;
} COMMANDS[] = {
    {"run", cli_run, "", "all services in one process"},
    {"subscription-app", cli_service, "", "the HTTP API alone (Kafka and PostgreSQL)"},
    {"saver", cli_service, "", "stores requests from the queue, alone (Kafka and PostgreSQL)"},
    {"processor", cli_service, "", "decides and sends, alone (Kafka and PostgreSQL)"},
    {"processing", cli_processing, "", "the simulator of the payment processing alone"},
    {"notifier", cli_service, "", "tells users the outcome, alone (Kafka and PostgreSQL)"},
    {"migrate", cli_migrate,
     "upgrade [head|+N|REVISION]\ndowngrade -N|REVISION|base "
     "[--destroy-data]\ncurrent\nhistory\ncheck",
     "the schema of the store"},
    {"token", cli_token, "--user UUID [--role admin] [--ttl SECONDS]",
     "a token for the API, signed with the configured key"},
    {"topic", cli_topic,
     "list\ncreate TOPIC [--partitions N]\nproduce TOPIC [-K SEP]\n"
     "consume TOPIC [--from-beginning] [--max-messages N] [--timeout-ms N] [-K SEP]\n"
     "rewind TOPIC --beginning|--to N [--partition P]",
     "look at the queue, and write to it"},
    {"audit", cli_audit, "[--json]",
     "checks the invariants of the books, beside the running system"},
    {"config", cli_config, "", "what is configured, secrets masked, and where it came from"},
};
#define COMMAND_COUNT (sizeof COMMANDS / sizeof COMMANDS[0])

static void print_help(void)
{
    puts("subpay takes subscription payments.\n\nusage: subpay COMMAND [ARGUMENTS]\n\ncommands:");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-17s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    puts("\nsubpay COMMAND --help tells more, subpay --version says which one this is. Settings "
         "are environment\n"
         "variables, also read from .env in the working directory: see subpay config.");
}

static void print_usage(const struct command *c)
{
    printf("subpay %s: %s\n\n", c->name, c->summary);
    for (const char *form = c->usage;;) {
        size_t len = strcspn(form, "\n");
        printf("%s subpay %s%s%.*s\n", form == c->usage ? "usage:" : "      ", c->name,
               len > 0 ? " " : "", (int)len, form);
        if (form[len] == '\0')
            return;
        form += len + 1;
    }
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0)
            return true;
    return false;
}

static int refuse(const char *name)
{
    struct str names;
    str_init(&names, 1024);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        str_addf(&names, "%s, ", COMMANDS[i].name);
    str_add(&names, "--help and --version");
    int code = name ? cli_usage("unknown command %s: allowed are %s", name, names.data)
                    : cli_usage("a command is missing: allowed are %s", names.data);
    str_release(&names);
    return code;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2)
        return refuse(NULL);
    const char *name = argv[1];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(COMMANDS[i].name, name) != 0)
            continue;
        if (!asks_for_help(argc - 1, argv + 1))
            return COMMANDS[i].run(argc - 1, argv + 1);
        print_usage(&COMMANDS[i]);
        return CLI_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        print_help();
    else if (strcmp(name, "--version") == 0)
        printf("subpay %s\n", cli_version());
    else
        return refuse(name);
    return CLI_DONE;
}

int main(int argc, char **argv)
{
    if (!cli_start())
        return CLI_FAILED;
    return cli_finish(dispatch(argc, argv));
}
