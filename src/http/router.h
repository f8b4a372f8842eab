/* router.h: from a request to a checked call, by the table that is generated from api/openapi.json.
 *
 * The order of the checks is the contract's: 404, 405; 401, 403; 415, 400, 422; before them, for
 * pages and unknown paths too, the limit of the address, of which /health/ is free. A handler sees
 * only values that passed: enums, bounds and forms come from the document, so the document
 * cannot lie about them. */
#ifndef SUBPAY_HTTP_ROUTER_H
#define SUBPAY_HTTP_ROUTER_H

#include "base/env.h"
#include "base/uuid.h"
#include "http/jwt.h"
#include "http/server.h"

#define API_PARAMS_MAX 12 /* of one operation */

enum api_in { API_PATH, API_QUERY, API_HEADER, API_BODY };
enum api_form { API_STRING, API_INTEGER, API_BOOLEAN, API_UUID, API_DATE, API_TIME, API_ENUM };
struct api_param {
    const char *name;
    enum api_in in; /* a field that may come in query or body is API_QUERY with also_body */
    bool also_body, required;
    enum api_form form;
    const char *const *values; /* API_ENUM, up to NULL */
    int64_t min, max;          /* API_INTEGER */
    size_t min_len, max_len;   /* API_STRING, characters */
    bool visible_ascii;        /* API_STRING: 0x21–0x7e only */
    bool secret;               /* its value is never shown, not even to who sent it */
    bool has_default;
    int64_t default_number;
};
struct api_call;
typedef void api_handler(void *service, struct api_call *call);
struct api_route {
    enum http_method method;
    const char *path; /* "/api/v1/payments/{payment_id}", works with and without the last slash */
    const char *operation;
    bool authenticated, admin;
    const struct api_param *params;
    size_t param_count;
    api_handler *handler;
};
struct api_value {
    bool given;       /* also when it is the default */
    const char *text; /* as sent, decoded; NULL when it is not given or the default */
    int64_t number;   /* INTEGER, BOOLEAN, the index of an ENUM, TIME in us */
    struct uuid id;
};
struct api_call { /* one block of memory (malloc), texts included; freed by api_call_free */
    struct http_server *server; /* NULL in the simulated world, where reply is given another way */
    uint64_t token;
    const struct api_route *route;
    struct jwt_identity who;
    int64_t arrived_boot_us;
    struct api_value values[API_PARAMS_MAX]; /* by the order of route->params */
};

/* How a request is answered; the default, NULL in the settings, is http_reply. */
typedef void router_reply(void *ctx, const struct http_request *request,
                          const struct http_response *response);
struct router;
struct pages;
struct gate;
struct router_settings { /* everything is borrowed */
    const struct api_route *routes;
    size_t count;
    struct jwt_verifier *verifier;
    struct clock *clock;
    struct pages *pages; /* NULL: none; answers /api/openapi and its files */
    struct gate *gate;   /* NULL: no rate limits, no CORS, no proxies */
    router_reply *reply; /* tests */
    void *reply_ctx;
};
enum err router_open(struct router **out, const struct router_settings *settings) MUST_CHECK;
void router_close(struct router *r);
/* A call to be handled, or NULL after it has answered the request itself. */
struct api_call *router_take(struct router *r, const struct http_request *request);
void api_call_free(struct api_call *call);
/* A parameter by its name in the document; NULL: the route has none of this name. */
const struct api_value *api_value(const struct api_call *call, const char *name);

#endif
