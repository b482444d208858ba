/* Rule 3's product for devices whose work-items are whole cores (CPUs): one
 * work-item computes a unit of C, UNIT rows by some panels of COLS columns.
 *
 * For each block of 256 k's the unit's part of A is packed tile by tile, then
 * panel by panel B is packed and multiplied at once, so that the panel stays in
 * the level-1 cache and A in the level-2 cache. The chains of a tile of
 * TILE_M x COLS elements live in registers; at the end of a block they are
 * added to C, which is the total of rule 3.
 *
 * Defines: VEC (4, 8, 16) floats of a vector; TILE_M rows and TILE_V vectors of
 * a tile; TRANS_A, TRANS_B. TILE_M <= VEC. */
#define COLS (VEC * TILE_V)

/* r[x][y] becomes r[y][x]: each round interleaves vectors half the block apart. */
static void transpose(vec *r)
{
    vec t[VEC];
#pragma unroll
    for (int round = 1; round < VEC; round *= 2) {
#pragma unroll
        for (int x = 0; x < VEC / 2; x++) {
            t[2 * x].even = r[x].lo;
            t[2 * x].odd = r[x + VEC / 2].lo;
            t[2 * x + 1].even = r[x].hi;
            t[2 * x + 1].odd = r[x + VEC / 2].hi;
        }
#pragma unroll
        for (int x = 0; x < VEC; x++)
            r[x] = t[x];
    }
}

/* `have` rows of `len` floats, `ld` apart, become len vectors `to_row` apart, of which the first
 * `most` elements matter; those from `have` on repeat the last row, as nothing of what they give is
 * stored. The vectors overlap where to_row < VEC, so they are written in order. */
static void pack_across(__local float *to, size_t to_row, __global const float *p, size_t ld,
                        size_t have, const int most, size_t len)
{
    size_t k = 0;
    for (; k + VEC <= len; k += VEC) {
        vec r[VEC];
#pragma unroll
        for (int x = 0; x < VEC; x++)
            r[x] = x < most ? vload_vec(0, p + min((size_t)x, have - 1) * ld + k) : (vec)(0.0f);
        transpose(r);
#pragma unroll
        for (int x = 0; x < VEC; x++)
            vstore_vec(r[x], 0, to + (k + x) * to_row);
    }
    for (; k < len; k++)
        for (int x = 0; x < most; x++)
            to[k * to_row + x] = p[min((size_t)x, have - 1) * ld + k];
}

/* len rows of `have` floats, `ld` apart, become len vectors. */
static void pack_along(__local float *to, size_t to_row, __global const float *p, size_t ld,
                       size_t have, size_t len)
{
    for (size_t k = 0; k < len; k++)
        vstore_vec(vload_some(p + k * ld, have), 0, to + k * to_row);
}

/* Rows of A as tiles of TILE_M: element (k, row) of a tile at k * TILE_M + row. */
static void pack_a(__local float *to, __global const float *a, size_t ld, size_t rows, size_t len)
{
    for (size_t i = 0; i < rows; i += TILE_M, to += TILE_M * RULE_BLOCK) {
        size_t have = min(rows - i, (size_t)TILE_M);
#if TRANS_A
        pack_along(to, TILE_M, a + i, ld, have, len);
#else
        pack_across(to, TILE_M, a + i * ld, ld, have, TILE_M, len);
#endif
    }
}

static void pack_b(__local float *to, __global const float *b, size_t ld, size_t cols, size_t len)
{
    for (size_t j = 0; j < COLS; j += VEC) {
        size_t have = j < cols ? min(cols - j, (size_t)VEC) : 0;
        if (have == 0)
            for (size_t k = 0; k < len; k++)
                vstore_vec((vec)(0.0f), 0, to + k * COLS + j);
        else
#if TRANS_B
            pack_across(to + j, COLS, b + j * ld, ld, have, VEC, len);
#else
            pack_along(to + j, COLS, b + j, ld, have, len);
#endif
    }
}

