/* Every operator on every instruction set and 1, 2, 3 threads equals ref bit for bit, on shapes
 * chosen for their edges: 1, ragged, around the 256 of rules 3 and 4, around tile sizes. */
#include "ops_test.h"

static void matmul_case(size_t m, size_t n, size_t k)
{
    for (int trans = 0; trans < 4; trans++) {
        bool ta = trans & 1, tb = trans & 2;
        struct op_attrs attrs = {{{.i = ta}, {.i = tb}}};
        struct tensor in[2] = {test_normal_tensor(ta ? SHAPE2(k, m) : SHAPE2(m, k), 1),
                               test_normal_tensor(tb ? SHAPE2(n, k) : SHAPE2(k, n), 2)};
        check(sizes(m, n, k), OP_MATMUL, &attrs, in, NULL);
        tensors_free(in, 2);
    }
}

static void matmul(void **state)
{
    /* The last ones: one row in several strips; A kept whole over several blocks of k, with rows
     * that compete for cache sets; more rows than are kept. */
    static const size_t shape[][3] = {
        {1, 1, 1},      {1, 1, 257},   {1, 33, 300},  {2, 64, 31},     {3, 17, 255},
        {7, 9, 512},    {12, 32, 256}, {13, 33, 257}, {48, 31, 260},   {49, 31, 5},
        {50, 64, 512},  {61, 70, 513}, {130, 8, 1},   {121, 40, 90},   {250, 100, 33},
        {64, 130, 300}, {1, 2300, 37}, {1, 50, 770},  {13, 140, 1030}, {300, 129, 512},
        {1100, 33, 520}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        matmul_case(shape[i][0], shape[i][1], shape[i][2]);
}

/* So few rows that a transposed matrix is read where it lies: each number of them, columns and k's
 * around the 16 that are turned together, the 8 k's of a half, the 256 of a block. */
static void matmul_few(void **state)
{
    static const size_t size[][2] = {{16, 16}, {31, 24}, {32, 263}, {50, 512}, {15, 7}, {100, 769}};
    for (size_t m = 1; m <= 9; m++)
        for (size_t i = 0; i < EMAC_COUNT(size); i++)
            matmul_case(m, size[i][0], size[i][1]);
}

/* So large that B is packed in several phases; ref's rule on a sample. */
static void matmul_phases(void **state)
{
    size_t m = 50, n = 1090, k = 2053;
    struct op_attrs attrs = {{{.i = 0}, {.i = 1}}};
    struct tensor in[2] = {test_normal_tensor(SHAPE2(m, k), 3),
                           test_normal_tensor(SHAPE2(n, k), 4)};
    struct tensor out[2];
    struct device *two = devices.fast[ISA_AVX512][1], *one = devices.fast[ISA_PORTABLE][0];
    if (!two)
        two = devices.fast[ISA_PORTABLE][1];
    test_run(two, OP_MATMUL, &attrs, in, &out[0]);
    for (size_t row = 0; row < m; row += 49) {
        struct tensor part[2] = {in[0], in[1]};
        part[0].data = (float *)in[0].data + row * k;
        part[0].shape.dim[0] = 1;
        test_run(one, OP_MATMUL, &attrs, part, &out[1]);
        assert_int_equal(test_differ((float *)out[0].data + row * n, out[1].data, n), n);
        free(out[1].data);
    }
    tensors_free(in, 2);
    free(out[0].data);
}

/* Elementwise: sizes around vectors, grains and the threshold of threads; special values. */
static void elementwise(void **state)
{
    static const size_t size[] = {1, 15, 16, 17, 33, 1000, 70001};
    static const float special[] = {0.0f,     -0.0f, 1.0f,     -1.0f,       0x1p-149f, -0x1p-126f,
                                    0x1p127f, 88.0f, -87.337f, 0x1.8p-130f, 100.0f,    -200.0f};
    static const enum op ops[] = {OP_ADD,         OP_MUL,  OP_SWIGLU,   OP_SCALE,
                                  OP_SWIGLU_GRAD, OP_RELU, OP_RELU_GRAD};
    for (size_t s = 0; s < EMAC_COUNT(size); s++)
        for (size_t o = 0; o < EMAC_COUNT(ops); o++) {
            struct op_attrs attrs = {{{0}}};
            struct tensor in[3];
            for (uint32_t i = 0; i < 3; i++) {
                in[i] = test_normal_tensor(SHAPE1(size[s]), 10 + i);
                for (size_t n = i; n < size[s] && n < 400; n += 3)
                    ((float *)in[i].data)[n] = special[test_word(20 + i, n) % EMAC_COUNT(special)];
            }
            in[1].shape.dim[0] = ops[o] == OP_SCALE ? 1 : size[s];
            check(sizes(size[s], 0, 0), ops[o], &attrs, in, NULL);
            tensors_free(in, 3);
        }
}

/* Every output on the input of its number. */
static void in_place_case(struct device *dev, enum op op, const struct tensor *in,
                          const struct tensor *want)
{
    struct op_attrs attrs = {{{0}}};
    struct tensor at[OP_IN_MAX], out[OP_OUT_MAX];
    const struct op_info *info = op_info(op);
    float got[3001];
    for (uint32_t i = 0; i < info->inputs; i++) {
        at[i] = in[i];
        at[i].data = test_put(dev, in[i].data, test_count(&in[i]));
    }
    memcpy(out, at, info->outputs * sizeof *out);
    assert_int_equal(device_run(dev, op, &attrs, at, out, NULL), EMAC_OK);
    for (uint32_t i = 0; i < info->outputs; i++) {
        test_get(dev, got, out[i].data, 3001);
        assert_int_equal(test_differ(want[i].data, got, 3001), 3001);
    }
    for (uint32_t i = 0; i < info->inputs; i++)
        device_free(dev, at[i].data);
}

static void in_place(void **state)
{
    struct op_attrs attrs = {{{0}}};
    struct device *dev;
    for (int op = 0; op < OP_COUNT; op++) {
        struct tensor in[OP_IN_MAX], want[OP_OUT_MAX];
        const struct op_info *info = op_info((enum op)op);
        if (!info->in_place || info->alias || op == OP_BIAS || op == OP_POSITION_ADD ||
            op == OP_DROPOUT)
            continue;
        for (uint32_t i = 0; i < info->inputs; i++)
            in[i] = test_normal_tensor(SHAPE1(op == OP_SCALE && i == 1   ? 1
                                              : op == OP_ADAMW && i == 4 ? 1
                                              : op == OP_ADAMW && i == 5 ? 8
                                                                         : 3001),
                                       30 + i);
        for (size_t i = 0; op == OP_ADAMW && i < 3001; i++)
            ((float *)in[2].data)[i] = fn_float(fn_bits(((float *)in[2].data)[i]) & 0x7fffffff);
        test_run(devices.ref, (enum op)op, &attrs, in, want);
        for (size_t d = 0; (dev = test_device(&devices, (enum op)op, d)) != NULL; d++)
            in_place_case(dev, (enum op)op, in, want);
        tensors_free(want, info->outputs);
        tensors_free(in, info->inputs);
    }
}

static void adamw(void **state)
{
    static const size_t size[] = {1, 31, 40000};
    static const float hyper[8] = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 10.0f, 20.0f, 0.0f};
    for (size_t s = 0; s < EMAC_COUNT(size); s++) {
        struct op_attrs attrs = {{{0}}};
        struct tensor in[6];
        for (uint32_t i = 0; i < 6; i++)
            in[i] = test_normal_tensor(SHAPE1(i < 4 ? size[s] : i == 4 ? 1 : 8), 40 + i);
        for (size_t i = 0; i < size[s]; i++)
            ((float *)in[2].data)[i] *= ((float *)in[2].data)[i];
        memcpy(in[5].data, hyper, sizeof hyper);
        check(sizes(size[s], 0, 0), OP_ADAMW, &attrs, in, NULL);
        tensors_free(in, 6);
    }
}

