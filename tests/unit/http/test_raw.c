/* The server against raw sockets: malformed, too large, rude, slow. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"

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
    raw_expect(&f->app, "GET /v1/jobs/abc HTTP/1.1\r\nHost: a\r\n\r\n", "GET|abc|-||127.0.0.1");
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

/* A request that is refused for its head is answered without its body. */
static void test_head_alone(void **state)
{
    struct app *app = &((struct fixture *)*state)->app;
    int fd = raw_connect(app);
    raw_send(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nX-Forbid-Head: 1\r\n"
                 "Content-Length: 3000000\r\n\r\n");
    assert_non_null(strstr(raw_read(fd, "not even the body"), " 401 "));
    close(fd);
    /* A short one is read, and the connection goes on. */
    fd = raw_connect(app);
    raw_send(fd, "POST /v1/jobs/a HTTP/1.1\r\nHost: a\r\nX-Forbid-Head: 1\r\n"
                 "Content-Length: 3\r\n\r\nabc");
    assert_non_null(strstr(raw_read(fd, "not even the body"), " 401 "));
    raw_send(fd, "GET /v1/jobs/a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(raw_read(fd, "GET|a"), " 200 "));
    close(fd);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_raw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_rude, setup, teardown),
        cmocka_unit_test_setup_teardown(test_head_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keep_alive, setup, teardown),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_slow_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
