#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "crypto/evm.h"
#include "../evm_vectors.h"
#include "../property.h"

static void assert_bytes(const uint8_t *data, size_t n, const char *want)
{
    char text[2 * EVM_SIGNATURE_BYTES + 1];
    assert_true(n <= EVM_SIGNATURE_BYTES);
    emac_hex(text, data, n);
    assert_string_equal(text, want);
}

static void keccak(void **state)
{
    uint8_t data[1000], out[KECCAK256_BYTES];
    for (size_t i = 0; i < EMAC_COUNT(KECCAK_VECTORS); i++) {
        const struct keccak_vector *v = &KECCAK_VECTORS[i];
        for (size_t k = 0; k < v->n; k++)
            data[k] = (uint8_t)(k * 7 + v->n);
        crypto_keccak256(out, v->n > 0 ? data : NULL, v->n);
        assert_bytes(out, sizeof(out), v->hash);
    }
}

static void addresses(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(KEY_VECTORS); i++) {
        uint8_t secret[EVM_SECRET_BYTES], address[EVM_ADDRESS_BYTES], back[EVM_ADDRESS_BYTES];
        char text[EVM_ADDRESS_MAX];
        assert_true(emac_unhex(secret, sizeof(secret), KEY_VECTORS[i].secret));
        assert_true(crypto_evm_secret_ok(secret));
        crypto_evm_address(address, secret);
        crypto_evm_address_text(text, address);
        assert_string_equal(text, KEY_VECTORS[i].address);
        assert_true(crypto_evm_address_parse(back, text));
        assert_memory_equal(back, address, sizeof(back));
    }
}

static void bad_addresses(void **state)
{
    static const char *const GOOD[] = {"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
                                       "0xF39FD6E51AAD88F6F4CE6AB8827279CFFFB92266"};
    static const char *const BAD[] = {
        "",
        "f39fd6e51aad88f6f4ce6ab8827279cfffb9226600",
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb9226",
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb922666",
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92267", /* another digit: the checksum differs */
        "0xf39fd6e51aad88F6F4ce6aB8827279cffFb92266", /* one letter in the other case */
        "0Xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0xg39fd6e51aad88f6f4ce6ab8827279cfffb92266",
    };
    uint8_t address[EVM_ADDRESS_BYTES];
    for (size_t i = 0; i < EMAC_COUNT(GOOD); i++)
        assert_true(crypto_evm_address_parse(address, GOOD[i]));
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++)
        assert_false(crypto_evm_address_parse(address, BAD[i]));
}

/* RFC 6979's nonces make signatures comparable: ours are those of another implementation. */
static void signatures(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(SIGNATURE_VECTORS); i++) {
        const struct signature_vector *v = &SIGNATURE_VECTORS[i];
        uint8_t secret[EVM_SECRET_BYTES], hash[KECCAK256_BYTES], sig[EVM_SIGNATURE_BYTES];
        uint8_t who[EVM_ADDRESS_BYTES], address[EVM_ADDRESS_BYTES];
        assert_true(emac_unhex(secret, sizeof(secret), v->secret));
        crypto_keccak256(hash, v->text, strlen(v->text));
        crypto_evm_sign(sig, hash, secret);
        assert_bytes(sig, sizeof(sig), v->signature);
        crypto_evm_address(address, secret);
        assert_true(crypto_evm_recover(who, sig, hash));
        assert_memory_equal(who, address, sizeof(who));
    }
}

/* s -> order - s with the other parity is the same signature to a careless verifier. */
static void upper_half_is_refused(void **state)
{
    static const char ORDER[] = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    uint8_t secret[EVM_SECRET_BYTES] = {[31] = 9}, hash[KECCAK256_BYTES] = {1}, order[32];
    uint8_t sig[EVM_SIGNATURE_BYTES], who[EVM_ADDRESS_BYTES];
    assert_true(emac_unhex(order, sizeof(order), ORDER));
    crypto_evm_sign(sig, hash, secret);
    int borrow = 0;
    for (int i = 31; i >= 0; i--) {
        int d = order[i] - sig[32 + i] - borrow;
        borrow = d < 0;
        sig[32 + i] = (uint8_t)(d + (borrow ? 256 : 0));
    }
    sig[64] ^= 1;
    assert_false(crypto_evm_recover(who, sig, hash));
    assert_false(crypto_evm_secret_ok(order));
    memset(secret, 0, sizeof(secret));
    assert_false(crypto_evm_secret_ok(secret));
    memset(sig, 0, sizeof(sig));
    assert_false(crypto_evm_recover(who, sig, hash));
}

/* A flipped bit gives no signer, or another one. */
static bool forgery_is_noticed(struct choices *c)
{
    uint8_t secret[EVM_SECRET_BYTES], hash[KECCAK256_BYTES], sig[EVM_SIGNATURE_BYTES];
    uint8_t address[EVM_ADDRESS_BYTES], who[EVM_ADDRESS_BYTES];
    choose_bytes(c, secret, sizeof(secret));
    choose_bytes(c, hash, sizeof(hash));
    secret[0] &= 0x7f; /* below the order */
    crypto_evm_address(address, secret);
    crypto_evm_sign(sig, hash, secret);
    if (!crypto_evm_recover(who, sig, hash) || memcmp(who, address, sizeof(who)) != 0)
        return false;
    uint64_t bit = choose(c, 8 * (sizeof(sig) + sizeof(hash)));
    uint8_t *where = bit / 8 < sizeof(sig) ? &sig[bit / 8] : &hash[bit / 8 - sizeof(sig)];
    *where ^= (uint8_t)(1u << bit % 8);
    return !crypto_evm_recover(who, sig, hash) || memcmp(who, address, sizeof(who)) != 0;
}

static void forgeries(void **state)
{
    ASSERT_PROPERTY(300, forgery_is_noticed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keccak),        cmocka_unit_test(addresses),
        cmocka_unit_test(bad_addresses), cmocka_unit_test(signatures),
        cmocka_unit_test(forgeries),     cmocka_unit_test(upper_half_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
