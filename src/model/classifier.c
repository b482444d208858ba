#include "model/classifier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/host_math.h"

#define SIDE_MAX     4096u
#define FEATURES_MAX ((uint64_t)1 << 20)
#define CLASSES_MAX  4096u
#define FILTERS_MAX  1024u
#define KERNEL_MAX   15u
#define HIDDEN_MAX   65536u
#define PARAMS_MAX   (2 * (CLASSIFIER_STAGES_MAX + CLASSIFIER_LAYERS_MAX + 1))

/* ---- sizes ---- */

static enum emac_status in_range(const char *what, uint64_t v, uint64_t least, uint64_t most,
                                 struct emac_err *err)
{
    if (v >= least && v <= most)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "%s must be from %llu to %llu, not %llu", what,
                     (unsigned long long)least, (unsigned long long)most, (unsigned long long)v);
}

static enum emac_status stages_check(const struct classifier_config *c, struct emac_err *err)
{
    enum emac_status st = in_range("stages", c->stages, 0, CLASSIFIER_STAGES_MAX, err);
    if (st != EMAC_OK || c->stages == 0)
        return st;
    EMAC_TRY(st, in_range("filters", c->filters, 1, FILTERS_MAX, err));
    EMAC_TRY(st, in_range("kernel", c->kernel, 1, KERNEL_MAX, err));
    if (c->kernel % 2 == 0)
        return emac_fail(err, EMAC_INVALID, "kernel must be odd, not %u", c->kernel);
    if (c->height >> c->stages == 0 || c->width >> c->stages == 0)
        return emac_fail(err, EMAC_INVALID,
                         "records of %u x %u are too small for %u stages, each of which halves "
                         "them: take fewer stages, or architecture mlp",
                         c->height, c->width, c->stages);
out:
    return st;
}

enum emac_status classifier_check(const struct classifier_config *c, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, in_range("height", c->height, 1, SIDE_MAX, err));
    EMAC_TRY(st, in_range("width", c->width, 1, SIDE_MAX, err));
    EMAC_TRY(st, in_range("channels", c->channels, 1, SIDE_MAX, err));
    EMAC_TRY(st, in_range("numbers of a record", (uint64_t)c->height * c->width * c->channels, 1,
                          FEATURES_MAX, err));
    EMAC_TRY(st, in_range("classes", c->classes, 2, CLASSES_MAX, err));
    EMAC_TRY(st, in_range("layers", c->layers, 0, CLASSIFIER_LAYERS_MAX, err));
    if (c->layers > 0)
        EMAC_TRY(st, in_range("hidden_size", c->hidden_size, 1, HIDDEN_MAX, err));
    st = stages_check(c, err);
out:
    return st;
}

/* Channels after stage s; those of the record for s = -1. */
static size_t channels_after(const struct classifier_config *c, int stage)
{
    return stage < 0 ? c->channels : (size_t)c->filters << stage;
}

static size_t flattened(const struct classifier_config *c)
{
    return (size_t)(c->height >> c->stages) * (c->width >> c->stages) *
           channels_after(c, (int)c->stages - 1);
}

/* ---- parameters ---- */

/* Number 2k is the bias of layer k, 2k + 1 its weight; the stages come first. */
static void param_at(const void *config, uint32_t i, struct model_param *out)
{
    const struct classifier_config *c = config;
    uint32_t layer = i / 2;
    bool conv = layer < c->stages, weight = i % 2 == 1;
    size_t outputs, inputs;
    memset(out, 0, sizeof *out);
    if (conv) {
        outputs = channels_after(c, (int)layer);
        inputs = channels_after(c, (int)layer - 1);
        out->shape = SHAPE4(outputs, c->kernel, c->kernel, inputs);
        inputs *= (size_t)c->kernel * c->kernel;
    } else {
        layer -= c->stages;
        inputs = layer == 0 ? flattened(c) : c->hidden_size;
        outputs = layer == c->layers ? c->classes : c->hidden_size;
        out->shape = SHAPE2(outputs, inputs);
    }
    snprintf(out->name, sizeof out->name, "%s.%u.%s", conv ? "conv" : "dense", layer,
             weight ? "weight" : "bias");
    out->decay = weight;
    out->hidden = weight && i / 2 < c->stages + c->layers;
    if (weight)
        out->init_std = host_sqrt(2.0 / (double)inputs);
    else
        out->shape = SHAPE1(outputs);
}

static enum model_part part_of(const void *config, const struct tune *t, uint32_t i)
{
    const struct classifier_config *c = config;
    uint32_t layer = i / 2, last = c->stages + c->layers;
    if (t->kind == TUNE_FULL)
        return PART_FROM_BASE;
    if (t->kind == TUNE_LORA) {
        bool target = i % 2 == 1 && layer >= c->stages && (t->targets & 1u << TUNE_DENSE) != 0;
        return target ? PART_ADAPTED : PART_FROZEN;
    }
    if (layer == last)
        return PART_FRESH;
    return layer >= c->stages && layer + t->layers > last ? PART_FROM_BASE : PART_FROZEN;
}

