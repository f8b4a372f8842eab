#include "cli/audit_accepted.h"

#include <string.h>

#include "base/uuid.h"

#define LINE_MAX_BYTES 128 /* an id with room for blanks */
#define BLANKS " \t\r\n"

/* false: it is no id. *blank: there is nothing in it. */
static bool line_id(const char *line, bool *blank, char id[UUID_TEXT])
{
    struct uuid parsed;
    const char *start = line + strspn(line, BLANKS);
    size_t len = strcspn(start, BLANKS);
    *blank = *start == '\0';
    if (*blank)
        return true;
    if (start[len + strspn(start + len, BLANKS)] != '\0' || !uuid_parse(start, len, &parsed))
        return false;
    uuid_format(&parsed, id);
    return true;
}

static enum err accepted_read(void *ctx, enum err (*each)(void *, const char *, int64_t), void *to)
{
    struct audit_accepted *a = ctx;
    char line[LINE_MAX_BYTES], id[UUID_TEXT];
    for (int64_t n = 1; fgets(line, sizeof line, a->file) != NULL; n++) {
        bool blank;
        if (!line_id(line, &blank, id) ||
            (strchr(line, '\n') == NULL && strlen(line) + 1 == sizeof line)) {
            snprintf(a->why, sizeof a->why, "line %lld: %.40s: allowed are payment ids, one a line",
                     (long long)n, line);
            return ERR_INVALID;
        }
        enum err err = blank ? ERR_OK : each(to, id, n);
        if (err != ERR_OK)
            return err;
    }
    if (!ferror(a->file))
        return ERR_OK;
    snprintf(a->why, sizeof a->why, "reading failed");
    return ERR_IO;
}

struct accepted_source audit_accepted_source(struct audit_accepted *a)
{
    a->why[0] = '\0';
    return (struct accepted_source){.read = accepted_read, .ctx = a};
}
