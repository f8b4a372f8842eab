#include "http/router_values.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/times.h"

#define NUMBER_TEXT 24 /* an int64 and its NUL */
#define WELL_ENCODED "percent-encoded UTF-8 without NUL"
#define GIVEN_ONCE "once, and not in both query and body"

static const char *place_text(enum api_in in)
{
    switch (in) {
    case API_PATH:
        return "path";
    case API_QUERY:
        return "query";
    case API_HEADER:
        return "header";
    case API_BODY:
        break;
    }
    return "body";
}

static char *keep(struct values *v, const char *text, size_t len)
{
    char *copy = arena_text(v->arena, text, len);
    v->failed = v->failed || !copy;
    return copy;
}

/* value NULL: missing or secret. The detail tells the first one. */
static __attribute__((format(printf, 6, 7))) void fault(struct values *v, enum api_in in,
                                                        const char *name, const char *value,
                                                        const char *allowed, const char *format,
                                                        ...)
{
    va_list args;
    if (v->error_count == 0) {
        va_start(args, format);
        (void)vsnprintf(v->detail, sizeof v->detail, format, args);
        va_end(args);
    }
    if (v->error_count < VALUES_ERRORS_MAX)
        v->errors[v->error_count++] = (struct problem_field){place_text(in), name, value, allowed};
}

static const char *enum_text(struct values *v, const struct api_param *p)
{
    struct str text;
    str_init(&text, 512);
    for (size_t i = 0; p->values[i]; i++) {
        const char *before = i == 0 ? "" : p->values[i + 1] ? ", " : " or ";
        str_addf(&text, "%s%s", before, p->values[i]);
    }
    const char *kept = keep(v, text.data, text.len);
    str_release(&text);
    return kept;
}

static const char *allowed_text(struct values *v, const struct api_param *p)
{
    char text[96] = "";
    switch (p->form) {
    case API_ENUM:
        return enum_text(v, p);
    case API_BOOLEAN:
        return "true or false";
    case API_UUID:
        return "a UUID";
    case API_DATE:
        return "a date, YYYY-MM-DD";
    case API_TIME:
        return "a time of RFC 3339";
    case API_INTEGER:
        snprintf(text, sizeof text, "an integer from %" PRId64 " to %" PRId64, p->min, p->max);
        break;
    case API_STRING:
        snprintf(text, sizeof text, "%zu to %zu %s", p->min_len, p->max_len,
                 p->visible_ascii ? "visible ASCII characters" : "characters");
        break;
    }
    return keep(v, text, strlen(text));
}

/* wrong: "", " is missing", " is not a text" */
static void fault_of(struct values *v, enum api_in in, const struct api_param *p, const char *value,
                     const char *wrong)
{
    const char *allowed = allowed_text(v, p);
    fault(v, in, p->name, p->secret ? NULL : value, allowed, "%s%s: allowed is %s", p->name, wrong,
          allowed ? allowed : "");
}

static void fault_of_encoding(struct values *v, enum api_in in, const char *name, const char *value)
{
    fault(v, in, name, value, WELL_ENCODED, "%.100s: allowed is " WELL_ENCODED,
          name ? problem_shown(name) : "");
}

/* A whole number in plain notation, or with a fraction of zeros: 1.0 is an integer to JSON
 * Schema. */
static bool integer_parse(const char *text, const struct api_param *p, int64_t *out)
{
    char digits[NUMBER_TEXT];
    size_t len = strcspn(text, ".");
    const char *fraction = text + len;
    const char *first = text + (*text == '-');
    if (*fraction && (fraction[1] == '\0' || fraction[1 + strspn(fraction + 1, "0")] != '\0'))
        return false;
    if (*first == '0' && first + 1 < text + len)
        return false;
    return text_copy_n(digits, sizeof digits, text, len) && text_i64(digits, p->min, p->max, out);
}

static size_t characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static bool string_fits(const char *text, const struct api_param *p)
{
    if (p->visible_ascii) {
        for (const char *c = text; *c; c++) {
            if (*c < 0x21 || *c > 0x7e)
                return false;
        }
    }
    size_t n = characters(text);
    return n >= p->min_len && n <= p->max_len;
}

