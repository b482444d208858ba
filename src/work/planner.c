/* What all planners share: the state, its turns, and the first and last tasks. */
#include "work/planner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/plan_local.h"

const struct task_kind_info *task_kind_info(enum task_kind kind)
{
    static const struct task_kind_info INFO[TASK_KINDS] = {
        [TASK_INIT] = {.name = "init", .copies = true, .always = true},
        [TASK_GRAD] = {.name = "grad", .shared = true, .math = true},
        [TASK_STEP] = {.name = "step", .copies = true},
        [TASK_EVAL] = {.name = "eval", .shared = true, .math = true},
        [TASK_SCORE] = {.name = "score", .always = true},
        [TASK_FORWARD] = {.name = "fwd", .math = true, .staged = true},
        [TASK_BACKWARD] = {.name = "bwd", .math = true, .staged = true},
        [TASK_REDUCE] = {.name = "reduce", .staged = true},
        [TASK_UPDATE] = {.name = "update", .staged = true},
        [TASK_JOIN] = {.name = "join"},
        [TASK_ADMIT] = {.name = "admit"},
        [TASK_DELTA] = {.name = "delta", .staged = true},
        [TASK_OUTER] = {.name = "outer", .copies = true},
        [TASK_LOCAL] = {.name = "local", .math = true, .staged = true},
        [TASK_COMMON] = {.name = "common", .math = true, .copies = true},
    };
    EMAC_ASSERT((unsigned)kind < EMAC_COUNT(INFO));
    return &INFO[kind];
}

const char *task_kind_name(enum task_kind kind)
{
    return task_kind_info(kind)->name;
}

const struct planner *planner_of(const struct job *job)
{
    static const struct planner *const PLANNERS[SPREADS_COUNT] = {
        [SPREAD_SYNC] = &PLANNER_SYNC,     [SPREAD_PIPELINE] = &PLANNER_PIPELINE,
        [SPREAD_LOCAL] = &PLANNER_LOCAL,   [SPREAD_FEDERATED] = &PLANNER_LOCAL,
        [SPREAD_HYBRID] = &PLANNER_HYBRID,
    };
    EMAC_ASSERT((unsigned)job->spread < SPREADS_COUNT);
    if (job->kind == JOB_EVALUATE)
        return &PLANNER_EVALUATE;
    if (job->spread == SPREAD_LOCAL && local_streams(&job->local))
        return &PLANNER_LOCAL_STREAM;
    return PLANNERS[job->spread];
}

uint32_t plan_rounds(const struct job *job)
{
    return planner_of(job)->rounds(job);
}

uint32_t plan_steps(const struct job *job, uint32_t rounds)
{
    const struct planner *planner = planner_of(job);
    return planner->steps == NULL ? rounds : planner->steps(job, rounds);
}

uint64_t plan_units(const struct job *job, uint32_t rounds)
{
    return plan_steps(job, rounds) * job_units_per_step(job);
}

/* ---- programs ---- */

const struct plan_program *plan_program_part(const struct job_plan *p, enum task_kind kind,
                                             uint32_t part)
{
    for (uint32_t i = 0; i < p->program_count; i++)
        if (p->program[i].kind == kind && p->program[i].part == part)
            return &p->program[i];
    return NULL;
}

const struct plan_program *plan_program(const struct job_plan *p, enum task_kind kind)
{
    return plan_program_part(p, kind, 0);
}

const struct plan_program *plan_program_find(const struct job_plan *p, const struct cid *cid)
{
    for (uint32_t i = 0; i < p->program_count; i++)
        if (cid_equal(&p->program[i].cid, cid))
            return &p->program[i];
    return NULL;
}

/* ---- the state ---- */

void plan_state_init(struct plan_state *st)
{
    *st = (struct plan_state){.loss = -1, .score = PLAN_NO_SCORE, .best = PLAN_NO_SCORE};
}

void plan_state_release(struct plan_state *st)
{
    free(st->result);
    plan_state_init(st);
}

const struct cid *plan_value(const struct plan_state *st, const char *name)
{
    for (uint32_t i = 0; i < st->value_count; i++)
        if (strcmp(st->value[i].name, name) == 0)
            return &st->value[i].cid;
    return NULL;
}

void plan_value_set(struct plan_state *st, const char *name, const struct cid *cid)
{
    uint32_t at = 0;
    while (at < st->value_count && strcmp(st->value[at].name, name) < 0)
        at++;
    if (at == st->value_count || strcmp(st->value[at].name, name) != 0) {
        EMAC_ASSERT(st->value_count < PLAN_VALUES_MAX);
        memmove(&st->value[at + 1], &st->value[at], (st->value_count++ - at) * sizeof st->value[0]);
        bool fits = emac_strcpy(st->value[at].name, sizeof st->value[at].name, name);
        EMAC_ASSERT(fits);
    }
    st->value[at].cid = *cid;
}

