#include "ledger/schema_text.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

const char *const OBJECT_WORDS[OBJECT_KINDS] = {
    [OBJECT_EXTENSION] = "extension",   [OBJECT_FUNCTION] = "function",
    [OBJECT_TABLE] = "table",           [OBJECT_COLUMN] = "column",
    [OBJECT_INDEX] = "index",           [OBJECT_TRIGGER] = "trigger",
    [OBJECT_CONSTRAINT] = "constraint", [OBJECT_OTHER] = "object",
};

/* ---- tokens ---- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static const char *skip_blanks(const char *p, const char *end)
{
    for (;;) {
        while (p < end && isspace((unsigned char)*p))
            p++;
        if (end - p >= 2 && p[0] == '-' && p[1] == '-') {
            const char *line = memchr(p, '\n', (size_t)(end - p));
            p = line ? line : end;
        } else if (end - p >= 2 && p[0] == '/' && p[1] == '*') {
            const char *close = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);
            p = close ? close + 2 : end;
        } else {
            return p;
        }
    }
}

/* Behind the closing quote; doubled ones stand for themselves. */
static const char *skip_quoted(const char *p, const char *end, char close)
{
    for (p++; p < end; p++)
        if (*p == close) {
            if (close == ']' || p + 1 == end || p[1] != close)
                return p + 1;
            p++;
        }
    return end;
}

/* Behind $tag$…$tag$ at p, or p when it is none. */
static const char *skip_dollars(const char *p, const char *end)
{
    const char *tag_end = p + 1;
    while (tag_end < end && is_word(*tag_end))
        tag_end++;
    if (tag_end == end || *tag_end != '$' || isdigit((unsigned char)p[1]))
        return p;
    size_t tag = (size_t)(tag_end + 1 - p);
    const char *close = memmem(p + tag, (size_t)(end - p) - tag, p, tag);
    return close ? close + tag : end;
}

struct token token_next(const char **at, const char *end)
{
    const char *p = skip_blanks(*at, end), *from = p;
    struct token t = {.kind = TOKEN_END, .text = p, .spaced = p != *at};
    if (p == end) {
        *at = p;
        return t;
    }
    if (is_word(*p)) {
        t.kind = TOKEN_WORD;
        while (p < end && is_word(*p))
            p++;
    } else if (strchr("'\"`[", *p)) {
        t.kind = TOKEN_QUOTED;
        p = skip_quoted(p, end, *p == '[' ? ']' : *p);
    } else {
        p = *p == '$' ? skip_dollars(p, end) : p;
        t.kind = p == from ? TOKEN_MARK : TOKEN_QUOTED;
        p += p == from;
    }
    t.len = (size_t)(p - from);
    *at = p;
    return t;
}

bool token_is(const struct token *t, const char *word)
{
    return t->kind != TOKEN_QUOTED && t->len == strlen(word) &&
           strncasecmp(t->text, word, t->len) == 0;
}

struct span token_name(const struct token *t)
{
    bool quoted = t->kind == TOKEN_QUOTED && t->len >= 2 && t->text[0] != '\'';
    return quoted ? (struct span){t->text + 1, t->len - 2} : (struct span){t->text, t->len};
}

static bool is_plain_name(struct span name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!islower((unsigned char)name.data[i]) && name.data[i] != '_' &&
            (i == 0 || !isdigit((unsigned char)name.data[i])))
            return false;
    return name.len > 0;
}

void schema_text_plain(const char *text, size_t len, struct str *out)
{
    const char *at = text, *end = text + len;
    struct token before = {.kind = TOKEN_END};
    for (struct token t = token_next(&at, end); t.kind != TOKEN_END; t = token_next(&at, end)) {
        bool comma = token_is(&before, ","), open = token_is(&before, "(");
        bool first = before.kind == TOKEN_END;
        if (!first && !open && !token_is(&t, ")") && !token_is(&t, ",") && (t.spaced || comma))
            str_add(out, " ");
        struct span name = token_name(&t);
        if (t.kind == TOKEN_QUOTED && t.text[0] == '"' && is_plain_name(name))
            str_add_bytes(out, name.data, name.len); /* as SQLite writes what was renamed */
        else
            str_add_bytes(out, t.text, t.len);
        before = t;
    }
}

