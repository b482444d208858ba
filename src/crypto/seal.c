#include "crypto/seal.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"

#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES

_Static_assert(SEAL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert(SEAL_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(SEAL_BOX_BYTES == crypto_box_SEALBYTES, "box");

static void nonce_of(uint8_t nonce[NONCE_BYTES], uint64_t number)
{
    memset(nonce, 0, NONCE_BYTES);
    for (int i = 0; i < 8; i++)
        nonce[i] = (uint8_t)(number >> 8 * i);
}

void crypto_seal(uint8_t *out, const uint8_t key[SEAL_KEY_BYTES], uint64_t number, const void *ad,
                 size_t ad_n, const void *data, size_t n)
{
    uint8_t nonce[NONCE_BYTES];
    unsigned long long len = 0;
    nonce_of(nonce, number);
    int rc =
        crypto_aead_xchacha20poly1305_ietf_encrypt(out, &len, data, n, ad, ad_n, NULL, nonce, key);
    EMAC_ASSERT(rc == 0 && len == n + SEAL_TAG_BYTES);
}

bool crypto_seal_open(uint8_t *out, const uint8_t key[SEAL_KEY_BYTES], uint64_t number,
                      const void *ad, size_t ad_n, const void *data, size_t n)
{
    uint8_t nonce[NONCE_BYTES];
    unsigned long long len = 0;
    if (n < SEAL_TAG_BYTES)
        return false;
    nonce_of(nonce, number);
    bool fine = crypto_aead_xchacha20poly1305_ietf_decrypt(out, &len, NULL, data, n, ad, ad_n,
                                                           nonce, key) == 0;
    if (!fine)
        sodium_memzero(out, n - SEAL_TAG_BYTES);
    return fine;
}

bool crypto_seal_to(uint8_t *out, const void *data, size_t n,
                    const uint8_t public_key[ED25519_PUBLIC_BYTES])
{
    uint8_t to[crypto_box_PUBLICKEYBYTES];
    return crypto_sign_ed25519_pk_to_curve25519(to, public_key) == 0 &&
           crypto_box_seal(out, data, n, to) == 0;
}

bool crypto_seal_from(uint8_t *out, const void *box, size_t n,
                      const uint8_t secret_key[ED25519_SECRET_BYTES])
{
    uint8_t to[crypto_box_PUBLICKEYBYTES], secret[crypto_box_SECRETKEYBYTES];
    bool fine = n >= SEAL_BOX_BYTES &&
                crypto_sign_ed25519_sk_to_curve25519(secret, secret_key) == 0 &&
                crypto_scalarmult_base(to, secret) == 0 &&
                crypto_box_seal_open(out, box, n, to, secret) == 0;
    sodium_memzero(secret, sizeof secret);
    return fine;
}
