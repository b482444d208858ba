/* Have the stages of a job room between tasks? A task's own need is predict_fit.c's matter; here it
 * is what rigs must keep from one to the next, of all the stages that each has. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "sched/predict.h"

#define MIB_OF(bytes) ((unsigned long long)(((bytes) + ((1u << 20) - 1)) >> 20))
#define HINT_MAX      160

/* The stages of all replicas, the largest first. */
struct holding {
    uint32_t count;
    struct sched_stage stage[JOB_LANES_MAX];
    uint64_t all;
};

static uint32_t lanes_of(const struct job_plan *p)
{
    return p->job.spread == SPREAD_HYBRID ? p->job.local.replicas : 1;
}

struct sched_stage predict_state(const struct job_plan *p, uint32_t s)
{
    const struct plan_program *init = plan_program_part(p, TASK_INIT, s);
    struct sched_stage state = {0};
    EMAC_ASSERT(init != NULL);
    for (uint32_t i = 0; i < init->output_count; i++) {
        const struct plan_bundle *b = &init->output[i];
        bool frozen = strncmp(b->name, "frozen.", 7) == 0;
        state.all = emac_add_most(state.all, b->bytes);
        state.moves = frozen ? state.moves : emac_add_most(state.moves, b->bytes);
    }
    return state;
}

/* What tells where the stage of the lane is: a value of its state after the last round, or of what
 * init made of it; NULL: nothing yet. */
static const struct cid *stage_value(const struct job_plan *p, const struct plan_state *st,
                                     uint32_t s, uint32_t lane)
{
    static const char *const KINDS[] = {"opt", "params", "frozen"}; /* not every stage has all */
    const struct cid *found = NULL;
    for (size_t i = 0; i < EMAC_COUNT(KINDS) && found == NULL; i++) {
        char name[TASK_NAME_MAX], own[TASK_NAME_MAX];
        snprintf(name, sizeof name, "%s.%u", KINDS[i], s);
        snprintf(own, sizeof own, "%s.%u.%u", KINDS[i], s, lane);
        found = plan_value(st, p->job.spread == SPREAD_HYBRID ? own : name);
        for (uint32_t k = 0; k < st->result_count && found == NULL; k++)
            if (st->result[k].kind == TASK_INIT)
                found = plan_output(&st->result[k], name);
    }
    return found;
}

struct sched_stage predict_kept(const struct job_plan *p, const struct plan_state *st,
                                bool (*holds)(const void *ctx, const struct cid *cid),
                                const void *ctx)
{
    struct sched_stage kept = {0};
    for (uint32_t s = 0; s < job_stages(&p->job); s++) {
        const struct cid *last = NULL;
        for (uint32_t lane = 0; lane < lanes_of(p); lane++) {
            const struct cid *cid = stage_value(p, st, s, lane);
            if (cid != NULL && !(last != NULL && cid_equal(cid, last)) && holds(ctx, cid))
                predict_keep(&kept, p, s);
            last = cid; /* lanes begin with one state */
        }
    }
    return kept;
}

void predict_keep(struct sched_stage *kept, const struct job_plan *p, uint32_t s)
{
    struct sched_stage one = predict_state(p, s);
    kept->all = emac_add_most(kept->all, one.all);
    kept->moves = one.moves > kept->moves ? one.moves : kept->moves;
}

bool predict_is_stage(const struct job_plan *p, enum task_kind kind)
{
    return p->job.kind != JOB_EVALUATE && job_stages(&p->job) > 1 &&
           (kind == TASK_INIT || task_kind_info(kind)->staged);
}

static void holding_of(const struct job_plan *p, struct holding *out)
{
    uint32_t stages = job_stages(&p->job);
    uint32_t lanes = lanes_of(p);
    *out = (struct holding){.count = 0};
    for (uint32_t i = 0; i < stages * lanes; i++) {
        struct sched_stage one = predict_state(p, i % stages);
        uint32_t at = out->count++;
        for (; at > 0 && out->stage[at - 1].all < one.all; at--)
            out->stage[at] = out->stage[at - 1];
        out->stage[at] = one;
        out->all = emac_add_most(out->all, one.all);
    }
}

