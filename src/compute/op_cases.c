#include "compute/op_cases.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/philox.h"
#include "compute/fn.h"
#include "compute/pack.h"
#include "compute/quant.h"

#define SEED 0x454d4143u /* "EMAC" */

/* Zeros, subnormals and their edge, ties (1 + 2^-24 and the like), where exp ends, infinities. */
static const uint32_t special[] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x80800000, 0x3f800000,
    0xbf800000, 0x3f800001, 0x33800000, 0x33800001, 0x34000000, 0x4b800000, 0x4b7fffff, 0x7f7fffff,
    0x5f000000, 0x20000000, 0xc2aeac4f, 0xc2aeac50, 0x42b17217, 0x42b17218, 0x7f800000, 0xff800000,
    0x3fb504f3, 0x00000003, 0x1f800000, 0x9f800001, 0x3effffff, 0x3f7fffff, 0xc0000000, 0x40400000};

/* clang-format off */
#define A(...)           {{__VA_ARGS__}}
#define VECTOR(f, n)     {FILL_##f, {1, {n}}, 0}
#define MATRIX(f, m, n)  {FILL_##f, {2, {m, n}}, 0}
#define CUBE(f, a, b, c) {FILL_##f, {3, {a, b, c}}, 0}
#define ROWS(q, n, bytes) {FILL_BLOCKS, {2, {n, bytes}}, q}
#define PLACES(keep, n)  {FILL_PLACES, {2, {n, 2 + (keep) / 2 * 3 + (keep) / 4}}, keep}
#define IMAGES(f, b, h, w, c) {FILL_##f, {4, {b, h, w, c}}, 0}
#define ID(n, limit)     {FILL_IDS, {1, {n}}, limit}

#define MATMUL_4(fill, m, n, k)                                                                    \
    {OP_MATMUL, A({.i = 0}, {.i = 0}), {MATRIX(fill, m, k), MATRIX(UNIFORM, k, n)}},               \
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {MATRIX(fill, m, k), MATRIX(UNIFORM, n, k)}},               \
    {OP_MATMUL, A({.i = 1}, {.i = 0}), {MATRIX(fill, k, m), MATRIX(UNIFORM, k, n)}},               \
    {OP_MATMUL, A({.i = 1}, {.i = 1}), {MATRIX(fill, k, m), MATRIX(UNIFORM, n, k)}}

#define ATTENTION_2(b, t, h, g, e, scale)                                                          \
    {OP_ATTENTION, A({.i = b}, {.i = h}, {.i = g}, {.f = scale}),                                  \
     {MATRIX(UNIFORM, (b) * (t), (h) * (e)), MATRIX(UNIFORM, (b) * (t), (g) * (e)),                \
      MATRIX(UNIFORM, (b) * (t), (g) * (e))}},                                                     \
    {OP_ATTENTION_GRAD, A({.i = b}, {.i = h}, {.i = g}, {.f = scale}),                             \
     {MATRIX(UNIFORM, (b) * (t), (h) * (e)), MATRIX(UNIFORM, (b) * (t), (h) * (e)),                \
      MATRIX(UNIFORM, (b) * (t), (g) * (e)), MATRIX(UNIFORM, (b) * (t), (g) * (e)),                \
      MATRIX(UNIFORM, (b) * (t), (h) * (e)), CUBE(POSITIVE, b, h, t), CUBE(POSITIVE, b, h, t)}}

/* x [b, h, w, c], o output channels, a k x k kernel, stride s, padding p, oh x ow results */
#define CONV2D_3(b, h, w, c, o, k, s, p, oh, ow)                                                   \
    {OP_CONV2D, A({.i = s}, {.i = p}),                                                             \
     {IMAGES(UNIFORM, b, h, w, c), IMAGES(UNIFORM, o, k, k, c)}},                                  \
    {OP_CONV2D_GRAD_X, A({.i = h}, {.i = w}, {.i = s}, {.i = p}),                                  \
     {IMAGES(UNIFORM, b, oh, ow, o), IMAGES(UNIFORM, o, k, k, c)}},                                \
    {OP_CONV2D_GRAD_W, A({.i = k}, {.i = k}, {.i = s}, {.i = p}),                                  \
     {IMAGES(UNIFORM, b, oh, ow, o), IMAGES(UNIFORM, b, h, w, c)}}

