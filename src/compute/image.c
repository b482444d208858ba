#include "compute/image.h"

/* How many windows of `window` pixels, `stride` apart, lie in `size` pixels with `pad` on both
 * sides; 0 when none does. No sum overflows: attributes are below 2^31, sizes below 2^62. */
static size_t windows(size_t size, size_t window, size_t stride, size_t pad)
{
    size_t padded = size + 2 * pad;
    return window > padded ? 0 : (padded - window) / stride + 1;
}

static size_t attr(const struct op_attrs *attrs, uint32_t i)
{
    return (size_t)attrs->at[i].i;
}

bool conv_dims(enum op op, const struct op_attrs *attrs, const struct tensor *in,
               struct conv_dims *out)
{
    const size_t *first = in[0].shape.dim, *second = in[1].shape.dim;
    struct conv_dims d = {.b = first[0], .c = second[3]};
    uint32_t rest = op == OP_CONV2D ? 0 : 2; /* attributes stride, pad */
    d.stride = attr(attrs, rest);
    d.pad = attr(attrs, rest + 1);
    d.h = op == OP_CONV2D ? first[1] : op == OP_CONV2D_GRAD_X ? attr(attrs, 0) : second[1];
    d.w = op == OP_CONV2D ? first[2] : op == OP_CONV2D_GRAD_X ? attr(attrs, 1) : second[2];
    d.kh = op == OP_CONV2D_GRAD_W ? attr(attrs, 0) : second[1];
    d.kw = op == OP_CONV2D_GRAD_W ? attr(attrs, 1) : second[2];
    d.o = op == OP_CONV2D_GRAD_W ? first[3] : second[0];
    d.oh = windows(d.h, d.kh, d.stride, d.pad);
    d.ow = windows(d.w, d.kw, d.stride, d.pad);
    *out = d;
    if (d.oh == 0 || d.ow == 0 || d.pad >= d.kh || d.pad >= d.kw)
        return false;
    if (op == OP_CONV2D)
        return first[3] == d.c;
    return first[1] == d.oh && first[2] == d.ow &&
           (op == OP_CONV2D_GRAD_X ? first[3] == d.o : second[0] == d.b);
}

bool pool_dims(enum op op, const struct op_attrs *attrs, const struct tensor *in,
               struct pool_dims *out)
{
    bool sized = op == OP_AVGPOOL2D_GRAD; /* its attributes start with the image's size */
    const size_t *x = in[op == OP_MAXPOOL2D_GRAD ? 1 : 0].shape.dim, *dy = in[0].shape.dim;
    struct pool_dims d = {.b = x[0], .h = x[1], .w = x[2], .c = x[3]};
    if (sized) {
        d.h = attr(attrs, 0);
        d.w = attr(attrs, 1);
    }
    d.size = attr(attrs, sized ? 2 : 0);
    d.stride = attr(attrs, sized ? 3 : 1);
    d.oh = windows(d.h, d.size, d.stride, 0);
    d.ow = windows(d.w, d.size, d.stride, 0);
    *out = d;
    if (d.oh == 0 || d.ow == 0 || d.size > POOL_SIZE_MAX)
        return false;
    if (op == OP_MAXPOOL2D || op == OP_AVGPOOL2D)
        return true;
    return dy[0] == d.b && dy[1] == d.oh && dy[2] == d.ow && dy[3] == d.c;
}
