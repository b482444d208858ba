/* Speed of convolutions: bench_conv [--isa NAME] [--threads N]
 *
 * Reads "B,SIZE,C,O,KERNEL,STRIDE,PADDING", one a line: B images of SIZE x SIZE x C, O outputs.
 * Each is answered by "FORWARD GRAD_X GRAD_W", GFLOP/s. */
#include "bench.h"

#define LINE_MAX 128

struct conv {
    size_t batch, size, channels, outputs, kernel, stride, pad;
};

static double seconds(struct device *dev, enum op op, const struct op_attrs *attrs,
                      const struct tensor *a, const struct tensor *b, const struct tensor *result)
{
    struct tensor in[2] = {*a, *b}, out = *result;
    return bench_best(dev, op, attrs, in, &out);
}

static void answer(struct device *dev, const struct conv *c)
{
    size_t to = (c->size + 2 * c->pad - c->kernel) / c->stride + 1;
    struct tensor x = {DTYPE_F32, SHAPE4(c->batch, c->size, c->size, c->channels), NULL};
    struct tensor w = {DTYPE_F32, SHAPE4(c->outputs, c->kernel, c->kernel, c->channels), NULL};
    struct tensor y = {DTYPE_F32, SHAPE4(c->batch, to, to, c->outputs), NULL};
    int64_t size = (int64_t)c->size, kernel = (int64_t)c->kernel;
    int64_t stride = (int64_t)c->stride, pad = (int64_t)c->pad;
    struct op_attrs forward = {{{.i = stride}, {.i = pad}}};
    struct op_attrs grad_x = {{{.i = size}, {.i = size}, {.i = stride}, {.i = pad}}};
    struct op_attrs grad_w = {{{.i = kernel}, {.i = kernel}, {.i = stride}, {.i = pad}}};
    double flops = 2.0 * (double)(c->batch * to * to * c->outputs) *
                   (double)(c->channels * c->kernel * c->kernel);
    x.data = bench_floats(c->batch * c->size * c->size * c->channels);
    w.data = bench_floats(c->outputs * c->kernel * c->kernel * c->channels);
    y.data = bench_floats(c->batch * to * to * c->outputs);
    printf("%.2f ", flops / seconds(dev, OP_CONV2D, &forward, &x, &w, &y) * 1e-9);
    printf("%.2f ", flops / seconds(dev, OP_CONV2D_GRAD_X, &grad_x, &y, &w, &x) * 1e-9);
    printf("%.2f\n", flops / seconds(dev, OP_CONV2D_GRAD_W, &grad_w, &y, &x, &w) * 1e-9);
    fflush(stdout);
    free(x.data);
    free(w.data);
    free(y.data);
}

int main(int argc, char **argv)
{
    struct device *dev = bench_device(&argc, &argv);
    char line[LINE_MAX];
    while (fgets(line, sizeof line, stdin) != NULL) {
        struct conv c;
        if (sscanf(line, "%zu,%zu,%zu,%zu,%zu,%zu,%zu", &c.batch, &c.size, &c.channels, &c.outputs,
                   &c.kernel, &c.stride, &c.pad) != 7)
            return 2;
        answer(dev, &c);
    }
    device_close(dev);
    return 0;
}
