/* Server and client against each other, and the server against raw sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/client.h"
#include "http/server.h"
#include "os/os.h"
#include "os/thread.h"

struct app {
    struct http_server *server;
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
    {"GET", "/v1/jobs/{id}", 0, echo},     {"POST", "/v1/jobs/{id}", 1000, echo},
    {"POST", "/echo", 32u << 20, echo},    {"GET", "/v1/jobs/special", 0, rest},
    {"GET", "/files/{rest*}", 0, rest},    {"GET", "/fail/{code}", 0, failing},
    {"GET", "/events", 0, events},         {"GET", "/wait", 0, wait_stop},
    {"GET", "/sleepy", 0, sleepy},         {"GET", "/size", 0, size_only},
    {"GET", "/bad-header", 0, bad_header}, {"GET", "/redirect", 0, redirect},
    {"DELETE", "/v1/jobs/{id}", 0, echo},  {"GET", "/slow-events", 0, slow_events},
};

static enum emac_status before(void *ctx, const struct http_route *route,
                               const struct http_request *req, struct emac_err *err)
{
    if (http_header_get(&req->headers, "x-forbid") != NULL)
        return emac_fail(err, EMAC_UNAUTHORIZED, "no");
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

static enum emac_status call_full(struct fixture *f, struct http_call call, const char *path,
                                  struct http_reply *reply, struct emac_err *err)
{
    char url[4096];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", http_server_port(f->app.server), path);
    call.url = url;
    return http_client_call(f->client, &call, reply, err);
}

static enum emac_status call(struct fixture *f, const char *method, const char *path,
                             const char *body, struct http_reply *reply, struct emac_err *err)
{
    struct http_call c = {.method = method};
    if (body != NULL)
        c.body = EMAC_SLICE_STR(body);
    return call_full(f, c, path, reply, err);
}

static void expect_text(struct fixture *f, const char *method, const char *path, const char *body,
                        const char *text)
{
    struct http_reply r;
    struct emac_err err = {0};
    enum emac_status st = call(f, method, path, body, &r, &err);
    if (st != EMAC_OK)
        print_message("%s %s: %s\n", method, path, err.text);
    assert_int_equal(st, EMAC_OK);
    assert_string_equal(emac_buf_str(&r.body), text);
    http_reply_release(&r);
}

static void expect_failure(struct fixture *f, const char *method, const char *path,
                           const char *body, enum emac_status st, int http)
{
    struct http_reply r;
    struct emac_err err = {0};
    assert_int_equal(call(f, method, path, body, &r, &err), st);
    assert_int_equal(r.status, http);
    assert_true(err.text[0] != '\0');
    http_reply_release(&r);
}

static void test_routes(void **state)
{
    struct fixture *f = *state;
    expect_text(f, "GET", "/v1/jobs/abc", NULL, "GET|abc|-||127.0.0.1");
    expect_text(f, "GET", "/v1/jobs/a%2Fb%20c?limit=5&x", NULL, "GET|a/b c|5||127.0.0.1");
    expect_text(f, "POST", "/v1/jobs/abc?limit=a+b%2B", "hello", "POST|abc|a b+|hello|127.0.0.1");
    expect_text(f, "DELETE", "/v1/jobs/abc", NULL, "DELETE|abc|-||127.0.0.1");
    expect_text(f, "GET", "/files/a/b%20c/d", NULL, "rest=a/b c/d path=/files/a/b c/d");
    expect_text(f, "GET", "/files/", NULL, "rest= path=/files/");
    expect_text(f, "GET", "/files/../x/./y", NULL, "rest=../x/./y path=/files/../x/./y");
    expect_failure(f, "GET", "/v1/jobs/", NULL, EMAC_NOT_FOUND, 404);
    expect_failure(f, "GET", "/v1/jobs/a/b", NULL, EMAC_NOT_FOUND, 404);
    expect_failure(f, "GET", "/nothing", NULL, EMAC_NOT_FOUND, 404);
    expect_failure(f, "PUT", "/v1/jobs/abc", "x", EMAC_INVALID, 405);
    expect_failure(f, "GET", "/v1/jobs/%00", NULL, EMAC_INVALID, 400);
    expect_failure(f, "GET", "/v1/jobs/%zz", NULL, EMAC_INVALID, 400);
    expect_failure(f, "GET", "/v1/jobs/x?a=%4", NULL, EMAC_INVALID, 400);
}

static void test_errors_round_trip(void **state)
{
    struct fixture *f = *state;
    for (int st = EMAC_OK + 1; st < EMAC_STATUS_COUNT; st++) {
        struct http_reply r;
        struct emac_err err;
        char path[64], want[64];
        snprintf(path, sizeof path, "/fail/%s", emac_status_text(st));
        assert_int_equal(call(f, "GET", path, NULL, &r, &err), st);
        assert_int_equal(r.status, emac_status_http(st));
        snprintf(want, sizeof want, "the \"thing\" failed: ?%s", emac_status_text(st));
        assert_string_equal(err.text, want);
        assert_string_equal(r.content_type, "application/json");
        http_reply_release(&r);
    }
}

static void test_before_and_after(void **state)
{
    struct fixture *f = *state;
    struct http_reply r;
    struct emac_err err;
    struct http_call c = {.method = "GET"};
    http_header_add(&c.headers, "X-Forbid", "1");
    assert_int_equal(call_full(f, c, "/v1/jobs/a", &r, &err), EMAC_UNAUTHORIZED);
    assert_string_equal(err.text, "no");
    assert_non_null(strstr(emac_buf_str(&r.body), "\"type\":\"authentication_error\""));
    assert_non_null(strstr(emac_buf_str(&r.body), "\"param\":null"));
    http_reply_release(&r);
    for (int i = 0; i < 200 && atomic_load(&f->app.after) < 1; i++)
        os_real()->sleep_ms(os_real(), 5);
    assert_int_equal(f->app.last_status, 401);
    assert_string_equal(f->app.last_path, "/v1/jobs/{id}");
    expect_failure(f, "GET", "/none", NULL, EMAC_NOT_FOUND, 404);
    for (int i = 0; i < 200 && atomic_load(&f->app.after) < 2; i++)
        os_real()->sleep_ms(os_real(), 5);
    assert_string_equal(f->app.last_path, "none");
}

static void test_bodies(void **state)
{
    struct fixture *f = *state;
    size_t n = 24u << 20;
    uint8_t *big = malloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (uint8_t)(i * 31 + (i >> 13));
    struct http_reply r;
    struct emac_err err = {0};
    struct http_call c = {.method = "POST", .body = EMAC_SLICE(big, n), .reply_max = n};
    assert_int_equal(call_full(f, c, "/echo", &r, &err), EMAC_OK);
    assert_int_equal(r.body.len, n);
    assert_memory_equal(r.body.data, big, n);
    http_reply_release(&r);
    c.reply_max = n - 1;
    assert_int_equal(call_full(f, c, "/echo", &r, &err), EMAC_TOO_LARGE);
    http_reply_release(&r);
    c.body.len = 1000;
    assert_int_equal(call_full(f, c, "/v1/jobs/a", &r, &err), EMAC_OK);
    http_reply_release(&r);
    c.body.len = 1001;
    assert_int_equal(call_full(f, c, "/v1/jobs/a", &r, &err), EMAC_TOO_LARGE);
    assert_int_equal(r.status, 413);
    http_reply_release(&r);
    c.body.len = n; /* answered before the body was read */
    assert_int_equal(call_full(f, c, "/v1/jobs/a", &r, &err), EMAC_TOO_LARGE);
    http_reply_release(&r);
    free(big);
}

