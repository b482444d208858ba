/* The cryptography of EVM chains: Keccak-256 (the original padding, not FIPS
 * 202's), recoverable ECDSA on secp256k1 (libsecp256k1: deterministic nonces of
 * RFC 6979, s in the lower half), addresses. Pure functions of bytes. */
#ifndef EMAC_CRYPTO_EVM_H
#define EMAC_CRYPTO_EVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KECCAK256_BYTES     32
#define EVM_SECRET_BYTES    32
#define EVM_ADDRESS_BYTES   20
#define EVM_ADDRESS_MAX     43 /* "0x", 40 digits and the NUL */
#define EVM_SIGNATURE_BYTES 65

void crypto_keccak256(uint8_t out[KECCAK256_BYTES], const void *data, size_t n);

/* Is it a key: in [1, order of the group)? */
bool crypto_evm_secret_ok(const uint8_t secret[EVM_SECRET_BYTES]);
/* Last 20 bytes of keccak256(uncompressed public key without its first byte). The secret is ok
 * (asserted). */
void crypto_evm_address(uint8_t address[EVM_ADDRESS_BYTES], const uint8_t secret[EVM_SECRET_BYTES]);
/* sig = r ‖ s ‖ y parity (0 or 1), big-endian; of a hash. */
void crypto_evm_sign(uint8_t sig[EVM_SIGNATURE_BYTES], const uint8_t hash[KECCAK256_BYTES],
                     const uint8_t secret[EVM_SECRET_BYTES]);
/* Who signed: false when no key can have, when s is in the upper half (a second signature of the
 * same thing), or the last byte is neither 0 nor 1. */
bool crypto_evm_recover(uint8_t address[EVM_ADDRESS_BYTES], const uint8_t sig[EVM_SIGNATURE_BYTES],
                        const uint8_t hash[KECCAK256_BYTES]);

/* "0x" and 40 hex digits, their case a checksum (ERC-55). Read are also digits of one case
 * throughout, which carry no checksum. */
void crypto_evm_address_text(char out[EVM_ADDRESS_MAX], const uint8_t address[EVM_ADDRESS_BYTES]);
bool crypto_evm_address_parse(uint8_t address[EVM_ADDRESS_BYTES], const char *text);

#endif
