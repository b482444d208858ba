/* One training step's operators in sequence, without a graph around them: bench_step [--isa NAME]
 * [--threads N]. A Llama of width 160, 5 layers, 5 heads, F 432, vocabulary 256, on 8 sequences of
 * 256 tokens. Prints JSON: milliseconds and GFLOP/s by kind of operator, and for the whole. */
#include "bench.h"

enum { D = 160, LAYERS = 5, HEADS = 5, E = 32, F = 432, V = 256, T = 256, B = 8, N = B * T };

#define REPEATS 7

static struct device *dev;
static struct {
    double seconds[REPEATS], flops;
    uint32_t calls;
} kind[OP_COUNT][2]; /* second index: matmul with a transposed A */
static int repeat;

static struct tensor f32(struct shape shape)
{
    size_t n = 0;
    shape_count(&shape, &n);
    return (struct tensor){DTYPE_F32, shape, bench_floats(n)};
}

static void call(enum op op, struct op_attrs attrs, const struct tensor *in, struct tensor *out)
{
    int which = op == OP_MATMUL && attrs.at[0].i;
    double start = bench_seconds();
    bench_run(dev, op, &attrs, in, out);
    kind[op][which].seconds[repeat] += bench_seconds() - start;
    if (repeat == 0) {
        kind[op][which].flops += (double)op_flops(op, &attrs, in, out);
        kind[op][which].calls++;
    }
}

static void call2(enum op op, struct op_attrs attrs, struct tensor a, struct tensor b,
                  struct tensor out)
{
    struct tensor in[2] = {a, b};
    call(op, attrs, in, &out);
}

/* y = x w^T, or the two gradients of it */
static void linear(struct tensor x, struct tensor w, struct tensor y)
{
    call2(OP_MATMUL, (struct op_attrs){{{.i = 0}, {.i = 1}}}, x, w, y);
}

static void linear_grad(struct tensor dy, struct tensor x, struct tensor w, struct tensor dx,
                        struct tensor dw)
{
    call2(OP_MATMUL, (struct op_attrs){{{.i = 0}, {.i = 0}}}, dy, w, dx);
    call2(OP_MATMUL, (struct op_attrs){{{.i = 1}, {.i = 0}}}, dy, x, dw);
}

static void add(struct tensor a, struct tensor b)
{
    call2(OP_ADD, (struct op_attrs){{{0}}}, a, b, a);
}

/* Activations and gradients, one set for all layers. */
static struct {
    struct tensor x[4], w_norm, rstd, q, k, v, o, max, sum, cos, sin;
    struct tensor dq, dk, dv, g, u, h, dg, du, dh;
    struct tensor wd, wf, wv, dwd, dwf, dwv, dw_norm; /* [D,D], [F,D], [V,D] */
    struct tensor logits, dlogits, ids, loss, stats, one, hyper, m, s, p;
} a;

static void make(void)
{
    for (int i = 0; i < 4; i++)
        a.x[i] = f32(SHAPE2(N, D));
    a.q = f32(SHAPE2(N, D)), a.k = f32(SHAPE2(N, D)), a.v = f32(SHAPE2(N, D));
    a.o = f32(SHAPE2(N, D)), a.dq = f32(SHAPE2(N, D)), a.dk = f32(SHAPE2(N, D));
    a.dv = f32(SHAPE2(N, D)), a.w_norm = f32(SHAPE1(D)), a.dw_norm = f32(SHAPE1(D));
    a.rstd = f32(SHAPE1(N)), a.max = f32(SHAPE3(B, HEADS, T)), a.sum = f32(SHAPE3(B, HEADS, T));
    a.cos = f32(SHAPE2(T, E / 2)), a.sin = f32(SHAPE2(T, E / 2));
    a.g = f32(SHAPE2(N, F)), a.u = f32(SHAPE2(N, F)), a.h = f32(SHAPE2(N, F));
    a.dg = f32(SHAPE2(N, F)), a.du = f32(SHAPE2(N, F)), a.dh = f32(SHAPE2(N, F));
    a.wd = f32(SHAPE2(D, D)), a.wf = f32(SHAPE2(F, D)), a.wv = f32(SHAPE2(V, D));
    a.dwd = f32(SHAPE2(D, D)), a.dwf = f32(SHAPE2(F, D)), a.dwv = f32(SHAPE2(V, D));
    a.logits = f32(SHAPE2(N, V)), a.dlogits = f32(SHAPE2(N, V)), a.loss = f32(SHAPE1(N));
    a.stats = f32(SHAPE2(N, 2)), a.one = f32(SHAPE1(1)), a.hyper = f32(SHAPE1(8));
    a.ids = f32(SHAPE1(N));
    a.ids.dtype = DTYPE_I32;
    for (int i = 0; i < N; i++)
        ((int32_t *)a.ids.data)[i] = i * 7919 % V;
    a.m = f32(SHAPE1(5 * (4 * D * D + 3 * D * F))), a.s = f32(a.m.shape), a.p = f32(a.m.shape);
    for (size_t i = 0; i < a.s.shape.dim[0]; i++)
        ((float *)a.s.data)[i] = 0.5f;
}

