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

struct sched_stage predict_state(const struct job_plan *p, uint32_t s)
{
    const struct plan_program *init = plan_program_part(p, TASK_INIT, s);
    struct sched_stage state = {0};
    EMAC_ASSERT(init != NULL);
    for (uint32_t i = 0; i < init->output_count; i++) {
        const struct plan_bundle *b = &init->output[i];
        state.all = emac_add_most(state.all, b->bytes);
        if (!stage_bundle_is_frozen(b->name))
            state.moves = emac_add_most(state.moves, b->bytes);
    }
    return state;
}

static void stage_add(struct sched_stage *has, const struct sched_stage *one)
{
    has->all = emac_add_most(has->all, one->all);
    has->moves = one->moves > has->moves ? one->moves : has->moves;
}

static void stage_keep(struct sched_stage *has, const struct job_plan *p, uint32_t s)
{
    struct sched_stage one = predict_state(p, s);
    stage_add(has, &one);
}

static struct sched_stage kept_of(const struct job_plan *p, const struct plan_state *st,
                                  const struct predict_keeper *k)
{
    struct sched_stage kept = {0};
    for (uint32_t s = 0; s < job_stages(&p->job); s++) {
        const struct cid *last = NULL;
        for (uint32_t lane = 0; lane < job_lanes(&p->job); lane++) {
            const struct cid *cid = plan_stage_anchor(p, st, s, lane);
            if (cid != NULL && !(last != NULL && cid_equal(cid, last)) && k->holds(k->ctx, cid))
                stage_keep(&kept, p, s);
            last = cid; /* lanes begin with one state, and share what is frozen */
        }
    }
    return kept;
}

/* Does the lease bring a stage that the rig has not, another than that at `anchor`? */
static bool brings(const struct job_plan *p, const struct predict_keeper *k,
                   const struct predict_lease *l, const struct cid *anchor)
{
    if (!predict_is_stage(p, l->kind))
        return false;
    return l->kind == TASK_INIT || (!cid_equal(l->anchor, anchor) && !k->holds(k->ctx, l->anchor));
}

bool predict_has_room(const struct job_plan *p, const struct plan_state *st,
                      const struct predict_keeper *k, uint32_t part, const struct cid *anchor)
{
    struct sched_stage has, more = predict_state(p, part);
    if (k->keep == 0)
        return true;
    has = kept_of(p, st, k);
    for (uint32_t i = 0; i < k->leases; i++)
        if (brings(p, k, &k->lease[i], anchor))
            stage_keep(&has, p, k->lease[i].part);
    return sched_keeps(&has, &more) <= k->keep;
}

bool predict_is_stage(const struct job_plan *p, enum task_kind kind)
{
    return p->job.kind != JOB_EVALUATE && job_stages(&p->job) > 1 &&
           (kind == TASK_INIT || task_kind_info(kind)->staged);
}

static void holding_of(const struct job_plan *p, struct holding *out)
{
    uint32_t stages = job_stages(&p->job);
    uint32_t lanes = job_lanes(&p->job);
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
        stage_add(&has[best], one);
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
