/* Calls of handlers as the server makes them (signatures, JSON, the sync before the answer),
 * without sockets. See net.h. */
#ifndef EMAC_TESTS_COORDINATOR_DIRECT_H
#define EMAC_TESTS_COORDINATOR_DIRECT_H

#include "net.h"

#include "coordinator/internal.h"

struct direct_call {
    struct arena arena;
    struct http_request req;
};

/* A signed POST of `body`, which must live as long; release with arena_release(&call->arena). */
static inline void direct_sign(const struct net *n, const struct identity *who, const char *target,
                               const char *body, struct direct_call *out)
{
    char url[128], length[24];
    arena_init(&out->arena, HTTP_ARENA_MAX);
    out->req = (struct http_request){.method = "POST",
                                     .authority = n->url + strlen("http://"),
                                     .peer = "127.0.0.1",
                                     .arena = &out->arena,
                                     .body = EMAC_SLICE(body, strlen(body))};
    struct http_request *req = &out->req;
    assert_ok(http_request_target_set(req, target, err));
    snprintf(url, sizeof url, "%s%s", n->url, target);
    assert_ok(http_sign(&who->signer, "POST", url, req->authority, req->body, &out->arena,
                        &req->headers, err));
    snprintf(length, sizeof length, "%zu", req->body.len);
    http_header_add(&req->headers, "Content-Length",
                    arena_strndup(&out->arena, length, strlen(length)));
    http_header_add(&req->headers, "Host", req->authority);
}

/* HTTP status; *reply as `call` gives it. */
static inline int direct_run(struct net *n, http_handler *handler, const struct direct_call *call,
                             json_t **reply)
{
    struct http_response res;
    struct emac_err error = {0};
    http_response_init(&res);
    struct emac_err lost = {0};
    enum emac_status st = handler(n->c, &call->req, &res, &error);
    if (!res.settled && db_sync(n->c->db, &lost) != EMAC_OK) {
        st = lost.status;
        error = lost;
    }
    int status = st == EMAC_OK ? res.status : emac_status_http(st);
    *reply = st == EMAC_OK && res.body.len > 0
                 ? json_loadb((const char *)res.body.data, res.body.len, 0, NULL)
                 : json_pack("{s:s}", "error", error.text);
    http_response_release(&res);
    return status;
}

#endif
