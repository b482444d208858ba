/* Pipelines: the model in stages (graph/stages.h), each on rigs of its own, so that no rig needs
 * room for more than one. A round is an optimiser step, and its result that of the unsplit one:
 *
 *   fwd r/s.m    -> act.s.t             micro-batch m through stage s, all stages but the last
 *   bwd r/s.m    -> sum, back.s.t       and back; the last stage goes forward and back at once
 *   reduce r/s   -> sum, squares.s      the stage's gradients over all micro-batches
 *   update r/s   -> params.s, shared.s, opt.s, of the last stage metrics
 *   join r       -> params              the whole model's weights, when they are needed
 *
 * Every task takes what is there by name, so there is no order but that of the data; that a stage
 * goes forward with no more than WINDOW micro-batches that it has not brought back bounds what lies
 * about, and makes the usual order: one forward, one backward (Narayanan et al. 2019). A replica of
 * a stage is one more rig that may hold it.
 *
 * With base.train head or lora a stage holds what it takes of the base as frozen.s, a value that
 * init makes and nothing changes. Where nothing is trained there is no program and so no task: no
 * reduce and update of a stage with frozen weights alone, no bwd of those before the first that is
 * trained.
 *
 * Spread "hybrid" has several such pipelines side by side, lanes, each with weights of its own and
 * its share of the step's micro-batches; what happens between them is in plan_hybrid.c. A task's
 * micro-batch says which lane it is of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/plan_pipeline.h"

/* Micro-batches under way in stage s: those that fill the stages behind it, three times, so that
 * transfers hide behind work: with 10 Mbit/s and 60 ms twice is not enough (docs/links.md). */
#define WINDOW(stages, s) (3 * ((stages) - (s)))

/* ---- programs ---- */

static bool takes_batch(const struct graph *g)
{
    for (uint32_t i = 0; i < graph_input_count(g); i++)
        if (strncmp(graph_input_at(g, i).name, "batch/", 6) == 0)
            return true;
    return false;
}

typedef enum emac_status stage_graph_fn(const struct stages *st, const struct graph *whole,
                                        uint32_t s, struct graph **out, struct emac_err *err);

static enum emac_status stage_program_add(struct plan_building *b, const struct stages *st,
                                          enum task_kind kind, stage_graph_fn *make,
                                          const struct graph *whole, uint32_t s,
                                          struct emac_err *err)
{
    const struct sampler sampler = plan_train_sampler(&b->p->job);
    struct graph *g;
    enum emac_status status = make(st, whole, s, &g, err);
    if (status == EMAC_OK)
        status = plan_program_add(b, kind, s, g, takes_batch(g) ? &sampler : NULL, err);
    graph_free(g);
    return status;
}

/* The same unless there is nothing to be made. */
static enum emac_status stage_program_try(struct plan_building *b, const struct stages *st,
                                          enum task_kind kind, stage_graph_fn *make,
                                          const struct graph *whole, uint32_t s,
                                          struct emac_err *err)
{
    struct graph *g;
    enum emac_status status = make(st, whole, s, &g, err);
    bool empty = status == EMAC_OK && graph_output_count(g) == 0;
    graph_free(g);
    return status != EMAC_OK || empty ? status
                                      : stage_program_add(b, st, kind, make, whole, s, err);
}

static enum emac_status stage_add(struct plan_building *b, const struct stages *st, uint32_t s,
                                  const struct graph *train, const struct graph *step,
                                  struct emac_err *err)
{
    enum emac_status status;
    if (s + 1 < st->count)
        EMAC_TRY(status, stage_program_add(b, st, TASK_FORWARD, stage_forward, train, s, err));
    EMAC_TRY(status, stage_program_try(b, st, TASK_BACKWARD, stage_backward, train, s, err));
    EMAC_TRY(status, stage_program_try(b, st, TASK_REDUCE, stage_reduce, step, s, err));
    status = stage_program_try(b, st, TASK_UPDATE, stage_step, step, s, err);
out:
    return status;
}

