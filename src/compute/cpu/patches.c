#include "compute/cpu/patches.h"

#include "compute/cpu/copy.h"

static int64_t clamp(int64_t x, int64_t least, int64_t most)
{
    return x < least ? least : x > most ? most : x;
}

/* n elements of an image row of `len` from `at` on, +0 where at < 0 or at >= len. */
static void copy_clipped(float *dst, const float *row, int64_t at, int64_t n, int64_t len)
{
    int64_t begin = clamp(-at, 0, n), end = clamp(len - at, begin, n);
    memset(dst, 0, (size_t)begin * sizeof *dst);
    copy_floats(dst + begin, row + at + begin, (size_t)(end - begin));
    memset(dst + end, 0, (size_t)(n - end) * sizeof *dst);
}

/* A run of columns within the taps of one t, which follow each other in the image's row, channels
 * and all: n elements from `skip` on. */
struct piece {
    size_t tap, skip, n;
};

/* Positions (i, j0..j1) of an image. */
struct segment {
    const float *image;
    size_t i, j0, j1;
};

/* The first position j from `least` on whose window begins at or after element `at` of its image's
 * row, at most `most`. */
static size_t first_from(const struct patches *p, int64_t at, size_t least, size_t most)
{
    int64_t each = p->step * (int64_t)p->c, from = at - p->shift_w * (int64_t)p->c;
    int64_t j = from <= 0 ? 0 : (from + each - 1) / each;
    return (size_t)clamp(j, (int64_t)least, (int64_t)most);
}

/* Rows of n elements, `from_row` apart in the image. */
static void copy_inside(float *dst, size_t dst_row, const float *from, size_t from_row, size_t rows,
                        size_t n)
{
    if (n == 32)
        for (; rows > 0; rows--, dst += dst_row, from += from_row)
            memcpy(dst, from, 32 * sizeof *dst);
    else if (n == 16)
        for (; rows > 0; rows--, dst += dst_row, from += from_row)
            memcpy(dst, from, 16 * sizeof *dst);
    else
        for (; rows > 0; rows--, dst += dst_row, from += from_row)
            copy_floats(dst, from, n);
}

/* Element of its image's row at which the piece begins at position j. */
static int64_t piece_at(const struct patches *p, const struct piece *c, size_t j)
{
    return ((int64_t)j * p->step + p->shift_w) * (int64_t)p->c + (int64_t)c->skip;
}

/* Positions whose windows reach over the image's edge. */
static void copy_edge(const struct patches *p, float *dst, size_t dst_row, const float *from,
                      const struct piece *c, size_t j0, size_t j1)
{
    for (; j0 < j1; j0++, dst += dst_row)
        copy_clipped(dst, from, piece_at(p, c, j0), (int64_t)c->n, (int64_t)(p->w * p->c));
}

static void copy_piece(const struct patches *p, float *dst, size_t dst_row, const struct segment *s,
                       const struct piece *c)
{
    int64_t row = (int64_t)s->i * p->step + p->shift_h + (int64_t)c->tap;
    int64_t skip = (int64_t)c->skip, last = (int64_t)(p->w * p->c) - (int64_t)c->n;
    if (row < 0 || row >= (int64_t)p->h) {
        for (size_t j = s->j0; j < s->j1; j++, dst += dst_row)
            memset(dst, 0, c->n * sizeof *dst);
        return;
    }
    const float *from = s->image + (size_t)row * p->w * p->c;
    size_t inside = first_from(p, -skip, s->j0, s->j1);
    size_t beyond = first_from(p, last + 1 - skip, inside, s->j1);
    copy_edge(p, dst, dst_row, from, c, s->j0, inside);
    if (inside < beyond)
        copy_inside(dst + (inside - s->j0) * dst_row, dst_row, from + piece_at(p, c, inside),
                    (size_t)p->step * p->c, beyond - inside, c->n);
    copy_edge(p, dst + (beyond - s->j0) * dst_row, dst_row, from, c, beyond, s->j1);
}

