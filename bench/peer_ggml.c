/* llama.cpp's product (ggml on the CPU), asked as bench_quant is: peer_ggml THREADS, then lines
 * "FORMAT M N K", each answered by seconds a product. Compiled by bench/rows_quant.py against the
 * ggml of llama-cpp-python's source. */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMINGS      5
#define TIMING_S     0.05
#define WEIGHT_BYTES ((size_t)512 << 20)
#define ROWS_FEW     16
#define COPIES_MAX   4096

struct product {
    enum ggml_type type;
    long m, n, k;
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static enum ggml_type type_of(const char *name)
{
    static const enum ggml_type types[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q8_0,
                                           GGML_TYPE_Q6_K, GGML_TYPE_F32};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const char *known = ggml_type_name(types[i]);
        size_t c = 0;
        while (name[c] && (name[c] | 32) == (known[c] | 32))
            c++;
        if (name[c] == known[c])
            return types[i];
    }
    exit(2);
}

static float *floats(long n)
{
    float *x = malloc((size_t)n * sizeof *x);
    for (long i = 0; i < n; i++)
        x[i] = (float)(((unsigned long)i * 2654435761u >> 8) % 65536) * 0x1p-16f - 0.5f;
    return x;
}

static void fill(struct ggml_tensor **w, size_t copies, struct ggml_tensor *x,
                 const struct product *p)
{
    size_t bytes = ggml_nbytes(w[0]);
    float *values = floats(p->n * p->k), *rows = floats(p->m * p->k);
    void *q = malloc(bytes);
    ggml_quantize_chunk(p->type, values, q, 0, p->n, p->k, NULL);
    for (size_t i = 0; i < copies; i++)
        ggml_backend_tensor_set(w[i], p->type == GGML_TYPE_F32 ? (void *)values : q, 0, bytes);
    ggml_backend_tensor_set(x, rows, 0, ggml_nbytes(x));
    free(values);
    free(rows);
    free(q);
}

static double measure(ggml_backend_t cpu, const struct product *p)
{
    size_t bytes = ggml_row_size(p->type, p->k) * (size_t)p->n, turn = 0;
    size_t copies = p->m <= ROWS_FEW ? WEIGHT_BYTES / bytes + 1 : 1;
    struct ggml_init_params how = {(copies * 2 + 8) * ggml_tensor_overhead() +
                                       (copies + 1) * ggml_graph_overhead(),
                                   NULL, true};
    struct ggml_context *all = ggml_init(how);
    struct ggml_tensor *w[COPIES_MAX], *x = ggml_new_tensor_2d(all, GGML_TYPE_F32, p->k, p->m);
    struct ggml_cgraph *graph[COPIES_MAX];
    double t[TIMINGS], spent;
    for (size_t i = 0; i < copies; i++) {
        w[i] = ggml_new_tensor_2d(all, p->type, p->k, p->n);
        graph[i] = ggml_new_graph_custom(all, 4, false);
        ggml_build_forward_expand(graph[i], ggml_mul_mat(all, w[i], x));
    }
    ggml_backend_buffer_t memory = ggml_backend_alloc_ctx_tensors(all, cpu);
    fill(w, copies, x, p);
    for (int i = -1; i < TIMINGS; i++) {
        double start = seconds();
        size_t runs = 0;
        do {
            ggml_backend_graph_compute(cpu, graph[turn]);
            turn = (turn + 1) % copies;
            runs++;
        } while ((spent = seconds() - start) < TIMING_S || (i < 0 && runs < copies));
        if (i >= 0)
            t[i] = spent / (double)runs;
    }
    ggml_backend_buffer_free(memory);
    ggml_free(all);
    qsort(t, TIMINGS, sizeof *t, compare);
    return t[TIMINGS / 2];
}

int main(int argc, char **argv)
{
    ggml_backend_t cpu = ggml_backend_cpu_init();
    char name[8];
    struct product p;
    ggml_backend_cpu_set_n_threads(cpu, argc > 1 ? atoi(argv[1]) : 1);
    while (scanf("%7s %ld %ld %ld", name, &p.m, &p.n, &p.k) == 4) {
        p.type = type_of(name);
        printf("%.9f\n", measure(cpu, &p));
        fflush(stdout);
    }
    ggml_backend_free(cpu);
    return 0;
}