#define POOL_4(fill, b, h, w, c, k, s, oh, ow)                                                     \
    {OP_MAXPOOL2D, A({.i = k}, {.i = s}), {IMAGES(fill, b, h, w, c)}},                             \
    {OP_MAXPOOL2D_GRAD, A({.i = k}, {.i = s}),                                                     \
     {IMAGES(UNIFORM, b, oh, ow, c), IMAGES(fill, b, h, w, c)}},                                   \
    {OP_AVGPOOL2D, A({.i = k}, {.i = s}), {IMAGES(UNIFORM, b, h, w, c)}},                          \
    {OP_AVGPOOL2D_GRAD, A({.i = h}, {.i = w}, {.i = k}, {.i = s}),                                 \
     {IMAGES(UNIFORM, b, oh, ow, c)}}

#define QUANT_4(q, bytes)                                                                          \
    {OP_QUANTISE, A({.i = q}), {MATRIX(UNIFORM, 9, 512)}},                                         \
    {OP_DEQUANTISE, A({.i = q}), {MATRIX(BYTES, 40, bytes)}},                                      \
    {OP_QMATMUL, A({.i = q}), {MATRIX(UNIFORM, 1, 768), ROWS(q, 37, 3 * (bytes))}},                \
    {OP_QMATMUL, A({.i = q}), {MATRIX(WIDE, 11, 256), ROWS(q, 33, bytes)}}

#define PACK_INTS(format, bytes)                                                                   \
    {OP_PACK, A({.i = format}, {.i = 0}), {MATRIX(UNIFORM, 37, 300)}},                             \
    {OP_PACK, A({.i = format}, {.i = 0}), {VECTOR(WIDE, 65)}, true},                               \
    {OP_UNPACK, A({.i = format}, {.i = 0}, {.i = 31}, {.i = 33}), {MATRIX(BYTES, 16, bytes)}}
#define PACK_TOP_4(k)                                                                              \
    {OP_PACK, A({.i = PACK_TOP}, {.i = k}), {MATRIX(UNIFORM, 37, 300)}},                           \
    {OP_PACK, A({.i = PACK_TOP}, {.i = k}), {VECTOR(WIDE, 8195)}, true},                           \
    {OP_UNPACK, A({.i = PACK_TOP}, {.i = k}, {.i = 128}, {.i = 64}), {PLACES(k, 2)}},              \
    {OP_UNPACK, A({.i = PACK_TOP}, {.i = k}, {.i = 4100}),                                         \
     {MATRIX(BYTES, 2, 2 + (k) / 2 * 3 + (k) / 4)}}
/* clang-format on */

