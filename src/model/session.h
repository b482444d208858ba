/* A loaded model that generates: weights borrowed from a bundle, KV cache
 * owned. Cached decode and full prefill give the same bits (rule 5).
 * One session serves one sequence at a time; open several over one bundle. */
#ifndef EMAC_MODEL_SESSION_H
#define EMAC_MODEL_SESSION_H

#include "codec/safetensors.h"
#include "model/llama.h"

struct session;
/* `bundle` is a whole safetensors file; it must outlive the session. Missing, superfluous or
 * misshapen tensors and dtypes other than F32 are refused by name. */
enum emac_status session_open(struct device *dev, const struct llama_config *c, const void *bundle,
                              size_t n, struct session **out, struct emac_err *err);
void session_close(struct session *s);
void session_reset(struct session *s); /* forget the sequence */
uint32_t session_length(const struct session *s);
/* Feed tokens (prefill in one pass, or one by one); *logits [vocab] of the last one, valid until
 * the next call. TOO_LARGE when the sequence would pass max_positions. */
enum emac_status session_feed(struct session *s, const int32_t *tokens, uint32_t n,
                              const float **logits, struct emac_err *err);

struct sample_params {
    double temperature; /* 0: greedy */
    double top_p;       /* (0,1] */
    uint32_t top_k;     /* 0: off */
    uint64_t seed;
};
/* Choose a token: pure function of logits, params and position (Philox, PHILOX_SAMPLE). Ties: lowest
 * index. */
int32_t sample_token(const float *logits, uint32_t vocab, const struct sample_params *p,
                     uint32_t position);

#endif
