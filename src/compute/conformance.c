/* The conformance program (rule 12): tables of operators on edge shapes, with
 * inputs made by Philox and, where marked, special values mixed in. The digest
 * is a chain: h = SHA-256(h, SHA-256(output)) over all outputs in order, NaN
 * bits made equal first. The operators that version 1 began with are
 * `first_cases` and `decodes`: never edited, and with a digest of their own that
 * never moves. Operators that join later are appended to `later_cases`. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/philox.h"
#include "compute/device.h"
#include "compute/fn.h"
#include "compute/quant.h"
#include "crypto/crypto.h"

const char CONFORMANCE_DIGEST_FIRST[] =
    "6ef46e363fccb51e6de474eacd61e6a592a33f898219122937513209c23b47a6";
const char CONFORMANCE_DIGEST[] =
    "095e140fbdda43e2e152eb7ac513cc8492c7c4fa9d1105a9d0131f6c4b442f10";

#define SEED      0x454d4143u /* "EMAC" */
#define INPUT_MAX 8

/* What an input holds. */
enum fill {
    END,      /* no input */
    UNIFORM,  /* [-2, 2) */
    POSITIVE, /* [1/2, 5/2) */
    WIDE,     /* [-64, 64) */
    SPECIAL,  /* UNIFORM, every third element one of `special` */
    IDS,      /* i32 below `limit` */
    BYTES,    /* u8 */
    BLOCKS    /* u8: BYTES, but blocks of the format `limit` get scales of 2^-7 to 2^1 */
};

struct input {
    enum fill fill;
    struct shape shape;
    uint32_t limit; /* of IDS, BLOCKS */
};

struct conformance_case {
    enum op op;
    struct op_attrs attrs;
    struct input in[INPUT_MAX];
    bool stored; /* f32 inputs and output 0 are stored as bf16 (rule 8) */
};

/* Zeros, subnormals and their edge, ties (1 + 2^-24 and the like), where exp ends, infinities. */
static const uint32_t special[] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x80800000, 0x3f800000,
    0xbf800000, 0x3f800001, 0x33800000, 0x33800001, 0x34000000, 0x4b800000, 0x4b7fffff, 0x7f7fffff,
    0x5f000000, 0x20000000, 0xc2aeac4f, 0xc2aeac50, 0x42b17217, 0x42b17218, 0x7f800000, 0xff800000,
    0x3fb504f3, 0x00000003, 0x1f800000, 0x9f800001, 0x3effffff, 0x3f7fffff, 0xc0000000, 0x40400000};

/* clang-format off */
#define A(...)           {{__VA_ARGS__}}
#define VECTOR(f, n)     {f, {1, {n}}, 0}
#define MATRIX(f, m, n)  {f, {2, {m, n}}, 0}
#define CUBE(f, a, b, c) {f, {3, {a, b, c}}, 0}
#define ROWS(q, n, bytes) {BLOCKS, {2, {n, bytes}}, q}
#define IMAGES(f, b, h, w, c) {f, {4, {b, h, w, c}}, 0}
#define ID(n, limit)     {IDS, {1, {n}}, limit}

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
/* clang-format on */

static const struct conformance_case first_cases[] = {
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
    {OP_FILL, A({.i = 5}, {.i = 0}, {.f = 0.1f}), {{END}}},
    {OP_RANDN, A({.i = 333}, {.i = 3}, {.i = INT64_MIN + 7}, {.i = 11}, {.f = 0.02f}), {{END}}},
    {OP_RESHAPE, A({.i = 21}, {.i = 0}), {CUBE(SPECIAL, 7, 1, 3)}},
};

static const struct conformance_case later_cases[] = {
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
};

/* Decode: {heads, kv_heads, head_dim, len} */
static const uint32_t decodes[][4] = {{4, 2, 20, 1}, {14, 1, 32, 257}, {3, 3, 7, 300}};

