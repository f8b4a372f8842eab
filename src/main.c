/* subpay: one binary, a table of commands (contract section 3). */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "sim/prove.h"

#define ALONE                                                                                      \
    "Wants KAFKA_BROKERS (or KAFKA_HOST) and DATABASE_URL (or POSTGRES_HOST); any number of "      \
    "processes.\nOn the embedded engines take `subpay run`."

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage; /* behind the name, one line a form */
    const char *summary;
    const char *details; /* what each form does, and defaults; lines */
} COMMANDS[] = {
    {"run", cli_run, "[--accept-partitions N]", "all services in one process",
     "Makes DATA_DIR and its database where there is none, listens on SUBSCRIPTION_APP_LISTEN and\n"
     "OPS_LISTEN, and in dev without PROCESSOR starts the simulator on PROCESSING_LISTEN. Prints "
     "where\n"
     "things are, then \"subpay is ready\". SIGTERM or SIGINT: calls in flight get 5 s, exit 0."},
    {"subscription-app", cli_service, "", "the HTTP API on Kafka and PostgreSQL", ALONE},
    {"saver", cli_service, "[--accept-partitions N]",
     "stores requests from the queue, on Kafka and PostgreSQL",
     ALONE "\n--accept-partitions N  reads on although the topic has N partitions by now"},
    {"processor", cli_service, "", "decides and sends, on Kafka and PostgreSQL", ALONE},
    {"processing", cli_processing, "", "the simulator of the payment processing alone",
     "Listens on PROCESSING_LISTEN; its journal is in DATA_DIR. PROCESSING_OUTCOMES, _LATENCY_MS,\n"
     "_FAULTS and _SEED say how it behaves. Refused in prod."},
    {"notifier", cli_service, "", "tells users the outcome, on Kafka and PostgreSQL", ALONE},
    {"migrate", cli_migrate,
     "upgrade [head|+N|REVISION]\ndowngrade -N|REVISION|base [--destroy-data]\ncurrent\nhistory\n"
     "check\nrevision -m MESSAGE [--autogenerate]",
     "the schema of the store",
     "upgrade    to the last revision (head, the default), N further, or to REVISION, a name or "
     "number\n"
     "downgrade  N back, to REVISION, or to nothing (base); one that would delete rows wants\n"
     "           --destroy-data\n"
     "current    the revision of the database; nothing when it is empty\n"
     "history    all revisions, and when each was applied\n"
     "check      exit 1 when the database is behind, or differs from the declared schema\n"
     "revision   writes the two files of the next revision, empty, or with --autogenerate what "
     "makes the\n"
     "           database as it is declared; into MIGRATIONS_DIR, in a checkout into the project\n"
     "PostgreSQL where DATABASE_URL or POSTGRES_HOST is set, else the file in DATA_DIR, which\n"
     "`subpay run` upgrades by itself, and which upgrade and downgrade want for themselves. With\n"
     "MIGRATIONS_DIR the revisions are those of that directory."},
    {"token", cli_token, "--user UUID [--role admin] [--ttl SECONDS]",
     "a token for the API, signed with the configured key",
     "--user  whose token; --role admin puts the role into it\n"
     "--ttl   how long it is valid: 3600 s (an hour) by default, a year at most\n"
     "Without JWT_SECRET_KEY, in dev, the key is DATA_DIR/jwt.key, and is made where there is "
     "none."},
    {"topic", cli_topic,
     "list [--long]\ncreate TOPIC [--partitions N]\nproduce TOPIC [-K SEP]\n"
     "consume TOPIC [--from-beginning] [--max-messages N] [--timeout-ms N] [-K SEP]\n"
     "rewind TOPIC --beginning|--to N [--partition P]\ncheck TOPIC\n"
     "put-back TOPIC.rejected --partition P --offset N",
     "look at the queue, and write to it",
     "list     the topics, one a line; --long: name, records kept, offset of the next record, "
     "offset\n"
     "         up to which the saver has read, partition, with TABs between\n"
     "create   makes a topic; nothing happens when it is there. The embedded queue has 1 "
     "partition;\n"
     "         on Kafka it has 8, and with that of the configuration comes TOPIC.rejected\n"
     "produce  one record a line of standard input; with -K SEP a key before SEP, without it no "
     "key\n"
     "consume  prints key, TAB (-K: SEP instead), value, a line a record. It begins with what "
     "comes\n"
     "         now, or --from-beginning, and follows until it is stopped, --max-messages N were\n"
     "         printed, nothing came for --timeout-ms N, or nobody reads the output. It moves "
     "nobody's\n"
     "         position\n"
     "rewind   moves the saver's position, of all partitions or of one: to the oldest record "
     "kept, or\n"
     "         to offset N. It reads from there again; what is stored already is not stored "
     "twice, and\n"
     "         nothing is paid twice. Prints TOPIC: FROM -> TO\n"
     "check    prints what the topic promises; exit 1 when requests are not safe in it\n"
     "put-back publishes a rejected record again, to the topic that it came from\n"
     "SEP may be \\t. All work beside a running process; on the embedded queue produce, create, "
     "rewind\n"
     "and put-back go through it."},
    {"price", cli_price, "list [--date DATE]\nadd TYPE COST CURRENCY DATE\ndelete TYPE DATE",
     "the prices: COST in minor units, in force from DATE (UTC) on",
     "list    the prices in force today or on DATE, and those to come\n"
     "add     a price from DATE on, tomorrow at the earliest; COST in minor units: 39900 is "
     "399.00\n"
     "delete  one that is not yet in force\n"
     "TYPE is month, three_months or year; DATE is YYYY-MM-DD."},
    {"decide", cli_decide, "PAYMENT --outcome accepted|decline|error --evidence TEXT",
     "ends a payment that shows needs_decision",
     "Only for a payment that shows needs_decision. TEXT says how it is known, and is recorded "
     "with\n"
     "your login. Before decline or error the processing is asked to void the payment."},
    {"backup", cli_backup, "PATH", "a consistent copy of the embedded file, also while it runs",
     "PATH must not be there yet. The copy holds store and queue; the simulator's journal and the\n"
     "mail are files of their own."},
    {"copy", cli_copy, "FROM TO [--drain]",
     "the books of an embedded file into an empty PostgreSQL",
     "FROM     a DATA_DIR, or the path of its subpay.db\n"
     "TO       postgresql://…, a database that `subpay migrate upgrade` has made and nobody used\n"
     "--drain  beside a running process: waits until the queue is read and nothing is in\n"
     "         processing, says so, and copies when that process has been ended\n"
     "Refused while a process works on FROM, the queue has unread records, or a payment is in\n"
     "processing. One transaction, compared in it before it counts. The queue stays behind."},
    {"restored", cli_restored, "",
     "after a restore, where the processing has no journal: ask before deciding",
     "Marks the store: every payment that is new is asked about before it is decided."},
    {"audit", cli_audit, "[--json] [--accepted FILE]",
     "checks the invariants of the books, beside the running system",
     "Prints, an invariant a line, its id, ok, broken or not checked, how many were checked, and "
     "the\n"
     "first offenders; --json: the same as one object. --accepted: a file of payment ids, one a "
     "line,\n"
     "that clients were told: each must be queued or stored. Reads the processing's journal from\n"
     "PROCESSOR, or the simulator's file in DATA_DIR. Nothing is changed.\n"
     "Exit: 0 the books are right, 1 an invariant is broken, 3 something could not be checked."},
    {"prove", prove_command, "[--bound N] [--world NAME]",
     "the rules of money, looked at in every case of a small world",
     "Explores every order of every step of one user, up to four requests, two processors and a\n"
     "restore, with the decisions of this very binary; of a violation it prints the shortest "
     "story.\n"
     "--bound  1 to 4; the default of 2 takes seconds, 4 takes half an hour and 6 GB of memory\n"
     "--world  only one kind of processing and log; an unknown NAME prints which there are\n"
     "Exit: 0 all worlds are as they should be, 1 one is not."},
    {"config", cli_config, "[--env-example|--markdown]",
     "what is configured, secrets masked, and where it came from",
     "Every setting as NAME=value # where it came from: environment, .env or default.\n"
     "--env-example  prints the file .env.example instead\n"
     "--markdown     prints the document docs/configuration.md instead"},
};
#define COMMAND_COUNT (sizeof COMMANDS / sizeof COMMANDS[0])

