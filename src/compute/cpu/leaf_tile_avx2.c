/* The innermost product for AVX2 with FMA: 6 rows of A by 2 vectors of B, 12
 * chains of fma in registers. */
#include <immintrin.h>

#include "compute/cpu/leaf.h"

#define ROWS 6
#define VEC  8

_Static_assert(ROWS == CPU_TILE_ROWS && 2 * VEC == CPU_TILE_COLS, "tile as the table says");

struct chains {
    __m256 at[ROWS][2];
};

/* `rows` and `vecs` are constants wherever these are inlined. Rows are reached from 2 pointers, 3
 * rows each. */
INLINE struct chains multiply(const int rows, const int vecs, const struct cpu_panel *p,
                              const float *a)
{
    struct chains acc;
    const float *b = p->b, *low = a, *high = a + 3 * p->a_row;
    size_t row = p->a_row, col = p->a_col;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            acc.at[r][v] = _mm256_setzero_ps();
    for (size_t left = p->k, run = p->a_run ? p->a_left : left; left > 0; run = p->a_run) {
        size_t steps = run < left ? run : left;
        left -= steps;
        for (; steps > 0; steps--, b += 2 * VEC, low += col, high += col) {
            __m256 b0 = _mm256_loadu_ps(b), b1 = vecs > 1 ? _mm256_loadu_ps(b + VEC) : b0;
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                __m256 x = _mm256_broadcast_ss((r < 3 ? low : high) + (size_t)(r % 3) * row);
                acc.at[r][0] = _mm256_fmadd_ps(x, b0, acc.at[r][0]);
                if (vecs > 1)
                    acc.at[r][1] = _mm256_fmadd_ps(x, b1, acc.at[r][1]);
            }
        }
        low += p->a_jump;
        high += p->a_jump;
    }
    return acc;
}

/* Returns what is written. */
INLINE __m256 store(float *c, __m256i mask, __m256 sum, bool first)
{
    __m256 old = first ? _mm256_setzero_ps() : _mm256_maskload_ps(c, mask);
    sum = _mm256_add_ps(old, sum);
    _mm256_maskstore_ps(c, mask, sum);
    return sum;
}

/* 0 x is 0 but for infinities and NaN, which stay NaN in a sum of such. */
INLINE void look(const int rows, const int vecs, const struct chains *acc, __m256 *odd)
{
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            odd[v] = _mm256_fmadd_ps(acc->at[r][v], _mm256_setzero_ps(), odd[v]);
}

/* odd: NaN where something not finite was written. */
INLINE void tile(const int rows, const int vecs, const struct cpu_panel *p, const float *a,
                 float *c, __m256i last, __m256 *odd)
{
    struct chains acc = multiply(rows, vecs, p, a);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        float *to = c + (size_t)r * p->c_row;
        if (vecs > 1)
            acc.at[r][0] = store(to, _mm256_set1_epi32(-1), acc.at[r][0], p->first);
        acc.at[r][vecs - 1] = store(to + (vecs - 1) * VEC, last, acc.at[r][vecs - 1], p->first);
    }
    if (p->look)
        look(rows, vecs, &acc, odd);
}

