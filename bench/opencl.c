/* The matrix product on an OpenCL device against CLBlast on the same device, queue and buffers:
 * bench_opencl [--device opencl:WHICH]
 *
 * Reads products, one a line, "M,N,K,TRANS_A,TRANS_B", and answers "OURS PEER": GFLOP/s of one run
 * of each, taken in turn. CLBlast is loaded when it is there; the program ends with a sentence if
 * it is not. */
#include <dlfcn.h>

#include "bench.h"
#include "compute/opencl/cl_impl.h"

#define LINE_MAX 128
#define RUN_S    0.05 /* of one timing, at least, once warm */

/* clblast_c.h (CLBlast 1.5): enumerations by value, a status of 0 is success. */
enum { ROW_MAJOR = 101, NOT_TRANSPOSED = 111, TRANSPOSED = 112 };
typedef int sgemm_fn(int layout, int trans_a, int trans_b, size_t m, size_t n, size_t k,
                     float alpha, cl_mem a, size_t a_at, size_t lda, cl_mem b, size_t b_at,
                     size_t ldb, float beta, cl_mem c, size_t c_at, size_t ldc,
                     cl_command_queue *queue, cl_event *event);

struct product {
    size_t m, n, k;
    int trans_a, trans_b;
    struct tensor in[2], out;
};

static struct device *dev;
static sgemm_fn *clblast;

static void must(enum emac_status st, const struct emac_err *err)
{
    if (st != EMAC_OK) {
        fprintf(stderr, "%s\n", err->text);
        exit(1);
    }
}

static struct tensor filled(size_t rows, size_t cols)
{
    struct tensor t = {DTYPE_F32, SHAPE2(rows, cols), NULL};
    struct emac_err err;
    float *x = bench_floats(rows * cols);
    must(device_alloc(dev, rows * cols * sizeof *x, &t.data, &err), &err);
    must(device_write(dev, t.data, x, rows * cols * sizeof *x, &err), &err);
    free(x);
    return t;
}

static void ours(const struct product *p)
{
    struct op_attrs attrs = {{{.i = p->trans_a}, {.i = p->trans_b}}};
    struct tensor out = p->out;
    bench_run(dev, OP_MATMUL, &attrs, p->in, &out);
}

static void peer(const struct product *p)
{
    struct cl *cl = (struct cl *)dev;
    size_t a_at, b_at, c_at;
    cl_mem a = cl_memory_find(cl, p->in[0].data, 0, &a_at);
    cl_mem b = cl_memory_find(cl, p->in[1].data, 0, &b_at);
    cl_mem c = cl_memory_find(cl, p->out.data, 0, &c_at);
    int rc = clblast(ROW_MAJOR, p->trans_a ? TRANSPOSED : NOT_TRANSPOSED,
                     p->trans_b ? TRANSPOSED : NOT_TRANSPOSED, p->m, p->n, p->k, 1.0f, a,
                     a_at / sizeof(float), p->in[0].shape.dim[1], b, b_at / sizeof(float),
                     p->in[1].shape.dim[1], 0.0f, c, c_at / sizeof(float), p->n, &cl->queue, NULL);
    if (rc != 0) {
        fprintf(stderr, "CLBlast fails with %d\n", rc);
        exit(1);
    }
}

/* GFLOP/s of as many runs as take RUN_S. */
static double rate(void (*run)(const struct product *), const struct product *p)
{
    struct emac_err err;
    size_t runs = 1;
    for (;; runs *= 4) {
        double start = bench_seconds(), took;
        for (size_t r = 0; r < runs; r++)
            run(p);
        must(device_finish(dev, &err), &err);
        took = bench_seconds() - start;
        if (took >= RUN_S)
            return 2e-9 * (double)p->m * (double)p->n * (double)p->k * (double)runs / took;
    }
}

static void answer(struct product *p)
{
    struct emac_err err;
    p->in[0] = p->trans_a ? filled(p->k, p->m) : filled(p->m, p->k);
    p->in[1] = p->trans_b ? filled(p->n, p->k) : filled(p->k, p->n);
    p->out = filled(p->m, p->n);
    ours(p); /* compiles what is not compiled yet */
    peer(p);
    must(device_finish(dev, &err), &err);
    printf("%.3f ", rate(ours, p));
    printf("%.3f\n", rate(peer, p));
    fflush(stdout);
    device_free(dev, p->in[0].data);
    device_free(dev, p->in[1].data);
    device_free(dev, p->out.data);
}

int main(int argc, char **argv)
{
    static char *fallback[] = {"bench_opencl", "--device", "opencl:0", NULL};
    char line[LINE_MAX], **args = argc > 1 ? argv : fallback;
    int count = argc > 1 ? argc : 3;
    void *library = dlopen("libclblast.so.1", RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "there is no libclblast.so.1; install CLBlast\n");
        return 1;
    }
    *(void **)&clblast = dlsym(library, "CLBlastSgemm");
    EMAC_ASSERT(clblast != NULL);
    dev = bench_device(&count, &args);
    while (fgets(line, sizeof line, stdin) != NULL) {
        struct product p = {0};
        if (sscanf(line, "%zu,%zu,%zu,%d,%d", &p.m, &p.n, &p.k, &p.trans_a, &p.trans_b) != 5)
            return 2;
        answer(&p);
    }
    device_close(dev);
    return 0;
}
