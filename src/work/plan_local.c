/* Local SGD (model/local_sgd.h): in a round each replica makes its own optimiser steps, one task a
 * replica; then the outer step over their deltas, on every rig, so that parameters stay where they
 * are made and only deltas travel. A step's micro-batches are dealt out to the replicas: replica m
 * of M has those from m * micro_batches / M on, so all of them together see what a synchronous step
 * does.
 *
 * Values of the state: params, outer (momentum of the outer step), and of each replica m opt.m
 * (state of its optimiser) and carry.m (what its deltas have not told yet).
 *
 * The rounds of the first common_steps have no replicas: one task makes the steps over all their
 * micro-batches, and every rig that will have a replica runs it for itself. The same bits come of
 * it everywhere, so nothing travels, and all go on from one optimiser state, "opt" until then.
 *
 * Federated: a replica a shard, which trains on nothing else, so its program reads that shard to
 * its end and only the rig that holds it can run the task. Nobody can check what comes of it;
 * therefore each delta goes through an admission (local_admit_graph), a task like any other, which
 * weights it by its shard's size and bounds what it can do. And a round that starts from parameters
 * whose held-out loss is worse than the best so far by more than `worsen` is dropped: training goes
 * on from the last that were not, params.kept and outer.kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/bundle.h"
#include "work/plan_local.h"

_Static_assert(SHARDS_MAX <= JOB_REPLICAS_MAX, "a shard is a replica");
_Static_assert(2 * JOB_REPLICAS_MAX + 5 <= PLAN_VALUES_MAX, "the state of all replicas must fit");

static bool is_federated(const struct job_plan *p)
{
    return p->job.spread == SPREAD_FEDERATED;
}

/* The recipe as it is in the end: of a federated job the shards say how many replicas there are. */
static struct local_recipe recipe_of(const struct job_plan *p)
{
    struct local_recipe r = p->job.local;
    if (is_federated(p)) {
        r.replicas = p->shards.count;
        r.delta = DELTA_F32;
    }
    return r;
}

/* ---- programs ---- */

/* Programs of the rounds, and, where spread.last says so, of the last one. */
enum { EACH_ROUND, LAST_ROUND };

struct round_graphs {
    struct graph *delta, *decode, *outer; /* decode: NULL where there is none */
};

struct local_graphs {
    struct graph *init, *grad, *step, *begin; /* of the family; begin: NULL where there is none */
    struct round_graphs round[2];
};

static enum emac_status round_make(const struct local_graphs *g, const struct local_recipe *r,
                                   struct round_graphs *round, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, local_delta_graph(g->init, g->step, r, NULL, &round->delta, err));
    EMAC_TRY(st, local_decode_graph(g->init, g->step, r, NULL, &round->decode, err));
    st = local_outer_graph(g->init, g->step, r, NULL, &round->outer, err);
out:
    return st;
}

static enum emac_status graphs_make(const struct plan_building *b, struct local_graphs *g,
                                    struct emac_err *err)
{
    const struct job *job = &b->p->job;
    const struct local_recipe recipe = recipe_of(b->p), *r = &recipe;
    enum emac_status st;
    EMAC_TRY(st, b->family->graph_init(job, &g->init, err));
    EMAC_TRY(st, b->family->graph_train(job, &g->grad, err));
    EMAC_TRY(st, b->family->graph_step(job, &g->step, err));
    EMAC_TRY(st, local_begin_graph(g->init, r, &g->begin, err));
    EMAC_TRY(st, round_make(g, r, &g->round[EACH_ROUND], err));
    if (r->last != DELTA_NONE) {
        const struct local_recipe last = local_last(r);
        EMAC_TRY(st, round_make(g, &last, &g->round[LAST_ROUND], err));
    }
    st = local_init_extend(g->init, r, err);
out:
    return st;
}

