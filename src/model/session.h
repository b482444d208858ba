/* A loaded model that generates: weights borrowed from a bundle, KV cache
 * owned. Cached decode and full prefill give the same bits (rule 5).
 * One session serves one sequence at a time; open several over one bundle. */
#ifndef EMAC_MODEL_SESSION_H
#define EMAC_MODEL_SESSION_H

#include "codec/safetensors.h"
#include "model/llama.h"

struct session;
/* `bundle` is a whole safetensors file; it must outlive the session. Missing, superfluous or
 * misshapen tensors and dtypes other than F32, BF16 and U8 (weights.h) are refused by name. A file
 * whose data are not 4-byte aligned is copied; bf16 weights are widened once. Activations are f32
 * whatever the model's storage. `dev` is borrowed. */
enum emac_status session_open(struct device *dev, const struct llama_config *c, const void *bundle,
                              size_t n, struct session **out, struct emac_err *err);
void session_close(struct session *s);
/* Before session_close, where the weights are private: zeros over what it copied of them. NULL is
 * nothing. */
void session_wipe(struct session *s);
void session_reset(struct session *s); /* forget the sequence */
uint32_t session_length(const struct session *s);
/* Feed n >= 1 tokens (prefill in one pass, or one by one, or in any pieces: the bits are the same);
 * *logits [vocab] of the last one, valid until the next call. TOO_LARGE when the sequence would
 * pass max_positions, INVALID for a token that is not in the vocabulary, NUMERIC when the logits
 * are not finite; the sequence is unchanged after a failure. */
enum emac_status session_feed(struct session *s, const int32_t *tokens, uint32_t n,
                              const float **logits, struct emac_err *err);

struct sample_params {
    double temperature; /* 0: greedy */
    double top_p;       /* (0,1] */
    uint32_t top_k;     /* 0: off */
    uint64_t seed;
};
/* Choose a token: pure function of logits, params and position (Philox, PHILOX_SAMPLE). Candidates
 * are ordered by logit, ties by lowest index; top_k keeps the first k, then top_p the shortest
 * prefix that holds this share of their probability; one is drawn in that order. Logits must not be
 * NaN; -infinity means never, as long as one is finite. vocab >= 1. */
int32_t sample_token(const float *logits, uint32_t vocab, const struct sample_params *p,
                     uint32_t position);

#endif
