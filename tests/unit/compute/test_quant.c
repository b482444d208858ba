/* Block-quantised weights: the layouts byte for byte, half precision, every leaf of the product
 * against ref, and what hostile bytes do. */
#include "compute/cpu/quant.h"
#include "compute/half.h"
#include "compute_test.h"

static struct test_devices cards; /* OpenCL in both layouts, where there is one */

static int open_opencl(void **state)
{
    test_opencl_open(&cards);
    return 0;
}

static int close_opencl(void **state)
{
    device_close(cards.opencl[0]);
    device_close(cards.opencl[1]);
    return 0;
}

static const enum quant_format formats[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q8_0, QUANT_Q6_K};

static size_t row_bytes(enum quant_format format, size_t k)
{
    size_t bytes = 0;
    assert_true(quant_row_bytes(format, k, &bytes));
    return bytes;
}

/* Random blocks with scales between 2^-10 and 2^-2 of either sign. */
static struct tensor blocks(enum quant_format format, size_t rows, size_t k, uint32_t stream)
{
    const struct quant_info *info = quant_info(format);
    struct tensor t = test_tensor(DTYPE_U8, SHAPE2(rows, row_bytes(format, k)));
    uint8_t *p = t.data;
    size_t d = format == QUANT_Q6_K ? 208 : 0;
    for (size_t i = 0; i < test_count(&t); i++)
        p[i] = (uint8_t)test_word(stream, i);
    for (size_t b = 0; b < test_count(&t); b += info->bytes) {
        p[b + d + 1] = (uint8_t)((p[b + d + 1] & 0x9f) | 0x20);
        if (format == QUANT_Q4_1)
            p[b + 3] = (uint8_t)((p[b + 3] & 0x9f) | 0x20);
    }
    return t;
}

static float magnitude(float x)
{
    return x < 0 ? -x : x;
}

/* -- half precision ------------------------------------------------------------------------ */

/* By the definition of the format, in binary64. */
static double half_value(uint32_t half)
{
    double sign = half & 0x8000 ? -1 : 1, x = half & 0x3ff;
    int exponent = (int)(half >> 10 & 31);
    if (exponent > 0)
        x += 1024;
    for (int e = exponent > 0 ? exponent : 1; e < 25; e++)
        x /= 2;
    for (int e = 25; e < exponent; e++)
        x *= 2;
    return sign * x;
}

static void half_is_exact(void **state)
{
    for (uint32_t half = 0; half < 65536; half++) {
        float x = half_to_float(half);
        if ((half & 0x7c00) == 0x7c00) {
            assert_true((fn_bits(x) & FN_INF) == FN_INF);
            assert_int_equal(half & 0x3ff ? 1 : 0, x != x);
            continue;
        }
        assert_true((double)x == half_value(half));
        assert_int_equal(fn_bits(x) >> 31, half >> 15);
        assert_int_equal(half_from_float(x), half);
    }
}

/* Between two neighbours: below the middle down, above it up, the middle to the even one. */
static void half_rounds_to_even(void **state)
{
    for (uint32_t half = 0; half < 0x7c00; half++) {
        float low = half_to_float(half);
        float high = half == 0x7bff ? 65536.0f : half_to_float(half + 1);
        float middle = (low + high) * 0.5f;
        uint32_t even = half & 1 ? half + 1 : half;
        assert_int_equal(half_from_float(middle), even);
        assert_int_equal(half_from_float(fn_float(fn_bits(middle) - 1)), half);
        assert_int_equal(half_from_float(fn_float(fn_bits(middle) + 1)), half + 1);
        assert_int_equal(half_from_float(-middle), even | 0x8000);
    }
    assert_int_equal(half_from_float(fn_float(FN_INF)), 0x7c00);
    assert_int_equal(half_from_float(3e38f), 0x7c00);
    assert_int_equal(half_from_float(1e-40f), 0);
    assert_true((half_from_float(fn_float(FN_NAN)) & 0x7fff) > 0x7c00);
}

