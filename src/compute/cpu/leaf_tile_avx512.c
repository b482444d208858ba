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
    if (p->ahead.rows == 0)
        return (struct ahead){0};
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
    for (size_t left = p->k, run = p->a_run ? p->a_left : left; left > 0;) {
        size_t steps = run < EACH_K ? run : EACH_K;
        steps = left < steps ? left : steps;
        left -= steps;
        run -= steps;
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
        if (run == 0) {
            run = p->a_run;
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                base[i] += p->a_jump;
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

/* Up to 16 rows of a matrix, each contiguous in k, which become lanes. */
struct strip {
    const float *b;
    size_t stride, rows;
};

/* All 16 rows of a strip at some k: rows 0, 4, 8, 12, and how many bytes the second and the fourth
 * of each four lie further on. OPAQUE hides from the compiler how they hang together; it would give
 * each row a pointer of its own, which is more than there are registers. */
struct rows {
    const char *at[4];
    size_t next, third;
};

#define OPAQUE(x) __asm__("" : "+r"(x))

INLINE struct rows rows_at(const struct strip *s)
{
    struct rows q = {.next = s->stride * sizeof(float)};
    OPAQUE(q.next);
    q.third = 3 * q.next;
    OPAQUE(q.third);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        q.at[i] = (const char *)(s->b + 4 * i * s->stride);
        OPAQUE(q.at[i]);
    }
    return q;
}

INLINE void rows_move(struct rows *q, size_t bytes)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        q->at[i] += bytes;
        OPAQUE(q->at[i]);
    }
}

INLINE const float *row_of(const struct rows *q, const size_t r)
{
    const char *at = q->at[r / 4];
    return (const float *)(const void *)(r % 4 == 0   ? at
                                         : r % 4 == 1 ? at + q->next
                                         : r % 4 == 2 ? at + 2 * q->next
                                                      : at + q->third);
}

/* 8 k's of two rows. */
INLINE __m512 pair(const float *low, const float *high)
{
    return _mm512_mask_broadcast_f32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low)), 0xff00,
                                       _mm256_loadu_ps(high));
}

/* The same from row r of a strip on, and 4 rows on; +0 for k's from `end` on and rows that are not
 * there. */
INLINE __m512 pair_there(const struct strip *s, size_t r, size_t k, size_t end)
{
    const float *at[2] = {s->b, s->b};
    __mmask8 mask[2] = {0, 0};
    for (size_t i = 0; i < 2; i++)
        if (r + 4 * i < s->rows && k < end) {
            at[i] = s->b + (r + 4 * i) * s->stride + k;
            mask[i] = end - k < 8 ? (__mmask8)((1u << (end - k)) - 1) : 0xff;
        }
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_maskz_loadu_ps(mask[0], at[0])),
                              _mm256_maskz_loadu_ps(mask[1], at[1]), 1);
}

/* Transposes the 4 x 4 numbers in each quarter of 4 registers. Only one unit shuffles 16 lanes; a
 * pair of registers that is `blended` needs it once instead of twice. */
INLINE void fours(__m512 at[4], const __m512 r[4], const bool blended)
{
    __m512 a = _mm512_unpacklo_ps(r[0], r[1]), b = _mm512_unpacklo_ps(r[2], r[3]);
    __m512 c = _mm512_unpackhi_ps(r[0], r[1]), d = _mm512_unpackhi_ps(r[2], r[3]);
    if (blended) {
        __m512 ab = _mm512_shuffle_ps(a, b, 0x4e), cd = _mm512_shuffle_ps(c, d, 0x4e);
        __asm__("" : "+v"(ab), "+v"(cd)); /* else blends become shuffles with a mask */
        at[0] = _mm512_mask_blend_ps(0xcccc, a, ab);
        at[1] = _mm512_mask_blend_ps(0xcccc, ab, b);
        at[2] = _mm512_mask_blend_ps(0xcccc, c, cd);
        at[3] = _mm512_mask_blend_ps(0xcccc, cd, d);
        return;
    }
    at[0] = (__m512)_mm512_unpacklo_pd((__m512d)a, (__m512d)b);
    at[1] = (__m512)_mm512_unpackhi_pd((__m512d)a, (__m512d)b);
    at[2] = (__m512)_mm512_unpacklo_pd((__m512d)c, (__m512d)d);
    at[3] = (__m512)_mm512_unpackhi_pd((__m512d)c, (__m512d)d);
}

