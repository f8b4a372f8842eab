/* ledger_driver.h: what a ledger driver implements; for ledger.c, the drivers and the simulated
 * world only.
 *
 * The front file ledger.c has checked the arguments before a driver sees them and checks the
 * results after. */
#ifndef SUBPAY_LEDGER_LEDGER_DRIVER_H
#define SUBPAY_LEDGER_LEDGER_DRIVER_H

#include "ledger/catalog.h"
#include "ledger/ledger.h"

struct ledger_ops {
    enum err (*append)(struct ledger *, struct ledger_record *, size_t,
                       const struct ledger_position *from, const struct ledger_position *to);
    enum err (*position)(struct ledger *, const char *topic, int32_t partition,
                         struct ledger_position *out);
    enum err (*rewind)(struct ledger *, const char *topic, int32_t partition, int64_t next);
    enum err (*claim)(struct ledger *, const struct ledger_claim *, struct arena *,
                      struct ledger_claimed *);
    enum err (*due)(struct ledger *, size_t max, int64_t lease_us, struct arena *,
                    struct attempt **, size_t *);
    enum err (*attempt)(struct ledger *, const struct uuid *, struct arena *, struct attempt **);
    enum err (*settle)(struct ledger *, struct fact *, size_t);
    enum err (*defer)(struct ledger *, const struct deferral *, size_t);
    enum err (*decide)(struct ledger *, struct ledger_decision *);
    enum err (*reading)(struct ledger *, const char *instance_id, struct ledger_reading *);
    enum err (*learn)(struct ledger *, const struct ledger_reading *, const struct journal_entry *,
                      size_t, struct ledger_learned *);
    enum err (*learned_all)(struct ledger *, const struct uuid *waited, struct uuid *stands);
    enum err (*asked)(struct ledger *, const char *instance_id, const struct journal_entry *,
                      struct ledger_learned *);
    enum err (*asked_unknown)(struct ledger *, const struct uuid *);
    enum err (*instance)(struct ledger *, char out[LEDGER_INSTANCE_MAX + 1]);
    enum err (*mark_restored)(struct ledger *, int64_t *marked);
    enum err (*mark_queued)(struct ledger *, const char *topic, int32_t partition, int64_t next);
    enum err (*untold)(struct ledger *, size_t max, int64_t lease_us, struct arena *,
                       struct telling **, size_t *);
    enum err (*told)(struct ledger *, const struct told *, size_t);
    enum err (*counts)(struct ledger *, struct ledger_counts *);
    enum err (*heartbeat)(struct ledger *, const char *service);
    enum err (*recover)(struct ledger *);
    enum err (*price_add)(struct ledger *, const struct price *, const char *actor,
                          enum catalog_verdict *);
    enum err (*price_delete)(struct ledger *, enum subscription_type, struct date,
                             const char *actor, enum catalog_verdict *);
    void (*watch)(struct ledger *, void (*fn)(void *, unsigned), void *ctx);
    const char *(*why)(const struct ledger *);
    void (*close)(struct ledger *);
};

#endif
