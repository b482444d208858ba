/* Unpacks panels of weights for leaf_quant.h, whose includer has defined the
 * vectors: a lane is a row of weights. */
#ifndef EMAC_COMPUTE_CPU_LEAF_QUANT_PACK_H
#define EMAC_COMPUTE_CPU_LEAF_QUANT_PACK_H

#include <string.h>

#include "base/assert.h"
#include "compute/cpu/leaf_quant_x.h"
#include "compute/half.h"

#define LANES       (VEC_BYTES / 4)
#define COLS        (2 * LANES)
#define ROW_MAX     272 /* bytes of 256 weights in the widest format */
#define GROUP_WORDS (GROUP / 4)
#define CACHE_LINE  64

typedef uint8_t vec_bytes __attribute__((vector_size(VEC_BYTES), may_alias));

struct packed {
    vec w[CPU_PARTS][QUANT_PART / 4][2]; /* a lane is four weights of one row */
    vecf d[CPU_PARTS][2];
    vecf extra[CPU_PARTS][2][2]; /* q4_1: m at [0]; q6_k: the scales of both halves */
};

/* 16 bytes of each of LANES rows: out[j] has the j-th four bytes of each. */
INLINE void turn(vec out[4], const uint8_t *p, size_t row)
{
    vec a = lanes_load(p, row), b = lanes_load(p + row, row);
    vec c = lanes_load(p + 2 * row, row), d = lanes_load(p + 3 * row, row);
    vec ab = low32(a, b), cd = low32(c, d);
    out[0] = low64(ab, cd);
    out[1] = high64(ab, cd);
    ab = high32(a, b);
    cd = high32(c, d);
    out[2] = low64(ab, cd);
    out[3] = high64(ab, cd);
}

/* Bytes that hold w + offset. */
INLINE vec weights(vec unsigned_bytes, int offset)
{
    return QUANT_SIGNED ? (vec)((vec_bytes)unsigned_bytes - (uint8_t)offset) : unsigned_bytes;
}

/* Only out[0] of turn(), and only out[3]. */
INLINE vec turn_first(const uint8_t *p, size_t row)
{
    return low64(low32(lanes_load(p, row), lanes_load(p + row, row)),
                 low32(lanes_load(p + 2 * row, row), lanes_load(p + 3 * row, row)));
}

INLINE vec turn_last(const uint8_t *p, size_t row)
{
    return high64(high32(lanes_load(p, row), lanes_load(p + row, row)),
                  high32(lanes_load(p + 2 * row, row), lanes_load(p + 3 * row, row)));
}

/* f16 numbers in the low halves (half.h): as bits of a binary32 they lack a factor of 2^112, which
 * is exact, and the exponent of what is no number. */
INLINE vecf halves_widen(vec h)
{
    const vec infinite = vec_splat(0x7c00);
    vec no_number = (h & infinite) == infinite;
    vecf x = (vecf)((h & vec_splat(0x7fff)) << 13) * vecf_splat(0x1p112f);
    return (vecf)((vec)x | (no_number & vec_splat((int)FN_INF)) | (h & vec_splat(0x8000)) << 16);
}

/* While part `part` is worked on. Not into the first level, where what is worked on lies. */
INLINE void ahead_fetch(const struct cpu_quant_ahead *a, size_t part)
{
    const uint8_t *p = a->data + part * a->part;
    for (size_t at = 0; at < a->part; at += CACHE_LINE)
        __builtin_prefetch(p + at, 0, 2);
}

static void pack_q8_0(struct packed *to, const uint8_t *p, size_t row, const struct cpu_quant_w *w)
{
    const vec flip = vec_splat((int)0x80808080u);
    for (size_t i = 0; i < w->parts; i++, p += 34) {
        ahead_fetch(&w->ahead, i);
        for (size_t v = 0; v < 2; v++) {
            const uint8_t *block = p + v * LANES * row;
            to->d[i][v] = halves_widen(turn_first(block, row));
            for (size_t half = 0; half < 2; half++) {
                vec word[4];
                turn(word, block + 2 + half * 16, row);
                for (size_t j = 0; j < 4; j++)
                    to->w[i][4 * half + j][v] = weights(word[j] ^ flip, 128);
            }
        }
    }
}