const struct op_case OP_CASES_FIRST[] = {
    /* single operations: every special value meets many others */
    {OP_ADD, A({0}), {VECTOR(SPECIAL, 4099), VECTOR(SPECIAL, 4099)}},
    {OP_MUL, A({0}), {VECTOR(SPECIAL, 4099), VECTOR(SPECIAL, 4099)}},
    {OP_SCALE, A({0}), {VECTOR(SPECIAL, 1000), VECTOR(UNIFORM, 1)}},
    {OP_SWIGLU, A({0}), {VECTOR(SPECIAL, 4099), VECTOR(SPECIAL, 4099)}},
    {OP_SWIGLU, A({0}), {VECTOR(WIDE, 4099), VECTOR(UNIFORM, 4099)}},
    {OP_SWIGLU_GRAD, A({0}), {VECTOR(UNIFORM, 1025), VECTOR(SPECIAL, 1025), VECTOR(UNIFORM, 1025)}},
    {OP_SQRT, A({0}), {VECTOR(POSITIVE, 1)}},
    {OP_CLIP_COEF, A({0}), {VECTOR(POSITIVE, 1), VECTOR(POSITIVE, 1)}},
    {OP_ADAMW,
     A({0}),
     {VECTOR(UNIFORM, 1031), VECTOR(SPECIAL, 1031), VECTOR(POSITIVE, 1031), VECTOR(SPECIAL, 1031),
      VECTOR(UNIFORM, 1), VECTOR(POSITIVE, 8)}},
    /* fma against multiply-then-add, subnormal and signed-zero chains: 16 x 16 chains of 8 */
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {MATRIX(SPECIAL, 61, 2), MATRIX(SPECIAL, 67, 2)}},
    MATMUL_4(SPECIAL, 16, 16, 3),
    /* rule 3 */
    MATMUL_4(UNIFORM, 1, 1, 1),
    MATMUL_4(UNIFORM, 13, 33, 257),
    MATMUL_4(UNIFORM, 1, 70, 513),
    MATMUL_4(WIDE, 50, 17, 256),
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {MATRIX(UNIFORM, 130, 40), MATRIX(UNIFORM, 97, 40)}},
    {OP_MATMUL, A({.i = 1}, {.i = 0}), {MATRIX(UNIFORM, 1030, 20), MATRIX(UNIFORM, 1030, 35)}},
    /* rule 4 */
    {OP_SUM, A({0}), {VECTOR(WIDE, 1)}},
    {OP_SUM, A({0}), {VECTOR(WIDE, 70003)}},
    {OP_SUMSQ, A({0}), {VECTOR(WIDE, 255)}},
    {OP_SUMSQ, A({0}), {MATRIX(WIDE, 257, 300)}},
    {OP_RMSNORM, A({.f = 1e-5f}), {MATRIX(UNIFORM, 19, 300), VECTOR(UNIFORM, 300)}},
    {OP_RMSNORM, A({.f = 0.0f}), {MATRIX(WIDE, 5, 17), VECTOR(UNIFORM, 17)}},
    {OP_RMSNORM_GRAD,
     A({0}),
     {MATRIX(UNIFORM, 300, 37), MATRIX(UNIFORM, 300, 37), VECTOR(UNIFORM, 37),
      VECTOR(POSITIVE, 300)}},
    {OP_RMSNORM_GRAD,
     A({0}),
     {MATRIX(UNIFORM, 3, 515), MATRIX(UNIFORM, 3, 515), VECTOR(UNIFORM, 515), VECTOR(POSITIVE, 3)}},
    {OP_XENT, A({0}), {MATRIX(WIDE, 33, 300), ID(33, 300)}},
    {OP_XENT, A({0}), {MATRIX(UNIFORM, 7, 1), ID(7, 1)}},
    {OP_XENT_GRAD,
     A({0}),
     {VECTOR(UNIFORM, 1), MATRIX(UNIFORM, 33, 300), ID(33, 300), MATRIX(POSITIVE, 33, 2)}},
    /* rule 5 */
    ATTENTION_2(1, 1, 1, 1, 1, 1.0f),
    ATTENTION_2(2, 40, 4, 2, 20, 0.25f),
    ATTENTION_2(1, 257, 2, 1, 7, 0.375f),
    ATTENTION_2(1, 530, 1, 1, 4, -0.5f),
    ATTENTION_2(1, 20, 1, 1, 260, 0.0625f),
    /* what moves data */
    {OP_EMBED, A({0}), {ID(70, 19), MATRIX(SPECIAL, 19, 33)}},
    {OP_EMBED_GRAD, A({.i = 19}), {ID(700, 19), MATRIX(UNIFORM, 700, 33)}},
    {OP_ROPE,
     A({.i = 3}, {.i = 0}),
     {MATRIX(UNIFORM, 20, 30), MATRIX(UNIFORM, 10, 5), MATRIX(UNIFORM, 10, 5)}},
    {OP_ROPE,
     A({.i = 2}, {.i = 1}),
     {MATRIX(UNIFORM, 9, 68), MATRIX(UNIFORM, 9, 17), MATRIX(UNIFORM, 9, 17)}},
    {OP_FILL, A({.i = 5}, {.i = 0}, {.f = 0.1f}), {{FILL_END}}},
    {OP_RANDN,
     A({.i = 333}, {.i = 3}, {.i = INT64_MIN + 7}, {.i = 11}, {.f = 0.02f}),
     {{FILL_END}}},
    {OP_RESHAPE, A({.i = 21}, {.i = 0}), {CUBE(SPECIAL, 7, 1, 3)}},
};