static bool enum_parse(const char *text, const struct api_param *p, int64_t *out)
{
    for (int64_t i = 0; p->values[i]; i++) {
        if (strcmp(p->values[i], text) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool value_parse(const char *text, const struct api_param *p, struct api_value *out)
{
    struct date date;
    switch (p->form) {
    case API_STRING:
        return string_fits(text, p);
    case API_INTEGER:
        return integer_parse(text, p, &out->number);
    case API_BOOLEAN:
        out->number = strcmp(text, "true") == 0;
        return out->number || strcmp(text, "false") == 0;
    case API_UUID:
        return uuid_parse(text, strlen(text), &out->id);
    case API_DATE:
        return date_parse(text, strlen(text), &date);
    case API_TIME:
        return time_parse(text, strlen(text), &out->number);
    case API_ENUM:
        return enum_parse(text, p, &out->number);
    }
    return false;
}

/* text is kept already. */
static void value_take(struct values *v, size_t index, enum api_in in, const char *text)
{
    const struct api_param *p = &v->route->params[index];
    struct api_value value = {.given = true, .text = text};
    if (!text)
        return;
    if (v->values[index].given)
        fault(v, in, p->name, p->secret ? NULL : text, GIVEN_ONCE,
              "%s is given more than once: allowed is " GIVEN_ONCE, p->name);
    else if (!value_parse(text, p, &value))
        fault_of(v, in, p, text, "");
    v->values[index] = value; /* given, right or wrong: it is not missing */
}

static bool param_find(const struct values *v, enum api_in in, const char *name, size_t *index)
{
    for (size_t i = 0; i < v->route->param_count; i++) {
        const struct api_param *p = &v->route->params[i];
        bool here = p->in == in || (in == API_BODY && p->also_body);
        if (here && strcmp(p->name, name) == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(const char *raw, size_t len, bool plus, char *out, size_t *out_len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = raw[i];
        if (c == '%') {
            int high = i + 2 < len ? hex(raw[i + 1]) : -1, low = i + 2 < len ? hex(raw[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == '\0')
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    *out_len = n;
    return text_is_utf8(out, n);
}

/* NULL after a fault. */
static char *decoded(struct values *v, const char *raw, size_t len, bool plus)
{
    size_t n;
    char *text = keep(v, raw, len);
    return text && percent_decode(raw, len, plus, text, &n) ? text : NULL;
}

void values_take_path(struct values *v, const char *name, const char *raw, size_t len)
{
    size_t index;
    if (!param_find(v, API_PATH, name, &index))
        assert(!"the route's path and its parameters agree");
    const char *text = decoded(v, raw, len, false);
    if (text)
        value_take(v, index, API_PATH, text);
    else
        fault_of_encoding(v, API_PATH, v->route->params[index].name, keep(v, raw, len));
    v->values[index].given = true;
}

static void query_part(struct values *v, const char *raw, size_t len)
{
    size_t index, name_len = strcspn(raw, "=&");
    bool has_value = raw[name_len] == '=';
    const char *name = decoded(v, raw, name_len, true);
    if (!name) {
        fault_of_encoding(v, API_QUERY, keep(v, raw, name_len), NULL);
        return;
    }
    const char *raw_value = raw + name_len + has_value;
    const char *value = decoded(v, raw_value, len - name_len - has_value, true);
    const char *shown = value ? value : keep(v, raw_value, len - name_len - has_value);
    if (!param_find(v, API_QUERY, name, &index)) {
        /* Its value may be a secret under another name: it is not shown. */
        fault(v, API_QUERY, name, NULL, "no such parameter", "no such parameter: %.100s",
              problem_shown(name));
    } else if (!value) {
        fault_of_encoding(v, API_QUERY, v->route->params[index].name, shown);
        v->values[index].given = true;
    } else {
        value_take(v, index, API_QUERY, value);
    }
}

void values_take_query(struct values *v, const char *query)
{
    for (int parts = 0; *query; parts++) {
        size_t len = strcspn(query, "&");
        if (parts >= QUERY_PARTS_MAX) {
            fault(v, API_QUERY, "", NULL, "fewer parameters",
                  "the query: allowed are %d parameters at most", QUERY_PARTS_MAX);
            return;
        }
        if (len > 0)
            query_part(v, query, len);
        query += len + (query[len] == '&');
    }
}

void values_take_headers(struct values *v, const struct http_request *request)
{
    for (size_t i = 0; i < v->route->param_count; i++) {
        const struct api_param *p = &v->route->params[i];
        int count;
        const char *text = p->in == API_HEADER ? http_header(request, p->name, &count) : NULL;
        if (!text)
            continue;
        if (count > 1) {
            fault(v, API_HEADER, p->name, text, "once",
                  "%s is given more than once: allowed is once", p->name);
            v->values[i].given = true;
        } else if (!text_is_utf8(text, strlen(text))) {
            fault_of(v, API_HEADER, p, text, "");
            v->values[i].given = true;
        } else {
            value_take(v, i, API_HEADER, keep(v, text, strlen(text)));
        }
    }
}

/* A member as the text that stands for it in a query; NULL where JSON's type is another one. */
static const char *member_text(struct values *v, const struct api_param *p,
                               const struct json *value)
{
    char text[NUMBER_TEXT];
    int64_t number;
    bool flag;
    const char *string = json_text(value);
    if (p->form == API_INTEGER && json_i64(value, &number))
        snprintf(text, sizeof text, "%" PRId64, number);
    else if (p->form == API_BOOLEAN && json_bool(value, &flag))
        snprintf(text, sizeof text, "%s", flag ? "true" : "false");
    else if (p->form != API_INTEGER && p->form != API_BOOLEAN && string)
        return keep(v, string, strlen(string));
    else
        return NULL;
    return keep(v, text, strlen(text));
}

/* What was sent, for showing; not much is made of what is no text. */
static const char *member_shown(struct values *v, const struct json *value)
{
    char text[NUMBER_TEXT];
    int64_t number;
    bool flag;
    const char *string = json_text(value);
    if (string)
        return keep(v, string, strlen(string));
    if (json_i64(value, &number))
        snprintf(text, sizeof text, "%" PRId64, number);
    else if (json_bool(value, &flag))
        snprintf(text, sizeof text, "%s", flag ? "true" : "false");
    else
        snprintf(text, sizeof text, "%s", json_is_null(value) ? "null" : "another type");
    return keep(v, text, strlen(text));
}

static const char *not_of_form(enum api_form form)
{
    return form == API_INTEGER   ? " is not an integer"
           : form == API_BOOLEAN ? " is not true or false"
                                 : " is not a text";
}

static bool member_take(void *ctx, const char *name, const struct json *value)
{
    struct values *v = ctx;
    size_t index;
    if (!param_find(v, API_BODY, name, &index)) {
        /* Its value may be a card number under another name: it is not shown. */
        fault(v, API_BODY, keep(v, name, strlen(name)), NULL, "no such field",
              "no such field: %.100s", problem_shown(name));
        return true;
    }
    const struct api_param *p = &v->route->params[index];
    const char *text = member_text(v, p, value);
    if (text) {
        value_take(v, index, API_BODY, text);
    } else {
        fault_of(v, API_BODY, p, member_shown(v, value), not_of_form(p->form));
        v->values[index].given = true;
    }
    return true;
}

void values_take_body(struct values *v, const struct json *body)
{
    if (json_is_object(body))
        json_each(body, member_take, v);
    else
        fault(v, API_BODY, "", NULL, "an object", "the body is not a JSON object");
}

void values_finish(struct values *v)
{
    for (size_t i = 0; i < v->route->param_count; i++) {
        const struct api_param *p = &v->route->params[i];
        if (v->values[i].given)
            continue;
        if (p->has_default)
            v->values[i] = (struct api_value){.given = true, .number = p->default_number};
        else if (p->required)
            fault_of(v, p->in, p, NULL, " is missing");
    }
}
