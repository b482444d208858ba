/* Speed of the matrix product: bench_gemm [--isa NAME] [--threads N] [SHAPE]...
 *
 * A shape is MxNxK or MxNxK,TA,TB with TA, TB 1 for an operand that is stored transposed; "peak" is
 * the processor's own limit. Each is answered by one line, GFLOP/s: the best of a few slices, which
 * is what the machine can do while nobody disturbs it. Without shapes they are read from standard
 * input, so that a script can take turns between this program and another. */
#include "bench.h"
#include "peak.h"

#define SHAPE_MAX ((size_t)1 << 17)
#define LINE_MAX  128

struct gemm {
    size_t m, n, k;
    long trans_a, trans_b;
};

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
        fprintf(stderr, "'%s' is not MxNxK, MxNxK,TA,TB or peak\n", text);
        exit(2);
    }
    return g;
}

static double measure(struct device *dev, const struct gemm *g)
{
    struct op_attrs attrs = {{{.i = g->trans_a}, {.i = g->trans_b}}};
    struct tensor in[2], out;
    double best;
    in[0] = (struct tensor){DTYPE_F32, g->trans_a ? SHAPE2(g->k, g->m) : SHAPE2(g->m, g->k),
                            bench_floats(g->m * g->k)};
    in[1] = (struct tensor){DTYPE_F32, g->trans_b ? SHAPE2(g->n, g->k) : SHAPE2(g->k, g->n),
                            bench_floats(g->k * g->n)};
    out = (struct tensor){DTYPE_F32, SHAPE2(g->m, g->n), bench_floats(g->m * g->n)};
    best = bench_best(dev, OP_MATMUL, &attrs, in, &out);
    free(in[0].data);
    free(in[1].data);
    free(out.data);
    return 2.0 * (double)g->m * (double)g->n * (double)g->k / best;
}

static void answer(struct device *dev, const char *text)
{
    double flops;
    if (strcmp(text, "peak") == 0) {
        flops = bench_peak(isa_find(device_kind(dev)), device_threads(dev));
    } else {
        struct gemm g = parse(text);
        flops = measure(dev, &g);
    }
    printf("%.2f\n", flops * 1e-9);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct device *dev = bench_device(&argc, &argv);
    char line[LINE_MAX];
    for (int i = 1; i < argc; i++)
        answer(dev, argv[i]);
    while (argc == 1 && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        answer(dev, line);
    }
    device_close(dev);
    return 0;
}
