/* Programs of steps, and parts that go through a graph: the bits of the same steps as tasks of
 * their own, on every device; and what makes no sense is refused. */
#include "exec_fixture.h"

#include <stdio.h>

#include "base/assert.h"
#include "model/local_sgd.h"
#include "trace_check.h"
#include "work/family.h"

#define STEPS    4
#define REPLICAS 3
#define BATCHES  3 /* of a replica: a ragged tree */

static const struct local_recipe recipes[] = {
    {.replicas = REPLICAS, .outer_lr = 0.7, .outer_momentum = 0.9, .delta = DELTA_F32},
    {.replicas = REPLICAS,
     .outer_lr = 0.5,
     .outer_momentum = 0.9,
     .delta = DELTA_INT8,
     .feedback = 1.0},
    {.replicas = REPLICAS, .outer_lr = 1.0, .delta = DELTA_INT4, .feedback = 0.9},
    {.replicas = REPLICAS, .outer_lr = 1.0, .delta = DELTA_TOPK, .density = 0.01, .feedback = 0.95},
    {.replicas = REPLICAS,
     .outer_lr = 2.0,
     .delta = DELTA_TOPK,
     .density = 0.01,
     .resume = RESUME_OWN},
};

/* A rig whose job has the micro-batches of all replicas, and the programs of local SGD. */
struct local {
    struct rig rig;
    struct exec_result init;
    struct cid steps, outer, identity;
    struct cid identity_own; /* identity, resumed from its own; with RESUME_OWN */
    struct emac_buf *roots;  /* of its tasks' traces; NULL: they are just run */
};

/* The last leaves are of what the step and the end made; those in the middle of carried state. */
static void task_run(struct local *l, const struct task *t, struct exec_result *out)
{
    uint8_t root[SHA256_BYTES];
    if (l->roots == NULL) {
        assert_ok(exec_run(l->rig.exec, t, out, err));
        return;
    }
    uint64_t leaves = trace_root(l->rig.exec, t, out, root);
    if (l->roots->len == 0 || t->part_count > 0) {
        for (uint64_t k = 1; k <= 5; k++)
            trace_judged(l->rig.exec, l->rig.exec, t, leaves * k / 6);
        trace_judged(l->rig.exec, l->rig.exec, t, leaves - 1);
    }
    assert_ok(emac_buf_append(l->roots, root, sizeof root, err));
}

/* begin: a graph; NULL: none. */
static struct cid steps_put(struct local *l, const struct cid *begin, const struct cid *end)
{
    struct program p = {.kind = PROGRAM_STEPS,
                        .graph = *end,
                        .grad = plan_program(l->rig.plan, TASK_GRAD)->cid,
                        .step = plan_program(l->rig.plan, TASK_STEP)->cid,
                        .micro_batches = BATCHES,
                        .recipe = l->rig.job.optimiser};
    struct emac_buf buf;
    struct cid cid;
    p.has_begin = begin != NULL;
    if (p.has_begin)
        p.begin = *begin;
    emac_buf_init(&buf, PROGRAM_BYTES_MAX);
    assert_ok(program_encode(&p, &buf, &cid, err));
    assert_ok(store_block_put_as(l->rig.store, &cid, buf.data, buf.len, err));
    emac_buf_release(&buf);
    return cid;
}

static struct cid graph_put(struct store *s, struct graph *g)
{
    struct emac_buf buf;
    struct cid cid;
    emac_buf_init(&buf, UNIXFS_BLOCK_MAX);
    assert_ok(graph_encode(g, &buf, err));
    assert_ok(store_block_put(s, CID_DAG_CBOR, buf.data, buf.len, &cid, err));
    emac_buf_release(&buf);
    graph_free(g);
    return cid;
}

