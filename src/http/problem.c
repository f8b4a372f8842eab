#include "http/problem.h"

#include <string.h>

#include "base/json.h"
#include "billing/request.h"

const char *status_title(int status)
{
    switch (status) {
    case 100:
        return "Continue";
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Unknown";
    }
}

const char *problem_shown(const char *text)
{
    return request_method_is_card(text) ? "***" : text;
}

/* A text as sent, cut at a character; the JSON writer replaces what is no UTF-8. */
static void shown_add(struct str *out, const char *member, const char *value)
{
    value = problem_shown(value);
    size_t len = strlen(value), cut = len < PROBLEM_VALUE_MAX ? len : PROBLEM_VALUE_MAX;
    while (cut < len && cut > 0 && ((unsigned char)value[cut] & 0xc0) == 0x80)
        cut--;
    struct str shown;
    str_init(&shown, PROBLEM_VALUE_MAX + 4);
    str_add_bytes(&shown, value, cut);
    if (cut < len)
        str_add(&shown, "…");
    json_name(out, member);
    json_add_text(out, shown.data);
    str_release(&shown);
}

static void head_add(struct str *out, int status, const char *detail)
{
    json_open(out, '{');
    json_put_text(out, "type", "about:blank");
    json_put_text(out, "title", status_title(status));
    json_put_i64(out, "status", status);
    json_put_text(out, "detail", detail);
}

void problem_format(struct str *out, int status, const char *detail,
                    const struct problem_field *fields, size_t count)
{
    head_add(out, status, detail);
    if (count > 0 && status == 422) {
        json_name(out, "errors");
        json_open(out, '[');
        for (size_t i = 0; i < count; i++) {
            json_open(out, '{');
            json_put_text(out, "in", fields[i].in);
            shown_add(out, "name", fields[i].name);
            if (fields[i].value)
                shown_add(out, "value", fields[i].value);
            else
                json_put_null(out, "value");
            json_put_text(out, "allowed", fields[i].allowed);
            json_close(out, '}');
        }
        json_close(out, ']');
    }
    json_close(out, '}');
}

void problem_format_with(struct str *out, int status, const char *detail, const char *name,
                         const char *value)
{
    head_add(out, status, detail);
    json_put_text(out, name, value);
    json_close(out, '}');
}

void problem_response(struct str *body, struct http_response *r, int status, const char *detail)
{
    str_init(body, 1024);
    problem_format(body, status, detail, NULL, 0);
    *r = (struct http_response){.status = status, .content_type = PROBLEM_TYPE};
    r->body = body->data;
    r->body_len = body->len;
    if (status == 503)
        r->headers[0] = (struct http_header){"Retry-After", "1"};
}
