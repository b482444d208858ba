/* A surge of strangers: each registers with a key of its own, under one address, and none ever
 * solves the challenge. Memory stays bounded, nobody is paid, and a rig that was there before goes
 * on working. EMAC_SYBILS: how many (tests/soak.sh: 2 million). */
#include "harness.h"

#include <malloc.h>

#include "direct.h"

#define SYBILS      3000 /* more than the coordinator keeps */
#define MEMORY_MOST ((size_t)192 << 20)

static void sybil(struct identity *id, uint64_t number)
{
    uint8_t seed[ED25519_SEED_BYTES] = {0xff};
    memcpy(seed + 8, &number, sizeof number);
    crypto_ed25519_keypair(id->public_key, id->secret_key, seed);
    crypto_did_key(id->did, id->public_key);
    id->signer = (struct http_signer){os_real(), id->did, id->secret_key};
}

/* HTTP status of its hello; it never answers the challenge, and asks for work all the same. */
static int surge_one(struct net *n, uint64_t number, const char *body)
{
    struct identity id;
    struct direct_call call;
    json_t *reply;
    sybil(&id, number);
    direct_sign(n, &id, "/v1/nodes", body, &call);
    int status = direct_run(n, nodes_post, &call, &reply);
    json_decref(reply);
    arena_release(&call.arena);
    if (number % 97 == 0) {
        direct_sign(n, &id, "/v1/lease", "{}", &call);
        assert_int_equal(direct_run(n, lease_post, &call, &reply), 409);
        json_decref(reply);
        arena_release(&call.arena);
    }
    return status;
}

static void test_surge(void **state)
{
    static struct net n;
    const char *text = getenv("EMAC_SYBILS");
    uint64_t sybils = text != NULL ? strtoull(text, NULL, 10) : SYBILS, refused = 0;
    struct rigbot stranger = {.boot = "boot-s"};
    net_open(&n, "sybil");
    rig_add(&n);
    json_t *hello_json = hello_body(&stranger);
    char *body = json_dumps(hello_json, JSON_COMPACT);
    struct job job = net_job(&n, 3, 4);
    net_submit(&n, &job);
    size_t before = mallinfo2().uordblks;
    for (uint64_t i = 0; i < sybils; i++) {
        int status = surge_one(&n, i, body);
        refused += status != 200;
        assert_true(status == 200 || status == 503 || status == 429);
        assert_true(n.c->nodes.count <= STRANGERS_MAX + n.rigs);
    }
    size_t grown = mallinfo2().uordblks - before;
    print_message("%llu registrations, %llu refused: %zu MiB more in use\n",
                  (unsigned long long)sybils, (unsigned long long)refused, grown >> 20);
    assert_true(grown < MEMORY_MOST);
    assert_true(sybils <= STRANGERS_MAX || refused > 0);
    int64_t rows = -1;
    assert_ok(db_one_i64(n.c->db, &rows, err, "SELECT COUNT(*) FROM nodes", NULL));
    assert_int_equal(rows, 1);
    run_until(&n, "succeeded"); /* by the one rig that is one */
    assert_int_equal(balance(&n, "rig:") + balance(&n, "held:"), balance(&n, "rig:did"));
    char own[128];
    snprintf(own, sizeof own, "rig:%s", n.rig[0].id.did);
    assert_true(balance(&n, own) > 0);
    assert_int_equal(balance(&n, own), balance(&n, "rig:"));
    assert_audit(&n);
    free(body);
    json_decref(hello_json);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_surge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
