/* subpay audit: the invariants of contract section 8, beside the running system. */
#include "audit/audit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/audit_accepted.h"
#include "cli/audit_journal.h"
#include "cli/cli.h"
#include "ledger/embedded.h"
#include "ledger/schema.h"

#define WHY_MAX 512
#define PATH_ROOM (CONFIG_TEXT + 16)
#define REPORT_MAX (1024 * 1024)

static enum err nothing_sent(struct db *db, bool *out)
{
    struct query q;
    query_open(&q, db, "SELECT 1 FROM attempts LIMIT 1");
    *out = !query_next(&q);
    return query_close(&q);
}

static int report_show(const struct audit_report *r, bool json)
{
    struct str text;
    str_init(&text, REPORT_MAX);
    if (json)
        audit_print_json(r, &text);
    else
        audit_print(r, &text);
    int code = text.failed ? cli_failed("audit: %s", err_text(ERR_NO_MEMORY)) : audit_exit_code(r);
    fputs(text.data, stdout);
    str_release(&text);
    return code;
}

static int store_audit(struct db *db, const struct config *config, bool json, const char *path)
{
    char why[WHY_MAX] = "";
    struct audit_journal journal = {.config = config};
    struct audit_accepted told = {.file = NULL};
    struct audit_report report;
    if (schema_check(db, why, sizeof why) != ERR_OK)
        return cli_usage("DATA_DIR=%s: %s", config->data_dir, why);
    struct journal_source source = audit_journal_source(&journal);
    struct accepted_source accepted = audit_accepted_source(&told);
    struct audit_inputs inputs = {.journal = &source, .topic = config->topic};
    enum err err = nothing_sent(db, &journal.nothing_sent);
    if (path != NULL) {
        inputs.accepted = &accepted;
        if ((told.file = fopen(path, "re")) == NULL)
            return cli_usage("--accepted %s: %s", path, strerror(errno));
    }
    if (err == ERR_OK)
        err = audit_all(db, &inputs, &report);
    if (told.file != NULL)
        (void)fclose(told.file);
    if (told.why[0] != '\0')
        return cli_usage("--accepted %s: %s", path, told.why);
    if (err != ERR_OK)
        return cli_failed("audit: %s: %s", err_text(err), db_why(db));
    return report_show(&report, json);
}

int cli_audit(int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--json"}, {.name = "--accepted", .takes_value = true}};
    struct config config;
    char path[PATH_ROOM], why[WHY_MAX] = "";
    struct db *db;
    int code;
    if (!cli_parse(argc, argv, options, 2, NULL, 0, NULL))
        return CLI_USAGE;
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    if (config.postgres)
        return cli_usage("DATABASE_URL: this program has no PostgreSQL store; unset it, or allowed "
                         "is the embedded file");
    embedded_path(config.data_dir, path, sizeof path);
    enum err err = db_open(&db, path, DB_READ, why, sizeof why);
    if (err == ERR_NOT_FOUND)
        return cli_failed("audit: DATA_DIR=%s: there is no subpay.db in it", config.data_dir);
    if (err != ERR_OK)
        return cli_failed("audit: %s: %s", path, why);
    code = store_audit(db, &config, options[0].given, options[1].value);
    db_close(db);
    return code;
}
