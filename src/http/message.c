#include "http/message.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"

const char *http_method_text(enum http_method m)
{
    switch (m) {
    case HTTP_GET:
        return "GET";
    case HTTP_HEAD:
        return "HEAD";
    case HTTP_POST:
        return "POST";
    case HTTP_PUT:
        return "PUT";
    case HTTP_PATCH:
        return "PATCH";
    case HTTP_DELETE:
        return "DELETE";
    case HTTP_OPTIONS:
        return "OPTIONS";
    case HTTP_TRACE:
        return "TRACE";
    case HTTP_OTHER:
        break;
    }
    return "OTHER";
}

const char *http_header(const struct http_request *r, const char *name, int *count)
{
    const char *value = NULL;
    int found = 0;
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, name) != 0)
            continue;
        if (found++ == 0)
            value = r->headers[i].value;
        if (!count)
            break;
    }
    if (count)
        *count = found;
    return value;
}

bool http_target_split(const char *target, char *buffer, size_t cap, struct http_request *r)
{
    const char *start = target;
    if (*target != '/' && *target != '*') {
        start = strstr(target, "://");
        if (!start)
            return false;
        start += 3 + strcspn(start + 3, "/?");
    }
    if (!text_copy(buffer, cap, start))
        return false;
    char *mark = strchr(buffer, '?');
    if (mark)
        *mark = '\0';
    r->query = mark ? mark + 1 : "";
    r->path = buffer[0] ? buffer : "/";
    return true;
}
