#include <string.h>

#include "base/assert.h"
#include "crypto/crypto.h"

/* base58btc counts in base 58 over the whole byte string as one big-endian number; each leading
 * zero byte becomes one '1'. did:key prefixes the key with the multicodec varint of ed25519-pub. */

#define DID_PREFIX     "did:key:z"
#define DID_PREFIX_LEN (sizeof DID_PREFIX - 1)
#define DID_BYTES      (2 + ED25519_PUBLIC_BYTES)
#define DID_DIGITS_MAX 48 /* 34 bytes need at most 47 digits */

static const char BASE58_DIGITS[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/* The first byte is 0xed, so there are no leading zeros to keep. */
static size_t base58_encode(char out[DID_DIGITS_MAX], const uint8_t bytes[DID_BYTES])
{
    uint8_t digit[DID_DIGITS_MAX] = {0}; /* least significant first */
    size_t len = 0;
    for (size_t i = 0; i < DID_BYTES; i++) {
        uint32_t carry = bytes[i];
        for (size_t d = 0; d < len || carry > 0; d++) {
            EMAC_ASSERT(d < DID_DIGITS_MAX);
            carry += (uint32_t)digit[d] << 8;
            digit[d] = (uint8_t)(carry % 58);
            carry /= 58;
            if (d >= len)
                len = d + 1;
        }
    }
    for (size_t d = 0; d < len; d++)
        out[d] = BASE58_DIGITS[digit[len - 1 - d]];
    return len;
}

static bool base58_decode(uint8_t bytes[DID_BYTES], const char *text, size_t len)
{
    memset(bytes, 0, DID_BYTES);
    for (size_t i = 0; i < len; i++) {
        const char *at = strchr(BASE58_DIGITS, text[i]);
        if (at == NULL || text[i] == '\0')
            return false;
        uint32_t carry = (uint32_t)(at - BASE58_DIGITS);
        for (size_t b = DID_BYTES; b-- > 0;) {
            carry += (uint32_t)bytes[b] * 58;
            bytes[b] = (uint8_t)carry;
            carry >>= 8;
        }
        if (carry != 0)
            return false; /* a number of more than 34 bytes */
    }
    return true;
}

void crypto_did_key(char out[DID_KEY_MAX], const uint8_t public_key[ED25519_PUBLIC_BYTES])
{
    uint8_t bytes[DID_BYTES] = {0xed, 0x01};
    memcpy(bytes + 2, public_key, ED25519_PUBLIC_BYTES);
    memcpy(out, DID_PREFIX, DID_PREFIX_LEN);
    size_t len = base58_encode(out + DID_PREFIX_LEN, bytes);
    EMAC_ASSERT(DID_PREFIX_LEN + len < DID_KEY_MAX);
    out[DID_PREFIX_LEN + len] = '\0';
}

bool crypto_did_key_parse(uint8_t public_key[ED25519_PUBLIC_BYTES], const char *did)
{
    if (strncmp(did, DID_PREFIX, DID_PREFIX_LEN) != 0)
        return false;
    const char *text = did + DID_PREFIX_LEN;
    size_t len = strnlen(text, DID_KEY_MAX);
    uint8_t bytes[DID_BYTES];
    /* A first digit '1' would be a leading zero byte: not a key, and a second text for the same. */
    if (len == 0 || len >= DID_DIGITS_MAX || text[0] == '1' || !base58_decode(bytes, text, len))
        return false;
    if (bytes[0] != 0xed || bytes[1] != 0x01)
        return false;
    memcpy(public_key, bytes + 2, ED25519_PUBLIC_BYTES);
    return true;
}
