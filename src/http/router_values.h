/* router_values.h: the parameters of one request, read and checked (400, 422). One thread. */
#ifndef SUBPAY_HTTP_ROUTER_VALUES_H
#define SUBPAY_HTTP_ROUTER_VALUES_H

#include "base/arena.h"
#include "base/json.h"
#include "http/problem.h"
#include "http/router.h"

#define VALUES_ERRORS_MAX 16 /* reported; the rest is counted as one with the last */
#define VALUES_DETAIL_MAX 512
#define QUERY_PARTS_MAX 256 /* name=value pairs of a query */

struct values {
    struct arena *arena; /* texts, until it is reset */
    const struct api_route *route;
    struct api_value values[API_PARAMS_MAX];
    struct problem_field errors[VALUES_ERRORS_MAX];
    size_t error_count;
    char detail[VALUES_DETAIL_MAX]; /* the first error in words: what is wrong with which field */
    bool failed;                    /* no memory */
};
void values_take_path(struct values *v, const char *name, const char *raw, size_t len);
void values_take_query(struct values *v, const char *query);
void values_take_headers(struct values *v, const struct http_request *request);
void values_take_body(struct values *v, const struct json *body);
void values_finish(struct values *v); /* what is required, and defaults */

/* %XX is decoded, and + becomes a space if asked for. False: broken, or holds a NUL, or is no
 * UTF-8. */
bool percent_decode(const char *raw, size_t len, bool plus, char *out, size_t *out_len);

#endif
