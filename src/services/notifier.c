#include "services/notifier.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "services/heartbeat.h"

#define NOTIFIER_NAME "notifier"
#define NOTIFIER_PAUSE_US (30 * US_PER_S)       /* before a message is handed over again */
#define NOTIFIER_MOST_ROOM (MAIL_BATCH_MAX / 4) /* a full house takes more from here */
#define NOTIFIER_ARENA_MAX (1024 * 1024)

/* A payment whose user is being told: at most MAIL_BATCH_MAX. */
enum letter_state { LETTER_FREE, LETTER_SENT, LETTER_ANSWERED };
struct letter {
    enum letter_state state;
    struct told told;
};

struct notifier {
    struct service service;
    struct ledger *ledger;
    struct mailer *mailer;
    struct wake wake;
    atomic_bool draining, busy,
        settled; /* settled: the ledger said that there may be somebody to tell */
    _Atomic(const char *) unready;

    struct arena arena;
    struct letter letters[MAIL_BATCH_MAX];
    size_t sent_count, answered_count;
    struct told told[MAIL_BATCH_MAX]; /* scratch */
    struct mail_result results[MAIL_BATCH_MAX];
    struct str subject, text;

    int64_t asked_boot_us, untold_boot_us, heartbeat_boot_us;
    bool untold_full;
    struct trouble storing, mailing;
    struct metric *delivered, *unreachable, *not_to_be_told, *again;
};

static struct notifier *notifier_of(struct service *service)
{
    return (struct notifier *)service;
}

static struct letter *letter_of(struct notifier *n, const struct uuid *payment_id)
{
    for (size_t i = 0; i < MAIL_BATCH_MAX; i++)
        if (n->letters[i].state != LETTER_FREE &&
            uuid_equal(&n->letters[i].told.payment_id, payment_id))
            return &n->letters[i];
    return NULL;
}

static struct letter *letter_new(struct notifier *n, const struct uuid *payment_id)
{
    for (size_t i = 0; i < MAIL_BATCH_MAX; i++)
        if (n->letters[i].state == LETTER_FREE) {
            n->letters[i].told = (struct told){.payment_id = *payment_id};
            return &n->letters[i];
        }
    return NULL;
}

static void letter_answered(struct notifier *n, struct letter *l, enum notification notification)
{
    l->state = LETTER_ANSWERED;
    l->told.notification = notification;
    n->answered_count++;
}

static void letter_again(struct notifier *n, const struct env *env, struct letter *l)
{
    l->state = LETTER_ANSWERED;
    l->told.again = true;
    l->told.pause_us = NOTIFIER_PAUSE_US + (int64_t)random_below(env->random, NOTIFIER_PAUSE_US);
    n->answered_count++;
}

static size_t notifier_take(struct notifier *n, const struct env *env)
{
    size_t count = mailer_take(n->mailer, n->results, MAIL_BATCH_MAX);

    for (size_t i = 0; i < count; i++) {
        const struct mail_result *r = &n->results[i];
        struct letter *l = letter_of(n, &r->payment_id);
        if (l == NULL || l->state != LETTER_SENT)
            continue;
        n->sent_count--;
        switch (r->outcome) {
        case MAIL_HANDED_OVER:
            letter_answered(n, l, NOTIFICATION_DELIVERED);
            (void)trouble_note(&n->mailing, env, NOTIFIER_NAME, "mailing", ERR_OK, NULL);
            break;
        case MAIL_UNREACHABLE:
            letter_answered(n, l, NOTIFICATION_UNREACHABLE);
            break;
        case MAIL_TRY_AGAIN:
            letter_again(n, env, l);
            (void)trouble_note(&n->mailing, env, NOTIFIER_NAME, "mailing", ERR_IO, r->note);
            break;
        }
    }
    return count;
}

static struct metric *told_metric(struct notifier *n, const struct told *t)
{
    if (t->again)
        return n->again;
    switch (t->notification) {
    case NOTIFICATION_DELIVERED:
        return n->delivered;
    case NOTIFICATION_UNREACHABLE:
        return n->unreachable;
    case NOTIFICATION_NOT_TO_BE_TOLD:
        return n->not_to_be_told;
    case NOTIFICATION_COUNT:
        break;
    }
    return NULL;
}

