/* subpay audit: the invariants of contract section 8, beside the running system. */
#include "audit/audit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/audit_accepted.h"
#include "cli/audit_journal.h"
#include "cli/audit_log.h"
#include "cli/cli.h"
#include "cli/store.h"

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

struct told {
    const char *path; /* NULL: not asked for */
    struct audit_accepted accepted;
};

static int books_audit(struct db *db, const struct config *config, bool json, struct told *told,
                       const struct log_source *log)
{
    struct audit_journal journal = {.config = config};
    struct audit_report report;
    struct journal_source source = audit_journal_source(&journal);
    struct accepted_source accepted = audit_accepted_source(&told->accepted);
    const struct audit_inputs inputs = {.journal = &source,
                                        .accepted = told->path != NULL ? &accepted : NULL,
                                        .log = log,
                                        .topic = config->topic};
    enum err err = nothing_sent(db, &journal.nothing_sent);
    if (err == ERR_OK)
        err = audit_all(db, &inputs, &report);
    if (told->accepted.why[0] != '\0')
        return cli_usage("--accepted %s: %s", told->path, told->accepted.why);
    if (err != ERR_OK)
        return cli_failed("audit: %s: %s", err_text(err), db_why(db));
    return report_show(&report, json);
}

/* Of another process there is the queue as well; the embedded one is in the file. */
static int postgres_audit(struct db *db, const struct config *config, bool json, struct told *told)
{
    struct audit_log log;
    int code;
    if (db_pooled(db))
        return cli_usage("DATABASE_URL: audit keeps temporary tables, and behind a pooler of "
                         "transactions there are none; allowed is the server itself");
    if (!audit_log_open(&log, config, db, &code))
        return code;
    struct log_source source = audit_log_source(&log);
    code = books_audit(db, config, json, told, &source);
    audit_log_close(&log);
    return code;
}

static int store_audit(struct db *db, const struct config *config, bool json, const char *path)
{
    struct told told = {.path = path};
    if (path != NULL && (told.accepted.file = fopen(path, "re")) == NULL)
        return cli_usage("--accepted %s: %s", path, strerror(errno));
    int code = config->postgres ? postgres_audit(db, config, json, &told)
                                : books_audit(db, config, json, &told, NULL);
    if (told.accepted.file != NULL)
        (void)fclose(told.accepted.file);
    return code;
}

int cli_audit(int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--json"}, {.name = "--accepted", .takes_value = true}};
    struct config config;
    struct db *db;
    int code;
    if (!cli_parse(argc, argv, options, 2, NULL, 0, NULL))
        return CLI_USAGE;
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    if (!store_reader("audit", &config, STORE_LONG_MS, &db, &code))
        return code == CLI_FAILED ? CLI_NOT_CHECKED : code; /* CLI_FAILED: an invariant is broken */
    code = store_audit(db, &config, options[0].given, options[1].value);
    db_close(db);
    return code;
}
