/* processing_url.h: where a command finds the processing. */
#ifndef SUBPAY_CLI_PROCESSING_URL_H
#define SUBPAY_CLI_PROCESSING_URL_H

#include "base/config.h"

/* PROCESSING_LISTEN as a URL; false: it has no port to call. */
bool simulator_url(const struct config *c, char *out, size_t cap);
/* PROCESSOR, in dev else the simulator; false: there is none. */
bool processing_url(const struct config *c, char *out, size_t cap);

#endif