enum emac_status pipeline_build(struct plan_building *b, pipeline_stage_fn *more,
                                struct emac_err *err)
{
    const struct job *job = &b->p->job;
    struct graph *init = NULL, *train = NULL, *step = NULL, *join = NULL;
    struct stages st = {0};
    enum emac_status status;
    EMAC_TRY(status, b->family->graph_init(job, &init, err));
    EMAC_TRY(status, b->family->graph_train(job, &train, err));
    EMAC_TRY(status, b->family->graph_step(job, &step, err));
    const uint32_t *share = job->pipeline.share[0] == 0 ? NULL : job->pipeline.share;
    EMAC_TRY(status, stages_plan(train, job->pipeline.stages, job->pipeline.form, share, &st, err));
    for (uint32_t s = 0; s < st.count; s++) {
        EMAC_TRY(status, stage_add(b, &st, s, train, step, err));
        EMAC_TRY(status, more(b, &st, s, init, err));
    }
    EMAC_TRY(status, stages_join(&st, init, &join, err));
    status = plan_program_add(b, TASK_JOIN, 0, join, NULL, err);
out:
    stages_release(&st);
    graph_free(init);
    graph_free(train);
    graph_free(step);
    graph_free(join);
    return status;
}

enum emac_status pipeline_stage_init(const struct stages *st, const struct graph *init, uint32_t s,
                                     struct graph **out, struct emac_err *err)
{
    enum emac_status status = stage_init(st, init, s, out, err);
    if (status != EMAC_OK)
        return status;
    stage_init_freeze(st, s, *out);
    return graph_status(*out, err);
}

static enum emac_status init_add(struct plan_building *b, const struct stages *st, uint32_t s,
                                 const struct graph *init, struct emac_err *err)
{
    return stage_program_add(b, st, TASK_INIT, pipeline_stage_init, init, s, err);
}

static enum emac_status build(struct plan_building *b, struct emac_err *err)
{
    return pipeline_build(b, init_add, err);
}

static uint32_t rounds(const struct job *job)
{
    return job->optimiser.steps;
}

/* ---- what is there ---- */

/* The stage and micro-batch of a result lie in its range: {first: m, count: s}. */
const struct plan_result *pipeline_result(const struct plan_state *st, enum task_kind kind,
                                          uint32_t s, uint32_t m)
{
    for (uint32_t i = 0; i < st->result_count; i++) {
        const struct plan_result *r = &st->result[i];
        if (r->kind == kind && r->range.first == m && r->range.count == s)
            return r;
    }
    return NULL;
}

static void round_note(struct pipeline_round *r, const struct plan_result *x)
{
    uint32_t s = x->range.count, m = x->range.first;
    if (x->kind == TASK_EVAL || x->kind == TASK_SCORE)
        return; /* beside the round */
    EMAC_ASSERT(s < r->stages && m < r->lanes * r->batches);
    size_t at = (size_t)s * r->lanes * r->batches + m;
    struct pipeline_lane *lane = &r->lane[m / r->batches];
    switch (x->kind) {
    case TASK_FORWARD:
        r->forward[at] = x;
        break;
    case TASK_BACKWARD:
        lane->back[s] += r->backward[at] == NULL;
        r->backward[at] = x;
        break;
    case TASK_REDUCE:
        lane->reduce[s] = x;
        break;
    case TASK_UPDATE:
        lane->step[s] = x;
        break;
    case TASK_DELTA:
        lane->delta[s] = x;
        break;
    case TASK_OUTER:
        r->outer[s] = x;
        break;
    case TASK_JOIN:
        r->join = x;
        break;
    default:
        EMAC_ASSERT(!"a result that no pipeline has");
    }
}

enum emac_status pipeline_round_init(struct pipeline_round *r, struct planning *g,
                                     struct emac_err *err)
{
    const struct job *job = &g->p->job;
    size_t cells = (size_t)job->pipeline.stages * job->micro_batches;
    enum emac_status st;
    *r = (struct pipeline_round){.g = g, .stages = job->pipeline.stages, .lanes = job_lanes(job)};
    r->batches = job->micro_batches / r->lanes;
    EMAC_TRY(st, emac_alloc(&r->forward, cells, sizeof(void *), err));
    EMAC_TRY(st, emac_alloc(&r->backward, cells, sizeof(void *), err));
    for (uint32_t i = 0; i < g->st->result_count; i++)
        round_note(r, &g->st->result[i]);
out:
    return st;
}

