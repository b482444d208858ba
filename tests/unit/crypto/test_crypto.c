#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "crypto/crypto.h"
#include "../property.h"

static void assert_hex(const uint8_t *data, size_t n, const char *want)
{
    char text[2 * 64 + 1];
    assert_true(n <= 64);
    emac_hex(text, data, n);
    assert_string_equal(text, want);
}

/* FIPS 180-4 examples */
static void sha256(void **state)
{
    uint8_t out[SHA256_BYTES];
    crypto_sha256(out, NULL, 0);
    assert_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    crypto_sha256(out, "abc", 3);
    assert_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* RFC 4231, cases 1, 2 and 6; and the empty key of nothing. */
static void hmac_sha256(void **state)
{
    uint8_t key[20], out[SHA256_BYTES];
    memset(key, 0x0b, sizeof key);
    crypto_hmac_sha256(out, key, sizeof key, "Hi There", 8);
    assert_hex(out, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    crypto_hmac_sha256(out, "Jefe", 4, "what do ya want for nothing?", 28);
    assert_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    uint8_t longer[131];
    memset(longer, 0xaa, sizeof longer);
    crypto_hmac_sha256(out, longer, sizeof longer,
                       "Test Using Larger Than Block-Size Key - Hash Key First", 54);
    assert_hex(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    crypto_hmac_sha256(out, NULL, 0, NULL, 0);
    assert_hex(out, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

struct rfc8032 {
    const char *seed, *public_key, *sig, *msg;
};

static const struct rfc8032 RFC8032[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
     "46bd25bf5f0595bbe24655141438e7a100b",
     ""},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
     "d8c387b2eaeb4302aeeb00d291612bb0c00",
     "\x72"},
};

static void ed25519_rfc8032(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(RFC8032); i++) {
        const struct rfc8032 *t = &RFC8032[i];
        uint8_t seed[32], pk[32], sk[64], sig[64];
        size_t n = strlen(t->msg);
        assert_true(emac_unhex(seed, 32, t->seed));
        crypto_ed25519_keypair(pk, sk, seed);
        assert_hex(pk, 32, t->public_key);
        crypto_ed25519_sign(sig, t->msg, n, sk);
        assert_hex(sig, 64, t->sig);
        assert_true(crypto_ed25519_verify(sig, t->msg, n, pk));
        assert_false(crypto_ed25519_verify(sig, "other", 5, pk));
    }
}

/* Any flipped bit of signature, message or key is noticed. */
static bool forgery_is_noticed(struct choices *c)
{
    uint8_t seed[32], pk[32], sk[64], sig[64], msg[40];
    choose_bytes(c, seed, sizeof seed);
    choose_bytes(c, msg, sizeof msg);
    crypto_ed25519_keypair(pk, sk, seed);
    crypto_ed25519_sign(sig, msg, sizeof msg, sk);
    if (!crypto_ed25519_verify(sig, msg, sizeof msg, pk))
        return false;
    uint8_t *where = (uint8_t *[]){sig, msg, pk}[choose(c, 3)];
    where[choose(c, 32)] ^= (uint8_t)(1u << choose(c, 8));
    return !crypto_ed25519_verify(sig, msg, sizeof msg, pk);
}

static void ed25519_forgery(void **state)
{
    ASSERT_PROPERTY(200, forgery_is_noticed);
}

/* A public key of small order would let one signature fit many messages: refused. */
static void ed25519_small_order(void **state)
{
    uint8_t pk[32] = {1}, sig[64] = {1};
    assert_false(crypto_ed25519_verify(sig, "x", 1, pk));
}

static void did_key(void **state)
{
    static const char DID[] = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";
    uint8_t pk[32], back[32];
    char text[DID_KEY_MAX];
    assert_true(emac_unhex(pk, 32, RFC8032[0].public_key));
    crypto_did_key(text, pk);
    assert_string_equal(text, DID);
    assert_true(crypto_did_key_parse(back, text));
    assert_memory_equal(back, pk, 32);
    static const char *const BAD[] = {
        "",
        "did:key:",
        "did:key:z",
        "did:web:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw",
        "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMs",
        "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsww",
        "did:key:z16MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw",
        "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMs0",
        /* secp256k1: another multicodec */
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
    };
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++)
        assert_false(crypto_did_key_parse(back, BAD[i]));
}

static bool did_round_trips(struct choices *c)
{
    uint8_t pk[32], back[32];
    char text[DID_KEY_MAX];
    choose_bytes(c, pk, sizeof pk);
    crypto_did_key(text, pk);
    return crypto_did_key_parse(back, text) && memcmp(pk, back, 32) == 0 &&
           strncmp(text, "did:key:z6Mk", 12) == 0;
}

static void did_property(void **state)
{
    ASSERT_PROPERTY(200, did_round_trips);
}

static void equal_and_wipe(void **state)
{
    uint8_t a[16] = {1, 2, 3}, b[16] = {1, 2, 3};
    assert_true(crypto_equal(a, b, 16));
    b[15] = 1;
    assert_false(crypto_equal(a, b, 16));
    assert_true(crypto_equal(a, b, 0));
    crypto_wipe(b, 16);
    for (int i = 0; i < 16; i++)
        assert_int_equal(b[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256),
        cmocka_unit_test(hmac_sha256),
        cmocka_unit_test(ed25519_rfc8032),
        cmocka_unit_test(ed25519_forgery),
        cmocka_unit_test(ed25519_small_order),
        cmocka_unit_test(did_key),
        cmocka_unit_test(did_property),
        cmocka_unit_test(equal_and_wipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
