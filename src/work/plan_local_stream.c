/* Local SGD whose replicas go on while they are told of each other (Streaming DiLoCo;
 * model/local_sgd.h has the formulas). Every inner_steps / F steps a fragment of the parameters is
 * told: that is a round.
 *
 *   local r/m -> delta, params, opt, carry   merge what was told the round before, go on; then the
 *                                            delta of this round's fragment
 *   tail r/m  -> params, opt                 `overlap` steps more, which wait for nobody
 *   step r    -> params, outer, metrics      beside the tails: the outer step of the fragment
 *
 * With L = inner_steps / F, N steps in all and overlap t, round r tells fragment r mod F after step
 * (r + 1) L; the last one tells all fragments, after step N, and has no tail. The last is the first
 * one before whose end no other could be told and merged: so its steps are t + 1 to t + L.
 *
 * Values of the state: params (in common: each fragment as it was last told) and outer; of each
 * replica m params.m, opt.m, carry.m and, with overlap, params.at.m: its own when it told the
 * fragment.
 *
 * STREAM-1  A round is over when the outer step and all tails are there, so a state has no half of
 * a replica, and the next round's tasks depend on nothing but values.
 *
 * STREAM-2  Nothing but deltas must travel: params.m, params.at.m and opt.m stay where they were
 * made, and every rig makes the outer step for itself. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "work/plan_local.h"

_Static_assert(4 * JOB_REPLICAS_MAX + 3 <= PLAN_VALUES_MAX, "the state of all replicas must fit");
_Static_assert(LOCAL_FRAGMENTS_MAX * 2 + 8 <= PLAN_PROGRAMS_MAX, "each fragment has its programs");

static const char LOCAL[] = "local", TAIL[] = "tail";

/* ---- rounds ---- */

static uint32_t fragments(const struct job *job)
{
    return job->local.fragments;
}

/* Steps from one fragment to the next. */
static uint32_t stride(const struct job *job)
{
    return job->local.inner_steps / fragments(job);
}

static uint32_t rounds(const struct job *job)
{
    uint32_t all = job->optimiser.steps, overlap = job->local.overlap;
    return all > overlap ? (all - overlap - 1) / stride(job) + 1 : 1;
}

/* Steps of each replica when `done` rounds are over, tails and all. */
static uint32_t steps(const struct job *job, uint32_t done)
{
    if (done == 0 || done >= rounds(job))
        return done == 0 ? 0 : job->optimiser.steps;
    return done * stride(job) + job->local.overlap;
}

static bool is_last(const struct job *job, uint32_t round)
{
    return round + 1 == rounds(job);
}

static bool has_tail(const struct job *job, uint32_t round)
{
    return job->local.overlap > 0 && !is_last(job, round);
}

/* The step after which the round's fragment is told. */
static uint32_t told_after(const struct job *job, uint32_t round)
{
    return is_last(job, round) ? job->optimiser.steps : (round + 1) * stride(job);
}

/* What a round merges and tells: numbers of fragments, or as many as there are, which is none to be
 * merged, and all to be told. */
static uint32_t merges(const struct job *job, uint32_t round)
{
    return round == 0 ? fragments(job) : (round - 1) % fragments(job);
}

static uint32_t tells(const struct job *job, uint32_t round)
{
    return is_last(job, round) ? fragments(job) : round % fragments(job);
}

/* ---- programs ---- */

/* A replica's task differs by the two; the tail comes after all of them. */
static uint32_t local_part(const struct job *job, uint32_t round)
{
    return merges(job, round) * (fragments(job) + 1) + tells(job, round);
}

static uint32_t tail_part(const struct job *job)
{
    return (fragments(job) + 1) * (fragments(job) + 1);
}

struct stream_graphs {
    struct graph *init, *grad, *step; /* of the family */
};

static const struct local_cut *cut_at(const struct job *job, uint32_t at, struct local_cut *cut)
{
    *cut = (struct local_cut){fragments(job), at};
    return at < fragments(job) ? cut : NULL;
}

/* A start or a part of one's own comes as a whole bundle, whatever of it is looked at. */
static void whole_bundles(struct plan_building *b, const struct stream_graphs *g)
{
    struct plan_program *row = &b->p->program[b->p->program_count - 1];
    uint64_t whole = local_weights(g->init) * sizeof(float);
    for (uint32_t i = 0; i < row->input_count; i++) {
        struct plan_bundle *in = &row->input[i];
        if ((strcmp(in->name, "start") == 0 || strcmp(in->name, "at") == 0) && in->bytes < whole)
            in->bytes = whole;
    }
}

