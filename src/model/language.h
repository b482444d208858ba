/* How a model reads and writes text: its tokenizer, and the tokens that end an answer. And a text
 * completed by it: what generate.h gives, as bytes.
 *
 * Files are those of a Hugging Face directory; each may be missing (an empty slice):
 *   tokenizer.json          without it a vocabulary of 256 is that of bytes, any other cannot speak
 *   generation_config.json  "eos_token_id", a number or a list; else that of config.json; else
 *   tokenizer_config.json   "eos_token", by its written form */
#ifndef EMAC_MODEL_LANGUAGE_H
#define EMAC_MODEL_LANGUAGE_H

#include "model/generate.h"
#include "model/tokenizer.h"

#define LANGUAGE_ENDS_MAX 8

struct language_files {
    struct emac_slice config, generation, tokenizer, tokenizer_config;
};
struct language {
    struct tokenizer *tokenizer;
    int32_t end[LANGUAGE_ENDS_MAX]; /* a completion stops at any of these */
    uint32_t end_count;
    uint32_t vocab; /* of the model */
};

/* Release in any case. UNSUPPORTED when there is no tokenizer, or one that this build does not
 * know; INVALID for one with more tokens than the model. */
enum emac_status language_read(struct language *out, const struct language_files *files,
                               uint32_t vocab, struct emac_err *err);
void language_release(struct language *l);
struct completion;

/* Begin to complete `prompt`, UTF-8 (bytes of any kind for a byte model). All that is passed is
 * borrowed but for the prompt. INVALID when the prompt has no token. */
enum emac_status completion_open(struct session *s, const struct llama_config *c,
                                 const struct language *l, struct emac_slice prompt,
                                 const struct sample_params *params, struct completion **out,
                                 struct emac_err *err);
void completion_close(struct completion *c);
/* The bytes of the next token, perhaps a part of a character, perhaps none; *ended when the model
 * has said all. */
enum emac_status completion_next(struct completion *c, struct emac_slice *bytes, bool *ended,
                                 struct emac_err *err);
uint32_t completion_prompt_tokens(const struct completion *c);

/* A completion's part in a step of several (generate.h). */
struct completion_turn {
    struct completion *c;
    bool came;               /* out: a token did; `bytes` and `ended` are completion_next's */
    bool ended;              /* out */
    struct emac_slice bytes; /* out */
    struct emac_err err;     /* out: it failed, and can only be closed */
};
#define COMPLETIONS_MAX 64 /* in a step */
/* As generators_step, for count <= COMPLETIONS_MAX completions of one decoder. */
enum emac_status completions_step(struct completion_turn *turn, uint32_t count,
                                  uint32_t prompt_rows, struct emac_err *err);
/* Does it wait for its prompt to be fed? */
bool completion_is_reading(const struct completion *c);

#endif
