#include "work/planner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

_Static_assert(JOB_MICRO_BATCHES_MAX <= TASK_PARTS_MAX, "any cover of a step must fit one task");

const char *task_kind_name(enum task_kind kind)
{
    static const char *const NAMES[] = {"init", "grad", "step", "eval", "score"};
    EMAC_ASSERT((unsigned)kind < EMAC_COUNT(NAMES));
    return NAMES[kind];
}

enum plan_phase plan_phase_of(const struct job_plan *p, const struct plan_state *st)
{
    if (!st->has_state)
        return PLAN_INIT;
    if (st->step < p->job.optimiser.steps)
        return PLAN_TRAIN;
    if (!st->scored && job_eval_batches(&p->job) > 0)
        return PLAN_EVAL;
    return PLAN_DONE;
}

bool plan_is_checkpoint(const struct job *job, uint32_t step)
{
    if (step == 0 || step > job->optimiser.steps)
        return false;
    return step == job->optimiser.steps || step % job->checkpoint_every == 0;
}

void plan_wants_release(struct plan_want *w, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        task_release(&w[i].task);
}

/* ---- tasks ---- */

static void input_add(struct task *t, const char *name, const struct cid *cid)
{
    EMAC_ASSERT(t->input_count < TASK_INPUTS_MAX);
    struct task_input *in = &t->input[t->input_count++];
    bool fits = emac_strcpy(in->name, sizeof in->name, name);
    EMAC_ASSERT(fits && (t->input_count == 1 || strcmp(in[-1].name, name) < 0));
    in->cid = *cid;
}

static struct task_arg *arg_add(struct task *t, const char *name, uint32_t width)
{
    EMAC_ASSERT(t->arg_count < TASK_ARGS_MAX);
    struct task_arg *a = &t->arg[t->arg_count++];
    bool fits = emac_strcpy(a->name, sizeof a->name, name);
    EMAC_ASSERT(fits && (t->arg_count == 1 || strcmp(a[-1].name, name) < 0));
    a->width = width;
    return a;
}

static void init_want(const struct job_plan *p, struct plan_want *w)
{
    w->kind = TASK_INIT;
    w->flops = p->init_flops;
    w->task.program = p->init_program;
    snprintf(w->slot, sizeof w->slot, "init");
}

static void map_want(const struct job_plan *p, const struct plan_state *st, struct tree_range r,
                     struct plan_want *w)
{
    bool eval = plan_phase_of(p, st) == PLAN_EVAL;
    w->kind = eval ? TASK_EVAL : TASK_GRAD;
    w->range = r;
    w->flops = (eval ? p->eval_flops : p->grad_flops) * r.count;
    w->task.program = eval ? p->eval_program : p->grad_program;
    w->task.first = r.first;
    w->task.count = r.count;
    w->task.step = eval ? 0 : st->step;
    input_add(&w->task, "data", &p->job.data);
    input_add(&w->task, "params", &st->params);
    if (!cid_is_none(&p->tables))
        input_add(&w->task, "tables", &p->tables);
    if (eval)
        snprintf(w->slot, sizeof w->slot, "eval/%u+%u", r.first, r.count);
    else
        snprintf(w->slot, sizeof w->slot, "grad/%06u/%u+%u", st->step, r.first, r.count);
}

static void step_args(const struct job_plan *p, uint32_t step, struct task *t)
{
    struct optimiser_args a;
    optimiser_args(&p->job.optimiser, step, p->job.micro_batches, &a);
    for (uint32_t i = 0; i < a.count; i++) {
        const struct optimiser_arg *from = &a.arg[i];
        memcpy(arg_add(t, from->name, from->width)->value, from->value,
               from->width * sizeof *from->value);
    }
}

/* The task that takes the whole sum: an optimiser step, or the score of the evaluation. */
static void sum_want(const struct job_plan *p, const struct plan_state *st, struct plan_want *w)
{
    struct task *t = &w->task;
    if (plan_phase_of(p, st) == PLAN_EVAL) {
        uint32_t total = job_eval_batches(&p->job);
        w->kind = TASK_SCORE;
        w->flops = p->score_flops;
        t->program = p->score_program;
        t->total = total;
        arg_add(t, "count_inv", 1)->value[0] = (float)(1.0 / (double)total);
        snprintf(w->slot, sizeof w->slot, "score");
        return;
    }
    w->kind = TASK_STEP;
    w->flops = p->step_flops;
    t->program = p->step_program;
    t->total = p->job.micro_batches;
    t->step = st->step;
    input_add(t, "opt", &st->opt);
    input_add(t, "params", &st->params);
    step_args(p, st->step, t);
    snprintf(w->slot, sizeof w->slot, "step/%06u", st->step);
}

/* ---- what is missing ---- */

struct planning {
    const struct job_plan *p;
    const struct plan_state *st;
    uint32_t total;
    struct tree_range *done; /* ranges of st->part */
    bool *taken;             /* micro-batches that are done or handed out */
    struct plan_want *out;
    uint32_t count, cap;
};

static void want_range(struct planning *g, struct tree_range r, uint32_t owner)
{
    if (g->count == g->cap)
        return;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->out[i].range.first == r.first && g->out[i].range.count == r.count)
            return;
    }
    struct plan_want *w = &g->out[g->count++];
    *w = (struct plan_want){.owner = owner};
    map_want(g->p, g->st, r, w);
}