static float value(enum fill fill, uint32_t word, size_t i)
{
    float u = (float)((int32_t)(word >> 8) - (1 << 23)) * 0x1p-22f;
    switch (fill) {
    case POSITIVE:
        return u * 0.5f + 1.5f;
    case WIDE:
        return u * 32.0f;
    case SPECIAL:
        return i % 3 == 0 ? fn_float(special[word % EMAC_COUNT(special)]) : u;
    default:
        return u;
    }
}

/* Byte i is byte i mod 4 of word i / 4. */
static void fill_bytes(uint8_t *p, size_t n, const struct input *how, uint32_t stream)
{
    const struct quant_info *info = quant_info(how->limit);
    uint32_t word[4];
    for (size_t i = 0; i < n; i++) {
        if (i % 16 == 0)
            philox_at(SEED, PHILOX_TEST, stream, i / 16, word);
        p[i] = (uint8_t)(word[i / 4 % 4] >> 8 * (i % 4));
    }
    /* Exponents 8 to 15 for the f16 numbers, by their upper byte. */
    for (size_t i = 0; how->fill == BLOCKS && i < n; i += info->bytes) {
        uint8_t *d = p + i + (info->format == QUANT_Q6_K ? info->bytes - 1 : 1);
        *d = (uint8_t)((*d & 0x9f) | 0x20);
        if (info->format == QUANT_Q4_1)
            d[2] = (uint8_t)((d[2] & 0x9f) | 0x20);
    }
}

/* Contents of `n` words: Philox (SEED, PHILOX_TEST, stream, i / 4). */
static void fill_words(void *data, size_t n, const struct input *how, uint32_t stream)
{
    uint32_t word[4];
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0)
            philox_at(SEED, PHILOX_TEST, stream, i / 4, word);
        if (how->fill == IDS)
            ((int32_t *)data)[i] = (int32_t)(word[i % 4] % how->limit);
        else
            ((float *)data)[i] = value(how->fill, word[i % 4], i);
    }
}

static void digest_bytes(uint8_t digest[32], const void *data, size_t n)
{
    uint8_t both[64];
    memcpy(both, digest, 32);
    crypto_sha256(both + 32, data, n);
    crypto_sha256(digest, both, sizeof both);
}

static void digest_floats(uint8_t digest[32], float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] != x[i] ? fn_float(FN_NAN) : x[i];
    digest_bytes(digest, x, n * sizeof *x);
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

/* Numbers in place: n binary32 become n bf16, or the other way round, last one first. */
static void narrow(struct tensor *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint16_t *)t->data)[i] = (uint16_t)fn_to_bf16(((const float *)t->data)[i]);
    t->dtype = DTYPE_BF16;
}

static void widen(struct tensor *t, size_t n)
{
    for (size_t i = n; i-- > 0;)
        ((float *)t->data)[i] = fn_from_bf16(((const uint16_t *)t->data)[i]);
    t->dtype = DTYPE_F32;
}

static enum dtype fill_dtype(enum fill fill)
{
    switch (fill) {
    case IDS:
        return DTYPE_I32;
    case BYTES:
    case BLOCKS:
        return DTYPE_U8;
    default:
        return DTYPE_F32;
    }
}

static enum emac_status inputs_new(const struct conformance_case *c, uint32_t stream,
                                   struct tensor *in, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    size_t n = 0;
    for (uint32_t i = 0; i < op_info(c->op)->inputs; i++) {
        EMAC_ASSERT(c->in[i].fill != END);
        EMAC_TRY(st, tensor_new(&in[i], fill_dtype(c->in[i].fill), &c->in[i].shape, err));
        shape_count(&c->in[i].shape, &n);
        if (in[i].dtype == DTYPE_U8)
            fill_bytes(in[i].data, n, &c->in[i], stream * INPUT_MAX + i);
        else
            fill_words(in[i].data, n, &c->in[i], stream * INPUT_MAX + i);
        if (c->stored && in[i].dtype == DTYPE_F32)
            narrow(&in[i], n);
    }
out:
    return st;
}

