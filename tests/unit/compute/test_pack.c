/* Numbers packed for thin links: the bytes of each format by hand, ties, ends, the bound on what is
 * lost, and bytes that nobody packs. That devices agree is test_cases' business. */
#include "compute/pack.h"
#include "ops_test.h"

#define N PACK_TOP_BLOCK

static const struct pack int8 = {PACK_INT8, 0}, int4 = {PACK_INT4, 0}, top4 = {PACK_TOP, 4},
                         top64 = {PACK_TOP, 64};

static uint32_t exponent(float x)
{
    return fn_bits(x) >> 23 & 255;
}

static void formats(void **state)
{
    struct pack p;
    assert_true(pack_make(PACK_INT8, 0, &p) && pack_block_bytes(&p) == 65);
    assert_true(pack_make(PACK_INT4, 0, &p) && pack_block_bytes(&p) == 33);
    assert_true(pack_make(PACK_TOP, 64, &p) && pack_block_bytes(&p) == 2 + 96 + 16);
    assert_true(pack_blocks(&p, 1) == 1 && pack_blocks(&p, N) == 1 && pack_blocks(&p, N + 1) == 2);
    static const int64_t bad[][2] = {{0, 0}, {4, 0}, {1, 4},    {2, 64},
                                     {3, 0}, {3, 6}, {3, 1028}, {3, -4}};
    for (size_t i = 0; i < EMAC_COUNT(bad); i++)
        assert_false(pack_make(bad[i][0], bad[i][1], &p));
}

/* The largest is 5.5 = 1.375 * 2^2: steps of 1/16 for int8, of 1 for int4, ties to even. */
static void integers(void **state)
{
    static const struct {
        float x;
        int eight, four;
    } row[] = {{5.5f, 88, 6},       {-5.5f, -88, -6},  {0.5f, 8, 0},    {1.5f, 24, 2},
               {2.5f, 40, 2},       {0x1p-5f, 0, 0},   {0.0f, 0, 0},    {-0.0f, 0, 0},
               {-0x1.8p-4f, -2, 0}, {0x1p-140f, 0, 0}, {-3.5f, -56, -4}};
    float x[EMAC_COUNT(row)], y[EMAC_COUNT(row)];
    uint8_t block[65];
    for (size_t i = 0; i < EMAC_COUNT(row); i++)
        x[i] = row[i].x;
    pack_block_write(&int8, block, x, EMAC_COUNT(row));
    pack_block_read(&int8, block, y, EMAC_COUNT(row));
    assert_int_equal(block[0], exponent(5.5f));
    for (size_t i = 0; i < EMAC_COUNT(row); i++) {
        assert_int_equal((int8_t)block[1 + i], row[i].eight);
        assert_true(y[i] == (float)row[i].eight * 0x1p-4f);
    }
    for (size_t i = EMAC_COUNT(row); i < 64; i++)
        assert_int_equal(block[1 + i], 0);
    pack_block_write(&int4, block, x, EMAC_COUNT(row));
    pack_block_read(&int4, block, y, EMAC_COUNT(row));
    for (size_t i = 0; i < EMAC_COUNT(row); i++) {
        assert_int_equal((block[1 + i / 2] >> i % 2 * 4 & 15) - 8, row[i].four);
        assert_true(y[i] == (float)row[i].four);
    }
}

/* Ends of the exponent: what would round to 128 stays 127, what is too small is nothing. */
static void integer_ends(void **state)
{
    float x[3] = {0x1.fffffep127f, -0x1.fffffep127f, 0x1p121f}, y[3];
    uint8_t block[65];
    pack_block_write(&int8, block, x, 3);
    pack_block_read(&int8, block, y, 3);
    assert_true(block[0] == 254 && y[0] == 0x1.fcp127f && y[1] == -0x1.fcp127f && y[2] == 0x1p121f);
    x[0] = 0x1.fffffep-121f, x[1] = -0x1p-126f, x[2] = 0.0f;
    pack_block_write(&int4, block, x, 3);
    pack_block_read(&int4, block, y, 3);
    assert_true(block[0] == 0 && y[0] == 0.0f && y[1] == 0.0f);
    x[0] = 0x1p-120f;
    pack_block_write(&int8, block, x, 1);
    pack_block_read(&int8, block, y, 1);
    assert_true(block[0] == 7 && y[0] == 0x1p-120f);
}