/* c (+)= one block of k of a tile. */
static void tile(__local const float *a, __local const float *b, __global float *c, size_t ldc,
                 size_t rows, size_t cols, size_t len, bool first)
{
    vec acc[TILE_M][TILE_V];
#pragma unroll
    for (int r = 0; r < TILE_M; r++)
#pragma unroll
        for (int v = 0; v < TILE_V; v++)
            acc[r][v] = (vec)(0.0f);
    for (size_t k = 0; k < len; k++, a += TILE_M, b += COLS) {
        vec bv[TILE_V];
#pragma unroll
        for (int v = 0; v < TILE_V; v++)
            bv[v] = vload_vec(v, b);
#pragma unroll
        for (int r = 0; r < TILE_M; r++) {
            vec x = (vec)(a[r]);
#pragma unroll
            for (int v = 0; v < TILE_V; v++)
                acc[r][v] = fma(x, bv[v], acc[r][v]);
        }
    }
    if (rows == TILE_M && cols == COLS) {
#pragma unroll
        for (int r = 0; r < TILE_M; r++)
#pragma unroll
            for (int v = 0; v < TILE_V; v++)
                acc[r][v] = (first ? (vec)(0.0f) : vload_vec(v, c + r * ldc)) + acc[r][v];
#pragma unroll
        for (int r = 0; r < TILE_M; r++)
#pragma unroll
            for (int v = 0; v < TILE_V; v++)
                vstore_vec(acc[r][v], v, c + r * ldc);
        return;
    }
    float out[TILE_M * COLS];
#pragma unroll
    for (int r = 0; r < TILE_M; r++)
#pragma unroll
        for (int v = 0; v < TILE_V; v++)
            vstore_vec(acc[r][v], r * TILE_V + v, out);
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < cols; j++)
            c[r * ldc + j] = (first ? 0.0f : c[r * ldc + j]) + out[r * COLS + j];
}

/* Unit (x, y) of product z; see struct cl_matmul (cl_ops.h) for the strides.
 * rows, cols: of a unit, multiples of TILE_M and COLS. packed: rows * 256 + VEC + 256 * COLS floats. */
__kernel void matmul(MEMORY(const float, a), MEMORY(const float, b), MEMORY(float, c), ulong m, ulong n, ulong k, ulong lda,
                     ulong ldb, ulong ldc, ulong inner, ulong b_group, ulong a_outer, ulong a_inner,
                     ulong b_outer, ulong b_inner, ulong c_outer, ulong c_inner, ulong k_step,
                     uint accumulate, ulong rows, ulong cols, __local float *packed)
{
    size_t zo = get_global_id(2) / inner, zi = get_global_id(2) % inner;
    __global const float *a = AT(const float, a) + zo * a_outer + zi * a_inner;
    __global const float *b = AT(const float, b) + zo * b_outer + zi / b_group * b_inner;
    __global float *c = AT(float, c) + zo * c_outer + zi * c_inner;
    __local float *panel = packed, *tiles = packed + RULE_BLOCK * COLS;
    size_t i = get_global_id(1) * rows, j0 = get_global_id(0) * cols, j1 = min(j0 + cols, n);
    rows = min(m - i, rows);
    k = k_step ? min(k_step, k - zo * k_step) : k;
    for (size_t k0 = 0; k0 < k; k0 += RULE_BLOCK) {
        size_t len = min(k - k0, (ulong)RULE_BLOCK);
        bool first = k0 == 0 && !accumulate;
        pack_a(tiles, a + (TRANS_A ? k0 * lda + i : i * lda + k0), lda, rows, len);
        for (size_t j = j0; j < j1; j += COLS) {
            size_t have = min(j1 - j, (size_t)COLS);
            pack_b(panel, b + (TRANS_B ? j * ldb + k0 : k0 * ldb + j), ldb, have, len);
            for (size_t r = 0; r < rows; r += TILE_M)
                tile(tiles + r * RULE_BLOCK, panel, c + (i + r) * ldc + j, ldc,
                     min(rows - r, (size_t)TILE_M), have, len, first);
        }
    }
}
