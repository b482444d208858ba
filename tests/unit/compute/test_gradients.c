/* Forward operators against plain binary64 formulas, and gradient operators against central
 * differences of those formulas along random directions. The bits are test_ops' business; here it
 * is whether the formulas are the right ones. */
#include <math.h>

#include "compute_test.h"

#define INPUTS_MAX 4
#define STEP       1e-5

static struct device *ref;

/* A function of up to 4 arrays, in binary64: out = f(x[0], x[1], ...). */
struct function {
    size_t inputs, count[INPUTS_MAX], out_count;
    void (*eval)(const struct function *f, double *const *x, double *out);
    size_t dim[6];
    double scale;
    const int32_t *ids;
};

static double *widen(const float *x, size_t n)
{
    double *d = malloc(n * sizeof *d);
    for (size_t i = 0; i < n; i++)
        d[i] = x[i];
    return d;
}

static void compare(const char *what, const float *got, const double *want, size_t n, double bound)
{
    double worst = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs(got[i] - want[i]));
        size = fmax(size, fabs(want[i]));
    }
    if (!(worst <= bound * (size + 1e-6)))
        fail_msg("%s: off by %g, values up to %g", what, worst, size);
}

/* sum over outputs of weight * f at x + h * direction in argument `arg` */
static double along(const struct function *f, double *const *x, size_t arg, const double *direction,
                    double h, const float *weight)
{
    double *moved[INPUTS_MAX], *out = malloc(f->out_count * sizeof *out), sum = 0;
    memcpy(moved, x, f->inputs * sizeof *moved);
    moved[arg] = malloc(f->count[arg] * sizeof(double));
    for (size_t i = 0; i < f->count[arg]; i++)
        moved[arg][i] = x[arg][i] + h * direction[i];
    f->eval(f, moved, out);
    for (size_t i = 0; i < f->out_count; i++)
        sum += weight[i] * out[i];
    free(moved[arg]);
    free(out);
    return sum;
}

/* grad: of sum(weight * f) in argument `arg`, as the operator computed it */
static void check_gradient(const char *what, const struct function *f, double *const *x, size_t arg,
                           const float *weight, const float *grad)
{
    for (uint32_t trial = 0; trial < 3; trial++) {
        double *direction = malloc(f->count[arg] * sizeof *direction), want, got = 0, size = 0;
        for (size_t i = 0; i < f->count[arg]; i++) {
            direction[i] = test_normal(400 + trial, i);
            got += grad[i] * direction[i];
            size += fabs(grad[i] * direction[i]);
        }
        want = (along(f, x, arg, direction, STEP, weight) -
                along(f, x, arg, direction, -STEP, weight)) /
               (2 * STEP);
        free(direction);
        if (!(fabs(got - want) <= 2e-5 * (size + 1e-3)))
            fail_msg("%s, argument %zu: %g, differences give %g (terms add up to %g)", what, arg,
                     got, want, size);
    }
}

/* dim: rows, d; scale: eps */
static void rmsnorm64(const struct function *f, double *const *x, double *out)
{
    size_t d = f->dim[1];
    for (size_t n = 0; n < f->dim[0]; n++) {
        double sum = 0;
        for (size_t j = 0; j < d; j++)
            sum += x[0][n * d + j] * x[0][n * d + j];
        for (size_t j = 0; j < d; j++)
            out[n * d + j] = x[0][n * d + j] / sqrt(sum / (double)d + f->scale) * x[1][j];
    }
}

