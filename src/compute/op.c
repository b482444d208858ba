#include "compute/op.h"

#include <string.h>

#include "base/assert.h"
#include "compute/image.h"

#define ATTR_TEXT_MAX 64

#define X(E, name, in, out, attrs) {name, in, out, 0, {0}, {0}, false, false},
static struct op_info op_table[OP_COUNT] = {OP_TABLE(X)};
#undef X

#define X(E, name, in, out, attrs) attrs,
static char attr_text[OP_COUNT][ATTR_TEXT_MAX] = {OP_TABLE(X)};
#undef X

/* "i:batch f:scale" -> kinds and names; the blanks become ends of strings. */
static void attrs_parse(struct op_info *info, char *text)
{
    while (*text) {
        EMAC_ASSERT(info->attrs < OP_ATTR_MAX && text[1] == ':');
        info->attr_kind[info->attrs] = text[0];
        info->attr_name[info->attrs] = text + 2;
        info->attrs++;
        text += strcspn(text, " ");
        if (*text)
            *text++ = '\0';
    }
}

/* Operators that read an element of input i before they write that of output i, and never again. */
static const enum op in_place_ops[] = {
    OP_ADD,     OP_MUL,       OP_SCALE,     OP_SWIGLU,         OP_ADAMW,
    OP_RESHAPE, OP_VIEW,      OP_BIAS,      OP_RELU,           OP_RELU_GRAD,
    OP_GELU,    OP_GELU_GRAD, OP_GELU_TANH, OP_GELU_TANH_GRAD, OP_POSITION_ADD,
    OP_DROPOUT};
static const enum op alias_ops[] = {OP_RESHAPE, OP_VIEW};

/* OP_TABLE states the attributes as text, once; this runs before main, so that readers need no
 * lock. */
__attribute__((constructor)) static void op_table_init(void)
{
    for (int i = 0; i < OP_COUNT; i++) {
        EMAC_ASSERT(op_table[i].inputs <= OP_IN_MAX && op_table[i].outputs <= OP_OUT_MAX);
        attrs_parse(&op_table[i], attr_text[i]);
    }
    for (size_t i = 0; i < EMAC_COUNT(in_place_ops); i++)
        op_table[in_place_ops[i]].in_place = true;
    for (size_t i = 0; i < EMAC_COUNT(alias_ops); i++)
        op_table[alias_ops[i]].alias = true;
}

const struct op_info *op_info(enum op op)
{
    EMAC_ASSERT((unsigned)op < OP_COUNT);
    return &op_table[op];
}

enum op op_find(const char *name)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (strcmp(op_table[i].name, name) == 0)
            return (enum op)i;
    return OP_COUNT;
}