void schema_text_name(const char *name, struct str *out)
{
    bool plain = is_plain_name((struct span){name, strlen(name)});
    str_add(out, plain ? "" : "\"");
    for (; *name; name++)
        str_add_bytes(out, *name == '"' ? "\"\"" : name, *name == '"' ? 2 : 1);
    str_add(out, plain ? "" : "\"");
}

bool schema_text_is_empty(const char *sql)
{
    const char *end = sql + strlen(sql);
    return skip_blanks(sql, end) == end;
}

/* ---- statements ---- */

/* Behind the semicolon of the statement at *at, and behind a comment on its last line. A trigger of
 * SQLite has statements of its own between BEGIN and END. False: it does not end. */
static bool statement_end(const char **at, const char *end)
{
    bool trigger = false;
    int depth = 0, words = 0;
    for (;;) {
        struct token t = token_next(at, end);
        if (t.kind == TOKEN_END)
            return false;
        trigger = trigger || (words < 4 && token_is(&t, "TRIGGER"));
        words++;
        if (trigger && (token_is(&t, "BEGIN") || token_is(&t, "CASE")))
            depth++;
        else if (trigger && token_is(&t, "END"))
            depth--;
        else if (depth <= 0 && token_is(&t, ";"))
            break;
    }
    const char *line = memchr(*at, '\n', (size_t)(end - *at));
    line = line ? line + 1 : end;
    if (skip_blanks(*at, line) == line)
        *at = line;
    return true;
}

/* The kind that CREATE names; what stands between the two words is passed over. */
static enum object_kind created_kind(const char **at, const char *end)
{
    for (int i = 0; i < 4; i++) {
        struct token t = token_next(at, end);
        for (int kind = 0; kind < OBJECT_OTHER; kind++)
            if (kind != OBJECT_COLUMN && kind != OBJECT_CONSTRAINT &&
                token_is(&t, OBJECT_WORDS[kind]))
                return (enum object_kind)kind;
    }
    return OBJECT_OTHER;
}

static void classify(struct schema_statement *s, struct span *name)
{
    const char *at = s->text, *end = s->text + s->len;
    struct token t = token_next(&at, end);
    *name = (struct span){"", 0};
    s->kind = OBJECT_OTHER;
    if (token_is(&t, "INSERT")) {
        t = token_next(&at, end);
        s->rows = token_is(&t, "INTO");
        s->kind = s->rows ? OBJECT_TABLE : OBJECT_OTHER;
    } else if (token_is(&t, "CREATE")) {
        s->kind = created_kind(&at, end);
    }
    if (s->kind == OBJECT_OTHER)
        return;
    t = token_next(&at, end);
    if (token_is(&t, "IF")) /* NOT EXISTS */
        for (int i = 0; i < 3; i++)
            t = token_next(&at, end);
    *name = token_name(&t);
}

enum err schema_text_split(const char *sql, struct arena *arena, struct schema_statement **out,
                           size_t *count)
{
    const char *at = sql, *end = sql + strlen(sql);
    struct schema_statement *list =
        arena_array(arena, struct schema_statement, SCHEMA_STATEMENTS_MAX);
    if (!list)
        return ERR_NO_MEMORY;
    for (*count = 0; skip_blanks(at, end) != end; (*count)++) {
        if (*count == SCHEMA_STATEMENTS_MAX)
            return ERR_INVALID;
        struct schema_statement *s = &list[*count];
        struct span name;
        s->text = at;
        if (!statement_end(&at, end))
            return ERR_INVALID;
        s->len = (size_t)(at - s->text);
        classify(s, &name);
        s->name = arena_text(arena, name.data, name.len);
        if (!s->name)
            return ERR_NO_MEMORY;
    }
    *out = list;
    return ERR_OK;
}
