/* Speed of the product with block-quantised weights: bench_quant [--isa NAME] [--threads N]
 * Answers each line "FORMAT M N K" of the input by one number, seconds a product. FORMAT is q4_0,
 * q4_1, q8_0, q6_k, or f32 for the plain product. With few rows the time is that of reading the
 * weights, so several matrices, 512 MiB in all, take turns. bench/peer_ggml.c answers the same. */
#include "bench.h"
#include "compute/quant.h"

#define TIMINGS      5
#define TIMING_S     0.05
#define WEIGHT_BYTES ((size_t)512 << 20)
#define ROWS_FEW     16
#define SIZE_LIMIT   ((size_t)1 << 16)

struct product {
    const struct quant_info *format; /* NULL for f32 */
    size_t m, n, k;
};

static struct product parse(const char *text)
{
    struct product p = {0};
    char name[8];
    size_t row;
    if (sscanf(text, "%7s %zu %zu %zu", name, &p.m, &p.n, &p.k) != 4 || p.m < 1 || p.n < 1 ||
        p.k < 1 || p.m > SIZE_LIMIT || p.n > SIZE_LIMIT || p.k > SIZE_LIMIT ||
        (!(p.format = quant_find(name)) && strcmp(name, "f32") != 0) ||
        (p.format && !quant_row_bytes(p.format->format, p.k, &row))) {
        fprintf(stderr, "'%s' is not FORMAT M N K with whole blocks\n", text);
        exit(2);
    }
    return p;
}

/* Random bytes would give odd scales: a matrix of usual numbers is quantised. */
static struct tensor weights(struct device *dev, const struct product *p)
{
    struct tensor w = {DTYPE_F32, SHAPE2(p->n, p->k), bench_floats(p->n * p->k)}, q;
    struct op_attrs attrs;
    size_t row = 0;
    if (!p->format)
        return w;
    attrs = (struct op_attrs){{{.i = p->format->format}}};
    quant_row_bytes(p->format->format, p->k, &row);
    q = (struct tensor){DTYPE_U8, SHAPE2(p->n, row), malloc(p->n * row)};
    EMAC_ASSERT(q.data != NULL);
    bench_run(dev, OP_QUANTISE, &attrs, &w, &q);
    free(w.data);
    return q;
}

/* Seconds of a product with the matrices of `all` in turn. */
static double measure(struct device *dev, const struct product *p, const struct tensor *w,
                      uint8_t *all, size_t copies, size_t bytes)
{
    struct op_attrs attrs = {{{.i = p->format ? (int64_t)p->format->format : 0}, {.i = 1}}};
    struct tensor in[2] = {{DTYPE_F32, SHAPE2(p->m, p->k), bench_floats(p->m * p->k)}, *w};
    struct tensor out = {DTYPE_F32, SHAPE2(p->m, p->n), bench_floats(p->m * p->n)};
    double t[TIMINGS], spent;
    size_t turn = 0;
    for (int i = -1; i < TIMINGS; i++) {
        double start = bench_seconds();
        size_t runs = 0;
        do {
            in[1].data = all + turn * bytes;
            bench_run(dev, p->format ? OP_QMATMUL : OP_MATMUL, &attrs, in, &out);
            turn = (turn + 1) % copies;
            runs++;
        } while ((spent = bench_seconds() - start) < TIMING_S || (i < 0 && runs < copies));
        if (i >= 0)
            t[i] = spent / (double)runs;
    }
    free(in[0].data);
    free(out.data);
    return bench_median(t, TIMINGS);
}

static double answer(struct device *dev, const char *line)
{
    struct product p = parse(line);
    struct tensor w = weights(dev, &p);
    size_t bytes = 0, copies;
    double seconds;
    uint8_t *all;
    shape_bytes(w.dtype, &w.shape, &bytes);
    copies = p.m <= ROWS_FEW ? WEIGHT_BYTES / bytes + 1 : 1;
    all = malloc(copies * bytes);
    EMAC_ASSERT(all != NULL);
    for (size_t i = 0; i < copies; i++)
        memcpy(all + i * bytes, w.data, bytes);
    seconds = measure(dev, &p, &w, all, copies, bytes);
    free(all);
    free(w.data);
    return seconds;
}

int main(int argc, char **argv)
{
    struct device *dev = bench_device(&argc, &argv);
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        printf("%.9f\n", answer(dev, line));
        fflush(stdout);
    }
    device_close(dev);
    return 0;
}
