#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "chain/merkle.h"
#include "../evm_vectors.h"
#include "../property.h"

#define EPOCH    9
#define CHAIN_ID 314159

static const char PAYOUTS[] = "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F";

/* Leaves as the generator of the vectors makes them. */
static struct chain_leaf *leaves(size_t n)
{
    struct chain_leaf *leaf = calloc(n, sizeof(*leaf));
    assert_non_null(leaf);
    for (size_t i = 0; i < n; i++) {
        struct u256 v = u256_from_u64(i + 1);
        u256_to_bytes(leaf[i].account, &v);
        leaf[i].wallet[18] = (uint8_t)((0x1000 + i) >> 8);
        leaf[i].wallet[19] = (uint8_t)(0x1000 + i);
        leaf[i].cumulative = UINT64_C(1000000007) * (i + 1);
    }
    return leaf;
}

static void build(struct chain_tree *t, const struct chain_leaf *leaf, size_t n)
{
    uint8_t payouts[EVM_ADDRESS_BYTES];
    assert_true(crypto_evm_address_parse(payouts, PAYOUTS));
    assert_int_equal(chain_tree_build(CHAIN_ID, payouts, EPOCH, leaf, n, t, NULL), EMAC_OK);
}

static void vectors(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(TREE_VECTORS); i++) {
        const struct tree_vector *v = &TREE_VECTORS[i];
        struct chain_leaf *leaf = leaves(v->n);
        uint8_t proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES];
        char text[2 * CHAIN_PROOF_MAX * CHAIN_HASH_BYTES + 1];
        struct chain_tree t;
        size_t count;
        build(&t, leaf, v->n);
        emac_hex(text, chain_tree_root(&t), CHAIN_HASH_BYTES);
        assert_string_equal(text, v->root);
        assert_int_equal(chain_tree_proof(&t, &leaf[v->n / 2], proof, &count, NULL), EMAC_OK);
        emac_hex(text, proof[0], count * CHAIN_HASH_BYTES);
        assert_string_equal(text, v->proof);
        chain_tree_release(&t);
        free(leaf);
    }
}

/* Each leaf of a tree of any size has a proof that holds, and none after any change. */
static bool proofs_hold(struct choices *c)
{
    size_t n = 1 + choose(c, 70), i = choose(c, n), count;
    struct chain_leaf *leaf = leaves(n);
    uint8_t proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES], root[CHAIN_HASH_BYTES];
    struct chain_tree t;
    build(&t, leaf, n);
    memcpy(root, chain_tree_root(&t), sizeof(root));
    bool ok = chain_tree_proof(&t, &leaf[i], proof, &count, NULL) == EMAC_OK &&
              chain_proof_holds(&t, &leaf[i], proof, count, root);
    leaf[i].cumulative++;
    ok = ok && !chain_proof_holds(&t, &leaf[i], proof, count, root) &&
         chain_tree_proof(&t, &leaf[i], proof, &count, NULL) == EMAC_NOT_FOUND;
    leaf[i].cumulative--;
    ok = ok && chain_tree_proof(&t, &leaf[i], proof, &count, NULL) == EMAC_OK;
    if (count > 0) {
        proof[choose(c, count)][choose(c, CHAIN_HASH_BYTES)] ^= (uint8_t)(1u << choose(c, 8));
        ok = ok && !chain_proof_holds(&t, &leaf[i], proof, count, root);
    }
    t.epoch++; /* a proof is of one epoch */
    ok = ok && chain_tree_proof(&t, &leaf[i], proof, &count, NULL) == EMAC_NOT_FOUND;
    chain_tree_release(&t);
    free(leaf);
    return ok;
}

static void proofs(void **state)
{
    ASSERT_PROPERTY(300, proofs_hold);
}

static void limits(void **state)
{
    uint8_t payouts[EVM_ADDRESS_BYTES] = {0};
    struct chain_tree t;
    struct chain_leaf leaf = {.cumulative = 1};
    assert_int_equal(chain_tree_build(1, payouts, 1, &leaf, 0, &t, NULL), EMAC_INVALID);
    assert_int_equal(chain_tree_build(1, payouts, 1, &leaf, CHAIN_LEAVES_MAX + 1, &t, NULL),
                     EMAC_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(proofs),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