static void norm(struct tensor x, struct tensor y)
{
    struct tensor in[2] = {x, a.w_norm}, out[2] = {y, a.rstd};
    call(OP_RMSNORM, (struct op_attrs){{{.f = 1e-5f}}}, in, out);
}

static void norm_grad(struct tensor dy, struct tensor x, struct tensor dx)
{
    struct tensor in[4] = {dy, x, a.w_norm, a.rstd}, out[2] = {dx, a.dw_norm};
    call(OP_RMSNORM_GRAD, (struct op_attrs){{{0}}}, in, out);
}

static void rope(struct tensor x, struct tensor y, int inverse)
{
    struct tensor in[3] = {x, a.cos, a.sin};
    call(OP_ROPE, (struct op_attrs){{{.i = HEADS}, {.i = inverse}}}, in, &y);
}

static const struct op_attrs attention_attrs = {
    {{.i = B}, {.i = HEADS}, {.i = HEADS}, {.f = 0.17677669f}}};

static void layer_forward(void)
{
    struct tensor qkv[3] = {a.q, a.k, a.v}, out[3] = {a.o, a.max, a.sum};
    norm(a.x[0], a.x[1]);
    linear(a.x[1], a.wd, a.q);
    linear(a.x[1], a.wd, a.k);
    linear(a.x[1], a.wd, a.v);
    rope(a.q, a.dq, 0);
    rope(a.k, a.dk, 0);
    call(OP_ATTENTION, attention_attrs, qkv, out);
    linear(a.o, a.wd, a.x[2]);
    add(a.x[2], a.x[0]);
    norm(a.x[2], a.x[1]);
    linear(a.x[1], a.wf, a.g);
    linear(a.x[1], a.wf, a.u);
    call2(OP_SWIGLU, (struct op_attrs){{{0}}}, a.g, a.u, a.h);
    struct tensor down = {DTYPE_F32, SHAPE2(D, F), a.wf.data};
    linear(a.h, down, a.x[3]);
    add(a.x[3], a.x[2]);
}

static void layer_backward(void)
{
    struct tensor down = {DTYPE_F32, SHAPE2(D, F), a.wf.data}, ddown = down;
    struct tensor swiglu[3] = {a.dh, a.g, a.u}, dswiglu[2] = {a.dg, a.du};
    struct tensor attn[7] = {a.x[2], a.q, a.k, a.v, a.o, a.max, a.sum};
    struct tensor dattn[3] = {a.dq, a.dk, a.dv};
    ddown.data = a.dwf.data;
    linear_grad(a.x[3], a.h, down, a.dh, ddown);
    call(OP_SWIGLU_GRAD, (struct op_attrs){{{0}}}, swiglu, dswiglu);
    linear_grad(a.dg, a.x[1], a.wf, a.x[0], a.dwf);
    linear_grad(a.du, a.x[1], a.wf, a.x[2], a.dwf);
    add(a.x[0], a.x[2]);
    norm_grad(a.x[0], a.x[1], a.x[2]);
    add(a.x[3], a.x[2]);
    linear_grad(a.x[3], a.o, a.wd, a.x[2], a.dwd);
    call(OP_ATTENTION_GRAD, attention_attrs, attn, dattn);
    rope(a.dq, a.q, 1);
    rope(a.dk, a.k, 1);
    linear_grad(a.q, a.x[1], a.wd, a.x[0], a.dwd);
    linear_grad(a.k, a.x[1], a.wd, a.x[2], a.dwd);
    add(a.x[0], a.x[2]);
    linear_grad(a.dv, a.x[1], a.wd, a.x[2], a.dwd);
    add(a.x[0], a.x[2]);
    norm_grad(a.x[0], a.x[1], a.x[2]);
    add(a.x[3], a.x[2]);
}

