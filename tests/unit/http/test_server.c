/* Server and client against each other. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/assert.h"
#include "fixture.h"

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

/* What the client signs, the server accepts, on kept-open connections too; other headers stay. */
static void test_signed(void **state)
{
    struct fixture *f = *state;
    uint8_t seed[32] = {3}, public_key[32], secret[64];
    char did[DID_KEY_MAX];
    struct http_reply r;
    struct emac_err err = {0};
    crypto_ed25519_keypair(public_key, secret, seed);
    crypto_did_key(did, public_key);
    const struct http_signer signer = {os_real(), did, secret};
    f->app.nonces = nonce_cache_new();
    for (int i = 0; i < 6; i++) {
        struct http_call c = {.method = i % 2 == 0 ? "GET" : "POST", .signer = &signer};
        if (i % 2 != 0)
            c.body = EMAC_SLICE_STR("{}");
        http_header_add(&c.headers, "X-Empty", "");
        assert_int_equal(call_full(f, c, "/signed?a=%2F&b", &r, &err), EMAC_OK);
        assert_string_equal(emac_buf_str(&r.body), did);
        http_reply_release(&r);
    }
    expect_failure(f, "GET", "/signed", NULL, EMAC_UNAUTHORIZED, 401);
    nonce_cache_free(f->app.nonces);
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

static void test_url(void **state)
{
    static const struct {
        const char *address, *url;
    } ROWS[] = {{"127.0.0.1", "http://127.0.0.1:7070"},
                {"::1", "http://[::1]:7070"},
                {"::", "http://[::]:7070"}};
    for (size_t i = 0; i < EMAC_COUNT(ROWS); i++) {
        struct arena a;
        struct http_url parsed;
        char *url = http_server_url(ROWS[i].address, 7070);
        assert_string_equal(url, ROWS[i].url);
        arena_init(&a, 4096);
        assert_int_equal(http_url_parse(&a, url, &parsed, NULL), EMAC_OK);
        assert_int_equal(parsed.port, 7070);
        arena_release(&a);
        free(url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_before_and_after, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_failures, setup, teardown),
        cmocka_unit_test(test_stale_connection),
        cmocka_unit_test_setup_teardown(test_port_taken, setup, teardown),
        cmocka_unit_test(test_url),
        cmocka_unit_test(test_stop),
        cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
