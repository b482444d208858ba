/* Rule 7 with AVX-512 and VNNI: 64 products of bytes an instruction. */
#include <immintrin.h>

#define VEC_BYTES    64
#define QUANT_ROWS   6
#define QUANT_SIGNED 0

typedef int vec __attribute__((vector_size(VEC_BYTES), may_alias));
typedef float vecf __attribute__((vector_size(VEC_BYTES), aligned(4), may_alias));

#define vec_splat(i)       ((vec)_mm512_set1_epi32(i))
#define vecf_splat(x)      ((vecf)_mm512_set1_ps(x))
#define vecf_from(v)       ((vecf)_mm512_cvtepi32_ps((__m512i)(v)))
#define vecf_fma(a, b, c)  ((vecf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define low32(a, b)        ((vec)_mm512_unpacklo_epi32((__m512i)(a), (__m512i)(b)))
#define high32(a, b)       ((vec)_mm512_unpackhi_epi32((__m512i)(a), (__m512i)(b)))
#define low64(a, b)        ((vec)_mm512_unpacklo_epi64((__m512i)(a), (__m512i)(b)))
#define high64(a, b)       ((vec)_mm512_unpackhi_epi64((__m512i)(a), (__m512i)(b)))
#define dot(acc, w, x)     ((vec)_mm512_dpbusd_epi32((__m512i)(acc), (__m512i)(w), (__m512i)(x)))
#define lanes_splat(p)     ((vec)_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(p))))
#define lanes_load(p, row) ((vec)lanes_from(p, row))

static inline __attribute__((always_inline)) __m512i lanes_from(const unsigned char *p,
                                                                unsigned long row)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 4 * row)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 8 * row)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 12 * row)), 3);
}

#include "compute/cpu/leaf_quant.h"
