/* A model of any architecture as its config.json says ("model_type": a Llama of Hugging Face's, or
 * a classifier of EMAC's), and one made of two directories: what was trained, and the base. */
#ifndef EMAC_MODEL_MODEL_CONFIG_H
#define EMAC_MODEL_MODEL_CONFIG_H

#include "model/classifier.h"
#include "model/llama.h"

#define CLASSIFIER_MODEL_TYPE "emac_classifier"

/* Not to be moved while a list of its parameters is used. */
struct model_config {
    bool is_classifier;
    struct llama_config llama;
    struct llama_model list; /* for model_config_params */
    struct classifier_config classifier;
    char architecture[16]; /* "llama", or a classifier's: "mlp", "cnn" */
};
/* INVALID or UNSUPPORTED with what is wrong. */
enum emac_status model_config_read(struct model_config *out, struct emac_slice text,
                                   struct emac_err *err);
struct model_params model_config_params(struct model_config *c); /* borrows c */

/* What two models must share for the weights of one to fit the other, as job files name it: keys of
 * the section `model`, and of a classifier's data. max_positions too. New reference. */
json_t *model_config_sizes(const struct model_config *c);

/* ---- PEFT's adapter_config.json ---- */

/* `base` names the model that the adapter is for. t->kind is TUNE_LORA. */
enum emac_status peft_config_write(const struct tune *t, const char *base, struct emac_buf *out,
                                   struct emac_err *err);
/* LoRA of the plain kind, targets listed by name: no bias, no DoRA, no rank or alpha of a layer's
 * own, no modules kept beside. UNSUPPORTED names what is otherwise. */
enum emac_status peft_config_read(struct tune *out, struct emac_slice text, struct emac_err *err);

/* ---- the whole model out of its parts ---- */

/* How many of the last layers a head of so many tensors has: the fewest with which all of them are
 * trained. */
uint32_t model_head_layers(const struct model_params *whole, size_t tensors);

/* Whole files, borrowed; an empty slice for what is not there. */
struct model_parts {
    struct emac_slice config; /* of the model: of a head its own, of an adapter the base's */
    struct emac_slice base;   /* the base's model.safetensors */
    struct emac_slice adapter_config; /* an adapter's, else empty: then `trained` is a head */
    struct emac_slice trained;        /* adapter_model.safetensors or head.safetensors */
};
/* Append the safetensors file of the whole model (tune_merge). */
enum emac_status model_parts_merge(struct device *dev, const struct model_parts *parts,
                                   struct emac_buf *out, struct emac_err *err);

#endif
