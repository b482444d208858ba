/* Layer norm, gelu, learned positions, dropout on every instruction set and number of threads: bit
 * for bit what ref gives; and what dropout's mask is. */
#include "compute/fn_philox.h"
#include "ops_test.h"

static void layernorm_case(size_t n, size_t d)
{
    struct op_attrs attrs = {{{.f = 1e-5f}}};
    struct tensor in[3] = {test_normal_tensor(SHAPE2(n, d), 1), test_normal_tensor(SHAPE1(d), 2),
                           test_normal_tensor(SHAPE1(d), 3)};
    struct tensor out[3], grad[5];
    check(sizes(n, d, 0), OP_LAYERNORM, &attrs, in, out);
    grad[0] = test_normal_tensor(SHAPE2(n, d), 4);
    grad[1] = in[0];
    grad[2] = in[1];
    grad[3] = out[1];
    grad[4] = out[2];
    check(sizes(n, d, 0), OP_LAYERNORM_GRAD, &attrs, grad, NULL);
    tensors_free(in, 3);
    tensors_free(out, 3);
    free(grad[0].data);
}

static void layernorm(void **state)
{
    static const size_t shape[][2] = {{1, 1},    {1, 300}, {3, 17},    {17, 16},   {255, 20},
                                      {256, 33}, {257, 5}, {600, 160}, {300, 257}, {5, 1000}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++)
        layernorm_case(shape[i][0], shape[i][1]);
}

/* All magnitudes, and where the exponentials end. */
static void gelu(void **state)
{
    static const enum op ops[] = {OP_GELU, OP_GELU_TANH, OP_GELU_GRAD, OP_GELU_TANH_GRAD};
    static const size_t size[] = {1, 17, 1000, 70001};
    for (size_t o = 0; o < EMAC_COUNT(ops); o++)
        for (size_t s = 0; s < EMAC_COUNT(size); s++) {
            struct op_attrs attrs = {{{0}}};
            struct tensor in[2] = {test_normal_tensor(SHAPE1(size[s]), 5),
                                   test_normal_tensor(SHAPE1(size[s]), 6)};
            float *x = in[o < 2 ? 0 : 1].data;
            for (size_t i = 0; i < size[s]; i += 2)
                x[i] = i % 4 ? x[i] * 10.0f : fn_float(test_word(7, i) & 0xbfffffffu);
            check(sizes(size[s], 0, 0), ops[o], &attrs, in, NULL);
            tensors_free(in, 2);
        }
}

static void positions(void **state)
{
    static const size_t shape[][3] = {{1, 1, 1}, {40, 8, 33}, {600, 50, 160}, {6, 6, 5}};
    for (size_t i = 0; i < EMAC_COUNT(shape); i++) {
        struct op_attrs attrs = {{{0}}};
        struct tensor in[2] = {test_normal_tensor(SHAPE2(shape[i][0], shape[i][2]), 8),
                               test_normal_tensor(SHAPE2(shape[i][1], shape[i][2]), 9)};
        check(sizes(shape[i][0], shape[i][1], shape[i][2]), OP_POSITION_ADD, &attrs, in, NULL);
        tensors_free(in, 2);
    }
}

static struct tensor key_tensor(int32_t a, int32_t b, int32_t step, int32_t part)
{
    struct tensor t = test_tensor(DTYPE_I32, SHAPE1(4));
    memcpy(t.data, (int32_t[]){a, b, step, part}, 16);
    return t;
}

static void dropout(void **state)
{
    static const float p[] = {0.0f, 0x1p-24f, 0.1f, 0.5f, 0x1.fffffep-1f};
    static const size_t size[] = {1, 3, 5, 255, 257, 70003};
    for (size_t i = 0; i < EMAC_COUNT(p); i++)
        for (size_t s = 0; s < EMAC_COUNT(size); s++) {
            struct op_attrs attrs = {{{.f = p[i]}, {.i = (int64_t)(s * 13107)}}};
            struct tensor in[2] = {test_normal_tensor(SHAPE1(size[s]), 10),
                                   key_tensor(-5, 77, (int32_t)s, -(int32_t)i)};
            check(sizes(size[s], 0, 0), OP_DROPOUT, &attrs, in, NULL);
            tensors_free(in, 2);
        }
}

/* Elements of y = dropout(1) that were dropped; `same` counts those where a and b agree. */
static size_t dropped(const struct tensor *y)
{
    size_t n = 0;
    for (size_t i = 0; i < test_count(y); i++)
        n += ((float *)y->data)[i] == 0.0f;
    return n;
}

