/* Evaluations: of the state at the end, and during training beside the round that starts from the
 * state; and what follows from their scores. */
#include <stdio.h>

#include "base/assert.h"
#include "work/planner_impl.h"

/* Is one of the round's steps an `every`th? */
static bool is_due(const struct job *job, uint32_t every, uint32_t round)
{
    return round > 0 && plan_steps(job, round) / every != plan_steps(job, round - 1) / every;
}

static bool is_evaluated(const struct job *job, uint32_t round)
{
    return job->eval_every > 0 && is_due(job, job->eval_every, round);
}

bool plan_eval_due(const struct job_plan *p, const struct plan_state *st)
{
    enum plan_phase phase = plan_phase_of(p, st);
    return phase == PLAN_EVAL || (phase == PLAN_TRAIN && is_evaluated(&p->job, st->step));
}

/* Whatever the evaluation says. */
static bool is_checkpoint(const struct job *job, uint32_t round)
{
    return round == plan_rounds(job) || is_due(job, job->checkpoint_every, round);
}

bool plan_is_checkpoint(const struct job_plan *p, const struct plan_state *st)
{
    bool best = st->best.loss >= 0 && st->best.step + 1 == st->step;
    if (st->step == 0 || !plan_trains(p))
        return false;
    return is_checkpoint(&p->job, st->step) || plan_stopped(p, st) ||
           (best && p->job.keep == KEEP_BEST);
}

bool plan_whole_after(const struct job_plan *p, const struct plan_state *st)
{
    uint32_t next = st->step + 1;
    return is_checkpoint(&p->job, next) || is_evaluated(&p->job, next) ||
           is_evaluated(&p->job, st->step);
}

bool plan_stopped(const struct job_plan *p, const struct plan_state *st)
{
    return p->job.patience > 0 && st->worse >= p->job.patience;
}

const struct cid *plan_model_params(const struct plan_state *st)
{
    const struct cid *best = plan_value(st, "best");
    return best != NULL ? best : plan_value(st, "params");
}

/* During training slots and tasks have the number of the round: the same parameters may come
 * twice. */
static void fill_eval(struct planning *g, struct tree_range r, struct plan_want *w)
{
    const struct job_plan *p = g->p;
    const struct cid *params = plan_trains(p) ? plan_value(g->st, "params") : &p->weights;
    if (plan_phase_of(p, g->st) == PLAN_TRAIN) {
        w->task.step = g->st->step;
        snprintf(w->slot, sizeof w->slot, "eval/%06u/%u+%u", g->st->step, r.first, r.count);
    } else {
        snprintf(w->slot, sizeof w->slot, "eval/%u+%u", r.first, r.count);
    }
    task_input_add(&w->task, "data", &p->job.data);
    task_input_add(&w->task, "params", params);
    if (!cid_is_none(&p->tables))
        task_input_add(&w->task, "tables", &p->tables);
}

static void fill_score(struct planning *g, struct plan_want *w)
{
    double count = job_eval_batches(&g->p->job);
    task_arg_add(&w->task, "count_inv", 1)->value[0] = (float)(1.0 / count);
    if (plan_phase_of(g->p, g->st) == PLAN_TRAIN) {
        w->task.step = g->st->step;
        snprintf(w->slot, sizeof w->slot, "score/%06u", g->st->step);
    } else {
        snprintf(w->slot, sizeof w->slot, "score");
    }
}

enum emac_status plan_eval_wants(struct planning *g, struct emac_err *err)
{
    const struct plan_share eval = {TASK_EVAL, TASK_SCORE, job_eval_batches(&g->p->job), fill_eval,
                                    fill_score};
    return plan_share_wants(g, &eval, err);
}

const struct plan_result *plan_score_find(const struct plan_state *st)
{
    for (uint32_t i = 0; i < st->result_count; i++)
        if (st->result[i].kind == TASK_SCORE)
            return &st->result[i];
    return NULL;
}

void plan_score_take(const struct job_plan *p, struct plan_state *st, const struct plan_result *r,
                     uint32_t step, const struct cid *params)
{
    bool training = plan_phase_of(p, st) == PLAN_TRAIN;
    st->score = (struct plan_score){step, r->loss, r->accuracy};
    if (st->best.loss >= 0 && r->loss >= st->best.loss) {
        st->worse += training;
        return;
    }
    st->best = st->score;
    st->worse = training ? 0 : st->worse; /* what ended training stays ended */
    if (p->job.keep == KEEP_BEST)
        plan_value_set(st, "best", params);
}

const struct plan_score *plan_model_score(const struct job_plan *p, const struct plan_state *st)
{
    return st->scored && p->job.keep == KEEP_BEST ? &st->best : &st->score;
}

enum emac_status plan_eval_bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    uint32_t every = p->job.eval_every, before = plan_rounds(&p->job) - 1, due = 0;
    if (every > 0)
        due = plan_steps(&p->job, before) / every;
    uint64_t times = 1 + (due < before ? due : before);
    enum emac_status st =
        plan_bill_add(b, plan_program(p, TASK_EVAL), times * job_eval_batches(&p->job), err);
    return st == EMAC_OK ? plan_bill_add(b, plan_program(p, TASK_SCORE), times, err) : st;
}
