/* The innermost product for AVX-512: 12 rows of A by 2 vectors of B. 24 chains
 * of fma stay in registers, which hides the latency of 4 on two ports; A is
 * read where it lies, one broadcast a row. */
#include <immintrin.h>

#include "compute/cpu/leaf.h"

#define ROWS 12
#define VEC  16

_Static_assert(ROWS == CPU_TILE_ROWS && 2 * VEC == CPU_TILE_COLS, "tile as the table says");

struct chains {
    __m512 at[ROWS][2];
};

/* What is fetched ahead, a line at a time. Fetches are spread over the loop: a burst of them would
 * fill the buffers that the loop's own reads of the level-2 cache go through. */
struct ahead {
    const char *at, *end; /* in the row under way */
    size_t row, skip;     /* from row to row, from a row's end to the next */
    size_t each;          /* lines for EACH_K steps of a tile */
};

#define LINE   64
#define EACH_K 16

/* From tile to tile of a panel. */
struct state {
    struct ahead ahead;
    __m512 odd[2]; /* NaN where something not finite was written */
};

static struct ahead ahead_begin(const struct cpu_panel *p)
{
    size_t turns = (p->rows + ROWS - 1) / ROWS * ((p->k + EACH_K - 1) / EACH_K);
    size_t lines = p->ahead.len / VEC + 1;
    struct ahead h = {.at = (const char *)p->ahead.at, .row = p->ahead.row * sizeof(float)};
    h.end = h.at + lines * LINE;
    h.skip = h.row - lines * LINE;
    h.each = (p->ahead.rows * lines + turns - 1) / turns;
    return h;
}

INLINE void ahead_fetch(struct ahead *h)
{
    for (size_t i = h->each; i > 0; i--) {
        _mm_prefetch(h->at, _MM_HINT_T1);
        h->at += LINE;
        if (h->at == h->end) {
            h->at += h->skip;
            h->end += h->row;
        }
    }
}

/* `rows` and `vecs` are constants wherever these are inlined: all loops over them unroll. Rows are
 * reached from 4 pointers, 3 rows each, which is what the address modes can do without adding. The
 * lines of C are asked for one row after the other in the first half of the loop. */
INLINE struct chains multiply(const int rows, const int vecs, const struct cpu_panel *p,
                              const float *a, const float *c, struct ahead *h)
{
    struct chains acc;
    const float *b = p->b, *base[4], *c_end = c + (size_t)rows * p->c_row;
    size_t row = p->a_row, col = p->a_col;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        base[i] = a + (size_t)(3 * i) * row;
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            acc.at[r][v] = _mm512_setzero_ps();
    for (size_t left = p->k; left > 0;) {
        size_t steps = left < EACH_K ? left : EACH_K;
        left -= steps;
        if (c != c_end) {
            _mm_prefetch((const char *)c, _MM_HINT_T0);
            _mm_prefetch((const char *)(c + VEC), _MM_HINT_T0);
            c += p->c_row;
        }
        ahead_fetch(h);
        for (; steps > 0; steps--, b += 2 * VEC) {
            __m512 b0 = _mm512_loadu_ps(b), b1 = vecs > 1 ? _mm512_loadu_ps(b + VEC) : b0;
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                __m512 x = _mm512_set1_ps(base[r / 3][(size_t)(r % 3) * row]);
                acc.at[r][0] = _mm512_fmadd_ps(x, b0, acc.at[r][0]);
                if (vecs > 1)
                    acc.at[r][1] = _mm512_fmadd_ps(x, b1, acc.at[r][1]);
            }
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                base[i] += col;
        }
    }
    return acc;
}

/* 0 x is 0 but for infinities and NaN, which stay NaN in a sum of such. */
INLINE void look(const int rows, const int vecs, const struct chains *acc, struct state *s)
{
    __m512 zero = _mm512_setzero_ps(), odd[2] = {s->odd[0], s->odd[1]};
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            odd[r % 2] = _mm512_fmadd_ps(acc->at[r][v], zero, odd[r % 2]);
    s->odd[0] = odd[0];
    s->odd[1] = odd[1];
}