static enum emac_status local_add(struct plan_building *b, const struct stream_graphs *g,
                                  uint32_t round, struct emac_err *err)
{
    const struct job *job = &b->p->job;
    uint32_t part = local_part(job, round);
    struct local_cut merge, tell;
    const struct local_cut *merged = cut_at(job, merges(job, round), &merge);
    const struct local_cut *told = cut_at(job, tells(job, round), &tell);
    struct graph *begin = NULL, *end = NULL;
    enum emac_status st = EMAC_OK;
    if (plan_program_part(b->p, TASK_LOCAL, part) != NULL)
        return EMAC_OK;
    if (merged != NULL)
        EMAC_TRY(st, local_merge_graph(g->init, &job->local, merged, &begin, err));
    EMAC_TRY(st, local_delta_graph(g->init, g->step, &job->local, told, &end, err));
    const struct local_steps s = {.begin = begin,
                                  .grad = g->grad,
                                  .step = g->step,
                                  .end = end,
                                  .sampler = plan_train_sampler(job),
                                  .micro_batches = job->micro_batches / job->local.replicas,
                                  .kind = TASK_LOCAL};
    EMAC_TRY(st, plan_steps_add(b, part, &s, err));
    whole_bundles(b, g);
out:
    graph_free(begin);
    graph_free(end);
    return st;
}

static enum emac_status tail_add(struct plan_building *b, const struct stream_graphs *g,
                                 struct emac_err *err)
{
    const struct job *job = &b->p->job;
    struct graph *end = NULL;
    enum emac_status st = local_pass_graph(g->init, &end, err);
    const struct local_steps s = {.grad = g->grad,
                                  .step = g->step,
                                  .end = end,
                                  .sampler = plan_train_sampler(job),
                                  .micro_batches = job->micro_batches / job->local.replicas,
                                  .kind = TASK_LOCAL};
    if (st == EMAC_OK)
        st = plan_steps_add(b, tail_part(job), &s, err);
    graph_free(end);
    return st;
}

static enum emac_status outer_add(struct plan_building *b, const struct stream_graphs *g,
                                  uint32_t at, struct emac_err *err)
{
    const struct job *job = &b->p->job;
    const struct local_recipe *r = &job->local;
    struct local_cut cut;
    const struct local_cut *told = cut_at(job, at, &cut);
    struct graph *outer = NULL, *decode = NULL;
    double reach = local_reach(r, &job->optimiser, local_weights(g->init));
    enum emac_status st;
    EMAC_TRY(st, local_decode_graph(g->init, g->step, r, told, &decode, err));
    EMAC_TRY(st, local_outer_graph(g->init, g->step, r, told, &outer, err));
    st = plan_outer_add(b, TASK_STEP, at, outer, decode, r->replicas, reach, err);
out:
    graph_free(outer);
    graph_free(decode);
    return st;
}

/* Programs come round after as many rounds as there are fragments. */
static enum emac_status rounds_add(struct plan_building *b, const struct stream_graphs *g,
                                   struct emac_err *err)
{
    const struct job *job = &b->p->job;
    uint32_t last = rounds(job) - 1, most = last < fragments(job) ? last : fragments(job);
    enum emac_status st = EMAC_OK;
    for (uint32_t r = 0; r <= most && st == EMAC_OK; r++)
        st = local_add(b, g, r, err);
    if (st == EMAC_OK)
        st = local_add(b, g, last, err);
    for (uint32_t at = 0; at <= fragments(job) && st == EMAC_OK; at++)
        st = outer_add(b, g, at, err);
    return st == EMAC_OK && has_tail(job, 0) ? tail_add(b, g, err) : st;
}

static enum emac_status build(struct plan_building *b, struct emac_err *err)
{
    const struct job *job = &b->p->job;
    struct stream_graphs g = {0};
    enum emac_status st;
    EMAC_TRY(st, b->family->graph_init(job, &g.init, err));
    EMAC_TRY(st, b->family->graph_train(job, &g.grad, err));
    EMAC_TRY(st, b->family->graph_step(job, &g.step, err));
    EMAC_TRY(st, local_fragments_check(g.init, &job->local, err));
    EMAC_TRY(st, rounds_add(b, &g, err));
    EMAC_TRY(st, local_init_extend(g.init, &job->local, err));
    st = plan_program_add(b, TASK_INIT, 0, g.init, NULL, err);
out:
    graph_free(g.init);
    graph_free(g.grad);
    graph_free(g.step);
    return st;
}

/* ---- what is wanted ---- */

static void begin(const struct job_plan *p, struct plan_state *st)
{
    uint32_t replicas = p->job.local.replicas;
    plan_value_share(st, "opt", replicas, true);
    plan_value_share(st, "carry", replicas, true);
    plan_value_share(st, "params", replicas, false);
}

