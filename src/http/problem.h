/* problem.h: errors as application/problem+json (RFC 9457), in the one form of contract section
 * 5. */
#ifndef SUBPAY_HTTP_PROBLEM_H
#define SUBPAY_HTTP_PROBLEM_H

#include "base/str.h"
#include "http/server.h"

#define PROBLEM_VALUE_MAX 200 /* bytes of a name or a value that are shown; bad UTF-8 is replaced */

/* A card number is not shown, wherever it was put by mistake. */
const char *problem_shown(const char *text);

struct problem_field {
    /* in: query, path, header or body; value NULL: missing or secret */
    const char *in, *name, *value, *allowed;
};
/* {"type","title","status","detail","errors"}; errors only with 422. */
void problem_format(struct str *out, int status, const char *detail,
                    const struct problem_field *fields, size_t count);
/* The same with one member more, such as the payment_id of a 503. */
void problem_format_with(struct str *out, int status, const char *detail, const char *name,
                         const char *value);
/* A whole answer; the caller releases *body after it was sent. With 503 comes Retry-After, in
 * headers[0]. */
void problem_response(struct str *body, struct http_response *r, int status, const char *detail);
const char *status_title(int status);
#define PROBLEM_TYPE "application/problem+json"

#endif
