/* Local SGD (model/local_sgd.h): in a round each replica makes its own optimiser steps, one task a
 * replica; then the outer step over their deltas, on every rig, so that parameters stay where they
 * are made and only deltas travel. A step's micro-batches are dealt out to the replicas: replica m
 * of M has those from m * micro_batches / M on, so all of them together see what a synchronous step
 * does.
 *
 * Values of the state: params, outer (momentum of the outer step), and of each replica m opt.m
 * (state of its optimiser) and carry.m (what its deltas have not told yet). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/bundle.h"
#include "work/planner_impl.h"

_Static_assert(2 * JOB_REPLICAS_MAX + 3 <= PLAN_VALUES_MAX, "the state of all replicas must fit");

/* ---- programs ---- */

struct local_graphs {
    struct graph *init, *grad, *step; /* of the family */
    struct graph *delta, *decode, *outer;
};

static enum emac_status graphs_make(const struct plan_building *b, struct local_graphs *g,
                                    struct emac_err *err)
{
    const struct job *job = &b->p->job;
    const struct local_recipe *r = &job->local;
    enum emac_status st;
    EMAC_TRY(st, b->family->graph_init(job, &g->init, err));
    EMAC_TRY(st, b->family->graph_train(job, &g->grad, err));
    EMAC_TRY(st, b->family->graph_step(job, &g->step, err));
    EMAC_TRY(st, local_delta_graph(g->init, g->step, r, &g->delta, err));
    EMAC_TRY(st, local_decode_graph(g->init, g->step, r, &g->decode, err));
    EMAC_TRY(st, local_outer_graph(g->init, g->step, r, &g->outer, err));
    st = local_init_extend(g->init, r, err);
out:
    return st;
}

static void graphs_free(struct local_graphs *g)
{
    graph_free(g->init);
    graph_free(g->grad);
    graph_free(g->step);
    graph_free(g->delta);
    graph_free(g->decode);
    graph_free(g->outer);
}

static void bundle_take(struct plan_bundle *list, uint32_t *count, uint32_t max,
                        const struct plan_bundle *bundle)
{
    EMAC_ASSERT(*count < max);
    list[(*count)++] = *bundle;
}