void pipeline_round_release(struct pipeline_round *r)
{
    free(r->forward);
    free(r->backward);
}

static size_t cell(const struct pipeline_round *r, uint32_t s, uint32_t m)
{
    return (size_t)s * r->lanes * r->batches + m;
}

void pipeline_value_name(char out[TASK_NAME_MAX], const char *name, uint32_t lane)
{
    int n = snprintf(out, TASK_NAME_MAX, "%s.%u", name, lane);
    EMAC_ASSERT(n > 0 && n < TASK_NAME_MAX);
}

const struct cid *pipeline_value(const struct job_plan *p, const struct plan_state *st,
                                 const char *name, uint32_t lane)
{
    char own[TASK_NAME_MAX];
    if (p->job.spread != SPREAD_HYBRID ||
        stage_bundle_is_frozen(name)) /* that: one for all lanes */
        return plan_value(st, name);
    pipeline_value_name(own, name, lane);
    return plan_value(st, own);
}

/* "act.1.2" -> 1, if the bundle is of that kind and the number is a stage. */
bool pipeline_bundle(const struct pipeline_round *r, const char *name, const char *kind,
                     uint32_t *stage)
{
    size_t n = strlen(kind);
    if (strncmp(name, kind, n) != 0 || name[n] != '.')
        return false;
    *stage = (uint32_t)strtoul(name + n + 1, NULL, 10);
    EMAC_ASSERT(*stage < r->stages);
    return true;
}

/* Where a task of micro-batch m finds its input; NULL: it is not there yet. */
static const struct cid *input_of(const struct pipeline_round *r, enum task_kind kind,
                                  const char *name, uint32_t m)
{
    const struct plan_result *from = NULL;
    const struct pipeline_lane *lane = &r->lane[m / r->batches];
    uint32_t s;
    if (kind == TASK_DELTA || kind == TASK_OUTER)
        return hybrid_input(r, kind, name, m / r->batches);
    if (strcmp(name, "tables") == 0)
        return &r->g->p->tables;
    if (pipeline_bundle(r, name, "act", &s))
        from = r->forward[cell(r, s, m)];
    else if (pipeline_bundle(r, name, "back", &s))
        from = r->backward[cell(r, s, m)];
    else if (pipeline_bundle(r, name, "squares", &s))
        from = lane->reduce[s];
    else if (kind == TASK_JOIN &&
             (pipeline_bundle(r, name, "params", &s) || pipeline_bundle(r, name, "shared", &s)))
        from = r->g->p->job.spread == SPREAD_HYBRID ? r->outer[s] : lane->step[s];
    else
        return pipeline_value(r->g->p, r->g->st, name, m / r->batches);
    return from == NULL ? NULL : plan_output(from, name);
}

/* ---- what is wanted ---- */

/* A stage is where its optimiser's state is: weights also go to whom a checkpoint or a check takes
 * them. */
const struct cid *plan_stage_anchor(const struct job_plan *p, const struct plan_state *st,
                                    uint32_t s, uint32_t lane)
{
    static const char *const KINDS[] = {"opt", "params", "frozen"}; /* not every stage has all */
    const struct cid *found = NULL;
    for (size_t i = 0; i < EMAC_COUNT(KINDS) && found == NULL; i++) {
        char name[TASK_NAME_MAX];
        snprintf(name, sizeof name, "%s.%u", KINDS[i], s);
        found = pipeline_value(p, st, name, lane);
        for (uint32_t k = 0; k < st->result_count && found == NULL; k++)
            if (st->result[k].kind == TASK_INIT)
                found = plan_output(&st->result[k], name);
    }
    return found;
}

