#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "base/philox.h"

/* Known answers of the authors' Random123 library for philox4x32-10. */
static void known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } CASES[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        uint32_t out[4];
        philox4x32(CASES[i].counter, CASES[i].key, out);
        assert_memory_equal(out, CASES[i].out, sizeof out);
    }
}

/* The third case again through the places of seed, purpose, step and index. */
static void places_of_the_arguments(void **state)
{
    static const uint32_t WANT[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    uint32_t out[4];
    philox_at(0x299f31d0a4093822, 0x03707344, 0x13198a2e, 0x85a308d3243f6a88, out);
    assert_memory_equal(out, WANT, sizeof out);
}

static void below_is_in_range_and_even(void **state)
{
    unsigned count[10] = {0};
    for (uint64_t i = 0; i < 100000; i++)
        count[philox_below(1, PHILOX_TEST, 0, i, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(count[i], 9500, 10500); /* 5 standard deviations */
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(philox_below(1, PHILOX_TEST, 0, i, 1), 0);
        assert_true(philox_below(1, PHILOX_TEST, 0, i, UINT64_MAX) < UINT64_MAX);
    }
}

/* Every number once, whatever n; and no order is that of another step. */
static void an_order_is_a_permutation(void **state)
{
    bool seen[1025];
    for (uint64_t n = 1; n <= 1025; n += n < 70 ? 1 : 191) {
        for (uint32_t step = 0; step < 3; step++) {
            memset(seen, 0, sizeof seen);
            for (uint64_t i = 0; i < n; i++) {
                uint64_t v = philox_order(5, PHILOX_TEST, step, n, i);
                if (v >= n || seen[v])
                    fail_msg("n %d, step %u: %d comes up twice or is too large", (int)n, step,
                             (int)v);
                seen[v] = true;
            }
        }
    }
    unsigned same = 0;
    for (uint64_t i = 0; i < 60000; i++)
        same +=
            philox_order(5, PHILOX_TEST, 0, 60000, i) == philox_order(5, PHILOX_TEST, 1, 60000, i);
    assert_true(same < 10); /* one is to be expected */
    /* worked out apart from this program, by the words of the header */
    static const uint64_t KNOWN[] = {44231, 14946, 8869, 33580};
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(philox_order(1, PHILOX_ORDER, 0, 60000, i), KNOWN[i]);
    assert_true(philox_order(1, PHILOX_ORDER, 0, (UINT64_C(1) << 62) - 1, 7) < UINT64_C(1) << 62);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(places_of_the_arguments),
        cmocka_unit_test(below_is_in_range_and_even),
        cmocka_unit_test(an_order_is_a_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
