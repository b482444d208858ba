/* Hybrid: M replicas, each a pipeline of S stages (plan_pipeline.c), with local SGD between them
 * (model/local_sgd.h). A round is an optimiser step of every replica; after `inner_steps` of them,
 * and after the last, it has this in addition, stage by stage, so that no rig ever needs more than
 * one:
 *
 *   delta r/s.m  -> delta, carry.s       how far replica m's stage went since the last such round
 *   outer r/s    -> params.s, shared.s, outer.s   of all the deltas, on every rig that goes on from
 * it join r       -> params               the whole model, when it is needed
 *
 * Values: params.s, shared.s and outer.s, what all begin from; of each replica m its own
 * params.s.m, shared.s.m, opt.s.m, carry.s.m. "params" stays as the whole model between, so that an
 * evaluation beside the first step of the next inner steps has what it looks at. A stage with
 * frozen weights alone has frozen.s, the same for all replicas, and neither delta nor outer step.
 *
 * Operators of a delta and of the outer step take one tensor each, the sums over micro-batches and
 * replicas have the same trees, and the norm for clipping comes from all stages: with f32
 * activations the result is that of spread local on the whole model, bit for bit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/bundle.h"
#include "work/plan_pipeline.h"

_Static_assert(4 * JOB_LANES_MAX + 4 * STAGES_MAX + 2 <= PLAN_VALUES_MAX,
               "the state of all stages of all replicas must fit");

/* ---- programs ---- */

static enum emac_status delta_add(struct plan_building *b, const struct graph *init, uint32_t s,
                                  struct emac_err *err)
{
    struct graph *g = NULL;
    enum emac_status st = local_delta_graph(init, NULL, &b->p->job.local, NULL, &g, err);
    if (st == EMAC_OK)
        st = plan_program_add(b, TASK_DELTA, s, g, NULL, err);
    graph_free(g);
    return st;
}

static enum emac_status outer_add(struct plan_building *b, const struct graph *init, uint32_t s,
                                  uint64_t weights, struct emac_err *err)
{
    const struct job *job = &b->p->job;
    struct graph *decode = NULL, *outer = NULL;
    enum emac_status st;
    EMAC_TRY(st, local_decode_graph(init, NULL, &job->local, NULL, &decode, err));
    EMAC_TRY(st, local_outer_graph(init, NULL, &job->local, NULL, &outer, err));
    st = plan_outer_add(b, TASK_OUTER, s, outer, decode, job->local.replicas,
                        local_reach(&job->local, &job->optimiser, weights), err);
out:
    graph_free(decode);
    graph_free(outer);
    return st;
}

/* The bound on deltas is that of the whole model: clipping knows no stages. */
static enum emac_status stage_more(struct plan_building *b, const struct stages *stages, uint32_t s,
                                   const struct graph *whole, struct emac_err *err)
{
    struct graph *init = NULL;
    enum emac_status st;
    EMAC_TRY(st, pipeline_stage_init(stages, whole, s, &init, err));
    if (local_weights(init) > 0) {
        EMAC_TRY(st, delta_add(b, init, s, err));
        EMAC_TRY(st, outer_add(b, init, s, local_weights(whole), err));
    }
    EMAC_TRY(st, local_init_extend(init, &b->p->job.local, err));
    st = plan_program_add(b, TASK_INIT, s, init, NULL, err);
out:
    graph_free(init);
    return st;
}

static enum emac_status build(struct plan_building *b, struct emac_err *err)
{
    return pipeline_build(b, stage_more, err);
}

static uint32_t rounds(const struct job *job)
{
    return job->optimiser.steps;
}

/* Do the replicas come together after so many rounds? */
static bool is_outer(const struct job *job, uint32_t round)
{
    return round % job->local.inner_steps == 0 || round == job->optimiser.steps;
}

/* ---- what is there ---- */

/* "start.params.3" -> "params.3"; NULL: no such name. */
static const char *start_of(const char *name)
{
    static const char START[] = "start.";
    return strncmp(name, START, sizeof START - 1) == 0 ? name + sizeof START - 1 : NULL;
}

