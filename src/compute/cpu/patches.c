#include "compute/cpu/patches.h"

#include <string.h>

static int64_t clamp(int64_t x, int64_t least, int64_t most)
{
    return x < least ? least : x > most ? most : x;
}

/* n elements of an image row from `at` on, +0 where at < 0 or at >= len. */
static void copy_clipped(float *dst, const float *row, int64_t at, int64_t n, int64_t len)
{
    int64_t begin = clamp(-at, 0, n), end = clamp(len - at, begin, n);
    if (begin > 0)
        memset(dst, 0, (size_t)begin * sizeof *dst);
    if (end > begin)
        memcpy(dst + begin, row + at + begin, (size_t)(end - begin) * sizeof *dst);
    if (end < n)
        memset(dst + end, 0, (size_t)(n - end) * sizeof *dst);
}

/* Columns col.. of the row at position (i, j). The taps of one t follow each other in the image's
 * row, channels and all. */
static void copy_row(const struct patches *p, const float *image, float *dst, int64_t i, int64_t j,
                     size_t col, size_t cols)
{
    size_t run = p->taps_w * p->c, t = col / run, skip = col % run;
    int64_t first = (j * p->step + p->shift_w) * (int64_t)p->c;
    for (; cols > 0; t++, skip = 0) {
        size_t n = run - skip < cols ? run - skip : cols;
        int64_t row = i * p->step + p->shift_h + (int64_t)t;
        if (row < 0 || row >= (int64_t)p->h)
            memset(dst, 0, n * sizeof *dst);
        else
            copy_clipped(dst, image + (size_t)row * p->w * p->c, first + (int64_t)skip, (int64_t)n,
                         (int64_t)(p->w * p->c));
        dst += n;
        cols -= n;
    }
}

void patches_copy(const struct patches *p, float *dst, size_t dst_row, size_t row, size_t rows,
                  size_t col, size_t cols)
{
    size_t j = row % p->rows_w, i = row / p->rows_w % p->rows_h;
    const float *image = p->image + row / p->rows_w / p->rows_h * p->h * p->w * p->c;
    for (; rows > 0; rows--, dst += dst_row) {
        copy_row(p, image, dst, (int64_t)i, (int64_t)j, col, cols);
        if (++j < p->rows_w)
            continue;
        j = 0;
        if (++i < p->rows_h)
            continue;
        i = 0;
        image += p->h * p->w * p->c;
    }
}
