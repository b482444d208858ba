/* Speed of the product with block-quantised weights:
 *     bench_quant [--isa NAME] [--threads N] [FORMAT:MxNxK]...
 * FORMAT is q4_0, q4_1, q8_0, q6_k, or f32 for the plain product. With few rows the time is that of
 * reading the weights, so several matrices, 512 MiB in all, take turns. Prints a JSON list; per
 * case the median and the best of several timings. */
#include "bench.h"
#include "compute/quant.h"

#define TIMINGS      9
#define TIMING_S     0.1
#define WEIGHT_BYTES ((size_t)512 << 20)
#define ROWS_FEW     16
#define SIZE_MAX_ARG ((size_t)1 << 16)

struct product {
    const struct quant_info *format; /* NULL for f32 */
    size_t m, n, k;
};

static const char *const usual[] = {
    "q8_0:1x4096x4096",   "q4_0:1x4096x4096",   "q4_1:1x4096x4096",   "q6_k:1x4096x4096",
    "f32:1x4096x4096",    "q8_0:512x4096x4096", "q4_0:512x4096x4096", "q4_1:512x4096x4096",
    "q6_k:512x4096x4096", "f32:512x4096x4096"};

static struct product parse(const char *text)
{
    struct product p = {0};
    char name[8] = "", *end = (char *)text + strcspn(text, ":");
    size_t v[3] = {0}, row;
    memcpy(name, text, (size_t)(end - text) < sizeof name ? (size_t)(end - text) : sizeof name - 1);
    p.format = quant_find(name);
    for (int i = 0; i < 3 && *end; i++)
        v[i] = strtoul(end + 1, &end, 10);
    p.m = v[0];
    p.n = v[1];
    p.k = v[2];
    if (*end || p.m < 1 || p.n < 1 || p.k < 1 || p.m > SIZE_MAX_ARG || p.n > SIZE_MAX_ARG ||
        p.k > SIZE_MAX_ARG || (!p.format && strcmp(name, "f32") != 0) ||
        (p.format && !quant_row_bytes(p.format->format, p.k, &row))) {
        fprintf(stderr, "'%s' is not FORMAT:MxNxK with whole blocks\n", text);
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

static void measure(struct device *dev, const struct product *p, const char *text,
                    const char *before)
{
    struct op_attrs attrs = {{{.i = p->format ? (int64_t)p->format->format : 0}, {.i = 1}}};
    struct tensor in[2] = {{DTYPE_F32, SHAPE2(p->m, p->k), bench_floats(p->m * p->k)},
                           weights(dev, p)};
    struct tensor out = {DTYPE_F32, SHAPE2(p->m, p->n), bench_floats(p->m * p->n)};
    double t[TIMINGS], flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    size_t bytes = 0, copies, runs = (size_t)(TIMING_S * 1e11 / flops) + 1, turn = 0;
    shape_bytes(in[1].dtype, &in[1].shape, &bytes);
    copies = p->m <= ROWS_FEW ? WEIGHT_BYTES / bytes + 1 : 1;
    uint8_t *all = malloc(copies * bytes);
    EMAC_ASSERT(all != NULL);
    for (size_t i = 0; i < copies; i++)
        memcpy(all + i * bytes, in[1].data, bytes);
    free(in[1].data);
    for (int i = -1; i < TIMINGS; i++) {
        double start = bench_seconds();
        for (size_t r = 0; r < runs; r++, turn = (turn + 1) % copies) {
            in[1].data = all + turn * bytes;
            bench_run(dev, p->format ? OP_QMATMUL : OP_MATMUL, &attrs, in, &out);
        }
        if (i >= 0)
            t[i] = (bench_seconds() - start) / (double)runs;
    }
    double median = bench_median(t, TIMINGS); /* sorts */
    printf("%s{\"name\": \"%s\", \"device\": \"%s\", \"us\": %.1f, \"best_us\": %.1f, \"gflops\": "
           "%.1f, \"weights_gbs\": %.2f}",
           before, text, device_name(dev), median * 1e6, t[0] * 1e6, flops / median * 1e-9,
           (double)bytes / median * 1e-9);
    free(in[0].data);
    free(out.data);
    free(all);
}

int main(int argc, char **argv)
{
    struct device *dev = bench_device(&argc, &argv);
    size_t count = argc > 1 ? (size_t)argc - 1 : EMAC_COUNT(usual);
    for (size_t i = 0; i < count; i++) {
        const char *text = argc > 1 ? argv[1 + i] : usual[i];
        struct product p = parse(text);
        measure(dev, &p, text, i ? ",\n " : "[");
    }
    printf("]\n");
    device_close(dev);
    return 0;
}
