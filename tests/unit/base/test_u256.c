#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "base/u256.h"
#include "../property.h"

static const char MAX_TEXT[] =
    "115792089237316195423570985008687907853269984665640564039457584007913129639935";

struct text_case {
    const char *decimal, *hex;
};

static const struct text_case TEXTS[] = {
    {"0", "0x0"},
    {"1", "0x1"},
    {"255", "0xff"},
    {"18446744073709551616", "0x10000000000000000"},
    {"1000000000000000000", "0xde0b6b3a7640000"},
    {MAX_TEXT, "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"},
};

static void texts(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(TEXTS); i++) {
        struct u256 a, b;
        char decimal[U256_DEC_MAX], hex[U256_HEX_MAX];
        assert_true(u256_parse(TEXTS[i].decimal, &a));
        assert_true(u256_parse_hex(TEXTS[i].hex, &b));
        assert_int_equal(u256_compare(&a, &b), 0);
        u256_text(decimal, &a);
        u256_text_hex(hex, &a);
        assert_string_equal(decimal, TEXTS[i].decimal);
        assert_string_equal(hex, TEXTS[i].hex);
    }
}

static void bad_texts(void **state)
{
    static const char *const DECIMAL[] = {
        "",
        "00",
        "01",
        "-1",
        "+1",
        "1.0",
        " 1",
        "1 ",
        "a",
        "0x1",
        "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        "1157920892373161954235709850086879078532699846656405640394575840079131296399350",
    };
    static const char *const HEX[] = {
        "",     "0",
        "0x",   "0x00",
        "0x01", "0X1",
        "1",    "0xg",
        "0x1 ", "0x10000000000000000000000000000000000000000000000000000000000000000",
    };
    struct u256 v = u256_from_u64(42);
    for (size_t i = 0; i < EMAC_COUNT(DECIMAL); i++)
        assert_false(u256_parse(DECIMAL[i], &v));
    for (size_t i = 0; i < EMAC_COUNT(HEX); i++)
        assert_false(u256_parse_hex(HEX[i], &v));
    assert_true(v.limb[0] == 42);
}

static struct u256 chosen(struct choices *c)
{
    struct u256 v = {{0}};
    uint64_t limbs = choose(c, 5);
    for (uint64_t i = 0; i < limbs; i++)
        v.limb[i] = choose(c, 4) == 0 ? UINT64_MAX : choose(c, UINT64_MAX);
    return v;
}

static bool equal(const struct u256 *a, const struct u256 *b)
{
    return u256_compare(a, b) == 0;
}

/* (a + b) - b = a, and a sum that is refused is one that wraps round. */
static bool sums_come_back(struct choices *c)
{
    struct u256 a = chosen(c), b = chosen(c), sum, back, low, room;
    struct u256 max = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    bool fits = u256_add(&a, &b, &sum);
    if (!u256_sub(&max, &a, &room) || fits != (u256_compare(&b, &room) <= 0))
        return false;
    if (fits && (!u256_sub(&sum, &b, &back) || !equal(&a, &back)))
        return false;
    return u256_sub(&a, &b, &low) == (u256_compare(&a, &b) >= 0);
}

/* (a * m + r) / m = a, rest r; a product that is refused would not have fitted. */
static bool products_come_back(struct choices *c)
{
    struct u256 a = chosen(c), product, sum, back, most;
    struct u256 max = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    uint64_t m = 1 + choose(c, choose(c, 2) ? 1000000000 : UINT64_MAX), r = choose(c, m);
    struct u256 rest = u256_from_u64(r);
    u256_div_u64(&max, m, &most);
    if (u256_mul_u64(&a, m, &product) != (u256_compare(&a, &most) <= 0))
        return false;
    if (u256_compare(&a, &most) > 0 || !u256_add(&product, &rest, &sum))
        return true;
    return u256_div_u64(&sum, m, &back) == r && equal(&a, &back);
}

static bool forms_come_back(struct choices *c)
{
    struct u256 a = chosen(c), b;
    uint8_t bytes[U256_BYTES];
    char decimal[U256_DEC_MAX], hex[U256_HEX_MAX];
    u256_to_bytes(bytes, &a);
    b = u256_from_bytes(bytes);
    if (!equal(&a, &b))
        return false;
    u256_text(decimal, &a);
    u256_text_hex(hex, &a);
    return u256_parse(decimal, &b) && equal(&a, &b) && u256_parse_hex(hex, &b) && equal(&a, &b);
}

static void properties(void **state)
{
    ASSERT_PROPERTY(2000, sums_come_back);
    ASSERT_PROPERTY(2000, products_come_back);
    ASSERT_PROPERTY(2000, forms_come_back);
}

static void to_u64(void **state)
{
    struct u256 v = u256_from_u64(UINT64_MAX), one = u256_from_u64(1);
    uint64_t out = 7;
    assert_true(u256_to_u64(&v, &out) && out == UINT64_MAX);
    assert_true(u256_add(&v, &one, &v));
    assert_false(u256_to_u64(&v, &out));
    assert_true(out == UINT64_MAX);
    assert_false(u256_is_zero(&v));
    v = u256_from_u64(0);
    assert_true(u256_is_zero(&v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(bad_texts),
        cmocka_unit_test(properties),
        cmocka_unit_test(to_u64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
