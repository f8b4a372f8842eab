#include "ledger/ledger.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "ledger/ledger_driver.h"

#define PAUSE_MAX_US (366 * US_PER_DAY) /* a lease or pause beyond this is a bug */

static bool ends(const char *text, size_t cap)
{
    return memchr(text, '\0', cap) != NULL;
}

static bool topic_valid(const char *topic)
{
    return topic && topic[0] != '\0' && strnlen(topic, LEDGER_TOPIC_MAX + 1) <= LEDGER_TOPIC_MAX;
}

static bool position_valid(const struct ledger_position *p)
{
    return ends(p->topic, sizeof p->topic) && topic_valid(p->topic) &&
           ends(p->log_id, sizeof p->log_id) && p->partition >= 0 && p->next >= 0;
}

static bool pause_valid(int64_t pause_us)
{
    return pause_us >= 0 && pause_us <= PAUSE_MAX_US;
}

static bool record_valid(const struct ledger_record *r)
{
    const struct request *q = &r->request;
    bool names_target = !uuid_is_nil(&q->refund_of);
    return (unsigned)q->payment_type < PAYMENT_TYPE_COUNT &&
           (unsigned)q->subscription_type < SUBSCRIPTION_TYPE_COUNT &&
           ends(q->payment_method, sizeof q->payment_method) && ends(q->actor, sizeof q->actor) &&
           (!names_target || q->payment_type == PAYMENT_TYPE_REFUND);
}

enum err ledger_append(struct ledger *l, struct ledger_record *records, size_t count,
                       const struct ledger_position *from, const struct ledger_position *to)
{
    size_t refused = 0;
    assert(count <= LEDGER_BATCH_MAX && (records || count == 0));
    assert(position_valid(from) && position_valid(to) && to->partitions > 0);
    assert(strcmp(from->topic, to->topic) == 0 && from->partition == to->partition);
    assert(to->next >= from->next);
    for (size_t i = 0; i < count; i++)
        assert(record_valid(&records[i]));
    CRASH_POINT("ledger.append.before");
    enum err err = l->ops->append(l, records, count, from, to);
    CRASH_POINT("ledger.append.after");
    if (err == ERR_OK || err == ERR_REFUSED) {
        for (size_t i = 0; i < count; i++) {
            bool is_refused = records[i].verdict == APPEND_REFUSED;
            assert(is_refused == (records[i].reject != REJECT_NONE));
            refused += is_refused;
        }
        assert((refused > 0) == (err == ERR_REFUSED));
    }
    return err;
}

enum err ledger_position(struct ledger *l, const char *topic, int32_t partition,
                         struct ledger_position *out)
{
    assert(topic_valid(topic) && partition >= 0);
    enum err err = l->ops->position(l, topic, partition, out);
    assert(err != ERR_OK || position_valid(out));
    return err;
}

enum err ledger_rewind(struct ledger *l, const char *topic, int32_t partition, int64_t next)
{
    assert(topic_valid(topic) && partition >= 0 && next >= 0);
    enum err err = l->ops->rewind(l, topic, partition, next);
    CRASH_POINT("ledger.rewind.after");
    return err;
}

/* What a processor is about to send or ask about has to be whole. */
static void attempts_check(const struct attempt *attempts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct attempt *a = &attempts[i];
        assert(a->seq > 0 && !uuid_is_nil(&a->payment_id) && !uuid_is_nil(&a->user_id));
        assert(a->body && a->body_len > 0 && money_known(&a->money));
        assert(a->tries >= 0 && a->pending_us >= 0);
        assert(uuid_is_nil(&a->refund_of) || a->payment_type == PAYMENT_TYPE_REFUND);
        assert(a->pending || (!a->expired && !a->superseded));
        assert(!a->ask_first || a->ask_only);
    }
}

enum err ledger_claim(struct ledger *l, const struct ledger_claim *claim, struct arena *arena,
                      struct ledger_claimed *out)
{
    assert(claim->users_max >= 1 && claim->users_max <= LEDGER_CLAIM_MAX && claim->encode);
    assert(claim->lease_us > 0 && pause_valid(claim->lease_us));
    assert(claim->instance_id && strlen(claim->instance_id) <= LEDGER_INSTANCE_MAX);
    assert(!claim->boot_id || strlen(claim->boot_id) < CLOCK_BOOT_ID);
    enum err err = l->ops->claim(l, claim, arena, out);
    if (err == ERR_OK && out->users)
        CRASH_POINT("ledger.claim.after");
    if (err == ERR_OK) {
        assert(out->users <= claim->users_max && out->attempt_count <= out->users);
        attempts_check(out->attempts, out->attempt_count);
    }
    return err;
}

