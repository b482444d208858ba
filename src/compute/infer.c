/* Shape inference. Inputs and attributes come from programs that anybody may
 * have written: each is checked here, so that kernels may rely on all of it. */
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "compute/fn.h"
#include "compute/image.h"
#include "compute/op.h"
#include "compute/pack.h"
#include "compute/quant.h"

#define SHAPE_TEXT_MAX 96

/* One call of op_infer. The first failure stays; the helpers below do nothing after it. */
struct infer {
    const struct op_info *info;
    const struct op_attrs *attrs;
    const struct tensor *in;
    struct tensor *out;
    enum emac_status status;
    struct emac_err *err;
};

static bool ok(const struct infer *c)
{
    return c->status == EMAC_OK;
}

static void fail_input(struct infer *c, uint32_t i, const char *want)
{
    char text[SHAPE_TEXT_MAX];
    if (!ok(c))
        return;
    shape_text(text, sizeof text, c->in[i].dtype, &c->in[i].shape);
    c->status = emac_fail(c->err, EMAC_INVALID, "input %u of operator '%s' is %s; it must be %s", i,
                          c->info->name, text, want);
}

static void fail_attr(struct infer *c, uint32_t i, const char *want)
{
    if (ok(c))
        c->status = emac_fail(c->err, EMAC_INVALID, "attribute '%s' of operator '%s' must be %s",
                              c->info->attr_name[i], c->info->name, want);
}

/* Input i has this dtype, this rank and sizes that can be multiplied. */
static void need(struct infer *c, uint32_t i, enum dtype dtype, uint32_t rank)
{
    size_t bytes;
    if (!ok(c))
        return;
    if (!shape_bytes(c->in[i].dtype, &c->in[i].shape, &bytes))
        fail_input(c, i, "of rank 1 to 4 with sizes of at least 1 and fit memory");
    else if (c->in[i].dtype != dtype && !(dtype == DTYPE_F32 && c->in[i].dtype == DTYPE_BF16))
        fail_input(c, i, dtype_name(dtype));
    else if (rank != 0 && c->in[i].shape.rank != rank)
        fail_input(c, i, rank == 1 ? "of rank 1" : rank == 2 ? "of rank 2" : "of rank 4");
}

/* Input i is f32 of exactly this shape. */
static void need_shape(struct infer *c, uint32_t i, struct shape want)
{
    char text[SHAPE_TEXT_MAX];
    need(c, i, DTYPE_F32, 0);
    if (!ok(c) || shape_equal(&c->in[i].shape, &want))
        return;
    shape_text(text, sizeof text, DTYPE_F32, &want);
    fail_input(c, i, text);
}

static void need_same(struct infer *c, uint32_t i, uint32_t as)
{
    need(c, as, DTYPE_F32, 0);
    if (ok(c))
        need_shape(c, i, c->in[as].shape);
}

static void need_ids(struct infer *c, uint32_t i, size_t n)
{
    need(c, i, DTYPE_I32, 1);
    if (ok(c) && c->in[i].shape.dim[0] != n)
        fail_input(c, i, "one id for each row");
}

static size_t dim(const struct infer *c, uint32_t i, uint32_t axis)
{
    return ok(c) ? c->in[i].shape.dim[axis] : 1;
}

static int64_t attr_int(struct infer *c, uint32_t i, int64_t least, int64_t most)
{
    int64_t v = c->attrs->at[i].i;
    if (v >= least && v <= most)
        return v;
    fail_attr(c, i, most == 1 ? "0 or 1" : "a positive number that fits the inputs");
    return least;
}

static void attr_finite(struct infer *c, uint32_t i, bool negative_too)
{
    float v = c->attrs->at[i].f;
    if ((fn_bits(v) & FN_INF) == FN_INF || (v < 0 && !negative_too))
        fail_attr(c, i, negative_too ? "finite" : "finite and not negative");
}

static void give_type(struct infer *c, uint32_t i, enum dtype dtype, struct shape shape)
{
    size_t bytes;
    if (!ok(c))
        return;
    if (!shape_bytes(dtype, &shape, &bytes)) {
        c->status = emac_fail(c->err, EMAC_INVALID, "output %u of operator '%s' is too large", i,
                              c->info->name);
        return;
    }
    c->out[i].dtype = dtype;
    c->out[i].shape = shape;
}

