/* Operators on images: kernels/image.cl; the readable forms are ref/conv.c and ref/pool.c.
 *
 * A convolution is a product of patches with the weights, some rows of patches at a time. The
 * gradient of its input is one of the gradient's patches with the taps turned round, apart for each
 * phase that a pixel may have to the stride, as each phase has its own taps. Parts begin at
 * multiples of 256 rows, so that where rows are summed over, blocks are rule 3's. */
#include "compute/image.h"
#include "compute/opencl/ops.h"
#include "compute/ref/ref.h"

#define PATCH_FLOATS ((size_t)4 << 20) /* of patches at a time */

/* What a part's rows are: windows over image x at the points of a grid. */
struct windows {
    const float *x;
    size_t h, w, channels;
    size_t b, grid_h, grid_w, step;
    int64_t at_h, at_w;
    size_t taps_h, taps_w;
};

static size_t row_floats(const struct windows *v)
{
    return v->taps_h * v->taps_w * v->channels;
}

/* Rows of a part, a multiple of 256 if there are several. */
static size_t part_rows(const struct windows *v)
{
    size_t rows = PATCH_FLOATS / row_floats(v) / RULE_BLOCK * RULE_BLOCK;
    return cl_min(v->b * v->grid_h * v->grid_w, rows == 0 ? RULE_BLOCK : rows);
}

static enum emac_status patches(struct cl *cl, const struct windows *v, float *out, size_t first,
                                size_t rows, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "image", "patches");
    launch_memory(&l, v->x);
    launch_memory(&l, out);
    launch_number(&l, first);
    launch_number(&l, v->grid_h);
    launch_number(&l, v->grid_w);
    launch_number(&l, v->step);
    launch_number(&l, (size_t)v->at_h);
    launch_number(&l, (size_t)v->at_w);
    launch_number(&l, v->taps_h);
    launch_number(&l, v->taps_w);
    launch_number(&l, v->h);
    launch_number(&l, v->w);
    launch_number(&l, v->channels);
    return launch_rows(&l, rows, 1, err);
}

static struct windows windows_of_x(const struct conv_dims *d, const float *x)
{
    return (struct windows){.x = x,
                            .h = d->h,
                            .w = d->w,
                            .channels = d->c,
                            .b = d->b,
                            .grid_h = d->oh,
                            .grid_w = d->ow,
                            .step = d->stride,
                            .at_h = -(int64_t)d->pad,
                            .at_w = -(int64_t)d->pad,
                            .taps_h = d->kh,
                            .taps_w = d->kw};
}

/* A product of one, all rows as wide as they are. */
static struct cl_matmul product(const float *a, const float *b, float *c, size_t m, size_t n,
                                size_t k)
{
    return (struct cl_matmul){.a = a,
                              .b = b,
                              .c = c,
                              .m = m,
                              .n = n,
                              .k = k,
                              .lda = k,
                              .ldb = n,
                              .ldc = n,
                              .outer = 1,
                              .inner = 1,
                              .b_group = 1};
}

enum emac_status cl_op_conv2d(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                              struct tensor *out, struct emac_err *err)
{
    struct conv_dims d;
    conv_dims(OP_CONV2D, attrs, in, &d);
    struct windows v = windows_of_x(&d, in[0].data);
    size_t all = v.b * v.grid_h * v.grid_w, part = part_rows(&v), k = row_floats(&v);
    void *rows;
    enum emac_status st;
    EMAC_TRY(st, cl_scratch(cl, part * k * sizeof(float), &rows, err));
    for (size_t first = 0; first < all; first += part) {
        size_t some = cl_min(part, all - first);
        struct cl_matmul mm =
            product(rows, in[1].data, (float *)out[0].data + first * d.o, some, d.o, k);
        mm.trans_b = true;
        mm.ldb = k;
        EMAC_TRY(st, patches(cl, &v, rows, first, some, err));
        EMAC_TRY(st, cl_matmul(cl, &mm, err));
    }
out:
    return st;
}

/* dw = dy^T patches: summed over rows, so the parts add up. */
enum emac_status cl_op_conv2d_grad_w(struct cl *cl, const struct op_attrs *attrs,
                                     const struct tensor *in, struct tensor *out,
                                     struct emac_err *err)
{
    struct conv_dims d;
    conv_dims(OP_CONV2D_GRAD_W, attrs, in, &d);
    struct windows v = windows_of_x(&d, in[1].data);
    size_t all = v.b * v.grid_h * v.grid_w, part = part_rows(&v), n = row_floats(&v);
    void *rows;
    enum emac_status st;
    EMAC_TRY(st, cl_scratch(cl, part * n * sizeof(float), &rows, err));
    for (size_t first = 0; first < all; first += part) {
        size_t some = cl_min(part, all - first);
        struct cl_matmul mm =
            product((const float *)in[0].data + first * d.o, rows, out[0].data, d.o, n, some);
        mm.trans_a = true;
        mm.lda = d.o;
        mm.accumulate = first > 0;
        EMAC_TRY(st, patches(cl, &v, rows, first, some, err));
        EMAC_TRY(st, cl_matmul(cl, &mm, err));
    }
out:
    return st;
}

/* ---- gradient of the input ---- */

/* The taps along one side that meet pixels `phase`, phase + stride, ...: `last` the highest, then
 * stride less each; pixel phase + stride i meets element i + at + t of dy by the t-th of them. */
struct side {
    size_t pixels, taps, last;
    int64_t at;
};

static struct side side_of(size_t size, size_t kernel, size_t stride, size_t pad, size_t phase)
{
    size_t least = (phase + pad) % stride;
    struct side s = {.pixels = phase < size ? cl_div_up(size - phase, stride) : 0};
    if (least >= kernel)
        return s;
    s.taps = (kernel - 1 - least) / stride + 1;
    s.last = least + (s.taps - 1) * stride;
    s.at = ((int64_t)(phase + pad) - (int64_t)s.last) / (int64_t)stride;
    return s;
}

