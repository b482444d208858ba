/* Tasks of a training job, by hand: its first state, gradients, the optimiser step. */
#ifndef EMAC_TESTS_NODE_EXEC_TASKS_H
#define EMAC_TESTS_NODE_EXEC_TASKS_H

#include "exec_fixture.h"

struct state {
    struct exec_result init;
    struct cid params, opt;
};

static inline void run_init(struct rig *r, struct state *s)
{
    struct task t = {.program = plan_program(r->plan, TASK_INIT)->cid};
    assert_ok(exec_run(r->exec, &t, &s->init, err));
    assert_int_equal(s->init.output_count, 2);
    assert_string_equal(s->init.output[0].name, "opt");
    assert_string_equal(s->init.output[1].name, "params");
    s->params = s->init.output[1].cid;
    s->opt = s->init.output[0].cid;
    assert_int_equal(s->init.value[1]->size, r->plan->params_bytes);
    assert_int_equal(s->init.value[0]->size, r->plan->opt_bytes);
}

static inline struct task grad_task(const struct rig *r, const struct state *s, uint32_t first,
                                    uint32_t count)
{
    struct task t = {.program = plan_program(r->plan, TASK_GRAD)->cid,
                     .first = first,
                     .count = count,
                     .step = 1};
    task_input_add(&t, "data", &r->job.data);
    task_input_add(&t, "params", &s->params);
    task_input_add(&t, "tables", &r->plan->tables);
    return t;
}

static inline struct task step_task(const struct rig *r, const struct state *s,
                                    struct task_part *part, uint32_t parts)
{
    struct task t = {
        .program = plan_program(r->plan, TASK_STEP)->cid, .total = r->job.micro_batches, .step = 1};
    task_input_add(&t, "opt", &s->opt);
    task_input_add(&t, "params", &s->params);
    struct optimiser_args args;
    optimiser_args(&r->job.optimiser, 1, r->job.micro_batches, &args);
    for (; t.arg_count < args.count; t.arg_count++) {
        const struct optimiser_arg *from = &args.arg[t.arg_count];
        struct task_arg *a = &t.arg[t.arg_count];
        set_text(a->name, from->name);
        a->width = from->width;
        memcpy(a->value, from->value, from->width * sizeof *from->value);
    }
    t.part = part;
    t.part_count = parts;
    return t;
}

#endif
