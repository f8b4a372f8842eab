/* subpay decide: a person decides about a payment that shows needs_decision, with evidence (rule 10). */
#include "cli/decide.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"

static bool decision_parse(int argc, char **argv, struct ledger_decision *d)
{
    struct cli_option options[] = {{.name = "--outcome", .takes_value = true},
                                   {.name = "--evidence", .takes_value = true}};
    const char *payment[1];
    int count = 0;
    if (!cli_parse(argc, argv, options, 2, payment, 1, &count))
        return false;
    if (count != 1)
        return cli_usage("decide: wants one PAYMENT, the id of a payment") == CLI_DONE;
    if (!uuid_parse(payment[0], strlen(payment[0]), &d->payment_id) || uuid_is_nil(&d->payment_id))
        return cli_usage("PAYMENT %s: allowed is a UUID", payment[0]) == CLI_DONE;
    const char *outcome = options[0].given ? options[0].value : "(missing)";
    if (!options[0].given || !payment_status_parse(outcome, &d->outcome) ||
        d->outcome == PAYMENT_UNKNOWN)
        return cli_usage("--outcome %s: allowed are accepted, decline, error", outcome) == CLI_DONE;
    d->evidence = options[1].given ? options[1].value : "";
    size_t len = strlen(d->evidence);
    if (len == 0 || len > LEDGER_EVIDENCE_MAX || !text_is_utf8(d->evidence, len) ||
        d->evidence[strspn(d->evidence, " \t\r\n")] == '\0')
        return cli_usage("--evidence %.40s: wants a text of 1 to %d bytes: how it is known",
                         len > 0 ? d->evidence : "(missing)", LEDGER_EVIDENCE_MAX) == CLI_DONE;
    return true;
}

static int decide_do(struct decide_call *call)
{
    char id[UUID_TEXT], path[128];
    struct str body;
    int64_t number;
    const struct ledger_decision *d = &call->decision;
    uuid_format(&d->payment_id, id);
    (void)snprintf(path, sizeof path, "/payments/%s/decision", id);
    str_init(&body, 8 * LEDGER_EVIDENCE_MAX);
    json_open(&body, '{');
    json_put_text(&body, "outcome", payment_status_text(d->outcome));
    json_put_text(&body, "evidence", d->evidence);
    json_put_text(&body, "actor", d->actor);
    json_close(&body, '}');
    const struct control_request request = {.method = "POST",
                                            .path = path,
                                            .type = "application/json",
                                            .body = &body,
                                            .actor = d->actor};
    int code = store_command("decide", call->config, &request, decide_alone, call, &number);
    if (code == CLI_DONE)
        printf("%s is %s, decided by %s\n", id, payment_status_text(d->outcome), d->actor);
    str_release(&body);
    return code;
}

int cli_decide(int argc, char **argv)
{
    struct config config;
    char actor[OPERATOR_MAX];
    struct decide_call call = {.config = &config, .decision = {.actor = actor}};
    int code;
    if (!decision_parse(argc, argv, &call.decision))
        return CLI_USAGE;
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    operator_name(actor);
    return decide_do(&call);
}
