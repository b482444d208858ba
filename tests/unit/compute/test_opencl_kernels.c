/* What the tables of operators do not reach on an OpenCL device: the scalar functions argument by
 * argument, every tile of the matrix product, and products whose blocks are added afterwards. */
#include "../opencl_there.h"
#include "base/embed.h"
#include "compute/fn_special.h"
#include "compute/opencl/ops.h"
#include "compute_test.h"

static struct test_devices devices;

static int open_all(void **state)
{
    test_devices_open(&devices);
    return 0;
}

static int close_all(void **state)
{
    test_devices_close(&devices);
    return 0;
}

/* ---- scalar functions ---- */

#define ARGUMENTS ((size_t)1 << 20)

/* X(name, value of the arguments x, y) */
#define FUNCTIONS(X)                                                                               \
    X(div, fn_div(x, y))                                                                           \
    X(div_soft, fn_div_soft(x, y))                                                                 \
    X(sqrt, fn_sqrt(x))                                                                            \
    X(rsqrt, fn_rsqrt(x))                                                                          \
    X(fma, fn_fma(x, y, x))                                                                        \
    X(exp, fn_exp(x))                                                                              \
    X(log, fn_log(x))                                                                              \
    X(sigmoid, fn_sigmoid(x))                                                                      \
    X(tanh, fn_tanh(x))                                                                            \
    X(erf, fn_erf(x))                                                                              \
    X(gelu, fn_gelu(x))                                                                            \
    X(gelu_slope, fn_gelu_slope(x))                                                                \
    X(gelu_tanh, fn_gelu_tanh(x))                                                                  \
    X(gelu_tanh_slope, fn_gelu_tanh_slope(x))                                                      \
    X(sin, fn_sin(x))                                                                              \
    X(cos, fn_cos(x))                                                                              \
    X(bf16, fn_from_bf16(fn_to_bf16(x)))

#define DECLARE(name, value)                                                                       \
    static float on_host_##name(float x, float y)                                                  \
    {                                                                                              \
        (void)y;                                                                                   \
        return value;                                                                              \
    }
FUNCTIONS(DECLARE)

