/* SHA256_Init and its kin are as fast as a hash of few bytes should be; the way round them looks
 * its algorithm up under locks and allocates, for each hash, which took as long as the hash. */
#define OPENSSL_API_COMPAT 0x10101000L

#include "crypto/crypto.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <string.h>

#include "base/assert.h"

void crypto_sha256(uint8_t out[SHA256_BYTES], const void *data, size_t n)
{
    SHA256_CTX ctx;
    int ok = SHA256_Init(&ctx);
    if (n > 0)
        ok = ok && SHA256_Update(&ctx, data, n);
    EMAC_ASSERT(ok && SHA256_Final(out, &ctx));
}

/* RFC 2104: a hash of the key, xored with a byte, and the message; and of that once more. */
static void hmac_half(uint8_t out[SHA256_BYTES], const uint8_t key[SHA256_CBLOCK], uint8_t pad,
                      const void *data, size_t n)
{
    SHA256_CTX ctx;
    uint8_t block[SHA256_CBLOCK];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = key[i] ^ pad;
    int ok = SHA256_Init(&ctx) && SHA256_Update(&ctx, block, sizeof block);
    if (n > 0)
        ok = ok && SHA256_Update(&ctx, data, n);
    EMAC_ASSERT(ok && SHA256_Final(out, &ctx));
    crypto_wipe(&ctx, sizeof ctx);
    crypto_wipe(block, sizeof block);
}

void crypto_hmac_sha256(uint8_t out[SHA256_BYTES], const void *key, size_t key_n, const void *data,
                        size_t n)
{
    uint8_t whole[SHA256_CBLOCK] = {0}, inner[SHA256_BYTES];
    if (key_n > sizeof whole)
        crypto_sha256(whole, key, key_n);
    else if (key_n > 0)
        memcpy(whole, key, key_n);
    hmac_half(inner, whole, 0x36, data, n);
    hmac_half(out, whole, 0x5c, inner, sizeof inner);
    crypto_wipe(whole, sizeof whole);
    crypto_wipe(inner, sizeof inner);
}

void crypto_ed25519_keypair(uint8_t public_key[ED25519_PUBLIC_BYTES],
                            uint8_t secret_key[ED25519_SECRET_BYTES],
                            const uint8_t seed[ED25519_SEED_BYTES])
{
    int rc = crypto_sign_ed25519_seed_keypair(public_key, secret_key, seed);
    EMAC_ASSERT(rc == 0);
}

void crypto_ed25519_sign(uint8_t sig[ED25519_SIGNATURE_BYTES], const void *msg, size_t n,
                         const uint8_t secret_key[ED25519_SECRET_BYTES])
{
    unsigned long long len = 0;
    int rc = crypto_sign_ed25519_detached(sig, &len, msg, n, secret_key);
    EMAC_ASSERT(rc == 0 && len == ED25519_SIGNATURE_BYTES);
}

bool crypto_ed25519_verify(const uint8_t sig[ED25519_SIGNATURE_BYTES], const void *msg, size_t n,
                           const uint8_t public_key[ED25519_PUBLIC_BYTES])
{
    return crypto_sign_ed25519_verify_detached(sig, msg, n, public_key) == 0;
}

bool crypto_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

void crypto_wipe(void *p, size_t n)
{
    sodium_memzero(p, n);
}
