/* Llama as graphs. Letters as in compute/op.h; weights are stored [out,in], so a linear layer is
 * Y[N,out] = X[N,in] W^T. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/host_math.h"
#include "model/llama_internal.h"

struct builder {
    struct graph *g;
    const struct llama_config *c;
    uint32_t batch, seq;
    struct llama_model model;
    struct tuned tuned;
    struct model_weight *weight; /* by llama_cell */
    value_id cos, sin, tokens, targets;
};

static value_id op(struct builder *b, enum op which, const struct op_attrs *attrs, uint32_t n,
                   const value_id *in)
{
    return graph_op(b->g, which, attrs, n, in);
}

/* The first output is a value that the backward pass reads. */
static value_id kept(struct builder *b, enum op which, const struct op_attrs *attrs, uint32_t n,
                     const value_id *in)
{
    return b->c->storage == DTYPE_BF16 ? graph_op_bf16(b->g, which, attrs, n, in)
                                       : graph_op(b->g, which, attrs, n, in);
}

static value_id op2(struct builder *b, enum op which, value_id x, value_id y)
{
    value_id in[] = {x, y};

    return op(b, which, NULL, 2, in);
}

static value_id kept2(struct builder *b, enum op which, value_id x, value_id y)
{
    value_id in[] = {x, y};

    return kept(b, which, NULL, 2, in);
}

static struct model_weight weight(const struct builder *b, enum llama_kind kind, uint32_t layer)
{
    return b->weight[llama_cell(kind, layer)];
}

static value_id param(const struct builder *b, enum llama_kind kind, uint32_t layer)
{
    return weight(b, kind, layer).w;
}

static const struct op_attrs transposed_b = {.at = {{.i = 0}, {.i = 1}}};

static value_id linear(struct builder *b, value_id x, struct model_weight w)
{
    value_id in[] = {x, w.w};

    return tuned_add(b->g, &b->tuned, x, op(b, OP_MATMUL, &transposed_b, 2, in), w, false);
}

static value_id kept_linear(struct builder *b, value_id x, struct model_weight w)
{
    value_id in[] = {x, w.w};

    if (w.a == VALUE_NONE)
        return kept(b, OP_MATMUL, &transposed_b, 2, in);
    return tuned_add(b->g, &b->tuned, x, op(b, OP_MATMUL, &transposed_b, 2, in), w, true);
}

/* A projection, with its bias where the model has one. `keep`: the backward pass reads it. */
static value_id project(struct builder *b, value_id x, enum llama_kind kind, uint32_t layer,
                        bool keep)
{
    struct model_weight w = weight(b, kind, layer);
    value_id in[2];

    if (!llama_has(b->c, llama_bias_of(kind)))
        return keep ? kept_linear(b, x, w) : linear(b, x, w);
    in[0] = linear(b, x, w);
    in[1] = param(b, llama_bias_of(kind), layer);
    return keep ? kept(b, OP_BIAS, NULL, 2, in) : op(b, OP_BIAS, NULL, 2, in);
}

static value_id rmsnorm(struct builder *b, value_id x, value_id w)
{
    struct op_attrs attrs = {.at = {{.f = (float)b->c->norm_eps}}};
    value_id in[] = {x, w};

    return kept(b, OP_RMSNORM, &attrs, 2, in);
}

static value_id rope(struct builder *b, value_id x, uint32_t heads)
{
    struct op_attrs attrs = {.at = {{.i = heads}, {.i = 0}}};
    value_id in[] = {x, b->cos, b->sin};

    return kept(b, OP_ROPE, &attrs, 3, in);
}

