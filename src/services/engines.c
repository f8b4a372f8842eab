#include "services/engines.h"

enum err engines_open(struct engines **out, const struct config *config, const struct env *env,
                      char *why, size_t why_cap)
{
    return config->postgres ? engines_distributed_open(out, config, env, why, why_cap)
                            : engines_embedded_open(out, config, env, why, why_cap);
}

void engines_close(struct engines *e)
{
    if (e)
        e->ops->close(e);
}
