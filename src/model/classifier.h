/* Classifiers of records, images or rows of numbers, as graphs: convolutional stages (LeCun et al.
 * 1998), then dense layers. A stage is a convolution, stride 1, padded so that it keeps the size
 * when the kernel is odd; a bias; relu; a max pool 2 x 2. A dense layer is Y = X W^T + b and relu;
 * the last, to the classes, has no relu. Without stages it is a multi-layer perceptron.
 *
 * Parameters: "conv.<s>.weight" [O, kernel, kernel, C], stored as rows, columns, channels of an
 * image are; "conv.<s>.bias" [O]; "dense.<l>.weight" [out, in]; "dense.<l>.bias". The first dense
 * layer takes the last stage's result flattened with channels fastest. */
#ifndef EMAC_MODEL_CLASSIFIER_H
#define EMAC_MODEL_CLASSIFIER_H

#include <jansson.h>

#include "model/tune.h"

#define CLASSIFIER_STAGES_MAX 6 /* one digit each: the names' byte order is that of the layers */
#define CLASSIFIER_LAYERS_MAX 8 /* hidden ones */

struct classifier_config {
    uint32_t height, width, channels, classes; /* of a record */
    uint32_t stages;                           /* 0: none */
    uint32_t filters;                          /* of the first stage; each next has twice as many */
    uint32_t kernel;                           /* side, odd */
    uint32_t layers;                           /* hidden dense layers */
    uint32_t hidden_size;                      /* of each of them */
};

/* Sizes are checked; an image must be left with at least one pixel after the last pool. */
enum emac_status classifier_check(const struct classifier_config *c, struct emac_err *err);
uint64_t classifier_param_elements(const struct classifier_config *c);
/* Initial weights are normal with variance 2 / inputs (He et al. 2015), biases 0. Borrows c.
 * With a base (tune.h): a head is a new last dense layer, of as many classes as c says, and the
 * dense layers before it, `layers` in all, that start as the base's. The target of lora is "dense":
 * all dense layers. */
struct model_params classifier_params(const struct classifier_config *c);

/* Graphs (caller frees). Inputs "params/<name>", "batch/inputs" f32[B,H,W,C], and but for forward
 * "batch/targets" i32[B].
 * train:   outputs "sum/grad.<name>" (of the mean loss of the micro-batch), "sum/loss" [1].
 * eval:    outputs "sum/loss" [1], "sum/correct" [1]: how many records are classified right.
 * forward: output "out/logits" [B,classes]. */
enum emac_status classifier_graph_train(const struct classifier_config *c, uint32_t batch,
                                        struct graph **out, struct emac_err *err);
enum emac_status classifier_graph_eval(const struct classifier_config *c, uint32_t batch,
                                       struct graph **out, struct emac_err *err);
enum emac_status classifier_graph_forward(const struct classifier_config *c, uint32_t batch,
                                          struct graph **out, struct emac_err *err);
/* train and eval of a model that starts from a base: "params/<name>" is the trained list of tune.h,
 * and "base/<name>" has what stays in the base. tune NULL: from scratch. */
enum emac_status classifier_tuned_train(const struct classifier_config *c, const struct tune *tune,
                                        uint32_t batch, struct graph **out, struct emac_err *err);
enum emac_status classifier_tuned_eval(const struct classifier_config *c, const struct tune *tune,
                                       uint32_t batch, struct graph **out, struct emac_err *err);
/* Inputs "sum/loss", "sum/correct", "args/count_inv" [1] = 1 / micro-batches; outputs
 * "metrics/loss" and "metrics/accuracy" [1], means over the records. */
enum emac_status classifier_graph_score(uint32_t batch, struct graph **out, struct emac_err *err);

/* The config as members of a JSON object, and back: INVALID naming what is missing or wrong. */
json_t *classifier_config_json(const struct classifier_config *c);
enum emac_status classifier_config_read(struct classifier_config *out, const json_t *root,
                                        struct emac_err *err);

#endif