static uint64_t mul_saturated(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

static uint64_t elements(const struct tensor *t)
{
    size_t n;
    bool ok = shape_count(&t->shape, &n);
    EMAC_ASSERT(ok);
    return n;
}

static uint64_t matmul_flops(const struct op_attrs *attrs, const struct tensor *in)
{
    const struct shape *a = &in[0].shape, *b = &in[1].shape;
    bool trans_a = attrs->at[0].i != 0, trans_b = attrs->at[1].i != 0;
    uint64_t m = a->dim[trans_a ? 1 : 0], k = a->dim[trans_a ? 0 : 1], n = b->dim[trans_b ? 0 : 1];
    return mul_saturated(2, mul_saturated(m, mul_saturated(n, k)));
}

/* Each product of the convolution once: those with the padding too, which devices compute. */
static uint64_t conv_flops(enum op op, const struct op_attrs *attrs, const struct tensor *in)
{
    struct conv_dims d;
    bool ok = conv_dims(op, attrs, in, &d);
    EMAC_ASSERT(ok);
    uint64_t taps = mul_saturated(mul_saturated(d.kh, d.kw), mul_saturated(d.c, d.o));
    uint64_t pixels = mul_saturated(d.b, mul_saturated(d.oh, d.ow));
    return mul_saturated(2, mul_saturated(pixels, taps));
}

static uint64_t pool_flops(enum op op, const struct op_attrs *attrs, const struct tensor *in)
{
    struct pool_dims d;
    bool ok = pool_dims(op, attrs, in, &d);
    EMAC_ASSERT(ok);
    return mul_saturated(mul_saturated(mul_saturated(d.b, d.oh), mul_saturated(d.ow, d.c)),
                         mul_saturated(d.size, d.size));
}

/* Pairs (query, key <= query) of all heads, times flops per pair: `products` dot or axpy steps over
 * the head width and one exp. q: [B*T, H*E]. */
static uint64_t attention_flops(const struct op_attrs *attrs, const struct tensor *q,
                                uint64_t products)
{
    uint64_t batch = (uint64_t)attrs->at[0].i, heads = (uint64_t)attrs->at[1].i;
    uint64_t t = q->shape.dim[0] / batch, head_dim = q->shape.dim[1] / heads;
    uint64_t pairs = t % 2 ? mul_saturated((t + 1) / 2, t) : mul_saturated(t / 2, t + 1);
    uint64_t per_pair = mul_saturated(2 * products, head_dim);
    pairs = mul_saturated(pairs, mul_saturated(batch, heads));
    return mul_saturated(pairs, per_pair > UINT64_MAX - 8 ? UINT64_MAX : per_pair + 8);
}

/* Flops per element of the first output, where that is all there is to it. */
static uint64_t flops_per_element(enum op op)
{
    switch (op) {
    case OP_ADD:
    case OP_MUL:
    case OP_SCALE:
    case OP_BIAS:
    case OP_RELU:
    case OP_RELU_GRAD:
    case OP_POSITION_ADD:
        return 1;
    case OP_LAYERNORM:
        return 8;
    case OP_RMSNORM:
        return 4;
    case OP_ROPE:
        return 3;
    case OP_RMSNORM_GRAD:
    case OP_SWIGLU:
        return 12;
    case OP_LAYERNORM_GRAD:
    case OP_GELU_TANH:
    case OP_DROPOUT:
    case OP_RANDN:
        return 16;
    case OP_GELU:
    case OP_GELU_TANH_GRAD:
        return 24;
    case OP_GELU_GRAD:
        return 28;
    case OP_SWIGLU_GRAD:
    case OP_ADAMW:
        return 20;
    case OP_XENT_GRAD:
        return 11;
    case OP_CLIP_COEF:
        return 18;
    case OP_SQRT:
        return 8;
    case OP_QUANTISE: /* per byte, so as for q8_0 */
        return 16;
    case OP_DEQUANTISE:
        return 2;
    case OP_PACK: /* per byte: some steps for each of the numbers behind it */
        return 16;
    case OP_UNPACK:
        return 2;
    default:
        return 0; /* copies and fills */
    }
}

uint64_t op_flops(enum op op, const struct op_attrs *attrs, const struct tensor *in,
                  const struct tensor *out)
{
    switch (op) {
    case OP_MATMUL:
        return matmul_flops(attrs, in);
    case OP_ATTENTION:
        return attention_flops(attrs, &in[0], 2);
    case OP_ATTENTION_GRAD:
        return attention_flops(attrs, &in[1], 5);
    case OP_EMBED_GRAD:
        return elements(&in[1]);
    case OP_SUM:
    case OP_SUM_ROWS:
    case OP_CORRECT:
        return elements(&in[0]);
    case OP_SUMSQ:
        return mul_saturated(2, elements(&in[0]));
    case OP_QMATMUL: /* as the product that it stands for */
        return mul_saturated(2 * (uint64_t)in[0].shape.dim[1], elements(&out[0]));
    case OP_XENT:
        return mul_saturated(10, elements(&in[0]));
    case OP_CONV2D:
    case OP_CONV2D_GRAD_X:
    case OP_CONV2D_GRAD_W:
        return conv_flops(op, attrs, in);
    case OP_MAXPOOL2D:
    case OP_MAXPOOL2D_GRAD:
    case OP_AVGPOOL2D:
    case OP_AVGPOOL2D_GRAD:
        return pool_flops(op, attrs, in);
    default:
        return mul_saturated(flops_per_element(op), elements(&out[0]));
    }
}