/* -- layouts ------------------------------------------------------------------------------- */

static void sizes(void **state)
{
    size_t n;
    assert_int_equal(row_bytes(QUANT_Q8_0, 64), 68);
    assert_int_equal(row_bytes(QUANT_Q4_0, 64), 36);
    assert_int_equal(row_bytes(QUANT_Q4_1, 64), 40);
    assert_int_equal(row_bytes(QUANT_Q6_K, 512), 420);
    assert_false(quant_row_bytes(QUANT_Q8_0, 0, &n) || quant_row_bytes(QUANT_Q8_0, 33, &n));
    assert_false(quant_row_bytes(QUANT_Q6_K, 32, &n) ||
                 quant_row_bytes(QUANT_Q8_0, SIZE_MAX / 32 * 32, &n));
    assert_true(quant_row_elements(QUANT_Q6_K, 420, &n) && n == 512);
    assert_false(quant_row_elements(QUANT_Q4_0, 0, &n) || quant_row_elements(QUANT_Q4_0, 19, &n));
    assert_false(quant_row_elements(QUANT_Q4_0, SIZE_MAX / 18 * 18, &n));
    assert_null(quant_info(0));
    assert_null(quant_info(-1));
    assert_ptr_equal(quant_find("q6_k"), quant_info(QUANT_Q6_K));
    assert_null(quant_find("q5_0"));
}

/* Blocks of bytes (37 i + 11) mod 256, f16 numbers (0x40 + at mod 7, 0x2c); weights and their sum
 * as the Python package gguf 0.19 reads them. */
static const struct {
    enum quant_format format;
    struct {
        size_t at;
        float value;
    } weight[8];
    double sum;
} known[] = {
    {QUANT_Q4_0,
     {{0, -0x1.98p-3f},
      {1, 0x1.1p-3f},
      {15, -0x1.1p-1f},
      {16, -0x1.98p-3f},
      {17, -0x1.1p-4f},
      {31, 0x0p+0f}},
     -0x1.65p+0},
    {QUANT_Q4_1,
     {{0, 0x1.1008p+0f},
      {1, 0x1.542p-2f},
      {15, 0x1.761p-1f},
      {16, 0x1.541p-1f},
      {17, 0x1.ba1p-1f},
      {31, 0x1.ba1p-1f}},
     0x1.266p+4},
    {QUANT_Q8_0,
     {{0, 0x1.694p+2f},
      {1, 0x1.034p+3f},
      {15, -0x1.1p+3f},
      {16, -0x1.82cp+2f},
      {17, -0x1.cbp+1f},
      {31, -0x1.98p+1f}},
     -0x1.76p+3},
    {QUANT_Q6_K,
     {{0, -0x1.7ddb3p+6f},
      {17, 0x1.114p+5f},
      {32, 0x1.ed218p+3f},
      {64, -0x1.959bp+7f},
      {100, 0x1.50a038p+7f},
      {128, -0x1.76a6cp+4f},
      {191, -0x1.05824p+6f},
      {255, -0x1.002cp+2f}},
     0x1.33ac5p+8},
};

static void known_blocks(void **state)
{
    for (size_t f = 0; f < EMAC_COUNT(known); f++) {
        const struct quant_info *info = quant_info(known[f].format);
        uint8_t block[210];
        float y[256];
        double sum = 0;
        for (size_t i = 0; i < info->bytes; i++)
            block[i] = (uint8_t)(i * 37 + 11);
        size_t first = info->format == QUANT_Q6_K ? 208 : 0;
        size_t last = info->format == QUANT_Q4_1 ? 2 : first;
        for (size_t at = first; at <= last; at += 2) {
            block[at] = (uint8_t)(0x40 + at % 7);
            block[at + 1] = 0x2c;
        }
        quant_row_decode(info->format, block, y, info->elements);
        for (size_t i = 0; i < info->elements; i++)
            sum += (double)y[i];
        assert_true(sum == known[f].sum);
        for (size_t i = 0; i < EMAC_COUNT(known[f].weight); i++)
            if (known[f].weight[i].at != 0 || i == 0) /* else the list has ended */
                assert_true(y[known[f].weight[i].at] == known[f].weight[i].value);
    }
}

