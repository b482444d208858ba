/* The OpenCL runtime: memory, order, and operators against ref, bit for bit. */
#include "compute_test.h"

static struct device *dev, *ref;

static int open_devices(void **state)
{
    struct emac_err err;
    assert_int_equal(device_cpu_open(ISA_REF, 1, &ref, &err), EMAC_OK);
    if (device_opencl_open("0", &dev, &err) != EMAC_OK)
        printf("# not tested: %s\n", err.text);
    return 0;
}

static int close_devices(void **state)
{
    device_close(dev);
    device_close(ref);
    return 0;
}

static void need_device(void)
{
    if (dev == NULL)
        skip();
}

static void add(void **state)
{
    static const size_t count[] = {1, 63, 64, 65, 100003};
    need_device();
    for (size_t i = 0; i < EMAC_COUNT(count); i++) {
        struct op_attrs attrs = {{{0}}};
        struct tensor in[2] = {test_normal_tensor(SHAPE1(count[i]), 1),
                               test_normal_tensor(SHAPE1(count[i]), 2)};
        struct tensor want[1], got[1];
        test_run(ref, OP_ADD, &attrs, in, want);
        test_run(dev, OP_ADD, &attrs, in, got);
        assert_int_equal(test_differ(want->data, got->data, count[i]), count[i]);
        tensors_free(want, 1);
        tensors_free(got, 1);
        tensors_free(in, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(add)};
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
