/* The API document and its page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "http/pages.h"

static struct pages *pages(const char *name)
{
    struct pages *p = NULL;
    assert_int_equal(pages_open(&p, name), ERR_OK);
    return p;
}

static bool get(struct pages *p, const char *path, struct page_answer *out)
{
    struct http_request r = {.method = HTTP_GET, .path = path, .query = ""};
    return pages_answer(p, &r, out);
}

static const char *header(const struct page_answer *a, const char *name)
{
    for (size_t i = 0; i < HTTP_RESPONSE_HEADERS_MAX && a->response.headers[i].name; i++) {
        if (strcmp(a->response.headers[i].name, name) == 0)
            return a->response.headers[i].value;
    }
    return NULL;
}

static void test_all_pages(void **state)
{
    static const struct {
        const char *path, *type;
        size_t least;
    } PAGES[] = {
        {"/api/openapi", "text/html; charset=utf-8", 300},
        {"/api/openapi/", "text/html; charset=utf-8", 300},
        {"/api/openapi.json", "application/json", 10000},
        {"/api/openapi.json/", "application/json", 10000},
        {"/api/openapi/openapi.js", "text/javascript; charset=utf-8", 100},
        {"/api/openapi/swagger-ui-bundle.js", "text/javascript; charset=utf-8", 1000000},
        {"/api/openapi/swagger-ui.css", "text/css; charset=utf-8", 100000},
        {"/api/openapi/LICENSE", "text/plain; charset=utf-8", 1000},
        {"/api/openapi/NOTICE", "text/plain; charset=utf-8", 10},
        {"/favicon.ico", "image/x-icon", 100},
    };
    struct pages *p = pages("Subscription API");
    (void)state;
    for (size_t i = 0; i < sizeof PAGES / sizeof PAGES[0]; i++) {
        struct page_answer a;
        assert_true(get(p, PAGES[i].path, &a));
        assert_int_equal(a.response.status, 200);
        assert_string_equal(a.response.content_type, PAGES[i].type);
        assert_true(a.response.body_len >= PAGES[i].least);
        assert_non_null(strstr(header(&a, "Content-Security-Policy"), "default-src 'none'"));
        assert_null(strstr(header(&a, "Content-Security-Policy"), "unsafe"));
        assert_string_equal(header(&a, "Cache-Control"), "no-cache");
        char etag[64];
        snprintf(etag, sizeof etag, "W/\"x\", %s", header(&a, "ETag"));
        struct http_header known = {"If-None-Match", etag};
        struct http_request again = {.method = HTTP_GET, .path = PAGES[i].path};
        again.headers = &known;
        again.header_count = 1;
        assert_true(pages_answer(p, &again, &a));
        assert_int_equal(a.response.status, 304);
        assert_int_equal(a.response.body_len, 0);
        assert_null(a.response.content_type);
    }
    pages_close(p);
}

static void test_not_pages(void **state)
{
    static const char *const PATHS[] = {"/",
                                        "/api",
                                        "/api/openapi//",
                                        "/api/openapi.jsonx",
                                        "/api/openapi/../openapi.json",
                                        "/api/openapi/openapi.html",
                                        "/favicon.icox",
                                        "/API/OPENAPI",
                                        "/api/openapi/%6fpenapi.js",
                                        "*"};
    struct pages *p = pages("x");
    struct page_answer a;
    (void)state;
    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++)
        assert_false(get(p, PATHS[i], &a));
    pages_close(p);
}

static void test_methods(void **state)
{
    struct pages *p = pages("x");
    (void)state;
    for (enum http_method m = HTTP_GET; m < HTTP_OTHER; m++) {
        struct http_request r = {.method = m, .path = "/api/openapi", .query = ""};
        struct page_answer a;
        assert_true(pages_answer(p, &r, &a));
        if (m == HTTP_GET || m == HTTP_HEAD) {
            assert_int_equal(a.response.status, 200);
        } else {
            assert_int_equal(a.response.status, 405);
            assert_string_equal(header(&a, "Allow"), "GET, HEAD");
            assert_non_null(strstr(a.response.body, "\"status\":405"));
            assert_int_equal(strlen(a.response.body), a.response.body_len);
        }
    }
    pages_close(p);
}

static void test_title(void **state)
{
    struct pages *p = pages("Кино \"<&> \\ №1");
    struct page_answer a;
    (void)state;
    assert_true(get(p, "/api/openapi.json", &a));
    struct json *doc = json_parse(a.response.body, a.response.body_len, NULL, 0);
    assert_non_null(doc);
    assert_string_equal(json_text(json_member(json_member(doc, "info"), "title")),
                        "Кино \"<&> \\ №1");
    json_free(doc);
    assert_true(get(p, "/api/openapi", &a));
    assert_non_null(strstr(a.response.body, "<title>Кино &#34;&#60;&#38;&#62; \\ №1</title>"));
    pages_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_pages),
        cmocka_unit_test(test_not_pages),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_title),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