const struct cid *hybrid_input(const struct pipeline_round *r, enum task_kind kind,
                               const char *name, uint32_t lane)
{
    const struct job_plan *p = r->g->p;
    const struct plan_state *st = r->g->st;
    uint32_t s;
    if (kind == TASK_OUTER)
        return plan_value(st, name);
    if (start_of(name) != NULL)
        return plan_value(st, start_of(name));
    if (!pipeline_bundle(r, name, "params", &s) && !pipeline_bundle(r, name, "shared", &s))
        return pipeline_value(p, st, name, lane); /* what was not told yet */
    const struct plan_result *step = r->lane[lane].step[s];
    return step == NULL ? NULL : plan_output(step, name);
}

/* ---- what is wanted ---- */

static enum emac_status want_outer(struct pipeline_round *r, uint32_t s, struct emac_err *err)
{
    struct planning *g = r->g;
    char slot[SLOT_MAX];
    if (r->outer[s] != NULL)
        return EMAC_OK;
    for (uint32_t m = 0; m < r->lanes; m++)
        if (r->lane[m].delta[s] == NULL)
            return EMAC_OK;
    snprintf(slot, sizeof slot, "%s/%06u/%u", task_kind_name(TASK_OUTER), g->st->step, s);
    struct plan_want *w = pipeline_want(r, TASK_OUTER, s, 0, slot);
    if (w == NULL)
        return EMAC_OK;
    w->copies = g->crew->count < r->lanes ? g->crew->count : r->lanes;
    enum emac_status st = pipeline_parts(w, r->lanes, r->lanes, err);
    for (uint32_t m = 0; m < r->lanes && st == EMAC_OK; m++)
        w->task.part[m] = (struct task_part){m, 1, *plan_output(r->lane[m].delta[s], "delta")};
    return st;
}

static enum emac_status want_together(struct pipeline_round *r, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t s = 0; s < r->stages && st == EMAC_OK; s++) {
        st = want_outer(r, s, err);
        for (uint32_t m = 0; m < r->lanes; m++) {
            char slot[SLOT_MAX];
            if (r->lane[m].delta[s] != NULL)
                continue;
            pipeline_slot(r, slot, TASK_DELTA, s, m);
            pipeline_want(r, TASK_DELTA, s, m * r->batches, slot);
        }
    }
    if (st == EMAC_OK)
        pipeline_want_join(r);
    return st;
}

static enum emac_status wants(struct planning *g, struct emac_err *err)
{
    struct pipeline_round *r;
    enum emac_status st = emac_alloc(&r, 1, sizeof *r, err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, pipeline_round_init(r, g, err));
    if (is_outer(&g->p->job, g->st->step + 1))
        EMAC_TRY(st, want_together(r, err));
    EMAC_TRY(st, pipeline_steps(r, err));
    pipeline_passes(r);
out:
    pipeline_round_release(r);
    free(r);
    return st;
}

/* ---- turns ---- */

static void lane_put(struct plan_state *st, const char *name, uint32_t lane, const struct cid *cid)
{
    char own[TASK_NAME_MAX];
    struct cid copy = *cid; /* it may lie in the list that changes */
    pipeline_value_name(own, name, lane);
    plan_value_set(st, own, &copy);
}

/* All replicas of a stage begin with the same. */
static void begin(const struct job_plan *p, struct plan_state *st)
{
    static const struct {
        const char *kind;
        bool common; /* stays beside, as what all begin from */
    } KINDS[] = {{"params", true}, {"shared", true}, {"opt", false}, {"carry", false}};
    for (uint32_t s = 0; s < p->job.pipeline.stages; s++)
        for (size_t k = 0; k < EMAC_COUNT(KINDS); k++) {
            char name[TASK_NAME_MAX];
            pipeline_value_name(name, KINDS[k].kind, s);
            const struct cid *first = plan_value(st, name);
            if (first == NULL)
                continue;
            struct cid cid = *first;
            for (uint32_t m = 0; m < p->job.local.replicas; m++)
                lane_put(st, name, m, &cid);
            if (!KINDS[k].common)
                plan_value_remove(st, name);
        }
}