static void give(struct infer *c, uint32_t i, struct shape shape)
{
    give_type(c, i, DTYPE_F32, shape);
}

static void give_as(struct infer *c, uint32_t i, uint32_t input)
{
    if (ok(c))
        give(c, i, c->in[input].shape);
}

/* [dim0] or [dim0, dim1] from attributes 0 and 1 */
static struct shape attr_shape(struct infer *c)
{
    size_t dim0 = (size_t)attr_int(c, 0, 1, INT64_MAX), dim1 = (size_t)attr_int(c, 1, 0, INT64_MAX);
    return dim1 ? SHAPE2(dim0, dim1) : SHAPE1(dim0);
}

static void infer_embed(struct infer *c)
{
    need(c, 0, DTYPE_I32, 1);
    need(c, 1, DTYPE_F32, 2);
    give(c, 0, SHAPE2(dim(c, 0, 0), dim(c, 1, 1)));
}

static void infer_embed_grad(struct infer *c)
{
    size_t vocab = (size_t)attr_int(c, 0, 1, INT32_MAX);
    need(c, 1, DTYPE_F32, 2);
    need_ids(c, 0, dim(c, 1, 0));
    give(c, 0, SHAPE2(vocab, dim(c, 1, 1)));
}

static void infer_matmul(struct infer *c)
{
    int64_t trans_a = attr_int(c, 0, 0, 1), trans_b = attr_int(c, 1, 0, 1);
    need(c, 0, DTYPE_F32, 2);
    need(c, 1, DTYPE_F32, 2);
    if (dim(c, 0, trans_a ? 0 : 1) != dim(c, 1, trans_b ? 1 : 0))
        fail_input(c, 1, "as long as input 0 along the summed dimension");
    give(c, 0, SHAPE2(dim(c, 0, trans_a ? 1 : 0), dim(c, 1, trans_b ? 0 : 1)));
}

static void infer_pair(struct infer *c)
{
    need_same(c, 1, 0);
    give_as(c, 0, 0);
}

static void infer_scale(struct infer *c)
{
    need(c, 0, DTYPE_F32, 0);
    need_shape(c, 1, SHAPE1(1));
    give_as(c, 0, 0);
}

static void infer_rmsnorm(struct infer *c)
{
    attr_finite(c, 0, false);
    need(c, 0, DTYPE_F32, 2);
    need_shape(c, 1, SHAPE1(dim(c, 0, 1)));
    give_as(c, 0, 0);
    give(c, 1, SHAPE1(dim(c, 0, 0)));
}

static void infer_rmsnorm_grad(struct infer *c)
{
    need(c, 0, DTYPE_F32, 2);
    need_same(c, 1, 0);
    need_shape(c, 2, SHAPE1(dim(c, 0, 1)));
    need_shape(c, 3, SHAPE1(dim(c, 0, 0)));
    give_as(c, 0, 0);
    give(c, 1, SHAPE1(dim(c, 0, 1)));
}

static void infer_rope(struct infer *c)
{
    size_t heads = (size_t)attr_int(c, 0, 1, INT32_MAX), half;
    attr_int(c, 1, 0, 1);
    need(c, 0, DTYPE_F32, 2);
    need(c, 1, DTYPE_F32, 2);
    need_same(c, 2, 1);
    half = dim(c, 1, 1);
    if (dim(c, 0, 1) % heads != 0 || dim(c, 0, 1) / heads % 2 != 0 ||
        dim(c, 0, 1) / heads / 2 != half)
        fail_input(c, 0, "[N, heads * 2 * columns of the tables]");
    give_as(c, 0, 0);
}

/* q at `first`, then k, v: q[B*T, H*E], k[B*T, G*E], v[B*T, G*E] */
static void need_qkv(struct infer *c, uint32_t first)
{
    size_t batch = (size_t)attr_int(c, 0, 1, INT32_MAX);
    size_t heads = (size_t)attr_int(c, 1, 1, INT32_MAX);
    size_t kv_heads = (size_t)attr_int(c, 2, 1, INT32_MAX);
    attr_finite(c, 3, true);
    if (heads % kv_heads != 0)
        fail_attr(c, 2, "a divisor of 'heads'");
    need(c, first, DTYPE_F32, 2);
    if (dim(c, first, 0) % batch != 0 || dim(c, first, 1) % heads != 0)
        fail_input(c, first, "[batch * T, heads * E]");
    for (uint32_t i = 1; i <= 2; i++)
        need_shape(c, first + i, SHAPE2(dim(c, first, 0), dim(c, first, 1) / heads * kv_heads));
}

