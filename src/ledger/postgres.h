/* postgres.h: PostgreSQL as the store: its settings, and the handles over it.
 *
 * Every handle has a connection of its own, made again after it broke (base/db.h), so that any
 * number of processes and threads work side by side. The locks are the database's: accounts before
 * payments, users in the order of their ids. A verb that answers ERR_UNREACHABLE may have happened:
 * repeat it, as ledger.h says. Nobody owns the store, so ledger_recover is not for it: what a dead
 * process leased is free when the lease is over.
 *
 * After commits the watchers of this process are told, and the other processes by one NOTIFY a
 * transaction, which postgres_listen takes. Both only shorten waits: everybody polls. Behind a
 * transaction pooler there is no LISTEN. */
#ifndef SUBPAY_LEDGER_POSTGRES_H
#define SUBPAY_LEDGER_POSTGRES_H

#include "base/clock.h"
#include "base/db.h"
#include "base/random.h"
#include "ledger/ledger.h"
#include "ledger/views.h"

struct postgres;

struct postgres_settings {
    const char *url;     /* postgresql://…; copied */
    struct clock *clock; /* NULL: the database's own; another one is for the simulated world */
    bool notify;         /* tell other processes; off: they only poll */
};
/* Connects once and refuses what cannot be the store: ERR_VERSION, why: the schema is not one that
 * this program may run on, with the command to run; ERR_REFUSED, why: a setting of the server that
 * loses commits (fsync, full_page_writes, synchronous_commit), or it is a standby; ERR_UNREACHABLE,
 * also when an answer takes more than 8 s.
 * why never shows a password. random is used by all handles: that of the kernel, or one thread. */
enum err postgres_open(struct postgres **out, const struct postgres_settings *settings,
                       struct random *random, char *why, size_t why_cap) MUST_CHECK;
void postgres_close(struct postgres *p); /* after all handles; NULL is fine */

/* No round trip of any handle, under way or new, lasts longer than until then (boot clock): a server
 * that does not answer must not keep a process from ending. Any thread. */
void postgres_end_at(struct postgres *p, int64_t boot_us);

/* Each connects. */
enum err postgres_ledger(struct postgres *p, struct ledger **out) MUST_CHECK;
enum err postgres_views(struct postgres *p, struct views **out) MUST_CHECK;
/* A connection for long readings (audit) or for migrations; db_close ends it. */
enum err postgres_connection(struct postgres *p, enum db_mode mode, struct db **out) MUST_CHECK;

/* Waits until another process has told something, or timeout_ms, or wake_fd is readable, and tells
 * the watchers of this process. For one thread, which does nothing else. ERR_REFUSED: there is a
 * pooler in between, so don't. */
enum err postgres_listen(struct postgres *p, int64_t timeout_ms, int wake_fd) MUST_CHECK;

#endif
