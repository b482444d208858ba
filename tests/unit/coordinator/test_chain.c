#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

/* A coordinator that follows a scripted chain over HTTP: what is credited when, what it says, who
 * may settle, and that a restart forgets nothing. */
#include "net.h"

#include "../chain/fakenode.h"
#include "chain/config.h"

struct served {
    struct fake_chain chain;
    struct fake_node node;
    struct os_mutex lock;
    struct http_server *server;
    struct chain_config cfg;
    struct net net;
};

static enum emac_status answer_rpc(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct served *s = ctx;
    json_t *q = json_loadb((const char *)req->body.data, req->body.len, 0, NULL), *result = NULL;
    os_mutex_lock(&s->lock);
    enum emac_status st =
        s->node.node.call(&s->node.node, json_string_value(json_object_get(q, "method")),
                          json_incref(json_object_get(q, "params")), &result, err);
    os_mutex_unlock(&s->lock);
    json_t *reply = json_pack("{s:O, s:o?}", "id", json_object_get(q, "id"), "result", result);
    char *text = json_dumps(reply, JSON_COMPACT);
    res->content_type = "application/json";
    if (st == EMAC_OK)
        st = emac_buf_append(&res->body, text, strlen(text), err);
    free(text);
    json_decref(reply);
    json_decref(q);
    return st;
}

static const struct http_route RPC[] = {{"POST", "/", 1u << 20, answer_rpc}};

/* The chain is changed between requests only. */
static void mine(struct served *s, uint32_t account, uint64_t units, size_t final)
{
    os_mutex_lock(&s->lock);
    struct fake_block *b = fake_mine(&s->chain, 1);
    if (units > 0)
        fake_deposit(b, account, units);
    s->chain.final = final;
    os_mutex_unlock(&s->lock);
}

static void lie(struct served *s, enum fake_lie what)
{
    os_mutex_lock(&s->lock);
    s->node.lie = what;
    os_mutex_unlock(&s->lock);
}

static int setup(void **state)
{
    struct served *s = calloc(1, sizeof(*s));
    struct http_server_config cfg = {
        .address = "127.0.0.1", .connections_max = 8, .routes = RPC, .route_count = 1, .ctx = s};
    os_mutex_init(&s->lock);
    fake_chain_init(&s->chain);
    fake_node_init(&s->node, &s->chain, "script");
    assert_int_equal(http_server_start(&cfg, &s->server, NULL), EMAC_OK);
    s->cfg.chain_id = FAKE_CHAIN_ID;
    s->cfg.urls = 1;
    snprintf(s->cfg.url[0], CHAIN_RPC_URL_MAX, "http://127.0.0.1:%u/", http_server_port(s->server));
    memcpy(s->cfg.address, s->chain.address, sizeof(s->cfg.address));
    memcpy(s->cfg.start.hash, s->chain.block[0].hash, CHAIN_HASH_BYTES);
    s->cfg.least_units = 1;
    identity_seeded(&s->net.user, 200); /* as net_open will */
    emac_strcpy(s->cfg.operator_did, sizeof(s->cfg.operator_did), s->net.user.did);
    s->net.cfg.chain = &s->cfg;
    net_open(&s->net, "chain");
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct served *s = *state;
    net_close(&s->net);
    http_server_stop(s->server);
    os_mutex_release(&s->lock);
    free(s);
    return 0;
}

/* Until the ledger has followed to this block, or says that it will not (want_problem). */
static json_t *follow_until(struct served *s, int64_t block, bool want_problem)
{
    for (int i = 0; i < NET_LOOPS; i++) {
        json_t *o = get(&s->net, "/v1/chain");
        if (int_of(o, "block") >= block && (*str_of(o, "problem") != '\0') == want_problem)
            return o;
        json_decref(o);
        os_real()->sleep_ms(os_real(), 5);
    }
    fail_msg("the ledger did not come to block %d", (int)block);
    return NULL;
}

static void deposits_and_lies(void **state)
{
    struct served *s = *state;
    mine(s, 1, 70, 0);
    mine(s, 1, 30, 1);
    json_t *o = follow_until(s, 1, false);
    assert_int_equal(units_of(o, "held_units"), 70);
    assert_true(json_is_null(json_object_get(o, "epoch")));
    json_decref(o);
    lie(s, FAKE_LOG_OTHER_BLOCK);
    mine(s, 2, 5, 3);
    o = follow_until(s, 1, true);
    assert_int_equal(int_of(o, "block"), 1);
    assert_int_equal(units_of(o, "held_units"), 70);
    json_decref(o);
    lie(s, FAKE_NONE);
    json_decref(follow_until(s, 3, false));
    coordinator_stop(s->net.c);
    net_start(&s->net);
    o = follow_until(s, 3, false);
    assert_int_equal(units_of(o, "held_units"), 105);
    json_decref(o);
    assert_audit(&s->net);
}

static void who_may_settle(void **state)
{
    struct served *s = *state;
    struct identity stranger;
    json_t *reply;
    identity_seeded(&stranger, 99);
    assert_int_equal(call(&s->net, NULL, "POST", "/v1/chain/settle", json_object(), NULL), 401);
    assert_int_equal(call(&s->net, &stranger, "POST", "/v1/chain/settle", json_object(), NULL),
                     403);
    assert_int_equal(call(&s->net, &s->net.user, "POST", "/v1/chain/settle", json_object(), &reply),
                     402);
    assert_non_null(strstr(str_of(reply, "error"), "too little"));
    json_decref(reply);
    assert_int_equal(call(&s->net, &s->net.user, "POST", "/v1/faucet", json_object(), NULL), 403);
}

static int payable(struct served *s, const struct identity *who, const char *units, const char *key)
{
    return call(&s->net, who, "POST", "/v1/chain/payables",
                json_pack("{s:s, s:s}", "units", units, "key", key), NULL);
}

/* Who is paid out what it has: a did with a wallet (the book's tests), and nobody by a bad word. */
static void who_is_paid_out(void **state)
{
    struct served *s = *state;
    assert_int_equal(payable(s, NULL, "1", "k"), 401);
    assert_int_equal(payable(s, &s->net.user, "1", "k"), 409);
    assert_int_equal(payable(s, &s->net.user, "0", "k"), 400);
    assert_int_equal(payable(s, &s->net.user, "-1", "k"), 400);
    assert_int_equal(payable(s, &s->net.user, "1.5", "k"), 400);
    assert_int_equal(payable(s, &s->net.user, "9223372036854775808", "k"), 400);
    assert_int_equal(payable(s, &s->net.user, "1", "two words"), 400);
    assert_int_equal(payable(s, &s->net.user, "1", ""), 400);
    assert_audit(&s->net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(deposits_and_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(who_may_settle, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_paid_out, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
