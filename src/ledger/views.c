#include "ledger/views.h"

#include <assert.h>

enum err views_payments(struct views *v, const struct uuid *ids, size_t count, int64_t patience_ms,
                        struct arena *arena, struct payment_view **out)
{
    assert(count <= VIEWS_BATCH_MAX && patience_ms >= 0);
    if (count == 0)
        return ERR_OK;
    enum err err = v->ops->payments(v, ids, count, patience_ms, arena, out);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        assert(!out[i] || uuid_equal(&out[i]->payment_id, &ids[i]));
    return err;
}

enum err views_payments_of(struct views *v, const struct uuid *user_id, int64_t before_seq,
                           size_t limit, struct arena *arena, struct payment_view **out,
                           size_t *count)
{
    assert(limit >= 1 && limit <= VIEWS_LIMIT_MAX);
    enum err err = v->ops->payments_of(v, user_id, before_seq, limit, arena, out, count);
    assert(err != ERR_OK || *count <= limit);
    for (size_t i = 0; err == ERR_OK && i < *count; i++)
        assert((*out)[i].seq < (i ? (*out)[i - 1].seq : before_seq));
    return err;
}

enum err views_subscribed(struct views *v, const struct uuid *users, size_t count,
                          int64_t patience_ms, bool *out)
{
    assert(count <= VIEWS_BATCH_MAX && patience_ms >= 0);
    return count ? v->ops->subscribed(v, users, count, patience_ms, out) : ERR_OK;
}

enum err views_subscriptions_of(struct views *v, const struct uuid *user_id, struct arena *arena,
                                struct subscription_view **out, size_t *count)
{
    enum err err = v->ops->subscriptions_of(v, user_id, arena, out, count);
    assert(err != ERR_OK || *count <= 1);
    return err;
}

const char *views_why(const struct views *v)
{
    return v->ops->why(v);
}

void views_close(struct views *v)
{
    if (v)
        v->ops->close(v);
}