static void graphs_free(struct local_graphs *g)
{
    graph_free(g->init);
    graph_free(g->grad);
    graph_free(g->step);
    graph_free(g->begin);
    for (size_t i = 0; i < EMAC_COUNT(g->round); i++) {
        graph_free(g->round[i].delta);
        graph_free(g->round[i].decode);
        graph_free(g->round[i].outer);
    }
}

/* Each once: what a task takes may go to its begin and to its end. */
static void bundle_take(struct plan_bundle *list, uint32_t *count, uint32_t max,
                        const struct plan_bundle *bundle)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (strcmp(list[i].name, bundle->name) != 0)
            continue;
        list[i].bytes = bundle->bytes > list[i].bytes ? bundle->bytes : list[i].bytes;
        return;
    }
    EMAC_ASSERT(*count < max);
    list[(*count)++] = *bundle;
}

/* Inputs of a part of the task but `made`, which the task makes itself. */
static void inputs_take(struct plan_program *row, const struct plan_program *part, const char *made)
{
    for (uint32_t i = 0; i < part->input_count; i++)
        if (strcmp(part->input[i].name, made) != 0)
            bundle_take(row->input, &row->input_count, TASK_INPUTS_MAX, &part->input[i]);
}

/* What a task of steps takes and gives: of the end's graph what the steps do not make, and what
 * begin, gradients and optimiser take beside. */
static enum emac_status row_bundles(const struct local_steps *s, struct plan_program *row,
                                    struct emac_err *err)
{
    struct plan_program begin = {0}, end = {0}, grad = {0}, step = {0};
    enum emac_status st;
    if (s->begin != NULL)
        EMAC_TRY(st, plan_bundles_note(&begin, s->begin, err));
    EMAC_TRY(st, plan_bundles_note(&end, s->end, err));
    EMAC_TRY(st, plan_bundles_note(&grad, s->grad, err));
    EMAC_TRY(st, plan_bundles_note(&step, s->step, err));
    inputs_take(row, &end, "total");
    inputs_take(row, &begin, "params");
    inputs_take(row, &grad, "params");
    for (uint32_t i = 0; i < end.output_count; i++)
        bundle_take(row->output, &row->output_count, TASK_OUTPUTS_MAX, &end.output[i]);
    for (uint32_t i = 0; i < step.output_count; i++) {
        if (strcmp(step.output[i].name, "opt") != 0)
            continue;
        bundle_take(row->input, &row->input_count, TASK_INPUTS_MAX, &step.output[i]);
        bundle_take(row->output, &row->output_count, TASK_OUTPUTS_MAX, &step.output[i]);
    }
    plan_bundles_sort(row->output, row->output_count);
out:
    return st;
}

enum emac_status plan_steps_add(struct plan_building *b, uint32_t part, const struct local_steps *s,
                                struct emac_err *err)
{
    struct program grad = {.kind = PROGRAM_MAP, .has_sampler = true, .sampler = s->sampler},
                   step = {.kind = PROGRAM_APPLY};
    struct program steps = {.kind = PROGRAM_STEPS,
                            .micro_batches = s->micro_batches,
                            .recipe = b->p->job.optimiser,
                            .has_begin = s->begin != NULL};
    struct plan_program row = {.kind = s->kind, .part = part};
    enum emac_status st;
    row.flops = graph_flops(s->grad) * s->micro_batches + graph_flops(s->step);
    EMAC_TRY(st, plan_graph_add(b, s->kind, s->grad, &grad.graph, err));
    EMAC_TRY(st, plan_graph_add(b, s->kind, s->step, &step.graph, err));
    EMAC_TRY(st, plan_graph_add(b, s->kind, s->end, &steps.graph, err));
    if (s->begin != NULL)
        EMAC_TRY(st, plan_graph_add(b, s->kind, s->begin, &steps.begin, err));
    EMAC_TRY(st, plan_program_put(b, &grad, &steps.grad, err));
    EMAC_TRY(st, plan_program_put(b, &step, &steps.step, err));
    EMAC_TRY(st, plan_program_put(b, &steps, &row.cid, err));
    EMAC_TRY(st, row_bundles(s, &row, err));
    plan_program_take(b, &row);
out:
    return st;
}