struct collect {
    char text[256];
    size_t len, fail_at;
};

static enum emac_status collect(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    struct collect *c = ctx;
    if (c->len + n > c->fail_at)
        return emac_fail(err, EMAC_CORRUPT, "enough");
    memcpy(c->text + c->len, data, n);
    c->len += n;
    return EMAC_OK;
}

static void freed_becomes(struct app *app, int n)
{
    for (int i = 0; i < 400 && atomic_load(&app->freed) < n; i++)
        os_real()->sleep_ms(os_real(), 5);
    assert_int_equal(atomic_load(&app->freed), n);
}

static void test_stream(void **state)
{
    struct fixture *f = *state;
    struct http_reply r;
    struct emac_err err = {0};
    struct collect got = {.fail_at = 200};
    struct http_call c = {.method = "GET", .receive = collect, .receive_ctx = &got};
    assert_int_equal(call_full(f, c, "/events?n=3", &r, &err), EMAC_OK);
    assert_string_equal(got.text, "data: 3\n\ndata: 2\n\ndata: 1\n\n");
    assert_string_equal(r.content_type, "text/event-stream");
    http_reply_release(&r);
    freed_becomes(&f->app, 1);
    got = (struct collect){.fail_at = 20}; /* the receiver gives up in the middle */
    assert_int_equal(call_full(f, c, "/events?n=100000000", &r, &err), EMAC_CORRUPT);
    assert_string_equal(err.text, "enough");
    http_reply_release(&r);
    freed_becomes(&f->app, 2);
    expect_text(f, "GET", "/events?n=1&length=9", NULL, "data: 1\n\n");
    freed_becomes(&f->app, 3);
    expect_text(f, "GET", "/events?n=2&length=12", NULL, "data: 2\n\ndat");
    freed_becomes(&f->app, 4);
    expect_failure(f, "GET", "/events?n=1&length=10", NULL, EMAC_UNAVAILABLE, 0);
    freed_becomes(&f->app, 5);
    expect_failure(f, "GET", "/events?n=1&fail", NULL, EMAC_CONFLICT, 409);
    freed_becomes(&f->app, 6);
    expect_text(f, "HEAD", "/events?n=9", NULL, "");
    freed_becomes(&f->app, 7);
}

