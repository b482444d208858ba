#include "model/classify.h"

#include <stdlib.h>

#include "base/assert.h"
#include "codec/safetensors.h"
#include "compute/host_math.h"

struct classify {
    struct device *dev;
    struct graph *graph;
    struct graph_plan *plan;
    size_t input_bytes, logit_bytes;
    float *inputs, *logits;                    /* of the host */
    void *weights, *device_in, *device_logits; /* of the device */
};

static bool shapes_match(const struct st_tensor *t, const struct shape *s)
{
    bool match = t->dtype == ST_F32 && t->rank == s->rank;
    for (uint32_t i = 0; match && i < s->rank; i++)
        match = t->dim[i] == s->dim[i];
    return match;
}

/* The graph's first inputs are the parameters. */
static enum emac_status weights_bind(struct classify *k, const struct model_params *params,
                                     const uint8_t *bundle, size_t n, struct emac_err *err)
{
    struct st_index idx = {0};
    enum emac_status st;
    EMAC_TRY(st, st_index_parse(&idx, bundle, n, n, err));
    EMAC_TRY(st, device_alloc(k->dev, n - idx.data_offset, &k->weights, err));
    EMAC_TRY(st,
             device_write(k->dev, k->weights, bundle + idx.data_offset, n - idx.data_offset, err));
    for (uint32_t i = 0; i < params->count; i++) {
        struct model_param p;
        params->at(params->config, i, &p);
        const struct st_tensor *t = st_index_find(&idx, p.name);
        if (t == NULL || !shapes_match(t, &p.shape) || t->begin % sizeof(float) != 0) {
            st =
                emac_fail(err, EMAC_INVALID,
                          "the weights hold no tensor '%s' of the shape that config.json asks for, "
                          "aligned to 4 bytes",
                          p.name);
            goto out;
        }
        graph_bind_input(k->plan, i, (uint8_t *)k->weights + t->begin);
    }
out:
    st_index_release(&idx);
    return st;
}

static enum emac_status batch_bind(struct classify *k, uint32_t input, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&k->inputs, k->input_bytes, 1, err));
    EMAC_TRY(st, emac_alloc(&k->logits, k->logit_bytes, 1, err));
    EMAC_TRY(st, device_alloc(k->dev, k->input_bytes, &k->device_in, err));
    EMAC_TRY(st, device_alloc(k->dev, k->logit_bytes, &k->device_logits, err));
    graph_bind_input(k->plan, input, k->device_in);
    graph_bind_output(k->plan, 0, k->device_logits);
out:
    return st;
}

enum emac_status classify_open(struct device *dev, const struct classifier_config *c,
                               const void *bundle, size_t n, uint32_t batch, struct classify **out,
                               struct emac_err *err)
{
    const struct model_params params = classifier_params(c);
    struct classify *k;
    enum emac_status st = emac_alloc(&k, 1, sizeof *k, err);
    *out = NULL;
    if (st != EMAC_OK)
        return st;
    k->dev = dev;
    EMAC_TRY(st, classifier_graph_forward(c, batch, &k->graph, err));
    k->input_bytes = (size_t)batch * c->height * c->width * c->channels * sizeof(float);
    k->logit_bytes = (size_t)batch * c->classes * sizeof(float);
    EMAC_TRY(st, graph_plan_new(k->graph, &k->plan, err));
    EMAC_TRY(st, weights_bind(k, &params, bundle, n, err));
    EMAC_TRY(st, batch_bind(k, params.count, err));
    *out = k;
    k = NULL;
out:
    classify_close(k);
    return st;
}

void classify_close(struct classify *k)
{
    if (k == NULL)
        return;
    graph_plan_free(k->plan);
    graph_free(k->graph);
    device_free(k->dev, k->weights);
    device_free(k->dev, k->device_in);
    device_free(k->dev, k->device_logits);
    free(k->inputs);
    free(k->logits);
    free(k);
}

float *classify_inputs(struct classify *k)
{
    return k->inputs;
}

enum emac_status classify_run(struct classify *k, const float **logits, struct emac_err *err)
{
    enum emac_status st;
    *logits = k->logits;
    EMAC_TRY(st, device_write(k->dev, k->device_in, k->inputs, k->input_bytes, err));
    EMAC_TRY(st, graph_run(k->plan, k->dev, err));
    st = device_read(k->dev, k->logits, k->device_logits, k->logit_bytes, err);
out:
    return st;
}

uint32_t classify_best(const float *logits, uint32_t classes, double *probability)
{
    uint32_t best = 0;
    double sum = 0;
    for (uint32_t i = 1; i < classes; i++)
        best = logits[i] > logits[best] ? i : best;
    for (uint32_t i = 0; i < classes; i++)
        sum += host_exp((double)logits[i] - (double)logits[best]);
    *probability = 1 / sum;
    return best;
}