/* Micro-batches of a replica's step: its part of a step's, or, on its own shard, all of them. */
static uint32_t replica_batches(const struct job_plan *p)
{
    return is_federated(p) ? p->job.micro_batches : p->job.micro_batches / p->job.local.replicas;
}

/* Where replica m's micro-batches come from. */
static struct sampler replica_sampler(const struct job_plan *p, uint32_t m)
{
    struct sampler s = plan_train_sampler(&p->job);
    uint32_t width = job_token_width(&p->job);
    if (is_federated(p))
        s.end = p->shards.at[m].size / (width == 0 ? 1 : width);
    return s;
}

static enum emac_status local_add(struct plan_building *b, const struct local_graphs *g,
                                  uint32_t part, uint32_t m, const struct graph *end,
                                  struct emac_err *err)
{
    const struct local_steps steps = {.begin = g->begin,
                                      .grad = g->grad,
                                      .step = g->step,
                                      .end = end,
                                      .sampler = replica_sampler(b->p, m),
                                      .micro_batches = replica_batches(b->p),
                                      .kind = TASK_LOCAL};
    return plan_steps_add(b, part, &steps, err);
}

static enum emac_status common_add(struct plan_building *b, const struct local_graphs *g,
                                   struct emac_err *err)
{
    const struct job *job = &b->p->job;
    struct graph *end = NULL;
    if (job->local.common_steps == 0)
        return EMAC_OK;
    enum emac_status st = local_common_graph(g->init, g->step, &end, err);
    const struct local_steps steps = {.grad = g->grad,
                                      .step = g->step,
                                      .end = end,
                                      .sampler = plan_train_sampler(job),
                                      .micro_batches = job->micro_batches,
                                      .kind = TASK_COMMON};
    if (st == EMAC_OK)
        st = plan_steps_add(b, 0, &steps, err);
    graph_free(end);
    return st;
}

enum emac_status plan_outer_add(struct plan_building *b, enum task_kind kind, uint32_t part,
                                const struct graph *outer, const struct graph *decode,
                                uint32_t replicas, double reach, struct emac_err *err)
{
    struct program program = {
        .kind = PROGRAM_APPLY, .has_decode = decode != NULL, .max_norm = reach};
    struct plan_program row = {.kind = kind, .part = part, .flops = graph_flops(outer)};
    struct bundle layout;
    enum emac_status st;
    EMAC_TRY(st, plan_bundles_note(&row, outer, err));
    EMAC_TRY(st, plan_graph_add(b, kind, outer, &program.graph, err));
    if (decode != NULL) {
        EMAC_TRY(st, plan_graph_add(b, kind, decode, &program.decode, err));
        row.flops += graph_flops(decode) * replicas;
        st = bundle_layout(decode, false, "part", &layout, err);
        row.part_bytes = layout.size;
        bundle_release(&layout);
        EMAC_TRY(st, st);
    }
    EMAC_TRY(st, plan_program_put(b, &program, &row.cid, err));
    plan_program_take(b, &row);
out:
    return st;
}

/* A delta that no replica can have made is refused; a federated one was clipped instead. What the
 * last round tells piled up as in others, and is rounded anew by less than its own size: so its
 * norm may be twice what another's may. */
static enum emac_status outer_add(struct plan_building *b, const struct local_graphs *g,
                                  uint32_t part, struct emac_err *err)
{
    const struct local_recipe r = recipe_of(b->p);
    const struct round_graphs *round = &g->round[part];
    double reach =
        is_federated(b->p) ? 0 : local_reach(&r, &b->p->job.optimiser, local_weights(g->init));
    return plan_outer_add(b, TASK_STEP, part, round->outer, round->decode, r.replicas,
                          part == LAST_ROUND ? 2 * reach : reach, err);
}

