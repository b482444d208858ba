/* HTTP client over libcurl: blocking calls, connections kept open between
 * calls, thread-safe (a pool of handles). Connect time limit 5 s; a transfer
 * that moves less than 1 KiB/s for 20 s is given up unless `timeout_ms` says
 * otherwise (long polls and slow streams must set it). A proxy named by the
 * environment is used, but never for loopback and private addresses.
 * Redirects are not followed: a signature holds for one address. A call is sent
 * again by itself only when a kept-open connection turns out closed before any
 * byte of the reply. A status >= 400 is a failure whose sentence is the server's
 * error.message when there is one, and whose emac_status follows the error's
 * "code" text, or else the HTTP status. */
#ifndef EMAC_HTTP_CLIENT_H
#define EMAC_HTTP_CLIENT_H

#include "http/message.h"

struct http_client;

struct http_signer; /* http/signature.h */
struct link;        /* http/link.h */

struct http_call {
    const char *method, *url;
    struct http_headers headers;
    struct emac_slice body;
    const char *content_type;         /* of the body; NULL: application/json */
    uint32_t timeout_ms;              /* whole call; 0: no limit but the stall rule */
    const struct http_signer *signer; /* sign the request; may be NULL */
    /* Streaming receive of a reply below 400; NULL: collected in the reply's body. Failure aborts
     * the transfer and is what the call returns. */
    enum emac_status (*receive)(void *ctx, const void *data, size_t n, struct emac_err *err);
    void *receive_ctx;
    size_t reply_max;             /* bytes, streamed ones too; 0: 16 MiB. Over it: TOO_LARGE */
    bool (*cancelled)(void *ctx); /* asked four times a second; may be NULL */
    void *cancelled_ctx;
};

struct http_reply {
    int status;
    struct emac_buf body;
    char content_type[128]; /* "" when the server names none */
};

enum emac_status http_client_new(struct http_client **out, struct emac_err *err);
void http_client_free(struct http_client *c);
/* Dial by way of this link from now on; before the first call. Borrowed: it outlives the client. */
void http_client_link(struct http_client *c, struct link *l);
/* From any thread, for good: calls under way and later ones end with CANCELLED at once. */
void http_client_stop(struct http_client *c);
/* *reply is initialised here, whatever happens; release it. UNAVAILABLE when nobody answers (the
 * sentence names the URL), TIMEOUT, or the server's error. */
enum emac_status http_client_call(struct http_client *c, const struct http_call *call,
                                  struct http_reply *reply, struct emac_err *err);
void http_reply_release(struct http_reply *r);
/* Bytes sent and received since the start, bodies and headers. */
void http_client_traffic(struct http_client *c, uint64_t *sent, uint64_t *received);

#endif
