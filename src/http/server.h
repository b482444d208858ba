/* HTTP/1.1 server over libmicrohttpd, one thread a connection. Routes are a
 * table; a handler runs on the connection's thread and may block (long poll)
 * up to the server's stop.
 *
 * Limits: connections_max; 64 headers in 32 KiB (431); body_max per route. A
 * Content-Length over body_max is answered 413 at once and the connection is
 * closed; a chunked body that passes it is thrown away as it comes, answered
 * 413 at its end, and cut when it goes on for another MiB. An idle connection,
 * a client that stops reading, and one whose header is not whole are cut after
 * 60 s; a body may take 60 s plus one second for each 16,000 bytes received.
 *
 * Every response carries x-request-id: the client's own (1-64 of A-Za-z0-9._-)
 * or a new one.
 *
 * Errors become JSON: {"error": {"message", "type", "param": null, "code"}}
 * (OpenAI's shape, used for the whole API) with the status of
 * emac_status_http; unknown path 404, known path with a wrong method 405. */
#ifndef EMAC_HTTP_SERVER_H
#define EMAC_HTTP_SERVER_H

#include "http/message.h"

#define HTTP_CONNECTIONS_DEFAULT 512
#define HTTP_RESPONSE_MAX        (64u << 20) /* bytes of a response's body that is not streamed */
#define HTTP_ARENA_MAX           (64u << 20) /* bytes of a request's arena */

struct http_server;

/* A response under construction. Default: 200, no body. */
struct http_response {
    int status;
    const char *content_type; /* NULL: application/json when there is a body */
    struct http_headers headers;
    struct emac_buf body;
    /* Streaming: when set, body is ignored; called repeatedly on the connection's thread to produce
     * bytes (chunked, or with content_length >= 0). Append to chunk, which comes empty; each chunk
     * is sent at once. Return false to end (what this last call appended is still sent); a stream
     * that ends before its content_length cuts the connection, so the client sees it. `stream_free`
     * always runs once at the end, while the request's arena still lives; it is skipped only
     * when `stream` is NULL. */
    bool (*stream)(void *ctx, struct emac_buf *chunk);
    void (*stream_free)(void *ctx);
    void *stream_ctx;
    int64_t content_length; /* -1: unknown. A HEAD may set it alone, with neither body nor stream */
    bool settled; /* the handler did what `settle` is for, also for its failure: it is not called */
};
/* What the server does before and after a handler; tests of handlers call these themselves. Release
 * ends a stream that was never started. */
void http_response_init(struct http_response *res);
void http_response_release(struct http_response *res);

typedef enum emac_status http_handler(void *ctx, const struct http_request *req,
                                      struct http_response *res, struct emac_err *err);

/* A literal segment wins over {x}, {x} over {x*}. Escapes are decoded segment by segment, so "%2F"
 * stays inside its segment. */
struct http_route {
    const char *method; /* "GET"; HEAD is answered by GET routes without body */
    const char *path;   /* "/v1/jobs/{id}": {x} matches one segment (not an empty one), a final {x*}
                           the rest (may be empty) */
    size_t body_max;    /* bytes; larger requests get 413 before they are read whole */
    http_handler *handler;
};
/* Has its client closed the connection, or his side of it? For a handler that computes long. */
bool http_request_gone(const struct http_request *req);
/* Value of a path parameter in the current request; NULL when absent. */
const char *http_path_param(const struct http_request *req, const char *name);
/* The route of the table for req's method and path (target must be set), with the path parameters
 * in *params. NULL when there is none: *err says NOT_FOUND, or INVALID for a known path with
 * another method, then `allow` (cap bytes) lists the methods, else it is "". */
const struct http_route *http_route_find(const struct http_route *routes, size_t count,
                                         const struct http_request *req,
                                         struct http_path_params *params, char *allow, size_t cap,
                                         struct emac_err *err);

struct http_server_config {
    const char *address;             /* "127.0.0.1", "0.0.0.0", "::" */
    uint16_t port;                   /* 0: any free one */
    uint32_t connections_max;        /* 0: 512 */
    uint32_t idle_ms;                /* the 60 s of the limits above; 0: 60000 */
    const struct http_route *routes; /* borrowed: must outlive the server */
    size_t route_count;
    void *ctx; /* handed to each handler */
    /* Runs when the headers are there and before the body is read, which is not in req; a failure
     * is the response. So a stranger's large body takes no memory. May be NULL. */
    enum emac_status (*head)(void *ctx, const struct http_route *route,
                             const struct http_request *req, struct emac_err *err);
    /* Runs before each handler; a failure is the response (authentication, quotas). May be NULL. */
    enum emac_status (*before)(void *ctx, const struct http_route *route,
                               const struct http_request *req, struct emac_err *err);
    /* Runs after each handler, before its response is sent: what that tells of must be durable. Its
     * failure is sent instead. May be NULL. */
    enum emac_status (*settle)(void *ctx, struct emac_err *err);
    /* After each response, for logs and figures; route is NULL when none matched, status 0 when the
     * request ended without a response. May be NULL. */
    void (*after)(void *ctx, const struct http_route *route, const struct http_request *req,
                  int status, uint64_t duration_us);
};

/* "http://127.0.0.1:7070", "http://[::1]:7070"; free it. */
char *http_server_url(const char *address, uint16_t port);
/* CONFLICT naming the address when the port is taken. */
enum emac_status http_server_start(const struct http_server_config *cfg, struct http_server **out,
                                   struct emac_err *err);
uint16_t http_server_port(const struct http_server *s);
/* True once stop began: long polls must return soon. */
bool http_server_stopping(const struct http_server *s);
/* Waits for running handlers (they see http_server_stopping), then frees. */
void http_server_stop(struct http_server *s);

/* Append one server-sent event: "data: <text>\n\n", one data line for each line of text. */
enum emac_status http_sse_event(struct emac_buf *out, const char *text, struct emac_err *err);
/* Fill res with the error JSON and the status; a body or stream it had is dropped, headers stay. */
void http_response_error(struct http_response *res, const struct emac_err *err);
/* The same with `param`, the field of the request that is to blame. */
void http_response_error_param(struct http_response *res, const struct emac_err *err,
                               const char *param);

#endif
