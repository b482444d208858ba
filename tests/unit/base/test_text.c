#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "../property.h"

static void hex(void **state)
{
    uint8_t out[3];
    char text[7];
    emac_hex(text, (const uint8_t *)"\x00\xaf\x10", 3);
    assert_string_equal(text, "00af10");
    assert_true(emac_unhex(out, 3, "00af10"));
    assert_memory_equal(out, "\x00\xaf\x10", 3);
    assert_false(emac_unhex(out, 3, "00af1"));
    assert_false(emac_unhex(out, 3, "00af100"));
    assert_false(emac_unhex(out, 3, "00AF10"));
    assert_false(emac_unhex(out, 3, "00ag10"));
    assert_false(emac_unhex(out, 3, ""));
}

static void base64_rfc4648(void **state)
{
    static const char *const CASES[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        char text[16];
        uint8_t back[16];
        size_t n = sizeof back;
        emac_base64(text, (const uint8_t *)CASES[i][0], strlen(CASES[i][0]));
        assert_string_equal(text, CASES[i][1]);
        assert_true(emac_unbase64(back, &n, text, strlen(text)));
        assert_int_equal(n, strlen(CASES[i][0]));
        assert_memory_equal(back, CASES[i][0], n);
    }
}

static void base64_refuses(void **state)
{
    static const char *const BAD[] = {"Z",    "Zg",       "Zg=",  "Zh==",   "Zm9=", "Zm8",
                                      "====", "Zg==Zg==", "Z g=", "Zm9v\n", "Zm-v", "Zm=v"};
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        uint8_t out[16];
        size_t n = sizeof out;
        assert_false(emac_unbase64(out, &n, BAD[i], strlen(BAD[i])));
    }
    uint8_t out[2];
    size_t n = 2;
    assert_false(emac_unbase64(out, &n, "Zm9v", 4)); /* three bytes do not fit two */
}

static void base58_known(void **state)
{
    static const uint8_t ZEROS[] = {0x00, 0x00, 0x28, 0x7f, 0xb4, 0xcd};
    char text[EMAC_BASE58_LEN_MAX(6) + 1];
    uint8_t back[6];
    emac_base58(text, ZEROS, sizeof ZEROS);
    assert_string_equal(text, "11233QC4");
    assert_true(emac_unbase58(back, 6, text));
    assert_memory_equal(back, ZEROS, 6);
    assert_false(emac_unbase58(back, 5, text));
    assert_false(emac_unbase58(back, 6, "1233QC4"));
    assert_false(emac_unbase58(back, 6, "111233QC4"));
    assert_false(emac_unbase58(back, 6, "11233QC0"));
    assert_false(emac_unbase58(back, 6, "zzzzzzzzzzzzzzzzzzzzzz"));
}

static bool texts_round_trip(struct choices *c)
{
    uint8_t data[64], back[64];
    char text[200];
    size_t n = choose(c, 65);
    choose_bytes(c, data, n);
    if (n > 0 && choose(c, 4) == 0)
        memset(data, 0, choose(c, n));
    emac_hex(text, data, n);
    bool ok = emac_unhex(back, n, text) && memcmp(back, data, n) == 0;
    size_t len = sizeof back;
    emac_base64(text, data, n);
    ok = ok && strlen(text) == EMAC_BASE64_LEN(n) &&
         emac_unbase64(back, &len, text, strlen(text)) && len == n && memcmp(back, data, n) == 0;
    emac_base58(text, data, n);
    return ok && strlen(text) <= EMAC_BASE58_LEN_MAX(n) && emac_unbase58(back, n, text) &&
           memcmp(back, data, n) == 0;
}

static void round_trips(void **state)
{
    ASSERT_PROPERTY(500, texts_round_trip);
}

static void utf8_accepts(void **state)
{
    static const char *const GOOD[] = {"",
                                       "a",
                                       "\u00e9",
                                       "\u20ac",
                                       "\U0001f600",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "x\xc2\x80y"};
    for (size_t i = 0; i < EMAC_COUNT(GOOD); i++)
        assert_true(emac_utf8_valid(GOOD[i], strlen(GOOD[i])));
    uint32_t c = 0;
    assert_int_equal(emac_utf8_next("\xf0\x9f\x98\x80z", 5, &c), 4);
    assert_int_equal(c, 0x1f600);
}

static void utf8_refuses(void **state)
{
    static const char *const BAD[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xe2\x82",
                                      "a\xc3",
                                      "\xc3("};
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++)
        assert_false(emac_utf8_valid(BAD[i], strlen(BAD[i])));
}

/* Every code point but the surrogates, in its one form. */
static void utf8_all_code_points(void **state)
{
    for (uint32_t c = 0x80; c <= 0x10ffff; c++) {
        uint8_t b[4];
        size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const uint8_t LEAD[5] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n; i-- > 0;)
            b[i] = (uint8_t)(i > 0 ? 0x80 | (c >> (6 * (n - 1 - i)) & 0x3f)
                                   : LEAD[n] | c >> (6 * (n - 1)));
        uint32_t got = 0;
        size_t want = c >= 0xd800 && c <= 0xdfff ? 0 : n;
        if (emac_utf8_next(b, n, &got) != want || (want != 0 && got != c))
            fail_msg("code point %x", c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hex),
        cmocka_unit_test(base64_rfc4648),
        cmocka_unit_test(base64_refuses),
        cmocka_unit_test(base58_known),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(utf8_accepts),
        cmocka_unit_test(utf8_refuses),
        cmocka_unit_test(utf8_all_code_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
