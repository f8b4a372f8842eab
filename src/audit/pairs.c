#include "audit/pairs.h"

#include <assert.h>
#include <string.h>

#include "base/embed.h"

#define TEXT(number) #number
#define NUMBER(name) TEXT(name)

/* The next statement with the comments before it; *at moves behind its ';'. *sql NULL: only
 * blanks are left. */
static enum err statement_next(struct arena *texts, const char **at, const char **sql)
{
    const char *start = *at, *p = start;
    bool comment = false, quoted = false, text = false;
    for (; *p != '\0'; p++) {
        if (comment)
            comment = *p != '\n';
        else if (quoted)
            quoted = *p != '\'';
        else if (*p == ';')
            break;
        else if (*p == '-' && p[1] == '-')
            comment = true;
        else if (*p == '\'')
            quoted = true;
        else if (*p != ' ' && *p != '\n' && *p != '\r' && *p != '\t')
            text = true;
    }
    *at = *p == ';' ? p + 1 : p;
    *sql = text ? arena_text(texts, start, (size_t)(p - start)) : NULL;
    return text && *sql == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* "-- I2: what must hold" */
static void title_read(struct audit_invariant *inv, const char *text)
{
    size_t len = strcspn(text, "\n");
    const char *colon = memchr(text, ':', len);
    assert(strncmp(text, "-- I", 4) == 0 && colon != NULL); /* the files are part of the program */
    const char *title = colon + 1 + strspn(colon + 1, " ");
    bool fits = text_copy_n(inv->id, sizeof inv->id, text + 3, (size_t)(colon - text) - 3);
    fits &= text_copy_n(inv->title, sizeof inv->title, title, len - (size_t)(title - text));
    assert(fits);
    (void)fits;
}

/* All rows are counted where they are; the first ones travel. */
static const char *asked(struct arena *texts, const char *rows)
{
    struct str s;
    str_init(&s, AUDIT_PAIRS_BYTES_MAX);
    str_addf(&s, "SELECT count(*) OVER (), q.* FROM (%s\n) q LIMIT " NUMBER(AUDIT_EXAMPLES_MAX),
             rows);
    const char *text = s.failed ? NULL : arena_text(texts, s.data, s.len);
    str_release(&s);
    return text;
}

static enum err file_read(struct pairs *out, int invariant, const char *text, struct arena *texts)
{
    for (;;) {
        struct pair p = {.invariant = invariant};
        enum err err = statement_next(texts, &text, &p.count);
        if (err == ERR_OK && p.count != NULL)
            err = statement_next(texts, &text, &p.rows);
        if (err != ERR_OK || p.count == NULL)
            return err;
        assert(p.rows != NULL && out->count < AUDIT_PAIRS_MAX);
        p.rows = asked(texts, p.rows);
        if (p.rows == NULL)
            return ERR_NO_MEMORY;
        p.needs_journal = strstr(p.count, "Needs the journal.") != NULL;
        p.needs_log = strstr(p.count, "Needs the log.") != NULL;
        p.listed = strstr(p.count, "Listed, not judged.") != NULL;
        p.at_once = strstr(p.count, "At once.") != NULL;
        out->all[out->count++] = p;
    }
}

enum err pairs_read(struct pairs *out, struct audit_report *report, struct arena *texts)
{
    enum err err = ERR_OK;
    out->count = report->count = 0;
    for (size_t i = 0; i < AUDIT_FILES_COUNT && err == ERR_OK; i++) {
        assert(report->count < AUDIT_INVARIANTS_MAX);
        struct audit_invariant *inv = &report->invariants[report->count];
        *inv = (struct audit_invariant){.checked_at_all = true};
        title_read(inv, AUDIT_FILES[i].data);
        err = file_read(out, report->count++, AUDIT_FILES[i].data, texts);
    }
    return err;
}
