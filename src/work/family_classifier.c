/* Classifiers of records of a data set: mlp, dense layers alone, and cnn, convolutions before. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/model_config.h"
#include "work/family.h"

/* Before the data set is known only the fields' ranges can be told. */
static enum emac_status check(const struct job *job, struct emac_err *err)
{
    const struct classifier_config *c = &job->classifier;
    struct emac_err why;
    if (c->kernel % 2 == 0 && job->architecture == JOB_CNN)
        return emac_fail(err, EMAC_INVALID, "model.kernel must be odd, not %u", c->kernel);
    if (c->classes == 0 && c->height == 0)
        return EMAC_OK;
    enum emac_status st = classifier_check(c, &why);
    if (st != EMAC_OK)
        return emac_fail(err, st, "model: %s", why.text);
    uint64_t features = (uint64_t)c->height * c->width * c->channels;
    if (features * job->micro_batch > JOB_FEATURES_MAX)
        return emac_fail(err, EMAC_INVALID,
                         "recipe.micro_batch %u times %llu features of a record passes %u; take a "
                         "smaller micro_batch and more micro_batches",
                         job->micro_batch, (unsigned long long)features, JOB_FEATURES_MAX);
    return job_weights_check(classifier_param_elements(c), err);
}

static enum emac_status graph_init(const struct job *job, struct graph **out, struct emac_err *err)
{
    const struct model_params whole = classifier_params(&job->classifier);
    return job_graph_init(job, &whole, out, err);
}

static enum emac_status graph_train(const struct job *job, struct graph **out, struct emac_err *err)
{
    return classifier_tuned_train(&job->classifier, &job->tune, job->micro_batch, out, err);
}

static enum emac_status graph_eval(const struct job *job, struct graph **out, struct emac_err *err)
{
    return classifier_tuned_eval(&job->classifier, &job->tune, job->micro_batch, out, err);
}

static enum emac_status graph_score(const struct job *job, struct graph **out, struct emac_err *err)
{
    return classifier_graph_score(job->micro_batch, out, err);
}

static enum emac_status graph_step(const struct job *job, struct graph **out, struct emac_err *err)
{
    const struct model_params whole = classifier_params(&job->classifier);
    return job_graph_step(job, &whole, out, err);
}

/* What is needed to use the model beside its weights: the layers, and how a record becomes numbers
 * and a number a class (docs/data.md). */
static enum emac_status config(const struct job *job, const struct dataset *data,
                               struct emac_buf *out, struct emac_err *err)
{
    char cid[CID_TEXT_MAX];
    json_t *root = classifier_config_json(&job->classifier);
    cid_text(cid, &job->data);
    json_object_set_new(root, "model_type", json_string(CLASSIFIER_MODEL_TYPE));
    json_object_set_new(root, "architecture", json_string(job_family_name(job->architecture)));
    json_object_set_new(root, "dataset", json_string(cid));
    json_object_set_new(root, "input", dataset_input_json(data));
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(root);
    if (text == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a model's config.json");
    enum emac_status st = emac_buf_printf(out, err, "%s\n", text);
    free(text);
    return st;
}

const struct job_family FAMILY_CLASSIFIER = {
    .on_records = true,
    .unit = "samples",
    .check = check,
    .graph_init = graph_init,
    .graph_train = graph_train,
    .graph_eval = graph_eval,
    .graph_score = graph_score,
    .graph_step = graph_step,
    .config = config,
};
