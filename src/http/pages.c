#include "http/pages.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/json.h"
#include "http/problem.h"

#define PAGES_MAX 16
#define DOCUMENT_MAX (256 * 1024)
#define ETAG_TEXT 20
#define TITLE "Subscription API" /* as it stands in the files */

static const char POLICY[] = "default-src 'none'; script-src 'self'; style-src 'self'; "
                             "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
                             "form-action 'none'; frame-ancestors 'none'";

static const struct place {
    const char *path, *file, *type;
    bool titled; /* the title in it is replaced */
} PLACES[] = {
    {"/api/openapi", "openapi.html", "text/html; charset=utf-8", true},
    {"/api/openapi.json", "openapi.json", "application/json", true},
    {"/api/openapi/openapi.js", "openapi.js", "text/javascript; charset=utf-8", false},
    {"/api/openapi/swagger-ui-bundle.js", "swagger-ui-bundle.js", "text/javascript; charset=utf-8",
     false},
    {"/api/openapi/swagger-ui.css", "swagger-ui.css", "text/css; charset=utf-8", false},
    {"/api/openapi/LICENSE", "LICENSE", "text/plain; charset=utf-8", false},
    {"/api/openapi/NOTICE", "NOTICE", "text/plain; charset=utf-8", false},
    {"/api/openapi/swagger-ui-bundle.js.LICENSE.txt", "swagger-ui-bundle.js.LICENSE.txt",
     "text/plain; charset=utf-8", false},
    {"/favicon.ico", "favicon.ico", "image/x-icon", false},
};
#define PLACE_COUNT (sizeof PLACES / sizeof PLACES[0])

struct page {
    const char *data;
    size_t len;
    char etag[ETAG_TEXT];
    struct str own; /* the text, where it differs from the file */
};
struct pages {
    struct page pages[PLACE_COUNT]; /* by PLACES */
};

static const struct embedded_file *file_find(const char *name)
{
    for (size_t i = 0; i < WEB_FILES_COUNT; i++) {
        if (strcmp(WEB_FILES[i].name, name) == 0)
            return &WEB_FILES[i];
    }
    return NULL;
}

static void html_escape(struct str *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("&<>\"'", *text))
            str_addf(out, "&#%d;", *text);
        else
            str_add_bytes(out, text, 1);
    }
}

/* The file with its first title replaced, escaped for what it is. */
static bool title_replace(struct page *page, const struct embedded_file *file, bool json,
                          const char *title)
{
    const char *at = strstr(file->data, TITLE);
    if (!at)
        return false;
    str_add_bytes(&page->own, file->data, (size_t)(at - file->data));
    if (json)
        json_escape(&page->own, title, strlen(title));
    else
        html_escape(&page->own, title);
    at += strlen(TITLE);
    str_add_bytes(&page->own, at, file->len - (size_t)(at - file->data));
    page->data = page->own.data;
    page->len = page->own.len;
    return !page->own.failed;
}

static void etag_make(struct page *page)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a: tells versions apart, no more */
    for (size_t i = 0; i < page->len; i++)
        hash = (hash ^ (unsigned char)page->data[i]) * UINT64_C(1099511628211);
    snprintf(page->etag, sizeof page->etag, "\"%016llx\"", (unsigned long long)hash);
}

enum err pages_open(struct pages **out, const char *project_name)
{
    struct pages *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < PLACE_COUNT; i++)
        str_init(&p->pages[i].own, DOCUMENT_MAX);
    for (size_t i = 0; i < PLACE_COUNT; i++) {
        const struct place *place = &PLACES[i];
        const struct embedded_file *file = file_find(place->file);
        struct page *page = &p->pages[i];
        if (file && !place->titled) {
            page->data = file->data;
            page->len = file->len;
        } else if (!file || !title_replace(page, file, strcmp(place->file, "openapi.json") == 0,
                                           project_name)) {
            bool full = page->own.failed;
            pages_close(p);
            return full ? ERR_NO_MEMORY : ERR_BUG;
        }
        etag_make(page);
    }
    *out = p;
    return ERR_OK;
}

void pages_close(struct pages *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < PLACE_COUNT; i++)
        str_release(&p->pages[i].own);
    free(p);
}

static bool path_is(const char *sent, const char *path)
{
    size_t len = strlen(path);
    return strncmp(sent, path, len) == 0 &&
           (sent[len] == '\0' || (sent[len] == '/' && sent[len + 1] == '\0'));
}

static void method_refuse(struct page_answer *out)
{
    struct str body;
    problem_response(&body, &out->response, 405, "this path takes other methods");
    (void)text_copy(out->detail, sizeof out->detail, body.data);
    out->response.body = out->detail;
    out->response.headers[0] = (struct http_header){"Allow", "GET, HEAD"};
    str_release(&body);
}

bool pages_answer(const struct pages *p, const struct http_request *request,
                  struct page_answer *out)
{
    size_t i = 0;
    while (i < PLACE_COUNT && !path_is(request->path, PLACES[i].path))
        i++;
    if (i == PLACE_COUNT)
        return false;
    if (request->method != HTTP_GET && request->method != HTTP_HEAD) {
        method_refuse(out);
        return true;
    }
    const struct page *page = &p->pages[i];
    const char *known = http_header(request, "If-None-Match", NULL);
    bool same = known && strstr(known, page->etag) != NULL;
    out->response = (struct http_response){.status = same ? 304 : 200};
    struct http_header *h = out->response.headers;
    *h++ = (struct http_header){"ETag", page->etag};
    /* Asked again each time, answered from the cache: a new binary shows at once. */
    *h++ = (struct http_header){"Cache-Control", "no-cache"};
    *h++ = (struct http_header){"Content-Security-Policy", POLICY};
    *h++ = (struct http_header){"Referrer-Policy", "no-referrer"};
    *h++ = (struct http_header){"Cross-Origin-Opener-Policy", "same-origin"};
    if (!same) {
        out->response.content_type = PLACES[i].type;
        out->response.body = page->data;
        out->response.body_len = page->len;
        out->response.body_static = true;
    }
    return true;
}
