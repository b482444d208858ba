/* Tasks on a device with memory of its own: what crosses the bus, what stays, what happens when
 * there is too little or the driver fails. Skipped, and said, without an OpenCL device. */
#include "exec_fixture.h"

#include "../opencl_there.h"
#include "base/assert.h"
#include "compute/opencl/cl_impl.h"
#include "os/thread.h"

#define N          50000
#define FILE_BYTES (N * sizeof(float))
#define SMALL      4096 /* what tasks may send beside their inputs */

static void device_again(struct rig *r, uint64_t memory, enum exec_values values)
{
    exec_free(r->exec);
    device_close(r->dev);
    assert_ok(device_open("opencl:0", 1, &r->dev, err));
    if (memory != 0)
        device_memory_limit(r->dev, memory);
    const struct exec_config cfg = {
        .os = os_real(), .store = r->store, .dev = r->dev, .values = values};
    assert_ok(exec_new(&cfg, &r->exec, err));
}

/* The fixture's rig, on OpenCL, with at most `memory` bytes of it (0: all). */
static void rig_move_as(struct rig *r, uint64_t memory, enum exec_values values)
{
    rig_open(r, ISA_BEST, 1, 2);
    device_again(r, memory, values);
}

static void rig_move(struct rig *r, uint64_t memory)
{
    rig_move_as(r, memory, EXEC_VALUES_CROSS);
}

static struct cid ramp_put(struct store *s, float first)
{
    float *x = malloc(FILE_BYTES);
    for (size_t i = 0; i < N; i++)
        x[i] = first + (float)i;
    struct cid cid = vector_put(s, "x", x, N);
    free(x);
    return cid;
}

static struct task scale_task(const struct cid *program, const struct cid *in, float by)
{
    struct task t = {.program = *program};
    task_input_add(&t, "in", in);
    task_arg_add(&t, "s", by);
    return t;
}

static void assert_bytes(const uint8_t *file, size_t size, float first, float by)
{
    const uint8_t *data = file + (size - FILE_BYTES);
    for (size_t i = 0; i < N; i++) {
        float got;
        memcpy(&got, data + i * sizeof got, sizeof got);
        assert_true(got == (first + (float)i) * by);
    }
}

static void assert_numbers(const struct store_value *v, float first, float by)
{
    assert_bytes(v->data, v->size, first, by);
}

/* Of a value that may be away. */
static void assert_comes(struct rig *r, const struct store_value *v, float first, float by)
{
    const uint8_t *data;
    assert_ok(store_value_bytes(r->store, v, &data, err));
    assert_bytes(data, v->size, first, by);
}

static uint64_t viewed(const struct rig *r)
{
    struct device_memory m;
    device_memory(r->dev, &m);
    return m.viewed;
}

static void test_what_crosses_the_bus(void **state)
{
    struct rig r;
    struct exec_result out, again, next;
    rig_move(&r, 0);
    struct cid program = scale_program(r.store, N), in = ramp_put(r.store, 1);
    struct task t = scale_task(&program, &in, 2);
    assert_ok(exec_run(r.exec, &t, &out, err));
    assert_numbers(out.value[0], 1, 2);
    assert_in_range(out.bus_written, FILE_BYTES, FILE_BYTES + SMALL);
    assert_in_range(out.bus_read, FILE_BYTES, FILE_BYTES + SMALL);
    /* the input is there */
    assert_ok(exec_run(r.exec, &t, &again, err));
    assert_in_range(again.bus_written, 0, SMALL);
    assert_true(cid_equal(&again.value[0]->cid, &out.value[0]->cid));
    /* and so is what was made */
    struct graph *g = graph_new();
    value_id v[2] = {graph_input(g, "in/y", DTYPE_F32, SHAPE1(N)),
                     graph_input(g, "args/s", DTYPE_F32, SHAPE1(1))};
    graph_output(g, "out/y", graph_op(g, OP_SCALE, NULL, 2, v));
    struct cid second = program_put(r.store, g, NULL);
    t = scale_task(&second, &out.value[0]->cid, 0.5f);
    assert_ok(exec_run(r.exec, &t, &next, err));
    assert_in_range(next.bus_written, 0, SMALL);
    assert_numbers(next.value[0], 1, 1);
    exec_result_release(r.exec, &out);
    exec_result_release(r.exec, &again);
    exec_result_release(r.exec, &next);
    rig_close(&r);
}