/* All of C is read before any of it is written: where rows are 4096 bytes apart a read would
 * otherwise wait for the write before it, whose address looks the same in its low bits. */
INLINE void tile(const int rows, const int vecs, const struct cpu_panel *p, const float *a,
                 float *c, __mmask16 last, struct state *s)
{
    struct chains acc = multiply(rows, vecs, p, a, c, &s->ahead);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++) {
            __mmask16 mask = v == vecs - 1 ? last : 0xffff;
            const float *from = c + (size_t)r * p->c_row + v * VEC;
            __m512 old = p->first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, from);
            acc.at[r][v] = _mm512_add_ps(old, acc.at[r][v]);
        }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            _mm512_mask_storeu_ps(c + (size_t)r * p->c_row + v * VEC, v == vecs - 1 ? last : 0xffff,
                                  acc.at[r][v]);
    if (p->look)
        look(rows, vecs, &acc, s);
}

static void tile_full(const struct cpu_panel *p, const float *a, float *c, struct state *s)
{
    tile(ROWS, 2, p, a, c, 0xffff, s);
}

#define TILE(n)                                                                                    \
    static void tile_##n(const struct cpu_panel *p, const float *a, float *c, __mmask16 last,      \
                         struct state *s)                                                          \
    {                                                                                              \
        if (p->cols > VEC)                                                                         \
            tile(n, 2, p, a, c, last, s);                                                          \
        else                                                                                       \
            tile(n, 1, p, a, c, last, s);                                                          \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)

bool LEAF(panel)(const struct cpu_panel *p)
{
    static void (*const edge[ROWS])(const struct cpu_panel *, const float *, float *, __mmask16,
                                    struct state *) = {tile_1, tile_2,  tile_3,  tile_4,
                                                       tile_5, tile_6,  tile_7,  tile_8,
                                                       tile_9, tile_10, tile_11, tile_12};
    size_t last_cols = p->cols > VEC ? p->cols - VEC : p->cols;
    __mmask16 last = (__mmask16)((1u << last_cols) - 1);
    struct state s = {ahead_begin(p), {_mm512_setzero_ps(), _mm512_setzero_ps()}};
    const float *a = p->a;
    float *c = p->c;
    for (size_t i = 0; i < p->rows; i += ROWS, a += p->a_tile, c += ROWS * p->c_row) {
        size_t rows = p->rows - i < ROWS ? p->rows - i : ROWS;
        if (rows == ROWS && p->cols == 2 * VEC)
            tile_full(p, a, c, &s);
        else
            edge[rows - 1](p, a, c, last, &s);
    }
    return _mm512_cmp_ps_mask(s.odd[0], s.odd[1], _CMP_UNORD_Q) == 0;
}