static void rmsnorm(void **state)
{
    size_t rows = 5, d = 300;
    struct function f = {2, {rows * d, d}, rows * d, rmsnorm64, {rows, d}, 1e-5f, NULL};
    struct op_attrs attrs = {{{.f = 1e-5f}}};
    struct tensor in[2] = {test_normal_tensor(SHAPE2(rows, d), 1),
                           test_normal_tensor(SHAPE1(d), 2)};
    struct tensor out[2], grad_in[4], grad[2];
    double *x[2] = {widen(in[0].data, rows * d), widen(in[1].data, d)};
    double *want = malloc(rows * d * sizeof *want);
    test_run(ref, OP_RMSNORM, &attrs, in, out);
    rmsnorm64(&f, x, want);
    compare("rmsnorm", out[0].data, want, rows * d, 1e-6);
    grad_in[0] = test_normal_tensor(SHAPE2(rows, d), 3);
    grad_in[1] = in[0];
    grad_in[2] = in[1];
    grad_in[3] = out[1];
    test_run(ref, OP_RMSNORM_GRAD, &attrs, grad_in, grad);
    check_gradient("rmsnorm", &f, x, 0, grad_in[0].data, grad[0].data);
    check_gradient("rmsnorm", &f, x, 1, grad_in[0].data, grad[1].data);
    tensors_free(in, 2);
    tensors_free(out, 2);
    tensors_free(grad, 2);
    free(grad_in[0].data);
    free(x[0]);
    free(x[1]);
    free(want);
}

static void swiglu64(const struct function *f, double *const *x, double *out)
{
    for (size_t i = 0; i < f->out_count; i++)
        out[i] = x[0][i] / (1 + exp(-x[0][i])) * x[1][i];
}

static void swiglu(void **state)
{
    size_t n = 400;
    struct function f = {2, {n, n}, n, swiglu64, {0}, 0, NULL};
    struct op_attrs attrs = {{{0}}};
    struct tensor in[3] = {test_normal_tensor(SHAPE1(n), 3), test_normal_tensor(SHAPE1(n), 1),
                           test_normal_tensor(SHAPE1(n), 2)},
                  out, grad[2];
    double *x[2], *want = malloc(n * sizeof *want);
    for (size_t i = 0; i < n; i++)
        ((float *)in[1].data)[i] *= 4;
    x[0] = widen(in[1].data, n);
    x[1] = widen(in[2].data, n);
    test_run(ref, OP_SWIGLU, &attrs, in + 1, &out);
    swiglu64(&f, x, want);
    compare("swiglu", out.data, want, n, 1e-6);
    test_run(ref, OP_SWIGLU_GRAD, &attrs, in, grad);
    check_gradient("swiglu", &f, x, 0, in[0].data, grad[0].data);
    check_gradient("swiglu", &f, x, 1, in[0].data, grad[1].data);
    tensors_free(in, 3);
    tensors_free(&out, 1);
    tensors_free(grad, 2);
    free(x[0]);
    free(x[1]);
    free(want);
}

/* dim: rows, vocabulary */
static void xent64(const struct function *f, double *const *x, double *out)
{
    for (size_t n = 0; n < f->dim[0]; n++) {
        const double *l = x[0] + n * f->dim[1];
        double sum = 0;
        for (size_t j = 0; j < f->dim[1]; j++)
            sum += exp(l[j]);
        out[n] = log(sum) - l[f->ids[n]];
    }
}

static void xent(void **state)
{
    size_t rows = 9, v = 270;
    struct op_attrs attrs = {{{0}}};
    struct tensor in[2] = {test_normal_tensor(SHAPE2(rows, v), 1), test_ids(rows, (uint32_t)v, 2)};
    struct function f = {1, {rows * v}, rows, xent64, {rows, v}, 0, in[1].data};
    struct tensor out[2], grad_in[4], grad;
    float dloss = 0.7f, weight[9];
    double *x[1] = {widen(in[0].data, rows * v)}, want[9];
    test_run(ref, OP_XENT, &attrs, in, out);
    xent64(&f, x, want);
    compare("xent", out[0].data, want, rows, 1e-6);
    for (size_t i = 0; i < rows; i++)
        weight[i] = dloss;
    grad_in[0] = (struct tensor){DTYPE_F32, SHAPE1(1), &dloss};
    grad_in[1] = in[0];
    grad_in[2] = in[1];
    grad_in[3] = out[1];
    test_run(ref, OP_XENT_GRAD, &attrs, grad_in, &grad);
    check_gradient("xent", &f, x, 0, weight, grad.data);
    tensors_free(in, 2);
    tensors_free(out, 2);
    tensors_free(&grad, 1);
    free(x[0]);
}

