/* How long each operator takes on a device: bench_ops [--isa NAME] [--threads N]
 * [--device opencl:WHICH] [NAME...]. Shapes are those of a training step of 124M weights on 4
 * sequences of 64 tokens, and of an image classifier's; inputs are those of compute/op_cases.h.
 *
 * A line a case: operator, shapes, milliseconds (median of RUNS), GFLOP/s by op_flops, GB/s of all
 * its tensors (of an embedding only a few rows are read). */
#include "bench.h"
#include "compute/op_cases.h"

#define RUNS 5

#define N 256   /* tokens */
#define D 768   /* width */
#define F 2048  /* feed-forward */
#define V 50304 /* vocabulary */

#define A(...)                                                                                     \
    {                                                                                              \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define IN1(f, n)                                                                                  \
    {                                                                                              \
        FILL_##f, {1, {n}}, 0                                                                      \
    }
#define IN2(f, m, n)                                                                               \
    {                                                                                              \
        FILL_##f, {2, {m, n}}, 0                                                                   \
    }
#define IN3(f, a, b, c)                                                                            \
    {                                                                                              \
        FILL_##f, {3, {a, b, c}}, 0                                                                \
    }
#define IN4(f, b, h, w, c)                                                                         \
    {                                                                                              \
        FILL_##f, {4, {b, h, w, c}}, 0                                                             \
    }
#define ID(n, limit)                                                                               \
    {                                                                                              \
        FILL_IDS, {1, {n}}, limit                                                                  \
    }
#define ATTENTION A({.i = 4}, {.i = 12}, {.i = 12}, {.f = 0.125f})

static const struct op_case cases[] = {
    {OP_EMBED, A({0}), {ID(N, V), IN2(UNIFORM, V, D)}},
    {OP_EMBED_GRAD, A({.i = V}), {ID(N, V), IN2(UNIFORM, N, D)}},
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {IN2(UNIFORM, N, D), IN2(UNIFORM, D, D)}},
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {IN2(UNIFORM, N, D), IN2(UNIFORM, F, D)}},
    {OP_MATMUL, A({.i = 0}, {.i = 0}), {IN2(UNIFORM, N, F), IN2(UNIFORM, F, D)}},
    {OP_MATMUL, A({.i = 1}, {.i = 0}), {IN2(UNIFORM, N, F), IN2(UNIFORM, N, D)}},
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {IN2(UNIFORM, N, D), IN2(UNIFORM, V, D)}},
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {IN2(UNIFORM, N, D), IN2(UNIFORM, F, D)}, true},
    {OP_ADD, A({0}), {IN2(UNIFORM, N, D), IN2(UNIFORM, N, D)}},
    {OP_RMSNORM, A({.f = 1e-5f}), {IN2(UNIFORM, N, D), IN1(UNIFORM, D)}},
    {OP_RMSNORM_GRAD,
     A({0}),
     {IN2(UNIFORM, N, D), IN2(UNIFORM, N, D), IN1(UNIFORM, D), IN1(POSITIVE, N)}},
    {OP_LAYERNORM, A({.f = 1e-5f}), {IN2(UNIFORM, N, D), IN1(UNIFORM, D), IN1(UNIFORM, D)}},
    {OP_ROPE,
     A({.i = 12}, {.i = 0}),
     {IN2(UNIFORM, N, D), IN2(UNIFORM, 64, 32), IN2(UNIFORM, 64, 32)}},
    {OP_ATTENTION, ATTENTION, {IN2(UNIFORM, N, D), IN2(UNIFORM, N, D), IN2(UNIFORM, N, D)}},
    {OP_ATTENTION_GRAD,
     ATTENTION,
     {IN2(UNIFORM, N, D), IN2(UNIFORM, N, D), IN2(UNIFORM, N, D), IN2(UNIFORM, N, D),
      IN2(UNIFORM, N, D), IN3(POSITIVE, 4, 12, 64), IN3(POSITIVE, 4, 12, 64)}},
    {OP_SWIGLU, A({0}), {IN2(UNIFORM, N, F), IN2(UNIFORM, N, F)}},
    {OP_SWIGLU_GRAD, A({0}), {IN2(UNIFORM, N, F), IN2(UNIFORM, N, F), IN2(UNIFORM, N, F)}},
    {OP_GELU, A({0}), {IN2(UNIFORM, N, F)}},
    {OP_XENT, A({0}), {IN2(UNIFORM, N, V), ID(N, V)}},
    {OP_XENT_GRAD, A({0}), {IN1(UNIFORM, 1), IN2(UNIFORM, N, V), ID(N, V), IN2(POSITIVE, N, 2)}},
    {OP_SUMSQ, A({0}), {IN2(UNIFORM, F, D)}},
    {OP_ADAMW,
     A({0}),
     {IN2(UNIFORM, F, D), IN2(UNIFORM, F, D), IN2(POSITIVE, F, D), IN2(UNIFORM, F, D),
      IN1(UNIFORM, 1), IN1(POSITIVE, 8)}},
    {OP_DROPOUT, A({.f = 0.1f}, {.i = 3}), {IN2(UNIFORM, N, D), ID(4, UINT32_MAX)}},
    {OP_CONV2D, A({.i = 1}, {.i = 1}), {IN4(UNIFORM, 64, 28, 28, 32), IN4(UNIFORM, 64, 3, 3, 32)}},
    {OP_CONV2D_GRAD_X,
     A({.i = 28}, {.i = 28}, {.i = 1}, {.i = 1}),
     {IN4(UNIFORM, 64, 28, 28, 64), IN4(UNIFORM, 64, 3, 3, 32)}},
    {OP_CONV2D_GRAD_W,
     A({.i = 3}, {.i = 3}, {.i = 1}, {.i = 1}),
     {IN4(UNIFORM, 64, 28, 28, 64), IN4(UNIFORM, 64, 28, 28, 32)}},
    {OP_MAXPOOL2D, A({.i = 2}, {.i = 2}), {IN4(UNIFORM, 64, 28, 28, 32)}},
};

