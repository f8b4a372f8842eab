/* message.h: small things about HTTP messages, without a connection. Pure. (http_header and
 * http_method_text of server.h are here, too.) */
#ifndef SUBPAY_HTTP_MESSAGE_H
#define SUBPAY_HTTP_MESSAGE_H

#include "http/server.h"

/* Cuts a request's target, "/path?query" or "http://authority/path?query", into r->path and
 * r->query, which then are in the buffer. False: it does not fit, or is neither. */
bool http_target_split(const char *target, char *buffer, size_t cap, struct http_request *r);

#endif