/* dim: B, T, H, G, E */
static void attention64(const struct function *f, double *const *x, double *out)
{
    size_t T = f->dim[1], H = f->dim[2], G = f->dim[3], E = f->dim[4];
    double *p = malloc(T * sizeof *p);
    for (size_t row = 0; row < f->dim[0] * T * H; row++) {
        size_t h = row % H, t = row / H % T, b = row / H / T;
        const double *q = x[0] + row * E;
        double *o = out + row * E, sum = 0;
        for (size_t j = 0; j <= t; j++) {
            const double *k = x[1] + ((b * T + j) * G + h / (H / G)) * E;
            double s = 0;
            for (size_t e = 0; e < E; e++)
                s += q[e] * k[e];
            p[j] = exp(s * f->scale);
            sum += p[j];
        }
        for (size_t e = 0; e < E; e++) {
            o[e] = 0;
            for (size_t j = 0; j <= t; j++)
                o[e] += p[j] / sum * x[2][((b * T + j) * G + h / (H / G)) * E + e];
        }
    }
    free(p);
}

static void attention_case(size_t B, size_t T, size_t H, size_t G, size_t E)
{
    float scale = 0.4f;
    size_t nq = B * T * H * E, nk = B * T * G * E;
    struct function f = {3, {nq, nk, nk}, nq, attention64, {B, T, H, G, E}, scale, NULL};
    struct op_attrs attrs = {
        {{.i = (int64_t)B}, {.i = (int64_t)H}, {.i = (int64_t)G}, {.f = scale}}};
    struct shape q = SHAPE2(B * T, H * E), kv = SHAPE2(B * T, G * E);
    struct tensor in[7] = {test_normal_tensor(q, 1), test_normal_tensor(q, 2),
                           test_normal_tensor(kv, 3), test_normal_tensor(kv, 4)};
    struct tensor grad[3];
    double *x[3] = {widen(in[1].data, nq), widen(in[2].data, nk), widen(in[3].data, nk)};
    double *want = malloc(nq * sizeof *want);
    test_run(ref, OP_ATTENTION, &attrs, in + 1, in + 4);
    attention64(&f, x, want);
    compare("attention", in[4].data, want, nq, 2e-6);
    test_run(ref, OP_ATTENTION_GRAD, &attrs, in, grad);
    for (size_t arg = 0; arg < 3; arg++)
        check_gradient("attention", &f, x, arg, in[0].data, grad[arg].data);
    tensors_free(in, 7);
    tensors_free(grad, 3);
    for (int i = 0; i < 3; i++)
        free(x[i]);
    free(want);
}

static void attention(void **state)
{
    attention_case(2, 20, 4, 2, 5);
    attention_case(1, 30, 3, 1, 6);
    attention_case(1, 260, 1, 1, 3);
}

/* Rotation by the tables' angles; `inverse` undoes it, which is what its gradient is. */
static void rope(void **state)
{
    struct op_attrs attrs = {{{.i = 2}, {.i = 0}}};
    struct tensor in[3] = {test_normal_tensor(SHAPE2(6, 8), 1),
                           test_tensor(DTYPE_F32, SHAPE2(3, 2)),
                           test_tensor(DTYPE_F32, SHAPE2(3, 2))},
                  out, back;
    const float *x = in[0].data, *y;
    for (size_t i = 0; i < 6; i++) {
        ((float *)in[1].data)[i] = (float)cos((double)i);
        ((float *)in[2].data)[i] = (float)sin((double)i);
    }
    test_run(ref, OP_ROPE, &attrs, in, &out);
    y = out.data;
    for (size_t n = 0; n < 6; n++)
        for (size_t h = 0; h < 2; h++)
            for (size_t j = 0; j < 2; j++) {
                size_t at = n * 8 + h * 4 + j;
                double angle = (double)(n % 3 * 2 + j);
                assert_true(fabs(y[at] - (x[at] * cos(angle) - x[at + 2] * sin(angle))) < 1e-6);
                assert_true(fabs(y[at + 2] - (x[at + 2] * cos(angle) + x[at] * sin(angle))) < 1e-6);
            }
    attrs.at[1].i = 1;
    free(in[0].data);
    in[0] = out;
    test_run(ref, OP_ROPE, &attrs, in, &back);
    in[0] = test_normal_tensor(SHAPE2(6, 8), 1);
    for (size_t i = 0; i < 48; i++)
        assert_true(fabsf(((float *)back.data)[i] - ((float *)in[0].data)[i]) < 1e-6f);
    tensors_free(in, 3);
    tensors_free(&out, 1);
    tensors_free(&back, 1);
}

