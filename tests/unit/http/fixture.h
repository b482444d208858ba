/* An application behind a server, for the tests of this module. */
#ifndef EMAC_TEST_HTTP_FIXTURE_H
#define EMAC_TEST_HTTP_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/client.h"
#include "http/server.h"
#include "http/signature.h"
#include "os/os.h"

struct app {
    struct http_server *server;
    struct nonce_cache *nonces;
    atomic_int freed, after, waiting;
    pthread_mutex_t lock; /* guards what follows */
    int last_status;
    char last_path[64];
};

static enum emac_status echo(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    const char *id = http_path_param(req, "id");
    const char *limit = http_query_get(req, "limit");
    if (id == NULL)
        return emac_buf_append(&res->body, req->body.data, req->body.len, err);
    return emac_buf_printf(&res->body, err, "%s|%s|%s|%.*s|%s", req->method, id,
                           limit != NULL ? limit : "-", (int)req->body.len,
                           req->body.data != NULL ? (const char *)req->body.data : "", req->peer);
}

static enum emac_status rest(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    res->content_type = "text/plain";
    return emac_buf_printf(&res->body, err, "rest=%s path=%s", http_path_param(req, "rest"),
                           req->path);
}

static enum emac_status failing(void *ctx, const struct http_request *req,
                                struct http_response *res, struct emac_err *err)
{
    http_header_add(&res->headers, "Retry-After", "7");
    emac_buf_printf(&res->body, NULL, "half an answer");
    return emac_fail(err, emac_status_from_text(http_path_param(req, "code")),
                     "the \"thing\" failed: \xff%s", http_path_param(req, "code"));
}

struct counter {
    struct app *app;
    int left;
};

static bool count_down(void *ctx, struct emac_buf *chunk)
{
    struct counter *c = ctx;
    char text[16];
    snprintf(text, sizeof text, "%d", c->left);
    http_sse_event(chunk, text, NULL);
    return --c->left > 0;
}

static void counter_free(void *ctx)
{
    struct counter *c = ctx;
    atomic_fetch_add(&c->app->freed, 1);
    free(c);
}

static enum emac_status events(void *ctx, const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    struct counter *c = calloc(1, sizeof *c);
    c->app = ctx;
    c->left = (int)strtol(http_query_get(req, "n"), NULL, 10);
    res->content_type = "text/event-stream";
    res->stream = count_down;
    res->stream_free = counter_free;
    res->stream_ctx = c;
    if (http_query_get(req, "length") != NULL)
        res->content_length = strtol(http_query_get(req, "length"), NULL, 10);
    if (http_query_get(req, "fail") != NULL)
        return emac_fail(err, EMAC_CONFLICT, "not now");
    return EMAC_OK;
}

static bool slow_count_down(void *ctx, struct emac_buf *chunk)
{
    os_real()->sleep_ms(os_real(), 1300);
    return count_down(ctx, chunk);
}

static enum emac_status slow_events(void *ctx, const struct http_request *req,
                                    struct http_response *res, struct emac_err *err)
{
    struct counter *c = calloc(1, sizeof *c);
    c->app = ctx;
    c->left = 2;
    res->stream = slow_count_down;
    res->stream_free = counter_free;
    res->stream_ctx = c;
    return EMAC_OK;
}

static enum emac_status signed_only(void *ctx, const struct http_request *req,
                                    struct http_response *res, struct emac_err *err)
{
    struct app *app = ctx;
    char did[DID_KEY_MAX];
    enum emac_status st = http_verify(req, os_real()->wall_ms(os_real()), app->nonces, did, err);
    return st != EMAC_OK ? st : emac_buf_printf(&res->body, err, "%s", did);
}

/* A long poll: returns when the server stops. */
static enum emac_status wait_stop(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    struct app *app = ctx;
    atomic_fetch_add(&app->waiting, 1);
    while (!http_server_stopping(app->server))
        os_real()->sleep_ms(os_real(), 5);
    return emac_buf_printf(&res->body, err, "stopping");
}