/* 7 2 -7 0 ... 3 ...: of the equal ones the first stay; two levels, the nearer one. */
static void largest_stay(void **state)
{
    static float x[N], y[N];
    uint8_t block[2 + 6 + 1];
    memset(x, 0, sizeof x);
    x[5] = -7.0f, x[6] = 2.0f, x[100] = 2.0f, x[N - 1] = 3.5f, x[7] = 1.0f, x[200] = -2.0f;
    pack_block_write(&top4, block, x, N);
    static const uint8_t want[] = {129, 128, 5, 6 << 4, 0, 100, 0xf0, 0xff, 3 | 0 << 2 | 0 << 4};
    assert_memory_equal(block, want, sizeof want);
    pack_block_read(&top4, block, y, N);
    for (size_t i = 0; i < N; i++)
        assert_true(y[i] == (i == 5 ? -6.0f : i == 6 || i == 100 || i == N - 1 ? 3.0f : 0.0f));
    x[N - 1] = 4.5f; /* half way between 3 and 6 */
    pack_block_write(&top4, block, x, N);
    pack_block_read(&top4, block, y, N);
    assert_true(y[N - 1] == 6.0f);
}

/* Less than `keep` numbers; and nothing but zeros. */
static void short_blocks(void **state)
{
    static const float x[3] = {0.0f, -1.0f, 0.25f};
    float y[3], zero[9] = {0};
    uint8_t block[2 + 96 + 16];
    pack_block_write(&top64, block, x, 3);
    pack_block_read(&top64, block, y, 3);
    assert_true(block[0] == 127 && block[1] == 0 && y[0] == 0.0f && y[1] == -1.5f && y[2] == 0.0f);
    pack_block_write(&top64, block, zero, 9);
    pack_block_read(&top64, block, zero, 9);
    for (size_t i = 0; i < 9; i++)
        assert_true(zero[i] == 0.0f);
}

/* What stays loses less than itself, so feeding the error back converges: after enough rounds all
 * of a constant has been sent. */
static void error_feedback(void **state)
{
    static float left[N], sent[N];
    uint8_t block[2 + 96 + 16];
    for (size_t i = 0; i < N; i++)
        left[i] = test_normal(40, i);
    for (int round = 0; round < 600; round++) {
        pack_block_write(&top64, block, left, N);
        pack_block_read(&top64, block, sent, N);
        for (size_t i = 0; i < N; i++) {
            assert_true(sent[i] == 0.0f ||
                        (left[i] - sent[i]) * (left[i] - sent[i]) < left[i] * left[i]);
            left[i] -= sent[i];
        }
    }
    for (size_t i = 0; i < N; i++)
        assert_true(left[i] < 0.05f && left[i] > -0.05f);
}

/* Of bytes that no pack makes: a NaN in the block's first number, or finite numbers. */
static void hostile_bytes(void **state)
{
    static float y[N];
    uint8_t block[2 + 96 + 16];
    const struct pack *formats[] = {&int8, &int4, &top4, &top64};
    for (uint32_t seed = 0; seed < 400; seed++) {
        const struct pack *p = formats[seed % 4];
        size_t n = 1 + test_word(42, seed) % pack_block_elements(p);
        for (size_t i = 0; i < pack_block_bytes(p); i++)
            block[i] = (uint8_t)(test_word(50 + seed, i / 4) >> i % 4 * 8);
        pack_block_read(p, block, y, n);
        for (size_t i = 1; i < n; i++)
            assert_true(y[i] == y[i]);
    }
    memset(block, 0, sizeof block);
    block[0] = 255;
    pack_block_read(&int8, block, y, 64);
    assert_true(y[0] != y[0]);
    block[0] = 127;
    pack_block_read(&top4, block, y, N); /* four times place 0 */
    assert_true(y[0] != y[0]);
}

static void refuses_nan(void **state)
{
    struct op_attrs attrs = {{{.i = PACK_TOP}, {.i = 64}}};
    struct tensor x = test_normal_tensor(SHAPE1(70), 6), q;
    struct emac_err err;
    test_run(devices.ref, OP_PACK, &attrs, &x, &q);
    ((float *)x.data)[69] = fn_float(FN_NAN);
    assert_int_equal(device_run_host(devices.ref, OP_PACK, &attrs, &x, &q, &err), EMAC_NUMERIC);
    assert_non_null(strstr(err.text, "'pack' is not finite"));
    tensors_free(&x, 1);
    tensors_free(&q, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),       cmocka_unit_test(integers),
        cmocka_unit_test(integer_ends),  cmocka_unit_test(largest_stay),
        cmocka_unit_test(short_blocks),  cmocka_unit_test(error_feedback),
        cmocka_unit_test(hostile_bytes), cmocka_unit_test(refuses_nan),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