const size_t OP_CASES_FIRST_COUNT = EMAC_COUNT(OP_CASES_FIRST);

const struct op_case OP_CASES_LATER[] = {
    /* rule 8 */
    {OP_COPY, A({0}), {VECTOR(SPECIAL, 4099)}},
    {OP_COPY, A({0}), {VECTOR(SPECIAL, 4099)}, true},
    {OP_COPY, A({0}), {MATRIX(UNIFORM, 37, 300)}, true},
    {OP_ADD, A({0}), {VECTOR(SPECIAL, 4099), VECTOR(SPECIAL, 4099)}, true},
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {MATRIX(UNIFORM, 13, 257), MATRIX(UNIFORM, 33, 257)}, true},
    {OP_EMBED, A({0}), {ID(70, 19), MATRIX(SPECIAL, 19, 33)}, true},
    /* images, and what their models need */
    {OP_BIAS, A({0}), {MATRIX(SPECIAL, 33, 19), VECTOR(SPECIAL, 19)}},
    {OP_SUM_ROWS, A({0}), {MATRIX(WIDE, 300, 37)}},
    {OP_SUM_ROWS, A({0}), {IMAGES(UNIFORM, 5, 11, 13, 3)}},
    {OP_RELU, A({0}), {VECTOR(SPECIAL, 4099)}},
    {OP_RELU_GRAD, A({0}), {VECTOR(SPECIAL, 4099), VECTOR(SPECIAL, 4099)}},
    CONV2D_3(1, 1, 1, 1, 1, 1, 1, 0, 1, 1),
    CONV2D_3(2, 7, 5, 3, 5, 3, 1, 1, 7, 5),
    CONV2D_3(1, 6, 6, 33, 9, 3, 1, 0, 4, 4),
    CONV2D_3(1, 9, 8, 35, 34, 3, 2, 1, 5, 4),
    CONV2D_3(3, 11, 12, 2, 3, 2, 3, 1, 4, 5),
    POOL_4(UNIFORM, 2, 7, 6, 5, 2, 2, 3, 3),
    POOL_4(SPECIAL, 1, 9, 9, 67, 3, 2, 4, 4),
    {OP_CORRECT, A({0}), {MATRIX(UNIFORM, 60, 3), ID(60, 3)}},
    {OP_VIEW, A({.i = 3}, {.i = 1}, {.i = 7}, {.i = 2}), {MATRIX(SPECIAL, 6, 7)}},
    /* rule 7: format, bytes of 256 weights */
    QUANT_4(QUANT_Q8_0, 272),
    QUANT_4(QUANT_Q4_0, 144),
    QUANT_4(QUANT_Q4_1, 160),
    QUANT_4(QUANT_Q6_K, 210),
    {OP_QMATMUL, A({.i = QUANT_Q8_0}), {MATRIX(SPECIAL, 19, 32), ROWS(QUANT_Q8_0, 5, 34)}},
    {OP_QMATMUL, A({.i = QUANT_Q4_1}), {MATRIX(WIDE, 1, 288), ROWS(QUANT_Q4_1, 70, 180)}},
    /* layers of transformers that are not Llama's */
    {OP_LAYERNORM,
     A({.f = 1e-5f}),
     {MATRIX(UNIFORM, 19, 300), VECTOR(UNIFORM, 300), VECTOR(UNIFORM, 300)}},
    {OP_LAYERNORM, A({.f = 0.5f}), {MATRIX(WIDE, 5, 17), VECTOR(UNIFORM, 17), VECTOR(UNIFORM, 17)}},
    {OP_LAYERNORM_GRAD,
     A({0}),
     {MATRIX(UNIFORM, 300, 37), MATRIX(UNIFORM, 300, 37), VECTOR(UNIFORM, 37), VECTOR(UNIFORM, 300),
      VECTOR(POSITIVE, 300)}},
    {OP_LAYERNORM_GRAD,
     A({0}),
     {MATRIX(UNIFORM, 3, 515), MATRIX(UNIFORM, 3, 515), VECTOR(UNIFORM, 515), VECTOR(UNIFORM, 3),
      VECTOR(POSITIVE, 3)}},
    {OP_GELU, A({0}), {VECTOR(SPECIAL, 4099)}},
    {OP_GELU, A({0}), {VECTOR(WIDE, 4099)}},
    {OP_GELU_GRAD, A({0}), {VECTOR(UNIFORM, 4099), VECTOR(SPECIAL, 4099)}},
    {OP_GELU_GRAD, A({0}), {VECTOR(UNIFORM, 4099), VECTOR(WIDE, 4099)}},
    {OP_GELU_TANH, A({0}), {VECTOR(SPECIAL, 4099)}},
    {OP_GELU_TANH, A({0}), {VECTOR(WIDE, 4099)}},
    {OP_GELU_TANH_GRAD, A({0}), {VECTOR(UNIFORM, 4099), VECTOR(SPECIAL, 4099)}},
    {OP_GELU_TANH_GRAD, A({0}), {VECTOR(UNIFORM, 4099), VECTOR(WIDE, 4099)}},
    {OP_POSITION_ADD, A({0}), {MATRIX(UNIFORM, 42, 19), MATRIX(UNIFORM, 14, 19)}},
    {OP_DROPOUT, A({.f = 0.1f}, {.i = 3}), {MATRIX(SPECIAL, 33, 37), ID(4, UINT32_MAX)}},
    /* for thin links: format, bytes of a block; numbers of 4096 that stay */
    PACK_INTS(PACK_INT8, 65),
    PACK_INTS(PACK_INT4, 33),
    PACK_TOP_4(64),
    PACK_TOP_4(4),
};
const size_t OP_CASES_LATER_COUNT = EMAC_COUNT(OP_CASES_LATER);

