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

void crypto_hmac_sha256(uint8_t out[SHA256_BYTES], const void *key, size_t key_n, const void *data,
                        size_t n)
{
    crypto_auth_hmacsha256_state mac;
    crypto_auth_hmacsha256_init(&mac, key, key_n);
    crypto_auth_hmacsha256_update(&mac, data, n);
    crypto_auth_hmacsha256_final(&mac, out);
    crypto_wipe(&mac, sizeof mac);
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
