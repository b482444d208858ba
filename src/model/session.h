/* A sequence of tokens that a decoder continues: it owns the cache of keys and values. Cached
 * decode and full prefill give the same bits (rule 5), and so do sequences that are fed together
 * and each by itself (decoder.h). */
#ifndef EMAC_MODEL_SESSION_H
#define EMAC_MODEL_SESSION_H

#include "model/decoder.h"

#define SESSION_ROWS_MAX 1024u /* positions that go through the layers at once */

struct session;
/* A sequence with a decoder of its own, as decoder_open makes it. */
enum emac_status session_open(struct device *dev, const struct llama_config *c, const void *bundle,
                              size_t n, struct session **out, struct emac_err *err);
/* One more sequence of `d`, which is borrowed. */
enum emac_status session_join(struct decoder *d, struct session **out, struct emac_err *err);
void session_close(struct session *s);
/* Before session_close, where the weights are private: decoder_wipe of its own one. NULL is
 * nothing. */
void session_wipe(struct session *s);
void session_reset(struct session *s); /* forget the sequence */
uint32_t session_length(const struct session *s);
struct decoder *session_decoder(const struct session *s);
/* What the cache of a sequence of at most so many positions grows to. */
uint64_t session_bytes(const struct llama_config *c, uint32_t positions);

/* Feed n >= 1 tokens (prefill in one pass, or one by one, or in any pieces: the bits are the same);
 * *logits [vocab] of the last one, valid until the decoder's next call. TOO_LARGE when the sequence
 * would pass max_positions, INVALID for a token that is not in the vocabulary, NUMERIC when the
 * logits are not finite; the sequence is unchanged after a failure. */
enum emac_status session_feed(struct session *s, const int32_t *tokens, uint32_t n,
                              const float **logits, struct emac_err *err);

/* What one sequence brings to a step. */
struct session_part {
    struct session *s;
    const int32_t *tokens; /* n >= 1 */
    uint32_t n;
    bool wants;          /* the logits of the last token */
    const float *logits; /* out: [vocab], as session_feed says; NULL when they were not wanted */
    struct emac_err err; /* out: as session_feed's, of this part alone */
};
/* Feed several sequences of one decoder, each at most once, together SESSION_ROWS_MAX tokens at
 * most. What is wrong with one part is its own: the others go on. NO_MEMORY: nobody's sequence was
 * changed. */
enum emac_status sessions_feed(struct session_part *part, uint32_t count, struct emac_err *err);
/* As session_feed would refuse it. */
enum emac_status session_tokens_check(const struct session *s, const int32_t *tokens, size_t n,
                                      struct emac_err *err);

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