/* Parts are added on the device, by the tree, to the bits of the CPU. */
static void test_sums(void **state)
{
    struct rig cpu, r;
    struct exec_result want, got;
    rig_move(&r, 0);
    rig_open(&cpu, ISA_BEST, 1, 2);
    struct rig *both[2] = {&cpu, &r};
    struct exec_result *result[2] = {&want, &got};
    for (int i = 0; i < 2; i++) {
        struct task t = {.program = sum_program(both[i]->store, N), .total = 4, .part_count = 4};
        assert_ok(emac_alloc(&t.part, 4, sizeof *t.part, err));
        for (uint32_t p = 0; p < 4; p++)
            t.part[p] = (struct task_part){
                .first = p, .count = 1, .cid = ramp_put(both[i]->store, 0.1f * (float)p)};
        task_arg_add(&t, "s", 0.25f);
        assert_ok(exec_run(both[i]->exec, &t, result[i], err));
        free(t.part);
    }
    assert_true(cid_equal(&want.value[0]->cid, &got.value[0]->cid));
    assert_int_equal(want.bus_written, 0);
    exec_result_release(cpu.exec, &want);
    exec_result_release(r.exec, &got);
    rig_close(&cpu);
    rig_close(&r);
}

/* More bundles than fit: those unused longest make room, and come back when asked for. */
static void test_too_little_for_all(void **state)
{
    struct rig r;
    struct exec_result out;
    struct device_memory m;
    struct cid in[6];
    rig_move(&r, 4 * FILE_BYTES);
    struct cid program = scale_program(r.store, N);
    for (uint32_t i = 0; i < EMAC_COUNT(in); i++)
        in[i] = ramp_put(r.store, (float)i);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < EMAC_COUNT(in); i++) {
            struct task t = scale_task(&program, &in[i], 3);
            assert_ok(exec_run(r.exec, &t, &out, err));
            assert_numbers(out.value[0], (float)i, 3);
            exec_result_release(r.exec, &out);
            device_memory(r.dev, &m);
            assert_true(m.used <= m.total && m.peak <= m.total);
        }
    rig_close(&r);
}

static void test_refused_with_the_figures(void **state)
{
    struct rig r;
    struct exec_result out;
    rig_move(&r, 3 << 20);
    struct graph *g = graph_new();
    const struct op_attrs fill = {.at = {{.i = 1 << 20}, {.i = 2}, {.f = 1}}};
    value_id big = graph_op(g, OP_FILL, &fill, 0, NULL);
    graph_output(g, "out/x", graph_op(g, OP_SUM, NULL, 1, &big));
    struct task t = {.program = program_put(r.store, g, NULL)};
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_TOO_LARGE,
                 "values between operators take 8");
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_TOO_LARGE, "may use 2 MiB on device");
    /* a card with enough of it that gives it out in small pieces */
    device_again(&r, 0, EXEC_VALUES_CROSS);
    ((struct cl *)r.dev)->device.memory.alloc_max = 7 << 20;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_TOO_LARGE,
                 "needs 8 MiB in one piece, for 'values between operators'");
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_TOO_LARGE, "gives at most 7 MiB");
    rig_close(&r);
}

/* A copy goes when the store forgets its file. */
static void test_forgotten(void **state)
{
    struct rig r;
    struct exec_result out;
    struct device_memory before, after;
    rig_move(&r, 0);
    struct cid program = scale_program(r.store, N), a = ramp_put(r.store, 1),
               b = ramp_put(r.store, 2);
    struct task t = scale_task(&program, &a, 2);
    assert_ok(exec_run(r.exec, &t, &out, err));
    store_value_forget(r.store, out.value[0]);
    out.output_count = 0;
    store_value_forget(r.store, store_value_find(r.store, &a));
    device_memory(r.dev, &before);
    t = scale_task(&program, &b, 2);
    assert_ok(exec_run(r.exec, &t, &out, err));
    device_memory(r.dev, &after);
    assert_int_equal(after.used, before.used); /* two went, two came */
    exec_result_release(r.exec, &out);
    rig_close(&r);
}

