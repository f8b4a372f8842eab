/* json.h: strict JSON in, plain JSON out. json.c is the only file that knows jansson.
 *
 * Reading refuses a member twice, a lone surrogate, invalid UTF-8, U+0000 (also escaped), trailing
 * bytes, and nesting deeper than 16. All of it is 400 by contract section 5, though RFC 8259 would
 * parse some: texts end at a NUL here, and no request needs the depth. A number that no C type holds is still JSON: it
 * reads as a number that is no integer. A document is owned by the caller (json_free), its values
 * live as long as it does. Values may be NULL: every getter takes NULL and answers "no". One thread
 * at a time. */
#ifndef SUBPAY_BASE_JSON_H
#define SUBPAY_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct json; /* a value; the document is its root */

#define JSON_DEPTH_MAX 16

/* NULL if it is not JSON by the rules above (or memory is out); why (may be NULL) then gets a short
 * reason. */
struct json *json_parse(const char *text, size_t len, char *why, size_t why_cap);
void json_free(struct json *doc);

bool json_is_object(const struct json *v);
bool json_is_null(const struct json *v);
const struct json *json_member(const struct json *object, const char *name); /* NULL when absent */
size_t json_size(const struct json *v); /* members or elements */
const struct json *json_at(const struct json *array, size_t index);
/* Calls fn for every member, in order; stops when it returns false. */
void json_each(const struct json *object,
               bool (*fn)(void *ctx, const char *name, const struct json *value), void *ctx);

const char *json_text(const struct json *v);       /* NULL unless a string; has no NUL inside */
bool json_i64(const struct json *v, int64_t *out); /* also reals such as 1.0, within ±2^53 */
bool json_bool(const struct json *v, bool *out);

/* Writing: straight into a str, members in the order of the calls. A comma is put before everything
 * but what follows a bracket, a colon, white space (so documents may stand one a line) or nothing
 * at all. Control characters are escaped (also DEL and U+0080–U+009F), invalid UTF-8 becomes
 * U+FFFD. */
void json_open(struct str *out, char bracket);  /* '{' or '[' as a document or an element */
void json_close(struct str *out, char bracket); /* '}' or ']' */
void json_name(struct str *out, const char *name);
void json_add_text(struct str *out, const char *text); /* NULL writes null */
void json_add_i64(struct str *out, int64_t number);
void json_add_bool(struct str *out, bool value);
void json_add_null(struct str *out);
void json_add_raw(struct str *out, const char *json); /* text that is JSON already */
/* The inside of a JSON string, without quotes and comma. */
void json_escape(struct str *out, const char *text, size_t len);
void json_put_text(struct str *out, const char *name, const char *text);
void json_put_i64(struct str *out, const char *name, int64_t number);
void json_put_bool(struct str *out, const char *name, bool value);
void json_put_null(struct str *out, const char *name);

#endif
