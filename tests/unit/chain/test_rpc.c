#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

/* Replies of a node, and calls over HTTP to a server that answers as a case says. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "chain/rpc.h"
#include "http/server.h"

struct reply_case {
    const char *reply;
    enum emac_status st;
    const char *text; /* of the result, or within the sentence */
};

static const struct reply_case REPLIES[] = {
    {"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"0x1\"}", EMAC_OK, "\"0x1\""},
    {"{\"id\":7,\"result\":null}", EMAC_OK, "null"},
    {"{\"id\":7,\"result\":[],\"error\":null}", EMAC_OK, "[]"},
    {"{\"id\":8,\"result\":\"0x1\"}", EMAC_CORRUPT, "another question"},
    {"{\"id\":\"7\",\"result\":\"0x1\"}", EMAC_CORRUPT, "another question"},
    {"{\"result\":\"0x1\"}", EMAC_CORRUPT, "another question"},
    {"{\"id\":7}", EMAC_CORRUPT, "neither result nor error"},
    {"{\"id\":7,\"result\":1,\"error\":{\"code\":1}}", EMAC_CORRUPT, "neither result nor error"},
    {"{\"id\":7,\"error\":\"no\"}", EMAC_CORRUPT, "neither result nor error"},
    {"{\"id\":7,\"result\":1,\"result\":2}", EMAC_CORRUPT, "JSON object"},
    {"[]", EMAC_CORRUPT, "JSON object"},
    {"", EMAC_CORRUPT, "JSON object"},
    {"<html>", EMAC_CORRUPT, "JSON object"},
    {"{\"id\":7,\"error\":{\"code\":-32000,\"message\":\"nonce too low\"}}", EMAC_FAILED,
     "nonce too low (code -32000)"},
    {"{\"id\":null,\"error\":{\"code\":-32700,\"message\":\"parse error\"}}", EMAC_FAILED,
     "parse error"},
    {"{\"id\":7,\"error\":{}}", EMAC_FAILED, "without a reason"},
    {"{\"id\":7,\"error\":{\"code\":3,\"message\":\"reverted\",\"data\":\"0x16d7d92700\"}}",
     EMAC_FAILED, "NothingToClaim"},
    {"{\"id\":7,\"error\":{\"code\":3,\"message\":\"r\",\"data\":{\"data\":\"0x16d7d92700\"}}}",
     EMAC_FAILED, "NothingToClaim"},
    {"{\"id\":7,\"error\":{\"code\":3,\"message\":\"reverted\",\"data\":\"0x12\"}}", EMAC_FAILED,
     "reverted"},
};

static void replies(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(REPLIES); i++) {
        const struct reply_case *r = &REPLIES[i];
        struct emac_err err = {0};
        json_t *result = NULL;
        enum emac_status st =
            chain_rpc_parse("http://node", EMAC_SLICE_STR(r->reply), 7, &result, &err);
        assert_int_equal(st, r->st);
        if (st == EMAC_OK) {
            char *text = json_dumps(result, JSON_ENCODE_ANY | JSON_COMPACT);
            assert_string_equal(text, r->text);
            free(text);
        } else {
            assert_null(result);
            assert_non_null(strstr(err.text, r->text));
        }
        json_decref(result);
    }
}

static void nested_too_deep(void **state)
{
    char reply[2100];
    struct emac_err err;
    json_t *result;
    memset(reply, '[', sizeof(reply) - 1);
    reply[sizeof(reply) - 1] = '\0';
    assert_int_equal(chain_rpc_parse("n", EMAC_SLICE_STR(reply), 1, &result, &err), EMAC_CORRUPT);
    assert_non_null(strstr(err.text, "nested"));
    /* Brackets in a string are none. */
    memcpy(reply, "{\"id\":1,\"result\":\"\\\"", 20);
    memcpy(reply + sizeof(reply) - 3, "\"}", 3);
    assert_int_equal(chain_rpc_parse("n", EMAC_SLICE_STR(reply), 1, &result, &err), EMAC_OK);
    json_decref(result);
}

/* ---- over HTTP ---- */

struct served {
    const char *body; /* %lld stands for the id of the question */
    char question[4096];
};

static enum emac_status answer(void *ctx, const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    struct served *s = ctx;
    json_t *q = json_loadb((const char *)req->body.data, req->body.len, 0, NULL);
    long long id = json_integer_value(json_object_get(q, "id"));
    char *text = json_dumps(json_object_get(q, "params"), JSON_COMPACT);
    snprintf(s->question, sizeof(s->question), "%s%s",
             json_string_value(json_object_get(q, "method")), text);
    free(text);
    json_decref(q);
    res->content_type = "application/json";
    char *body = emac_asprintf("%s", s->body), *at = strstr(body, "%lld");
    enum emac_status st =
        emac_buf_append(&res->body, body, at ? (size_t)(at - body) : strlen(body), err);
    if (st == EMAC_OK && at)
        st = emac_buf_printf(&res->body, err, "%lld%s", id, at + 4);
    free(body);
    return st;
}

static const struct http_route ROUTES[] = {{"POST", "/", 1u << 20, answer}};

