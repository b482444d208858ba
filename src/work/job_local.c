/* What must hold between the fields of local SGD. */
#include "work/job_fields.h"

/* Names the nearest that do divide. */
static enum emac_status replicas_misfit(const struct job *job, struct emac_err *err)
{
    uint32_t batches = job->micro_batches, replicas = job->local.replicas, divisor = replicas;
    uint32_t less = batches / replicas * replicas, more = less + replicas;
    while (batches % divisor != 0)
        divisor--;
    return emac_fail(
        err, EMAC_INVALID,
        "recipe.micro_batches %u must be a multiple of spread.replicas %u, which share "
        "them: take %u micro_batches, or %u replicas",
        batches, replicas, less == 0 || more <= JOB_MICRO_BATCHES_MAX ? more : less, divisor);
}

/* Between inner steps there is no model that could be kept or measured. */
static enum emac_status meets_check(const struct job *job, const char *field, uint32_t every,
                                    struct emac_err *err)
{
    uint32_t each = job->local.inner_steps, less = every / each * each;
    if (every % each == 0 || every == job->optimiser.steps)
        return EMAC_OK;
    return emac_fail(
        err, EMAC_INVALID,
        "recipe.%s %u must be a multiple of spread.inner_steps %u, after which replicas "
        "come together: take %u",
        field, every, each, less == 0 ? each : less);
}

static enum emac_status hybrid_check(const struct job *job, struct emac_err *err)
{
    uint32_t stages = job->pipeline.stages, most = JOB_LANES_MAX / stages;
    if (job->local.resume == RESUME_OWN)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "spread.resume 'own' is for whole replicas: take spread.kind 'local', or "
                         "resume 'common'");
    if (job->local.replicas > most)
        return emac_fail(err, EMAC_INVALID,
                         "%u replicas of %u stages are too many, at most %u in all: take %u "
                         "replicas, or %u stages",
                         job->local.replicas, stages, JOB_LANES_MAX, most,
                         JOB_LANES_MAX / job->local.replicas);
    enum emac_status st = meets_check(job, "checkpoint_every", job->checkpoint_every, err);
    return st == EMAC_OK ? meets_check(job, "eval_every", job->eval_every, err) : st;
}

/* Fragments come at equal distances, and each is merged before the next is told. */
static enum emac_status stream_check(const struct job *job, struct emac_err *err)
{
    const struct local_recipe *r = &job->local;
    uint32_t each = r->inner_steps / r->fragments, less = each * r->fragments;
    if (r->inner_steps % r->fragments != 0)
        return emac_fail(err, EMAC_INVALID,
                         "spread.inner_steps %u must be a multiple of spread.fragments %u, which "
                         "are told at equal distances: take %u inner_steps",
                         r->inner_steps, r->fragments, less == 0 ? r->fragments : less);
    if (r->overlap >= each)
        return emac_fail(err, EMAC_INVALID,
                         "spread.overlap %u must be less than the %u steps from one fragment to "
                         "the next (inner_steps %u / fragments %u): take %u, or fewer fragments",
                         r->overlap, each, r->inner_steps, r->fragments, each - 1);
    return EMAC_OK;
}

/* The last round tells what the others have not. */
static enum emac_status last_check(const struct job *job, struct emac_err *err)
{
    const struct local_recipe *r = &job->local;
    if (r->last == DELTA_NONE)
        return EMAC_OK;
    if (local_streams(r))
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "spread.last does not go with fragments or overlap: leave it out, or take "
                         "fragments 1 and overlap 0");
    if (r->delta == DELTA_F32)
        return emac_fail(err, EMAC_INVALID,
                         "spread.last is for what delta 'int8', 'int4' or 'topk' left untold; "
                         "'f32' tells all: leave it out");
    return EMAC_OK;
}

/* Whole rounds, and some after them. */
static enum emac_status common_check(const struct job *job, struct emac_err *err)
{
    const struct local_recipe *r = &job->local;
    uint32_t each = r->inner_steps, less = r->common_steps / each * each;
    if (r->common_steps == 0)
        return EMAC_OK;
    if (local_streams(r))
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "spread.common_steps %u does not go with fragments or overlap: leave it "
                         "out, or take fragments 1 and overlap 0",
                         r->common_steps);
    if (less != r->common_steps)
        return emac_fail(err, EMAC_INVALID,
                         "spread.common_steps %u must be a multiple of spread.inner_steps %u: take "
                         "%u",
                         r->common_steps, each, less == 0 ? each : less);
    if (r->common_steps >= job->optimiser.steps)
        return emac_fail(err, EMAC_INVALID,
                         "spread.common_steps %u leaves none of recipe.steps %u to the replicas: "
                         "take less",
                         r->common_steps, job->optimiser.steps);
    return EMAC_OK;
}

enum emac_status job_local_check(const struct job *job, struct emac_err *err)
{
    enum emac_status st;
    if (job->spread != SPREAD_LOCAL && job->spread != SPREAD_HYBRID)
        return EMAC_OK;
    if (job->micro_batches % job->local.replicas != 0)
        return replicas_misfit(job, err);
    if (job->spread == SPREAD_HYBRID)
        return hybrid_check(job, err);
    st = stream_check(job, err);
    if (st == EMAC_OK)
        st = last_check(job, err);
    return st == EMAC_OK ? common_check(job, err) : st;
}
