/* The processing, seen from the processor: who it is (contract section 4), and what its journal says (rule 11). Until
 * both are known nothing is claimed, sent, asked about or voided. */
#include "services/processor_inside.h"

#include <string.h>

static void page_drop(struct link *l)
{
    journal_page_free(l->page);
    l->page = NULL;
    l->taken = 0;
}

void link_release(struct link *l)
{
    page_drop(l);
}

/* A page that is under way may be older than what made it necessary to read again. */
static void reading_give_up(struct link *l)
{
    l->reading = l->positioned = l->learned = l->ended = false;
    l->began = 0;
    l->page_stale = l->page_asked;
    page_drop(l);
}

void link_settled(struct processor *p, size_t count)
{
    struct link *l = &p->link;

    l->settled += count;
    if (l->read && l->settled >= p->settings.reconcile_calls)
        l->read_boot_us = 0;
}

void link_read_again(struct processor *p)
{
    reading_give_up(&p->link);
    p->link.read = false;
    p->link.read_boot_us = 0;
}

void link_rewound(struct processor *p, const struct env *env, const struct uuid *mark)
{
    struct link *l = &p->link;

    if (!uuid_equal(&l->mark, mark)) {
        l->mark = *mark;
        l->mark_boot_us = clock_boot_us(env->clock);
        log_event(env->log, LOG_WARN, PROCESSOR_NAME,
                  "the books were rewound; the journal is read again before anything is sent",
                  F_NUM("seconds", p->settings.timeout_us / US_PER_S));
    }
    reading_give_up(l);
    l->again = true;
    l->read = false;
    l->read_boot_us = l->mark_boot_us + p->settings.timeout_us;
}

enum processor_wait link_waits(const struct processor *p)
{
    const struct link *l = &p->link;

    if (l->foreign)
        return WAIT_INSTANCE;
    if (!l->known || (!l->read && p->reading.count > 0))
        return l->known && l->bad_line ? WAIT_LINE : WAIT_SILENT;
    if (!l->read)
        return l->again ? WAIT_REWOUND : WAIT_JOURNAL;
    return p->storing.count > 0 ? WAIT_STORE : WAIT_NOTHING;
}

bool link_sure(const struct processor *p, const struct env *env)
{
    const struct link *l = &p->link;

    return l->known && (l->sure_boot_us >= l->unanswered_boot_us ||
                        clock_boot_us(env->clock) - l->sure_boot_us < PROCESSOR_DOUBT_US);
}

/* ---- who it is ---- */

void link_away(struct processor *p, const struct env *env, const char *note)
{
    p->link.known = p->link.candidate = false;
    (void)trouble_note(&p->calling, env, PROCESSOR_NAME, "calling the processing", ERR_UNREACHABLE,
                       note);
}

void link_instance_answered(struct processor *p, const struct env *env,
                            const struct gateway_answer *a)
{
    struct link *l = &p->link;

    l->asked = false;
    if (a->result == GATEWAY_INSTANCE_IS) {
        (void)text_copy(l->candidate_id, sizeof l->candidate_id, a->instance_id);
        l->candidate = true;
    } else if (a->result == GATEWAY_NOT_SENT || !l->known) {
        link_away(p, env, a->note);
    } else { /* asked again after a pause; what it said before counts for a while */
        (void)trouble_note(&p->calling, env, PROCESSOR_NAME, "calling the processing",
                           ERR_UNREACHABLE, a->note);
    }
}

static void candidate_refused(struct processor *p, const struct env *env, const char *expected)
{
    struct link *l = &p->link;

    if (!l->foreign)
        log_event(env->log, LOG_ERROR, PROCESSOR_NAME,
                  "another instance of the processing answers while payments are undecided; "
                  "nothing is sent",
                  F_STR("instance", l->candidate_id), F_STR("expected", expected));
    l->foreign = true;
    l->known = l->candidate = false;
    (void)trouble_note(&p->calling, env, PROCESSOR_NAME, "calling the processing", ERR_FOREIGN,
                       l->candidate_id);
}

static void candidate_accepted(struct processor *p, const struct env *env)
{
    struct link *l = &p->link;
    bool same = l->ever && strcmp(l->instance_id, l->candidate_id) == 0;

    (void)text_copy(l->instance_id, sizeof l->instance_id, l->candidate_id);
    l->ever = l->known = true;
    l->candidate = l->foreign = false;
    l->sure_boot_us = l->asked_boot_us;
    if (!same) {
        l->none = l->again = false;
        link_read_again(p);
    }
    (void)trouble_note(&p->calling, env, PROCESSOR_NAME, "calling the processing", ERR_OK, NULL);
}

static enum err looked(struct processor *p, const struct env *env, enum err err)
{
    return trouble_note(&p->looking, env, PROCESSOR_NAME, "looking into the books", err,
                        ledger_why(p->ledger));
}

