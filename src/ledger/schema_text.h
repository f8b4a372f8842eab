/* schema_text.h: SQL as far as migrations have to read it: tokens, statements, one way to write a
 * definition. Pure; what is handed out points into the text that was given, or lives in the arena. */
#ifndef SUBPAY_LEDGER_SCHEMA_TEXT_H
#define SUBPAY_LEDGER_SCHEMA_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define SCHEMA_STATEMENTS_MAX 1000

enum token_kind {
    TOKEN_END,
    TOKEN_WORD,   /* also numbers */
    TOKEN_QUOTED, /* '…', "…", `…`, […] or $tag$…$tag$, with what stands around it */
    TOKEN_MARK,   /* one byte of anything else */
};
struct token {
    enum token_kind kind;
    const char *text;
    size_t len;
    bool spaced; /* blanks or comments stand before it */
};
/* The next one from *at, which moves behind it; TOKEN_END for ever at the end. */
struct token token_next(const char **at, const char *end);
bool token_is(const struct token *t, const char *word); /* any case; a mark is a word of one byte */
/* The name that an identifier means: without its quotes. */
struct span token_name(const struct token *t);

/* Appends the text with its comments and line breaks gone and its blanks where they have to be: two
 * texts that differ in nothing else become the same. */
void schema_text_plain(const char *text, size_t len, struct str *out);

/* An identifier, in quotes where it needs them (words with a meaning in SQL excepted). */
void schema_text_name(const char *name, struct str *out);

/* What a statement makes. The order is that of making them within a table. */
enum object_kind {
    OBJECT_EXTENSION,
    OBJECT_FUNCTION,
    OBJECT_TABLE,
    OBJECT_COLUMN,
    OBJECT_CONSTRAINT, /* of a table, over more than one column */
    OBJECT_INDEX,
    OBJECT_TRIGGER,
    OBJECT_OTHER, /* views, sequences: no schema of ours has any */
    OBJECT_KINDS
};
extern const char *const OBJECT_WORDS[OBJECT_KINDS];

struct schema_statement {
    const char *text; /* with the comments before it and, on its last line, behind it */
    size_t len;
    bool rows;             /* an INSERT: kind is OBJECT_TABLE */
    enum object_kind kind; /* OBJECT_OTHER also for what is none of them */
    const char *name;      /* of what it makes, or the table whose rows it adds; "" for other */
};
/* ERR_INVALID: it does not end where it should, or there are too many. */
enum err schema_text_split(const char *sql, struct arena *arena, struct schema_statement **out,
                           size_t *count) MUST_CHECK;
/* Blanks and comments alone. */
bool schema_text_is_empty(const char *sql);

#endif
