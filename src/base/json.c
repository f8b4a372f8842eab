#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef json_is_object /* jansson's macros; ours are functions of the same name */
#undef json_is_null

#define INTEGRAL_REAL_MAX 9007199254740992.0 /* 2^53: up to here every integer is a double */

static json_t *value_of(const struct json *v)
{
    return (json_t *)(uintptr_t)v; /* jansson's iterators are not const-correct */
}

/* Reading */

/* The deepest nesting of brackets outside strings; jansson's own limit is a constant of its
 * build. */
static size_t depth_of(const char *text, size_t len)
{
    size_t depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
            if (depth > deepest)
                deepest = depth;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

static bool is_number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static size_t digits(const char *text, size_t from, size_t len)
{
    while (from < len && text[from] >= '0' && text[from] <= '9')
        from++;
    return from;
}

/* RFC 8259 section 6: [ minus ] int [ frac ] [ exp ], all of the token. */
static bool is_number(const char *token, size_t len)
{
    size_t at = token[0] == '-', start = at;
    at = digits(token, at, len);
    if (at == start || (token[start] == '0' && at > start + 1))
        return false;
    if (at < len && token[at] == '.') {
        start = at + 1;
        at = digits(token, start, len);
        if (at == start)
            return false;
    }
    if (at < len && (token[at] == 'e' || token[at] == 'E')) {
        start = at + 1 + (at + 1 < len && (token[at + 1] == '+' || token[at + 1] == '-'));
        at = digits(token, start, len);
        if (at == start)
            return false;
    }
    return at == len;
}

/* A number that neither int64 nor double holds. */
static bool number_overflows(const char *token, size_t len)
{
    if (!is_number(token, len))
        return false;
    json_error_t error;
    json_t *v = json_loadb(token, len, JSON_DECODE_ANY, &error);
    json_decref(v);
    return !v && json_error_code(&error) == json_error_numeric_overflow;
}

/* Overwrites the numbers that overflow with 0.5 and spaces, in place: JSON has no limit on numbers,
 * and nobody who reads integers takes them either way. */
static void blunt_numbers(char *text, size_t len)
{
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                in_string = false;
            continue;
        }
        if (text[i] == '"')
            in_string = true;
        if (text[i] != '-' && !(text[i] >= '0' && text[i] <= '9'))
            continue;
        size_t end = i;
        while (end < len && is_number_byte(text[end]))
            end++;
        if (number_overflows(text + i, end - i)) {
            memset(text + i, ' ', end - i);
            memcpy(text + i, "0.5", 3); /* an overflow is never shorter: 1e309 */
        }
        i = end - 1;
    }
}

static json_t *load(const char *text, size_t len, json_error_t *error)
{
    return json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, error);
}

struct json *json_parse(const char *text, size_t len, char *why, size_t why_cap)
{
    if (depth_of(text, len) > JSON_DEPTH_MAX) {
        if (why)
            snprintf(why, why_cap, "nested deeper than %d", JSON_DEPTH_MAX);
        return NULL;
    }
    json_error_t error;
    json_t *doc = load(text, len, &error);
    if (!doc && json_error_code(&error) == json_error_numeric_overflow) {
        char *copy = malloc(len);
        if (copy) {
            memcpy(copy, text, len);
            blunt_numbers(copy, len);
            doc = load(copy, len, &error);
            free(copy);
        }
    }
    /* not error.text: it repeats what stands in the input */
    if (!doc && why)
        snprintf(why, why_cap, "%s at byte %d",
                 json_error_code(&error) == json_error_duplicate_key ? "a member twice"
                                                                     : "not JSON in UTF-8",
                 error.position);
    return (struct json *)doc;
}

void json_free(struct json *doc)
{
    json_decref((json_t *)doc);
}

bool json_is_object(const struct json *v)
{
    return v && json_typeof(value_of(v)) == JSON_OBJECT;
}

bool json_is_null(const struct json *v)
{
    return v && json_typeof(value_of(v)) == JSON_NULL;
}

const struct json *json_member(const struct json *object, const char *name)
{
    return (const struct json *)json_object_get(value_of(object), name);
}

size_t json_size(const struct json *v)
{
    return json_is_object(v) ? json_object_size(value_of(v)) : json_array_size(value_of(v));
}

const struct json *json_at(const struct json *array, size_t index)
{
    return (const struct json *)json_array_get(value_of(array), index);
}

void json_each(const struct json *object,
               bool (*fn)(void *ctx, const char *name, const struct json *value), void *ctx)
{
    if (!json_is_object(object))
        return;
    json_t *members = value_of(object);
    for (void *i = json_object_iter(members); i; i = json_object_iter_next(members, i))
        if (!fn(ctx, json_object_iter_key(i), (const struct json *)json_object_iter_value(i)))
            return;
}

