/* The test vectors of docs/numerics.md: for each rule a small input that anybody can make, and the
 * bits that come out, on every instruction set. */
#include "compute/host_math.h"
#include "compute/pack.h"
#include "compute/quant.h"
#include "ops_test.h"

static char *page;

/* The page has the row "| what | bits bits ... |". */
static void stated(const char *what, const float *x, size_t n)
{
    char row[256];
    size_t at = (size_t)snprintf(row, sizeof row, "| %s |", what);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(row + at, sizeof row - at, " `%08x`", fn_bits(x[i]));
    snprintf(row + at, sizeof row - at, " |");
    if (!strstr(page, row))
        fail_msg("docs/numerics.md lacks the row: %s", row);
}

/* 1/(step * i + first), correctly rounded. */
static struct tensor fractions(struct shape shape, size_t step, size_t first)
{
    struct tensor t = test_tensor(DTYPE_F32, shape);
    for (size_t i = 0; i < test_count(&t); i++)
        ((float *)t.data)[i] = 1.0f / (float)(step * i + first);
    return t;
}

/* Run on the reference and on all others; the results are equal, and the page has output 0. */
static void vector(const char *what, enum op op, const struct op_attrs *attrs, struct tensor *in)
{
    struct tensor want[OP_OUT_MAX];
    const struct op_info *info = op_info(op);
    check(what, op, attrs, in, want);
    stated(what, want[0].data, test_count(&want[0]) < 8 ? test_count(&want[0]) : 8);
    tensors_free(want, info->outputs);
    tensors_free(in, info->inputs);
}

static void rule_3(void **state)
{
    struct op_attrs attrs = {{{.i = 0}, {.i = 1}}};
    struct tensor in[2] = {fractions(SHAPE2(1, 600), 1, 1), fractions(SHAPE2(1, 600), 2, 1)};
    vector("product of 1/(k+1) and 1/(2k+1), k < 600", OP_MATMUL, &attrs, in);
}

static void rule_4(void **state)
{
    struct op_attrs none = {{{0}}};
    struct tensor sum = fractions(SHAPE1(600), 1, 1), squares = fractions(SHAPE1(600), 1, 1);
    vector("sum of 1/(i+1), i < 600", OP_SUM, &none, &sum);
    vector("sum of their squares", OP_SUMSQ, &none, &squares);
}

static void rule_5(void **state)
{
    struct op_attrs attrs = {{{.i = 1}, {.i = 1}, {.i = 1}, {.f = 0.5f}}};
    struct tensor in[3] = {fractions(SHAPE2(3, 2), 1, 1), fractions(SHAPE2(3, 2), 1, 2),
                           fractions(SHAPE2(3, 2), 1, 3)};
    vector("attention, T = 3, E = 2, scale 1/2", OP_ATTENTION, &attrs, in);
}

/* (((0 1) (2 3)) 4): the tree over five leaves. */
static void rule_6(void **state)
{
    float x[5], sum;
    for (size_t i = 0; i < 5; i++)
        x[i] = 1.0f / (float)(7 * i + 3);
    sum = ((x[0] + x[1]) + (x[2] + x[3])) + x[4];
    stated("tree over 1/(7i+3), i < 5", &sum, 1);
}

static void rule_7(void **state)
{
    static const struct {
        const char *what;
        enum quant_format format;
    } row[] = {{"product of 1/(k+1) and q4_0 of 1/(2k+1), k < 512", QUANT_Q4_0},
               {"product of 1/(k+1) and q4_1 of 1/(2k+1), k < 512", QUANT_Q4_1},
               {"product of 1/(k+1) and q8_0 of 1/(2k+1), k < 512", QUANT_Q8_0},
               {"product of 1/(k+1) and q6_k of 1/(2k+1), k < 512", QUANT_Q6_K}};
    for (size_t i = 0; i < EMAC_COUNT(row); i++) {
        struct op_attrs attrs = {{{.i = row[i].format}}};
        struct tensor w = fractions(SHAPE2(1, 512), 2, 1);
        struct tensor in[2] = {fractions(SHAPE2(1, 512), 1, 1)};
        test_run(devices.ref, OP_QUANTISE, &attrs, &w, &in[1]);
        free(w.data);
        vector(row[i].what, OP_QMATMUL, &attrs, in);
    }
}

static void rule_8(void **state)
{
    static const uint32_t x[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x00008000,
                                 0x80018000, 0x7f7f7fff, 0x7f7f8000};
    char row[128];
    for (size_t i = 0; i < EMAC_COUNT(x); i++) {
        snprintf(row, sizeof row, "| bf16 of `%08x` | `%04x` |", x[i], fn_to_bf16(fn_float(x[i])));
        if (!strstr(page, row))
            fail_msg("docs/numerics.md lacks the row: %s", row);
    }
}

