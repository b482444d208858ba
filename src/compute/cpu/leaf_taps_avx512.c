/* Gradients of a convolution's weights for AVX-512, read where they lie: lanes are outputs, a chain
 * of fma is a weight, and an element of the image is broadcast as it is multiplied. */
#include <immintrin.h>

#include "compute/cpu/leaf.h"

#define VEC CPU_LANES

/* `runs` and `len` are constants wherever this is inlined, so all chains are registers. */
INLINE void chains(const size_t runs, const size_t len, const struct cpu_taps *p)
{
    __m512 acc[CPU_TAPS_MAX];
    __mmask16 mask = (__mmask16)((1u << p->outputs) - 1);
    const float *dy = p->dy;
#pragma GCC unroll 27
    for (size_t i = 0; i < runs * len; i++)
        acc[i] = _mm512_setzero_ps();
    for (size_t s = 0; s < p->lines; s++) {
        const float *x = p->line[s].x + p->skip;
        for (size_t n = p->line[s].n; n > 0; n--, x += p->step, dy += p->dy_row) {
            __m512 d = _mm512_maskz_loadu_ps(mask, dy);
#pragma GCC unroll 5
            for (size_t r = 0; r < runs; r++)
#pragma GCC unroll 24
                for (size_t e = 0; e < len; e++)
                    acc[r * len + e] =
                        _mm512_fmadd_ps(_mm512_set1_ps(x[r * p->run_row + e]), d, acc[r * len + e]);
        }
    }
#pragma GCC unroll 5
    for (size_t r = 0; r < runs; r++)
#pragma GCC unroll 24
        for (size_t e = 0; e < len; e++) {
            float *sum = p->sums + (r * p->sums_row + e) * VEC;
            __m512 old = p->first ? _mm512_setzero_ps() : _mm512_loadu_ps(sum);
            _mm512_storeu_ps(sum, _mm512_add_ps(old, acc[r * len + e]));
        }
}

#define TAPS(runs, len)                                                                            \
    static void taps_##runs##_##len(const struct cpu_taps *p)                                      \
    {                                                                                              \
        chains(runs, len, p);                                                                      \
    }
#define FIVE(to)                                                                                   \
    to(1, 1) to(1, 2) to(1, 3) to(1, 4) to(1, 5) to(3, 1) to(3, 2) to(3, 3) to(3, 4) to(3, 5)      \
        to(5, 1) to(5, 2) to(5, 3) to(5, 4) to(5, 5)
#define NINE(to) to(1, 6) to(1, 7) to(1, 8) to(1, 9) to(3, 6) to(3, 7) to(3, 8) to(3, 9)
#define MORE(to)                                                                                   \
    to(1, 10) to(1, 11) to(1, 12) to(1, 13) to(1, 14) to(1, 15) to(1, 16) to(1, 17) to(1, 18)      \
        to(1, 19) to(1, 20) to(1, 21) to(1, 22) to(1, 23) to(1, 24)

FIVE(TAPS)
NINE(TAPS)
MORE(TAPS)

#define ENTRY(runs, len) [runs][len] = taps_##runs##_##len,

void LEAF(taps)(const struct cpu_taps *p)
{
    static void (*const of[CPU_TAPS_RUNS + 1][CPU_TAPS_LEN + 1])(const struct cpu_taps *) = {
        FIVE(ENTRY) NINE(ENTRY) MORE(ENTRY)};
    of[p->runs][p->len](p);
}