/* The end that hands the parameters over as they are, with the metrics' mean. */
static struct graph *identity_graph(const struct graph *init)
{
    struct graph *g = graph_new();
    value_id inv = graph_input(g, "args/steps_inv", DTYPE_F32, SHAPE1(1));
    value_id in[2] = {graph_input(g, "total/loss", DTYPE_F32, SHAPE1(1)), inv};
    value_id norm = graph_input(g, "total/grad_norm", DTYPE_F32, SHAPE1(1));
    graph_output(g, "metrics/loss", graph_op(g, OP_SCALE, NULL, 2, in));
    graph_output(g, "metrics/grad_norm", norm);
    for (uint32_t i = 0; i < graph_output_count(init); i++) {
        struct graph_port port = graph_output_at(init, i);
        if (strncmp(port.name, "params/", 7) == 0)
            graph_output(g, port.name, graph_input(g, port.name, port.dtype, port.shape));
    }
    return g;
}

static void programs_put(struct local *l, const struct local_recipe *r)
{
    const struct job_family *family = job_family_of(&l->rig.job);
    struct graph *init, *step, *begin, *end, *decode, *outer;
    struct cid begins = {0};
    struct program p = {.kind = PROGRAM_APPLY};
    struct emac_buf buf;
    assert_ok(family->graph_init(&l->rig.job, &init, err));
    assert_ok(family->graph_step(&l->rig.job, &step, err));
    struct cid same = graph_put(l->rig.store, identity_graph(init));
    l->identity = steps_put(l, NULL, &same);
    assert_ok(local_begin_graph(init, r, &begin, err));
    assert_true((begin != NULL) == (r->resume == RESUME_OWN));
    if (begin != NULL) {
        begins = graph_put(l->rig.store, begin);
        l->identity_own = steps_put(l, &begins, &same);
    }
    assert_ok(local_delta_graph(init, step, r, NULL, &end, err));
    struct cid ends = graph_put(l->rig.store, end);
    l->steps = steps_put(l, begin == NULL ? NULL : &begins, &ends);
    assert_ok(local_decode_graph(init, step, r, NULL, &decode, err));
    assert_ok(local_outer_graph(init, step, r, NULL, &outer, err));
    p.has_decode = decode != NULL;
    if (p.has_decode)
        p.decode = graph_put(l->rig.store, decode);
    p.graph = graph_put(l->rig.store, outer);
    emac_buf_init(&buf, PROGRAM_BYTES_MAX);
    assert_ok(program_encode(&p, &buf, &l->outer, err));
    assert_ok(store_block_put_as(l->rig.store, &l->outer, buf.data, buf.len, err));
    emac_buf_release(&buf);
    assert_ok(local_init_extend(init, r, err));
    struct cid first = program_put(l->rig.store, init, NULL);
    struct task t = {.program = first};
    assert_ok(exec_run(l->rig.exec, &t, &l->init, err));
    graph_free(step);
}

static void local_open(struct local *l, enum isa isa, bool opencl, const struct local_recipe *r)
{
    *l = (struct local){0};
    rig_open(&l->rig, isa, isa == ISA_REF ? 1 : 2, REPLICAS * BATCHES);
    if (opencl) {
        exec_free(l->rig.exec);
        device_close(l->rig.dev);
        assert_ok(device_open("opencl:0", 1, &l->rig.dev, err));
        const struct exec_config cfg = {.os = os_real(), .store = l->rig.store, .dev = l->rig.dev};
        assert_ok(exec_new(&cfg, &l->rig.exec, err));
    }
    programs_put(l, r);
}

static void local_close(struct local *l)
{
    exec_result_release(l->rig.exec, &l->init);
    rig_close(&l->rig);
}

static struct task steps_task(const struct local *l, const struct cid *program, uint32_t replica)
{
    struct task t = {.program = *program, .first = replica * BATCHES, .count = STEPS, .step = 1};
    task_input_add(&t, "data", &l->rig.job.data);
    task_input_add(&t, "opt", &output(&l->init, "opt")->cid);
    task_input_add(&t, "params", &output(&l->init, "params")->cid);
    task_input_add(&t, "tables", &l->rig.plan->tables);
    return t;
}

