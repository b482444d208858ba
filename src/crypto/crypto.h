/* SHA-256 (OpenSSL, uses the CPU's instructions) and ed25519 (libsodium). Pure
 * functions of bytes. Secrets are wiped by the owner with crypto_wipe. */
#ifndef EMAC_CRYPTO_CRYPTO_H
#define EMAC_CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES            32
#define ED25519_PUBLIC_BYTES    32
#define ED25519_SECRET_BYTES    64 /* seed ‖ public key, as libsodium keeps it */
#define ED25519_SEED_BYTES      32
#define ED25519_SIGNATURE_BYTES 64

void crypto_sha256(uint8_t out[SHA256_BYTES], const void *data, size_t n);
/* HMAC-SHA-256 */
void crypto_hmac_sha256(uint8_t out[SHA256_BYTES], const void *key, size_t key_n, const void *data,
                        size_t n);

void crypto_ed25519_keypair(uint8_t public_key[ED25519_PUBLIC_BYTES],
                            uint8_t secret_key[ED25519_SECRET_BYTES],
                            const uint8_t seed[ED25519_SEED_BYTES]);
void crypto_ed25519_sign(uint8_t sig[ED25519_SIGNATURE_BYTES], const void *msg, size_t n,
                         const uint8_t secret_key[ED25519_SECRET_BYTES]);
bool crypto_ed25519_verify(const uint8_t sig[ED25519_SIGNATURE_BYTES], const void *msg, size_t n,
                           const uint8_t public_key[ED25519_PUBLIC_BYTES]);
bool crypto_equal(const void *a, const void *b, size_t n); /* constant time */
void crypto_wipe(void *p, size_t n);

/* did:key form of an ed25519 key: "did:key:z" + base58btc(0xed 0x01 ‖ key). It is the `keyid` of
 * signed requests and the name of every rig and user. */
#define DID_KEY_MAX 64
void crypto_did_key(char out[DID_KEY_MAX], const uint8_t public_key[ED25519_PUBLIC_BYTES]);
bool crypto_did_key_parse(uint8_t public_key[ED25519_PUBLIC_BYTES], const char *did);

#endif
