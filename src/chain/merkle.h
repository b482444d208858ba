/* OpenZeppelin's standard Merkle tree, as EmacPayouts checks it: a leaf is
 * keccak256(keccak256(abi.encode(chainId, payouts, epoch, account, wallet,
 * cumulative))), an inner node the hash of its two children in ascending order.
 * The leaves are sorted by hash and laid into an array of 2n-1 nodes from the
 * end backwards; the children of i are 2i+1 and 2i+2, the root is at 0. */
#ifndef EMAC_CHAIN_MERKLE_H
#define EMAC_CHAIN_MERKLE_H

#include "chain/contracts.h"

#define CHAIN_LEAVES_MAX 30000u /* their list is one block of at most 2 MiB */
#define CHAIN_PROOF_MAX  15     /* log2 of it, rounded up */

struct chain_leaf {
    uint8_t account[CHAIN_ACCOUNT_BYTES], wallet[EVM_ADDRESS_BYTES];
    uint64_t cumulative;
};

struct chain_tree {
    uint64_t chain_id, epoch;
    uint8_t payouts[EVM_ADDRESS_BYTES];
    uint8_t (*node)[CHAIN_HASH_BYTES]; /* 2 * leaves - 1 */
    size_t leaves;
};

/* INVALID without leaves, TOO_LARGE with too many. Release it. */
enum emac_status chain_tree_build(uint64_t chain_id, const uint8_t payouts[EVM_ADDRESS_BYTES],
                                  uint64_t epoch, const struct chain_leaf *leaf, size_t count,
                                  struct chain_tree *out, struct emac_err *err);
void chain_tree_release(struct chain_tree *t);
const uint8_t *chain_tree_root(const struct chain_tree *t);
/* Siblings from the leaf to the root. NOT_FOUND when the leaf is not in the tree. */
enum emac_status chain_tree_proof(const struct chain_tree *t, const struct chain_leaf *leaf,
                                  uint8_t proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES], size_t *count,
                                  struct emac_err *err);
/* What the contract does with a proof. */
bool chain_proof_holds(const struct chain_tree *t, const struct chain_leaf *leaf,
                       const uint8_t proof[][CHAIN_HASH_BYTES], size_t count,
                       const uint8_t root[CHAIN_HASH_BYTES]);

#endif
