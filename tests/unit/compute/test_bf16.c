/* Rule 8: bf16 is rounded to nearest even; an operator on stored values is the operator on the
 * binary32 they stand for, its first output rounded. */
#include "compute_test.h"

static struct test_devices devices;

/* The oracle: the two bf16 around x, the nearer one, at a tie the even one. In binary64, where the
 * distances are exact. */
static uint32_t nearest(float x)
{
    uint32_t down = fn_bits(x) >> 16, up = down + 1; /* towards zero, away from it */
    double a = (double)x - (double)fn_from_bf16(down);
    double b = (up & 0x7f80) == 0x7f80 ? 0x1p128 * (x < 0 ? -1 : 1) - (double)x
                                       : (double)fn_from_bf16(up) - (double)x;
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    return a < b || (a == b && down % 2 == 0) ? down : up;
}

static void rounding(void **state)
{
    for (uint32_t h = 0; h <= 0xffff; h++) {
        float x = fn_from_bf16(h);
        if (x == x)
            assert_int_equal(fn_to_bf16(x), h);
        else
            assert_int_equal(fn_to_bf16(x) & 0x7fff, 0x7fc0);
    }
    for (uint64_t i = 0; i < 1 << 20; i++) {
        uint32_t u = test_word(1, i);
        u = i % 4 == 0 ? (u & 0xffff0000u) | 0x8000u : u; /* ties */
        float x = fn_float(u);
        if ((u & FN_INF) == FN_INF)
            continue;
        if (fn_to_bf16(x) != nearest(x))
            fail_msg("%a (%08x) gives %04x, nearest is %04x", (double)x, u, fn_to_bf16(x),
                     nearest(x));
    }
    assert_int_equal(fn_to_bf16(fn_float(0x7f7fffff)), 0x7f80); /* past the largest: infinity */
    assert_int_equal(fn_to_bf16(-0.0f), 0x8000);
}

static struct tensor narrowed(const struct tensor *x)
{
    struct tensor h = test_tensor(DTYPE_BF16, x->shape);
    for (size_t i = 0; i < test_count(x); i++)
        ((uint16_t *)h.data)[i] = (uint16_t)fn_to_bf16(((float *)x->data)[i]);
    return h;
}

/* The values themselves become those that bf16 holds. */
static void round_to_bf16(struct tensor *x)
{
    for (size_t i = 0; i < test_count(x); i++)
        ((float *)x->data)[i] = fn_from_bf16(fn_to_bf16(((float *)x->data)[i]));
}

/* Inputs whose bit is set in `half` are stored as bf16, and output 0 if bit 31 is. */
static void run_half(struct device *dev, enum op op, const struct op_attrs *attrs,
                     const struct tensor *in, uint32_t half, const struct tensor *want)
{
    const struct op_info *info = op_info(op);
    struct tensor stored[OP_IN_MAX], out[OP_OUT_MAX];
    struct emac_err err = {0};
    for (uint32_t i = 0; i < info->inputs; i++)
        stored[i] = half >> i & 1 ? narrowed(&in[i]) : in[i];
    assert_int_equal(op_infer(op, attrs, stored, out, &err), EMAC_OK);
    for (uint32_t o = 0; o < info->outputs; o++)
        out[o] = test_tensor(o == 0 && half >> 31 ? DTYPE_BF16 : DTYPE_F32, out[o].shape);
    if (device_run_host(dev, op, attrs, stored, out, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    for (uint32_t o = 0; o < info->outputs; o++) {
        struct tensor w = out[o].dtype == DTYPE_BF16 ? narrowed(&want[o]) : want[o];
        size_t bytes = 0;
        shape_bytes(out[o].dtype, &out[o].shape, &bytes);
        if (memcmp(out[o].data, w.data, bytes) != 0)
            fail_msg("%s on %s, bf16 at %x: output %u differs from the rounded f32 result",
                     info->name, device_name(dev), half, o);
        if (w.data != want[o].data)
            free(w.data);
    }
    for (uint32_t i = 0; i < info->inputs; i++)
        if (stored[i].data != in[i].data)
            free(stored[i].data);
    tensors_free(out, info->outputs);
}

static void check(enum op op, const struct op_attrs *attrs, struct tensor *in, uint32_t f32_inputs)
{
    const struct op_info *info = op_info(op);
    struct tensor want[OP_OUT_MAX];
    struct device *dev;
    for (uint32_t i = 0; i < info->inputs; i++)
        if (f32_inputs >> i & 1)
            round_to_bf16(&in[i]);
    test_run(devices.ref, op, attrs, in, want);
    for (uint32_t half = 1; half <= f32_inputs; half++)
        for (uint32_t store = 0; store < 2 && (half & ~f32_inputs) == 0; store++) {
            run_half(devices.ref, op, attrs, in, half | store << 31, want);
            for (size_t i = 0; (dev = test_device(&devices, op, i)) != NULL; i++)
                run_half(dev, op, attrs, in, half | store << 31, want);
        }
    tensors_free(want, info->outputs);
    tensors_free(in, info->inputs);
}

static void operators(void **state)
{
    struct op_attrs none = {{{0}}}, trans_b = {{{.i = 0}, {.i = 1}}}, eps = {{{.f = 1e-5f}}};
    struct op_attrs heads = {{{.i = 2}, {.i = 4}, {.i = 2}, {.f = 0.25f}}};
    struct tensor pair[2] = {test_normal_tensor(SHAPE2(33, 300), 1),
                             test_normal_tensor(SHAPE2(33, 300), 2)};
    check(OP_SWIGLU, &none, pair, 3);
    struct tensor product[2] = {test_normal_tensor(SHAPE2(50, 300), 3),
                                test_normal_tensor(SHAPE2(70, 300), 4)};
    check(OP_MATMUL, &trans_b, product, 3);
    struct tensor norm[2] = {test_normal_tensor(SHAPE2(20, 257), 5),
                             test_normal_tensor(SHAPE1(257), 6)};
    check(OP_RMSNORM, &eps, norm, 3);
    struct tensor table[2] = {test_ids(40, 7, 7), test_normal_tensor(SHAPE2(7, 33), 8)};
    check(OP_EMBED, &none, table, 2);
    struct tensor qkv[3] = {test_normal_tensor(SHAPE2(18, 32), 9),
                            test_normal_tensor(SHAPE2(18, 16), 10),
                            test_normal_tensor(SHAPE2(18, 16), 11)};
    check(OP_ATTENTION, &heads, qkv, 7);
    struct tensor logits[2] = {test_normal_tensor(SHAPE2(9, 300), 12), test_ids(9, 300, 13)};
    check(OP_XENT, &none, logits, 1);
    struct tensor large[1] = {test_normal_tensor(SHAPE2(300, 501), 14)};
    check(OP_COPY, &none, large, 1);
}

static int setup(void **state)
{
    test_devices_open(&devices);
    return 0;
}

static int teardown(void **state)
{
    test_devices_close(&devices);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rounding), cmocka_unit_test(operators)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