static bool cancel_now(void *ctx)
{
    return true;
}

static void test_client_failures(void **state)
{
    struct fixture *f = *state;
    struct http_reply r;
    struct emac_err err;
    struct http_call c = {.method = "GET", .url = "http://127.0.0.1:1/"};
    assert_int_equal(http_client_call(f->client, &c, &r, &err), EMAC_UNAVAILABLE);
    assert_non_null(strstr(err.text, "http://127.0.0.1:1/"));
    http_reply_release(&r);
    c.url = "ftp://127.0.0.1/";
    assert_int_equal(http_client_call(f->client, &c, &r, &err), EMAC_INVALID);
    http_reply_release(&r);
    c.timeout_ms = 200;
    assert_int_equal(call_full(f, c, "/sleepy", &r, &err), EMAC_TIMEOUT);
    http_reply_release(&r);
    c.timeout_ms = 0;
    c.cancelled = cancel_now;
    assert_int_equal(call_full(f, c, "/sleepy", &r, &err), EMAC_CANCELLED);
    http_reply_release(&r);
    c.cancelled = NULL;
    assert_int_equal(call_full(f, c, "/redirect", &r, &err), EMAC_UNSUPPORTED);
    assert_non_null(strstr(err.text, "/elsewhere"));
    http_reply_release(&r);
    http_header_add(&c.headers, "X-Evil", "a\r\nb: c");
    assert_int_equal(call_full(f, c, "/size", &r, &err), EMAC_INVALID);
    http_reply_release(&r);
    expect_failure(f, "GET", "/bad-header", NULL, EMAC_UNAVAILABLE, 0);
    uint64_t sent, received;
    http_client_traffic(f->client, &sent, &received);
    assert_true(sent > 100 && received > 50);
}

/* ---- raw sockets ---- */

