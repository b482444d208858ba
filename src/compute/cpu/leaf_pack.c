#include "compute/cpu/leaf.h"

/* Tiles of CPU_TILE_ROWS columns of `a`, so that a tile is one run of memory; the last tile keeps
 * the width and leaves what lies beyond `rows` as it was, nobody reads it. */
void LEAF(pack_a)(float *dst, const float *a, size_t stride, size_t k, size_t rows)
{
    for (; rows >= CPU_TILE_ROWS; rows -= CPU_TILE_ROWS, a += CPU_TILE_ROWS)
        for (size_t i = 0; i < k; i++, dst += CPU_TILE_ROWS)
            memcpy(dst, a + i * stride, CPU_TILE_ROWS * sizeof *dst);
    for (size_t i = 0; rows > 0 && i < k; i++, dst += CPU_TILE_ROWS)
        memcpy(dst, a + i * stride, rows * sizeof *dst);
}