static void check(enum emac_status st, const struct emac_err *err)
{
    if (st == EMAC_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* Tensors on the device, with the host's contents when `fill`. */
static size_t move(struct device *dev, const struct tensor *host, struct tensor *there, uint32_t n,
                   bool fill)
{
    struct emac_err err;
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t bytes = 0;
        shape_bytes(host[i].dtype, &host[i].shape, &bytes);
        there[i] = host[i];
        check(device_alloc(dev, bytes, &there[i].data, &err), &err);
        if (fill)
            check(device_write(dev, there[i].data, host[i].data, bytes, &err), &err);
        total += bytes;
    }
    return total;
}

static void measure(struct device *dev, const struct op_case *c)
{
    const struct op_info *info = op_info(c->op);
    struct tensor in[OP_IN_MAX], out[OP_OUT_MAX], din[OP_IN_MAX], dout[OP_OUT_MAX];
    double seconds[RUNS];
    char shapes[160] = "";
    struct emac_err err;
    check(op_case_inputs(c, 0, in, &err), &err);
    check(op_case_outputs(c, in, out, &err), &err);
    size_t bytes = move(dev, in, din, info->inputs, true);
    bytes += move(dev, out, dout, info->outputs, false);
    for (int run = -1; run < RUNS; run++) { /* one to warm up */
        double began = bench_seconds();
        check(device_run(dev, c->op, &c->attrs, din, dout, &err), &err);
        check(device_finish(dev, &err), &err);
        if (run >= 0)
            seconds[run] = bench_seconds() - began;
    }
    for (uint32_t i = 0; i < info->inputs && i < 2; i++) {
        size_t at = strlen(shapes);
        if (at > 0 && at + 1 < sizeof shapes)
            shapes[at++] = ' ';
        shape_text(shapes + at, sizeof shapes - at, in[i].dtype, &in[i].shape);
    }
    double s = bench_median(seconds, RUNS);
    printf("%-16s %-46s %9.3f ms %8.1f GFLOP/s %7.2f GB/s\n", info->name, shapes, s * 1e3,
           (double)op_flops(c->op, &c->attrs, in, out) / s * 1e-9, (double)bytes / s * 1e-9);
    for (uint32_t i = 0; i < info->inputs; i++)
        device_free(dev, din[i].data);
    for (uint32_t o = 0; o < info->outputs; o++)
        device_free(dev, dout[o].data);
    op_case_release(in, OP_IN_MAX);
    op_case_release(out, OP_OUT_MAX);
}

int main(int argc, char **argv)
{
    struct device *dev = bench_device(&argc, &argv);
    printf("%s\n", device_name(dev));
    for (size_t i = 0; i < EMAC_COUNT(cases); i++) {
        bool wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            wanted = wanted || strcmp(argv[a], op_info(cases[i].op)->name) == 0;
        if (wanted)
            measure(dev, &cases[i]);
    }
    device_close(dev);
    return 0;
}