/* Is a task of the stage without a result? Not every stage has every kind. */
static bool lacks(const struct job_plan *p, const struct plan_state *st, enum task_kind kind,
                  uint32_t s, uint32_t m)
{
    return plan_program_part(p, kind, s) != NULL && pipeline_result(st, kind, s, m) == NULL;
}

static bool all_there(const struct job_plan *p, const struct plan_state *st, bool outer)
{
    uint32_t lanes = p->job.local.replicas, batches = p->job.micro_batches / lanes;
    for (uint32_t s = 0; s < p->job.pipeline.stages; s++) {
        for (uint32_t m = 0; m < lanes; m++)
            if (lacks(p, st, TASK_UPDATE, s, m * batches) ||
                (outer && lacks(p, st, TASK_DELTA, s, m * batches)))
                return false;
        if (outer && lacks(p, st, TASK_OUTER, s, 0))
            return false;
    }
    return !outer || !plan_whole_after(p, st) || pipeline_result(st, TASK_JOIN, 0, 0) != NULL;
}

/* r: NULL of a stage that has no such task. */
static void lane_take(struct plan_state *st, const struct plan_result *r, uint32_t lane)
{
    for (uint32_t i = 0; r != NULL && i < r->output_count; i++)
        if (strcmp(r->output[i].name, "metrics") != 0 && strcmp(r->output[i].name, "delta") != 0)
            lane_put(st, r->output[i].name, lane, &r->output[i].cid);
}

/* Everybody goes on from the outer step's parameters. */
static void outer_take(const struct job_plan *p, struct plan_state *st, const struct plan_result *r)
{
    for (uint32_t i = 0; r != NULL && i < r->output_count; i++) {
        const struct task_output *o = &r->output[i];
        plan_value_set(st, o->name, &o->cid);
        for (uint32_t m = 0; m < p->job.local.replicas && strncmp(o->name, "outer", 5) != 0; m++)
            lane_put(st, o->name, m, &o->cid);
    }
}

static bool turn(const struct job_plan *p, struct plan_state *st)
{
    uint32_t lanes = p->job.local.replicas, batches = p->job.micro_batches / lanes;
    bool outer = is_outer(&p->job, st->step + 1), whole = plan_whole_after(p, st);
    if (!all_there(p, st, outer))
        return false;
    for (uint32_t s = 0; s < p->job.pipeline.stages; s++) {
        for (uint32_t m = 0; m < lanes; m++)
            lane_take(st, pipeline_result(st, TASK_UPDATE, s, m * batches), m);
        for (uint32_t m = 0; outer && m < lanes && local_has_carry(&p->job.local); m++)
            lane_take(st, pipeline_result(st, TASK_DELTA, s, m * batches), m);
        if (outer)
            outer_take(p, st, pipeline_result(st, TASK_OUTER, s, 0));
    }
    if (outer && whole)
        plan_value_set(st, "params", plan_output(pipeline_result(st, TASK_JOIN, 0, 0), "params"));
    else if (outer)
        plan_value_remove(st, "params");
    return true;
}

static enum emac_status bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    const struct job *job = &p->job;
    uint64_t together = job->optimiser.steps / job->local.inner_steps + 1;
    enum emac_status st = pipeline_bill(p, b, err);
    for (uint32_t s = 0; s < job->pipeline.stages && st == EMAC_OK; s++) {
        uint64_t times = together * job->local.replicas; /* each rig makes the outer step */
        EMAC_TRY(st, plan_bill_add(b, plan_program_part(p, TASK_DELTA, s), times, err));
        st = plan_bill_add(b, plan_program_part(p, TASK_OUTER, s), times, err);
    }
out:
    return st;
}

const struct planner PLANNER_HYBRID = {.build = build,
                                       .rounds = rounds,
                                       .wants = wants,
                                       .begin = begin,
                                       .turn = turn,
                                       .needs = pipeline_needs,
                                       .bill = bill};
