/* Who may work. */
#include "harness.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_digest_is_refused),
        cmocka_unit_test(fields_are_checked),
        cmocka_unit_test(no_work_before_the_challenge),
        cmocka_unit_test(another_device_must_prove_itself),
        cmocka_unit_test(each_challenge_is_another),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