const char *json_text(const struct json *v)
{
    return json_string_value(value_of(v));
}

bool json_i64(const struct json *v, int64_t *out)
{
    if (v && json_typeof(value_of(v)) == JSON_INTEGER) {
        *out = json_integer_value(value_of(v));
        return true;
    }
    if (!v || json_typeof(value_of(v)) != JSON_REAL)
        return false;
    double real = json_real_value(value_of(v));
    if (!(real >= -INTEGRAL_REAL_MAX && real <= INTEGRAL_REAL_MAX) || real != (double)(int64_t)real)
        return false;
    *out = (int64_t)real;
    return true;
}

bool json_bool(const struct json *v, bool *out)
{
    if (!v || !json_is_boolean(value_of(v)))
        return false;
    *out = json_is_true(value_of(v));
    return true;
}

/* Writing */

static void add_comma(struct str *out)
{
    char last = out->len > 0 ? out->data[out->len - 1] : '\n';
    if (!strchr("{[: \n", last))
        str_add_bytes(out, ",", 1);
}

/* Bytes of the UTF-8 sequence at p, 0 if it is none (overlong, a surrogate, above U+10FFFF, cut
 * off). */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || len > left)
        return 0;
    unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

static void escape_one(struct str *out, unsigned code)
{
    static const char SHORT[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: character, letter */
    for (size_t i = 0; i + 1 < sizeof SHORT; i += 2)
        if ((unsigned char)SHORT[i] == code) {
            str_add_bytes(out, "\\", 1);
            str_add_bytes(out, &SHORT[i + 1], 1);
            return;
        }
    str_addf(out, "\\u%04x", code);
}

void json_escape(struct str *out, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t plain = 0; /* bytes before i that still wait to be copied as they are */
    for (size_t i = 0; i < len;) {
        size_t n = utf8_len(p + i, len - i);
        bool control = p[i] < 0x20 || p[i] == 0x7F || (n == 2 && p[i] == 0xC2 && p[i + 1] < 0xA0);
        if (n > 0 && !control && p[i] != '"' && p[i] != '\\') {
            plain += n;
            i += n;
            continue;
        }
        str_add_bytes(out, text + i - plain, plain);
        plain = 0;
        if (n == 0)
            str_add(out, "\xEF\xBF\xBD");
        else
            escape_one(out, n == 2 ? p[i + 1] : p[i]);
        i += n > 0 ? n : 1;
    }
    str_add_bytes(out, text + len - plain, plain);
}

static void add_quoted(struct str *out, const char *text)
{
    str_add_bytes(out, "\"", 1);
    json_escape(out, text, strlen(text));
    str_add_bytes(out, "\"", 1);
}

void json_open(struct str *out, char bracket)
{
    assert(bracket == '{' || bracket == '[');
    add_comma(out);
    str_add_bytes(out, &bracket, 1);
}

void json_close(struct str *out, char bracket)
{
    assert(bracket == '}' || bracket == ']');
    str_add_bytes(out, &bracket, 1);
}

void json_name(struct str *out, const char *name)
{
    add_comma(out);
    add_quoted(out, name);
    str_add_bytes(out, ":", 1);
}

void json_add_text(struct str *out, const char *text)
{
    add_comma(out);
    if (text)
        add_quoted(out, text);
    else
        str_add(out, "null");
}

void json_add_i64(struct str *out, int64_t number)
{
    add_comma(out);
    str_addf(out, "%" PRId64, number);
}

void json_add_bool(struct str *out, bool value)
{
    add_comma(out);
    str_add(out, value ? "true" : "false");
}

void json_add_null(struct str *out)
{
    json_add_text(out, NULL);
}

void json_add_raw(struct str *out, const char *json)
{
    size_t len = strlen(json);
    while (len > 0 && strchr(" \t\r\n", json[len - 1]))
        len--; /* white space at the end would hide from add_comma that something stands there */
    add_comma(out);
    str_add_bytes(out, json, len);
}

void json_put_text(struct str *out, const char *name, const char *text)
{
    json_name(out, name);
    json_add_text(out, text);
}

void json_put_i64(struct str *out, const char *name, int64_t number)
{
    json_name(out, name);
    json_add_i64(out, number);
}

void json_put_bool(struct str *out, const char *name, bool value)
{
    json_name(out, name);
    json_add_bool(out, value);
}

void json_put_null(struct str *out, const char *name)
{
    json_name(out, name);
    json_add_null(out);
}
