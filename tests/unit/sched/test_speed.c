#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sched/speed.h"

static void seed_stands_in_until_measured(void **state)
{
    (void)state;
    struct sched_speed s = {0};
    sched_speed_seed(&s, 100e9);
    assert_true(sched_speed_get(&s, SCHED_WORK_MATH) == 100e9 * SCHED_MATH_SHARE);
    sched_speed_add(&s, SCHED_WORK_MATH, 30000000000u, 0, 1000, 0);
    assert_true(sched_speed_get(&s, SCHED_WORK_MATH) == 30e9);
    assert_true(sched_speed_get(&s, SCHED_WORK_STATE) == 100e9 * SCHED_STATE_SHARE);
}

static void mean_follows_receipts(void **state)
{
    (void)state;
    struct sched_speed s = {0};
    for (int i = 0; i < 30; i++)
        sched_speed_add(&s, SCHED_WORK_MATH, 10000000000u, 0, 1000, 0);
    for (int i = 0; i < 30; i++)
        sched_speed_add(&s, SCHED_WORK_MATH, 20000000000u, 0, 1000, 0);
    double f = sched_speed_get(&s, SCHED_WORK_MATH);
    assert_true(f > 19.9e9 && f <= 20e9);
}

/* SPEED-1: a range and the two small ones after it, of which each asks and answers. */
static void a_short_task_says_little(void **state)
{
    (void)state;
    struct sched_speed s = {0};
    const double flops = 64e9;
    for (int i = 0; i < 20; i++) {
        sched_speed_add(&s, SCHED_WORK_MATH, (uint64_t)flops, 0, 640 + 10, 0);
        sched_speed_add(&s, SCHED_WORK_MATH, (uint64_t)flops / 32, 0, 20 + 10, 0);
        sched_speed_add(&s, SCHED_WORK_MATH, (uint64_t)flops / 64, 0, 10 + 10, 0);
        double f = sched_speed_get(&s, SCHED_WORK_MATH);
        assert_true(f > 0.92 * 100e9 && f < 100e9);
    }
    /* A rig that slows is known for it by its next long task. */
    sched_speed_add(&s, SCHED_WORK_MATH, (uint64_t)flops, 0, 6400, 0);
    assert_true(sched_speed_get(&s, SCHED_WORK_MATH) < 17e9);
}

/* SPEED-2: the same rig as above, and a line of 1000 bytes/ms for its inputs, told apart. */
static void a_rig_says_how_long_it_was_at_it(void **state)
{
    (void)state;
    struct sched_speed s = {0};
    sched_speed_seed(&s, 20e9);
    for (int i = 0; i < 20; i++) {
        sched_speed_add(&s, SCHED_WORK_MATH, 64000000000u, 500000, 640 + 500 + SCHED_OVERHEAD_MS,
                        640);
        sched_speed_add(&s, SCHED_WORK_MATH, 1000000000u, 0, 10 + SCHED_OVERHEAD_MS, 10);
        assert_in_range(sched_expected_ms(&s, SCHED_WORK_MATH, 100000000000u, 0),
                        999 + SCHED_OVERHEAD_MS, 1001 + SCHED_OVERHEAD_MS);
        assert_in_range(sched_expected_ms(&s, SCHED_WORK_MATH, 0, 500000), 499 + SCHED_OVERHEAD_MS,
                        501 + SCHED_OVERHEAD_MS);
    }
    /* No longer than our clock says. */
    sched_speed_add(&s, SCHED_WORK_MATH, 64000000000u, 0, 640, 10000);
    assert_in_range(sched_expected_ms(&s, SCHED_WORK_MATH, 100000000000u, 0),
                    999 + SCHED_OVERHEAD_MS, 1001 + SCHED_OVERHEAD_MS);
}

/* SPEED-3 */
static void who_is_taken_back_from_is_slower(void **state)
{
    (void)state;
    struct sched_speed s = {0};
    for (int i = 0; i < 10; i++)
        sched_speed_add(&s, SCHED_WORK_MATH, 100000000000u, 0, 1000, 1000);
    double before = sched_speed_get(&s, SCHED_WORK_MATH);
    sched_speed_late(&s, SCHED_WORK_MATH, 100000000000u, 1000, 1000); /* in time */
    assert_true(sched_speed_get(&s, SCHED_WORK_MATH) == before);
    sched_speed_late(&s, SCHED_WORK_MATH, 100000000000u, 1000, 1400);
    double late = sched_speed_get(&s, SCHED_WORK_MATH);
    assert_true(late < before * 0.8 && late > before * 0.6);
    sched_speed_late(&s, SCHED_WORK_MATH, 100000000000u, 1000, 4000); /* another rig */
    double slow = sched_speed_get(&s, SCHED_WORK_MATH);
    assert_true(slow > 16.6e9 && slow < 16.7e9);
}