/* What became of the messages is written down before anybody else is told. */
static enum err notifier_write_down(struct notifier *n)
{
    size_t count = 0;

    if (n->answered_count == 0)
        return ERR_OK;
    for (size_t i = 0; i < MAIL_BATCH_MAX; i++)
        if (n->letters[i].state == LETTER_ANSWERED)
            n->told[count++] = n->letters[i].told;
    enum err err = ledger_told(n->ledger, n->told, count);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < MAIL_BATCH_MAX; i++)
        if (n->letters[i].state == LETTER_ANSWERED)
            n->letters[i].state = LETTER_FREE;
    for (size_t i = 0; i < count; i++)
        metric_add(told_metric(n, &n->told[i]), 1);
    n->answered_count = 0;
    n->untold_boot_us = 0; /* a user with two outcomes hears the other one now */
    return ERR_OK;
}

/* The address is made from the user's id until an AUTH_SERVICE knows better. */
static void address_of(const struct uuid *user_id, char out[MAIL_ADDRESS_MAX + 1])
{
    static const char DOMAIN[] = "@users.invalid";

    uuid_format(user_id, out);
    (void)text_copy(out + UUID_TEXT - 1, MAIL_ADDRESS_MAX + 1 - (UUID_TEXT - 1), DOMAIN);
}

static void notifier_tell(struct notifier *n, const struct env *env, const struct telling *t)
{
    char to[MAIL_ADDRESS_MAX + 1];
    struct letter *l = letter_of(n, &t->payment_id);

    if (l != NULL)
        return; /* under way already: the lease ran out before the mail server answered */
    l = letter_new(n, &t->payment_id);
    if (l == NULL)
        return; /* its lease ends */
    if (t->reason == REASON_SUPERSEDED || t->reason == REASON_CANCELLED) {
        letter_answered(n, l, NOTIFICATION_NOT_TO_BE_TOLD);
        return;
    }
    str_clear(&n->subject);
    str_clear(&n->text);
    notifier_write(t, &n->subject, &n->text);
    address_of(&t->user_id, to);
    const struct mail mail = {
        .payment_id = t->payment_id,
        .to = to,
        .subject = n->subject.data,
        .text = n->text.data,
        .date_us = clock_wall_us(env->clock),
    };
    enum err err =
        n->subject.failed || n->text.failed ? ERR_NO_MEMORY : mailer_send(n->mailer, &mail);
    if (err == ERR_OK) {
        l->state = LETTER_SENT;
        n->sent_count++;
    } else if (err == ERR_INVALID) { /* no mail server will ever take it */
        letter_answered(n, l, NOTIFICATION_UNREACHABLE);
    } else {
        letter_again(n, env, l);
        (void)trouble_note(&n->mailing, env, NOTIFIER_NAME, "mailing", err, NULL);
    }
}

static enum err notifier_new_work(struct notifier *n, const struct env *env)
{
    struct telling *tellings = NULL;
    size_t count = 0, room = MAIL_BATCH_MAX - n->sent_count - n->answered_count;
    int64_t now_us = clock_boot_us(env->clock);

    if (now_us < n->untold_boot_us || room == 0 ||
        (n->untold_full && room < NOTIFIER_MOST_ROOM && n->sent_count > 0))
        return ERR_OK;
    arena_reset(&n->arena);
    enum err err = ledger_untold(n->ledger, room, NOTIFIER_LEASE_US, &n->arena, &tellings, &count);
    if (err != ERR_OK)
        return err;
    n->untold_full = count == room;
    n->untold_boot_us = n->untold_full ? now_us : now_us + SERVICE_IDLE_US;
    for (size_t i = 0; i < count; i++)
        notifier_tell(n, env, &tellings[i]);
    return ERR_OK;
}

static int64_t notifier_next_step(struct notifier *n, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock), next_us = now_us + SERVICE_IDLE_US;
    size_t room = MAIL_BATCH_MAX - n->sent_count - n->answered_count;

    if (trouble_waits(&n->storing, env)) {
        if (n->storing.until_boot_us < next_us)
            next_us = n->storing.until_boot_us;
    } else if (n->answered_count > 0) {
        next_us = now_us;
    } else if (!atomic_load(&n->draining) && n->untold_boot_us < next_us &&
               room >= (n->untold_full ? NOTIFIER_MOST_ROOM : 1)) {
        next_us = n->untold_boot_us;
    }
    n->asked_boot_us = next_us;
    return next_us;
}