static cl_int launch_fails(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset,
                           const size_t *global, const size_t *local, cl_uint n,
                           const cl_event *wait, cl_event *event)
{
    return CL_OUT_OF_RESOURCES;
}

static void test_lost_in_mid_task(void **state)
{
    struct rig r;
    struct exec_result out;
    rig_move(&r, 0);
    struct cid program = scale_program(r.store, N), in = ramp_put(r.store, 1);
    struct task t = scale_task(&program, &in, 2);
    assert_ok(exec_run(r.exec, &t, &out, err));
    exec_result_release(r.exec, &out);
    ((struct cl *)r.dev)->api.clEnqueueNDRangeKernel = launch_fails;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_UNAVAILABLE, "cannot run kernel 'scale");
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_UNAVAILABLE, "CL_OUT_OF_RESOURCES");
    assert_true(device_lost(r.dev));
    /* opened again, the work goes on */
    device_again(&r, 0, EXEC_VALUES_CROSS);
    assert_ok(exec_run(r.exec, &t, &out, err));
    assert_numbers(out.value[0], 1, 2);
    exec_result_release(r.exec, &out);
    rig_close(&r);
}

/* ---- results that stay ---- */

/* EXEC-4 where results stay: a step's state is named without crossing, the next step takes it where
 * it lies, and who asks for its bytes gets them once. */
static void test_what_stays(void **state)
{
    struct rig cpu, r;
    struct exec_result want, out, next;
    rig_open(&cpu, ISA_BEST, 1, 2);
    rig_move_as(&r, 0, EXEC_VALUES_STAY);
    struct cid in = ramp_put(cpu.store, 1), program = scale_program(cpu.store, N);
    struct task t = scale_task(&program, &in, 2);
    assert_ok(exec_run(cpu.exec, &t, &want, err));
    scale_program(r.store, N);
    ramp_put(r.store, 1);
    assert_ok(exec_run(r.exec, &t, &out, err));
    assert_true(cid_equal(&out.value[0]->cid, &want.value[0]->cid));
    assert_null(out.value[0]->data);
    assert_in_range(out.bus_written, FILE_BYTES, FILE_BYTES + SMALL);
    assert_in_range(out.bus_read, 32, SMALL);
    struct graph *g = graph_new();
    value_id v[2] = {graph_input(g, "in/y", DTYPE_F32, SHAPE1(N)),
                     graph_input(g, "args/s", DTYPE_F32, SHAPE1(1))};
    graph_output(g, "out/y", graph_op(g, OP_SCALE, NULL, 2, v));
    struct cid second = program_put(r.store, g, NULL);
    t = scale_task(&second, &out.value[0]->cid, 0.5f);
    assert_ok(exec_run(r.exec, &t, &next, err));
    assert_in_range(next.bus_written, 0, SMALL);
    assert_in_range(next.bus_read, 32, SMALL);
    assert_int_equal(viewed(&r), 0);
    assert_comes(&r, next.value[0], 1, 1);
    assert_comes(&r, next.value[0], 1, 1);
    assert_int_equal(viewed(&r), next.value[0]->size);
    exec_result_release(cpu.exec, &want);
    exec_result_release(r.exec, &out);
    exec_result_release(r.exec, &next);
    rig_close(&cpu);
    rig_close(&r);
}

/* Made twice: one value, one copy, the other memory goes. */
static void test_stays_once(void **state)
{
    struct rig r;
    struct exec_result out, again;
    struct device_memory before, after;
    rig_move_as(&r, 0, EXEC_VALUES_STAY);
    struct cid program = scale_program(r.store, N), in = ramp_put(r.store, 1);
    struct task t = scale_task(&program, &in, 2);
    assert_ok(exec_run(r.exec, &t, &out, err));
    device_memory(r.dev, &before);
    assert_ok(exec_run(r.exec, &t, &again, err));
    device_memory(r.dev, &after);
    assert_ptr_equal(again.value[0], out.value[0]);
    assert_int_equal(after.used, before.used);
    /* let go of, and made again */
    exec_result_release(r.exec, &again);
    store_value_forget(r.store, out.value[0]);
    assert_ok(exec_run(r.exec, &t, &again, err));
    assert_comes(&r, again.value[0], 1, 2);
    device_memory(r.dev, &after);
    assert_int_equal(after.used, before.used);
    exec_result_release(r.exec, &again);
    rig_close(&r);
}