/* -- numbers to blocks --------------------------------------------------------------------- */

/* What is read back is nearest: no farther than half a step of the block (of the 16, for q6_k) plus
 * what rounding the scale to f16 moves the ends. */
static void encode_is_near(void **state)
{
    static const float step[] = {2.0f / 16, 2.0f / 15, 2.0f / 254, 2.0f / 64}; /* of largest |x| */
    for (size_t f = 0; f < EMAC_COUNT(formats); f++) {
        struct tensor x = test_normal_tensor(SHAPE1(4096), 5);
        struct tensor q = test_tensor(DTYPE_U8, SHAPE1(row_bytes(formats[f], 4096)));
        struct tensor y = test_tensor(DTYPE_F32, SHAPE1(4096));
        const float *from = x.data, *to = y.data;
        quant_row_encode(formats[f], q.data, from, 4096);
        quant_row_decode(formats[f], q.data, y.data, 4096);
        for (size_t i = 0; i < 4096; i += QUANT_PART) {
            float most = 0;
            for (size_t j = 0; j < QUANT_PART; j++)
                most = most < magnitude(from[i + j]) ? magnitude(from[i + j]) : most;
            for (size_t j = 0; j < QUANT_PART; j++)
                assert_true(magnitude(from[i + j] - to[i + j]) <= most * step[f] * 1.02f);
        }
        free(x.data);
        free(q.data);
        free(y.data);
    }
}

/* Zeros stay zeros, a block of one number keeps it to 11 bits, ties go to even, and a scale too
 * large for f16 shows in what is read back. */
static void encode_edges(void **state)
{
    float x[256] = {0}, y[256];
    uint8_t block[8 * 34];
    for (size_t f = 0; f < EMAC_COUNT(formats); f++) {
        quant_row_encode(formats[f], block, x, 256);
        quant_row_decode(formats[f], block, y, 256);
        for (size_t i = 0; i < 256; i++)
            assert_int_equal(fn_bits(y[i]), 0);
    }
    x[0] = 127.0f;
    x[1] = 0.5f;
    x[2] = 1.5f;
    x[3] = -2.5f;
    quant_row_encode(QUANT_Q8_0, block, x, 32);
    assert_memory_equal(block, "\x00\x3c\x7f\x00\x02\xfe", 6);
    x[0] = -8.0f;
    x[16] = 7.0f;
    quant_row_encode(QUANT_Q4_0, block, x, 32);
    assert_memory_equal(block, "\x00\x3c\xf0\x88\x8a\x86", 6); /* -8 7, 0.5, 1.5, -2.5 */
    x[0] = 3e38f;
    for (size_t f = 0; f < EMAC_COUNT(formats); f++) {
        quant_row_encode(formats[f], block, x, 256);
        quant_row_decode(formats[f], block, y, 256);
        assert_true((fn_bits(y[0]) & FN_INF) == FN_INF);
    }
}