/* x[N,D] -> x + attention(norm(x)) [N,D] */
static value_id attention_block(struct builder *b, value_id x, uint32_t layer)
{
    const struct llama_config *c = b->c;
    struct op_attrs attrs = {
        .at = {
            {.i = b->batch}, {.i = c->heads}, {.i = c->kv_heads}, {.f = llama_attention_scale(c)}}};
    value_id h = rmsnorm(b, x, param(b, LLAMA_ATTN_NORM, layer));
    value_id in[3], o;

    in[0] = rope(b, project(b, h, LLAMA_Q, layer, false), c->heads);
    in[1] = rope(b, project(b, h, LLAMA_K, layer, false), c->kv_heads);
    in[2] = project(b, h, LLAMA_V, layer, true);
    o = kept(b, OP_ATTENTION, &attrs, 3, in);
    return kept2(b, OP_ADD, x, linear(b, o, weight(b, LLAMA_O, layer)));
}

/* x[N,D] -> x + mlp(norm(x)) [N,D] */
static value_id mlp_block(struct builder *b, value_id x, uint32_t layer)
{
    value_id h = rmsnorm(b, x, param(b, LLAMA_MLP_NORM, layer));
    value_id gate = kept_linear(b, h, weight(b, LLAMA_GATE, layer));
    value_id up = kept_linear(b, h, weight(b, LLAMA_UP, layer));
    value_id y = linear(b, kept2(b, OP_SWIGLU, gate, up), weight(b, LLAMA_DOWN, layer));

    return kept2(b, OP_ADD, x, y);
}

/* -> logits[N,V] */
static value_id forward(struct builder *b)
{
    struct model_weight embed = weight(b, LLAMA_EMBED, 0);
    value_id x = kept2(b, OP_EMBED, b->tokens, embed.w);

    for (uint32_t layer = 0; layer < b->c->layers; layer++) {
        x = attention_block(b, x, layer);
        x = mlp_block(b, x, layer);
    }
    x = rmsnorm(b, x, param(b, LLAMA_NORM, 0));
    return linear(b, x, b->c->tie_embeddings ? embed : weight(b, LLAMA_LM_HEAD, 0));
}

/* -> mean over the tokens of -log p(target), [1] */
static value_id mean_loss(struct builder *b)
{
    value_id each = op2(b, OP_XENT, forward(b), b->targets);
    value_id sum = op(b, OP_SUM, NULL, 1, &each);
    double tokens = (double)b->batch * b->seq;

    return op2(b, OP_SCALE, sum, model_fill(b->g, SHAPE1(1), (float)(1.0 / tokens)));
}

/* The parameters, trained or of the base, each at its cell. */
static enum emac_status weights_input(struct builder *b, struct emac_err *err)
{
    struct model_weight *list;
    enum emac_status st = emac_alloc(&list, b->tuned.whole.count, sizeof(*list), err);

    if (st != EMAC_OK)
        return st;
    tuned_inputs(b->g, &b->tuned, list);
    for (uint32_t i = 0; i < b->tuned.whole.count; i++) {
        enum llama_kind kind;
        uint32_t layer;

        llama_param_place(b->c, i, &kind, &layer);
        b->weight[llama_cell(kind, layer)] = list[i];
    }
    free(list);
    return EMAC_OK;
}

static enum emac_status builder_init(struct builder *b, const struct llama_config *c,
                                     const struct tune *tune, uint32_t batch, uint32_t seq,
                                     bool targets, struct emac_err *err)
{
    struct model_params whole;
    enum emac_status st;
    size_t n;

    *b = (struct builder){.c = c, .batch = batch, .seq = seq, .model = {c, NULL}};
    EMAC_TRY(st, llama_config_check(c, err));
    if (batch == 0 || seq == 0 || seq > c->max_positions || batch > INT32_MAX / seq)
        return emac_fail(err, EMAC_INVALID,
                         "micro-batch of %u sequences of %u tokens; the model takes 1 to %u tokens "
                         "a sequence",
                         batch, seq, c->max_positions);
    whole = llama_params(&b->model);
    EMAC_TRY(st, tuned_init(&b->tuned, &whole, tune, err));
    EMAC_TRY(st, emac_alloc(&b->weight, llama_cell_count(c), sizeof(*b->weight), err));
    b->g = graph_new();
    EMAC_TRY(st, weights_input(b, err));
    n = (size_t)batch * seq;
    b->cos = graph_input(b->g, "tables/cos", DTYPE_F32, SHAPE2(seq, c->head_dim / 2));
    b->sin = graph_input(b->g, "tables/sin", DTYPE_F32, SHAPE2(seq, c->head_dim / 2));
    b->tokens = graph_input(b->g, "batch/tokens", DTYPE_I32, SHAPE1(n));
    if (targets)
        b->targets = graph_input(b->g, "batch/targets", DTYPE_I32, SHAPE1(n));
out:
    return st;
}

