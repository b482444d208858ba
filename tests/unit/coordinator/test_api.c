/* The API as a whole: its description, its limits, its small routes. */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "codec/yaml.h"
#include "coordinator/map.h"

static void every_route_is_described(void **state)
{
    struct net n = {0};
    json_t *doc;
    size_t count, described = 0;
    const struct http_route *routes = coordinator_routes(&count);
    const char *path;
    json_t *ops;
    (void)state;
    net_open(&n, "openapi");
    char *text = fetch_text(&n, "/v1/openapi.yaml", NULL);
    assert_ok(yaml_to_json(text, strlen(text), &doc, err));
    free(text);
    json_t *paths = json_object_get(doc, "paths");
    for (size_t i = 0; i < count; i++) {
        char method[8] = {0};
        for (size_t k = 0; routes[i].method[k]; k++)
            method[k] = (char)(routes[i].method[k] | 0x20);
        if (!json_object_get(json_object_get(paths, routes[i].path), method))
            fail_msg("%s %s is not in docs/api/openapi.yaml", routes[i].method, routes[i].path);
    }
    json_object_foreach(paths, path, ops)
    {
        bool gateways = strstr(path, "/v1/models") || strstr(path, "/completions");
        for (int m = 0; m < 2 && !gateways; m++)
            described += json_object_get(ops, m ? "post" : "get") != NULL;
    }
    assert_int_equal(described, count); /* and nothing else is */
    json_decref(doc);
    net_close(&n);
}

static void small_routes(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "small");
    char *text = fetch_text(&n, "/healthz", NULL);
    assert_string_equal(text, "ok\n");
    free(text);
    json_t *s = get(&n, "/v1/status");
    assert_string_equal(str_of(s, "network"), "dev");
    assert_int_equal(json_array_size(json_object_get(s, "nodes")), 0);
    json_decref(s);
    assert_int_equal(call(&n, NULL, "GET", "/v1/nowhere", NULL, NULL), 404);
    assert_int_equal(call(&n, NULL, "GET", "/v1/jobs/job-none", NULL, NULL), 404);
    assert_int_equal(call(&n, NULL, "GET", "/v1/jobs/job-none/logs", NULL, NULL), 404);
    assert_int_equal(call(&n, NULL, "GET", "/v1/jobs?limit=9999999", NULL, NULL), 400);
    assert_int_equal(call(&n, NULL, "GET", "/v1/jobs?after=job-none", NULL, NULL), 404);
    assert_int_equal(call(&n, NULL, "GET", "/v1/ledger/journal?after=x", NULL, NULL), 400);
    assert_int_equal(call(&n, NULL, "GET", "/v1/providers/nonsense", NULL, NULL), 400);
    faucet(&n);
    json_t *j = get(&n, "/v1/ledger/journal");
    assert_int_equal(json_array_size(json_object_get(j, "journal")), 2); /* two entries */
    json_decref(j);
    assert_audit(&n);
    net_close(&n);
}

static void the_faucet_is_for_development(void **state)
{
    struct net n = {0};
    struct coordinator *c;
    (void)state;
    net_open(&n, "nofaucet");
    coordinator_stop(n.c);
    n.cfg.dev = false;
    assert_ok(coordinator_start(&n.cfg, &c, err));
    n.c = c;
    assert_int_equal(call(&n, &n.user, "POST", "/v1/faucet", json_object(), NULL), 403);
    net_close(&n);
}

static void signers_have_a_rate(void **state)
{
    struct net n = {0};
    struct identity other;
    int refused = 0;
    (void)state;
    n.cfg.rate_per_s = 5;
    net_open(&n, "rate");
    for (int i = 0; i < 30; i++)
        refused += call(&n, &n.user, "POST", "/v1/faucet", json_object(), NULL) == 429;
    assert_in_range(refused, 10, 20);
    identity_seeded(&other, 77); /* one signer's haste is not another's */
    assert_int_equal(call(&n, &other, "POST", "/v1/faucet", json_object(), NULL), 200);
    net_close(&n);
}

static void bodies_are_bounded_and_strict(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "bodies");
    size_t big = 80 << 10;
    char *text = malloc(big + 1);
    memset(text, 'x', big);
    text[big] = 0;
    assert_int_equal(
        call(&n, &n.user, "POST", "/v1/failures", json_pack("{s:s}", "lease", text), NULL), 413);
    free(text);
    assert_int_equal(call(&n, &n.user, "POST", "/v1/heartbeat", json_array(), NULL), 400);
    struct rigbot *r = rig_add(&n);
    assert_int_equal(
        call(&n, &r->id, "POST", "/v1/lease", json_pack("{s:s}", "wait_ms", "long"), NULL), 400);
    assert_int_equal(call(&n, &r->id, "POST", "/v1/lease",
                          json_pack("{s:i, s:[s]}", "wait_ms", 0, "holds", "no cid"), NULL),
                     400);
    assert_int_equal(call(&n, &r->id, "POST", "/v1/receipts",
                          json_pack("{s:s, s:s}", "receipt", "AAAA", "signature", "AAAA"), NULL),
                     422); /* base64, but no dag-cbor */
    assert_int_equal(call(&n, &r->id, "POST", "/v1/receipts",
                          json_pack("{s:s, s:s}", "receipt", "!", "signature", "AAAA"), NULL),
                     400);
    net_close(&n);
}