#define TURN 8 /* k's that are turned at once */

/* at[i] is k + i, lanes are rows; x[r] has the 8 k's of rows r and r + 4, y[r] of rows r + 8 and r
 * +
 * 12. So the first of the four steps of a transposition is done by loads. */
INLINE void turn(__m512 at[TURN], const __m512 x[4], const __m512 y[4], const bool blended)
{
    __m512 low[4], high[4];
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++) {
        low[r] = _mm512_shuffle_f32x4(x[r], y[r], 0x88);
        high[r] = _mm512_shuffle_f32x4(x[r], y[r], 0xdd);
    }
    fours(at, low, blended);
    fours(at + 4, high, blended);
}

/* k's skip..skip+7 of all rows. */
INLINE void turn_rows(__m512 at[TURN], const struct rows *q, const size_t skip, const bool blended)
{
    __m512 x[4], y[4];
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++) {
        x[r] = pair(row_of(q, r) + skip, row_of(q, r + 4) + skip);
        y[r] = pair(row_of(q, r + 8) + skip, row_of(q, r + 12) + skip);
    }
    turn(at, x, y, blended);
}

static void turn_there(__m512 at[TURN], const struct strip *s, size_t k, size_t end)
{
    __m512 x[4], y[4];
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++) {
        x[r] = pair_there(s, r, k, end);
        y[r] = pair_there(s, r + 8, k, end);
    }
    turn(at, x, y, false);
}

/* Columns j..j+15 of the panel from 16 rows of b, each contiguous in k. */
static void pack_strip(float *dst, const struct strip *s, size_t k)
{
    __m512 r[TURN];
    struct rows q = rows_at(s);
    size_t i = 0;
    for (; s->rows == VEC && i + TURN <= k; i += TURN) {
        turn_rows(r, &q, 0, true);
        rows_move(&q, TURN * sizeof(float));
#pragma GCC unroll 8
        for (size_t j = 0; j < TURN; j++)
            _mm512_storeu_ps(dst + (i + j) * CPU_TILE_COLS, r[j]);
    }
    for (; i < k; i += TURN) {
        turn_there(r, s, i, k);
#pragma GCC unroll 8
        for (size_t j = 0; j < TURN; j++)
            if (i + j < k)
                _mm512_storeu_ps(dst + (i + j) * CPU_TILE_COLS, r[j]);
    }
}

void LEAF(pack_turned)(float *dst, const float *b, size_t col, size_t k, size_t cols)
{
    struct strip low = {b, col, cols < VEC ? cols : VEC};
    struct strip high = {cols > VEC ? b + VEC * col : b, col, cols > VEC ? cols - VEC : 0};
    pack_strip(dst, &low, k);
    pack_strip(dst + VEC, &high, k);
}

#define AHEAD_K  128 /* how far before their use numbers of a row are asked for */
#define ROWS_MAX 8   /* of A in rows_turned */
#define GROUPS   2   /* strips that are worked on together: chains enough to hide the latency */

/* Where a row ends the one that takes its turn `after` rows later goes on. */
INLINE void ask_ahead(const struct rows *q, const struct cpu_turned *p, size_t k, size_t after)
{
    size_t ahead = p->k - k > AHEAD_K ? AHEAD_K : after * p->stride + AHEAD_K - p->k;
    size_t bytes = ahead * sizeof(float);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const char *at = q->at[i] + bytes;
        OPAQUE(at);
        _mm_prefetch(at, _MM_HINT_T0);
        _mm_prefetch(at + q->next, _MM_HINT_T0);
        _mm_prefetch(at + 2 * q->next, _MM_HINT_T0);
        _mm_prefetch(at + q->third, _MM_HINT_T0);
    }
}

