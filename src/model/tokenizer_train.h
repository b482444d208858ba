/* Making a byte-level BPE tokenizer out of texts (Sennrich et al. 2016; bytes as in GPT-2).
 *
 * Words are cut by a pattern and counted; then, as long as the vocabulary is smaller than asked
 * for, the pair of neighbouring tokens that occurs most often, over all words, becomes a token and
 * is merged in every word from left to right. Of pairs that occur equally often the one with the
 * smallest left id, then right id, is taken; ids are given in order: the special tokens, the 256
 * bytes in order of their visible characters, then the merges. So the result is a function of the
 * multiset of words alone, and the same as that of BpeTrainer of the PyPI package `tokenizers` with
 * the byte-level alphabet. A pair that occurs once is not merged.
 *
 * Life cycle: new, add each text, write once, free. */
#ifndef EMAC_MODEL_TOKENIZER_TRAIN_H
#define EMAC_MODEL_TOKENIZER_TRAIN_H

#include "base/buf.h"

#define TOKENIZER_END       "<|endoftext|>" /* the special token, id 0 */
#define TOKENIZER_TRAIN_MIN 257             /* it and the bytes */

struct tokenizer_trainer;

/* How words are cut: "gpt2", "llama3" by the expressions of those models, "bytes" into lines,
 * within which anything may merge. INVALID for another name. */
enum emac_status tokenizer_trainer_new(const char *pattern, struct tokenizer_trainer **out,
                                       struct emac_err *err);
void tokenizer_trainer_free(struct tokenizer_trainer *t); /* NULL is fine */
/* A text, at most TOKENIZER_TEXT_MAX bytes of UTF-8; no word crosses from one to the next. */
enum emac_status tokenizer_trainer_add(struct tokenizer_trainer *t, struct emac_slice text,
                                       struct emac_err *err);
/* Train and append tokenizer.json. `vocab` tokens, fewer when no pair occurs twice any more: *made
 * says how many. INVALID below TOKENIZER_TRAIN_MIN or without any text. */
enum emac_status tokenizer_trainer_write(struct tokenizer_trainer *t, uint32_t vocab,
                                         uint32_t *made, struct emac_buf *json,
                                         struct emac_err *err);
/* The files beside it: tokenizer_config.json, special_tokens_map.json. */
enum emac_status tokenizer_trained_config(struct emac_buf *out, struct emac_err *err);
enum emac_status tokenizer_trained_special(struct emac_buf *out, struct emac_err *err);

#endif
