/* One published digest, on every instruction set and any number of threads (rule 12). */
#include "base/hex.h"
#include "compute/fn_special.h"
#include "compute_test.h"

static void conforms(struct device *dev)
{
    uint8_t digest[32];
    char text[65];
    struct emac_err err = {0};
    if (device_conformance(dev, digest, &err) != EMAC_OK)
        fail_msg("%s: %s", device_name(dev), err.text);
    emac_hex(text, digest, sizeof digest);
    if (strcmp(text, CONFORMANCE_DIGEST) != 0)
        fail_msg("%s gives %s, published is %s", device_name(dev), text, CONFORMANCE_DIGEST);
}

/* Operators may join version 1; those it began with keep their bits. */
static void first_part(void **state)
{
    struct device *dev;
    uint8_t digest[32];
    char text[65];
    assert_int_equal(device_cpu_open(ISA_BEST, 1, &dev, NULL), EMAC_OK);
    assert_int_equal(device_conformance_first(dev, digest, NULL), EMAC_OK);
    emac_hex(text, digest, sizeof digest);
    assert_string_equal(text, CONFORMANCE_DIGEST_FIRST);
    assert_string_equal(text, "6ef46e363fccb51e6de474eacd61e6a592a33f898219122937513209c23b47a6");
    device_close(dev);
}

static void digest(void **state)
{
    struct test_devices d;
    struct device *dev;
    test_devices_open(&d);
    dev = d.ref;
    for (size_t i = 0; dev != NULL; dev = test_device(&d, OP_COUNT - 1, i++))
        conforms(dev);
    test_devices_close(&d);
}

#if defined(__x86_64__)
/* The canary: with subnormals flushed a device must neither open nor conform. */
static void flushed_subnormals_show(void **state)
{
    unsigned mode = __builtin_ia32_stmxcsr();
    struct device *dev, *second = NULL;
    uint8_t digest[32];
    char text[65];
    enum emac_status opened, ran;
    assert_int_equal(device_cpu_open(ISA_PORTABLE, 1, &dev, NULL), EMAC_OK);
    __builtin_ia32_ldmxcsr(mode | 0x8040); /* flush to zero, denormals are zero */
    opened = device_cpu_open(ISA_PORTABLE, 1, &second, NULL);
    ran = device_conformance(dev, digest, NULL);
    __builtin_ia32_ldmxcsr(mode);
    assert_int_equal(opened, EMAC_UNSUPPORTED);
    assert_int_equal(ran, EMAC_OK);
    emac_hex(text, digest, sizeof digest);
    assert_string_not_equal(text, CONFORMANCE_DIGEST);
    device_close(dev);
}
#endif

/* The page states the digest, and its test vectors are what fn.h computes. */
static void page(void **state)
{
    static const uint32_t x[] = {0x3f800000, 0xbf800000, 0x3f000000,
                                 0x41200000, 0xc2ae0000, 0x40490fdb};
    char *text = test_numerics_page(), row[128];
    if (!text)
        skip();
    assert_non_null(strstr(text, CONFORMANCE_DIGEST));
    for (size_t i = 0; i < EMAC_COUNT(x); i++) {
        float v = fn_float(x[i]), a = fn_float(x[i] & 0x7fffffffu);
        snprintf(row, sizeof row, "| `%08x` | `%08x` | `%08x` | `%08x` | `%08x` | `%08x` |", x[i],
                 fn_bits(fn_exp(v)), fn_bits(fn_log(a)), fn_bits(fn_sigmoid(v)),
                 fn_bits(fn_tanh(v)), fn_bits(fn_rsqrt(a)));
        if (!strstr(text, row))
            fail_msg("docs/numerics.md lacks the row: %s", row);
        snprintf(row, sizeof row,
                 "| `%08x` | `%08x` | `%08x` | `%08x` | `%08x` | `%08x` | `%08x` | `%08x` |", x[i],
                 fn_bits(fn_erf(v)), fn_bits(fn_gelu(v)), fn_bits(fn_gelu_slope(v)),
                 fn_bits(fn_gelu_tanh(v)), fn_bits(fn_gelu_tanh_slope(v)), fn_bits(fn_sin(v)),
                 fn_bits(fn_cos(v)));
        if (!strstr(text, row))
            fail_msg("docs/numerics.md lacks the row: %s", row);
    }
    free(text);
}

/* The page's example of rule 3. */
static void fma_is_one_rounding(void **state)
{
    float a[2] = {1.0f, 1.0f + 0x1p-12f}, b[2] = {-1.0f, 1.0f + 0x1p-12f}, c;
    struct tensor in[2] = {{DTYPE_F32, SHAPE2(1, 2), a}, {DTYPE_F32, SHAPE2(2, 1), b}};
    struct tensor out = {DTYPE_F32, SHAPE2(1, 1), &c};
    struct op_attrs attrs = {{{.i = 0}, {.i = 0}}};
    struct test_devices d;
    test_devices_open(&d);
    for (int isa = ISA_REF; isa < ISA_COUNT; isa++) {
        struct device *dev = isa == ISA_REF ? d.ref : d.fast[isa][0];
        if (!dev)
            continue;
        assert_int_equal(device_run(dev, OP_MATMUL, &attrs, in, &out, NULL), EMAC_OK);
        assert_int_equal(fn_bits(c), 0x3a000400);
    }
    test_devices_close(&d);
}

static void names(void **state)
{
    assert_int_equal(isa_find("best"), ISA_BEST);
    assert_int_equal(isa_find("sse9"), ISA_COUNT);
    for (int isa = 0; isa < ISA_COUNT; isa++)
        assert_int_equal(isa_find(isa_name((enum isa)isa)), isa);
    assert_true(isa_supported(ISA_REF) && isa_supported(ISA_PORTABLE) && isa_supported(ISA_BEST));
}

static uint64_t fake_ns(void *ctx)
{
    return *(uint64_t *)ctx += 1000000;
}

static void benchmark(void **state)
{
    struct device *dev;
    struct device_speed speed;
    uint64_t clock = 0;
    assert_int_equal(device_cpu_open(ISA_BEST, 2, &dev, NULL), EMAC_OK);
    assert_int_equal(device_threads(dev), 2);
    assert_non_null(strstr(device_name(dev), " x2"));
    device_benchmark(dev, fake_ns, &clock, 10, &speed);
    /* each run takes one millisecond of that clock */
    assert_true(speed.gemm_gflops > 113.0 && speed.gemm_gflops < 114.0);
    assert_true(speed.memory_gbs > 50.3 && speed.memory_gbs < 50.4);
    device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_part),
        cmocka_unit_test(digest),
        cmocka_unit_test(page),
        cmocka_unit_test(fma_is_one_rounding),
        cmocka_unit_test(names),
        cmocka_unit_test(benchmark),
#if defined(__x86_64__)
        cmocka_unit_test(flushed_subnormals_show),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
