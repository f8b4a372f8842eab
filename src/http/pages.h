/* pages.h: the OpenAPI document and its page, from files inside the binary (WEB_FILES).
 *
 * GET and HEAD of /api/openapi, its assets below it, /api/openapi.json and /favicon.ico, with
 * and without the last slash; other methods there get 405. The document's title is PROJECT_NAME.
 * Read-only after pages_open: any thread. Pages outlive the server that sends them. */
#ifndef SUBPAY_HTTP_PAGES_H
#define SUBPAY_HTTP_PAGES_H

#include <stdbool.h>

#include "base/err.h"
#include "http/server.h"

struct pages;
enum err pages_open(struct pages **out, const char *project_name) MUST_CHECK;
void pages_close(struct pages *p); /* NULL is fine */

/* An answer to a request; texts are borrowed from `p` and from this struct. */
struct page_answer {
    struct http_response response;
    char detail[512];
};
/* False: the path is none of these pages. */
bool pages_answer(const struct pages *p, const struct http_request *request,
                  struct page_answer *out);

#endif