/* Both operators on every device give what the codec gives; other numbers are refused. */
static void operators(void **state)
{
    struct test_devices d;
    test_devices_open(&d);
    for (size_t f = 0; f < EMAC_COUNT(formats); f++) {
        struct op_attrs attrs = {{{.i = formats[f]}}};
        struct tensor x = test_normal_tensor(SHAPE2(37, 2048), 6), q, y;
        size_t row = row_bytes(formats[f], 2048);
        uint8_t *want = malloc(37 * row);
        float *back = malloc(37 * 2048 * sizeof *back);
        for (size_t i = 0; i < 37; i++) {
            quant_row_encode(formats[f], want + i * row, (float *)x.data + i * 2048, 2048);
            quant_row_decode(formats[f], want + i * row, back + i * 2048, 2048);
        }
        for (int isa = ISA_REF; isa <= ISA_COUNT; isa++)
            for (int t = 0; t < (isa == ISA_COUNT ? 1 : TEST_THREADS_MAX); t++) {
                struct device *dev = isa == ISA_COUNT ? cards.opencl[0]
                                     : isa == ISA_REF ? d.ref
                                                      : d.fast[isa][t];
                if (!dev)
                    continue;
                test_run(dev, OP_QUANTISE, &attrs, &x, &q);
                assert_memory_equal(q.data, want, 37 * row);
                test_run(dev, OP_DEQUANTISE, &attrs, &q, &y);
                assert_int_equal(test_differ(y.data, back, 37 * 2048), 37 * 2048);
                ((float *)x.data)[5000] = fn_float(isa % 2 ? FN_NAN : FN_INF);
                assert_int_equal(device_run_host(dev, OP_QUANTISE, &attrs, &x, &q, NULL),
                                 EMAC_NUMERIC);
                ((float *)x.data)[5000] = 0.0f;
                quant_row_encode(formats[f], want + 2 * row, (float *)x.data + 2 * 2048, 2048);
                quant_row_decode(formats[f], want + 2 * row, back + 2 * 2048, 2048);
                free(q.data);
                free(y.data);
            }
        free(x.data);
        free(want);
        free(back);
    }
    test_devices_close(&d);
}

/* -- the product --------------------------------------------------------------------------- */

/* Activations x with weights of which row 7 has a scale that is no number. */
static void hostile_product(const struct tensor in[2], enum quant_format format, enum isa isa)
{
    struct op_attrs attrs = {{{.i = format}}};
    size_t n = in[1].shape.dim[0], results = in[0].shape.dim[0] * n;
    struct tensor out;
    struct device *dev;
    assert_int_equal(device_cpu_open(isa, 1, &dev, NULL), EMAC_OK);
    test_run(dev, OP_QMATMUL, &attrs, in, &out);
    for (size_t i = 0; i < results; i++)
        assert_int_equal((fn_bits(((float *)out.data)[i]) & FN_INF) == FN_INF, i % n == 7);
    free(out.data);
    device_close(dev);
}

/* Every result that such scales touch is none (rule 11), on every leaf, also of one row. */
static void hostile_scales(void **state)
{
    static const uint16_t bad[] = {0x7c00, 0xfc00, 0x7e00, 0x7c01};
    for (size_t f = 0; f < EMAC_COUNT(formats); f++)
        for (size_t b = 0; b < EMAC_COUNT(bad); b++) {
            struct tensor in[2] = {test_normal_tensor(SHAPE2(3, 512), 7),
                                   blocks(formats[f], 20, 512, 8)};
            size_t row = row_bytes(formats[f], 512), at = 7 * row;
            memset(in[0].data, 0, 512 * sizeof(float)); /* 0 * infinity */
            memcpy((uint8_t *)in[1].data + at + (formats[f] == QUANT_Q6_K ? 208 : 0), &bad[b], 2);
            for (int isa = ISA_PORTABLE; isa < ISA_COUNT; isa++)
                for (uint64_t rows = 1; rows <= 3 && isa_supported((enum isa)isa); rows += 2) {
                    in[0].shape.dim[0] = rows;
                    hostile_product(in, formats[f], (enum isa)isa);
                }
            tensors_free(in, 2);
        }
}

static void same_product(const char *what, enum quant_format format, const struct tensor *want,
                         const struct tensor *got, size_t k)
{
    size_t n = test_count(want), at = test_differ(want->data, got->data, n);
    if (at != n)
        fail_msg("%s, %s (%zu, %zu, %zu): [%zu] is %a, ref has %a", what, quant_info(format)->name,
                 want->shape.dim[0], want->shape.dim[1], k, at, (double)((float *)got->data)[at],
                 (double)((float *)want->data)[at]);
}

