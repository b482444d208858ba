/* INV-1 of node/agent.h: how long results are kept, and in how much memory. */
#include "agent_tasks.h"

#include "../sanitized.h"

/* in/x f32[n] times args/s -> out/x: takes its own output again */
static struct cid chain_program(struct store *s, size_t n)
{
    struct graph *g = graph_new();
    value_id in[2] = {graph_input(g, "in/x", DTYPE_F32, SHAPE1(n)),
                      graph_input(g, "args/s", DTYPE_F32, SHAPE1(1))};
    graph_output(g, "out/x", graph_op(g, OP_SCALE, NULL, 2, in));
    return program_put(s, g, NULL);
}

static size_t resident_bytes(void)
{
    size_t pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu", &ignored, &pages), 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Each round takes the last one's result. Returns what round i made. */
static struct cid chain_kept(struct fake *f, const struct cid *program, const struct cid *in, int i,
                             int keep)
{
    struct receipt r;
    struct task t = scale_task(program, in, i % 2 ? 0.5f : 2.0f);
    char id[32];
    t.step = (uint32_t)i;
    t.arg[0].value[0] += (float)i * 1e-3f; /* something new */
    snprintf(id, sizeof id, "lease-%d", i);
    json_t *lease = task_lease(id, "step", (uint64_t)i, &t, NULL, NULL);
    if (keep < i)
        json_object_set_new(lease, "keep", json_integer(keep));
    fake_queue(f, lease);
    fake_wait(f, receipts, i + 1);
    receipt_read(f, &r);
    return *receipt_output(&r, "out");
}

static struct cid chain_round(struct fake *f, const struct cid *program, const struct cid *in,
                              int i)
{
    return chain_kept(f, program, in, i, i);
}

static uint64_t skipped_ns;

static uint64_t skipping_ns(struct os *os)
{
    return os_real()->mono_ns(os_real()) + __atomic_load_n(&skipped_ns, __ATOMIC_RELAXED);
}

/* A rig whose time skips. */
static void skipping_start(struct fake *f, struct agent *a, struct os *os)
{
    struct node_config cfg = agent_config(f->url);
    *os = *os_real();
    os->mono_ns = skipping_ns;
    cfg.os = os;
    agent_start_as(a, cfg);
}

/* Made in round i, used in i + 1: held until the lease of round i + 3, if 20 s have passed. */
static void test_retention(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct os os;
    struct cid made[10], program = chain_program(f->rig.store, LARGE), in = large_put(f, 1);
    skipping_start(f, &a, &os);
    for (int i = 0; i < 10; i++) {
        made[i] = chain_round(f, &program, i == 0 ? &in : &made[i - 1], i);
        for (int k = 0; k <= i; k++)
            assert_int_equal(serves(&a, &made[k]), i < 5 || k >= i - 2);
        if (i >= 4)
            __atomic_add_fetch(&skipped_ns, 21000000000u, __ATOMIC_RELAXED);
    }
    agent_end(&a);
}

/* Leases say that a check of round 3 is due: what was used from round 2 on stays, whatever the
 * time, until they say it no more. */
static void test_retention_for_checks(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct os os;
    struct cid made[10], program = chain_program(f->rig.store, LARGE), in = large_put(f, 1);
    skipping_start(f, &a, &os);
    for (int i = 0; i < 10; i++) {
        made[i] = chain_kept(f, &program, i == 0 ? &in : &made[i - 1], i, i < 8 ? 3 : i);
        __atomic_add_fetch(&skipped_ns, 21000000000u, __ATOMIC_RELAXED);
        for (int k = 0; k <= i; k++)
            assert_int_equal(serves(&a, &made[k]), k >= i - 2 || (i < 8 && k >= 1));
    }
    agent_end(&a);
}

/* Rounds that are done in no time: half of memory_quota bounds what is kept for checks. */
static void test_retention_is_flat(void **state)
{
    struct fake *f = &fake;
    struct node_config cfg = agent_config(f->url);
    struct agent a;
    struct cid made = large_put(f, 1), program = chain_program(f->rig.store, LARGE);
    size_t early = 0;
    cfg.memory_quota = 12 * LARGE * sizeof(float);
    agent_start_as(&a, cfg);
    for (int i = 0; i < 60; i++) {
        made = chain_round(f, &program, &made, i);
        if (i == 20)
            early = resident_bytes();
    }
    size_t late = resident_bytes();
    /* Sanitizers keep freed memory. */
    if (!SANITIZED && late > early + 8 * LARGE * sizeof(float))
        fail_msg("memory grew from %zu to %zu bytes in 40 rounds", early, late);
    agent_end(&a);
}

/* Another job's rounds do not count; memory_quota does. */
static void test_retention_bounds(void **state)
{
    struct fake *f = &fake;
    struct node_config cfg = agent_config(f->url);
    struct agent a;
    struct receipt r;
    struct cid made[6], program = scale_program(f->rig.store, LARGE), in = large_put(f, 1);
    cfg.memory_quota = 5 * LARGE * sizeof(float);
    agent_start_as(&a, cfg);
    for (int i = 0; i < 6; i++) {
        struct task t = scale_task(&program, &in, 1.5f + (float)i);
        char id[32], job[32];
        snprintf(id, sizeof id, "lease-%d", i);
        snprintf(job, sizeof job, "job-%d", i);
        json_t *lease = task_lease(id, "step", 100 + (uint64_t)i * 10, &t, NULL, NULL);
        json_object_set_new(lease, "job", json_string(job));
        fake_queue(f, lease);
        fake_wait(f, receipts, i + 1);
        receipt_read(f, &r);
        made[i] = *receipt_output(&r, "out");
    }
    assert_false(serves(&a, &made[0]));
    assert_true(serves(&a, &made[4]));
    assert_true(serves(&a, &made[5]));
    agent_end(&a);
}

/* in/x f32[n] times args/s -> params/x, and that times it again -> opt/x: both are states. */
static struct cid state_program(struct store *s, size_t n)
{
    struct graph *g = graph_new();
    value_id in[2] = {graph_input(g, "in/x", DTYPE_F32, SHAPE1(n)),
                      graph_input(g, "args/s", DTYPE_F32, SHAPE1(1))};
    value_id again[2] = {graph_op(g, OP_SCALE, NULL, 2, in), in[1]};
    graph_output(g, "opt/x", graph_op(g, OP_SCALE, NULL, 2, again));
    graph_output(g, "params/x", again[0]);
    return program_put(s, g, NULL);
}

/* There is room for a state and a half; while a step is made, its input is there beside it. */
static void test_retention_of_states(void **state)
{
    struct fake *f = &fake;
    struct node_config cfg = agent_config(f->url);
    struct agent a;
    struct receipt r;
    struct cid program = state_program(f->rig.store, LARGE), in = large_put(f, 1);
    cfg.memory_quota = 5 * LARGE * sizeof(float) / 2;
    agent_start_as(&a, cfg);
    for (int i = 0; i < 3; i++) {
        struct task t = scale_task(&program, &in, 1.5f + (float)i);
        char id[32];
        snprintf(id, sizeof id, "lease-%d", i);
        fake_queue(f, task_lease(id, "step", (uint64_t)i, &t, NULL, NULL));
        fake_wait(f, receipts, i + 1);
        receipt_read(f, &r);
        in = *receipt_output(&r, "params");
        assert_true(serves(&a, &in));
        assert_true(serves(&a, receipt_output(&r, "opt")));
    }
    agent_end(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_retention),         TEST(test_retention_for_checks),
        TEST(test_retention_is_flat), TEST(test_retention_of_states),
        TEST(test_retention_bounds),
    };
    log_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
