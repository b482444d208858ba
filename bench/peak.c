#include "peak.h"

#include "bench.h"
#include "os/thread.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define CHAINS    10 /* at least the latency of an fma times the units that do it */
#define ROUNDS    200000
#define SLICES    5
#define PARTS_MAX 1024

struct peak {
    double (*loop)(void); /* returns a number that hangs on all fmas */
    double sink[PARTS_MAX];
};

/* The empty asm keeps every chain in its register and every fma in the loop. */
#define KEEP(fma, c)                                                                               \
    c = fma(c, x, x);                                                                              \
    __asm__ volatile("" : "+v"(c));
#define PEAK_LOOP(name, isa, type, set1, fma)                                                      \
    __attribute__((target(isa))) static double name(void)                                          \
    {                                                                                              \
        type x = set1(0.5f), a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x; \
        for (int r = 0; r < ROUNDS; r++) {                                                         \
            KEEP(fma, a)                                                                           \
            KEEP(fma, b)                                                                           \
            KEEP(fma, c)                                                                           \
            KEEP(fma, d)                                                                           \
            KEEP(fma, e) KEEP(fma, f) KEEP(fma, g) KEEP(fma, h) KEEP(fma, i) KEEP(fma, j)          \
        }                                                                                          \
        a = fma(a, b, c) + fma(d, e, f) + fma(g, h, i) + j;                                        \
        return (double)((float *)&a)[0];                                                           \
    }

#if defined(__x86_64__)
PEAK_LOOP(loop_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
PEAK_LOOP(loop_avx512, "avx512f,fma", __m512, _mm512_set1_ps, _mm512_fmadd_ps)
#endif

static void peak_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct peak *p = ctx;
    (void)parts;
    p->sink[part] = p->loop();
}

double bench_peak(enum isa isa, uint32_t threads)
{
    static struct peak p;
    size_t width = 0;
    struct os_pool *pool;
    double best = 0;
#if defined(__x86_64__)
    if (isa == ISA_AVX2)
        width = 8, p.loop = loop_avx2;
    else if (isa == ISA_AVX512)
        width = 16, p.loop = loop_avx512;
#endif
    if (width == 0)
        return 0;
    EMAC_ASSERT(threads <= PARTS_MAX);
    pool = os_pool_new(threads);
    for (int i = 0; i < SLICES; i++) {
        double start = bench_seconds(), rate;
        os_pool_run(pool, peak_part, &p);
        rate = 2.0 * (double)width * CHAINS * ROUNDS * threads / (bench_seconds() - start);
        best = rate > best ? rate : best;
    }
    os_pool_free(pool);
    return best;
}
