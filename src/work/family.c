#include "work/family.h"

#include "base/assert.h"

static const struct job_family *const FAMILIES[JOB_ARCHITECTURES] = {
    [JOB_LLAMA] = &FAMILY_LLAMA, [JOB_MLP] = &FAMILY_CLASSIFIER, [JOB_CNN] = &FAMILY_CLASSIFIER};

const char *const JOB_ARCHITECTURE_NAMES[JOB_ARCHITECTURES] = {
    [JOB_LLAMA] = "llama", [JOB_MLP] = "mlp", [JOB_CNN] = "cnn"};

const struct job_family *job_family_of(const struct job *job)
{
    EMAC_ASSERT((unsigned)job->architecture < JOB_ARCHITECTURES);
    return FAMILIES[job->architecture];
}

const char *job_family_name(enum job_architecture a)
{
    EMAC_ASSERT((unsigned)a < JOB_ARCHITECTURES);
    return JOB_ARCHITECTURE_NAMES[a];
}

enum emac_status job_weights_check(uint64_t weights, struct emac_err *err)
{
    if (weights < JOB_PARAMETERS_MAX)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "model has %llu weights; fewer than %llu are allowed: take fewer layers or a "
                     "smaller hidden_size",
                     (unsigned long long)weights, (unsigned long long)JOB_PARAMETERS_MAX);
}

enum emac_status job_graph_init(const struct job *job, const struct model_params *whole,
                                struct graph **out, struct emac_err *err)
{
    struct tuned tuned;
    enum emac_status st = tuned_init(&tuned, whole, &job->tune, err);
    if (st == EMAC_OK)
        st = model_graph_init(&tuned.trained, job->seed, &job->optimiser, out, err);
    tuned_release(&tuned);
    return st;
}

enum emac_status job_graph_step(const struct job *job, const struct model_params *whole,
                                struct graph **out, struct emac_err *err)
{
    struct tuned tuned;
    enum emac_status st = tuned_init(&tuned, whole, &job->tune, err);
    if (st == EMAC_OK)
        st = optimiser_graph(&tuned.trained, &job->optimiser, out, err);
    tuned_release(&tuned);
    return st;
}
