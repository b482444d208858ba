/* Will a job be done in time, what bounds it, and which recipe near it would be? All by simulation.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sched/predict.h"
#include "work/job_fields.h"

#define HOUR_S 3600.0

enum emac_status predict_seconds(const struct job_plan *p, const struct predict_rig *rig,
                                 uint32_t rigs, double *seconds, struct emac_err *err)
{
    const struct predict_config cfg = {.plan = p, .rig = rig, .rigs = rigs};
    struct predict *out;
    enum emac_status st = emac_alloc(&out, 1, sizeof *out, err);
    if (st != EMAC_OK)
        return st;
    st = predict_run(&cfg, out, err);
    *seconds = out->seconds;
    free(out);
    return st;
}

static bool job_took(const struct job *job, struct store *s, const struct predict_rig *rig,
                     uint32_t rigs, double *seconds)
{
    struct job_plan *plan;
    if (job_plan_new(job, s, &plan, NULL) != EMAC_OK)
        return false;
    bool known = predict_seconds(plan, rig, rigs, seconds, NULL) == EMAC_OK;
    job_plan_free(plan);
    return known;
}

/* ---- recipes near a job's ---- */

/* Fields of the section that the job has now and did not before. */
static void spread_usual(struct job *job)
{
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        if (f->section != NULL && strcmp(f->section, "spread") == 0 && f->need == NEED_DEFAULT &&
            strcmp(f->key, "kind") != 0 && strcmp(f->key, "delta") != 0 &&
            job_field_applies(f, job))
            job_field_set_usual(job, f);
    }
}

static bool is_local(const struct job *job)
{
    return job->spread == SPREAD_LOCAL || job->spread == SPREAD_HYBRID;
}

/* As many replicas as there are rigs for, of those that share the micro-batches evenly. */
static uint32_t replicas_for(const struct job *job, uint32_t rigs)
{
    uint32_t stages = job_stages(job), room = rigs / stages;
    uint32_t most = stages == 1 ? JOB_REPLICAS_MAX : JOB_LANES_MAX / stages;
    most = room < most ? room : most;
    while (most > 1 && job->micro_batches % most != 0)
        most--;
    return most;
}

/* Local SGD by inner steps, then by what deltas travel as: the fewest steps apart come first. */
static bool local_near(const struct job *job, uint32_t rigs, uint32_t i, struct job *out)
{
    static const enum delta_form FORMS[] = {DELTA_F32, DELTA_INT8, DELTA_INT4, DELTA_TOPK};
    bool already = is_local(job);
    uint32_t forms = EMAC_COUNT(FORMS), times = i / forms + (already ? 0 : 1); /* of 4 */
    enum delta_form before = already ? job->local.delta : DELTA_F32;
    *out = *job;
    out->local.delta = FORMS[i % forms];
    out->local.inner_steps = (already ? job->local.inner_steps : 1) << (2 * times);
    if (!already) {
        out->spread = job->spread == SPREAD_PIPELINE ? SPREAD_HYBRID : SPREAD_LOCAL;
        out->local.replicas = replicas_for(job, rigs);
    }
    if (!already || out->local.delta != before)
        spread_usual(out);
    out->pipeline.form = job->pipeline.form;
    if (already) { /* as the hint, which does not name them, leaves them */
        out->local.fragments = job->local.fragments;
        out->local.overlap = job->local.overlap;
        out->local.common_steps = job->local.common_steps;
    }
    return out->local.replicas > 1 && out->local.delta >= before &&
           out->local.inner_steps <= job->optimiser.steps;
}

#define LOCAL_TRIES 16
#define FORM_TRIES  2

static bool form_near(const struct job *job, uint32_t i, struct job *out)
{
    static const enum stage_form FORMS[] = {STAGE_BF16, STAGE_INT8};
    *out = *job;
    out->pipeline.form = FORMS[i];
    return FORMS[i] > job->pipeline.form;
}

static bool candidate(const struct job *job, uint32_t rigs, uint32_t i, struct job *out)
{
    if (i < FORM_TRIES)
        return job_stages(job) > 1 && form_near(job, i, out);
    return job->spread != SPREAD_FEDERATED && local_near(job, rigs, i - FORM_TRIES, out);
}

