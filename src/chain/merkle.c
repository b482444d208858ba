#include "chain/merkle.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/abi.h"

static int hash_compare(const void *a, const void *b)
{
    return memcmp(a, b, CHAIN_HASH_BYTES);
}

static void pair_hash(uint8_t out[CHAIN_HASH_BYTES], const uint8_t *a, const uint8_t *b)
{
    uint8_t both[2 * CHAIN_HASH_BYTES];
    bool ascending = hash_compare(a, b) < 0;
    memcpy(both, ascending ? a : b, CHAIN_HASH_BYTES);
    memcpy(both + CHAIN_HASH_BYTES, ascending ? b : a, CHAIN_HASH_BYTES);
    crypto_keccak256(out, both, sizeof(both));
}

static void leaf_hash(uint8_t out[CHAIN_HASH_BYTES], const struct chain_tree *t,
                      const struct chain_leaf *leaf)
{
    struct emac_buf buf;
    emac_buf_init(&buf, 6 * ABI_WORD);
    enum emac_status st = abi_encode(&buf, NULL, "nanban", t->chain_id, t->payouts, t->epoch,
                                     leaf->account, leaf->wallet, leaf->cumulative);
    EMAC_ASSERT(st == EMAC_OK && buf.len == 6 * ABI_WORD);
    crypto_keccak256(out, buf.data, buf.len);
    crypto_keccak256(out, out, CHAIN_HASH_BYTES);
    emac_buf_release(&buf);
}

enum emac_status chain_tree_build(uint64_t chain_id, const uint8_t payouts[EVM_ADDRESS_BYTES],
                                  uint64_t epoch, const struct chain_leaf *leaf, size_t count,
                                  struct chain_tree *out, struct emac_err *err)
{
    *out = (struct chain_tree){.chain_id = chain_id, .epoch = epoch, .leaves = count};
    memcpy(out->payouts, payouts, EVM_ADDRESS_BYTES);
    if (count == 0)
        return emac_fail(err, EMAC_INVALID, "epoch %llu pays nobody: it has no tree",
                         (unsigned long long)epoch);
    if (count > CHAIN_LEAVES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "an epoch pays at most %u accounts, not %zu",
                         CHAIN_LEAVES_MAX, count);
    enum emac_status st = emac_alloc(&out->node, 2 * count - 1, CHAIN_HASH_BYTES, err);
    if (st != EMAC_OK)
        return st;
    /* Sorted ascending and read from the end backwards is sorted descending from count - 1 on. */
    uint8_t(*sorted)[CHAIN_HASH_BYTES] = out->node;
    for (size_t i = 0; i < count; i++)
        leaf_hash(sorted[i], out, &leaf[i]);
    qsort(sorted, count, CHAIN_HASH_BYTES, hash_compare);
    for (size_t i = 0; i < count; i++)
        memcpy(out->node[2 * count - 2 - i], sorted[i], CHAIN_HASH_BYTES);
    for (size_t i = count - 1; i-- > 0;)
        pair_hash(out->node[i], out->node[2 * i + 1], out->node[2 * i + 2]);
    return EMAC_OK;
}

void chain_tree_release(struct chain_tree *t)
{
    free(t->node);
    *t = (struct chain_tree){0};
}

const uint8_t *chain_tree_root(const struct chain_tree *t)
{
    EMAC_ASSERT(t->leaves > 0);
    return t->node[0];
}

enum emac_status chain_tree_proof(const struct chain_tree *t, const struct chain_leaf *leaf,
                                  uint8_t proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES], size_t *count,
                                  struct emac_err *err)
{
    uint8_t hash[CHAIN_HASH_BYTES];
    size_t at = t->leaves - 1, end = 2 * t->leaves - 1;
    leaf_hash(hash, t, leaf);
    while (at < end && memcmp(t->node[at], hash, CHAIN_HASH_BYTES) != 0)
        at++;
    *count = 0;
    if (at == end)
        return emac_fail(err, EMAC_NOT_FOUND, "the account is not among those that epoch %llu pays",
                         (unsigned long long)t->epoch);
    for (; at > 0; at = (at - 1) / 2) {
        EMAC_ASSERT(*count < CHAIN_PROOF_MAX);
        memcpy(proof[(*count)++], t->node[at % 2 ? at + 1 : at - 1], CHAIN_HASH_BYTES);
    }
    return EMAC_OK;
}

bool chain_proof_holds(const struct chain_tree *t, const struct chain_leaf *leaf,
                       const uint8_t proof[][CHAIN_HASH_BYTES], size_t count,
                       const uint8_t root[CHAIN_HASH_BYTES])
{
    uint8_t hash[CHAIN_HASH_BYTES];
    leaf_hash(hash, t, leaf);
    for (size_t i = 0; i < count; i++)
        pair_hash(hash, hash, proof[i]);
    return memcmp(hash, root, CHAIN_HASH_BYTES) == 0;
}