static int raw_connect(struct app *app)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(http_server_port(app->server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval tv = {.tv_sec = 5};
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

static void raw_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What comes until the end of the connection or until `until` was seen. */
static char *raw_read(int fd, const char *until)
{
    static char text[65536];
    size_t len = 0;
    text[0] = '\0';
    while (len + 1 < sizeof text && (until == NULL || strstr(text, until) == NULL)) {
        ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        text[len] = '\0';
    }
    return text;
}

static void raw_expect(struct app *app, const char *request, const char *want)
{
    int fd = raw_connect(app);
    raw_send(fd, request);
    shutdown(fd, SHUT_WR);
    const char *got = raw_read(fd, NULL);
    if (strstr(got, want) == NULL)
        print_message("sent:\n%s\ngot:\n%s\n", request, got);
    assert_non_null(strstr(got, want));
    close(fd);
}

static void test_raw(void **state)
{
    struct app *app = &((struct fixture *)*state)->app;
    raw_expect(app, "GET /v1/jobs/a HTTP/1.1\r\n\r\n", " 400 ");
    raw_expect(app, "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", " 400 ");
    raw_expect(app, "GET http://x/v1/jobs/a HTTP/1.1\r\nHost: a\r\n\r\n", " 400 ");
    raw_expect(app, "GET /v1/jobs/\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", " 400 ");
    raw_expect(app, "GET /v1/jobs/a#b HTTP/1.1\r\nHost: a\r\n\r\n", " 400 ");
    raw_expect(app,
               "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
               "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
               " 400 ");
    raw_expect(app,
               "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
               "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
               "POST|a|-|abcde|");
    raw_expect(app,
               "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
               "Expect: 100-continue\r\n\r\nabc",
               "HTTP/1.1 100 ");
    raw_expect(app,
               "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n"
               "Expect: 100-continue\r\n\r\n",
               "HTTP/1.1 413 ");
    raw_expect(app, "HEAD /size HTTP/1.1\r\nHost: a\r\n\r\n", "Content-Length: 123456");
    raw_expect(app, "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\nX-Request-Id: my.id-1\r\n\r\n",
               "x-request-id: my.id-1");
    raw_expect(app, "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\nX-Request-Id: b@d\r\n\r\n",
               "x-request-id: req-");
    raw_expect(app, "PUT /v1/jobs/a HTTP/1.1\r\nHost: a\r\n\r\n", "Allow: GET, POST, DELETE");
    raw_expect(app, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "x-request-id: req-");
}

static void test_raw_limits(void **state)
{
    struct app *app = &((struct fixture *)*state)->app;
    static char big[70000];
    size_t at = (size_t)snprintf(big, sizeof big, "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 70; i++)
        at += (size_t)snprintf(big + at, sizeof big - at, "X-%d: y\r\n", i);
    snprintf(big + at, sizeof big - at, "\r\n");
    raw_expect(app, big, " 431 ");
    at = (size_t)snprintf(big, sizeof big, "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\nX: ");
    memset(big + at, 'y', 60000);
    snprintf(big + at + 60000, sizeof big - at - 60000, "\r\n\r\n");
    raw_expect(app, big, " 431 ");
    /* A chunked body over the limit is read to its end and answered. */
    at = (size_t)snprintf(big, sizeof big,
                          "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n7d0\r\n");
    memset(big + at, 'z', 2000);
    snprintf(big + at + 2000, sizeof big - at - 2000, "\r\n0\r\n\r\n");
    raw_expect(app, big, " 413 ");
}

/* A body that never ends is cut, and a peer that leaves in the middle harms nobody. */
static void test_raw_rude(void **state)
{
    struct fixture *f = *state;
    int fd = raw_connect(&f->app);
    raw_send(fd, "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    static char chunk[65536 + 16];
    size_t n = (size_t)snprintf(chunk, sizeof chunk, "10000\r\n");
    memset(chunk + n, 'x', 65536);
    memcpy(chunk + n + 65536, "\r\n", 2);
    int sent = 0;
    while (sent < 1000 && send(fd, chunk, n + 65538, MSG_NOSIGNAL) > 0)
        sent++;
    assert_true(sent >= 16 && sent < 1000);
    close(fd);
    fd = raw_connect(&f->app);
    raw_send(fd, "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    close(fd);
    fd = raw_connect(&f->app);
    raw_send(fd, "GET /events?n=100000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    raw_read(fd, "data: 99999999");
    close(fd);
    freed_becomes(&f->app, 1);
    expect_text(f, "GET", "/v1/jobs/abc", NULL, "GET|abc|-||127.0.0.1");
}

/* Several requests on one connection, two of them sent at once; refused ones keep it open too. */
static void test_keep_alive(void **state)
{
    struct app *app = &((struct fixture *)*state)->app;
    int fd = raw_connect(app);
    raw_send(fd, "GET /v1/jobs/one HTTP/1.1\r\nHost: a\r\n\r\n"
                 "POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
                 "GET /v1/jobs/two HTTP/1.1\r\nHost: a\r\n\r\n");
    const char *got = raw_read(fd, "GET|two");
    assert_non_null(strstr(got, "GET|one"));
    assert_non_null(strstr(got, " 404 "));
    assert_non_null(strstr(got, "GET|two"));
    close(fd);
}

/* A kept-open connection that the server closed is opened anew without the caller noticing. */
static void test_stale_connection(void **state)
{
    struct app app = {0};
    struct http_client *client;
    struct http_reply r;
    struct emac_err err = {0};
    char url[64];
    app_start(&app, 0);
    uint16_t port = http_server_port(app.server);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/v1/jobs/a", port);
    struct http_call c = {.method = "POST", .url = url, .body = EMAC_SLICE_STR("x")};
    assert_int_equal(http_client_new(&client, NULL), EMAC_OK);
    assert_int_equal(http_client_call(client, &c, &r, &err), EMAC_OK);
    http_reply_release(&r);
    http_server_stop(app.server);
    struct http_server_config cfg = {
        .address = "127.0.0.1", .port = port, .routes = ROUTES, .route_count = 3, .ctx = &app};
    assert_int_equal(http_server_start(&cfg, &app.server, &err), EMAC_OK);
    assert_int_equal(http_client_call(client, &c, &r, &err), EMAC_OK);
    http_reply_release(&r);
    http_client_free(client);
    http_server_stop(app.server);
}

static void test_port_taken(void **state)
{
    struct app *app = &((struct fixture *)*state)->app;
    struct http_server *second;
    struct emac_err err;
    struct http_server_config cfg = {.address = "127.0.0.1",
                                     .port = http_server_port(app->server),
                                     .routes = ROUTES,
                                     .route_count = 1};
    assert_int_equal(http_server_start(&cfg, &second, &err), EMAC_CONFLICT);
    assert_null(second);
    assert_non_null(strstr(err.text, "127.0.0.1"));
    cfg.address = "not an address";
    assert_int_equal(http_server_start(&cfg, &second, &err), EMAC_INVALID);
    cfg.address = "::";
    cfg.port = 0;
    assert_int_equal(http_server_start(&cfg, &second, &err), EMAC_OK);
    http_server_stop(second);
}

static void *long_poll(void *arg)
{
    struct http_reply r;
    struct emac_err err = {0};
    struct fixture *f = arg;
    struct http_call c = {.method = "GET", .timeout_ms = 20000};
    enum emac_status st = call_full(f, c, "/wait", &r, &err);
    bool ok = st == EMAC_OK && strcmp(emac_buf_str(&r.body), "stopping") == 0;
    http_reply_release(&r);
    return ok ? NULL : f;
}

/* Stop lets running handlers answer. */
static void test_stop(void **state)
{
    struct fixture f = {0};
    pthread_t t[4];
    void *bad;
    app_start(&f.app, 0);
    assert_int_equal(http_client_new(&f.client, NULL), EMAC_OK);
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, long_poll, &f);
    while (atomic_load(&f.app.waiting) < 4)
        os_real()->sleep_ms(os_real(), 5);
    http_server_stop(f.app.server);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    http_client_free(f.client);
}

static void test_connection_limit(void **state)
{
    struct app app = {0};
    int fd[4];
    app_start(&app, 2);
    for (int i = 0; i < 2; i++) {
        fd[i] = raw_connect(&app);
        raw_send(fd[i], "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_non_null(strstr(raw_read(fd[i], "GET|a"), "GET|a"));
    }
    fd[2] = raw_connect(&app);
    (void)send(fd[2], "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
    assert_string_equal(raw_read(fd[2], NULL), ""); /* turned away */
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    http_server_stop(app.server);
}

/* ---- slow peers; the limit of 60 s is made 300 ms ---- */

static uint64_t ms_until_cut(int fd, const char *drip, uint32_t every_ms)
{
    uint64_t start = os_real()->mono_ns(os_real());
    uint64_t ms = 0;
    char byte;
    while (ms < 5000) {
        if (recv(fd, &byte, 1, MSG_DONTWAIT) == 0)
            break;
        if (drip != NULL && *drip != '\0' && send(fd, drip++, 1, MSG_NOSIGNAL) < 0)
            break;
        os_real()->sleep_ms(os_real(), every_ms);
        ms = (os_real()->mono_ns(os_real()) - start) / 1000000;
    }
    close(fd);
    return ms;
}

static void test_slow_peers(void **state)
{
    struct app app = {0};
    struct emac_err err;
    static char drip[2000];
    pthread_mutex_init(&app.lock, NULL);
    struct http_server_config cfg = {.address = "127.0.0.1",
                                     .idle_ms = 300,
                                     .routes = ROUTES,
                                     .route_count = sizeof ROUTES / sizeof ROUTES[0],
                                     .ctx = &app};
    assert_int_equal(http_server_start(&cfg, &app.server, &err), EMAC_OK);
    memset(drip, 'x', sizeof drip - 1);
    /* Says nothing; drips a header; drips one after a first request. */
    assert_in_range(ms_until_cut(raw_connect(&app), NULL, 10), 250, 1500);
    int fd = raw_connect(&app);
    raw_send(fd, "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\nX: ");
    assert_in_range(ms_until_cut(fd, drip, 10), 250, 1500);
    fd = raw_connect(&app);
    raw_send(fd, "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\n\r\n");
    raw_read(fd, "127.0.0.1");
    assert_in_range(ms_until_cut(fd, drip, 10), 250, 1500);
    /* Drips a body: 100 bytes a second is less than 16,000. */
    fd = raw_connect(&app);
    raw_send(fd, "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    assert_in_range(ms_until_cut(fd, drip, 10), 250, 1500);
    /* Stops reading a stream. */
    fd = raw_connect(&app);
    raw_send(fd, "GET /events?n=100000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    freed_becomes(&app, 1);
    close(fd);
    /* But a handler may take longer than the limit, and so may a stream between its chunks. */
    fd = raw_connect(&app);
    raw_send(fd, "GET /sleepy HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(raw_read(fd, "\r\n\r\n"), " 200 "));
    close(fd);
    fd = raw_connect(&app);
    raw_send(fd, "GET /slow-events HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(raw_read(fd, "data: 1\n"), "data: 1\n"));
    close(fd);
    http_server_stop(app.server);
}

#define THREADS 8
#define CALLS   50

static void *hammer(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < CALLS; i++) {
        struct http_reply r;
        struct emac_err err;
        char path[64], want[64];
        snprintf(path, sizeof path, "/v1/jobs/%d", i);
        snprintf(want, sizeof want, "POST|%d|-|b|127.0.0.1", i);
        bool ok = call(f, "POST", path, "b", &r, &err) == EMAC_OK &&
                  strcmp(emac_buf_str(&r.body), want) == 0;
        http_reply_release(&r);
        if (!ok)
            return f;
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    pthread_t t[THREADS];
    void *bad;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, hammer, *state);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_before_and_after, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_rude, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keep_alive, setup, teardown),
        cmocka_unit_test(test_stale_connection),
        cmocka_unit_test_setup_teardown(test_port_taken, setup, teardown),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_slow_peers),
        cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