static struct tensor mask(const struct tensor *ones, struct tensor key, float p, int64_t site)
{
    struct op_attrs attrs = {{{.f = p}, {.i = site}}};
    struct tensor in[2] = {*ones, key}, y;
    test_run(devices.fast[ISA_PORTABLE][0], OP_DROPOUT, &attrs, in, &y);
    free(key.data);
    return y;
}

/* A share p is dropped, what stays is scaled so that the mean stays, and another seed, step, part
 * or site is another mask: two masks of p = 1/4 agree in 10 of 16 elements. */
static void dropout_masks(void **state)
{
    const size_t n = 40000;
    struct tensor ones = test_tensor(DTYPE_F32, SHAPE1(n)), first, other[5];
    for (size_t i = 0; i < n; i++)
        ((float *)ones.data)[i] = 1.0f;
    first = mask(&ones, key_tensor(1, 2, 3, 4), 0.25f, 5);
    other[0] = mask(&ones, key_tensor(9, 2, 3, 4), 0.25f, 5);
    other[1] = mask(&ones, key_tensor(1, 9, 3, 4), 0.25f, 5);
    other[2] = mask(&ones, key_tensor(1, 2, 9, 4), 0.25f, 5);
    other[3] = mask(&ones, key_tensor(1, 2, 3, 9), 0.25f, 5);
    other[4] = mask(&ones, key_tensor(1, 2, 3, 4), 0.25f, 9);
    assert_true(dropped(&first) > 9600 && dropped(&first) < 10400);
    for (size_t o = 0; o < EMAC_COUNT(other); o++) {
        size_t same = 0;
        for (size_t i = 0; i < n; i++)
            same += ((float *)first.data)[i] == ((float *)other[o].data)[i];
        if (same < 24400 || same > 25600)
            fail_msg("mask %zu agrees in %zu of %zu elements", o, same, n);
    }
    for (size_t i = 0; i < n; i++) {
        float y = ((float *)first.data)[i];
        assert_true(y == 0.0f || y == fn_div(1.0f, 0.75f));
    }
    tensors_free(&ones, 1);
    tensors_free(&first, 1);
    tensors_free(other, EMAC_COUNT(other));
}

/* On its own input, with threads. */
static void in_place_case(enum op op, struct tensor x, struct tensor second)
{
    struct op_attrs attrs = {{{.f = 0.25f}, {.i = 1}}};
    struct tensor in[2] = {x, second}, want;
    size_t n = test_count(&x);
    if (op != OP_DROPOUT)
        memset(&attrs, 0, sizeof attrs);
    test_run(devices.ref, op, &attrs, in, &want);
    for (int isa = ISA_PORTABLE; isa < ISA_COUNT && devices.fast[isa][1]; isa++) {
        struct tensor y = test_tensor(DTYPE_F32, x.shape);
        struct emac_err err;
        memcpy(y.data, x.data, n * sizeof(float));
        in[0].data = y.data;
        assert_int_equal(device_run(devices.fast[isa][1], op, &attrs, in, &y, &err), EMAC_OK);
        assert_int_equal(test_differ(want.data, y.data, n), n);
        free(y.data);
    }
    free(want.data);
    free(x.data);
    free(second.data);
}

static void in_place(void **state)
{
    struct shape shape = SHAPE2(600, 173);
    in_place_case(OP_BIAS, test_normal_tensor(shape, 20), test_normal_tensor(SHAPE1(173), 21));
    in_place_case(OP_POSITION_ADD, test_normal_tensor(shape, 20),
                  test_normal_tensor(SHAPE2(30, 173), 21));
    in_place_case(OP_DROPOUT, test_normal_tensor(shape, 20), key_tensor(1, 2, 3, 4));
}

/* fn_philox.h's Philox is base's. */
static void philox(void **state)
{
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t counter[4], key[2] = {test_word(11, i), test_word(12, i)}, want[4];
        for (uint32_t k = 0; k < 4; k++)
            counter[k] = test_word(13 + k, i);
        philox4x32(counter, key, want);
        fn_philox(counter, key[0], key[1]);
        assert_memory_equal(counter, want, sizeof want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(layernorm),     cmocka_unit_test(gelu),
                                       cmocka_unit_test(positions),     cmocka_unit_test(dropout),
                                       cmocka_unit_test(dropout_masks), cmocka_unit_test(philox),
                                       cmocka_unit_test(in_place)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
