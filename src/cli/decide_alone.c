/* A decision by the command itself, where no process runs or on PostgreSQL: what the processor does in steps
 * (services/processor_link.c, processor_decision.c), at once. */
#include "cli/decide.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "billing/decision.h"
#include "cli/cli.h"
#include "cli/processing_url.h"
#include "gateway/processing.h"
#include "http/client.h"

#define URL_ROOM (CONFIG_TEXT + 128)
#define ATTEMPT_BYTES_MAX (1024 * 1024)
#define LEARN_MAX 500 /* lines in one transaction */

struct alone {
    const struct config *config;
    struct ledger *ledger;
    struct ledger_decision *decision;
    struct promises promises;
    char base[CONFIG_TEXT + 16]; /* of the processing */
    char instance[LEDGER_INSTANCE_MAX + 1];
    struct arena arena;
    struct attempt *attempt;
    /* the call under way */
    const struct gateway_call *call;
    struct gateway_answer answer;
};

static int refused(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int refused(const char *format, ...)
{
    char text[CONTROL_WHY_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return cli_failed("decide: %s", text);
}

/* ---- the processing ---- */

static void answer_take(void *ctx, uint64_t token, const struct http_outcome *outcome)
{
    struct alone *a = ctx;
    (void)token;
    processing_read_answer(a->call, outcome->status, outcome->body, outcome->body_len, &a->answer);
    if (outcome->status == 0)
        (void)snprintf(a->answer.note, sizeof a->answer.note, "%s", outcome->note);
}

/* One call, waited for; a.answer has what came of it. */
static enum err processing_call(struct alone *a, const struct gateway_call *call,
                                const char *method, const char *path)
{
    char url[URL_ROOM], authorization[CONFIG_TEXT + 32];
    const struct config *c = a->config;
    size_t headers = 0;
    struct http_call_out out = {
        .method = method,
        .url = url,
        .headers = {NULL},
        .body = call->body,
        .body_len = call->body_len,
        .timeout_ms = c->processing_timeout_ms,
        .answer_max = call->verb == GATEWAY_JOURNAL ? JOURNAL_PAGE_MAX : GATEWAY_ANSWER_MAX,
    };
    (void)snprintf(url, sizeof url, "%s%s", a->base, path);
    (void)snprintf(authorization, sizeof authorization, "Authorization: Bearer %s",
                   c->processing_token);
    if (c->processing_token[0] != '\0')
        out.headers[headers++] = authorization;
    if (call->body != NULL)
        out.headers[headers++] = "Content-Type: application/json";
    a->call = call;
    a->answer = (struct gateway_answer){.verb = call->verb, .result = GATEWAY_NO_ANSWER};
    return http_call_once(&out, answer_take, a);
}

static int silent(const struct alone *a, const char *what)
{
    return refused("%s: the processing at %s gives no answer (%s); start `subpay run` and decide "
                   "beside it, or try again",
                   what, a->base, a->answer.note);
}

/* The same instance as the one that was asked, or nothing is known (contract section 4). */
static int instance_learn(struct alone *a)
{
    char expected[LEDGER_INSTANCE_MAX + 1] = "";
    const struct gateway_call call = {.verb = GATEWAY_INSTANCE};
    enum err err = ledger_instance(a->ledger, expected);
    if (err != ERR_OK)
        return refused("%s: %s", err_text(err), ledger_why(a->ledger));
    err = processing_call(a, &call, "GET", "/instance");
    if (err != ERR_OK || a->answer.result != GATEWAY_INSTANCE_IS)
        return silent(a, "who it is");
    if (expected[0] != '\0' && strcmp(expected, a->answer.instance_id) != 0)
        return refused("another instance of the processing answers at %s: %s, expected %s", a->base,
                       a->answer.instance_id, expected);
    (void)text_copy(a->instance, sizeof a->instance, a->answer.instance_id);
    return CLI_DONE;
}

/* ---- its journal (rule 11) ---- */

static enum err page_learn(struct alone *a, const struct journal_page *page,
                           struct ledger_reading *reading, bool *more)
{
    enum err err = ERR_OK;
    *more = page->count > 0;
    for (size_t taken = 0; taken < page->count && *more && err == ERR_OK;) {
        struct ledger_learned learned = {0};
        size_t count = page->count - taken < LEARN_MAX ? page->count - taken : LEARN_MAX;
        err = ledger_learn(a->ledger, reading, page->entries + taken, count, &learned);
        if (learned.taken > 0)
            reading->from = page->entries[taken + learned.taken - 1].seq;
        taken += learned.taken;
        *more = !learned.caught_up;
    }
    return err;
}

/* *more: the journal goes on. A processor may read the same beside us: then from where it is. */
static int page_read(struct alone *a, int64_t *began, bool *more)
{
    char path[64];
    struct ledger_reading reading;
    enum err err = ledger_reading(a->ledger, a->instance, &reading);
    if (err != ERR_OK)
        return refused("%s: %s", err_text(err), ledger_why(a->ledger));
    if (*began < 0)
        *began = reading.began;
    reading.began = *began;
    const struct gateway_call call = {.verb = GATEWAY_JOURNAL, .after_seq = reading.from};
    (void)snprintf(path, sizeof path, "/transactions?after=%lld", (long long)reading.from);
    err = processing_call(a, &call, "GET", path);
    *more = false;
    if (err == ERR_OK && a->answer.result == GATEWAY_NO_JOURNAL)
        return CLI_DONE;
    if (err != ERR_OK || a->answer.result != GATEWAY_JOURNAL_IS)
        return silent(a, "its journal has to be read before anything is decided");
    struct journal_page *page = a->answer.page;
    a->answer.page = NULL;
    err = page_learn(a, page, &reading, more);
    journal_page_free(page);
    return err == ERR_OK || err == ERR_MOVED
               ? CLI_DONE
               : refused("the journal: %s: %s", err_text(err), ledger_why(a->ledger));
}

static int journal_learn(struct alone *a)
{
    struct uuid mark = UUID_NIL;
    int64_t began = -1;
    bool more = true;
    int code = CLI_DONE;
    while (code == CLI_DONE && more)
        code = page_read(a, &began, &more);
    if (code != CLI_DONE)
        return code;
    enum err err = ledger_learned_all(a->ledger, &UUID_NIL, &mark);
    if (err != ERR_OK)
        return refused("%s: %s", err_text(err), ledger_why(a->ledger));
    if (!uuid_is_nil(&mark))
        return refused("the books were restored from a backup: start `subpay run`, which reads the "
                       "journal until nothing is missing, and decide then");
    return CLI_DONE;
}

/* ---- the decision ---- */

static int key_void(struct alone *a, struct decision *d)
{
    char path[128], id[UUID_TEXT];
    uuid_format(&a->attempt->payment_id, id);
    const struct gateway_call call = {.verb = GATEWAY_VOID,
                                      .payment_id = a->attempt->payment_id,
                                      .money = a->attempt->money,
                                      .body = a->attempt->body,
                                      .body_len = a->attempt->body_len};
    (void)snprintf(path, sizeof path, "/transactions/%s/void", id);
    enum err err = processing_call(a, &call, "POST", path);
    if (err != ERR_OK)
        return refused("voiding its key: %s", err_text(err));
    if (a->answer.no_void)
        a->promises.voids = false;
    if (a->answer.result > GATEWAY_ERROR)
        d->voiding = DECISION_VOID_UNANSWERED;
    else
        d->voiding = a->answer.voided ? DECISION_VOID_DONE : DECISION_VOID_OTHER;
    return CLI_DONE;
}

/* The processing's answer goes before what a person says. */
static int answer_settle(struct alone *a)
{
    static const enum payment_status STATUS[] = {[GATEWAY_SUCCESS] = PAYMENT_ACCEPTED,
                                                 [GATEWAY_DECLINE] = PAYMENT_DECLINE,
                                                 [GATEWAY_ERROR] = PAYMENT_ERROR};
    struct fact fact = {.payment_id = a->attempt->payment_id,
                        .outcome = STATUS[a->answer.result],
                        .reason = a->answer.result == GATEWAY_ERROR ? REASON_REFUSED : REASON_NONE,
                        .money = a->attempt->money};
    (void)text_copy(fact.processing_id, sizeof fact.processing_id, a->answer.transaction_id);
    enum err err = ledger_settle(a->ledger, &fact, 1);
    if (err != ERR_OK)
        return refused("%s: %s", err_text(err), ledger_why(a->ledger));
    return refused("the processing has answered, that was recorded instead: it is %s",
                   payment_status_text(fact.outcome));
}

static int decision_record(struct alone *a)
{
    enum err err = ledger_decide(a->ledger, a->decision);
    if (err != ERR_OK)
        return refused("%s: %s", err_text(err), ledger_why(a->ledger));
    if (a->decision->verdict == DECISION_RECORDED)
        return CLI_DONE;
    return refused("the payment does not show needs_decision");
}

static int decision_make(struct alone *a)
{
    struct decision d = {.processing_status = PROCESSING_IN_PROCESSING,
                         .needs_decision = a->attempt->needs_decision,
                         .outcome = a->decision->outcome};
    for (;;) {
        int code;
        switch (decision_next(&d, &a->promises)) {
        case DECISION_REFUSE:
            return d.voiding == DECISION_VOID_UNANSWERED
                       ? refused("its key could not be voided (%s): nothing was changed",
                                 a->answer.note)
                       : refused("the payment does not show needs_decision");
        case DECISION_VOID:
            if ((code = key_void(a, &d)) != CLI_DONE)
                return code;
            break;
        case DECISION_RECORD:
            return decision_record(a);
        case DECISION_ANSWER:
            return answer_settle(a);
        }
    }
}

static int attempt_read(struct alone *a)
{
    enum err err = ledger_attempt(a->ledger, &a->decision->payment_id, &a->arena, &a->attempt);
    switch (err) {
    case ERR_OK:
        return CLI_DONE;
    case ERR_NOT_FOUND:
        return refused("there is no such payment");
    case ERR_CONFLICT:
        return refused("the payment is not in_processing");
    default:
        return refused("%s: %s", err_text(err), ledger_why(a->ledger));
    }
}

static int steps_do(struct alone *a)
{
    int code = attempt_read(a); /* what is refused anyway needs no call */
    if (code == CLI_DONE && !a->attempt->needs_decision)
        code = refused("the payment does not show needs_decision");
    if (code == CLI_DONE && !processing_url(a->config, a->base, sizeof a->base))
        code = refused("PROCESSOR is unset: the processing has to be asked first");
    if (code == CLI_DONE)
        code = instance_learn(a);
    if (code == CLI_DONE)
        code = journal_learn(a);
    if (code == CLI_DONE)
        code = attempt_read(a); /* the journal may have settled it */
    return code == CLI_DONE ? decision_make(a) : code;
}

int decide_alone(void *ctx, struct own_store *store)
{
    struct decide_call *call = ctx;
    struct alone a = {.config = call->config,
                      .ledger = store->ledger,
                      .decision = &call->decision,
                      .promises = processing_promises_of(call->config)};
    arena_init(&a.arena, ATTEMPT_BYTES_MAX);
    int code = steps_do(&a);
    arena_release(&a.arena);
    return code;
}
