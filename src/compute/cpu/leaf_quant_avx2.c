/* Rule 7 with AVX2 alone: products of bytes, added in pairs to 16 bits, those in
 * pairs to 32. The first takes unsigned by signed bytes, so the sign of a
 * weight moves to its activation; |128 * 127 * 2| fits 16 bits. */
#include "compute/cpu/leaf_quant_ymm.h"

#define QUANT_ROWS   4
#define QUANT_SIGNED 1
#define dot(acc, w, x)                                                                             \
    ((acc) +                                                                                       \
     (vec)_mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)(w)),                    \
                                                 _mm256_sign_epi8((__m256i)(x), (__m256i)(w))),    \
                            _mm256_set1_epi16(1)))

#include "compute/cpu/leaf_quant.h"