void plan_value_remove(struct plan_state *st, const char *name)
{
    for (uint32_t i = 0; i < st->value_count; i++) {
        if (strcmp(st->value[i].name, name) != 0)
            continue;
        memmove(&st->value[i], &st->value[i + 1], (--st->value_count - i) * sizeof st->value[0]);
        return;
    }
}

const char *plan_task_owner(const struct job_plan *p, const struct task *t)
{
    const struct cid *data = task_input_find(t, "data");
    for (uint32_t i = 0; i < p->shards.count && data != NULL; i++)
        if (cid_equal(&p->shards.at[i].cid, data))
            return p->shards.at[i].owner;
    return NULL;
}

const char *plan_delta_maker(const struct job_plan *p, enum task_kind kind, struct tree_range r)
{
    if (kind != TASK_ADMIT)
        return NULL;
    EMAC_ASSERT(r.first < p->shards.count);
    return p->shards.at[r.first].owner;
}

bool plan_name_is_state(const char *name)
{
    static const char *const KINDS[] = {"params", "opt",   "shared", "outer",
                                        "carry",  "delta", "frozen"};
    for (size_t i = 0; i < EMAC_COUNT(KINDS); i++) {
        size_t n = strlen(KINDS[i]);
        if (strncmp(name, KINDS[i], n) == 0 && (name[n] == '\0' || name[n] == '.'))
            return true;
    }
    return false;
}

const struct cid *plan_output(const struct plan_result *r, const char *name)
{
    for (uint32_t i = 0; i < r->output_count; i++)
        if (strcmp(r->output[i].name, name) == 0)
            return &r->output[i].cid;
    return NULL;
}

struct cid plan_base(const struct plan_state *st)
{
    uint8_t bytes[PLAN_VALUES_MAX * CID_BYTES];
    const struct cid *params = plan_value(st, "params");
    if (params != NULL || st->value_count == 0)
        return params != NULL ? *params : (struct cid){0};
    for (uint32_t i = 0; i < st->value_count; i++)
        cid_bytes(bytes + (size_t)i * CID_BYTES, &st->value[i].cid);
    return cid_of(CID_RAW, bytes, (size_t)st->value_count * CID_BYTES);
}

bool plan_trains(const struct job_plan *p)
{
    return p->planner->wants != NULL;
}

enum plan_phase plan_phase_of(const struct job_plan *p, const struct plan_state *st)
{
    if (!plan_trains(p))
        return st->scored ? PLAN_DONE : PLAN_EVAL;
    if (st->value_count == 0)
        return PLAN_INIT;
    if (st->step < plan_rounds(&p->job) && !plan_stopped(p, st))
        return PLAN_TRAIN;
    if (!st->scored && job_eval_batches(&p->job) > 0)
        return PLAN_EVAL;
    return PLAN_DONE;
}

/* ---- results ---- */

const struct plan_result *plan_result_find(const struct plan_state *st, const char *slot)
{
    for (uint32_t i = 0; i < st->result_count; i++)
        if (strcmp(st->result[i].slot, slot) == 0)
            return &st->result[i];
    return NULL;
}

static bool is_known(const struct job_plan *p, const struct plan_state *st, const struct cid *cid)
{
    for (uint32_t i = 0; i < p->constant_count; i++)
        if (cid_equal(&p->constant[i], cid))
            return true;
    for (uint32_t i = 0; i < st->value_count; i++)
        if (cid_equal(&st->value[i].cid, cid))
            return true;
    for (uint32_t i = 0; i < st->result_count; i++)
        for (uint32_t k = 0; k < st->result[i].output_count; k++)
            if (cid_equal(&st->result[i].output[k].cid, cid))
                return true;
    return false;
}

bool plan_task_fits(const struct job_plan *p, const struct plan_state *st, const struct task *t)
{
    for (uint32_t i = 0; i < t->input_count; i++)
        if (!is_known(p, st, &t->input[i].cid))
            return false;
    for (uint32_t i = 0; i < t->part_count; i++)
        if (!is_known(p, st, &t->part[i].cid))
            return false;
    return true;
}

enum emac_status plan_take(struct plan_state *st, const struct plan_result *r, struct emac_err *err)
{
    enum emac_status status =
        emac_grow(&st->result, st->result_count, &st->result_cap, sizeof *st->result, err);
    if (status == EMAC_OK)
        st->result[st->result_count++] = *r;
    return status;
}

/* The mean over the results that told a loss of the training; the old one when none did. */
static double loss_of(const struct plan_state *st)
{
    double sum = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < st->result_count; i++) {
        if (st->result[i].loss < 0 || st->result[i].kind == TASK_SCORE)
            continue;
        sum += st->result[i].loss;
        count++;
    }
    return count == 0 ? st->loss : sum / (double)count;
}