/* How many rigs may hold a stage: all lanes begin with one state, then each has its own. */
static uint32_t holders_of(const struct planning *g, uint32_t s)
{
    const struct job *job = &g->p->job;
    if (job->spread != SPREAD_HYBRID)
        return job->pipeline.replicas;
    if (plan_program_part(g->p, TASK_DELTA, s) == NULL)
        return job->local.replicas; /* frozen: all lanes have the same */
    return g->st->step == 0 ? g->crew->count : 1;
}

static void want_place(const struct pipeline_round *r, struct plan_want *w, uint32_t s,
                       uint32_t lane)
{
    const struct task_kind_info *info = task_kind_info(w->kind);
    uint32_t replicas = r->g->p->job.pipeline.replicas;
    if (info->staged) {
        const struct cid *anchor = plan_stage_anchor(r->g->p, r->g->st, s, lane);
        EMAC_ASSERT(anchor != NULL); /* each stage has weights of its own */
        w->anchor = *anchor;
    }
    w->holders = holders_of(r->g, s);
    w->copies = w->kind == TASK_UPDATE && replicas > 1 ? replicas : 0;
    w->owner = plan_owner(r->g, lane * r->stages + job_stage_rank(&r->g->p->job, s));
    w->placed = replicas <= 1 && info->staged;
}

