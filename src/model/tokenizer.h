/* Tokenizers. Version 1 holds the byte tokenizer: token = byte, vocabulary 256.
 * Its Hugging Face form is a byte-level BPE without merges whose ids are the
 * byte values, so that transformers gives the same ids. */
#ifndef EMAC_MODEL_TOKENIZER_H
#define EMAC_MODEL_TOKENIZER_H

#include "base/buf.h"

/* The texts of tokenizer.json, tokenizer_config.json, special_tokens_map.json,
 * generation_config.json. */
enum emac_status byte_tokenizer_json(struct emac_buf *out, struct emac_err *err);
enum emac_status byte_tokenizer_config_json(struct emac_buf *out, uint32_t max_positions,
                                            struct emac_err *err);
enum emac_status byte_tokenizer_special_json(struct emac_buf *out, struct emac_err *err);
enum emac_status generation_config_json(struct emac_buf *out, struct emac_err *err);

#endif
