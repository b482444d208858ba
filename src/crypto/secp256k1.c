#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "crypto/evm.h"

#define PUBLIC_BYTES 65 /* 0x04 ‖ x ‖ y */

/* The static context serves everything but signing and making public keys; those get one of their
 * own, made for the call: they are rare, and a shared one would need a lock. */
static secp256k1_context *signing_context(void)
{
    secp256k1_context *ctx = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
    EMAC_ASSERT(ctx != NULL);
    return ctx;
}

static void address_of(uint8_t address[EVM_ADDRESS_BYTES], const secp256k1_pubkey *key)
{
    uint8_t point[PUBLIC_BYTES], hash[KECCAK256_BYTES];
    size_t n = sizeof(point);
    int rc = secp256k1_ec_pubkey_serialize(secp256k1_context_static, point, &n, key,
                                           SECP256K1_EC_UNCOMPRESSED);
    EMAC_ASSERT(rc == 1 && n == PUBLIC_BYTES);
    crypto_keccak256(hash, point + 1, PUBLIC_BYTES - 1);
    memcpy(address, hash + KECCAK256_BYTES - EVM_ADDRESS_BYTES, EVM_ADDRESS_BYTES);
}

bool crypto_evm_secret_ok(const uint8_t secret[EVM_SECRET_BYTES])
{
    return secp256k1_ec_seckey_verify(secp256k1_context_static, secret) == 1;
}

void crypto_evm_address(uint8_t address[EVM_ADDRESS_BYTES], const uint8_t secret[EVM_SECRET_BYTES])
{
    secp256k1_context *ctx = signing_context();
    secp256k1_pubkey key;
    int rc = secp256k1_ec_pubkey_create(ctx, &key, secret);
    EMAC_ASSERT(rc == 1);
    secp256k1_context_destroy(ctx);
    address_of(address, &key);
}

void crypto_evm_sign(uint8_t sig[EVM_SIGNATURE_BYTES], const uint8_t hash[KECCAK256_BYTES],
                     const uint8_t secret[EVM_SECRET_BYTES])
{
    secp256k1_context *ctx = signing_context();
    secp256k1_ecdsa_recoverable_signature made;
    int parity = 0;
    int rc = secp256k1_ecdsa_sign_recoverable(ctx, &made, hash, secret, NULL, NULL);
    EMAC_ASSERT(rc == 1);
    secp256k1_ecdsa_recoverable_signature_serialize_compact(ctx, sig, &parity, &made);
    /* 2 and 3 mean that r passed the order of the group: no computation will ever meet it. */
    EMAC_ASSERT(parity == 0 || parity == 1);
    sig[EVM_SIGNATURE_BYTES - 1] = (uint8_t)parity;
    secp256k1_context_destroy(ctx);
}

static bool low_s(const uint8_t sig[EVM_SIGNATURE_BYTES])
{
    secp256k1_ecdsa_signature plain;
    const secp256k1_context *ctx = secp256k1_context_static;
    return secp256k1_ecdsa_signature_parse_compact(ctx, &plain, sig) == 1 &&
           secp256k1_ecdsa_signature_normalize(ctx, NULL, &plain) == 0;
}

bool crypto_evm_recover(uint8_t address[EVM_ADDRESS_BYTES], const uint8_t sig[EVM_SIGNATURE_BYTES],
                        const uint8_t hash[KECCAK256_BYTES])
{
    secp256k1_ecdsa_recoverable_signature parsed;
    secp256k1_pubkey key;
    int parity = sig[EVM_SIGNATURE_BYTES - 1];
    if (parity > 1 || !low_s(sig))
        return false;
    const secp256k1_context *ctx = secp256k1_context_static;
    bool ok = secp256k1_ecdsa_recoverable_signature_parse_compact(ctx, &parsed, sig, parity) == 1 &&
              secp256k1_ecdsa_recover(ctx, &key, &parsed, hash) == 1;
    if (ok)
        address_of(address, &key);
    return ok;
}

/* ---- addresses ---- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
}

void crypto_evm_address_text(char out[EVM_ADDRESS_MAX], const uint8_t address[EVM_ADDRESS_BYTES])
{
    uint8_t hash[KECCAK256_BYTES];
    char *digits = out + 2;
    out[0] = '0';
    out[1] = 'x';
    emac_hex(digits, address, EVM_ADDRESS_BYTES);
    crypto_keccak256(hash, digits, 2 * EVM_ADDRESS_BYTES);
    for (size_t i = 0; i < 2 * EVM_ADDRESS_BYTES; i++) {
        unsigned nibble = i % 2 ? hash[i / 2] & 15u : hash[i / 2] >> 4;
        if (nibble >= 8 && is_letter(digits[i]))
            digits[i] = (char)(digits[i] - 'a' + 'A');
    }
}

bool crypto_evm_address_parse(uint8_t address[EVM_ADDRESS_BYTES], const char *text)
{
    char digits[2 * EVM_ADDRESS_BYTES + 1], checked[EVM_ADDRESS_MAX];
    uint8_t got[EVM_ADDRESS_BYTES];
    bool small = false, capital = false;
    if (strlen(text) != EVM_ADDRESS_MAX - 1 || text[0] != '0' || text[1] != 'x')
        return false;
    for (size_t i = 0; i < sizeof(digits); i++) {
        char c = text[2 + i];
        digits[i] = lower(c);
        small = small || (is_letter(c) && c >= 'a');
        capital = capital || (is_letter(c) && c < 'a');
    }
    if (!emac_unhex(got, sizeof(got), digits))
        return false;
    crypto_evm_address_text(checked, got);
    if (small && capital && strcmp(checked, text) != 0)
        return false;
    memcpy(address, got, sizeof(got));
    return true;
}