/* [B, H, T] */
static struct shape stats_shape(struct infer *c, uint32_t q)
{
    size_t batch = (size_t)attr_int(c, 0, 1, INT32_MAX);
    size_t heads = (size_t)attr_int(c, 1, 1, INT32_MAX);
    return SHAPE3(batch, heads, dim(c, q, 0) / batch);
}

static void infer_attention(struct infer *c)
{
    need_qkv(c, 0);
    give_as(c, 0, 0);
    give(c, 1, stats_shape(c, 0));
    give(c, 2, stats_shape(c, 0));
}

/* do, q, k, v, o, max, sum */
static void infer_attention_grad(struct infer *c)
{
    need_qkv(c, 1);
    need_same(c, 0, 1);
    need_same(c, 4, 1);
    need_shape(c, 5, stats_shape(c, 1));
    need_shape(c, 6, stats_shape(c, 1));
    for (uint32_t i = 0; i < 3; i++)
        give_as(c, i, i + 1);
}

static void infer_swiglu_grad(struct infer *c)
{
    need_same(c, 1, 0);
    need_same(c, 2, 0);
    give_as(c, 0, 0);
    give_as(c, 1, 0);
}

static void infer_xent(struct infer *c)
{
    need(c, 0, DTYPE_F32, 2);
    need_ids(c, 1, dim(c, 0, 0));
    give(c, 0, SHAPE1(dim(c, 0, 0)));
    give(c, 1, SHAPE2(dim(c, 0, 0), 2));
}

static void infer_xent_grad(struct infer *c)
{
    need_shape(c, 0, SHAPE1(1));
    need(c, 1, DTYPE_F32, 2);
    need_ids(c, 2, dim(c, 1, 0));
    need_shape(c, 3, SHAPE2(dim(c, 1, 0), 2));
    give_as(c, 0, 1);
}

static void infer_total(struct infer *c)
{
    need(c, 0, DTYPE_F32, 0);
    give(c, 0, SHAPE1(1));
}

static void infer_clip_coef(struct infer *c)
{
    need_shape(c, 0, SHAPE1(1));
    need_shape(c, 1, SHAPE1(1));
    give(c, 0, SHAPE1(1));
}

static void infer_sqrt(struct infer *c)
{
    need_shape(c, 0, SHAPE1(1));
    give(c, 0, SHAPE1(1));
}

/* p, m, v, g, gscale, hyper */
static void infer_adamw(struct infer *c)
{
    for (uint32_t i = 1; i < 4; i++)
        need_same(c, i, 0);
    need_shape(c, 4, SHAPE1(1));
    need_shape(c, 5, SHAPE1(8));
    for (uint32_t i = 0; i < 3; i++)
        give_as(c, i, 0);
}

static void infer_fill(struct infer *c)
{
    attr_finite(c, 2, true);
    give(c, 0, attr_shape(c));
}

static void infer_randn(struct infer *c)
{
    attr_int(c, 3, 0, UINT32_MAX);
    attr_finite(c, 4, false);
    give(c, 0, attr_shape(c));
}

static void give_view(struct infer *c, struct shape s)
{
    size_t before = 0, after = 0;
    need(c, 0, DTYPE_F32, 0);
    give(c, 0, s);
    c->out[0].dtype = c->in[0].dtype; /* the same storage */
    if (ok(c) &&
        (!shape_count(&c->in[0].shape, &before) || !shape_count(&s, &after) || before != after))
        fail_input(c, 0, "of as many elements as the new shape");
}

static void infer_reshape(struct infer *c)
{
    give_view(c, attr_shape(c));
}

/* [dim0(, dim1(, dim2(, dim3)))] from the attributes from `first` on; the first 0 ends it. */
static struct shape attr_shape4(struct infer *c, uint32_t first)
{
    struct shape s = {1, {(size_t)attr_int(c, first, 1, INT64_MAX)}};
    for (uint32_t i = 1; i < TENSOR_RANK_MAX; i++) {
        s.dim[i] = (size_t)attr_int(c, first + i, 0, INT64_MAX);
        if (s.dim[i] != 0 && s.rank < i)
            fail_attr(c, first + i, "0 after a dimension of 0");
        s.rank += s.dim[i] != 0;
    }
    return s;
}