/* The micro-batch is part of every task, for two may have equal inputs. */
struct plan_want *pipeline_want(struct pipeline_round *r, enum task_kind kind, uint32_t s,
                                uint32_t m, const char *slot)
{
    const struct plan_program *program = plan_program_part(r->g->p, kind, s);
    struct plan_bundle input[TASK_INPUTS_MAX + 1];
    if (program == NULL)
        return NULL;
    uint32_t count = program->input_count;
    memcpy(input, program->input, count * sizeof *input);
    if (program->map)
        emac_strcpy(input[count++].name, sizeof input->name, "data");
    plan_bundles_sort(input, count);
    for (uint32_t i = 0; i < program->input_count; i++)
        if (input_of(r, kind, program->input[i].name, m) == NULL)
            return NULL;
    struct plan_want *w = plan_want_add(r->g, program, slot);
    if (w == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        task_input_add(&w->task, input[i].name,
                       strcmp(input[i].name, "data") == 0 ? &r->g->p->job.data
                                                          : input_of(r, kind, input[i].name, m));
    w->range = (struct tree_range){m, s};
    want_place(r, w, s, m / r->batches);
    w->task.step = r->g->st->step;
    w->task.first = m;
    w->task.count = program->map ? 1 : 0;
    return w;
}

static void want_pass(struct pipeline_round *r, enum task_kind kind, const char *name, uint32_t s,
                      uint32_t m)
{
    char slot[SLOT_MAX];
    snprintf(slot, sizeof slot, "%s/%06u/%u.%u", name, r->g->st->step, s, m);
    pipeline_want(r, kind, s, m, slot);
}

enum emac_status pipeline_parts(struct plan_want *w, uint32_t total, uint32_t count,
                                struct emac_err *err)
{
    enum emac_status st = emac_alloc(&w->task.part, count, sizeof *w->task.part, err);
    w->task.total = total;
    w->task.part_count = st == EMAC_OK ? count : 0;
    return st;
}

/* Of a lone pipeline without the lane, as ever. */
void pipeline_slot(const struct pipeline_round *r, char out[SLOT_MAX], enum task_kind kind,
                   uint32_t s, uint32_t lane)
{
    const char *name = task_kind_name(kind);
    if (r->g->p->job.spread == SPREAD_HYBRID)
        snprintf(out, SLOT_MAX, "%s/%06u/%u.%u", name, r->g->st->step, s, lane);
    else
        snprintf(out, SLOT_MAX, "%s/%06u/%u", name, r->g->st->step, s);
}

static enum emac_status want_reduce(struct pipeline_round *r, uint32_t s, uint32_t lane,
                                    struct emac_err *err)
{
    char slot[SLOT_MAX];
    const struct pipeline_lane *l = &r->lane[lane];
    if (l->back[s] < r->batches || l->reduce[s] != NULL)
        return EMAC_OK;
    pipeline_slot(r, slot, TASK_REDUCE, s, lane);
    struct plan_want *w = pipeline_want(r, TASK_REDUCE, s, lane * r->batches, slot);
    if (w == NULL)
        return EMAC_OK;
    enum emac_status st = pipeline_parts(w, r->batches, r->batches, err);
    for (uint32_t m = 0; m < r->batches && st == EMAC_OK; m++) {
        const struct plan_result *back = r->backward[cell(r, s, lane * r->batches + m)];
        w->task.part[m] = (struct task_part){m, 1, *plan_output(back, "sum")};
    }
    return st;
}

static void args_give(const struct pipeline_round *r, struct task *t,
                      const struct plan_program *program)
{
    struct task all = {0};
    task_optimiser_args(&all, &r->g->p->job, r->g->st->step, r->batches);
    for (uint32_t i = 0; i < all.arg_count; i++)
        for (uint32_t k = 0; k < program->arg_count; k++)
            if (strcmp(all.arg[i].name, program->arg[k]) == 0)
                t->arg[t->arg_count++] = all.arg[i];
}

static enum emac_status want_step(struct pipeline_round *r, uint32_t s, uint32_t lane,
                                  struct emac_err *err)
{
    char slot[SLOT_MAX];
    const struct pipeline_lane *l = &r->lane[lane];
    if (l->reduce[s] == NULL || l->step[s] != NULL)
        return EMAC_OK;
    pipeline_slot(r, slot, TASK_UPDATE, s, lane);
    struct plan_want *w = pipeline_want(r, TASK_UPDATE, s, lane * r->batches, slot);
    if (w == NULL)
        return EMAC_OK;
    args_give(r, &w->task, plan_program_part(r->g->p, TASK_UPDATE, s));
    enum emac_status st = pipeline_parts(w, r->batches, 1, err);
    if (st == EMAC_OK)
        w->task.part[0] = (struct task_part){0, r->batches, *plan_output(l->reduce[s], "sum")};
    return st;
}

void pipeline_want_join(struct pipeline_round *r)
{
    char slot[SLOT_MAX];
    if (r->join != NULL || !plan_whole_after(r->g->p, r->g->st))
        return;
    snprintf(slot, sizeof slot, "join/%06u", r->g->st->step);
    pipeline_want(r, TASK_JOIN, 0, 0, slot);
}

/* How many micro-batches are through with stage s: it brought them back, or, if it brings none
 * back, the next that does. The last one does. */
static uint32_t brought_back(const struct pipeline_round *r, uint32_t lane, uint32_t s)
{
    while (plan_program_part(r->g->p, TASK_BACKWARD, s) == NULL)
        s++;
    return r->lane[lane].back[s];
}

/* Backward before forward, early micro-batches before late ones; lanes side by side. */
void pipeline_passes(struct pipeline_round *r)
{
    for (uint32_t i = 0; i < r->lanes * r->batches; i++) {
        uint32_t lane = i % r->lanes, m = i / r->lanes, at = lane * r->batches + m;
        for (uint32_t s = r->stages; s-- > 0;) {
            if (r->backward[cell(r, s, at)] == NULL)
                want_pass(r, TASK_BACKWARD, "bwd", s, at);
            if (s + 1 < r->stages && r->forward[cell(r, s, at)] == NULL &&
                m < brought_back(r, lane, s) + WINDOW(r->stages, s))
                want_pass(r, TASK_FORWARD, "fwd", s, at);
        }
    }
}

enum emac_status pipeline_steps(struct pipeline_round *r, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t lane = 0; lane < r->lanes; lane++)
        for (uint32_t s = 0; s < r->stages; s++) {
            EMAC_TRY(st, want_reduce(r, s, lane, err));
            EMAC_TRY(st, want_step(r, s, lane, err));
        }
out:
    return st;
}

static enum emac_status wants(struct planning *g, struct emac_err *err)
{
    struct pipeline_round r = {0};
    enum emac_status st;
    EMAC_TRY(st, pipeline_round_init(&r, g, err));
    EMAC_TRY(st, pipeline_steps(&r, err));
    pipeline_want_join(&r);
    pipeline_passes(&r);
out:
    pipeline_round_release(&r);
    return st;
}

