/* A client that is stopped ends its calls, and makes no more. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "http/client.h"
#include "http/server.h"
#include "os/os.h"
#include "os/thread.h"

static struct http_server *server;
static int waiting;

static enum emac_status wait_stop(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    __atomic_add_fetch(&waiting, 1, __ATOMIC_RELAXED);
    while (!http_server_stopping(server))
        os_real()->sleep_ms(os_real(), 5);
    return EMAC_OK;
}

struct caller {
    struct http_client *client;
    const char *url;
    struct os_thread thread;
    enum emac_status st;
};

static void *call(void *arg)
{
    struct caller *c = arg;
    const struct http_call call = {.method = "GET", .url = c->url, .timeout_ms = 60000};
    struct http_reply reply;
    c->st = http_client_call(c->client, &call, &reply, NULL);
    http_reply_release(&reply);
    return NULL;
}

static void test_stop(void **state)
{
    const struct http_route route = {"GET", "/wait", 0, wait_stop};
    const struct http_server_config cfg = {
        .address = "127.0.0.1", .routes = &route, .route_count = 1};
    struct http_client *client, *other;
    struct caller c[3];
    char url[64];
    assert_int_equal(http_server_start(&cfg, &server, NULL), EMAC_OK);
    assert_int_equal(http_client_new(&client, NULL), EMAC_OK);
    assert_int_equal(http_client_new(&other, NULL), EMAC_OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/wait", http_server_port(server));
    for (int i = 0; i < 3; i++) {
        c[i] = (struct caller){.client = i < 2 ? client : other, .url = url};
        os_thread_start(&c[i].thread, call, &c[i]);
    }
    while (__atomic_load_n(&waiting, __ATOMIC_RELAXED) < 3)
        os_real()->sleep_ms(os_real(), 5);
    uint64_t began = os_real()->mono_ns(os_real());
    http_client_stop(client);
    for (int i = 0; i < 2; i++) {
        os_thread_join(&c[i].thread);
        assert_int_equal(c[i].st, EMAC_CANCELLED);
    }
    assert_true(os_real()->mono_ns(os_real()) - began < 1500000000u);
    call(&c[0]);
    assert_int_equal(c[0].st, EMAC_CANCELLED);
    http_server_stop(server); /* the third was not touched: it is answered */
    os_thread_join(&c[2].thread);
    assert_int_equal(c[2].st, EMAC_OK);
    http_client_free(client);
    http_client_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