static void infer_view(struct infer *c)
{
    give_view(c, attr_shape4(c, 0));
}

/* The last dimension of input i, any rank. */
static size_t last_dim(struct infer *c, uint32_t i)
{
    need(c, i, DTYPE_F32, 0);
    return ok(c) ? c->in[i].shape.dim[c->in[i].shape.rank - 1] : 1;
}

static void infer_bias(struct infer *c)
{
    need_shape(c, 1, SHAPE1(last_dim(c, 0)));
    give_as(c, 0, 0);
}

static void infer_sum_rows(struct infer *c)
{
    give(c, 0, SHAPE1(last_dim(c, 0)));
}

static void infer_map(struct infer *c)
{
    need(c, 0, DTYPE_F32, 0);
    give_as(c, 0, 0);
}

static void infer_correct(struct infer *c)
{
    need(c, 0, DTYPE_F32, 2);
    need_ids(c, 1, dim(c, 0, 0));
    give(c, 0, SHAPE1(dim(c, 0, 0)));
}

/* Attributes first..last are sizes of images; 0 only where it is a padding. */
static void need_sizes(struct infer *c, uint32_t n, uint32_t padding)
{
    for (uint32_t i = 0; i < n; i++)
        attr_int(c, i, i == padding ? 0 : 1, INT32_MAX);
}

/* Ranks and attributes of the three convolutions, and how their sizes go together. */
static struct conv_dims need_conv(struct infer *c, enum op op)
{
    struct conv_dims d = {0};
    need_sizes(c, c->info->attrs, c->info->attrs - 1);
    need(c, 0, DTYPE_F32, 4);
    need(c, 1, DTYPE_F32, 4);
    if (ok(c) && !conv_dims(op, c->attrs, c->in, &d))
        fail_input(c, 1, "what fits input 0, stride, padding and size");
    return d;
}

static void infer_conv2d(struct infer *c)
{
    struct conv_dims d = need_conv(c, OP_CONV2D);
    give(c, 0, SHAPE4(d.b, d.oh, d.ow, d.o));
}

static void infer_conv2d_grad_x(struct infer *c)
{
    struct conv_dims d = need_conv(c, OP_CONV2D_GRAD_X);
    give(c, 0, SHAPE4(d.b, d.h, d.w, d.c));
}

static void infer_conv2d_grad_w(struct infer *c)
{
    struct conv_dims d = need_conv(c, OP_CONV2D_GRAD_W);
    give(c, 0, SHAPE4(d.o, d.kh, d.kw, d.c));
}

static struct pool_dims need_pool(struct infer *c, enum op op)
{
    struct pool_dims d = {0};
    need_sizes(c, c->info->attrs, UINT32_MAX);
    need(c, 0, DTYPE_F32, 4);
    if (op == OP_MAXPOOL2D_GRAD)
        need(c, 1, DTYPE_F32, 4);
    if (ok(c) && !pool_dims(op, c->attrs, c->in, &d))
        fail_input(c, 0, "an image that fits the windows");
    return d;
}

static void infer_maxpool2d(struct infer *c)
{
    struct pool_dims d = need_pool(c, OP_MAXPOOL2D);
    give(c, 0, SHAPE4(d.b, d.oh, d.ow, d.c));
}

static void infer_maxpool2d_grad(struct infer *c)
{
    need_pool(c, OP_MAXPOOL2D_GRAD);
    give_as(c, 0, 1);
}

static void infer_avgpool2d(struct infer *c)
{
    struct pool_dims d = need_pool(c, OP_AVGPOOL2D);
    give(c, 0, SHAPE4(d.b, d.oh, d.ow, d.c));
}

static void infer_avgpool2d_grad(struct infer *c)
{
    struct pool_dims d = need_pool(c, OP_AVGPOOL2D_GRAD);
    give(c, 0, SHAPE4(d.b, d.h, d.w, d.c));
}

