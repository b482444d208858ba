/* The windows of an image batch as a matrix, without making it: row r is an output position (b, i,
 * j), column k = (t, u, c) the window's element at tap (t, u), channel c. Position i, tap t lie at
 * image row i * step + shift_h + t, position j, tap u at column j * step + shift_w + u; elements
 * outside of the image are +0.
 *
 * All three products of a convolution are products with such a matrix (Chellapilla et al. 2006
 * call the copy of it im2col); pieces of it are copied straight into the tiles of rule 3's product,
 * or the products read the images in its place (lines). */
#ifndef EMAC_COMPUTE_CPU_PATCHES_H
#define EMAC_COMPUTE_CPU_PATCHES_H

#include <stddef.h>
#include <stdint.h>

#include "compute/cpu/kernels.h"

struct patches {
    const float *image;    /* [b, h, w, c] */
    size_t h, w, c;        /* of the image */
    size_t rows_h, rows_w; /* positions in an image */
    size_t taps_w;
    int64_t step, shift_h, shift_w;
    size_t part; /* of lines: only the first `part` channels, 0: all */
};

/* dst[r * dst_row + k] = element (row + r, col + k), r < rows, k < cols. */
void patches_copy(const struct patches *p, float *dst, size_t dst_row, size_t row, size_t rows,
                  size_t col, size_t cols);

/* Windows read where they lie: the lines that positions row.. (rows of them) form. Tap t's run of a
 * window at x begins at x + t * pitch, the next position's window at x + step * c (or part). Where
 * windows reach beyond the image, or of a part of its channels, rows are copied to `local` and
 * padded. Returns the lines, at most as many as positions. taps_h: rows of taps. */
size_t patches_lines(const struct patches *p, size_t taps_h, size_t row, size_t rows, float *local,
                     struct cpu_line *line);
size_t patches_pitch(const struct patches *p, size_t taps_h);
/* Floats of `local` for `rows` positions. */
size_t patches_lines_floats(const struct patches *p, size_t taps_h, size_t rows);

#endif
