/* EIP-1559 transactions (type 2), with an empty access list:
 *   0x02 ‖ rlp([chainId, nonce, tip, maxFee, gas, to, value, data, [], yParity, r, s])
 * The hash that is signed is keccak256 of the same without the last three. Reading is strict RLP
 * and recovers the sender. */
#ifndef EMAC_CHAIN_TX_H
#define EMAC_CHAIN_TX_H

#include "base/buf.h"
#include "base/u256.h"
#include "crypto/evm.h"

#define CHAIN_TX_MAX (128u << 10) /* bytes; nodes refuse longer ones */

struct chain_tx {
    uint64_t chain_id, nonce, gas;
    struct u256 tip, max_fee, value; /* wei; fees per gas */
    bool creates;                    /* a contract: `to` is nothing */
    uint8_t to[EVM_ADDRESS_BYTES];
    struct emac_slice data; /* borrowed */
};

/* The raw transaction, appended to an empty `out`, and its hash. */
enum emac_status chain_tx_sign(const struct chain_tx *tx, const uint8_t secret[EVM_SECRET_BYTES],
                               struct emac_buf *out, uint8_t hash[KECCAK256_BYTES],
                               struct emac_err *err);
/* out->data points into `raw`. CORRUPT. */
enum emac_status chain_tx_read(struct emac_slice raw, struct chain_tx *out,
                               uint8_t sender[EVM_ADDRESS_BYTES], struct emac_err *err);
/* Address of the contract that `creator` makes with this nonce. */
void chain_create_address(uint8_t out[EVM_ADDRESS_BYTES], const uint8_t creator[EVM_ADDRESS_BYTES],
                          uint64_t nonce);

#endif