/* In place transpose of a 16 x 16 block: pairs, fours, then quarters of 4. */
INLINE void transpose(__m512 r[VEC])
{
    __m512 t[VEC];
#pragma GCC unroll 8
    for (int i = 0; i < VEC; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < VEC; i += 4) {
        r[i] = (__m512)_mm512_unpacklo_pd((__m512d)t[i], (__m512d)t[i + 2]);
        r[i + 1] = (__m512)_mm512_unpackhi_pd((__m512d)t[i], (__m512d)t[i + 2]);
        r[i + 2] = (__m512)_mm512_unpacklo_pd((__m512d)t[i + 1], (__m512d)t[i + 3]);
        r[i + 3] = (__m512)_mm512_unpackhi_pd((__m512d)t[i + 1], (__m512d)t[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* Columns j..j+15 of the panel from 16 rows of b, each contiguous in k. */
static void turn(float *dst, const float *b, size_t col, size_t k, size_t cols)
{
    for (size_t i = 0; i < k; i += VEC) {
        size_t n = k - i < VEC ? k - i : VEC;
        __mmask16 mask = (__mmask16)((1u << n) - 1);
        __m512 r[VEC];
#pragma GCC unroll 16
        for (size_t j = 0; j < VEC; j++)
            r[j] = _mm512_maskz_loadu_ps(j < cols ? mask : 0, b + (j < cols ? j * col : 0) + i);
        transpose(r);
        if (n == VEC) {
#pragma GCC unroll 16
            for (size_t j = 0; j < VEC; j++)
                _mm512_storeu_ps(dst + (i + j) * CPU_TILE_COLS, r[j]);
            continue;
        }
        float rest[VEC][VEC];
#pragma GCC unroll 16
        for (size_t j = 0; j < VEC; j++)
            _mm512_storeu_ps(rest[j], r[j]);
        for (size_t j = 0; j < n; j++)
            memcpy(dst + (i + j) * CPU_TILE_COLS, rest[j], sizeof rest[j]);
    }
}

void LEAF(pack_turned)(float *dst, const float *b, size_t col, size_t k, size_t cols)
{
    turn(dst, b, col, k, cols < VEC ? cols : VEC);
    turn(dst + VEC, cols > VEC ? b + VEC * col : b, col, k, cols > VEC ? cols - VEC : 0);
}

#define AHEAD_K 128 /* how far before their use numbers of a row are asked for */

/* 16 columns by up to 16 k's of a block: acc += a[0..n) times them. */
INLINE __m512 add_turned(__m512 acc, const float *a, const float *b, size_t stride, size_t n,
                         size_t cols)
{
    __mmask16 mask = (__mmask16)((1u << n) - 1);
    __m512 r[VEC];
#pragma GCC unroll 16
    for (size_t j = 0; j < VEC; j++)
        r[j] = _mm512_maskz_loadu_ps(j < cols ? mask : 0, b + (j < cols ? j * stride : 0));
    transpose(r);
    if (n == VEC) {
#pragma GCC unroll 16
        for (size_t i = 0; i < VEC; i++)
            acc = _mm512_fmadd_ps(_mm512_set1_ps(a[i]), r[i], acc);
        return acc;
    }
    float rest[VEC][VEC];
#pragma GCC unroll 16
    for (size_t i = 0; i < VEC; i++)
        _mm512_storeu_ps(rest[i], r[i]);
    for (size_t i = 0; i < n; i++)
        acc = _mm512_fmadd_ps(_mm512_set1_ps(a[i]), _mm512_loadu_ps(rest[i]), acc);
    return acc;
}

/* Where a row ends the one that takes its turn 16 columns later goes on. */
INLINE void ask_ahead(const float *b, size_t stride, size_t i, size_t k)
{
    const float *at = b + (i + AHEAD_K < k ? i + AHEAD_K : VEC * stride + i + AHEAD_K - k);
#pragma GCC unroll 16
    for (size_t j = 0; j < VEC; j++)
        _mm_prefetch((const char *)(at + j * stride), _MM_HINT_T0);
}

void LEAF(row_turned)(float *c, const float *a, const float *b, size_t stride, size_t k,
                      size_t cols)
{
    for (size_t j = 0; j < cols; j += VEC, b += VEC * stride) {
        size_t n = cols - j < VEC ? cols - j : VEC;
        __m512 total = _mm512_setzero_ps();
        for (size_t k0 = 0; k0 < k; k0 += CPU_BLOCK) {
            size_t end = k - k0 < CPU_BLOCK ? k : k0 + CPU_BLOCK;
            __m512 acc = _mm512_setzero_ps();
            for (size_t i = k0; i < end; i += VEC) {
                ask_ahead(b, stride, i, k);
                acc = add_turned(acc, a + i, b + i, stride, end - i < VEC ? end - i : VEC, n);
            }
            total = _mm512_add_ps(total, acc);
        }
        _mm512_mask_storeu_ps(c + j, (__mmask16)((1u << n) - 1), total);
    }
}
