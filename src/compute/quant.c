#include "compute/quant.h"

#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "compute/half.h"

#define GROUP 16 /* weights of Q6_K that share a scale */

static const struct quant_info infos[] = {
#define X(E, name, number, elements, bytes) {name, QUANT_##E, elements, bytes},
    QUANT_TABLE(X)
#undef X
};

const struct quant_info *quant_info(int64_t format)
{
    for (size_t i = 0; i < EMAC_COUNT(infos); i++)
        if ((int64_t)infos[i].format == format)
            return &infos[i];
    return NULL;
}

const struct quant_info *quant_find(const char *name)
{
    for (size_t i = 0; i < EMAC_COUNT(infos); i++)
        if (strcmp(infos[i].name, name) == 0)
            return &infos[i];
    return NULL;
}

bool quant_row_bytes(enum quant_format format, size_t k, size_t *bytes)
{
    const struct quant_info *info = quant_info(format);
    return k > 0 && k % info->elements == 0 &&
           emac_mul_size(k / info->elements, info->bytes, bytes);
}

bool quant_row_elements(enum quant_format format, size_t bytes, size_t *k)
{
    const struct quant_info *info = quant_info(format);
    return bytes > 0 && bytes % info->bytes == 0 &&
           emac_mul_size(bytes / info->bytes, info->elements, k);
}

static float half_read(const uint8_t *p)
{
    return half_to_float((fn_u32)p[0] | (fn_u32)p[1] << 8);
}

/* Stores x rounded to f16 and gives it back as the reader will see it. */
static float half_write(uint8_t *p, float x)
{
    fn_u32 half = half_from_float(x);
    p[0] = (uint8_t)half;
    p[1] = (uint8_t)(half >> 8);
    return half_to_float(half);
}

/* -- reading ------------------------------------------------------------------------------- */

static void halves_read(const uint8_t *bytes, int offset, int16_t w[QUANT_PART])
{
    for (int i = 0; i < QUANT_PART / 2; i++) {
        w[i] = (int16_t)((bytes[i] & 15) - offset);
        w[i + QUANT_PART / 2] = (int16_t)((bytes[i] >> 4) - offset);
    }
}

/* Parts 0..3 lie in the first 128 weights: parts 0, 1 in the low halves of bytes 0..63, parts 2, 3
 * in the high ones; parts 4..7 alike in the rest. */
static void q6_k_read(const uint8_t *block, size_t part, struct quant_part *out)
{
    const uint8_t *low = block + part / 4 * 64 + part % 2 * 32;
    const uint8_t *high = block + 128 + part / 4 * 32;
    const int8_t *scale = (const int8_t *)block + 192 + part * 2;
    unsigned low_shift = part % 4 / 2 * 4, high_shift = part % 4 * 2;
    for (int i = 0; i < QUANT_PART; i++) {
        int six = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
        out->w[i] = (int16_t)(scale[i / GROUP] * (six - 32));
    }
    out->d = half_read(block + 208);
}

void quant_part_read(enum quant_format format, const uint8_t *row, size_t part,
                     struct quant_part *out)
{
    const struct quant_info *info = quant_info(format);
    size_t parts = info->elements / QUANT_PART;
    const uint8_t *block = row + part / parts * info->bytes;
    out->m = 0.0f;
    switch (format) {
    case QUANT_Q6_K:
        q6_k_read(block, part % parts, out);
        return;
    case QUANT_Q4_0:
        halves_read(block + 2, 8, out->w);
        break;
    case QUANT_Q4_1:
        halves_read(block + 4, 0, out->w);
        out->m = half_read(block + 2);
        break;
    case QUANT_Q8_0:
        for (int i = 0; i < QUANT_PART; i++)
            out->w[i] = ((const int8_t *)block)[2 + i];
        break;
    }
    out->d = half_read(block);
}

void quant_row_decode(enum quant_format format, const uint8_t *row, float *y, size_t k)
{
    struct quant_part part;
    for (size_t i = 0; i < k; i += QUANT_PART) {
        quant_part_read(format, row, i / QUANT_PART, &part);
        for (size_t j = 0; j < QUANT_PART; j++)
            y[i + j] = fn_fma(part.d, (float)part.w[j], part.m);
    }
}