struct model_params classifier_params(const struct classifier_config *c)
{
    return (struct model_params){.config = c,
                                 .count = 2 * (c->stages + c->layers + 1),
                                 .storage = DTYPE_F32,
                                 .at = param_at,
                                 .part = part_of};
}

uint64_t classifier_param_elements(const struct classifier_config *c)
{
    const struct model_params params = classifier_params(c);
    uint64_t total = 0;
    for (uint32_t i = 0; i < params.count; i++) {
        struct model_param p;
        size_t n = 0;
        params.at(params.config, i, &p);
        bool ok = shape_count(&p.shape, &n);
        EMAC_ASSERT(ok); /* every dimension is below 2^27: see the limits */
        total += n;
    }
    return total;
}

/* ---- graphs ---- */

struct builder {
    struct graph *g;
    const struct classifier_config *c;
    struct tuned tuned;
    uint32_t batch;
    struct model_weight param[PARAMS_MAX];
    value_id inputs, targets;
};

static value_id op1(struct builder *b, enum op which, value_id x)
{
    return graph_op(b->g, which, NULL, 1, &x);
}

static value_id op2(struct graph *g, enum op which, const struct op_attrs *attrs, value_id x,
                    value_id y)
{
    const value_id in[] = {x, y};
    return graph_op(g, which, attrs, 2, in);
}

/* x[B,H,W,C] -> [B,H/2,W/2,O]. Adding the bias keeps the order of numbers, so the pool may come
 * first, and leaves a quarter of them to be done. */
static value_id stage(struct builder *b, value_id x, uint32_t s)
{
    const struct op_attrs conv = {.at = {{.i = 1}, {.i = b->c->kernel / 2}}};
    const struct op_attrs pool = {.at = {{.i = 2}, {.i = 2}}};
    x = op2(b->g, OP_CONV2D, &conv, x, b->param[2 * s + 1].w);
    x = graph_op(b->g, OP_MAXPOOL2D, &pool, 1, &x);
    return op1(b, OP_RELU, op2(b->g, OP_BIAS, NULL, x, b->param[2 * s].w));
}

/* x[B,in] -> [B,out] */
static value_id dense(struct builder *b, value_id x, uint32_t layer)
{
    const struct op_attrs by_rows = {.at = {{.i = 0}, {.i = 1}}};
    uint32_t first = 2 * (b->c->stages + layer);
    struct model_weight w = b->param[first + 1];
    value_id y = op2(b->g, OP_MATMUL, &by_rows, x, w.w);
    y = tuned_add(b->g, &b->tuned, x, y, w, false);
    return op2(b->g, OP_BIAS, NULL, y, b->param[first].w);
}

/* -> logits[B,classes] */
static value_id forward(struct builder *b)
{
    value_id x = b->inputs;
    for (uint32_t s = 0; s < b->c->stages; s++)
        x = stage(b, x, s);
    x = graph_view(b->g, x, SHAPE2(b->batch, flattened(b->c)));
    for (uint32_t l = 0; l < b->c->layers; l++)
        x = op1(b, OP_RELU, dense(b, x, l));
    return dense(b, x, b->c->layers);
}

/* mean over the records of -log p(target), [1] */
static value_id mean_loss(struct builder *b, value_id logits)
{
    value_id sum = op1(b, OP_SUM, op2(b->g, OP_XENT, NULL, logits, b->targets));
    return op2(b->g, OP_SCALE, NULL, sum,
               model_fill(b->g, SHAPE1(1), (float)(1.0 / (double)b->batch)));
}

static enum emac_status builder_init(struct builder *b, const struct classifier_config *c,
                                     const struct tune *tune, uint32_t batch, bool targets,
                                     struct emac_err *err)
{
    enum emac_status st = classifier_check(c, err);
    *b = (struct builder){.c = c, .batch = batch};
    if (st == EMAC_OK && (batch == 0 || batch > INT32_MAX))
        st = emac_fail(err, EMAC_INVALID, "a micro-batch of %u records is not possible", batch);
    if (st != EMAC_OK)
        return st;
    const struct model_params whole = classifier_params(c);
    st = tuned_init(&b->tuned, &whole, tune, err);
    if (st != EMAC_OK)
        return st;
    b->g = graph_new();
    tuned_inputs(b->g, &b->tuned, b->param);
    b->inputs = graph_input(b->g, "batch/inputs", DTYPE_F32,
                            SHAPE4(batch, c->height, c->width, c->channels));
    if (targets)
        b->targets = graph_input(b->g, "batch/targets", DTYPE_I32, SHAPE1(batch));
    return EMAC_OK;
}