#define TILE(n)                                                                                    \
    static void tile_##n(const struct cpu_panel *p, const float *a, float *c, __m256i last,        \
                         __m256 *odd)                                                              \
    {                                                                                              \
        if (p->cols > VEC)                                                                         \
            tile(n, 2, p, a, c, last, odd);                                                        \
        else                                                                                       \
            tile(n, 1, p, a, c, last, odd);                                                        \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

bool LEAF(panel)(const struct cpu_panel *p)
{
    static void (*const by_rows[ROWS])(const struct cpu_panel *, const float *, float *, __m256i,
                                       __m256 *) = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};
    int last_cols = (int)(p->cols > VEC ? p->cols - VEC : p->cols);
    __m256i last =
        _mm256_cmpgt_epi32(_mm256_set1_epi32(last_cols), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256 odd[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    const float *a = p->a;
    float *c = p->c;
    for (size_t i = 0; i < p->rows; i += ROWS, a += p->a_tile, c += ROWS * p->c_row)
        by_rows[(p->rows - i < ROWS ? p->rows - i : ROWS) - 1](p, a, c, last, odd);
    return _mm256_movemask_ps(_mm256_cmp_ps(odd[0], odd[1], _CMP_UNORD_Q)) == 0;
}

/* 8 x 8 block: pairs, fours, then halves. */
INLINE void transpose(__m256 r[VEC])
{
    __m256 t[VEC];
#pragma GCC unroll 4
    for (int i = 0; i < VEC; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < VEC; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < VEC; i++)
        r[i] = t[i];
}

/* Columns j..j+7 of the panel from 8 rows of b, each contiguous in k. */
static void turn(float *dst, const float *b, size_t col, size_t k, size_t cols)
{
    size_t i = 0;
    for (; cols == VEC && i + VEC <= k; i += VEC) {
        __m256 r[VEC];
#pragma GCC unroll 8
        for (size_t j = 0; j < VEC; j++)
            r[j] = _mm256_loadu_ps(b + j * col + i);
        transpose(r);
#pragma GCC unroll 8
        for (size_t j = 0; j < VEC; j++)
            _mm256_storeu_ps(dst + (i + j) * CPU_TILE_COLS, r[j]);
    }
    for (; i < k; i++)
        for (size_t j = 0; j < VEC; j++)
            dst[i * CPU_TILE_COLS + j] = j < cols ? b[j * col + i] : 0.0f;
}

void LEAF(pack_turned)(float *dst, const float *b, size_t col, size_t k, size_t cols)
{
    turn(dst, b, col, k, cols < VEC ? cols : VEC);
    turn(dst + VEC, cols > VEC ? b + VEC * col : b, col, k, cols > VEC ? cols - VEC : 0);
}

/* 8 columns by 8 k's: acc += a[0..8) times them. */
INLINE __m256 add_turned(__m256 acc, const float *a, const float *b, size_t stride)
{
    __m256 r[VEC];
#pragma GCC unroll 8
    for (size_t j = 0; j < VEC; j++)
        r[j] = _mm256_loadu_ps(b + j * stride);
    transpose(r);
#pragma GCC unroll 8
    for (size_t i = 0; i < VEC; i++)
        acc = _mm256_fmadd_ps(_mm256_broadcast_ss(a + i), r[i], acc);
    return acc;
}

/* The same for fewer, by one number after the other. */
static __m256 add_rest(__m256 acc, const float *a, const float *b, size_t stride, size_t n,
                       size_t cols)
{
    float sum[VEC];
    _mm256_storeu_ps(sum, acc);
    for (size_t j = 0; j < cols; j++)
        for (size_t i = 0; i < n; i++)
            sum[j] = fn_fma(a[i], b[j * stride + i], sum[j]);
    return _mm256_loadu_ps(sum);
}

void LEAF(rows_turned)(const struct cpu_turned *p)
{
    const float *a = p->a, *b = p->b;
    for (size_t j = 0; j < p->cols; j += VEC, b += VEC * p->stride) {
        size_t n = p->cols - j < VEC ? p->cols - j : VEC;
        __m256 total = _mm256_setzero_ps();
        float sums[VEC];
        for (size_t k0 = 0; k0 < p->k; k0 += CPU_BLOCK) {
            size_t end = p->k - k0 < CPU_BLOCK ? p->k : k0 + CPU_BLOCK, i = k0;
            __m256 acc = _mm256_setzero_ps();
            for (; n == VEC && i + VEC <= end; i += VEC)
                acc = add_turned(acc, a + i, b + i, p->stride);
            acc = add_rest(acc, a + i, b + i, p->stride, end - i, n);
            total = _mm256_add_ps(total, acc);
        }
        _mm256_storeu_ps(sums, total);
        memcpy(p->c + j, sums, n * sizeof *p->c);
    }
}
