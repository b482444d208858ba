/* EIP-712 typed data of EMAC's contracts (contracts/README.md has the types):
 *   digest = keccak256(0x19 0x01 ‖ domain separator ‖ keccak256(type hash ‖ fields))
 * What a wallet signs is r ‖ s ‖ v with v 27 or 28; a rig's ed25519 key signs the same 32 bytes. */
#ifndef EMAC_CHAIN_TYPED_H
#define EMAC_CHAIN_TYPED_H

#include "base/u256.h"
#include "crypto/evm.h"

struct chain_domain {
    const char *name; /* "EMAC Bindings" */
    uint64_t chain_id;
    uint8_t contract[EVM_ADDRESS_BYTES];
};

/* Bind(bytes32 account,address wallet,uint256 nonce,uint256 deadline) */
void chain_typed_bind(uint8_t digest[KECCAK256_BYTES], const struct chain_domain *domain,
                      const uint8_t account[32], const uint8_t wallet[EVM_ADDRESS_BYTES],
                      const struct u256 *nonce, uint64_t deadline_s);
/* Change(bytes32 account,address from,address to,uint256 nonce,uint256 deadline) */
void chain_typed_change(uint8_t digest[KECCAK256_BYTES], const struct chain_domain *domain,
                        const uint8_t account[32], const uint8_t from[EVM_ADDRESS_BYTES],
                        const uint8_t to[EVM_ADDRESS_BYTES], const struct u256 *nonce,
                        uint64_t deadline_s);
/* Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline) of EIP-2612 */
void chain_typed_permit(uint8_t digest[KECCAK256_BYTES], const struct chain_domain *domain,
                        const uint8_t owner[EVM_ADDRESS_BYTES],
                        const uint8_t spender[EVM_ADDRESS_BYTES], const struct u256 *value,
                        const struct u256 *nonce, uint64_t deadline_s);
/* As contracts take it: the last byte 27 or 28. */
void chain_typed_sign(uint8_t sig[EVM_SIGNATURE_BYTES], const uint8_t digest[KECCAK256_BYTES],
                      const uint8_t secret[EVM_SECRET_BYTES]);

#endif