static enum emac_status run_case(struct device *dev, const struct conformance_case *c,
                                 uint32_t stream, uint8_t digest[32], struct emac_err *err)
{
    struct tensor in[INPUT_MAX] = {{0}}, out[OP_OUT_MAX] = {{0}};
    const struct op_info *info = op_info(c->op);
    enum emac_status st;
    size_t n = 0;
    EMAC_TRY(st, inputs_new(c, stream, in, err));
    EMAC_TRY(st, op_infer(c->op, &c->attrs, in, out, err));
    for (uint32_t i = 0; i < info->outputs; i++)
        EMAC_TRY(st, tensor_new(&out[i], c->stored && i == 0 ? DTYPE_BF16 : out[i].dtype,
                                &out[i].shape, err));
    EMAC_TRY(st, device_run_host(dev, c->op, &c->attrs, in, out, err));
    for (uint32_t i = 0; i < info->outputs; i++) {
        shape_count(&out[i].shape, &n);
        if (out[i].dtype == DTYPE_BF16)
            widen(&out[i], n);
        if (out[i].dtype == DTYPE_U8)
            digest_bytes(digest, out[i].data, n);
        else
            digest_floats(digest, out[i].data, n);
    }
out:
    for (uint32_t i = 0; i < INPUT_MAX; i++)
        free(in[i].data);
    for (uint32_t i = 0; i < OP_OUT_MAX; i++)
        free(out[i].data);
    return st;
}

static enum emac_status run_decode(struct device *dev, const uint32_t d[4], uint32_t stream,
                                   uint8_t digest[32], struct emac_err *err)
{
    static const struct input uniform = {UNIFORM, {0}, 0};
    size_t heads = d[0], kv_heads = d[1], head_dim = d[2], len = d[3];
    size_t q = heads * head_dim, kv = len * kv_heads * head_dim, all = 2 * q + 2 * kv;
    float *x = NULL, *there = NULL; /* q, k, v, o */
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&x, all, sizeof *x, err));
    EMAC_TRY(st, device_alloc(dev, all * sizeof *x, &there, err));
    fill_words(x, q + 2 * kv, &uniform, stream * INPUT_MAX);
    EMAC_TRY(st, device_write(dev, there, x, all * sizeof *x, err));
    EMAC_TRY(st, device_attention_decode(dev, there, there + q, there + q + kv, there + q + 2 * kv,
                                         len, d[0], d[1], d[2], 0.25f, err));
    EMAC_TRY(st, device_read(dev, x, there + q + 2 * kv, q * sizeof *x, err));
    digest_floats(digest, x, q);
out:
    device_free(dev, there);
    free(x);
    return st;
}

static enum emac_status run_cases(struct device *dev, const struct conformance_case *c,
                                  size_t count, uint32_t *stream, uint8_t digest[32],
                                  struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; st == EMAC_OK && i < count; i++)
        st = run_case(dev, &c[i], (*stream)++, digest, err);
    return st;
}

static enum emac_status run_first(struct device *dev, uint32_t *stream, uint8_t digest[32],
                                  struct emac_err *err)
{
    enum emac_status st;
    memset(digest, 0, 32);
    st = run_cases(dev, first_cases, EMAC_COUNT(first_cases), stream, digest, err);
    for (size_t i = 0; st == EMAC_OK && i < EMAC_COUNT(decodes); i++)
        st = run_decode(dev, decodes[i], (*stream)++, digest, err);
    return st;
}

enum emac_status device_conformance_first(struct device *dev, uint8_t digest[32],
                                          struct emac_err *err)
{
    uint32_t stream = 0;
    return run_first(dev, &stream, digest, err);
}

enum emac_status device_conformance(struct device *dev, uint8_t digest[32], struct emac_err *err)
{
    uint32_t stream = 0;
    enum emac_status st = run_first(dev, &stream, digest, err);
    if (st == EMAC_OK)
        st = run_cases(dev, later_cases, EMAC_COUNT(later_cases), &stream, digest, err);
    return st;
}