/* One step by the paper's formula in binary64. */
static void adamw(void **state)
{
    size_t n = 500;
    double lr = 0.01, b1 = 0.9, b2 = 0.95, eps = 1e-8, wd = 0.1, t = 3;
    struct op_attrs attrs = {{{0}}};
    struct tensor in[6], out[3];
    double *want = malloc(n * sizeof *want);
    for (uint32_t i = 0; i < 6; i++)
        in[i] = test_normal_tensor(SHAPE1(i < 4 ? n : i == 4 ? 1 : 8), 1 + i);
    const float *p = in[0].data, *m = in[1].data, *g = in[3].data, *gscale = in[4].data;
    float *v = in[2].data, *hyper = in[5].data;
    double values[8] = {lr, b1, b2, eps, wd, 1 / (1 - pow(b1, t)), 1 / (1 - pow(b2, t)), 0};
    for (int i = 0; i < 8; i++)
        hyper[i] = (float)values[i];
    for (size_t i = 0; i < n; i++) {
        v[i] = v[i] * v[i];
        double gi = (double)g[i] * gscale[0], mi = b1 * m[i] + (1 - b1) * gi;
        double vi = b2 * v[i] + (1 - b2) * gi * gi;
        want[i] =
            p[i] - lr * (mi / (1 - pow(b1, t)) / (sqrt(vi / (1 - pow(b2, t))) + eps) + wd * p[i]);
    }
    test_run(ref, OP_ADAMW, &attrs, in, out);
    compare("adamw", out[0].data, want, n, 1e-6);
    tensors_free(in, 6);
    tensors_free(out, 3);
    free(want);
}

/* dim: h, w, c, o, k, stride; scale: padding. One image of h x w. */
static void conv64(const struct function *f, double *const *x, double *out)
{
    size_t h = f->dim[0], w = f->dim[1], c = f->dim[2], o = f->dim[3], k = f->dim[4];
    size_t s = f->dim[5], pad = (size_t)f->scale;
    size_t oh = (h + 2 * pad - k) / s + 1, ow = (w + 2 * pad - k) / s + 1;
    for (size_t n = 0; n < oh * ow * o; n++) {
        size_t i = n / o / ow, j = n / o % ow;
        out[n] = 0;
        for (size_t t = 0; t < k * k * c; t++) {
            size_t row = i * s + t / c / k, col = j * s + t / c % k; /* of the padded image */
            if (row >= pad && row < h + pad && col >= pad && col < w + pad)
                out[n] +=
                    x[0][((row - pad) * w + col - pad) * c + t % c] * x[1][n % o * k * k * c + t];
        }
    }
}

/* h, w, c, o, k, stride, padding */
static void conv_case(const size_t s[7])
{
    size_t nx = s[0] * s[1] * s[2], nw = s[3] * s[4] * s[4] * s[2];
    int64_t stride = (int64_t)s[5], pad = (int64_t)s[6], k = (int64_t)s[4];
    struct op_attrs fwd = {{{.i = stride}, {.i = pad}}};
    struct op_attrs of_x = {
        {{.i = (int64_t)s[0]}, {.i = (int64_t)s[1]}, {.i = stride}, {.i = pad}}};
    struct op_attrs of_w = {{{.i = k}, {.i = k}, {.i = stride}, {.i = pad}}};
    struct tensor in[2] = {test_normal_tensor(SHAPE4(1, s[0], s[1], s[2]), 1),
                           test_normal_tensor(SHAPE4(s[3], s[4], s[4], s[2]), 2)};
    struct tensor y, dy, grad[2];
    double *x[2] = {widen(in[0].data, nx), widen(in[1].data, nw)}, *want;
    test_run(ref, OP_CONV2D, &fwd, in, &y);
    struct function f = {2, {nx, nw}, test_count(&y), conv64, {0}, (double)pad, NULL};
    memcpy(f.dim, s, sizeof f.dim);
    want = malloc(f.out_count * sizeof *want);
    conv64(&f, x, want);
    compare("conv2d", y.data, want, f.out_count, 1e-6);
    dy = test_normal_tensor(y.shape, 3);
    test_run(ref, OP_CONV2D_GRAD_X, &of_x, (struct tensor[]){dy, in[1]}, &grad[0]);
    test_run(ref, OP_CONV2D_GRAD_W, &of_w, (struct tensor[]){dy, in[0]}, &grad[1]);
    check_gradient("conv2d", &f, x, 0, dy.data, grad[0].data);
    check_gradient("conv2d", &f, x, 1, dy.data, grad[1].data);
    tensors_free(in, 2);
    tensors_free(grad, 2);
    free(y.data);
    free(dy.data);
    free(x[0]);
    free(x[1]);
    free(want);
}

