/* Tokenizers: text into token ids and back, as Hugging Face's tokenizer.json
 * describes it (docs/tokenizers.md: which forms are known, and every rule).
 *
 * A tokenizer is read once, is immutable after that and may be used by many
 * threads at once. The way of a text: added tokens are cut out of it, what is
 * left is normalised, split into words, and each word is merged into tokens by
 * byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909). Same text, same
 * ids: nothing depends on locale, time or the machine.
 *
 * The byte tokenizer is the smallest of them: token = byte, vocabulary 256.
 * Its Hugging Face form is a byte-level BPE without merges whose ids are the
 * byte values, so that transformers gives the same ids. */
#ifndef EMAC_MODEL_TOKENIZER_H
#define EMAC_MODEL_TOKENIZER_H

#include "base/buf.h"

struct tokenizer;

#define TOKENIZER_BYTES     256         /* vocabulary of the byte tokenizer */
#define TOKENIZER_JSON_MAX  (64u << 20) /* bytes of a tokenizer.json */
#define TOKENIZER_VOCAB_MAX (1u << 22)  /* ids are below it */
#define TOKENIZER_TEXT_MAX  (1u << 30)  /* bytes that one call encodes */

/* From the text of a tokenizer.json, which is not kept. INVALID for what contradicts itself,
 * UNSUPPORTED naming the part that is not known, TOO_LARGE. *out is NULL on failure. */
enum emac_status tokenizer_read(struct emac_slice json, struct tokenizer **out,
                                struct emac_err *err);
/* The byte tokenizer. One that is read from its JSON is the same. */
enum emac_status tokenizer_bytes(struct tokenizer **out, struct emac_err *err);
void tokenizer_free(struct tokenizer *t); /* NULL is fine */

/* One more than the largest id. */
uint32_t tokenizer_vocab(const struct tokenizer *t);

/* Append the ids (int32_t each) of `text`.
 * with_special: what the post-processor puts around a text (a token for its beginning, say) is
 * there, and special tokens written in the text are recognised. Else the text is only text:
 * "</s>" in it is four characters. Added tokens that are not special, such as runs of spaces, are
 * part of the vocabulary and recognised always.
 * INVALID with the byte offset for what is no UTF-8 (the byte tokenizer takes any bytes). On
 * failure `out` is as before. */
enum emac_status tokenizer_encode(const struct tokenizer *t, struct emac_slice text,
                                  bool with_special, struct emac_buf *out, struct emac_err *err);

/* The bytes that an id adds to a text; a character may be spread over several ids. `first`: nothing
 * came before (a decoder like Llama 2's strips a space there). Special tokens, and ids that do not
 * exist, give none. The slice lives as long as t. */
struct emac_slice tokenizer_piece(const struct tokenizer *t, int32_t id, bool first);
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);
/* By its written form, as configuration files name tokens ("</s>"); false when there is none. */
bool tokenizer_find(const struct tokenizer *t, const char *token, int32_t *id);
/* The written form of an id; empty when there is none. */
struct emac_slice tokenizer_written(const struct tokenizer *t, int32_t id);

/* The byte tokenizer's tokenizer.json, tokenizer_config.json and special_tokens_map.json, and
 * generation_config.json. */
enum emac_status byte_tokenizer_json(struct emac_buf *out, struct emac_err *err);
enum emac_status byte_tokenizer_config_json(struct emac_buf *out, uint32_t max_positions,
                                            struct emac_err *err);
enum emac_status byte_tokenizer_special_json(struct emac_buf *out, struct emac_err *err);
enum emac_status generation_config_json(struct emac_buf *out, struct emac_err *err);

#endif
