/* Rule 7 with AVX2 and the 256-bit VNNI of processors without AVX-512. */
#include "compute/cpu/leaf_quant_ymm.h"

#define QUANT_ROWS     4
#define QUANT_SIGNED   0
#define dot(acc, w, x) ((vec)_mm256_dpbusd_avx_epi32((__m256i)(acc), (__m256i)(w), (__m256i)(x)))

#include "compute/cpu/leaf_quant.h"
