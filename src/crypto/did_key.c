#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "crypto/crypto.h"

#define DID_PREFIX     "did:key:z"
#define DID_PREFIX_LEN (sizeof DID_PREFIX - 1)
/* multicodec varint of ed25519-pub, then the key */
#define DID_BYTES      (2 + ED25519_PUBLIC_BYTES)

_Static_assert(DID_PREFIX_LEN + EMAC_BASE58_LEN_MAX(DID_BYTES) < DID_KEY_MAX, "DID_KEY_MAX");

void crypto_did_key(char out[DID_KEY_MAX], const uint8_t public_key[ED25519_PUBLIC_BYTES])
{
    uint8_t bytes[DID_BYTES] = {0xed, 0x01};
    memcpy(bytes + 2, public_key, ED25519_PUBLIC_BYTES);
    memcpy(out, DID_PREFIX, DID_PREFIX_LEN);
    emac_base58(out + DID_PREFIX_LEN, bytes, sizeof bytes);
}

bool crypto_did_key_parse(uint8_t public_key[ED25519_PUBLIC_BYTES], const char *did)
{
    uint8_t bytes[DID_BYTES];
    if (strncmp(did, DID_PREFIX, DID_PREFIX_LEN) != 0 ||
        !emac_unbase58(bytes, sizeof bytes, did + DID_PREFIX_LEN))
        return false;
    if (bytes[0] != 0xed || bytes[1] != 0x01)
        return false;
    memcpy(public_key, bytes + 2, ED25519_PUBLIC_BYTES);
    return true;
}
