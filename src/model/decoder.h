/* A loaded model that generates: weights borrowed from a bundle, rotary tables, and memory for the
 * rows of a step. Sequences (session.h) are its users, any number of them; their rows go through
 * the layers together, so the weights are read once a step and not once a sequence.
 *
 * Why that changes no bit: every operator but attention works on each row by itself, in an order of
 * sums that hangs on the row alone (numerics rules 3, 4 and 7; a quantised product takes its
 * integers from parts of one row), and attention is run for each sequence by itself (rule 5). So
 * what is computed for a row is a function of its sequence, whatever shares the step (BATCH-1 in
 * generate.h). */
#ifndef EMAC_MODEL_DECODER_H
#define EMAC_MODEL_DECODER_H

#include "codec/safetensors.h"
#include "model/llama.h"

struct decoder;

/* `bundle` is a whole safetensors file; it must outlive the decoder. Missing, superfluous or
 * misshapen tensors and dtypes other than F32, BF16 and U8 (weights.h) are refused by name. A file
 * whose data are not 4-byte aligned is copied; bf16 weights are widened once. A device with memory
 * of its own gets the weights once, and keeps caches and what lies between layers; what crosses a
 * step are rows of the embedding and the logits that were asked for. Activations are f32 whatever
 * the model's storage. `dev` is borrowed; NO_MEMORY with the figures when it has no room for the
 * weights. One thread at a time uses a decoder and its sessions. */
enum emac_status decoder_open(struct device *dev, const struct llama_config *c, const void *bundle,
                              size_t n, struct decoder **out, struct emac_err *err);
/* After its sessions; NULL is nothing. */
void decoder_close(struct decoder *d);
/* Before decoder_close, where the weights are private: zeros over what it copied of them. NULL is
 * nothing. */
void decoder_wipe(struct decoder *d);
const struct llama_config *decoder_config(const struct decoder *d);

#endif