static enum emac_status last_add(struct plan_building *b, const struct local_graphs *g,
                                 struct emac_err *err)
{
    if (b->p->job.local.last == DELTA_NONE)
        return EMAC_OK;
    enum emac_status st = local_add(b, g, LAST_ROUND, 0, g->round[LAST_ROUND].delta, err);
    return st == EMAC_OK ? outer_add(b, g, LAST_ROUND, err) : st;
}

static enum emac_status admit_add(struct plan_building *b, const struct local_graphs *g, uint32_t m,
                                  struct emac_err *err)
{
    const struct shards *shards = &b->p->shards;
    const struct local_recipe r = recipe_of(b->p);
    /* The outer step takes the mean of all: with equal shards each counts once. */
    double weight = (double)shards->at[m].size * shards->count / (double)shards_size(shards);
    struct graph *admit = NULL;
    enum emac_status st = local_admit_graph(g->init, g->step, &r, weight, &admit, err);
    if (st == EMAC_OK)
        st = plan_program_add(b, TASK_ADMIT, m, admit, NULL, err);
    graph_free(admit);
    return st;
}

static enum emac_status shards_add(struct plan_building *b, const struct local_graphs *g,
                                   struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t m = 0; m < b->p->shards.count && st == EMAC_OK; m++) {
        st = plan_constant_add(b->p, &b->p->shards.at[m].cid, err);
        if (st == EMAC_OK)
            st = local_add(b, g, m, m, g->round[EACH_ROUND].delta, err);
        if (st == EMAC_OK)
            st = admit_add(b, g, m, err);
    }
    return st;
}

