#include <stdlib.h>

#include "base/buf.h"
#include "compute/device.h"

#define GEMM_SIDE 384 /* of a product that fits caches as training's do */
#define MEMORY_FLOATS                                                                              \
    ((size_t)4 << 20) /* 16 MiB a vector: beyond the caches of a rig's processor */
#define RUNS_MIN 3
#define RUNS_MAX 64

struct benchmark {
    struct device *dev;
    uint64_t (*now_ns)(void *);
    void *ctx;
    float *a, *b, *c;
};

static int compare(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static bool run_gemm(struct benchmark *m)
{
    struct tensor in[2] = {{DTYPE_F32, SHAPE2(GEMM_SIDE, GEMM_SIDE), m->a},
                           {DTYPE_F32, SHAPE2(GEMM_SIDE, GEMM_SIDE), m->b}};
    struct tensor out = {DTYPE_F32, SHAPE2(GEMM_SIDE, GEMM_SIDE), m->c};
    struct op_attrs attrs = {{{.i = 0}, {.i = 1}}};
    return device_run(m->dev, OP_MATMUL, &attrs, in, &out, NULL) == EMAC_OK &&
           device_finish(m->dev, NULL) == EMAC_OK;
}

static bool run_add(struct benchmark *m)
{
    return device_add(m->dev, m->c, m->a, m->b, MEMORY_FLOATS, NULL) == EMAC_OK &&
           device_finish(m->dev, NULL) == EMAC_OK;
}

/* Median seconds of runs within about `ms`, after one that warms up; 0 when a run failed. */
static double median_seconds(struct benchmark *m, bool (*run)(struct benchmark *), uint64_t ms)
{
    double seconds[RUNS_MAX];
    uint64_t begin = m->now_ns(m->ctx), before = begin, now = begin;
    size_t n = 0;
    if (!run(m))
        return 0;
    while (n < RUNS_MAX && (n < RUNS_MIN || now - begin < ms * 1000000)) {
        before = m->now_ns(m->ctx);
        if (!run(m))
            return 0;
        now = m->now_ns(m->ctx);
        seconds[n++] = (double)(now - before) * 1e-9;
    }
    qsort(seconds, n, sizeof *seconds, compare);
    return seconds[n / 2];
}

/* Three vectors on the device, two of them filled. */
static enum emac_status vectors_new(struct benchmark *m)
{
    const size_t bytes = MEMORY_FLOATS * sizeof(float);
    float *x = NULL;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc_aligned(&x, bytes, NULL));
    for (size_t i = 0; i < MEMORY_FLOATS; i++)
        x[i] = (float)(i % 251) * 0x1p-8f - 0.5f;
    EMAC_TRY(st, device_alloc(m->dev, bytes, &m->a, NULL));
    EMAC_TRY(st, device_alloc(m->dev, bytes, &m->b, NULL));
    EMAC_TRY(st, device_alloc(m->dev, bytes, &m->c, NULL));
    EMAC_TRY(st, device_write(m->dev, m->a, x, bytes, NULL));
    st = device_write(m->dev, m->b, x, bytes, NULL);
out:
    free(x);
    return st;
}

void device_benchmark(struct device *dev, uint64_t (*now_ns)(void *), void *ctx, uint32_t ms,
                      struct device_speed *out)
{
    struct benchmark m = {.dev = dev, .now_ns = now_ns, .ctx = ctx};
    double t;
    *out = (struct device_speed){0};
    if (vectors_new(&m) == EMAC_OK) {
        t = median_seconds(&m, run_gemm, ms / 2);
        out->gemm_gflops = t > 0 ? 2e-9 * GEMM_SIDE * GEMM_SIDE * GEMM_SIDE / t : 0;
        t = median_seconds(&m, run_add, ms / 2);
        out->memory_gbs = t > 0 ? 3e-9 * (double)(MEMORY_FLOATS * sizeof(float)) / t : 0;
    }
    device_free(dev, m.a);
    device_free(dev, m.b);
    device_free(dev, m.c);
}
