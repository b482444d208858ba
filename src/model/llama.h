/* The Llama architecture (Touvron et al. 2023; grouped-query attention:
 * Ainslie et al. 2023) as graphs, from a Hugging Face config.json. Parameter
 * names are Hugging Face's ("model.layers.0.self_attn.q_proj.weight", weights
 * stored [out,in]); with tied embeddings there is no "lm_head.weight". Qwen 2
 * and 2.5 (Qwen Team 2024) are the same with a bias on q, k and v. */
#ifndef EMAC_MODEL_LLAMA_H
#define EMAC_MODEL_LLAMA_H

#include "model/rope.h"
#include "model/tune.h"

#define LLAMA_LAYERS_MAX       1024
#define LLAMA_CONFIG_BYTES_MAX (1 << 20)

struct llama_config {
    uint32_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim;
    uint32_t max_positions;
    double rope_theta, norm_eps;
    struct rope_scaling rope;
    bool tie_embeddings;
    /* Of the weights, and of the forward pass's values that the backward pass reads: DTYPE_F32, or
     * DTYPE_BF16 for half the memory (rule 8). Logits and gradients are f32. */
    enum dtype storage;
    bool qkv_bias; /* what the projections of q, k and v give has a bias added */
};

/* Sizes are checked: each 1 to 2^24, heads a multiple of kv_heads, head_dim even, fewer than 2^40
 * weights in all; rope_theta 1 to 1e12, norm_eps 1e-12 to 1. */
enum emac_status llama_config_check(const struct llama_config *c, struct emac_err *err);
/* From / to the text of config.json. Reading requires model_type "llama", or without a sliding
 * window "mistral" or "qwen2", which has the biases of qkv_bias; hidden_act "silu", no other
 * biases, a rope scaling of rope.h, no quantisation (UNSUPPORTED otherwise); unknown keys are
 * ignored and absent ones have Hugging Face's defaults; storage is bf16 when torch_dtype (or dtype)
 * says "bfloat16", else f32. Writing gives what transformers' LlamaForCausalLM, or with biases its
 * Qwen2ForCausalLM, loads. */
enum emac_status llama_config_read(struct llama_config *out, const char *json, size_t n,
                                   struct emac_err *err);
enum emac_status llama_config_write(const struct llama_config *c, struct emac_buf *out,
                                    struct emac_err *err);

struct llama_init {
    double embed_std, linear_std;
    double residual_std; /* o_proj and down_proj; 0: linear_std / sqrt(2 * layers) */
};
uint32_t llama_param_count(const struct llama_config *c);
/* Parameter i, in byte order of the names. `init` may be NULL: init_std is 0 then. */
void llama_param_at(const struct llama_config *c, const struct llama_init *init, uint32_t i,
                    struct model_param *out);
/* All of them as a list for model.h; `m` is borrowed, m->init may be NULL. */
struct llama_model {
    const struct llama_config *config;
    const struct llama_init *init;
};
/* With a base (tune.h): a head is the final norm, an output matrix of its own, and the last
 * `layers` layers; all of it starts as the base's. Targets of lora are the seven matrices of a
 * layer; biases stay in the base. */
struct model_params llama_params(const struct llama_model *m);
uint64_t llama_param_elements(const struct llama_config *c); /* total number of weights */

/* Graphs (caller frees).
 * init:  that of model.h.
 * train: inputs "params/<name>", "tables/cos" and "tables/sin" [T,E/2], "batch/tokens" and
 *        "batch/targets" i32[B*T]; outputs "sum/grad.<name>" (of the mean loss of the micro-batch)
 *        and "sum/loss" [1] (mean over its tokens, nats).
 * eval:  same inputs; output "sum/loss" only.
 * forward: inputs as eval but no targets; output "out/logits" [B*T,V]. */
enum emac_status llama_graph_init(const struct llama_config *c, const struct llama_init *init,
                                  uint64_t seed, const struct optimiser_recipe *r,
                                  struct graph **out, struct emac_err *err);
enum emac_status llama_graph_train(const struct llama_config *c, uint32_t batch, uint32_t seq,
                                   struct graph **out, struct emac_err *err);
enum emac_status llama_graph_eval(const struct llama_config *c, uint32_t batch, uint32_t seq,
                                  struct graph **out, struct emac_err *err);
enum emac_status llama_graph_forward(const struct llama_config *c, uint32_t batch, uint32_t seq,
                                     struct graph **out, struct emac_err *err);
/* train and eval of a model that starts from a base: "params/<name>" is the trained list of tune.h,
 * gradients are of it alone, and "base/<name>" has what stays in the base. tune NULL: from scratch.
 */
enum emac_status llama_tuned_train(const struct llama_config *c, const struct tune *tune,
                                   uint32_t batch, uint32_t seq, struct graph **out,
                                   struct emac_err *err);
enum emac_status llama_tuned_eval(const struct llama_config *c, const struct tune *tune,
                                  uint32_t batch, uint32_t seq, struct graph **out,
                                  struct emac_err *err);

/* Rotary tables [seq, head_dim/2] as binary32: cos and sin of t * theta^(-2j/head_dim), computed in
 * binary64 (rule 10). */
void llama_rope_tables(const struct llama_config *c, uint32_t seq, float *cos, float *sin);

#endif