static float value(enum op_fill fill, uint32_t word, size_t i)
{
    float u = (float)((int32_t)(word >> 8) - (1 << 23)) * 0x1p-22f;
    switch (fill) {
    case FILL_POSITIVE:
        return u * 0.5f + 1.5f;
    case FILL_WIDE:
        return u * 32.0f;
    case FILL_SPECIAL:
        return i % 3 == 0 ? fn_float(special[word % EMAC_COUNT(special)]) : u;
    default:
        return u;
    }
}

/* Slot s of a block of PACK_TOP gets place s * 4096 / keep + something less than 4096 / keep. */
static void rise(uint8_t *p, size_t n, uint32_t keep)
{
    const uint32_t gap = PACK_TOP_BLOCK / keep;
    size_t bytes = 2 + keep / 2 * 3 + keep / 4;
    for (size_t i = 0; i < n; i += bytes) {
        uint8_t *slots = p + i + 2;
        p[i] = (uint8_t)(p[i] & 0x7f);
        p[i + 1] = (uint8_t)(p[i + 1] & 0x7f);
        for (uint32_t s = 0; s < keep; s += 2) {
            uint8_t *two = slots + s / 2 * 3;
            uint32_t a = s * gap + two[0] % gap, b = (s + 1) * gap + two[2] % gap;
            two[0] = (uint8_t)a;
            two[1] = (uint8_t)(a >> 8 | (b & 15) << 4);
            two[2] = (uint8_t)(b >> 4);
        }
    }
}