static int by_name(const void *a, const void *b)
{
    const struct plan_bundle *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* What a task of steps takes and gives: of the end's graph what the steps do not make, and what
 * gradients and optimiser take beside. */
static enum emac_status row_bundles(const struct local_graphs *g, struct plan_program *row,
                                    struct emac_err *err)
{
    struct plan_program end = {0}, grad = {0}, step = {0};
    enum emac_status st;
    EMAC_TRY(st, plan_bundles_note(&end, g->delta, err));
    EMAC_TRY(st, plan_bundles_note(&grad, g->grad, err));
    EMAC_TRY(st, plan_bundles_note(&step, g->step, err));
    for (uint32_t i = 0; i < end.input_count; i++)
        if (strcmp(end.input[i].name, "total") != 0)
            bundle_take(row->input, &row->input_count, TASK_INPUTS_MAX, &end.input[i]);
    for (uint32_t i = 0; i < grad.input_count; i++)
        if (strcmp(grad.input[i].name, "params") != 0)
            bundle_take(row->input, &row->input_count, TASK_INPUTS_MAX, &grad.input[i]);
    for (uint32_t i = 0; i < end.output_count; i++)
        bundle_take(row->output, &row->output_count, TASK_OUTPUTS_MAX, &end.output[i]);
    for (uint32_t i = 0; i < step.output_count; i++) {
        if (strcmp(step.output[i].name, "opt") != 0)
            continue;
        bundle_take(row->input, &row->input_count, TASK_INPUTS_MAX, &step.output[i]);
        bundle_take(row->output, &row->output_count, TASK_OUTPUTS_MAX, &step.output[i]);
    }
    qsort(row->output, row->output_count, sizeof row->output[0], by_name);
out:
    return st;
}

static uint32_t replica_batches(const struct job *job)
{
    return job->micro_batches / job->local.replicas;
}

/* flops: of one step; the end's pass over the numbers is as nothing beside them. */
static enum emac_status local_add(struct plan_building *b, const struct local_graphs *g,
                                  struct emac_err *err)
{
    const struct job *job = &b->p->job;
    struct program grad = {.kind = PROGRAM_MAP, .has_sampler = true},
                   step = {.kind = PROGRAM_APPLY};
    struct program steps = {
        .kind = PROGRAM_STEPS, .micro_batches = replica_batches(job), .recipe = job->optimiser};
    struct plan_program row = {.kind = TASK_LOCAL};
    enum emac_status st;
    grad.sampler = plan_train_sampler(job);
    row.flops = graph_flops(g->grad) * steps.micro_batches + graph_flops(g->step);
    EMAC_TRY(st, plan_graph_add(b, TASK_LOCAL, g->grad, &grad.graph, err));
    EMAC_TRY(st, plan_graph_add(b, TASK_LOCAL, g->step, &step.graph, err));
    EMAC_TRY(st, plan_graph_add(b, TASK_LOCAL, g->delta, &steps.graph, err));
    EMAC_TRY(st, plan_program_put(b, &grad, &steps.grad, err));
    EMAC_TRY(st, plan_program_put(b, &step, &steps.step, err));
    EMAC_TRY(st, plan_program_put(b, &steps, &row.cid, err));
    EMAC_TRY(st, row_bundles(g, &row, err));
    plan_program_take(b, &row);
out:
    return st;
}

static enum emac_status outer_add(struct plan_building *b, const struct local_graphs *g,
                                  struct emac_err *err)
{
    struct program outer = {.kind = PROGRAM_APPLY, .has_decode = g->decode != NULL};
    struct plan_program row = {.kind = TASK_STEP, .flops = graph_flops(g->outer)};
    struct bundle part;
    enum emac_status st;
    EMAC_TRY(st, plan_bundles_note(&row, g->outer, err));
    EMAC_TRY(st, plan_graph_add(b, TASK_STEP, g->outer, &outer.graph, err));
    if (g->decode != NULL) {
        EMAC_TRY(st, plan_graph_add(b, TASK_STEP, g->decode, &outer.decode, err));
        row.flops += graph_flops(g->decode) * b->p->job.local.replicas;
        st = bundle_layout(g->decode, false, "part", &part, err);
        row.part_bytes = part.size;
        bundle_release(&part);
        EMAC_TRY(st, st);
    }
    EMAC_TRY(st, plan_program_put(b, &outer, &row.cid, err));
    plan_program_take(b, &row);
out:
    return st;
}

static enum emac_status build(struct plan_building *b, struct emac_err *err)
{
    struct local_graphs g = {0};
    enum emac_status st;
    EMAC_TRY(st, graphs_make(b, &g, err));
    EMAC_TRY(st, plan_program_add(b, TASK_INIT, 0, g.init, NULL, err));
    EMAC_TRY(st, local_add(b, &g, err));
    st = outer_add(b, &g, err);
out:
    graphs_free(&g);
    return st;
}

/* ---- rounds ---- */

static uint32_t rounds(const struct job *job)
{
    uint32_t steps = job->optimiser.steps, each = job->local.inner_steps;
    return steps / each + (steps % each != 0);
}

/* The last round has what is left. */
static uint32_t steps(const struct job *job, uint32_t done)
{
    uint64_t all = (uint64_t)done * job->local.inner_steps;
    return all < job->optimiser.steps ? (uint32_t)all : job->optimiser.steps;
}

static void value_name(char out[TASK_NAME_MAX], const char *bundle, uint32_t replica)
{
    int n = snprintf(out, TASK_NAME_MAX, "%s.%u", bundle, replica);
    EMAC_ASSERT(n > 0 && n < TASK_NAME_MAX);
}

static const struct cid *value_of(const struct plan_state *st, const char *bundle, uint32_t replica)
{
    char name[TASK_NAME_MAX];
    value_name(name, bundle, replica);
    return plan_value(st, name);
}

static void value_put(struct plan_state *st, const char *bundle, uint32_t replica,
                      const struct cid *cid)
{
    char name[TASK_NAME_MAX];
    value_name(name, bundle, replica);
    plan_value_set(st, name, cid);
}

/* All replicas begin with the same. */
static void begin(const struct job_plan *p, struct plan_state *st)
{
    static const char *const BUNDLES[] = {"opt", "carry"};
    for (size_t i = 0; i < EMAC_COUNT(BUNDLES); i++) {
        const struct cid *first = plan_value(st, BUNDLES[i]);
        if (first == NULL)
            continue;
        struct cid cid = *first;
        plan_value_remove(st, BUNDLES[i]);
        for (uint32_t m = 0; m < p->job.local.replicas; m++)
            value_put(st, BUNDLES[i], m, &cid);
    }
}

static void replica_slot(char out[SLOT_MAX], uint32_t round, uint32_t replica)
{
    snprintf(out, SLOT_MAX, "local/%06u/%u", round, replica);
}

static void want_replica(struct planning *g, uint32_t m)
{
    const struct job_plan *p = g->p;
    const struct plan_program *program = plan_program(p, TASK_LOCAL);
    uint32_t round = g->st->step, first = steps(&p->job, round);
    char slot[SLOT_MAX];
    replica_slot(slot, round, m);
    struct plan_want *w = plan_want_add(g, program, slot);
    if (w == NULL)
        return;
    struct task *t = &w->task;
    t->first = m * replica_batches(&p->job);
    t->step = first;
    t->count = steps(&p->job, round + 1) - first;
    w->range = (struct tree_range){m, 1};
    w->flops = program->flops * t->count;
    if (local_has_carry(&p->job.local))
        task_input_add(t, "carry", value_of(g->st, "carry", m));
    task_input_add(t, "data", &p->job.data);
    task_input_add(t, "opt", value_of(g->st, "opt", m));
    task_input_add(t, "params", plan_value(g->st, "params"));
    task_input_add(t, "start", plan_value(g->st, "params"));
    if (!cid_is_none(&p->tables))
        task_input_add(t, "tables", &p->tables);
}

/* Every rig makes the next parameters for itself; few deltas are less than they are. */
static enum emac_status want_outer(struct planning *g, struct emac_err *err)
{
    const struct local_recipe *r = &g->p->job.local;
    char slot[SLOT_MAX];
    snprintf(slot, sizeof slot, "step/%06u", g->st->step);
    struct plan_want *w = plan_want_add(g, plan_program(g->p, TASK_STEP), slot);
    if (w == NULL)
        return EMAC_OK;
    struct task *t = &w->task;
    enum emac_status st = emac_alloc(&t->part, r->replicas, sizeof *t->part, err);
    if (st != EMAC_OK)
        return st;
    t->part_count = t->total = r->replicas;
    t->step = g->st->step;
    w->copies = g->workers < r->replicas ? g->workers : r->replicas;
    if (local_has_momentum(r))
        task_input_add(t, "outer", plan_value(g->st, "outer"));
    task_input_add(t, "params", plan_value(g->st, "params"));
    for (uint32_t m = 0; m < r->replicas; m++) {
        replica_slot(slot, g->st->step, m);
        const struct plan_result *delta = plan_result_find(g->st, slot);
        EMAC_ASSERT(delta != NULL);
        t->part[m] = (struct task_part){m, 1, *plan_output(delta, "delta")};
    }
    return EMAC_OK;
}

static enum emac_status wants(struct planning *g, struct emac_err *err)
{
    uint32_t replicas = g->p->job.local.replicas, done = 0;
    for (uint32_t i = 0; i < g->st->result_count; i++)
        done += g->st->result[i].kind == TASK_LOCAL;
    if (done == replicas)
        return want_outer(g, err);
    for (uint32_t m = 0; m < replicas; m++)
        want_replica(g, m);
    return EMAC_OK;
}

static bool turn(const struct job_plan *p, struct plan_state *st)
{
    char slot[SLOT_MAX];
    snprintf(slot, sizeof slot, "step/%06u", st->step);
    const struct plan_result *outer = plan_result_find(st, slot);
    if (outer == NULL)
        return false;
    plan_value_set(st, "params", plan_output(outer, "params"));
    if (local_has_momentum(&p->job.local))
        plan_value_set(st, "outer", plan_output(outer, "outer"));
    for (uint32_t m = 0; m < p->job.local.replicas; m++) {
        replica_slot(slot, st->step, m);
        const struct plan_result *r = plan_result_find(st, slot);
        EMAC_ASSERT(r != NULL); /* PLAN-1: the outer step took its delta */
        value_put(st, "opt", m, plan_output(r, "opt"));
        if (local_has_carry(&p->job.local))
            value_put(st, "carry", m, plan_output(r, "carry"));
    }
    return true;
}

static enum emac_status bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    const struct job *job = &p->job;
    uint64_t local = (uint64_t)job->optimiser.steps * job->local.replicas;
    enum emac_status st = plan_bill_add(b, plan_program(p, TASK_LOCAL), local, err);
    uint64_t outer = (uint64_t)rounds(job) * job->local.replicas; /* each rig makes it */
    return st == EMAC_OK ? plan_bill_add(b, plan_program(p, TASK_STEP), outer, err) : st;
}

const struct planner PLANNER_LOCAL = {.build = build,
                                      .rounds = rounds,
                                      .steps = steps,
                                      .wants = wants,
                                      .begin = begin,
                                      .turn = turn,
                                      .bill = bill};
