/* subpay migrate: the schema of the store, on either engine. On SQLite upgrade and downgrade hold
 * the file's lock while they work; everything else reads beside running processes. */
#include "cli/migrate.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define USAGE                                                                                      \
    "allowed are upgrade [head|+N|REVISION], downgrade -N|REVISION|base [--destroy-data], "        \
    "current, history, check, revision -m MESSAGE [--autogenerate]"

enum verb { UPGRADE, DOWNGRADE, CURRENT, HISTORY, CHECK, REVISION, VERBS };
static const char *const VERB_NAMES[VERBS] = {"upgrade", "downgrade", "current",
                                              "history", "check",     "revision"};

struct migrate_call {
    enum verb verb;
    const char *target; /* NULL: the default of the verb */
    bool destroy_data, autogenerate;
    const char *message;
};

/* False after it printed the line. */
static bool migrate_parse(int argc, char **argv, struct migrate_call *out)
{
    struct cli_option options[] = {{.name = "--destroy-data"},
                                   {.name = "-m", .takes_value = true},
                                   {.name = "--autogenerate"}};
    const char *rest[2] = {NULL};
    int count = 0;
    *out = (struct migrate_call){0};
    if (!cli_parse(argc, argv, options, 3, rest, 2, &count))
        return false;
    while (rest[0] && out->verb < VERBS && strcmp(rest[0], VERB_NAMES[out->verb]) != 0)
        out->verb++;
    enum verb verb = out->verb;
    out->target = rest[1];
    out->destroy_data = options[0].given;
    out->message = options[1].value;
    out->autogenerate = options[2].given;
    if (!rest[0])
        cli_usage("migrate wants a command: " USAGE);
    else if (verb == VERBS || (out->target && verb != UPGRADE && verb != DOWNGRADE))
        cli_usage("migrate %s%s%s: " USAGE, rest[0], out->target ? " " : "",
                  out->target ? out->target : "");
    else if ((out->destroy_data && verb != DOWNGRADE) || (out->message && verb != REVISION) ||
             (out->autogenerate && verb != REVISION))
        cli_usage("migrate %s %s: " USAGE, rest[0],
                  out->destroy_data   ? "--destroy-data"
                  : out->autogenerate ? "--autogenerate"
                                      : "-m");
    else if (verb == DOWNGRADE && !out->target)
        cli_usage("migrate downgrade: a target is missing, allowed are -N, REVISION, base");
    else if (verb == REVISION && !out->message)
        cli_usage("migrate revision: a message is missing, allowed is -m MESSAGE");
    else
        return true;
    return false;
}

int migrate_fails(enum err err, const char *why)
{
    if (err == ERR_NOT_FOUND)
        return cli_usage("%s; allowed are those of `subpay migrate history`", why);
    return cli_failed("%s", why);
}

static enum err check(const struct migrations *m, struct db *db, struct str *report, char *why,
                      size_t why_cap)
{
    enum err err = migrations_check(m, db, why, why_cap);
    if (err == ERR_OK)
        err = migrations_differences(m, db, report, why, why_cap);
    if (err == ERR_OK && report->len > 0) {
        snprintf(why, why_cap, "the database differs from the declared schema");
        err = ERR_VERSION;
    }
    return err;
}

static enum err migrate_do(const struct migrate_call *call, const struct migrations *m,
                           struct db *db, struct str *report, char *why, size_t why_cap)
{
    enum err err;
    switch (call->verb) {
    case UPGRADE:
        return migrations_upgrade(m, db, call->target ? call->target : "head", report, why,
                                  why_cap);
    case DOWNGRADE:
        return migrations_downgrade(m, db, call->target, call->destroy_data, report, why, why_cap);
    case CHECK:
        return check(m, db, report, why, why_cap);
    case CURRENT:
        err = migrations_current(m, db, report);
        break;
    default:
        err = migrations_history(m, db, report);
    }
    if (err != ERR_OK)
        snprintf(why, why_cap, "%s", db_why(db));
    return err;
}

static int migrate_store(const struct migrate_call *call, const struct migrations *m,
                         const struct config *config)
{
    char why[MIGRATE_WHY_MAX] = "";
    struct migrate_store store;
    struct str report;
    int code;
    if (!migrate_store_open(&store, config, call->verb == UPGRADE || call->verb == DOWNGRADE,
                            &code))
        return code;
    str_init(&report, MIGRATE_REPORT_MAX);
    enum err err = migrate_do(call, m, store.db, &report, why, sizeof why);
    migrate_store_close(&store);
    fputs(report.data, stdout);
    if (err == ERR_OK && report.len == 0 && call->verb == CURRENT)
        cli_note("no revision: the database is empty, `subpay migrate upgrade` makes the tables");
    str_release(&report);
    return err == ERR_OK ? CLI_DONE : migrate_fails(err, why);
}

int cli_migrate(int argc, char **argv)
{
    struct config config;
    struct migrate_call call;
    struct migrate_list list;
    int code;
    if (!migrate_parse(argc, argv, &call))
        return CLI_USAGE;
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    if (!migrate_list_open(&list, &config, call.verb == REVISION, &code))
        return code;
    code = call.verb == REVISION ? migrate_revision(&list, &config, call.message, call.autogenerate)
                                 : migrate_store(&call, list.migrations, &config);
    migrate_list_close(&list);
    return code;
}
