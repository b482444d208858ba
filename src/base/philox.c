#include "base/philox.h"

#include "base/assert.h"

/* Constants of the paper: two multipliers and the Weyl steps of the key schedule. */
#define PHILOX_M0     0xD2511F53u
#define PHILOX_M1     0xCD9E8D57u
#define PHILOX_W0     0x9E3779B9u
#define PHILOX_W1     0xBB67AE85u
#define PHILOX_ROUNDS 10

#define ORDER_ROUNDS 6

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void philox_at(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t index, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), step, purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    philox4x32(counter, key, out);
}

uint64_t philox_below(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t index,
                      uint64_t bound)
{
    EMAC_ASSERT(bound >= 1);
    uint32_t w[4];
    philox_at(seed, purpose, step, index, w);
    uint64_t v = (uint64_t)w[1] << 32 | w[0];
    return (uint64_t)((unsigned __int128)v * bound >> 64);
}

uint64_t philox_order(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t n, uint64_t i)
{
    uint32_t bits = 1;
    EMAC_ASSERT(i < n && n < UINT64_C(1) << 62);
    while (UINT64_C(1) << (2 * bits) < n)
        bits++;
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    do {
        uint64_t a = i >> bits, b = i & mask;
        for (uint64_t round = 0; round < ORDER_ROUNDS; round++) {
            uint32_t w[4];
            philox_at(seed, purpose, step, round << 32 | b, w);
            uint64_t next = a ^ (w[0] & mask);
            a = b;
            b = next;
        }
        i = a << bits | b;
    } while (i >= n);
    return i;
}
