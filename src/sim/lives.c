/* Birth and death of the services of the simulated world. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "services/notifier.h"
#include "services/processor.h"
#include "services/saver.h"
#include "services/subscription_app.h"
#include "sim/inside.h"
#include "sim/users.h"

#define SIM_RECONCILE_US (60 * US_PER_S)

static const char *const ROLE_NAMES[SIM_ROLES] = {"subscription-app", "saver", "processor",
                                                  "processor-2", "notifier"};

static void life_wakes(void *ctx)
{
    struct sim_life *life = ctx;
    life->next_us = life->fuse.world->now_us;
}

/* A change of the store wakes everybody who lives: as in the real process, only sooner or later. */
static void store_changed(void *ctx, unsigned changes)
{
    struct world *w = ctx;
    for (int role = 0; role < SIM_ROLES; role++)
        if (w->lives[role].service)
            w->lives[role].next_us = w->now_us;
    if ((changes & LEDGER_CHANGE_PAYMENT) && w->lives[SIM_APP].service)
        subscription_app_changed(w->lives[SIM_APP].service);
}

static enum err open_ledger(struct world *w, struct sim_life *life, struct ledger **out)
{
    struct ledger *inner;
    enum err err = world_ledger(w, &inner);
    if (err != ERR_OK)
        return err;
    ledger_watch(inner, store_changed, w);
    return fused_ledger(out, inner, &life->fuse);
}

static enum err open_queue(struct world *w, struct sim_life *life, struct queue **out)
{
    struct queue *inner;
    enum err err = embedded_reader(w->embedded, &life->reader);
    if (err == ERR_OK)
        err = local_queue_open(&inner, w->hub, life->reader);
    return err == ERR_OK ? fused_queue(out, inner, &life->fuse) : err;
}

static enum err open_app(struct world *w, struct sim_life *life, struct wake wake)
{
    struct queue *queue;
    struct views *views;
    enum err err = open_queue(w, life, &queue);
    if (err == ERR_OK)
        err = world_views(w, &views);
    if (err != ERR_OK)
        return err;
    struct subscription_app_settings settings = {.topic = "payments", .store_courtesy_ms = 200};
    return subscription_app_open(&life->service, &settings, views, queue, user_is_answered, w,
                                 life->metrics, wake);
}

static enum err open_saver(struct world *w, struct sim_life *life, struct wake wake)
{
    struct queue *queue;
    struct ledger *ledger;
    enum err err = open_queue(w, life, &queue);
    if (err == ERR_OK)
        err = open_ledger(w, life, &ledger);
    if (err != ERR_OK)
        return err;
    struct saver_settings settings = {
        .topic = "payments", .batch_size = 500, .retention_us = 30 * US_PER_DAY};
    return saver_open(&life->service, &settings, ledger, queue, life->metrics, wake);
}

static enum err open_processor(struct world *w, struct sim_life *life, struct wake wake)
{
    struct ledger *ledger;
    struct gateway *gateway;
    enum err err = open_ledger(w, life, &ledger);
    /* A process that owns the store alone ends the leases of its dead predecessor; others wait them out. */
    if (err == ERR_OK && !w->postgres && world_between(w, 0, 1))
        (void)!ledger_recover(ledger);
    if (err == ERR_OK)
        err = sim_gateway(&gateway, w, &life->fuse);
    if (err != ERR_OK)
        return err;
    struct processor_settings settings = {
        .timeout_us = SIM_TIMEOUT_US,
        .reconcile_us = w->plan.people ? SIM_RECONCILE_US : 0, /* soon, to learn who was wrong */
        .reconcile_calls = (size_t)world_between(w, 1, 12),
        .limits = {.request_max_age_us = w->plan.request_max_age_us, .refund_window_us = 0}};
    return processor_open(&life->service, &settings, ledger, gateway, life->metrics, wake);
}

static enum err open_notifier(struct world *w, struct sim_life *life, struct wake wake)
{
    struct ledger *ledger;
    struct mailer *mailer;
    enum err err = open_ledger(w, life, &ledger);
    if (err == ERR_OK)
        err = sim_mailer(&mailer, w, &life->fuse);
    if (err != ERR_OK)
        return err;
    return notifier_open(&life->service, ledger, mailer, life->metrics, wake);
}

enum err world_open_life(struct world *w, enum sim_role role)
{
    struct sim_life *life = &w->lives[role];
    assert(!life->service);
    life->fuse = (struct fuse){w, ROLE_NAMES[role], false};
    life->metrics = metrics_open();
    if (!life->metrics)
        return ERR_NO_MEMORY;
    struct wake wake = {life_wakes, life};
    enum err err = ERR_BUG;
    switch (role) {
    case SIM_APP:
        err = open_app(w, life, wake);
        break;
    case SIM_SAVER:
        err = open_saver(w, life, wake);
        break;
    case SIM_PROCESSOR:
    case SIM_PROCESSOR_2:
        err = open_processor(w, life, wake);
        break;
    case SIM_NOTIFIER:
        err = open_notifier(w, life, wake);
        break;
    case SIM_ROLES:
        break;
    }
    life->next_us = w->now_us;
    return err;
}

void world_close_life(struct world *w, enum sim_role role)
{
    struct sim_life *life = &w->lives[role];
    if (life->service)
        life->service->ops->close(life->service);
    if (life->reader)
        embedded_reader_close(w->embedded, life->reader);
    metrics_close(life->metrics);
    life->service = NULL;
    life->reader = NULL;
    life->metrics = NULL;
}
