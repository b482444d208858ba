/* A rig whose device fails: it opens it again, or goes on with the CPU, and tells the coordinator.
 * Skipped, and said, without an OpenCL device. */
#include "agent_tasks.h"

#include "../opencl_there.h"
#include "compute/opencl/cl_impl.h"
#include "node/agent_internal.h"

static cl_int launch_fails(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset,
                           const size_t *global, const size_t *local, cl_uint n,
                           const cl_event *wait, cl_event *event)
{
    return CL_OUT_OF_RESOURCES;
}

/* A rig on OpenCL whose driver fails at the first kernel after the start; `again` is what it finds
 * then in place of the device. */
static void agent_start_failing(struct agent *a, struct fake *f, const char *again)
{
    struct node_config cfg = agent_config(f->url);
    *a = (struct agent){.running = true};
    set_text(a->dir, "/tmp/emac-test-agent-XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    cfg.dir = a->dir;
    cfg.device = "opencl:0";
    assert_ok(node_open(&cfg, &a->node, err));
    ((struct cl *)a->node->dev)->api.clEnqueueNDRangeKernel = launch_fails;
    free((char *)a->node->cfg.device);
    a->node->cfg.device = emac_strdup(again);
    os_thread_start(&a->thread, agent_main, a);
}

static void lost(const char *again, const char *kind)
{
    struct fake *f = &fake;
    struct agent a;
    os_mutex_lock(&f->lock);
    f->hello = "challenge";
    f->hellos = f->answers = f->polls = 0;
    os_mutex_unlock(&f->lock);
    agent_start_failing(&a, f, again);
    fake_wait(f, polls, 1);
    assert_int_equal(fake_get(f, &f->hellos), 2);
    assert_int_equal(fake_get(f, &f->answers), 1);
    os_mutex_lock(&f->lock);
    json_t *isa = json_object_get(f->last_hello, "isa");
    assert_true((strcmp(json_string_value(isa), "opencl") == 0) == (strcmp(kind, "opencl") == 0));
    assert_string_equal(json_string_value(json_object_get(f->last_hello, "conformance")),
                        CONFORMANCE_DIGEST);
    os_mutex_unlock(&f->lock);
    agent_end(&a);
}

static void test_opened_again(void **state)
{
    lost("opencl:0", "opencl");
}

static void test_goes_on_with_the_cpu(void **state)
{
    lost("opencl:none-such", "cpu");
}

/* One task more: the vector times `by`. What came of it. */
static struct cid make(struct fake *f, const struct cid *program, const struct cid *in, float by)
{
    struct receipt r;
    struct task t = scale_task(program, in, by);
    char id[32];
    int before = fake_get(f, &f->receipts);
    snprintf(id, sizeof id, "lease-%d-%d", before, fake_get(f, &f->failures));
    fake_queue(f, task_lease(id, "params", ROUND, &t, NULL, NULL));
    fake_wait(f, receipts, before + 1);
    receipt_read(f, &r);
    check_outputs(f, &r, &t);
    return *receipt_output(&r, "out");
}

/* Results that stayed on a card are lost with it, as if their rig were: they are served no more,
 * and can be made again. What somebody had asked for is in memory, and stays. */
static void test_results_go_with_the_device(void **state)
{
    struct fake *f = &fake;
    struct node_config cfg = agent_config(f->url);
    struct agent a;
    struct device_memory m;
    struct cid program = scale_program(f->rig.store, LARGE), in = large_put(f, 1);
    os_mutex_lock(&f->lock);
    f->hello = "challenge";
    os_mutex_unlock(&f->lock);
    cfg.device = "opencl:0";
    cfg.values = EXEC_VALUES_STAY;
    agent_start_as(&a, cfg);
    struct cid asked = make(f, &program, &in, 2), unasked = make(f, &program, &in, 3);
    assert_true(serves(&a, &asked));
    device_memory(a.node->dev, &m);
    assert_in_range(m.viewed, LARGE * sizeof(float), LARGE * sizeof(float) + 4096);
    ((struct cl *)a.node->dev)->api.clEnqueueNDRangeKernel = launch_fails;
    struct task t = scale_task(&program, &in, 4);
    fake_queue(f, task_lease("lease-lost", "params", ROUND, &t, NULL, NULL));
    fake_wait(f, failures, 1);
    fake_wait(f, hellos, 2);
    assert_true(serves(&a, &asked));
    assert_false(serves(&a, &unasked));
    struct cid again = make(f, &program, &in, 3);
    assert_true(cid_equal(&again, &unasked));
    assert_true(serves(&a, &unasked));
    agent_end(&a);
}

int main(void)
{
    char path[OS_PATH_MAX];
    /* Drivers that keep what they compile do so where other programs find it, not in a directory
     * that goes with the test. */
    snprintf(path, sizeof path, "%s/.cache/pocl/kcache", getenv("HOME") ? getenv("HOME") : "/tmp");
    setenv("POCL_CACHE_DIR", path, 0);
    if (!opencl_there())
        return 0;
        /* A coordinator each: the last poll of a rig that ended would take the next one's lease. */
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_opened_again),
        TEST(test_goes_on_with_the_cpu),
        TEST(test_results_go_with_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