/* The state may be begun by several tasks. */
static uint32_t init_parts(const struct job_plan *p)
{
    uint32_t parts = 0;
    while (plan_program_part(p, TASK_INIT, parts) != NULL)
        parts++;
    return parts;
}

static const char *init_slot(const struct job_plan *p, uint32_t part, char slot[SLOT_MAX])
{
    if (init_parts(p) == 1)
        snprintf(slot, SLOT_MAX, "init");
    else
        snprintf(slot, SLOT_MAX, "init/%u", part);
    return slot;
}

/* 0: as the job's policy says, which is more. */
static uint32_t init_copies(const struct planning *g)
{
    uint32_t replicas = g->p->shards.count > 0 ? g->p->shards.count : g->p->job.local.replicas;
    uint32_t rigs = g->crew->count < replicas ? g->crew->count : replicas;
    return rigs > 1 && rigs > g->p->job.state_copies ? rigs : 0;
}

/* With shares each stage begins on the rig that its share is meant for, the largest on the fastest;
 * else on whoever is done with it first. */
static void want_init(struct planning *g)
{
    char slot[SLOT_MAX];
    uint32_t parts = init_parts(g->p);
    for (uint32_t part = 0; part < parts; part++) {
        const struct plan_program *program = plan_program_part(g->p, TASK_INIT, part);
        struct plan_want *w = plan_want_add(g, program, init_slot(g->p, part, slot));
        if (w != NULL && g->p->planner->begins_alike)
            w->copies = init_copies(g);
        if (w == NULL || parts == 1)
            continue;
        w->owner = plan_owner(g, job_stage_rank(&g->p->job, part));
        w->placed = g->p->job.pipeline.share[0] != 0;
    }
}

static bool turn_init(const struct job_plan *p, struct plan_state *st)
{
    char slot[SLOT_MAX];
    for (uint32_t part = 0; part < init_parts(p); part++)
        if (plan_result_find(st, init_slot(p, part, slot)) == NULL)
            return false;
    for (uint32_t i = 0; i < st->result_count; i++)
        for (uint32_t k = 0; k < st->result[i].output_count; k++)
            plan_value_set(st, st->result[i].output[k].name, &st->result[i].output[k].cid);
    if (p->planner->begin != NULL)
        p->planner->begin(p, st);
    return true;
}

/* Training and, where one is due, the evaluation beside it. */
static bool turn_round(const struct job_plan *p, struct plan_state *st)
{
    bool due = plan_eval_due(p, st);
    const struct plan_result *score = plan_score_find(st);
    double loss = loss_of(st);
    struct cid params = {0};
    if (due && score == NULL)
        return false;
    if (due)
        params = *plan_value(st, "params");
    if (!p->planner->turn(p, st))
        return false;
    if (due)
        plan_score_take(p, st, score, st->step, &params);
    st->step++;
    st->loss = loss;
    return true;
}

bool plan_turn(const struct job_plan *p, struct plan_state *st)
{
    switch (plan_phase_of(p, st)) {
    case PLAN_INIT:
        if (!turn_init(p, st))
            return false;
        break;
    case PLAN_TRAIN:
        if (!turn_round(p, st))
            return false;
        break;
    case PLAN_EVAL:
        if (plan_score_find(st) == NULL)
            return false;
        plan_score_take(p, st, plan_score_find(st), st->step, plan_value(st, "params"));
        st->scored = true;
        st->step = plan_trains(p) ? st->step : plan_rounds(&p->job);
        break;
    case PLAN_DONE:
        return false;
    }
    st->result_count = 0;
    return true;
}

bool plan_needs(const struct job_plan *p, const struct plan_state *st, const struct plan_result *r,
                const struct task_output *output)
{
    if (strcmp(output->name, "metrics") == 0)
        return false;
    if (r->kind == TASK_EVAL)
        return plan_score_find(st) == NULL;
    if (plan_phase_of(p, st) == PLAN_TRAIN && p->planner->needs != NULL)
        return p->planner->needs(p, st, r, output);
    return true;
}

bool plan_needs_value(const struct job_plan *p, const struct plan_state *st,
                      const struct plan_value *v)
{
    return plan_phase_of(p, st) == PLAN_TRAIN || strcmp(v->name, "params") == 0 ||
           strcmp(v->name, "best") == 0;
}

/* ---- tasks ---- */