struct fixture {
    struct served served;
    struct http_server *server;
    struct http_client *client;
    struct chain_rpc rpc;
    char url[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct http_server_config cfg = {.address = "127.0.0.1",
                                     .connections_max = 8,
                                     .routes = ROUTES,
                                     .route_count = EMAC_COUNT(ROUTES),
                                     .ctx = &f->served};
    assert_int_equal(http_server_start(&cfg, &f->server, NULL), EMAC_OK);
    assert_int_equal(http_client_new(&f->client, NULL), EMAC_OK);
    snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u/", http_server_port(f->server));
    assert_int_equal(chain_rpc_init(&f->rpc, f->client, f->url, NULL), EMAC_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_server_stop(f->server);
    http_client_free(f->client);
    free(f);
    return 0;
}

static void questions(void **state)
{
    struct fixture *f = *state;
    struct chain_node *n = &f->rpc.node;
    uint8_t a[EVM_ADDRESS_BYTES] = {0xab};
    struct emac_err err;
    uint64_t id = 0;
    f->served.body = "{\"id\":%lld,\"result\":\"0x4cb2f\"}";
    assert_int_equal(chain_node_id(n, &id, NULL), EMAC_OK);
    assert_int_equal(id, 314159);
    assert_string_equal(f->served.question, "eth_chainId[]");
    assert_int_equal(chain_node_nonce(n, a, "latest", &id, NULL), EMAC_OK);
    assert_string_equal(f->served.question, "eth_getTransactionCount["
                                            "\"0xab00000000000000000000000000000000000000\","
                                            "\"latest\"]");
    f->served.body = "{\"id\":%lld,\"result\":\"0x01\"}"; /* a leading zero */
    assert_int_equal(chain_node_id(n, &id, &err), EMAC_CORRUPT);
    assert_non_null(strstr(err.text, f->url));
    f->served.body = "{\"id\":%lld,\"result\":\"0x10000000000000000\"}";
    assert_int_equal(chain_node_id(n, &id, &err), EMAC_CORRUPT);
    f->served.body = "{\"id\":1,\"result\":\"0x1\"}"; /* of an earlier question */
    assert_int_equal(chain_node_id(n, &id, &err), EMAC_CORRUPT);
    f->served.body = "{\"id\":%lld,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}";
    assert_int_equal(chain_node_id(n, &id, &err), EMAC_FAILED);
    assert_non_null(strstr(err.text, "eth_chainId"));
    assert_non_null(strstr(err.text, "no such method"));
}

static const char *const BAD_BLOCKS[] = {
    "{}",
    "[]",
    "\"0x1\"",
    "{\"number\":1}",
    "{\"number\":\"0x1\",\"timestamp\":\"0x1\",\"hash\":\"0x12\",\"parentHash\":\"0x12\"}",
};

static void bad_answers(void **state)
{
    struct fixture *f = *state;
    struct chain_node *n = &f->rpc.node;
    struct chain_block b;
    struct chain_logs logs;
    struct chain_receipt r;
    uint8_t hash[CHAIN_HASH_BYTES] = {0}, address[1][EVM_ADDRESS_BYTES] = {{0}};
    bool found;
    for (size_t i = 0; i < EMAC_COUNT(BAD_BLOCKS); i++) {
        char body[512];
        snprintf(body, sizeof(body), "{\"id\":%%lld,\"result\":%s}", BAD_BLOCKS[i]);
        f->served.body = body;
        assert_int_equal(chain_node_block(n, "latest", &b, NULL), EMAC_CORRUPT);
        assert_int_equal(chain_node_receipt(n, hash, &found, &r, NULL), EMAC_CORRUPT);
        if (i != 1)
            assert_int_equal(chain_node_logs(n, 0, 9, address, 1, &logs, NULL), EMAC_CORRUPT);
        assert_int_equal(chain_node_send(n, EMAC_SLICE("\x02", 1), NULL), EMAC_CORRUPT);
    }
    f->served.body = "{\"id\":%lld,\"result\":[{\"address\":\"0x1\"}]}";
    assert_int_equal(chain_node_logs(n, 0, 9, address, 1, &logs, NULL), EMAC_CORRUPT);
    f->served.body = "{\"id\":%lld,\"result\":null}";
    assert_int_equal(chain_node_block(n, "latest", &b, NULL), EMAC_NOT_FOUND);
    assert_int_equal(chain_node_receipt(n, hash, &found, &r, NULL), EMAC_OK);
    assert_false(found);
    assert_int_equal(chain_node_knows(n, hash, &found, NULL), EMAC_OK);
    assert_false(found);
}

static void urls(void **state)
{
    static const char *const BAD[] = {"", "node:8545", "ftp://node", "file:///etc/passwd"};
    struct chain_rpc rpc;
    char longer[CHAIN_RPC_URL_MAX + 16] = "http://";
    memset(longer + 7, 'a', sizeof(longer) - 8);
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++)
        assert_int_equal(chain_rpc_init(&rpc, NULL, BAD[i], NULL), EMAC_INVALID);
    assert_int_equal(chain_rpc_init(&rpc, NULL, longer, NULL), EMAC_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies),
        cmocka_unit_test(nested_too_deep),
        cmocka_unit_test_setup_teardown(questions, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_answers, setup, teardown),
        cmocka_unit_test(urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