static void conv2d(void **state)
{
    static const size_t shape[][7] = {{1, 1, 1, 1, 1, 1, 0},
                                      {6, 5, 3, 4, 3, 1, 1},
                                      {7, 8, 40, 5, 3, 2, 1},
                                      {9, 9, 2, 3, 2, 3, 0},
                                      {5, 6, 2, 3, 4, 1, 3}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        conv_case(shape[i]);
}

/* dim: rows, d; scale: eps */
static void layernorm64(const struct function *f, double *const *x, double *out)
{
    size_t d = f->dim[1];
    for (size_t n = 0; n < f->dim[0]; n++) {
        const double *row = x[0] + n * d;
        double mean = 0, var = 0;
        for (size_t j = 0; j < d; j++)
            mean += row[j] / (double)d;
        for (size_t j = 0; j < d; j++)
            var += (row[j] - mean) * (row[j] - mean) / (double)d;
        for (size_t j = 0; j < d; j++)
            out[n * d + j] = (row[j] - mean) / sqrt(var + f->scale) * x[1][j] + x[2][j];
    }
}

static void layernorm(void **state)
{
    size_t rows = 5, d = 300, n = rows * d;
    struct function f = {3, {n, d, d}, n, layernorm64, {rows, d}, 1e-5f, NULL};
    struct op_attrs attrs = {{{.f = 1e-5f}}};
    struct tensor in[3] = {test_normal_tensor(SHAPE2(rows, d), 1), test_normal_tensor(SHAPE1(d), 2),
                           test_normal_tensor(SHAPE1(d), 3)};
    struct tensor out[3], grad_in[5], grad[3];
    double *x[3], *want = malloc(n * sizeof *want);
    for (size_t i = 0; i < n; i++)
        ((float *)in[0].data)[i] += 100.0f; /* a mean that would cancel in E[x^2] - mean^2 */
    for (int i = 0; i < 3; i++)
        x[i] = widen(in[i].data, f.count[i]);
    test_run(ref, OP_LAYERNORM, &attrs, in, out);
    layernorm64(&f, x, want);
    compare("layernorm", out[0].data, want, n, 1e-5);
    grad_in[0] = test_normal_tensor(SHAPE2(rows, d), 4);
    grad_in[1] = in[0];
    grad_in[2] = in[1];
    grad_in[3] = out[1];
    grad_in[4] = out[2];
    test_run(ref, OP_LAYERNORM_GRAD, &attrs, grad_in, grad);
    for (size_t arg = 0; arg < 3; arg++)
        check_gradient("layernorm", &f, x, arg, grad_in[0].data, grad[arg].data);
    tensors_free(in, 3);
    tensors_free(out, 3);
    tensors_free(grad, 3);
    free(grad_in[0].data);
    for (int i = 0; i < 3; i++)
        free(x[i]);
    free(want);
}

static void gelu64(const struct function *f, double *const *x, double *out)
{
    for (size_t i = 0; i < f->out_count; i++)
        out[i] = x[0][i] * (1 + erf(x[0][i] / sqrt(2))) / 2;
}

static void gelu_tanh64(const struct function *f, double *const *x, double *out)
{
    for (size_t i = 0; i < f->out_count; i++) {
        double v = x[0][i];
        out[i] = v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))) / 2;
    }
}