static enum emac_status build(struct plan_building *b, struct emac_err *err)
{
    struct local_graphs g = {0};
    enum emac_status st;
    EMAC_TRY(st, graphs_make(b, &g, err));
    EMAC_TRY(st, plan_program_add(b, TASK_INIT, 0, g.init, NULL, err));
    if (is_federated(b->p))
        EMAC_TRY(st, shards_add(b, &g, err));
    else
        EMAC_TRY(st, local_add(b, &g, EACH_ROUND, 0, g.round[EACH_ROUND].delta, err));
    EMAC_TRY(st, common_add(b, &g, err));
    EMAC_TRY(st, last_add(b, &g, err));
    st = outer_add(b, &g, EACH_ROUND, err);
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

static bool is_common(const struct job *job, uint32_t round)
{
    return (uint64_t)round * job->local.inner_steps < job->local.common_steps;
}

/* Has the round programs of its own? */
static uint32_t round_part(const struct job *job, uint32_t round)
{
    bool last = job->local.last != DELTA_NONE && round + 1 == rounds(job);
    return last ? LAST_ROUND : EACH_ROUND;
}

/* The recipe of a round. */
static struct local_recipe recipe_at(const struct job_plan *p, uint32_t round)
{
    const struct local_recipe r = recipe_of(p);
    return round_part(&p->job, round) == LAST_ROUND ? local_last(&r) : r;
}

static void value_name(char out[TASK_NAME_MAX], const char *bundle, uint32_t replica)
{
    int n = snprintf(out, TASK_NAME_MAX, "%s.%u", bundle, replica);
    EMAC_ASSERT(n > 0 && n < TASK_NAME_MAX);
}

const struct cid *plan_value_of(const struct plan_state *st, const char *bundle, uint32_t replica)
{
    char name[TASK_NAME_MAX];
    value_name(name, bundle, replica);
    return plan_value(st, name);
}

void plan_value_put(struct plan_state *st, const char *bundle, uint32_t replica,
                    const struct cid *cid)
{
    char name[TASK_NAME_MAX];
    struct cid copy = *cid; /* it may lie in the list that changes */
    value_name(name, bundle, replica);
    plan_value_set(st, name, &copy);
}

void plan_value_drop(struct plan_state *st, const char *bundle, uint32_t replica)
{
    char name[TASK_NAME_MAX];
    value_name(name, bundle, replica);
    plan_value_remove(st, name);
}

void plan_value_share(struct plan_state *st, const char *bundle, uint32_t replicas, bool move)
{
    const struct cid *first = plan_value(st, bundle);
    if (first == NULL)
        return;
    struct cid cid = *first;
    if (move)
        plan_value_remove(st, bundle);
    for (uint32_t m = 0; m < replicas; m++)
        plan_value_put(st, bundle, m, &cid);
}

static void value_copy(struct plan_state *st, const char *to, const char *from)
{
    struct cid cid = *plan_value(st, from);
    plan_value_set(st, to, &cid);
}

/* Remember what the round starts from; go back to it. */
static void kept_set(const struct job_plan *p, struct plan_state *st)
{
    value_copy(st, "params.kept", "params");
    if (local_has_momentum(&p->job.local))
        value_copy(st, "outer.kept", "outer");
}

static void kept_take(const struct job_plan *p, struct plan_state *st)
{
    value_copy(st, "params", "params.kept");
    if (local_has_momentum(&p->job.local))
        value_copy(st, "outer", "outer.kept");
}

/* All replicas begin with the same. */
static void begin(const struct job_plan *p, struct plan_state *st)
{
    uint32_t replicas = recipe_of(p).replicas;
    if (!is_common(&p->job, 0))
        plan_value_share(st, "opt", replicas, true);
    plan_value_share(st, "carry", replicas, true);
    if (is_federated(p))
        kept_set(p, st);
}

void plan_slot_of(char out[SLOT_MAX], const char *what, uint32_t round, uint32_t replica)
{
    snprintf(out, SLOT_MAX, "%s/%06u/%u", what, round, replica);
}

const struct plan_result *plan_result_of(const struct plan_state *st, const char *what,
                                         uint32_t replica)
{
    char slot[SLOT_MAX];
    plan_slot_of(slot, what, st->step, replica);
    return plan_result_find(st, slot);
}

static const char LOCAL[] = "local", ADMIT[] = "admit"; /* as the kinds are called */

void plan_steps_fill(struct planning *g, struct plan_want *w, const struct plan_program *program,
                     uint32_t m, uint32_t first, uint32_t count, const struct cid *opt)
{
    const struct job_plan *p = g->p;
    struct task *t = &w->task;
    bool federated = is_federated(p);
    t->first = federated ? 0 : m * replica_batches(p);
    t->step = first;
    t->count = count;
    w->range = (struct tree_range){m, 1};
    w->owner = plan_owner(g, m);
    w->placed = true;
    w->anchor = *opt;
    /* all begin with one state, then each has its own */
    w->holders = first == p->job.local.common_steps ? g->crew->count : 1;
    w->flops = program->flops * count;
    task_input_add(t, "data", federated ? &p->shards.at[m].cid : &p->job.data);
    task_input_add(t, "opt", opt);
    if (!cid_is_none(&p->tables))
        task_input_add(t, "tables", &p->tables);
}

static void want_replica(struct planning *g, uint32_t m)
{
    const struct job_plan *p = g->p;
    const struct local_recipe r = recipe_of(p);
    uint32_t round = g->st->step, first = steps(&p->job, round);
    uint32_t part = is_federated(p) ? m : round_part(&p->job, round);
    const struct plan_program *program = plan_program_part(p, TASK_LOCAL, part);
    char slot[SLOT_MAX];
    plan_slot_of(slot, LOCAL, round, m);
    struct plan_want *w = plan_want_add(g, program, slot);
    if (w == NULL)
        return;
    plan_steps_fill(g, w, program, m, first, steps(&p->job, round + 1) - first,
                    plan_value_of(g->st, "opt", m));
    if (local_has_carry(&r))
        task_input_add(&w->task, "carry", plan_value_of(g->st, "carry", m));
    task_input_add(&w->task, "params", plan_value(g->st, "params"));
    task_input_add(&w->task, "start", plan_value(g->st, "params"));
}

/* What the delta counts for, as soon as it is there. */
static void want_admission(struct planning *g, uint32_t m)
{
    const struct plan_result *delta = plan_result_of(g->st, LOCAL, m);
    char slot[SLOT_MAX];
    plan_slot_of(slot, ADMIT, g->st->step, m);
    if (delta == NULL)
        return;
    struct plan_want *w = plan_want_add(g, plan_program_part(g->p, TASK_ADMIT, m), slot);
    if (w == NULL)
        return;
    w->range = (struct tree_range){m, 1};
    w->task.step = g->st->step;
    task_input_add(&w->task, "delta", plan_output(delta, "delta"));
    if (local_has_momentum(&g->p->job.local))
        task_input_add(&w->task, "outer", plan_value(g->st, "outer"));
}

enum emac_status plan_outer_want(struct planning *g, const struct plan_program *program,
                                 const struct local_recipe *r, const char *what, const char *bundle,
                                 struct emac_err *err)
{
    char slot[SLOT_MAX];
    snprintf(slot, sizeof slot, "step/%06u", g->st->step);
    struct plan_want *w = plan_want_add(g, program, slot);
    if (w == NULL)
        return EMAC_OK;
    struct task *t = &w->task;
    enum emac_status st = emac_alloc(&t->part, r->replicas, sizeof *t->part, err);
    if (st != EMAC_OK)
        return st;
    t->part_count = t->total = r->replicas;
    t->step = g->st->step;
    w->copies = g->crew->count < r->replicas ? g->crew->count : r->replicas;
    if (local_has_momentum(r))
        task_input_add(t, "outer", plan_value(g->st, "outer"));
    task_input_add(t, "params", plan_value(g->st, "params"));
    for (uint32_t m = 0; m < r->replicas; m++) {
        const struct plan_result *part = plan_result_of(g->st, what, m);
        EMAC_ASSERT(part != NULL);
        t->part[m] = (struct task_part){m, 1, *plan_output(part, bundle)};
    }
    return EMAC_OK;
}

static enum emac_status want_outer(struct planning *g, struct emac_err *err)
{
    const struct local_recipe r = recipe_at(g->p, g->st->step);
    uint32_t part = round_part(&g->p->job, g->st->step);
    bool federated = is_federated(g->p);
    return plan_outer_want(g, plan_program_part(g->p, TASK_STEP, part), &r,
                           federated ? ADMIT : LOCAL, federated ? "sum" : "delta", err);
}

/* Steps that every rig makes for itself. */
static void want_common(struct planning *g)
{
    const struct job_plan *p = g->p;
    const struct plan_program *program = plan_program(p, TASK_COMMON);
    uint32_t round = g->st->step, replicas = p->job.local.replicas;
    char slot[SLOT_MAX];
    snprintf(slot, sizeof slot, "step/%06u", round);
    struct plan_want *w = plan_want_add(g, program, slot);
    if (w == NULL)
        return;
    w->task.step = steps(&p->job, round);
    w->task.count = steps(&p->job, round + 1) - w->task.step;
    w->flops = program->flops * w->task.count;
    w->copies = g->crew->count < replicas ? g->crew->count : replicas;
    task_input_add(&w->task, "data", &p->job.data);
    task_input_add(&w->task, "opt", plan_value(g->st, "opt"));
    task_input_add(&w->task, "params", plan_value(g->st, "params"));
    if (!cid_is_none(&p->tables))
        task_input_add(&w->task, "tables", &p->tables);
}

static enum emac_status wants(struct planning *g, struct emac_err *err)
{
    enum task_kind last = is_federated(g->p) ? TASK_ADMIT : TASK_LOCAL;
    uint32_t replicas = recipe_of(g->p).replicas, done = 0;
    if (is_common(&g->p->job, g->st->step)) {
        want_common(g);
        return EMAC_OK;
    }
    for (uint32_t i = 0; i < g->st->result_count; i++)
        done += g->st->result[i].kind == last;
    if (done == replicas)
        return want_outer(g, err);
    for (uint32_t m = 0; m < replicas; m++) {
        want_replica(g, m);
        if (last == TASK_ADMIT)
            want_admission(g, m);
    }
    return EMAC_OK;
}

/* Do the parameters that the round started from turn out to be too bad to go on from? */
static bool is_dropped(const struct job_plan *p, const struct plan_state *st)
{
    const struct plan_result *score = plan_score_find(st);
    return is_federated(p) && p->job.worsen > 0 && score != NULL && st->best.loss >= 0 &&
           !(score->loss <= st->best.loss * (1 + p->job.worsen));
}

static void common_take(const struct job_plan *p, struct plan_state *st,
                        const struct plan_result *common)
{
    plan_value_set(st, "params", plan_output(common, "params"));
    plan_value_set(st, "opt", plan_output(common, "opt"));
    if (!is_common(&p->job, st->step + 1))
        plan_value_share(st, "opt", p->job.local.replicas, true);
}

static void round_take(const struct job_plan *p, struct plan_state *st,
                       const struct plan_result *outer)
{
    const struct local_recipe r = recipe_at(p, st->step);
    plan_value_set(st, "params", plan_output(outer, "params"));
    if (local_has_momentum(&r))
        plan_value_set(st, "outer", plan_output(outer, "outer"));
    for (uint32_t m = 0; m < r.replicas; m++) {
        const struct plan_result *local = plan_result_of(st, LOCAL, m);
        EMAC_ASSERT(local != NULL); /* PLAN-1: the outer step took its delta */
        plan_value_put(st, "opt", m, plan_output(local, "opt"));
        if (local_has_carry(&r))
            plan_value_put(st, "carry", m, plan_output(local, "carry"));
    }
}

static bool turn(const struct job_plan *p, struct plan_state *st)
{
    char slot[SLOT_MAX];
    snprintf(slot, sizeof slot, "step/%06u", st->step);
    const struct plan_result *outer = plan_result_find(st, slot);
    if (outer == NULL)
        return false;
    if (is_common(&p->job, st->step)) {
        common_take(p, st, outer);
        return true;
    }
    if (is_dropped(p, st)) {
        kept_take(p, st);
        return true;
    }
    if (is_federated(p) && plan_score_find(st) != NULL)
        kept_set(p, st);
    round_take(p, st, outer);
    return true;
}

static enum emac_status bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    const struct job *job = &p->job;
    uint32_t replicas = recipe_of(p).replicas, rows = is_federated(p) ? replicas : 1;
    enum emac_status st = EMAC_OK;
    for (uint32_t m = 0; m < rows && st == EMAC_OK; m++) {
        uint64_t own = job->optimiser.steps - job->local.common_steps;
        uint64_t local = own * (replicas / rows);
        st = plan_bill_add(b, plan_program_part(p, TASK_LOCAL, m), local, err);
        if (st == EMAC_OK && is_federated(p))
            st = plan_bill_add(b, plan_program_part(p, TASK_ADMIT, m), rounds(job), err);
    }
    uint64_t common = job->local.common_steps, last = job->local.last != DELTA_NONE;
    uint64_t outer = rounds(job) - common / job->local.inner_steps - last;
    if (st == EMAC_OK) /* what follows each rig makes */
        st = plan_bill_add(b, plan_program(p, TASK_COMMON), common * replicas, err);
    if (st == EMAC_OK)
        st = plan_bill_add(b, plan_program_part(p, TASK_STEP, LAST_ROUND), last * replicas, err);
    return st == EMAC_OK ? plan_bill_add(b, plan_program(p, TASK_STEP), outer * replicas, err) : st;
}

const struct planner PLANNER_LOCAL = {.begins_alike = true,
                                      .build = build,
                                      .rounds = rounds,
                                      .steps = steps,
                                      .wants = wants,
                                      .begin = begin,
                                      .turn = turn,
                                      .bill = bill};