static void no_speed_is_zero_or_endless(void **state)
{
    (void)state;
    struct sched_speed s = {0};
    assert_true(sched_speed_get(&s, SCHED_WORK_STATE) == SCHED_FLOPS_LEAST);
    sched_speed_add(&s, SCHED_WORK_STATE, 1000, 0, 0, 0);
    assert_true(sched_speed_get(&s, SCHED_WORK_STATE) >= SCHED_FLOPS_LEAST);
    uint64_t ms = sched_expected_ms(&s, SCHED_WORK_STATE, UINT64_MAX, UINT64_MAX);
    assert_true(ms <= 1000000000000u);
    assert_true(sched_deadline_ms(ms) > ms);
}

static void deadlines_are_four_times_expected(void **state)
{
    (void)state;
    assert_int_equal(sched_deadline_ms(10), 5000);
    assert_int_equal(sched_deadline_ms(2000), 8000);
    struct sched_speed s = {0};
    sched_speed_add(&s, SCHED_WORK_MATH, 10000000000u, 0, 1000, 0);
    assert_int_equal(sched_expected_ms(&s, SCHED_WORK_MATH, 20000000000u, 0), 2020);
    assert_int_equal(sched_expected_ms(&s, SCHED_WORK_MATH, 0, 50000000), 5020);
}

/* 1.2 MB at 10 Mbit/s up, until it was seen to take less. */
static void a_link_stands_in_until_measured(void **state)
{
    (void)state;
    struct sched_speed s = {0};
    sched_speed_link(&s, 10000000, 50000000);
    assert_int_equal(sched_expected_ms(&s, SCHED_WORK_STATE, 0, 1250000), 1020);
    sched_speed_add(&s, SCHED_WORK_STATE, 0, 1250000, 500, 0);
    assert_int_equal(sched_expected_ms(&s, SCHED_WORK_STATE, 0, 1250000), 520);
    sched_speed_link(&s, 0, 0);
    assert_int_equal(sched_expected_ms(&s, SCHED_WORK_STATE, 0, 1250000), 520);
}

static void one_time_teaches_two_paces(void **state)
{
    (void)state;
    struct sched_speed s = {0};
    /* A rig of 20 GFLOP/s on a line of 1000 bytes/ms, known for half as fast and ten times slower:
     * what its receipts say in the end. */
    sched_speed_seed(&s, 20e9);
    for (int i = 0; i < 40; i++) {
        sched_speed_add(&s, SCHED_WORK_MATH, 40000000000u, 100000, 2000 + 100, 0);
        sched_speed_add(&s, SCHED_WORK_MATH, 1000000000u, 2000000, 50 + 2000, 0);
    }
    assert_in_range(sched_expected_ms(&s, SCHED_WORK_MATH, 40000000000u, 0), 1980, 2060);
    assert_in_range(sched_expected_ms(&s, SCHED_WORK_MATH, 0, 2000000), 1980, 2060);
    /* Nonsense does not end in nonsense. */
    for (int i = 0; i < 40; i++) {
        sched_speed_add(&s, SCHED_WORK_MATH, 1, UINT64_MAX, 1, 0);
        sched_speed_add(&s, SCHED_WORK_MATH, UINT64_MAX, 1, UINT64_MAX, 0);
        sched_speed_add(&s, SCHED_WORK_STATE, 0, 0, 0, 0);
    }
    uint64_t ms = sched_expected_ms(&s, SCHED_WORK_MATH, 1000, 1000);
    assert_true(ms <= 1000000000000u);
}

static void bucket_lets_a_burst_and_then_the_rate(void **state)
{
    (void)state;
    struct sched_bucket b;
    uint64_t retry = 0;
    sched_bucket_init(&b, 3, 1000);
    for (int i = 0; i < 3; i++)
        assert_true(sched_bucket_take(&b, 10, 3, 1000, &retry));
    assert_false(sched_bucket_take(&b, 10, 3, 1000, &retry));
    assert_in_range(retry, 100, 101);
    assert_false(sched_bucket_take(&b, 10, 3, 1050, &retry));
    assert_true(sched_bucket_take(&b, 10, 3, 1000 + 101, &retry));
    /* A clock that jumps far ahead fills it up and no more. */
    for (int i = 0; i < 3; i++)
        assert_true(sched_bucket_take(&b, 10, 3, 90000000, &retry));
    assert_false(sched_bucket_take(&b, 10, 3, 90000000, &retry));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seed_stands_in_until_measured),
        cmocka_unit_test(mean_follows_receipts),
        cmocka_unit_test(a_short_task_says_little),
        cmocka_unit_test(a_rig_says_how_long_it_was_at_it),
        cmocka_unit_test(who_is_taken_back_from_is_slower),
        cmocka_unit_test(no_speed_is_zero_or_endless),
        cmocka_unit_test(deadlines_are_four_times_expected),
        cmocka_unit_test(a_link_stands_in_until_measured),
        cmocka_unit_test(one_time_teaches_two_paces),
        cmocka_unit_test(bucket_lets_a_burst_and_then_the_rate),
    };
    return cmocka_run_group_tests_name("speed", tests, NULL, NULL);
}