static void rule_9(void **state)
{
    struct op_attrs randn = {{{.i = 3}, {.i = 0}, {.i = 7}, {.i = 2}, {.f = 0.02f}}};
    uint32_t w[4];
    char row[128];
    philox_at(UINT64_C(0x0123456789abcdef), PHILOX_DATA, 5, 6, w);
    snprintf(row, sizeof row,
             "| Philox, seed `0123456789abcdef`, purpose 2, step 5, index 6 | `%08x` `%08x` `%08x` "
             "`%08x` |",
             w[0], w[1], w[2], w[3]);
    if (!strstr(page, row))
        fail_msg("docs/numerics.md lacks the row: %s", row);
    vector("`randn`, seed 7, tensor 2, std 0.02", OP_RANDN, &randn, NULL);
}

static void rule_10(void **state)
{
    double angle = 3.0 * host_pow(10000.0, -2.0 * 1 / 4);
    float both[2] = {(float)host_cos(angle), (float)host_sin(angle)};
    stated("rotary cos, sin, base 10000, E = 4, t = 3, j = 1", both, 2);
}

static void optimiser(void **state)
{
    static const float hyper[8] = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 10.0f, 20.0f, 0.0f};
    struct op_attrs none = {{{0}}};
    struct tensor in[6] = {fractions(SHAPE1(2), 1, 1),   fractions(SHAPE1(2), 1, 30),
                           fractions(SHAPE1(2), 1, 700), fractions(SHAPE1(2), 1, 9),
                           fractions(SHAPE1(1), 1, 4),   fractions(SHAPE1(8), 1, 1)};
    memcpy(in[5].data, hyper, sizeof hyper);
    vector("`adamw`: p = 1, 1/2; m = 1/30, 1/31; v = 1/700, 1/701; g = 1/9, 1/10; gscale 1/4; "
           "hyper 1e-3 0.9 0.95 1e-8 0.1 10 20",
           OP_ADAMW, &none, in);
}

static void images(void **state)
{
    struct op_attrs fwd = {{{.i = 1}, {.i = 1}}};
    struct op_attrs back = {{{.i = 5}, {.i = 5}, {.i = 2}, {.i = 0}}};
    struct tensor in[2] = {fractions(SHAPE4(1, 2, 2, 100), 1, 1),
                           fractions(SHAPE4(1, 3, 3, 100), 2, 1)};
    struct tensor dy[2] = {fractions(SHAPE4(1, 2, 2, 70), 1, 1),
                           fractions(SHAPE4(70, 3, 3, 1), 2, 1)};
    vector("`conv2d` of x[1,2,2,100] = 1/(i+1), w[1,3,3,100] = 1/(2i+1), stride 1, padding 1",
           OP_CONV2D, &fwd, in);
    vector("`conv2d_grad_x` of dy[1,2,2,70] = 1/(i+1), w[70,3,3,1] = 1/(2i+1), height 5, width 5, "
           "stride 2, padding 0: the first 8",
           OP_CONV2D_GRAD_X, &back, dy);
}

static void layers(void **state)
{
    static const int32_t key[4] = {1, 2, 3, 4};
    struct op_attrs eps = {{{.f = 0.5f}}}, mask = {{{.f = 0.5f}, {.i = 5}}};
    struct tensor norm[3] = {fractions(SHAPE2(1, 4), 1, 1), fractions(SHAPE1(4), 1, 2),
                             fractions(SHAPE1(4), 1, 3)};
    struct tensor drop[2] = {fractions(SHAPE1(8), 1, 1), test_tensor(DTYPE_I32, SHAPE1(4))};
    memcpy(drop[1].data, key, sizeof key);
    vector("`layernorm` of 1/(i+1), w = 1/(i+2), b = 1/(i+3), D = 4, eps 1/2", OP_LAYERNORM, &eps,
           norm);
    vector("`dropout` of 1/(i+1), i < 8, key 1 2 3 4, p 1/2, site 5", OP_DROPOUT, &mask, drop);
}

static int setup(void **state)
{
    page = test_numerics_page();
    assert_non_null(page);
    return open_all(state);
}

static int teardown(void **state)
{
    free(page);
    return close_all(state);
}

static void packed(void **state)
{
    static const struct {
        const char *what;
        int64_t format, keep;
    } row[] = {{"`pack`, `unpack` of 1/(2i+1), int8, i < 100: the first 8", PACK_INT8, 0},
               {"`pack`, `unpack` of 1/(2i+1), int4, i < 100: the first 8", PACK_INT4, 0},
               {"`pack`, `unpack` of 1/(2i+1), topk, keep 4, i < 100: the first 8", PACK_TOP, 4}};
    for (size_t i = 0; i < EMAC_COUNT(row); i++) {
        struct op_attrs attrs = {{{.i = row[i].format}, {.i = row[i].keep}, {.i = 100}}};
        struct tensor x = fractions(SHAPE1(100), 2, 1), q;
        test_run(devices.ref, OP_PACK, &attrs, &x, &q);
        free(x.data);
        vector(row[i].what, OP_UNPACK, &attrs, &q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule_3), cmocka_unit_test(rule_4),  cmocka_unit_test(rule_5),
        cmocka_unit_test(rule_6), cmocka_unit_test(rule_7),  cmocka_unit_test(rule_8),
        cmocka_unit_test(rule_9), cmocka_unit_test(rule_10), cmocka_unit_test(optimiser),
        cmocka_unit_test(images), cmocka_unit_test(layers),  cmocka_unit_test(packed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
