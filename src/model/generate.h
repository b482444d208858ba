/* Text generation: a prompt of tokens, then one token at a time. What comes is a pure function of
 * weights, prompt, parameters and seed; language.h turns it into text.
 *
 * The model sees a window of max_positions tokens. A prompt that does not leave
 * room for a new one is cut to its last max_positions - 1; when the window is
 * full, generation goes on from the last max_positions / 2 tokens. A token is
 * fed to the model only when one more is asked for.
 *
 * Several generators of one decoder go on together, in steps (generators_step): one step feeds one
 * token of each that is drawing, and of newcomers' prompts as many tokens as the caller allows, so
 * that a long prompt is not waited for by the others. They may come and go between steps.
 *
 * BATCH-1  What a generator gives is the same, token for token, whatever generators it shares its
 *          steps with, in whatever order, and however its prompt is cut: the bits of its logits are
 *          those of its sequence alone (decoder.h), and its draws hang on its own seed and count.
 *
 * BATCH-2  What fails in one generator ends that one. */
#ifndef EMAC_MODEL_GENERATE_H
#define EMAC_MODEL_GENERATE_H

#include "model/session.h"

struct generator;

/* The session (of a model with configuration `c`) is borrowed and reset; the prompt is not kept.
 * Nothing is computed yet. INVALID for an empty prompt, or a token that is not in the vocabulary.
 */
enum emac_status generator_open(struct session *s, const struct llama_config *c,
                                const int32_t *prompt, size_t n, const struct sample_params *params,
                                struct generator **out, struct emac_err *err);
void generator_close(struct generator *g);
/* The next token. After a failure the generator can only be closed. */
enum emac_status generator_next(struct generator *g, int32_t *token, struct emac_err *err);
/* Tokens of the prompt that the model was given. */
uint32_t generator_prompt_tokens(const struct generator *g);

/* A generator's part in a step. */
struct generator_turn {
    struct generator *g;
    bool drawn;          /* out: `token` is the next one; else it was fed, or had to wait */
    int32_t token;       /* out */
    struct emac_err err; /* out: it failed, and can only be closed */
};
/* One step of `count` >= 1 generators of one decoder, each once. Those that have more than one
 * token to be fed (a prompt, a window that slid) get at most `prompt_rows` >= 1 of them together,
 * in the order of `turn`; count - 1 + prompt_rows <= SESSION_ROWS_MAX. A failure of the whole
 * (NO_MEMORY) changed nobody: the step may be made again. */
enum emac_status generators_step(struct generator_turn *turn, uint32_t count, uint32_t prompt_rows,
                                 struct emac_err *err);
/* Does it wait for tokens of its prompt to be fed? */
bool generator_is_reading(const struct generator *g);

#endif
