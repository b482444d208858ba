/* HTTP requests and responses as data, shared by server, client, signatures
 * and tests. Header names are compared without case. */
#ifndef EMAC_HTTP_MESSAGE_H
#define EMAC_HTTP_MESSAGE_H

#include "base/arena.h"
#include "base/buf.h"

#define HTTP_HEADERS_MAX     64
#define HTTP_TARGET_MAX      4096
#define HTTP_PATH_PARAMS_MAX 8

struct http_header {
    const char *name, *value;
};

struct http_headers {
    size_t count;
    struct http_header at[HTTP_HEADERS_MAX];
};

/* Values of the {x} of a route, percent-decoded. */
struct http_path_params {
    size_t count;
    struct http_header at[HTTP_PATH_PARAMS_MAX];
};

struct http_request {
    const char *method;    /* "GET" */
    const char *target;    /* path and query as sent: "/v1/jobs?limit=5" */
    const char *path;      /* percent-decoded path */
    const char *authority; /* Host */
    const char *query;     /* raw query string or "" */
    struct http_headers headers;
    struct emac_slice body;
    const char *peer;                      /* address of the client */
    struct arena *arena;                   /* dies with the request */
    const struct http_path_params *params; /* set by the router; NULL: none */
    bool has_socket;                       /* it came by `socket`, which is open until the answer */
    int socket;
};

const char *http_header_get(const struct http_headers *h, const char *name); /* NULL when absent */
/* false when full */
bool http_header_add(struct http_headers *h, const char *name, const char *value);
/* Decoded value of a query parameter, in the arena; NULL when absent. '+' reads as a space; of
 * doubled names the first counts; a name without '=' has the value "". */
const char *http_query_get(const struct http_request *req, const char *name);

/* Percent-decoding in the arena. Strict: NULL for a '%' without two hex digits and for an encoded
 * NUL. '+' becomes a space when `plus_is_space`. */
char *http_percent_decode(struct arena *a, const char *s, size_t n, bool plus_is_space);
/* Set target, path and query of a request (its arena must be set). INVALID unless the target is in
 * origin form ("/..."), visible ASCII without '#', at most HTTP_TARGET_MAX bytes, with every escape
 * sound, so that later http_query_get finds NULL only for an absent name. */
enum emac_status http_request_target_set(struct http_request *req, const char *target,
                                         struct emac_err *err);

/* An absolute http or https URL in the one form that is sent and signed: scheme and host in lower
 * case, the scheme's own port left out, "/" for an empty path, no fragment. User names in URLs are
 * refused. Strings lie in the arena. */
struct http_url {
    bool https;
    uint16_t port;
    const char *host;      /* "example.com", "127.0.0.1", "[::1]" */
    const char *authority; /* host, and ":port" unless it is the scheme's own */
    const char *target;    /* "/path?query" */
    const char *text;      /* the whole */
};
enum emac_status http_url_parse(struct arena *a, const char *text, struct http_url *out,
                                struct emac_err *err);

#endif