enum err ledger_due(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                    struct attempt **out, size_t *count)
{
    assert(max >= 1 && max <= LEDGER_BATCH_MAX && lease_us > 0 && pause_valid(lease_us));
    enum err err = l->ops->due(l, max, lease_us, arena, out, count);
    if (err == ERR_OK && *count)
        CRASH_POINT("ledger.due.after");
    if (err == ERR_OK) {
        assert(*count <= max);
        attempts_check(*out, *count);
    }
    return err;
}

enum err ledger_attempt(struct ledger *l, const struct uuid *payment_id, struct arena *arena,
                        struct attempt **out)
{
    enum err err = l->ops->attempt(l, payment_id, arena, out);
    if (err == ERR_OK)
        attempts_check(*out, 1);
    return err;
}

static bool fact_valid(const struct fact *f)
{
    bool error = f->outcome == PAYMENT_ERROR;
    if (f->voided)
        return error && ends(f->processing_id, sizeof f->processing_id);
    return (f->outcome == PAYMENT_ACCEPTED || f->outcome == PAYMENT_DECLINE || error) &&
           error == (f->reason != REASON_NONE) && (unsigned)f->reason < REASON_COUNT &&
           ends(f->processing_id, sizeof f->processing_id);
}

enum err ledger_settle(struct ledger *l, struct fact *facts, size_t count)
{
    assert(count <= LEDGER_BATCH_MAX && (facts || count == 0));
    for (size_t i = 0; i < count; i++)
        assert(fact_valid(&facts[i]));
    for (size_t i = 0; i < count; i++)
        if (facts[i].voided) /* out, not in; perhaps of an earlier call */
            facts[i].reason = REASON_NONE;
    if (count == 0)
        return ERR_OK;
    CRASH_POINT("ledger.settle.before");
    enum err err = l->ops->settle(l, facts, count);
    CRASH_POINT("ledger.settle.after");
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        bool done = facts[i].verdict == SETTLE_DONE;
        assert(done || facts[i].waiting_duplicated == 0);
        assert(!done || (facts[i].outcome == PAYMENT_ERROR) == (facts[i].reason != REASON_NONE));
    }
    return err;
}

enum err ledger_defer(struct ledger *l, const struct deferral *deferrals, size_t count)
{
    assert(count <= LEDGER_BATCH_MAX && (deferrals || count == 0));
    for (size_t i = 0; i < count; i++) {
        assert(pause_valid(deferrals[i].pause_us));
        assert(ends(deferrals[i].note, sizeof deferrals[i].note));
        assert(ends(deferrals[i].action_url, sizeof deferrals[i].action_url));
    }
    if (count == 0)
        return ERR_OK;
    CRASH_POINT("ledger.defer.before");
    enum err err = l->ops->defer(l, deferrals, count);
    CRASH_POINT("ledger.defer.after");
    return err;
}

static bool text_valid(const char *text, size_t max)
{
    size_t len = text ? strnlen(text, max + 1) : 0;
    return len >= 1 && len <= max && text_is_utf8(text, len);
}

enum err ledger_decide(struct ledger *l, struct ledger_decision *decision)
{
    assert(!uuid_is_nil(&decision->payment_id));
    assert(decision->outcome == PAYMENT_ACCEPTED || decision->outcome == PAYMENT_DECLINE ||
           decision->outcome == PAYMENT_ERROR);
    assert(text_valid(decision->evidence, LEDGER_EVIDENCE_MAX));
    assert(text_valid(decision->actor, LEDGER_ACTOR_MAX));
    return l->ops->decide(l, decision);
}

/* ---- learn ---- */

static bool instance_valid(const char *instance_id)
{
    return instance_id && strnlen(instance_id, LEDGER_INSTANCE_MAX + 1) <= LEDGER_INSTANCE_MAX;
}

static void entry_check(const struct journal_entry *e)
{
    const struct request *r = &e->request;
    assert(!uuid_is_nil(&r->payment_id) && money_known(&e->money));
    assert(e->body && e->body_len > 0 && e->processing_id && e->action_url);
    assert(strlen(e->action_url) <= LEDGER_URL_MAX);
    assert(strlen(e->processing_id) <= LEDGER_EXTERNAL_ID_MAX);
    assert(!e->voided || e->answer == LEARN_ERROR);
}