/* The one that is being used needs no look into the books; one that was used before another came in
 * between does: another processor may have sent to that. */
static void candidate_compare(struct processor *p, const struct env *env)
{
    struct link *l = &p->link;
    char expected[LEDGER_INSTANCE_MAX + 1] = "";

    if (!l->ever || !l->known || strcmp(l->instance_id, l->candidate_id) != 0) {
        if (trouble_waits(&p->looking, env))
            return;
        enum err err = ledger_instance(p->ledger, expected);
        if (looked(p, env, err) != ERR_OK)
            return;
    }
    if (expected[0] != '\0' && strcmp(expected, l->candidate_id) != 0)
        candidate_refused(p, env, expected);
    else
        candidate_accepted(p, env);
}

/* When the processing is to be asked who it is. */
static int64_t instance_boot_us(const struct processor *p)
{
    const struct link *l = &p->link;

    if (!l->known)
        return 0;
    return l->asked_boot_us + (l->sure_boot_us < l->unanswered_boot_us ? PROCESSOR_DOUBT_US / 2
                                                                       : PROCESSOR_INSTANCE_US);
}

static void instance_tend(struct processor *p, const struct env *env)
{
    const struct gateway_call call = {.verb = GATEWAY_INSTANCE};
    struct link *l = &p->link;
    int64_t now_us = clock_boot_us(env->clock);

    if (l->candidate)
        candidate_compare(p, env);
    if (l->known && now_us - l->sure_boot_us > PROCESSOR_INSTANCE_US + 2 * p->settings.timeout_us)
        link_away(p, env, "it does not say who it is");
    if (l->asked || l->candidate || trouble_waits(&p->calling, env) || now_us < instance_boot_us(p))
        return;
    enum err err = gateway_submit(p->gateway, &call);
    if (err == ERR_OK) {
        l->asked = true;
        l->asked_boot_us = now_us;
    } else {
        (void)trouble_note(&p->calling, env, PROCESSOR_NAME, "calling the processing", err, NULL);
    }
}

/* ---- the journal ---- */

void link_page_answered(struct processor *p, const struct env *env, struct gateway_answer *a)
{
    struct link *l = &p->link;
    bool stale = l->page_stale;

    l->page_asked = l->page_stale = false;
    if (stale) {
        journal_page_free(a->page);
        a->page = NULL;
        return;
    }
    if (a->bad_line && !l->bad_line)
        log_event(
            env->log, LOG_ERROR, PROCESSOR_NAME,
            "a line of the processing's journal cannot be understood: nothing behind it is read",
            F_NUM("behind", l->position), F_STR("why", a->note));
    l->bad_line = a->bad_line;
    switch (a->result) {
    case GATEWAY_JOURNAL_IS:
        l->page = a->page;
        a->page = NULL;
        l->none = false;
        break;
    case GATEWAY_NO_JOURNAL:
        if (!l->none)
            log_event(env->log, LOG_WARN, PROCESSOR_NAME,
                      "the processing has no journal: after a restore, run `subpay restored`");
        l->none = l->ended = true;
        break;
    default:
        (void)trouble_note(&p->reading, env, PROCESSOR_NAME, "reading the processing's journal",
                           ERR_UNREACHABLE, a->note);
        if (a->result == GATEWAY_NOT_SENT && l->known)
            link_away(p, env, a->note);
        return;
    }
    (void)trouble_note(&p->reading, env, PROCESSOR_NAME, "reading the processing's journal", ERR_OK,
                       NULL);
}

static void learned_tell(const struct processor *p, const struct env *env,
                         const struct ledger_learned *learned)
{
    if (learned->recorded > 0 || learned->alarms > 0)
        log_event(env->log, learned->alarms > 0 ? LOG_ERROR : LOG_INFO, PROCESSOR_NAME,
                  "learned from the processing's journal",
                  F_NUM("recorded", (int64_t)learned->recorded),
                  F_NUM("alarms", (int64_t)learned->alarms), F_NUM("position", p->link.position));
}

/* Whose payment it is is known: it is asked about, and the others go on. */
static void unclear_tell(struct processor *p, const struct env *env, const struct journal_entry *e)
{
    char id[UUID_TEXT];

    if (e->answer != LEARN_UNCLEAR)
        return;
    metric_add(p->unclear, 1);
    uuid_format(&e->request.payment_id, id);
    log_event(env->log, LOG_ERROR, PROCESSOR_NAME,
              "a line of the processing's journal has no answer that can be understood",
              F_NUM("seq", e->seq), F_STR("why", e->unclear), F_STR("payment_id", id));
}

/* Some lines of the page; false: the store has not taken them. What settles meanwhile is held: only the whole reading
 * shows whether the books were rewound. */
