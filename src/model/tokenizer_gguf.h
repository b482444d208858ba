/* The tokenizer of a GGUF file ("tokenizer.ggml.*", as llama.cpp's converter writes them) as
 * Hugging Face's files.
 *
 * Model "gpt2": byte-level BPE; tokens and merges are there, how words are cut follows from the
 * name "tokenizer.ggml.pre". Model "llama": SentencePiece's BPE, which joins those neighbours first
 * whose token has the highest score; the merges are all ways to make a token of two others, by
 * score, then by length of the left and of the right part, as Hugging Face's converter orders them;
 * or those of the file, if there are some.
 */
#ifndef EMAC_MODEL_TOKENIZER_GGUF_H
#define EMAC_MODEL_TOKENIZER_GGUF_H

#include "codec/gguf.h"
#include "model/tokenizer.h"

/* Appends tokenizer.json and tokenizer_config.json, which tokenizer_read takes. NOT_FOUND when the
 * file has no tokenizer, or that of bytes, which a model of 256 tokens has anyway; UNSUPPORTED
 * naming what is not known, INVALID. */
enum emac_status tokenizer_from_gguf(const struct gguf *g, struct emac_buf *json,
                                     struct emac_buf *config, struct emac_err *err);
/* Appends a generation_config.json that lists the ends of an answer, where the file says more of
 * them than tokenizer_config.json names: "eot" or "eom", or an end for the tokenizer of bytes. Else
 * nothing. */
enum emac_status generation_from_gguf(const struct gguf *g, struct emac_buf *out,
                                      struct emac_err *err);

#endif
