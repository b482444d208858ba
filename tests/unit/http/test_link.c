/* A client and a server behind thin links: the same bytes, no faster than the link. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <unistd.h>

#include "http/client.h"
#include "http/link.h"
#include "http/server.h"
#include "os/thread.h"

#define BODY    (1u << 20)
#define CALLERS 4

/* Wide enough for a quick test, narrow enough to be seen: 1 MiB takes 168 ms up, 84 ms down. */
static const struct link_shape SHAPE = {50000000, 100000000, 5000000};

static enum emac_status echo(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    res->content_type = "application/octet-stream";
    return emac_buf_append(&res->body, req->body.data, req->body.len, err);
}

struct net {
    struct link *link[2]; /* the client's, the server's (NULL: none) */
    struct http_server *server;
    struct http_client *client;
    char url[64];
};

static void net_open(struct net *n, bool server_side)
{
    static const struct http_route ROUTE = {"POST", "/echo", 2 * BODY, echo};
    const struct http_server_config cfg = {
        .address = "127.0.0.1", .routes = &ROUTE, .route_count = 1};
    struct emac_err err;
    uint16_t port;
    *n = (struct net){0};
    assert_int_equal(http_server_start(&cfg, &n->server, &err), EMAC_OK);
    port = http_server_port(n->server);
    assert_int_equal(link_open(os_real(), &SHAPE, &n->link[0], &err), EMAC_OK);
    if (server_side) {
        assert_int_equal(link_open(os_real(), &SHAPE, &n->link[1], &err), EMAC_OK);
        assert_int_equal(link_listen(n->link[1], "127.0.0.1", 0, port, &port, &err), EMAC_OK);
        assert_int_not_equal(port, http_server_port(n->server));
    }
    assert_int_equal(http_client_new(&n->client, &err), EMAC_OK);
    http_client_link(n->client, n->link[0]);
    snprintf(n->url, sizeof n->url, "http://127.0.0.1:%u/echo", port);
}

static void net_close(struct net *n)
{
    http_client_free(n->client);
    http_server_stop(n->server);
    link_close(n->link[0]);
    link_close(n->link[1]);
}

struct caller {
    struct net *net;
    struct os_thread thread;
    uint8_t seed;
    size_t size;
    bool same;
};

static void *call(void *arg)
{
    struct caller *c = arg;
    uint8_t *body = malloc(c->size + 1);
    for (size_t i = 0; i < c->size; i++)
        body[i] = (uint8_t)(c->seed + i * 7 + (i >> 8));
    const struct http_call call = {
        .method = "POST", .url = c->net->url, .body = EMAC_SLICE(body, c->size)};
    struct http_reply r;
    c->same = http_client_call(c->net->client, &call, &r, NULL) == EMAC_OK &&
              r.body.len == c->size && memcmp(r.body.data, body, c->size) == 0;
    http_reply_release(&r);
    free(body);
    return NULL;
}

static double seconds(uint64_t since)
{
    return (double)(os_real()->mono_ns(os_real()) - since) * 1e-9;
}

/* Sizes about the chunk's, one connection after the other and kept open. */
static void test_sizes(void **state)
{
    static const size_t SIZES[] = {0, 1, 1447, 1448, 1449, 12500, 65536, 65537, 300000};
    struct net n;
    net_open(&n, true);
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        struct caller c = {.net = &n, .seed = (uint8_t)i, .size = SIZES[i]};
        call(&c);
        assert_true(c.same);
    }
    net_close(&n);
}

/* Several at once share the rate, whoever's link is the thin one. */
static void callers_at_once(bool server_side)
{
    struct net n;
    struct caller c[CALLERS];
    net_open(&n, server_side);
    uint64_t began = os_real()->mono_ns(os_real());
    for (int i = 0; i < CALLERS; i++) {
        c[i] = (struct caller){.net = &n, .seed = (uint8_t)(50 * i), .size = BODY / CALLERS};
        os_thread_start(&c[i].thread, call, &c[i]);
    }
    for (int i = 0; i < CALLERS; i++) {
        os_thread_join(&c[i].thread);
        assert_true(c[i].same);
    }
    /* The last byte went up and came down, and a connection opens after a round trip. */
    double least = (double)BODY * 8 / (double)SHAPE.up_bps + 4 * (double)SHAPE.latency_ns * 1e-9;
    assert_true(seconds(began) >= least);
    net_close(&n);
}

static void test_at_once(void **state)
{
    callers_at_once(false);
    callers_at_once(true);
}

static void test_nobody_there(void **state)
{
    struct net n;
    struct http_reply r;
    struct emac_err err;
    net_open(&n, false);
    http_server_stop(n.server);
    n.server = NULL;
    const struct http_call call = {.method = "POST", .url = n.url, .body = EMAC_SLICE_STR("x")};
    assert_int_equal(http_client_call(n.client, &call, &r, &err), EMAC_UNAVAILABLE);
    http_reply_release(&r);
    net_close(&n);
}

/* The target behind a listening link went away: its callers see the end, the relay goes on. */
static void test_server_gone(void **state)
{
    struct net n;
    struct caller c = {.net = &n, .size = 10};
    net_open(&n, true);
    call(&c);
    assert_true(c.same);
    http_server_stop(n.server);
    n.server = NULL;
    call(&c);
    assert_false(c.same);
    net_close(&n);
}

static bool at_once(void *ctx)
{
    return true;
}

static void test_dial_cancelled(void **state)
{
    struct link *l;
    struct emac_err err;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &to.sin_addr), 1); /* RFC 5737: nobody */
    assert_int_equal(link_open(os_real(), &SHAPE, &l, &err), EMAC_OK);
    assert_int_equal(link_dial(l, (struct sockaddr *)&to, sizeof to, 5000, at_once, NULL), -1);
    link_close(l);
}

/* Closing with bytes in flight loses them and nothing else. */
static void test_close_in_flight(void **state)
{
    struct net n;
    net_open(&n, false);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(http_server_port(n.server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = link_dial(n.link[0], (struct sockaddr *)&to, sizeof to, 5000, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "POST", 4), 4);
    link_close(n.link[0]);
    n.link[0] = NULL;
    char byte;
    assert_true(read(fd, &byte, 1) <= 0);
    close(fd);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_nobody_there),   cmocka_unit_test(test_server_gone),
        cmocka_unit_test(test_dial_cancelled), cmocka_unit_test(test_close_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
