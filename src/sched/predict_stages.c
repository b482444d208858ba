/* Which shares of a model its stages should have, for rigs unlike each other: such as go with the
 * speeds, and near ones, each tried by simulation. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/host_math.h"
#include "sched/predict.h"

#define SHARE_FULL   100 /* of the stage on the fastest rig */
#define REPAIRS_MAX  32
#define REPAIR_SHARE 0.85 /* of what a stage had that finds no room */
#define GAIN_LEAST   0.98 /* of the time before, or it is not worth a word */

struct cutting {
    struct store *store;
    const struct predict_rig *rig;
    uint32_t rigs;
    uint32_t order[PREDICT_RIGS_MAX]; /* the fastest first */
};

static void order_find(struct cutting *c)
{
    for (uint32_t i = 0; i < c->rigs; i++) {
        uint32_t at = i;
        for (; at > 0 && c->rig[c->order[at - 1]].math_flops < c->rig[i].math_flops; at--)
            c->order[at] = c->order[at - 1];
        c->order[at] = i;
    }
}

static const struct predict_rig *rig_of(const struct cutting *c, const struct job *job, uint32_t s)
{
    return &c->rig[c->order[job_stage_rank(job, s) % c->rigs]];
}

/* x to the power of so many quarters. */
static double power(double x, uint32_t quarters)
{
    double quarter = host_sqrt(host_sqrt(x)), y = 1;
    for (uint32_t i = 0; i < quarters; i++)
        y *= quarter;
    return y;
}

/* By speeds to the power of so many quarters; a rig that has several stages shares its speed among
 * them. */
static void shares_set(const struct cutting *c, uint32_t quarters, struct job *job)
{
    uint32_t stages = job->pipeline.stages;
    double fastest = 0, speed[STAGES_MAX];
    for (uint32_t s = 0; s < stages; s++) {
        uint32_t place = s % c->rigs, mine = (stages - place + c->rigs - 1) / c->rigs;
        speed[s] = power(c->rig[c->order[place]].math_flops / mine, quarters);
        fastest = speed[s] > fastest ? speed[s] : fastest;
    }
    for (uint32_t s = 0; s < stages; s++) {
        double share = SHARE_FULL * speed[s] / fastest + 0.5;
        job->pipeline.share[s] = share < 1 ? 1 : (uint32_t)share;
    }
}

/* Alike is what silence says. */
static void shares_tidy(struct job *job)
{
    const uint32_t *share = job->pipeline.share;
    for (uint32_t s = 1; s < job->pipeline.stages; s++)
        if (share[s] != share[0])
            return;
    memset(job->pipeline.share, 0, sizeof job->pipeline.share);
}

/* Bytes of the largest task of stage s alone. */
static enum emac_status stage_need(const struct job_plan *p, uint32_t s, uint64_t *bytes)
{
    enum emac_status st = EMAC_OK;
    *bytes = 0;
    for (uint32_t i = 0; i < p->program_count && st == EMAC_OK; i++) {
        const struct plan_program *program = &p->program[i];
        uint64_t need = 0;
        if (program->part != s ||
            (program->kind != TASK_INIT && !task_kind_info(program->kind)->staged))
            continue;
        st = predict_program_memory(p, program, &need, NULL);
        *bytes = need > *bytes ? need : *bytes;
    }
    return st;
}

/* Has each stage room where it will be? Those that have not get less. */
static bool stages_fit(const struct cutting *c, const struct job_plan *p, struct job *job)
{
    struct job less = *job;
    bool fit = true;
    for (uint32_t s = 0; s < job->pipeline.stages; s++) {
        uint64_t need, room = rig_of(c, job, s)->memory;
        if (room == 0)
            continue;
        if (stage_need(p, s, &need) != EMAC_OK)
            return false;
        if (need <= room)
            continue;
        fit = false;
        uint32_t share = (uint32_t)(job->pipeline.share[s] * REPAIR_SHARE);
        less.pipeline.share[s] = share < 1 ? 1 : share;
    }
    *job = less;
    return fit;
}

/* The job with shares that fit, and what it takes; false when none are found. */
static bool shares_try(const struct cutting *c, struct job *job, double *seconds)
{
    for (uint32_t i = 0; i < REPAIRS_MAX; i++) {
        struct job_plan *plan;
        struct job at = *job;
        if (job_plan_new(job, c->store, &plan, NULL) != EMAC_OK)
            return false;
        bool fit = stages_fit(c, plan, job);
        bool known = fit && predict_seconds(plan, c->rig, c->rigs, seconds, NULL) == EMAC_OK;
        job_plan_free(plan);
        if (fit) {
            *job = at;
            return known;
        }
    }
    return false;
}

bool predict_shares(const struct job *job, struct store *s, const struct predict_rig *rig,
                    uint32_t rigs, struct job *out, double *seconds)
{
    static const uint32_t QUARTERS[] = {0, 2, 3, 4, 5};
    struct cutting c = {.store = s, .rig = rig, .rigs = rigs};
    struct job last = {0};
    bool found = false;
    double took;
    if (job_stages(job) < 2 || rigs == 0 || rigs > PREDICT_RIGS_MAX)
        return false;
    order_find(&c);
    for (size_t i = 0; i < EMAC_COUNT(QUARTERS); i++) {
        struct job near = *job;
        shares_set(&c, QUARTERS[i], &near);
        bool again = memcmp(near.pipeline.share, last.pipeline.share, sizeof near.pipeline.share) ==
                     0; /* the rigs are alike */
        last = near;
        if (again || !shares_try(&c, &near, &took) || (found && took > GAIN_LEAST * *seconds))
            continue;
        *out = near;
        *seconds = took;
        found = true;
    }
    if (found)
        shares_tidy(out);
    return found;
}