static int64_t notifier_step(struct service *service, const struct env *env)
{
    struct notifier *n = notifier_of(service);
    bool woken = clock_boot_us(env->clock) < n->asked_boot_us;
    size_t answers = notifier_take(n, env);

    if (atomic_exchange(&n->settled, false) || (woken && answers == 0))
        n->untold_boot_us = 0;
    if (!trouble_waits(&n->storing, env)) {
        enum err err = notifier_write_down(n);
        if (err == ERR_OK && !atomic_load(&n->draining))
            err = notifier_new_work(n, env);
        (void)trouble_note(&n->storing, env, NOTIFIER_NAME, "reading and writing what was told",
                           err, ledger_why(n->ledger));
        if (err == ERR_OK && !n->untold_full && !atomic_load(&n->draining))
            heartbeat(n->ledger, NOTIFIER_NAME, env, &n->heartbeat_boot_us);
    }
    atomic_store(&n->unready, n->storing.count > 0   ? "store: nobody can be told"
                              : n->mailing.count > 0 ? "mail: messages are not taken"
                                                     : NULL);
    atomic_store(&n->busy, n->sent_count + n->answered_count > 0);
    return notifier_next_step(n, env);
}

static void notifier_drain(struct service *service)
{
    struct notifier *n = notifier_of(service);

    atomic_store(&n->busy, true); /* until a step has looked */
    atomic_store(&n->draining, true);
}

static bool notifier_drained(struct service *service)
{
    return !atomic_load(&notifier_of(service)->busy);
}

static const char *notifier_unready(struct service *service)
{
    return atomic_load(&notifier_of(service)->unready);
}

static void notifier_close(struct service *service)
{
    struct notifier *n = notifier_of(service);

    mailer_watch(n->mailer, NULL, NULL);
    ledger_watch(n->ledger, NULL, NULL);
    mailer_close(n->mailer);
    ledger_close(n->ledger);
    arena_release(&n->arena);
    str_release(&n->subject);
    str_release(&n->text);
    free(n);
}

static const struct service_ops NOTIFIER_OPS = {
    .name = NOTIFIER_NAME,
    .step = notifier_step,
    .drain = notifier_drain,
    .drained = notifier_drained,
    .unready = notifier_unready,
    .close = notifier_close,
};

static void notifier_changed(void *ctx, unsigned changes)
{
    struct notifier *n = ctx;

    if (!(changes & LEDGER_CHANGE_SETTLED))
        return;
    atomic_store(&n->settled, true);
    if (n->wake.fn != NULL)
        n->wake.fn(n->wake.ctx);
}

static void notifier_add_metrics(struct notifier *n, struct metrics *m)
{
    static const char NAME[] = "subpay_notifications_total", HELP[] = "Users told about an outcome";

    n->delivered = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"delivered\"");
    n->unreachable = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"unreachable\"");
    n->not_to_be_told = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"not_to_be_told\"");
    n->again = metrics_add(m, METRIC_COUNTER, NAME, HELP, "result=\"try_again\"");
}

enum err notifier_open(struct service **out, struct ledger *ledger, struct mailer *mailer,
                       struct metrics *metrics, struct wake wake)
{
    struct notifier *n = calloc(1, sizeof *n);

    if (n == NULL)
        return ERR_NO_MEMORY;
    n->service.ops = &NOTIFIER_OPS;
    n->ledger = ledger;
    n->mailer = mailer;
    n->wake = wake;
    arena_init(&n->arena, NOTIFIER_ARENA_MAX);
    str_init(&n->subject, MAIL_SUBJECT_MAX);
    str_init(&n->text, MAIL_BODY_MAX);
    notifier_add_metrics(n, metrics);
    ledger_watch(ledger, notifier_changed, n);
    if (wake.fn != NULL)
        mailer_watch(mailer, wake.fn, wake.ctx);
    *out = &n->service;
    return ERR_OK;
}