/* Steps 1 to STEPS of a replica by maps and applies; the last result is kept. */
static void one_by_one(struct local *l, uint32_t replica, struct exec_result *out)
{
    struct rig *r = &l->rig;
    struct cid params = output(&l->init, "params")->cid, opt = output(&l->init, "opt")->cid;
    for (uint32_t step = 1; step <= STEPS; step++) {
        struct exec_result sum[BATCHES];
        struct task_part part[BATCHES];
        struct optimiser_args args;
        for (uint32_t i = 0; i < BATCHES; i++) {
            struct task t = {.program = plan_program(r->plan, TASK_GRAD)->cid,
                             .first = replica * BATCHES + i,
                             .count = 1,
                             .step = step};
            task_input_add(&t, "data", &r->job.data);
            task_input_add(&t, "params", &params);
            task_input_add(&t, "tables", &r->plan->tables);
            assert_ok(exec_run(r->exec, &t, &sum[i], err));
            part[i] = (struct task_part){i, 1, sum[i].output[0].cid};
        }
        struct task t = {.program = plan_program(r->plan, TASK_STEP)->cid,
                         .total = BATCHES,
                         .step = step,
                         .part = part,
                         .part_count = BATCHES};
        task_input_add(&t, "opt", &opt);
        task_input_add(&t, "params", &params);
        optimiser_args(&r->job.optimiser, step, BATCHES, &args);
        for (; t.arg_count < args.count; t.arg_count++) {
            struct task_arg *a = &t.arg[t.arg_count];
            set_text(a->name, args.arg[t.arg_count].name);
            a->width = args.arg[t.arg_count].width;
            memcpy(a->value, args.arg[t.arg_count].value, a->width * sizeof a->value[0]);
        }
        if (step > 1)
            exec_result_release(r->exec, out);
        assert_ok(exec_run(r->exec, &t, out, err));
        for (uint32_t i = 0; i < BATCHES; i++)
            exec_result_release(r->exec, &sum[i]);
        params = output(out, "params")->cid;
        opt = output(out, "opt")->cid;
    }
}

static void test_steps_equal_tasks_of_their_own(void **state)
{
    struct local l;
    struct exec_result want, got;
    local_open(&l, ISA_BEST, false, &recipes[0]);
    for (uint32_t replica = 0; replica < REPLICAS; replica++) {
        struct task t = steps_task(&l, &l.identity, replica);
        one_by_one(&l, replica, &want);
        assert_ok(exec_run(l.rig.exec, &t, &got, err));
        assert_int_equal(got.output_count, 3);
        assert_string_equal(got.output[1].name, "opt");
        assert_true(cid_equal(&got.output[1].cid, &output(&want, "opt")->cid));
        assert_true(cid_equal(&got.output[2].cid, &output(&want, "params")->cid));
        exec_result_release(l.rig.exec, &want);
        exec_result_release(l.rig.exec, &got);
    }
    local_close(&l);
}

/* Two tasks of half the steps end where one of all does. */
static void test_steps_go_on(void **state)
{
    struct local l;
    struct exec_result whole, half, rest;
    local_open(&l, ISA_BEST, false, &recipes[0]);
    struct task t = steps_task(&l, &l.identity, 1);
    assert_ok(exec_run(l.rig.exec, &t, &whole, err));
    t.count = STEPS / 2;
    assert_ok(exec_run(l.rig.exec, &t, &half, err));
    t.step += STEPS / 2;
    t.input[1].cid = output(&half, "opt")->cid;
    t.input[2].cid = output(&half, "params")->cid;
    assert_ok(exec_run(l.rig.exec, &t, &rest, err));
    assert_true(cid_equal(&output(&rest, "opt")->cid, &output(&whole, "opt")->cid));
    assert_true(cid_equal(&output(&rest, "params")->cid, &output(&whole, "params")->cid));
    exec_result_release(l.rig.exec, &whole);
    exec_result_release(l.rig.exec, &half);
    exec_result_release(l.rig.exec, &rest);
    local_close(&l);
}

static void carry_add(struct task *t, const struct cid *cid)
{
    memmove(&t->input[1], &t->input[0], t->input_count++ * sizeof t->input[0]);
    set_text(t->input[0].name, "carry");
    t->input[0].cid = *cid;
}