static enum emac_status sleepy(void *ctx, const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    os_real()->sleep_ms(os_real(), 1500);
    return EMAC_OK;
}

static enum emac_status size_only(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    res->content_length = 123456;
    return EMAC_OK;
}

static enum emac_status bad_header(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    http_header_add(&res->headers, "X-Bad", "a\r\nSet-Cookie: b");
    return emac_buf_printf(&res->body, err, "{}");
}

static enum emac_status redirect(void *ctx, const struct http_request *req,
                                 struct http_response *res, struct emac_err *err)
{
    res->status = 302;
    http_header_add(&res->headers, "Location", "/elsewhere");
    return EMAC_OK;
}

static const struct http_route ROUTES[] = {
    {"GET", "/v1/jobs/{id}", 0, echo},      {"POST", "/v1/jobs/{id}", 1000, echo},
    {"POST", "/echo", 32u << 20, echo},     {"GET", "/v1/jobs/special", 0, rest},
    {"GET", "/files/{rest*}", 0, rest},     {"GET", "/fail/{code}", 0, failing},
    {"GET", "/events", 0, events},          {"GET", "/wait", 0, wait_stop},
    {"GET", "/sleepy", 0, sleepy},          {"GET", "/size", 0, size_only},
    {"GET", "/bad-header", 0, bad_header},  {"GET", "/redirect", 0, redirect},
    {"POST", "/signed", 1000, signed_only}, {"GET", "/signed", 0, signed_only},
    {"DELETE", "/v1/jobs/{id}", 0, echo},   {"GET", "/slow-events", 0, slow_events},
};

static enum emac_status before(void *ctx, const struct http_route *route,
                               const struct http_request *req, struct emac_err *err)
{
    if (http_header_get(&req->headers, "x-forbid") != NULL)
        return emac_fail(err, EMAC_UNAUTHORIZED, "no");
    return EMAC_OK;
}

static enum emac_status head(void *ctx, const struct http_route *route,
                             const struct http_request *req, struct emac_err *err)
{
    if (http_header_get(&req->headers, "x-forbid-head") != NULL)
        return emac_fail(err, EMAC_UNAUTHORIZED, "not even the body");
    return EMAC_OK;
}

static void after(void *ctx, const struct http_route *route, const struct http_request *req,
                  int status, uint64_t duration_us)
{
    struct app *app = ctx;
    pthread_mutex_lock(&app->lock);
    app->last_status = status;
    emac_strcpy(app->last_path, sizeof app->last_path, route != NULL ? route->path : "none");
    pthread_mutex_unlock(&app->lock);
    atomic_fetch_add(&app->after, 1);
}

static void app_start(struct app *app, uint32_t connections_max)
{
    struct emac_err err;
    pthread_mutex_init(&app->lock, NULL);
    struct http_server_config cfg = {.address = "127.0.0.1",
                                     .connections_max = connections_max,
                                     .routes = ROUTES,
                                     .route_count = sizeof ROUTES / sizeof ROUTES[0],
                                     .ctx = app,
                                     .head = head,
                                     .before = before,
                                     .after = after};
    assert_int_equal(http_server_start(&cfg, &app->server, &err), EMAC_OK);
    assert_int_not_equal(http_server_port(app->server), 0);
}

struct fixture {
    struct app app;
    struct http_client *client;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    app_start(&f->app, 0);
    assert_int_equal(http_client_new(&f->client, NULL), EMAC_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_client_free(f->client);
    http_server_stop(f->app.server);
    free(f);
    return 0;
}

/* The patience is for a machine that does much else. */
static void freed_becomes(struct app *app, int n)
{
    for (int i = 0; i < 12000 && atomic_load(&app->freed) < n; i++)
        os_real()->sleep_ms(os_real(), 5);
    assert_int_equal(atomic_load(&app->freed), n);
}

#endif
