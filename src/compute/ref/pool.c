/* Pooling of images: the largest, or the mean, of each window. */
#include "compute/fn.h"
#include "compute/image.h"
#include "compute/ref/ref.h"

/* Index in x of element (kh, kw), channel c, of the window at output pixel n = (b, i, j). */
static size_t window_at(const struct pool_dims *d, size_t n, size_t kh, size_t kw, size_t c)
{
    size_t j = n % d->ow, i = n / d->ow % d->oh, b = n / d->ow / d->oh;
    return ((b * d->h + i * d->stride + kh) * d->w + j * d->stride + kw) * d->c + c;
}

/* Index of the first largest element of a window; of the first NaN if there is one. */
static size_t window_max(const struct pool_dims *d, const float *x, size_t n, size_t c)
{
    size_t best = window_at(d, n, 0, 0, c);
    for (size_t kh = 0; kh < d->size; kh++)
        for (size_t kw = 0; kw < d->size; kw++) {
            size_t at = window_at(d, n, kh, kw, c);
            if (x[best] == x[best] && (x[at] > x[best] || x[at] != x[at]))
                best = at;
        }
    return best;
}

static void clear(float *x, const struct pool_dims *d)
{
    for (size_t i = 0; i < d->b * d->h * d->w * d->c; i++)
        x[i] = 0.0f;
}

enum emac_status ref_maxpool2d(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    const float *x = in[0].data; // (B, H, W, C)
    float *y = out[0].data;      // (B, OH, OW, C)
    struct pool_dims d;
    pool_dims(OP_MAXPOOL2D, attrs, in, &d);
    for (size_t n = 0; n < d.b * d.oh * d.ow; n++)
        for (size_t c = 0; c < d.c; c++)
            y[n * d.c + c] = x[window_max(&d, x, n, c)] + 0.0f; /* -0 becomes +0 */
    return EMAC_OK;
}

enum emac_status ref_maxpool2d_grad(const struct op_attrs *attrs, const struct tensor *in,
                                    struct tensor *out, struct emac_err *err)
{
    const float *dy = in[0].data, *x = in[1].data; // (B, OH, OW, C), (B, H, W, C)
    float *dx = out[0].data;                       // (B, H, W, C)
    struct pool_dims d;
    pool_dims(OP_MAXPOOL2D_GRAD, attrs, in, &d);
    clear(dx, &d);
    for (size_t n = 0; n < d.b * d.oh * d.ow; n++)
        for (size_t c = 0; c < d.c; c++) {
            size_t at = window_max(&d, x, n, c);
            dx[at] = dx[at] + dy[n * d.c + c];
        }
    return EMAC_OK;
}

enum emac_status ref_avgpool2d(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    const float *x = in[0].data; // (B, H, W, C)
    float *y = out[0].data;      // (B, OH, OW, C)
    struct pool_dims d;
    pool_dims(OP_AVGPOOL2D, attrs, in, &d);
    float inv = fn_div(1.0f, (float)d.size * (float)d.size);
    for (size_t n = 0; n < d.b * d.oh * d.ow; n++)
        for (size_t c = 0; c < d.c; c++) {
            float sum = 0.0f;
            for (size_t kh = 0; kh < d.size; kh++)
                for (size_t kw = 0; kw < d.size; kw++)
                    sum = sum + x[window_at(&d, n, kh, kw, c)];
            y[n * d.c + c] = sum * inv;
        }
    return EMAC_OK;
}

enum emac_status ref_avgpool2d_grad(const struct op_attrs *attrs, const struct tensor *in,
                                    struct tensor *out, struct emac_err *err)
{
    const float *dy = in[0].data; // (B, OH, OW, C)
    float *dx = out[0].data;      // (B, H, W, C)
    struct pool_dims d;
    pool_dims(OP_AVGPOOL2D_GRAD, attrs, in, &d);
    float inv = fn_div(1.0f, (float)d.size * (float)d.size);
    clear(dx, &d);
    for (size_t n = 0; n < d.b * d.oh * d.ow; n++)
        for (size_t kh = 0; kh < d.size; kh++)
            for (size_t kw = 0; kw < d.size; kw++)
                for (size_t c = 0; c < d.c; c++) {
                    size_t at = window_at(&d, n, kh, kw, c);
                    dx[at] = dx[at] + dy[n * d.c + c] * inv;
                }
    return EMAC_OK;
}