/* Memory is short: what somebody holds is brought before its memory is taken (RES-3). */
static void test_lands_when_memory_is_short(void **state)
{
    struct rig r;
    struct exec_result out[6];
    struct device_memory m;
    rig_move_as(&r, 4 * FILE_BYTES, EXEC_VALUES_STAY);
    struct cid program = scale_program(r.store, N);
    for (uint32_t i = 0; i < EMAC_COUNT(out); i++) {
        struct cid in = ramp_put(r.store, (float)i);
        struct task t = scale_task(&program, &in, 3);
        assert_ok(exec_run(r.exec, &t, &out[i], err));
        device_memory(r.dev, &m);
        assert_true(m.used <= m.total && m.peak <= m.total);
    }
    /* three fit beside what a task takes; inputs went first, for the host has them */
    assert_in_range(viewed(&r), 3 * FILE_BYTES, 4 * (FILE_BYTES + SMALL));
    for (uint32_t i = 0; i < EMAC_COUNT(out); i++) {
        assert_comes(&r, out[i].value[0], (float)i, 3);
        exec_result_release(r.exec, &out[i]);
    }
    rig_close(&r);
}

/* A graph's own memory displaces results, too. */
static void test_lands_for_a_graph(void **state)
{
    struct rig r;
    struct exec_result out[2], sum;
    rig_move_as(&r, 4 * FILE_BYTES, EXEC_VALUES_STAY);
    struct cid program = scale_program(r.store, N);
    for (uint32_t i = 0; i < EMAC_COUNT(out); i++) {
        struct cid in = ramp_put(r.store, (float)i);
        struct task t = scale_task(&program, &in, 3);
        assert_ok(exec_run(r.exec, &t, &out[i], err));
    }
    assert_int_equal(viewed(&r), 0);
    struct graph *g = graph_new();
    const struct op_attrs fill = {.at = {{.i = 3 * N}, {.i = 1}, {.f = 1}}};
    value_id big = graph_op(g, OP_FILL, &fill, 0, NULL);
    graph_output(g, "out/x", graph_op(g, OP_SUM, NULL, 1, &big));
    struct task t = {.program = program_put(r.store, g, NULL)};
    assert_ok(exec_run(r.exec, &t, &sum, err));
    assert_true(viewed(&r) > FILE_BYTES);
    exec_result_release(r.exec, &sum);
    for (uint32_t i = 0; i < EMAC_COUNT(out); i++) {
        assert_comes(&r, out[i].value[0], (float)i, 3);
        exec_result_release(r.exec, &out[i]);
    }
    rig_close(&r);
}

/* The executor ends: what is held is brought, what nobody holds is gone. */
static void test_lands_at_the_end(void **state)
{
    struct rig r;
    struct exec_result held, dropped;
    rig_move_as(&r, 0, EXEC_VALUES_STAY);
    struct cid program = scale_program(r.store, N), in = ramp_put(r.store, 1);
    struct task t = scale_task(&program, &in, 2);
    assert_ok(exec_run(r.exec, &t, &held, err));
    t = scale_task(&program, &in, 3);
    assert_ok(exec_run(r.exec, &t, &dropped, err));
    struct cid gone = dropped.value[0]->cid;
    exec_result_release(r.exec, &dropped);
    device_again(&r, 0, EXEC_VALUES_STAY);
    assert_numbers(held.value[0], 1, 2);
    assert_false(store_value_has(r.store, &gone));
    exec_result_release(r.exec, &held);
    rig_close(&r);
}

/* The card is lost with values on it: as if their rig were. They are made again, under their name,
 * while somebody still holds the lost ones. */
