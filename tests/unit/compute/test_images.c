/* The operators on images, and those that came with them, on every instruction set and number of
 * threads: bit for bit what ref gives, on shapes chosen for their edges. */
#include "ops_test.h"

static struct op_attrs ints(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (struct op_attrs){{{.i = a}, {.i = b}, {.i = c}, {.i = d}}};
}

struct conv_shape {
    size_t b, h, w, c, o, kh, kw, stride, pad;
};

static const char *conv_text(const struct conv_shape *s)
{
    static char text[128];
    snprintf(text, sizeof text, "%zux%zux%zux%zu o %zu k %zux%zu s %zu p %zu", s->b, s->h, s->w,
             s->c, s->o, s->kh, s->kw, s->stride, s->pad);
    return text;
}

static void conv_case(const struct conv_shape *s)
{
    int64_t stride = (int64_t)s->stride, pad = (int64_t)s->pad;
    struct op_attrs fwd = ints(stride, pad, 0, 0);
    struct op_attrs of_x = ints((int64_t)s->h, (int64_t)s->w, stride, pad);
    struct op_attrs of_w = ints((int64_t)s->kh, (int64_t)s->kw, stride, pad);
    struct tensor in[2] = {test_normal_tensor(SHAPE4(s->b, s->h, s->w, s->c), 1),
                           test_normal_tensor(SHAPE4(s->o, s->kh, s->kw, s->c), 2)};
    struct tensor y, dy_w[2], dy_x[2];
    check(conv_text(s), OP_CONV2D, &fwd, in, &y);
    dy_w[0] = dy_x[0] = test_normal_tensor(y.shape, 3);
    dy_w[1] = in[1];
    dy_x[1] = in[0];
    check(conv_text(s), OP_CONV2D_GRAD_X, &of_x, dy_w, NULL);
    check(conv_text(s), OP_CONV2D_GRAD_W, &of_w, dy_x, NULL);
    tensors_free(in, 2);
    tensors_free(dy_w, 1);
    tensors_free(&y, 1);
}

/* One pixel, one tap, all padding sides, more than 256 terms, strides that leave pixels out or
 * exceed the kernel, few and many output channels, enough work for threads and for waves. */
static void conv2d(void **state)
{
    static const struct conv_shape shape[] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 0},     {2, 5, 4, 3, 2, 3, 3, 1, 1},
        {1, 5, 7, 2, 3, 2, 4, 1, 1},     {1, 6, 6, 40, 5, 3, 3, 1, 1},
        {2, 9, 8, 3, 4, 3, 3, 2, 1},     {1, 11, 5, 2, 33, 5, 3, 3, 2},
        {3, 7, 7, 1, 16, 3, 3, 1, 0},    {1, 8, 8, 4, 4, 1, 1, 2, 0},
        {1, 9, 9, 2, 3, 2, 2, 5, 1},     {1, 12, 12, 70, 8, 3, 3, 2, 1},
        {5, 16, 16, 8, 13, 3, 3, 1, 1},  {1, 4, 4, 300, 7, 1, 1, 1, 0},
        {9, 20, 20, 1, 16, 5, 5, 1, 2},  {2, 3, 3, 5, 40, 3, 3, 1, 0},
        {2, 14, 14, 33, 65, 3, 3, 1, 1}, {2, 13, 13, 17, 20, 4, 4, 4, 0},
        {9, 9, 9, 3, 17, 7, 7, 2, 3},    {300, 3, 4, 1, 33, 3, 4, 3, 0},
        {6, 11, 9, 5, 3, 5, 2, 1, 1},    {70, 2, 5, 2, 16, 2, 3, 1, 1}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        conv_case(&shape[i]);
}