/* What was not told is taken off first: all of the parameters, here, so nothing is left of them. */
static void test_steps_resume_from_their_own(void **state)
{
    struct local l;
    struct exec_result want, got;
    local_open(&l, ISA_BEST, false, &recipes[EMAC_COUNT(recipes) - 1]);
    struct task zero = steps_task(&l, &l.identity, 1), own = steps_task(&l, &l.identity_own, 1);
    zero.input[2].cid = output(&l.init, "carry")->cid;
    carry_add(&own, &output(&l.init, "params")->cid);
    assert_ok(exec_run(l.rig.exec, &zero, &want, err));
    assert_ok(exec_run(l.rig.exec, &own, &got, err));
    assert_true(cid_equal(&output(&got, "params")->cid, &output(&want, "params")->cid));
    assert_true(cid_equal(&output(&got, "opt")->cid, &output(&want, "opt")->cid));
    exec_result_release(l.rig.exec, &want);
    exec_result_release(l.rig.exec, &got);
    own = steps_task(&l, &l.identity_own, 1);
    assert_fails(exec_run(l.rig.exec, &own, &got, err), EMAC_INVALID, "lacks input 'carry'");
    local_close(&l);
}

/* A round: the steps of each replica, then the outer step over their deltas. */
static void run_round(struct local *l, const struct local_recipe *r, struct exec_result *delta,
                      struct exec_result *out)
{
    struct task_part part[REPLICAS];
    const struct cid *params = &output(&l->init, "params")->cid;
    for (uint32_t m = 0; m < REPLICAS; m++) {
        struct task t = steps_task(l, &l->steps, m);
        task_input_add(&t, "start", params);
        struct task_input start = t.input[4];
        memmove(&t.input[4], &t.input[3], sizeof start); /* in order of the names */
        t.input[3] = start;
        if (local_has_carry(r))
            carry_add(&t, &output(&l->init, "carry")->cid);
        task_run(l, &t, &delta[m]);
        part[m] = (struct task_part){m, 1, output(&delta[m], "delta")->cid};
    }
    struct task t = {.program = l->outer, .total = REPLICAS, .part = part, .part_count = REPLICAS};
    if (local_has_momentum(r))
        task_input_add(&t, "outer", &output(&l->init, "outer")->cid);
    task_input_add(&t, "params", params);
    task_run(l, &t, out);
}

/* TRACE-1, for programs of steps and parts that go through a graph */
static void test_traces_of_a_round(void **state)
{
    static const enum isa isas[] = {ISA_BEST, ISA_PORTABLE};
    struct emac_buf roots[2];
    for (size_t i = 0; i < EMAC_COUNT(isas); i++) {
        struct local l;
        struct exec_result result[REPLICAS + 1];
        emac_buf_init(&roots[i], 1 << 16);
        local_open(&l, isas[i], false, &recipes[1]);
        l.roots = &roots[i];
        run_round(&l, &recipes[1], result, &result[REPLICAS]);
        for (size_t k = 0; k <= REPLICAS; k++)
            exec_result_release(l.rig.exec, &result[k]);
        local_close(&l);
    }
    assert_int_equal(roots[0].len, (REPLICAS + 1) * SHA256_BYTES);
    assert_memory_equal(roots[0].data, roots[1].data, roots[0].len);
    emac_buf_release(&roots[0]);
    emac_buf_release(&roots[1]);
}

/* All outputs of a round, in one digest. */
static void round_digest(const struct local_recipe *r, enum isa isa, bool opencl,
                         uint8_t digest[SHA256_BYTES])
{
    struct local l;
    struct exec_result result[REPLICAS + 1];
    struct emac_buf all;
    local_open(&l, isa, opencl, r);
    run_round(&l, r, result, &result[REPLICAS]);
    emac_buf_init(&all, 1 << 16);
    for (uint32_t i = 0; i <= REPLICAS; i++) {
        for (uint32_t k = 0; k < result[i].output_count; k++) {
            char text[CID_TEXT_MAX];
            cid_text(text, &result[i].output[k].cid);
            assert_ok(emac_buf_append(&all, text, strlen(text), err));
        }
        exec_result_release(l.rig.exec, &result[i]);
    }
    crypto_sha256(digest, all.data, all.len);
    emac_buf_release(&all);
    local_close(&l);
}