static void want_local(struct planning *g, uint32_t m)
{
    static const struct {
        const char *input, *value;
    } OWN[] = {{"at", "params.at"}, {"carry", "carry"}, {"params", "params"}};
    const struct job *job = &g->p->job;
    uint32_t round = g->st->step, first = steps(job, round);
    const struct plan_program *program =
        plan_program_part(g->p, TASK_LOCAL, local_part(job, round));
    char slot[SLOT_MAX];
    plan_slot_of(slot, LOCAL, round, m);
    struct plan_want *w = plan_want_add(g, program, slot);
    if (w == NULL)
        return;
    plan_steps_fill(g, w, program, m, first, told_after(job, round) - first,
                    plan_value_of(g->st, "opt", m));
    task_input_add(&w->task, "start", plan_value(g->st, "params"));
    for (uint32_t i = 0; i < EMAC_COUNT(OWN); i++) {
        const struct cid *value = plan_value_of(g->st, OWN[i].value, m);
        if (value != NULL)
            task_input_add(&w->task, OWN[i].input, value);
    }
}

/* As soon as the replica has told. */
static void want_tail(struct planning *g, uint32_t m, const struct plan_result *local)
{
    const struct job *job = &g->p->job;
    uint32_t first = told_after(job, g->st->step);
    const struct plan_program *program = plan_program_part(g->p, TASK_LOCAL, tail_part(job));
    char slot[SLOT_MAX];
    plan_slot_of(slot, TAIL, g->st->step, m);
    struct plan_want *w = plan_want_add(g, program, slot);
    if (w == NULL)
        return;
    plan_steps_fill(g, w, program, m, first, job->local.overlap, plan_output(local, "opt"));
    w->holders = 1;
    task_input_add(&w->task, "params", plan_output(local, "params"));
}

static enum emac_status wants(struct planning *g, struct emac_err *err)
{
    const struct job *job = &g->p->job;
    const struct local_recipe *r = &job->local;
    uint32_t told = 0;
    for (uint32_t m = 0; m < r->replicas; m++) {
        const struct plan_result *local = plan_result_of(g->st, LOCAL, m);
        told += local != NULL;
        if (local == NULL)
            want_local(g, m);
        else if (has_tail(job, g->st->step))
            want_tail(g, m, local);
    }
    if (told < r->replicas)
        return EMAC_OK;
    const struct plan_program *outer = plan_program_part(g->p, TASK_STEP, tells(job, g->st->step));
    return plan_outer_want(g, outer, r, LOCAL, "delta", err);
}

/* ---- turns ---- */

static bool is_done(const struct job_plan *p, const struct plan_state *st)
{
    for (uint32_t m = 0; has_tail(&p->job, st->step) && m < p->job.local.replicas; m++)
        if (plan_result_of(st, TAIL, m) == NULL)
            return false;
    return true;
}

static void replica_take(const struct job_plan *p, struct plan_state *st, uint32_t m)
{
    const struct local_recipe *r = &p->job.local;
    const struct plan_result *local = plan_result_of(st, LOCAL, m), *last = local;
    EMAC_ASSERT(local != NULL);       /* PLAN-1: the outer step took its delta */
    if (is_last(&p->job, st->step)) { /* nobody goes on */
        plan_value_drop(st, "params", m);
        plan_value_drop(st, "params.at", m);
    } else {
        if (r->overlap > 0) {
            last = plan_result_of(st, TAIL, m);
            plan_value_put(st, "params.at", m, plan_output(local, "params"));
        }
        plan_value_put(st, "params", m, plan_output(last, "params"));
    }
    plan_value_put(st, "opt", m, plan_output(last, "opt"));
    if (local_has_carry(r))
        plan_value_put(st, "carry", m, plan_output(local, "carry"));
}

static bool turn(const struct job_plan *p, struct plan_state *st)
{
    char slot[SLOT_MAX];
    snprintf(slot, sizeof slot, "step/%06u", st->step);
    const struct plan_result *outer = plan_result_find(st, slot);
    if (outer == NULL || !is_done(p, st)) /* STREAM-1 */
        return false;
    plan_value_set(st, "params", plan_output(outer, "params"));
    if (local_has_momentum(&p->job.local))
        plan_value_set(st, "outer", plan_output(outer, "outer"));
    for (uint32_t m = 0; m < p->job.local.replicas; m++)
        replica_take(p, st, m);
    return true;
}

/* Each rig makes the outer step; the one over all fragments is the dearest. */
static enum emac_status bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    const struct job *job = &p->job;
    uint64_t replicas = job->local.replicas, outer = rounds(job) * replicas;
    enum emac_status st = plan_bill_add(b, plan_program_part(p, TASK_LOCAL, local_part(job, 0)),
                                        replicas * job->optimiser.steps, err);
    return st == EMAC_OK
               ? plan_bill_add(b, plan_program_part(p, TASK_STEP, fragments(job)), outer, err)
               : st;
}

const struct planner PLANNER_LOCAL_STREAM = {.begins_alike = true,
                                             .build = build,
                                             .rounds = rounds,
                                             .steps = steps,
                                             .wants = wants,
                                             .begin = begin,
                                             .turn = turn,
                                             .bill = bill};