static void sums(void **state)
{
    static const size_t size[] = {1, 15, 16, 17, 255, 256, 257, 300, 512, 100003};
    for (size_t s = 0; s < EMAC_COUNT(size); s++) {
        struct op_attrs attrs = {{{0}}};
        struct tensor in[1] = {test_normal_tensor(SHAPE1(size[s]), 50)};
        check(sizes(size[s], 0, 0), OP_SUM, &attrs, in, NULL);
        check(sizes(size[s], 0, 0), OP_SUMSQ, &attrs, in, NULL);
        tensors_free(in, 1);
    }
}

static void norm_case(size_t n, size_t d)
{
    struct op_attrs attrs = {{{.f = 1e-5f}}};
    struct tensor in[4] = {test_normal_tensor(SHAPE2(n, d), 60), test_normal_tensor(SHAPE1(d), 61)},
                  out[2];
    struct tensor grad[4];
    check(sizes(n, d, 0), OP_RMSNORM, &attrs, in, out);
    grad[0] = test_normal_tensor(SHAPE2(n, d), 62);
    grad[1] = in[0];
    grad[2] = in[1];
    grad[3] = out[1];
    check(sizes(n, d, 0), OP_RMSNORM_GRAD, &attrs, grad, NULL);
    tensors_free(in, 2);
    tensors_free(out, 2);
    free(grad[0].data);
}