/* The largest stages first, each to the rig that has most room left then. */
static bool find_room(const struct holding *h, const struct predict_rig *rig, uint32_t rigs)
{
    struct sched_stage has[PREDICT_RIGS_MAX] = {{0}};
    for (uint32_t i = 0; i < h->count; i++) {
        const struct sched_stage *one = &h->stage[i];
        uint64_t most = 0;
        uint32_t best = rigs;
        for (uint32_t r = 0; r < rigs; r++) {
            uint64_t bytes = sched_keeps(&has[r], one);
            if (rig[r].keep == 0)
                return true; /* nobody knows how much it may keep */
            if (bytes > rig[r].keep || (best < rigs && rig[r].keep - bytes <= most))
                continue;
            most = rig[r].keep - bytes;
            best = r;
        }
        if (best == rigs)
            return false;
        has[best].all += one->all;
        has[best].moves = one->moves > has[best].moves ? one->moves : has[best].moves;
    }
    return true;
}

static uint64_t keep_all(const struct predict_rig *rig, uint32_t rigs, uint32_t *largest)
{
    uint64_t all = 0;
    *largest = 0;
    for (uint32_t r = 0; r < rigs; r++) {
        all = emac_add_most(all, rig[r].keep);
        *largest = rig[r].keep > rig[*largest].keep ? r : *largest;
    }
    return all;
}

/* More rigs like the largest, or more and so smaller stages. */
static void hint_find(const struct job_plan *p, struct store *s, const struct holding *h,
                      const struct predict_rig *rig, uint32_t rigs, char hint[HINT_MAX])
{
    struct predict_rig like[JOB_LANES_MAX];
    struct job near = p->job;
    uint32_t largest;
    keep_all(rig, rigs, &largest);
    for (uint32_t i = 0; i < h->count; i++) {
        like[i] = rig[largest];
        if (!find_room(h, like, i + 1))
            continue;
        snprintf(hint, HINT_MAX, "%u rigs like the largest would do", i + 1);
        return;
    }
    snprintf(hint, HINT_MAX, "take a smaller model or larger rigs");
    for (uint32_t stages = job_stages(&near) + 1; stages <= STAGES_MAX; stages++) {
        struct job_plan *plan;
        struct holding less;
        if (!job_set_stages(&near, stages) || job_plan_new(&near, s, &plan, NULL) != EMAC_OK)
            return;
        holding_of(plan, &less);
        job_plan_free(plan);
        if (!find_room(&less, rig, rigs))
            continue;
        snprintf(hint, HINT_MAX, "with spread {kind: %s, stages: %u} they have room",
                 job_spread_name(&near), stages);
        return;
    }
}

enum emac_status predict_holds(const struct job_plan *p, struct store *s,
                               const struct predict_rig *rig, uint32_t rigs, struct emac_err *err)
{
    struct holding h;
    char hint[HINT_MAX];
    uint32_t largest;
    if (p->job.kind == JOB_EVALUATE || job_stages(&p->job) < 2 || rigs == 0)
        return EMAC_OK;
    EMAC_ASSERT(rigs <= PREDICT_RIGS_MAX);
    holding_of(p, &h);
    if (find_room(&h, rig, rigs))
        return EMAC_OK;
    hint_find(p, s, &h, rig, rigs, hint);
    uint64_t all = keep_all(rig, rigs, &largest);
    return emac_fail(err, EMAC_TOO_LARGE,
                     "the rigs have no room for the %u stages of '%s' between tasks: weights and "
                     "optimiser state take %llu MiB, those of the largest %llu MiB, and are there "
                     "twice while a step is made; the rigs may keep %llu MiB in all, the largest "
                     "of them %llu MiB (--memory-mb); %s",
                     h.count, p->job.name, MIB_OF(h.all), MIB_OF(h.stage[0].all),
                     (unsigned long long)(all >> 20), (unsigned long long)(rig[largest].keep >> 20),
                     hint);
}
