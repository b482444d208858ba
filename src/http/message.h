/* HTTP requests and responses as data, shared by server, client, signatures
 * and tests. Header names are compared without case. */
#ifndef EMAC_HTTP_MESSAGE_H
#define EMAC_HTTP_MESSAGE_H

#include "base/arena.h"
#include "base/buf.h"

#define HTTP_HEADERS_MAX 64
#define HTTP_TARGET_MAX 4096

struct http_header {
    const char *name, *value;
};

struct http_headers {
    size_t count;
    struct http_header at[HTTP_HEADERS_MAX];
};

struct http_request {
    const char *method;    /* "GET" */
    const char *target;    /* path and query as sent: "/v1/jobs?limit=5" */
    const char *path;      /* percent-decoded path */
    const char *authority; /* Host */
    const char *query;     /* raw query string or "" */
    struct http_headers headers;
    struct emac_slice body;
    const char *peer;      /* address of the client */
    struct arena *arena;   /* dies with the request */
};

const char *http_header_get(const struct http_headers *h, const char *name); /* NULL when absent */
/* false when full */
bool http_header_add(struct http_headers *h, const char *name, const char *value);
/* Decoded value of a query parameter, in the arena; NULL when absent. */
const char *http_query_get(const struct http_request *req, const char *name);

#endif