static void norm(void **state)
{
    static const size_t shape[][2] = {{1, 1},     {1, 300},  {3, 17},   {17, 16},
                                      {255, 20},  {256, 33}, {257, 5},  {600, 160},
                                      {300, 257}, {5, 1000}, {250, 300}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        norm_case(shape[i][0], shape[i][1]);
}

static void xent_case(size_t n, size_t v)
{
    struct op_attrs attrs = {{{0}}};
    struct tensor in[2] = {test_normal_tensor(SHAPE2(n, v), 70), test_ids(n, (uint32_t)v, 71)};
    struct tensor out[2], grad[4];
    for (size_t i = 0; i < n * v; i++)
        ((float *)in[0].data)[i] *= 8.0f;
    check(sizes(n, v, 0), OP_XENT, &attrs, in, out);
    grad[0] = test_normal_tensor(SHAPE1(1), 72);
    grad[1] = in[0];
    grad[2] = in[1];
    grad[3] = out[1];
    check(sizes(n, v, 0), OP_XENT_GRAD, &attrs, grad, NULL);
    tensors_free(in, 2);
    tensors_free(out, 2);
    free(grad[0].data);
}

static void xent(void **state)
{
    static const size_t shape[][2] = {{1, 1}, {1, 2}, {5, 15}, {3, 256}, {300, 256}, {7, 1000}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        xent_case(shape[i][0], shape[i][1]);
}

static void embedding(void **state)
{
    static const size_t shape[][3] = {{1, 1, 1}, {40, 7, 33}, {600, 256, 160}, {300, 3, 500}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++) {
        size_t n = shape[i][0], v = shape[i][1], d = shape[i][2];
        struct op_attrs attrs = {{{.i = (int64_t)v}}};
        struct tensor in[2] = {test_ids(n, (uint32_t)v, 80), test_normal_tensor(SHAPE2(v, d), 81)};
        struct tensor grad[2] = {in[0], test_normal_tensor(SHAPE2(n, d), 82)};
        check(sizes(n, v, d), OP_EMBED, &attrs, in, NULL);
        check(sizes(n, v, d), OP_EMBED_GRAD, &attrs, grad, NULL);
        tensors_free(in, 2);
        free(grad[1].data);
    }
}

static void rope(void **state)
{
    /* rows, positions, heads, half */
    static const size_t shape[][4] = {
        {1, 1, 1, 1}, {6, 3, 2, 3}, {300, 100, 5, 16}, {600, 300, 3, 40}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        for (int inverse = 0; inverse < 2; inverse++) {
            size_t half = shape[i][3], heads = shape[i][2];
            struct op_attrs attrs = {{{.i = (int64_t)heads}, {.i = inverse}}};
            struct tensor in[3] = {test_normal_tensor(SHAPE2(shape[i][0], heads * 2 * half), 90),
                                   test_normal_tensor(SHAPE2(shape[i][1], half), 91),
                                   test_normal_tensor(SHAPE2(shape[i][1], half), 92)};
            check(sizes(shape[i][0], heads, half), OP_ROPE, &attrs, in, NULL);
            tensors_free(in, 3);
        }
}

struct attention_shape {
    size_t b, t, h, g, e;
};

static void attention_case(struct attention_shape s)
{
    struct op_attrs attrs = {{{.i = (int64_t)s.b},
                              {.i = (int64_t)s.h},
                              {.i = (int64_t)s.g},
                              {.f = fn_rsqrt((float)s.e)}}};
    struct shape q = SHAPE2(s.b * s.t, s.h * s.e), kv = SHAPE2(s.b * s.t, s.g * s.e);
    struct tensor in[3] = {test_normal_tensor(q, 100), test_normal_tensor(kv, 101),
                           test_normal_tensor(kv, 102)},
                  out[3], grad[7];
    check(sizes(s.b, s.t, s.e), OP_ATTENTION, &attrs, in, out);
    grad[0] = test_normal_tensor(q, 103);
    memcpy(grad + 1, in, sizeof in);
    memcpy(grad + 4, out, sizeof out);
    check(sizes(s.b, s.t, s.e), OP_ATTENTION_GRAD, &attrs, grad, NULL);
    tensors_free(in, 3);
    tensors_free(out, 3);
    free(grad[0].data);
}

static void attention(void **state)
{
    static const struct attention_shape shape[] = {
        {1, 1, 1, 1, 1},    {2, 1, 2, 1, 5},    {1, 13, 1, 1, 32}, {2, 40, 4, 2, 20},
        {1, 255, 2, 2, 8},  {1, 256, 1, 1, 16}, {1, 257, 2, 1, 7}, {2, 300, 3, 1, 6},
        {1, 20, 1, 1, 260}, {1, 530, 2, 1, 4},  {3, 30, 6, 3, 33}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        attention_case(shape[i]);
}

static void decode_on(struct device *dev, const struct attention_shape *s, size_t rows, float scale,
                      const struct tensor *in, float *o)
{
    size_t width = s->h * s->e, n = rows * width;
    float *q = test_put(dev, (float *)in[0].data + (s->t - rows) * width, n);
    float *k = test_put(dev, in[1].data, test_count(&in[1]));
    float *v = test_put(dev, in[2].data, test_count(&in[2])), *at = test_put(dev, o, n);
    assert_int_equal(device_attention_decode(dev, q, k, v, at, s->t, rows, (uint32_t)s->h,
                                             (uint32_t)s->g, (uint32_t)s->e, scale, NULL),
                     EMAC_OK);
    test_get(dev, o, at, n);
    device_free(dev, q);
    device_free(dev, k);
    device_free(dev, v);
    device_free(dev, at);
}

/* The last positions' rows of full attention, from cached keys, on every device. */
static void decode_case(struct attention_shape s, size_t rows)
{
    struct op_attrs attrs = {
        {{.i = 1}, {.i = (int64_t)s.h}, {.i = (int64_t)s.g}, {.f = fn_rsqrt((float)s.e)}}};
    struct tensor in[3] = {test_normal_tensor(SHAPE2(s.t, s.h * s.e), 110),
                           test_normal_tensor(SHAPE2(s.t, s.g * s.e), 111),
                           test_normal_tensor(SHAPE2(s.t, s.g * s.e), 112)},
                  out[3];
    size_t width = s.h * s.e, n = rows * width;
    float *o = calloc(n, sizeof *o);
    struct device *dev = devices.ref;
    test_run(devices.ref, OP_ATTENTION, &attrs, in, out);
    for (size_t i = 0; dev != NULL; dev = test_device(&devices, OP_ATTENTION, i++)) {
        decode_on(dev, &s, rows, attrs.at[3].f, in, o);
        assert_int_equal(test_differ(o, (float *)out[0].data + (s.t - rows) * width, n), n);
    }
    free(o);
    tensors_free(in, 3);
    tensors_free(out, 3);
}

static void decode(void **state)
{
    static const struct attention_shape shape[] = {{1, 1, 1, 1, 4},     {1, 40, 4, 2, 20},
                                                   {1, 257, 14, 1, 32}, {1, 300, 3, 3, 40},
                                                   {1, 600, 6, 2, 16},  {1, 270, 1, 1, 1100}};
    static const size_t rows[] = {1, 2, 39, 280};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        for (size_t r = 0; r < EMAC_COUNT(rows) && rows[r] <= shape[i].t; r++)
            decode_case(shape[i], rows[r]);
}

static void generators(void **state)
{
    static const int64_t size[][2] = {{1, 0}, {7, 0}, {257, 3}, {300, 333}};
    for (size_t i = 0; i < EMAC_COUNT(size); i++) {
        struct op_attrs fill = {{{.i = size[i][0]}, {.i = size[i][1]}, {.f = 1.25f}}};
        struct op_attrs randn = {
            {{.i = size[i][0]}, {.i = size[i][1]}, {.i = -5}, {.i = 9}, {.f = 0.02f}}};
        check(sizes((size_t)size[i][0], (size_t)size[i][1], 0), OP_FILL, &fill, NULL, NULL);
        check(sizes((size_t)size[i][0], (size_t)size[i][1], 0), OP_RANDN, &randn, NULL, NULL);
    }
}

static void randn_is_normal(void **state)
{
    struct op_attrs attrs = {{{.i = 100000}, {.i = 0}, {.i = 1}, {.i = 2}, {.f = 2.0f}}};
    struct tensor out;
    double m1 = 0, m2 = 0, m4 = 0;
    test_run(devices.fast[ISA_PORTABLE][0], OP_RANDN, &attrs, NULL, &out);
    for (size_t i = 0; i < 100000; i++) {
        double x = ((float *)out.data)[i] / 2.0;
        m1 += x / 100000;
        m2 += x * x / 100000;
        m4 += x * x * x * x / 100000;
    }
    assert_true(m1 > -0.02 && m1 < 0.02);
    assert_true(m2 > 0.97 && m2 < 1.03);
    assert_true(m4 > 2.75 && m4 < 3.05); /* 2.9 for the sum of 12 */
    free(out.data);
}

static void reshape(void **state)
{
    struct op_attrs attrs = {{{.i = 3}, {.i = 1000}}};
    struct tensor in[1] = {test_normal_tensor(SHAPE3(10, 3, 100), 120)};
    check("", OP_RESHAPE, &attrs, in, NULL);
    tensors_free(in, 1);
}

static void scalars(void **state)
{
    static const float value[] = {0.0f, 4.0f, 2.0f, 1e-30f, 1e30f};
    for (size_t i = 0; i < EMAC_COUNT(value); i++) {
        struct op_attrs attrs = {{{0}}};
        struct tensor in[2] = {test_tensor(DTYPE_F32, SHAPE1(1)),
                               test_tensor(DTYPE_F32, SHAPE1(1))};
        struct tensor out[1];
        *(float *)in[0].data = value[i];
        *(float *)in[1].data = 1.0f;
        check("", OP_SQRT, &attrs, in, NULL);
        check("", OP_CLIP_COEF, &attrs, in, out);
        assert_true(*(float *)out[0].data <= 1.0f && *(float *)out[0].data > 0.0f);
        tensors_free(out, 1);
        tensors_free(in, 2);
    }
}

/* Told together with a vector that is finite. */
static bool finite(struct device *dev, float *x, size_t n)
{
    static const float fine[3] = {0.0f, -1.0f, 0x1p127f};
    float *y = test_put(dev, fine, 3);
    const struct tensor t[] = {
        {DTYPE_F32, SHAPE1(3), y}, {DTYPE_F32, SHAPE1(n), x}, {DTYPE_F32, SHAPE1(3), y}};
    bool all = false;
    assert_int_equal(device_finite(dev, 3, t, &all, NULL), EMAC_OK);
    device_free(dev, y);
    return all;
}

static void put_word(struct device *dev, float *at, uint32_t bits)
{
    assert_int_equal(device_write(dev, at, &bits, sizeof bits, NULL), EMAC_OK);
}

static void add_and_finite(void **state)
{
    size_t n = 100001;
    struct tensor in[2] = {test_normal_tensor(SHAPE1(n), 130), test_normal_tensor(SHAPE1(n), 131)};
    struct op_attrs attrs = {{{0}}};
    struct tensor want;
    struct device *dev = devices.ref;
    float *got = malloc(n * sizeof *got);
    test_run(devices.ref, OP_ADD, &attrs, in, &want);
    for (size_t i = 0; dev != NULL; dev = test_device(&devices, OP_ADD, i++)) {
        float *a = test_put(dev, in[0].data, n), *b = test_put(dev, in[1].data, n);
        assert_int_equal(device_add(dev, a, a, b, n, NULL), EMAC_OK);
        test_get(dev, got, a, n);
        assert_int_equal(test_differ(want.data, got, n), n);
        assert_true(finite(dev, a, n));
        put_word(dev, a + 99990, FN_NAN);
        assert_true(finite(dev, a, 99990));
        assert_false(finite(dev, a, n));
        put_word(dev, a + 5000, FN_INF | 0x80000000u);
        put_word(dev, a + 5001, FN_INF);
        assert_true(finite(dev, a, 5000));
        assert_false(finite(dev, a, 5001));
        device_free(dev, a);
        device_free(dev, b);
    }
    tensors_free(in, 2);
    free(want.data);
    free(got);
}

static void ids_are_checked(void **state)
{
    static const int32_t bad[] = {-1, 7, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < EMAC_COUNT(bad); i++) {
        struct op_attrs attrs = {{{.i = 7}}};
        struct tensor ids = test_ids(5, 7, 140), table = test_normal_tensor(SHAPE2(7, 3), 141);
        struct tensor rows = test_normal_tensor(SHAPE2(5, 7), 142), out[2];
        struct tensor embed[2] = {ids, table}, grad[2] = {ids, rows}, xent[2] = {rows, ids};
        struct emac_err err;
        ((int32_t *)ids.data)[4] = bad[i];
        out[0] = test_tensor(DTYPE_F32, SHAPE2(7, 7));
        out[1] = test_tensor(DTYPE_F32, SHAPE2(5, 2));
        struct device *dev = devices.ref;
        for (size_t d = 0; dev != NULL; dev = test_device(&devices, OP_EMBED, d++)) {
            out[0].shape = SHAPE2(5, 3);
            assert_int_equal(device_run_host(dev, OP_EMBED, &attrs, embed, out, &err),
                             EMAC_INVALID);
            assert_non_null(strstr(err.text, "id"));
            out[0].shape = SHAPE2(7, 7);
            assert_int_equal(device_run_host(dev, OP_EMBED_GRAD, &attrs, grad, out, &err),
                             EMAC_INVALID);
            out[0].shape = SHAPE1(5);
            assert_int_equal(device_run_host(dev, OP_XENT, &attrs, xent, out, &err), EMAC_INVALID);
        }
        tensors_free(out, 2);
        free(ids.data);
        free(table.data);
        free(rows.data);
    }
}

/* A device that says a product is finite has looked at every element of it: A or B is spoilt at one
 * place, and a row or a column of the product with it. */
static void product_is_looked_at(void **state)
{
    static const size_t shape[][3] = {{12, 32, 256}, {37, 45, 300}, {2, 1, 1}, {7, 9, 512}};
    static const uint32_t bad[] = {FN_NAN, FN_INF, FN_INF | 0x80000000u};
    for (size_t s = 0; s < EMAC_COUNT(shape); s++) {
        size_t m = shape[s][0], n = shape[s][1], k = shape[s][2];
        struct op_attrs attrs = {{{0}}};
        struct tensor in[2] = {test_normal_tensor(SHAPE2(m, k), 150),
                               test_normal_tensor(SHAPE2(k, n), 151)};
        struct tensor out = test_tensor(DTYPE_F32, SHAPE2(m, n));
        struct device *dev;
        for (size_t d = 0; (dev = test_device(&devices, OP_MATMUL, d)) != NULL; d++) {
            if (!device_is_host(dev))
                continue;
            assert_int_equal(device_run(dev, OP_MATMUL, &attrs, in, &out, NULL), EMAC_OK);
            assert_true(device_ran_finite(dev));
            for (uint32_t i = 0; i < 2; i++)
                for (size_t at = 0; at < test_count(&in[i]); at += 1 + at / 5) {
                    float *x = (float *)in[i].data + at, old = *x;
                    memcpy(x, &bad[at % EMAC_COUNT(bad)], sizeof *x);
                    assert_int_equal(device_run(dev, OP_MATMUL, &attrs, in, &out, NULL), EMAC_OK);
                    if (device_ran_finite(dev))
                        fail_msg("%s on %s: input %u[%zu] was not noticed", sizes(m, n, k),
                                 device_name(dev), i, at);
                    *x = old;
                }
        }
        tensors_free(in, 2);
        free(out.data);
    }
}

/* On a device that can: the table's rows as the two operators make them. */
static void embed_grad_added_case(struct device *dev, size_t tokens, size_t vocab, size_t d)
{
    struct op_attrs attrs = {{{.i = (int64_t)vocab}}};
    struct tensor grad[2] = {test_ids(tokens, vocab, 160),
                             test_normal_tensor(SHAPE2(tokens, d), 161)};
    struct tensor sum[2], want;
    ((float *)grad[1].data)[0] = -0.0f;
    test_run(devices.ref, OP_EMBED_GRAD, &attrs, grad, &sum[0]);
    sum[1] = test_normal_tensor(SHAPE2(vocab, d), 162);
    ((float *)sum[1].data)[vocab * d - 1] = 0.0f;
    test_run(devices.ref, OP_ADD, &attrs, sum, &want);
    assert_int_equal(device_embed_grad_add(dev, &grad[0], &grad[1], &sum[1], NULL), EMAC_OK);
    assert_int_equal(test_differ(want.data, sum[1].data, vocab * d), vocab * d);
    assert_true(device_ran_finite(dev));
    ((float *)grad[1].data)[tokens * d - 1] = fn_float(FN_INF);
    assert_int_equal(device_embed_grad_add(dev, &grad[0], &grad[1], &sum[1], NULL), EMAC_OK);
    assert_false(device_ran_finite(dev));
    ((int32_t *)grad[0].data)[tokens - 1] = (int32_t)vocab;
    assert_int_equal(device_embed_grad_add(dev, &grad[0], &grad[1], &sum[1], NULL), EMAC_INVALID);
    tensors_free(grad, 2);
    tensors_free(sum, 2);
    free(want.data);
}

static void embed_grad_added(void **state)
{
    static const size_t shape[][3] = {{1, 1, 1}, {5, 9, 3}, {300, 7, 20}, {700, 1000, 257}};
    struct device *dev;
    for (size_t i = 0; (dev = test_device(&devices, OP_EMBED_GRAD, i)) != NULL; i++)
        for (size_t s = 0; device_adds_embed_grad(dev) && s < EMAC_COUNT(shape); s++)
            embed_grad_added_case(dev, shape[s][0], shape[s][1], shape[s][2]);
    assert_true(device_adds_embed_grad(devices.fast[ISA_PORTABLE][0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul),
        cmocka_unit_test(matmul_few),
        cmocka_unit_test(matmul_phases),
        cmocka_unit_test(elementwise),
        cmocka_unit_test(in_place),
        cmocka_unit_test(adamw),
        cmocka_unit_test(sums),
        cmocka_unit_test(norm),
        cmocka_unit_test(xent),
        cmocka_unit_test(embedding),
        cmocka_unit_test(rope),
        cmocka_unit_test(attention),
        cmocka_unit_test(decode),
        cmocka_unit_test(generators),
        cmocka_unit_test(randn_is_normal),
        cmocka_unit_test(reshape),
        cmocka_unit_test(scalars),
        cmocka_unit_test(add_and_finite),
        cmocka_unit_test(ids_are_checked),
        cmocka_unit_test(product_is_looked_at),
        cmocka_unit_test(embed_grad_added),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
