/* SHA256_Init and its kin are as fast as a hash of few bytes should be; the way round them looks
 * its algorithm up under locks and allocates, for each hash, which took as long as the hash. */
#define OPENSSL_API_COMPAT 0x10101000L

#include "crypto/crypto.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <string.h>

#include "base/assert.h"

/* Of a, then b. */
static void sha256_two(uint8_t out[SHA256_BYTES], const void *a, size_t a_n, const void *b,
                       size_t b_n)
{
    SHA256_CTX ctx;
    int ok = SHA256_Init(&ctx);
    if (a_n > 0)
        ok = ok && SHA256_Update(&ctx, a, a_n);
    if (b_n > 0)
        ok = ok && SHA256_Update(&ctx, b, b_n);
    EMAC_ASSERT(ok && SHA256_Final(out, &ctx));
}

void crypto_sha256(uint8_t out[SHA256_BYTES], const void *data, size_t n)
{
    sha256_two(out, data, n, NULL, 0);
}

/* RFC 2104. */

void crypto_hmac_sha256(uint8_t out[SHA256_BYTES], const void *key, size_t key_n, const void *data,
                        size_t n)
{
    uint8_t inner[SHA256_CBLOCK] = {0}, outer[SHA256_CBLOCK], digest[SHA256_BYTES];
    if (key_n > sizeof inner)
        crypto_sha256(inner, key, key_n);
    else if (key_n > 0)
        memcpy(inner, key, key_n);
    for (size_t i = 0; i < sizeof inner; i++) {
        outer[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }
    sha256_two(digest, inner, sizeof inner, data, n);
    sha256_two(out, outer, sizeof outer, digest, sizeof digest);
    crypto_wipe(inner, sizeof inner);
    crypto_wipe(outer, sizeof outer);
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