/* Attribute 0; a valid format also where there is none, so that what follows needs no care. */
static enum quant_format attr_format(struct infer *c)
{
    const struct quant_info *info = quant_info(c->attrs->at[0].i);
    if (info)
        return info->format;
    fail_attr(c, 0, "2, 3, 8 or 14 (q4_0, q4_1, q8_0, q6_k)");
    return QUANT_Q8_0;
}

static void infer_quantise(struct infer *c)
{
    enum quant_format format = attr_format(c);
    size_t bytes = 1;
    need(c, 0, DTYPE_F32, 2);
    if (ok(c) && !quant_row_bytes(format, dim(c, 0, 1), &bytes))
        fail_input(c, 0, "of rows of whole blocks");
    give_type(c, 0, DTYPE_U8, SHAPE2(dim(c, 0, 0), bytes));
}

static void infer_dequantise(struct infer *c)
{
    enum quant_format format = attr_format(c);
    size_t k = 1;
    need(c, 0, DTYPE_U8, 2);
    if (ok(c) && !quant_row_elements(format, dim(c, 0, 1), &k))
        fail_input(c, 0, "of rows of whole blocks");
    give(c, 0, SHAPE2(dim(c, 0, 0), k));
}

static void infer_qmatmul(struct infer *c)
{
    enum quant_format format = attr_format(c);
    size_t k = 1;
    need(c, 0, DTYPE_F32, 2);
    need(c, 1, DTYPE_U8, 2);
    if (ok(c) && (!quant_row_elements(format, dim(c, 1, 1), &k) || k != dim(c, 0, 1)))
        fail_input(c, 1, "of rows of whole blocks, with as many weights as input 0 has columns");
    give(c, 0, SHAPE2(dim(c, 0, 0), dim(c, 1, 0)));
}

static void infer_layernorm(struct infer *c)
{
    attr_finite(c, 0, false);
    need(c, 0, DTYPE_F32, 2);
    need_shape(c, 1, SHAPE1(dim(c, 0, 1)));
    need_shape(c, 2, SHAPE1(dim(c, 0, 1)));
    give_as(c, 0, 0);
    give(c, 1, SHAPE1(dim(c, 0, 0)));
    give(c, 2, SHAPE1(dim(c, 0, 0)));
}

/* dy, x, w, mean, rstd */
static void infer_layernorm_grad(struct infer *c)
{
    need(c, 0, DTYPE_F32, 2);
    need_same(c, 1, 0);
    need_shape(c, 2, SHAPE1(dim(c, 0, 1)));
    need_shape(c, 3, SHAPE1(dim(c, 0, 0)));
    need_shape(c, 4, SHAPE1(dim(c, 0, 0)));
    give_as(c, 0, 0);
    give(c, 1, SHAPE1(dim(c, 0, 1)));
    give(c, 2, SHAPE1(dim(c, 0, 1)));
}

static void infer_position_add(struct infer *c)
{
    need(c, 0, DTYPE_F32, 2);
    need(c, 1, DTYPE_F32, 2);
    if (dim(c, 0, 1) != dim(c, 1, 1) || dim(c, 0, 0) % dim(c, 1, 0) != 0)
        fail_input(c, 1, "[T, D] for an input 0 of [multiple of T, D]");
    give_as(c, 0, 0);
}

#define DROPOUT_MAX ((size_t)1 << 34) /* elements: 4 to an index of 32 bits */

static void infer_dropout(struct infer *c)
{
    size_t n = 0;
    attr_finite(c, 0, false);
    if (!(c->attrs->at[0].f < 1.0f))
        fail_attr(c, 0, "less than 1");
    attr_int(c, 1, 0, UINT16_MAX);
    need(c, 0, DTYPE_F32, 0);
    need(c, 1, DTYPE_I32, 1);
    if (dim(c, 1, 0) != 4)
        fail_input(c, 1, "i32[4]");
    if (ok(c) && shape_count(&c->in[0].shape, &n) && n > DROPOUT_MAX)
        fail_input(c, 0, "of at most 2^34 elements");
    give_as(c, 0, 0);
}

static struct pack attr_pack(struct infer *c)
{
    struct pack p = {.format = PACK_INT8};
    if (!pack_make(c->attrs->at[0].i, c->attrs->at[1].i, &p))
        fail_attr(c, 0,
                  "1, 2 or 3 (int8, int4, topk) with `keep` a multiple of 4 up to 1024 for "
                  "topk and 0 for the others");
    return p;
}

