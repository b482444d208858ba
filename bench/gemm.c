/* Speed of the matrix product: bench_gemm [--isa NAME] [--threads N] [MxNxK[,TA,TB]]...
 * Prints a JSON list; per shape the median and the best of several timings. */
#include "bench.h"

#define TIMINGS   9
#define TIMING_S  0.03
#define SHAPE_MAX ((size_t)1 << 16)

struct gemm {
    size_t m, n, k;
    long trans_a, trans_b;
};

static const char *const usual[] = {"1536x3072x768",    "1024x1024x1024",   "2048x160x160,0,1",
                                    "2048x432x160,0,1", "2048x160x432,0,1", "2048x160x432,0,0",
                                    "160x432x2048,1,0", "432x160x2048,1,0", "160x160x2048,1,0",
                                    "2048x256x160,0,1", "2048x768x768,0,1", "768x768x2048,1,0",
                                    "1x768x768,0,1"};

static struct gemm parse(const char *text)
{
    struct gemm g = {0};
    long v[5] = {0};
    char *end = (char *)text;
    for (int i = 0; i < 5 && *end; i++)
        v[i] = strtol(i && strchr("x,", *end) ? end + 1 : end, &end, 10);
    g = (struct gemm){(size_t)v[0], (size_t)v[1], (size_t)v[2], v[3] != 0, v[4] != 0};
    if (*end || v[0] < 1 || v[1] < 1 || v[2] < 1 || g.m > SHAPE_MAX || g.n > SHAPE_MAX ||
        g.k > SHAPE_MAX) {
        fprintf(stderr, "'%s' is not MxNxK or MxNxK,TA,TB\n", text);
        exit(2);
    }
    return g;
}

static void measure(struct device *dev, const struct gemm *g, const char *before)
{
    struct op_attrs attrs = {{{.i = g->trans_a}, {.i = g->trans_b}}};
    struct tensor in[2], out;
    double t[TIMINGS], flops = 2.0 * (double)g->m * (double)g->n * (double)g->k;
    size_t runs = (size_t)(TIMING_S * 1e11 / flops) + 1;
    in[0] = (struct tensor){DTYPE_F32, g->trans_a ? SHAPE2(g->k, g->m) : SHAPE2(g->m, g->k),
                            bench_floats(g->m * g->k)};
    in[1] = (struct tensor){DTYPE_F32, g->trans_b ? SHAPE2(g->n, g->k) : SHAPE2(g->k, g->n),
                            bench_floats(g->k * g->n)};
    out = (struct tensor){DTYPE_F32, SHAPE2(g->m, g->n), bench_floats(g->m * g->n)};
    for (int i = -1; i < TIMINGS; i++) {
        double start = bench_seconds();
        for (size_t r = 0; r < runs; r++)
            bench_run(dev, OP_MATMUL, &attrs, in, &out);
        if (i >= 0)
            t[i] = (bench_seconds() - start) / (double)runs;
    }
    double median = bench_median(t, TIMINGS); /* sorts */
    printf("%s{\"name\": \"gemm %zux%zux%zu%s%s\", \"m\": %zu, \"n\": %zu, \"k\": %zu, \"device\": "
           "\"%s\", \"gflops\": %.1f, \"best_gflops\": %.1f}",
           before, g->m, g->n, g->k, g->trans_a ? " at" : "", g->trans_b ? " bt" : "", g->m, g->n,
           g->k, device_name(dev), flops / median * 1e-9, flops / t[0] * 1e-9);
    free(in[0].data);
    free(in[1].data);
    free(out.data);
}

int main(int argc, char **argv)
{
    struct device *dev = bench_device(&argc, &argv);
    size_t count = argc > 1 ? (size_t)argc - 1 : EMAC_COUNT(usual);
    for (size_t i = 0; i < count; i++) {
        struct gemm g = parse(argc > 1 ? argv[1 + i] : usual[i]);
        measure(dev, &g, i ? ",\n " : "[");
    }
    printf("]\n");
    device_close(dev);
    return 0;
}