static const struct function {
    const char *name, *text;
    float (*host)(float, float);
} functions[] = {
#define X(name, value)                                                                             \
    {#name,                                                                                        \
     "__kernel void f(__global const float *a, __global const float *b, __global float *c) "       \
     "{ size_t i = get_global_id(0); float x = a[i], y = b[i]; c[i] = " #value "; }",              \
     on_host_##name},
    FUNCTIONS(X)
#undef X
};

static const char *embedded(const char *name)
{
    for (const struct embedded *e = EMBEDDED_KERNELS; e->name != NULL; e++)
        if (strcmp(e->name, name) == 0)
            return e->text;
    fail_msg("no text '%s'", name);
    return NULL;
}

/* All kinds: the edges, any bits, and numbers of ordinary size. */
static float argument(uint32_t stream, size_t i)
{
    static const uint32_t edge[] = {0,          0x80000000, 1,          0x80000001, 0x007fffff,
                                    0x00800000, 0x80800000, 0x3f800000, 0xbf800000, 0x3fffffff,
                                    0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
                                    0xc2aeac4f, 0xc2aeac50, 0x42b17217, 0x42b17218, 0x3f200000};
    uint32_t w = test_word(stream, i);
    if (i % 16 == stream % 16)
        return fn_float(edge[w % EMAC_COUNT(edge)]);
    if (i % 2)
        return test_normal(stream, i) * 8.0f;
    return fn_float(w);
}

/* c = f(a, b) by a kernel of its own on the device. */
static void apply(struct device *dev, const struct function *f, float *a, float *b, float *c)
{
    struct cl *cl = (struct cl *)dev;
    const char *text[] = {embedded("prelude"), embedded("fn"), embedded("fn_special"), f->text};
    float *buffer[3] = {a, b, c};
    const size_t items = ARGUMENTS;
    cl_int code;
    cl_program program = cl->api.clCreateProgramWithSource(cl->context, 4, text, NULL, &code);
    assert_int_equal(cl->api.clBuildProgram(program, 1, &cl->id, "-cl-std=CL1.2", NULL, NULL), 0);
    cl_kernel kernel = cl->api.clCreateKernel(program, "f", &code);
    assert_int_equal(code, CL_SUCCESS);
    for (cl_uint i = 0; i < 3; i++) {
        size_t at;
        cl_mem mem = cl_memory_find(cl, buffer[i], 0, &at);
        assert_int_equal(cl->api.clSetKernelArg(kernel, i, sizeof mem, &mem), CL_SUCCESS);
    }
    assert_int_equal(
        cl->api.clEnqueueNDRangeKernel(cl->queue, kernel, 1, NULL, &items, NULL, 0, NULL, NULL),
        CL_SUCCESS);
    assert_int_equal(device_finish(dev, NULL), EMAC_OK);
    cl->api.clReleaseKernel(kernel);
    cl->api.clReleaseProgram(program);
}

static void scalar_functions(void **state)
{
    struct device *dev = devices.opencl[0];
    float *x = malloc(ARGUMENTS * sizeof *x), *y = malloc(ARGUMENTS * sizeof *y);
    float *got = malloc(ARGUMENTS * sizeof *got), *a, *b, *c;
    for (size_t i = 0; i < ARGUMENTS; i++) {
        x[i] = argument(401, i);
        y[i] = argument(402, i);
    }
    a = test_put(dev, x, ARGUMENTS);
    b = test_put(dev, y, ARGUMENTS);
    c = test_put(dev, x, ARGUMENTS);
    for (size_t f = 0; f < EMAC_COUNT(functions); f++) {
        apply(dev, &functions[f], a, b, c);
        test_get(dev, got, c, ARGUMENTS);
        for (size_t i = 0; i < ARGUMENTS; i++) {
            float want = functions[f].host(x[i], y[i]);
            if (test_differ(&want, &got[i], 1) == 0)
                fail_msg("%s(%a, %a) is %a on %s, %a here", functions[f].name, (double)x[i],
                         (double)y[i], (double)got[i], device_name(dev), (double)want);
        }
    }
    device_free(dev, a);
    device_free(dev, b);
    device_free(dev, c);
    free(x);
    free(y);
    free(got);
}

/* ---- products ---- */

/* C = op(A) op(B) on the device by `tile`, or by what op_matmul chooses; against ref. */
static void product(struct device *dev, const struct cl_tile *tile, size_t m, size_t n, size_t k,
                    int trans)
{
    bool ta = trans & 1, tb = trans & 2;
    struct op_attrs attrs = {{{.i = ta}, {.i = tb}}};
    struct tensor in[2] = {test_normal_tensor(ta ? SHAPE2(k, m) : SHAPE2(m, k), 410),
                           test_normal_tensor(tb ? SHAPE2(n, k) : SHAPE2(k, n), 411)};
    struct tensor want, got = test_tensor(DTYPE_F32, SHAPE2(m, n));
    struct cl_matmul mm = {.m = m, .n = n, .k = k, .trans_a = ta, .trans_b = tb};
    float *c = test_put(dev, got.data, m * n);
    test_run(devices.ref, OP_MATMUL, &attrs, in, &want);
    mm.a = test_put(dev, in[0].data, m * k);
    mm.b = test_put(dev, in[1].data, n * k);
    mm.c = c;
    mm.lda = in[0].shape.dim[1];
    mm.ldb = in[1].shape.dim[1];
    mm.ldc = n;
    mm.outer = mm.inner = mm.b_group = 1;
    assert_int_equal(cl_matmul_tiled((struct cl *)dev, tile, &mm, NULL), EMAC_OK);
    test_get(dev, got.data, c, m * n);
    if (test_differ(want.data, got.data, m * n) != m * n)
        fail_msg("%zu x %zu x %zu, transposed %d, by tile %td differs", m, n, k, trans,
                 tile - CL_TILES);
    device_free(dev, (void *)(uintptr_t)mm.a);
    device_free(dev, (void *)(uintptr_t)mm.b);
    device_free(dev, c);
    tensors_free(in, 2);
    tensors_free(&want, 1);
    tensors_free(&got, 1);
}

static void tiles(void **state)
{
    static const size_t shape[][3] = {{1, 1, 1}, {13, 70, 300}, {131, 129, 17}};
    uint32_t fit = 0;
    for (int layout = 0; layout < 2; layout++)
        for (size_t t = 0; t < CL_TILES_COUNT; t++) {
            struct device *dev = devices.opencl[layout];
            if (!cl_tile_fits((struct cl *)dev, &CL_TILES[t]))
                continue;
            fit++;
            for (size_t s = 0; s < EMAC_COUNT(shape); s++)
                for (int trans = 0; trans < 4; trans += 3)
                    product(dev, &CL_TILES[t], shape[s][0], shape[s][1], shape[s][2], trans);
        }
    assert_true(fit >= 8);
}

/* One tile and many blocks: the blocks' sums lie apart and are added in order. */
static void split(void **state)
{
    struct op_attrs attrs = {{{.i = 1}, {.i = 0}}};
    struct tensor in[2] = {test_normal_tensor(SHAPE2(2100, 3), 420),
                           test_normal_tensor(SHAPE2(2100, 5), 421)};
    struct tensor want, got;
    test_run(devices.ref, OP_MATMUL, &attrs, in, &want);
    for (int layout = 0; layout < 2; layout++) {
        test_run(devices.opencl[layout], OP_MATMUL, &attrs, in, &got);
        assert_int_equal(test_differ(want.data, got.data, 15), 15);
        tensors_free(&got, 1);
    }
    tensors_free(&want, 1);
    tensors_free(in, 2);
}

/* Every operator has a place in the table. */
static void all_operators(void **state)
{
    for (int op = 0; op < OP_COUNT; op++)
        if (cl_op_table[op] == NULL)
            fail_msg("operator '%s' is not on OpenCL", op_info((enum op)op)->name);
}

int main(void)
{
    if (!opencl_there())
        return 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(scalar_functions), cmocka_unit_test(tiles),
                                       cmocka_unit_test(split), cmocka_unit_test(all_operators)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
