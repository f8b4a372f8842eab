#include "cli/processing_url.h"

#include <stdio.h>
#include <string.h>

bool simulator_url(const struct config *c, char *out, size_t cap)
{
    char host[CONFIG_TEXT];
    int port;
    if (!config_split_address(c->processing_listen, host, sizeof host, &port) || port == 0)
        return false;
    const char *name = host[0] == '\0' ? "127.0.0.1" : host;
    int len = strchr(name, ':') != NULL ? snprintf(out, cap, "http://[%s]:%d", name, port)
                                        : snprintf(out, cap, "http://%s:%d", name, port);
    return len > 0 && (size_t)len < cap;
}

bool processing_url(const struct config *c, char *out, size_t cap)
{
    return c->processor[0] != '\0' ? text_copy(out, cap, c->processor)
                                   : !c->prod && simulator_url(c, out, cap);
}
