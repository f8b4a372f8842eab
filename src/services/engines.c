#include "services/engines.h"

#include <stdio.h>

enum err engines_open(struct engines **out, const struct config *config, const struct env *env,
                      char *why, size_t why_cap)
{
    if (!config->postgres && !config->kafka)
        return engines_embedded_open(out, config, env, why, why_cap);
    (void)snprintf(why, why_cap,
                   "DATABASE_URL and KAFKA_HOST: this version has the embedded engines "
                   "only; allowed is to leave them unset");
    return ERR_INVALID;
}

void engines_close(struct engines *e)
{
    if (e)
        e->ops->close(e);
}
