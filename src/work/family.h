/* Families of models: what the planner, the job files and the model directory need to know of an
 * architecture. One row a value of model.architecture; everything else here and in the coordinator
 * is the same for all. A new architecture is a row, its fields in job_fields.c, its graphs in
 * model/. */
#ifndef EMAC_WORK_FAMILY_H
#define EMAC_WORK_FAMILY_H

#include "graph/graph.h"
#include "work/dataset.h"
#include "work/job.h"
#include "work/plan_blocks.h"
#include "work/task.h"

struct job_family {
    /* data.cid names a data set (work/dataset.h), whose rows feed "batch/inputs"; else a corpus
     * (work/corpus.h), whose windows feed "batch/tokens". */
    bool on_records;
    const char *unit; /* what its work is counted in: "tokens" */

    /* What must hold between the model's fields. */
    enum emac_status (*check)(const struct job *job, struct emac_err *err);
    /* The graphs of a plan (work/planner.h). score: sums of eval -> "metrics/loss", and
     * "metrics/accuracy" where `on_records`. */
    enum emac_status (*graph_init)(const struct job *job, struct graph **out, struct emac_err *err);
    enum emac_status (*graph_train)(const struct job *job, struct graph **out,
                                    struct emac_err *err);
    enum emac_status (*graph_eval)(const struct job *job, struct graph **out, struct emac_err *err);
    enum emac_status (*graph_score)(const struct job *job, struct graph **out,
                                    struct emac_err *err);
    enum emac_status (*graph_step)(const struct job *job, struct graph **out, struct emac_err *err);
    /* The constant bundle "tables", appended to out; NULL: its graphs take none. */
    enum emac_status (*tables)(const struct job *job, struct emac_buf *out, struct emac_err *err);
    /* Text of config.json, and the other texts of the model directory (may be NULL). `data` is that
     * of the job's data set. */
    enum emac_status (*config)(const struct job *job, const struct dataset *data,
                               struct emac_buf *out, struct emac_err *err);
    enum emac_status (*texts)(const struct job *job, struct model_dir *dir, struct emac_err *err);
};

const struct job_family *job_family_of(const struct job *job);
extern const char *const JOB_ARCHITECTURE_NAMES[JOB_ARCHITECTURES]; /* model.architecture */
const char *job_family_name(enum job_architecture a);

/* graph_init and graph_step of what the job trains of `whole`, its model's parameters
 * (model/tune.h).
 */
enum emac_status job_graph_init(const struct job *job, const struct model_params *whole,
                                struct graph **out, struct emac_err *err);
enum emac_status job_graph_step(const struct job *job, const struct model_params *whole,
                                struct graph **out, struct emac_err *err);

/* INVALID for more weights than a job may have. */
enum emac_status job_weights_check(uint64_t weights, struct emac_err *err);

extern const struct job_family FAMILY_LLAMA, FAMILY_CLASSIFIER;

#endif
