/* The front: what is true of every driver is checked here, once. */
#include "mailer/mailer.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"

static bool mail_sane(const struct mail *mail)
{
    return !uuid_is_nil(&mail->payment_id) && mail_address_valid(mail->to) &&
           strlen(mail->subject) <= MAIL_SUBJECT_MAX && strlen(mail->text) <= MAIL_BODY_MAX;
}

enum err mailer_send(struct mailer *m, const struct mail *mail)
{
    if (!mail_sane(mail))
        return ERR_INVALID;
    return m->ops->send(m, mail);
}

size_t mailer_take(struct mailer *m, struct mail_result *out, size_t max)
{
    size_t count = m->ops->take(m, out, max);
    assert(count <= max);
    return count;
}

void mailer_watch(struct mailer *m, void (*wake)(void *ctx), void *ctx)
{
    m->ops->watch(m, wake, ctx);
}

void mailer_close(struct mailer *m)
{
    if (m)
        m->ops->close(m);
}
