/* Convolution of images (LeCun et al. 1989) and its gradients, rule 3. */
#include "compute/fn.h"
#include "compute/image.h"
#include "compute/ref/ref.h"

/* Element (b, i, j) of an image with n channels, or NULL outside of it: there all is +0. */
static const float *pixel(const float *image, size_t h, size_t w, size_t n, size_t b, int64_t i,
                          int64_t j)
{
    bool inside = i >= 0 && j >= 0 && (size_t)i < h && (size_t)j < w;
    return inside ? image + ((b * h + (size_t)i) * w + (size_t)j) * n : NULL;
}

/* The window's element at output pixel (b, i, j), tap (kh, kw). */
static const float *tap(const struct conv_dims *d, const float *x, size_t b, size_t i, size_t j,
                        size_t kh, size_t kw)
{
    return pixel(x, d->h, d->w, d->c, b, (int64_t)(i * d->stride + kh) - (int64_t)d->pad,
                 (int64_t)(j * d->stride + kw) - (int64_t)d->pad);
}

enum emac_status ref_conv2d(const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    const float *x = in[0].data, *w = in[1].data; // (B, H, W, C), (O, KH, KW, C)
    float *y = out[0].data;                       // (B, OH, OW, O)
    struct conv_dims d;
    conv_dims(OP_CONV2D, attrs, in, &d);
    for (size_t n = 0; n < d.b * d.oh * d.ow * d.o; n++) {
        size_t o = n % d.o, j = n / d.o % d.ow, i = n / d.o / d.ow % d.oh,
               b = n / d.o / d.ow / d.oh;
        struct ref_chain sum;
        ref_chain_init(&sum);
        for (size_t kh = 0; kh < d.kh; kh++)
            for (size_t kw = 0; kw < d.kw; kw++) {
                const float *p = tap(&d, x, b, i, j, kh, kw);
                for (size_t c = 0; c < d.c; c++)
                    ref_chain_add(&sum, p ? p[c] : 0.0f,
                                  w[((o * d.kh + kh) * d.kw + kw) * d.c + c]);
            }
        y[n] = ref_chain_end(&sum);
    }
    return EMAC_OK;
}

/* dx[b,i,j,c]: the taps of w that met this pixel, last first, which are the pixels of dy that it
 * went into in their order. A tap meets it only if i + pad - kh is a multiple of the stride; the
 * others are not terms. */
static float grad_x_at(const struct conv_dims *d, const float *dy, const float *w, size_t b,
                       size_t i, size_t j, size_t c)
{
    struct ref_chain sum;
    int64_t s = (int64_t)d->stride;
    ref_chain_init(&sum);
    for (size_t kh = d->kh; kh-- > 0;)
        for (size_t kw = d->kw; kw-- > 0;) {
            int64_t row = (int64_t)(i + d->pad) - (int64_t)kh;
            int64_t col = (int64_t)(j + d->pad) - (int64_t)kw;
            const float *p;
            if (row % s != 0 || col % s != 0)
                continue;
            p = pixel(dy, d->oh, d->ow, d->o, b, row / s, col / s);
            for (size_t o = 0; o < d->o; o++)
                ref_chain_add(&sum, p ? p[o] : 0.0f, w[((o * d->kh + kh) * d->kw + kw) * d->c + c]);
        }
    return ref_chain_end(&sum);
}

enum emac_status ref_conv2d_grad_x(const struct op_attrs *attrs, const struct tensor *in,
                                   struct tensor *out, struct emac_err *err)
{
    const float *dy = in[0].data, *w = in[1].data; // (B, OH, OW, O), (O, KH, KW, C)
    float *dx = out[0].data;                       // (B, H, W, C)
    struct conv_dims d;
    conv_dims(OP_CONV2D_GRAD_X, attrs, in, &d);
    for (size_t b = 0; b < d.b; b++)
        for (size_t i = 0; i < d.h; i++)
            for (size_t j = 0; j < d.w; j++)
                for (size_t c = 0; c < d.c; c++)
                    *dx++ = grad_x_at(&d, dy, w, b, i, j, c);
    return EMAC_OK;
}

/* dw[o,kh,kw,c] = sum over positions (b, i, j) of dy * the pixel under the tap. */
enum emac_status ref_conv2d_grad_w(const struct op_attrs *attrs, const struct tensor *in,
                                   struct tensor *out, struct emac_err *err)
{
    const float *dy = in[0].data, *x = in[1].data; // (B, OH, OW, O), (B, H, W, C)
    float *dw = out[0].data;                       // (O, KH, KW, C)
    struct conv_dims d;
    conv_dims(OP_CONV2D_GRAD_W, attrs, in, &d);
    for (size_t n = 0; n < d.o * d.kh * d.kw * d.c; n++) {
        size_t c = n % d.c, kw = n / d.c % d.kw, kh = n / d.c / d.kw % d.kh;
        size_t o = n / d.c / d.kw / d.kh;
        struct ref_chain sum;
        ref_chain_init(&sum);
        for (size_t p = 0; p < d.b * d.oh * d.ow; p++) {
            const float *px = tap(&d, x, p / d.ow / d.oh, p / d.ow % d.oh, p % d.ow, kh, kw);
            ref_chain_add(&sum, dy[p * d.o + o], px ? px[c] : 0.0f);
        }
        dw[n] = ref_chain_end(&sum);
    }
    return EMAC_OK;
}