/* acc += 16 k's of `rows` rows of A times those of a strip. */
INLINE void add_turned(const int rows, __m512 acc[ROWS_MAX], const float *a, size_t a_row,
                       const struct rows *q)
{
#pragma GCC unroll 2
    for (size_t half = 0; half < VEC; half += TURN) {
        __m512 b[TURN];
        turn_rows(b, q, half, rows == 1 && half > 0);
#pragma GCC unroll 8
        for (size_t i = 0; i < TURN; i++)
            for (int r = 0; r < rows; r++)
                acc[r] =
                    _mm512_fmadd_ps(_mm512_set1_ps(a[(size_t)r * a_row + half + i]), b[i], acc[r]);
    }
}

/* The same for the k's and the rows of a strip that are there. */
INLINE void add_there(const int rows, __m512 acc[ROWS_MAX], const struct cpu_turned *p,
                      const struct strip *s, size_t k, size_t end)
{
    for (; k < end; k += TURN) {
        __m512 b[TURN];
        turn_there(b, s, k, end);
#pragma GCC unroll 8
        for (size_t i = 0; i < TURN; i++)
            for (int r = 0; r < rows && k + i < end; r++)
                acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(p->a[(size_t)r * p->a_row + k + i]), b[i],
                                         acc[r]);
    }
}

/* C = or += what a block gave. */
INLINE void strip_store(const int rows, const __m512 acc[ROWS_MAX], float *c, size_t c_row,
                        size_t cols, bool first)
{
    __mmask16 mask = (__mmask16)((1u << cols) - 1);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++, c += c_row) {
        __m512 old = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, c);
        _mm512_mask_storeu_ps(c, mask, _mm512_add_ps(old, acc[r]));
    }
}

/* Columns j.. of C, as many strips as there are groups; one strip that is not `whole`. */
INLINE void strips(const int rows, const int groups, const struct cpu_turned *p, size_t j,
                   const bool whole)
{
    struct strip s[GROUPS];
    struct rows q[GROUPS];
    size_t cols = p->cols - j < VEC ? p->cols - j : VEC;
    for (int g = 0; g < groups; g++) {
        s[g] = (struct strip){p->b + (j + (size_t)g * VEC) * p->stride, p->stride, cols};
        q[g] = rows_at(&s[g]);
    }
    for (size_t k0 = 0, k = 0; k0 < p->k; k0 += CPU_BLOCK) {
        size_t end = p->k - k0 < CPU_BLOCK ? p->k : k0 + CPU_BLOCK;
        __m512 acc[GROUPS][ROWS_MAX];
        for (int g = 0; g < groups; g++)
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                acc[g][r] = _mm512_setzero_ps();
        for (; whole && k + VEC <= end; k += VEC)
#pragma GCC unroll 2
            for (int g = 0; g < groups; g++) {
                if (!p->near)
                    ask_ahead(&q[g], p, k, (size_t)groups * VEC);
                add_turned(rows, acc[g], p->a + k, p->a_row, &q[g]);
                rows_move(&q[g], VEC * sizeof(float));
            }
        for (int g = 0; g < groups; g++) {
            add_there(rows, acc[g], p, &s[g], k, end);
            strip_store(rows, acc[g], p->c + j + (size_t)g * VEC, p->c_row, cols, k0 == 0);
        }
        k = end;
    }
}

INLINE void turned(const int rows, const int groups, const struct cpu_turned *p)
{
    size_t j = 0, step = (size_t)groups * VEC;
    for (; groups > 1 && j + step <= p->cols; j += step)
        strips(rows, groups, p, j, true);
    for (; j + VEC <= p->cols; j += VEC)
        strips(rows, 1, p, j, true);
    if (j < p->cols)
        strips(rows, 1, p, j, false);
}

#define TURNED(n, groups)                                                                          \
    static void turned_##n(const struct cpu_turned *p)                                             \
    {                                                                                              \
        turned(n, groups, p);                                                                      \
    }
TURNED(1, 2)
TURNED(2, 2)
TURNED(3, 2)
TURNED(4, 2)
TURNED(5, 1)
TURNED(6, 1)
TURNED(7, 1)
TURNED(8, 1)

void LEAF(rows_turned)(const struct cpu_turned *p)
{
    static void (*const of[ROWS_MAX])(const struct cpu_turned *) = {
        turned_1, turned_2, turned_3, turned_4, turned_5, turned_6, turned_7, turned_8};
    of[p->rows - 1](p);
}
