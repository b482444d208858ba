/* Philox 4x32-10: a counter-based random function (Salmon et al., "Parallel
 * random numbers: as easy as 1, 2, 3", SC'11). Numerics rule 9: a value is a
 * pure function of (seed, purpose, step, index); nothing depends on call order.
 *
 * Key = the two halves of the 64-bit seed (low first). Counter words =
 * { index low, index high, step, purpose }. */
#ifndef EMAC_BASE_PHILOX_H
#define EMAC_BASE_PHILOX_H

#include <stdint.h>

enum philox_purpose {
    PHILOX_INIT = 1,    /* weights before training: step = tensor number; words: see OP_RANDN */
    PHILOX_DATA = 2,    /* which window of the corpus: step = training step, index = row */
    PHILOX_SAMPLE = 3,  /* choice of a token: step = position */
    PHILOX_DROPOUT = 4, /* masks: see OP_DROPOUT, which adds site * 2^16 */
    PHILOX_CHECK = 5,   /* which tasks are executed twice */
    PHILOX_ORDER = 6,   /* order of a data set's records: step = epoch */
    PHILOX_TEST = 100   /* tests and generators */
};

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* out[4] for one (seed, purpose, step, index). */
void philox_at(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t index, uint32_t out[4]);
/* Uniform integer in [0, bound), bound >= 1, by 64-bit multiply-high of two words (bias < bound /
 * 2^64). */
uint64_t philox_below(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t index,
                      uint64_t bound);
/* Place i of a random order of 0..n-1, i < n < 2^62: for a (seed, purpose, step) every number comes
 * up once. No table: a Feistel network of six rounds over the least 4^k >= n, walked until it falls
 * below n (cycle walking; Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
 * Round r takes the halves (a, b) of k bits to (b, a xor f), f = the low k bits of the first word
 * for index r * 2^32 + b. */
uint64_t philox_order(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t n, uint64_t i);

#endif