/* dw so large that rectangles of it are the units, and so many rows that they are cut. */
static void conv2d_wide(void **state)
{
    static const struct conv_shape shape[] = {{1, 6, 6, 130, 70, 3, 3, 1, 1},
                                              {1, 3, 3, 12, 500, 3, 3, 1, 1}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        conv_case(&shape[i]);
}

/* b, h, w, c, size, stride */
static void pool_case(const size_t s[6], bool ties)
{
    struct op_attrs attrs = ints((int64_t)s[4], (int64_t)s[5], 0, 0);
    struct op_attrs sized = ints((int64_t)s[1], (int64_t)s[2], (int64_t)s[4], (int64_t)s[5]);
    struct tensor x = test_normal_tensor(SHAPE4(s[0], s[1], s[2], s[3]), 4), y, in[2];
    const char *what = sizes(s[1], s[3], s[4]);
    for (size_t i = 0; ties && i < test_count(&x); i++)
        ((float *)x.data)[i] = (float)(test_word(5, i) % 3) - 1.0f; /* and -0 among the zeros */
    for (size_t i = 0; ties && i < test_count(&x); i += 2)
        ((float *)x.data)[i] = -((float *)x.data)[i];
    check(what, OP_MAXPOOL2D, &attrs, &x, &y);
    check(what, OP_AVGPOOL2D, &attrs, &x, NULL);
    in[0] = test_normal_tensor(y.shape, 6);
    in[1] = x;
    check(what, OP_MAXPOOL2D_GRAD, &attrs, in, NULL);
    check(what, OP_AVGPOOL2D_GRAD, &sized, in, NULL);
    tensors_free(in, 2);
    free(y.data);
}

static void pools(void **state)
{
    static const size_t shape[][6] = {
        {1, 1, 1, 1, 1, 1},   {2, 4, 4, 3, 2, 2}, {1, 5, 7, 65, 2, 2}, {3, 7, 7, 16, 3, 1},
        {1, 9, 8, 130, 3, 2}, {2, 7, 7, 5, 7, 7}, {2, 6, 9, 4, 2, 4},  {40, 28, 28, 8, 2, 2}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++) {
        pool_case(shape[i], false);
        pool_case(shape[i], true);
    }
}

/* A window's first largest element gets the gradient, the result is never -0. */
static void maxpool_ties(void **state)
{
    struct op_attrs attrs = ints(2, 2, 0, 0);
    float x[4] = {-0.0f, -1.0f, 0.0f, 0.0f}, dy[1] = {3.0f};
    struct tensor in[2] = {{DTYPE_F32, SHAPE4(1, 1, 1, 1), dy}, {DTYPE_F32, SHAPE4(1, 2, 2, 1), x}};
    struct tensor y, dx;
    test_run(devices.ref, OP_MAXPOOL2D, &attrs, in + 1, &y);
    test_run(devices.ref, OP_MAXPOOL2D_GRAD, &attrs, in, &dx);
    assert_int_equal(fn_bits(*(float *)y.data), 0);
    assert_true(((float *)dx.data)[0] == 3.0f && ((float *)dx.data)[2] == 0.0f);
    free(y.data);
    free(dx.data);
}

static size_t first_bad(const float *x, size_t n)
{
    size_t i = 0;
    while (i < n && (fn_bits(x[i]) & FN_INF) != FN_INF)
        i++;
    return i;
}

/* A NaN is seen: it would be wrong to hide it behind a maximum or a zero. */
static void nan_stays(void **state)
{
    struct op_attrs attrs = ints(2, 2, 0, 0);
    for (size_t at = 0; at < 4; at++) {
        float x[4] = {1.0f, -1.0f, 2.0f, 0.0f};
        int32_t target[2] = {0, 1};
        struct tensor image = {DTYPE_F32, SHAPE4(1, 2, 2, 1), x}, flat = {DTYPE_F32, SHAPE1(4), x};
        struct tensor in[2] = {{DTYPE_F32, SHAPE2(2, 2), x}, {DTYPE_I32, SHAPE1(2), target}};
        struct device *dev = devices.ref;
        for (size_t d = 0; dev != NULL; dev = test_device(&devices, OP_CORRECT, d++)) {
            struct tensor out[3];
            x[at] = fn_float(FN_NAN);
            test_run(dev, OP_MAXPOOL2D, &attrs, &image, &out[0]);
            test_run(dev, OP_RELU, &attrs, &flat, &out[1]);
            test_run(dev, OP_CORRECT, &attrs, in, &out[2]);
            assert_int_equal(first_bad(out[0].data, 1), 0);
            assert_int_equal(first_bad(out[1].data, 4), at);
            assert_int_equal(first_bad(out[2].data, 2), at / 2);
            tensors_free(out, 3);
        }
    }
}

static void rows(void **state)
{
    static const size_t shape[][2] = {{1, 1},    {1, 300}, {3, 17},    {17, 16},  {255, 20},
                                      {256, 33}, {257, 5}, {600, 160}, {5, 1000}, {70000, 3}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++) {
        size_t n = shape[i][0], d = shape[i][1];
        struct op_attrs attrs = ints(0, 0, 0, 0);
        struct tensor in[2] = {test_normal_tensor(SHAPE2(n, d), 7),
                               test_normal_tensor(SHAPE1(d), 8)};
        check(sizes(n, d, 0), OP_BIAS, &attrs, in, NULL);
        check(sizes(n, d, 0), OP_SUM_ROWS, &attrs, in, NULL);
        tensors_free(in, 2);
    }
}

/* Every logit is the largest of its row once, some twice; ties take the first. */
static void correct(void **state)
{
    static const size_t shape[][2] = {{1, 1}, {70, 10}, {40, 257}, {3000, 33}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++) {
        size_t n = shape[i][0], v = shape[i][1];
        struct op_attrs attrs = ints(0, 0, 0, 0);
        struct tensor in[2] = {test_normal_tensor(SHAPE2(n, v), 9), test_ids(n, (uint32_t)v, 10)};
        struct tensor y;
        for (size_t r = 0; r < n; r++) {
            float *l = (float *)in[0].data + r * v;
            l[r % v] = 100.0f;
            l[v - 1] = r % 3 ? l[v - 1] : 100.0f;
            ((int32_t *)in[1].data)[r] = (int32_t)(r % 2 ? r % v : v - 1);
        }
        check(sizes(n, v, 0), OP_CORRECT, &attrs, in, &y);
        for (size_t r = 0; r < n; r++)
            assert_true(((float *)y.data)[r] == (r % 2 || r % v == v - 1 ? 1.0f : 0.0f));
        tensors_free(in, 2);
        free(y.data);
    }
}

static void view(void **state)
{
    struct op_attrs attrs = ints(10, 3, 2, 50);
    struct tensor in = test_normal_tensor(SHAPE2(60, 50), 120);
    check("", OP_VIEW, &attrs, &in, NULL);
    free(in.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv2d),    cmocka_unit_test(conv2d_wide),  cmocka_unit_test(pools),
        cmocka_unit_test(nan_stays), cmocka_unit_test(maxpool_ties), cmocka_unit_test(rows),
        cmocka_unit_test(correct),   cmocka_unit_test(view)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
