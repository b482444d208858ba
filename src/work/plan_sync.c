/* Synchronous data-parallel training: a round is an optimiser step on the sum of all gradients. */
#include <stdio.h>

#include "base/assert.h"
#include "work/planner_impl.h"

static enum emac_status build(struct plan_building *b, struct emac_err *err)
{
    const struct job *job = &b->p->job;
    const struct sampler sampler = plan_train_sampler(job);
    struct graph *g[3] = {0};
    enum emac_status st;
    EMAC_TRY(st, b->family->graph_init(job, &g[0], err));
    EMAC_TRY(st, plan_program_add(b, TASK_INIT, 0, g[0], NULL, err));
    EMAC_TRY(st, b->family->graph_train(job, &g[1], err));
    EMAC_TRY(st, plan_program_add(b, TASK_GRAD, 0, g[1], &sampler, err));
    EMAC_TRY(st, b->family->graph_step(job, &g[2], err));
    st = plan_program_add(b, TASK_STEP, 0, g[2], NULL, err);
out:
    for (size_t i = 0; i < EMAC_COUNT(g); i++)
        graph_free(g[i]);
    return st;
}

static uint32_t rounds(const struct job *job)
{
    return job->optimiser.steps;
}

static void fill_grad(struct planning *g, struct tree_range r, struct plan_want *w)
{
    const struct job_plan *p = g->p;
    w->task.step = g->st->step;
    task_input_add(&w->task, "data", &p->job.data);
    task_input_add(&w->task, "params", plan_value(g->st, "params"));
    if (!cid_is_none(&p->tables))
        task_input_add(&w->task, "tables", &p->tables);
    snprintf(w->slot, sizeof w->slot, "grad/%06u/%u+%u", g->st->step, r.first, r.count);
}

static void fill_step(struct planning *g, struct plan_want *w)
{
    uint32_t step = g->st->step;
    struct task *t = &w->task;
    t->step = step;
    task_input_add(t, "opt", plan_value(g->st, "opt"));
    task_input_add(t, "params", plan_value(g->st, "params"));
    task_optimiser_args(t, &g->p->job, step, g->p->job.micro_batches);
    snprintf(w->slot, sizeof w->slot, "step/%06u", step);
}

static enum emac_status wants(struct planning *g, struct emac_err *err)
{
    const struct plan_share grads = {TASK_GRAD, TASK_STEP, g->p->job.micro_batches, fill_grad,
                                     fill_step};
    return plan_share_wants(g, &grads, err);
}

static bool turn(const struct job_plan *p, struct plan_state *st)
{
    for (uint32_t i = 0; i < st->result_count; i++) {
        const struct plan_result *r = &st->result[i];
        if (r->kind != TASK_STEP)
            continue;
        plan_value_set(st, "params", plan_output(r, "params"));
        plan_value_set(st, "opt", plan_output(r, "opt"));
        return true;
    }
    return false;
}

static enum emac_status bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    uint64_t steps = rounds(&p->job);
    enum emac_status st =
        plan_bill_add(b, plan_program(p, TASK_GRAD), steps * p->job.micro_batches, err);
    return st == EMAC_OK ? plan_bill_add(b, plan_program(p, TASK_STEP), steps, err) : st;
}

/* What was summed is done with once the sum is taken. */
static bool needs(const struct job_plan *p, const struct plan_state *st,
                  const struct plan_result *r, const struct task_output *output)
{
    if (r->kind != TASK_GRAD)
        return true;
    for (uint32_t i = 0; i < st->result_count; i++)
        if (st->result[i].kind == TASK_STEP)
            return false;
    return true;
}

const struct planner PLANNER_SYNC = {
    .build = build, .rounds = rounds, .wants = wants, .turn = turn, .needs = needs, .bill = bill};