static enum emac_status builder_end(struct builder *b, enum emac_status st, struct graph **out,
                                    struct emac_err *err)
{
    tuned_release(&b->tuned);
    return graph_end(b->g, st, out, err);
}

enum emac_status classifier_tuned_train(const struct classifier_config *c, const struct tune *tune,
                                        uint32_t batch, struct graph **out, struct emac_err *err)
{
    struct builder b;
    enum emac_status st;
    EMAC_TRY(st, builder_init(&b, c, tune, batch, true, err));
    value_id loss = mean_loss(&b, forward(&b));
    EMAC_TRY(st, graph_status(b.g, err));
    EMAC_TRY(st, tuned_gradients(b.g, &b.tuned, loss, err));
    graph_output(b.g, "sum/loss", loss);
out:
    return builder_end(&b, st, out, err);
}

enum emac_status classifier_graph_train(const struct classifier_config *c, uint32_t batch,
                                        struct graph **out, struct emac_err *err)
{
    return classifier_tuned_train(c, NULL, batch, out, err);
}

enum emac_status classifier_tuned_eval(const struct classifier_config *c, const struct tune *tune,
                                       uint32_t batch, struct graph **out, struct emac_err *err)
{
    struct builder b;
    enum emac_status st = builder_init(&b, c, tune, batch, true, err);
    if (st == EMAC_OK) {
        value_id logits = forward(&b);
        graph_output(b.g, "sum/loss", mean_loss(&b, logits));
        graph_output(b.g, "sum/correct",
                     op1(&b, OP_SUM, op2(b.g, OP_CORRECT, NULL, logits, b.targets)));
    }
    return builder_end(&b, st, out, err);
}

enum emac_status classifier_graph_eval(const struct classifier_config *c, uint32_t batch,
                                       struct graph **out, struct emac_err *err)
{
    return classifier_tuned_eval(c, NULL, batch, out, err);
}

enum emac_status classifier_graph_forward(const struct classifier_config *c, uint32_t batch,
                                          struct graph **out, struct emac_err *err)
{
    struct builder b;
    enum emac_status st = builder_init(&b, c, NULL, batch, false, err);
    if (st == EMAC_OK)
        graph_output(b.g, "out/logits", forward(&b));
    return builder_end(&b, st, out, err);
}

enum emac_status classifier_graph_score(uint32_t batch, struct graph **out, struct emac_err *err)
{
    struct graph *g = graph_new();
    value_id loss = graph_input(g, "sum/loss", DTYPE_F32, SHAPE1(1));
    value_id correct = graph_input(g, "sum/correct", DTYPE_F32, SHAPE1(1));
    value_id count_inv = graph_input(g, "args/count_inv", DTYPE_F32, SHAPE1(1));
    value_id each = model_fill(g, SHAPE1(1), (float)(1.0 / (double)batch));
    graph_output(g, "metrics/loss", op2(g, OP_MUL, NULL, loss, count_inv));
    graph_output(g, "metrics/accuracy",
                 op2(g, OP_MUL, NULL, op2(g, OP_MUL, NULL, correct, count_inv), each));
    return graph_end(g, EMAC_OK, out, err);
}

/* ---- JSON ---- */

static const struct {
    const char *name;
    size_t offset;
} MEMBERS[] = {
    {"height", offsetof(struct classifier_config, height)},
    {"width", offsetof(struct classifier_config, width)},
    {"channels", offsetof(struct classifier_config, channels)},
    {"classes", offsetof(struct classifier_config, classes)},
    {"stages", offsetof(struct classifier_config, stages)},
    {"filters", offsetof(struct classifier_config, filters)},
    {"kernel", offsetof(struct classifier_config, kernel)},
    {"layers", offsetof(struct classifier_config, layers)},
    {"hidden_size", offsetof(struct classifier_config, hidden_size)},
};

json_t *classifier_config_json(const struct classifier_config *c)
{
    json_t *o = json_object();
    for (size_t i = 0; i < EMAC_COUNT(MEMBERS); i++) {
        const uint32_t *v = (const uint32_t *)(const void *)((const char *)c + MEMBERS[i].offset);
        json_object_set_new(o, MEMBERS[i].name, json_integer(*v));
    }
    return o;
}

enum emac_status classifier_config_read(struct classifier_config *out, const json_t *root,
                                        struct emac_err *err)
{
    *out = (struct classifier_config){0};
    for (size_t i = 0; i < EMAC_COUNT(MEMBERS); i++) {
        const json_t *v = json_object_get(root, MEMBERS[i].name);
        json_int_t n = json_integer_value(v);
        if (!json_is_integer(v) || n < 0 || n > UINT32_MAX)
            return emac_fail(err, EMAC_INVALID, "'%s' of the classifier must be a whole number",
                             MEMBERS[i].name);
        *(uint32_t *)(void *)((char *)out + MEMBERS[i].offset) = (uint32_t)n;
    }
    return classifier_check(out, err);
}