static bool page_learn(struct processor *p, const struct env *env)
{
    struct link *l = &p->link;
    const struct journal_page *page = l->page;
    size_t count = page->count - l->taken;
    struct ledger_learned learned = {0};

    if (count > PROCESSOR_LEARN_MAX)
        count = PROCESSOR_LEARN_MAX;
    const struct ledger_reading reading = {l->instance_id, l->position, l->began};
    enum err err = ledger_learn(p->ledger, &reading, page->entries + l->taken, count, &learned);
    if (err == ERR_MOVED) { /* another processor reads too */
        l->positioned = false;
        page_drop(l);
        return true;
    }
    if (err != ERR_OK && !err_retriable(err)) /* tried again: without it nothing may be sent */
        (void)trouble_note(&p->reading, env, PROCESSOR_NAME, "learning the processing's journal",
                           err, ledger_why(p->ledger));
    else
        (void)processor_stored(p, env, "learning the processing's journal", err);
    if (err != ERR_OK || l->page == NULL) /* NULL: the store was away, and is read again */
        return false;
    for (size_t i = 0; i < learned.taken; i++) {
        unclear_tell(p, env, &page->entries[l->taken]);
        l->position = page->entries[l->taken++].seq;
    }
    l->learned = true;
    learned_tell(p, env, &learned);
    if (learned.rewound)
        l->read = false; /* from now on nothing is sent */
    l->ended = learned.caught_up;
    if (l->taken == page->count || l->ended)
        page_drop(l);
    p->claim_boot_us = 0;
    return true;
}

static void reading_end(struct processor *p, const struct env *env)
{
    struct link *l = &p->link;
    struct uuid stands = UUID_NIL;

    /* Also where no line was new: a process may have died before it said so. */
    if ((l->learned || !l->read) &&
        processor_stored(p, env, "learning the processing's journal",
                         ledger_learned_all(p->ledger, &l->waited, &stands)) != ERR_OK)
        return;
    p->claim_boot_us = 0;
    if (!uuid_is_nil(&stands)) {
        link_rewound(p, env, &stands);
        return;
    }
    reading_give_up(l);
    p->promises = gateway_promises(p->gateway);
    l->again = false;
    l->read = true;
    l->settled = 0;
    l->read_boot_us = clock_boot_us(env->clock) + p->settings.reconcile_us;
}

static void page_ask(struct processor *p, const struct env *env)
{
    struct link *l = &p->link;

    if (!l->positioned) {
        struct ledger_reading reading;
        if (trouble_waits(&p->looking, env) ||
            looked(p, env, ledger_reading(p->ledger, l->instance_id, &reading)) != ERR_OK)
            return;
        l->position = reading.from;
        if (l->began == 0) /* else another processor has moved the position */
            l->began = reading.began;
        l->positioned = true;
    }
    const struct gateway_call call = {.verb = GATEWAY_JOURNAL, .after_seq = l->position};
    enum err err = gateway_submit(p->gateway, &call);
    if (err != ERR_OK)
        (void)trouble_note(&p->reading, env, PROCESSOR_NAME, "reading the processing's journal",
                           err, NULL);
    l->page_asked = err == ERR_OK;
}

static void journal_tend(struct processor *p, const struct env *env)
{
    struct link *l = &p->link;
    int64_t now_us = clock_boot_us(env->clock);

    if (!link_sure(p, env) || l->page_asked || trouble_waits(&p->storing, env) ||
        trouble_waits(&p->reading, env))
        return;
    if (l->page != NULL && l->page->count > 0) {
        if (!page_learn(p, env) || l->page != NULL || l->ended)
            return;                           /* the next lines with the next step */
    } else if (l->page != NULL || l->ended) { /* an empty page is the end */
        reading_end(p, env);
        return;
    }
    if (!l->reading && now_us < l->read_boot_us)
        return;
    if (!l->reading) /* the mark counts only if it was seen long enough before */
        l->waited =
            l->again && now_us - l->mark_boot_us >= p->settings.timeout_us ? l->mark : UUID_NIL;
    l->reading = true;
    page_ask(p, env);
}

void link_tend(struct processor *p, const struct env *env)
{
    instance_tend(p, env);
    journal_tend(p, env);
}

int64_t link_next_boot_us(const struct processor *p, const struct env *env)
{
    const struct link *l = &p->link;
    int64_t next_us = TIME_NEVER;

    if (!l->asked && !trouble_waits(&p->calling, env))
        next_us = instance_boot_us(p);
    if (l->known && !l->page_asked && !trouble_waits(&p->reading, env) &&
        !trouble_waits(&p->looking, env)) {
        int64_t read_us = l->reading || l->page != NULL || l->ended ? 0 : l->read_boot_us;
        if (read_us < next_us && link_sure(p, env))
            next_us = read_us;
    }
    return next_us;
}
