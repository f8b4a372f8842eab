/* The mail server of the simulated world: takes messages late, refuses some for now, and sometimes takes one
 * and does not get to say so. */
#include "sim/inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim_mailer {
    struct mailer mailer;
    struct world *world;
    struct fuse *fuse;
    struct hand_over *open;
    size_t open_count;
    struct mail_result results[MAIL_BATCH_MAX];
    size_t result_count;
    void (*wake)(void *ctx);
    void *wake_ctx;
};
struct hand_over {
    struct sim_mailer *owner; /* NULL: the notifier is dead */
    struct hand_over *next;
    struct mail_result result;
};

static void hand_over_ends(struct world *w, void *what)
{
    (void)w;
    struct hand_over *h = what;
    struct sim_mailer *m = h->owner;
    if (m) {
        for (struct hand_over **at = &m->open; *at; at = &(*at)->next)
            if (*at == h) {
                *at = h->next;
                break;
            }
        assert(m->result_count < MAIL_BATCH_MAX);
        m->results[m->result_count++] = h->result;
        if (m->wake)
            m->wake(m->wake_ctx);
    }
    free(h);
}

static enum err sim_send(struct mailer *mailer, const struct mail *mail)
{
    struct sim_mailer *m = (struct sim_mailer *)mailer;
    struct world *w = m->world;
    if (fuse_blows(m->fuse, "before a mail"))
        return ERR_STOPPED;
    if (m->open_count >= MAIL_BATCH_MAX)
        return ERR_BUSY;
    struct hand_over *h = calloc(1, sizeof *h);
    if (!h)
        return ERR_NO_MEMORY;
    bool refused = world_chance(w, w->settings.lose);
    bool unsaid = world_chance(w, w->settings.lose / 2);
    if (!refused) {
        assert(w->mailbox.count < SIM_MAILS_MAX);
        w->mailbox.delivered[w->mailbox.count++] = mail->payment_id;
    }
    h->owner = m;
    h->next = m->open;
    h->result =
        (struct mail_result){.payment_id = mail->payment_id,
                             .outcome = refused || unsaid ? MAIL_TRY_AGAIN : MAIL_HANDED_OVER};
    m->open = h;
    m->open_count++;
    world_later(w, world_between(w, 100, 200 * US_PER_MS), hand_over_ends, h);
    return fuse_blows(m->fuse, "after a mail") ? ERR_STOPPED : ERR_OK;
}

static size_t sim_take(struct mailer *mailer, struct mail_result *out, size_t max)
{
    struct sim_mailer *m = (struct sim_mailer *)mailer;
    size_t n = m->result_count < max ? m->result_count : max;
    memcpy(out, m->results, n * sizeof *out);
    memmove(m->results, m->results + n, (m->result_count - n) * sizeof *out);
    m->result_count -= n;
    m->open_count -= n;
    return n;
}

static void sim_watch(struct mailer *mailer, void (*wake)(void *), void *ctx)
{
    ((struct sim_mailer *)mailer)->wake = wake;
    ((struct sim_mailer *)mailer)->wake_ctx = ctx;
}

static void sim_close(struct mailer *mailer)
{
    struct sim_mailer *m = (struct sim_mailer *)mailer;
    for (struct hand_over *h = m->open; h; h = h->next)
        h->owner = NULL;
    free(m);
}

static const struct mailer_ops SIM_OPS = {
    .send = sim_send,
    .take = sim_take,
    .watch = sim_watch,
    .close = sim_close,
};

enum err sim_mailer(struct mailer **out, struct world *w, struct fuse *fuse)
{
    struct sim_mailer *m = calloc(1, sizeof *m);
    if (!m)
        return ERR_NO_MEMORY;
    m->mailer.ops = &SIM_OPS;
    m->world = w;
    m->fuse = fuse;
    *out = &m->mailer;
    return ERR_OK;
}