static void test_devices_agree(void **state)
{
    struct device_found found;
    bool opencl = device_opencl_list(&found, 1) == 1;
    if (!opencl)
        printf("# opencl: not tested, this machine has no such device\n");
    for (size_t i = 0; i < EMAC_COUNT(recipes); i++) {
        uint8_t want[SHA256_BYTES], got[SHA256_BYTES];
        round_digest(&recipes[i], ISA_REF, false, want);
        for (int isa = ISA_PORTABLE; isa < ISA_COUNT; isa++) {
            if (!isa_supported((enum isa)isa))
                continue;
            round_digest(&recipes[i], (enum isa)isa, false, got);
            assert_memory_equal(got, want, sizeof want);
        }
        if (opencl) {
            round_digest(&recipes[i], ISA_BEST, true, got);
            assert_memory_equal(got, want, sizeof want);
        }
    }
}

static const float *tensor(const struct store_value *v, const char *name, size_t *n)
{
    struct st_index idx;
    assert_ok(st_index_parse(&idx, v->data, v->size, v->size, err));
    const struct st_tensor *t = st_index_find(&idx, name);
    assert_non_null(t);
    const float *at = (const float *)(const void *)(v->data + idx.data_offset + t->begin);
    *n = (size_t)(t->end - t->begin) / sizeof *at;
    st_index_release(&idx);
    return at;
}

/* Without packing, the formulas of the header by hand, on one tensor. */
static void test_the_outer_step_by_hand(void **state)
{
    static const char NAME[] = "model.norm.weight";
    struct local l;
    struct exec_result delta[REPLICAS], out, end;
    size_t n;
    local_open(&l, ISA_BEST, false, &recipes[0]);
    run_round(&l, &recipes[0], delta, &out);
    struct task t = steps_task(&l, &l.identity, 2);
    assert_ok(exec_run(l.rig.exec, &t, &end, err));
    const float *start = tensor(output(&l.init, "params"), NAME, &n);
    const float *last = tensor(output(&end, "params"), NAME, &n);
    const float *now = tensor(output(&out, "params"), NAME, &n);
    const float *u = tensor(output(&out, "outer"), NAME, &n), *d[REPLICAS];
    for (uint32_t m = 0; m < REPLICAS; m++)
        d[m] = tensor(output(&delta[m], "delta"), NAME, &n);
    for (size_t i = 0; i < n; i++) {
        float g = ((d[0][i] + d[1][i]) + d[2][i]) * (1.0f / 3.0f);
        assert_true(d[2][i] == start[i] - last[i]);
        assert_true(u[i] == g);
        assert_true(now[i] == start[i] - (g + u[i] * 0.9f) * 0.7f);
        assert_true(now[i] != start[i]);
    }
    for (uint32_t m = 0; m < REPLICAS; m++)
        exec_result_release(l.rig.exec, &delta[m]);
    exec_result_release(l.rig.exec, &out);
    exec_result_release(l.rig.exec, &end);
    local_close(&l);
}

/* ---- what is refused ---- */

static void test_tasks_that_make_no_sense(void **state)
{
    struct local l;
    struct exec_result out;
    local_open(&l, ISA_BEST, false, &recipes[0]);
    struct task t = steps_task(&l, &l.identity, 0);
    t.count = 0;
    assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, "steps 1+0 are none");
    t.count = UINT32_MAX;
    assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, "past the last");
    t = steps_task(&l, &l.identity, 0);
    t.total = 1;
    assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, "takes no parts");
    t = steps_task(&l, &l.identity, 0);
    t.first = UINT32_MAX - 1;
    t.count = 1;
    assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, "pass the end");
    t = steps_task(&l, &l.identity, 0);
    t.input_count = 3;
    assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, "lacks input 'tables'");
    t = steps_task(&l, &l.steps, 0);
    assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, "lacks input 'start'");
    t = steps_task(&l, &l.identity, 0);
    task_input_add(&t, "total", &l.rig.plan->tables);
    assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, "takes no input 'total'");
    t = steps_task(&l, &l.identity, 0);
    t.input[1].cid = output(&l.init, "params")->cid;
    assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, "'opt' is not in canonical");
    local_close(&l);
}

