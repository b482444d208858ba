/* Traces: one root whatever the device, and any leaf can be judged from what those before gave. */
#include "exec_tasks.h"

#include "base/assert.h"
#include "trace_check.h"

/* Init, gradients of four micro-batches, and the step over ragged parts, on one device. */
static uint64_t traced_step(struct rig *r, uint8_t root[3][SHA256_BYTES], bool judged)
{
    struct state s;
    struct exec_result sum[3], out, plain;
    struct task_part part[3];
    const struct tree_range range[3] = {{0, 4}, {4, 2}, {6, 1}};
    uint64_t leaves;
    struct task t = {.program = plan_program(r->plan, TASK_INIT)->cid};
    run_init(r, &s);
    trace_root(r->exec, &t, &out, root[0]);
    assert_true(cid_equal(&out.output[1].cid, &s.params));
    exec_result_release(r->exec, &out);
    for (uint32_t i = 0; i < 3; i++) {
        t = grad_task(r, &s, range[i].first, range[i].count);
        assert_ok(exec_run(r->exec, &t, &sum[i], err));
        part[i] = (struct task_part){range[i].first, range[i].count, sum[i].output[0].cid};
    }
    t = grad_task(r, &s, 0, 4);
    leaves = trace_root(r->exec, &t, &out, root[1]);
    assert_true(cid_equal(&out.output[0].cid, &sum[0].output[0].cid));
    exec_result_release(r->exec, &out);
    for (uint64_t leaf = 0; judged && leaf < leaves; leaf += leaf + 8 < leaves ? 7 : 1)
        trace_judged(r->exec, r->exec, &t, leaf);
    t = step_task(r, &s, part, 3);
    assert_ok(exec_run(r->exec, &t, &plain, err));
    leaves = trace_root(r->exec, &t, &out, root[2]);
    for (uint32_t i = 0; i < out.output_count; i++)
        assert_true(cid_equal(&out.output[i].cid, &plain.output[i].cid));
    for (uint64_t leaf = 0; judged && leaf < leaves; leaf += leaf + 8 < leaves ? 5 : 1)
        trace_judged(r->exec, r->exec, &t, leaf);
    exec_result_release(r->exec, &plain);
    exec_result_release(r->exec, &out);
    for (uint32_t i = 0; i < 3; i++)
        exec_result_release(r->exec, &sum[i]);
    exec_result_release(r->exec, &s.init);
    return leaves;
}

/* TRACE-1 */
static void test_devices_have_one_trace(void **state)
{
    static const enum isa isas[] = {ISA_BEST, ISA_REF, ISA_PORTABLE, ISA_AVX2, ISA_AVX512};
    uint8_t want[3][SHA256_BYTES], got[3][SHA256_BYTES];
    struct device_found found;
    struct rig r;
    for (size_t i = 0; i < EMAC_COUNT(isas); i++) {
        if (i > 0 && !isa_supported(isas[i]))
            continue;
        rig_open(&r, isas[i], 1 + (uint32_t)i % 2, 7);
        traced_step(&r, i == 0 ? want : got, i == 0);
        rig_close(&r);
        if (i > 0)
            assert_memory_equal(want, got, sizeof want);
    }
    if (device_opencl_list(&found, 1) == 0)
        return;
    rig_open(&r, ISA_BEST, 1, 7);
    exec_free(r.exec);
    device_close(r.dev);
    assert_ok(device_open("opencl:0", 1, &r.dev, err));
    const struct exec_config cfg = {.os = os_real(), .store = r.store, .dev = r.dev};
    assert_ok(exec_new(&cfg, &r.exec, err));
    traced_step(&r, got, false);
    rig_close(&r);
    assert_memory_equal(want, got, sizeof want);
}

static void test_traces_that_cannot_be(void **state)
{
    struct rig r;
    struct state s;
    struct exec_ref *ref;
    struct trace_leaf leaf;
    uint32_t count;
    rig_open(&r, ISA_BEST, 1, 2);
    run_init(&r, &s);
    struct task t = grad_task(&r, &s, 0, 1);
    assert_fails(exec_trace_refs(r.exec, &t, 1 << 20, &ref, &count, err), EMAC_INVALID,
                 "no leaf 1048576");
    assert_fails(exec_trace_judge(r.exec, &t, 1 << 20, NULL, NULL, &leaf, err), EMAC_INVALID,
                 "no leaf");
    t.count = 3;
    assert_fails(exec_trace_refs(r.exec, &t, 0, &ref, &count, err), EMAC_INVALID, "not aligned");
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices_have_one_trace),
        cmocka_unit_test(test_traces_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
