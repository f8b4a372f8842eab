/* audit_accepted.h: `subpay audit --accepted FILE`: ids that a client was told, one a line; blank
 * lines do not count. */
#ifndef SUBPAY_CLI_AUDIT_ACCEPTED_H
#define SUBPAY_CLI_AUDIT_ACCEPTED_H

#include <stdio.h>

#include "audit/audit.h"

struct audit_accepted {
    FILE *file;
    char why[256]; /* ERR_INVALID or ERR_IO: which line, and what it is */
};

/* A source over `a`, which must outlive it; it reads the file to its end, once. */
struct accepted_source audit_accepted_source(struct audit_accepted *a);

#endif
