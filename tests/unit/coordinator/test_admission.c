/* Who may work. */
#include "harness.h"

#include <stdatomic.h>

#include "base/assert.h"
#include "coordinator/rigs/session.h"

static int hello_with(struct net *n, struct rigbot *r, const char *key, json_t *value,
                      json_t **reply)
{
    json_t *body = hello_body(r);
    json_object_set_new(body, key, value);
    return call(n, &r->id, "POST", "/v1/nodes", body, reply);
}

static void another_digest_is_refused(void **state)
{
    struct net n = {0};
    json_t *reply;
    char digest[65];
    (void)state;
    net_open(&n, "digest");
    struct rigbot *r = rig_named(&n, 1);
    memset(digest, '0', 64);
    digest[64] = 0;
    assert_int_equal(hello_with(&n, r, "conformance", json_string(digest), &reply), 403);
    assert_non_null(strstr(str_of(reply, "error"), "conformance digest"));
    json_decref(reply);
    net_close(&n);
}

static void fields_are_checked(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "fields");
    struct rigbot *r = rig_named(&n, 1);
    assert_int_equal(hello_with(&n, r, "url", json_string("ftp://host"), NULL), 400);
    assert_int_equal(hello_with(&n, r, "url", json_string("http://host/path"), NULL), 400);
    assert_int_equal(hello_with(&n, r, "url", json_string("http://user@host"), NULL), 400);
    assert_int_equal(hello_with(&n, r, "name", json_string("a\nb"), NULL), 400);
    assert_int_equal(hello_with(&n, r, "threads", json_integer(-1), NULL), 400);
    assert_int_equal(hello_with(&n, r, "name", json_integer(5), NULL), 400);
    net_close(&n);
}

static void no_work_before_the_challenge(void **state)
{
    struct net n = {0};
    json_t *reply, *lease;
    (void)state;
    net_open(&n, "challenge");
    struct rigbot *r = rig_named(&n, 1);
    json_t *body = json_pack("{s:i}", "wait_ms", 0);
    assert_int_equal(call(&n, &r->id, "POST", "/v1/lease", json_incref(body), NULL), 409);
    assert_int_equal(call(&n, &r->id, "POST", "/v1/nodes", hello_body(r), &reply), 200);
    assert_string_equal(str_of(reply, "state"), "challenge");
    assert_true(json_is_false(json_object_get(reply, "reachable")));
    assert_int_equal(call(&n, &r->id, "POST", "/v1/lease", body, NULL), 409);
    /* a wrong answer ends the attempt */
    json_t *ch = json_object_get(reply, "challenge");
    assert_int_equal(challenge_answer(&n, r, ch, false), 403);
    assert_int_equal(challenge_answer(&n, r, ch, true), 409);
    json_decref(reply);
    assert_int_equal(hello(&n, r), 200);
    assert_int_equal(poll_status(&n, r, 0, &lease), 204);
    json_decref(lease);
    net_close(&n);
}

static void another_device_must_prove_itself(void **state)
{
    struct net n = {0};
    json_t *reply;
    (void)state;
    net_open(&n, "device");
    struct rigbot *r = rig_add(&n);
    assert_int_equal(call(&n, &r->id, "POST", "/v1/nodes", hello_body(r), &reply), 200);
    assert_string_equal(str_of(reply, "state"), "admitted");
    json_decref(reply);
    for (int i = 0; i < 2; i++) { /* asking twice does not get it in */
        assert_int_equal(hello_with(&n, r, "isa", json_string("avx512"), &reply), 200);
        assert_string_equal(str_of(reply, "state"), "challenge");
        json_decref(reply);
    }
    net_close(&n);
}

static void each_challenge_is_another(void **state)
{
    struct net n = {0};
    json_t *a, *b;
    (void)state;
    net_open(&n, "fresh");
    struct rigbot *r = rig_named(&n, 1);
    assert_int_equal(call(&n, &r->id, "POST", "/v1/nodes", hello_body(r), &a), 200);
    assert_int_equal(call(&n, &r->id, "POST", "/v1/nodes", hello_body(r), &b), 200);
    json_t *ca = json_object_get(a, "challenge"), *cb = json_object_get(b, "challenge");
    assert_string_not_equal(str_of(ca, "graph"), str_of(cb, "graph"));
    assert_int_equal(challenge_answer(&n, r, ca, true), 409); /* the old one */
    json_decref(a);
    json_decref(b);
    net_close(&n);
}