/* -- writing ------------------------------------------------------------------------------- */

/* x, brought into least..most, to the nearest integer, ties to even. NaN gives `least`. */
static int nearest(float x, float least, float most)
{
    float t = x > least ? x : least;
    t = t < most ? t : most;
    return (int)(t + FN_ROUND - FN_ROUND);
}

static float inverse(float d)
{
    return d == 0.0f ? 0.0f : fn_div(1.0f, d);
}

/* The first of the x that are largest in magnitude. */
static float extreme(const float *x, size_t n)
{
    float best = x[0];
    for (size_t i = 1; i < n; i++)
        if ((fn_bits(x[i]) & 0x7fffffffu) > (fn_bits(best) & 0x7fffffffu))
            best = x[i];
    return best;
}

static float magnitude(float x)
{
    return fn_float(fn_bits(x) & 0x7fffffffu);
}

/* q[i] = (x[i] - m) / d, in 0..15 after `offset` is added */
static void halves_write(uint8_t *bytes, const float *x, float d, float m, int offset)
{
    float r = inverse(d), least = (float)-offset;
    for (int i = 0; i < QUANT_PART / 2; i++) {
        int low = nearest((x[i] - m) * r, least, least + 15) + offset;
        int high = nearest((x[i + QUANT_PART / 2] - m) * r, least, least + 15) + offset;
        bytes[i] = (uint8_t)(low | high << 4);
    }
}

static void q4_0_write(uint8_t *block, const float *x)
{
    float d = half_write(block, fn_div(extreme(x, QUANT_PART), -8.0f));
    halves_write(block + 2, x, d, 0.0f, 8);
}

static void q4_1_write(uint8_t *block, const float *x)
{
    float least = x[0], most = x[0], d, m;
    for (int i = 1; i < QUANT_PART; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    d = half_write(block, fn_div(most - least, 15.0f));
    m = half_write(block + 2, least + 0.0f);
    halves_write(block + 4, x, d, m, 0);
}

static void q8_0_write(uint8_t *block, const float *x)
{
    float d = half_write(block, fn_div(magnitude(extreme(x, QUANT_PART)), 127.0f));
    float r = inverse(d);
    for (int i = 0; i < QUANT_PART; i++)
        block[2 + i] = (uint8_t)nearest(x[i] * r, -127, 127);
}

/* Weight i of the block as 6 bits. */
static void q6_k_put(uint8_t *block, size_t i, int six)
{
    size_t part = i / QUANT_PART, at = i % QUANT_PART;
    uint8_t *low = block + part / 4 * 64 + part % 2 * 32 + at;
    uint8_t *high = block + 128 + part / 4 * 32 + at;
    *low = (uint8_t)(*low | (six & 15) << part % 4 / 2 * 4);
    *high = (uint8_t)(*high | six >> 4 << part % 4 * 2);
}

static void q6_k_write(uint8_t *block, const float *x)
{
    float want[256 / GROUP], d, r;
    memset(block, 0, 208);
    for (size_t g = 0; g < EMAC_COUNT(want); g++)
        want[g] = fn_div(extreme(x + g * GROUP, GROUP), -32.0f);
    d = half_write(block + 208, fn_div(extreme(want, EMAC_COUNT(want)), -128.0f));
    r = inverse(d);
    for (size_t g = 0; g < EMAC_COUNT(want); g++) {
        int scale = nearest(want[g] * r, -128, 127);
        float each = inverse(d * (float)scale);
        block[192 + g] = (uint8_t)scale;
        for (size_t i = g * GROUP; i < (g + 1) * GROUP; i++)
            q6_k_put(block, i, nearest(x[i] * each, -32, 31) + 32);
    }
}

void quant_row_encode(enum quant_format format, uint8_t *row, const float *x, size_t k)
{
    const struct quant_info *info = quant_info(format);
    for (size_t i = 0; i < k; i += info->elements, row += info->bytes)
        switch (format) {
        case QUANT_Q4_0:
            q4_0_write(row, x + i);
            break;
        case QUANT_Q4_1:
            q4_1_write(row, x + i);
            break;
        case QUANT_Q8_0:
            q8_0_write(row, x + i);
            break;
        case QUANT_Q6_K:
            q6_k_write(row, x + i);
            break;
        }
}
