/* What the 256-bit leaves of rule 7 share; they differ in `dot`. */
#include <immintrin.h>

#define VEC_BYTES 32

typedef int vec __attribute__((vector_size(VEC_BYTES), may_alias));
typedef float vecf __attribute__((vector_size(VEC_BYTES), aligned(4), may_alias));

#define vec_splat(i)       ((vec)_mm256_set1_epi32(i))
#define vecf_splat(x)      ((vecf)_mm256_set1_ps(x))
#define vecf_from(v)       ((vecf)_mm256_cvtepi32_ps((__m256i)(v)))
#define vecf_fma(a, b, c)  ((vecf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define low32(a, b)        ((vec)_mm256_unpacklo_epi32((__m256i)(a), (__m256i)(b)))
#define high32(a, b)       ((vec)_mm256_unpackhi_epi32((__m256i)(a), (__m256i)(b)))
#define low64(a, b)        ((vec)_mm256_unpacklo_epi64((__m256i)(a), (__m256i)(b)))
#define high64(a, b)       ((vec)_mm256_unpackhi_epi64((__m256i)(a), (__m256i)(b)))
#define lanes_splat(p)     ((vec)_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(p))))
#define lanes_load(p, row) ((vec)lanes_from(p, row))

static inline __attribute__((always_inline)) __m256i lanes_from(const unsigned char *p,
                                                                unsigned long row)
{
    __m256i v = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p));
    return _mm256_inserti128_si256(v, _mm_loadu_si128((const __m128i *)(p + 4 * row)), 1);
}
