/* Attention and its gradient need memory that grows with the length of a sequence, not with its
 * square: at 4096 positions the process grows by less than one matrix of scores. */
#include <sys/resource.h>

#include "compute_test.h"

#define T     ((size_t)4096)
#define HEADS ((size_t)2)
#define E     ((size_t)64)

static size_t peak_bytes(void)
{
    struct rusage use;
    assert_int_equal(getrusage(RUSAGE_SELF, &use), 0);
    return (size_t)use.ru_maxrss * 1024;
}

static struct device *fastest(const struct test_devices *devices)
{
    enum isa isa = ISA_AVX512;
    while (!devices->fast[isa][1])
        isa--;
    return devices->fast[isa][1];
}

/* Outputs are touched, so that only what the operators take on top is seen. */
static struct tensor output(struct shape shape)
{
    struct tensor t = test_tensor(DTYPE_F32, shape);
    memset(t.data, 0, test_count(&t) * sizeof(float));
    return t;
}

static void grows_less_than_one_matrix(void **state)
{
    struct test_devices devices;
    struct op_attrs attrs = {{{.i = 1}, {.i = HEADS}, {.i = 1}, {.f = 0.125f}}};
    struct shape wide = SHAPE2(T, HEADS * E), narrow = SHAPE2(T, E), stat = SHAPE3(1, HEADS, T);
    struct tensor out[3] = {output(wide), output(stat), output(stat)};
    struct tensor grad[3] = {output(wide), output(narrow), output(narrow)};
    struct tensor in[7] = {test_normal_tensor(wide, 1),
                           test_normal_tensor(wide, 2),
                           test_normal_tensor(narrow, 3),
                           test_normal_tensor(narrow, 4),
                           out[0],
                           out[1],
                           out[2]};
    struct emac_err err;
    size_t before;
    test_devices_open(&devices);
    before = peak_bytes();
    assert_int_equal(device_run(fastest(&devices), OP_ATTENTION, &attrs, in + 1, out, &err), 0);
    assert_int_equal(device_run(fastest(&devices), OP_ATTENTION_GRAD, &attrs, in, grad, &err), 0);
    assert_true(((float *)out[2].data)[2 * T - 1] >= 1.0f); /* the sum holds e^0 */
    assert_true(peak_bytes() - before < T * T * sizeof(float) / 2);
    for (int i = 0; i < 3; i++) {
        free(out[i].data);
        free(grad[i].data);
    }
    for (int i = 0; i < 4; i++)
        free(in[i].data);
    test_devices_close(&devices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(grows_less_than_one_matrix)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