static void infer_pack(struct infer *c)
{
    struct pack p = attr_pack(c);
    size_t n = 1;
    need(c, 0, DTYPE_F32, 0);
    if (ok(c))
        shape_count(&c->in[0].shape, &n);
    give_type(c, 0, DTYPE_U8, SHAPE2(pack_blocks(&p, n), pack_block_bytes(&p)));
}

static void infer_unpack(struct infer *c)
{
    struct pack p = attr_pack(c);
    struct shape shape = attr_shape4(c, 2);
    size_t n = 0;
    need(c, 0, DTYPE_U8, 2);
    give(c, 0, shape);
    if (ok(c) && (!shape_count(&shape, &n) || dim(c, 0, 0) != pack_blocks(&p, n) ||
                  dim(c, 0, 1) != pack_block_bytes(&p)))
        fail_input(c, 0, "as many blocks as the output's numbers take");
}

static void (*const infer_table[OP_COUNT])(struct infer *) = {
    [OP_EMBED] = infer_embed,
    [OP_EMBED_GRAD] = infer_embed_grad,
    [OP_MATMUL] = infer_matmul,
    [OP_ADD] = infer_pair,
    [OP_MUL] = infer_pair,
    [OP_SCALE] = infer_scale,
    [OP_RMSNORM] = infer_rmsnorm,
    [OP_RMSNORM_GRAD] = infer_rmsnorm_grad,
    [OP_ROPE] = infer_rope,
    [OP_ATTENTION] = infer_attention,
    [OP_ATTENTION_GRAD] = infer_attention_grad,
    [OP_SWIGLU] = infer_pair,
    [OP_SWIGLU_GRAD] = infer_swiglu_grad,
    [OP_XENT] = infer_xent,
    [OP_XENT_GRAD] = infer_xent_grad,
    [OP_SUM] = infer_total,
    [OP_SUMSQ] = infer_total,
    [OP_CLIP_COEF] = infer_clip_coef,
    [OP_SQRT] = infer_sqrt,
    [OP_ADAMW] = infer_adamw,
    [OP_FILL] = infer_fill,
    [OP_RANDN] = infer_randn,
    [OP_RESHAPE] = infer_reshape,
    [OP_COPY] = infer_map,
    [OP_VIEW] = infer_view,
    [OP_BIAS] = infer_bias,
    [OP_SUM_ROWS] = infer_sum_rows,
    [OP_RELU] = infer_map,
    [OP_RELU_GRAD] = infer_pair,
    [OP_CONV2D] = infer_conv2d,
    [OP_CONV2D_GRAD_X] = infer_conv2d_grad_x,
    [OP_CONV2D_GRAD_W] = infer_conv2d_grad_w,
    [OP_MAXPOOL2D] = infer_maxpool2d,
    [OP_MAXPOOL2D_GRAD] = infer_maxpool2d_grad,
    [OP_AVGPOOL2D] = infer_avgpool2d,
    [OP_AVGPOOL2D_GRAD] = infer_avgpool2d_grad,
    [OP_CORRECT] = infer_correct,
    [OP_QUANTISE] = infer_quantise,
    [OP_DEQUANTISE] = infer_dequantise,
    [OP_QMATMUL] = infer_qmatmul,
    [OP_LAYERNORM] = infer_layernorm,
    [OP_LAYERNORM_GRAD] = infer_layernorm_grad,
    [OP_GELU] = infer_map,
    [OP_GELU_GRAD] = infer_pair,
    [OP_GELU_TANH] = infer_map,
    [OP_GELU_TANH_GRAD] = infer_pair,
    [OP_POSITION_ADD] = infer_position_add,
    [OP_DROPOUT] = infer_dropout,
    [OP_PACK] = infer_pack,
    [OP_UNPACK] = infer_unpack,
};

enum emac_status op_infer(enum op op, const struct op_attrs *attrs, const struct tensor *in,
                          struct tensor *out, struct emac_err *err)
{
    struct infer c = {op_info(op), attrs, in, out, EMAC_OK, err};
    EMAC_ASSERT(infer_table[op] != NULL);
    infer_table[op](&c);
    return c.status;
}