/* ---- sessions ---- */

/* A clock that can be moved: the coordinator's and the signer's. */
static atomic_uint_fast64_t moved_ms;

static uint64_t moved_wall(struct os *os)
{
    return os_real()->wall_ms(os_real()) + atomic_load(&moved_ms);
}

static int ask(struct net *n, const struct identity *who, const char *path)
{
    json_t *body = json_pack("{s:i, s:[], s:s, s:s}", "wait_ms", 0, "leases", "lease", "none",
                             "status", "numeric");
    return call(n, who, "POST", path, body, NULL);
}

/* SESSION-3. A receipt with nothing in it is wrong, which is found out after who sends it. */
static void a_session_opens_what_a_rig_sends_often(void **state)
{
    static const struct {
        const char *path;
        int status;
    } CASES[] = {
        {"/v1/lease", 204},    {"/v1/heartbeat", 200}, {"/v1/failures", 200},
        {"/v1/receipts", 400}, {"/v1/nodes", 401},     {"/v1/nodes/challenge", 401},
        {"/v1/faucet", 401},   {"/v1/bonds", 401},     {"/v1/jobs", 401},
        {"/v1/keys", 401},     {"/v1/deals", 401},     {"/v1/disputes/d", 401},
    };
    struct net n = {0};
    struct http_mac session;
    (void)state;
    net_open(&n, "session");
    struct rigbot *r = rig_named(&n, 1);
    assert_int_equal(hello_session(&n, r, &session), 200);
    r->id.signer.mac = &session;
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        print_message("%s\n", CASES[i].path);
        assert_int_equal(ask(&n, &r->id, CASES[i].path), CASES[i].status);
    }
    net_restart(&n); /* SESSION-1 */
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 409);
    r->id.signer.mac = NULL;
    assert_int_equal(hello(&n, r), 200);
    r->id.signer.mac = &session;
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 204);
    net_close(&n);
}

/* Another's name, another time, another key. */
static void a_session_is_its_rigs(void **state)
{
    struct net n = {0};
    struct http_mac one, two, forged;
    (void)state;
    net_open(&n, "sessions");
    struct rigbot *r = rig_named(&n, 1), *other = rig_named(&n, 2);
    assert_int_equal(hello_session(&n, r, &one), 200);
    assert_int_equal(hello_session(&n, other, &two), 200);
    assert_memory_not_equal(one.key, two.key, sizeof one.key);
    r->id.signer.mac = &forged;
    forged = one;
    set_text(forged.id, two.id);
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 401);
    forged = one;
    forged.id[strlen(forged.id) - 1] ^= 1;
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 401);
    forged = one;
    forged.key[31] ^= 1;
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 401);
    static const char *const IDS[] = {"", "#", "did:key:z#1", "did:key:z#9999999999999999", "#1a"};
    for (size_t i = 0; i < EMAC_COUNT(IDS); i++) {
        set_text(forged.id, IDS[i]);
        assert_int_equal(ask(&n, &r->id, "/v1/lease"), 401);
    }
    forged = one;
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 204);
    net_close(&n);
}

/* SESSION-4 */
static void a_session_ends(void **state)
{
    struct net n = {0};
    struct http_mac session;
    struct os clock = *os_real();
    (void)state;
    clock.wall_ms = moved_wall;
    n.moved = &clock;
    net_open(&n, "over");
    struct rigbot *r = rig_named(&n, 1);
    r->id.signer.os = &clock;
    assert_int_equal(hello_session(&n, r, &session), 200);
    r->id.signer.mac = &session;
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 204);
    atomic_fetch_add(&moved_ms, SESSION_LIFE_MS + 1000);
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 401);
    r->id.signer.mac = NULL;
    assert_int_equal(ask(&n, &r->id, "/v1/heartbeat"), 200);
    assert_int_equal(hello_session(&n, r, &session), 200);
    r->id.signer.mac = &session;
    assert_int_equal(ask(&n, &r->id, "/v1/lease"), 204);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_digest_is_refused),
        cmocka_unit_test(fields_are_checked),
        cmocka_unit_test(no_work_before_the_challenge),
        cmocka_unit_test(another_device_must_prove_itself),
        cmocka_unit_test(each_challenge_is_another),
        cmocka_unit_test(a_session_opens_what_a_rig_sends_often),
        cmocka_unit_test(a_session_is_its_rigs),
        cmocka_unit_test(a_session_ends),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
