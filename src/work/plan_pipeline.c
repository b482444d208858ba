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
 * a stage is one more rig that may hold it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "graph/stages.h"
#include "work/planner_impl.h"

/* Micro-batches under way in stage s: those that fill the stages behind it, twice, so that
 * transfers hide behind work. */
#define WINDOW(stages, s) (2 * ((stages) - (s)))

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

static enum emac_status stage_add(struct plan_building *b, const struct stages *st, uint32_t s,
                                  const struct graph *init, const struct graph *train,
                                  const struct graph *step, struct emac_err *err)
{
    enum emac_status status;
    EMAC_TRY(status, stage_program_add(b, st, TASK_INIT, stage_init, init, s, err));
    if (s + 1 < st->count)
        EMAC_TRY(status, stage_program_add(b, st, TASK_FORWARD, stage_forward, train, s, err));
    EMAC_TRY(status, stage_program_add(b, st, TASK_BACKWARD, stage_backward, train, s, err));
    EMAC_TRY(status, stage_program_add(b, st, TASK_REDUCE, stage_reduce, step, s, err));
    status = stage_program_add(b, st, TASK_UPDATE, stage_step, step, s, err);
out:
    return status;
}

static enum emac_status build(struct plan_building *b, struct emac_err *err)
{
    const struct job *job = &b->p->job;
    struct graph *init = NULL, *train = NULL, *step = NULL, *join = NULL;
    struct stages st = {0};
    enum emac_status status;
    EMAC_TRY(status, b->family->graph_init(job, &init, err));
    EMAC_TRY(status, b->family->graph_train(job, &train, err));
    EMAC_TRY(status, b->family->graph_step(job, &step, err));
    EMAC_TRY(status, stages_plan(train, job->pipeline.stages, job->pipeline.form, &st, err));
    for (uint32_t s = 0; s < st.count; s++)
        EMAC_TRY(status, stage_add(b, &st, s, init, train, step, err));
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

static uint32_t rounds(const struct job *job)
{
    return job->optimiser.steps;
}

/* ---- what is there ---- */

/* The stage and micro-batch of a result lie in its range: {first: m, count: s}. */
static const struct plan_result *result_of(const struct plan_state *st, enum task_kind kind,
                                           uint32_t s, uint32_t m)
{
    for (uint32_t i = 0; i < st->result_count; i++) {
        const struct plan_result *r = &st->result[i];
        if (r->kind == kind && r->range.first == m && r->range.count == s)
            return r;
    }
    return NULL;
}

/* The round's results, by stage and micro-batch. */
struct round {
    struct planning *g;
    uint32_t stages, batches;
    const struct plan_result **forward, **backward; /* [stages][batches] */
    const struct plan_result *reduce[STAGES_MAX], *step[STAGES_MAX], *join;
    uint32_t back[STAGES_MAX]; /* how many micro-batches the stage brought back */
};

static void round_note(struct round *r, const struct plan_result *x)
{
    uint32_t s = x->range.count, m = x->range.first;
    if (x->kind == TASK_EVAL || x->kind == TASK_SCORE)
        return; /* beside the round */
    EMAC_ASSERT(s < r->stages && m < r->batches);
    size_t at = (size_t)s * r->batches + m;
    switch (x->kind) {
    case TASK_FORWARD:
        r->forward[at] = x;
        break;
    case TASK_BACKWARD:
        r->back[s] += r->backward[at] == NULL;
        r->backward[at] = x;
        break;
    case TASK_REDUCE:
        r->reduce[s] = x;
        break;
    case TASK_UPDATE:
        r->step[s] = x;
        break;
    case TASK_JOIN:
        r->join = x;
        break;
    default:
        EMAC_ASSERT(!"a result that no pipeline has");
    }
}

static enum emac_status round_init(struct round *r, struct planning *g, struct emac_err *err)
{
    const struct job *job = &g->p->job;
    size_t cells = (size_t)job->pipeline.stages * job->micro_batches;
    enum emac_status st;
    *r = (struct round){.g = g, .stages = job->pipeline.stages, .batches = job->micro_batches};
    EMAC_TRY(st, emac_alloc(&r->forward, cells, sizeof(void *), err));
    EMAC_TRY(st, emac_alloc(&r->backward, cells, sizeof(void *), err));
    for (uint32_t i = 0; i < g->st->result_count; i++)
        round_note(r, &g->st->result[i]);
out:
    return st;
}

static void round_release(struct round *r)
{
    free(r->forward);
    free(r->backward);
}

/* "act.1.2" -> 1, if the bundle is of that kind and the number is a stage. */
static bool bundle_stage(const struct round *r, const char *name, const char *kind, uint32_t *stage)
{
    size_t n = strlen(kind);
    if (strncmp(name, kind, n) != 0 || name[n] != '.')
        return false;
    *stage = (uint32_t)strtoul(name + n + 1, NULL, 10);
    EMAC_ASSERT(*stage < r->stages);
    return true;
}

/* Where a task of micro-batch m finds its input; NULL: it is not there yet. */
static const struct cid *input_of(const struct round *r, enum task_kind kind, const char *name,
                                  uint32_t m)
{
    const struct plan_result *from = NULL;
    uint32_t s;
    if (strcmp(name, "tables") == 0)
        return &r->g->p->tables;
    if (bundle_stage(r, name, "act", &s))
        from = r->forward[(size_t)s * r->batches + m];
    else if (bundle_stage(r, name, "back", &s))
        from = r->backward[(size_t)s * r->batches + m];
    else if (bundle_stage(r, name, "squares", &s))
        from = r->reduce[s];
    else if (kind == TASK_JOIN &&
             (bundle_stage(r, name, "params", &s) || bundle_stage(r, name, "shared", &s)))
        from = r->step[s];
    else
        return plan_value(r->g->st, name);
    return from == NULL ? NULL : plan_output(from, name);
}

/* ---- what is wanted ---- */

/* A stage is where its optimiser's state is: weights also go to whom a checkpoint or a check takes
 * them. */
static const struct cid *stage_anchor(const struct round *r, uint32_t s)
{
    static const char *const KINDS[] = {"opt", "params"}; /* an optimiser may have no state */
    const struct cid *found = NULL;
    for (size_t i = 0; i < EMAC_COUNT(KINDS) && found == NULL; i++) {
        char name[TASK_NAME_MAX];
        snprintf(name, sizeof name, "%s.%u", KINDS[i], s);
        found = plan_value(r->g->st, name);
    }
    EMAC_ASSERT(found != NULL); /* each stage has weights of its own */
    return found;
}

/* Add the want unless an input is missing, no room is left or it has a result; NULL then. The
 * micro-batch is part of every task, for two may have equal inputs. */
static struct plan_want *want_add(struct round *r, enum task_kind kind, uint32_t s, uint32_t m,
                                  const char *slot)
{
    const struct plan_program *program = plan_program_part(r->g->p, kind, s);
    struct plan_bundle input[TASK_INPUTS_MAX + 1];
    uint32_t count = program->input_count, replicas = r->g->p->job.pipeline.replicas;
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
    if (task_kind_info(kind)->staged)
        w->anchor = *stage_anchor(r, s);
    w->holders = replicas;
    w->copies = kind == TASK_UPDATE && replicas > 1 ? replicas : 0;
    w->owner = plan_owner(r->g, s);
    w->placed = replicas == 1 && task_kind_info(kind)->staged;
    w->task.step = r->g->st->step;
    w->task.first = m;
    w->task.count = program->map ? 1 : 0;
    return w;
}

static void want_pass(struct round *r, enum task_kind kind, const char *name, uint32_t s,
                      uint32_t m)
{
    char slot[SLOT_MAX];
    snprintf(slot, sizeof slot, "%s/%06u/%u.%u", name, r->g->st->step, s, m);
    want_add(r, kind, s, m, slot);
}

static enum emac_status parts_give(struct plan_want *w, uint32_t total, uint32_t count,
                                   struct emac_err *err)
{
    enum emac_status st = emac_alloc(&w->task.part, count, sizeof *w->task.part, err);
    w->task.total = total;
    w->task.part_count = st == EMAC_OK ? count : 0;
    return st;
}

static enum emac_status want_reduce(struct round *r, uint32_t s, struct emac_err *err)
{
    char slot[SLOT_MAX];
    if (r->back[s] < r->batches || r->reduce[s] != NULL)
        return EMAC_OK;
    snprintf(slot, sizeof slot, "reduce/%06u/%u", r->g->st->step, s);
    struct plan_want *w = want_add(r, TASK_REDUCE, s, 0, slot);
    if (w == NULL)
        return EMAC_OK;
    enum emac_status st = parts_give(w, r->batches, r->batches, err);
    for (uint32_t m = 0; m < r->batches && st == EMAC_OK; m++)
        w->task.part[m] =
            (struct task_part){m, 1, *plan_output(r->backward[(size_t)s * r->batches + m], "sum")};
    return st;
}

static void args_give(const struct round *r, struct task *t, const struct plan_program *program)
{
    struct task all = {0};
    task_optimiser_args(&all, &r->g->p->job, r->g->st->step);
    for (uint32_t i = 0; i < all.arg_count; i++)
        for (uint32_t k = 0; k < program->arg_count; k++)
            if (strcmp(all.arg[i].name, program->arg[k]) == 0)
                t->arg[t->arg_count++] = all.arg[i];
}

static enum emac_status want_step(struct round *r, uint32_t s, struct emac_err *err)
{
    char slot[SLOT_MAX];
    if (r->reduce[s] == NULL || r->step[s] != NULL)
        return EMAC_OK;
    snprintf(slot, sizeof slot, "update/%06u/%u", r->g->st->step, s);
    struct plan_want *w = want_add(r, TASK_UPDATE, s, 0, slot);
    if (w == NULL)
        return EMAC_OK;
    args_give(r, &w->task, plan_program_part(r->g->p, TASK_UPDATE, s));
    enum emac_status st = parts_give(w, r->batches, 1, err);
    if (st == EMAC_OK)
        w->task.part[0] = (struct task_part){0, r->batches, *plan_output(r->reduce[s], "sum")};
    return st;
}

static void want_join(struct round *r)
{
    char slot[SLOT_MAX];
    if (r->join != NULL || !plan_whole_after(r->g->p, r->g->st))
        return;
    snprintf(slot, sizeof slot, "join/%06u", r->g->st->step);
    want_add(r, TASK_JOIN, 0, 0, slot);
}

/* Backward before forward, early micro-batches before late ones. */
static void want_passes(struct round *r)
{
    for (uint32_t m = 0; m < r->batches; m++) {
        for (uint32_t s = r->stages; s-- > 0;) {
            size_t at = (size_t)s * r->batches + m;
            if (r->backward[at] == NULL)
                want_pass(r, TASK_BACKWARD, "bwd", s, m);
            if (s + 1 < r->stages && r->forward[at] == NULL &&
                m < r->back[s] + WINDOW(r->stages, s))
                want_pass(r, TASK_FORWARD, "fwd", s, m);
        }
    }
}

static enum emac_status wants(struct planning *g, struct emac_err *err)
{
    struct round r = {0};
    enum emac_status st;
    EMAC_TRY(st, round_init(&r, g, err));
    for (uint32_t s = 0; s < r.stages; s++) {
        EMAC_TRY(st, want_reduce(&r, s, err));
        EMAC_TRY(st, want_step(&r, s, err));
    }
    want_join(&r);
    want_passes(&r);
out:
    round_release(&r);
    return st;
}

/* ---- turns ---- */

static bool turn(const struct job_plan *p, struct plan_state *st)
{
    const struct plan_result *step[STAGES_MAX], *join = result_of(st, TASK_JOIN, 0, 0);
    bool joins = plan_whole_after(p, st);
    if (joins && join == NULL)
        return false;
    for (uint32_t s = 0; s < p->job.pipeline.stages; s++) {
        step[s] = result_of(st, TASK_UPDATE, s, 0);
        if (step[s] == NULL)
            return false;
    }
    for (uint32_t s = 0; s < p->job.pipeline.stages; s++)
        for (uint32_t i = 0; i < step[s]->output_count; i++)
            if (strcmp(step[s]->output[i].name, "metrics") != 0)
                plan_value_set(st, step[s]->output[i].name, &step[s]->output[i].cid);
    if (joins)
        plan_value_set(st, "params", plan_output(join, "params"));
    else
        plan_value_remove(st, "params");
    return true;
}

static bool needs(const struct job_plan *p, const struct plan_state *st,
                  const struct plan_result *r, const struct task_output *output)
{
    uint32_t s = r->range.count, m = r->range.first;
    const char *to = strrchr(output->name, '.');
    switch (r->kind) {
    case TASK_FORWARD:
        return result_of(st, TASK_BACKWARD, (uint32_t)strtoul(to + 1, NULL, 10), m) == NULL;
    case TASK_BACKWARD:
        if (strcmp(output->name, "sum") == 0)
            return result_of(st, TASK_REDUCE, s, 0) == NULL;
        return result_of(st, TASK_BACKWARD, (uint32_t)strtoul(to + 1, NULL, 10), m) == NULL;
    case TASK_REDUCE:
        if (strcmp(output->name, "sum") == 0)
            return result_of(st, TASK_UPDATE, s, 0) == NULL;
        return true;
    default:
        return true;
    }
}

static enum emac_status bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    uint64_t steps = rounds(&p->job), joins = steps / p->job.checkpoint_every + 1;
    if (p->job.eval_every > 0)
        joins += 2 * (steps / p->job.eval_every);
    enum emac_status st = plan_bill_add(b, plan_program(p, TASK_JOIN), joins, err);
    for (uint32_t s = 0; s < p->job.pipeline.stages && st == EMAC_OK; s++) {
        uint64_t passes = steps * p->job.micro_batches;
        EMAC_TRY(st, plan_bill_add(b, plan_program_part(p, TASK_FORWARD, s), passes, err));
        EMAC_TRY(st, plan_bill_add(b, plan_program_part(p, TASK_BACKWARD, s), passes, err));
        EMAC_TRY(st, plan_bill_add(b, plan_program_part(p, TASK_REDUCE, s), steps, err));
        st = plan_bill_add(b, plan_program_part(p, TASK_UPDATE, s), steps, err);
    }
out:
    return st;
}

const struct planner PLANNER_PIPELINE = {
    .build = build, .rounds = rounds, .wants = wants, .turn = turn, .needs = needs, .bill = bill};