static void logs_can_be_followed_to_the_end(void **state)
{
    struct net n = {0};
    char path[64];
    (void)state;
    net_open(&n, "follow");
    rig_add(&n);
    struct job job = net_job(&n, 2, 1);
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    snprintf(path, sizeof(path), "/v1/jobs/%s/logs", n.job);
    char *text = fetch_text(&n, path, "text/event-stream"); /* ends by itself */
    assert_non_null(strstr(text, "data: {"));
    assert_non_null(strstr(text, "submitted"));
    assert_non_null(strstr(text, "succeeded"));
    free(text);
    json_t *page = get(&n, strcat(path, "?limit=1"));
    assert_int_equal(json_array_size(json_object_get(page, "logs")), 1);
    json_decref(page);
    net_close(&n);
}

static void the_depot_serves_blocks(void **state)
{
    struct net n = {0};
    char path[128], cid[CID_TEXT_MAX];
    (void)state;
    net_open(&n, "depot");
    push(&n, &n.user, &n.corpus->cid);
    push(&n, &n.user, &n.corpus->cid); /* nothing is missing: nothing is sent */
    cid_text(cid, &n.corpus->cid);
    snprintf(path, sizeof(path), "/ipfs/%s?format=raw", cid);
    char *text = fetch_text(&n, path, NULL);
    assert_memory_equal(text, n.corpus->data, 100);
    free(text);
    snprintf(path, sizeof(path), "/v1/depot/%s/missing", cid);
    assert_int_equal(call(&n, NULL, "GET", path, NULL, NULL), 401);
    json_t *m;
    assert_int_equal(call(&n, &n.user, "GET", path, NULL, &m), 200);
    assert_int_equal(json_array_size(json_object_get(m, "missing")), 0);
    json_decref(m);
    net_close(&n);
}

/* Ten megabytes are announced and not sent: the answer comes all the same. */
static void a_strangers_large_body_is_not_read(void **state)
{
    static const char REQUEST[] = "POST /v1/depot/"
                                  "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
                                  " HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n";
    struct net n = {0};
    char text[2048] = "";
    size_t len = 0;
    (void)state;
    net_open(&n, "stranger");
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(coordinator_port(n.c)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(send(fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL), sizeof REQUEST - 1);
    for (ssize_t got = 1; got > 0 && len + 1 < sizeof text; len += (size_t)(got > 0 ? got : 0))
        got = recv(fd, text + len, sizeof text - 1 - len, 0);
    assert_non_null(strstr(text, " 401 "));
    assert_non_null(strstr(text, "signature-input"));
    close(fd);
    net_close(&n);
}

/* ---- containers ---- */

static void maps_hold_what_was_put(void **state)
{
    struct map m = {0};
    static int value[500];
    char key[32];
    (void)state;
    assert_null(map_get(&m, "x"));
    assert_null(map_remove(&m, "x"));
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        map_put(&m, key, &value[i]);
    }
    for (int i = 0; i < 500; i += 2) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_ptr_equal(map_remove(&m, key), &value[i]);
    }
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_ptr_equal(map_get(&m, key), i % 2 ? (void *)&value[i] : NULL);
    }
    struct map_entry e;
    size_t at = 0, count = 0;
    while (map_next(&m, &at, &e))
        count++;
    assert_int_equal(count, 250);
    map_release(&m, NULL);
}

static void cid_sets_are_bounded(void **state)
{
    struct cid_set s = {0};
    (void)state;
    for (uint32_t i = 0; i <= CID_SET_MAX; i++) {
        struct cid cid = cid_of(CID_RAW, &i, sizeof(i));
        cid_set_add(&s, &cid);
        cid_set_add(&s, &cid);
        assert_true(cid_set_has(&s, &cid));
        assert_true(s.count <= CID_SET_MAX);
    }
    assert_int_equal(s.count, 1); /* a full one began afresh */
    cid_set_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_described),
        cmocka_unit_test(small_routes),
        cmocka_unit_test(the_faucet_is_for_development),
        cmocka_unit_test(signers_have_a_rate),
        cmocka_unit_test(bodies_are_bounded_and_strict),
        cmocka_unit_test(logs_can_be_followed_to_the_end),
        cmocka_unit_test(the_depot_serves_blocks),
        cmocka_unit_test(a_strangers_large_body_is_not_read),
        cmocka_unit_test(maps_hold_what_was_put),
        cmocka_unit_test(cid_sets_are_bounded),
    };
    return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
