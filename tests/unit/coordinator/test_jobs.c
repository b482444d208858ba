#include "harness.h"

static void one_rig_trains_to_the_end(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "one");
    rig_add(&n);
    struct job job = net_job(&n, 4, 4);
    net_submit(&n, &job);
    int64_t before = balance(&n, "user:");
    run_until(&n, "succeeded");
    json_t *j = job_now(&n);
    assert_int_equal(int_of(j, "step"), 4);
    assert_string_equal(str_of(j, "phase"), "done");
    assert_true(strlen(str_of(j, "model")) > 10);
    assert_true(json_real_value(json_object_get(j, "loss")) > 4.9);
    assert_true(json_is_real(json_object_get(j, "loss_bits_per_byte")));
    int64_t spent = units_of(j, "spent_units");
    assert_true(spent > 0);
    json_decref(j);
    assert_int_equal(balance(&n, "rig:"), spent);
    assert_int_equal(balance(&n, "held:"), 0);
    assert_int_equal(balance(&n, "escrow:"), 0);
    assert_int_equal(balance(&n, "user:"), before + job.budget_units - spent);
    assert_audit(&n);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rig_trains_to_the_end),
    };
    return cmocka_run_group_tests_name("jobs", tests, NULL, NULL);
}
