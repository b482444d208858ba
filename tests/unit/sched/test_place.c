#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/philox.h"
#include "sched/place.h"

static void owner_gets_its_range_at_once(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {.born_ms = 1000,
                            .expected_ms = 4000,
                            .has_owner = true,
                            .is_owner = true,
                            .owner_live = true};
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_GRANT);
}

static void range_is_kept_for_half_the_expected_duration(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {
        .born_ms = 1000, .expected_ms = 4000, .has_owner = true, .owner_live = true};
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_LATER);
    assert_int_equal(wake, 3000);
    assert_int_equal(sched_offer_judge(&o, 2999, &wake), SCHED_LATER);
    assert_int_equal(sched_offer_judge(&o, 3000, &wake), SCHED_GRANT);
}

static void short_ranges_are_kept_at_least_300_ms(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {.born_ms = 50, .expected_ms = 2, .has_owner = true, .owner_live = true};
    assert_int_equal(sched_offer_judge(&o, 349, &wake), SCHED_LATER);
    assert_int_equal(wake, 350);
    assert_int_equal(sched_offer_judge(&o, 350, &wake), SCHED_GRANT);
}

static void dead_owner_keeps_nothing(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {.born_ms = 1000, .expected_ms = 4000, .has_owner = true};
    assert_int_equal(sched_offer_judge(&o, 1000, &wake), SCHED_GRANT);
}

static void busy_owner_is_waited_for_until_it_is_late(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {.born_ms = 1000,
                            .expected_ms = 2000,
                            .has_owner = true,
                            .owner_live = true,
                            .owner_busy_until_ms = 5000};
    assert_int_equal(sched_offer_judge(&o, 4000, &wake), SCHED_LATER);
    assert_int_equal(wake, 5001);
    assert_int_equal(sched_offer_judge(&o, 5000, &wake), SCHED_LATER);
    assert_int_equal(sched_offer_judge(&o, 5001, &wake), SCHED_GRANT);
}

static void state_goes_to_holders_first(void **state)
{
    (void)state;
    uint64_t wake = 0;
    struct sched_offer o = {.born_ms = 100, .for_state = true, .any_holder = true};
    assert_int_equal(sched_offer_judge(&o, 100, &wake), SCHED_LATER);
    assert_int_equal(wake, 300);
    assert_int_equal(sched_offer_judge(&o, 300, &wake), SCHED_GRANT);
    o.holds_state = true;
    assert_int_equal(sched_offer_judge(&o, 100, &wake), SCHED_GRANT);
    o.holds_state = o.any_holder = false;
    assert_int_equal(sched_offer_judge(&o, 100, &wake), SCHED_GRANT);
}

static void own_range_comes_before_orphans_and_theft(void **state)
{
    (void)state;
    struct sched_offer own = {
        .born_ms = 9, .has_owner = true, .is_owner = true, .owner_live = true};
    struct sched_offer orphan = {.born_ms = 5, .has_owner = true};
    struct sched_offer theft = {.born_ms = 1, .has_owner = true, .owner_live = true};
    assert_true(sched_offer_before(&own, &orphan));
    assert_true(sched_offer_before(&orphan, &theft));
    assert_false(sched_offer_before(&theft, &own));
    struct sched_offer older = orphan;
    older.born_ms = 4;
    assert_true(sched_offer_before(&older, &orphan));
}

/* Whatever the facts: a LATER names a time in the future at which, facts unchanged, asking again
 * gets on; and everything is granted in the end. */
static void waiting_always_ends(void **state)
{
    (void)state;
    const uint64_t seed = 20261122;
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t r[4];
        philox_at(seed, PHILOX_TEST, 1, i, r);
        struct sched_offer o = {.born_ms = r[0] % 5000,
                                .expected_ms = r[1] % 20000,
                                .for_state = r[2] & 1,
                                .has_owner = r[2] & 2,
                                .owner_live = r[2] & 4,
                                .holds_state = r[2] & 8,
                                .any_holder = r[2] & 16};
        o.is_owner = o.has_owner && (r[2] & 32);
        o.owner_busy_until_ms = r[2] & 64 ? r[3] % 9000 : 0;
        uint64_t now = r[3] % 6000;
        int rounds = 0;
        uint64_t wake = 0;
        while (sched_offer_judge(&o, now, &wake) == SCHED_LATER) {
            if (wake <= now || ++rounds > 4)
                fail_msg("seed %lu case %u: waits for %lu at %lu", (unsigned long)seed, i,
                         (unsigned long)wake, (unsigned long)now);
            now = wake;
        }
    }
}

static void jobs_take_turns_by_virtual_time(void **state)
{
    (void)state;
    double vtime[3] = {5, 2, 7};
    bool skip[3] = {false, false, false};
    assert_int_equal(sched_job_next(vtime, skip, 3), 1);
    skip[1] = true;
    assert_int_equal(sched_job_next(vtime, skip, 3), 0);
    skip[0] = skip[2] = true;
    assert_int_equal(sched_job_next(vtime, skip, 3), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owner_gets_its_range_at_once),
        cmocka_unit_test(range_is_kept_for_half_the_expected_duration),
        cmocka_unit_test(short_ranges_are_kept_at_least_300_ms),
        cmocka_unit_test(dead_owner_keeps_nothing),
        cmocka_unit_test(busy_owner_is_waited_for_until_it_is_late),
        cmocka_unit_test(state_goes_to_holders_first),
        cmocka_unit_test(own_range_comes_before_orphans_and_theft),
        cmocka_unit_test(waiting_always_ends),
        cmocka_unit_test(jobs_take_turns_by_virtual_time),
    };
    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
