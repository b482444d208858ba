/* Text generation: a prompt of tokens, then one token at a time. What comes is a pure function of
 * weights, prompt, parameters and seed; language.h turns it into text.
 *
 * The model sees a window of max_positions tokens. A prompt that does not leave
 * room for a new one is cut to its last max_positions - 1; when the window is
 * full, generation goes on from the last max_positions / 2 tokens. A token is
 * fed to the model only when one more is asked for. */
#ifndef EMAC_MODEL_GENERATE_H
#define EMAC_MODEL_GENERATE_H

#include "model/session.h"

struct generator;

/* The session (of a model with configuration `c`) is borrowed and reset; the prompt is not kept.
 * INVALID for an empty prompt. */
enum emac_status generator_open(struct session *s, const struct llama_config *c,
                                const int32_t *prompt, size_t n, const struct sample_params *params,
                                struct generator **out, struct emac_err *err);
void generator_close(struct generator *g);
/* The next token. After a failure the generator can only be closed. */
enum emac_status generator_next(struct generator *g, int32_t *token, struct emac_err *err);
/* Tokens of the prompt that the model was given. */
uint32_t generator_prompt_tokens(const struct generator *g);

#endif