/* ---- turns ---- */

static bool turn(const struct job_plan *p, struct plan_state *st)
{
    const struct plan_result *step[STAGES_MAX], *join = pipeline_result(st, TASK_JOIN, 0, 0);
    bool joins = plan_whole_after(p, st);
    if (joins && join == NULL)
        return false;
    for (uint32_t s = 0; s < p->job.pipeline.stages; s++) {
        step[s] = pipeline_result(st, TASK_UPDATE, s, 0);
        if (step[s] == NULL && plan_program_part(p, TASK_UPDATE, s) != NULL)
            return false;
    }
    for (uint32_t s = 0; s < p->job.pipeline.stages; s++)
        for (uint32_t i = 0; step[s] != NULL && i < step[s]->output_count; i++)
            if (strcmp(step[s]->output[i].name, "metrics") != 0)
                plan_value_set(st, step[s]->output[i].name, &step[s]->output[i].cid);
    if (joins)
        plan_value_set(st, "params", plan_output(join, "params"));
    else
        plan_value_remove(st, "params");
    return true;
}

/* Is there a task yet to come that takes what stage s hands forward of micro-batch m? */
static bool forward_needed(const struct job_plan *p, const struct plan_state *st, uint32_t s,
                           uint32_t m)
{
    bool back = plan_program_part(p, TASK_BACKWARD, s) != NULL;
    return pipeline_result(st, back ? TASK_BACKWARD : TASK_FORWARD, s, m) == NULL;
}

bool pipeline_needs(const struct job_plan *p, const struct plan_state *st,
                    const struct plan_result *r, const struct task_output *output)
{
    uint32_t s = r->range.count, m = r->range.first;
    uint32_t batches = p->job.micro_batches / job_lanes(&p->job);
    uint32_t first = m / batches * batches; /* of the lane: what is there once has this number */
    const char *to = strrchr(output->name, '.');
    switch (r->kind) {
    case TASK_FORWARD:
        return forward_needed(p, st, (uint32_t)strtoul(to + 1, NULL, 10), m);
    case TASK_BACKWARD:
        if (strcmp(output->name, "sum") == 0)
            return pipeline_result(st, TASK_REDUCE, s, first) == NULL;
        return pipeline_result(st, TASK_BACKWARD, (uint32_t)strtoul(to + 1, NULL, 10), m) == NULL;
    case TASK_REDUCE:
        if (strcmp(output->name, "sum") == 0)
            return pipeline_result(st, TASK_UPDATE, s, first) == NULL;
        return true;
    default:
        return true;
    }
}

enum emac_status pipeline_bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    uint64_t lanes = job_lanes(&p->job);
    uint64_t steps = rounds(&p->job), joins = steps / p->job.checkpoint_every + 1;
    if (p->job.eval_every > 0)
        joins += 2 * (steps / p->job.eval_every);
    enum emac_status st = plan_bill_add(b, plan_program(p, TASK_JOIN), joins, err);
    for (uint32_t s = 0; s < p->job.pipeline.stages && st == EMAC_OK; s++) {
        uint64_t passes = steps * p->job.micro_batches;
        EMAC_TRY(st, plan_bill_add(b, plan_program_part(p, TASK_FORWARD, s), passes, err));
        EMAC_TRY(st, plan_bill_add(b, plan_program_part(p, TASK_BACKWARD, s), passes, err));
        EMAC_TRY(st, plan_bill_add(b, plan_program_part(p, TASK_REDUCE, s), lanes * steps, err));
        st = plan_bill_add(b, plan_program_part(p, TASK_UPDATE, s), lanes * steps, err);
    }
out:
    return st;
}

const struct planner PLANNER_PIPELINE = {.build = build,
                                         .rounds = rounds,
                                         .wants = wants,
                                         .turn = turn,
                                         .needs = pipeline_needs,
                                         .bill = pipeline_bill};