static void print_help(void)
{
    puts("subpay takes subscription payments.\n\nusage: subpay COMMAND [ARGUMENTS]\n\ncommands:");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-17s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    puts(
        "\nsubpay COMMAND --help (or subpay help COMMAND) tells more, subpay --version says which\n"
        "one this is. Settings are environment variables, also read from .env in the working\n"
        "directory: see subpay config.");
}

static void print_usage(const struct command *c)
{
    printf("subpay %s: %s\n\n", c->name, c->summary);
    for (const char *form = c->usage;;) {
        size_t len = strcspn(form, "\n");
        printf("%s subpay %s%s%.*s\n", form == c->usage ? "usage:" : "      ", c->name,
               len > 0 ? " " : "", (int)len, form);
        if (form[len] == '\0')
            break;
        form += len + 1;
    }
    printf("\n%s\n", c->details);
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
    str_add(&names, "help, --help and --version");
    int code = name ? cli_usage("unknown command %s: allowed are %s", name, names.data)
                    : cli_usage("a command is missing: allowed are %s", names.data);
    str_release(&names);
    return code;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2)
        return refuse(NULL);
    bool help = strcmp(argv[1], "help") == 0; /* alone, or of a command */
    const char *name = help ? (argc > 2 ? argv[2] : "--help") : argv[1];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(COMMANDS[i].name, name) != 0)
            continue;
        if (!help && !asks_for_help(argc - 1, argv + 1))
            return COMMANDS[i].run(argc - 1, argv + 1);
        print_usage(&COMMANDS[i]);
        return CLI_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
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