static void test_lost_with_the_device(void **state)
{
    struct rig r;
    struct exec_result lost, out;
    const uint8_t *data;
    rig_move_as(&r, 0, EXEC_VALUES_STAY);
    struct cid program = scale_program(r.store, N), in = ramp_put(r.store, 1);
    struct task t = scale_task(&program, &in, 2);
    assert_ok(exec_run(r.exec, &t, &lost, err));
    struct cid cid = lost.value[0]->cid;
    ((struct cl *)r.dev)->api.clEnqueueNDRangeKernel = launch_fails;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_UNAVAILABLE, "cannot run kernel 'scale");
    assert_true(store_value_has(r.store, &cid)); /* the memory may still be read */
    device_again(&r, 0, EXEC_VALUES_STAY);
    assert_false(store_value_has(r.store, &cid));
    assert_fails(store_value_bytes(r.store, lost.value[0], &data, err), EMAC_UNAVAILABLE, "lost");
    t = scale_task(&program, &cid, 2);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_NOT_FOUND, "is not in the store");
    t = scale_task(&program, &in, 2);
    assert_ok(exec_run(r.exec, &t, &out, err));
    assert_true(cid_equal(&out.value[0]->cid, &cid));
    assert_comes(&r, out.value[0], 1, 2);
    exec_result_release(r.exec, &lost);
    exec_result_release(r.exec, &out);
    rig_close(&r);
}

static cl_int read_fails(cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t n, void *to,
                         cl_uint events, const cl_event *event, cl_event *out)
{
    return CL_OUT_OF_RESOURCES;
}

/* The driver fails while a result is brought. */
static void test_lost_on_the_way(void **state)
{
    struct rig r;
    struct exec_result out;
    const uint8_t *data;
    rig_move_as(&r, 0, EXEC_VALUES_STAY);
    struct cid program = scale_program(r.store, N), in = ramp_put(r.store, 1);
    struct task t = scale_task(&program, &in, 2);
    assert_ok(exec_run(r.exec, &t, &out, err));
    ((struct cl *)r.dev)->api.clEnqueueReadBuffer = read_fails;
    assert_fails(store_value_bytes(r.store, out.value[0], &data, err), EMAC_UNAVAILABLE,
                 "cannot read a result: CL_OUT_OF_RESOURCES");
    assert_false(store_value_has(r.store, &out.value[0]->cid));
    exec_result_release(r.exec, &out);
    rig_close(&r);
}

/* ---- a peer asks while the rig computes ---- */

struct peer {
    struct rig *r;
    struct cid cid;
    struct os_thread thread;
    enum emac_status st;
    size_t blocks;
};

static enum emac_status block_take(void *ctx, const struct cid *cid, bool present)
{
    struct peer *p = ctx;
    struct emac_buf out;
    emac_buf_init(&out, UNIXFS_BLOCK_MAX);
    enum emac_status st = present ? store_block_get(p->r->store, cid, &out, NULL) : EMAC_NOT_FOUND;
    p->blocks++;
    emac_buf_release(&out);
    return st;
}

static void *peer_main(void *arg)
{
    struct peer *p = arg;
    p->st = store_dag_walk(p->r->store, &p->cid, block_take, p, NULL);
    return NULL;
}

static void test_asked_while_computing(void **state)
{
    struct rig r;
    struct exec_result out[8];
    struct peer peer[EMAC_COUNT(out)];
    rig_move_as(&r, 0, EXEC_VALUES_STAY);
    struct cid program = scale_program(r.store, N), in = ramp_put(r.store, 1);
    for (uint32_t i = 0; i < EMAC_COUNT(out); i++) {
        struct task t = scale_task(&program, &in, (float)(1 + i));
        assert_ok(exec_run(r.exec, &t, &out[i], err));
        peer[i] = (struct peer){.r = &r, .cid = out[i].value[0]->cid};
        os_thread_start(&peer[i].thread, peer_main, &peer[i]);
    }
    for (uint32_t i = 0; i < EMAC_COUNT(out); i++) {
        os_thread_join(&peer[i].thread);
        assert_int_equal(peer[i].st, EMAC_OK);
        assert_true(peer[i].blocks >= 1);
        assert_comes(&r, out[i].value[0], 1, (float)(1 + i));
        exec_result_release(r.exec, &out[i]);
    }
    rig_close(&r);
}

int main(void)
{
    if (!opencl_there())
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_crosses_the_bus),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_too_little_for_all),
        cmocka_unit_test(test_refused_with_the_figures),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_lost_in_mid_task),
        cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_stays_once),
        cmocka_unit_test(test_lands_when_memory_is_short),
        cmocka_unit_test(test_lands_for_a_graph),
        cmocka_unit_test(test_lands_at_the_end),
        cmocka_unit_test(test_lost_with_the_device),
        cmocka_unit_test(test_lost_on_the_way),
        cmocka_unit_test(test_asked_while_computing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
