/* Secrecy (libsodium). Two things:
 *   XChaCha20-Poly1305: bytes under a key, in chunks that can be opened one by one. The nonce is
 * the chunk's number, so a key must seal one sequence of chunks and no other. A sealed box
 * (X25519): bytes that only the holder of an ed25519 key can open, from anybody. X25519 keys follow
 * from ed25519 ones (RFC 7748's birational map), so a did:key is enough to seal to. */
#ifndef EMAC_CRYPTO_SEAL_H
#define EMAC_CRYPTO_SEAL_H

#include "crypto/crypto.h"

#define SEAL_KEY_BYTES 32
#define SEAL_TAG_BYTES 16 /* what a chunk grows by */
#define SEAL_BOX_BYTES 48 /* what a box grows by */

/* out: n + SEAL_TAG_BYTES. `ad` is proven with the chunk, but not in it. */
void crypto_seal(uint8_t *out, const uint8_t key[SEAL_KEY_BYTES], uint64_t number, const void *ad,
                 size_t ad_n, const void *data, size_t n);
/* n: bytes of the sealed chunk. False, and out (n - SEAL_TAG_BYTES) zero, when any bit of chunk,
 * key, number or ad is another. */
bool crypto_seal_open(uint8_t *out, const uint8_t key[SEAL_KEY_BYTES], uint64_t number,
                      const void *ad, size_t ad_n, const void *data, size_t n);

/* out: n + SEAL_BOX_BYTES. False for a public key that nothing can be sealed to. */
bool crypto_seal_to(uint8_t *out, const void *data, size_t n,
                    const uint8_t public_key[ED25519_PUBLIC_BYTES]);
/* n: bytes of the box; out: n - SEAL_BOX_BYTES. False when it is not for this key or was changed.
 */
bool crypto_seal_from(uint8_t *out, const void *box, size_t n,
                      const uint8_t secret_key[ED25519_SECRET_BYTES]);

#endif
