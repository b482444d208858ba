/* The Merkle tree over a task's leaves: the tree of RFC 6962, paths, and the bytes of a leaf. */
#include "fixture.h"

#include "../property.h"
#include "base/hex.h"
#include "work/trace.h"

static void random_leaf(struct choices *c, uint64_t index, struct trace_leaf *leaf)
{
    *leaf = (struct trace_leaf){.kind = (enum trace_kind)choose(c, TRACE_KINDS),
                                .index = index,
                                .node = (uint32_t)choose(c, 1000),
                                .count = 1 + (uint32_t)choose(c, OP_OUT_MAX)};
    for (uint32_t i = 0; i < leaf->count; i++) {
        struct trace_value *v = &leaf->value[i];
        v->dtype = (enum dtype)choose(c, DTYPE_COUNT);
        v->shape.rank = 1 + (uint32_t)choose(c, TENSOR_RANK_MAX);
        for (uint32_t k = 0; k < v->shape.rank; k++)
            v->shape.dim[k] = 1 + choose(c, 300);
        choose_bytes(c, v->digest, sizeof v->digest);
    }
}

/* RFC 6962, 2.1, as it is written. */
static void oracle(const uint8_t (*leaf)[SHA256_BYTES], uint64_t n, uint8_t out[SHA256_BYTES])
{
    uint8_t both[1 + 2 * SHA256_BYTES] = {0x01};
    uint64_t k = 1;
    if (n == 1) {
        memcpy(out, leaf[0], SHA256_BYTES);
        return;
    }
    while (2 * k < n)
        k *= 2;
    oracle(leaf, k, both + 1);
    oracle(leaf + k, n - k, both + 1 + SHA256_BYTES);
    crypto_sha256(out, both, sizeof both);
}

/* TRACE-2 */
static bool tree_is_the_rfcs(struct choices *c)
{
    static uint8_t hash[300][SHA256_BYTES];
    static struct trace_leaf leaf[300];
    uint8_t want[SHA256_BYTES], got[SHA256_BYTES], path[TRACE_PATH_MAX][SHA256_BYTES];
    uint64_t n = 1 + choose(c, 300), at = choose(c, n), other = choose(c, n);
    struct trace t;
    trace_init(&t);
    for (uint64_t i = 0; i < n; i++) {
        random_leaf(c, i, &leaf[i]);
        trace_leaf_hash(hash[i], &leaf[i]);
        assert_ok(trace_add(&t, &leaf[i], err));
    }
    oracle(hash, n, want);
    trace_hash(&t, 0, n, got);
    uint32_t length = trace_path(&t, at, path);
    bool ok = memcmp(want, got, sizeof want) == 0 &&
              trace_path_holds(&leaf[at], n, got, path, length) &&
              !trace_path_holds(&leaf[at], n, got, path, length + 1) &&
              (length == 0 || !trace_path_holds(&leaf[at], n, got, path, length - 1)) &&
              (other == at || !trace_path_holds(&leaf[other], n, got, path, length));
    leaf[at].value[0].digest[choose(c, 32)] ^= (uint8_t)(1u << choose(c, 8));
    ok = ok && !trace_path_holds(&leaf[at], n, got, path, length);
    trace_release(&t);
    return ok;
}

static bool leaves_come_back(struct choices *c)
{
    uint8_t bytes[TRACE_LEAF_BYTES_MAX], again[TRACE_LEAF_BYTES_MAX];
    struct trace_leaf leaf, back;
    random_leaf(c, choose(c, TRACE_LEAVES_MAX), &leaf);
    size_t n = trace_leaf_write(bytes, &leaf);
    assert_ok(trace_leaf_read(&back, bytes, n, err));
    if (trace_leaf_write(again, &back) != n || memcmp(bytes, again, n) != 0)
        return false;
    assert_fails(trace_leaf_read(&back, bytes, n - 1, err), EMAC_INVALID, "not a leaf");
    bytes[choose(c, n)] ^= (uint8_t)(1 + choose(c, 255)); /* another leaf, or none */
    if (trace_leaf_read(&back, bytes, n, NULL) != EMAC_OK)
        return true;
    return trace_leaf_write(again, &back) == n && memcmp(bytes, again, n) == 0;
}

static void test_tree(void **state)
{
    ASSERT_PROPERTY(200, tree_is_the_rfcs);
}

static void test_leaves(void **state)
{
    ASSERT_PROPERTY(500, leaves_come_back);
}

/* The format, byte for byte: whoever writes another judge starts from here. */
static void test_a_leaf_by_hand(void **state)
{
    static const char WANT[] = "01"
                               "0807000000000000"
                               "05000000"
                               "01"
                               "00"
                               "02"
                               "0300000000000000"
                               "0400000000000000"
                               "1111111111111111111111111111111111111111111111111111111111111111";
    struct trace_leaf leaf = {.kind = TRACE_SUM, .index = 0x708, .node = 5, .count = 1};
    uint8_t bytes[TRACE_LEAF_BYTES_MAX], hash[SHA256_BYTES], want[1 + TRACE_LEAF_BYTES_MAX] = {0};
    char text[2 * TRACE_LEAF_BYTES_MAX + 1];
    leaf.value[0] = (struct trace_value){.dtype = DTYPE_F32, .shape = SHAPE2(3, 4)};
    memset(leaf.value[0].digest, 0x11, SHA256_BYTES);
    size_t n = trace_leaf_write(bytes, &leaf);
    emac_hex(text, bytes, n);
    assert_string_equal(text, WANT);
    memcpy(want + 1, bytes, n);
    crypto_sha256(want, want, n + 1);
    trace_leaf_hash(hash, &leaf);
    assert_memory_equal(hash, want, sizeof hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_leaves),
        cmocka_unit_test(test_a_leaf_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