static void step(void)
{
    struct tensor xent[2] = {a.logits, a.ids}, xent_out[2] = {a.loss, a.stats};
    struct tensor dxent[4] = {a.one, a.logits, a.ids, a.stats};
    struct tensor adamw[6] = {a.p, a.m, a.s, a.m, a.one, a.hyper}, adamw_out[3] = {a.p, a.m, a.s};
    struct op_attrs vocab = {{{.i = V}}};
    call2(OP_EMBED, (struct op_attrs){{{0}}}, a.ids, a.wv, a.x[0]);
    for (int l = 0; l < LAYERS; l++)
        layer_forward();
    norm(a.x[3], a.x[1]);
    linear(a.x[1], a.wv, a.logits);
    call(OP_XENT, (struct op_attrs){{{0}}}, xent, xent_out);
    call(OP_SUM, (struct op_attrs){{{0}}}, &a.loss, &a.one);
    call(OP_XENT_GRAD, (struct op_attrs){{{0}}}, dxent, &a.dlogits);
    linear_grad(a.dlogits, a.x[1], a.wv, a.x[3], a.dwv);
    for (int l = 0; l < LAYERS; l++)
        layer_backward();
    call2(OP_EMBED_GRAD, vocab, a.ids, a.x[3], a.dwv);
    call(OP_SUMSQ, (struct op_attrs){{{0}}}, &a.m, &a.one);
    call(OP_ADAMW, (struct op_attrs){{{0}}}, adamw, adamw_out);
}

/* Gradients must not grow from repeat to repeat, or the arithmetic meets infinities and subnormals
 * that training does not. */
static void refill(void)
{
    struct tensor *all[] = {&a.x[0], &a.x[1], &a.x[2], &a.x[3], &a.q, &a.k,  &a.v,
                            &a.dh,   &a.g,    &a.u,    &a.m,    &a.p, &a.one};
    for (size_t i = 0; i < EMAC_COUNT(all); i++) {
        size_t n = 0;
        shape_count(&all[i]->shape, &n);
        for (size_t j = 0; j < n; j++)
            ((float *)all[i]->data)[j] = (float)((j * 2654435761u >> 8) % 65536) * 0x1p-16f - 0.5f;
    }
    for (size_t j = 0; j < D * D; j++)
        ((float *)a.wd.data)[j] = (float)((j * 2654435761u >> 8) % 65536) * 0x1p-19f - 0x1p-4f;
}

int main(int argc, char **argv)
{
    double total[REPEATS] = {0}, flops = 0;
    dev = bench_device(&argc, &argv);
    make();
    for (repeat = 0; repeat < REPEATS; repeat++) {
        refill();
        step();
    }
    printf("[");
    for (int op = 0; op < OP_COUNT; op++)
        for (int w = 0; w < 2; w++) {
            if (!kind[op][w].calls)
                continue;
            for (int r = 0; r < REPEATS; r++)
                total[r] += kind[op][w].seconds[r];
            flops += kind[op][w].flops;
            double s = bench_median(kind[op][w].seconds, REPEATS);
            printf("{\"name\": \"step %s%s\", \"calls\": %u, \"ms\": %.3f, \"gflops\": %.1f},\n ",
                   op_info((enum op)op)->name, w ? " dw" : "", kind[op][w].calls, s * 1e3,
                   kind[op][w].flops / s * 1e-9);
        }
    double s = bench_median(total, REPEATS);
    printf("{\"name\": \"step\", \"device\": \"%s\", \"ms\": %.1f, \"best_ms\": %.1f, "
           "\"gflops\": %.1f}]\n",
           device_name(dev), s * 1e3, total[0] * 1e3, flops / s * 1e-9);
    device_close(dev);
    return 0;
}
