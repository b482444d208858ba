#include "compute/pack.h"

#include <string.h>

#include "base/assert.h"
#include "compute/fn.h"

#define INT_BLOCK    64
#define EXPONENT_MIN 7 /* of a block of integers: below it scale or inverse would be subnormal */
#define EXPONENT_NAN 255

bool pack_make(int64_t format, int64_t keep, struct pack *out)
{
    bool top = format == PACK_TOP;
    bool known = top || format == PACK_INT8 || format == PACK_INT4;
    if (!known || keep < 0 || keep > PACK_TOP_KEEP_MAX || keep % 4 != 0 || top != (keep != 0))
        return false;
    *out = (struct pack){(enum pack_format)format, (uint32_t)keep};
    return true;
}

size_t pack_block_elements(const struct pack *p)
{
    return p->format == PACK_TOP ? PACK_TOP_BLOCK : INT_BLOCK;
}

size_t pack_block_bytes(const struct pack *p)
{
    switch (p->format) {
    case PACK_INT8:
        return 1 + INT_BLOCK;
    case PACK_INT4:
        return 1 + INT_BLOCK / 2;
    case PACK_TOP:
        return 2 + p->keep / 2 * 3 + p->keep / 4;
    }
    EMAC_ASSERT(false);
    return 0;
}

size_t pack_blocks(const struct pack *p, size_t n)
{
    size_t each = pack_block_elements(p);
    return n / each + (n % each != 0);
}

static uint32_t magnitude(float x)
{
    return fn_bits(x) & 0x7fffffffu;
}

static uint32_t largest(const float *x, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = magnitude(x[i]) > most ? magnitude(x[i]) : most;
    return most;
}

/* ---- blocks of integers ---- */

/* Exponent of the largest number as it is, the scale's that much less. */
static uint32_t scale_shift(const struct pack *p)
{
    return p->format == PACK_INT8 ? 6 : 2;
}

static int nearest(float x, float most)
{
    float t = x > -most ? x : -most;
    t = t < most ? t : most;
    return (int)(t + FN_ROUND - FN_ROUND);
}

static void int_write(const struct pack *p, uint8_t *block, const float *x, size_t n)
{
    uint32_t e = largest(x, n) >> 23;
    bool eight = p->format == PACK_INT8;
    e = e < EXPONENT_MIN ? 0 : e;
    block[0] = (uint8_t)e;
    float inverse = e == 0 ? 0.0f : fn_float((254 + scale_shift(p) - e) << 23);
    for (size_t i = 0; i < INT_BLOCK; i++) {
        int q = nearest(i < n ? x[i] * inverse : 0.0f, eight ? 127.0f : 7.0f);
        if (eight)
            block[1 + i] = (uint8_t)q;
        else if (i % 2 == 0)
            block[1 + i / 2] = (uint8_t)(q + 8);
        else
            block[1 + i / 2] |= (uint8_t)((q + 8) << 4);
    }
}

static void int_read(const struct pack *p, const uint8_t *block, float *y, size_t n)
{
    uint32_t e = block[0];
    float scale = e < EXPONENT_MIN ? 0.0f : fn_float((e - scale_shift(p)) << 23);
    for (size_t i = 0; i < n; i++) {
        int q = p->format == PACK_INT8 ? ((const int8_t *)block)[1 + i]
                                       : (block[1 + i / 2] >> i % 2 * 4 & 15) - 8;
        y[i] = (float)q * scale;
    }
    if (e == EXPONENT_NAN)
        y[0] = fn_float(FN_NAN);
}

/* ---- the largest ---- */

static float level(uint32_t e)
{
    return e == 0 ? 0.0f : fn_float(e << 23 | 0x400000u);
}

/* The magnitude that at least `keep` of x[n] reach, as large as can be: bit by bit. */
static uint32_t threshold(const float *x, size_t n, size_t keep)
{
    uint32_t least = 0;
    for (uint32_t bit = 1u << 30; bit > 0; bit >>= 1) {
        size_t reach = 0;
        for (size_t i = 0; i < n; i++)
            reach += magnitude(x[i]) >= (least | bit);
        if (reach >= keep)
            least |= bit;
    }
    return least;
}

/* Slot s: place and code. */
static void slot_write(const struct pack *p, uint8_t *block, size_t s, uint32_t place,
                       uint32_t code)
{
    uint8_t *two = block + 2 + s / 2 * 3, *four = block + 2 + p->keep / 2 * 3 + s / 4;
    if (s % 2 == 0) {
        two[0] = (uint8_t)place;
        two[1] = (uint8_t)(two[1] | place >> 8);
    } else {
        two[1] = (uint8_t)(two[1] | (place & 15) << 4);
        two[2] = (uint8_t)(place >> 4);
    }
    *four = (uint8_t)(*four | code << s % 4 * 2);
}

static void top_write(const struct pack *p, uint8_t *block, const float *x, size_t n)
{
    size_t keep = p->keep < n ? p->keep : n, ties = keep, s = 0;
    uint32_t least = threshold(x, n, keep);
    uint32_t high = largest(x, n) >> 23, low = least >> 23;
    float half_way = 0.5f * level(high) + 0.5f * level(low);
    memset(block, 0, pack_block_bytes(p));
    block[0] = (uint8_t)high;
    block[1] = (uint8_t)low;
    for (size_t i = 0; i < n; i++)
        ties -= magnitude(x[i]) > least;
    for (size_t i = 0; i < n; i++) {
        uint32_t m = magnitude(x[i]);
        if (m < least || (m == least && ties == 0))
            continue;
        ties -= m == least;
        slot_write(p, block, s++, (uint32_t)i,
                   (uint32_t)(x[i] < 0.0f) | (uint32_t)(fn_float(m) >= half_way) << 1);
    }
    EMAC_ASSERT(s == keep);
}

static void top_read(const struct pack *p, const uint8_t *block, float *y, size_t n)
{
    size_t keep = p->keep < n ? p->keep : n, next = 0;
    const float magnitudes[2] = {level(block[1]), level(block[0])};
    bool good = block[0] != EXPONENT_NAN && block[1] != EXPONENT_NAN;
    memset(y, 0, n * sizeof *y);
    for (size_t s = 0; s < keep && good; s++) {
        const uint8_t *two = block + 2 + s / 2 * 3;
        uint32_t code = block[2 + p->keep / 2 * 3 + s / 4] >> s % 4 * 2 & 3;
        size_t place = s % 2 == 0 ? (size_t)two[0] | (size_t)(two[1] & 15) << 8
                                  : (size_t)two[1] >> 4 | (size_t)two[2] << 4;
        good = place >= next && place < n;
        if (good)
            y[place] = (code & 1) != 0 ? -magnitudes[code >> 1] : magnitudes[code >> 1];
        next = place + 1;
    }
    if (!good)
        y[0] = fn_float(FN_NAN);
}

void pack_block_write(const struct pack *p, uint8_t *block, const float *x, size_t n)
{
    EMAC_ASSERT(n >= 1 && n <= pack_block_elements(p));
    if (p->format == PACK_TOP)
        top_write(p, block, x, n);
    else
        int_write(p, block, x, n);
}

void pack_block_read(const struct pack *p, const uint8_t *block, float *y, size_t n)
{
    EMAC_ASSERT(n >= 1 && n <= pack_block_elements(p));
    if (p->format == PACK_TOP)
        top_read(p, block, y, n);
    else
        int_read(p, block, y, n);
}