static enum emac_status flip_taps(struct cl *cl, const struct conv_dims *d, const struct side s[2],
                                  const float *w, float *to, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "image", "flip_taps");
    launch_memory(&l, w);
    launch_memory(&l, to);
    launch_number(&l, s[1].taps);
    launch_number(&l, d->o);
    launch_number(&l, d->kh);
    launch_number(&l, d->kw);
    launch_number(&l, d->c);
    launch_number(&l, s[0].last);
    launch_number(&l, s[1].last);
    launch_number(&l, d->stride);
    return launch_rows(&l, s[0].taps * s[1].taps * d->o, 1, err);
}

/* Rows of pixels (phase[0] + stride i, phase[1] + stride j) from `from` into dx. */
static enum emac_status scatter(struct cl *cl, const struct conv_dims *d, const struct side s[2],
                                const size_t phase[2], const float *from, float *dx, size_t first,
                                size_t rows, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "image", "scatter");
    launch_memory(&l, from);
    launch_memory(&l, dx);
    launch_number(&l, first);
    launch_number(&l, s[0].pixels);
    launch_number(&l, s[1].pixels);
    launch_number(&l, d->stride);
    launch_number(&l, phase[0]);
    launch_number(&l, phase[1]);
    launch_number(&l, d->h);
    launch_number(&l, d->w);
    launch_number(&l, d->c);
    return launch_rows(&l, rows, 1, err);
}

/* dx of the pixels of one phase. */
static enum emac_status grad_phase(struct cl *cl, const struct conv_dims *d, const size_t phase[2],
                                   const float *dy, const float *w, float *dx, struct emac_err *err)
{
    const struct side s[2] = {side_of(d->h, d->kh, d->stride, d->pad, phase[0]),
                              side_of(d->w, d->kw, d->stride, d->pad, phase[1])};
    struct windows v = {dy,          d->oh, d->ow,   d->o,    d->b,      s[0].pixels,
                        s[1].pixels, 1,     s[0].at, s[1].at, s[0].taps, s[1].taps};
    size_t all = v.b * v.grid_h * v.grid_w, k = row_floats(&v), part;
    float *rows, *taps, *sums;
    void *scratch;
    enum emac_status st;
    if (all == 0 || k == 0)
        return EMAC_OK;
    part = part_rows(&v);
    EMAC_TRY(st, cl_scratch(cl, (part * (k + d->c) + k * d->c) * sizeof(float), &scratch, err));
    rows = scratch;
    taps = rows + part * k;
    sums = taps + k * d->c;
    EMAC_TRY(st, flip_taps(cl, d, s, w, taps, err));
    for (size_t first = 0; first < all; first += part) {
        size_t some = cl_min(part, all - first);
        float *to = d->stride == 1 ? dx + first * d->c : sums;
        struct cl_matmul mm = product(rows, taps, to, some, d->c, k);
        EMAC_TRY(st, patches(cl, &v, rows, first, some, err));
        EMAC_TRY(st, cl_matmul(cl, &mm, err));
        if (d->stride != 1)
            EMAC_TRY(st, scatter(cl, d, s, phase, sums, dx, first, some, err));
    }
out:
    return st;
}

enum emac_status cl_op_conv2d_grad_x(struct cl *cl, const struct op_attrs *attrs,
                                     const struct tensor *in, struct tensor *out,
                                     struct emac_err *err)
{
    struct conv_dims d;
    enum emac_status st = EMAC_OK;
    conv_dims(OP_CONV2D_GRAD_X, attrs, in, &d);
    if (d.stride > d.kh || d.stride > d.kw) /* pixels that no tap meets */
        EMAC_TRY(st, cl_fill(cl, out[0].data, cl_count(&out[0]), 0.0f, err));
    for (size_t i = 0; i < cl_min(d.stride, d.h); i++)
        for (size_t j = 0; j < cl_min(d.stride, d.w); j++) {
            const size_t phase[2] = {i, j};
            EMAC_TRY(st, grad_phase(cl, &d, phase, in[0].data, in[1].data, out[0].data, err));
        }
out:
    return st;
}

/* ---- pooling ---- */

static enum emac_status pool(struct cl *cl, enum op op, const struct op_attrs *attrs,
                             const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct pool_dims d;
    struct launch l;
    pool_dims(op, attrs, in, &d);
    launch_begin(&l, cl, "image", op_info(op)->name);
    for (uint32_t i = 0; i < op_info(op)->inputs; i++)
        launch_memory(&l, in[i].data);
    launch_memory(&l, out[0].data);
    launch_each(&l, cl_count(&out[0]), 1);
    launch_number(&l, d.h);
    launch_number(&l, d.w);
    launch_number(&l, d.c);
    launch_number(&l, d.oh);
    launch_number(&l, d.ow);
    launch_number(&l, d.size);
    launch_number(&l, d.stride);
    return launch_items(&l, err);
}

#define POOL(name, op)                                                                             \
    enum emac_status cl_op_##name(struct cl *cl, const struct op_attrs *attrs,                     \
                                  const struct tensor *in, struct tensor *out,                     \
                                  struct emac_err *err)                                            \
    {                                                                                              \
        return pool(cl, op, attrs, in, out, err);                                                  \
    }
POOL(maxpool2d, OP_MAXPOOL2D)
POOL(maxpool2d_grad, OP_MAXPOOL2D_GRAD)
POOL(avgpool2d, OP_AVGPOOL2D)
POOL(avgpool2d_grad, OP_AVGPOOL2D_GRAD)
