/* Tensors past 4 GiB: no offset is kept in 32 bits. The memory is mapped and not touched, but for a
 * few numbers near its end, so the test needs address space and little memory. */
#include <sys/mman.h>

#include "compute_test.h"

#define WIDE ((size_t)40961) /* numbers of a row */
#define ROWS ((size_t)27000) /* 4.12 GiB in all: more than 2^32 bytes, and than 2^30 numbers */
#define LAST (ROWS * WIDE - 1)

static struct test_devices devices;
static float *big; /* ROWS x WIDE, zeros */

static struct device *fastest(uint32_t threads)
{
    enum isa isa = ISA_AVX512;
    while (!devices.fast[isa][threads - 1])
        isa--;
    return devices.fast[isa][threads - 1];
}

static void row(void **state)
{
    int32_t ids[3] = {ROWS - 1, 0, ROWS - 2};
    struct op_attrs none = {{{0}}};
    struct tensor in[2] = {{DTYPE_I32, SHAPE1(3), ids}, {DTYPE_F32, SHAPE2(ROWS, WIDE), big}}, out;
    test_run(fastest(2), OP_EMBED, &none, in, &out);
    assert_true(((float *)out.data)[WIDE - 1] == 3.0f);
    assert_true(((float *)out.data)[WIDE] == 0.0f);
    assert_true(((float *)out.data)[2 * WIDE] == 5.0f);
    free(out.data);
}

static void sum(void **state)
{
    struct op_attrs none = {{{0}}};
    struct tensor in = {DTYPE_F32, SHAPE2(ROWS, WIDE), big}, out;
    test_run(fastest(2), OP_SUM, &none, &in, &out);
    assert_true(*(float *)out.data == 8.0f);
    free(out.data);
}

/* y[1, ROWS] = x[1, WIDE] W[ROWS, WIDE]^T, and through the other layout: x[1, ROWS] W[ROWS, WIDE].
 */
static void product(void **state)
{
    struct op_attrs transposed = {{{.i = 0}, {.i = 1}}}, plain = {{{.i = 0}, {.i = 0}}};
    struct tensor in[2] = {test_normal_tensor(SHAPE2(1, WIDE), 1),
                           {DTYPE_F32, SHAPE2(ROWS, WIDE), big}},
                  out;
    float *x = in[0].data, *y;
    test_run(fastest(2), OP_MATMUL, &transposed, in, &out);
    y = out.data;
    assert_true(y[0] == 0.0f && y[ROWS - 3] == 0.0f);
    assert_true(y[ROWS - 1] == x[WIDE - 1] * 3.0f);
    assert_true(y[ROWS - 2] == x[0] * 5.0f);
    free(out.data);
    free(in[0].data);
    in[0] = test_normal_tensor(SHAPE2(1, ROWS), 2);
    x = in[0].data;
    test_run(fastest(2), OP_MATMUL, &plain, in, &out);
    y = out.data;
    assert_true(y[1] == 0.0f && y[WIDE - 1] == x[ROWS - 1] * 3.0f && y[0] == x[ROWS - 2] * 5.0f);
    free(out.data);
    free(in[0].data);
}

static void finite(void **state)
{
    const struct tensor all = {DTYPE_F32, SHAPE1(ROWS * WIDE), big};
    const struct tensor before = {DTYPE_F32, SHAPE1(LAST), big};
    float kept = big[LAST];
    bool fine = false;
    assert_int_equal(device_finite(fastest(2), 1, &all, &fine, NULL), EMAC_OK);
    assert_true(fine);
    big[LAST] = fn_float(FN_INF);
    assert_int_equal(device_finite(fastest(2), 1, &all, &fine, NULL), EMAC_OK);
    assert_false(fine);
    assert_int_equal(device_finite(fastest(2), 1, &before, &fine, NULL), EMAC_OK);
    assert_true(fine);
    big[LAST] = kept;
}

static int setup(void **state)
{
    test_devices_open(&devices);
    big = mmap(NULL, ROWS * WIDE * sizeof *big, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (big == MAP_FAILED) {
        printf("# no 4 GiB of address space here\n");
        return -1;
    }
    big[LAST] = 3.0f;
    big[(ROWS - 2) * WIDE] = 5.0f;
    return 0;
}

static int teardown(void **state)
{
    munmap(big, ROWS * WIDE * sizeof *big);
    test_devices_close(&devices);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(row), cmocka_unit_test(sum),
                                       cmocka_unit_test(product), cmocka_unit_test(finite)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
