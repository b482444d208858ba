/* Pooling: the images of a batch are independent, and windows are taken in the order of (oh, ow),
 * in which a gradient adds them. */
#include <string.h>

#include "compute/cpu/ranges.h"
#include "compute/fn.h"
#include "compute/image.h"

struct pooling {
    struct pool_dims d;
    struct cpu_pool window;
};

static struct pooling pooling_of(const struct job *j, enum op op)
{
    struct pooling p;
    pool_dims(op, j->attrs, j->in, &p.d);
    p.window = (struct cpu_pool){p.d.size, p.d.w * p.d.c, p.d.c,
                                 fn_div(1.0f, (float)p.d.size * (float)p.d.size)};
    return p;
}

/* Where window n of the batch begins in x, and its result in y. */
static size_t window_at(const struct pool_dims *d, size_t n)
{
    size_t j = n % d->ow, i = n / d->ow % d->oh, b = n / d->ow / d->oh;
    return ((b * d->h + i * d->stride) * d->w + j * d->stride) * d->c;
}

static size_t windows_of(const struct pool_dims *d, size_t images)
{
    return images * d->oh * d->ow;
}

static void clear(float *dx, const struct pool_dims *d, size_t b, size_t e)
{
    size_t image = d->h * d->w * d->c;
    memset(dx + b * image, 0, (e - b) * image * sizeof *dx);
}

void range_maxpool2d(const struct job *j, size_t b, size_t e)
{
    struct pooling p = pooling_of(j, OP_MAXPOOL2D);
    for (size_t n = windows_of(&p.d, b); n < windows_of(&p.d, e); n++)
        j->cpu->k->maxpool(f32_out(j, 0) + n * p.d.c, f32_in(j, 0) + window_at(&p.d, n), &p.window);
}

void range_maxpool2d_grad(const struct job *j, size_t b, size_t e)
{
    struct pooling p = pooling_of(j, OP_MAXPOOL2D_GRAD);
    clear(f32_out(j, 0), &p.d, b, e);
    for (size_t n = windows_of(&p.d, b); n < windows_of(&p.d, e); n++)
        j->cpu->k->maxpool_grad(f32_out(j, 0) + window_at(&p.d, n), f32_in(j, 0) + n * p.d.c,
                                f32_in(j, 1) + window_at(&p.d, n), &p.window);
}

void range_avgpool2d(const struct job *j, size_t b, size_t e)
{
    struct pooling p = pooling_of(j, OP_AVGPOOL2D);
    for (size_t n = windows_of(&p.d, b); n < windows_of(&p.d, e); n++)
        j->cpu->k->avgpool(f32_out(j, 0) + n * p.d.c, f32_in(j, 0) + window_at(&p.d, n), &p.window);
}

void range_avgpool2d_grad(const struct job *j, size_t b, size_t e)
{
    struct pooling p = pooling_of(j, OP_AVGPOOL2D_GRAD);
    clear(f32_out(j, 0), &p.d, b, e);
    for (size_t n = windows_of(&p.d, b); n < windows_of(&p.d, e); n++)
        j->cpu->k->avgpool_grad(f32_out(j, 0) + window_at(&p.d, n), f32_in(j, 0) + n * p.d.c,
                                &p.window);
}
