#include "compute/cpu/patches.h"

#include <string.h>

static int64_t clamp(int64_t x, int64_t least, int64_t most)
{
    return x < least ? least : x > most ? most : x;
}

/* memcpy of n floats, for the few of a window's row: two copies of a fixed size, which overlap,
 * cost less than a call. */
static inline void copy(float *dst, const float *src, size_t n)
{
    if (n > 16) {
        memcpy(dst, src, n * sizeof *dst);
    } else if (n >= 8) {
        memcpy(dst, src, 32);
        memcpy(dst + n - 8, src + n - 8, 32);
    } else if (n >= 4) {
        memcpy(dst, src, 16);
        memcpy(dst + n - 4, src + n - 4, 16);
    } else if (n >= 2) {
        memcpy(dst, src, 8);
        memcpy(dst + n - 2, src + n - 2, 8);
    } else if (n == 1) {
        *dst = *src;
    }
}

/* n elements of an image row of `len` from `at` on, +0 where at < 0 or at >= len. */
static void copy_clipped(float *dst, const float *row, int64_t at, int64_t n, int64_t len)
{
    int64_t begin = clamp(-at, 0, n), end = clamp(len - at, begin, n);
    memset(dst, 0, (size_t)begin * sizeof *dst);
    copy(dst + begin, row + at + begin, (size_t)(end - begin));
    memset(dst + end, 0, (size_t)(n - end) * sizeof *dst);
}

/* Columns of a matrix row: from `skip` elements into tap row `tap` on. */
struct columns {
    size_t tap, skip, count;
};

/* The matrix row at position (i, j). The taps of one t follow each other in the image's row,
 * channels and all. */
static void copy_row(const struct patches *p, const float *image, float *dst, int64_t i, int64_t j,
                     struct columns c)
{
    size_t run = p->taps_w * p->c;
    int64_t at = (j * p->step + p->shift_w) * (int64_t)p->c + (int64_t)c.skip;
    int64_t row = i * p->step + p->shift_h + (int64_t)c.tap, len = (int64_t)(p->w * p->c);
    for (size_t n = run - c.skip; c.count > 0; n = run, row++) {
        n = n < c.count ? n : c.count;
        if (row < 0 || row >= (int64_t)p->h)
            memset(dst, 0, n * sizeof *dst);
        else if (at >= 0 && at + (int64_t)n <= len)
            copy(dst, image + row * len + at, n);
        else
            copy_clipped(dst, image + row * len, at, (int64_t)n, len);
        at = (j * p->step + p->shift_w) * (int64_t)p->c;
        dst += n;
        c.count -= n;
    }
}

void patches_copy(const struct patches *p, float *dst, size_t dst_row, size_t row, size_t rows,
                  size_t col, size_t cols)
{
    size_t j = row % p->rows_w, i = row / p->rows_w % p->rows_h, run = p->taps_w * p->c;
    const float *image = p->image + row / p->rows_w / p->rows_h * p->h * p->w * p->c;
    const struct columns c = {col / run, col % run, cols};
    for (; rows > 0; rows--, dst += dst_row) {
        copy_row(p, image, dst, (int64_t)i, (int64_t)j, c);
        if (++j < p->rows_w)
            continue;
        j = 0;
        if (++i < p->rows_h)
            continue;
        i = 0;
        image += p->h * p->w * p->c;
    }
}
