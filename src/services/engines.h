/* engines.h: the store and the queue of a process: embedded (one file, one process) or distributed
 * (PostgreSQL and Apache Kafka, any number of processes). The services never know which.
 *
 * Owner: the runner opens one, hands out handles from it before its threads run, and closes it after
 * all handles. Threads: handles as ledger.h, views.h and queue.h say; run has a thread of its own. */
#ifndef SUBPAY_SERVICES_ENGINES_H
#define SUBPAY_SERVICES_ENGINES_H

#include "base/config.h"
#include "base/env.h"
#include "ledger/ledger.h"
#include "ledger/views.h"
#include "queue/queue.h"

struct engines;
struct engines_ops {
    enum err (*ledger)(struct engines *, struct ledger **out);
    enum err (*views)(struct engines *, struct views **out);
    enum err (*queue)(struct engines *, struct queue **out);
    void (*run)(struct engines *);  /* what they do in a thread, until stop */
    void (*stop)(struct engines *); /* any thread */
    /* The process ends: nobody waits for the store longer than until then (boot clock). Any thread. */
    void (*hurry)(struct engines *, int64_t boot_us);
    /* Is the store away? why says more. Never blocks on a server. */
    bool (*away)(struct engines *, char *why, size_t why_cap);
    void (*close)(struct engines *);
};
struct engines {
    const struct engines_ops *ops;
    /* This process alone has them: it makes the topics, takes over at once what a dead one leased,
     * and has a control socket. */
    bool embedded;
};

/* By the configuration. Not OK: why is a line for the operator, from the name of the variable on.
 * ERR_INVALID, ERR_VERSION and ERR_REFUSED are a matter of configuration (exit code 2). */
enum err engines_open(struct engines **out, const struct config *config, const struct env *env,
                      char *why, size_t why_cap) MUST_CHECK;
enum err engines_embedded_open(struct engines **out, const struct config *config,
                               const struct env *env, char *why, size_t why_cap) MUST_CHECK;
enum err engines_distributed_open(struct engines **out, const struct config *config,
                                  const struct env *env, char *why, size_t why_cap) MUST_CHECK;
void engines_close(struct engines *e); /* NULL is fine */

#endif