/* Every leaf and every number of threads equals ref, and so does OpenCL. */
static void product_of(enum quant_format format, struct tensor x, size_t n)
{
    size_t k = x.shape.dim[1];
    struct op_attrs attrs = {{{.i = format}}};
    struct tensor in[2] = {x, blocks(format, n, k, 2)}, want;
    struct device *ref;
    assert_int_equal(device_cpu_open(ISA_REF, 1, &ref, NULL), EMAC_OK);
    test_run(ref, OP_QMATMUL, &attrs, in, &want);
    struct tensor got;
    for (int o = 0; o < 2 && cards.opencl[o] != NULL; o++) {
        test_run(cards.opencl[o], OP_QMATMUL, &attrs, in, &got);
        same_product(o == 0 ? "OpenCL" : "OpenCL, the other layout", format, &want, &got, k);
        free(got.data);
    }
    got = test_tensor(DTYPE_F32, want.shape);
    for (size_t leaf = 0; cpu_quant_leaf(ISA_AVX512, leaf); leaf++)
        for (uint32_t threads = 1; threads <= 3; threads += 2) {
            struct cpu cpu;
            cpu_init(&cpu, ISA_PORTABLE, threads);
            cpu.quant = cpu_quant_leaf(ISA_AVX512, leaf);
            assert_int_equal(cpu_qmatmul(&cpu, format, in, &got, NULL), EMAC_OK);
            same_product(cpu.quant->name, format, &want, &got, k);
            cpu_release(&cpu);
        }
    device_close(ref);
    free(got.data);
    tensors_free(&want, 1);
    tensors_free(in, 2);
}

static void product_case(enum quant_format format, size_t m, size_t n, size_t k)
{
    product_of(format, test_normal_tensor(SHAPE2(m, k), 1), n);
}

static void product(void **state)
{
    static const size_t shape[][3] = {{1, 1, 256},  {1, 33, 512},  {2, 16, 256},  {3, 31, 768},
                                      {7, 64, 256}, {13, 9, 1024}, {25, 40, 512}, {1, 8, 1280},
                                      {1, 47, 768}, {1, 259, 512}, {6, 263, 768}};
    for (size_t f = 0; f < EMAC_COUNT(formats); f++)
        for (size_t i = 0; i < EMAC_COUNT(shape); i++) {
            product_case(formats[f], shape[i][0], shape[i][1], shape[i][2]);
            if (quant_info(formats[f])->elements == 32)
                product_case(formats[f], shape[i][0], shape[i][1], shape[i][2] - 32 * i - 32);
        }
    product_case(QUANT_Q8_0, 1030, 35, 64);
}

/* Activations at the edges of binary32, and such that are no numbers. */
static void product_of_extremes(void **state)
{
    static const uint32_t bits[] = {0x00000001, 0x007fffff, 0x00fe0000, 0x00fdffff,
                                    0x7f7fffff, 0x7f800000, 0x7fc00000, 0x80000000};
    for (size_t f = 0; f < EMAC_COUNT(formats); f++) {
        struct tensor x = test_tensor(DTYPE_F32, SHAPE2(EMAC_COUNT(bits), 256));
        for (size_t i = 0; i < test_count(&x); i++)
            ((float *)x.data)[i] =
                i % 3 ? fn_float(bits[i / 256]) : test_normal(3, i) * fn_float(bits[i / 256]);
        product_of(formats[f], x, 33);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_is_exact),  cmocka_unit_test(half_rounds_to_even),
        cmocka_unit_test(sizes),          cmocka_unit_test(known_blocks),
        cmocka_unit_test(encode_is_near), cmocka_unit_test(encode_edges),
        cmocka_unit_test(operators),      cmocka_unit_test(hostile_scales),
        cmocka_unit_test(product),        cmocka_unit_test(product_of_extremes),
    };
    return cmocka_run_group_tests(tests, open_opencl, close_opencl);
}