void task_input_add(struct task *t, const char *name, const struct cid *cid)
{
    uint32_t at = 0;
    EMAC_ASSERT(t->input_count < TASK_INPUTS_MAX && cid != NULL);
    while (at < t->input_count && strcmp(t->input[at].name, name) < 0)
        at++;
    EMAC_ASSERT(at == t->input_count || strcmp(t->input[at].name, name) != 0);
    memmove(&t->input[at + 1], &t->input[at], (t->input_count++ - at) * sizeof t->input[0]);
    bool fits = emac_strcpy(t->input[at].name, sizeof t->input[at].name, name);
    EMAC_ASSERT(fits);
    t->input[at].cid = *cid;
}

/* The base's weights, for a program that takes any of them. */
static void base_input_add(const struct job_plan *p, struct task *t)
{
    const struct plan_program *program = plan_program_find(p, &t->program);
    for (uint32_t i = 0; i < program->input_count; i++) {
        const char *name = program->input[i].name;
        if (strcmp(name, "base") == 0 || strcmp(name, TASK_WHOLE) == 0)
            task_input_add(t, name, &p->base.file[MODEL_WEIGHTS]);
    }
}

struct task_arg *task_arg_add(struct task *t, const char *name, uint32_t width)
{
    EMAC_ASSERT(t->arg_count < TASK_ARGS_MAX);
    struct task_arg *a = &t->arg[t->arg_count++];
    bool fits = emac_strcpy(a->name, sizeof a->name, name);
    EMAC_ASSERT(fits && (t->arg_count == 1 || strcmp(a[-1].name, name) < 0));
    a->width = width;
    return a;
}

void task_optimiser_args(struct task *t, const struct job *job, uint32_t step,
                         uint32_t micro_batches)
{
    struct optimiser_args args;
    optimiser_args(&job->optimiser, step, micro_batches, &args);
    for (uint32_t i = 0; i < args.count; i++)
        memcpy(task_arg_add(t, args.arg[i].name, args.arg[i].width)->value, args.arg[i].value,
               args.arg[i].width * sizeof(float));
}

struct plan_want *plan_want_add(struct planning *g, const struct plan_program *program,
                                const char *slot)
{
    if (g->count == g->cap || plan_result_find(g->st, slot) != NULL)
        return NULL;
    struct plan_want *w = &g->out[g->count++];
    *w = (struct plan_want){
        .kind = program->kind, .flops = program->flops, .owner = plan_fastest(g)};
    w->task.program = program->cid;
    bool fits = emac_strcpy(w->slot, sizeof w->slot, slot);
    EMAC_ASSERT(fits);
    return w;
}

uint32_t plan_fastest(const struct planning *g)
{
    uint32_t best = 0;
    const double *speed = g->crew->speed;
    for (uint32_t i = 1; i < g->crew->count; i++) {
        if (speed[i] > speed[best])
            best = i;
    }
    return best;
}

uint32_t plan_owner(const struct planning *g, uint32_t part)
{
    const double *speed = g->crew->speed;
    uint32_t rank = part % g->crew->count;
    for (uint32_t i = 0; i < g->crew->count; i++) {
        uint32_t before = 0;
        for (uint32_t k = 0; k < g->crew->count; k++)
            before += speed[k] > speed[i] || (speed[k] == speed[i] && k < i);
        if (before == rank)
            return i;
    }
    return 0;
}

bool plan_open_has(const struct plan_open *open, uint32_t count, const struct plan_want *w)
{
    for (uint32_t i = 0; i < count; i++)
        if (open[i].kind == w->kind && open[i].range.first == w->range.first &&
            open[i].range.count == w->range.count)
            return true;
    return false;
}

void plan_wants_release(struct plan_want *w, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        task_release(&w[i].task);
}

/* ---- what comes next ---- */

enum emac_status plan_next(const struct job_plan *p, const struct plan_state *st,
                           const struct plan_open *open, uint32_t open_count,
                           const struct tree_crew *crew, struct plan_want *out, uint32_t cap,
                           uint32_t *count, struct emac_err *err)
{
    struct planning g = {p, st, open, open_count, crew, out, 0, cap};
    enum emac_status status = EMAC_OK;
    EMAC_ASSERT(cap > 0 && crew->count > 0);
    *count = 0;
    switch (plan_phase_of(p, st)) {
    case PLAN_INIT:
        want_init(&g);
        break;
    case PLAN_TRAIN:
        status = p->planner->wants(&g, err);
        if (status == EMAC_OK && plan_eval_due(p, st))
            status = plan_eval_wants(&g, err);
        break;
    case PLAN_EVAL:
        status = plan_eval_wants(&g, err);
        break;
    case PLAN_DONE:
        break;
    }
    if (status != EMAC_OK) {
        plan_wants_release(out, g.count);
        return status;
    }
    for (uint32_t i = 0; i < g.count; i++)
        base_input_add(p, &out[i].task);
    *count = g.count;
    return EMAC_OK;
}
