#include <nettle/sha3.h>
#include <string.h>

#include "base/assert.h"
#include "crypto/evm.h"

#define RATE 136 /* bytes a permutation takes in, at 256 bits of output */

static void absorb(struct sha3_state *state, const uint8_t block[RATE])
{
    for (size_t i = 0; i < RATE; i++)
        state->a[i / 8] ^= (uint64_t)block[i] << (8 * (i % 8));
    sha3_permute(state);
}

/* Nettle's own sha3_256 pads with 0x06 as FIPS 202 says; the EVM took Keccak before that, with
 * 0x01. */
void crypto_keccak256(uint8_t out[KECCAK256_BYTES], const void *data, size_t n)
{
    struct sha3_state state = {{0}};
    const uint8_t *p = data;
    uint8_t last[RATE] = {0};
    EMAC_ASSERT(p != NULL || n == 0);
    for (; n >= RATE; n -= RATE, p += RATE)
        absorb(&state, p);
    if (n > 0)
        memcpy(last, p, n);
    last[n] = 0x01;
    last[RATE - 1] |= 0x80;
    absorb(&state, last);
    for (size_t i = 0; i < KECCAK256_BYTES; i++)
        out[i] = (uint8_t)(state.a[i / 8] >> (8 * (i % 8)));
}