static void gelu_case(const char *what, enum op op, enum op grad_op,
                      void (*eval)(const struct function *, double *const *, double *))
{
    size_t n = 400;
    struct function f = {1, {n}, n, eval, {0}, 0, NULL};
    struct op_attrs attrs = {{{0}}};
    struct tensor in[2] = {test_normal_tensor(SHAPE1(n), 1), test_normal_tensor(SHAPE1(n), 2)};
    struct tensor y, dx;
    double *x[1], *want = malloc(n * sizeof *want);
    for (size_t i = 0; i < n; i++)
        ((float *)in[1].data)[i] *= 2;
    x[0] = widen(in[1].data, n);
    test_run(ref, op, &attrs, in + 1, &y);
    eval(&f, x, want);
    compare(what, y.data, want, n, 1e-6);
    test_run(ref, grad_op, &attrs, in, &dx);
    check_gradient(what, &f, x, 0, in[0].data, dx.data);
    tensors_free(in, 2);
    free(y.data);
    free(dx.data);
    free(x[0]);
    free(want);
}

static void gelu(void **state)
{
    gelu_case("gelu", OP_GELU, OP_GELU_GRAD, gelu64);
    gelu_case("gelu_tanh", OP_GELU_TANH, OP_GELU_TANH_GRAD, gelu_tanh64);
}

/* dim: h, w, c, size, stride; scale: 1 for the mean, 0 for the maximum. One image. */
static void pool64(const struct function *f, double *const *x, double *out)
{
    size_t w = f->dim[1], c = f->dim[2], k = f->dim[3], s = f->dim[4], ow = (w - k) / s + 1;
    for (size_t n = 0; n < f->out_count; n++) {
        const double *window = x[0] + (n / c / ow * s * w + n / c % ow * s) * c + n % c;
        double sum = 0, max = window[0];
        for (size_t t = 0; t < k * k; t++) {
            sum += window[(t / k * w + t % k) * c];
            max = fmax(max, window[(t / k * w + t % k) * c]);
        }
        out[n] = f->scale > 0 ? sum / (double)(k * k) : max;
    }
}

static void pools(void **state)
{
    struct op_attrs attrs = {{{.i = 3}, {.i = 2}}};
    struct op_attrs sized = {{{.i = 8}, {.i = 7}, {.i = 3}, {.i = 2}}};
    struct tensor x = test_normal_tensor(SHAPE4(1, 8, 7, 5), 1), y, dx;
    struct function f = {1, {280}, 45, pool64, {8, 7, 5, 3, 2}, 0, NULL};
    struct tensor dy = test_normal_tensor(SHAPE4(1, 3, 3, 5), 2);
    double *wide[1] = {widen(x.data, 280)}, want[45];
    for (int mean = 0; mean < 2; mean++) {
        f.scale = mean;
        test_run(ref, mean ? OP_AVGPOOL2D : OP_MAXPOOL2D, &attrs, &x, &y);
        pool64(&f, wide, want);
        compare("pool", y.data, want, 45, 1e-6);
        if (mean)
            test_run(ref, OP_AVGPOOL2D_GRAD, &sized, &dy, &dx);
        else
            test_run(ref, OP_MAXPOOL2D_GRAD, &attrs, (struct tensor[]){dy, x}, &dx);
        check_gradient("pool", &f, wide, 0, dy.data, dx.data);
        free(y.data);
        free(dx.data);
    }
    free(x.data);
    free(dy.data);
    free(wide[0]);
}

static int open_ref(void **state)
{
    return device_cpu_open(ISA_REF, 1, &ref, NULL) != EMAC_OK;
}

static int close_ref(void **state)
{
    device_close(ref);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rmsnorm), cmocka_unit_test(swiglu),
                                       cmocka_unit_test(xent),    cmocka_unit_test(attention),
                                       cmocka_unit_test(rope),    cmocka_unit_test(adamw),
                                       cmocka_unit_test(conv2d),  cmocka_unit_test(layernorm),
                                       cmocka_unit_test(gelu),    cmocka_unit_test(pools)};
    return cmocka_run_group_tests(tests, open_ref, close_ref);
}
