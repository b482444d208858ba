/* Numbers packed for a thin link: what local SGD sends of a replica's step (work/plan_local.h).
 * Blocks of a format lie one after the other; a tensor of n numbers takes as many as cover n, and
 * what the last block has past n counts as +0 when it is written and is dropped when it is read.
 *
 * Scales are powers of two, so that unpacking rounds nothing: a number's exponent byte is bits 23
 * to 30 of its binary32, and E below is that of the block's largest magnitude.
 *     INT8  64 numbers: the byte E, then 64 i8, each x / 2^(E-133) to the nearest integer (ties to
 *           even) of -127..127
 *     INT4  64 numbers: the byte E, then 32 bytes: number 2i in the low half of byte i, 2i+1 in the
 *           high one, each x / 2^(E-129) to the nearest integer of -7..7, plus 8
 *           (of both: a block with E < 7 is written as the byte 0 and numbers that are 0)
 *     TOP   4096 numbers, of which `keep` stay: those of largest magnitude, of equal ones the
 *           first; the others are +0. The byte E, the byte F of the smallest that stays, their
 *           places in rising order (12 bits each: two in three bytes, the lower in the lower
 *           bits), their codes (2 bits each: four in a byte, the first in the lowest). Bit 0 of a
 *           code: negative; bit 1: the magnitude is level(E), else level(F), whichever is nearer
 *           (level(E) at half way). level(e) = 1.5 * 2^(e-127), and 0 for e = 0. A last block with
 *           fewer numbers than `keep` keeps them all; the bytes' rest is 0.
 * So |x - unpacked| < |x| for every number that stays (x not subnormal): error feedback, which adds
 * what was lost to the next step, loses nothing for good. */
#ifndef EMAC_COMPUTE_PACK_H
#define EMAC_COMPUTE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACK_TOP_BLOCK    4096 /* numbers */
#define PACK_TOP_KEEP_MAX 1024

/* X(ENUM, "name", number, numbers of a block) */
#define PACK_TABLE(X)                                                                              \
    X(INT8, "int8", 1, 64)                                                                         \
    X(INT4, "int4", 2, 64)                                                                         \
    X(TOP, "topk", 3, PACK_TOP_BLOCK)

enum pack_format {
#define X(E, name, number, elements) PACK_##E = (number),
    PACK_TABLE(X)
#undef X
};

struct pack {
    enum pack_format format;
    uint32_t keep; /* of a block: TOP, a multiple of 4; else 0 */
};

/* false when the format's number or `keep` is none. */
bool pack_make(int64_t format, int64_t keep, struct pack *out);
size_t pack_block_elements(const struct pack *p);
size_t pack_block_bytes(const struct pack *p);
/* Blocks that cover n numbers. */
size_t pack_blocks(const struct pack *p, size_t n);

/* One block from x[n], n at most that of a block; the numbers are finite. */
void pack_block_write(const struct pack *p, uint8_t *block, const float *x, size_t n);
/* One block to y[n]. Bytes that pack_block_write does not make are read too: an exponent byte of
 * 255, and for TOP places that do not rise or pass n, make y[0] a NaN, so that the task fails
 * (numerics rule 11). */
void pack_block_read(const struct pack *p, const uint8_t *block, float *y, size_t n);

#endif
