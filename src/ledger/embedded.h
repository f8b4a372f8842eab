/* embedded.h: the one file of the embedded engines: who holds it, and the handles over it.
 *
 * DATA_DIR/subpay.db holds store and queue; DATA_DIR/subpay.lock is held by the one process that
 * writes (a lock of the open file, F_OFD_SETLK, so that asking does not take it), and contains its
 * pid. Opening migrates. In the simulated world the file is in memory and there is no lock; all
 * handles then share the one connection. */
#ifndef SUBPAY_LEDGER_EMBEDDED_H
#define SUBPAY_LEDGER_EMBEDDED_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/db.h"
#include "base/random.h"
#include "base/writer.h"
#include "ledger/ledger.h"
#include "ledger/views.h"

struct embedded;

/* Takes the lock, opens and migrates. ERR_LOCKED: why names the pid. ERR_INVALID: data_dir cannot be
 * used. why stands behind "DATA_DIR=…: ", which the caller puts there. Makes data_dir (0700) if need be. */
enum err embedded_open(struct embedded **out, const char *data_dir, struct clock *clock,
                       struct random *random, char *why, size_t why_cap) MUST_CHECK;
enum err embedded_open_memory(struct embedded **out, struct clock *clock,
                              struct random *random) MUST_CHECK;
void embedded_close(
    struct embedded *e); /* after all handles and the writer's thread; NULL is fine */
struct writer *
embedded_writer(struct embedded *e); /* for the runner's thread and the local queue */
/* A reading connection of its own, or in memory the shared one; closed by embedded_reader_close. */
enum err embedded_reader(struct embedded *e, struct db **out) MUST_CHECK;
void embedded_reader_close(struct embedded *e, struct db *db);

enum err embedded_ledger(struct embedded *e, struct ledger **out) MUST_CHECK;
enum err embedded_views(struct embedded *e, struct views **out) MUST_CHECK;

/* The lock alone, for commands that write without the services. *fd is for embedded_unlock. Makes
 * data_dir. migrator: says so in the file, and so others know that waiting is worth while. */
enum err embedded_lock(int *fd, const char *data_dir, bool migrator, char *why,
                       size_t why_cap) MUST_CHECK;
/* The same for the simulator's journal, which is a file of its own: DATA_DIR/processing.lock. */
enum err embedded_lock_simulator(int *fd, const char *data_dir, char *why,
                                 size_t why_cap) MUST_CHECK;
void embedded_unlock(int fd); /* -1 is fine */
/* The pid in the lock file of a process that holds it, 0 when nobody does. */
pid_t embedded_holder(const char *data_dir);
bool embedded_holder_migrates(const char *data_dir);
/* The path of the database file of data_dir; "" when it does not fit. */
void embedded_path(const char *data_dir, char *out, size_t cap);

#endif
