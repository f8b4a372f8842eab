/* subpay restored: the store was restored from a backup, and the processing has no journal that could tell what
 * happened since (rule 11): every new payment is asked about before it is decided. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/control_door.h"

static int restored_alone(void *ctx, struct own_store *store)
{
    enum err err = ledger_mark_restored(store->ledger, ctx);
    return err == ERR_OK ? CLI_DONE
                         : cli_failed("restored: %s: %s", err_text(err), ledger_why(store->ledger));
}

int cli_restored(int argc, char **argv)
{
    struct config config;
    char actor[OPERATOR_MAX];
    int64_t marked = 0;
    int code;
    if (!cli_parse(argc, argv, NULL, 0, NULL, 0, NULL))
        return CLI_USAGE;
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    struct str body;
    str_init(&body, 64);
    str_add(&body, "{}");
    operator_name(actor);
    const struct control_request request = {.method = "POST",
                                            .path = "/restored",
                                            .type = "application/json",
                                            .body = &body,
                                            .actor = actor};
    code = store_command("restored", &config, &request, restored_alone, &marked, &marked);
    str_release(&body);
    if (code == CLI_DONE)
        printf("%lld new payments will be asked about before they are decided, and so will what is "
               "in the queue now\n",
               (long long)marked);
    return code;
}