/* true when it marked something new */
static bool take(struct planning *g, struct tree_range r)
{
    bool fresh = false;
    for (uint32_t i = r.first; i < r.first + r.count; i++) {
        fresh |= !g->taken[i];
        g->taken[i] = true;
    }
    return fresh;
}

static bool is_open(const struct planning *g, const bool *done, struct tree_range r)
{
    if (!tree_is_node(r, g->total))
        return false;
    for (uint32_t i = r.first; i < r.first + r.count; i++) {
        if (!done[i])
            return true;
    }
    return false;
}

static enum emac_status want_open(struct planning *g, const struct tree_range *open,
                                  uint32_t open_count, struct emac_err *err)
{
    bool *done;
    enum emac_status st = emac_alloc(&done, g->total, sizeof *done, err);
    if (st != EMAC_OK)
        return st;
    memcpy(done, g->taken, g->total * sizeof *done);
    for (uint32_t i = 0; i < open_count; i++) {
        if (is_open(g, done, open[i])) {
            take(g, open[i]);
            want_range(g, open[i], 0);
        }
    }
    free(done);
    return EMAC_OK;
}

static enum emac_status want_rest(struct planning *g, const double *speed, uint32_t workers,
                                  struct emac_err *err)
{
    struct tree_range *range = NULL;
    uint32_t *owner = NULL;
    enum emac_status st;
    uint32_t room = g->cap - g->count;
    if (room == 0)
        return EMAC_OK;
    EMAC_TRY(st, emac_alloc(&range, room, sizeof *range, err));
    EMAC_TRY(st, emac_alloc(&owner, room, sizeof *owner, err));
    uint32_t n = tree_shares_of_rest(g->total, g->taken, speed, workers, range, owner, room);
    for (uint32_t i = 0; i < n; i++)
        want_range(g, range[i], owner[i]);
out:
    free(range);
    free(owner);
    return st;
}

/* The whole sum is there: the task that takes it, with the chosen parts. */
static enum emac_status want_sum(struct planning *g, const uint32_t *pick, uint32_t picked,
                                 uint32_t owner, struct emac_err *err)
{
    struct plan_want *w = &g->out[g->count];
    *w = (struct plan_want){.owner = owner};
    enum emac_status st = emac_alloc(&w->task.part, picked, sizeof *w->task.part, err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < picked; i++) {
        const struct plan_part *part = &g->st->part[pick[i]];
        w->task.part[i] = (struct task_part){part->range.first, part->range.count, part->cid};
    }
    w->task.part_count = picked;
    sum_want(g->p, g->st, w);
    g->count++;
    return EMAC_OK;
}

static uint32_t fastest(const double *speed, uint32_t workers)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < workers; i++) {
        if (speed[i] > speed[best])
            best = i;
    }
    return best;
}

static enum emac_status plan_sums(struct planning *g, const struct tree_range *open,
                                  uint32_t open_count, const double *speed, uint32_t workers,
                                  struct emac_err *err)
{
    uint32_t pick[TASK_PARTS_MAX], parts = g->st->part_count;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&g->done, parts + 1, sizeof *g->done, err));
    EMAC_TRY(st, emac_alloc(&g->taken, g->total, sizeof *g->taken, err));
    for (uint32_t i = 0; i < parts; i++) {
        g->done[i] = g->st->part[i].range;
        if (tree_is_node(g->done[i], g->total))
            take(g, g->done[i]);
    }
    uint32_t picked = tree_cover(g->done, parts, g->total, pick, EMAC_COUNT(pick));
    if (picked > 0) {
        st = want_sum(g, pick, picked, fastest(speed, workers), err);
    } else {
        EMAC_TRY(st, want_open(g, open, open_count, err));
        st = want_rest(g, speed, workers, err);
    }
out:
    free(g->done);
    free(g->taken);
    return st;
}

enum emac_status plan_next(const struct job_plan *p, const struct plan_state *st,
                           const struct tree_range *open, uint32_t open_count, const double *speed,
                           uint32_t workers, struct plan_want *out, uint32_t cap, uint32_t *count,
                           struct emac_err *err)
{
    struct planning g = {.p = p, .st = st, .out = out, .cap = cap};
    enum emac_status status = EMAC_OK;
    EMAC_ASSERT(cap > 0 && workers > 0);
    *count = 0;
    switch (plan_phase_of(p, st)) {
    case PLAN_INIT:
        out[0] = (struct plan_want){.owner = fastest(speed, workers)};
        init_want(p, &out[0]);
        g.count = 1;
        break;
    case PLAN_TRAIN:
        g.total = p->job.micro_batches;
        status = plan_sums(&g, open, open_count, speed, workers, err);
        break;
    case PLAN_EVAL:
        g.total = job_eval_batches(&p->job);
        status = plan_sums(&g, open, open_count, speed, workers, err);
        break;
    case PLAN_DONE:
        break;
    }
    if (status != EMAC_OK) {
        plan_wants_release(out, g.count);
        return status;
    }
    *count = g.count;
    return EMAC_OK;
}
