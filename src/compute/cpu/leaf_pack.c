#include "compute/cpu/leaf.h"

/* Tiles of CPU_TILE_ROWS columns of `a`, so that a tile is one run of memory; the last tile keeps
 * the width and leaves what lies beyond `rows` as it was, nobody reads it. */
void LEAF(pack_a)(float *dst, const float *a, size_t stride, size_t k, size_t rows)
{
    size_t full = rows / CPU_TILE_ROWS * CPU_TILE_ROWS;
    for (size_t kk = 0; kk < k; kk++) {
        const float *from = a + kk * stride;
        float *to = dst + kk * CPU_TILE_ROWS;
        size_t i = 0;
        for (; i < full; i += CPU_TILE_ROWS, to += k * CPU_TILE_ROWS)
            memcpy(to, from + i, CPU_TILE_ROWS * sizeof *to);
        memcpy(to, from + i, (rows - i) * sizeof *to);
    }
}
