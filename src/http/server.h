/* HTTP/1.1 server over libmicrohttpd, one thread a connection. Routes are a
 * table; a handler runs on the connection's thread and may block (long poll)
 * up to the server's stop. Limits: body_max per route, connections_max, header
 * bytes, and a time limit for slow senders.
 *
 * Errors become JSON: {"error": {"message", "type", "param": null, "code"}}
 * (OpenAI's shape, used for the whole API) with the status of
 * emac_status_http; unknown path 404, known path with a wrong method 405. */
#ifndef EMAC_HTTP_SERVER_H
#define EMAC_HTTP_SERVER_H

#include "http/message.h"

struct http_server;
struct http_stream;

/* A response under construction. Default: 200, no body. */
struct http_response {
    int status;
    const char *content_type; /* NULL: application/json when there is a body */
    struct http_headers headers;
    struct emac_buf body;
    /* Streaming: when set, body is ignored; called repeatedly on the connection's thread to produce
     * bytes (chunked, or with content_length >= 0). Return false to end. `stream_free` always runs
     * once at the end. */
    bool (*stream)(void *ctx, struct emac_buf *chunk);
    void (*stream_free)(void *ctx);
    void *stream_ctx;
    int64_t content_length; /* -1: unknown */
};

typedef enum emac_status http_handler(void *ctx, const struct http_request *req,
                                      struct http_response *res, struct emac_err *err);

struct http_route {
    const char *method; /* "GET"; HEAD is answered by GET routes without body */
    const char *path;   /* "/v1/jobs/{id}": {x} matches one segment, a final {x*} the rest */
    size_t body_max;    /* bytes; larger requests get 413 before they are read whole */
    http_handler *handler;
};
/* Value of a path parameter in the current request; NULL when absent. */
const char *http_path_param(const struct http_request *req, const char *name);

struct http_server_config {
    const char *address; /* "127.0.0.1", "0.0.0.0", "::" */
    uint16_t port;       /* 0: any free one */
    uint32_t connections_max; /* 0: 512 */
    const struct http_route *routes;
    size_t route_count;
    void *ctx; /* handed to each handler */
    /* Runs before each handler; a failure is the response (authentication, quotas). May be NULL. */
    enum emac_status (*before)(void *ctx, const struct http_route *route,
                               const struct http_request *req, struct emac_err *err);
    /* After each response, for logs and figures. May be NULL. */
    void (*after)(void *ctx, const struct http_route *route, const struct http_request *req,
                  int status, uint64_t duration_us);
};

/* CONFLICT naming the address when the port is taken. */
enum emac_status http_server_start(const struct http_server_config *cfg, struct http_server **out,
                                   struct emac_err *err);
uint16_t http_server_port(const struct http_server *s);
/* True once stop began: long polls must return soon. */
bool http_server_stopping(const struct http_server *s);
/* Waits for running handlers (they see http_server_stopping), then frees. */
void http_server_stop(struct http_server *s);

/* Append one server-sent event: "data: <text>\n\n". */
enum emac_status http_sse_event(struct emac_buf *out, const char *text, struct emac_err *err);
/* Fill res with the error JSON. */
void http_response_error(struct http_response *res, const struct emac_err *err);

#endif
