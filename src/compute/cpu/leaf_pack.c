#include "compute/cpu/copy.h"
#include "compute/cpu/leaf.h"

/* One panel from rows of B. */
static void pack_rows(float *dst, const float *b, size_t row, size_t k, size_t cols)
{
    for (; cols == CPU_TILE_COLS && k > 0; k--, b += row, dst += CPU_TILE_COLS)
        memcpy(dst, b, CPU_TILE_COLS * sizeof *dst);
    for (; k > 0; k--, b += row, dst += CPU_TILE_COLS) {
        memset(dst, 0, CPU_TILE_COLS * sizeof *dst);
        copy_floats(dst, b, cols);
    }
}

void LEAF(pack_b)(float *dst, const float *b, size_t row, size_t col, size_t k, size_t cols)
{
    for (size_t j = 0; j < cols; j += CPU_TILE_COLS, dst += k * CPU_TILE_COLS) {
        size_t n = cols - j < CPU_TILE_COLS ? cols - j : CPU_TILE_COLS;
        if (col == 1)
            pack_rows(dst, b + j, row, k, n);
        else
            LEAF(pack_turned)(dst, b + j * col, col, k, n);
    }
}

/* Tiles of CPU_TILE_ROWS columns of `a`, so that a tile is one run of memory; the last tile keeps
 * the width and leaves what lies beyond `rows` as it was, nobody reads it. */
void LEAF(pack_a)(float *dst, const float *a, size_t stride, size_t k, size_t rows)
{
    for (; rows >= CPU_TILE_ROWS; rows -= CPU_TILE_ROWS, a += CPU_TILE_ROWS)
        for (size_t i = 0; i < k; i++, dst += CPU_TILE_ROWS)
            memcpy(dst, a + i * stride, CPU_TILE_ROWS * sizeof *dst);
    for (size_t i = 0; rows > 0 && i < k; i++, dst += CPU_TILE_ROWS)
        copy_floats(dst, a + i * stride, rows);
}
