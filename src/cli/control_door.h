/* control_door.h: how a command that writes reaches the store. PostgreSQL: like any process. The embedded file: through
 * DATA_DIR/control.sock when a process holds it, else by taking the lock itself; that process may come or go between
 * two tries. One thread. */
#ifndef SUBPAY_CLI_CONTROL_DOOR_H
#define SUBPAY_CLI_CONTROL_DOOR_H

#include "base/config.h"
#include "base/str.h"
#include "ledger/embedded.h"
#include "ledger/postgres.h"
#include "services/control.h"

#define CONTROL_WHY_MAX 512
#define OPERATOR_MAX (LEDGER_ACTOR_MAX + 1)

struct control_request {
    const char *method, *path; /* path: from the slash on, percent-encoded */
    const char *type;          /* of the body; NULL: there is none */
    const struct str *body;
    const char *actor; /* NULL, or the Actor header */
};
struct control_reply {
    int status;                /* 0: no answer */
    enum err err;              /* OK for 2xx; IO: not known whether it was done */
    char why[CONTROL_WHY_MAX]; /* not OK: the detail of the problem, or what happened */
    int64_t number;            /* the one number of a 2xx answer, 0: none */
};

/* Tries for a few seconds. `own` is called when nobody holds the file: OK: it is ours now (*ours), and nothing was
 * sent; ERR_LOCKED: somebody was faster; else it ends with that, and `own` has said why. */
enum err control_reach(const struct config *config, const struct control_request *request,
                       enum err (*own)(void *ctx), void *ctx, bool *ours,
                       struct control_reply *reply) MUST_CHECK;

/* The file in our own hands, or PostgreSQL. */
struct own_store {
    struct embedded *embedded;
    struct postgres *postgres;
    struct ledger *ledger;
    char why[CONTROL_WHY_MAX];
};
/* ERR_NOT_FOUND: there is no file yet; none is made. why says more. */
enum err own_store_open(struct own_store *s, const struct config *config) MUST_CHECK;
void own_store_close(struct own_store *s); /* also one that was not opened */

/* A command on the store: through the socket, or `alone` with the store in our own hands. Prints what is wrong, and
 * returns the exit code; 0 when `alone` returned it, or the answer was 2xx: then *number is its number. */
int store_command(const char *name, const struct config *config,
                  const struct control_request *request,
                  int (*alone)(void *ctx, struct own_store *store), void *ctx, int64_t *number);

/* "operator:<login>": who works here. */
void operator_name(char out[OPERATOR_MAX]);

#endif