bool predict_faster(const struct job *job, struct store *s, const struct predict_rig *rig,
                    uint32_t rigs, double seconds, struct job *out, double *took_s)
{
    if (job->kind == JOB_EVALUATE)
        return false;
    for (uint32_t i = 0; i < FORM_TRIES + LOCAL_TRIES; i++)
        if (candidate(job, rigs, i, out) && job_took(out, s, rig, rigs, took_s) &&
            *took_s <= seconds)
            return true;
    return false;
}

/* ---- the sentence ---- */

#define HINT_MAX 200

static void hint_write(char hint[HINT_MAX], const struct job *near, double seconds)
{
    static const char *const DELTAS[DELTA_FORMS] = {
        [DELTA_F32] = "f32", [DELTA_INT8] = "int8", [DELTA_INT4] = "int4", [DELTA_TOPK] = "topk"};
    static const char *const ACTIVATIONS[STAGE_FORMS] = {
        [STAGE_F32] = "f32", [STAGE_BF16] = "bf16", [STAGE_INT8] = "int8"};
    char stages[64] = "", replicas[96] = "";
    if (job_stages(near) > 1)
        snprintf(stages, sizeof stages, ", stages: %u, activations: %s", near->pipeline.stages,
                 ACTIVATIONS[near->pipeline.form]);
    if (is_local(near))
        snprintf(replicas, sizeof replicas, ", replicas: %u, inner_steps: %u, delta: %s",
                 near->local.replicas, near->local.inner_steps, DELTAS[near->local.delta]);
    snprintf(hint, HINT_MAX, "with spread {kind: %s%s%s} it would take %.0f s",
             job_spread_name(near), stages, replicas, seconds);
}

static bool links_thin(const struct predict_rig *rig, uint32_t rigs)
{
    for (uint32_t i = 0; i < rigs; i++)
        if (rig[i].link.up_bps > 0)
            return true;
    return false;
}

/* The same rigs, without a link to wait for. */
static enum emac_status unlinked(const struct job_plan *p, const struct predict_rig *rig,
                                 uint32_t rigs, double *seconds, struct emac_err *err)
{
    struct predict_rig *open;
    enum emac_status st = emac_alloc(&open, rigs, sizeof *open, err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < rigs; i++) {
        open[i] = rig[i];
        open[i].link = (struct link_shape){0};
    }
    st = predict_seconds(p, open, rigs, seconds, err);
    free(open);
    return st;
}

enum emac_status predict_in_time(const struct job_plan *p, struct store *s,
                                 const struct predict_rig *rig, uint32_t rigs, struct emac_err *err)
{
    const struct job *job = &p->job;
    const char *fewer =
        job->kind == JOB_EVALUATE ? "a smaller recipe.eval_batches" : "fewer recipe.steps";
    double most = job->deadline * HOUR_S, seconds, open, less;
    struct job near;
    char hint[HINT_MAX];
    enum emac_status st;
    if (most <= 0 || rigs == 0)
        return EMAC_OK;
    EMAC_TRY(st, predict_seconds(p, rig, rigs, &seconds, err));
    if (seconds <= most)
        return EMAC_OK;
    open = seconds;
    if (links_thin(rig, rigs))
        EMAC_TRY(st, unlinked(p, rig, rigs, &open, err));
    if (predict_faster(job, s, rig, rigs, most, &near, &less))
        hint_write(hint, &near, less);
    else if (open > most)
        snprintf(hint, sizeof hint, "about %.0f rigs like these would do, or %s",
                 ceil(rigs * open / most), fewer);
    else
        snprintf(hint, sizeof hint, "rigs with faster links would do, or %s", fewer);
    st = emac_fail(err, EMAC_TOO_LARGE,
                   "'%s' would take %.0f s on the %u rigs that are there, and policy.deadline %g h "
                   "is %.0f s: %s bound%s it (without links to wait for %.0f s); %s",
                   job->name, seconds, rigs, job->deadline, most,
                   open < seconds / 2 ? "links" : "computing", open < seconds / 2 ? "" : "s", open,
                   hint);
out:
    return st;
}