void patches_copy(const struct patches *p, float *dst, size_t dst_row, size_t row, size_t rows,
                  size_t col, size_t cols)
{
    size_t run = p->taps_w * p->c, j = row % p->rows_w, line = row / p->rows_w;
    for (size_t n; rows > 0; rows -= n, dst += n * dst_row, j = 0, line++) {
        struct segment s = {p->image + line / p->rows_h * p->h * p->w * p->c, line % p->rows_h, j,
                            p->rows_w};
        if (s.j1 - j > rows)
            s.j1 = j + rows;
        n = s.j1 - j;
        for (size_t k = col; k < col + cols;) {
            struct piece c = {k / run, k % run, run - k % run};
            if (c.n > col + cols - k)
                c.n = col + cols - k;
            copy_piece(p, dst + (k - col), dst_row, &s, &c);
            k += c.n;
        }
    }
}

/* Whether windows can be read from the image: nothing beyond it, and all channels. */
static bool in_place(const struct patches *p, size_t taps_h)
{
    return p->part == 0 && p->shift_h >= 0 && p->shift_w >= 0 &&
           (int64_t)(p->rows_h - 1) * p->step + p->shift_h + (int64_t)taps_h <= (int64_t)p->h &&
           (int64_t)(p->rows_w - 1) * p->step + p->shift_w + (int64_t)p->taps_w <= (int64_t)p->w;
}

static size_t channels(const struct patches *p)
{
    return p->part ? p->part : p->c;
}

/* Pixels of a padded row: what the windows of a line see. */
static size_t padded_row(const struct patches *p)
{
    return (p->rows_w - 1) * (size_t)p->step + p->taps_w;
}

size_t patches_pitch(const struct patches *p, size_t taps_h)
{
    return (in_place(p, taps_h) ? p->w : padded_row(p)) * channels(p);
}

size_t patches_lines_floats(const struct patches *p, size_t taps_h, size_t rows)
{
    size_t lines = (rows - 1) / p->rows_w + 2, images = (rows - 1) / (p->rows_w * p->rows_h) + 2;
    size_t padded = (lines * (size_t)p->step + images * taps_h) * padded_row(p);
    return in_place(p, taps_h) ? 0 : padded * channels(p);
}

/* A row of an image, padded; a part of its channels. */
static void pad_row(const struct patches *p, const float *from, float *to)
{
    int64_t pixels = (int64_t)padded_row(p), c = (int64_t)p->c;
    if (p->part == 0) {
        copy_clipped(to, from, p->shift_w * c, pixels * c, (int64_t)p->w * c);
        return;
    }
    for (int64_t at = p->shift_w; at < p->shift_w + pixels; at++, to += p->part) {
        if (at < 0 || at >= (int64_t)p->w)
            memset(to, 0, p->part * sizeof *to);
        else
            copy_inside(to, 0, from + at * c, 0, 1, p->part);
    }
}

/* The image rows that lines i0..i1 of an image's positions see. Returns where they end. */
static float *pad_rows(const struct patches *p, size_t taps_h, const float *image, size_t i0,
                       size_t i1, float *to)
{
    int64_t at = (int64_t)i0 * p->step + p->shift_h;
    int64_t end = (int64_t)(i1 - 1) * p->step + p->shift_h + (int64_t)taps_h;
    size_t padded = padded_row(p) * channels(p);
    for (; at < end; at++, to += padded) {
        if (at < 0 || at >= (int64_t)p->h)
            memset(to, 0, padded * sizeof *to);
        else
            pad_row(p, image + (size_t)at * p->w * p->c, to);
    }
    return to;
}

size_t patches_lines(const struct patches *p, size_t taps_h, size_t row, size_t rows, float *local,
                     struct cpu_line *line)
{
    size_t in_image = p->rows_w * p->rows_h, pitch = patches_pitch(p, taps_h), lines = 0;
    size_t step = (size_t)p->step;
    bool inside = in_place(p, taps_h);
    for (size_t end = row + rows; row < end;) {
        size_t i0 = row / p->rows_w % p->rows_h, stop = (row / in_image + 1) * in_image;
        const float *image = p->image + row / in_image * p->h * p->w * p->c, *from = local;
        stop = stop < end ? stop : end;
        if (inside)
            from = image + (i0 * step + (size_t)p->shift_h) * pitch + (size_t)p->shift_w * p->c;
        else
            local = pad_rows(p, taps_h, image, i0, (stop - 1) / p->rows_w % p->rows_h + 1, local);
        for (size_t n; row < stop; row += n, from += step * pitch) {
            size_t j = row % p->rows_w;
            n = p->rows_w - j < stop - row ? p->rows_w - j : stop - row;
            line[lines++] = (struct cpu_line){from + j * step * channels(p), row, n};
        }
    }
    return lines;
}