/* Hand over the graph when all went well. */
static enum emac_status builder_end(struct builder *b, enum emac_status st, struct graph **out,
                                    struct emac_err *err)
{
    free(b->weight);
    tuned_release(&b->tuned);
    return graph_end(b->g, st, out, err);
}

enum emac_status llama_graph_forward(const struct llama_config *c, uint32_t batch, uint32_t seq,
                                     struct graph **out, struct emac_err *err)
{
    struct builder b;
    enum emac_status st = builder_init(&b, c, NULL, batch, seq, false, err);

    if (st == EMAC_OK)
        graph_output(b.g, "out/logits", forward(&b));
    return builder_end(&b, st, out, err);
}

enum emac_status llama_graph_eval(const struct llama_config *c, uint32_t batch, uint32_t seq,
                                  struct graph **out, struct emac_err *err)
{
    return llama_tuned_eval(c, NULL, batch, seq, out, err);
}

enum emac_status llama_tuned_eval(const struct llama_config *c, const struct tune *tune,
                                  uint32_t batch, uint32_t seq, struct graph **out,
                                  struct emac_err *err)
{
    struct builder b;
    enum emac_status st = builder_init(&b, c, tune, batch, seq, true, err);

    if (st == EMAC_OK)
        graph_output(b.g, "sum/loss", mean_loss(&b));
    return builder_end(&b, st, out, err);
}

enum emac_status llama_graph_train(const struct llama_config *c, uint32_t batch, uint32_t seq,
                                   struct graph **out, struct emac_err *err)
{
    return llama_tuned_train(c, NULL, batch, seq, out, err);
}

enum emac_status llama_tuned_train(const struct llama_config *c, const struct tune *tune,
                                   uint32_t batch, uint32_t seq, struct graph **out,
                                   struct emac_err *err)
{
    struct builder b;
    value_id loss;
    enum emac_status st;

    EMAC_TRY(st, builder_init(&b, c, tune, batch, seq, true, err));
    loss = mean_loss(&b);
    EMAC_TRY(st, graph_status(b.g, err));
    EMAC_TRY(st, tuned_gradients(b.g, &b.tuned, loss, err));
    graph_output(b.g, "sum/loss", loss);
out:
    return builder_end(&b, st, out, err);
}

enum emac_status llama_graph_init(const struct llama_config *c, const struct llama_init *init,
                                  uint64_t seed, const struct optimiser_recipe *r,
                                  struct graph **out, struct emac_err *err)
{
    const struct llama_model m = {c, init};
    enum emac_status st = llama_config_check(c, err);

    *out = NULL;
    if (st != EMAC_OK)
        return st;
    if (!(init->embed_std > 0 && init->linear_std > 0 && init->residual_std >= 0))
        return emac_fail(err, EMAC_INVALID,
                         "the deviations of the initial weights must be positive");
    const struct model_params params = llama_params(&m);
    return model_graph_init(&params, seed, r, out, err);
}

void llama_rope_tables(const struct llama_config *c, uint32_t seq, float *cos, float *sin)
{
    uint32_t half = c->head_dim / 2;

    for (uint32_t j = 0; j < half; j++) {
        double frequency = rope_frequency(&c->rope, c->rope_theta, c->head_dim, j);

        for (uint32_t t = 0; t < seq; t++) {
            cos[(size_t)t * half + j] = (float)host_cos(t * frequency);
            sin[(size_t)t * half + j] = (float)host_sin(t * frequency);
        }
    }
}
