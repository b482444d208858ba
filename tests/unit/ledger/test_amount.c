#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/philox.h"
#include "ledger/ledger.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int64_t units;
    } good[] = {
        {"0", 0},
        {"0.0", 0},
        {"1", 1000000000},
        {"12.5", INT64_C(12500000000)},
        {"0.000000001", 1},
        {"0.100000000", 100000000},
        {"9223372036.854775807", INT64_MAX},
        {"9223372036", INT64_C(9223372036000000000)},
    };
    static const char *const bad[] = {
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "+1",
        " 1",
        "1 ",
        "01",
        "00",
        "00.5",
        "1e3",
        "0x1",
        "1,5",
        "1.0000000001",
        "0.0000000000",
        "1.2.3",
        "1.-2",
        "inf",
        "nan",
        "9223372036.854775808",
        "9223372037",
        "99999999999",
        "18446744073709551616",
        "1\n",
        "\xd9\xa1",
        "1111111111111111111111111111111111111111111111111111111111111111111111111111111111",
    };
    int64_t v;
    struct emac_err err;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(ledger_amount_parse(good[i].text, &v, &err), EMAC_OK);
        assert_true(v == good[i].units);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        v = 77;
        assert_int_equal(ledger_amount_parse(bad[i], &v, &err), EMAC_INVALID);
        assert_int_equal(v, 77);
    }
}

static void test_text(void **state)
{
    static const struct {
        int64_t units;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1, "0.000000001"},
        {-1, "-0.000000001"},
        {1000000000, "1"},
        {INT64_C(12500000000), "12.5"},
        {INT64_C(-10000000000), "-10"},
        {INT64_MAX, "9223372036.854775807"},
        {INT64_MIN, "-9223372036.854775808"},
    };
    char out[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ledger_amount_text(out, cases[i].units);
        assert_string_equal(out, cases[i].text);
    }
}

/* What is written reads back; numbers of every size. */
static void test_round_trip(void **state)
{
    const uint64_t seed = 4711;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < 200000; i++) {
        uint32_t r[4];
        char text[32];
        int64_t v;
        philox_at(seed, PHILOX_TEST, 0, i, r);
        int64_t units = (int64_t)((((uint64_t)r[0] << 32 | r[1]) >> 1) >> (r[2] % 63));
        ledger_amount_text(text, units);
        assert_int_equal(ledger_amount_parse(text, &v, NULL), EMAC_OK);
        assert_true(v == units);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