/* q4_0 (skip = 2) and q4_1 (skip = 4) */
INLINE void pack_halves(struct packed *to, const uint8_t *p, size_t row,
                        const struct cpu_quant_w *w, size_t skip, int offset)
{
    const vec low = vec_splat(0x0f0f0f0f);
    for (size_t i = 0; i < w->parts; i++, p += skip + 16) {
        ahead_fetch(&w->ahead, i);
        for (size_t v = 0; v < 2; v++) {
            const uint8_t *block = p + v * LANES * row;
            vec word[4], scales = turn_first(block, row);
            to->d[i][v] = halves_widen(scales);
            if (skip == 4)
                to->extra[i][0][v] = halves_widen(scales >> 16);
            turn(word, block + skip, row);
            for (size_t j = 0; j < 4; j++) {
                to->w[i][j][v] = weights(word[j] & low, offset);
                to->w[i][j + 4][v] = weights(word[j] >> 4 & low, offset);
            }
        }
    }
}

static void pack_q4_0(struct packed *to, const uint8_t *p, size_t row, const struct cpu_quant_w *w)
{
    pack_halves(to, p, row, w, 2, 8);
}

static void pack_q4_1(struct packed *to, const uint8_t *p, size_t row, const struct cpu_quant_w *w)
{
    pack_halves(to, p, row, w, 4, 0);
}

/* 16 bytes of high bits complete 16 weights in each of the parts 4n..4n+3. */
INLINE void pack_q6_k_quarter(struct packed *to, const uint8_t *p, size_t row, size_t v, size_t n,
                              size_t half)
{
    const vec low = vec_splat(0x0f0f0f0f), two = vec_splat(0x30303030);
    const uint8_t *lows = p + n * 64 + half * 16;
    vec a[4], b[4], high[4];
    turn(a, lows, row);
    turn(b, lows + 32, row);
    turn(high, p + 128 + n * 32 + half * 16, row);
    for (size_t j = 0; j < 4; j++) {
        size_t k = half * GROUP_WORDS + j;
        to->w[4 * n][k][v] = weights((a[j] & low) | (high[j] << 4 & two), 32);
        to->w[4 * n + 1][k][v] = weights((b[j] & low) | (high[j] << 2 & two), 32);
        to->w[4 * n + 2][k][v] = weights((a[j] >> 4 & low) | (high[j] & two), 32);
        to->w[4 * n + 3][k][v] = weights((b[j] >> 4 & low) | (high[j] >> 2 & two), 32);
    }
}

/* The scales of the 16s: four bytes in each word are those of two parts. */
INLINE void pack_q6_k_scales(struct packed *to, const uint8_t *p, size_t row, size_t v)
{
    vecf d = halves_widen(turn_last(p + 194, row) >> 16);
    vec word[4];
    turn(word, p + 192, row);
    for (size_t part = 0; part < CPU_PARTS; part++) {
        vec two = part % 2 ? word[part / 2] : word[part / 2] << 16;
        to->d[part][v] = d;
        to->extra[part][0][v] = vecf_from(two << 8 >> 24);
        to->extra[part][1][v] = vecf_from(two >> 24);
    }
}

static void pack_q6_k(struct packed *to, const uint8_t *p, size_t row, const struct cpu_quant_w *w)
{
    for (size_t v = 0; v < 2; v++) {
        const uint8_t *block = p + v * LANES * row;
        pack_q6_k_scales(to, block, row, v);
        for (size_t quarter = 0; quarter < 4; quarter++) {
            ahead_fetch(&w->ahead, 4 * v + quarter);
            pack_q6_k_quarter(to, block, row, v, quarter / 2, quarter % 2);
        }
    }
}

static void pack(void *packed, const struct cpu_quant_w *w)
{
    uint8_t whole[COLS][ROW_MAX];
    const uint8_t *p = w->data;
    size_t row = w->row_bytes, bytes = 0;
    if (w->rows < COLS) { /* the missing rows are zeros */
        bool ok = quant_row_bytes(w->format, w->parts * QUANT_PART, &bytes);
        EMAC_ASSERT(ok && bytes <= ROW_MAX);
        memset(whole, 0, sizeof whole);
        for (size_t c = 0; c < w->rows; c++)
            memcpy(whole[c], p + c * row, bytes);
        p = whole[0];
        row = ROW_MAX;
    }
    switch (w->format) {
    case QUANT_Q4_0:
        pack_q4_0(packed, p, row, w);
        break;
    case QUANT_Q4_1:
        pack_q4_1(packed, p, row, w);
        break;
    case QUANT_Q8_0:
        pack_q8_0(packed, p, row, w);
        break;
    case QUANT_Q6_K:
        pack_q6_k(packed, p, row, w);
        break;
    }
}

#endif
