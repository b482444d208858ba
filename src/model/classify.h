/* A loaded classifier: records are classified some at a time. */
#ifndef EMAC_MODEL_CLASSIFY_H
#define EMAC_MODEL_CLASSIFY_H

#include "model/classifier.h"

struct classify;
/* `bundle` is a whole safetensors file; its weights are copied to the device. Missing or misshapen
 * tensors are refused by name. `dev` is borrowed. `batch` records are classified at once. */
enum emac_status classify_open(struct device *dev, const struct classifier_config *c,
                               const void *bundle, size_t n, uint32_t batch, struct classify **out,
                               struct emac_err *err);
void classify_close(struct classify *k);
/* f32[batch, height * width * channels], normalised, to be filled by the caller before each run. */
float *classify_inputs(struct classify *k);
/* *logits [batch, classes], valid until the next run. NUMERIC when they are not finite. */
enum emac_status classify_run(struct classify *k, const float **logits, struct emac_err *err);
/* The likeliest class of one row of logits (the first of equals), and its probability. */
uint32_t classify_best(const float *logits, uint32_t classes, double *probability);

#endif