enum err ledger_reading(struct ledger *l, const char *instance_id, struct ledger_reading *out)
{
    assert(instance_valid(instance_id));
    enum err err = l->ops->reading(l, instance_id, out);
    assert(err != ERR_OK || (out->from >= 0 && out->began >= 0));
    return err;
}

enum err ledger_learn(struct ledger *l, const struct ledger_reading *reading,
                      const struct journal_entry *entries, size_t count, struct ledger_learned *out)
{
    int64_t last = reading->from;
    assert(instance_valid(reading->instance_id) && last >= 0 && count <= JOURNAL_LINES_MAX);
    for (size_t i = 0; i < count; i++) {
        assert(entries[i].seq > last && !uuid_is_nil(&entries[i].request.user_id));
        entry_check(&entries[i]);
        last = entries[i].seq;
    }
    if (count == 0) {
        *out = (struct ledger_learned){0};
        return ERR_OK;
    }
    CRASH_POINT("ledger.learn.before");
    enum err err = l->ops->learn(l, reading, entries, count, out);
    CRASH_POINT("ledger.learn.after");
    return err;
}

enum err ledger_learned_all(struct ledger *l, const struct uuid *waited, struct uuid *stands)
{
    enum err err = l->ops->learned_all(l, waited, stands);
    CRASH_POINT("ledger.learned_all.after");
    return err;
}

enum err ledger_asked(struct ledger *l, const char *instance_id, const struct journal_entry *entry,
                      struct ledger_learned *out)
{
    assert(instance_valid(instance_id));
    entry_check(entry);
    return l->ops->asked(l, instance_id, entry, out);
}

enum err ledger_asked_unknown(struct ledger *l, const struct uuid *payment_id)
{
    return l->ops->asked_unknown(l, payment_id);
}

enum err ledger_instance(struct ledger *l, char out[LEDGER_INSTANCE_MAX + 1])
{
    enum err err = l->ops->instance(l, out);
    assert(err != ERR_OK || ends(out, LEDGER_INSTANCE_MAX + 1));
    return err;
}

enum err ledger_mark_restored(struct ledger *l, int64_t *marked)
{
    return l->ops->mark_restored(l, marked);
}

enum err ledger_mark_queued(struct ledger *l, const char *topic, int32_t partition, int64_t next)
{
    assert(ends(topic, LEDGER_TOPIC_MAX + 1) && partition >= 0 && next >= 0);
    return l->ops->mark_queued(l, topic, partition, next);
}

/* ---- tell ---- */

enum err ledger_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                       struct telling **out, size_t *count)
{
    assert(max >= 1 && max <= LEDGER_BATCH_MAX && lease_us > 0 && pause_valid(lease_us));
    enum err err = l->ops->untold(l, max, lease_us, arena, out, count);
    if (err == ERR_OK && *count)
        CRASH_POINT("ledger.untold.after");
    if (err != ERR_OK)
        return err;
    assert(*count <= max);
    for (size_t i = 0; i < *count; i++)
        assert((*out)[i].payment_status != PAYMENT_UNKNOWN);
    return ERR_OK;
}

enum err ledger_told(struct ledger *l, const struct told *told, size_t count)
{
    assert(count <= LEDGER_BATCH_MAX && (told || count == 0));
    for (size_t i = 0; i < count; i++) {
        if (told[i].again)
            assert(pause_valid(told[i].pause_us));
        else
            assert((unsigned)told[i].notification < NOTIFICATION_COUNT);
    }
    if (count == 0)
        return ERR_OK;
    CRASH_POINT("ledger.told.before");
    enum err err = l->ops->told(l, told, count);
    CRASH_POINT("ledger.told.after");
    return err;
}

enum err ledger_counts(struct ledger *l, struct ledger_counts *out)
{
    enum err err = l->ops->counts(l, out);
    assert(err != ERR_OK || (out->undecided >= 0 && out->undecided_oldest_us >= 0));
    return err;
}

enum err ledger_heartbeat(struct ledger *l, const char *service)
{
    assert(text_valid(service, LEDGER_SERVICE_MAX));
    return l->ops->heartbeat(l, service);
}

enum err ledger_recover(struct ledger *l)
{
    enum err err = l->ops->recover(l);
    CRASH_POINT("ledger.recover.after");
    return err;
}

void ledger_watch(struct ledger *l, void (*fn)(void *ctx, unsigned changes), void *ctx)
{
    l->ops->watch(l, fn, ctx);
}

const char *ledger_why(const struct ledger *l)
{
    return l->ops->why(l);
}

void ledger_close(struct ledger *l)
{
    if (l)
        l->ops->close(l);
}