/* Programs that do not fit each other: a step for a gradient, steps of steps, and the like. */
static void test_programs_that_make_no_sense(void **state)
{
    struct local l;
    struct exec_result out;
    local_open(&l, ISA_BEST, false, &recipes[3]);
    const struct job_plan *plan = l.rig.plan;
    const struct {
        struct cid grad, step;
        const char *said;
    } row[] = {{plan_program(plan, TASK_STEP)->cid, plan_program(plan, TASK_STEP)->cid,
                "do not fit each other"},
               {plan_program(plan, TASK_GRAD)->cid, plan_program(plan, TASK_SCORE)->cid,
                "do not fit each other"},
               {plan_program(plan, TASK_GRAD)->cid, plan_program(plan, TASK_GRAD)->cid,
                "do not fit each other"},
               {plan_program(plan, TASK_EVAL)->cid, plan_program(plan, TASK_STEP)->cid,
                "do not fit each other"},
               {l.steps, plan_program(plan, TASK_STEP)->cid, "cannot be a step of another"}};
    for (size_t i = 0; i < EMAC_COUNT(row); i++) {
        struct graph *g = graph_new();
        struct program p = {.kind = PROGRAM_STEPS,
                            .grad = row[i].grad,
                            .step = row[i].step,
                            .micro_batches = 1,
                            .recipe = l.rig.job.optimiser};
        struct emac_buf buf;
        graph_output(g, "x/y", graph_input(g, "params/y", DTYPE_F32, SHAPE1(1)));
        p.graph = graph_put(l.rig.store, g);
        struct task t = {.count = 1};
        emac_buf_init(&buf, PROGRAM_BYTES_MAX);
        assert_ok(program_encode(&p, &buf, &t.program, err));
        assert_ok(store_block_put_as(l.rig.store, &t.program, buf.data, buf.len, err));
        assert_fails(exec_run(l.rig.exec, &t, &out, err), EMAC_INVALID, row[i].said);
        emac_buf_release(&buf);
    }
    local_close(&l);
}

/* Deltas that no replica makes: each names its part. */
static void test_deltas_that_are_none(void **state)
{
    struct local l;
    struct exec_result delta[REPLICAS], out, bad;
    local_open(&l, ISA_BEST, false, &recipes[3]);
    run_round(&l, &recipes[3], delta, &out);
    const struct store_value *good = output(&delta[1], "delta");
    struct task_part part[REPLICAS];
    for (uint32_t m = 0; m < REPLICAS; m++)
        part[m] = (struct task_part){m, 1, output(&delta[m], "delta")->cid};
    struct task t = {.program = l.outer, .total = REPLICAS, .part = part, .part_count = REPLICAS};
    task_input_add(&t, "params", &output(&l.init, "params")->cid);
    uint8_t *data;
    const struct store_value *v;
    assert_ok(emac_alloc_aligned(&data, good->size, err));
    memcpy(data, good->data, good->size);
    memset(data + good->size - 200, 255, 200); /* exponents, places and codes past all ends */
    assert_ok(store_value_adopt(l.rig.store, data, good->size, &v, err));
    part[1].cid = v->cid;
    assert_fails(exec_run(l.rig.exec, &t, &bad, err), EMAC_NUMERIC, "part 1+1 of input 'sum'");
    store_value_drop(l.rig.store, v);
    part[1].cid = l.rig.plan->tables;
    assert_fails(exec_run(l.rig.exec, &t, &bad, err), EMAC_INVALID, "part 1+1 of input 'sum'");
    for (uint32_t m = 0; m < REPLICAS; m++)
        exec_result_release(l.rig.exec, &delta[m]);
    exec_result_release(l.rig.exec, &out);
    local_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_equal_tasks_of_their_own),
        cmocka_unit_test(test_steps_go_on),
        cmocka_unit_test(test_steps_resume_from_their_own),
        cmocka_unit_test(test_devices_agree),
        cmocka_unit_test(test_traces_of_a_round),
        cmocka_unit_test(test_the_outer_step_by_hand),
        cmocka_unit_test(test_tasks_that_make_no_sense),
        cmocka_unit_test(test_programs_that_make_no_sense),
        cmocka_unit_test(test_deltas_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
