/* The windows of an image batch as a matrix, without making it: row r is an output position (b, i,
 * j), column k = (t, u, c) the window's element at tap (t, u), channel c. Position i, tap t lie at
 * image row i * step + shift_h + t, position j, tap u at column j * step + shift_w + u; elements
 * outside of the image are +0.
 *
 * All three products of a convolution are products with such a matrix (Chellapilla et al. 2006
 * call the copy of it im2col); pieces of it are copied straight into the tiles of rule 3's product.
 */
#ifndef EMAC_COMPUTE_CPU_PATCHES_H
#define EMAC_COMPUTE_CPU_PATCHES_H

#include <stddef.h>
#include <stdint.h>

struct patches {
    const float *image;    /* [b, h, w, c] */
    size_t h, w, c;        /* of the image */
    size_t rows_h, rows_w; /* positions in an image */
    size_t taps_w;
    int64_t step, shift_h, shift_w;
};

/* dst[r * dst_row + k] = element (row + r, col + k), r < rows, k < cols. */
void patches_copy(const struct patches *p, float *dst, size_t dst_row, size_t row, size_t rows,
                  size_t col, size_t cols);

#endif