/* Byte i is byte i mod 4 of word i / 4. */
static void fill_bytes(uint8_t *p, size_t n, const struct op_case_input *how, uint32_t stream)
{
    const struct quant_info *info = quant_info(how->limit);
    uint32_t word[4];
    for (size_t i = 0; i < n; i++) {
        if (i % 16 == 0)
            philox_at(SEED, PHILOX_TEST, stream, i / 16, word);
        p[i] = (uint8_t)(word[i / 4 % 4] >> 8 * (i % 4));
    }
    if (how->fill == FILL_PLACES)
        rise(p, n, how->limit);
    /* Exponents 8 to 15 for the f16 numbers, by their upper byte. */
    for (size_t i = 0; how->fill == FILL_BLOCKS && i < n; i += info->bytes) {
        uint8_t *d = p + i + (info->format == QUANT_Q6_K ? info->bytes - 1 : 1);
        *d = (uint8_t)((*d & 0x9f) | 0x20);
        if (info->format == QUANT_Q4_1)
            d[2] = (uint8_t)((d[2] & 0x9f) | 0x20);
    }
}

void op_case_fill(void *data, size_t n, const struct op_case_input *how, uint32_t stream)
{
    uint32_t word[4];
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0)
            philox_at(SEED, PHILOX_TEST, stream, i / 4, word);
        if (how->fill == FILL_IDS)
            ((int32_t *)data)[i] = (int32_t)(word[i % 4] % how->limit);
        else
            ((float *)data)[i] = value(how->fill, word[i % 4], i);
    }
}

static enum emac_status tensor_new(struct tensor *t, enum dtype dtype, const struct shape *shape,
                                   struct emac_err *err)
{
    size_t n = 0;
    bool ok = shape_count(shape, &n);
    EMAC_ASSERT(ok);
    *t = (struct tensor){dtype, *shape, NULL};
    return emac_alloc(&t->data, n, 4, err);
}

/* n binary32 in place become n bf16. */
static void narrow(struct tensor *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint16_t *)t->data)[i] = (uint16_t)fn_to_bf16(((const float *)t->data)[i]);
    t->dtype = DTYPE_BF16;
}

static enum dtype fill_dtype(enum op_fill fill)
{
    switch (fill) {
    case FILL_IDS:
        return DTYPE_I32;
    case FILL_BYTES:
    case FILL_BLOCKS:
    case FILL_PLACES:
        return DTYPE_U8;
    default:
        return DTYPE_F32;
    }
}

enum emac_status op_case_inputs(const struct op_case *c, uint32_t stream, struct tensor *in,
                                struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    memset(in, 0, OP_IN_MAX * sizeof *in);
    size_t n = 0;
    for (uint32_t i = 0; i < op_info(c->op)->inputs; i++) {
        EMAC_ASSERT(c->in[i].fill != FILL_END);
        EMAC_TRY(st, tensor_new(&in[i], fill_dtype(c->in[i].fill), &c->in[i].shape, err));
        shape_count(&c->in[i].shape, &n);
        if (in[i].dtype == DTYPE_U8)
            fill_bytes(in[i].data, n, &c->in[i], stream * OP_IN_MAX + i);
        else
            op_case_fill(in[i].data, n, &c->in[i], stream * OP_IN_MAX + i);
        if (c->stored && in[i].dtype == DTYPE_F32)
            narrow(&in[i], n);
    }
out:
    return st;
}

enum emac_status op_case_outputs(const struct op_case *c, const struct tensor *in,
                                 struct tensor *out, struct emac_err *err)
{
    enum emac_status st;
    memset(out, 0, OP_OUT_MAX * sizeof *out);
    EMAC_TRY(st, op_infer(c->op, &c->attrs, in, out, err));
    for (uint32_t i = 0; i < op_info(c->op)->outputs; i++)
        EMAC_TRY(st, tensor_new(&out[i],
                                c->stored && i == 0 && out[i].dtype == DTYPE_F32 ? DTYPE_BF16
                                                                                 : out[i].dtype,
                                &out[i].shape, err));
out:
    return st;
}

void op_case_release(struct tensor *t, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(t[i].data);
}
